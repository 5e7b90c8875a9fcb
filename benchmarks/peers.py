"""One kill loop over our queue on Redis, arq and taskiq-redis: what is lost, what is done twice, how soon it recovers.

    COPYDESK_TEST_PEERS_PYTHON=PYTHON[:PYTHON...] .venv/bin/python benchmarks/peers.py [--n 500] [--seconds 15] [--seed 1]

Every system gets the same: N tasks, acknowledged to the producer one by one over the time of the kills; three worker processes
with four places each; a task works 120 ms, writes its effect (one line of a file), works 120 ms and ends. A random worker is
killed with SIGKILL every 0.5 to 1.5 s and another takes its place. Then everybody has until nothing has moved for 20 s, while
two more tasks a second, which do not count, keep coming: taskiq-redis takes over interrupted work only after a new message.

Ours runs twice: the queue alone, whose handlers run at least once like everybody's, and with the publication ledger in front of
the effect, as the product publishes. The peers' times are cut so that they can recover within the run: arq's job_timeout is
4 s and not 300, taskiq-redis takes over after 4 s and not 600; its second row also gives the lock that it takes over under a
time limit, which it has not by default. Peers are no dependency: each runs on the first of those interpreters that has it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORKERS, PLACES = 3, 4
WORK_S = 0.12
LEASE_S = 4
QUIET_S = 20.0
SYSTEMS = {
    "ours, the queue alone": "copydesk",
    "ours, with the ledger": "copydesk",
    "arq": "arq",
    "taskiq-redis": "taskiq_redis",
    "taskiq-redis, lock limited": "taskiq_redis",
}
"""Row of the table -> the module that it needs."""


def note(folder: Path, word: str, task: str) -> None:
    """One line, whole or not at all, that outlives this process."""
    file = os.open(folder / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{word} {task} {time.time():.3f}\n".encode())
    finally:
        os.close(file)


async def job(folder: Path, task: str) -> None:
    """What every system runs."""
    note(folder, "began", task)
    await asyncio.sleep(WORK_S)
    note(folder, "effect", task)
    await asyncio.sleep(WORK_S)
    note(folder, "ended", task)


async def produce(folder: Path, n: int, seconds: float, enqueue: Callable[[str], Awaitable[Any]]) -> None:
    """Enqueue n tasks evenly over `seconds`, noting each once it was acknowledged; then a few until it is killed."""
    start = time.perf_counter()
    for k in range(n):
        await asyncio.sleep(max(0.0, start + k * seconds / n - time.perf_counter()))
        await enqueue(f"task-{k}")
        note(folder, "enqueued", f"task-{k}")
    for k in itertools.count():
        await asyncio.sleep(0.5)
        await enqueue(f"later-{k}")


# Ours


async def ours(role: str, url: str, folder: Path, n: int, seconds: float, *, ledger: bool) -> None:
    sys.path.insert(0, str(ROOT))
    from contextlib import AsyncExitStack
    from datetime import timedelta

    from config.clock import SystemClock
    from config.errors import LeaseLost
    from memory.queue import Lease, Task, open_queue
    from memory.queue.owner import current_owner
    from runtime.guard import TaskGuard

    clock, ttl = SystemClock(), timedelta(seconds=LEASE_S)
    async with AsyncExitStack() as stack:
        queue = await stack.enter_async_context(open_queue(url, clock=clock))
        if role == "produce":
            await produce(
                folder, n, seconds, lambda id: queue.enqueue(Task(id, "advance", "work", "eesystem", clock.now()))
            )
            return
        publish = await stack.enter_async_context(published(folder)) if ledger else None
        running: set[asyncio.Task[None]] = set()

        async def run(lease: Lease) -> None:
            id = lease.task.id
            try:
                if publish is None:
                    await job(folder, id)
                else:
                    note(folder, "began", id)
                    await asyncio.sleep(WORK_S)
                    end = await publish(id, TaskGuard(lease, queue, clock, ttl))
                    if end == "later":
                        await queue.release(lease, run_at=clock.now() + timedelta(seconds=0.3))
                        return
                    await asyncio.sleep(WORK_S)
                    note(folder, end, id)
                await queue.complete(lease)
            except LeaseLost:
                pass  # somebody else has it

        looked = 0.0
        while True:
            if time.monotonic() - looked > 1:
                looked = time.monotonic()
                await queue.reclaim_dead()
            # Work that was under way when workers died runs alone, as the product's worker does it.
            suspects = (
                [] if running else await queue.claim(["work"], owner=current_owner(), ttl=ttl, limit=1, solo=True)
            )
            free = 0 if suspects else PLACES - len(running)
            leases = await queue.claim(["work"], owner=current_owner(), ttl=ttl, limit=free) if free else []
            for lease in (*suspects, *leases):
                task = asyncio.create_task(run(lease))
                running.add(task)
                task.add_done_callback(running.discard)
            if suspects:
                await asyncio.wait(running)
            await asyncio.sleep(0.02)


def published(folder: Path) -> Any:
    """Opens the product's ledger in front of a platform that is the file of notes: what it shows can be read back."""
    from contextlib import asynccontextmanager
    from datetime import timedelta  # fmt: skip

    from config.clock import SystemClock
    from memory.records.protocol import open_records
    from tests.fakes.publishing import Times, a_parcel, allowed
    from tools.publish.ledger import BurstLimit, Ledger
    from tools.publish.protocol import Receipt

    class Notes:
        """A platform: a post is a line."""

        name = "notes"
        ready_ahead = False

        def parts(self, post: Any) -> int:
            return 1

        async def prepare(self, parcel: Any, *, attempt: int) -> str:
            return "handle"

        async def finalize(self, parcel: Any, **_: Any) -> Receipt:
            note(folder, "effect", parcel.piece_id)
            return Receipt(parcel.piece_id, "file:notes")

        async def check(self, parcel: Any, **_: Any) -> Receipt | None:
            shown = f"effect {parcel.piece_id} " in (folder / "notes").read_text()
            return Receipt(parcel.piece_id, "file:notes") if shown else None

    times = Times(*(timedelta(seconds=s) for s in (2, 1, 1)))

    @asynccontextmanager
    async def opened() -> Any:
        async with open_records(f"sqlite:///{folder}", clock=SystemClock()) as store:
            ledger = Ledger(
                store.for_brand("eesystem"), SystemClock(), times, boot_id="this boot", burst=BurstLimit(most=10**6)
            )

            async def publish(id: str, guard: Any) -> str:
                parcel: Any = a_parcel(piece_id=id)
                await ledger.publish(parcel, Notes(), guard=guard, still_allowed=allowed)
                found = await ledger.resolve_by_readback(parcel, Notes())
                return {"published": "ended", "needs_human": "asked"}.get(str(found.status), "later")

            yield publish

    return opened()


