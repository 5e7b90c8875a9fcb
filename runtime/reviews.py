"""What humans decide about pieces: approve, reject, edit, cancel.

A decision is about a content hash, and is decided once for (piece, hash): the loser of two deciders is told who won. It is
durable before the command answers; applying it is the work of whoever advances the piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from config.errors import AlreadyPublished, Conflict, Unavailable
from config.ids import new_token
from config.vocabulary import CheckResult, Decision, PieceState
from graphs.context import advance_piece_task, note
from graphs.ids import review_id
from graphs.pieces import find_schedule, get_revision, rests_on
from memory.cache.protocol import ReviewIndex, Stale
from memory.records.protocol import Records
from memory.rows.checks import Review
from memory.rows.content import Piece, Post, Revision
from memory.rows.publication import ScheduledPublication
from runtime.advance import apply_edit
from runtime.compose import Runtime
from runtime.hold import hold_piece
from runtime.publish_due import subject_of

_EDITABLE = (PieceState.WAITING, PieceState.APPROVED, PieceState.REJECTED, PieceState.FAILED, PieceState.MISSED)


@dataclass(frozen=True)
class Decided:
    """What became of one decision."""

    piece_id: str
    content_hash: str
    decision: str
    by: str
    won: bool
    """False when the same had been decided before by somebody else."""


async def pending_reviews(records: Records, *, session_id: str = "") -> list[Review]:
    """Open reviews that nobody has decided, critical first, then oldest."""
    rows = await records.find_by(Review, decision=Decision.PENDING)
    rows = [row for row in rows if not session_id or row.session_id == session_id]
    decided = await records.find_many_once("decision", [f"{row.piece_id}|{row.content_hash}" for row in rows], Review)
    open_rows = [row for row in rows if f"{row.piece_id}|{row.content_hash}" not in decided]
    return sorted(open_rows, key=lambda row: row.place)


async def listed_reviews(records: Records, index: ReviewIndex | None, *, session_id: str = "") -> list[Review]:
    """As `pending_reviews`, for reading alone: from the index where there is one, which may be a minute behind.

    An index that is not known to be whole is rebuilt from the rows, and one that is away is done without. Decide by
    `pending_reviews`.
    """
    try:
        found = await index.pending() if index is not None else None
    except Unavailable:
        index = found = None
    if found is None:
        return await pending_reviews(records, session_id=session_id)
    if isinstance(found, Stale):
        rows = await pending_reviews(records)
        if index is not None:
            with suppress(Unavailable):
                await index.rebuild(rows, found)
        found = rows
    return [row for row in found if not session_id or row.session_id == session_id]


async def in_slot_order(records: Records, rows: Sequence[Review]) -> tuple[list[Review], dict[str, datetime]]:
    """The reviews critical first, then as their pieces are to go out; and piece id -> that instant, where it has one."""
    pieces = await records.find_many(Piece, [{"id": row.piece_id} for row in rows])
    slots = {
        slot.content_id: slot.scheduled_at
        for key in {piece.cycle_key for piece in pieces}
        for slot in await records.list_rows(ScheduledPublication, cycle_key=key)
    }
    ordered = sorted(rows, key=lambda row: (row.place[0], slots.get(row.piece_id, row.created_at), row.place))
    return ordered, slots


async def decide(
    runtime: Runtime, brand: str, piece_id: str, content_hash: str, decision: Decision, *, by: str, reason: str = ""
) -> Decided:
    """Record `decision` on exactly these bytes and wake the piece.

    Raises NotFound for an unknown piece, Conflict when other bytes are pending, when no human is being asked, or when somebody
    decided differently first (the message says who).
    """
    records = runtime.records.for_brand(brand)
    piece = await records.get(Piece, id=piece_id)
    if content_hash != piece.content_hash:
        raise Conflict(
            f"piece {piece_id}: {content_hash[:12]} is not pending, {piece.content_hash[:12] or 'nothing'} is: `review show {piece_id}`"
        )
    decided = await _decide(runtime, records, piece, content_hash, decision, by=by, reason=reason)
    await runtime.queue.enqueue(advance_piece_task(brand, piece_id, runtime.clock, priority=8))
    return decided


async def _decide(
    runtime: Runtime,
    records: Records,
    piece: Piece,
    content_hash: str,
    decision: Decision,
    *,
    by: str,
    reason: str,
    edited_to: str = "",
) -> Decided:
    existing = await records.find_once("decision", f"{piece.id}|{content_hash}", Review)
    if existing is None:
        review = await records.find(Review, id=review_id(piece.id, content_hash))
        if review is None or piece.state is not PieceState.WAITING:
            raise Conflict(
                f"piece {piece.id} is {piece.state}: no human is asked about {content_hash[:12] or 'it'}: `review list` prints "
                "what waits"
            )
        if decision is Decision.APPROVED and review.result is CheckResult.FAILED:
            raise Conflict(
                f"piece {piece.id} failed its checks and cannot be approved as it is: `review edit {piece.id}` ({review.why})"
            )
        now = runtime.clock.now()
        row = review.model_copy(
            update={
                "decision": decision,
                "reviewer": by,
                "reason": reason,
                "edited_to": edited_to,
                "decided_at": now,
                "updated_at": now,
            }
        )
        existing = await records.create_once("decision", f"{piece.id}|{content_hash}", row, token=new_token())
        if existing.won:
            await note(
                records,
                runtime.clock,
                f"review.{decision}",
                session_id=piece.session_id,
                piece_id=piece.id,
                actor=by,
                content_hash=content_hash,
                reason=reason,
            )
    if existing.row.decision is not decision:
        raise Conflict(
            f"piece {piece.id}: {existing.row.reviewer} decided first: {existing.row.decision}; a decision about these bytes "
            f"stays: other bytes are asked about anew, by `review edit {piece.id}`"
        )
    return Decided(piece.id, content_hash, str(decision), existing.row.reviewer, existing.won)


async def edit(
    runtime: Runtime,
    brand: str,
    piece_id: str,
    post: Post,
    *,
    by: str,
    reason: str = "",
    seen: Piece | None = None,
    wait: timedelta = timedelta(seconds=30),
) -> Revision:
    """Replace the outgoing bytes of a settled, unsent piece; its next run starts at the checks.

    `seen` is the piece as it stood when the human began to change its text: what others made of it since is not undone.
    Raises Conflict when the piece is not settled, was decided or changed since `seen`, somebody decided first or this very
    text was turned down before, AlreadyPublished when it is out or going out.
    """
    records = runtime.records.for_brand(brand)
    piece = await records.get(Piece, id=piece_id)
    if piece.state in (PieceState.PUBLISHED, PieceState.PUBLISHING, PieceState.UNKNOWN):
        raise AlreadyPublished(
            f"piece {piece_id} is {piece.state}: what went out cannot be edited; post again on purpose with `piece copy`"
        )
    if piece.state not in _EDITABLE:
        raise Conflict(f"piece {piece_id} is {piece.state}: it can be edited once it is settled")
    async with hold_piece(runtime, brand, piece_id, wait=wait, look_again=True) as guard:
        records = runtime.records.for_brand(brand, lease=guard)
        piece = await records.get(Piece, id=piece_id)
        if piece.state not in _EDITABLE:
            raise Conflict(f"piece {piece_id} became {piece.state} meanwhile: `piece show {piece_id}`")
        if seen is not None and (seen.state, seen.content_hash) != (piece.state, piece.content_hash):
            raise Conflict(
                f"piece {piece_id} was changed while you edited: it is {piece.state} with {piece.content_hash[:12]} now, and "
                f"nothing of it was replaced: `review show {piece_id}`"
            )
        old = await get_revision(records, piece)
        if (post.platform, post.content_type) != (old.post.platform, old.post.content_type):
            raise Conflict(
                f"piece {piece_id} is a {old.post.content_type} for {old.post.platform}: an edit cannot change that"
            )
        if post.content_hash == old.content_hash:
            raise Conflict(f"piece {piece_id}: the text is unchanged")
        # Decisions are about bytes, for good: what was turned down or replaced would be so again at once, without a question.
        before = await records.find_once("decision", f"{piece.id}|{post.content_hash}", Review)
        if before is not None and before.row.decision is not Decision.APPROVED:
            raise Conflict(
                f"piece {piece_id}: {before.row.reviewer} has {before.row.decision} exactly this text before: change it further"
            )
        schedule = await find_schedule(records, piece)
        if piece.state is PieceState.APPROVED and schedule is not None:
            # The next permit is ours before anything changes: a sender that is under way wins, and the edit is refused.
            await runtime.ledger(brand).hold(subject_of(runtime, piece, schedule), by=by)
        revision = await records.find(Revision, content_id=piece.id, content_hash=post.content_hash) or Revision(
            brand=brand,
            content_id=piece.id,
            content_hash=post.content_hash,
            post=post,
            **rests_on(old, post),
            gaps=(),
            mode="human",
            author=by,
            run=piece.run + 1,
            revision=0,
            created_at=runtime.clock.now(),
        )
        # Also when an agent wrote these words once: whoever goes back to them answers for them, and no agent rewrites them.
        revision = revision.model_copy(update={"author": by})
        await records.put(revision)
        if piece.state is PieceState.WAITING:
            # Names the new bytes, so that whoever looks next can finish the edit if this process dies here.
            await _decide(
                runtime,
                records,
                piece,
                piece.content_hash,
                Decision.EDITED,
                by=by,
                reason=reason,
                edited_to=post.content_hash,
            )
        else:
            await note(
                records,
                runtime.clock,
                "review.edited",
                session_id=piece.session_id,
                piece_id=piece.id,
                actor=by,
                content_hash=post.content_hash,
                reason=reason,
            )
        await apply_edit(runtime, records, piece, revision)
    return revision
