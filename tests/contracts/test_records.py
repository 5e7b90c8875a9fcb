"""What every engine of Records promises: memory/records/protocol.py, sentence by sentence."""

from __future__ import annotations

import asyncio
import math
import struct
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.clock import ManualClock
from config.errors import BadInput, Conflict, LeaseLost, NotFound, SettingsError, Unsupported
from config.ids import name_id, new_id
from config.vocabulary import PieceState, Step
from memory.embedding.protocol import DIMENSIONS
from memory.records import Records, RecordsStore, open_records
from memory.records.protocol import Capability
from memory.rows import (
    ROW_TYPES,
    AgentMemory,
    Brand,
    BrandKnowledge,
    Control,
    Event,
    LedgerStep,
    Piece,
    Review,
    Revision,
    ScheduledPublication,
    ScheduleFire,
)
from memory.rows.row import Row
from tests.contracts.row_strategies import rows_of

NOW = ManualClock().now()


def a_piece(**fields: Any) -> Piece:
    made = {"brand": "acme", "id": new_id(NOW), "content_type": "quote", "platform": "instagram", "session_id": "s"}
    return Piece(**{**made, "created_at": NOW, "updated_at": NOW, **fields})


def a_memory(key: str, **fields: Any) -> AgentMemory:
    made = {"brand": "acme", "id": name_id("acme", key), "agent_type": "research", "memory_type": "semantic"}
    told = {"memory_key": key, "memory_content": f"what is known of {key}", "created_at": NOW, "updated_at": NOW}
    return AgentMemory(**{**made, **told, **fields})


def a_claim(name: str, **fields: Any) -> BrandKnowledge:
    made = {"brand": "acme", "id": name, "knowledge_type": "claim", "title": name, "content": f"all about {name}"}
    return BrandKnowledge(**{"embedder_id": "e1", **made, "created_at": NOW, "updated_at": NOW, **fields})


def a_control(name: str, **fields: Any) -> Control:
    return Control(**{"brand": "acme", "name": name, "value": "on", "updated_at": NOW, **fields})


def a_fire(n: int, **fields: Any) -> ScheduleFire:
    made = {"brand": "acme", "id": f"fire-{n:03}", "schedule": "weekly", "local_slot": "x", "outcome": "fired"}
    return ScheduleFire(**{**made, "fired_at": NOW, **fields})


def a_step(attempt: int, part: int, step_id: str, **fields: Any) -> LedgerStep:
    made = {"brand": "acme", "pub_key": "pub", "attempt": attempt, "part": part, "step_id": step_id}
    return LedgerStep(
        **{**made, "step": Step.PREPARING, "piece_id": "p", "platform": "x", "created_at": NOW, **fields},
    )


def a_vector(*head: float) -> tuple[float, ...]:
    return head + (0.0,) * (DIMENSIONS - len(head))


def stored(row: Row) -> Row:
    """`row` as it reads back."""
    return row.model_copy(update={"row_version": row.row_version + 1})


