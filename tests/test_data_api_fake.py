"""The fake Data API server, asked by the real astrapy: it has to be as unhelpful as the real one.

The first part asks for what astrapy's own integration tests of tables ask of a server; the second for the refusals, limits and
warnings that the engines rely on never meeting.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import pytest
from astrapy import AsyncDatabase, AsyncTable, DataAPIClient
from astrapy.api_options import APIOptions, SerdesOptions
from astrapy.constants import Environment, SortMode, VectorMetric
from astrapy.data_types import DataAPIVector
from astrapy.exceptions import (
    DataAPIHttpException,
    DataAPIResponseException,
    TableInsertManyException,
    UnexpectedDataAPIResponseException,
)
from astrapy.info import CreateTableDefinition, TableIndexOptions, TableVectorIndexOptions

from tests.fakes.data_api import DataApi, Keyspace

Rows = AsyncTable[dict[str, Any]]
_numbers = count()


@pytest.fixture(scope="module")
def api() -> Iterator[DataApi]:
    running = DataApi().start()
    yield running
    running.stop()


@pytest.fixture
async def database(api: DataApi) -> AsyncIterator[AsyncDatabase]:
    name = f"ks{next(_numbers)}"
    api.keyspaces[name] = Keyspace()
    options = APIOptions(serdes_options=SerdesOptions(custom_datatypes_in_reading=False))
    client = DataAPIClient(environment=Environment.OTHER, api_options=options)
    async with client.get_async_database(f"http://127.0.0.1:{api.port}", token="t", keyspace=name) as opened:
        yield opened


@pytest.fixture
async def table(database: AsyncDatabase) -> AsyncIterator[Rows]:
    """A partition, a number in it, descending; one indexed column, one vector."""
    definition = (
        CreateTableDefinition.builder()
        .add_column("place", "text")
        .add_column("n", "int")
        .add_column("colour", "text")
        .add_column("size", "double")
        .add_column("thin", "float")
        .add_column("seen_at", "timestamp")
        .add_column("data", "blob")
        .add_column("ok", "boolean")
        .add_column("name", "uuid")
        .add_map_column("labels", "text", "text")
        .add_vector_column("near", dimension=3)
        .add_partition_by(["place"])
        .add_partition_sort({"n": SortMode.DESCENDING})
        .build()
    )
    async with await database.create_table("things", definition=definition) as made:
        await made.create_index("things_colour", column="colour", options=TableIndexOptions(case_sensitive=True))
        options = TableVectorIndexOptions(metric=VectorMetric.COSINE, source_model="other")
        await made.create_vector_index("things_near", column="near", options=options)
        yield made


async def refusal(call: Any) -> str:
    with pytest.raises(DataAPIResponseException) as refused:
        await call
    return str(refused.value.error_descriptors[0].error_code)


def warned(database: AsyncDatabase, api: DataApi) -> list[str]:
    return [told.split()[0] for told in api.keyspaces[database.keyspace].warned]


# What a server does


async def test_every_type_of_column_reads_back_as_cassandra_stores_it(table: Rows) -> None:
    row = {
        "place": "p",
        "n": -(2**31),
        "colour": "grün 😴",
        "size": 0.1,
        "thin": 0.1,
        "seen_at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        "data": b"\x00\xff",
        "ok": False,
        "name": uuid.UUID(int=7),
        "labels": {"a": "b"},
        "near": DataAPIVector([0.1, 0.2, 0.3]),
    }
    inserted = await table.insert_one(row)
    assert inserted.inserted_id == {"place": "p", "n": -(2**31)}
    found = await table.find_one({"place": "p", "n": -(2**31)})
    assert found is not None
    assert found["seen_at"] == datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert found["thin"] == pytest.approx(0.1, abs=1e-7)
    assert found["thin"] != 0.1
    assert found["near"] == list(DataAPIVector([0.1, 0.2, 0.3])) or found["near"] == pytest.approx([0.1, 0.2, 0.3])
    for name in ("colour", "size", "data", "ok", "name", "labels"):
        assert found[name] == row[name]


async def test_an_insert_leaves_the_columns_it_does_not_name_and_clears_with_null(table: Rows) -> None:
    await table.insert_one({"place": "p", "n": 1, "colour": "red", "size": 1.0})
    await table.insert_one({"place": "p", "n": 1, "size": None})
    found = await table.find_one({"place": "p", "n": 1}, projection={"colour": True, "size": True})
    assert found == {"colour": "red", "size": None}


async def test_an_update_always_says_one_and_makes_a_row_that_its_last_null_removes(table: Rows) -> None:
    key = {"place": "p", "n": 1}
    await table.update_one(key, {"$unset": {"size": ""}})
    assert await table.find_one(key) is None
    await table.update_one(key, {"$set": {"size": 2.0}})
    assert (await table.find_one(key) or {})["size"] == 2.0
    await table.update_one(key, {"$set": {"size": None}})
    assert await table.find_one(key) is None
    await table.insert_one({**key, "size": 1.0})
    await table.update_one(key, {"$unset": {"size": ""}})
    assert await table.find_one(key) is not None


async def test_unordered_inserts_stand_alone_and_an_ordered_request_is_refused_whole(table: Rows) -> None:
    rows: list[dict[str, Any]] = [{"place": "p", "n": 1}, {"place": "p", "n": "two"}, {"place": "p", "n": 3}]
    with pytest.raises(TableInsertManyException) as refused:
        await table.insert_many(rows, concurrency=1)
    assert [done["n"] for done in refused.value.inserted_ids] == [1, 3]
    await table.delete_many({})
    with pytest.raises(TableInsertManyException) as refused:
        await table.insert_many(rows, ordered=True)
    assert refused.value.inserted_ids == []
    assert await table.find({}).to_list() == []


async def test_a_partition_is_read_in_clustering_order_page_after_page(table: Rows, api: DataApi) -> None:
    await table.insert_many([{"place": place, "n": n} for place in "ab" for n in range(120)])
    rows = await table.find({"place": "a"}).to_list()
    assert [row["n"] for row in rows] == list(reversed(range(120)))
    page = await table.find({"place": "a", "n": {"$lt": 60}}, limit=55).fetch_next_page()
    assert len(page.results) == 50
    rest = await table.find(
        {"place": "a", "n": {"$lt": 60}}, limit=55, initial_page_state=page.next_page_state
    ).fetch_next_page()
    assert ([row["n"] for row in rest.results], rest.next_page_state) == ([9, 8, 7, 6, 5], None)


async def test_other_orders_are_sorted_in_memory_one_page_and_no_more(
    table: Rows, api: DataApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await table.insert_many([{"place": "a", "n": n, "size": float(n % 7)} for n in range(120)])
    rows = await table.find({"place": "a"}, sort={"size": SortMode.DESCENDING}).to_list()
    assert (len(rows), rows[0]["size"]) == (50, 6.0)
    monkeypatch.setattr(api, "sort_cap", 100)
    assert await refusal(table.find({"place": "a"}, sort={"size": 1}).to_list()) == "OVERLOADED_SORT_ROW_LIMIT"


async def test_a_range_of_a_partition_is_deleted_and_nothing_filters_by_accident(table: Rows) -> None:
    await table.insert_many([{"place": "a", "n": n} for n in range(5)])
    await table.delete_many({"place": "a", "n": {"$lte": 2}})
    assert [row["n"] for row in await table.find({"place": "a"}).to_list()] == [4, 3]
    await table.delete_one({"place": "a", "n": 99})
    await table.delete_one({"place": "a", "n": 4})
    assert [row["n"] for row in await table.find({"place": "a"}).to_list()] == [3]


async def test_the_nearest_come_first_in_a_partition_by_an_index_or_from_everywhere(table: Rows) -> None:
    await table.insert_many(
        [{"place": p, "n": n, "colour": "red", "near": DataAPIVector([n, 1, 0])} for p in "ab" for n in range(3)]
    )
    sort = {"near": DataAPIVector([1, 0, 0])}
    found = await table.find({"place": "a"}, sort=sort, include_similarity=True, limit=2).to_list()
    assert [row["n"] for row in found] == [2, 1]
    assert found[0]["$similarity"] == pytest.approx((1 + 2 / 5**0.5) / 2)
    assert len(await table.find({"colour": "red"}, sort=sort, limit=10).to_list()) == 6
    assert len(await table.find({"colour": "blue"}, sort=sort, limit=10).to_list()) == 0
    assert len(await table.find({}, sort=sort, limit=1000).to_list()) == 6


async def test_a_document_is_inserted_once_and_found_by_its_id_alone(database: AsyncDatabase) -> None:
    async with await database.create_collection("permits", definition={"indexing": {"deny": ["*"]}}) as permits:
        await permits.insert_one({"_id": "a", "token": "t1"})
        assert await refusal(permits.insert_one({"_id": "a", "token": "t2"})) == "DOCUMENT_ALREADY_EXISTS"
        assert (await permits.find_one({"_id": "a"}) or {})["token"] == "t1"
        assert await permits.find_one({"_id": "b"}) is None
        assert await refusal(permits.find_one({"token": "t1"})) == "UNINDEXED_FILTER_PATH"


async def test_a_collection_is_read_whole_without_a_filter_page_by_page(database: AsyncDatabase) -> None:
    """FindCommandResolver.java of stargate/data-api: unsorted, by default pages, whatever is indexed."""
    async with await database.create_collection("permits", definition={"indexing": {"deny": ["*"]}}) as permits:
        for n in range(45):
            await permits.insert_one({"_id": f"{n:02}"})
        first = await permits.find({}).fetch_next_page()
        assert len(first.results) == 20
        assert first.next_page_state
        rest = await permits.find({}, initial_page_state=first.next_page_state).to_list()
        assert sorted(row["_id"] for row in (*first.results, *rest)) == [f"{n:02}" for n in range(45)]
        assert [row["_id"] for row in first.results] != sorted(row["_id"] for row in first.results), (
            "as the ring has them"
        )
        assert await refusal(permits.find({}, sort={"token": 1}).to_list()) == "UNINDEXED_SORT_PATH"


async def test_what_was_defined_is_listed(database: AsyncDatabase, table: Rows) -> None:
    (listed,) = await database.list_tables()
    assert listed.definition.primary_key.as_dict() == {"partitionBy": ["place"], "partitionSort": {"n": -1}}
    assert await database.list_table_names() == ["things"]
    assert {index.name for index in await table.list_indexes()} == {"things_colour", "things_near"}
    await database.drop_table_index("things_colour")
    assert await table.list_index_names() == ["things_near"]


# What a server refuses


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"place": "p"}, "MISSING_PRIMARY_KEY_COLUMNS"),
        ({"place": "p", "n": None}, "MISSING_PRIMARY_KEY_COLUMNS"),
        ({"place": "p", "n": 1, "weight": 1}, "UNKNOWN_TABLE_COLUMNS"),
        ({"place": "p", "n": 1, "colour": 5}, "INVALID_COLUMN_VALUES"),
        ({"place": "p", "n": 2**31}, "INVALID_COLUMN_VALUES"),
        ({"place": "p", "n": 1, "near": DataAPIVector([1.0, 2.0])}, "INVALID_COLUMN_VALUES"),
        ({"place": "p", "n": 1, "near": DataAPIVector([0.0, 0.0, 0.0])}, "INVALID_DATABASE_QUERY"),
        ({"place": "", "n": 1}, "INVALID_DATABASE_QUERY"),
    ],
)
async def test_a_row_that_does_not_fit_is_refused(table: Rows, row: dict[str, Any], code: str) -> None:
    assert await refusal(table.insert_one(row)) == code
    assert await table.find({}).to_list() == []


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ({"place": "a"}, "MISSING_FULL_PRIMARY_KEY_FOR_UPDATE_DELETE"),
        ({"place": "a", "n": {"$gt": 1}}, "UNSUPPORTED_FILTER_FOR_UPDATE_ONE_DELETE_ONE"),
        ({"place": "a", "n": 1, "colour": "x"}, "UNSUPPORTED_NON_PRIMARY_KEY_FILTER_FOR_UPDATE_DELETE"),
        ({}, "MISSING_FILTER_FOR_UPDATE_DELETE"),
    ],
)
async def test_one_row_is_changed_by_its_whole_key_only(table: Rows, where: dict[str, Any], code: str) -> None:
    assert await refusal(table.delete_one(where)) == code
    assert await refusal(table.update_one(where, {"$set": {"size": 1.0}})) == code


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ({"n": 1}, "INVALID_PRIMARY_KEY_FILTER"),
        ({"colour": "x"}, "UNSUPPORTED_NON_PRIMARY_KEY_FILTER_FOR_UPDATE_DELETE"),
        ({"place": {"$gt": "a"}}, "INVALID_DATABASE_QUERY"),
    ],
)
async def test_many_rows_are_deleted_by_partition_only(table: Rows, where: dict[str, Any], code: str) -> None:
    assert await refusal(table.delete_many(where)) == code


@pytest.mark.parametrize(
    ("where", "warnings"),
    [
        ({"place": "a"}, []),
        ({"place": "a", "n": 1}, []),
        ({"place": "a", "n": {"$gt": 1}}, []),
        ({"colour": "red"}, []),
        ({"place": "a", "colour": "red"}, ["MISSING_INDEX"]),
        ({"size": 1.0}, ["MISSING_INDEX"]),
        ({"n": 1}, ["INCOMPLETE_PRIMARY_KEY_FILTER"]),
        ({"colour": {"$gt": "a"}}, ["COMPARISON_FILTER_UNSUPPORTED_BY_INDEXING"]),
        ({"colour": {"$ne": "a"}}, ["NOT_EQUALS_UNSUPPORTED_BY_INDEXING"]),
        ({"colour": {"$nin": ["a"]}}, ["NOT_IN_FILTER_UNSUPPORTED_BY_INDEXING"]),
        ({}, ["ZERO_FILTER_OPERATIONS"]),
    ],
)
async def test_a_filter_that_needs_a_scan_is_warned_of(
    api: DataApi, database: AsyncDatabase, table: Rows, where: dict[str, Any], warnings: list[str]
) -> None:
    await table.find(where).to_list()
    assert warned(database, api) == warnings


async def test_a_vector_search_refuses_columns_without_an_index_other_lengths_and_too_many_rows(table: Rows) -> None:
    sort = {"near": DataAPIVector([1, 0, 0])}
    assert await refusal(table.find({"size": 1.0}, sort=sort).to_list()) == "INVALID_DATABASE_QUERY"
    assert await refusal(table.find({"place": "a", "size": 1.0}, sort=sort).to_list()) == "INVALID_DATABASE_QUERY"
    short = {"near": DataAPIVector([1, 0])}
    assert await refusal(table.find({}, sort=short).to_list()) == "CANNOT_VECTOR_SORT_ON_MISMATCHED_VECTOR_DIMENSIONS"
    assert await refusal(table.find({}, sort=sort, limit=1001).to_list()) == "CANNOT_VECTOR_SORT_WITH_LIMIT_EXCEEDS_MAX"


async def test_rows_cannot_be_counted_nulls_not_filtered_and_a_list_of_values_ends_at_a_hundred(table: Rows) -> None:
    assert await refusal(table.count_documents({}, upper_bound=10)) == "UNSUPPORTED_TABLE_COMMAND"
    assert await refusal(table.find({"colour": None}).to_list()) == "INVALID_FILTER_COLUMN_VALUES"
    many = {"colour": {"$in": [str(n) for n in range(101)]}}
    assert await refusal(table.find(many).to_list()) == "FILTER_FIELDS_LIMIT_VIOLATION"


async def test_an_index_is_refused_on_a_lone_partition_column_and_beyond_ten(
    database: AsyncDatabase, table: Rows
) -> None:
    assert await refusal(table.create_index("i", column="place")) == "CANNOT_CREATE_INDEX_ON_PARTITION_KEY"
    definition = CreateTableDefinition.builder().add_column("id", "text").add_partition_by(["id"])
    for n in range(11):
        definition = definition.add_column(f"c{n}", "text")
    async with await database.create_table("wide", definition=definition.build()) as wide:
        for n in range(10):
            await wide.create_index(f"wide{n}", column=f"c{n}")
        with pytest.raises(DataAPIResponseException, match="uardrail"):
            await wide.create_index("wide10", column="c10")
        assert await refusal(wide.create_index("things_colour", column="c10")) == "CANNOT_ADD_EXISTING_INDEX"


# Faults


async def test_each_fault_looks_to_astrapy_as_the_real_one_was_measured(api: DataApi, table: Rows) -> None:
    row = {"place": "p", "n": 1}

    def meets(kind: Any, **how: Any) -> None:
        api.fail(kind, command="insertOne", **how)

    meets("429", retry_after="3")
    with pytest.raises(DataAPIHttpException) as limited:
        await table.insert_one(row)
    assert (limited.value.response.status_code, limited.value.response.headers["Retry-After"]) == (429, "3")
    meets("503")
    with pytest.raises(DataAPIHttpException, match="503"):
        await table.insert_one(row)
    meets("garbage")
    with pytest.raises(UnexpectedDataAPIResponseException):
        await table.insert_one(row)
    meets("drop")
    with pytest.raises(httpx.TransportError):
        await table.insert_one(row)
    assert await table.find_one(row) is None
    meets("commit_drop")
    with pytest.raises(httpx.TransportError):
        await table.insert_one(row)
    assert await table.find_one(row) is not None


async def test_both_forms_of_the_address_are_served_and_a_token_is_asked_for(api: DataApi, table: Rows) -> None:
    async with httpx.AsyncClient() as client:
        for prefix in ("v1", "api/json/v1"):
            place = f"http://127.0.0.1:{api.port}/{prefix}"
            answer = await client.post(place, json={"findKeyspaces": {}}, headers={"Token": "t"})
            assert table.keyspace in answer.json()["status"]["keyspaces"]
            refused = await client.post(place, json={"findKeyspaces": {}})
            assert refused.status_code == 401
            assert refused.json()["errors"][0]["errorCode"] == "MISSING_AUTHENTICATION_TOKEN"


async def test_requests_at_the_same_time_are_all_answered(table: Rows) -> None:
    await asyncio.gather(*(table.insert_one({"place": "p", "n": n}) for n in range(100)))
    assert len(await table.find({"place": "p"}).to_list()) == 100
