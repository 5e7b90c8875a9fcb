"""What the Redis engines promise beyond the protocols: lost answers, lost hints, wiped and killed servers, old servers, access."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis.exceptions

from config.clock import ManualClock, SystemClock
from config.errors import (
    Backpressure,
    BadInput,
    CopydeskError,
    Damaged,
    LeaseLost,
    SettingsError,
    Unavailable,
)
from config.settings import load_settings
from memory.cache import Held, open_cache
from memory.queue import Enqueued, Lease, Task, TaskQueue, open_queue
from memory.redis_client import open_redis, parse_address, translate_error
from tests.contracts.queue_engines import a_task, an_owner
from tests.fakes.redis_proxy import Relay, open_relay, open_tls_relay
from tests.fakes.redis_server import RedisServer, redis_url, shared_server

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "memory").glob("*/*.lua"))
TTL = timedelta(seconds=30)
MINUTE = timedelta(minutes=1)
MS = timedelta(milliseconds=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def queue(tmp_path: Path, clock: ManualClock) -> AsyncIterator[TaskQueue]:
    async with open_queue(redis_url(tmp_path), clock=clock) as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that the test may kill, wipe and set as it likes."""
    started = RedisServer("--appendonly", "yes").start()
    yield started
    started.close()


async def claim(queue: TaskQueue, limit: int = 1, **more: Any) -> list[Lease]:
    return await queue.claim(["work"], owner=an_owner(), ttl=TTL, limit=limit, **more)


# Old servers

SINCE = {
    "AUTH": "1.0",
    "DEL": "1.0",
    "EVAL": "2.6",
    "EVALSHA": "2.6",
    "EXISTS": "1.0",
    "GET": "1.0",
    "GETRANGE": "2.4",
    "HDEL": "2.0",
    "HEXISTS": "2.0",
    "HGET": "2.0",
    "HGETALL": "2.0",
    "HINCRBY": "2.0",
    "HMGET": "2.0",
    "HSET": "2.0",
    "LRANGE": "1.0",
    "LTRIM": "1.0",
    "PEXPIRE": "2.6",
    "PING": "1.0",
    "PTTL": "2.6",
    "RPUSH": "1.0",
    "SELECT": "1.0",
    "SET": "1.0",
    "TIME": "2.6",
    "TYPE": "1.0",
    "XADD": "5.0",
    "XREAD": "5.0",
    "XREVRANGE": "5.0",
    "ZADD": "1.2",
    "HLEN": "2.0",
    "XRANGE": "5.0",
    "ZCARD": "1.2",
    "ZCOUNT": "2.0",
    "ZRANGE": "1.2",
    "ZRANGEBYSCORE": "1.0",
    "ZREM": "1.2",
    "ZREVRANGE": "1.2",
    "ZSCORE": "1.2",
}
"""The Redis version that brought each command that we may use."""
NEW_WORDS = {"BYSCORE", "BYLEX", "KEEPTTL", "EXAT", "PXAT", "GT", "LT", "REV", "FNX", "FXX", "FCALL"}
"""Options that came late; those of 6.2 are here because nobody needs them."""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_scripts_use_no_command_newer_than_redis_6_2(script: Path) -> None:
    text = re.sub(r"--.*", "", script.read_text("utf-8"))
    commands = set(re.findall(r"\bcall\(\s*'(\w+)'", text))
    assert len(commands) > 4
    assert not re.findall(r"\bcall\(\s*[^'\s]", text), "a command that is not written out cannot be checked"
    assert commands <= SINCE.keys(), commands - SINCE.keys()
    assert max(tuple(map(int, SINCE[name].split("."))) for name in commands) <= (6, 2)
    assert not set(re.findall(r"'([A-Z]+)'", text)) & NEW_WORDS
    assert not re.search(r"redis\.(setresp|breakpoint|REDIS_VERSION)|^#!", text)


