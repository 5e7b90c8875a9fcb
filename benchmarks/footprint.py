"""How big a worker gets, and what a finished week leaves behind.

    .venv/bin/python benchmarks/footprint.py

A worker process runs a week of 105 pieces with a model that takes a second an answer, 100 tasks at a time, so that 100 pieces
are under way at once: its peak resident memory (VmHWM) against 300 MB. The floor is a process that has imported the same and
opened the same files. Then a week of 35 pieces is run to its end: the bytes of its checkpoints before they are pruned, which
happens as threads finish, and after, against 100 KB.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._report import BRAND, SlowModel, result, run_product_week, write_week_brand

IN_FLIGHT = 100
MEGABYTES = 300
KILOBYTES = 100


def peak_mb() -> float:
    """The most memory that this process has had resident, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


async def week(a_day: int, concurrency: int, answer_s: float, run: bool) -> dict[str, float]:
    """Run a week here; what it took and left."""
    from config.log import configure_logging
    from config.settings import Settings
    from graphs.sessions import session_piece_ids
    from memory.rows.content import Piece
    from runtime.compose import open_runtime

    configure_logging(level="error")
    with tempfile.TemporaryDirectory() as name:
        write_week_brand(Path(name), a_day=a_day)
        async with open_runtime(Settings(data_dir=Path(name))) as runtime:
            assert runtime.graphs
            await runtime.ensure_brand(BRAND)
            if not run:
                return {"peak_mb": peak_mb()}
            unpruned = 0
            records = runtime.records.for_brand(BRAND)
            prune = runtime.checkpoints.prune

            async def measured(brand: str, thread_id: str) -> None:
                nonlocal unpruned
                unpruned += await runtime.checkpoints.size_bytes(brand, [thread_id])
                await prune(brand, thread_id)

            runtime.checkpoints.prune = measured  # type: ignore[method-assign]
            model = SlowModel(answer_s)
            session = await run_product_week(runtime, concurrency=concurrency)
            model.stop()
            assert str(session.status) == "done", session.reason
            ids = session_piece_ids(session)
            threads = [piece.thread_id for piece in await records.find_many(Piece, [{"id": id} for id in ids])]
            return {
                "peak_mb": peak_mb(),
                "in_flight": model.most_waiting,
                "pieces": len(ids),
                "unpruned": unpruned,
                "left": await runtime.checkpoints.size_bytes(BRAND, [session.id, *threads]),
            }


def in_a_process(*arguments: Any) -> dict[str, float]:
    """What `week` says in a process of its own, whose peak nothing else has touched."""
    command = [sys.executable, __file__, "--child", json.dumps(arguments)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(asyncio.run(week(*json.loads(sys.argv[2])))))
        return
    floor = in_a_process(15, IN_FLIGHT, 1.0, False)
    big = in_a_process(15, IN_FLIGHT, 1.0, True)
    assert big["in_flight"] >= IN_FLIGHT, f"only {big['in_flight']} pieces were under way at once"
    print("The ratio is to the target")
    result(
        f"a worker with {big['in_flight']:.0f} of {big['pieces']:.0f} pieces, at most {MEGABYTES} MB",
        f"{big['peak_mb']:.0f} MB",
        f"idle worker {floor['peak_mb']:.0f} MB",
        big["peak_mb"] / MEGABYTES,
        1,
    )
    small = in_a_process(5, 8, 0.0, True)
    result(
        f"checkpoints of a finished week of {small['pieces']:.0f}, at most {KILOBYTES} KB",
        f"{small['left'] / 1000:.0f} KB",
        f"before pruning {small['unpruned'] / 1000:.0f} KB",
        small["left"] / 1000 / KILOBYTES,
        1,
    )


if __name__ == "__main__":
    main()