# The peers


async def arq(role: str, url: str, folder: Path, n: int, seconds: float) -> None:
    from arq import create_pool
    from arq.connections import RedisSettings
    from arq.worker import Worker, func

    settings = RedisSettings.from_dsn(url)
    if role == "produce":
        pool = await create_pool(settings)
        await produce(folder, n, seconds, lambda id: pool.enqueue_job("job", id, _job_id=id))
        return

    async def run(context: Any, id: str) -> None:
        await job(folder, id)

    worker = Worker(
        functions=[func(run, name="job")],
        redis_settings=settings,
        max_jobs=PLACES,
        job_timeout=LEASE_S,
        max_tries=5,
        poll_delay=0.1,
        handle_signals=False,
    )
    await worker.async_run()


async def taskiq(role: str, url: str, folder: Path, n: int, seconds: float, *, limited: bool) -> None:
    from taskiq.api import run_receiver_task
    from taskiq_redis import RedisStreamBroker

    more: dict[str, Any] = {"unacknowledged_lock_timeout": 3, "xread_count": PLACES} if limited else {}
    broker = RedisStreamBroker(
        url=url,
        idle_timeout=LEASE_S * 1000,
        xread_block=500,
        consumer_name=f"worker-{os.getpid()}",
        consumer_id="0",
        **more,
    )

    @broker.task(task_name="job")
    async def run(id: str) -> None:
        await job(folder, id)

    if role == "work":
        broker.is_worker_process = True
    await broker.startup()
    if role == "produce":
        await produce(folder, n, seconds, run.kiq)
    else:
        await run_receiver_task(broker, max_async_tasks=PLACES)


def child(system: str, role: str, url: str, folder: Path, n: int, seconds: float) -> None:
    given = role, url, folder, n, seconds
    if system.startswith("ours"):
        asyncio.run(ours(*given, ledger=system.endswith("ledger")))
    elif system == "arq":
        asyncio.run(arq(*given))
    else:
        asyncio.run(taskiq(*given, limited=system.endswith("limited")))


# The loop


def read_notes(folder: Path) -> list[tuple[str, str, float]]:
    """What was noted of the tasks that count."""
    file = folder / "notes"
    lines = file.read_text().splitlines() if file.exists() else []
    notes = [(word, task, float(at)) for word, task, at in (line.split(" ") for line in lines)]
    return [one for one in notes if one[1].startswith("task-")]


