"""What the brand knows: passages of its documents."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from memory.knowledge import search
from memory.rows.brand import BrandKnowledge
from tools.context import ToolContext
from tools.plugin_api import Sourced, least_trusted, tool

ALL = {"research", "creation", "compliance", "coordination"}


@tool(agents=ALL, effect="read", timeout_s=30, trust="brand")
async def search_knowledge(
    ctx: ToolContext,
    query: Annotated[str, Field(min_length=1, max_length=2000)],
    limit: Annotated[int, Field(ge=1, le=50)] = 8,
) -> Sourced:
    """Search the brand's documents; each passage has an id to cite, its document, its text and who is behind it.

    Args:
        query: What to look for, in a few words or a sentence.
        limit: How many passages to return at most, 1 to 50.
    """
    hits = {hit.chunk_id: hit for hit in await search(ctx.records, ctx.embedder, query, limit)}
    rows = await ctx.records.find_many(BrandKnowledge, [{"id": hit_id} for hit_id in hits])
    return _sourced([{**_passage(row), "score": round(hits[row.id].score, 4)} for row in rows])


@tool(agents=ALL, effect="read", timeout_s=30, trust="brand")
async def read_passages(ctx: ToolContext, ids: Annotated[list[str], Field(min_length=1, max_length=20)]) -> Sourced:
    """Read passages of the brand's documents again by their ids; those that were revoked are left out.

    Args:
        ids: The ids, as `search_knowledge` gave them.
    """
    rows = await ctx.records.find_many(BrandKnowledge, [{"id": id} for id in dict.fromkeys(ids)])
    return _sourced([_passage(row) for row in rows if row.knowledge_type == "document" and row.status == "active"])


def _passage(row: BrandKnowledge) -> dict[str, Any]:
    return {
        "id": row.id,
        "source": row.title,
        "document": row.source_id,
        "text": row.content,
        "trust": str(row.trust),
    }


def _sourced(found: list[dict[str, Any]]) -> Sourced:
    """As trusted as the least trusted passage in it."""
    trust = least_trusted({passage["trust"] for passage in found})
    return Sourced(found, trust, tuple(passage["id"] for passage in found))
