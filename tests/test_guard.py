"""The lease that a worker's task holds, and the thread that keeps it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from config.clock import Clock, ManualClock
from config.errors import LeaseLost, Unavailable
from memory.queue.owner import current_owner
from memory.queue.protocol import GENERATION_QUEUE, Lease, Task, TaskQueue, open_queue
from runtime.guard import Heartbeat, TaskGuard

TTL = timedelta(seconds=30)
EVERY = timedelta(seconds=0.02)


class Watched(TaskGuard):
    """A guard that tells when the heartbeat has extended its lease. Time passes only when the test says so."""

    _renewed_at = float("-inf")

    def renewed(self, since_boot: float) -> None:
        super().renewed(since_boot)
        self._renewed_at = since_boot

    def wait(self) -> None:
        """Block this thread until the lease has been extended at the present instant."""
        eventually(lambda: self._renewed_at >= self._clock.boottime())


def eventually(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'queue.db'}"


@pytest.fixture
async def queue(url: str, clock: ManualClock) -> AsyncIterator[TaskQueue]:
    async with open_queue(url, clock=clock) as queue:
        yield queue


async def claim(queue: TaskQueue, clock: Clock, id: str = "t") -> Lease:
    await queue.enqueue(Task(id=id, kind="sweep", queue=GENERATION_QUEUE, brand="acme", run_at=clock.now()))
    [lease] = await queue.claim([GENERATION_QUEUE], owner=current_owner(), ttl=TTL, limit=1)
    return lease


def beating(url: str, clock: Clock) -> Heartbeat:
    return Heartbeat(url, clock, ttl=TTL, every=EVERY)


async def test_a_lease_is_kept_for_as_long_as_its_task_runs(queue: TaskQueue, url: str, clock: ManualClock) -> None:
    guard = Watched(await claim(queue, clock), queue, clock, TTL)
    async with beating(url, clock) as heartbeat:
        heartbeat.add(guard)
        for _ in range(6):
            clock.advance(TTL / 2)
            await asyncio.to_thread(guard.wait)
        guard.ensure_held()
        await queue.complete(guard.lease)


async def test_a_loop_that_blocks_for_less_than_half_a_lease_keeps_its_leases(
    queue: TaskQueue, url: str, clock: ManualClock
) -> None:
    guard = Watched(await claim(queue, clock), queue, clock, TTL)
    async with beating(url, clock) as heartbeat:
        heartbeat.add(guard)
        for _ in range(4):  # longer than a lease in all
            clock.advance(TTL * 0.3)
            guard.wait()  # on the loop's own thread: a step that computes
            await asyncio.to_thread(eventually, lambda: heartbeat._ticked >= clock.boottime())
        guard.ensure_held()
        await queue.complete(guard.lease)


async def test_a_loop_that_is_stuck_for_longer_than_a_lease_loses_it(
    queue: TaskQueue, url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    real = Heartbeat._keep

    async def keep(self: Heartbeat, queue: TaskQueue) -> None:
        await real(self, queue)
        looks.append(clock.boottime())

    monkeypatch.setattr(Heartbeat, "_keep", keep)
    guard = Watched(await claim(queue, clock), queue, clock, TTL)
    async with beating(url, clock) as heartbeat:
        heartbeat.add(guard)
        await asyncio.to_thread(guard.wait)
        for part in (0.6, 0.6):  # of a lease, in a step that hangs
            clock.advance(TTL * part)
            looks.clear()
            eventually(lambda: len(looks) > 1)
        with pytest.raises(LeaseLost, match="ran out"):
            guard.ensure_held()
    [again] = await queue.claim([GENERATION_QUEUE], owner=current_owner(), ttl=TTL, limit=1)
    assert again.task.deaths == 1


async def test_a_task_past_its_timeout_loses_its_lease_once_and_others_keep_theirs(
    queue: TaskQueue, url: str, clock: ManualClock
) -> None:
    lost: list[str] = []
    slow = TaskGuard(await claim(queue, clock, "slow"), queue, clock, TTL, timeout=timedelta(seconds=5))
    other = Watched(await claim(queue, clock, "other"), queue, clock, TTL, timeout=timedelta(seconds=60))
    slow.on_lost(lambda: lost.append("slow"))
    async with beating(url, clock) as heartbeat:
        heartbeat.add(slow)
        heartbeat.add(other)
        for _ in range(2):
            clock.advance(timedelta(seconds=6))
            await asyncio.to_thread(other.wait)
    assert lost == ["slow"]
    with pytest.raises(LeaseLost, match="timeout"):
        slow.ensure_held()
    other.ensure_held()


async def test_a_lease_that_somebody_else_took_is_found_lost(queue: TaskQueue, url: str, clock: ManualClock) -> None:
    guard = TaskGuard(await claim(queue, clock), queue, clock, TTL)
    lost = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell() -> None:
        loop.call_soon_threadsafe(lost.set)

    guard.on_lost(tell)
    await queue.reclaim_dead(lambda owner: False)
    async with beating(url, clock) as heartbeat:
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


async def test_a_task_given_back_while_the_heartbeat_asks_was_not_lost(
    queue: TaskQueue, url: str, clock: ManualClock
) -> None:
    guard = TaskGuard(await claim(queue, clock), queue, clock, TTL)
    heartbeat = beating(url, clock)
    heartbeat.add(guard)
    await heartbeat._extend(GivesBackMeanwhile(heartbeat, guard), [guard])  # type: ignore[arg-type]
    assert not guard.lost


async def test_a_heartbeat_outlives_a_queue_that_fails(
    queue: TaskQueue, url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([Unavailable("away"), RuntimeError("a bug")])
    real = Heartbeat._keep

    async def keep(self: Heartbeat, queue: TaskQueue) -> None:
        for failure in failures:
            raise failure
        await real(self, queue)

    monkeypatch.setattr(Heartbeat, "_keep", keep)
    guard = Watched(await claim(queue, clock), queue, clock, TTL)
    async with beating(url, clock) as heartbeat:
        heartbeat.add(guard)
        for _ in range(4):
            clock.advance(TTL / 2)
            await asyncio.to_thread(guard.wait)
        guard.ensure_held()
    assert next(failures, None) is None, "both came"


async def test_what_could_have_run_out_unnoticed_counts_as_lost(queue: TaskQueue, clock: ManualClock) -> None:
    guard = TaskGuard(await claim(queue, clock), queue, clock, TTL)
    clock.step(-timedelta(days=1))
    guard.ensure_held()
    clock.advance(TTL / 2)
    await guard.extend()
    clock.advance(TTL / 2)
    guard.ensure_held()
    clock.advance(TTL / 2)
    with pytest.raises(LeaseLost):
        guard.ensure_held()
    with pytest.raises(LeaseLost):
        await guard.extend()


async def test_whoever_asks_for_a_lease_that_is_gone_learns_it(queue: TaskQueue, clock: ManualClock) -> None:
    guard = TaskGuard(await claim(queue, clock), queue, clock, TTL)
    await queue.reclaim_dead(lambda owner: False)
    with pytest.raises(LeaseLost, match="another worker"):
        await guard.extend()
    assert guard.lost