def loop(python: str, system: str, n: int, seconds: float, seed: int) -> dict[str, Any]:
    """Run a system on a server of its own; what came of its tasks."""
    from tests.fakes.redis_server import RedisServer

    rng = random.Random(seed)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = RedisServer("--appendonly", "yes", "--appendfsync", "everysec", port=port).start()
    workers: list[subprocess.Popen[bytes]] = []
    others: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [python, __file__, "--n", str(n), "--seconds", str(seconds), "--folder", name]
        command += ["--url", f"redis://127.0.0.1:{port}/0", "--system", system, "--role"]

        def start(role: str) -> subprocess.Popen[bytes]:
            errors = subprocess.DEVNULL if role == "work" else None
            return subprocess.Popen([*command, role], stdout=errors, stderr=errors, start_new_session=True)

        try:
            workers += [start("work") for _ in range(WORKERS)]
            time.sleep(1.5)
            producer, kills, end = start("produce"), 0, time.monotonic() + seconds
            others.append(producer)
            while (pause := rng.uniform(0.5, 1.5)) < end - time.monotonic():
                time.sleep(pause)
                number = rng.randrange(WORKERS)
                os.killpg(workers[number].pid, signal.SIGKILL)
                workers[number].wait()
                workers[number] = start("work")
                kills += 1
            killed_at = time.time()
            settled_at, size = time.monotonic(), -1
            while time.monotonic() - settled_at < QUIET_S:
                notes = read_notes(folder)
                if len({task for word, task, _ in notes if word in ("ended", "asked")}) == n:
                    break
                if producer.poll() is not None:
                    raise RuntimeError(f"{system}: the producer ended with {producer.returncode}")
                if len(notes) != size:
                    settled_at, size = time.monotonic(), len(notes)
                time.sleep(0.2)
            time.sleep(1)  # what is done twice may still be under way
            notes = read_notes(folder)
        finally:
            for process in (*workers, *others):
                process.kill()
                process.wait()
            server.close()
    tasks = {
        word: {task for said, task, _ in notes if said == word} for word in ("enqueued", "began", "ended", "asked")
    }
    effects = Counter(task for word, task, _ in notes if word == "effect")
    first_end: dict[str, float] = {}
    for word, task, at in notes:
        if word in ("ended", "asked"):
            first_end.setdefault(task, at)
    lost = len(tasks["enqueued"] - tasks["ended"] - tasks["asked"])
    return {
        "kills": kills,
        "enqueued": len(tasks["enqueued"]),
        "never": len(tasks["enqueued"] - tasks["began"]),
        "unfinished": lost,
        "asked": len(tasks["asked"] - tasks["ended"]),
        "doubled": sum(effects.values()) - len(effects),
        "recovery": f"{max(0.0, max(first_end.values()) - killed_at):.1f} s"
        if not lost and first_end
        else "not at all",
    }


def find_python(module: str) -> str | None:
    """The interpreter that has `module`: ours, or the first of COPYDESK_TEST_PEERS_PYTHON."""
    if module == "copydesk":
        return sys.executable
    for python in filter(None, os.environ.get("COPYDESK_TEST_PEERS_PYTHON", "").split(os.pathsep)):
        if subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0:
            return python
    return None


def version(python: str, module: str) -> str:
    if module == "copydesk":
        return ""
    name = module.replace("_", "-")
    code = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long workers are killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="rows of the table that begin so")
    for name in ("system", "role", "url", "folder"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        child(given.system, given.role, given.url, Path(given.folder), given.n, given.seconds)
        return
    sys.path.insert(0, str(ROOT))
    print(
        f"{given.n} tasks, {WORKERS} workers x {PLACES}, SIGKILL every 0.5-1.5 s for {given.seconds:g} s, seed {given.seed}; "
        "redis-server with AOF everysec"
    )
    columns = ("kills", "never ran", "not finished", "asks a human", "effects twice", "recovered after")
    print(f"  {'':34}" + "".join(f"{column:>16}" for column in columns), flush=True)
    missing = set()
    for system, module in SYSTEMS.items():
        if not system.startswith(given.only):
            continue
        python = find_python(module)
        if python is None:
            missing.add(module)
            continue
        found = loop(python, system, given.n, given.seconds, given.seed)
        shown = (found[name] for name in ("kills", "never", "unfinished", "asked", "doubled", "recovery"))
        label = f"{system} {version(python, module)}".strip()
        print(f"  {label:34}" + "".join(f"{number:>16}" for number in shown), flush=True)
    if missing:
        print(f"  not run: {', '.join(sorted(missing))}: COPYDESK_TEST_PEERS_PYTHON names no interpreter that has it")


if __name__ == "__main__":
    main()
