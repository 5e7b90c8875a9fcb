"""The stores of a loop, and how each of them breaks: a server that is killed and wiped, an API that is slow and drops answers."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.fakes.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[2]
ENGINES = ("sqlite", "austere", "redis", "many")
"""`redis`: queue and cache in Redis; `many`: those, and rows and checkpoints behind the fake Data API."""


class Stores:
    """Where a loop's processes keep their things."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = environ
        self.faults: Counter[str] = Counter()
        self.redis: RedisServer | None = None
        self._api: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._broken = 0

    @property
    def breakable(self) -> bool:
        """Whether these stores have faults of their own."""
        return self.redis is not None

    async def fault(self, rng: random.Random) -> None:
        """Break something, and mend it again; one thing at a time."""
        # Drawn before waiting, so that a seed means the same faults in the same order.
        draw, pause = rng.random(), rng.uniform(0.1, 0.9)
        orders = [_order(rng) for _ in range(rng.randint(1, 4))]
        async with self._turn:
            self._broken += 1
            if self._api is not None and self._broken % 2:
                for order in orders:
                    self.faults[f"api {order['kind']}"] += 1
                    await self._order(order)
            elif not self.faults["wipes"] or (self.faults["server kills"] and draw < 0.5):
                await self.wipe()  # whatever is drawn, one of each comes first
            else:
                await self.kill_server(pause)

    async def wipe(self) -> None:
        """FLUSHALL."""
        assert self.redis is not None
        answer = await asyncio.to_thread(self.redis.command, "FLUSHALL")
        assert answer.startswith("+OK"), answer
        self.faults["wipes"] += 1

    async def kill_server(self, pause_s: float) -> None:
        """SIGKILL, and the same server on the same append-only file after `pause_s`."""
        assert self.redis is not None
        self.redis.kill()
        self.faults["server kills"] += 1
        await asyncio.sleep(pause_s)
        await asyncio.to_thread(self.redis.start)

    async def calm(self) -> None:
        """Wait until everything answers; no ordered fault is left."""
        async with self._turn:
            await self._order({"clear": True})

    async def _order(self, order: dict[str, Any]) -> None:
        if self._api is None:
            return
        assert self._api.stdin is not None
        assert self._api.stdout is not None
        self._api.stdin.write(json.dumps(order).encode() + b"\n")
        await self._api.stdin.drain()
        assert await self._api.stdout.readline() == b"ok\n"


def _order(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(("429", "503", "delay", "drop", "commit_drop", "error"))
    return {
        "kind": kind,
        "times": rng.randint(1, 6),
        "after": rng.randint(0, 20),
        "seconds": rng.uniform(0.1, 1.5),
        "retry_after": "1",
    }


@asynccontextmanager
async def open_stores(engine: str) -> AsyncIterator[Stores]:
    """Start what `engine` needs; `environ` names it to the processes of the loop."""
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r}: choose one of {', '.join(ENGINES)}")
    stores = Stores({})
    async with AsyncExitStack() as stack:
        if engine in ("redis", "many"):
            # Once a second, as a server is installed: a kill loses what the last second brought.
            server = RedisServer("--appendonly", "yes", "--appendfsync", "everysec")
            stack.callback(server.close)
            await asyncio.to_thread(server.start)
            stores.redis = server
            url = f"{server.url}?prefix=chaos"
            stores.environ.update(COPYDESK_QUEUE=url, COPYDESK_CACHE=url)
        if engine == "many":
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.chaos.data_api", cwd=ROOT, env=dict(os.environ),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            stack.push_async_callback(end_process, process)
            assert process.stdout is not None
            stores.environ["COPYDESK_RECORDS"] = (await process.stdout.readline()).decode().strip()
            stores._api = process
        yield stores


async def end_process(process: asyncio.subprocess.Process) -> None:
    """Close its standard input, which tells it to end; kill it if it does not within five seconds."""
    assert process.stdin is not None
    process.stdin.close()
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), 5)
    if process.returncode is None:
        process.kill()
        await process.wait()
