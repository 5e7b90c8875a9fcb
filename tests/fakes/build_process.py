"""`python -m tests.fakes.build_process DATA_DIR older|newer NAME=VALUE ...`: a worker of a build that is not this one, until SIGTERM.

`older` knows the kinds of task that tests/data/earlier_build was left with, and no others. `newer` knows one kind more,
`paint_walls`, and appends `task id, process id` to DATA_DIR/painted when it has done one.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from config.log import configure_logging
from config.settings import load_settings
from config.vocabulary import TASK_KINDS
from memory.queue.protocol import Task
from runtime import worker as module
from runtime.advance import Done, Outcome
from runtime.compose import open_runtime
from tests.fakes.record_build import EARLIER


class OfAnotherBuild(module.Worker):
    """A worker that can paint walls."""

    async def _handle(self, task: Task, guard: Any, heartbeat: Any) -> Outcome:
        if task.kind != "paint_walls":
            return await super()._handle(task, guard, heartbeat)
        with (self.runtime.settings.data_dir / "painted").open("a") as out:
            out.write(f"{task.id} {os.getpid()}\n")
        return Done()


def kinds_of(build: str) -> set[str]:
    """The kinds of task that a worker of that build can run."""
    if build == "newer":
        return {*TASK_KINDS, "paint_walls"}
    left: list[dict[str, Any]] = json.loads((EARLIER / "queue.json").read_text("utf-8"))
    return {task["kind"] for task in left}


async def work(build: str) -> None:
    """Run until SIGTERM."""
    module.TASK_KINDS = kinds_of(build)  # type: ignore[assignment]
    module.UNKNOWN_KIND_WAIT = timedelta(seconds=1)
    async with open_runtime(load_settings()) as runtime:
        worker = OfAnotherBuild(runtime)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.drain)
        print("ready", flush=True)
        await worker.run()


def main() -> None:
    data_dir, build, *settings = sys.argv[1:]
    os.environ.update({name: value for name, _, value in (setting.partition("=") for setting in settings)})
    os.environ["COPYDESK_DATA_DIR"] = str(Path(data_dir))
    configure_logging(level="error")
    asyncio.run(work(build))


if __name__ == "__main__":
    main()