class FailingLease:
    """Held for the first `checks` looks at it."""

    token = "t"

    def __init__(self, checks: int) -> None:
        self.left = checks

    def ensure_held(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise LeaseLost("somebody else has it")

    async def extend(self) -> None:
        self.ensure_held()


@pytest.fixture
def records(records_store: RecordsStore) -> Records:
    return records_store.for_brand("acme")


@pytest.fixture
def others(records_store: RecordsStore) -> Records:
    return records_store.for_brand("other")


# Reading and writing one row


async def test_a_row_is_read_back_with_its_version_raised(records: Records) -> None:
    piece = a_piece(title="Schlaf 😴", row_version=7, retry_at=NOW + timedelta(milliseconds=1), media=("a", "b"))
    await records.put(piece)
    assert await records.get(Piece, id=piece.id) == stored(piece)
    assert (await records.get(Piece, id=piece.id)).row_version == 8


async def test_an_absent_row_raises_not_found_or_is_none(records: Records) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        await records.get(Piece, id="nowhere")
    assert await records.find(Piece, id="nowhere") is None


async def test_putting_again_replaces_the_row(records: Records) -> None:
    piece = a_piece(title="one", retry_at=NOW)
    await records.put(piece)
    await records.put(piece.model_copy(update={"title": "two", "retry_at": None}))
    found = await records.get(Piece, id=piece.id)
    assert (found.title, found.retry_at) == ("two", None)
    assert len(await records.find_by(Piece)) == 1


async def test_the_brand_of_a_key_may_be_left_out_or_given(records: Records) -> None:
    await records.put(a_control("pause"))
    assert await records.get(Control, name="pause") == await records.get(Control, brand="acme", name="pause")
    assert await records.find(Control, brand="other", name="pause") is None


@pytest.mark.parametrize("key", [{}, {"content_id": "a"}, {"content_id": "a", "content_hash": "b", "run": 1}])
async def test_a_key_that_is_not_the_full_key_is_refused(records: Records, key: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="content_id, content_hash"):
        await records.find(Revision, **key)


async def test_delete_removes_the_row_and_is_silent_when_there_is_none(records: Records) -> None:
    piece = a_piece()
    await records.put(piece)
    await records.delete(Piece, id=piece.id)
    await records.delete(Piece, id=piece.id)
    assert await records.find(Piece, id=piece.id) is None


async def test_putting_nothing_is_allowed(records: Records) -> None:
    await records.put()
    assert await records.find_by(Piece) == []


async def test_rows_of_several_tables_are_put_by_one_call(records: Records) -> None:
    rows = [a_piece(id="p"), a_step(1, 0, "a"), a_control("pause"), a_piece(id="q")]
    await records.put(*rows)
    assert await records.find_many(Piece, [{"id": "p"}, {"id": "q"}]) == [stored(rows[0]), stored(rows[3])]
    assert await records.list_rows(LedgerStep, pub_key="pub") == [stored(rows[1])]
    assert await records.get(Control, name="pause") == stored(rows[2])


@pytest.mark.parametrize(
    "fields",
    [
        {"performance_metrics": {"likes": float("nan")}},
        {"performance_metrics": {"likes": float("inf")}},
        {"platform_specs": {"k": "\ud800"}},
        {"attempts": 2**63},
    ],
)
async def test_what_no_engine_can_store_is_refused_by_column(records: Records, fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"content_library.*{next(iter(fields))}|content_library"):
        await records.put(a_piece(id="good"), a_piece(id="bad", **fields))
    assert await records.find(Piece, id="good") is None


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.sampled_from(ROW_TYPES).flatmap(rows_of), min_size=1, max_size=6))
async def test_any_row_reads_back_as_it_was(records: Records, rows: list[Row]) -> None:
    await records.put(*rows)
    last = {(row.table, row.key_values()): row for row in rows}
    for row in last.values():
        key = dict(zip(row.key.columns, row.key_values(), strict=True))
        found = await records.find(type(row), **key)
        if isinstance(row, AgentMemory) and row.expires_at <= NOW:
            assert found is None
        else:
            assert found == stored(row)


# Many rows


async def test_find_many_keeps_the_order_of_its_keys_over_250_of_them(records: Records) -> None:
    pieces = [a_piece(id=f"p{n}") for n in range(250)]
    await records.put(*pieces)
    keys = [{"id": f"p{n}"} for n in reversed(range(-5, 255))]
    assert await records.find_many(Piece, keys) == [stored(piece) for piece in reversed(pieces)]
    assert await records.find_many(Piece, []) == []


async def test_a_partition_is_listed_in_ascending_order(records: Records) -> None:
    for name in ("b", "a", "é", "a b", "Z", "aa"):
        await records.put(a_control(name))
    names = [row.name for row in await records.list_rows(Control)]
    assert names == ["Z", "a", "a b", "aa", "b", "é"]
    assert await records.list_rows(Control, brand="acme") == await records.list_rows(Control)


async def test_a_descending_partition_is_listed_from_the_greatest_key(records: Records) -> None:
    await records.put(*(a_fire(n) for n in (5, 1, 3, 2, 4)))
    assert [row.id for row in await records.list_rows(ScheduleFire, limit=2)] == ["fire-005", "fire-004"]
    behind = await records.list_rows(ScheduleFire, after={"id": "fire-003"})
    assert [row.id for row in behind] == ["fire-002", "fire-001"]


async def test_listing_page_by_page_meets_every_row_once(records: Records) -> None:
    await records.put(*(a_fire(n) for n in range(95)))
    seen: list[str] = []
    while page := await records.list_rows(ScheduleFire, limit=30, after={"id": seen[-1]} if seen else None):
        seen += [row.id for row in page]
    assert seen == [f"fire-{n:03}" for n in reversed(range(95))]


async def test_the_place_to_list_from_need_not_hold_a_row(records: Records) -> None:
    await records.put(a_control("a"), a_control("c"))
    assert [row.name for row in await records.list_rows(Control, after={"name": "b"})] == ["c"]
    assert await records.list_rows(Control, after={"name": "c"}) == []


async def test_a_compound_cluster_key_is_listed_column_by_column(records: Records) -> None:
    steps = [a_step(10, 0, "a"), a_step(2, 1, "b"), a_step(2, 0, "z"), a_step(1, 12, "c"), a_step(1, 2, "d")]
    await records.put(*steps, a_step(1, 0, "x", pub_key="another"))

    async def listed(**how: Any) -> list[tuple[int, int, str]]:
        return [
            (row.attempt, row.part, row.step_id) for row in await records.list_rows(LedgerStep, pub_key="pub", **how)
        ]

    assert await listed() == [(1, 2, "d"), (1, 12, "c"), (2, 0, "z"), (2, 1, "b"), (10, 0, "a")]
    assert await listed(after={"attempt": 1, "part": 12, "step_id": "c"}, limit=2) == [(2, 0, "z"), (2, 1, "b")]
    assert await listed(attempt=2) == [(2, 0, "z"), (2, 1, "b")]
    assert await listed(attempt=2, part=1) == [(2, 1, "b")]
    assert await listed(attempt=2, after={"part": 0, "step_id": "z"}) == [(2, 1, "b")]
    assert await listed(attempt=2, after={"attempt": 2, "part": 0, "step_id": "a"}, limit=1) == [(2, 0, "z")]


