"""Ids as people give them: whole, or the first 8 or more characters where that names one thing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from config.errors import BadInput, NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from memory.records.protocol import Records
    from memory.rows.content import Piece
    from memory.rows.sessions import Session

_WHOLE = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PREFIX = re.compile(r"[0-9a-fA-F]{8}[0-9a-fA-F-]{0,27}")


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_HasId)


def parse_ref(text: str, *, what: str) -> str:
    """`text` as an id or its beginning, lower case. Raises BadInput otherwise; call it before anything is opened."""
    if _PREFIX.fullmatch(text) or _WHOLE.fullmatch(text):
        return text.lower()
    raise BadInput(f"{what} {text[:80]!r} is not an id: give a full uuid, or at least its first 8 characters")


def only(found: Sequence[T], ref: str, *, what: str, where: str) -> T:
    """The one row of `found`. Raises NotFound for none, BadInput for several."""
    if not found:
        raise NotFound(f"{what} {ref!r} is not known: {where}")
    if len(found) > 1:
        raise BadInput(f"{what} {ref!r} begins {len(found)} ids: give more of it: {where}")
    return found[0]


async def find_session(records: Records, ref: str) -> Session:
    """The brand's session whose id is or begins with `ref` (of `parse_ref`)."""
    from memory.rows.sessions import Session

    if len(ref) == 36:
        row = await records.find(Session, id=ref)
        found = [row] if row else []
    else:
        found = [row for row in await records.list_rows(Session) if row.id.startswith(ref)]
    return only(found, ref, what="session", where="`session list` prints the ids")


async def find_piece(records: Records, ref: str) -> Piece:
    """The brand's piece whose id is or begins with `ref` (of `parse_ref`)."""
    return only(await match_pieces(records, ref), ref, what="piece", where="`piece list` prints the ids")


async def match_pieces(records: Records, ref: str) -> list[Piece]:
    """The brand's pieces whose id is or begins with `ref`."""
    from memory.rows.content import Piece

    if len(ref) == 36:
        row = await records.find(Piece, id=ref)
        return [row] if row else []
    return [row for row in await records.find_by(Piece, brand=records.brand) if row.id.startswith(ref)]


def parse_at(text: str, *, flag: str, zone: str) -> tuple[datetime, str]:
    """The UTC instant of `2026-12-07T10:00` and how it was found; without an offset it is wall clock in `zone`.

    Raises BadInput naming the flag.
    """
    from datetime import UTC, datetime

    from graphs.week import resolve

    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2})?", text, re.ASCII):
            raise ValueError("it is not a date and time")
        at = datetime.fromisoformat(text)
        if not 2000 <= at.year <= 2200:
            raise ValueError("the year must be 2000 to 2200")
    except ValueError as error:
        raise BadInput(f"{flag} {text[:40]!r}: {error}: write 2026-12-07T10:00, or with an offset as +02:00") from None
    if at.tzinfo is None:
        return resolve(at.date(), at.time(), zone)
    return at.astimezone(UTC), "ok"


def when(instant: datetime | None, zone: str) -> str:
    """`instant` as wall clock in `zone`, for people; '' for None."""
    from zoneinfo import ZoneInfo

    return instant.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M") if instant else ""


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns for people, as wide as they need; the last one runs on. 'none' without rows."""
    if not rows:
        return "none"
    cells = [[str(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(headers) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)
