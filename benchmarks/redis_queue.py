"""The Redis task queue beside taskiq-redis (stream broker): one producer process, one worker process, one redis-server.

    .venv/bin/python benchmarks/redis_queue.py [--n 20000] [--rounds 5] [--peer PYTHON]

No-op async jobs, at most 100 in flight in the worker. In "alone" every job is enqueued by a call of its own, from 100 callers of
one event loop or from a single one that waits for each; in "batched" ours enqueues 100 a call (the peer cannot). Then a paced
run, 300 jobs a second, for the time from enqueueing to running. Ours has priority, delay, leases, fencing and idempotent ids on.

The peer runs from a throwaway virtual environment, made for the run, unless `--peer` names a Python that has it; it is never a
dependency. Where it cannot be installed, ours is printed alone. Both use redis-py's parser in Python, without hiredis.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
IN_FLIGHT = 100
PACED_PER_S = 300


def report(**numbers: Any) -> None:
    print(json.dumps({"at": time.time(), "cpu": time.process_time(), **numbers}), flush=True)


async def produce(enqueue: Any, n: int, mode: str) -> None:
    """Call `enqueue(first, count)` for n jobs in a mode; report before and after."""
    report()
    numbers = iter(range(n))

    async def caller() -> None:
        for k in numbers:
            await enqueue(k, 1)

    if mode == "paced":
        start = time.perf_counter()
        for k in numbers:
            await asyncio.sleep(max(0.0, start + k / PACED_PER_S - time.perf_counter()))
            await enqueue(k, 1)
    elif mode == "batched":
        for first in range(0, n, 100):
            await enqueue(first, min(100, n - first))
    else:
        await asyncio.gather(*(caller() for _ in range(1 if mode == "one caller" else IN_FLIGHT)))
    report()


class Jobs:
    """What the worker counts: jobs that ran, and how long each had waited."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.waits: list[float] = []
        self.done = asyncio.Event()

    def ran(self, enqueued_at: float) -> None:
        self.waits.append(time.time() - enqueued_at)
        if len(self.waits) == self.n:
            self.done.set()

    def report(self) -> None:
        cuts = statistics.quantiles(self.waits, n=100)
        report(p50=cuts[49] * 1000, p99=cuts[98] * 1000)


async def ours(role: str, url: str, n: int, mode: str) -> None:
    sys.path.insert(0, str(ROOT))
    from datetime import timedelta

    from config.clock import SystemClock
    from memory.queue import Lease, Task, open_queue
    from memory.queue.owner import current_owner

    clock = SystemClock()
    async with open_queue(url, clock=clock, max_length=1_000_000) as queue:
        if role == "produce":

            async def enqueue(first: int, count: int) -> None:
                at = clock.now()
                await queue.enqueue(
                    *(
                        Task(f"advance:{k}", "advance", "work", "acme", at, {"at": time.time()})
                        for k in range(first, first + count)
                    )
                )

            await produce(enqueue, n, mode)
            return
        jobs, owner, ttl = Jobs(n), current_owner(), timedelta(seconds=30)
        running: set[asyncio.Task[None]] = set()

        async def run(lease: Lease) -> None:
            jobs.ran(lease.task.payload["at"])
            await queue.complete(lease)

        ended = asyncio.Event()

        def forget(task: asyncio.Task[None]) -> None:
            running.discard(task)
            ended.set()

        async def work() -> None:
            while True:
                ended.clear()
                free = IN_FLIGHT - len(running)
                if not free:
                    await ended.wait()
                    continue
                leases = await queue.claim(["work"], owner=owner, ttl=ttl, limit=free)
                for lease in leases:
                    task = asyncio.create_task(run(lease))
                    running.add(task)
                    task.add_done_callback(forget)
                if leases:
                    await asyncio.sleep(0)  # the jobs begin, and what they ask for travels with the next claim
                else:
                    await queue.wait_for_work(["work"], at_most=timedelta(seconds=1))

        await queue.depths()
        report()
        working = asyncio.create_task(work())
        await jobs.done.wait()
        await asyncio.gather(*running)
        jobs.report()
        working.cancel()


async def peer(role: str, url: str, n: int, mode: str) -> None:
    from taskiq.api import run_receiver_task
    from taskiq_redis import RedisStreamBroker

    broker = RedisStreamBroker(url=url)
    jobs = Jobs(n)

    @broker.task(task_name="job")
    async def job(at: float) -> None:
        jobs.ran(at)

    if role == "work":
        broker.is_worker_process = True
    await broker.startup()
    if role == "produce":
        await produce(lambda first, count: job.kiq(time.time()), n, mode)
    else:
        receiving = asyncio.create_task(run_receiver_task(broker, max_async_tasks=IN_FLIGHT))
        await asyncio.sleep(0.3)
        report()
        await jobs.done.wait()
        jobs.report()
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
    await broker.shutdown()


