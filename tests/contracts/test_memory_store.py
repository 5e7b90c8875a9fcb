"""What the memory store promises over every engine of Records; LangGraph ships no suite for stores, so this is ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.store.base import GetOp, PutOp, SearchItem

from config.clock import ManualClock
from config.errors import BadInput, LeaseLost, Unsupported
from config.ids import name_id
from memory.graph_store import HALF_LIFE, MemoryStore, freshness
from memory.lease import Unleased
from memory.records import RecordsStore
from memory.rows import AgentMemory
from memory.user_sessions import UserSessionsStore, open_user_sessions

SEMANTIC = ("research", "semantic")
SHORT = ("research", "short_term")
WORDS = ("sleep", "water", "light", "rest", "breath")


class CountingEmbedder:
    """A bag of five words: similarity can be worked out by hand."""

    def __init__(self, embedder_id: str = "words") -> None:
        self.id = embedder_id

    def vector(self, text: str) -> tuple[float, ...]:
        counts = [float(text.lower().split().count(word)) for word in WORDS]
        length = sum(count * count for count in counts) ** 0.5
        return tuple(count / length for count in counts) + (0.0,) * 1531 if length else ()

    async def embed_documents(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        return [self.vector(text) for text in texts]

    async def embed_query(self, text: str) -> tuple[float, ...]:
        return self.vector(text)


@pytest.fixture
async def sessions(tmp_path: Path, clock: ManualClock) -> AsyncIterator[UserSessionsStore]:
    async with open_user_sessions(tmp_path / "session.db", clock=clock) as opened:
        yield opened


@pytest.fixture
def store(records_store: RecordsStore, sessions: UserSessionsStore, clock: ManualClock) -> MemoryStore:
    return a_store(records_store, sessions, clock)


def a_store(
    records: RecordsStore, sessions: UserSessionsStore, clock: ManualClock, *, brand: str = "acme", session: str = "s1"
) -> MemoryStore:
    return MemoryStore(
        records.for_brand(brand), CountingEmbedder(), clock=clock, notes=sessions.for_brand(brand), session_id=session
    )


def says(content: str, relevance: float = 0.5, **context: str) -> dict[str, Any]:
    return {"content": content, "relevance": relevance, "context": context}


def keys(items: Sequence[SearchItem]) -> list[str]:
    return [item.key for item in items]


@pytest.mark.parametrize("memory_type", ["short_term", "long_term", "episodic", "semantic"])
async def test_every_memory_type_is_put_read_replaced_and_deleted(
    store: MemoryStore, clock: ManualClock, memory_type: str
) -> None:
    place = ("creation", memory_type)
    await store.aput(place, "tone", says("calm", 0.9, trust="brand"))
    made = clock.now()
    clock.advance(timedelta(minutes=1))
    await store.aput(place, "tone", says("calm and clear"))
    item = await store.aget(place, "tone")
    assert item is not None
    assert (item.namespace, item.key, item.value) == (place, "tone", says("calm and clear"))
    assert (item.created_at, item.updated_at) == (made, clock.now())
    assert await store.aget(("research", memory_type), "tone") is None
    await store.adelete(place, "tone")
    await store.adelete(place, "tone")
    assert await store.aget(place, "tone") is None


async def test_a_memory_names_itself_by_brand_agent_type_and_key(
    store: MemoryStore, records_store: RecordsStore
) -> None:
    await store.aput(SEMANTIC, "k", says("sleep", 0.7, source="doc"))
    row = await records_store.for_brand("acme").get(AgentMemory, id=name_id("acme", "research", "semantic", "k"))
    assert (row.agent_type, row.memory_type, row.memory_key, row.memory_content) == (*SEMANTIC, "k", "sleep")
    assert (row.relevance_score, row.context_data, row.embedder_id) == (0.7, {"source": "doc"}, "words")
    assert len(row.embedding) == 1536


async def test_short_term_memory_stays_out_of_records_and_belongs_to_its_session(
    records_store: RecordsStore, sessions: UserSessionsStore, clock: ManualClock
) -> None:
    first = a_store(records_store, sessions, clock, session="s1")
    second = a_store(records_store, sessions, clock, session="s2")
    await first.aput(SHORT, "k", says("sleep"))
    assert await second.aget(SHORT, "k") is None
    assert await second.asearch(SHORT, query="sleep") == []
    assert await records_store.for_brand("acme").find_by(AgentMemory, agent_type="research") == []
    assert keys(await first.asearch(SHORT, query="sleep")) == ["k"]


async def test_without_a_session_there_is_no_short_term_memory(records_store: RecordsStore, clock: ManualClock) -> None:
    store = MemoryStore(records_store.for_brand("acme"), CountingEmbedder(), clock=clock)
    assert await store.aget(SHORT, "k") is None
    assert await store.asearch(("research",)) == []
    with pytest.raises(Unsupported, match="session"):
        await store.aput(SHORT, "k", says("sleep"))


@pytest.mark.parametrize("place", [SEMANTIC, SHORT])
async def test_an_expired_memory_is_absent_everywhere_at_once_and_reading_extends_nothing(
    store: MemoryStore, clock: ManualClock, place: tuple[str, str]
) -> None:
    await store.aput(place, "k", says("sleep"), ttl=10)
    clock.advance(timedelta(minutes=9))
    assert await store.aget(place, "k", refresh_ttl=True) is not None
    assert keys(await store.asearch(place, query="sleep", refresh_ttl=True)) == ["k"]
    clock.advance(timedelta(minutes=1))
    assert await store.aget(place, "k") is None
    assert await store.asearch(place) == []
    assert await store.asearch(place, query="sleep") == []
    assert await store.recall("research", "sleep") == []
    assert await store.alist_namespaces() == []


async def test_a_memory_without_a_ttl_outlives_years_and_a_note_its_day(store: MemoryStore, clock: ManualClock) -> None:
    await store.aput(SEMANTIC, "k", says("sleep"))
    await store.aput(SHORT, "k", says("sleep"))
    clock.advance(timedelta(days=1))
    assert await store.aget(SHORT, "k") is None
    clock.advance(timedelta(days=3650))
    assert await store.aget(SEMANTIC, "k") is not None


async def test_putting_again_without_a_ttl_removes_the_expiry(store: MemoryStore, clock: ManualClock) -> None:
    await store.aput(SEMANTIC, "k", says("sleep"), ttl=1)
    await store.aput(SEMANTIC, "k", says("sleep"))
    clock.advance(timedelta(days=1))
    assert await store.aget(SEMANTIC, "k") is not None


async def test_a_search_with_a_query_ranks_by_similarity(store: MemoryStore) -> None:
    await store.aput(SEMANTIC, "half", says("sleep water"))
    await store.aput(SEMANTIC, "whole", says("sleep", 0.1))
    await store.aput(SEMANTIC, "none", says("light"))
    await store.aput(SHORT, "note", says("sleep sleep water"))
    found = await store.asearch(("research",), query="sleep")
    assert keys(found)[:3] == ["whole", "note", "half"]
    assert [item.score for item in found[:3]] == pytest.approx([1.0, 0.8944, 0.7071], abs=1e-3)
    assert keys(await store.asearch(SEMANTIC, query="sleep", limit=1, offset=1)) == ["half"]
    assert await store.asearch(SEMANTIC, query="unknown words only") == []


async def test_a_search_without_a_query_lists_the_latest_first_and_in_pages(
    store: MemoryStore, clock: ManualClock
) -> None:
    for n in range(5):
        await store.aput(SEMANTIC, f"k{n}", says("sleep"))
        clock.advance(timedelta(seconds=1))
    assert keys(await store.asearch(SEMANTIC, limit=2)) == ["k4", "k3"]
    assert keys(await store.asearch(SEMANTIC, limit=2, offset=4)) == ["k0"]
    assert len(await store.asearch(())) == 5
    assert await store.asearch(("creation",)) == []
    assert await store.asearch((*SEMANTIC, "deeper")) == []


@pytest.mark.parametrize("query", [None, "sleep"])
async def test_a_filter_looks_past_the_first_page(store: MemoryStore, query: str | None) -> None:
    for n in range(30):
        await store.aput(SEMANTIC, f"k{n:02}", says("sleep", n / 100, trust="web" if n < 28 else "brand"))
    trusted = await store.asearch(SEMANTIC, query=query, filter={"context": {"trust": "brand"}}, limit=2)
    assert sorted(keys(trusted)) == ["k28", "k29"]
    assert len(await store.asearch(SEMANTIC, query=query, filter={"relevance": {"$gte": 0.1, "$lt": 0.15}})) == 5
    assert len(await store.asearch(SEMANTIC, query=query, filter={"content": {"$ne": "sleep"}})) == 0
    with pytest.raises(BadInput, match=r"\$in"):
        await store.asearch(SEMANTIC, query=query, filter={"content": {"$in": ["sleep"]}})


async def test_namespaces_are_those_that_hold_something(store: MemoryStore) -> None:
    assert await store.alist_namespaces() == []
    await store.aput(SEMANTIC, "k", says("sleep"))
    await store.aput(("creation", "episodic"), "k", says("sleep"))
    await store.aput(SHORT, "k", says("sleep"))
    assert await store.alist_namespaces() == [("creation", "episodic"), SEMANTIC, SHORT]
    assert await store.alist_namespaces(prefix=("research",)) == [SEMANTIC, SHORT]
    assert await store.alist_namespaces(suffix=("semantic",)) == [SEMANTIC]
    assert await store.alist_namespaces(prefix=("*", "episodic")) == [("creation", "episodic")]
    assert await store.alist_namespaces(max_depth=1) == [("creation",), ("research",)]
    assert await store.alist_namespaces(limit=1, offset=1) == [SEMANTIC]


async def test_in_one_batch_reads_see_the_state_before_and_the_last_write_wins(store: MemoryStore) -> None:
    await store.aput(SEMANTIC, "k", says("before"))
    results = await store.abatch(
        [PutOp(SEMANTIC, "k", says("first")), GetOp(SEMANTIC, "k"), PutOp(SEMANTIC, "k", says("last"))]
    )
    assert results[0] is None
    assert results[1].value["content"] == "before"  # type: ignore[union-attr]
    item = await store.aget(SEMANTIC, "k")
    assert item is not None
    assert item.value["content"] == "last"


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"content": ""},
        {"content": "a", "relevance": 1.1},
        {"content": "a", "relevance": float("nan")},
        {"content": "a", "relevance": True},
        {"content": "a", "context": {"n": 1}},
        {"content": "a\x00"},
        {"content": "a", "context": {"k": "\ud800"}},
        {"content": "a", "text": "b"},
    ],
)
async def test_a_bad_value_is_refused_and_nothing_of_its_batch_is_written(store: MemoryStore, value: Any) -> None:
    with pytest.raises(BadInput):
        await store.abatch([PutOp(SEMANTIC, "good", says("sleep")), PutOp(SEMANTIC, "bad", value)])
    assert await store.asearch(()) == []


@pytest.mark.parametrize("place", [("research",), ("poet", "semantic"), ("research", "eternal"), ("a", "b", "c")])
async def test_a_namespace_that_is_not_agent_and_memory_type_is_refused(
    store: MemoryStore, place: tuple[str, ...]
) -> None:
    with pytest.raises(BadInput):
        await store.aput(place, "k", says("sleep"))
    with pytest.raises(BadInput):
        await store.aget(place, "k")


async def test_what_the_store_cannot_do_is_said(store: MemoryStore) -> None:
    with pytest.raises(Unsupported, match="async only"):
        store.batch([GetOp(SEMANTIC, "k")])
    with pytest.raises(Unsupported, match="content"):
        await store.aput(SEMANTIC, "k", says("sleep"), index=["context"])
    with pytest.raises(BadInput, match="ttl"):
        await store.aput(SEMANTIC, "k", says("sleep"), ttl=0)


async def test_a_memory_put_without_an_index_is_read_but_not_found_by_similarity(store: MemoryStore) -> None:
    await store.aput(SEMANTIC, "k", says("sleep"), index=False)
    assert await store.aget(SEMANTIC, "k") is not None
    assert await store.asearch(SEMANTIC, query="sleep") == []


async def test_vectors_of_another_embedder_are_not_compared(
    store: MemoryStore, records_store: RecordsStore, clock: ManualClock
) -> None:
    await store.aput(SEMANTIC, "k", says("sleep"))
    other = MemoryStore(records_store.for_brand("acme"), CountingEmbedder("other"), clock=clock)
    assert await other.asearch(SEMANTIC, query="sleep") == []
    assert await other.recall("research", "sleep") == []
    assert await other.aget(SEMANTIC, "k") is not None


async def test_brands_do_not_see_or_change_each_others_memories(
    records_store: RecordsStore, sessions: UserSessionsStore, clock: ManualClock
) -> None:
    ours = a_store(records_store, sessions, clock, brand="acme")
    theirs = a_store(records_store, sessions, clock, brand="other")
    for place in (SEMANTIC, SHORT):
        await ours.aput(place, "k", says("sleep ours"))
        assert await theirs.aget(place, "k") is None
        assert await theirs.asearch(place, query="sleep") == []
        assert await theirs.recall("research", "sleep") == []
        assert await theirs.alist_namespaces() == []
        await theirs.aput(place, "k", says("sleep theirs"))
        await theirs.adelete(place, "k")
        item = await ours.aget(place, "k")
        assert item is not None
        assert item.value["content"] == "sleep ours"


async def test_a_write_after_the_lease_was_lost_is_refused(records_store: RecordsStore, clock: ManualClock) -> None:
    class Lost(Unleased):
        def ensure_held(self) -> None:
            raise LeaseLost("gone")

    store = MemoryStore(records_store.for_brand("acme", lease=Lost()), CountingEmbedder(), clock=clock)
    with pytest.raises(LeaseLost):
        await store.aput(SEMANTIC, "k", says("sleep"))
    assert await store.aget(SEMANTIC, "k") is None


async def test_recall_ranks_by_similarity_times_relevance_times_freshness(
    store: MemoryStore, clock: ManualClock
) -> None:
    place = ("research", "episodic")
    await store.aput(place, "old", says("sleep", 1.0))
    clock.advance(HALF_LIFE["episodic"])
    await store.aput(place, "similar", says("sleep", 0.4))
    await store.aput(place, "relevant", says("sleep water", 0.9))
    await store.aput(place, "never", says("sleep", 0.0))
    await store.aput(SHORT, "note", says("sleep", 0.3))
    found = await store.recall("research", "sleep")
    assert [recalled.item.key for recalled in found] == ["relevant", "old", "similar", "note"]
    assert [recalled.score for recalled in found] == pytest.approx([0.6364, 0.5, 0.4, 0.3], abs=1e-3)
    assert (found[1].similarity, found[1].relevance, found[1].freshness) == pytest.approx((1.0, 1.0, 0.5), abs=1e-6)
    assert [r.item.key for r in await store.recall("research", "sleep", 1, ["short_term"])] == ["note"]
    assert [r.item.key for r in await store.recall("research", "sleep", 2)] == ["relevant", "old"]
    assert await store.recall("creation", "sleep") == []
    with pytest.raises(BadInput):
        await store.recall("research", "sleep", 5, ["eternal"])


async def test_updating_a_memory_makes_it_fresh_again(store: MemoryStore, clock: ManualClock) -> None:
    await store.aput(SEMANTIC, "k", says("sleep"))
    clock.advance(HALF_LIFE["semantic"])
    assert (await store.recall("research", "sleep"))[0].freshness == pytest.approx(0.5)
    await store.aput(SEMANTIC, "k", says("sleep"))
    assert (await store.recall("research", "sleep"))[0].freshness == 1.0


async def test_recall_finds_the_relevant_one_behind_many_that_are_more_similar(store: MemoryStore) -> None:
    await store.abatch([PutOp(SEMANTIC, f"k{n:02}", says("sleep", 0.01)) for n in range(60)])
    await store.aput(SEMANTIC, "relevant", says("sleep water", 1.0))
    assert [r.item.key for r in await store.recall("research", "sleep", 1)] == ["relevant"]


@given(age=st.timedeltas(timedelta(days=-10), timedelta(days=4000)))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_freshness_is_within_bounds_and_never_rises_with_age(age: timedelta) -> None:
    for memory_type in (*HALF_LIFE, "of a plug-in"):
        assert 0 <= freshness(memory_type, age + timedelta(days=1)) <= freshness(memory_type, age) <= 1
