"""Going on where work was given up: failed and dead-lettered pieces and sessions, each under its own lease.

Doing it twice is harmless: what is not given up is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from config.errors import BadInput, Conflict
from config.vocabulary import UNSETTLED, PieceState, SessionStatus
from graphs.context import advance_piece_task, advance_session_task, note
from graphs.ids import brief_id
from graphs.pieces import move
from graphs.sessions import session_piece_ids
from memory.records.protocol import Records
from memory.rows.content import Piece
from memory.rows.sessions import Assignment, Session
from runtime.compose import Runtime
from runtime.hold import hold_piece, hold_session
from runtime.parking import parked_since
from runtime.thread import read_thread

MAX_ADDED_USD = 100_000.0
WAIT = timedelta(seconds=30)
"""How long a human verb waits for a lease that somebody holds."""


@dataclass(frozen=True)
class Revived:
    """What became of one given-up piece: `changed` with the state it is in now, or why it was left."""

    piece_id: str
    changed: bool
    state: str
    why: str = ""


async def revive_piece(runtime: Runtime, brand: str, piece_id: str, *, by: str, from_draft: bool = False) -> Revived:
    """Make a given-up piece workable again and wake it.

    Its thread goes on behind its last finished step. Where there is none to go on with, or with `from_draft`, its next
    run starts: at the checks with `from_draft` and a draft, else at a new draft. A piece that was sealed is left: what a
    platform refused needs a new piece. Raises NotFound, Busy.
    """
    found = await runtime.records.for_brand(brand).get(Piece, id=piece_id)
    if found.state is not PieceState.FAILED and not found.dead_letter:
        return Revived(piece_id, False, str(found.state), "it was not given up")
    async with hold_piece(runtime, brand, piece_id, wait=WAIT, look_again=True) as guard:
        records = runtime.records.for_brand(brand, lease=guard)
        piece = await records.get(Piece, id=piece_id)
        fresh: dict[str, Any] = {"attempts": 0, "deaths": 0, "dead_letter": "", "retry_at": None}
        if piece.state is not PieceState.FAILED:
            if not piece.dead_letter:
                return Revived(piece_id, False, str(piece.state), "somebody revived it meanwhile")
            await records.put(piece.model_copy(update={**fresh, "updated_at": runtime.clock.now()}))
            return Revived(piece_id, True, str(piece.state))
        if piece.sealed_hash:
            return Revived(
                piece_id, False, "failed", f"the platform refused it: `piece copy {piece_id}` makes a new one"
            )
        brief = piece.brief_id or await _finished_brief(records, piece)
        if not brief and not piece.content_hash:
            return Revived(piece_id, False, "failed", f"no brief of day {piece.cycle_day} was made")
        fresh |= {"reason": "", "brief_id": brief}
        if not from_draft and await _unfinished(runtime, "piece", brand, piece.thread_id):
            state = PieceState.CHECKING if piece.content_hash else PieceState.PLANNED
        else:
            await runtime.checkpoints.prune(brand, piece.thread_id)
            keep = from_draft and bool(piece.content_hash)
            state = PieceState.CHECKING if keep else PieceState.PLANNED
            fresh |= {"run": piece.run + 1, "content_hash": piece.content_hash if keep else ""}
        piece = await move(records, runtime.clock, piece, state, actor=by, **fresh)
    return Revived(piece_id, True, str(piece.state))


async def _finished_brief(records: Records, piece: Piece) -> str:
    key = brief_id(piece.session_id, piece.cycle_day)
    row = await records.find(Assignment, session_id=piece.session_id, id=key)
    return key if row is not None and row.status == "completed" else ""


async def _unfinished(runtime: Runtime, graph: str, brand: str, thread_id: str) -> bool:
    """Whether the thread stopped before its end, so that there is a step to go on with."""
    return bool((await read_thread(runtime, graph, brand, thread_id)).next)


async def reopen_session(
    runtime: Runtime, brand: str, session_id: str, *, by: str, add_usd: float = 0.0, restart: bool = False
) -> Session:
    """Set a session that ended or waits running again, with `add_usd` US dollars more, and wake it.

    With `restart` its graph starts anew; briefs and pieces that exist are kept. Raises NotFound, Busy, BadInput for an
    amount that is not money, Conflict for a cancelled session.
    """
    if not 0 <= add_usd <= MAX_ADDED_USD:
        raise BadInput(f"--add-usd {add_usd:g} must be between 0 and {MAX_ADDED_USD:,.0f} US dollars")
    async with hold_session(runtime, brand, session_id, wait=WAIT, look_again=True) as guard:
        records = runtime.records.for_brand(brand, lease=guard)
        session = await records.get(Session, id=session_id)
        if session.status is SessionStatus.CANCELLED:
            raise Conflict(f"session {session_id} was cancelled: start anew with `cycle run --replan` or `create`")
        if not session.outcome and session.status is SessionStatus.FAILED:
            restart = restart or not await _unfinished(runtime, "cycle", brand, session_id)
        update: dict[str, Any] = {
            "status": SessionStatus.RUNNING,
            "reason": "",
            "added_usd": round(session.added_usd + add_usd, 6),
            "attempts": 0,
            "deaths": 0,
            "dead_letter": "",
            "retry_at": None,
            "finished_at": None,
            "updated_at": runtime.clock.now(),
            **({"outcome": {}} if restart else {}),
        }
        if restart:
            await runtime.checkpoints.delete(brand, session_id)
        session = session.model_copy(update=update)
        await records.put(session)
        await note(records, runtime.clock, "session.resumed", session_id=session_id, actor=by, added_usd=add_usd)
    return session


async def given_up(records: Records, session: Session) -> list[Piece]:
    """The session's pieces that failed or were dead-lettered, in slot order."""
    pieces = await records.find_many(Piece, [{"id": id} for id in session_piece_ids(session)])
    return [piece for piece in pieces if piece.state is PieceState.FAILED or piece.dead_letter]


async def needs_research(records: Records, pieces: list[Piece]) -> bool:
    """Whether some of these pieces lack a Brief, so that the session's graph must go over its days again first."""
    lacking = [piece for piece in pieces if not piece.brief_id and not piece.content_hash and not piece.sealed_hash]
    return any([not await _finished_brief(records, piece) for piece in lacking])


async def wake(runtime: Runtime, session: Session) -> None:
    """Queue whatever of a running session should be queued and is not: a lost task costs a short command no waiting."""
    now = runtime.clock.now()
    records = runtime.records.for_brand(session.brand)
    pieces = await records.find_many(Piece, [{"id": id} for id in session_piece_ids(session)])
    open_pieces = [
        piece for piece in pieces if piece.state in UNSETTLED and not piece.dead_letter and _may_go_on(piece, now)
    ]
    if session.status is SessionStatus.RUNNING and _may_go_on(session, now):
        await runtime.queue.enqueue(
            advance_session_task(session.brand, session.id, runtime.clock),
            *(advance_piece_task(session.brand, piece.id, runtime.clock) for piece in open_pieces),
        )


def _may_go_on(row: Piece | Session, now: datetime) -> bool:
    """A parked thread is looked at again at once: whoever asks may know that what it waited for is back."""
    return row.retry_at is None or row.retry_at <= now or parked_since(row) is not None
