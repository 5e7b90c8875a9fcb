"""The reliability facts about AstraDB and Redis, rows 50-58, a case a row: the real astrapy against a Data API on loopback, and a
real redis-server.

A case says in its docstring where the product answers otherwise than the row asks, and why.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock, SystemClock
from config.errors import Backpressure, BadInput, Unavailable
from config.ids import name_id
from config.settings import Settings
from memory.astra_client import ATTEMPTS, AstraDatabase
from memory.queue import Enqueued, open_queue
from memory.queue.protocol import GENERATION_QUEUE
from memory.records import RecordsStore, open_records
from memory.rows import BrandKnowledge, Piece
from runtime import breaker as breaker_module
from runtime import worker as worker_module
from runtime.advance import Done
from runtime.compose import Runtime, open_runtime
from runtime.reconcile import reconcile
from runtime.worker import Worker
from tests.cli_support import Cli, quiet_process
from tests.contracts.queue_engines import a_task
from tests.contracts.test_records import a_claim, a_piece, a_vector, stored
from tests.fakes.astra_keyspaces import a_keyspace, a_server
from tests.fakes.data_api import DataApi, Keyspace, _answer
from tests.fakes.newsroom import BRAND, write_brand
from tests.fakes.redis_proxy import open_relay
from tests.fakes.redis_server import RedisServer
from tests.reliability_rows import BUSY, Case, Table, World, check_refusal
from tests.test_redis_queue import claim
from tests.test_worker import Bench, quick

__all__ = ["quick", "quiet_process"]  # fixtures
TABLE = Table()
row = TABLE.row
DEMANDED = range(50, 59)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> World:
    monkeypatch.setattr("memory.astra_client._pause", lambda error, attempt, dice: 0.01)
    monkeypatch.setattr(breaker_module, "LONGEST_PROBE_S", 0.5)
    monkeypatch.setattr("memory.redis_client.PAUSES_S", (0.0, 0.1, 0.2))
    write_brand(tmp_path / "data" / "brands" / BRAND)
    (tmp_path / "own").mkdir()
    cli = Cli(tmp_path / "data", capsys)
    return World(cli, cli, monkeypatch, tmp_path / "own")


@contextmanager
def a_database() -> Iterator[tuple[DataApi, str]]:
    """A Data API and the address of a keyspace of it with every table."""
    with a_server() as api, a_keyspace(api) as keyspace:
        yield api, api.url(keyspace)


@asynccontextmanager
async def a_store(url: str) -> AsyncIterator[RecordsStore]:
    async with open_records(url, clock=ManualClock()) as store:
        yield store


@contextmanager
def a_redis() -> Iterator[RedisServer]:
    server = RedisServer("--appendonly", "yes").start()
    try:
        yield server
    finally:
        server.close()


async def eventually(true: Callable[[], Awaitable[bool]]) -> None:
    """Return once it is true. The wait is for another process, or for a worker."""
    for _ in range(2000):
        if await true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came about")


@asynccontextmanager
async def a_runtime(world: World, **settings: Any) -> AsyncIterator[Runtime]:
    async with open_runtime(Settings(data_dir=world.cli.data_dir, **settings), clock=SystemClock()) as runtime:
        yield runtime


@asynccontextmanager
async def at_work(runtime: Runtime, **options: Any) -> AsyncIterator[Worker]:
    """A worker that runs meanwhile and is drained afterwards."""
    worker = Worker(runtime, **options)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
        assert not running.done(), "it outlived what happened"
    finally:
        worker.drain()
        await running


# AstraDB


@row(50, "astra-refuses-the-token")
def _(world: World) -> None:
    with a_database() as (api, url):
        world.patch.setenv("COPYDESK_RECORDS", url)
        world.patch.setattr(api, "token", "the right one")
        for argv in (("session", "list"), ("piece", "list"), ("knowledge", "search", "light")):
            check_refusal(world.cli("--brand", BRAND, *argv), says=("AstraDB", "COPYDESK_ASTRA_TOKEN"))
        assert "secret" not in world.cli("--brand", BRAND, "session", "list").err
        world.patch.setattr(api, "token", "")
        for status in (401, 403):
            world.patch.setattr(
                "tests.fakes.data_api._gateway", lambda writer, fault, status=status: _answer(writer, status, b"no")
            )
            fault = api.fail("401", times=100)
            check_refusal(world.cli("--brand", BRAND, "session", "list"), says=("AstraDB", str(status)))
            assert 100 - fault.times == 1, "asked once, and not again"
            api.faults.clear()


@row(51, "astra-is-busy-broken-or-slow")
def _(world: World) -> None:
    """No outbox in SQLite: what was acknowledged is in the queue, which is not in AstraDB. Its tasks are parked there, uncounted,
    nothing new is claimed, and the worker goes on by itself. A write is the same upsert by its key each time.
    """
    with a_database() as (api, url):
        world.patch.setattr("memory.astra_client._CHUNK_MS", 150)
        asyncio.run(_one_row_however_often_it_was_sent(api, url))
        asyncio.run(_parked_until_records_are_back(world, api, url))


async def _one_row_however_often_it_was_sent(api: DataApi, url: str) -> None:
    space = api.keyspaces[url.rpartition("/")[2]]
    async with a_store(url) as store:
        records = store.for_brand("acme")
        for kind in ("429", "503", "error", "commit_drop", "delay"):
            api.fail(kind, command="insertOne", seconds=0.4)
            await records.put(a_piece(id=kind))
            assert await records.get(Piece, id=kind) == stored(a_piece(id=kind)), kind
        assert len(space.tables["content_library"].rows) == 5
        fault = api.fail("503", command="insertOne", times=100)
        with pytest.raises(Unavailable, match=r"content_library.*503"):
            await records.put(a_piece(id="never"))
        assert 100 - fault.times == ATTEMPTS
        api.faults.clear()
        assert await records.find(Piece, id="never") is None


async def _parked_until_records_are_back(world: World, api: DataApi, url: str) -> None:
    done, tried = set[str](), list[str]()

    async def advance(runtime: Runtime, brand: str, piece_id: str, guard: Any) -> Done:
        tried.append(piece_id)
        records = runtime.records.for_brand(brand, lease=guard)
        await records.put(await records.get(Piece, id=piece_id))
        done.add(piece_id)
        return Done()

    async with a_runtime(world, records=url) as runtime:
        bench, names = Bench(runtime, world.patch), [f"p{n}" for n in range(6)]
        for name in names:
            await bench.piece(name)
        world.patch.setattr(worker_module, "advance_piece", advance)
        api.fail("503", times=10**6)
        async with at_work(runtime, upkeep=False, concurrency=3) as worker:

            async def opened() -> bool:
                return worker.breaker.is_open and worker.running == 0

            await eventually(opened)
            seen = len(tried)
            await asyncio.sleep(1.2)  # longer than a parked task waits at least
            assert (len(tried), worker.breaker.is_open) == (seen, True), "nothing is claimed meanwhile"
            tasks = [await runtime.queue.find(f"advance:{name}") for name in names]
            assert [task and (task.attempts, task.deaths) for task in tasks] == [(0, 0)] * len(names)
            api.faults.clear()

            async def all_done() -> bool:
                return done == set(names) and await bench.settled()

            await eventually(all_done)
            assert (worker.failed, worker.breaker.is_open) == (0, False)
        assert await runtime.queue.list_dead() == []
        assert {(await bench.row(name)).attempts for name in names} == {0}


@row(52, "astra-wrote-some-rows-of-many")
def _(world: World) -> None:
    with a_database() as (api, url):
        asyncio.run(_only_what_is_missing_is_sent_again(world, api, url))


async def _only_what_is_missing_is_sent_again(world: World, api: DataApi, url: str) -> None:
    import astrapy

    sent: list[set[str]] = []
    inner = astrapy.AsyncTable.insert_many

    async def watched(self: Any, rows: Any, **how: Any) -> Any:
        sent.append({row["id"] for row in rows})
        return await inner(self, rows, **how)

    world.patch.setattr(astrapy.AsyncTable, "insert_many", watched)
    pieces = [a_piece(id=name_id("slot", n)) for n in range(9)]
    first, odd = {piece.id for piece in pieces}, {piece.id for piece in pieces[1::2]}
    async with a_store(url) as store:
        records = store.for_brand("acme")
        api.fail("partial", command="insertMany")
        await records.put(*pieces)
        assert sent == [first, odd]
        sent.clear()
        api.fail("partial", command="insertMany")
        api.fail("503", command="insertMany", times=ATTEMPTS)  # and then the server goes away for good
        with pytest.raises(Unavailable):
            await records.put(*pieces)
        await records.put(
            *(a_piece(id=name_id("slot", n)) for n in range(9))
        )  # the step is run again: same names, same rows
        assert {piece.id for piece in await records.find_by(Piece)} == first
        assert len(api.keyspaces[url.rpartition("/")[2]].tables["content_library"].rows) == 9


@row(53, "astra-vectors-and-tables-that-are-not-right")
def _(world: World) -> None:
    """A vector that is zero or of another length is kept, because rows of every embedder are kept, and is never found. `doctor`
    prints no DDL: it names what is missing, and `db init` makes it.
    """
    with a_database() as (api, url):
        asyncio.run(_vectors_are_looked_at_before_the_call(api, url))
        api.keyspaces["bare"] = Keyspace()
        world.patch.setenv("COPYDESK_RECORDS", api.url("bare"))
        check_refusal(world.cli("--brand", BRAND, "session", "list"), says=("agent_sessions", "db init"))
        assert len(_lacking(world)) == 3, "tables, the collection, indexes"
        assert world.cli("db", "init").code == 0
        assert _lacking(world) == []
        space = api.keyspaces["bare"]
        del space.tables["reviews"]
        del space.tables["content_library"].indexes["content_library_state"]
        told = " ".join(_lacking(world))
        for missing in ("1 tables: reviews", "reviews.decision", "content_library.state"):
            assert missing in told


def _lacking(world: World) -> list[str]:
    """What `doctor` finds that `db init` mends."""
    found = world.cli("--brand", BRAND, "doctor", "--json").json["findings"]
    return [one["finding"] for one in found if one["mend"].endswith("db init")]


async def _vectors_are_looked_at_before_the_call(api: DataApi, url: str) -> None:
    asked = api.keyspaces[url.rpartition("/")[2]].requests
    async with a_store(url) as store:
        records = store.for_brand("acme")
        await records.put(a_claim("short", embedding=(1.0, 0.0)), a_claim("zero", embedding=a_vector(0.0)))
        await records.put(a_claim("whole", embedding=a_vector(1.0)))
        found = await records.search(BrandKnowledge, a_vector(1.0), embedder_id="e1", limit=5)
        assert [hit.row.id for hit in found] == ["whole"]
        before = asked.total()
        for bad in (float("nan"), float("inf"), 1e300):
            with pytest.raises(BadInput, match="embed the text again"):
                await records.put(a_claim("bad", embedding=a_vector(bad)))
            with pytest.raises(BadInput, match="embed the text again"):
                await records.search(BrandKnowledge, a_vector(bad), embedder_id="e1", limit=5)
        for nothing in ((1.0, 0.0), a_vector(0.0)):
            assert await records.search(BrandKnowledge, nothing, embedder_id="e1", limit=5) == []
        assert asked.total() == before, "the server heard of none of them"


@row(54, "astra-shows-old-rows-or-loses-a-page")
def _(world: World) -> None:
    """No cache of what was read, which another worker's write would make wrong: what must not be decided on an old row is a
    `create_once`, and an answer that does not show it yet decides nothing.
    """
    with a_database() as (api, url):
        asyncio.run(_pages_and_late_answers(world, api, url))


async def _pages_and_late_answers(world: World, api: DataApi, url: str) -> None:
    async with a_store(url) as store:
        records = store.for_brand("acme")
        names = {f"{n:03}" for n in range(120)}
        await records.put(*(a_piece(id=name) for name in names))
        for kind in ("drop", "error"):
            api.fail(kind, command="find", after=1)
        listed = [piece.id for piece in await records.find_by(Piece)]
        assert (len(listed), set(listed)) == (120, names), "each once, none left out"
        api.fail("503", command="find", after=1, times=ATTEMPTS)
        with pytest.raises(Unavailable):  # never a part of the list as if it were all
            await records.find_by(Piece)
        inner, blind = AstraDatabase.find_document, 2

        async def late(self: AstraDatabase, *place: str) -> Any:
            nonlocal blind
            blind -= 1
            return None if blind >= 0 else await inner(self, *place)

        world.patch.setattr(AstraDatabase, "find_document", late)
        first = await records.create_once("plan", "W50", a_piece(id="first"), token="t1")
        blind = 2
        second = await records.create_once("plan", "W50", a_piece(id="second"), token="t2")
        assert (first.won, second.won, second.row.id) == (True, False, "first")
        blind = 10**6
        with pytest.raises(Unavailable, match="plan"):
            await records.create_once("plan", "W51", a_piece(id="first"), token="t1")


# Redis


@row(55, "redis-is-down-at-the-start-and-later")
def _(world: World) -> None:
    """No outbox in SQLite: the rows of Records are it. A command whose queue is away says so and leaves rows that are whole; the
    worker, which looks for its queue as long as it takes, derives the tasks from them.
    """
    with a_redis() as server:
        server.kill()
        world.patch.setenv("COPYDESK_QUEUE", server.url)
        create = ("create", "--platform", "facebook", "--type", "quote", "--topic", "light", "--detach")
        check_refusal(world.cli("--brand", BRAND, *create), says=("Redis", "does not answer"), code=BUSY)
        asyncio.run(_the_worker_waits_and_derives(world, server))
        [session] = world.cli("--brand", BRAND, "session", "list", "--json").json
        assert (session["status"], session["reason"]) == ("waiting", "1 pieces wait for a human: `review list`")


async def _the_worker_waits_and_derives(world: World, server: RedisServer) -> None:
    async with a_runtime(world, queue=server.url) as runtime, at_work(runtime) as worker:

        async def away() -> bool:
            return worker.queue_away

        async def back() -> bool:
            return not worker.queue_away and worker.finished > seen

        async def idle() -> bool:
            depths = await runtime.queue.depths()
            return not any(depth.ready or depth.leased for depth in depths.values()) and worker.finished > 2

        await eventually(away)
        seen = worker.finished
        await asyncio.to_thread(server.start)
        await eventually(back)
        await eventually(idle)
        server.kill()  # and once more, while it runs
        await eventually(away)
        await asyncio.to_thread(server.start)
        seen = worker.finished
        await runtime.records.for_brand(BRAND).put(a_piece(id="later", session_id="none", brand=BRAND))
        assert await reconcile(runtime) >= 1
        await eventually(back)
        assert await runtime.queue.list_dead() == []


PASSING = (
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOSCRIPT No matching script. Please use EVAL.",
    "MOVED 3999 127.0.0.1:1",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "CLUSTERDOWN The cluster is down",
)


@asynccontextmanager
async def a_server_that_says(target: Path, socket: Path, words: list[str]) -> AsyncIterator[None]:
    """A relay that answers the coming scripts with the errors in `words`, one each, and passes the others on."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_server = await asyncio.open_unix_connection(str(target))
        try:
            while data := await reader.read(1 << 20):
                if words and b"EVAL" in data:
                    writer.write(f"-{words.pop(0)}\r\n".encode())
                else:
                    to_server.write(data)
                    writer.write(await upstream.read(1 << 20))
        finally:
            to_server.close()
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(serve(reader, writer)))

    relay = await asyncio.start_unix_server(accept, str(socket))
    try:
        yield
    finally:
        relay.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


