"""Advancing a thread: "look again" under its lease, and do what Records say.

The task carries no decision. Claim the thread, re-read the row (a terminal thread is never advanced again), then start it,
continue it, or answer its pending interrupt with what is recorded; with no answer in Records, stop without resuming.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from config.errors import OverBudget
from config.vocabulary import TERMINAL_PIECE, TERMINAL_SESSION, UNSETTLED, Decision, PieceState, SessionStatus
from graphs.context import CancelRequested, advance_piece_task, advance_session_task, note
from graphs.ids import review_id
from graphs.pieces import find_schedule, get_revision, move, projection, write_embedding
from graphs.sessions import count_pieces, session_piece_ids
from graphs.verdicts import sign_checks
from memory.lease import LeaseGuard
from memory.records.protocol import Records
from memory.rows.brand import Control
from memory.rows.checks import Review
from memory.rows.content import Piece, Revision
from memory.rows.sessions import Session
from runtime.compose import Runtime
from runtime.parking import parked_since, unpark
from runtime.progress import write_progress
from runtime.publish_due import subject_of
from runtime.thread import Done as Done
from runtime.thread import Later as Later
from runtime.thread import Outcome as Outcome
from runtime.thread import read_thread, run_thread


async def find_decision(records: Records, piece: Piece) -> Review | None:
    """The human decision recorded on the piece's present bytes, if there is one."""
    once = await records.find_once("decision", f"{piece.id}|{piece.content_hash}", Review)
    return once.row if once else None


async def advance_piece(runtime: Runtime, brand: str, piece_id: str, guard: LeaseGuard) -> Outcome:
    """Move one piece on as far as it goes now."""
    records = runtime.records.for_brand(brand, lease=guard)
    piece = await records.find(Piece, id=piece_id)
    if piece is None:
        return Done()
    if piece.state not in UNSETTLED and piece.state is not PieceState.WAITING:
        await _mend(runtime, records, piece)
        return Done()
    if piece.dead_letter:
        return Done()
    since = parked_since(piece)
    context = runtime.graph_context(brand, guard=guard, session_id=piece.session_id, piece_id=piece_id)
    try:
        await context.enter()
        if piece.state is PieceState.WAITING:
            decision = await find_decision(records, piece)
            if decision is None:
                schedule = await find_schedule(records, piece)
                if schedule is not None and schedule.state is not piece.state:  # a death left it behind
                    await move(records, runtime.clock, piece, piece.state)
                return Done()
            if decision.decision is Decision.EDITED:  # the editor died between deciding and applying
                piece = await apply_edit(
                    runtime, records, piece, await get_revision(records, piece, decision.edited_to)
                )
        initial = {
            "piece_id": piece.id,
            "run": piece.run,
            "start_at": "checks" if piece.run > 1 and piece.content_hash else "draft",
            "content_hash": piece.content_hash if piece.run > 1 else "",
            "revision": 0,
        }
        outcome = await run_thread(
            runtime,
            "piece",
            brand,
            piece.thread_id,
            initial,
            context,
            guard,
            lambda _: _piece_answer(records, piece_id),
        )
    except CancelRequested as stop:
        asked = await records.get(Control, name=str(stop))
        await cancel_piece(runtime, brand, piece_id, guard, by=asked.by or "operator")
        return Done()
    except OverBudget as error:
        if error.blocked_by_reservations:
            return Later(timedelta(seconds=15), "money is reserved by calls under way")
        piece = await records.get(Piece, id=piece_id)
        await move(
            records,
            runtime.clock,
            piece,
            PieceState.FAILED,
            reason=f"over budget: {error}",
        )
        await runtime.queue.enqueue(advance_session_task(brand, piece.session_id, runtime.clock))
        return Done()
    if isinstance(outcome, Later):
        return outcome
    piece = await unpark(records, runtime.clock, await records.get(Piece, id=piece_id), since=since)
    if outcome == "ended" and piece.state in UNSETTLED:
        await move(
            records,
            runtime.clock,
            piece,
            PieceState.FAILED,
            reason="its graph ended without an outcome: see the log, then `session resume`",
        )
    if piece.state is not PieceState.WAITING:
        await runtime.checkpoints.prune(brand, piece.thread_id)
        await runtime.queue.enqueue(advance_session_task(brand, piece.session_id, runtime.clock))
    return Done()