async def test_a_limit_of_zero_lists_nothing_and_a_negative_one_is_refused(records: Records) -> None:
    await records.put(a_control("a"), a_piece())
    assert await records.list_rows(Control, limit=0) == []
    assert await records.find_by(Piece, limit=0) == []
    with pytest.raises(ValueError, match="-1"):
        await records.list_rows(Control, limit=-1)
    with pytest.raises(ValueError, match="-1"):
        await records.find_by(Piece, limit=-1)


async def test_a_table_keyed_by_id_alone_has_no_partition_to_list(records: Records) -> None:
    with pytest.raises(ValueError, match="find_by"):
        await records.list_rows(Piece)
    with pytest.raises(ValueError, match="find_by"):
        await records.list_rows(Piece, id="p")


@pytest.mark.parametrize("partition", [{}, {"day": 1}, {"id": "x"}, {"cycle_key": "2026-W50", "state": "approved"}])
async def test_a_listing_names_the_key_from_the_left(records: Records, partition: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cycle_key"):
        await records.list_rows(ScheduledPublication, **partition)


@pytest.mark.parametrize("after", [{}, {"attempt": 1}, {"attempt": 1, "part": 1, "step_id": "a", "code": "x"}])
async def test_after_is_a_whole_cluster_key(records: Records, after: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="attempt, part, step_id"):
        await records.list_rows(LedgerStep, pub_key="pub", after=after)


async def test_rows_are_found_by_their_indexed_columns(records: Records) -> None:
    pieces = [a_piece(id=str(n), state=state) for n, state in enumerate(list(PieceState) * 5)]
    await records.put(*pieces)
    found = await records.find_by(Piece, state=PieceState.APPROVED)
    assert {row.id for row in found} == {piece.id for piece in pieces if piece.state is PieceState.APPROVED}
    assert len(await records.find_by(Piece, state=PieceState.APPROVED, content_type="quote", limit=3)) == 3
    assert await records.find_by(Piece, state=PieceState.APPROVED, content_type="reel") == []
    assert len(await records.find_by(Piece)) == len(pieces)


async def test_rows_are_found_by_a_column_of_their_key(records: Records) -> None:
    await records.put(a_step(1, 0, "a"), a_step(2, 0, "b"), a_step(2, 1, "c"))
    assert {row.step_id for row in await records.find_by(LedgerStep, pub_key="pub", attempt=2)} == {"b", "c"}


@pytest.mark.parametrize("equals", [{"title": "x"}, {"state": None}, {"no_such_column": 1}, {"state": "x", "run": 1}])
async def test_a_column_without_an_index_finds_nothing(records: Records, equals: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match="content_library"):
        await records.find_by(Piece, **equals)


async def test_a_table_without_an_index_on_brand_is_not_found_whole(records: Records) -> None:
    with pytest.raises(Unsupported, match="content_revisions"):
        await records.find_by(Revision)


async def test_what_one_opening_wrote_another_reads(records_url: str, records: Records, clock: ManualClock) -> None:
    await records.put(a_piece(id="p"))
    async with open_records(records_url, clock=clock) as elsewhere:
        theirs = elsewhere.for_brand("acme")
        assert (await theirs.get(Piece, id="p")).id == "p"
        await theirs.put(a_piece(id="q"))
    assert await records.find(Piece, id="q") is not None


async def test_writers_at_the_same_time_lose_nothing(records_url: str, records: Records, clock: ManualClock) -> None:
    async with open_records(records_url, clock=clock) as elsewhere:
        theirs = elsewhere.for_brand("acme")
        await asyncio.gather(*((theirs if n % 2 else records).put(a_piece(id=str(n))) for n in range(60)))
    assert len(await records.find_by(Piece)) == 60


# Brands


async def test_another_brands_rows_read_as_absent(records: Records, others: Records) -> None:
    piece, step, claim = a_piece(), a_step(1, 0, "a"), a_claim("c", embedding=a_vector(1.0))
    await records.put(piece, step, claim, a_control("pause"))
    assert await others.find(Piece, id=piece.id) is None
    with pytest.raises(NotFound):
        await others.get(Piece, id=piece.id)
    assert await others.find_many(Piece, [{"id": piece.id}]) == []
    assert await others.find_by(Piece) == []
    assert await others.find_by(Piece, brand="acme") == []
    assert await others.list_rows(LedgerStep, pub_key="pub") == []
    assert await others.list_rows(Control) == []
    assert await others.list_rows(Control, brand="acme") == []
    assert await others.search(BrandKnowledge, a_vector(1.0), embedder_id="e1", limit=5) == []
    assert await others.search(BrandKnowledge, a_vector(1.0), embedder_id="e1", limit=5, brand="acme") == []


async def test_another_brands_row_is_never_overwritten(records: Records, others: Records) -> None:
    mine = (a_piece(id="p"), a_step(1, 0, "a"), a_claim("c"))
    await records.put(*mine)
    for row in mine:
        with pytest.raises(Conflict, match=row.table):
            await others.put(row.model_copy(update={"brand": "other"}))
    assert await records.get(Piece, id="p") == stored(mine[0])
    assert await records.list_rows(LedgerStep, pub_key="pub") == [stored(mine[1])]
    assert await records.get(BrandKnowledge, id="c") == stored(mine[2])


@pytest.mark.parametrize("count", [3, 250])
async def test_a_foreign_key_among_many_writes_none_of_them(records: Records, others: Records, count: int) -> None:
    await records.put(a_piece(id="taken"))
    rows = [a_piece(brand="other", id=f"p{n}") for n in range(count)]
    with pytest.raises(Conflict, match="taken"):
        await others.put(*rows, a_piece(brand="other", id="taken"))
    assert await others.find_by(Piece) == []


async def test_a_row_of_another_brand_is_refused_before_anything_is_written(records: Records) -> None:
    with pytest.raises(Conflict, match="other"):
        await records.put(a_piece(id="p"), a_piece(id="q", brand="other"))
    with pytest.raises(Conflict, match="other"):
        await records.create_once("kind", "key", a_piece(brand="other"), token="t")
    assert await records.find_by(Piece) == []
    assert await records.find_once("kind", "key", Piece) is None


async def test_another_brands_row_is_not_deleted(records: Records, others: Records) -> None:
    await records.put(a_piece(id="p"), a_control("pause"))
    await others.delete(Piece, id="p")
    await others.delete(Control, name="pause")
    await others.delete(Control, brand="acme", name="pause")
    assert await records.find(Piece, id="p") is not None
    assert await records.find(Control, name="pause") is not None


async def test_two_brands_may_use_one_name(records: Records, others: Records) -> None:
    await records.put(a_control("pause"))
    await others.put(a_control("pause", brand="other", value="off"))
    assert (await records.get(Control, name="pause")).value == "on"
    assert (await others.get(Control, name="pause")).value == "off"


@pytest.mark.parametrize("name", ["", "*", "Acme", "a b", "../x", "a\n", "x" * 65])
async def test_a_malformed_brand_name_is_refused(records_store: RecordsStore, name: str) -> None:
    with pytest.raises(BadInput, match="brand"):
        records_store.for_brand(name)


async def test_the_view_over_all_brands_lists_and_finds_brands_and_nothing_else(records_store: RecordsStore) -> None:
    for name in ("zebra", "acme"):
        row = Brand(brand=name, name=name, title=name.title(), zone="UTC", created_at=NOW, updated_at=NOW)
        await records_store.for_brand(name).put(row)
    everybody = records_store.all_brands()
    assert [brand.name for brand in await everybody.list_rows(Brand, realm="all")] == ["acme", "zebra"]
    assert (await everybody.get(Brand, realm="all", name="zebra")).title == "Zebra"
    assert await everybody.find(Brand, realm="all", name="nobody") is None
    assert len(await everybody.find_many(Brand, [{"realm": "all", "name": "acme"}])) == 1
    for refused in (
        everybody.find(Control, name="pause"),
        everybody.get(Piece, id="p"),
        everybody.find_many(Piece, []),
        everybody.list_rows(Control),
        everybody.find_by(Brand),
        everybody.put(),
        everybody.delete(Brand, realm="all", name="acme"),
        everybody.search(BrandKnowledge, a_vector(1.0), embedder_id="e1", limit=1),
        everybody.search_text(BrandKnowledge, "x", limit=1),
        everybody.create_once("k", "k", a_piece(), token="t"),
        everybody.find_once("k", "k", Piece),
        everybody.find_many_once("k", ["k"], Piece),
    ):
        with pytest.raises(Unsupported):
            await refused
    assert [brand.name for brand in await records_store.for_brand("acme").list_rows(Brand, realm="all")] == ["acme"]


async def test_the_brands_that_have_such_a_row_are_named_and_nothing_else_is_shown(records_store: RecordsStore) -> None:
    for name, states in {"zebra": ["drafting"] * 60, "acme": ["drafting", "failed"], "idle": ["published"]}.items():
        rows = [a_piece(brand=name, id=f"{name}-{n}", state=PieceState(state)) for n, state in enumerate(states)]
        await records_store.for_brand(name).put(*rows)
    assert await records_store.brands_with(Piece, state=PieceState.DRAFTING) == ["acme", "zebra"]
    assert await records_store.brands_with(Piece, state=PieceState.PUBLISHED) == ["idle"]
    assert await records_store.brands_with(Piece, state=PieceState.WAITING) == []
    assert await records_store.brands_with(Piece, state=PieceState.DRAFTING, content_type="reel") == []
    for refused in ({}, {"title": "x"}, {"id": "zebra-1"}, {"brand": "zebra"}, {"state": None}):
        with pytest.raises(Unsupported):
            await records_store.brands_with(Piece, **refused)
    with pytest.raises(Unsupported):
        await records_store.brands_with(Control, name="pause")


# Leases


@pytest.mark.parametrize("checks", [0, 1], ids=["before the call", "between the call and the write"])
async def test_a_lost_lease_writes_nothing(records_store: RecordsStore, records: Records, checks: int) -> None:
    await records.put(a_piece(id="kept"))

    def bound() -> Records:
        return records_store.for_brand("acme", lease=FailingLease(checks))

    with pytest.raises(LeaseLost):
        await bound().put(a_piece(id="new"))
    with pytest.raises(LeaseLost):
        await bound().put(a_piece(id="kept", title="changed"))
    with pytest.raises(LeaseLost):
        await bound().delete(Piece, id="kept")
    assert [row.title for row in await records.find_by(Piece)] == [""]


async def test_a_lost_lease_decides_nothing(records_store: RecordsStore, records: Records) -> None:
    with pytest.raises(LeaseLost):
        await records_store.for_brand("acme", lease=FailingLease(0)).create_once("k", "k", a_piece(), token="t")
    assert await records.find_once("k", "k", Piece) is None


async def test_a_held_lease_writes_and_a_lost_one_still_reads(records_store: RecordsStore) -> None:
    bound = records_store.for_brand("acme", lease=FailingLease(2))
    await bound.put(a_piece(id="p"))
    with pytest.raises(LeaseLost):
        await bound.put(a_piece(id="q"))
    assert [row.id for row in await bound.find_by(Piece)] == ["p"]


# Expiry


async def test_an_expired_row_is_unreadable_at_once_in_every_call(
    records_store: RecordsStore, records: Records, clock: ManualClock
) -> None:
    memory = a_memory("m", embedding=a_vector(1.0), embedder_id="e1", expires_at=NOW + timedelta(minutes=1))
    await records.put(memory)

    async def seen() -> list[int]:
        counts = [
            1 if await records.find(AgentMemory, id=memory.id) else 0,
            len(await records.find_many(AgentMemory, [{"id": memory.id}])),
            len(await records.find_by(AgentMemory)),
            len(await records.find_by(AgentMemory, memory_type="semantic")),
            len(await records.search(AgentMemory, a_vector(1.0), embedder_id="e1", limit=1)),
        ]
        if Capability.TEXT_SEARCH in records_store.capabilities:
            counts.append(len(await records.search_text(AgentMemory, "known", limit=1)))
        return counts

    clock.advance(timedelta(minutes=1) - timedelta(milliseconds=1))
    assert set(await seen()) == {1}
    clock.advance(timedelta(milliseconds=1))
    assert set(await seen()) == {0}
    with pytest.raises(NotFound):
        await records.get(AgentMemory, id=memory.id)


async def test_sweeping_deletes_expired_rows_of_every_brand_up_to_its_limit(
    records_store: RecordsStore, records: Records, others: Records, clock: ManualClock
) -> None:
    soon = NOW + timedelta(minutes=1)
    await records.put(*(a_memory(f"m{n}", expires_at=soon) for n in range(250)), a_memory("kept"))
    await others.put(a_memory("theirs", brand="other", id="theirs", expires_at=soon))
    assert await records_store.sweep() == 0
    clock.advance(timedelta(minutes=2))
    assert await records_store.sweep(limit=240) == 240
    assert await records_store.sweep() == 11
    assert await records_store.sweep() == 0
    assert [row.memory_key for row in await records.find_by(AgentMemory)] == ["kept"]
    clock.step(timedelta(minutes=-10))  # what was swept is gone, not hidden
    assert await others.find_by(AgentMemory) == []


# Vectors


async def hits(records: Records, *head: float, limit: int = 10, embedder_id: str = "e1", **how: Any) -> list[str]:
    vector = a_vector(*head)
    return [
        hit.row.id for hit in await records.search(BrandKnowledge, vector, embedder_id=embedder_id, limit=limit, **how)
    ]


async def test_the_nearest_rows_come_first_with_their_cosine(records: Records) -> None:
    await records.put(
        a_claim("far", embedding=a_vector(0.0, 1.0)),
        a_claim("near", embedding=a_vector(0.6, 0.8)),
        a_claim("same", embedding=a_vector(2.0)),  # length does not count
        a_claim("opposite", embedding=a_vector(-1.0)),
        a_claim("none"),
    )
    found = await records.search(BrandKnowledge, a_vector(3.0), embedder_id="e1", limit=10)
    assert [hit.row.id for hit in found][:2] == ["same", "near"]
    assert {hit.row.id for hit in found} == {"same", "near", "far", "opposite"}
    assert [hit.score for hit in found] == pytest.approx([1.0, 0.6, 0.0, 0.0], abs=1e-6)
    assert found[1].row == await records.get(BrandKnowledge, id="near")
    assert await hits(records, 1.0, limit=1) == ["same"]
    assert await hits(records, 1.0, limit=0) == []
    assert await hits(records, 1.0, min_score=0.5) == ["same", "near"]


async def test_only_vectors_of_the_same_embedder_are_compared(records: Records) -> None:
    await records.put(
        a_claim("ours", embedding=a_vector(0.1, 1.0)), a_claim("theirs", embedder_id="e2", embedding=a_vector(1.0))
    )
    assert await hits(records, 1.0) == ["ours"]
    assert await hits(records, 1.0, embedder_id="e2") == ["theirs"]
    assert await hits(records, 1.0, embedder_id="e3") == []


async def test_filters_apply_before_the_ranking(records: Records) -> None:
    crowd = [a_claim(f"crowd{n}", embedding=a_vector(1.0, n / 100)) for n in range(40)]
    wanted = [a_claim(f"wanted{n}", category="sleep", embedding=a_vector(0.1, 1.0 + n)) for n in range(3)]
    await records.put(*crowd, *wanted)
    assert await hits(records, 1.0, limit=3, category="sleep") == ["wanted0", "wanted1", "wanted2"]
    assert await hits(records, 1.0, limit=3, category="sleep", status="revoked") == []
    assert len(await hits(records, 1.0, limit=50, status="active")) == 43
    await records.put(a_claim("best", category="sleep", embedding=a_vector(1.0)))
    assert await hits(records, 1.0, limit=50, category="") == [f"crowd{n}" for n in range(40)]
    with pytest.raises(Unsupported, match="title"):
        await hits(records, 1.0, title="crowd1")


async def test_a_search_sees_what_was_written_and_deleted_since_the_last(
    records_url: str, records: Records, clock: ManualClock
) -> None:
    async with open_records(records_url, clock=clock) as elsewhere:
        theirs = elsewhere.for_brand("acme")
        await records.put(*(a_claim(f"c{n}", embedding=a_vector(1.0, n)) for n in range(5)))
        assert await hits(records, 1.0, limit=2) == await hits(theirs, 1.0, limit=2) == ["c0", "c1"]
        await theirs.put(a_claim("c9", embedding=a_vector(1.0)))
        await theirs.put(a_claim("c0", embedding=a_vector(0.0, 1.0)))
        await theirs.delete(BrandKnowledge, id="c1")
        await theirs.put(a_claim("c2", embedder_id="e2", embedding=a_vector(1.0)))
        await theirs.put(a_claim("c3", category="moved", embedding=a_vector(1.0, 3)))
        assert await hits(records, 1.0) == await hits(theirs, 1.0) == ["c9", "c3", "c4", "c0"]
        assert await hits(records, 1.0, category="moved") == ["c3"]


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "delete", "search"]), st.sampled_from("abcdef"), st.sampled_from(["", "x"])
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(changes=CHANGES)
async def test_a_search_answers_as_if_it_compared_every_row_anew(
    records: Records, changes: list[tuple[str, str, str]]
) -> None:
    await asyncio.gather(*(records.delete(BrandKnowledge, id=name) for name in "abcdef"))
    there: dict[str, tuple[float, str]] = {}
    for n, (what, name, category) in enumerate([*changes, ("search", "", ""), ("search", "", "x")]):
        angle = 0.1 + n * 0.03
        if what == "put":
            vector = a_vector(math.cos(angle), math.sin(angle))
            await records.put(a_claim(name, category=category, embedding=vector))
            there[name] = (angle, category)
        elif what == "delete":
            await records.delete(BrandKnowledge, id=name)
            there.pop(name, None)
        else:
            expected = sorted((angle, name) for name, (angle, kind) in there.items() if kind == category)
            assert await hits(records, 1.0, limit=4, category=category) == [name for _, name in expected][:4]


