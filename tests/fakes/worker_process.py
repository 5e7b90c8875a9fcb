"""`python -m tests.fakes.worker_process DATA_DIR [SETTING=VALUE ...]`: a real worker whose pieces do what their names say.

`sleep-S-…` sleeps S seconds, `exit-…` ends the process as a segfault would, `hang-…` never ends, `fail-…` raises; anything
else just ends. Every run appends `piece id, process id` to DATA_DIR/ran, and every end to DATA_DIR/ended.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from runtime import worker
from runtime.advance import Done
from runtime.commands import worker as command
from runtime.compose import Runtime
from runtime.guard import TaskGuard


def _append(file: Path, line: str) -> None:
    with file.open("a") as out:
        out.write(line + "\n")


async def advance_piece(runtime: Runtime, brand: str, piece_id: str, guard: TaskGuard) -> Any:
    """What stands for the agents' work here."""
    folder = runtime.settings.data_dir
    _append(folder / "ran", f"{piece_id} {os.getpid()}")
    verb, *rest = piece_id.split("-")
    if verb == "exit":
        os._exit(139)
    if verb == "hang":
        await asyncio.sleep(3600)
    if verb == "fail":
        raise RuntimeError("it always fails")
    if verb == "sleep":
        await asyncio.sleep(float(rest[0]))
    _append(folder / "ended", f"{piece_id} {os.getpid()}")
    return Done()


def main() -> int:
    data_dir, *settings = sys.argv[1:]
    os.environ.update({name: value for name, _, value in (setting.partition("=") for setting in settings)})
    worker.advance_piece = advance_piece  # type: ignore[assignment]
    args = argparse.Namespace(
        data_dir=data_dir,
        brand=None,
        json=False,
        log_level="ERROR",
        concurrency=None,
        no_scheduler=True,
        until_idle=True,
    )
    if "FOREVER=1" in settings:
        del os.environ["FOREVER"]
        args.until_idle = False
    return asyncio.run(command.run_worker(args))


if __name__ == "__main__":
    sys.exit(main())
