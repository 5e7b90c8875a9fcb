"""What workers on many machines do when a server is away or has forgotten everything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis.exceptions
import structlog

from config.clock import ManualClock, SystemClock
from config.errors import LeaseLost, Unavailable
from config.settings import Settings
from config.vocabulary import PieceState, SessionStatus
from graphs.context import advance_piece_task
from memory import redis_client
from memory.astra_schema import create_schema
from memory.queue.protocol import GENERATION_QUEUE, UPKEEP_QUEUE
from memory.rows.content import Piece
from memory.rows.sessions import Session
from runtime import breaker as breaker_module
from runtime import worker as worker_module
from runtime.advance import Done
from runtime.compose import Runtime, open_runtime
from runtime.guard import TaskGuard
from runtime.reconcile import reconcile
from runtime.worker import Worker
from tests.fakes.data_api import DataApi, Keyspace
from tests.fakes.newsroom import BRAND, Newsroom, open_newsroom, write_brand
from tests.fakes.redis_server import RedisServer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(worker_module, "POLL_IDLE", 0.02)
    monkeypatch.setattr(worker_module, "POLL_BUSY", 0.01)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that the test may wipe and kill."""
    started = RedisServer("--appendonly", "yes").start()
    yield started
    started.close()


@pytest.fixture
async def room(tmp_path: Path, server: RedisServer) -> AsyncIterator[Newsroom]:
    async with open_newsroom(tmp_path, settings={"queue": server.url, "cache": server.url}) as room:
        yield room


async def eventually(true: Any, *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not await true():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.01)


# A queue that was wiped


async def _claim(room: Newsroom) -> TaskGuard:
    queue, settings = room.runtime.queue, room.runtime.settings
    [lease] = await queue.claim([GENERATION_QUEUE], owner=room.runtime.owner, ttl=settings.lease, limit=1)
    return TaskGuard(lease, queue, room.clock, settings.lease)


@pytest.mark.parametrize("longer_than_its_lease", [False, True])
async def test_a_worker_that_was_paused_while_the_queue_was_wiped_changes_nothing(
    room: Newsroom, server: RedisServer, longer_than_its_lease: bool
) -> None:
    session = await room.week()
    queue, ttl = room.runtime.queue, room.runtime.settings.lease
    paused = await _claim(room)  # nobody keeps its lease alive from here on: its process is stopped
    assert server.command("FLUSHALL").startswith("+OK")
    assert await reconcile(room.runtime) >= 1
    other = await _claim(room)
    assert other.lease.task.id == paused.lease.task.id, "the rows called for it again"
    assert other.token != paused.token
    if longer_than_its_lease:
        room.clock.advance(ttl)
        [renewed] = await queue.extend([other.lease], ttl=ttl)
        if renewed is None:  # nobody kept that one either: a third worker has it
            other = await _claim(room)
        before = await room.session(session)
        with pytest.raises(LeaseLost):  # known without asking the queue
            await room.runtime.records.for_brand(BRAND, lease=paused).put(before.model_copy(update={"goal": "stale"}))
        assert await room.session(session) == before
    now = room.clock.now()
    for late in (
        lambda: queue.complete(paused.lease),
        lambda: queue.release(paused.lease),
        lambda: queue.retry_at(paused.lease, now, reason="late"),
        lambda: queue.bury(paused.lease, reason="late"),
        lambda: queue.progressed(paused.lease),
        paused.extend,
    ):
        with pytest.raises(LeaseLost):
            await late()
    assert paused.lost
    with pytest.raises(LeaseLost):
        await room.runtime.records.for_brand(BRAND, lease=paused).put(await room.session(session))
    assert await queue.extend([other.lease], ttl=ttl) != [None], "the other one has it still"
    found = await queue.find(other.lease.task.id)
    assert found is not None
    assert (found.attempts, found.reason) == (0, "")
    assert await queue.list_dead() == []


