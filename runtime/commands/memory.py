"""`memory`: what the agents remember, and where they have it from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from config.errors import BadInput
from runtime.commands.common import OK, add_parts, add_verb, emit, opened, run_async
from runtime.commands.knowledge import whole

if TYPE_CHECKING:
    from memory.records.protocol import Scored
    from memory.rows.agents import AgentMemory


def register(verbs: Any) -> None:
    parts = add_parts(add_verb(verbs, "memory", "what the agents remember, and where they have it from"))
    listing = add_verb(parts, "list", "every memory that has not expired, latest first")
    search = add_verb(parts, "search", "the memories that match best")
    search.add_argument("query", metavar="QUERY")
    search.add_argument("--limit", type=whole, default=5, metavar="N", help="at most so many, 1 to 100 (default 5)")
    for verb in (listing, search):
        verb.add_argument("--agent", metavar="NAME", help="only of research, creation, compliance or coordination")
        verb.add_argument("--type", metavar="NAME", help="only long_term, episodic or semantic")
    listing.set_defaults(run=lambda args: run_async(lambda: memory_list(args)))
    search.set_defaults(run=lambda args: run_async(lambda: memory_search(args)))
    show = add_verb(parts, "show", "one memory with its provenance")
    show.add_argument("id", metavar="ID", help="memory id, or its first 8 or more characters")
    show.set_defaults(run=lambda args: run_async(lambda: memory_show(args)))


def _filters(args: argparse.Namespace) -> dict[str, Any]:
    from config.vocabulary import MEMORY_TYPES, AgentType, nearest

    found: dict[str, Any] = {}
    if args.agent:
        known = [str(agent) for agent in AgentType]
        if args.agent not in known:
            raise BadInput(f"--agent {args.agent[:40]!r} is not one of {', '.join(known)}{nearest(args.agent, known)}")
        found["agent_type"] = args.agent
    if args.type:
        found["memory_type"] = MEMORY_TYPES.parse(args.type)
        if args.type == "short_term":
            raise BadInput(
                "--type short_term: short-term notes live in a session and vanish with it; choose another type"
            )
    return found


def _shape(row: AgentMemory) -> dict[str, Any]:
    return {
        "id": row.id,
        "agent": row.agent_type,
        "type": row.memory_type,
        "key": row.memory_key,
        "content": row.memory_content,
        "relevance": row.relevance_score,
        "provenance": row.context_data,
        "expires_at": row.expires_at.isoformat() if row.expires_at.year < 9999 else "",
        "updated_at": row.updated_at.isoformat(),
    }


async def memory_list(args: argparse.Namespace) -> int:
    """Print every memory of the brand."""
    from memory.rows.agents import AgentMemory
    from runtime.commands.lookup import table

    wanted = _filters(args)
    async with opened(args) as (runtime, brand):
        rows = await runtime.records.for_brand(brand).find_by(AgentMemory, **(wanted or {"brand": brand}))
    rows.sort(key=lambda row: (row.updated_at, row.id), reverse=True)
    lines = [
        [row.id[:8], row.agent_type, row.memory_type, row.memory_key, " ".join(row.memory_content.split())[:80]]
        for row in rows
    ]
    emit(args, [_shape(row) for row in rows], table(["id", "agent", "type", "key", "content"], lines))
    return OK


async def memory_search(args: argparse.Namespace) -> int:
    """Print the memories that match best: by meaning where they have a vector, and by words where the store can."""
    from contextlib import suppress

    from config.errors import Unsupported
    from memory.rows.agents import AgentMemory

    wanted = _filters(args)
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        hits = []
        if vector := await runtime.embedder.embed_query(args.query):
            hits = await records.search(
                AgentMemory, vector, embedder_id=runtime.embedder.id, limit=args.limit, min_score=0.01, **wanted
            )
        with suppress(Unsupported):
            hits += await records.search_text(AgentMemory, args.query, limit=args.limit, **wanted)
    best: dict[str, Scored[AgentMemory]] = {}
    for hit in sorted(hits, key=lambda hit: (-hit.score, hit.row.id)):
        best.setdefault(hit.row.id, hit)
    shown = list(best.values())[: args.limit]
    shape = [{**_shape(hit.row), "score": round(hit.score, 4)} for hit in shown]
    lines = [
        f"{h.score:.2f}  {h.row.id[:8]}  {h.row.agent_type} {h.row.memory_key}\n{h.row.memory_content}" for h in shown
    ]
    emit(args, shape, "\n\n".join(lines) or "nothing matches")
    return OK


async def memory_show(args: argparse.Namespace) -> int:
    """Print one memory."""
    from memory.rows.agents import AgentMemory
    from runtime.commands.lookup import only, parse_ref

    ref = parse_ref(args.id, what="memory")
    async with opened(args) as (runtime, brand):
        rows = await runtime.records.for_brand(brand).find_by(AgentMemory, brand=brand)
    row = only([r for r in rows if r.id.startswith(ref)], ref, what="memory", where="`memory list` prints the ids")
    shape = _shape(row)
    lines = [f"{name}: {value}" for name, value in shape.items() if name not in ("content", "provenance")]
    lines += [f"{name}: {value}" for name, value in row.context_data.items()]
    emit(args, shape, "\n".join([*lines, "", row.memory_content]))
    return OK
