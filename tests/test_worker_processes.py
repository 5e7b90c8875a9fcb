"""Real worker processes: stopped, stopped at once, killed, and given work that kills them."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from config.clock import SystemClock
from graphs.context import advance_piece_task
from memory.queue.protocol import GENERATION_QUEUE, TaskQueue, open_queue
from tests.cli_support import ROOT, environment

pytestmark = pytest.mark.slow
BRAND = "acme"
SLOW_LEASE = ("COPYDESK_LEASE=120", "COPYDESK_HEARTBEAT=1")
"""Whatever comes back sooner did not wait for its lease to run out."""


class Floor:
    """A data directory, its queue, and the workers started on it."""

    def __init__(self, folder: Path, queue: TaskQueue) -> None:
        self.folder, self.queue = folder, queue
        self.workers: list[asyncio.subprocess.Process] = []

    async def enqueue(self, *pieces: str) -> None:
        await self.queue.enqueue(*(advance_piece_task(BRAND, piece, SystemClock()) for piece in pieces))

    async def start(self, *settings: str) -> asyncio.subprocess.Process:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fakes.worker_process", str(self.folder), *settings),
            cwd=ROOT,
            env=environment(),
            stderr=asyncio.subprocess.DEVNULL,
        )
        self.workers.append(worker)
        return worker

    def lines(self, file: str) -> list[str]:
        path = self.folder / file
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    async def until_ran(self, *pieces: str) -> None:
        async with asyncio.timeout(200):
            while not set(pieces) <= set(self.lines("ran")):  # noqa: ASYNC110  another process writes the file
                await asyncio.sleep(0.02)

    async def leased(self) -> int:
        depths = await self.queue.depths()
        return depths[GENERATION_QUEUE].leased if GENERATION_QUEUE in depths else 0


async def end_of(worker: asyncio.subprocess.Process, *, within_s: float = 200) -> int:
    async with asyncio.timeout(within_s):
        return await worker.wait()


@asynccontextmanager
async def open_floor(folder: Path) -> AsyncIterator[Floor]:
    async with open_queue(f"sqlite:///{folder / 'queue.db'}", clock=SystemClock()) as queue:
        floor = Floor(folder, queue)
        try:
            yield floor
        finally:
            for worker in floor.workers:
                with suppress(ProcessLookupError):
                    worker.kill()
                await worker.wait()


@pytest.fixture
async def floor(tmp_path: Path) -> AsyncIterator[Floor]:
    async with open_floor(tmp_path / "data") as floor:
        yield floor


async def test_sigterm_finishes_what_fits_into_the_grace_and_hands_back_the_rest_at_once(floor: Floor) -> None:
    await floor.enqueue("sleep-0.7-a", "sleep-0.8-b", "sleep-60-c", "sleep-60-d", "e", "f")
    await floor.queue.enqueue(advance_piece_task(BRAND, "sleep-60-e", SystemClock(), priority=1))
    worker = await floor.start("FOREVER=1", "COPYDESK_DRAIN=4", "COPYDESK_CONCURRENCY=4", *SLOW_LEASE)
    await floor.until_ran("sleep-0.7-a", "sleep-0.8-b", "sleep-60-c", "sleep-60-d")
    worker.send_signal(signal.SIGTERM)
    assert await end_of(worker) == 0  # long before its tasks would end by themselves
    assert set(floor.lines("ended")) == {"sleep-0.7-a", "sleep-0.8-b"}, "nothing new was claimed"
    depth = (await floor.queue.depths())[GENERATION_QUEUE]
    assert (depth.ready, depth.leased) == (5, 0)
    found = await floor.queue.find("advance:sleep-60-c")
    assert found is not None
    assert found.deaths == 0


async def test_a_second_sigterm_stops_at_once_and_still_hands_back(floor: Floor) -> None:
    await floor.enqueue("sleep-60-a", "sleep-60-b")
    worker = await floor.start("FOREVER=1", "COPYDESK_DRAIN=60", *SLOW_LEASE)
    await floor.until_ran("sleep-60-a", "sleep-60-b")
    worker.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    assert worker.returncode is None, "it drains"
    worker.send_signal(signal.SIGTERM)
    await end_of(worker)
    depth = (await floor.queue.depths())[GENERATION_QUEUE]
    assert (depth.ready, depth.leased) == (2, 0)


async def test_the_tasks_of_a_killed_worker_are_done_by_another_on_this_host_at_once(floor: Floor) -> None:
    await floor.enqueue("sleep-1-a", "sleep-1-b")
    first = await floor.start("FOREVER=1", *SLOW_LEASE)
    await floor.until_ran("sleep-1-a", "sleep-1-b")
    assert await floor.leased() == 2
    first.kill()
    await first.wait()
    killed = time.monotonic()
    second = await floor.start(*SLOW_LEASE)
    while len(floor.lines("ended")) < 2:
        assert time.monotonic() - killed < 100, "long before the lease ends"
        await asyncio.sleep(0.05)
    assert await end_of(second) == 0
    assert Counter(floor.lines("ran")) == {"sleep-1-a": 2, "sleep-1-b": 2}
    assert await floor.queue.depths() == {}


async def test_a_worker_that_was_there_already_takes_over_too(floor: Floor) -> None:
    await floor.enqueue("sleep-60-a")
    first = await floor.start("FOREVER=1", *SLOW_LEASE)
    await floor.until_ran("sleep-60-a")
    await floor.start("FOREVER=1", *SLOW_LEASE)
    await floor.enqueue("sleep-0-b")
    await floor.until_ran("sleep-0-b")
    first.kill()
    await first.wait()
    async with asyncio.timeout(100):
        while floor.lines("ran").count("sleep-60-a") < 2:  # noqa: ASYNC110  another process writes the file
            await asyncio.sleep(0.05)
    found = await floor.queue.find("advance:sleep-60-a")
    assert found is not None
    assert found.deaths == 1


async def test_poison_among_two_hundred_tasks_is_dead_lettered_and_all_the_others_are_done(floor: Floor) -> None:
    """One in a hundred each ends its worker, hangs, or cannot be read."""
    good = [f"good-{n}" for n in range(194)]
    poison = ["exit-a", "exit-b", "hang-a", "hang-b", "bad-a", "bad-b"]
    await floor.enqueue(*(name for n in range(194) for name in ([poison[n // 33]] if n % 33 == 0 else []) + [good[n]]))
    file = sqlite3.connect(floor.folder / "queue.db")
    with file:
        file.execute("UPDATE tasks SET payload = '{\"piece_id\": NaN' WHERE id LIKE 'advance:bad-%'")
    file.close()
    short = ("COPYDESK_TASK_TIMEOUT=0.5", "COPYDESK_LEASE=3", "COPYDESK_HEARTBEAT=0.2", "COPYDESK_MAX_ATTEMPTS=1")
    starts = 0

    async def keep_one_running() -> None:
        """What a service manager does."""
        nonlocal starts
        while True:
            starts += 1
            if await (await floor.start("COPYDESK_CONCURRENCY=4", *short)).wait() == 0:
                return

    async with asyncio.timeout(200):
        await asyncio.gather(keep_one_running(), keep_one_running())
    dead = {letter.task.id.removeprefix("advance:"): letter.reason for letter in await floor.queue.list_dead()}
    assert sorted(dead) == sorted(poison)
    for name, reason in dead.items():
        expected = {"exit": "workers died", "hang": "longer than", "bad": "does not decode"}[name.partition("-")[0]]
        assert expected in reason
    assert set(floor.lines("ended")) == set(good)
    depth = (await floor.queue.depths())[GENERATION_QUEUE]
    assert (depth.ready, depth.delayed, depth.leased) == (0, 0, 0)
    assert starts <= 2 + 2 * 5, "each poison task ends five workers at most"