@row(56, "redis-says-that-it-cannot-now")
def _(world: World) -> None:
    """A server that moved a key is one of a cluster behind a single server's address: asked again, and then named as away."""
    with a_redis() as server:
        asyncio.run(_what_passes_is_asked_again(server))


async def _what_passes_is_asked_again(server: RedisServer) -> None:
    words: list[str] = []
    clock, socket = SystemClock(), server.folder / "w"
    async with (
        a_server_that_says(server.socket, socket, words),
        open_queue(f"redis+unix://{socket}", clock=clock) as queue,
    ):
        for n, said in enumerate(PASSING):
            words[:] = [said]
            assert await queue.enqueue(a_task(clock, f"t{n}")) == [Enqueued.CREATED]
            assert not words
        assert (await queue.depths())["work"].ready == len(PASSING)
        words[:] = [PASSING[0]] * 9
        with pytest.raises(Unavailable, match="loading the dataset"):
            await queue.enqueue(a_task(clock, "late"))
    async with open_queue(server.url, clock=clock) as queue:  # and by the server itself
        server.command("SCRIPT", "FLUSH")
        assert len(await claim(queue)) == 1


@row(57, "redis-is-full-wiped-or-not-ours")
def _(world: World) -> None:
    """The alert is the refusal itself, on the command line and in the worker's log. A server that evicts is set up against
    docs/operate.md (`noeviction`), and `doctor` says so: the rows bring back what it evicted, and whoever holds it, only one lease
    of it is good.
    """
    with a_redis() as server:
        world.patch.setenv("COPYDESK_QUEUE", server.url)
        server.command("CONFIG", "SET", "maxmemory", "1")
        create = ("create", "--platform", "facebook", "--type", "quote", "--topic", "light", "--detach")
        check_refusal(world.cli("--brand", BRAND, *create), says=("out of memory", "maxmemory"), code=BUSY)
        server.command("CONFIG", "SET", "maxmemory", "0")
        asyncio.run(_rebuilt_from_the_rows(world, server))
        server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        findings = world.cli("--brand", BRAND, "doctor", "--json").json["findings"]
        assert any(found["mend"].endswith("maxmemory-policy noeviction") for found in findings), findings
        server.command("FLUSHALL")
        server.command("SET", "{copydesk}:queue:|queues", "x")
        check_refusal(world.cli("queue", "list"), says=("holds what Copydesk did not write", "prefix"))


