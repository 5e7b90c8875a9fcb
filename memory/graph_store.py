"""What agents remember, as the LangGraph store that graphs and tools see as `runtime.store`.

A namespace is (agent type, memory type), a value is `{"content": text, "relevance": 0 to 1, "context": {text: text}}`. The
type `short_term` lives in the session database, keyed by the session; the other types live in Records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    validate_op_namespace,
)

from config.clock import FOREVER, Clock
from config.errors import BadInput, Unsupported
from config.ids import name_id
from config.vocabulary import MEMORY_TYPES, AgentType
from memory.embedding.protocol import Embedder
from memory.memory_values import SHORT_TERM, MemoryValue, checked_value, item_of_note, item_of_row, matches
from memory.records.protocol import Records
from memory.rows.agents import AgentMemory
from memory.rows.user_sessions import ShortTermNote
from memory.session_rows import checked_text, clean
from memory.user_sessions import UserSessions

HALF_LIFE = {
    SHORT_TERM: timedelta(days=1),  # as long as a note lives: within a session the latest word counts
    "episodic": timedelta(days=28),  # four weekly cycles: what happened last week is worth more than last month's
    "long_term": timedelta(days=182),  # half a year: preferences drift with the seasons of a brand
    "semantic": timedelta(days=365),  # facts age by being replaced, which makes them new, rather than by time
}
"""After this time without an update a memory counts half.

