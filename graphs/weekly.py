"""The local slots of a weekly rule: pure arithmetic over wall clocks, beside graphs/week.py, whose rule for gaps and folds it uses.

A slot is named by its wall clock, 2026-12-07T06:00, which the clocks of its zone show at most once as far as we count: skipped, it
stands for the instant that far behind the gap; shown twice, for the first of the two. So a name is an instant, and names never collide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from config.calendar import week_key
from graphs.week import cycle_key_of, monday, resolve, wall_clock

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class LocalSlot:
    """One turn of a weekly rule."""

    local: str
    """Wall clock in the rule's zone, 2026-12-07T06:00."""
    at: datetime
    """The UTC instant."""
    resolution: str = "ok"
    """ok, gap-shifted or ambiguous-first."""


@dataclass(frozen=True)
class Weekly:
    """Once a week, on `weekday` (1 for Monday to 7 for Sunday) at wall clock `at` of `zone`."""

    weekday: int
    at: time
    zone: str

    def on(self, day: date) -> LocalSlot:
        """The slot of that day, whatever weekday it is."""
        instant, resolution = resolve(day, self.at, self.zone)
        return LocalSlot(datetime.combine(day, self.at).isoformat(timespec="minutes"), instant, resolution)

    def after(self, instant: datetime) -> LocalSlot:
        """The first slot strictly after `instant`."""
        return next(slot for slot in self.around(instant) if slot.at > instant)

    def nearest(self, instant: datetime) -> LocalSlot:
        """The slot nearest to `instant`: the one that was meant, though the law of the zone has changed since it was written down."""
        slots = self.around(instant)
        return min((next(slots) for _ in range(4)), key=lambda slot: abs(slot.at - instant))

    def due(self, since: datetime, now: datetime) -> list[LocalSlot]:
        """The slots from the one nearest to `since` up to `now`, in order; none when that one is still to come."""
        slot = self.nearest(since)
        found = []
        while slot.at <= now:
            found.append(slot)
            slot = self.on(day_of(slot.local) + WEEK)
        return found

    def around(self, instant: datetime) -> Iterator[LocalSlot]:
        """Slots in order, beginning with one that is more than a week before `instant`."""
        day = wall_clock(instant, self.zone).date() - 2 * WEEK
        day += timedelta(days=(self.weekday - day.isoweekday()) % 7)
        while True:
            yield self.on(day)
            day += WEEK


def day_of(local: str) -> date:
    """The day of a slot's name."""
    return datetime.fromisoformat(local).date()


def week_after(local: str) -> str:
    """The ISO week after the one in which the slot's wall clock falls: the week that a fire makes."""
    return week_key(day_of(local) + WEEK)


def week_ends(cycle_key: str, zone: str) -> datetime:
    """The instant at which the Monday after that week begins in `zone`."""
    return resolve(monday(cycle_key) + WEEK, time(), zone)[0]


def local_minute(now: datetime, zone: str) -> str:
    """The name of the present minute in `zone`, for a fire that was asked for by hand."""
    return wall_clock(now, zone).isoformat(timespec="minutes")


def weeks_before(cycle_key: str, count: int, zone: str) -> list[str]:
    """The `count` ISO weeks before that one, the latest first."""
    noon = resolve(monday(cycle_key), time(12), zone)[0]
    return [cycle_key_of(noon - n * WEEK, zone) for n in range(1, count + 1)]