async def _rebuilt_from_the_rows(world: World, server: RedisServer) -> None:
    async with a_runtime(world, queue=server.url) as runtime:
        clock, queue = runtime.clock, runtime.queue
        assert await reconcile(runtime) == 1, "the session of the command that met the full server"
        [name] = re.findall(r"advance:[\w-]+", server.command("KEYS", "*|task|advance:*"))
        [lease] = await queue.claim(
            [GENERATION_QUEUE], owner=runtime.owner, ttl=timedelta(minutes=1), limit=1, only=[name]
        )
        server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(Backpressure, match="memory"):
            await queue.enqueue(a_task(clock, "more"))
        await queue.release(lease)  # work under way can still be put back or finished
        server.command("CONFIG", "SET", "maxmemory", "0")
        for lose in (("FLUSHALL",), ("DEL", f"{{copydesk}}:queue:|task|{name}")):
            server.command(*lose)
            assert await queue.find(name) is None
            await reconcile(runtime)
            assert await queue.find(name) is not None, lose
            leases = await queue.claim([GENERATION_QUEUE], owner=runtime.owner, ttl=timedelta(minutes=1), limit=9)
            assert {lease.task.id for lease in leases} == {name}
            [good] = [held for held in await queue.extend(leases, ttl=timedelta(minutes=1)) if held is not None]
            await queue.release(good)