async def test_the_client_sends_no_command_newer_than_redis_6_2(server: RedisServer) -> None:
    server.command("CONFIG", "RESETSTAT")
    async with (
        open_queue(server.url, clock=SystemClock()) as queue,
        open_cache(server.url, clock=SystemClock()) as cache,
    ):
        assert not await queue.wait_for_work(["work"], at_most=MS)
        await queue.enqueue(a_task(SystemClock()))
        await queue.complete(*await claim(queue))
        await queue.depths()
        await cache.for_brand("acme").put("k", 1, ttl=MINUTE)
    sent = {
        name.partition("|")[0].upper()
        for name in re.findall(r"cmdstat_([\w|]+):", server.command("INFO", "commandstats"))
    }
    assert {"EVAL", "EVALSHA"} <= sent
    assert sent - {"CONFIG", "INFO"} <= SINCE.keys(), sent - SINCE.keys()


# Lost answers


async def _relayed(tmp_path: Path, clock: ManualClock) -> AsyncIterator[tuple[Relay, TaskQueue]]:
    folder = shared_server().folder / tmp_path.name[:20]
    folder.mkdir(exist_ok=True)
    async with open_relay(shared_server().socket, folder / "r") as relay:
        url = f"redis+unix://{folder / 'r'}?{redis_url(tmp_path).partition('?')[2]}"
        async with open_queue(url, clock=clock, max_length=3) as queue:
            yield relay, queue


@pytest.fixture
async def relayed(tmp_path: Path, clock: ManualClock) -> AsyncIterator[tuple[Relay, TaskQueue]]:
    async for both in _relayed(tmp_path, clock):
        yield both


Use = Callable[[TaskQueue, Lease, datetime], Awaitable[Any]]
USES: dict[str, Use] = {
    "enqueue a new one": lambda queue, lease, now: queue.enqueue(replace(lease.task, id="new")),
    "enqueue again": lambda queue, lease, now: queue.enqueue(lease.task),
    "claim": lambda queue, lease, now: claim(queue),
    "extend": lambda queue, lease, now: queue.extend([lease], ttl=2 * TTL),
    "complete": lambda queue, lease, now: queue.complete(lease),
    "retry": lambda queue, lease, now: queue.retry_at(lease, now, reason="x"),
    "release": lambda queue, lease, now: queue.release(lease),
    "bury": lambda queue, lease, now: queue.bury(lease, reason="x"),
    "progressed": lambda queue, lease, now: queue.progressed(lease),
    "requeue": lambda queue, lease, now: queue.requeue("dead"),
    "remove": lambda queue, lease, now: queue.remove("dead"),
    "reclaim": lambda queue, lease, now: queue.reclaim_dead(lambda owner: False),
    "pause": lambda queue, lease, now: queue.pause("work"),
}


@pytest.mark.parametrize("use", sorted(USES))
@pytest.mark.parametrize("lost", [1, 3])
async def test_a_lost_answer_is_asked_for_again_and_nothing_is_done_twice(
    relayed: tuple[Relay, TaskQueue], clock: ManualClock, use: str, lost: int
) -> None:
    relay, queue = relayed

    async def seen(lose: int) -> Any:
        await queue.enqueue(a_task(clock, "dead"))
        await queue.bury(*await claim(queue), reason="x")
        await queue.enqueue(a_task(clock, "held"))
        (lease,) = await claim(queue)
        await queue.enqueue(a_task(clock, "next"))
        relay.lose = lose
        answer = await USES[use](queue, lease, clock.now())
        assert relay.lose == 0
        if use == "claim":
            answer = [one.task for one in answer]
        elif use == "extend":
            answer = [one and one.expires_at for one in answer]
        left = [await queue.find(name) for name in ("dead", "held", "next", "new")], await queue.depths()
        await queue.resume("work")
        await queue.reclaim_dead(lambda owner: False)
        await queue.remove("dead", "held", "next", "new")
        return answer, left

    expected = await seen(0)
    assert await seen(lost) == expected
    assert relay.lost == lost


