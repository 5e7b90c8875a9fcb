"""Drafts as stored revisions: what creation is given, and what it wrote, found again after a death."""

from __future__ import annotations

import re

from agents.agent import Brief, Draft, Fact
from config.vocabulary import AgentType
from graphs.context import GraphContext
from graphs.ids import brief_id
from graphs.sessions import session_slots
from graphs.shares import FULL, Place, share
from memory.records.protocol import Records
from memory.rows.brand import BrandKnowledge, KnowledgeSource
from memory.rows.checks import Finding
from memory.rows.content import Piece, Revision
from memory.rows.sessions import Assignment, Session
from tools.alt_text import old_alt_text

AUTHOR = "creation"
"""Who wrote a revision that no human edited."""


async def load_brief(records: Records, piece: Piece) -> Brief:
    """The Brief of the piece's day, cut to the piece's own share of the week's sentences, in the order of their pages.

    What was revoked since the research is left out. Raises NotFound without a Brief.
    """
    row = await records.get(Assignment, session_id=piece.session_id, id=piece.brief_id)
    brief = Brief.model_validate_json(row.results)
    session = await records.get(Session, id=piece.session_id)
    copy_n = int(session.request.get("copy", 0))
    places = [
        Place(slot.piece_id(plan=session.plan, copy=copy_n), slot.day, slot.content_type)
        for slot in session_slots(session)
    ]
    if all(place.piece_id != piece.id for place in places):
        places.append(Place(piece.id, piece.cycle_day or brief.day, piece.content_type))
    briefs = {brief.day: brief, **await _briefs(records, session, {place.day for place in places})}
    titles = {day: one.title for day, one in briefs.items()}
    facts = share(places, {day: one.facts for day, one in briefs.items()}, titles)[piece.id]
    turn = next(n for n, place in enumerate(places) if place.piece_id == piece.id)
    facts = await _as_written(records, facts, first=FULL.get(piece.content_type, 2))
    return brief.model_copy(update={"facts": facts, "turn": turn})


async def _briefs(records: Records, session: Session, days: set[int]) -> dict[int, Brief]:
    found = {}
    for day in sorted(days):
        row = await records.find(Assignment, session_id=session.id, id=brief_id(session.id, day))
        if row is not None and row.agent_type == AgentType.RESEARCH and row.status == "completed":
            found[day] = Brief.model_validate_json(row.results)
    return found


async def _as_written(records: Records, facts: tuple[Fact, ...], *, first: int) -> tuple[Fact, ...]:
    """The facts that still stand in their sources, with the source's credit; the first of them as they follow each other there."""
    rows = {
        row.id: row
        for row in await records.find_many(BrandKnowledge, [{"id": key} for key in {fact.source_id for fact in facts}])
        if row.status == "active"
    }
    credits: dict[str, str] = {}
    for name in sorted({row.source_id for row in rows.values() if row.source_id}):
        source = await records.find(KnowledgeSource, name=name)
        credits[name] = credit(source.attribution) if source else ""
    kept = [
        fact.model_copy(
            update={"source_title": _credited(fact.source_title, credits.get(rows[fact.source_id].source_id, ""))}
        )
        for fact in facts
        if fact.source_id in rows
    ]
    pages = [*dict.fromkeys(fact.source_title for fact in kept)]

    def place(fact: Fact) -> tuple[int, int, int]:
        row = rows[fact.source_id]
        return pages.index(fact.source_title), row.chunk, " ".join(row.content.split()).find(fact.text)

    return (*sorted(kept[:first], key=place), *kept[first:])


def credit(attribution: str) -> str:
    """Who is to be named for a page of somebody else's, from its `Source:` line: the name in brackets and the licence.

    Empty for a page without an address and without a licence: the brand's own.
    """
    licence = re.search(r"\b(CC[ -]BY(?:-[A-Z]{2})*(?: \d\.\d)?|CC0|MIT|OGL(?: v?\d\.\d)?)\b", attribution)
    if not licence and "://" not in attribution:
        return ""
    named = re.search(r"\(([^(),]+)", attribution)
    host = re.search(r"://(?:www\.)?([^/\s]+)", attribution)
    who = named.group(1).strip() if named else (host.group(1) if host else "")
    return ", ".join(part for part in (who, licence.group(1) if licence else "") if part)


def _credited(title: str, who: str) -> str:
    return f"{title} ({who})" if who and who not in title else title


async def find_written(context: GraphContext, piece: Piece, revision: int) -> Revision | None:
    """What creation wrote as this revision of this run, when the step died after storing it: it is used, not written again."""
    rows = await context.records.list_rows(Revision, content_id=piece.id)
    own = [row for row in rows if (row.author, row.run, row.revision) == (AUTHOR, piece.run, revision)]
    return min(own, key=lambda row: (row.created_at, row.content_hash), default=None)


async def find_old_alt_text(context: GraphContext, piece: Piece, revision: Revision) -> list[Finding]:
    """What of a human's revision describes a slide as it was before; see `old_alt_text`."""
    if revision.author == AUTHOR:
        return []
    rows = await context.records.list_rows(Revision, content_id=piece.id)
    return old_alt_text(revision.post, [row.post for row in sorted(rows, key=lambda row: (row.created_at, row.run))])


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
