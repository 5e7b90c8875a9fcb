"""Nearly the same twice: what a brand says, or has just said, is not said again.

Looked for when a piece is checked, and again when it is sealed, because many pieces are approved at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from config.errors import Busy
from config.vocabulary import PieceState, Severity, embedding_status
from graphs.context import GraphContext
from graphs.pieces import find_schedule, post_text, write_embedding
from memory.rows.checks import Finding
from memory.rows.content import ContentEmbedding, Piece, Revision
from tools.checks.near_duplicate import similarity

NEAR_DUPLICATE = 0.90
"""Similarity of words (0 to 1) from which two posts count as the same; 1 is identical."""
DUPLICATE_WINDOW = timedelta(days=30)
_SPEAKING = frozenset(
    {
        PieceState.CHECKING,
        PieceState.WAITING,
        PieceState.APPROVED,
        PieceState.PUBLISHING,
        PieceState.PUBLISHED,
        PieceState.UNKNOWN,
    }
)
"""States of a piece that is said, or that may be; a missed or failed one is not."""


async def near_duplicates(context: GraphContext, piece: Piece, revision: Revision) -> list[Finding]:
    """Findings for posts of this brand that say nearly the same: those that will go out, that went out in the last 30 days or are
    of the same week, and those that wait for a human in other weeks.

    Pieces of the same week are told apart when they are sealed: they are written at the same moment, and any may come first.
    """
    twins = await _twins(context, piece, revision)
    elsewhere = [
        (other, score)
        for other, score in await _twins(context, piece, revision, waiting=True)
        if other.session_id != piece.session_id and all(other.id != known.id for known, _ in twins)
    ]
    found = [(other, score) for other, score in twins if other.sealed_hash] + elsewhere
    return [_says_the_same(other, score) for other, score in found]


def _says_the_same(other: Piece, score: float) -> Finding:
    return Finding(
        rule="NEAR-DUPLICATE",
        check_type="near_duplicate",
        severity=Severity.CRITICAL,
        field="caption",
        start=0,
        end=0,
        quote="",
        suggestion=f"says nearly the same ({score:.2f}) as piece {other.id}: say something else",
        source="docs/architecture.md",
        jurisdiction="",
    )


async def _twins(
    context: GraphContext, piece: Piece, revision: Revision, *, waiting: bool = False
) -> list[tuple[Piece, float]]:
    """Other pieces whose text is nearly the same: on their way or out, or (not sealed yet) just being approved; else those that
    are `waiting` for a human, however long."""
    text = post_text(revision.post)
    vector = await context.embedder.embed_query(text)
    if not vector:
        return []
    found: list[tuple[Piece, float]] = []
    for limit in (10, 100, 1000):
        near = await context.records.search(
            ContentEmbedding,
            vector,
            embedder_id=context.embedder.id,
            limit=limit,
            min_score=0.5,
            compliance_status=embedding_status(PieceState.WAITING) if waiting else "approved",
        )
        alike = [(hit.row, similarity(text, hit.row.content_text)) for hit in near]
        found = await _said(context, piece, [one for one in alike if one[1] >= NEAR_DUPLICATE], waiting=waiting)
        # What was said every other month for years must not crowd out what was said last week.
        if found or len(near) < limit or alike[-1][1] < NEAR_DUPLICATE:
            break
    return found


async def _said(
    context: GraphContext, piece: Piece, alike: list[tuple[ContentEmbedding, float]], *, waiting: bool
) -> list[tuple[Piece, float]]:
    """Those of the texts that a piece says, or may say, within the window."""
    since = context.clock.now() - DUPLICATE_WINDOW
    others = {row.id: row for row in await context.records.find_many(Piece, [{"id": row.id} for row, _ in alike])}
    found = []
    for row, score in alike:
        other = others.get(row.id)
        if other is None or other.id == piece.id:
            continue
        if piece.copy_n and other.platform_specs.get("slot") == piece.platform_specs.get("slot"):
            continue  # posted again on purpose: a copy is named by the slot of what it copies
        speaking = other.state is PieceState.WAITING if waiting else other.state in _SPEAKING
        if row.metadata.get("content_hash") != other.content_hash or not speaking:
            continue  # the row is older than an edit, or what it says will not be said
        if waiting or other.session_id == piece.session_id or await _out_at(context, other, row) >= since:
            found.append((other, score))
    return found


async def _out_at(context: GraphContext, other: Piece, row: ContentEmbedding) -> datetime:
    """When the audience read it, or will: a week may be approved long before its slots."""
    if other.published_at is not None:
        return other.published_at
    slot = await find_schedule(context.records, other)
    return slot.scheduled_at if slot is not None else row.updated_at


async def lost_to(context: GraphContext, piece: Piece, revision: Revision) -> Finding | None:
    """Why the piece may not be sealed: a piece that says nearly the same is sealed, or comes first.

    Announce, then look: of two that are approved at the same moment at least one sees the other. The greater id gives way; the
    smaller one waits until it knows what became of the other. Raises Busy then.
    """
    announced = piece.model_copy(update={"state": PieceState.APPROVED, "content_hash": revision.content_hash})
    await write_embedding(context.records, context.embedder, context.clock, announced, revision.post)
    unsure = ""
    for other, score in await _twins(context, piece, revision):
        if other.sealed_hash or other.id < piece.id:
            return _says_the_same(other, score)
        unsure = other.id
    if unsure:
        raise Busy(f"piece {piece.id} says nearly the same as {unsure}, which is being approved right now")
    return None