async def test_a_claim_whose_answer_was_lost_leases_the_same_tasks_once(
    relayed: tuple[Relay, TaskQueue], clock: ManualClock
) -> None:
    relay, queue = relayed
    await queue.enqueue(*(a_task(clock, name) for name in "abc"))
    relay.lose = 1
    leases = await claim(queue, limit=2)
    assert relay.lost == 1
    assert [lease.task.id for lease in leases] == ["a", "b"]
    assert (await queue.depths())["work"].leased == 2
    await queue.complete(*leases)


async def test_operations_asked_for_at_once_survive_a_lost_answer_together(
    relayed: tuple[Relay, TaskQueue], clock: ManualClock
) -> None:
    relay, queue = relayed
    relay.lose = 1
    answers = await asyncio.gather(*(queue.enqueue(a_task(clock, f"t{n}")) for n in range(3)))
    assert answers == [[Enqueued.CREATED]] * 3
    with pytest.raises(Backpressure):
        await queue.enqueue(a_task(clock, "t3"))


async def test_a_call_that_the_network_held_back_is_refused_once_its_lane_went_on(tmp_path: Path) -> None:
    from memory.queue.redis import SCRIPT

    async with open_redis(redis_url(tmp_path)) as server:
        key = [f"{{{server.address.prefix}}}:queue:"]
        assert await server.script(SCRIPT, key, ["", "lane", 5, 10, "set", 3, "paused", "work", ""]) == b"0\n"
        with pytest.raises(Unavailable, match="STALE"):
            await server.script(SCRIPT, key, ["", "lane", 4, 10, "set", 3, "paused", "work", "1"])
    async with open_queue(redis_url(tmp_path), clock=SystemClock()) as queue:
        assert await queue.depths() == {}


async def test_a_claim_that_nobody_waits_for_any_more_gives_its_tasks_back(
    queue: TaskQueue, clock: ManualClock
) -> None:
    await queue.enqueue(a_task(clock))
    waiting = asyncio.create_task(claim(queue))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for _ in range(200):
        if (await queue.depths())["work"].ready == 1:
            break
    task = await queue.find("advance:1")
    assert task is not None
    assert (task.deaths, task.attempts) == (0, 0)
    assert len(await claim(queue)) == 1


async def test_a_task_whose_row_was_evicted_and_came_back_is_given_out_once(tmp_path: Path, clock: ManualClock) -> None:
    url = redis_url(tmp_path)
    prefix = url.partition("prefix=")[2]
    async with open_queue(url, clock=clock) as queue:
        await queue.enqueue(a_task(clock))
        assert shared_server().command("DEL", f"{{{prefix}}}:queue:|task|advance:1").startswith(":1")
        assert await queue.enqueue(a_task(clock)) == [Enqueued.CREATED]
        assert [lease.task.id for lease in await claim(queue, 9)] == ["advance:1"]
        assert await claim(queue, 9) == []


# Servers that are wiped, killed, full, or forget scripts


async def test_after_a_flush_no_old_lease_counts_and_enqueueing_rebuilds(server: RedisServer) -> None:
    clock = ManualClock()
    async with open_queue(server.url, clock=clock) as queue:
        await queue.enqueue(a_task(clock, "a"), a_task(clock, "b"))
        old = await claim(queue, limit=2)
        server.command("FLUSHALL")
        with pytest.raises(LeaseLost):
            await queue.complete(old[0])
        assert await queue.enqueue(a_task(clock, "a"), a_task(clock, "b")) == [Enqueued.CREATED] * 2
        assert await queue.extend(old, ttl=TTL) == [None, None]
        (again,) = await claim(queue)
        for lose in (queue.complete, queue.release, queue.progressed):
            with pytest.raises(LeaseLost):
                await lose(old[0])
        assert again.task.id == "a"
        await queue.complete(again)
        assert await queue.find("a") is None


