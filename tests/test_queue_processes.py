"""The task queue under real processes: claimed at once by several, and held by one that is killed."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from config.clock import SystemClock
from memory.queue import Task, TaskQueue, open_queue
from tests.contracts.queue_engines import ENGINES, a_task

ROOT = Path(__file__).resolve().parent.parent
TTL = timedelta(minutes=10)

# Takes tasks three at a time until none is left, and prints one line for each that it ran.
DRAIN = """
import asyncio, sys
from datetime import timedelta
from config.clock import SystemClock
from memory.queue import open_queue
from memory.queue.owner import current_owner

async def main(url, *_):
    async with open_queue(url, clock=SystemClock()) as queue:
        owner = current_owner()
        print("ready", flush=True)
        sys.stdin.readline()
        while leases := await queue.claim(["work"], owner=owner, ttl=timedelta(minutes=10), limit=3):
            for lease in leases:
                print(lease.task.id)
            await queue.complete(*leases)

asyncio.run(main(*sys.argv[1:]))
"""

# Takes everything with a long lease, says so, and never comes back to it.
HOLD = """
import asyncio, sys
from datetime import timedelta
from config.clock import SystemClock
from memory.queue import open_queue
from memory.queue.owner import current_owner

async def main(url, *_):
    async with open_queue(url, clock=SystemClock()) as queue:
        leases = await queue.claim(["work"], owner=current_owner(), ttl=timedelta(minutes=10), limit=100)
        print(len(leases), flush=True)
        await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


async def start(script: str, url: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        url,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


@pytest.fixture(params=sorted(ENGINES))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ENGINES[request.param].url(tmp_path)


def tasks(count: int) -> list[Task]:
    return [a_task(SystemClock(), f"t{n}") for n in range(count)]


@pytest.mark.slow
async def test_processes_that_claim_at_once_run_everything_and_nothing_twice(url: str) -> None:
    async with open_queue(url, clock=SystemClock()) as queue:
        await queue.enqueue(*tasks(600))
        workers = [await start(DRAIN, url) for _ in range(4)]
        assert [await line(worker) for worker in workers] == ["ready"] * 4
        outputs = await asyncio.gather(*(worker.communicate(b"go\n") for worker in workers))
        assert [worker.returncode for worker in workers] == [0] * 4
        ran = [set(output.decode().split()) for output, _ in outputs]
        counted = Counter(name for output, _ in outputs for name in output.decode().split())
        assert counted == {f"t{n}": 1 for n in range(600)}
        assert sum(bool(names) for names in ran) > 1, "one process did everything: nothing was claimed at once"
        assert await queue.depths() == {}


async def held_by_another(queue: TaskQueue, url: str) -> asyncio.subprocess.Process:
    await queue.enqueue(*tasks(5))
    holder = await start(HOLD, url)
    assert await line(holder) == "5"
    return holder


@pytest.mark.slow
async def test_the_tasks_of_a_killed_process_are_taken_back_long_before_their_lease_ends(url: str) -> None:
    async with open_queue(url, clock=SystemClock()) as queue:
        holder = await held_by_another(queue, url)
        try:
            assert await queue.reclaim_dead() == 0, "it lives"
        finally:
            holder.kill()
        await holder.wait()
        assert await queue.reclaim_dead() == 5
        assert {task.deaths for n in range(5) if (task := await queue.find(f"t{n}"))} == {1}
        assert (await queue.depths())["work"].ready == 5