async def test_a_checkpoint_of_the_paused_worker_is_refused_once_the_thread_is_somebody_elses(
    room: Newsroom, server: RedisServer
) -> None:
    session = await room.week()
    paused = await _claim(room)
    late = await room.runtime.checkpoints.claim(BRAND, session.id, paused)
    server.command("FLUSHALL")
    await reconcile(room.runtime)
    other = await _claim(room)
    await room.runtime.checkpoints.claim(BRAND, session.id, other)
    config: Any = {"configurable": {"thread_id": session.id, "checkpoint_ns": "", "checkpoint_id": "0"}}
    with pytest.raises(LeaseLost):
        await late.aput_writes(config, [("state", "stale")], "task")


async def test_upkeep_comes_back_by_itself_after_the_queue_was_wiped(
    room: Newsroom, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker starts anew, and the task that rebuilds the queue was wiped with the queue."""
    monkeypatch.setattr(worker_module, "_LOOK_FOR_UPKEEP", timedelta(seconds=5))
    queue = room.runtime.queue
    worker = Worker(room.runtime)
    running = asyncio.create_task(worker.run())

    async def there() -> bool:
        depth = (await queue.depths()).get(UPKEEP_QUEUE)
        return depth is not None and depth.delayed == 2

    try:
        await eventually(there)
        server.command("FLUSHALL")
        assert await queue.depths() == {}
        before = worker.finished
        room.clock.advance(timedelta(seconds=6))
        await eventually(there)
        found = await queue.find("upkeep:reconcile")
        assert found is not None
        lease = room.runtime.settings.lease
        assert found.run_at == room.clock.now() + lease, "whoever held a lease has stopped believing in it by then"
        room.clock.advance(lease)

        async def rebuilt() -> bool:
            return worker.finished > before and await there()

        await eventually(rebuilt)
    finally:
        worker.drain()
        await running


async def test_a_server_that_became_a_replica_is_away_and_everything_is_there_when_it_leads_again(
    room: Newsroom, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """READONLY comes from behind a script, where it has lost its class."""
    monkeypatch.setattr(redis_client, "PAUSES_S", (0.0, 0.0))
    await room.week()
    leased = await _claim(room)
    before = await room.runtime.queue.depths()
    assert server.command("REPLICAOF", "127.0.0.1", "1").startswith("+OK")
    now = room.clock.now()
    for write in (
        lambda: room.runtime.queue.enqueue(advance_piece_task(BRAND, "p", room.clock)),
        lambda: room.runtime.queue.release(leased.lease),
        lambda: room.runtime.queue.retry_at(leased.lease, now, reason="x"),
        leased.extend,
        lambda: room.runtime.cache.for_brand(BRAND).put("session:1", 1, ttl=timedelta(minutes=1)),
    ):
        with pytest.raises(Unavailable, match=r"(?i)read.?only"):
            await write()
    assert not leased.lost, "away is not lost: the lease is still ours when it answers again"
    assert server.command("REPLICAOF", "NO", "ONE").startswith("+OK")
    assert await room.runtime.queue.depths() == before
    await leased.extend()
    await room.runtime.queue.complete(leased.lease)


@pytest.mark.parametrize(
    "said",
    [
        "READONLY You can't write against a read only replica. script: 1a, on @user_script:7.",
        "Error running script (call to f_1a): @user_script:7: -READONLY You can't write against a read only replica.",
        "ERR Error running script (call to f_1a): @user_script: 7: -LOADING Redis is loading the dataset in memory",
    ],
)
def test_what_passes_by_itself_is_away_wherever_the_script_puts_it(said: str) -> None:
    error = redis_client.translate_error(redis.exceptions.ResponseError(said), "redis://HOST")
    assert isinstance(error, Unavailable)


async def test_a_worker_outlives_a_queue_that_is_away_when_it_starts_and_later(
    tmp_path: Path, server: RedisServer
) -> None:
    write_brand(tmp_path / "brands" / BRAND)
    server.kill()
    async with open_runtime(Settings(data_dir=tmp_path, queue=server.url), clock=SystemClock()) as runtime:
        worker = Worker(runtime)
        running = asyncio.create_task(worker.run())

        async def away() -> bool:
            return worker.queue_away

        await eventually(away)
        assert not running.done()
        await asyncio.to_thread(server.start)

        async def worked() -> bool:
            return worker.finished >= 1 and not worker.queue_away

        await eventually(worked)
        worker.drain()
        await running


# Records that are away


@asynccontextmanager
async def a_desk(folder: Path, url: str) -> AsyncIterator[Runtime]:
    write_brand(folder / "brands" / BRAND)
    settings = Settings(data_dir=folder, records=url, lease=timedelta(seconds=30))
    async with open_runtime(settings, clock=SystemClock()) as runtime:
        yield runtime


async def _pieces(runtime: Runtime, count: int) -> list[str]:
    now = runtime.clock.now()
    when: dict[str, Any] = {"created_at": now, "updated_at": now, "brand": BRAND}
    records = runtime.records.for_brand(BRAND)
    await records.put(
        Session(id="s", kind="create", goal="g", status=SessionStatus.DONE, request={"slots": []}, **when)
    )
    names = [f"p{n}" for n in range(count)]
    for name in names:
        await records.put(
            Piece(id=name, content_type="quote", platform="facebook", state=PieceState.DRAFTING, session_id="s", **when)
        )
    await runtime.queue.enqueue(*(advance_piece_task(BRAND, name, runtime.clock) for name in names))
    return names


async def test_while_records_are_away_nothing_is_claimed_or_counted_and_work_resumes_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker_module, "LONGEST_PROBE_S", 0.5)
    api = DataApi().start()
    api.keyspaces["desk"] = Keyspace()
    url, done, tried = api.url("desk"), list[str](), list[str]()
    await create_schema(url, clock=SystemClock())

    async def advance(runtime: Runtime, brand: str, piece_id: str, guard: TaskGuard) -> Done:
        tried.append(piece_id)
        records = runtime.records.for_brand(brand, lease=guard)
        await records.put(await records.get(Piece, id=piece_id))
        done.append(piece_id)
        return Done()

    monkeypatch.setattr(worker_module, "advance_piece", advance)
    async with a_desk(tmp_path, url) as runtime:
        names = await _pieces(runtime, 8)
        api.stop()
        worker = Worker(runtime, upkeep=False, concurrency=4)
        running = asyncio.create_task(worker.run())

        async def opened() -> bool:
            return worker.breaker.is_open and worker.running == 0

        try:
            await eventually(opened, within_s=20)
            seen = len(tried)
            await asyncio.sleep(1.0)  # longer than a parked task waits at least, and two probes
            assert len(tried) == seen, "nothing is claimed while they are away"
            assert worker.breaker.is_open
            again = DataApi(port=api.port)
            again.keyspaces = api.keyspaces
            again.start()

            async def all_done() -> bool:
                return sorted(set(done)) == names

            try:
                await eventually(all_done, within_s=20)
                assert not worker.breaker.is_open
                assert worker.failed == 0
                assert await runtime.queue.list_dead() == []
                rows = await runtime.records.for_brand(BRAND).find_many(Piece, [{"id": name} for name in names])
                assert {row.attempts for row in rows} == {0}
            finally:
                worker.drain()
                await running
                for name in names:
                    task = await runtime.queue.find(f"advance:{name}")
                    assert task is None or task.attempts == 0
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    again.stop()


async def test_an_error_that_is_not_the_fault_of_records_is_counted_as_before(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path) as room:
        breaker = breaker_module.Breaker(room.runtime.records, ManualClock())
        for _ in range(9):
            assert not await breaker.caused(Unavailable("the model is away"))
            assert not await breaker.caused(RuntimeError("no"))
        assert not breaker.is_open
        await breaker.close()
