"""The state machine of a piece, written into its rows.

Only the holder of the piece's lease calls these. The piece's row is written first, then the event, then the schedule row; a
death in between is mended by the next look, because every look writes what it finds again, and a schedule row that is a state
behind says that the event may be missing.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from config.clock import Clock
from config.errors import Conflict
from config.ids import first_id, name_id
from config.vocabulary import PieceState, Severity, embedding_status, library_status, schedule_status
from graphs.context import note
from memory.records.protocol import Records
from memory.rows.checks import ComplianceCheck
from memory.rows.content import ContentEmbedding, Piece, Post, Revision
from memory.rows.publication import ScheduledPublication
from memory.rows.sessions import Event

_S = PieceState
ALLOWED: dict[PieceState, frozenset[PieceState]] = {
    _S.PLANNED: frozenset({_S.DRAFTING, _S.CHECKING, _S.FAILED, _S.CANCELLED}),
    _S.DRAFTING: frozenset({_S.CHECKING, _S.FAILED, _S.CANCELLED}),
    _S.CHECKING: frozenset({_S.WAITING, _S.APPROVED, _S.REJECTED, _S.FAILED, _S.CANCELLED, _S.MISSED}),
    _S.WAITING: frozenset({_S.CHECKING, _S.APPROVED, _S.REJECTED, _S.FAILED, _S.CANCELLED, _S.MISSED}),
    _S.APPROVED: frozenset({_S.CHECKING, _S.PUBLISHING, _S.MISSED, _S.CANCELLED, _S.PUBLISHED, _S.UNKNOWN, _S.FAILED}),
    _S.PUBLISHING: frozenset({_S.APPROVED, _S.PUBLISHED, _S.UNKNOWN, _S.FAILED, _S.MISSED, _S.CANCELLED}),
    _S.UNKNOWN: frozenset({_S.PUBLISHED, _S.PUBLISHING, _S.APPROVED, _S.FAILED, _S.CANCELLED}),
    _S.REJECTED: frozenset({_S.CHECKING, _S.ARCHIVED}),
    _S.FAILED: frozenset({_S.PLANNED, _S.CHECKING, _S.CANCELLED, _S.ARCHIVED}),
    _S.MISSED: frozenset({_S.CHECKING, _S.ARCHIVED}),
    _S.PUBLISHED: frozenset({_S.ARCHIVED}),
    _S.CANCELLED: frozenset({_S.ARCHIVED}),
    _S.ARCHIVED: frozenset(),
}
"""Which states may follow a state. Writing the present state again is always allowed: steps run at least once."""


def schedule_id(piece_id: str) -> str:
    """The id of a piece's row in publication_schedule."""
    return name_id("schedule", piece_id)


async def find_schedule(records: Records, piece: Piece) -> ScheduledPublication | None:
    """The piece's row in its cycle's partition."""
    return await records.find(ScheduledPublication, cycle_key=piece.cycle_key, id=schedule_id(piece.id))


async def move(
    records: Records,
    clock: Clock,
    piece: Piece,
    state: PieceState,
    *,
    schedule: dict[str, Any] | None = None,
    actor: str = "",
    **changes: Any,
) -> Piece:
    """Write `piece` in `state` with `changes`, if the state is new an event, and its schedule row (with `schedule` changes).

    Raises Conflict for a state that may not follow, LeaseLost if the lease is gone.
    """
    if state is not piece.state and state not in ALLOWED[piece.state]:
        raise Conflict(f"piece {piece.id} is {piece.state}: it cannot become {state}")
    row = await find_schedule(records, piece)
    if row is not None and row.state is not piece.state:
        await _tell_late(records, clock, piece, row)
    now = clock.now()
    new = piece.model_copy(update={"state": state, "status": library_status(state), "updated_at": now, **changes})
    await records.put(new)
    if state is not piece.state:
        await _tell(records, clock, new, was=piece.state, actor=actor)
    if row is not None:
        updated = row.model_copy(
            update={
                "state": state,
                "status": schedule_status(state),
                "sealed_hash": new.sealed_hash,
                "updated_at": now,
                **(schedule or {}),
            }
        )
        if updated != row.model_copy(update={"updated_at": now}):
            await records.put(updated)
    return new.model_copy(update={"row_version": new.row_version + 1})


async def _tell(records: Records, clock: Clock, piece: Piece, *, was: PieceState, actor: str = "") -> None:
    await note(
        records,
        clock,
        f"piece.{piece.state}",
        session_id=piece.session_id,
        piece_id=piece.id,
        actor=actor,
        was=str(was),
        content_hash=piece.content_hash,
        reason=piece.reason,
    )


