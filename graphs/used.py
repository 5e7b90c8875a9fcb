"""What a week leaves for the next ones: the sentences that were used, and what the knowledge gave and lacked for its theme.

The sentences are episodic memories of creation, a piece each, and count for four weeks; what waits for a human, or for its
slot, counts as well, because it is about to be said. The lesson of a week is one semantic memory of research, which finds it
again when the theme, or one like it, comes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from langgraph.store.base import BaseStore

from agents.agent import Brief
from config.vocabulary import AgentType, PieceState, Severity
from graphs.week import monday
from memory.graph_store import HALF_LIFE
from memory.records.protocol import Records
from memory.rows.brand import BrandKnowledge
from memory.rows.checks import ComplianceCheck
from memory.rows.content import Piece, Revision
from memory.rows.sessions import Session

_PLACE = (str(AgentType.CREATION), "episodic")
RECENT = HALF_LIFE["episodic"]
"""How long a sentence counts as used."""
AGAIN = "used in the last four weeks, or in a post that waits"
"""Why a sentence is left out, behind it in `Brief.avoided`."""
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


_COMING = (
    PieceState.CHECKING,
    PieceState.WAITING,
    PieceState.APPROVED,
    PieceState.PUBLISHING,
    PieceState.UNKNOWN,
)
"""States of a piece that is written and may still go out."""
_NEAR_WEEKS = timedelta(weeks=4)


async def coming(records: Records, *, cycle_key: str, session_id: str) -> frozenset[str]:
    """The sentences of written pieces of other sessions that may still go out, of weeks at most four away from `cycle_key`."""
    pieces = [
        piece
        for state in _COMING
        for piece in await records.find_by(Piece, state=state)
        if piece.session_id != session_id and piece.content_hash
        if not (piece.cycle_key and cycle_key) or abs(monday(piece.cycle_key) - monday(cycle_key)) <= _NEAR_WEEKS
    ]
    keys = [{"content_id": piece.id, "content_hash": piece.content_hash} for piece in pieces]
    return frozenset(line for row in await records.find_many(Revision, keys) for line in row.citations)


def without_used(brief: Brief, used: Collection[str], *, pieces: int) -> Brief:
    """The Brief without the sentences in `used`; where fewer are left than the day has `pieces`, that is a named gap."""
    fresh = tuple(fact for fact in brief.facts if fact.text not in used)
    again = tuple(fact for fact in brief.facts if fact.text in used)
    avoided = tuple(f"{fact.text}: {AGAIN}" for fact in again)
    gaps = brief.gaps
    if again and len(fresh) < pieces:
        gaps += (
            f"{len(again)} sentences about {brief.title!r} were said in the last four weeks or wait to be, and {len(fresh)} "
            f"are left for {pieces} pieces: add a document that covers it, or choose another theme",
        )
    return brief.model_copy(update={"facts": fresh, "avoided": brief.avoided + avoided, "gaps": gaps})


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
