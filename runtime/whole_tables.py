"""Every row of a table of one brand, from engines that can list a table and from those that must be told its partitions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, cast

from config.errors import Unsupported
from memory.records.protocol import Records
from memory.rows import (
    Assignment,
    Brand,
    ComplianceCheck,
    Event,
    LedgerStep,
    Metric,
    Piece,
    Revision,
    ScheduledPublication,
    Session,
    Usage,
)
from memory.rows.brand import REALM
from memory.rows.row import Row
from tools.publish.ledger import pub_key

_PAGE = 200
_AT_ONCE = 16
_BY_DAY = (Usage, Event)


Place = dict[str, Any]
"""The columns that name a partition, `brand` left out."""


async def pages_of(
    records: Records, row_type: type[Row], *, until: date, also: Iterable[Place] = ()
) -> AsyncIterator[list[Row]]:
    """Every readable row of a table of this brand, some at a time; of tables kept by day, those up to `until`.

    A table that the engine can list comes whole; of any other the partitions that this brand's rows name are read, and those
    in `also`. Raises Unsupported for a table that the engine cannot list and whose partitions no row names.
    """
    whole = await _whole(records, row_type)
    if whole is not None:
        yield whole
        return
    places = _distinct([*await _partitions(records, row_type, until), *also])
    for start in range(0, len(places), _AT_ONCE):
        some = places[start : start + _AT_ONCE]
        for rows in await asyncio.gather(*(_partition(records, row_type, one) for one in some)):
            yield rows


async def places_of(records: Records, row_type: type[Row], *, until: date, also: Iterable[Row] = ()) -> list[Place]:
    """The partitions in which this table may hold rows, those of the rows in `also` included. Raises Unsupported as `pages_of`."""
    if not row_type.key.cluster:
        return []  # keyed by id alone: every engine lists it
    whole = await _whole(records, row_type)
    found = await _partitions(records, row_type, until) if whole is None else map(_place, whole)
    return _distinct([*found, *(_place(row) for row in also if type(row) is row_type)])


async def rows_of(records: Records, row_type: type[Row], *, until: date) -> list[Row]:
    """All of `pages_of`."""
    return [row async for page in pages_of(records, row_type, until=until) for row in page]


async def _whole(records: Records, row_type: type[Row]) -> list[Row] | None:
    try:
        return cast(list[Row], await records.find_by(row_type))
    except Unsupported:
        return None


def _distinct(places: Iterable[Place]) -> list[Place]:
    return list({tuple(sorted(place.items())): place for place in places}.values())


async def _partition(records: Records, row_type: type[Row], place: Place) -> list[Row]:
    found: list[Row] = []
    after: Mapping[str, Any] | None = None
    while True:
        page = await records.list_rows(row_type, limit=_PAGE, after=after, **place)
        found += page
        if len(page) < _PAGE:
            return found
        after = {name: getattr(page[-1], name) for name in row_type.key.cluster if name not in place}


def _place(row: Row) -> Place:
    if isinstance(row, Brand):
        return {"realm": row.realm, "name": row.name}
    return {name: getattr(row, name) for name in row.key.partition if name != "brand"}


async def _partitions(records: Records, row_type: type[Row], until: date) -> list[Place]:
    """The partitions of a table, from the rows that name them. Raises Unsupported for a table that no row names."""
    if row_type.key.partition == ("brand",):
        return [{}]
    if row_type is Brand:
        return [{"realm": "all", "name": records.brand}]
    if row_type in (Revision, Metric, ComplianceCheck):
        return [{"content_id": piece.id} for piece in await records.find_by(Piece)]
    if row_type is LedgerStep:
        rows = cast(Sequence[ScheduledPublication], await rows_of(records, ScheduledPublication, until=until))
        return [{"pub_key": pub_key(row.brand, row.platform, row.account, row.content_id)} for row in rows]
    sessions = await records.list_rows(Session)
    if row_type is Assignment:
        return [{"session_id": session.id} for session in sessions]
    if row_type is ScheduledPublication:
        keys = {piece.cycle_key for piece in await records.find_by(Piece)} | {session.cycle_key for session in sessions}
        return [{"cycle_key": key} for key in sorted(keys) if key]
    if row_type in _BY_DAY:
        return [{"day": day.isoformat()} for day in await _days(records, sessions, until)]
    raise Unsupported(f"{row_type.table}: this store cannot list it, and no other row names its partitions")


async def _days(records: Records, sessions: Sequence[Session], until: date) -> list[date]:
    """The days on which the brand may have done something: a day more on either side, for clocks that differ."""
    brand = await records.find(Brand, realm=REALM, name=records.brand)
    instants = [instant for row in sessions for instant in (row.created_at, row.updated_at)]
    instants += [brand.created_at, brand.updated_at] if brand is not None else []
    days = [until, *(instant.date() for instant in instants)]
    first, last = min(days) - timedelta(days=1), max(days) + timedelta(days=1)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