@pytest.mark.slow
async def test_a_killed_server_comes_back_with_everything_acknowledged_and_the_queue_goes_on(
    server: RedisServer,
) -> None:
    clock = SystemClock()
    # With everysec a write may wait for up to two seconds behind an fsync; what a kill then takes, reconcile puts back.
    server.command("CONFIG", "SET", "appendfsync", "always")
    async with open_queue(server.url, clock=clock) as queue:
        await queue.enqueue(*(a_task(clock, f"t{n}") for n in range(200)))
        (lease,) = await claim(queue)
        server.kill()
        asked = asyncio.create_task(queue.enqueue(a_task(clock, "late")))
        await asyncio.to_thread(server.start)
        assert await asked == [Enqueued.CREATED]
        await queue.complete(lease)
        assert (await queue.depths())["work"].ready == 200


@pytest.mark.slow
async def test_a_server_that_is_away_is_unavailable_and_its_password_is_not_shown(server: RedisServer) -> None:
    url = server.url.replace("://", "://me:hunter2@")
    server.kill()
    async with open_queue(url, clock=SystemClock()) as queue:
        with pytest.raises(Unavailable) as caught:
            await queue.enqueue(a_task(SystemClock()))
    assert "hunter2" not in str(caught.value)
    assert "does not answer" in str(caught.value)


async def test_a_full_server_pushes_back_and_work_under_way_can_still_be_finished(server: RedisServer) -> None:
    clock = SystemClock()
    async with open_queue(server.url, clock=clock) as queue:
        await queue.enqueue(*(a_task(clock, f"t{n}") for n in range(4)))
        leases = await claim(queue, limit=4)
        server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(Backpressure, match="memory"):
            await queue.enqueue(a_task(clock, "more"))
        await queue.complete(leases[0])
        await queue.release(leases[1])
        await queue.retry_at(leases[2], clock.now(), reason="x")
        await queue.bury(leases[3], reason="x")
        server.command("CONFIG", "SET", "maxmemory", "0")
        depth = (await queue.depths())["work"]
        assert (depth.ready, depth.leased, depth.dead) == (2, 0, 1)


async def test_a_server_that_forgot_the_scripts_is_told_them_again(server: RedisServer) -> None:
    async with open_queue(server.url, clock=SystemClock()) as queue:
        await queue.enqueue(a_task(SystemClock()))
        server.command("SCRIPT", "FLUSH")
        assert len(await claim(queue)) == 1


async def test_a_key_of_another_kind_is_damage_and_says_what_to_do(server: RedisServer) -> None:
    server.command("SET", "{copydesk}:queue:|queues", "x")
    async with open_queue(server.url, clock=SystemClock()) as queue:
        with pytest.raises(Damaged, match="prefix"):
            await queue.pause("work")


async def test_leases_end_by_the_servers_clock_whatever_the_workers_says(tmp_path: Path) -> None:
    class Ahead(SystemClock):
        def now(self) -> datetime:
            return super().now() + timedelta(days=1)

    async with open_queue(redis_url(tmp_path), clock=Ahead()) as queue:
        await queue.enqueue(a_task(SystemClock()))
        (lease,) = await claim(queue)
        assert abs(lease.expires_at - SystemClock().now() - TTL) < timedelta(seconds=5)
        (short,) = await queue.extend([lease], ttl=timedelta(milliseconds=20))
        assert short is not None
        await asyncio.sleep(0.03)
        taken = await claim(queue)
        assert taken[0].task.deaths == 1


# Waiting


async def test_a_wait_whose_hint_is_lost_looks_once_more_when_it_is_over(
    queue: TaskQueue, tmp_path: Path, clock: ManualClock
) -> None:
    prefix = f"{{{redis_url(tmp_path).partition('prefix=')[2]}}}:queue:"
    waiting = asyncio.create_task(queue.wait_for_work(["work"], at_most=timedelta(seconds=0.5)))
    while shared_server().command("HDEL", f"{prefix}|queues", "wait|work").startswith(":0"):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await queue.enqueue(a_task(clock))
    assert shared_server().command("EXISTS", f"{prefix}|hints").startswith(":0")
    assert await waiting