async def _mend(runtime: Runtime, records: Records, piece: Piece) -> None:
    """Finish what a death between two rows of a settled piece left undone: its schedule row, its embedding, its session's look."""
    await move(records, runtime.clock, piece, piece.state)
    await _wrap_up(runtime, records, piece)


async def _wrap_up(runtime: Runtime, records: Records, piece: Piece) -> None:
    """What follows a settled piece's last state: its embedding says it, its thread is pruned, its session looks."""
    if piece.content_hash:
        await write_embedding(
            records, runtime.embedder, runtime.clock, piece, (await get_revision(records, piece)).post
        )
    await runtime.checkpoints.prune(piece.brand, piece.thread_id)
    await runtime.queue.enqueue(advance_session_task(piece.brand, piece.session_id, runtime.clock))


async def _piece_answer(records: Records, piece_id: str) -> dict[str, Any] | None:
    piece = await records.get(Piece, id=piece_id)
    decision = await find_decision(records, piece)
    if decision is None or decision.decision is Decision.EDITED:
        return None
    return {
        "decision": str(decision.decision),
        "content_hash": decision.content_hash,
        "reviewer": decision.reviewer,
        "reason": decision.reason,
    }


async def apply_edit(runtime: Runtime, records: Records, piece: Piece, revision: Revision) -> Piece:
    """Start the piece's next run at the checks, with the edited bytes. The caller holds the piece's lease."""
    review = await records.find(Review, id=review_id(piece.id, piece.content_hash))
    if review is not None and review.decision is Decision.PENDING:
        now = runtime.clock.now()
        decided = await find_decision(records, piece)
        review = review.model_copy(
            update={
                "decision": Decision.EDITED,
                "reviewer": revision.author,
                "reason": decided.reason if decided else "",
                "edited_to": revision.content_hash,
                "decided_at": now,
                "updated_at": now,
            }
        )
        await records.put(review)
        await sign_checks(records, piece, review)
    old_thread = piece.thread_id
    piece = await move(
        records,
        runtime.clock,
        piece,
        PieceState.CHECKING,
        actor=revision.author,
        run=piece.run + 1,
        content_hash=revision.content_hash,
        content_version=piece.content_version + 1,
        sealed_hash="",
        reason="",
        attempts=0,
        dead_letter="",
        retry_at=None,
        **projection(revision.post),
    )
    await runtime.checkpoints.prune(piece.brand, old_thread)
    return piece


async def cancel_piece(runtime: Runtime, brand: str, piece_id: str, guard: LeaseGuard, *, by: str = "operator") -> None:
    """Bring a piece that is not going out to `cancelled`; its open review is closed. Raises AlreadyPublished if it is going out."""
    records = runtime.records.for_brand(brand, lease=guard)
    piece = await records.get(Piece, id=piece_id)
    if piece.state in TERMINAL_PIECE:
        return
    schedule = await find_schedule(records, piece)
    if piece.sealed_hash and schedule is not None:
        await runtime.ledger(brand).cancel(subject_of(runtime, piece, schedule), by=by)
    review = None
    if piece.content_hash:
        review = await records.find(Review, id=review_id(piece.id, piece.content_hash))
    if review is not None and review.decision is Decision.PENDING:
        now = runtime.clock.now()
        await records.put(
            review.model_copy(update={"decision": Decision.CANCELLED, "decided_at": now, "updated_at": now})
        )
    piece = await move(records, runtime.clock, piece, PieceState.CANCELLED, actor=by, reason=f"cancelled by {by}")
    await _wrap_up(runtime, records, piece)