@row(58, "redis-did-it-and-the-answer-was-lost")
def _(world: World) -> None:
    with a_redis() as server:
        asyncio.run(_done_once(server))


async def _done_once(server: RedisServer) -> None:
    clock = SystemClock()
    async with (
        open_relay(server.socket, server.folder / "r") as relay,
        open_queue(f"redis+unix://{server.folder / 'r'}", clock=clock) as queue,
    ):
        relay.lose = 3
        assert await queue.enqueue(a_task(clock, "a"), a_task(clock, "b")) == [Enqueued.CREATED] * 2
        relay.lose = 1
        [lease] = await claim(queue)
        depth = (await queue.depths())["work"]
        assert (depth.ready, depth.leased) == (1, 1)
        relay.lose = 1
        await queue.complete(lease)  # and no LeaseLost, although the second asking finds it done
        relay.lose = 1
        [other] = await claim(queue)
        relay.lose = 1
        await queue.retry_at(other, clock.now(), reason="once")
        found = await queue.find(other.task.id)
        assert found is not None
        assert (found.attempts, relay.lost, await queue.find(lease.task.id)) == (1, 7, None)


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.id)
def test_each_row_is_answered_as_it_demands(case: Case, world: World) -> None:
    case.run(world)


def test_the_table_has_every_row_once() -> None:
    assert [case.row for case in TABLE] == list(DEMANDED)
