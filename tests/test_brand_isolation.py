"""Two brands share one store and never see each other: random operations by both against what each alone would see.

Each store that brands share has a property of its own here, made of the same random steps.
"""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.base import empty_checkpoint

from config.clock import ManualClock
from config.errors import Conflict
from config.ids import new_id
from memory.cache.protocol import open_cache
from memory.checkpoints.protocol import open_checkpoints
from memory.embedding.hashing import HashingEmbedder
from memory.events import open_events
from memory.graph_store import MemoryStore
from memory.lease import Unleased
from memory.queue.owner import current_owner
from memory.queue.protocol import Task, open_queue
from memory.records import Records, open_records
from memory.rows import BrandKnowledge, Control, LedgerStep, Piece, ScheduledPublication
from memory.rows.row import Row
from memory.rows.sessions import Event
from tests.contracts.test_records import a_claim, a_control, a_piece, a_step, a_vector
from tests.fakes.event_engines import ENGINES

NOW = ManualClock().now()
BRANDS = ("acme", "acme-2")
NAMES = ("a", "b", "c")
TABLES: tuple[type[Row], ...] = (Piece, Control, LedgerStep, BrandKnowledge, ScheduledPublication)

steps = st.lists(
    st.tuples(
        st.sampled_from(BRANDS),
        st.sampled_from(["put", "put_two", "delete", "once"]),
        st.sampled_from(TABLES),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
    ),
    max_size=25,
)


def a_row(table: type[Row], brand: str, name: str, text: str) -> Row:
    """A row of `brand` whose key holds `name`, so that brands collide wherever a key names no brand."""
    if table is Piece:
        return a_piece(brand=brand, id=name, title=text)
    if table is Control:
        return a_control(name, brand=brand, value=text)
    if table is LedgerStep:
        return a_step(1, 0, name, brand=brand, pub_key="pub", reason=text)
    if table is BrandKnowledge:
        return a_claim(name, brand=brand, content=text, embedding=a_vector(1.0, ord(text)))
    made = {"cycle_key": "2026-W50", "id": name, "content_id": name, "platform": "x", "content_type": "quote"}
    return ScheduledPublication(
        brand=brand, theme=text, cycle_day=1, scheduled_at=NOW, created_at=NOW, updated_at=NOW, **made
    )


def key_of(row: Row) -> dict[str, Any]:
    return dict(zip(row.key.columns, row.key_values(), strict=True))


async def everything(records: Records) -> list[Row]:
    """Every row that the brand can reach, by every way of reaching it."""
    found: list[Row] = []
    for table in TABLES:
        rows = [a_row(table, brand, name, "x") for brand in BRANDS for name in NAMES]
        found += await records.find_many(table, [key_of(row) for row in rows])
        found += [row for each in rows if (row := await records.find(table, **key_of(each))) is not None]
    found += await records.find_by(Piece)
    found += await records.find_by(Piece, content_type="quote")
    found += await records.find_by(BrandKnowledge, status="active")
    found += await records.list_rows(Control)
    found += await records.list_rows(LedgerStep, pub_key="pub")
    found += await records.list_rows(ScheduledPublication, cycle_key="2026-W50")
    found += [hit.row for hit in await records.search(BrandKnowledge, a_vector(1.0), embedder_id="e1", limit=9)]
    found += [hit.row for hit in await records.search_text(BrandKnowledge, "a b c", limit=9)]
    for name in NAMES:
        for table in TABLES:
            if (decided := await records.find_once(table.table, name, table)) is not None:
                found.append(decided.row)
    return found


