"""What a piece rests on, by name: also when the document has been replaced or revoked since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from agents.agent import Brief
from config.vocabulary import AgentType
from memory.records.protocol import Records
from memory.rows.brand import BrandKnowledge
from memory.rows.content import Piece, Revision
from memory.rows.sessions import Assignment


@dataclass(frozen=True)
class Cited:
    """One passage that a revision rests on: the document's title, the sentences taken from it, and whether it still stands."""

    id: str
    title: str
    sentences: tuple[str, ...]
    stands: bool
    """False when it was revoked, or replaced by a newer version of its document."""


async def titles_of(records: Records, session_ids: Sequence[str], ids: Sequence[str]) -> dict[str, str]:
    """Passage -> its document's title: as the sessions' research noted it, else as it stands now; unknown ones are left out."""
    noted: dict[str, str] = {}
    for session_id in dict.fromkeys(session_ids):
        for row in await records.list_rows(Assignment, session_id=session_id):
            if row.agent_type == AgentType.RESEARCH and row.status == "completed" and row.results:
                noted |= {fact.source_id: fact.source_title for fact in Brief.model_validate_json(row.results).facts}
    missing = [{"id": id} for id in dict.fromkeys(ids) if id not in noted]
    known = {row.id: row.title for row in await records.find_many(BrandKnowledge, missing)} if missing else {}
    return {id: title for id, title in {**noted, **known}.items() if id in set(ids)}


async def cited(records: Records, piece: Piece, revision: Revision) -> list[Cited]:
    """The passages that `revision` rests on, in its order."""
    titles = await titles_of(records, [piece.session_id], revision.sources)
    rows = await records.find_many(BrandKnowledge, [{"id": id} for id in revision.sources])
    standing = {row.id for row in rows if row.status == "active"}
    return [
        Cited(
            id,
            titles.get(id, "a document that is no longer there"),
            tuple(sentence for sentence, source in revision.citations.items() if source == id),
            id in standing,
        )
        for id in revision.sources
    ]


async def count_sources(records: Records, session_id: str, piece_ids: Sequence[str]) -> dict[str, int]:
    """Document's title -> how many of the session's pieces rest on it, most first."""
    pieces = await records.find_many(Piece, [{"id": id} for id in piece_ids])
    keys = [{"content_id": p.id, "content_hash": p.content_hash} for p in pieces if p.content_hash]
    rows = await records.find_many(Revision, keys)
    titles = await titles_of(records, [session_id], [id for row in rows for id in row.sources])
    counts = Counter(title for row in rows for title in {titles[id] for id in row.sources if id in titles})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
