"""Every row of a table of one brand, from engines that can list a table and from those that must be told its partitions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
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
from memory.rows.row import Row
from tools.publish.ledger import pub_key

_PAGE = 200


async def rows_of(records: Records, row_type: type[Row]) -> list[Row]:
    """Every readable row of a table of this brand, by whatever way the engine has."""
    try:
        return cast(list[Row], await records.find_by(row_type))
    except Unsupported:
        pass
    found: list[Row] = []
    for partition in await _partitions(records, row_type):
        after: Mapping[str, Any] | None = None
        while True:
            page = await records.list_rows(row_type, limit=_PAGE, after=after, **partition)
            found += page
            if len(page) < _PAGE:
                break
            after = {name: getattr(page[-1], name) for name in row_type.key.cluster if name not in partition}
    return found


async def _partitions(records: Records, row_type: type[Row]) -> list[dict[str, str]]:
    """The partitions of a table, from the rows that name them. Raises Unsupported for a table that no row names."""
    if row_type.key.partition == ("brand",):
        return [{}]
    if row_type is Brand:
        return [{"realm": "all", "name": records.brand}]
    if row_type in (Revision, Metric, ComplianceCheck):
        return [{"content_id": piece.id} for piece in await records.find_by(Piece)]
    sessions = await records.list_rows(Session)
    if row_type is Assignment:
        return [{"session_id": session.id} for session in sessions]
    if row_type is ScheduledPublication:
        keys = {piece.cycle_key for piece in await records.find_by(Piece)} | {session.cycle_key for session in sessions}
        return [{"cycle_key": key} for key in sorted(keys) if key]
    if row_type is LedgerStep:
        rows = cast(list[ScheduledPublication], await rows_of(records, ScheduledPublication))
        keys = {pub_key(row.brand, row.platform, row.account, row.content_id) for row in rows}
        return [{"pub_key": key} for key in sorted(keys)]
    if row_type in (Usage, Event):
        brand = await records.get(Brand, realm="all", name=records.brand)
        first, last = (
            brand.created_at.date(),
            max([brand.updated_at, *(session.updated_at for session in sessions)]).date(),
        )
        days = (last - first).days + 8  # a late upkeep row is no more than a few days behind the last session
        return [{"day": (first + timedelta(days=n)).isoformat()} for n in range(days)]
    raise Unsupported(f"{row_type.table}: this store cannot list it, and no other row names its partitions")