async def test_a_wait_goes_on_when_its_connection_is_cut_and_when_everything_is_wiped(server: RedisServer) -> None:
    clock = SystemClock()
    for command in (["CLIENT", "KILL", "TYPE", "normal"], ["FLUSHALL"]):
        async with open_queue(server.url, clock=clock) as queue, open_queue(server.url, clock=clock) as other:
            for n in range(3):
                waiting = asyncio.create_task(queue.wait_for_work(["work"], at_most=timedelta(seconds=1)))
                await asyncio.sleep(0.02)
                if n == 1:
                    server.command(*command)
                await other.enqueue(a_task(clock, f"t{n}"))
                async with asyncio.timeout(30):
                    assert await waiting
                await queue.complete(*await claim(queue))


@pytest.mark.parametrize("what", ["comes due", "was added", "is added"])
async def test_a_wait_that_follows_a_claim_of_nothing_misses_nothing_since(tmp_path: Path, what: str) -> None:
    clock, url = SystemClock(), redis_url(tmp_path)
    async with open_queue(url, clock=clock) as queue, open_queue(url, clock=clock) as other:
        if what == "comes due":
            await queue.enqueue(a_task(clock, run_at=clock.now() + 50 * MS))
        assert await claim(queue) == []
        if what == "was added":
            await other.enqueue(a_task(clock))
        waiting = asyncio.create_task(queue.wait_for_work(["work"], at_most=10 * MINUTE))
        await asyncio.sleep(0.01)
        if what == "is added":
            await other.enqueue(a_task(clock))
        async with asyncio.timeout(30):
            assert await waiting
        assert len(await claim(queue)) == 1


async def test_a_claim_of_nothing_that_nobody_waits_for_any_more_harms_nothing(tmp_path: Path) -> None:
    clock = SystemClock()
    async with open_queue(redis_url(tmp_path), clock=clock) as queue:
        waiting = asyncio.create_task(claim(queue))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await queue.depths() == {}
        await queue.enqueue(a_task(clock))
        assert len(await claim(queue)) == 1


async def test_nothing_is_said_where_nobody_waits(queue: TaskQueue, tmp_path: Path, clock: ManualClock) -> None:
    prefix = redis_url(tmp_path).partition("prefix=")[2]
    stream = f"{{{prefix}}}:queue:|hints"
    await queue.enqueue(a_task(clock, "a"))
    assert not await queue.wait_for_work(["other"], at_most=MS)
    await queue.enqueue(a_task(clock, "b"))
    assert shared_server().command("EXISTS", stream).startswith(":0")
    await queue.enqueue(a_task(clock, "c", queue="other"), a_task(clock, "d", queue="other"))
    await queue.enqueue(a_task(clock, "e", queue="other"))
    assert shared_server().command("XINFO", "STREAM", stream).count("other") == 2  # as its first and its last entry


async def test_no_key_is_left_when_the_work_is_done_but_counts_owners_and_the_lane(
    queue: TaskQueue, tmp_path: Path, clock: ManualClock
) -> None:
    await queue.enqueue(*(a_task(clock, f"t{n}", brand=f"b{n % 7}", priority=1 + n % 10) for n in range(70)))
    await queue.enqueue(*(a_task(clock, f"d{n}", run_at=clock.now() + TTL, brand="b") for n in range(5)))
    await queue.complete(*await claim(queue, limit=100))
    clock.advance(TTL)
    await queue.complete(*await claim(queue, limit=100))
    prefix = redis_url(tmp_path).partition("prefix=")[2]
    keys = re.findall(r"\{\w+\}:queue:(\S+)", shared_server().command("KEYS", f"{{{prefix}}}*"))
    assert sorted(key.partition("|lane|")[0] for key in keys) == ["", "|counters", "|owners", "|queues"]


# Access


