"""What the agents remember."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import Field

from config.errors import Unsupported
from config.vocabulary import AgentType, Trust
from memory.rows.agents import AgentMemory
from tools.context import ToolContext
from tools.plugin_api import Sourced, least_trusted, tool

ROLES = {"research", "creation", "compliance", "coordination"}
_TYPES = ("episodic", "semantic", "long_term")


@tool(agents=ROLES, effect="read", timeout_s=30, trust="brand")
async def recall(
    ctx: ToolContext,
    query: Annotated[str, Field(min_length=1, max_length=2000)],
    agent: Literal["research", "creation", "compliance", "coordination", "me"] = "me",
    limit: Annotated[int, Field(ge=1, le=20)] = 5,
) -> Sourced:
    """Recall what an agent of this brand remembers about something, best first, with where it had it from.

    Args:
        query: What it is about, in a few words or a sentence.
        agent: Whose memory: me, research, creation, compliance or coordination.
        limit: How many memories to return at most, 1 to 20.
    """
    whose = AgentType(ctx.agent if agent == "me" else agent)
    found: dict[str, dict[str, Any]] = {}
    for memory in await ctx.store.recall(whose, query, limit, _TYPES):
        item = memory.item
        found[f"{item.namespace[1]}:{item.key}"] = _shape(
            item.namespace[1], item.key, str(item.value["content"]), dict(item.value["context"]), memory.score
        )
    with suppress(Unsupported):  # where the store cannot search words, meaning alone must do
        hits = await ctx.records.search_text(AgentMemory, query, limit=4 * limit, agent_type=whose)
        for hit in hits:
            row = hit.row
            if row.memory_type in _TYPES:
                found.setdefault(
                    f"{row.memory_type}:{row.memory_key}",
                    # Words alone say less than meaning, relevance and age together: they come after.
                    _shape(row.memory_type, row.memory_key, row.memory_content, row.context_data, hit.score / 10),
                )
    best = sorted(found.values(), key=lambda memory: (-memory["score"], memory["key"]))[:limit]
    trust = least_trusted({memory["trust"] for memory in best})
    return Sourced(best, trust, tuple(dict.fromkeys(source for memory in best for source in memory["sources"])))


def _shape(memory_type: str, key: str, content: str, context: dict[str, str], score: float) -> dict[str, Any]:
    return {
        "type": memory_type,
        "key": key,
        "content": content,
        "session": context.get("session", ""),
        # A memory that does not say where it is from is not trusted.
        "trust": context.get("trust", str(Trust.WEB)),
        "sources": context.get("source", "").split(),
        "score": round(score, 4),
    }
