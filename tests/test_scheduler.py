"""Schedules in time: 400 days of wall clocks in twelve zones, with outages, pauses, clock steps, and machines that race, sleep and die.

What must become of each slot is worked out a second time here, from the words of the policy and by another road: an offset is
looked up, never resolved by the code under test.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from config.clock import ManualClock
from config.vocabulary import FireOutcome
from graphs.weekly import Weekly, week_after, week_ends, weeks_before
from memory.records.protocol import Records
from memory.rows.brand import Control
from memory.rows.publication import Schedule, ScheduleFire
from runtime.scheduler import Rule, Scheduler, Started, fire_session_id, new_schedule, pause_control
from tests.fakes.light_records import LightRecords, Machine

DAYS = 400
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
ZONES = {
    "America/New_York": date(2026, 1, 1),
    "Europe/Berlin": date(2026, 1, 1),
    "Australia/Lord_Howe": date(2026, 1, 1),  # 30 minutes of summer time
    "Antarctica/Troll": date(2026, 1, 1),  # two hours of it
    "Pacific/Apia": date(2011, 6, 1),  # there was no 30 December 2011
    "America/Santiago": date(2026, 1, 1),  # changes at midnight
    "Africa/Casablanca": date(2026, 1, 1),  # goes back for Ramadan
    "Pacific/Chatham": date(2026, 1, 1),
    "America/St_Johns": date(2010, 6, 1),  # changed at 00:01
    "Asia/Kathmandu": date(2026, 1, 1),
    "Asia/Pyongyang": date(2018, 1, 1),  # half an hour for good
    "UTC": date(2026, 1, 1),
}
RULES = ((7, time(2, 30)), (7, time(1, 30)), (1, time(0, 0)), (5, time(6, 0)), (6, time(23, 45)), (3, time(12, 0)))
"""Sunday nights, where clocks change; midnights; the day that an island left out."""


# By another road


def offsets_around(local: datetime, zone: str) -> list[timedelta]:
    """Every offset from UTC that the zone has within two days, the earliest first."""
    found: list[timedelta] = []
    for hours in range(-48, 49):
        instant = (local + hours * HOUR).replace(tzinfo=UTC)
        offset = cast(timedelta, instant.astimezone(ZoneInfo(zone)).utcoffset())
        if not found or found[-1] != offset:
            found.append(offset)
    return found


def instant_of(local: datetime, zone: str) -> datetime:
    """The first instant at which the clocks show `local`; of a time that they skip, the one by the offset before the gap."""
    offsets = offsets_around(local, zone)
    shown = [(local - offset).replace(tzinfo=UTC) for offset in offsets]
    shown = [at for at in shown if at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local]
    return min(shown) if shown else (local - offsets[0]).replace(tzinfo=UTC)


@dataclass
class Oracle:
    """The policy, in its own words: of the slots that are found due together the last is fired, those whose week is over are missed,
    the others coalesced.
    """

    zone: str
    slots: list[tuple[datetime, datetime]]
    """(wall clock, instant) of every slot, in order."""
    decided: int = 0

    def __post_init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def look(self, now: datetime) -> None:
        due = [slot for slot in self.slots[self.decided :] if slot[1] <= now]
        today = now.astimezone(ZoneInfo(self.zone)).date()
        for local, _ in due:
            monday_of_its_week = local.date() - local.weekday() * DAY
            over = today >= monday_of_its_week + 2 * WEEK
            fired = "fired" if local == due[-1][0] else "coalesced"
            self.outcomes[local.isoformat(timespec="minutes")] = "missed" if over else fired
        self.decided += len(due)


# The world


class Newsroom:
    """What stands for the rest: it makes a session by its id, as often as it is asked."""

    def __init__(self) -> None:
        self.sessions: dict[str, str] = {}
        self.asked = 0

    async def start(self, schedule: Schedule, fire: ScheduleFire) -> Started:
        self.asked += 1
        await asyncio.sleep(0)
        self.sessions[fire_session_id(fire)] = f"{schedule.name}|{fire.local_slot}"
        await asyncio.sleep(0)
        return Started(FireOutcome.FIRED, fire_session_id(fire))


class World:
    """Two machines, one store, and six schedules in one zone."""

    def __init__(self, zone: str, start: datetime, rng: Random) -> None:
        self.zone, self.rng, self.shared, self.newsroom = zone, rng, LightRecords(), Newsroom()
        self.clocks = [ManualClock(start), ManualClock(start)]
        self.machines = [Machine(self.shared, rng), Machine(self.shared, rng)]
        self.schedulers = [
            Scheduler(cast(Records, machine), clock, self.newsroom.start)
            for machine, clock in zip(self.machines, self.clocks, strict=True)
        ]
        self.operator = Machine(self.shared, rng)
        self.asleep: asyncio.Task[Any] | None = None
        self.seen: Counter[str] = Counter()

    async def add(self, name: str, weekday: int, at: time) -> None:
        rule = Rule(Weekly(weekday, at, self.zone))
        await self.operator.put(new_schedule("acme", name, rule, self.clocks[0].now()))

    async def pause(self, name: str, on: bool) -> None:
        value = "on" if on else "off"
        now = self.clocks[0].now()
        await self.operator.put(Control(brand="acme", name=pause_control(name), value=value, updated_at=now))

    def tell_time(self, now: datetime) -> None:
        for clock in self.clocks:
            clock.step(now - clock.now())

    async def look(self, name: str) -> None:
        """One machine looks, or both at once or one after the other; the first of two may stop at any call, for good or for long."""
        if self.asleep is not None and self.rng.random() < 0.5:
            self.machines[0].wake()
            await self.schedulers[1].look(name)  # the sleeper goes on while another looks
            await self.asleep
            self.asleep = None
        elif self.asleep is not None:
            await self.schedulers[1].look(name)
        elif self.rng.random() < 0.5:
            await self.rng.choice(self.schedulers).look(name)
        elif self.rng.random() < 0.7:
            self.seen["raced"] += 1
            await asyncio.gather(*(one.look(name) for one in self.schedulers))
        else:
            suspended = asyncio.create_task(self.machines[0].suspend_after(self.rng.randrange(24)).wait())
            sleeper = asyncio.create_task(self.schedulers[0].look(name))
            at_once = self.rng.random() < 0.5
            if at_once:
                await self.schedulers[1].look(name)
            await asyncio.wait({sleeper, suspended}, return_when=asyncio.FIRST_COMPLETED)
            suspended.cancel()
            if sleeper.done():
                self.machines[0].wake()
                await sleeper
                return
            if not at_once:
                await self.schedulers[1].look(name)
            if self.rng.random() < 0.5:
                self.asleep = sleeper
                self.seen["slept"] += 1
            else:
                sleeper.cancel()
                await asyncio.wait({sleeper})
                self.machines[0].wake()
                self.seen["killed"] += 1


@pytest.mark.parametrize("zone", ZONES)
async def test_every_slot_of_400_days_is_decided_once_as_the_policy_says(zone: str) -> None:
    rng = Random(f"{zone} 7")
    now = start = datetime.combine(ZONES[zone], time(9), tzinfo=UTC)
    world, oracles = World(zone, start, rng), dict[str, Oracle]()
    for n, (weekday, at) in enumerate(RULES):
        await world.add(f"s{n}", weekday, at)
        days = [start.date() + (k - 2) * DAY for k in range(DAYS + 60)]
        locals_ = [datetime.combine(day, at) for day in days if day.isoweekday() == weekday]
        slots = [(local, instant_of(local, zone)) for local in locals_]
        oracles[f"s{n}"] = Oracle(zone, [slot for slot in slots if slot[1] > start])
    paused: dict[str, datetime] = {}
    while now < start + DAYS * DAY:
        outage = rng.random()
        now += rng.uniform(7, 35) * DAY if outage < 0.01 else rng.uniform(0, 72 if outage < 0.2 else 12) * HOUR
        told = now + (rng.uniform(-2, 2) * HOUR if rng.random() < 0.3 else timedelta(0))
        world.tell_time(told)
        told = world.clocks[0].now()
        for name, oracle in oracles.items():
            if name in paused and paused[name] <= now:
                del paused[name]
                await world.pause(name, False)
            elif name not in paused and rng.random() < 0.003:
                paused[name] = now + rng.uniform(0, 20) * DAY
                await world.pause(name, True)
            due = oracle.slots[oracle.decided][1] <= told
            if not due and rng.random() < 0.9:
                continue  # its task waits in the queue; now and then reconcile brings a look all the same
            if name not in paused:
                oracle.look(told)
            await world.look(name)
    world.machines[0].wake()
    if world.asleep is not None:
        await world.asleep

    expected = {f"{name}|{local}": outcome for name, o in oracles.items() for local, outcome in o.outcomes.items()}
    fires = world.shared.rows(ScheduleFire)
    assert max(Counter(f"{fire.schedule}|{fire.local_slot}" for fire in fires).values()) == 1, "decided twice"
    assert {f"{fire.schedule}|{fire.local_slot}": str(fire.outcome) for fire in fires} == expected
    fired = sorted(slot for slot, outcome in expected.items() if outcome == "fired")
    assert sorted(world.newsroom.sessions.values()) == fired, "a session for each fire, and no other"
    assert all(bool(fire.session_id) is (fire.outcome is FireOutcome.FIRED) for fire in fires)
    counts = Counter(expected.values())
    assert min(counts[kind] for kind in ("fired", "coalesced", "missed")) > 0, counts
    assert counts.total() > 6 * 50
    assert world.seen["raced"] > 20
    assert world.seen["slept"] > 3
    assert world.seen["killed"] > 3


# Wall clocks, one case a row


def slots_from(weekly: Weekly, start: datetime, count: int) -> list[tuple[str, str, str]]:
    """Name, UTC instant and resolution of the first slots after `start`."""
    found = []
    for _ in range(count):
        slot = weekly.after(start)
        found.append((slot.local, slot.at.strftime("%m-%d %H:%M"), slot.resolution))
        start = slot.at
    return found


def test_a_wall_clock_that_is_skipped_is_shifted_by_the_gap_and_the_next_one_is_not() -> None:
    assert slots_from(Weekly(7, time(2, 30), "Europe/Berlin"), datetime(2026, 3, 22, 12, tzinfo=UTC), 2) == [
        ("2026-03-29T02:30", "03-29 01:30", "gap-shifted"),
        ("2026-04-05T02:30", "04-05 00:30", "ok"),
    ]


def test_a_wall_clock_that_comes_twice_means_the_first() -> None:
    assert slots_from(Weekly(7, time(2, 30), "Europe/Berlin"), datetime(2026, 10, 18, 12, tzinfo=UTC), 2) == [
        ("2026-10-25T02:30", "10-25 00:30", "ambiguous-first"),
        ("2026-11-01T02:30", "11-01 01:30", "ok"),
    ]


def test_a_day_that_an_island_left_out_has_its_slot_on_the_day_after() -> None:
    assert slots_from(Weekly(5, time(6), "Pacific/Apia"), datetime(2011, 12, 28, tzinfo=UTC), 2) == [
        ("2011-12-30T06:00", "12-30 16:00", "gap-shifted"),  # 31 December, 06:00 there
        ("2012-01-06T06:00", "01-05 16:00", "ok"),
    ]


@pytest.mark.parametrize("hours", [-3, 0, 3])
def test_a_slot_is_known_though_the_law_of_its_zone_changed_since_it_was_written_down(hours: int) -> None:
    weekly = Weekly(1, time(6), "Europe/Berlin")
    slot = weekly.after(datetime(2026, 12, 7, 9, tzinfo=UTC))
    assert weekly.nearest(slot.at + hours * HOUR) == slot
    assert [due.local for due in weekly.due(slot.at + hours * HOUR, slot.at + WEEK)] == [
        "2026-12-14T06:00",
        "2026-12-21T06:00",
    ]


@pytest.mark.parametrize(
    ("local", "week"),
    [
        ("2026-12-20T23:59", "2026-W52"),
        ("2026-12-21T00:00", "2026-W53"),
        ("2026-12-28T06:00", "2027-W01"),
        ("2027-01-03T06:00", "2027-W01"),
        ("2027-01-04T06:00", "2027-W02"),
    ],
)
def test_a_slot_makes_the_iso_week_after_its_own_across_years(local: str, week: str) -> None:
    assert week_after(local) == week


def test_a_week_ends_where_the_clocks_of_the_zone_begin_the_next_monday() -> None:
    assert week_ends("2026-W13", "Europe/Berlin") == datetime(2026, 3, 29, 22, tzinfo=UTC), "summer time by then"
    assert week_ends("2026-W53", "Pacific/Chatham") == datetime(2027, 1, 3, 10, 15, tzinfo=UTC)
    assert weeks_before("2027-W01", 3, "UTC") == ["2026-W53", "2026-W52", "2026-W51"]


async def one_schedule(zone: str = "Europe/Berlin") -> tuple[World, datetime]:
    """A world with one schedule, Mondays at six, and its first instant."""
    start = datetime(2026, 12, 7, 9, tzinfo=UTC)
    world = World(zone, start, Random(1))
    await world.add("s", 1, time(6))
    return world, Weekly(1, time(6), zone).after(start).at


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1), timedelta(seconds=-3), timedelta(hours=2)])
async def test_a_clock_that_steps_around_a_slot_fires_it_once(step: timedelta) -> None:
    world, slot = await one_schedule()
    for moment in (-step, timedelta(0), step, -step, timedelta(0), abs(step), timedelta(0)):
        world.tell_time(slot + moment)
        await world.schedulers[0].look("s")
    assert list(world.newsroom.sessions.values()) == ["s|2026-12-14T06:00"]
    assert world.newsroom.asked == 1
    world.tell_time(slot + WEEK)
    await world.schedulers[0].look("s")
    assert world.newsroom.asked == 2, "and the next one at its time"


async def test_a_machine_that_sleeps_eight_hours_over_its_slot_fires_it_when_it_wakes() -> None:
    world, slot = await one_schedule()
    world.tell_time(slot - HOUR)
    await world.schedulers[0].look("s")
    world.tell_time(slot + 7 * HOUR)
    assert await world.schedulers[0].look("s") == slot + WEEK
    assert world.newsroom.asked == 1


@pytest.mark.parametrize("call", range(14))
async def test_a_machine_that_sleeps_for_weeks_in_the_middle_of_a_look_undoes_nothing(call: int) -> None:
    world, slot = await one_schedule()
    world.tell_time(slot)
    asleep = world.machines[0].suspend_after(call)
    sleeper = asyncio.create_task(world.schedulers[0].look("s"))
    await asyncio.wait({sleeper, asyncio.create_task(asleep.wait())}, return_when=asyncio.FIRST_COMPLETED)
    assert not sleeper.done()
    for weeks in range(4):
        world.tell_time(slot + weeks * WEEK)
        await world.schedulers[1].look("s")
    world.machines[0].wake()
    await sleeper
    await world.schedulers[1].look("s")
    fires = {fire.local_slot[5:10]: str(fire.outcome) for fire in world.shared.rows(ScheduleFire)}
    assert fires == dict.fromkeys(("12-14", "12-21", "12-28", "01-04"), "fired")
    assert len(world.newsroom.sessions) == 4
    (schedule,) = world.shared.rows(Schedule)
    assert schedule.next_at == slot + 4 * WEEK
