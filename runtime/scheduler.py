"""Schedules: what starts a themed week every week, once a local slot, whatever clocks, machines and operators do meanwhile.

A slot that falls in ISO week N makes week N+1. What becomes of a slot is decided by `create_once` on (schedule, local slot), by
the first who finds it due: the last of those that are due is fired; of the others, one whose week is over is missed, and the rest are
coalesced into it. So an outage ends in one week, never in a burst. A fire goes four steps, and whoever finds it half-way goes on:
the decision, its row, its session (whose id the slot names), and only then `schedules.next_at`, which is no more than a bookmark.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import NamedTuple

import structlog

from config.brand_profile import BrandProfile, Theme
from config.clock import Clock
from config.errors import BadInput, Conflict, Damaged, NotFound, UsageError
from config.ids import name_id, new_id, new_token
from config.vocabulary import FireOutcome, SessionStatus
from graphs.context import note
from graphs.week import wall_clock, week_slots
from graphs.weekly import LocalSlot, Weekly, local_minute, week_after, week_ends, weeks_before
from memory.lease import LeaseGuard
from memory.queue.protocol import UPKEEP_QUEUE, Task
from memory.records.protocol import Records
from memory.rows.brand import Control
from memory.rows.publication import Schedule, ScheduleFire
from memory.rows.sessions import Session
from runtime.compose import Runtime
from runtime.start import find_plans, materialise, start_cycle

log = structlog.get_logger(__name__)
DECISION = "schedule"
"""The kind of `create_once` that decides a local slot; its key is `name|local slot`."""
LATELY = 4
"""Weeks in which a theme ran that the rotation passes over."""
KEPT_OPEN = timedelta(days=28)
"""How far back a fire without a session is looked for: long after the week that it makes is over."""
AGAIN = timedelta(minutes=5)
"""When a fire that a person has to make possible (a brand's folder that is broken) is tried again."""
_TOO_FAR = timedelta(days=9)
"""Further ahead than any slot of a weekly rule can be: only a clock that was wrong puts a bookmark there."""
_BEFORE = timedelta(hours=3)
"""How long before its schedule was added a slot may be that was meant: zones move by hours, clocks are set back by hours."""
_PAGE = 100


class Started(NamedTuple):
    """What became of a fire when its turn came, and the session that makes its week."""

    outcome: FireOutcome
    session_id: str


Starter = Callable[[Schedule, ScheduleFire], Awaitable[Started]]
"""Makes the session of a fire, once, however often it is asked. Raises UsageError or NotFound for what a person has to mend."""


@dataclass(frozen=True)
class Rule:
    """When a schedule fires, and what."""

    weekly: Weekly
    themes: tuple[str, ...] = ()
    """In this order, again and again; empty: the brand's own, passing over what ran lately."""
    platforms: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def stored(self) -> dict[str, str]:
        """As the row holds it, without the zone."""
        lists = {"themes": self.themes, "platforms": self.platforms, "types": self.types}
        when = {"day": str(self.weekly.weekday), "at": self.weekly.at.isoformat(timespec="minutes")}
        return {**when, **{name: ",".join(value) for name, value in lists.items()}}


def rule_of(schedule: Schedule) -> Rule:
    """The rule of a row. Raises Damaged."""
    rule = schedule.rule
    try:
        wall_clock(schedule.next_at, schedule.zone)
        weekly = Weekly(int(rule["day"]), time.fromisoformat(rule["at"]), schedule.zone)
        lists = [tuple(filter(None, rule[name].split(","))) for name in ("themes", "platforms", "types")]
    except (KeyError, ValueError, OSError) as error:
        raise Damaged(
            f"schedules: {schedule.name!r} cannot be read ({error}): recover with `copydesk restore`"
        ) from None
    return Rule(weekly, *lists)


def new_schedule(brand: str, name: str, rule: Rule, now: datetime) -> Schedule:
    """The row of a schedule whose first slot is the first one after `now`."""
    return Schedule(
        brand=brand,
        name=name,
        kind="cycle",
        rule=rule.stored(),
        zone=rule.weekly.zone,
        next_at=rule.weekly.after(now).at,
        created_at=now,
        updated_at=now,
    )


def pause_control(name: str) -> str:
    """The control that holds a schedule while it is on."""
    return f"pause:schedule:{name}"


async def is_paused(records: Records, name: str) -> bool:
    """Whether a human holds the schedule."""
    flag = await records.find(Control, name=pause_control(name))
    return flag is not None and flag.value == "on"


def fire_task(schedule: Schedule, *, run_at: datetime | None = None) -> Task:
    """ "Look at this schedule", when it is due next. The same id every time."""
    return Task(
        id=f"fire:{name_id(schedule.brand, schedule.name)}",
        kind="fire_schedule",
        queue=UPKEEP_QUEUE,
        brand=schedule.brand,
        run_at=run_at or schedule.next_at,
        priority=8,
        payload={"schedule": schedule.name},
    )


async def list_fires(records: Records, *, since: datetime) -> list[ScheduleFire]:
    """The fires of the brand that were decided since then, the latest first."""
    fires: list[ScheduleFire] = []
    while page := await records.list_rows(ScheduleFire, limit=_PAGE, after={"id": fires[-1].id} if fires else None):
        fires += page
        if len(page) < _PAGE or page[-1].fired_at < since:
            break
    return [fire for fire in fires if fire.fired_at >= since]


def is_open(fire: ScheduleFire) -> bool:
    """Whether the fire is about to make its week."""
    return fire.outcome is FireOutcome.FIRED and not fire.session_id


@dataclass
class Scheduler:
    """Fires the schedules of one brand. Any number of them may look at once, and any of them may stop anywhere."""

    records: Records
    clock: Clock
    start: Starter

    async def look(self, name: str) -> datetime | None:
        """Decide and carry out what is due; when to look again, None for a schedule that is paused or not there.

        Raises Unavailable, DiskFull and LeaseLost; everything that was decided stays, and the next look goes on.
        """
        schedule = await self.records.find(Schedule, name=name)
        if schedule is None:
            return None
        rule, now = rule_of(schedule), self.clock.now()
        stuck = set()
        for fire in await self._open(schedule, now):
            if not await self._carry_out(schedule, fire):
                stuck.add(fire.id)
        if schedule.status != "active" or await is_paused(self.records, name):
            return now + AGAIN if stuck else None
        due = rule.weekly.due(schedule.next_at, now)
        # A clock that was a year behind has moved the bookmark to before there was a schedule: nothing was missed then.
        since = schedule.created_at - _BEFORE if schedule.created_at <= now else None
        for slot in due:
            if since is not None and slot.at < since:
                continue
            fire = await self._decide(schedule, slot.local, _policy(slot, due[-1], rule, now))
            if fire.id not in stuck and not await self._carry_out(schedule, fire):
                stuck.add(fire.id)
        if stuck:
            return now + AGAIN
        return await self._advance(schedule, rule, due[-1].at if due else None)

    async def trigger(self, schedule: Schedule) -> ScheduleFire:
        """Fire the present minute, whatever the rule says, paused or not; twice in one minute is once."""
        minute = local_minute(self.clock.now(), schedule.zone)
        fire = await self._decide(schedule, minute, FireOutcome.FIRED)
        await self._carry_out(schedule, fire, patient=False)
        return await self.records.get(ScheduleFire, id=fire.id)

    async def _open(self, schedule: Schedule, now: datetime) -> list[ScheduleFire]:
        """The fires that somebody left without a session, the first first."""
        recent = await list_fires(self.records, since=min(now, schedule.next_at) - KEPT_OPEN)
        return [fire for fire in reversed(recent) if fire.schedule == schedule.name and is_open(fire)]

    async def _decide(self, schedule: Schedule, local: str, outcome: FireOutcome) -> ScheduleFire:
        """The row of the slot as it was decided, by us or by whoever came first."""
        now = self.clock.now()
        fire = ScheduleFire(
            brand=self.records.brand,
            id=new_id(now),
            schedule=schedule.name,
            local_slot=local,
            outcome=outcome,
            fired_at=now,
        )
        once = await self.records.create_once(DECISION, f"{schedule.name}|{local}", fire, token=new_token())
        if (found := await self.records.find(ScheduleFire, id=once.row.id)) is not None:
            return found
        await self.records.put(once.row)  # the loser too: the winner may have died here
        if not is_open(once.row):
            await self._tell(once.row)
        return once.row

    async def _carry_out(self, schedule: Schedule, fire: ScheduleFire, *, patient: bool = True) -> bool:
        """Give the fire its session if it needs one; False when a person has to mend something first (raised unless `patient`)."""
        if not is_open(fire):
            return True
        try:
            outcome, session_id = await self.start(schedule, fire)
        except (UsageError, NotFound) as error:
            if not patient:
                raise
            log.error("schedule.not_fired", schedule=fire.schedule, local_slot=fire.local_slot, error=str(error))
            return False
        done = fire.model_copy(update={"outcome": outcome, "session_id": session_id})
        await self.records.put(done)
        await self._tell(done)
        return True

    async def _tell(self, fire: ScheduleFire) -> None:
        log.info("schedule.decided", schedule=fire.schedule, local_slot=fire.local_slot, outcome=str(fire.outcome))
        await note(
            self.records,
            self.clock,
            f"schedule.{fire.outcome}",
            session_id=fire.session_id,
            schedule=fire.schedule,
            local_slot=fire.local_slot,
            week=week_after(fire.local_slot),
        )

    async def _advance(self, schedule: Schedule, rule: Rule, last: datetime | None) -> datetime:
        """Move the bookmark behind what is carried out; where it stands."""
        now = self.clock.now()
        if last is not None:
            next_at = rule.weekly.after(last).at
        elif schedule.next_at - now > _TOO_FAR:
            # A clock that was far ahead moved it there. Slots that were decided then stay decided.
            next_at = rule.weekly.after(now).at
        else:
            next_at = rule.weekly.nearest(schedule.next_at).at
        if next_at != schedule.next_at:
            await self.records.put(schedule.model_copy(update={"next_at": next_at, "updated_at": now}))
        return next_at


def _policy(slot: LocalSlot, last: LocalSlot, rule: Rule, now: datetime) -> FireOutcome:
    """What becomes of a due slot that nobody has decided."""
    if now >= week_ends(week_after(slot.local), rule.weekly.zone):
        return FireOutcome.MISSED
    return FireOutcome.FIRED if slot == last else FireOutcome.COALESCED


def fire_session_id(fire: ScheduleFire) -> str:
    """The id of the session that the fire makes: the same whoever makes it."""
    return name_id("fire", fire.brand, fire.schedule, fire.local_slot)


def cycle_starter(runtime: Runtime, records: Records) -> Starter:
    """Starts themed weeks, as `cycle run` does."""

    async def start(schedule: Schedule, fire: ScheduleFire) -> Started:
        id, week = fire_session_id(fire), week_after(fire.local_slot)
        if (known := await _planned(runtime, records, week, id)) is not None:
            return known
        now = runtime.clock.now()
        if now >= week_ends(week, schedule.zone):
            return Started(FireOutcome.MISSED, "")
        profile, rule = runtime.profile(schedule.brand), rule_of(schedule)
        slots = week_slots(profile, week, platforms=rule.platforms, types=rule.types)
        if slots and slots[-1].at <= now:
            return Started(FireOutcome.MISSED, "")
        theme = await next_theme(records, profile, schedule, week)
        try:
            session = await start_cycle(
                runtime,
                schedule.brand,
                theme=theme.name,
                cycle_key=week,
                platforms=rule.platforms,
                types=rule.types,
                by=f"schedule {schedule.name}",
                session_id=id,
            )
        except Conflict:
            # Planned by somebody else just now, or by another scheduler, which chose another theme.
            if (known := await _planned(runtime, records, week, id)) is not None:
                return known
            raise
        return Started(FireOutcome.FIRED if session.id == id else FireOutcome.PLANNED, session.id)

    return start


async def _planned(runtime: Runtime, records: Records, week: str, id: str) -> Started | None:
    """What a fire comes to whose week has a plan already: its own, which is made whole, or somebody else's."""
    plans = await find_plans(records, week)
    for plan in plans:
        if plan.id == id:
            await materialise(runtime, records, plan)
            return Started(FireOutcome.FIRED, id)
    return Started(FireOutcome.PLANNED, plans[-1].id) if plans else None


async def next_theme(records: Records, profile: BrandProfile, schedule: Schedule, week: str) -> Theme:
    """The theme whose turn it is: after the one that this schedule ran last, in the order of its list, else of the brand's, where
    what ran in the weeks before is passed over. Raises BadInput when there is none.
    """
    rule = rule_of(schedule)
    themes = {theme.name: theme for theme in profile.themes}
    listed = list(rule.themes or themes)
    last = await _last_theme(records, schedule)
    if last in listed:  # also when the brand has dropped it since: the turn goes on behind it
        turn = listed.index(last) + 1
        listed = listed[turn:] + listed[:turn]
    order = [name for name in listed if name in themes]
    if not order:
        what = f"its themes {', '.join(rule.themes)} are" if rule.themes else "a theme is"
        raise BadInput(
            f"schedule {schedule.name!r}: {what} not in brand {profile.name!r}: add [[theme]] to its themes.toml"
        )
    if rule.themes:
        return themes[order[0]]
    ago: dict[str, int] = {}
    for n, before in enumerate(weeks_before(week, LATELY, schedule.zone), 1):
        plans = await find_plans(records, before)
        if plans and plans[-1].status is not SessionStatus.CANCELLED:
            ago.setdefault(_theme_of(plans[-1]), n)
    # All of them ran lately: the one that has rested longest.
    return themes[next((name for name in order if name not in ago), max(order, key=lambda name: ago.get(name, 0)))]


async def _last_theme(records: Records, schedule: Schedule) -> str:
    fires = await list_fires(records, since=schedule.created_at - KEPT_OPEN)
    for fire in fires:
        if fire.schedule == schedule.name and fire.outcome is FireOutcome.FIRED and fire.session_id:
            session = await records.find(Session, id=fire.session_id)
            if session is not None:
                return _theme_of(session)
    return ""


def _theme_of(session: Session) -> str:
    return str(session.request.get("theme", {}).get("name", ""))


async def fire_schedule(runtime: Runtime, brand: str, name: str, guard: LeaseGuard) -> datetime | None:
    """A worker's look at one schedule under its lease; when to look again. Raises as `Scheduler.look`."""
    records = runtime.records.for_brand(brand, lease=guard)
    return await Scheduler(records, runtime.clock, cycle_starter(runtime, records)).look(name)


async def schedule_tasks(records: Records, schedules: list[Schedule], stopped: set[str], now: datetime) -> list[Task]:
    """The tasks that these schedules of a brand call for; `stopped` are its controls that are on."""
    if not schedules:
        return []
    since = min(now, *(row.next_at for row in schedules)) - KEPT_OPEN
    left = {fire.schedule for fire in await list_fires(records, since=since) if is_open(fire)}
    tasks = []
    for row in schedules:
        if row.name in left or row.next_at - now > _TOO_FAR:
            tasks.append(fire_task(row, run_at=now))
        elif pause_control(row.name) not in stopped:
            tasks.append(fire_task(row))
    return tasks
