"""Drafts as stored revisions: what creation is given, and what it wrote, found again after a death."""

from __future__ import annotations

from agents.agent import Brief, Draft
from graphs.context import GraphContext
from memory.records.protocol import Records
from memory.rows.content import Piece, Revision
from memory.rows.sessions import Assignment

AUTHOR = "creation"
"""Who wrote a revision that no human edited."""


async def load_brief(records: Records, piece: Piece) -> Brief:
    """The Brief of the piece's day, cut to the piece's own share of facts. Raises NotFound."""
    row = await records.get(Assignment, session_id=piece.session_id, id=piece.brief_id)
    brief = Brief.model_validate_json(row.results)
    # Each piece of a day gets every n-th fact first: no two of them say the same sentence, whatever order they run in.
    n, of = int(piece.platform_specs.get("ordinal", "0")), max(1, int(piece.platform_specs.get("of", "1")))
    own = brief.facts[n::of]
    return brief.model_copy(update={"facts": own})


async def find_written(context: GraphContext, piece: Piece, revision: int) -> Revision | None:
    """What creation wrote as this revision of this run, when the step died after storing it: it is used, not written again."""
    rows = await context.records.list_rows(Revision, content_id=piece.id)
    own = [row for row in rows if (row.author, row.run, row.revision) == (AUTHOR, piece.run, revision)]
    return min(own, key=lambda row: (row.created_at, row.content_hash), default=None)


async def store_draft(context: GraphContext, piece: Piece, draft: Draft, *, revision: int) -> Revision:
    """The draft as a stored revision; the stored one if these bytes are there already."""
    content_hash = draft.post.content_hash
    found = await context.records.find(Revision, content_id=piece.id, content_hash=content_hash)
    if found is not None:
        return found
    row = Revision(
        brand=context.records.brand,
        content_id=piece.id,
        content_hash=content_hash,
        post=draft.post,
        sources=tuple(draft.sources),
        citations=draft.citations,
        gaps=tuple(draft.gaps),
        mode=draft.mode,
        author=AUTHOR,
        run=piece.run,
        revision=revision,
        template_id=draft.template_id,
        created_at=context.clock.now(),
    )
    await context.records.put(row)
    return row