async def test_an_acl_user_with_our_keys_alone_is_enough(server: RedisServer) -> None:
    server.command(
        "ACL", "SETUSER", "desk", "on", ">s3cret", "~{copydesk}:*", "~{copydesk:*", "+@all", "-@dangerous", "-@admin"
    )
    url = server.url.replace("://", "://desk:s3cret@")
    async with open_queue(url, clock=SystemClock()) as queue, open_cache(url, clock=SystemClock()) as cache:
        await queue.enqueue(a_task(SystemClock()))
        await queue.complete(*await claim(queue))
        waiting = asyncio.create_task(queue.wait_for_work(["work"], at_most=MINUTE))
        await asyncio.sleep(0.02)
        await queue.enqueue(a_task(SystemClock()))
        async with asyncio.timeout(30):
            assert await waiting
        await cache.for_brand("acme").put("k", 1, ttl=MINUTE)
    async with open_queue(url + "?prefix=other", clock=SystemClock()) as queue:
        with pytest.raises(SettingsError, match="NoPermission"):
            await queue.enqueue(a_task(SystemClock()))
    async with open_queue(url.replace("s3cret", "wr0ng"), clock=SystemClock()) as queue:
        with pytest.raises(SettingsError, match="refuses this user") as caught:
            await queue.enqueue(a_task(SystemClock()))
        assert "wr0ng" not in str(caught.value)


