"""What a week leaves for the next ones: the sentences that were used, and what the knowledge gave and lacked for its theme.

The sentences are episodic memories of creation, a piece each, and count for four weeks. The lesson of a week is one semantic
memory of research, which finds it again when the theme, or one like it, comes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime

from langgraph.store.base import BaseStore

from agents.agent import Brief
from config.vocabulary import AgentType, Severity
from memory.graph_store import HALF_LIFE
from memory.records.protocol import Records
from memory.rows.brand import BrandKnowledge
from memory.rows.checks import ComplianceCheck
from memory.rows.content import Piece, Revision
from memory.rows.sessions import Session

_PLACE = (str(AgentType.CREATION), "episodic")
RECENT = HALF_LIFE["episodic"]
"""How long a sentence counts as used."""
_MOST = 500
"""Sealed pieces that are looked at: a month of a busy brand."""


async def remember_used(store: BaseStore | None, piece: Piece, revision: Revision) -> None:
    """Write the sentences that the sealed piece rests on. Doing it again rewrites it."""
    if store is None or not revision.citations:
        return
    value = {
        "content": "\n".join(revision.citations)[:2000],
        "relevance": 0.5,
        "context": {"session": piece.session_id, "trust": "brand", "source": " ".join(revision.sources)[:1000]},
    }
    await store.aput(_PLACE, f"used:{piece.id}", value, index=False)


async def used_lately(store: BaseStore | None, now: datetime) -> frozenset[str]:
    """The sentences of the pieces that were sealed in the last four weeks."""
    if store is None:
        return frozenset()
    found = await store.asearch(_PLACE, limit=_MOST)
    recent = [item for item in found if item.key.startswith("used:") and now - item.updated_at <= RECENT]
    return frozenset(line for item in recent for line in str(item.value["content"]).splitlines() if line)


def without_used(brief: Brief, used: Collection[str], *, pieces: int) -> Brief:
    """The Brief without the sentences in `used`; they come last where the day's `pieces` would not have one new one each."""
    fresh = tuple(fact for fact in brief.facts if fact.text not in used)
    again = tuple(fact for fact in brief.facts if fact.text in used)
    if len(fresh) < pieces:
        return brief.model_copy(update={"facts": fresh + again})
    avoided = tuple(f"{fact.text}: used in the last four weeks" for fact in again)
    return brief.model_copy(update={"facts": fresh, "avoided": brief.avoided + avoided})


_LESSONS = (str(AgentType.RESEARCH), "semantic")


async def remember_week(store: BaseStore | None, records: Records, session: Session, piece_ids: Sequence[str]) -> None:
    """Write what the week's theme rested on, what was missing for it, and what the rules took out. Doing it again rewrites it."""
    if store is None or not piece_ids:
        return
    used: Counter[str] = Counter()
    missing: list[str] = []
    objected: dict[str, str] = {}
    for piece in await records.find_many(Piece, [{"id": key} for key in piece_ids]):
        revisions = await records.list_rows(Revision, content_id=piece.id)
        present = next((row for row in revisions if row.content_hash == piece.content_hash), None)
        if present is not None:
            used.update(present.citations.values())
            missing += [piece.theme] if present.gaps else []
        for check in await records.list_rows(ComplianceCheck, content_id=piece.id):
            grave = [f for f in check.findings if f.severity is not Severity.PREFERRED and f.quote]
            objected |= {finding.quote[:80]: finding.rule for finding in grave}
    ids = [source for source, _ in used.most_common(20)]
    pages = Counter[str]()
    for row in await records.find_many(BrandKnowledge, [{"id": key} for key in used]):
        pages[row.title] += used[row.id]
    parts = [f"{session.cycle_key}, theme {session.theme!r}, {len(piece_ids)} pieces"]
    if pages:
        parts.append("it rested on " + ", ".join(f"{title} ({count})" for title, count in pages.most_common(10)))
    if missing:
        lacked = Counter(missing)
        parts.append(
            "sentences were missing for " + ", ".join(f"{title!r} ({n})" for title, n in lacked.most_common(7))
        )
    if objected:
        parts.append(
            "rules objected to " + ", ".join(f"{quote!r} ({rule})" for quote, rule in list(objected.items())[:8])
        )
    value = {
        "content": "; ".join(parts)[:2000],
        "relevance": 0.5,
        "context": {"session": session.id, "trust": "brand", "source": " ".join(ids)[:1000]},
    }
    await store.aput(_LESSONS, f"week:{session.id}", value)