async def test_a_search_without_a_vector_or_for_a_table_without_vectors(records: Records) -> None:
    await records.put(a_claim("c", embedding=a_vector(1.0)))
    assert await records.search(BrandKnowledge, (), embedder_id="e1", limit=5) == []
    assert await hits(records, 0.0) == []
    with pytest.raises(BadInput, match="vector"):
        await hits(records, float("nan"))
    with pytest.raises(Unsupported, match="content_library"):
        await records.search(Piece, a_vector(1.0), embedder_id="e1", limit=5)


async def test_a_vector_reads_back_as_float32(records: Records) -> None:
    vector = a_vector(0.1, 1 / 3, -1e-20)
    await records.put(a_claim("c", embedding=vector))
    rounded = struct.unpack(f"<{DIMENSIONS}f", struct.pack(f"<{DIMENSIONS}f", *vector))
    assert (await records.get(BrandKnowledge, id="c")).embedding == rounded


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
async def test_a_vector_that_float32_cannot_hold_is_refused(records: Records, bad: float) -> None:
    with pytest.raises(BadInput, match="vector"):
        await records.put(a_claim("c", embedding=a_vector(bad)))


# Text


async def text_hits(store: RecordsStore, query: str, *, limit: int = 10, **equals: Any) -> list[str] | None:
    """The ids found, None where the engine says that it cannot."""
    try:
        found = await store.for_brand("acme").search_text(BrandKnowledge, query, limit=limit, **equals)
    except Unsupported:
        assert Capability.TEXT_SEARCH not in store.capabilities
        return None
    assert all(0 <= hit.score <= 1 for hit in found)
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    return [hit.row.id for hit in found]


