"""What every task queue promises, on every engine."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock, SystemClock
from config.errors import Backpressure, BadInput, Conflict, LeaseLost, NotFound, SettingsError
from memory.queue import Depth, Enqueued, Lease, Owner, Task, TaskQueue, open_queue
from memory.queue.owner import current_owner, is_alive
from tests.contracts.queue_engines import ENGINES, QueueEngine, a_task, an_owner

TTL = timedelta(seconds=30)
MS = timedelta(milliseconds=1)


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> QueueEngine:
    return ENGINES[request.param]


@pytest.fixture
def url(engine: QueueEngine, tmp_path: Path) -> str:
    return engine.url(tmp_path)


@pytest.fixture
async def queue(url: str, clock: ManualClock) -> AsyncIterator[TaskQueue]:
    async with open_queue(url, clock=clock) as opened:
        yield opened


async def claim(queue: TaskQueue, *queues: str, limit: int = 1, owner: Owner | None = None, **more: Any) -> list[Lease]:
    return await queue.claim(queues or ("work",), owner=owner or an_owner(), ttl=TTL, limit=limit, **more)


async def claim_one(queue: TaskQueue, *queues: str, **more: Any) -> Lease:
    (lease,) = await claim(queue, *queues, **more)
    return lease


async def claimed_ids(queue: TaskQueue, *queues: str, limit: int = 100, **more: Any) -> list[str]:
    return [lease.task.id for lease in await claim(queue, *queues, limit=limit, **more)]


async def die(queue: TaskQueue, clock: ManualClock, times: int = 1, **more: Any) -> None:
    """Let whoever claims next die `times` times."""
    for _ in range(times):
        assert await claim(queue, **more)
        clock.advance(TTL)
        assert await queue.reclaim_dead() == 1


# Enqueueing


async def test_a_task_comes_back_as_it_was_enqueued(queue: TaskQueue, clock: ManualClock) -> None:
    task = a_task(clock, priority=7, payload={"text": "naïve ☕ \U0001f600", "deep": [{"n": [1, 2.5, None, True]}]})
    assert await queue.enqueue(task) == [Enqueued.CREATED]
    assert await queue.find(task.id) == task
    lease = await claim_one(queue)
    assert lease.task == task
    assert lease.expires_at == clock.now() + TTL
    assert not lease.solo


async def test_enqueueing_a_waiting_task_again_changes_nothing(queue: TaskQueue, clock: ManualClock) -> None:
    task = a_task(clock)
    assert await queue.enqueue(task, task) == [Enqueued.CREATED, Enqueued.EXISTS]
    assert await queue.enqueue(replace(task, run_at=task.run_at + TTL, priority=1)) == [Enqueued.EXISTS]
    assert await queue.find(task.id) == task
    assert await claimed_ids(queue) == [task.id]


async def test_a_waiting_task_takes_over_an_earlier_run_at_and_a_higher_priority(
    queue: TaskQueue, clock: ManualClock
) -> None:
    task = a_task(clock, run_at=clock.now() + TTL)
    await queue.enqueue(task)
    assert await queue.enqueue(replace(task, run_at=clock.now(), priority=2)) == [Enqueued.EXISTS]
    assert await queue.enqueue(replace(task, priority=9)) == [Enqueued.EXISTS]
    assert (await claim_one(queue)).task == replace(task, run_at=clock.now(), priority=9)


async def test_a_task_enqueued_while_leased_is_ready_once_more_when_completed(
    queue: TaskQueue, clock: ManualClock
) -> None:
    await queue.enqueue(a_task(clock))
    await queue.retry_at(await claim_one(queue), clock.now(), reason="flaky")
    await die(queue, clock)
    lease = await claim_one(queue)
    assert (lease.task.attempts, lease.task.deaths) == (1, 1)
    soon, later = clock.now() + TTL / 2, clock.now() + TTL * 2
    for run_at in (soon, later, soon):
        assert await queue.enqueue(a_task(clock, run_at=run_at, priority=8)) == [Enqueued.AGAIN]
    assert await claimed_ids(queue) == []
    await queue.complete(lease)
    assert await queue.find(lease.task.id) == a_task(clock, run_at=later, priority=8)
    clock.advance(TTL * 2 - MS)
    assert await claimed_ids(queue) == []
    clock.advance(MS)
    await queue.complete(await claim_one(queue))
    assert await queue.find(lease.task.id) is None


async def test_a_dead_task_stays_dead_when_enqueued(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock))
    await queue.bury(await claim_one(queue), reason="cannot")
    assert await queue.enqueue(a_task(clock)) == [Enqueued.DEAD]
    assert await claimed_ids(queue) == []


@pytest.mark.parametrize("other", [{"kind": "x"}, {"queue": "x"}, {"brand": "x"}, {"payload": {"n": 2}}])
@pytest.mark.parametrize("condition", ["waiting", "leased", "dead"])
async def test_one_id_cannot_mean_two_works(
    queue: TaskQueue, clock: ManualClock, other: dict[str, Any], condition: str
) -> None:
    await queue.enqueue(a_task(clock))
    if condition != "waiting":
        lease = await claim_one(queue)
        if condition == "dead":
            await queue.bury(lease, reason="cannot")
    with pytest.raises(Conflict, match=r"'advance:1' exists with another (kind|queue|brand|payload)"):
        await queue.enqueue(a_task(clock, "fresh"), replace(a_task(clock), **other))
    assert await queue.find("fresh") is None


BAD_FIELDS: list[dict[str, Any]] = [
    *({"priority": priority} for priority in (True, "7", 0, 11, -5, 5.0, None)),
    *({"payload": payload} for payload in ({"n": float("nan")}, {"n": float("inf")}, {"n": b""}, {"n": {1}})),
    *({"payload": {"text": text}} for text in ("\ud800", "a\x00b", "x" * 300_000)),
    {"payload": {"n": 10**5_000}},
    {"run_at": datetime(2026, 12, 7, 9, 0)},  # noqa: DTZ001 - naive on purpose
    {"run_at": datetime.fromisoformat("2200-01-01T00:00:00Z")},
    *({"id": task_id} for task_id in ("", "a b", "../../etc", "a\x00", "a\n", "é", "x" * 257, "\u202eabc", None)),
    *({field: ""} for field in ("kind", "queue", "brand")),
    {"queue": "a b"},
]


@pytest.mark.parametrize("fields", BAD_FIELDS, ids=lambda fields: "-".join(fields))
async def test_bad_input_is_refused_in_one_line_and_nothing_is_added(
    queue: TaskQueue, clock: ManualClock, fields: dict[str, Any]
) -> None:
    with pytest.raises(BadInput) as caught:
        await queue.enqueue(a_task(clock, "good"), replace(a_task(clock, "bad"), **fields))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert await queue.depths() == {}


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ({"ok": 1, "deep": [{"n": float("nan")}]}, "'deep[0].n'"),
        ({"ok": "\\u0000", "nul": "a\x00b"}, "'nul'"),
        ({"a": {"b": b""}}, "'a.b'"),
        ({"text": ["\ud800"]}, "'text[0]'"),
    ],
)
async def test_a_refused_payload_is_named_by_its_key(
    queue: TaskQueue, clock: ManualClock, payload: dict[str, Any], place: str
) -> None:
    with pytest.raises(BadInput, match=re.escape(f"payload at {place}")):
        await queue.enqueue(a_task(clock, payload=payload))


async def test_text_that_only_looks_like_an_escape_is_harmless(queue: TaskQueue, clock: ManualClock) -> None:
    task = a_task(clock, payload={"text": "a literal \\u0000 and \\ud800", "caf\u00e9": "\u2028"})
    await queue.enqueue(task)
    assert (await claim_one(queue)).task == task


async def test_a_deeply_nested_payload_is_refused(queue: TaskQueue, clock: ManualClock) -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadInput, match="not plain JSON"):
        await queue.enqueue(a_task(clock, payload={"deep": deep}))


async def test_a_task_of_1970_is_due_now(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock, run_at=datetime.fromisoformat("1970-01-01T00:00:00Z")))
    assert len(await claim(queue)) == 1


async def test_a_full_queue_pushes_back_and_adds_nothing(url: str, clock: ManualClock) -> None:
    async with open_queue(url, clock=clock, max_length=3) as queue:
        await queue.enqueue(*(a_task(clock, f"t{n}") for n in range(2)))
        with pytest.raises(Backpressure, match="'work' is full"):
            await queue.enqueue(*(a_task(clock, f"t{n}") for n in range(5)))
        assert await queue.find("t2") is None
        await queue.enqueue(a_task(clock, "t2", run_at=clock.now() + TTL), a_task(clock, "other", queue="other"))
        assert await queue.enqueue(a_task(clock, "t0")) == [Enqueued.EXISTS]
        with pytest.raises(Backpressure):
            await queue.enqueue(a_task(clock, "t3"))
        await claim_one(queue)
        assert await queue.enqueue(a_task(clock, "t3")) == [Enqueued.CREATED]
        with pytest.raises(Backpressure):
            await queue.enqueue(a_task(clock, "t4"))
        assert await queue.remove("t3") == 1
        assert await queue.enqueue(a_task(clock, "t4")) == [Enqueued.CREATED]


async def test_urgent_work_passes_a_full_backlog_and_the_producer_is_told_to_wait(url: str, clock: ManualClock) -> None:
    async with open_queue(url, clock=clock, max_length=200) as queue:
        accepted: list[str] = []
        done: list[str] = []
        refused = 0
        for tick in range(60):
            for n in range(20):
                task = a_task(clock, f"t{tick}.{n}", priority=2)
                try:
                    await queue.enqueue(task)
                    accepted.append(task.id)
                except Backpressure:
                    refused += 1
            if tick % 10 == 5:
                urgent = a_task(clock, f"urgent{tick}", queue="urgent", priority=9)
                await queue.enqueue(urgent)
                assert await claimed_ids(queue, "work", "urgent", limit=1) == [urgent.id]
            leases = await claim(queue, limit=5)
            await queue.complete(*leases)
            done += [lease.task.id for lease in leases]
            assert (await queue.depths())["work"].ready <= 200
            clock.advance(timedelta(milliseconds=10))
        assert refused > 0
        while leases := await claim(queue, limit=50):
            await queue.complete(*leases)
            done += [lease.task.id for lease in leases]
        assert done == accepted


# Claiming


async def test_claims_are_ordered_by_priority_then_run_at_then_arrival_over_all_queues(
    queue: TaskQueue, clock: ManualClock
) -> None:
    early, now = clock.now() - TTL, clock.now()
    await queue.enqueue(
        a_task(clock, "f", priority=1, run_at=early, queue="b"),
        a_task(clock, "d", priority=5, run_at=now, queue="b"),
        a_task(clock, "e", priority=5, run_at=now, queue="a"),
        a_task(clock, "c", priority=5, run_at=early, queue="a"),
        a_task(clock, "a", priority=10, run_at=now, queue="b"),
        a_task(clock, "b", priority=9, run_at=early, queue="a"),
        a_task(clock, "not-asked-for", priority=10, run_at=now, queue="c"),
    )
    assert await claimed_ids(queue, "a", "b", limit=2) == ["a", "b"]
    assert await claimed_ids(queue, "b", "a", "b") == ["c", "d", "e", "f"]


async def test_a_task_is_not_claimed_before_run_at(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock, "later", run_at=clock.now() + TTL, priority=10), a_task(clock, "now", priority=1))
    assert await claimed_ids(queue) == ["now"]
    clock.advance(TTL - MS)
    assert await claimed_ids(queue) == []
    clock.advance(MS)
    assert "later" in await claimed_ids(queue)


async def test_a_leased_task_is_not_claimed_twice(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(*(a_task(clock, f"t{n}") for n in range(50)))
    claims = await asyncio.gather(*(claim(queue, limit=3, owner=an_owner(f"w{n}")) for n in range(30)))
    ids = [lease.task.id for leases in claims for lease in leases]
    assert sorted(ids) == sorted(f"t{n}" for n in range(50))
    assert len({lease.token for leases in claims for lease in leases}) == 50


async def test_claiming_nothing_is_allowed(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock))
    assert await claim(queue, limit=0) == []
    assert await queue.claim([], owner=an_owner(), ttl=TTL, limit=1) == []
    assert await claim(queue, "unknown") == []
    assert await claim(queue, only=[]) == []


async def test_only_restricts_a_claim_to_the_named_tasks(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(*(a_task(clock, name, priority=n + 1) for n, name in enumerate("abcde")))
    assert await claimed_ids(queue, only=["b", "d", "unknown"]) == ["d", "b"]
    assert await claimed_ids(queue, "other", only=["a"]) == []
    assert await claimed_ids(queue, only=["a", "b", "c"], limit=1) == ["c"]


async def test_a_paused_queue_gives_nothing_and_its_leases_go_on(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock, "a"), a_task(clock, "b"), a_task(clock, "c", queue="other"))
    lease = await claim_one(queue)
    await queue.pause("work")
    assert await claimed_ids(queue, "work", "other") == ["c"]
    assert await claimed_ids(queue, only=["b"]) == []
    (extended,) = await queue.extend([lease], ttl=TTL)
    assert extended is not None
    await queue.complete(extended)
    await queue.resume("work")
    assert await claimed_ids(queue) == ["b"]


async def test_concurrency_bounds_the_leases_of_a_queue_over_all_workers(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(*(a_task(clock, f"t{n}") for n in range(9)), a_task(clock, "free", queue="other", priority=1))
    await queue.set_concurrency("work", 3)
    first = await claim(queue, limit=2, owner=an_owner("w1"))
    assert await claimed_ids(queue, "work", "other", owner=an_owner("w2")) == ["t2", "free"]
    assert await claimed_ids(queue, limit=1) == []
    assert await claimed_ids(queue, only=["t5"]) == []
    await queue.complete(first[0])
    assert await claimed_ids(queue) == ["t3"]
    clock.advance(TTL)  # the remaining leases run out: their room is free again
    assert len(await claim(queue, limit=9, solo=False)) == 3
    await queue.set_concurrency("work", None)
    assert len(await claim(queue, limit=99)) == 5


@pytest.mark.parametrize("limit", [0, -1, True, 1.5])
async def test_a_senseless_concurrency_is_refused(queue: TaskQueue, limit: Any) -> None:
    with pytest.raises(BadInput, match="pause it"):
        await queue.set_concurrency("work", limit)
    assert await queue.depths() == {}


@pytest.mark.parametrize("ttl", [timedelta(0), -TTL])
async def test_a_lease_that_is_over_before_it_begins_is_refused(queue: TaskQueue, ttl: timedelta) -> None:
    with pytest.raises(BadInput, match="ttl"):
        await queue.claim(["work"], owner=an_owner(), ttl=ttl, limit=1)


async def test_unknown_kinds_are_carried_like_any_other(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock, kind="from.a.newer.version"))
    lease = await claim_one(queue)
    assert lease.task.kind == "from.a.newer.version"
    await queue.release(lease, run_at=clock.now() + TTL)
    assert (await queue.depths())["work"].delayed == 1


POISON = {
    "not JSON": b"certainly not",
    "cut short": b'{"n": 1',
    "NaN": b'{"n": NaN}',
    "not an object": b"[1]",
    "too deep": b"[" * 100_000 + b"]" * 100_000,
    "long int": b'{"n": ' + b"1" * 5_000 + b"}",
    "not UTF-8": b'{"n": "\xff"}',
    "surrogate": b'{"n": "\\ud800"}',
    "NUL": b'{"n": "a\\u0000b"}',
    "too big": b'{"n": "' + b"x" * 300_000 + b'"}',
}


async def test_payloads_that_do_not_decode_are_dead_lettered_and_work_goes_on(
    engine: QueueEngine, url: str, queue: TaskQueue, clock: ManualClock
) -> None:
    names = {f"bad{n}": stored for n, stored in enumerate(POISON.values())}
    await queue.enqueue(*(a_task(clock, name, priority=9) for name in names), a_task(clock, "good", priority=1))
    for name, stored in names.items():
        engine.spoil(url, name, stored)
    assert await claimed_ids(queue, limit=2) == ["good"]
    dead = await queue.list_dead()
    assert {one.task.id for one in dead} == set(names)
    assert all(one.reason.startswith("payload does not decode: ") for one in dead)
    assert await queue.requeue("bad0") == 1
    assert (await queue.find("bad0")) is not None
    assert await claimed_ids(queue) == []
    assert await queue.remove(*names) == len(names)


# Turns


@pytest.mark.parametrize("at_a_time", [1, 4])
async def test_a_brand_with_a_thousand_tasks_does_not_starve_one_with_ten(
    queue: TaskQueue, clock: ManualClock, at_a_time: int
) -> None:
    early = clock.now() - TTL
    await queue.enqueue(*(a_task(clock, f"big{n}", brand="big", run_at=early) for n in range(1000)))
    await claim(queue, limit=3)
    await queue.enqueue(*(a_task(clock, f"small{n}", brand="small") for n in range(10)))
    brands: list[str] = []
    while len(brands) < 24:
        brands += [lease.task.brand for lease in await claim(queue, limit=at_a_time)]
    assert Counter(brands[:20]) == {"big": 10, "small": 10}
    assert set(brands[20:]) == {"big"}


async def test_brands_take_turns_within_a_priority_and_a_higher_priority_still_comes_first(
    queue: TaskQueue, clock: ManualClock
) -> None:
    for brand in "xyz":
        await queue.enqueue(*(a_task(clock, f"{brand}{n}", brand=brand) for n in range(3)))
    await queue.enqueue(*(a_task(clock, f"urgent{n}", brand="x", priority=9) for n in range(2)))
    ids = [lease.task.id for _ in range(11) for lease in await claim(queue)]
    assert ids[:2] == ["urgent0", "urgent1"]
    assert [{name[0] for name in ids[n : n + 3]} for n in (2, 5, 8)] == [{"x", "y", "z"}] * 3
    assert [name for name in ids if name[0] == "y"] == ["y0", "y1", "y2"]


async def test_brands_take_turns_over_several_queues_and_keep_their_own_order(
    queue: TaskQueue, clock: ManualClock
) -> None:
    early = clock.now() - MS
    await queue.enqueue(*(a_task(clock, f"x{n}", brand="x", queue="ab"[n % 2]) for n in range(4)))
    await queue.enqueue(
        a_task(clock, "y1", brand="y", queue="a"), a_task(clock, "y0", brand="y", queue="b", run_at=early)
    )
    ids = await claimed_ids(queue, "a", "b", limit=3) + await claimed_ids(queue, "a", "b")
    assert [name for name in ids if name[0] == "x"] == ["x0", "x1", "x2", "x3"]
    assert [name for name in ids if name[0] == "y"] == ["y0", "y1"]
    assert [{name[0] for name in ids[n : n + 2]} for n in (0, 2, 4)] == [{"x", "y"}, {"x", "y"}, {"x"}]


async def test_a_brand_whose_queue_has_no_room_does_not_hold_up_the_others(
    queue: TaskQueue, clock: ManualClock
) -> None:
    await queue.enqueue(*(a_task(clock, f"{brand}{n}", brand=brand) for brand in "xyz" for n in range(9)))
    await queue.enqueue(*(a_task(clock, f"{brand}free", brand=brand, queue="free") for brand in "xz"))
    await queue.set_concurrency("work", 2)
    ids = await claimed_ids(queue, "work", "free")
    assert len(ids) == 4
    assert {"xfree", "zfree"} < set(ids)


async def test_suspects_of_several_brands_take_turns_as_well(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(*(a_task(clock, f"x{n}", brand="x") for n in range(3)))
    await queue.enqueue(a_task(clock, "y", brand="y", run_at=clock.now() + MS), a_task(clock, "free", priority=1))
    clock.advance(MS)
    for _ in range(2):
        assert len(await claim(queue, limit=4)) == 4
        clock.advance(TTL)
    found = [(await claim_one(queue, solo=True)).task.id for _ in range(2)]
    assert "y" in found


# Waiting for work

LONG = timedelta(minutes=5)
"""Longer than any test may take: a wait that ends has not ended by itself."""

Deed = Callable[[TaskQueue, ManualClock, Lease], Awaitable[Any]]
DEEDS: dict[str, Deed] = {
    "adds a task": lambda queue, clock, lease: queue.enqueue(a_task(clock, "new")),
    "brings one forward": lambda queue, clock, lease: queue.enqueue(a_task(clock, "later")),
    "releases one": lambda queue, clock, lease: queue.release(lease),
    "retries one": lambda queue, clock, lease: queue.retry_at(lease, clock.now(), reason="x"),
    "completes one that was enqueued again": lambda queue, clock, lease: again_and_complete(queue, clock, lease),
    "revives one": lambda queue, clock, lease: queue.requeue("dead"),
    "takes one back from the dead": lambda queue, clock, lease: queue.reclaim_dead(lambda owner: False),
    "resumes a queue": lambda queue, clock, lease: queue.resume("paused"),
    "makes room by completing": lambda queue, clock, lease: queue.complete(lease),
    "makes room by burying": lambda queue, clock, lease: queue.bury(lease, reason="x"),
    "makes room": lambda queue, clock, lease: queue.set_concurrency("full", None),
}
"""What ends a wait, with a queue in which nothing can be claimed."""


async def again_and_complete(queue: TaskQueue, clock: ManualClock, lease: Lease) -> None:
    await queue.enqueue(replace(lease.task, run_at=clock.now()))
    await queue.complete(lease)


@pytest.mark.parametrize("by_another", [False, True], ids=["by itself", "by another"])
@pytest.mark.parametrize("deed", sorted(DEEDS))
async def test_a_wait_ends_when_somebody_makes_work_claimable(
    queue: TaskQueue, url: str, clock: ManualClock, deed: str, by_another: bool
) -> None:
    await queue.enqueue(a_task(clock, "dead"))
    await queue.bury(await claim_one(queue), reason="x")
    await queue.enqueue(a_task(clock, "later", run_at=clock.now() + LONG), a_task(clock, "p", queue="paused"))
    await queue.enqueue(a_task(clock, "held", queue="full"), a_task(clock, "waits", queue="full", priority=1))
    await queue.pause("paused")
    await queue.set_concurrency("full", 1)
    (lease,) = await queue.claim(["full"], owner=an_owner(), ttl=LONG, limit=1)
    if not deed.startswith("makes room"):
        await queue.remove("waits")
    async with open_queue(url, clock=clock) as other:
        waiting = asyncio.create_task(queue.wait_for_work(["work", "full", "paused"], at_most=LONG))
        await asyncio.sleep(0.03)
        assert not waiting.done()
        await DEEDS[deed](other if by_another else queue, clock, lease)
        async with asyncio.timeout(30):
            assert await waiting
    assert await claim(queue, "work", "full", "paused")


async def test_a_wait_is_over_at_once_where_work_is_due_and_takes_nothing(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock))
    async with asyncio.timeout(30):
        assert await queue.wait_for_work(["other", "work"], at_most=LONG)
        assert await queue.wait_for_work(["work"], at_most=LONG, only=["advance:1"])
    assert await queue.depths() == {"work": Depth(ready=1)}
    assert (await claim_one(queue)).task == a_task(clock)


async def test_a_wait_for_what_nobody_may_claim_ends_with_its_time(queue: TaskQueue, clock: ManualClock) -> None:
    async def nothing(*queues: str, **more: Any) -> bool:
        return not await queue.wait_for_work(queues or ["work"], at_most=timedelta(milliseconds=5), **more)

    assert await nothing()
    await queue.enqueue(a_task(clock, "suspect"))
    await die(queue, clock, times=2)
    await queue.enqueue(a_task(clock, "later", run_at=clock.now() + TTL), a_task(clock, "p", queue="paused"))
    await queue.enqueue(a_task(clock, "held", queue="full"), a_task(clock, "waits", queue="full", priority=1))
    await queue.pause("paused")
    await queue.set_concurrency("full", 1)
    await claim_one(queue, "full")
    assert await nothing("work", "paused", "full", "unknown", solo=False)
    assert await nothing("work", only=["later", "unknown"], solo=True)
    assert await nothing("work", only=["suspect"])
    assert await nothing("paused", only=["p"])
    assert await nothing("full", only=["suspect", "waits"], solo=True)
    assert not await nothing("work", solo=True)
    assert not await nothing("work", only=["suspect"], solo=True)


@pytest.mark.parametrize("what", ["due", "over", "named"])
async def test_a_wait_ends_when_a_task_comes_due_and_when_a_lease_runs_out(url: str, what: str) -> None:
    clock, soon = SystemClock(), timedelta(milliseconds=40)
    async with open_queue(url, clock=clock) as queue:
        await queue.enqueue(a_task(clock, run_at=clock.now() + (timedelta(0) if what == "over" else soon)))
        if what == "over":
            assert await queue.claim(["work"], owner=an_owner(), ttl=soon, limit=1)
        async with asyncio.timeout(30):
            only = ["advance:1"] if what == "named" else None
            assert await queue.wait_for_work(["work"], at_most=LONG, only=only)
        assert await claimed_ids(queue) == ["advance:1"]


async def test_a_cancelled_wait_harms_nobody(queue: TaskQueue, clock: ManualClock) -> None:
    waits = [asyncio.create_task(queue.wait_for_work(["work"], at_most=LONG)) for _ in range(3)]
    await asyncio.sleep(0.02)
    waits[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits[0]
    await queue.enqueue(a_task(clock))
    async with asyncio.timeout(30):
        assert await asyncio.gather(*waits[1:]) == [True, True]


async def test_no_wait_misses_what_is_added_while_it_begins(queue: TaskQueue, url: str, clock: ManualClock) -> None:
    async with open_queue(url, clock=clock) as other, asyncio.timeout(30):
        for n in range(60):
            by = other if n % 2 else queue
            waiting = asyncio.create_task(queue.wait_for_work(["work"], at_most=LONG))
            for _ in range(n % 7):
                await asyncio.sleep(0)
            await by.enqueue(a_task(clock, f"t{n}"))
            assert await waiting
            await queue.complete(await claim_one(queue))


# Holding a lease


async def test_an_extended_lease_lasts_from_now(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock))
    lease = await claim_one(queue)
    clock.advance(TTL - MS)
    (extended,) = await queue.extend([lease], ttl=TTL)
    assert extended == replace(lease, expires_at=clock.now() + TTL)
    clock.advance(TTL - MS)
    assert await claimed_ids(queue) == []
    await queue.complete(lease)


@pytest.mark.parametrize("verb", ["complete", "retry_at", "release", "bury", "progressed", "extend"])
@pytest.mark.parametrize("loss", ["ran out", "taken over", "completed", "reclaimed", "forged"])
async def test_a_lost_lease_can_do_nothing(queue: TaskQueue, clock: ManualClock, verb: str, loss: str) -> None:
    await queue.enqueue(a_task(clock))
    lease = await claim_one(queue)
    if loss == "completed":
        await queue.complete(lease)
        await queue.enqueue(a_task(clock))
        await claim_one(queue)
    elif loss == "forged":
        lease = replace(lease, token="0" * 32)
    else:
        clock.advance(TTL)
        if loss == "taken over":
            await claim_one(queue)
        elif loss == "reclaimed":
            await queue.reclaim_dead()
    before = (await queue.find(lease.task.id), await queue.depths())
    if verb == "extend":
        assert await queue.extend([lease], ttl=TTL) == [None]
    else:
        more: dict[str, Any] = {"reason": "late"} if verb in ("bury", "retry_at") else {}
        args = (lease, clock.now()) if verb == "retry_at" else (lease,)
        with pytest.raises(LeaseLost, match="'advance:1'"):
            await getattr(queue, verb)(*args, **more)
    assert (await queue.find(lease.task.id), await queue.depths()) == before


async def test_completing_several_completes_the_others_when_one_is_lost(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(*(a_task(clock, name) for name in "abc"))
    leases = await claim(queue, limit=3)
    leases[1] = replace(leases[1], token="f" * 32)
    with pytest.raises(LeaseLost, match="'b'"):
        await queue.complete(*leases)
    assert [await queue.find(name) is None for name in "abc"] == [True, False, True]


async def test_a_stepped_clock_never_gives_one_task_to_two_holders(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock))
    first = await claim_one(queue)
    clock.step(timedelta(hours=-1))
    assert await claimed_ids(queue) == []
    assert await queue.reclaim_dead() == 0
    clock.step(timedelta(hours=3))
    second = await claim_one(queue)
    with pytest.raises(LeaseLost):
        await queue.complete(first)
    clock.step(timedelta(hours=-3))
    assert await queue.extend([first], ttl=TTL) == [None]
    await queue.complete(second)


# Giving back


async def test_a_retried_task_waits_counts_up_and_says_why(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock))
    due = clock.now() + TTL
    await queue.retry_at(await claim_one(queue), due, reason="platform answered 503")
    assert await queue.find("advance:1") == a_task(clock, run_at=due, attempts=1, reason="platform answered 503")
    assert await claimed_ids(queue) == []
    clock.advance(TTL)
    assert (await claim_one(queue)).task.attempts == 1


async def test_a_released_task_is_due_at_once_and_uncounted(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock))
    clock.advance(TTL)
    await queue.release(await claim_one(queue))
    lease = await claim_one(queue)
    assert lease.task == a_task(clock)
    await queue.release(lease, run_at=clock.now() + TTL)
    assert await claimed_ids(queue) == []


@pytest.mark.parametrize("run_at", [datetime(2026, 12, 8), datetime.fromisoformat("2200-01-01T00:00:00Z")])  # noqa: DTZ001
async def test_a_task_is_not_given_back_to_a_senseless_instant(
    queue: TaskQueue, clock: ManualClock, run_at: datetime
) -> None:
    await queue.enqueue(a_task(clock))
    lease = await claim_one(queue)
    with pytest.raises(BadInput, match="run_at"):
        await queue.retry_at(lease, run_at, reason="x")
    with pytest.raises(BadInput, match="run_at"):
        await queue.release(lease, run_at=run_at)
    await queue.complete(lease)


async def test_any_text_can_be_a_reason(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock))
    await queue.retry_at(await claim_one(queue), clock.now(), reason="a\x00b\ud800" + "x" * 100_000)
    found = await queue.find("advance:1")
    assert found is not None
    assert found.reason.startswith("a\\x00b\\ud800xxx")
    assert len(found.reason) <= 4_000


# Death


async def test_a_lease_that_ran_out_counts_a_death_and_the_task_is_claimed_again(
    queue: TaskQueue, clock: ManualClock
) -> None:
    await queue.enqueue(a_task(clock))
    lease = await claim_one(queue)
    clock.advance(TTL)
    taken = await claim_one(queue)
    assert (taken.task.deaths, taken.task.solo_deaths, taken.task.attempts) == (1, 0, 0)
    assert taken.token != lease.token


async def test_a_task_with_two_deaths_is_claimed_solo_and_alone(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock, "poison", priority=9))
    await die(queue, clock, times=2)
    await queue.enqueue(a_task(clock, "poison2", priority=9), a_task(clock, "innocent"))
    await die(queue, clock, times=2, only=["poison2"])
    assert await claimed_ids(queue) == ["innocent"]
    assert await claimed_ids(queue, only=["poison"]) == []
    lease = await claim_one(queue, limit=10, solo=True)
    assert lease.solo
    assert lease.task.id == "poison"
    clock.advance(TTL)
    await queue.reclaim_dead()
    found = await queue.find("poison")
    assert found is not None
    assert (found.deaths, found.solo_deaths) == (3, 1)


async def test_a_solo_claim_takes_nothing_that_is_not_suspect(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock))
    await die(queue, clock)
    assert await claimed_ids(queue, solo=True) == []


async def test_progress_forgives_deaths(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock))
    await die(queue, clock, times=2)
    await die(queue, clock, solo=True)
    lease = await claim_one(queue, solo=True)
    await queue.progressed(lease)
    await queue.release(lease)
    assert (await claim_one(queue)).task == a_task(clock, run_at=clock.now())


async def test_the_tasks_of_a_dead_owner_are_taken_back_at_once(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(*(a_task(clock, name) for name in "abc"))
    dead, alive, far = an_owner("dead"), an_owner("alive"), an_owner("far", host="elsewhere")
    leases = [await claim_one(queue, owner=owner) for owner in (dead, alive, far)]
    assert await queue.reclaim_dead({dead: False, alive: True, far: None}.__getitem__) == 1
    assert [one is not None for one in await queue.extend(leases, ttl=TTL)] == [False, True, True]
    assert (await claim_one(queue)).task == a_task(clock, "a", deaths=1)


async def test_by_default_owners_of_this_host_are_judged_by_their_process(queue: TaskQueue, clock: ManualClock) -> None:
    me = current_owner()
    await queue.enqueue(*(a_task(clock, name) for name in "abc"))
    await claim_one(queue, owner=me)
    await claim_one(queue, owner=replace(me, started="1"))  # the pid was reused since
    await claim_one(queue, owner=an_owner())
    assert await queue.reclaim_dead() == 1
    assert await claimed_ids(queue) == ["b"]


@pytest.mark.parametrize(
    ("change", "alive"),
    [
        ({}, True),
        ({"host": "elsewhere"}, None),
        ({"boot_id": "before the reboot"}, False),
        ({"pid_namespace": "pid:[7]"}, None),
        ({"started": "7"}, False),
        ({"pid": 2**22 + 1}, False),
        ({"started": ""}, True),
    ],
)
def test_a_process_is_judged_by_all_that_names_it(change: dict[str, Any], alive: bool | None) -> None:
    assert is_alive(replace(current_owner(), **change)) is alive


def test_workers_of_one_process_have_names_of_their_own() -> None:
    assert current_owner().worker != current_owner().worker
    assert current_owner("w7").worker == "w7"
    assert current_owner().pid == os.getpid()


# Dead letters


async def test_dead_letters_are_listed_latest_first_with_their_reasons(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock, "a"), a_task(clock, "b"), a_task(clock, "c", queue="other"))
    for lease in await claim(queue, "work", "other", limit=3):
        clock.advance(MS)
        await queue.bury(lease, reason=f"no {lease.task.id}")
    assert [(one.task.id, one.reason, one.died_at) for one in await queue.list_dead()] == [
        ("c", "no c", clock.now()),
        ("b", "no b", clock.now() - MS),
        ("a", "no a", clock.now() - 2 * MS),
    ]
    assert [one.task.id for one in await queue.list_dead("work")] == ["b", "a"]
    assert (await queue.depths())["other"] == Depth(dead=1)


async def test_a_requeued_task_starts_afresh(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock))
    await die(queue, clock)
    await queue.retry_at(await claim_one(queue), clock.now(), reason="flaky")
    await queue.bury(await claim_one(queue), reason="cannot")
    clock.advance(TTL)
    assert await queue.requeue("advance:1", "advance:1") == 1
    assert await queue.list_dead() == []
    assert (await claim_one(queue)).task == a_task(clock, reason="cannot")


async def test_requeueing_what_is_not_dead_changes_nothing(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(a_task(clock, "dead"), a_task(clock, "waiting"))
    await queue.bury(await claim_one(queue), reason="cannot")
    for other in ("waiting", "unknown"):
        with pytest.raises(NotFound, match=other):
            await queue.requeue("dead", other)
    assert [one.task.id for one in await queue.list_dead()] == ["dead"]


async def test_removing_forgets_what_waits_or_is_dead_but_not_what_is_leased(
    queue: TaskQueue, clock: ManualClock
) -> None:
    await queue.enqueue(*(a_task(clock, name) for name in ("dead", "leased", "waiting")))
    await queue.bury(await claim_one(queue), reason="cannot")
    lease = await claim_one(queue)
    assert await queue.remove("dead", "leased", "waiting", "unknown") == 2
    assert await queue.depths() == {"work": Depth(leased=1)}
    await queue.complete(lease)
    assert await queue.depths() == {}


# Looking


async def test_depths_tell_every_queue_with_tasks_or_settings(queue: TaskQueue, clock: ManualClock) -> None:
    await queue.enqueue(*(a_task(clock, f"t{n}") for n in range(4)), a_task(clock, "d", run_at=clock.now() + TTL))
    await claim_one(queue)
    await queue.bury(await claim_one(queue), reason="cannot")
    await queue.pause("paused")
    await queue.set_concurrency("bounded", 2)
    assert await queue.depths() == {
        "bounded": Depth(concurrency=2),
        "paused": Depth(paused=True),
        "work": Depth(ready=2, delayed=1, leased=1, dead=1),
    }
    await queue.resume("paused")
    assert "paused" not in await queue.depths()


async def test_everything_acknowledged_is_there_after_opening_again(url: str, clock: ManualClock) -> None:
    async with open_queue(url, clock=clock) as queue:
        await queue.enqueue(a_task(clock, "a"), a_task(clock, "b"))
        lease = await claim_one(queue)
        await queue.pause("other")
    async with open_queue(url, clock=clock) as queue:
        assert await claimed_ids(queue) == ["b"]
        await queue.complete(lease)
        assert (await queue.depths())["other"].paused


def test_an_unknown_engine_is_refused_by_name(clock: ManualClock) -> None:
    with pytest.raises(SettingsError, match="'carrier-pigeon'"):
        open_queue("carrier-pigeon://coop", clock=clock)


def test_values_are_frozen(clock: ManualClock) -> None:
    task: Task = a_task(clock)
    with pytest.raises(AttributeError):
        task.id = "other"  # type: ignore[misc]
