"""A process that has imported everything and forks workers and commands on demand, so that a killed one is back at once.

`python -m tests.chaos.zygote` reads one JSON line a request from stdin, `{"kind": "worker"|"cli", ...}`, forks, and answers
with the child's pid. Settings come from the environment, as for any worker.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no threads may exist before a fork

import graphs.cycle
import graphs.piece
from agents.offline import OfflineChatModel
from config.log import configure_logging
from config.settings import load_settings
from config.vocabulary import PLATFORMS
from runtime.commands.common import dispatch
from runtime.compose import open_runtime
from runtime.worker import Worker
from tests.chaos.mutations import apply_mutation
from tests.fakes.platform import FakePlatformPublisher


class EarlyPlatform(FakePlatformPublisher):
    """The simulated platform, taken for one whose posts may go out before their slot: the loop does not wait a week."""

    ready_ahead = True


def slow_model(rng: random.Random, longest_s: float) -> None:
    """Make every offline answer take up to `longest_s` seconds, so that kills land inside steps."""
    quick = OfflineChatModel._agenerate

    async def slow(self: Any, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(rng.uniform(0, longest_s))
        return await quick(self, *args, **kwargs)

    OfflineChatModel._agenerate = slow  # type: ignore[method-assign]


async def work(request: dict[str, Any]) -> None:
    """Run a worker until it is told to drain."""
    settings = load_settings()
    platform = EarlyPlatform(request["platform_url"])
    async with open_runtime(settings, publishers={name: platform for name in PLATFORMS}) as runtime:
        worker = Worker(runtime, concurrency=4)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.drain)
        await worker.run()


def child(request: dict[str, Any]) -> int:
    """What a fork does."""
    apply_mutation(request.get("mutation", ""))
    output = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    rng = random.Random(request["seed"])
    if request["kind"] == "cli":
        return dispatch(request["argv"])
    slow_model(rng, request.get("model_s", 0.15))
    configure_logging(level="info")
    asyncio.run(work(request))
    return 0


def main() -> None:
    """Fork on request until stdin closes."""
    assert graphs.cycle.VERSION
    assert graphs.piece.VERSION
    print("ready", flush=True)
    children: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if request["kind"] == "wait":  # reap one child and say how it ended; negative for a signal
            _, status = os.waitpid(request["pid"], 0)
            children.discard(request["pid"])
            print(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                code = child(request)
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        children.add(pid)
        print(pid, flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