async def test_the_best_match_of_the_words_comes_first(
    records_store: RecordsStore, records: Records, others: Records
) -> None:
    await records.put(
        a_claim("water", content="Drink water. Water hydrates."),
        a_claim("sleeping", content="Going to bed early, with no mention of drinks but one of water.", category="rest"),
        a_claim("vitamin", content="Fruit."),
    )
    await others.put(a_claim("foreign", brand="other", content="water water water"))
    assert await text_hits(records_store, "water") in (["water", "sleeping"], None)
    assert await text_hits(records_store, "to sleep") in (["sleeping"], None)
    assert await text_hits(records_store, "water", limit=1) in (["water"], None)
    assert await text_hits(records_store, "water", category="rest") in (["sleeping"], None)
    await records.put(a_claim("water", content="Now about bread."))
    await records.delete(BrandKnowledge, id="sleeping")
    assert await text_hits(records_store, "hydrates bed") in ([], None)
    assert await text_hits(records_store, "bread") in (["water"], None)


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    query=st.text(max_size=40)
    | st.sampled_from(['"', "a OR", "NEAR(", "title:x", "a*", "-a", "^a", "(", "AND", "'; --"])
)
async def test_any_query_string_is_safe(records_store: RecordsStore, records: Records, query: str) -> None:
    await records.put(a_claim("c", content="a plain sentence"))
    assert await text_hits(records_store, query) in ([], ["c"], None)


