"""Schedules in time: 400 days of wall clocks in twelve zones, with outages, pauses, clock steps, and machines that race and sleep.

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
from graphs.weekly import Weekly
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
        """One machine looks, or both at once; one of the two may fall asleep at any call, and goes on much later."""
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
            await self.schedulers[1].look(name)
            await asyncio.wait({sleeper, suspended}, return_when=asyncio.FIRST_COMPLETED)
            suspended.cancel()
            if sleeper.done():
                self.machines[0].wake()
                await sleeper
            else:
                self.asleep = sleeper
                self.seen["slept"] += 1


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
    assert world.seen["slept"] > 5
