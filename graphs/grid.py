"""Changes to one week's grid: cells dropped, moved and added before anything is spent.

A cell is written `DAY/PLATFORM/TYPE@HH:MM`, the day by three letters or more (`tue/instagram/carousel@08:00`); to name one that
is there, the time may be left out where only one cell fits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from config.brand_profile import BrandProfile, Cell
from config.calendar import DAYS
from config.errors import BadInput
from config.platforms import limits
from config.vocabulary import CONTENT_TYPES, PLATFORMS, nearest

_CELL = re.compile(r"([a-z]{3,9})/([a-z0-9_-]{1,40})/([a-z0-9_-]{1,40})(?:@([0-9:]{4,5}))?", re.IGNORECASE)


@dataclass(frozen=True)
class GridChange:
    """One change: the cell that leaves, the cell that comes, or both."""

    drop: str = ""
    add: str = ""


def cell_name(cell: Cell) -> str:
    """`tue/instagram/carousel@08:00`."""
    return f"{cell.day[:3]}/{cell.platform}/{cell.content_type}@{cell.time}"


def parse_change(text: str) -> GridChange:
    """`CELL=CELL` as a change. Raises BadInput naming --change."""
    old, equals, new = text.partition("=")
    if not equals or not old or not new:
        raise BadInput(f"--change {text[:80]!r}: write CELL=CELL, as tue/instagram/carousel=wed/instagram/quote@19:00")
    return GridChange(drop=old, add=new)


def edit_grid(profile: BrandProfile, changes: Sequence[GridChange]) -> tuple[BrandProfile, list[str]]:
    """The profile with the week's grid as `changes` leave it, and what they came to: sorted `-CELL` and `+CELL` with times.

    Raises BadInput naming the flag, the cell and what there is, before anything is changed.
    """
    grid = list(profile.grid)
    for change in changes:
        flag = "--change" if change.drop and change.add else "--drop" if change.drop else "--add"
        time = ""
        if change.drop:
            old = _find(grid, change.drop, flag)
            grid.remove(old)
            time = old.time
        if change.add:
            new = _make(change.add, flag, time)
            if any((new.day, new.platform, new.time) == (cell.day, cell.platform, cell.time) for cell in grid):
                raise BadInput(f"{flag} {change.add}: the grid has a cell there already: choose another time")
            grid.append(new)
    # Read off the two grids: what left and came back is no change, whatever the order of the flags, and what left again is one.
    net = [f"-{cell_name(cell)}" for cell in profile.grid if cell not in grid]
    net = sorted(net + [f"+{cell_name(cell)}" for cell in grid if cell not in profile.grid])
    return profile.model_copy(update={"grid": tuple(grid)}), net


def _parts(text: str, flag: str) -> tuple[str, str, str, str]:
    found = _CELL.fullmatch(text.strip())
    if not found:
        raise BadInput(
            f"{flag} {text[:80]!r} is not a cell: write DAY/PLATFORM/TYPE@HH:MM, as tue/instagram/quote@19:00"
            + (" (the time may be left out where one cell fits)" if flag != "--add" else "")
        )
    day = [name for name in DAYS if name.startswith(found[1].lower())]
    if not day:
        raise BadInput(f"{flag} {text}: {found[1]!r} is not a day{nearest(found[1], list(DAYS))}")
    for registry, name in ((PLATFORMS, found[2].lower()), (CONTENT_TYPES, found[3].lower())):
        registry.parse(name)
    return day[0], found[2].lower(), found[3].lower(), found[4] or ""


def _find(grid: Sequence[Cell], text: str, flag: str) -> Cell:
    day, platform, content_type, time = _parts(text, flag)
    found = [
        cell
        for cell in grid
        if (cell.day, cell.platform, cell.content_type) == (day, platform, content_type) and time in ("", cell.time)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(f"{flag} {text} names {len(found)} cells: say which: {', '.join(map(cell_name, found))}")
    that_day = [cell_name(cell) for cell in grid if cell.day == day]
    raise BadInput(f"{flag} {text}: the grid has no such cell; on {day} it has {', '.join(that_day) or 'none'}")


def _make(text: str, flag: str, time: str) -> Cell:
    day, platform, content_type, at = _parts(text, flag)
    if not at and not time:
        raise BadInput(f"{flag} {text}: say when: {text}@08:00")
    limits(platform, content_type)
    try:
        return Cell.model_validate({"day": day, "platform": platform, "content_type": content_type, "time": at or time})
    except ValidationError as error:
        raise BadInput(f"{flag} {text}: time {at!r} {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