async def test_a_table_without_text_cannot_be_searched_by_words(records: Records) -> None:
    with pytest.raises(Unsupported):
        await records.search_text(Piece, "water", limit=1)


# Decisions


async def test_of_many_deciders_one_wins_and_all_read_its_row(
    records_url: str, records: Records, clock: ManualClock
) -> None:
    async with open_records(records_url, clock=clock) as elsewhere:
        deciders = [records, elsewhere.for_brand("acme")]
        answers = await asyncio.gather(
            *(deciders[n % 2].create_once("plan", "W50", a_piece(id=f"p{n}"), token=f"t{n}") for n in range(20))
        )
    winners = [answer for answer in answers if answer.won]
    assert len(winners) == 1
    assert {answer.row.id for answer in answers} == {winners[0].row.id}
    assert {answer.token for answer in answers} == {winners[0].token}
    assert winners[0].row.id == winners[0].token.replace("t", "p")


DECIDER = """
import asyncio, sys
from config.clock import ManualClock
from memory.records import open_records
from tests.contracts.test_records import a_piece

async def main(url, me):
    async with open_records(url, clock=ManualClock()) as store:
        print("ready", flush=True)
        sys.stdin.readline()  # all start together
        for n in range(40):
            answer = await store.for_brand("acme").create_once("slot", str(n), a_piece(id=me), token=me)
            print(n, answer.won, answer.row.id)

asyncio.run(main(*sys.argv[1:]))
"""


