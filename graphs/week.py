"""A themed week as slots: pure planning, and the only place that knows time zones.

A slot is wall-clock time in the brand's zone, resolved once to a UTC instant: a time that the clocks skip is shifted forward by
the gap, a time that comes twice means the first (the rule of PEP 495's fold=0, and of Debian's cron).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from config.brand_profile import BrandProfile, Cell
from config.calendar import week_key
from config.errors import BadInput
from config.ids import name_id
from memory.rows.row import Instant


class Slot(BaseModel):
    """A place where a piece may go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    cycle_key: str
    day: int
    """1 for Monday to 7 for Sunday."""
    platform: str
    content_type: str
    account: str
    at: Instant
    local: str
    """Wall clock in the brand's zone, 2026-12-07T08:00."""
    resolution: str = "ok"
    """ok, gap-shifted or ambiguous-first."""

    def piece_id(self, *, plan: int, copy: int = 0) -> str:
        """The id of the piece that `plan` puts here."""
        return name_id("piece", self.id, plan, copy)


def parse_week(text: str) -> tuple[int, int]:
    """ISO year and week of `2026-W50`. Raises BadInput with the remedy for anything else."""
    match = re.fullmatch(r"([0-9]{4})-W([0-9]{2})", text)
    if match:
        year, week = int(match[1]), int(match[2])
        try:
            date.fromisocalendar(year, week, 1)
            if 2000 <= year <= 2200:
                return year, week
        except ValueError:
            pass
    raise BadInput(f"--week {text[:40]!r} is not an ISO week: write it as 2026-W50 (weeks 01 to 52 or 53)")


def monday(cycle_key: str) -> date:
    """The first day of the week `cycle_key`."""
    year, week = parse_week(cycle_key)
    return date.fromisocalendar(year, week, 1)


def cycle_key_of(instant: datetime, zone: str) -> str:
    """The ISO week in which `instant` falls in `zone`."""
    return week_key(instant.astimezone(ZoneInfo(zone)).date())


def next_cycle_key(now: datetime, zone: str) -> str:
    """The ISO week after the one of `now` in `zone`: what `cycle run` plans when no week is named."""
    return cycle_key_of(now + timedelta(days=7), zone)


def weeks_between(first: str, cycle_key: str) -> int:
    """Which week of the brand `cycle_key` is, counting `first` as 1."""
    return (monday(cycle_key) - monday(first)).days // 7 + 1


def resolve(day: date, at: time, zone: str) -> tuple[datetime, str]:
    """The UTC instant of wall-clock `at` on `day` in `zone`, and how it was found: ok, gap-shifted or ambiguous-first."""
    local = datetime.combine(day, at, tzinfo=ZoneInfo(zone))
    instant = local.astimezone(UTC)
    back = instant.astimezone(ZoneInfo(zone))
    if back.replace(tzinfo=None) != local.replace(tzinfo=None):
        return instant, "gap-shifted"
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        return instant, "ambiguous-first"
    return instant, "ok"


def wall_clock(instant: datetime, zone: str) -> datetime:
    """What the clocks of `zone` show at `instant`, naive. Raises KeyError or ValueError for a zone that is not known."""
    return instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def week_slots(
    profile: BrandProfile, cycle_key: str, *, platforms: Iterable[str] = (), types: Iterable[str] = ()
) -> list[Slot]:
    """Every slot of the brand's grid in that week, by time; only of the named platforms and content types if any are named."""
    wanted_platforms, wanted_types = set(platforms), set(types)
    cells = [
        cell
        for cell in profile.grid
        if (not wanted_platforms or cell.platform in wanted_platforms)
        and (not wanted_types or cell.content_type in wanted_types)
    ]
    first = monday(cycle_key)
    seen: Counter[tuple[int, str, str]] = Counter()
    slots = []
    for cell in sorted(cells, key=lambda c: (c.weekday, c.time, c.platform, c.content_type)):
        place = (cell.weekday, cell.platform, cell.content_type)
        slots.append(_slot(profile, cycle_key, first, cell, seen[place]))
        seen[place] += 1
    return sorted(slots, key=lambda slot: (slot.at, slot.platform, slot.content_type))


def _slot(profile: BrandProfile, cycle_key: str, first: date, cell: Cell, n: int) -> Slot:
    day = first + timedelta(days=cell.weekday - 1)
    at = time.fromisoformat(cell.time)
    instant, resolution = resolve(day, at, profile.zone)
    return Slot(
        id=name_id("slot", profile.name, cycle_key, cell.weekday, cell.platform, cell.content_type, n),
        cycle_key=cycle_key,
        day=cell.weekday,
        platform=cell.platform,
        content_type=cell.content_type,
        account=profile.account(cell.platform),
        at=instant,
        local=datetime.combine(day, at).isoformat(timespec="minutes"),
        resolution=resolution,
    )


def same_time_next_week(at: datetime, zone: str, *, weeks: int = 1) -> datetime:
    """The same weekday and wall-clock time in `zone`, `weeks` later; not simply 7 x 24 h, which drifts over a clock change."""
    local = at.astimezone(ZoneInfo(zone))
    return resolve(local.date() + timedelta(days=7 * weeks), local.time().replace(fold=0), zone)[0]