@settings(max_examples=40, deadline=None, database=None)
@given(steps=steps)
async def test_no_brand_sees_or_changes_a_row_of_another_in_records(steps: list[tuple[Any, ...]]) -> None:
    expected: dict[str, dict[Any, Row]] = {brand: {} for brand in BRANDS}
    with tempfile.TemporaryDirectory() as folder:
        async with open_records(f"sqlite:///{folder}", clock=ManualClock()) as store:
            opened = {brand: store.for_brand(brand) for brand in BRANDS}
            for brand, what, table, name, text in steps:
                mine, theirs = expected[brand], expected[next(other for other in BRANDS if other != brand)]
                rows = [a_row(table, brand, name, text)]
                if what == "put_two":
                    rows.append(a_row(table, brand, NAMES[0], text))
                if what == "delete":
                    await opened[brand].delete(table, **key_of(rows[0]))
                    mine.pop((table, rows[0].key_values()), None)
                elif what == "once":
                    await opened[brand].create_once(table.table, name, rows[0], token=brand)
                elif any((table, row.key_values()) in theirs for row in rows):
                    with pytest.raises(Conflict):
                        await opened[brand].put(*rows)
                else:
                    await opened[brand].put(*rows)
                    mine.update({(table, row.key_values()): row.model_copy(update={"row_version": 1}) for row in rows})
            for brand in BRANDS:
                assert {row.brand for row in await everything(opened[brand])} <= {brand}
                for (table, _), row in expected[brand].items():
                    assert await opened[brand].get(table, **key_of(row)) == row
                left = [row for table in TABLES for row in await opened[brand].find_many(table, keys_of(table, brand))]
                assert len(left) == len(expected[brand])


def keys_of(table: type[Row], brand: str) -> list[dict[str, Any]]:
    return [key_of(a_row(table, brand, name, "x")) for name in NAMES]


# The other stores: each brand's own values after any interleaving are what it would have seen alone.

small_steps = st.lists(
    st.tuples(
        st.sampled_from(BRANDS), st.sampled_from(NAMES), st.sampled_from(["write", "add", "delete"]), st.integers(0, 9)
    ),
    max_size=20,
)


@settings(max_examples=15, deadline=None, database=None)
@given(steps=small_steps)
async def test_no_brand_sees_or_changes_what_another_has_cached(steps: list[tuple[str, str, str, int]]) -> None:
    values: dict[str, dict[str, int]] = {brand: {} for brand in BRANDS}
    held: dict[str, dict[str, int]] = {brand: {} for brand in BRANDS}
    hour = timedelta(hours=1)
    with tempfile.TemporaryDirectory() as folder:
        async with open_cache(f"sqlite:///{folder}/session.db", clock=ManualClock()) as store:
            caches = {brand: store.for_brand(brand) for brand in BRANDS}
            for cache in caches.values():
                await cache.rebuild_holds("budget:s", {}, ttl=hour)
            for brand, name, what, number in steps:
                if what == "write":
                    await caches[brand].put(f"session:{name}", number, ttl=hour)
                    values[brand][name] = number
                    await caches[brand].set_hold("budget:s", name, float(number))
                    held[brand][name] = number
                else:
                    await caches[brand].delete(f"session:{name}")
                    values[brand].pop(name, None)
            for brand, cache in caches.items():
                assert {n: await cache.get(f"session:{n}") for n in NAMES} == {n: values[brand].get(n) for n in NAMES}
                assert await cache.held("budget:s") == pytest.approx(sum(held[brand].values()))


@pytest.mark.parametrize("engine", sorted(ENGINES))
@settings(max_examples=15, deadline=None, database=None)
@given(steps=small_steps)
async def test_no_brand_is_told_what_happens_at_another(engine: str, steps: list[tuple[str, str, str, int]]) -> None:
    expected: dict[str, dict[str, list[int]]] = {brand: {name: [] for name in NAMES} for brand in BRANDS}
    clock = ManualClock()
    with tempfile.TemporaryDirectory() as folder:
        async with open_events(ENGINES[engine](Path(folder)).url, clock=clock) as store:
            for brand, name, _, number in steps:
                event = Event(
                    brand=brand, day="d", id=new_id(clock.now()), name="n.told", session_id=name,
                    detail={"n": number}, created_at=clock.now(),
                )  # fmt: skip
                await store.for_brand(brand).append(event)
                expected[brand][name].append(number)
            for brand in BRANDS:
                pages = {name: await store.for_brand(brand).read(name) for name in NAMES}
                found = {name: [event.detail["n"] for event in page.events] for name, page in pages.items()}
                assert found == expected[brand]