def test_of_many_processes_one_decides(records_url: str) -> None:
    command = [sys.executable, "-c", DECIDER, records_url]
    deciders = [
        subprocess.Popen([*command, f"p{n}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(3)
    ]
    for decider in deciders:
        assert decider.stdin is not None
        assert decider.stdout is not None
        assert decider.stdout.readline() == "ready\n"
    for decider in deciders:
        assert decider.stdin is not None
        decider.stdin.write("go\n")
        decider.stdin.flush()
    told = [line.split() for decider in deciders for line in decider.communicate(timeout=60)[0].splitlines()]
    assert [decider.returncode for decider in deciders] == [0, 0, 0]
    for n in range(40):
        answers = [(won, row) for key, won, row in told if key == str(n)]
        assert len(answers) == 3
        assert len({row for _, row in answers}) == 1
        assert [won for won, _ in answers].count("True") == 1


async def test_repeating_a_call_with_its_token_answers_as_the_first_time(records: Records) -> None:
    first = await records.create_once("plan", "W50", a_piece(id="first"), token="t1")
    assert first.won
    assert await records.create_once("plan", "W50", a_piece(id="second"), token="t1") == first
    loser = await records.create_once("plan", "W50", a_piece(id="third"), token="t2")
    assert (loser.won, loser.row, loser.token) == (False, first.row, "t1")
    assert await records.create_once("plan", "W50", a_piece(id="first"), token="t1") == first


async def test_a_decision_holds_its_row_and_leaves_the_table_alone(records: Records) -> None:
    piece = a_piece(title="é 😴", retry_at=NOW, performance_metrics={"likes": 0.1})
    await records.create_once("plan", "W50", piece, token="t")
    assert await records.find(Piece, id=piece.id) is None
    found = await records.find_once("plan", "W50", Piece)
    assert found is not None
    assert (found.won, found.row, found.token) == (False, piece, "t")


async def test_brand_kind_and_key_keep_decisions_apart(records: Records, others: Records) -> None:
    for kind, key in (("plan", "a"), ("pla", "na"), ("plan", "b"), ("slot", "a")):
        assert (await records.create_once(kind, key, a_piece(id=kind + key), token="t")).won
    assert await others.find_once("plan", "a", Piece) is None
    assert (await others.create_once("plan", "a", a_piece(brand="other", id="o"), token="t")).won
    found = await records.find_once("plan", "a", Piece)
    assert found is not None
    assert found.row.id == "plana"
    assert await records.find_once("plan", "c", Piece) is None


async def test_many_decisions_are_found_at_once_and_only_those_that_were_made(
    records: Records, others: Records
) -> None:
    keys = [f"piece-{n}" for n in range(45)]  # more than a page of any engine
    for key in keys[::2]:
        await records.create_once("decision", key, a_piece(id=key), token=key)
    await others.create_once("decision", keys[1], a_piece(brand="other", id="theirs"), token="t")
    await records.create_once("other", keys[3], a_piece(id="otherwise"), token="t")
    found = await records.find_many_once("decision", keys, Piece)
    assert set(found) == set(keys[::2])
    assert all((once.row.id, once.token, once.won) == (key, key, False) for key, once in found.items())
    assert await records.find_many_once("decision", [], Piece) == {}
    with pytest.raises(ValueError, match="content_library"):
        await records.find_many_once("decision", keys[:1], Control)


async def test_every_decision_of_every_brand_is_listed_once_with_its_token_and_the_row_that_won(
    records_store: RecordsStore, records: Records, others: Records
) -> None:
    assert [one async for one in records_store.list_once()] == []
    made = {}
    for n in range(45):  # more than two pages of any engine
        key = f"n {n}: \N{SNOWMAN}"
        for view, kind in ((records, "plan"), (others, "plan"), (records, "decision"))[: 1 + 2 * (n < 3)]:
            row = a_piece(brand=view.brand, id=f"{view.brand}{kind}{n}")
            await view.create_once(kind, key, row, token=f"{view.brand} {n}")
            made[view.brand, kind, key] = (f"{view.brand} {n}", row)
    await records.create_once("plan", "n 1: \N{SNOWMAN}", a_piece(id="late"), token="lost")
    await records.create_once("slot", "x", a_control("a row of another table"), token="t")
    made[records.brand, "slot", "x"] = ("t", a_control("a row of another table"))
    listed = [one async for one in records_store.list_once()]
    assert {(one.row.brand, one.kind, one.key): (one.token, one.row) for one in listed} == made
    assert len(listed) == len(made)


async def test_a_decision_read_as_a_row_of_another_table_is_refused(records: Records) -> None:
    await records.create_once("plan", "a", a_piece(), token="t")
    with pytest.raises(ValueError, match="content_library"):
        await records.find_once("plan", "a", Control)
    with pytest.raises(ValueError, match="content_library"):
        await records.create_once("plan", "a", a_control("x"), token="t2")


# Opening


async def test_an_unknown_scheme_is_refused_by_name(clock: ManualClock) -> None:
    with pytest.raises(SettingsError, match="mongodb"):
        open_records("mongodb://host", clock=clock)


async def test_a_url_that_names_no_place_is_refused(records_url: str, clock: ManualClock) -> None:
    with pytest.raises(SettingsError, match="must be"):
        async with open_records(f"{records_url.partition('://')[0]}://", clock=clock):
            pass


async def test_rows_survive_closing_and_opening_again(records_url: str, clock: ManualClock) -> None:
    for n in range(3):
        async with open_records(records_url, clock=clock) as store:
            records = store.for_brand("acme")
            assert len(await records.find_by(Piece)) == n
            await records.put(a_piece(id=str(n)))
            assert (await records.create_once("k", "k", a_piece(id="d"), token="t")).won


async def test_events_and_reviews_are_listed_as_their_keys_say(records: Records) -> None:
    for n in range(3):
        when = NOW + timedelta(seconds=n)
        await records.put(Event(brand="acme", day="2026-12-07", id=str(n), name="piece.drafted", created_at=when))
        asked = {"id": str(n), "piece_id": "p", "session_id": "s", "content_hash": "h", "platform": "x"}
        await records.put(
            Review(brand="acme", content_type="quote", result="failed", created_at=when, updated_at=when, **asked)
        )
    assert [row.id for row in await records.list_rows(Event, day="2026-12-07")] == ["0", "1", "2"]
    assert await records.list_rows(Event, day="2026-12-08") == []
    assert [row.id for row in await records.list_rows(Review)] == ["2", "1", "0"]