def measure(python: str, system: str, n: int, mode: str) -> dict[str, float]:
    """One run of a system on a fresh server."""
    sys.path.insert(0, str(ROOT))
    from tests.fakes.redis_server import RedisServer

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = RedisServer("--appendonly", "yes", port=port).start()
    try:
        errors = None if system == "ours" else subprocess.DEVNULL
        command = [python, __file__, "--url", f"redis://127.0.0.1:{port}/0", "--n", str(n), "--mode", mode]
        worker = subprocess.Popen(
            [*command, "--role", f"{system}:work"], stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert worker.stdout is not None
        ready = json.loads(worker.stdout.readline())
        before = redis_cpu(server)
        made = subprocess.run([*command, "--role", f"{system}:produce"], stdout=subprocess.PIPE, text=True, check=True)
        first, last = (json.loads(line) for line in made.stdout.splitlines())
        done = json.loads(worker.stdout.readline())
        worker.kill()  # the peer's would wait for a blocked read; its numbers are taken
        worker.wait()
        return {
            "rate": n / (done["at"] - first["at"]),
            "p50": done["p50"],
            "p99": done["p99"],
            "producer": (last["cpu"] - first["cpu"]) / n * 1e6,
            "worker": (done["cpu"] - ready["cpu"]) / n * 1e6,
            "redis": (redis_cpu(server) - before) / n * 1e6,
        }
    finally:
        server.close()


def redis_cpu(server: Any) -> float:
    lines = dict(line.split(":", 1) for line in server.command("INFO", "cpu").splitlines() if ":" in line)
    return float(lines["used_cpu_user"]) + float(lines["used_cpu_sys"])


def peer_python(folder: str) -> str | None:
    """A Python with the peer, in a virtual environment that goes away with `folder`; None if it cannot be had."""
    python = str(Path(folder) / "bin" / "python")
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    made = subprocess.run([sys.executable, "-m", "venv", folder], **quiet).returncode == 0
    if (
        made
        and subprocess.run([python, "-m", "pip", "install", "-q", "taskiq-redis>=1.2,<1.3"], **quiet).returncode == 0
    ):
        return python
    return None


def compare(runs: list[tuple[str, str, str]], n: int, mode: str, rounds: int) -> None:
    found: dict[str, list[dict[str, float]]] = {name: [] for name, _, _ in runs}
    for _ in range(rounds):  # in turn, so that a busy moment of the machine hits all
        for name, system, python in runs:
            found[name].append(measure(python, system, n, mode if system == "ours" or mode != "batched" else "alone"))
    median = {
        name: {key: statistics.median(one[key] for one in several) for key in several[0]}
        for name, several in found.items()
    }
    print(f"\n{mode}: {n} jobs, median of {rounds}")
    print("                            acked/s   CPU us a job: producer + worker + redis = sum      p50 / p99 ms")
    for name, one in median.items():
        parts = [one[key] for key in ("producer", "worker", "redis")]
        print(
            f"  {name:24} {one['rate']:9,.0f}   {parts[0]:12.0f} + {parts[1]:4.0f} + {parts[2]:4.0f} = {sum(parts):4.0f}"
            f"           {one['p50']:8.2f} / {one['p99']:.2f}"
        )
    if len(median) == 2:
        ours, peers = median.values()
        used = [sum(one[key] for key in ("producer", "worker", "redis")) for one in (ours, peers)]
        print(
            f"  ours / peer: rate {ours['rate'] / peers['rate']:.2f}x, CPU {used[0] / used[1]:.2f}x, p50 {ours['p50'] / peers['p50']:.2f}x"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20_000, help="jobs a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", help="a Python that has taskiq-redis")
    for hidden in ("--role", "--url", "--mode"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.role:
        system, _, role = asked.role.partition(":")
        asyncio.run({"ours": ours, "peer": peer}[system](role, asked.url, asked.n, asked.mode))
        return
    with tempfile.TemporaryDirectory() as folder:
        python = asked.peer or peer_python(folder)
        runs = [("ours", "ours", sys.executable)]
        if python:
            runs.append(("taskiq-redis stream", "peer", os.path.abspath(python)))
        else:
            print("taskiq-redis cannot be installed here: ours alone")
        print("targets: alone 3x the peer's rate at a third of its CPU, p50 no worse; batched 8x")
        compare(runs, asked.n, "alone", asked.rounds)
        compare(runs, asked.n, "one caller", asked.rounds)
        compare(runs, asked.n, "batched", asked.rounds)
        compare(runs, min(asked.n, 1_500), "paced", min(asked.rounds, 3))


if __name__ == "__main__":
    main()