@settings(max_examples=15, deadline=None, database=None)
@given(steps=small_steps)
async def test_no_brand_sees_or_changes_what_another_remembers(steps: list[tuple[str, str, str, int]]) -> None:
    expected: dict[str, dict[str, str]] = {brand: {} for brand in BRANDS}
    namespace = ("research", "semantic")
    with tempfile.TemporaryDirectory() as folder:
        async with open_records(f"sqlite:///{folder}", clock=ManualClock()) as store:
            stores = {
                brand: MemoryStore(store.for_brand(brand), HashingEmbedder(), clock=ManualClock()) for brand in BRANDS
            }
            for brand, name, what, number in steps:
                if what == "delete":
                    await stores[brand].adelete(namespace, name)
                    expected[brand].pop(name, None)
                else:
                    text = f"{brand} keeps {name} at {number}"
                    await stores[brand].aput(namespace, name, {"content": text, "relevance": 0.5, "context": {}})
                    expected[brand][name] = text
            for brand, memories in stores.items():
                got = {name: await memories.aget(namespace, name) for name in NAMES}
                assert {n: item.value["content"] for n, item in got.items() if item} == expected[brand]
                found = await memories.asearch(namespace, query="keeps at", limit=9)
                assert {item.value["content"] for item in found} <= set(expected[brand].values())
                recalled = await memories.recall("research", "keeps at", limit=9)
                assert all(str(item).count(other) == 0 for item in recalled for other in _others(brand, expected))


def _others(brand: str, expected: dict[str, dict[str, str]]) -> set[str]:
    return {text for other, texts in expected.items() if other != brand for text in texts.values()}


@settings(max_examples=15, deadline=None, database=None)
@given(steps=small_steps)
async def test_no_brand_sees_or_changes_a_thread_of_another(steps: list[tuple[str, str, str, int]]) -> None:
    expected: dict[str, dict[str, int]] = {brand: {} for brand in BRANDS}
    with tempfile.TemporaryDirectory() as folder:
        async with open_checkpoints(f"sqlite:///{folder}/checkpoints.db", clock=ManualClock()) as checkpoints:
            for brand, name, what, number in steps:
                if what == "delete":
                    await checkpoints.delete(brand, name)
                    expected[brand].pop(name, None)
                    continue
                saver = await checkpoints.claim(brand, name, Unleased())
                checkpoint = empty_checkpoint()
                checkpoint["channel_values"] = {"n": number}
                await saver.aput({"configurable": {"thread_id": name, "checkpoint_ns": ""}}, checkpoint, {}, {})
                expected[brand][name] = number
            for brand in BRANDS:
                reader = checkpoints.reader(brand)
                for name in NAMES:
                    found = await reader.aget_tuple({"configurable": {"thread_id": name, "checkpoint_ns": ""}})
                    value = found.checkpoint["channel_values"]["n"] if found else None
                    assert value == expected[brand].get(name)


@settings(max_examples=15, deadline=None, database=None)
@given(steps=small_steps)
async def test_no_brand_takes_over_a_task_of_another(steps: list[tuple[str, str, str, int]]) -> None:
    """Queues are shared by brands on purpose; a task's brand is part of it, and an id stays with the brand that came first."""
    clock = ManualClock()
    first: dict[str, tuple[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with open_queue(f"sqlite:///{folder}/queue.db", clock=clock) as queue:
            for brand, name, _, number in steps:
                task = Task(
                    id=name,
                    kind="advance_piece",
                    queue="q",
                    brand=brand,
                    run_at=clock.now(),
                    payload={"number": number},
                )
                if first.setdefault(name, (brand, number)) == (brand, number):
                    await queue.enqueue(task)
                else:
                    with pytest.raises(Conflict):
                        await queue.enqueue(task)
            leases = await queue.claim(["q"], owner=current_owner(), ttl=timedelta(seconds=9), limit=99)
            assert {lease.task.id: (lease.task.brand, lease.task.payload["number"]) for lease in leases} == first