async def a_certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1, made for this test alone."""
    both, key, certificate = folder / "both.pem", folder / "key.pem", folder / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    made = await asyncio.create_subprocess_exec(
        *command.split(), "-keyout", str(key), "-out", str(certificate), stderr=asyncio.subprocess.PIPE
    )
    _, said = await made.communicate()
    assert made.returncode == 0, said
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both


async def test_tls_is_used_and_a_stranger_with_a_certificate_of_his_own_is_refused(tmp_path: Path) -> None:
    certificate = await a_certificate(tmp_path)
    async with open_tls_relay(shared_server().socket, certificate) as port:
        url = f"rediss://127.0.0.1:{port}/0?{redis_url(tmp_path).partition('?')[2]}"
        async with open_queue(f"{url}&ssl_ca_certs={certificate}", clock=SystemClock()) as queue:
            await queue.enqueue(a_task(SystemClock()))
            assert len(await claim(queue)) == 1
        async with open_cache(f"{url}&ssl_ca_certs={certificate}", clock=SystemClock()) as store:
            await store.for_brand("acme").put("k", 1, ttl=MINUTE)
            assert await store.for_brand("acme").get("k") == 1
        async with open_queue(url, clock=SystemClock()) as queue:
            with pytest.raises(Unavailable, match="certificate"):
                await queue.depths()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def both_work(url: str) -> None:
    """A task and a value go through."""
    async with open_queue(url, clock=SystemClock()) as queue, open_cache(url, clock=SystemClock()) as store:
        assert await queue.enqueue(a_task(SystemClock(), "a"), a_task(SystemClock(), "b")) == [Enqueued.CREATED] * 2
        await queue.complete(*await claim(queue, limit=2))
        assert (await queue.depths()) == {}
        waiting = asyncio.create_task(queue.wait_for_work(["work"], at_most=MINUTE))
        await asyncio.sleep(0.02)
        await queue.enqueue(a_task(SystemClock(), "c"))
        async with asyncio.timeout(30):
            assert await waiting
        await queue.complete(*await claim(queue))
        for brand in ("acme", "other"):
            await store.for_brand(brand).put("session:s", brand, ttl=MINUTE)
            assert await store.for_brand(brand).get("session:s") == brand


@pytest.mark.slow
async def test_a_cluster_works_because_every_key_of_a_call_has_one_hash_tag() -> None:
    port = free_port() % 50_000 + 5_000  # the port of its bus is 10,000 above
    server = RedisServer("--cluster-enabled", "yes", port=port).start()
    try:
        server.command("CLUSTER", "ADDSLOTS", *map(str, range(16384)))
        deadline = time.monotonic() + 20
        while "cluster_state:ok" not in server.command("CLUSTER", "INFO"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        await both_work(f"redis+cluster://127.0.0.1:{port}")
    finally:
        server.close()


@pytest.mark.slow
async def test_sentinels_name_the_master() -> None:
    master = RedisServer(port=free_port()).start()
    port = free_port()
    config = master.folder / "sentinel.conf"
    config.write_text(f"sentinel monitor desk 127.0.0.1 {master.port} 1\n", encoding="utf-8")
    sentinel = RedisServer("--sentinel", port=port, config=config).start()
    try:
        await both_work(f"redis+sentinel://127.0.0.1:{port}/desk/0")
        async with open_queue(f"redis+sentinel://127.0.0.1:{port}/unknown", clock=SystemClock()) as queue:
            with pytest.raises(Unavailable, match="unknown"):
                await queue.depths()
    finally:
        sentinel.close()
        master.close()


def driver_errors() -> list[type[BaseException]]:
    return [one for one in vars(redis.exceptions).values() if isinstance(one, type) and issubclass(one, Exception)]


@pytest.mark.parametrize("error", driver_errors(), ids=lambda error: error.__name__)
def test_every_error_of_the_driver_is_one_of_ours(error: type[Exception]) -> None:
    made = error.__new__(error)
    Exception.__init__(made, "some text")
    ours = translate_error(made, "redis://:***@host")
    assert type(ours) in (SettingsError, Unavailable, Backpressure, BadInput, Damaged)
    away = issubclass(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError)
    refused = issubclass(error, redis.exceptions.AuthenticationError | redis.exceptions.AuthorizationError)
    if away and not refused and error.__name__ != "ExternalAuthProviderError":
        assert isinstance(ours, Unavailable)


@pytest.mark.parametrize(
    ("said", "ours"),
    [
        ("LOADING Redis is loading the dataset in memory", Unavailable),
        ("BUSY Redis is busy running a script", Unavailable),
        ("READONLY You can't write against a read only replica.", Unavailable),
        ("MASTERDOWN Link with MASTER is down", Unavailable),
        ("MISCONF Redis is configured to save RDB snapshots", Unavailable),
        ("NOREPLICAS Not enough good replicas to write.", Unavailable),
        ("OOM command not allowed when used memory > 'maxmemory'.", Backpressure),
        ("ERR Error running script: @user_script:9: OOM command not allowed", Backpressure),
        ("NOAUTH Authentication required.", SettingsError),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", Damaged),
        ("ERR unknown command `EVALSHA`", SettingsError),
    ],
)
def test_answers_without_a_class_of_their_own_are_told_apart(said: str, ours: type[CopydeskError]) -> None:
    assert type(translate_error(redis.exceptions.ResponseError(said), "redis://h")) is ours


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://host:port/0",
        "redis://:hunter2@host:99999999",
        "redis://h/0?prefix=a%20b",
        "redis+sentinel://h:1",
    ],
)
async def test_an_address_that_names_no_server_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        async with open_redis(url):
            pass
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_addresses_keep_what_the_driver_needs_and_lose_what_is_ours() -> None:
    address = parse_address("rediss://me:pw@h:1/2?prefix=desk&ssl_ca_certs=/ca.pem")
    assert (address.url, address.prefix) == ("rediss://me:pw@h:1/2?ssl_ca_certs=%2Fca.pem", "desk")
    assert "pw" not in address.shown


OPEN = [
    "redis://cache.example:6379/0",
    "redis://10.0.0.5",
    "redis+cluster://a.example:1",
    "redis+sentinel://127.0.0.1:1,b:2/m",
]
CLOSED = [
    "redis://127.0.0.1:6379/0",
    "redis://localhost",
    "redis://[::1]:6379",
    "redis://:pw@cache.example",
    "rediss://cache.example",
    "redis+unix:///run/redis.sock",
    "rediss+sentinel://a:1,b:2/m",
]


@pytest.mark.parametrize("name", ["QUEUE", "CACHE"])
@pytest.mark.parametrize("url", OPEN)
def test_a_remote_server_without_password_or_tls_is_refused_unless_it_is_allowed(name: str, url: str) -> None:
    with pytest.raises(SettingsError, match="COPYDESK_ALLOW_INSECURE_REDIS=1"):
        load_settings({f"COPYDESK_{name}": url})
    assert load_settings({f"COPYDESK_{name}": url, "COPYDESK_ALLOW_INSECURE_REDIS": "1"}).allow_insecure_redis


@pytest.mark.parametrize("url", CLOSED)
def test_what_nobody_else_can_read_is_allowed(url: str) -> None:
    assert load_settings({"COPYDESK_QUEUE": url}).queue == url


# The cache


async def test_the_cache_uses_the_seeds_keys_and_lifetimes_and_redis_ends_them(tmp_path: Path) -> None:
    shared, url = shared_server(), redis_url(tmp_path)
    prefix = url.partition("prefix=")[2]
    async with open_cache(url, clock=SystemClock()) as store:
        cache = store.for_brand("acme")
        await cache.put("session:abc", {"user_id": "u"}, ttl=timedelta(minutes=30))
        await cache.rebuild_holds("usd", {"a": 1.0}, ttl=timedelta(hours=1))
        await cache.put("short", 1, ttl=timedelta(milliseconds=20))
        assert '{"user_id":"u"}' in shared.command("GET", f"{{{prefix}:acme}}:session:abc")
        for key, hours in (("session:abc", 0.5), ("usd", 1.0)):
            left = int(shared.command("PTTL", f"{{{prefix}:acme}}:{key}")[1:])
            assert hours * 3_600_000 - 10_000 < left <= hours * 3_600_000
        deadline = time.monotonic() + 30
        while await cache.get("short") is not None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        assert await store.sweep() == 0


async def test_money_whose_answer_was_lost_is_held_once(tmp_path: Path) -> None:
    folder = shared_server().folder / tmp_path.name[:20]
    folder.mkdir(exist_ok=True)
    async with open_relay(shared_server().socket, folder / "r") as relay:
        url = f"redis+unix://{folder / 'r'}?{redis_url(tmp_path).partition('?')[2]}"
        async with open_cache(url, clock=SystemClock()) as store:
            cache = store.for_brand("acme")
            await cache.rebuild_holds("usd", {}, ttl=MINUTE)
            relay.lose = 1
            assert await cache.hold("usd", "call", 0.7, ceiling=1.0) is Held.GRANTED
            assert relay.lost == 1
            assert await cache.held("usd") == 0.7


async def test_envelopes_beyond_what_a_double_can_count_are_exact(tmp_path: Path) -> None:
    async with open_cache(redis_url(tmp_path), clock=SystemClock()) as store:
        cache = store.for_brand("acme")
        await cache.rebuild_holds("usd", {"big": 99_999_999.0}, ttl=MINUTE)
        assert await cache.hold("usd", "last", 1.0, ceiling=100_000_000.0) is Held.GRANTED
        assert await cache.hold("usd", "dust", 1e-9, ceiling=100_000_000.0) is Held.REFUSED
        await cache.set_hold("usd", "dust", 1e-9)
        assert await cache.hold("usd", "last", 1.0, ceiling=100_000_000.0) is Held.REFUSED
        assert await cache.hold("usd", "last", 0.999999999, ceiling=100_000_000.0) is Held.GRANTED


def a_thousand(clock: SystemClock) -> list[Task]:
    return [a_task(clock, f"t{n}", priority=1 + n % 10) for n in range(1000)]


async def test_a_claim_of_many_thousands_is_one_call(tmp_path: Path) -> None:
    clock = SystemClock()
    async with open_queue(redis_url(tmp_path), clock=clock) as queue:
        for start in range(3):
            await queue.enqueue(*(replace(task, id=f"{start}.{task.id}", priority=5) for task in a_thousand(clock)))
        assert len(await claim(queue, limit=5000)) == 3000
