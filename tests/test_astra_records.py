"""Records on AstraDB where it differs from the embedded engine: addresses, what the server is asked, what it cannot do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import PutOp

from config.clock import ManualClock
from config.errors import SettingsError, Unsupported
from config.settings import Settings, load_settings
from config.vocabulary import PieceState
from memory.astra_client import parse_astra_url
from memory.astra_schema import INDEXES_PER_DATABASE, INDEXES_PER_TABLE, PLAN
from memory.checkpoints.astra_rows import Key, taken_over, write_rows, writes_of
from memory.checkpoints.protocol import open_checkpoints
from memory.checkpoints.stored import StoredWrite
from memory.graph_store import MemoryStore
from memory.lease import Unleased
from memory.records import Records, RecordsStore, open_records
from memory.records.astra_rows import behind, indexed, server_filter
from memory.rows import (
    ROW_TYPES,
    AgentMemory,
    Assignment,
    BrandKnowledge,
    ComplianceCheck,
    LedgerStep,
    Piece,
    Review,
    Revision,
    ScheduledPublication,
    ScheduleFire,
)
from memory.rows.row import Row
from tests.contracts.test_checkpoints import newest, put
from tests.contracts.test_memory_store import CountingEmbedder, says
from tests.contracts.test_records import NOW, a_claim, a_fire, a_memory, a_piece, a_step, a_vector
from tests.fakes.astra_keyspaces import a_keyspace, api, keyspace
from tests.fakes.data_api import HARMLESS, DataApi

__all__ = ["api", "keyspace"]  # fixtures


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(api: DataApi, keyspace: str, clock: ManualClock) -> AsyncIterator[RecordsStore]:
    async with open_records(api.url(keyspace), clock=clock) as opened:
        yield opened


@pytest.fixture
def records(store: RecordsStore) -> Records:
    return store.for_brand("acme")


# Addresses


def test_an_astra_address_is_a_host_and_a_keyspace_with_the_token_apart() -> None:
    endpoint, keyspace, token = parse_astra_url("astra://id-eu.apps.astra.datastax.com/copydesk", "AstraCS:x")
    assert (endpoint, keyspace) == ("https://id-eu.apps.astra.datastax.com", "copydesk")
    assert token.get_token() == "AstraCS:x"
    _, _, inside = parse_astra_url("astra://token:AstraCS%3Ay@host/copydesk", "AstraCS:x")
    assert inside.get_token() == "AstraCS:y"


def test_a_self_hosted_address_may_hold_user_and_password() -> None:
    endpoint, keyspace, token = parse_astra_url("astra+http://cass:p%40ss@10.0.0.7:8181/copydesk", "")
    assert (endpoint, keyspace) == ("http://10.0.0.7:8181", "copydesk")
    assert token.get_token() == "Cassandra:Y2Fzcw==:cEBzcw=="


@pytest.mark.parametrize(
    "url",
    [
        *("astra://", "astra://host", "astra://host/", "astra://host/a/b", "astra://host/a-b", "astra+http:///ks"),
        *("astra+http://host:port/ks", f"astra://host/{'k' * 49}", "astra://[::1/ks"),
    ],
)
def test_a_malformed_address_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(SettingsError, match="must be astra"):
        parse_astra_url(url.replace("://", "://user:hunter2@") if "host" in url else url, "t")


async def test_astra_without_a_token_is_refused_before_anything_is_sent(clock: ManualClock) -> None:
    with pytest.raises(SettingsError, match="COPYDESK_ASTRA_TOKEN"):
        async with open_records("astra://host.example/ks", clock=clock):
            pass


def test_checkpoints_live_beside_the_rows_when_those_are_in_astra(tmp_path: Path) -> None:
    for url in ("astra://host/ks", "astra+http://u:p@host:8181/ks"):
        assert load_settings({"COPYDESK_RECORDS": url}).checkpoints_url == url
    local = Settings(data_dir=tmp_path, records=f"sqlite:///{tmp_path / 'elsewhere'}")
    assert local.checkpoints_url == f"sqlite:///{tmp_path / 'checkpoints.db'}"


# What the server is asked


def test_the_indexes_of_every_table_fit_the_limits_of_the_database() -> None:
    assert max(len(plan.indexes) for plan in PLAN) <= INDEXES_PER_TABLE
    assert sum(len(plan.indexes) for plan in PLAN) <= INDEXES_PER_DATABASE // 2  # room for a second keyspace
    assert len({plan.index_name(column) for plan in PLAN for column in plan.indexes}) == sum(
        len(plan.indexes) for plan in PLAN
    )
    for plan in PLAN:
        assert plan.name.isidentifier()
        assert len(plan.name) <= 48
        assert plan.partition not in {(column,) for column in plan.indexes}, "a partition of one column has no index"


@pytest.mark.parametrize("row_type", ROW_TYPES, ids=lambda row_type: row_type.table)
def test_every_column_that_rows_are_found_by_is_indexed(row_type: type[Row]) -> None:
    assert set(row_type.indexes) <= set(indexed(row_type))
    if row_type.vector is not None:
        assert {"brand", "embedder_id"} <= set(indexed(row_type))


@pytest.mark.parametrize(
    ("row_type", "filters", "sent", "left"),
    [
        (Piece, {"id", "brand"}, {"id"}, {"brand"}),
        (Piece, {"state", "brand"}, {"state", "brand"}, set()),
        (Review, {"brand", "decision"}, {"brand", "decision"}, set()),
        (Review, {"brand", "id", "decision"}, {"brand", "id"}, {"decision"}),
        (ScheduledPublication, {"brand", "state"}, {"brand", "state"}, set()),
        (ScheduledPublication, {"brand", "cycle_key"}, {"brand", "cycle_key"}, set()),
        (ComplianceCheck, {"brand", "check_result"}, {"brand", "check_result"}, set()),
        (Assignment, {"brand", "session_id"}, {"session_id"}, {"brand"}),
        (Assignment, {"brand", "session_id", "status"}, {"session_id", "status"}, {"brand"}),
        (LedgerStep, {"brand", "pub_key", "attempt"}, {"pub_key", "attempt"}, {"brand"}),
        (LedgerStep, {"brand", "pub_key", "part"}, {"pub_key"}, {"brand", "part"}),
        (LedgerStep, {"brand", "attempt"}, set(), {"brand", "attempt"}),
        (Revision, {"brand", "content_hash"}, set(), {"brand", "content_hash"}),
    ],
)
def test_the_server_filters_by_key_or_index_and_never_scans(
    row_type: type[Row], filters: set[str], sent: set[str], left: set[str]
) -> None:
    asked, rest = server_filter(row_type, dict.fromkeys(sorted(filters), "x"))
    assert (set(asked), set(rest)) == (sent, left)


async def test_a_find_that_would_read_a_whole_table_is_refused(records: Records) -> None:
    await records.put(a_step(1, 0, "a"))
    with pytest.raises(Unsupported, match=r"publications.*pub_key"):
        await records.find_by(LedgerStep, attempt=1)
    with pytest.raises(Unsupported, match="publication_schedule"):
        await records.find_by(ScheduledPublication, id="x")
    with pytest.raises(Unsupported, match="publication_schedule cannot be found by brand"):
        await records.find_by(ScheduledPublication)


async def test_a_brand_reads_only_its_own_rows_of_an_index_that_all_brands_share(
    store: RecordsStore, api: DataApi, keyspace: str
) -> None:
    for brand in ("acme", "other"):
        rows = [a_piece(brand=brand, id=f"{brand}{n}", state=PieceState.APPROVED) for n in range(60)]
        await store.for_brand(brand).put(*rows)
    before = api.keyspaces[keyspace].requests["find"]
    assert len(await store.for_brand("acme").find_by(Piece, state=PieceState.APPROVED)) == 60
    assert api.keyspaces[keyspace].requests["find"] - before == 2  # two pages, not the four of both brands
    assert len(await store.for_brand("acme").find_by(Piece, state=PieceState.APPROVED, limit=7)) == 7


def test_behind_a_compound_key_the_steps_go_from_the_nearest_to_the_farthest() -> None:
    assert behind([("a", 1), ("b", 2)], descending=False) == [{"a": 1, "b": {"$gt": 2}}, {"a": {"$gt": 1}}]
    assert behind([("a", 1)], descending=True) == [{"a": {"$lt": 1}}]


@pytest.mark.parametrize("page_size", [20, 50])
async def test_pages_of_an_older_server_change_nothing(
    api: DataApi, records: Records, page_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "page_size", page_size)
    await records.put(*(a_fire(n) for n in range(130)))
    ids = [row.id for row in await records.list_rows(ScheduleFire)]
    assert ids == [f"fire-{n:03}" for n in reversed(range(130))]
    assert [row.id for row in await records.list_rows(ScheduleFire, limit=70)] == ids[:70]
    await records.put(*(a_piece(id=str(n)) for n in range(130)))
    assert len(await records.find_by(Piece)) == 130
    assert len(await records.find_many(Piece, [{"id": str(n)} for n in range(130)])) == 130


async def test_no_more_rows_than_the_server_returns_can_be_searched_for(records: Records) -> None:
    await records.put(a_claim("c", embedding=a_vector(1.0)))
    assert len(await records.search(BrandKnowledge, a_vector(1.0), embedder_id="e1", limit=1000)) == 1
    with pytest.raises(Unsupported, match="1000"):
        await records.search(BrandKnowledge, a_vector(1.0), embedder_id="e1", limit=1001)


async def test_recall_ranks_the_nearest_that_the_server_returns(
    records: Records, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.records.astra.NEAREST_LIMIT", 60)
    memories = MemoryStore(records, CountingEmbedder(), clock=clock)
    place = ("research", "semantic")
    await memories.abatch([PutOp(place, f"k{n:02}", says("sleep", 0.01)) for n in range(70)])
    await memories.aput(place, "relevant", says("sleep", 1.0))
    recalled = await memories.recall("research", "sleep", 1, ["semantic"])
    assert len(recalled) == 1
    with pytest.raises(Unsupported):
        await memories.recall("research", "sleep", 20, ["semantic"])


async def test_an_expired_memory_takes_no_place_among_the_nearest(records: Records, clock: ManualClock) -> None:
    soon = clock.now() + timedelta(minutes=1)
    old = [a_memory(f"old{n}", embedding=a_vector(1.0), embedder_id="e1", expires_at=soon) for n in range(5)]
    await records.put(*old, a_memory("kept", embedding=a_vector(0.5, 0.5), embedder_id="e1"))
    clock.advance(timedelta(minutes=2))
    found = await records.search(AgentMemory, a_vector(1.0), embedder_id="e1", limit=1)
    assert [hit.row.memory_key for hit in found] == ["kept"]


async def test_an_empty_id_is_not_an_id_that_looks_like_its_escape(records: Records) -> None:
    for name in ("", "\x01", "\x01\x01"):
        await records.put(a_piece(id=name, title=f"title of {name!r}"))
    for name in ("", "\x01", "\x01\x01"):
        found = await records.get(Piece, id=name)
        assert (found.id, found.title) == (name, f"title of {name!r}")
    assert len(await records.find_many(Piece, [{"id": ""}, {"id": "\x01"}])) == 2


async def test_a_column_of_a_newer_version_is_left_alone(api: DataApi, keyspace: str, records: Records) -> None:
    piece = a_piece(id="p")
    await records.put(piece)
    table = api.keyspaces[keyspace].tables["content_library"]
    table.columns["from_the_future"] = {"type": "text"}
    table.insert({"id": "p", "from_the_future": "kept"})
    await records.put((await records.get(Piece, id="p")).model_copy(update={"title": "new"}))
    assert table.rows[("p",)]["from_the_future"] == "kept"
    assert (await records.get(Piece, id="p")).title == "new"


async def test_a_write_costs_two_requests_and_a_read_one(api: DataApi, keyspace: str, records: Records) -> None:
    counted = api.keyspaces[keyspace].requests
    await records.put(a_piece(id="p"))
    assert counted == {"findOne": 1, "insertOne": 1}
    await records.get(Piece, id="p")
    assert counted == {"findOne": 2, "insertOne": 1}
    await records.put(a_fire(1))  # its key holds the brand: nobody else's row can be there
    assert counted == {"findOne": 2, "insertOne": 2}
    await records.create_once("k", "k", a_piece(), token="t")
    assert counted == {"findOne": 3, "insertOne": 3}


async def test_the_driver_prints_no_row_when_the_server_refuses_one(
    records: Records, caplog: pytest.LogCaptureFixture, api: DataApi
) -> None:
    with caplog.at_level(logging.DEBUG):
        api.fail("error", command="insertOne", times=1)
        await records.put(a_piece(id="p", title="a private sentence"))
        await records.create_once("k", "k", a_piece(title="a private sentence"), token="t")
        await records.create_once("k", "k", a_piece(title="a private sentence"), token="t2")
    assert "private" not in caplog.text


def test_a_warning_of_the_server_fails_the_test_that_caused_it(api: DataApi) -> None:
    async def scan(name: str, **where: Any) -> None:
        from memory.astra_client import open_astra_database

        async with open_astra_database(api.url(name), clock=ManualClock()) as database:
            async for _ in database.find("content_library", where):
                pass

    with pytest.raises(AssertionError, match="COMPARISON_FILTER"), a_keyspace(api) as name:
        asyncio.run(scan(name, state={"$gt": "a"}))
    with a_keyspace(api) as name:
        asyncio.run(scan(name, title="not indexed"))
        assert {told.split()[0] for told in api.keyspaces[name].warned} <= HARMLESS


# Checkpoints


def test_all_ordinary_writes_of_a_task_are_one_row_and_resume_comes_before_interrupt() -> None:
    writes = [
        StoredWrite("task", "~p", idx, channel, "msgpack", b"v")
        for idx, channel in ((0, "a"), (1, "b"), (2, "c"), (-3, "__interrupt__"), (-4, "__resume__"))
    ]
    rows = write_rows({"thread_id": "t"}, writes)
    assert [row["slot"] for row in rows] == [-4, -3, 0]
    assert sorted(write for row in rows for write in writes_of(row)) == sorted(writes)
    assert [row["size_bytes"] for row in rows] == [1, 1, 3]


def test_a_take_over_copies_the_newest_of_the_root_and_of_calls_under_way() -> None:
    def key(checkpoint_id: str, ns: str, parent: str | None = None) -> Key:
        metadata = "{}" if parent is None else f'{{"parents": {{"": "{parent}"}}}}'
        return Key(checkpoint_id, "t", ns, "", metadata)

    keys = [key("3", ""), key("2", ""), key("9", "ended:1", "2"), key("8", "under_way:2", "3"), key("7", "memory")]
    assert {(found.ns, found.checkpoint_id) for found in taken_over(keys)} == {
        ("", "3"),
        ("under_way:2", "8"),
        ("memory", "7"),
    }


async def test_a_late_write_of_a_displaced_worker_is_nowhere_to_be_read(
    api: DataApi, keyspace: str, clock: ManualClock
) -> None:
    """The store cannot refuse it, so it must land where nobody looks: also after the thread was taken over twice."""
    async with open_checkpoints(api.url(keyspace), clock=clock) as checkpoints:
        stale = await checkpoints.claim("acme", "t", Unleased())
        await put(stale, value="kept")
        second = await checkpoints.claim("acme", "t", Unleased())
        with pytest.raises(Exception, match="no longer owns"):
            await put(stale, value="late")
        assert await newest(second) == {"value": "kept"}
        third = await checkpoints.claim("acme", "t", Unleased())
        assert await newest(third) == await newest(checkpoints.reader("acme")) == {"value": "kept"}
        with pytest.raises(Exception, match="no longer owns"):
            await newest(second)  # its rows are gone: that must not read as a thread that was never started
    assert len(api.keyspaces[keyspace].tables["checkpoints"].rows) == 1
    assert len(api.keyspaces[keyspace].tables["thread_owners"].rows) == 1


async def test_a_reader_waits_for_a_thread_that_changes_hands_and_then_shows_the_last_ready_claim(
    api: DataApi, keyspace: str, clock: ManualClock
) -> None:
    async with open_checkpoints(api.url(keyspace), clock=clock) as checkpoints:
        first = await checkpoints.claim("acme", "t", Unleased())
        await put(first, value="kept")
        owners = api.keyspaces[keyspace].tables["thread_owners"]
        unready = {"brand": "acme", "thread_id": "t", "n": 2, "token": "f" * 32, "ready": False}
        owners.insert(unready)
        before = clock.now()
        assert await newest(checkpoints.reader("acme")) == {"value": "kept"}
        assert clock.now() - before == timedelta(milliseconds=250)
        with pytest.raises(Exception, match="no longer owns"):
            await put(first, value="late")


async def test_a_step_of_a_graph_costs_two_requests(api: DataApi, keyspace: str, clock: ManualClock) -> None:
    counted = api.keyspaces[keyspace].requests
    async with open_checkpoints(api.url(keyspace), clock=clock) as checkpoints:
        saver = await checkpoints.claim("acme", "t", Unleased())
        assert sum(counted.values()) == 7  # of a first claim
        counted.clear()
        stored = await put(saver, value=1)
        assert counted == {"insertOne": 1, "find": 1}
        await saver.aput_writes(stored, [("a", 1), ("b", 2)], "task")
        assert counted == {"insertOne": 2, "find": 2}
        counted.clear()
        await checkpoints.claim("acme", "t", Unleased())
        assert sum(counted.values()) <= 15  # of a take-over


async def test_every_millisecond_reads_back_as_it_was(records: Records) -> None:
    """Timestamps of astrapy 2.3 do not: it reads .009 as .008, and instants far away by a microsecond."""
    rows = [a_piece(id=f"{n:03}", created_at=NOW + timedelta(milliseconds=n)) for n in range(1000)]
    await records.put(*rows)
    found = await records.find_many(Piece, [{"id": row.id} for row in rows])
    assert [row.created_at for row in found] == [row.created_at for row in rows]