Exponential recency is that of Park et al., "Generative Agents" (2023), section 4.1; its agents live in hours (0.995 an
hour), ours in weekly cycles. Memory types of plug-ins age as `episodic`.
"""


@dataclass(frozen=True)
class Recalled:
    """A memory that answers a query, and why it ranks where it does. `score` is the product of the other three."""

    item: Item
    score: float
    similarity: float
    relevance: float
    freshness: float


def freshness(memory_type: str, age: timedelta) -> float:
    """1 for what was updated now, 0.5 after one half-life; never above 1, whatever the clocks did."""
    return float(0.5 ** (max(age, timedelta(0)) / HALF_LIFE.get(memory_type, HALF_LIFE["episodic"])))


class MemoryStore(BaseStore):
    """The memories of one brand, bound as its Records are: a write after the lease was lost raises LeaseLost. Async only.

    Without `notes` and `session_id` there is no short-term memory: reading finds none, writing raises Unsupported. Reading
    never extends a memory's life, and an expired one is absent at once. In one batch, reads see the state before its
    writes, and the last of several writes to one key wins.
    """

    supports_ttl = True

    def __init__(
        self,
        records: Records,
        embedder: Embedder,
        *,
        clock: Clock,
        notes: UserSessions | None = None,
        session_id: str = "",
    ) -> None:
        self._records = records
        self._embedder = embedder
        self._clock = clock
        self._notes = notes if session_id else None
        self._session_id = session_id

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        raise Unsupported("the memory store is async only: await aget, aput, asearch, adelete or alist_namespaces")

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do the operations; one result each, in order.

        Raises:
            BadInput: a namespace, key, value or filter that cannot be; nothing of the batch was written.
            Unsupported: an index other than `content`, or short-term memory without a session.
            LeaseLost, Unavailable: as Records; earlier writes of the batch may have been stored.
        """
        listed = list(ops)
        writes: dict[tuple[tuple[str, ...], str], tuple[PutOp, MemoryValue | None]] = {}
        for op in listed:
            validate_op_namespace(op)
            if isinstance(op, PutOp):
                writes[(op.namespace, op.key)] = (op, self._checked(op))
        results = await asyncio.gather(*(self._read(op) for op in listed))
        embedded = await self._embed([value for op, value in writes.values() if value and op.index is not False])
        for op, value in writes.values():
            await self._write(op, value, embedded.get(id(value), ()))
        return list(results)

    async def recall(
        self, agent_type: str, query: str, limit: int = 5, memory_types: Sequence[str] | None = None
    ) -> list[Recalled]:
        """The memories of an agent that help most with `query`, best first; all its types unless told.

        Ranked by similarity x relevance x freshness: cosine similarity to the query (0 to 1), the relevance that was stored
        with the memory, and `freshness` by the time since its last update. A product, so that what is unrelated, declared
        irrelevant or long past cannot be outweighed by the other two. Exact over everything stored, or over the nearest
        that the store returns at once where it returns only so many; 0 is never recalled.
        """
        now = self._clock.now()
        types = [MEMORY_TYPES.parse(name) for name in (MEMORY_TYPES if memory_types is None else memory_types)]
        agent = _agent(agent_type)
        vector = await self._embedder.embed_query(clean(query, "query"))
        if not vector or limit < 1:
            return []
        ranked: list[Recalled] = []
        for memory_type in types:
            if memory_type == SHORT_TERM:
                ranked += [_ranked(item, now) for item in await self._similar_notes(agent, vector)]
            else:
                ranked += await self._best(agent, memory_type, vector, limit, now)
        return sorted((found for found in ranked if found.score > 0), key=_order)[:limit]

    async def _best(
        self, agent: str, memory_type: str, vector: Sequence[float], limit: int, now: datetime
    ) -> list[Recalled]:
        # No factor is above 1, so once the limit-th best score reaches the least similarity seen, nothing unseen can beat it.
        size = max(50, 4 * limit)
        best: list[Recalled] = []
        while True:
            try:
                hits = await self._records.search(
                    AgentMemory,
                    vector,
                    embedder_id=self._embedder.id,
                    limit=size,
                    agent_type=agent,
                    memory_type=memory_type,
                )
            except Unsupported:
                if not best:
                    raise
                return best  # a store that returns only so many at once: the best of its nearest
            best = sorted((_ranked(item_of_row(hit.row, hit.score), now) for hit in hits), key=_order)[:limit]
            if len(hits) < size or (len(best) == limit and best[-1].score >= hits[-1].score):
                return best
            size *= 4

    async def _read(self, op: Op) -> Result:
        if isinstance(op, GetOp):
            return await self._get(op)
        if isinstance(op, SearchOp):
            return await self._search(op)
        if isinstance(op, ListNamespacesOp):
            return await self._list(op)
        if isinstance(op, PutOp):
            return None
        raise Unsupported(f"the memory store cannot do {type(op).__name__}: it gets, puts, searches and lists")

    async def _get(self, op: GetOp) -> Item | None:
        agent, memory_type = _place(op.namespace)
        if memory_type == SHORT_TERM:
            notes = await self._list_notes(agent)
            return next((item_of_note(note) for note in notes if note.memory_key == op.key), None)
        row = await self._records.find(AgentMemory, id=self._id(agent, memory_type, op.key))
        return None if row is None else item_of_row(row)

    async def _search(self, op: SearchOp) -> list[SearchItem]:
        if len(op.namespace_prefix) > 2:
            return []
        places = [
            (agent, memory_type)
            for agent in _choices([str(name) for name in AgentType], op.namespace_prefix[:1], _agent)
            for memory_type in _choices(list(MEMORY_TYPES), op.namespace_prefix[1:2], MEMORY_TYPES.parse)
        ]
        vector = await self._embedder.embed_query(clean(op.query, "query")) if op.query else ()
        if op.query and not vector:
            return []  # a query without any feature is near to nothing
        wanted = op.offset + op.limit
        size = wanted
        while True:
            pages = [await self._candidates(place, vector, size) for place in places]
            found = [item for page in pages for item in page if matches(item.value, op.filter)]
            # A filter may have thrown out what the engine's limit counted: ask for more until there is enough or no more.
            if len(found) >= wanted or not vector or all(len(page) < size for page in pages):
                break
            size *= 4
        if vector:
            found.sort(key=lambda item: (-(item.score or 0.0), item.namespace, item.key))
        else:
            found.sort(key=lambda item: (-item.updated_at.timestamp(), item.namespace, item.key))
        return found[op.offset : wanted]

    async def _candidates(self, place: tuple[str, str], vector: Sequence[float], size: int) -> list[SearchItem]:
        agent, memory_type = place
        if memory_type == SHORT_TERM:
            if vector:
                return await self._similar_notes(agent, vector)
            return [item_of_note(note) for note in await self._list_notes(agent)]
        equals: dict[str, Any] = {"agent_type": agent, "memory_type": memory_type}
        if not vector:
            return [item_of_row(row) for row in await self._records.find_by(AgentMemory, **equals)]
        hits = await self._records.search(AgentMemory, vector, embedder_id=self._embedder.id, limit=size, **equals)
        return [item_of_row(hit.row, hit.score) for hit in hits]

    async def _list(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        found: set[tuple[str, ...]] = set()
        for agent in AgentType:
            for memory_type in MEMORY_TYPES:
                namespace = (str(agent), memory_type)
                if not all(_fits(namespace, condition) for condition in op.match_conditions or ()):
                    continue
                if memory_type == SHORT_TERM:
                    there = bool(await self._list_notes(namespace[0]))
                else:
                    there = bool(
                        await self._records.find_by(
                            AgentMemory, limit=1, agent_type=namespace[0], memory_type=memory_type
                        )
                    )
                if there:
                    found.add(namespace if op.max_depth is None else namespace[: op.max_depth])
        return sorted(found)[op.offset : op.offset + op.limit]

    async def _write(self, op: PutOp, value: MemoryValue | None, embedding: Sequence[float]) -> None:
        agent, memory_type = _place(op.namespace)
        lifetime = None if op.ttl is None else timedelta(minutes=op.ttl)
        if memory_type == SHORT_TERM:
            assert self._notes is not None  # _checked refused it otherwise
            if value is None:
                await self._notes.delete_notes(self._session_id, agent_type=agent, memory_key=op.key)
                return
            more = {} if lifetime is None else {"ttl": lifetime}
            await self._notes.put_note(
                self._session_id,
                agent,
                op.key,
                value.content,
                relevance_score=value.relevance,
                context_data=value.context,
                **more,
            )
            return
        row_id = self._id(agent, memory_type, op.key)
        if value is None:
            await self._records.delete(AgentMemory, id=row_id)
            return
        now = self._clock.now()
        earlier = await self._records.find(AgentMemory, id=row_id)
        await self._records.put(
            AgentMemory(
                brand=self._records.brand,
                row_version=earlier.row_version if earlier else 0,
                id=row_id,
                agent_type=agent,
                memory_type=memory_type,
                memory_key=op.key,
                memory_content=value.content,
                embedding=tuple(embedding),
                embedder_id=self._embedder.id if embedding else "",
                relevance_score=value.relevance,
                context_data=value.context,
                expires_at=FOREVER if lifetime is None else now + lifetime,
                created_at=earlier.created_at if earlier else now,
                updated_at=now,
            )
        )

    def _checked(self, op: PutOp) -> MemoryValue | None:
        _, memory_type = _place(op.namespace)
        checked_text(op.key, "memory key")
        if memory_type == SHORT_TERM and self._notes is None:
            raise Unsupported("short-term memory belongs to a session: open the store with `notes` and `session_id`")
        if op.index not in (None, False) and list(op.index or ()) != ["content"]:
            raise Unsupported(f"memory {op.key!r}: only `content` is embedded: pass index=None, False or ['content']")
        if op.ttl is not None and not 0 < op.ttl <= 60 * 24 * 366 * 100:
            raise BadInput(f"memory {op.key!r}: ttl {op.ttl!r} minutes must be above 0 and at most a century")
        return None if op.value is None else checked_value(op.key, op.value)

    async def _embed(self, values: Sequence[MemoryValue]) -> dict[int, tuple[float, ...]]:
        vectors = await self._embedder.embed_documents([value.content for value in values]) if values else []
        return {id(value): vector for value, vector in zip(values, vectors, strict=True)}

    async def _list_notes(self, agent: str) -> list[ShortTermNote]:
        return [] if self._notes is None else await self._notes.list_notes(self._session_id, agent_type=agent)

    async def _similar_notes(self, agent: str, vector: Sequence[float]) -> list[SearchItem]:
        notes = await self._list_notes(agent)
        if not notes:
            return []
        # Few and short-lived, so embedded when asked for rather than stored. Of unit length: the product is the cosine.
        embedded = await self._embedder.embed_documents([note.memory_content for note in notes])
        return [
            item_of_note(note, min(1.0, max(0.0, sum(a * b for a, b in zip(vector, there, strict=True)))))
            for note, there in zip(notes, embedded, strict=True)
            if there
        ]

    def _id(self, agent: str, memory_type: str, key: str) -> str:
        return name_id(self._records.brand, agent, memory_type, key)


def _agent(name: str) -> str:
    if name not in list(AgentType):
        raise BadInput(f"agent type {name[:80]!r} is unknown; known: {', '.join(AgentType)}")
    return str(name)


def _place(namespace: tuple[str, ...]) -> tuple[str, str]:
    if len(namespace) != 2:
        raise BadInput(f"namespace {namespace!r} must be (agent type, memory type), as ('research', 'semantic')")
    return _agent(namespace[0]), MEMORY_TYPES.parse(namespace[1])


def _choices(every: list[str], named: tuple[str, ...], parse: Any) -> list[str]:
    return [parse(named[0])] if named else every


def _fits(namespace: tuple[str, ...], condition: MatchCondition) -> bool:
    path = condition.path
    if len(path) > len(namespace):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for wanted, label in zip(path, part, strict=True))


def _ranked(item: SearchItem, now: datetime) -> Recalled:
    similarity = item.score or 0.0
    relevance = float(item.value["relevance"])
    fresh = freshness(item.namespace[1], now - item.updated_at)
    return Recalled(item, similarity * relevance * fresh, similarity, relevance, fresh)


def _order(found: Recalled) -> tuple[float, str]:
    return -found.score, found.item.key
