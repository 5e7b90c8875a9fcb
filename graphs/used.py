"""Which sentences a brand has used lately: written when a piece is sealed, read by the next weeks' research."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from langgraph.store.base import BaseStore

from agents.agent import Brief
from config.vocabulary import AgentType
from memory.graph_store import HALF_LIFE
from memory.rows.content import Piece, Revision

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
