"""The SQLite task queue beside litequeue, each on a fresh file of the same disk, in turn, in the same process.

    .venv/bin/python benchmarks/sqlite_queue.py [--n 2000]

Needs litequeue (dependency group `bench`). Every task is put, taken and forgotten. Both are durable against a killed process
and give work at least once; ours also has priorities, delays, leases with tokens, idempotent ids, bounds and death counts.
litequeue has no async face: called straight from one thread it blocks that thread, so with one caller it is also measured
as an event loop would have to call it, on a thread of its own. Prints the median of five rounds in tasks a second, and the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from litequeue import LiteQueue

from benchmarks._report import result
from config.clock import SystemClock
from memory.queue import Task
from memory.queue.owner import current_owner
from memory.queue.schema import APPLICATION_ID, MIGRATIONS
from memory.queue.sqlite import SqliteTaskQueue
from memory.sqlite_file import open_sqlite_file

ROUNDS = 5
TTL = timedelta(seconds=30)
CLOCK = SystemClock()
Synchronous = Literal["NORMAL", "FULL"]


def a_task(n: int) -> Task:
    return Task(id=f"advance:{n}", kind="advance", queue="work", brand="acme", run_at=CLOCK.now(), payload={"n": n})


async def ours(folder: Path, n: int, callers: int, synchronous: Synchronous, backlog: int = 0) -> float:
    """Tasks a second; each caller puts a task alone, claims one (whichever is best), and completes it."""
    owner = current_owner()
    path = folder / "ours.db"
    async with open_sqlite_file(
        path, application_id=APPLICATION_ID, migrations=MIGRATIONS, synchronous=synchronous
    ) as file:
        queue = SqliteTaskQueue(file, clock=CLOCK, max_length=1_000_000)
        for first in range(0, backlog, 5_000):
            await queue.enqueue(*(a_task(-1 - k) for k in range(first, first + 5_000)))
        numbers = iter(range(n))

        async def caller() -> None:
            for k in numbers:
                await queue.enqueue(a_task(k))
                (lease,) = await queue.claim(["work"], owner=owner, ttl=TTL, limit=1)
                await queue.complete(lease)

        start = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return n / (time.perf_counter() - start)


async def ours_in_batches(folder: Path, n: int, callers: int, synchronous: Synchronous) -> float:
    """Tasks a second; callers put tasks alone, workers claim up to 10 a call and complete them in one call."""
    owner = current_owner()
    path = folder / "batch.db"
    async with open_sqlite_file(
        path, application_id=APPLICATION_ID, migrations=MIGRATIONS, synchronous=synchronous
    ) as file:
        queue = SqliteTaskQueue(file, clock=CLOCK, max_length=1_000_000)
        numbers, left = iter(range(n)), n

        async def put() -> None:
            for k in numbers:
                await queue.enqueue(a_task(k))

        async def work() -> None:
            nonlocal left
            while left:
                leases = await queue.claim(["work"], owner=owner, ttl=TTL, limit=10)
                left -= len(leases)
                await queue.complete(*leases)

        start = time.perf_counter()
        await asyncio.gather(*(put() for _ in range(callers)), *(work() for _ in range(callers // 10)))
        return n / (time.perf_counter() - start)


def litequeue(folder: Path, n: int, callers: int, synchronous: Synchronous) -> float:
    """Tasks a second; a thread and a connection for each caller, as its documentation asks."""
    path = str(folder / "lite.db")
    numbers: Iterator[int] = itertools.count()
    gate, lock = threading.Barrier(callers + 1), threading.Lock()
    with closing(_lite(path, synchronous).conn):
        pass

    def caller() -> None:
        queue = _lite(path, synchronous)
        gate.wait()
        while True:
            with lock:
                k = next(numbers)
            if k >= n:
                break
            queue.put(f'{{"n": {k}}}')
            message = queue.pop()
            if message is None:
                raise RuntimeError("litequeue lost a message")
            queue.done(message.message_id)
        queue.conn.close()

    with ThreadPoolExecutor(callers) as pool:
        threads = [pool.submit(caller) for _ in range(callers)]
        gate.wait()
        start = time.perf_counter()
        for thread in threads:
            thread.result()
        return n / (time.perf_counter() - start)


async def litequeue_off_the_loop(folder: Path, n: int, synchronous: Synchronous) -> float:
    """Tasks a second with one caller that, as an event loop must, leaves each blocking call to a thread."""
    path, loop = str(folder / "lite.db"), asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:
        queue = await loop.run_in_executor(thread, _lite, path, synchronous)
        start = time.perf_counter()
        for k in range(n):
            await loop.run_in_executor(thread, queue.put, f'{{"n": {k}}}')
            message = await loop.run_in_executor(thread, queue.pop)
            if message is None:
                raise RuntimeError("litequeue lost a message")
            await loop.run_in_executor(thread, queue.done, message.message_id)
        rate = n / (time.perf_counter() - start)
        await loop.run_in_executor(thread, queue.conn.close)
    return rate


def _lite(path: str, synchronous: Synchronous) -> LiteQueue:
    queue = LiteQueue(path, timeout=60)
    queue.conn.execute(f"PRAGMA synchronous = {synchronous}")
    return queue


def medians(runs: dict[str, Callable[[Path], float]]) -> dict[str, float]:
    """The median of each, the rounds taken in turn so that a busy moment of the machine hits all."""
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            with tempfile.TemporaryDirectory() as folder:
                rates[name].append(run(Path(folder)))
    return {name: statistics.median(found) for name, found in rates.items()}


def compare(n: int, callers: int, synchronous: Synchronous, target: float) -> None:
    runs: dict[str, Callable[[Path], float]] = {
        "ours": lambda folder: asyncio.run(ours(folder, n, callers, synchronous)),
        "litequeue": lambda folder: litequeue(folder, n, callers, synchronous),
    }
    if callers == 1:
        runs["litequeue off the loop"] = lambda folder: asyncio.run(litequeue_off_the_loop(folder, n, synchronous))
    if callers > 1:
        runs["ours, claims of up to 10"] = lambda folder: asyncio.run(ours_in_batches(folder, n, callers, synchronous))
    rates = medians(runs)
    print(f"{callers} caller(s), each put -> get -> done alone; synchronous={synchronous} on both; {n} tasks, tasks/s")
    for name in rates:
        if name.startswith("litequeue"):
            ratio = rates["ours"] / rates[name]
            result(
                f"{callers} caller(s), {synchronous}",
                f"{rates['ours']:,.0f}",
                f"{name} {rates[name]:,.0f}",
                ratio,
                target,
                most=False,
            )
        elif name != "ours":
            print(f"  {name:48} {rates[name]:>16,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2_000, help="tasks a round")
    n = parser.parse_args().n
    for synchronous in ("NORMAL", "FULL"):
        compare(n, 1, synchronous, target=1)
        compare(n * 2, 100, synchronous, target=5)
    deep = medians({"deep": lambda folder: asyncio.run(ours(folder, n, 1, "NORMAL", backlog=100_000))})
    print(f"1 caller over a backlog of 100,000 waiting tasks; synchronous=NORMAL\n  {'ours':48} {deep['deep']:>16,.0f}")


if __name__ == "__main__":
    main()
