"""`worker`: takes tasks of every brand until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import signal
from typing import Any

from runtime.commands.common import INTERRUPTED, OK, add_verb, load, run_async


def register(verbs: Any) -> None:
    worker = add_verb(verbs, "worker", "run tasks until stopped: SIGTERM drains, a second one stops at once")
    worker.add_argument("--concurrency", type=int, metavar="N", help="tasks at a time (default COPYDESK_CONCURRENCY)")
    worker.add_argument("--no-scheduler", action="store_true", help="leave reconcile and sweep to other workers")
    worker.add_argument("--until-idle", action="store_true", help="stop when nothing is ready or running")
    worker.set_defaults(run=lambda args: run_async(lambda: run_worker(args)))


async def run_worker(args: argparse.Namespace) -> int:
    """Work; 0 after a drain by SIGTERM, 130 after Ctrl-C."""
    from runtime.compose import open_runtime
    from runtime.worker import Worker

    settings = load(args, concurrency=args.concurrency)
    stopped: list[int] = []
    async with open_runtime(settings) as runtime:
        worker = Worker(runtime, upkeep=not args.no_scheduler)
        main = asyncio.current_task()

        def stop(number: int) -> None:
            if stopped and main is not None:
                main.cancel()
            stopped.append(number)
            worker.drain()

        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop, int(name))

        async def nothing_left() -> bool:
            depths = await runtime.queue.depths()
            return not any(depth.leased or (depth.ready and not depth.paused) for depth in depths.values())

        try:
            await worker.run(until=nothing_left if args.until_idle else None)
        except asyncio.CancelledError:
            if not stopped:
                raise
    return INTERRUPTED if signal.SIGINT in stopped else OK