async def advance_session(runtime: Runtime, brand: str, session_id: str, guard: LeaseGuard) -> Outcome:
    """Move one session on as far as it goes now, and write its row from what its pieces are."""
    records = runtime.records.for_brand(brand, lease=guard)
    session = await records.find(Session, id=session_id)
    if session is None or session.status in TERMINAL_SESSION or session.dead_letter:
        return Done()
    ids = session_piece_ids(session)

    async def answer(state: dict[str, Any]) -> dict[str, Any] | None:
        counts = await count_pieces(records, state["pieces"])
        return None if any(counts[str(state)] for state in UNSETTLED) else {"settled": True}

    if not session.outcome:
        context = runtime.graph_context(brand, guard=guard, session_id=session_id)
        try:
            await runtime.ensure_brand(brand)
            outcome = await run_thread(
                runtime, "cycle", brand, session_id, {"session_id": session_id}, context, guard, answer
            )
        except CancelRequested as stop:
            return await _cancel_session(runtime, records, session, ids, str(stop))
        except OverBudget as error:
            if error.blocked_by_reservations:
                return Later(timedelta(seconds=15), "money is reserved by calls under way")
            await _close(
                runtime,
                records,
                session,
                SessionStatus.FAILED,
                f"over budget: {error}",
            )
            return Done()
        if isinstance(outcome, Later):
            return outcome
        fresh = await records.get(Session, id=session_id)
        session = await unpark(records, runtime.clock, fresh, since=parked_since(session))
        if outcome == "waiting":
            await write_progress(runtime, records, session)
            return Done()
        state = await _state(runtime, "cycle", brand, session_id)
        if not state.get("outcome"):
            await _close(
                runtime,
                records,
                session,
                SessionStatus.FAILED,
                "its graph ended without an outcome: see the log, then `session resume`",
            )
            return Done()
        session = session.model_copy(update={"outcome": state["outcome"]})
    else:
        context = runtime.graph_context(brand, guard=guard, session_id=session_id)
        try:
            await context.enter()
        except CancelRequested as stop:
            return await _cancel_session(runtime, records, session, ids, str(stop))
    counts = await count_pieces(records, session.outcome["pieces"])
    waiting = counts[str(PieceState.WAITING)]
    if any(counts[str(state)] for state in UNSETTLED):  # a resumed or edited piece is under way again
        status, reason = SessionStatus.RUNNING, ""
    elif waiting:
        status, reason = SessionStatus.WAITING, f"{waiting} pieces wait for a human: `review list`"
    else:
        status, reason = SessionStatus.DONE, ""
    if status is not SessionStatus.RUNNING:
        reason = "; ".join(filter(None, (reason, await _given_up(records, session))))
    await _close(runtime, records, session, status, reason)
    if status is SessionStatus.DONE:
        await runtime.checkpoints.prune(brand, session_id)
    return Done()


async def _given_up(records: Records, session: Session) -> str:
    """How many pieces failed and why the first of them did; '' when none did."""
    rows = await records.find_many(Piece, [{"id": id} for id in session.outcome["pieces"]])
    failed = [row for row in rows if row.state is PieceState.FAILED]
    return f"{len(failed)} pieces failed: {failed[0].reason}" if failed else ""


async def _close(runtime: Runtime, records: Records, session: Session, status: SessionStatus, reason: str) -> None:
    from agents.spending import session_spent

    now = runtime.clock.now()
    spent = await session_spent(records, session)
    finished = status in TERMINAL_SESSION
    update = {"status": status, "reason": reason, "tokens": spent.tokens, "cost_usd": spent.cost_usd}
    await write_progress(runtime, records, session.model_copy(update=update))
    if session.model_copy(update=update) == await records.find(Session, id=session.id):
        return
    # Told first: nobody looks at a session again whose row says that it is over. A death here tells it twice.
    await note(records, runtime.clock, f"session.{status}", session_id=session.id, reason=reason)
    await records.put(
        session.model_copy(update={**update, "updated_at": now, "finished_at": now if finished else None})
    )


async def _cancel_session(runtime: Runtime, records: Records, session: Session, ids: list[str], flag: str) -> Outcome:
    pieces = await records.find_many(Piece, [{"id": id} for id in ids])
    live = [
        p
        for p in pieces
        if p.state not in TERMINAL_PIECE
        and p.state not in (PieceState.APPROVED, PieceState.PUBLISHING, PieceState.UNKNOWN)
    ]
    if live:
        await runtime.queue.enqueue(*(advance_piece_task(records.brand, piece.id, runtime.clock) for piece in live))
        return Later(timedelta(seconds=1), "its pieces are being cancelled")
    asked = await records.get(Control, name=flag)
    why = f": {asked.reason}" if asked.reason else ""
    await _close(
        runtime,
        records,
        session,
        SessionStatus.CANCELLED,
        f"cancelled by {asked.by or 'a human'}{why}; approved pieces stay until they are cancelled themselves",
    )
    await runtime.checkpoints.prune(records.brand, session.id)
    return Done()


async def _state(runtime: Runtime, graph: str, brand: str, thread_id: str) -> dict[str, Any]:
    return (await read_thread(runtime, graph, brand, thread_id)).values
