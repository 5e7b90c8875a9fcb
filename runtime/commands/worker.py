"""`worker`: takes tasks of every brand until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import platform
import signal
import sys
from contextlib import AsyncExitStack
from typing import Any

from runtime.commands.common import INTERRUPTED, OK, add_verb, load, run_async


def register(verbs: Any) -> None:
    worker = add_verb(verbs, "worker", "run tasks until stopped: SIGTERM drains, a second one stops at once")
    worker.add_argument("--concurrency", type=int, metavar="N", help="tasks at a time (default COPYDESK_CONCURRENCY)")
    worker.add_argument(
        "--no-scheduler", action="store_true", help="leave schedules, reconcile and sweep to other workers"
    )
    worker.add_argument("--until-idle", action="store_true", help="stop when nothing is ready or running")
    worker.add_argument(
        "--metrics-port", type=_port, metavar="N", help="serve /health and /metrics on 127.0.0.1:N (off by default)"
    )
    worker.set_defaults(run=lambda args: run_async(lambda: run_worker(args)))


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a port: give 1 to 65535")


async def run_worker(args: argparse.Namespace) -> int:
    """Work; 0 after a drain by SIGTERM or to be recycled, 130 after Ctrl-C."""
    from memory.queue.protocol import QUEUES, UPKEEP_QUEUE
    from runtime.compose import open_runtime
    from runtime.metrics import serve_metrics
    from runtime.worker import Worker

    settings = load(args, concurrency=args.concurrency)
    stopped: list[int] = []
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(open_runtime(settings))
        queues = [name for name in QUEUES if not (args.no_scheduler and name == UPKEEP_QUEUE)]
        worker = Worker(runtime, upkeep=not args.no_scheduler, queues=queues)
        if getattr(args, "metrics_port", None):
            await stack.enter_async_context(serve_metrics(worker, args.metrics_port))
        if not args.json and (args.log_level or "warning").lower() != "error":
            print(
                f"worker on {platform.node()}: queues {', '.join(queues)}; {worker.concurrency} tasks at a time; "
                "Ctrl-C or SIGTERM drains it",
                file=sys.stderr,
            )
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
            ours = [depth for name, depth in depths.items() if name in queues]
            return not any(depth.leased or (depth.ready and not depth.paused) for depth in ours)

        try:
            await worker.run(until=nothing_left if args.until_idle else None)
        except asyncio.CancelledError:
            if not stopped:
                raise
    return INTERRUPTED if signal.SIGINT in stopped else OK
