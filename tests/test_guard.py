"""The lease that a worker's task holds, and the thread that keeps it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from config.clock import ManualClock, SystemClock
from config.errors import LeaseLost, Unavailable
from memory.queue.owner import current_owner
from memory.queue.protocol import GENERATION_QUEUE, Lease, Task, TaskQueue, open_queue
from runtime.guard import Heartbeat, TaskGuard

TTL = timedelta(seconds=2)
"""Longer than a busy machine keeps a process waiting."""
EVERY = timedelta(seconds=0.1)


def a_task(id: str = "t") -> Task:
    return Task(id=id, kind="sweep", queue=GENERATION_QUEUE, brand="acme", run_at=SystemClock().now())


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'queue.db'}"


@pytest.fixture
async def queue(url: str) -> AsyncIterator[TaskQueue]:
    async with open_queue(url, clock=SystemClock()) as queue:
        yield queue


async def claim(queue: TaskQueue, id: str = "t", *, ttl: timedelta = TTL) -> Lease:
    await queue.enqueue(a_task(id))
    [lease] = await queue.claim([GENERATION_QUEUE], owner=current_owner(), ttl=ttl, limit=1)
    return lease


def beating(url: str) -> Heartbeat:
    return Heartbeat(url, SystemClock(), ttl=TTL, every=EVERY)


async def test_a_lease_is_kept_for_as_long_as_its_task_runs(queue: TaskQueue, url: str) -> None:
    lease = await claim(queue)
    guard = TaskGuard(lease, queue, SystemClock(), TTL)
    async with beating(url) as heartbeat:
        heartbeat.add(guard)
        await asyncio.sleep(TTL.total_seconds() * 2)
        guard.ensure_held()
        await queue.complete(lease)


async def test_a_loop_that_blocks_for_less_than_half_a_lease_keeps_its_leases(queue: TaskQueue, url: str) -> None:
    lease = await claim(queue)
    guard = TaskGuard(lease, queue, SystemClock(), TTL)
    async with beating(url) as heartbeat:
        heartbeat.add(guard)
        for _ in range(4):  # longer than a lease in all
            time.sleep(TTL.total_seconds() * 0.3)  # noqa: ASYNC251  a step that computes
            await asyncio.sleep(0.05)
        guard.ensure_held()
        await queue.complete(lease)


async def test_a_loop_that_is_stuck_for_longer_than_a_lease_loses_it(queue: TaskQueue, url: str) -> None:
    lease = await claim(queue)
    guard = TaskGuard(lease, queue, SystemClock(), TTL)
    async with beating(url) as heartbeat:
        heartbeat.add(guard)
        await asyncio.sleep(0.15)
        time.sleep(TTL.total_seconds() * 2.2)  # noqa: ASYNC251  a step that hangs
        with pytest.raises(LeaseLost, match="ran out"):
            guard.ensure_held()
    [again] = await queue.claim([GENERATION_QUEUE], owner=current_owner(), ttl=TTL, limit=1)
    assert again.task.deaths == 1


async def test_a_task_past_its_timeout_loses_its_lease_once_and_others_keep_theirs(queue: TaskQueue, url: str) -> None:
    clock, lost = SystemClock(), []
    slow = TaskGuard(await claim(queue, "slow"), queue, clock, TTL, timeout=timedelta(seconds=0.2))
    other = TaskGuard(await claim(queue, "other"), queue, clock, TTL, timeout=timedelta(seconds=60))
    slow.on_lost(lambda: lost.append("slow"))
    async with beating(url) as heartbeat:
        heartbeat.add(slow)
        heartbeat.add(other)
        await asyncio.sleep(0.5)
    assert lost == ["slow"]
    with pytest.raises(LeaseLost, match="timeout"):
        slow.ensure_held()
    other.ensure_held()


async def test_a_lease_that_somebody_else_took_is_found_lost(queue: TaskQueue, url: str) -> None:
    lease = await claim(queue, ttl=timedelta(seconds=30))
    guard = TaskGuard(lease, queue, SystemClock(), timedelta(seconds=30))
    lost = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell() -> None:
        loop.call_soon_threadsafe(lost.set)

    guard.on_lost(tell)
    await queue.reclaim_dead(lambda owner: False)
    async with beating(url) as heartbeat:
        heartbeat.add(guard)
        await asyncio.wait_for(lost.wait(), 30)
    with pytest.raises(LeaseLost):
        guard.ensure_held()


class GivesBackMeanwhile:
    """A queue whose answer to the heartbeat comes after the holder has given its task back."""

    def __init__(self, heartbeat: Heartbeat, guard: TaskGuard) -> None:
        self.heartbeat, self.guard = heartbeat, guard

    async def extend(self, leases: list[Lease], *, ttl: timedelta) -> list[Lease | None]:
        self.heartbeat.drop(self.guard)
        return [None for _ in leases]


async def test_a_task_given_back_while_the_heartbeat_asks_was_not_lost(queue: TaskQueue, url: str) -> None:
    guard = TaskGuard(await claim(queue), queue, SystemClock(), TTL)
    heartbeat = beating(url)
    heartbeat.add(guard)
    await heartbeat._extend(GivesBackMeanwhile(heartbeat, guard), [guard])  # type: ignore[arg-type]
    assert not guard.lost


async def test_a_heartbeat_outlives_a_queue_that_fails(
    queue: TaskQueue, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([Unavailable("away"), RuntimeError("a bug")])
    real = Heartbeat._keep

    async def keep(self: Heartbeat, queue: TaskQueue) -> None:
        for failure in failures:
            raise failure
        await real(self, queue)

    monkeypatch.setattr(Heartbeat, "_keep", keep)
    lease = await claim(queue)
    guard = TaskGuard(lease, queue, SystemClock(), TTL)
    async with beating(url) as heartbeat:
        heartbeat.add(guard)
        await asyncio.sleep(TTL.total_seconds() * 2)
        guard.ensure_held()


async def test_what_could_have_run_out_unnoticed_counts_as_lost(url: str) -> None:
    clock, ttl = ManualClock(), timedelta(seconds=30)
    async with open_queue(url, clock=clock) as queue:
        await queue.enqueue(Task("t", "sweep", GENERATION_QUEUE, "acme", clock.now()))
        [lease] = await queue.claim([GENERATION_QUEUE], owner=current_owner(), ttl=ttl, limit=1)
        guard = TaskGuard(lease, queue, clock, ttl)
        clock.step(-timedelta(days=1))
        guard.ensure_held()
        clock.advance(ttl / 2)
        await guard.extend()
        clock.advance(ttl / 2)
        guard.ensure_held()
        clock.advance(ttl / 2)
        with pytest.raises(LeaseLost):
            guard.ensure_held()
        with pytest.raises(LeaseLost):
            await guard.extend()


async def test_whoever_asks_for_a_lease_that_is_gone_learns_it(queue: TaskQueue) -> None:
    guard = TaskGuard(await claim(queue, ttl=timedelta(seconds=30)), queue, SystemClock(), timedelta(seconds=30))
    await queue.reclaim_dead(lambda owner: False)
    with pytest.raises(LeaseLost, match="another worker"):
        await guard.extend()
    assert guard.lost
