"""`python -m tests.fakes.schedule_worker`: forks real workers that look after schedules alone, and kill themselves where they are told.

Reads a JSON line a request from stdin, `{"folder": DATA_DIR, "task": FIRE_TASK_ID, "die_after": N or null, "workers": W}`: W workers
on DATA_DIR at once, each killed (SIGKILL) right after its Nth write to Records, 0 before the first; with null they work until the fire's
task is put off. Answers with the exit status of each, negative for a signal. Every write is appended to DATA_DIR/writes as
`what table-or-kind`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no threads may exist before a fork

import graphs.cycle
from config.log import configure_logging
from config.settings import Settings
from memory.lease import LeaseGuard
from memory.queue.protocol import UPKEEP_QUEUE
from memory.records.protocol import Records
from memory.rows.row import Row
from runtime.compose import open_runtime
from runtime.worker import Worker


class Deadly:
    """A store whose process is killed right after its nth write."""

    def __init__(self, store: Any, die_after: int | None, told: Path) -> None:
        self._store, self._die_after, self._told, self._done = store, die_after, told, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def for_brand(self, brand: str, *, lease: LeaseGuard | None = None) -> Any:
        return _DeadlyRecords(self, self._store.for_brand(brand, lease=lease))

    async def write(self, what: str, call: Callable[[], Any]) -> Any:
        self._die_here()
        answer = await call()
        with self._told.open("a") as out:
            out.write(what + "\n")
        self._done += 1
        self._die_here()
        return answer

    def _die_here(self) -> None:
        if self._done == self._die_after:
            os.kill(os.getpid(), signal.SIGKILL)


class _DeadlyRecords:
    def __init__(self, store: Deadly, records: Records) -> None:
        self._store, self._records, self.brand = store, records, records.brand

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def put(self, *rows: Row) -> None:
        for row in rows:
            await self._store.write(f"put {row.table}", partial(self._records.put, row))

    async def create_once(self, kind: str, key: str, row: Row, *, token: str) -> Any:
        return await self._store.write(
            f"create_once {kind}", lambda: self._records.create_once(kind, key, row, token=token)
        )


async def work(folder: Path, task_id: str, die_after: int | None) -> None:
    """Look after schedules, and after nothing else."""
    # A lease that no pause of the machine outlasts: who is killed is found by its process, not by its lease.
    settings = Settings(data_dir=folder, lease=timedelta(seconds=600), heartbeat=timedelta(seconds=1))
    async with open_runtime(settings) as runtime:
        runtime.records = Deadly(runtime.records, die_after, folder / "writes")

        async def put_off() -> bool:
            task = await runtime.queue.find(task_id)
            depth = (await runtime.queue.depths())[UPKEEP_QUEUE]
            return task is not None and not depth.leased and task.run_at > runtime.clock.now() + timedelta(hours=1)

        await Worker(runtime, queues=(UPKEEP_QUEUE,)).run(until=put_off)


def fork(request: dict[str, Any]) -> int:
    """Start one worker; its process id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            configure_logging(level="error")
            asyncio.run(work(Path(request["folder"]), request["task"], request["die_after"]))
            code = 0
        except BaseException:  # the parent must see a failure, and never run on in a child
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return pid


def main() -> None:
    assert graphs.cycle.VERSION
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        ended = [os.waitpid(pid, 0)[1] for pid in [fork(request) for _ in range(request["workers"])]]
        print(json.dumps([-os.WTERMSIG(s) if os.WIFSIGNALED(s) else os.WEXITSTATUS(s) for s in ended]), flush=True)


if __name__ == "__main__":
    main()