async def _tell_late(records: Records, clock: Clock, piece: Piece, row: ScheduledPublication) -> None:
    """The schedule row is a state behind: a death came before or after the event that stands between them."""
    day, last = row.updated_at.date(), clock.now().date()
    while day <= last:
        for event in await records.list_rows(Event, day=day.isoformat(), after={"id": first_id(row.updated_at)}):
            same = (event.piece_id, event.name) == (piece.id, f"piece.{piece.state}")
            if same and event.detail.get("content_hash") == piece.content_hash:
                return
        day += timedelta(days=1)
    await _tell(records, clock, piece, was=row.state)


async def get_revision(records: Records, piece: Piece, content_hash: str = "") -> Revision:
    """The revision named by the hash; the piece's present one by default. Raises NotFound."""
    return await records.get(Revision, content_id=piece.id, content_hash=content_hash or piece.content_hash)


def projection(post: Post) -> dict[str, Any]:
    """The seed's content_library columns that are written from the outgoing post."""
    return {
        "title": post.title
        or post.caption.split("\n", 1)[0][:120]
        or "".join(post.bare_parts()[:1]).split("\n", 1)[0][:120],
        "description": post.caption or "\n\n".join(post.parts),
        "script_content": post.script,
        "media_prompts": "\n".join(post.media_prompts),
        "media": post.media,
    }


def written(piece: Piece, revision: Revision) -> dict[str, Any]:
    """What a draft writes into its piece's row: the projection, and the template that it was made with ('' for none)."""
    return {**projection(revision.post), "platform_specs": {**piece.platform_specs, "template": revision.template_id}}


async def brand_alignment(records: Records, piece: Piece) -> float:
    """How far the present text keeps to the brand's own rules: 1 when no rule of the check `brand_voice` fired.

    Each finding takes off what it weighs: critical 1, important 0.5, preferred 0.1; never below 0. 0 before the check ran.
    """
    rows = await records.list_rows(ComplianceCheck, content_id=piece.id)
    own = [row for row in rows if (row.check_type, row.content_hash) == ("brand_voice", piece.content_hash)]
    if not own:
        return 0.0
    latest = max(own, key=lambda row: (row.run, row.created_at))
    return round(max(0.0, 1.0 - sum(_WEIGHT[finding.severity] for finding in latest.findings)), 2)


_WEIGHT = {Severity.CRITICAL: 1.0, Severity.IMPORTANT: 0.5, Severity.PREFERRED: 0.1}


def rests_on(old: Revision, post: Post) -> dict[str, Any]:
    """What of the sources and citations of `old` still holds for `post`, a human's text made from it.

    A sentence that stood there and stands no more is cited no more, and a passage that was cited for such alone is no source.
    """
    before, after = _flat(old.post), _flat(post)
    gone = {said for said in old.citations if (flat := " ".join(said.split())) in before and flat not in after}
    kept = {said: source for said, source in old.citations.items() if said not in gone}
    lost = {old.citations[said] for said in gone} - set(kept.values())
    return {"citations": kept, "sources": tuple(source for source in old.sources if source not in lost)}


def _flat(post: Post) -> str:
    # One text, because a sentence may be spread over the lines of a screen.
    return " ".join(" ".join(text.split()) for _, text in post.fields())


def post_text(post: Post) -> str:
    """The words that the audience reads, for embedding and near-duplicate search; prompts and alt text left out."""
    return "\n".join(part for part in (post.title, post.caption, post.script, *post.slides, *post.parts) if part)


async def write_embedding(records: Records, embedder: Any, clock: Clock, piece: Piece, post: Post) -> None:
    """Write the piece's content_embeddings row from its present state; the vector is made once for a content hash."""
    old = await records.find(ContentEmbedding, id=piece.id)
    now = clock.now()
    present: dict[str, Any] = {"compliance_status": embedding_status(piece.state), "updated_at": now}
    present["brand_alignment_score"] = await brand_alignment(records, piece)
    if old is not None and old.metadata.get("content_hash") == piece.content_hash and old.embedder_id == embedder.id:
        row = old.model_copy(update=present)
    else:
        text = post_text(post)
        [vector] = await embedder.embed_documents([text])
        row = ContentEmbedding(
            brand=records.brand,
            id=piece.id,
            content_type=piece.content_type,
            platform=piece.platform,
            content_text=text,
            embedding=vector,
            embedder_id=embedder.id,
            metadata={"content_hash": piece.content_hash, "session_id": piece.session_id},
            created_at=old.created_at if old else now,
            **present,
        )
    await records.put(row)
