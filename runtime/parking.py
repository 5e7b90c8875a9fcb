"""Parking: what a thread does while a model, or anything else that it needs, is away.

Nobody's failure: the attempt is not counted, the row says since when and why, and the next look comes by itself, after waits
that grow to five minutes. What is away for longer than `away_limit` is given up and says so. Where a thread stands is read
from its row, so that neither a worker's death nor a wiped queue makes it forget.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from random import random
from typing import TYPE_CHECKING, Any, TypeVar

from config.errors import Unavailable
from config.vocabulary import TERMINAL_SESSION, UNSETTLED, PieceState
from graphs.context import note
from graphs.sessions import session_piece_ids
from memory.rows.content import Piece
from memory.rows.sessions import Session

if TYPE_CHECKING:
    from config.clock import Clock
    from memory.records.protocol import Records

T = TypeVar("T", Piece, Session)
LONGEST_WAIT = timedelta(seconds=300)
_SHORTEST_WAIT = timedelta(seconds=2)
_PARKED = re.compile(r"parked since (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)Z, ")


def parked_since(row: Piece | Session) -> datetime | None:
    """Since when the thread of this row waits for what is away; None while it does not."""
    found = _PARKED.match(row.reason)
    return datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC) if found else None


def wait_of(error: Unavailable, away_for: timedelta, *, longest: timedelta = LONGEST_WAIT) -> timedelta:
    """How long until the next look: about half of what it has been away for, full jitter, never less than was asked for."""
    base = min(longest, max(_SHORTEST_WAIT, away_for / 2))
    wait = base * (0.5 + random() / 2)
    return max(wait, min(error.retry_after, LONGEST_WAIT)) if error.retry_after else wait


async def park(
    records: Records, clock: Clock, row: Piece | Session, error: Unavailable, *, limit: timedelta
) -> timedelta | None:
    """Write on the row that it waits for what is away; how long until the next look.

    None, and nothing is written, when it has waited for `limit` already. The caller holds the thread's lease.
    """
    now = clock.now()
    since = parked_since(row) or now.replace(microsecond=0)
    if now - since >= limit:
        return None
    wait = wait_of(error, now - since)
    reason = f"parked since {since:%Y-%m-%dT%H:%M:%S}Z, goes on by itself: {error}"[:500]
    first = parked_since(row) is None
    parked = row.model_copy(update={"reason": reason, "retry_at": now + wait, "updated_at": now})
    await records.put(parked)
    if first:
        await _tell(records, clock, parked, "parked", reason=str(error)[:300])
    return wait


async def unpark(records: Records, clock: Clock, row: T, *, since: datetime | None) -> T:
    """What it waited for since `since` is back: the row, as it is now, says so; nothing is written where that is None."""
    if since is None:
        return row
    now = clock.now()
    reason = row.reason if parked_since(row) is None else ""  # its last step may have given it another
    fresh = row.model_copy(update={"reason": reason, "retry_at": None, "updated_at": now})
    await records.put(fresh)
    await _tell(records, clock, fresh, "unparked", away_s=int((now - since).total_seconds()))
    return fresh.model_copy(update={"row_version": fresh.row_version + 1})


async def _tell(records: Records, clock: Clock, row: Piece | Session, what: str, **detail: Any) -> None:
    if isinstance(row, Piece):
        await note(records, clock, f"piece.{what}", session_id=row.session_id, piece_id=row.id, **detail)
    else:
        await note(records, clock, f"session.{what}", session_id=row.id, **detail)


def can_park(row: Piece | Session) -> bool:
    """Whether the thread of this row still has a step to make; what is settled or ended keeps its reason."""
    if isinstance(row, Piece):
        return row.state in UNSETTLED or row.state is PieceState.WAITING
    return row.status not in TERMINAL_SESSION


async def what_it_waits_for(records: Records, session: Session) -> str:
    """Since when and for what the session waits, or the first of its pieces that does; '' when nothing of it is parked."""
    pieces = await records.find_many(Piece, [{"id": id} for id in session_piece_ids(session)])
    rows: list[Piece | Session] = [session, *pieces]
    return next((row.reason for row in rows if parked_since(row) is not None), "")
