"""What AstraDB and the network do wrong, and what Copydesk makes of it: rows 50 to 54 of the reliability table, and each error class."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import astrapy.exceptions
import httpx
import pytest

from config.clock import ManualClock, SystemClock
from config.errors import BadInput, CopydeskError, LeaseLost, SettingsError, Unavailable, Unsupported, UsageError
from memory.astra_client import ATTEMPTS, AstraDatabase, open_astra_database
from memory.astra_errors import AWAY, translate_error, translated
from memory.astra_schema import check_schema, create_schema
from memory.checkpoints.protocol import open_checkpoints
from memory.lease import Unleased
from memory.records import Records, open_records
from memory.rows import AgentMemory, BrandKnowledge, Piece
from tests.contracts.test_checkpoints import newest, put
from tests.contracts.test_records import a_claim, a_memory, a_piece, a_vector, stored
from tests.fakes.astra_keyspaces import api, keyspace
from tests.fakes.data_api import DataApi, Keyspace

__all__ = ["api", "keyspace"]  # fixtures


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def records(api: DataApi, keyspace: str, clock: ManualClock) -> AsyncIterator[Records]:
    async with open_records(api.url(keyspace), clock=clock) as store:
        yield store.for_brand("acme")


@pytest.fixture
async def database(api: DataApi, keyspace: str, clock: ManualClock) -> AsyncIterator[AstraDatabase]:
    async with open_astra_database(api.url(keyspace), clock=clock) as opened:
        yield opened


# Every class of the drivers' errors


def _classes(package: Any) -> list[type[Exception]]:
    found: set[type[Exception]] = set()
    names = [package.__name__]
    if hasattr(package, "__path__"):
        names += [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
    for name in names:
        if name.endswith("_main"):  # httpx's command line, with dependencies of its own
            continue
        for _, kind in inspect.getmembers(importlib.import_module(name), inspect.isclass):
            if (
                issubclass(kind, Exception)
                and not issubclass(kind, Warning)
                and kind.__module__.partition(".")[0] == package.__name__
            ):
                found.add(kind)
    return sorted(found, key=lambda kind: kind.__name__)


def an_error(kind: type[Exception]) -> Exception:
    """An instance with the attributes that its class promises."""
    error = kind.__new__(kind)
    response = httpx.Response(503, request=httpx.Request("POST", "http://127.0.0.1/"))
    defaults = {
        "error_descriptors": [],
        "response": response,
        "exceptions": [],
        "text": "secret text",
        "timeout_type": "read",
    }
    for name, value in defaults.items():
        if not isinstance(getattr(kind, name, None), property):
            error.__dict__[name] = value
    return error


ALL_ERRORS = [*_classes(astrapy), *_classes(httpx)]
MEANINGS: dict[type[CopydeskError], set[str]] = {
    Unavailable: {
        *("DataAPITimeoutException", "DevOpsAPITimeoutException", "DataAPIHttpException", "DevOpsAPIHttpException"),
        *("UnexpectedDataAPIResponseException", "UnexpectedDevOpsAPIResponseException", "HTTPStatusError"),
        *("RequestError", "TransportError", "TimeoutException", "ConnectTimeout", "ReadTimeout", "WriteTimeout"),
        *("PoolTimeout", "NetworkError", "ConnectError", "ReadError", "WriteError", "CloseError", "ProxyError"),
        *("ProtocolError", "RemoteProtocolError", "DecodingError"),
    },
    SettingsError: {
        *("InvalidEnvironmentException", "InvalidURL", "UnsupportedProtocol", "LocalProtocolError", "TooManyRedirects"),
    },
    CopydeskError: {
        *("DataAPIException", "DataAPIResponseException", "CursorException", "DevOpsAPIException"),
        *("DevOpsAPIResponseException", "TableInsertManyException", "TooManyRowsToCountException"),
        *("CollectionInsertManyException", "CollectionDeleteManyException", "CollectionUpdateManyException"),
        *("TooManyDocumentsToCountException", "HTTPError", "CookieConflict", "StreamError", "StreamConsumed"),
        *("StreamClosed", "ResponseNotRead", "RequestNotRead"),
    },
}


@pytest.mark.parametrize("kind", ALL_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_drivers_becomes_one_of_ours(kind: type[Exception]) -> None:
    ours = translate_error(an_error(kind), "reading reviews")
    expected = [meaning for meaning, names in MEANINGS.items() if kind.__name__ in names]
    assert expected == [type(ours)], f"{kind.__name__} became {type(ours).__name__}; say here what it should be"
    assert "\n" not in str(ours)
    assert "secret text" not in str(ours)


@pytest.mark.parametrize("kind", ALL_ERRORS, ids=lambda kind: kind.__name__)
def test_no_error_of_the_drivers_passes_through_untranslated(kind: type[Exception]) -> None:
    with pytest.raises(CopydeskError), translated("reading reviews"):
        raise an_error(kind)


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        *((code, Unavailable) for code in sorted(AWAY)),
        ("UNAUTHENTICATED_REQUEST", SettingsError),
        ("COLLECTION_NOT_EXIST", UsageError),
        ("UNKNOWN_TABLE_COLUMNS", UsageError),
        ("KEYSPACE_DOES_NOT_EXIST", UsageError),
        ("INVALID_COLUMN_VALUES", BadInput),
        ("OVERLOADED_SORT_ROW_LIMIT", Unsupported),
        ("INVALID_DATABASE_QUERY", CopydeskError),
        ("A_CODE_OF_TOMORROW", CopydeskError),
    ],
)
def test_a_code_of_the_server_says_what_it_means(code: str, meaning: type[CopydeskError]) -> None:
    answer = {"errors": [{"errorCode": code, "id": "42", "message": "holds a private value", "family": "SERVER"}]}
    error = astrapy.exceptions.DataAPIResponseException.from_response(command={}, raw_response=answer)
    ours = translate_error(error, "reading reviews")
    assert type(ours) is meaning
    assert code in str(ours)
    assert "42" in str(ours)
    assert "private" not in str(ours)


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        *((status, SettingsError) for status in (400, 401, 403, 404, 405, 415)),
        (413, BadInput),
        *((status, Unavailable) for status in (408, 429, 500, 502, 503, 504)),
    ],
)
def test_a_status_of_the_gateway_says_what_it_means(status: int, meaning: type[CopydeskError]) -> None:
    request = httpx.Request("POST", "http://127.0.0.1/")
    error = httpx.HTTPStatusError("x", request=request, response=httpx.Response(status, request=request))
    assert type(translate_error(error, "reading reviews")) is meaning


# One retry policy


@pytest.mark.parametrize("kind", ["429", "503", "drop", "commit_drop", "garbage", "error"])
async def test_a_call_that_met_a_passing_fault_is_made_again(api: DataApi, records: Records, kind: Any) -> None:
    fault = api.fail(kind, command="insertOne")
    piece = a_piece(id="p")
    await records.put(piece)
    assert fault.times == 0
    assert await records.get(Piece, id="p") == stored(piece)
    fault = api.fail(kind, command="findOne", times=2)
    assert await records.get(Piece, id="p") == stored(piece)
    assert fault.times == 0


async def test_a_server_that_stays_away_is_asked_three_times_and_then_reported(
    api: DataApi, keyspace: str, records: Records
) -> None:
    fault = api.fail("503", command="find", times=100)
    with pytest.raises(Unavailable, match=r"content_library.*503"):
        await records.find_by(Piece)
    assert 100 - fault.times == ATTEMPTS == 3


async def test_the_wait_that_the_server_asks_for_is_kept(api: DataApi, records: Records, clock: ManualClock) -> None:
    api.fail("429", command="findOne", retry_after="7")
    before = clock.now()
    assert await records.find(Piece, id="p") is None
    assert clock.now() - before == timedelta(seconds=7)
    api.fail("429", command="findOne", retry_after="120", times=3)
    with pytest.raises(Unavailable) as refused:
        await records.find(Piece, id="p")
    assert refused.value.retry_after == timedelta(seconds=120)  # longer than a call may wait: the queue keeps it


@pytest.mark.parametrize("kind", ["401", "413"])
async def test_what_will_not_pass_is_not_tried_again(api: DataApi, records: Records, kind: Any) -> None:
    fault = api.fail(kind, command="insertOne", times=100)
    with pytest.raises(UsageError):
        await records.put(a_piece())
    assert fault.times == 99


async def test_a_wrong_token_is_refused_in_one_line_that_does_not_show_it(
    api: DataApi, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "token", "the right one")
    api.keyspaces["refused"] = Keyspace()
    with pytest.raises(SettingsError, match="COPYDESK_ASTRA_TOKEN") as refused:
        await create_schema(api.url("refused"), clock=clock)
    assert "secret" not in str(refused.value)


async def test_a_slow_server_is_given_up_in_time(
    api: DataApi, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.astra_client._POINT_MS", 100)
    api.fail("delay", command="findOne", seconds=0.4, times=3)
    with pytest.raises(Unavailable, match="in time"):
        await records.find(Piece, id="p")


async def test_a_server_that_is_not_there_is_unavailable(clock: ManualClock) -> None:
    async with open_records("astra+http://127.0.0.1:9/ks", clock=clock) as store:
        with pytest.raises(Unavailable, match="ConnectError"):
            await store.for_brand("acme").find(Piece, id="p")


# Writes of many rows


async def test_after_a_partial_failure_only_the_rows_that_failed_are_sent_again(
    api: DataApi, keyspace: str, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[str]] = []
    inner = astrapy.AsyncTable.insert_many

    async def watched(self: Any, rows: Any, **how: Any) -> Any:
        sent.append([row["id"] for row in rows])
        return await inner(self, rows, **how)

    monkeypatch.setattr(astrapy.AsyncTable, "insert_many", watched)
    api.fail("partial", command="insertMany")
    await records.put(*(a_piece(id=str(n)) for n in range(8)))
    assert sent == [[str(n) for n in range(8)], ["1", "3", "5", "7"]]
    assert len(await records.find_by(Piece)) == 8


async def test_a_chunk_that_was_refused_does_not_send_the_others_twice(
    api: DataApi, keyspace: str, records: Records
) -> None:
    api.fail("429", command="insertMany", after=1)
    await records.put(*(a_piece(id=str(n)) for n in range(150)))
    assert api.keyspaces[keyspace].requests["insertMany"] == 3
    assert len(await records.find_by(Piece)) == 150


async def test_a_lease_lost_between_two_chunks_stops_the_rest(api: DataApi, keyspace: str, clock: ManualClock) -> None:
    class Ends(Unleased):
        left = 2

        def ensure_held(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise LeaseLost("gone")

    async with open_records(api.url(keyspace), clock=clock) as store:
        with pytest.raises(LeaseLost):
            await store.for_brand("acme", lease=Ends()).put(*(a_piece(id=str(n)) for n in range(120)))
        assert len(await store.for_brand("acme").find_by(Piece)) == 50


# Decisions


@pytest.mark.parametrize("kind", ["drop", "commit_drop", "503", "error"])
async def test_a_decision_whose_answer_was_lost_is_still_the_first_callers(
    api: DataApi, records: Records, kind: Any
) -> None:
    api.fail(kind, command="insertOne", table="permits")
    first = await records.create_once("plan", "W50", a_piece(id="first"), token="t1")
    assert first.won
    assert not (await records.create_once("plan", "W50", a_piece(id="second"), token="t2")).won


async def test_a_decider_whose_answers_are_all_lost_may_ask_again_later(api: DataApi, records: Records) -> None:
    api.fail("commit_drop", command="insertOne", table="permits", times=3)
    with pytest.raises(Unavailable):
        await records.create_once("plan", "W50", a_piece(id="first"), token="t1")
    assert not (await records.create_once("plan", "W50", a_piece(id="second"), token="t2")).won
    assert (await records.create_once("plan", "W50", a_piece(id="first"), token="t1")).won


async def test_an_empty_read_back_decides_nothing(
    api: DataApi, keyspace: str, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None, None])
    inner = AstraDatabase.find_document

    async def lagging(self: AstraDatabase, *place: str) -> Any:
        return next(answers, False) or await inner(self, *place)

    async def blind(self: AstraDatabase, *place: str) -> Any:
        return None

    monkeypatch.setattr(AstraDatabase, "find_document", lagging)
    once = await records.create_once("plan", "W50", a_piece(id="first"), token="t1")
    assert (once.won, once.row.id) == (True, "first")
    monkeypatch.setattr(AstraDatabase, "find_document", blind)
    with pytest.raises(Unavailable, match="plan"):
        await records.create_once("plan", "W51", a_piece(id="first"), token="t1")


async def test_of_deciders_that_all_lose_replies_exactly_one_wins(api: DataApi, records: Records) -> None:
    api.fail("commit_drop", command="insertOne", table="permits", times=5)
    api.fail("drop", command="findOne", table="permits", times=3)
    answers = await asyncio.gather(
        *(records.create_once("plan", "W50", a_piece(id=f"p{n}"), token=f"t{n}") for n in range(6)),
        return_exceptions=True,
    )
    told = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert all(isinstance(answer, Unavailable) for answer in answers if isinstance(answer, BaseException))
    found = await records.find_once("plan", "W50", Piece)
    assert found is not None
    assert {answer.row.id for answer in told} == {found.row.id}
    assert [answer.token for answer in told if answer.won] in ([], [found.token])


# Vectors (row 53) and pages (row 54)


async def test_a_vector_of_another_length_or_zero_is_kept_but_never_found(records: Records) -> None:
    short, zero = a_claim("short", embedding=(1.0, 0.0)), a_claim("zero", embedding=a_vector(0.0))
    await records.put(short, zero, a_claim("whole", embedding=a_vector(1.0)))
    assert (await records.get(BrandKnowledge, id="short")).embedding == (1.0, 0.0)
    assert (await records.get(BrandKnowledge, id="zero")).embedding == a_vector(0.0)
    found = await records.search(BrandKnowledge, a_vector(1.0), embedder_id="e1", limit=5)
    assert [hit.row.id for hit in found] == ["whole"]
    assert await records.search(BrandKnowledge, (1.0, 0.0), embedder_id="e1", limit=5) == []


async def test_a_vector_that_is_taken_back_is_gone(records: Records) -> None:
    await records.put(a_claim("c", embedding=a_vector(1.0)))
    await records.put(a_claim("c"))
    assert (await records.get(BrandKnowledge, id="c")).embedding == ()
    assert await records.search(BrandKnowledge, a_vector(1.0), embedder_id="e1", limit=5) == []


async def test_a_listing_goes_on_where_a_page_failed(api: DataApi, keyspace: str, records: Records) -> None:
    await records.put(*(a_piece(id=f"{n:03}") for n in range(120)))
    api.fail("drop", command="find", after=1)
    api.fail("503", command="find", after=1)
    assert len(await records.find_by(Piece)) == 120
    assert api.keyspaces[keyspace].requests["find"] == 2 + 3  # two to look before writing, three pages


async def test_the_sweeper_may_be_interrupted_and_goes_on(api: DataApi, keyspace: str, clock: ManualClock) -> None:
    async with open_records(api.url(keyspace), clock=clock) as store:
        records = store.for_brand("acme")
        soon = clock.now() + timedelta(minutes=1)
        await records.put(*(a_memory(f"m{n}", expires_at=soon) for n in range(150)))
        clock.advance(timedelta(minutes=2))
        api.fail("503", command="deleteMany", after=1, times=3)
        with pytest.raises(Unavailable):
            await store.sweep()
        assert await store.sweep() == 50
        clock.step(timedelta(minutes=-10))
        assert await records.find_by(AgentMemory) == []


# Definitions


async def test_db_init_waits_until_the_server_shows_what_was_made(api: DataApi, clock: ManualClock) -> None:
    api.keyspaces["new"] = space = Keyspace()
    api.hide_new = 2
    try:
        made = await create_schema(api.url("new"), clock=clock)
    finally:
        api.hide_new = 0
    assert len(made.missing_tables) == len(space.tables) == 27
    assert made.missing_collections == ("permits",)
    before = dict(space.requests)
    assert (await create_schema(api.url("new"), clock=clock)).complete
    assert space.requests["createTable"] == before["createTable"]
    assert space.requests["createIndex"] == before["createIndex"]


async def test_db_init_without_the_keyspace_says_to_create_it(api: DataApi, clock: ManualClock) -> None:
    with pytest.raises(UsageError, match=r"has no keyspace .*COPYDESK_RECORDS: create it in the database") as refused:
        await create_schema(api.url("nowhere"), clock=clock)
    assert "make what is missing" not in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_db_init_that_is_cut_short_is_finished_by_the_next(api: DataApi, clock: ManualClock) -> None:
    api.keyspaces["cut"] = space = Keyspace()
    api.fail("503", command="createIndex", after=7, times=3)
    with pytest.raises(Unavailable, match="index"):
        await create_schema(api.url("cut"), clock=clock)
    assert len((await create_schema(api.url("cut"), clock=clock)).missing_indexes) > 0
    assert sum(len(table.indexes) for table in space.tables.values()) == 35


async def test_db_init_gives_up_on_a_server_that_never_shows_it(api: DataApi, clock: ManualClock) -> None:
    api.keyspaces["never"] = Keyspace()
    api.hide_new = 10**6
    try:
        with pytest.raises(Unavailable, match="content_library"):
            await create_schema(api.url("never"), clock=clock)
    finally:
        api.hide_new = 0


async def test_a_table_of_other_columns_or_another_key_is_refused_and_nothing_is_made(
    api: DataApi, clock: ManualClock
) -> None:
    api.keyspaces["other"] = space = Keyspace()
    async with open_astra_database(api.url("other"), clock=clock) as database:
        columns = {"brand": {"type": "text"}, "name": {"type": "int"}}
        await database.create_table(
            "controls", {"columns": columns, "primaryKey": {"partitionBy": ["name"], "partitionSort": {}}}
        )
    with pytest.raises(UsageError) as refused:
        await create_schema(api.url("other"), clock=clock)
    for told in ("primary key", "use another keyspace", "column name is int, not text"):
        assert told in str(refused.value)
    assert list(space.tables) == ["controls"]


def as_an_earlier_build_left_it(space: Keyspace) -> None:
    """One column fewer, and the column and the index of another."""
    pieces, memories = space.tables["content_library"], space.tables["agent_memory"]
    del pieces.columns["cycle_day"]
    del memories.columns["expires_at"], memories.indexes["agent_memory_expires_at"]
    for row in (*pieces.rows.values(), *memories.rows.values()):
        row.pop("cycle_day", None)
        row.pop("expires_at", None)


LACKING = (("agent_memory", "expires_at"), ("content_library", "cycle_day"))


async def test_a_keyspace_of_an_earlier_build_gets_the_columns_and_indexes_that_it_lacks(
    api: DataApi, keyspace: str, records: Records, clock: ManualClock
) -> None:
    space, fresh = api.keyspaces[keyspace], api.keyspaces[keyspace].like()
    piece, memory = a_piece(id="p", cycle_day=3, title="before the upgrade"), a_memory("k")
    await records.put(piece, memory)
    as_an_earlier_build_left_it(space)
    with pytest.raises(UsageError, match="db init"):
        await records.put(a_piece(id="q"))
    api.hide_new = 3
    try:
        made = await create_schema(api.url(keyspace), clock=clock)
    finally:
        api.hide_new = 0
    assert tuple(sorted(made.missing_columns)) == LACKING
    assert made.missing_indexes == (("agent_memory", "expires_at"),)
    assert made.missing_tables == ()
    for name, table in space.tables.items():
        assert table.columns == fresh.tables[name].columns
        assert set(table.indexes) == set(fresh.tables[name].indexes)
    found = await records.get(Piece, id="p")
    assert (found.title, found.cycle_day) == ("before the upgrade", Piece.model_fields["cycle_day"].default)
    [known] = await records.find_by(AgentMemory, id=memory.id, expires_at=memory.expires_at)
    assert (known.memory_content, known.expires_at) == (memory.memory_content, memory.expires_at)
    await records.put(found.model_copy(update={"cycle_day": 5}))
    assert (await records.get(Piece, id="p")).cycle_day == 5
    before = dict(space.requests)
    assert (await create_schema(api.url(keyspace), clock=clock)).complete
    assert space.requests["alterTable"] == before["alterTable"] == 2


@pytest.mark.parametrize("late", [0, 3])
async def test_two_db_inits_at_once_bring_a_keyspace_up_to_date(
    api: DataApi, keyspace: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    """Both have seen what is missing before either adds it."""
    space, fresh = api.keyspaces[keyspace], api.keyspaces[keyspace].like()
    as_an_earlier_build_left_it(space)
    both, add = asyncio.Barrier(2), AstraDatabase.add_column

    async def together(self: AstraDatabase, table: str, column: str, kind: Any) -> None:
        await both.wait()
        await add(self, table, column, kind)

    monkeypatch.setattr(AstraDatabase, "add_column", together)
    monkeypatch.setattr(api, "hide_new", late)
    url = api.url(keyspace)
    first, second = await asyncio.gather(create_schema(url, clock=clock), create_schema(url, clock=clock))
    assert first.missing_columns == second.missing_columns
    assert space.requests["alterTable"] == 4, "each asked for both"
    assert {name: table.columns for name, table in space.tables.items()} == {
        name: table.columns for name, table in fresh.tables.items()
    }
    assert (await create_schema(url, clock=clock)).complete


async def test_a_column_whose_answer_was_lost_is_asked_for_again(
    api: DataApi, keyspace: str, clock: ManualClock
) -> None:
    as_an_earlier_build_left_it(api.keyspaces[keyspace])
    api.fail("commit_drop", command="alterTable")
    await create_schema(api.url(keyspace), clock=clock)
    assert (await create_schema(api.url(keyspace), clock=clock)).complete


async def test_no_column_is_added_to_a_keyspace_where_another_differs(
    api: DataApi, keyspace: str, clock: ManualClock
) -> None:
    space = api.keyspaces[keyspace]
    as_an_earlier_build_left_it(space)
    space.tables["reviews"].columns["decision"] = {"type": "int"}
    with pytest.raises(UsageError, match="column decision is int, not text: use another keyspace"):
        await create_schema(api.url(keyspace), clock=clock)
    assert space.requests["alterTable"] == 0


async def test_a_database_without_room_for_our_indexes_is_refused_before_anything_is_made(
    api: DataApi, clock: ManualClock
) -> None:
    api.keyspaces["full"] = space = Keyspace()
    async with open_astra_database(api.url("full"), clock=clock) as database:
        for n in range(7):
            columns = {f"c{m}": {"type": "text"} for m in range(12)}
            await database.create_table(
                f"t{n}", {"columns": columns, "primaryKey": {"partitionBy": ["c0"], "partitionSort": {}}}
            )
            for m in range(1, 11):
                await database.create_index(f"t{n}", f"i{n}_{m}", f"c{m}", vector=False)
        with pytest.raises(UsageError, match="limit"):
            await database.create_index("t0", "one_more", "c11", vector=False)
    with pytest.raises(UsageError, match="70 indexes and needs 35 more"):
        await create_schema(api.url("full"), clock=clock)
    assert len(space.tables) == 7


async def test_a_missing_table_is_reported_with_the_command_that_makes_it(api: DataApi, clock: ManualClock) -> None:
    api.keyspaces["bare"] = Keyspace()
    async with open_records(api.url("bare"), clock=clock) as store:
        with pytest.raises(UsageError, match="db init"):
            await store.for_brand("acme").find(Piece, id="p")
        with pytest.raises(UsageError, match="db init"):
            await store.for_brand("acme").create_once("k", "k", a_piece(), token="t")
    async with open_astra_database(api.url("nowhere"), clock=clock) as database:
        with pytest.raises(UsageError, match="db init"):
            await check_schema(database)


# Checkpoints


@pytest.mark.parametrize("nth", range(12))
async def test_a_claim_that_dies_at_any_request_costs_no_acknowledged_checkpoint(
    api: DataApi, keyspace: str, clock: ManualClock, nth: int
) -> None:
    async with open_checkpoints(api.url(keyspace), clock=clock) as checkpoints:
        first = await checkpoints.claim("acme", "t", Unleased())
        kept = await put(first, value="kept")
        await first.aput_writes(kept, [("a", 1), ("b", 2)], "task")
        api.fail("commit_drop", after=nth, times=3)
        died = False
        try:
            await checkpoints.claim("acme", "t", Unleased())
        except Unavailable:
            died = True
        api.faults.clear()
        assert await newest(checkpoints.reader("acme")) == {"value": "kept"}
        second = await checkpoints.claim("acme", "t", Unleased())
        found = await second.aget_tuple({"configurable": {"thread_id": "t", "checkpoint_ns": ""}})
        assert found is not None
        assert found.checkpoint["channel_values"] == {"value": "kept"}
        assert found.pending_writes == [("task", "a", 1), ("task", "b", 2)]
        assert died or nth >= 7


async def test_a_put_whose_answer_was_lost_is_stored_once(api: DataApi, keyspace: str, clock: ManualClock) -> None:
    async with open_checkpoints(api.url(keyspace), clock=clock) as checkpoints:
        saver = await checkpoints.claim("acme", "t", Unleased())
        api.fail("commit_drop", command="insertOne", table="checkpoints")
        await put(saver, value=1)
        listed = [item async for item in saver.alist({"configurable": {"thread_id": "t"}})]
    assert [item.checkpoint["channel_values"] for item in listed] == [{"value": 1}]


async def test_closing_leaves_no_connection_open(api: DataApi, keyspace: str) -> None:
    async with open_records(api.url(keyspace), clock=SystemClock()) as store:
        await store.for_brand("acme").put(a_piece())
    with pytest.raises(RuntimeError, match="closed"):
        await store.for_brand("acme").find(Piece, id="p")
