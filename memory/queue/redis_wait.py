"""Hints: words in a stream that a queue has changed, read on a connection of its own by those who wait for work.

The script writes one only where somebody waits. Nothing hangs on them: no task travels in one, and whoever misses one looks by
himself at the end of his wait.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

from config.errors import CopydeskError
from memory.redis_client import RedisServer

_BLOCK_MS = 2_000  # below the driver's time limit for an answer
_PAUSE_S = 1.0


class Hints:
    """Listens to the stream `key` while anybody waits."""

    def __init__(self, server: RedisServer, key: str) -> None:
        self._server = server
        self._key = key
        self._waiting: set[asyncio.Future[None]] = set()
        self._after = "0-0"
        self._wanted = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None
        self.heard = 0
        """Hints that came so far."""

    async def __aenter__(self) -> Hints:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listener is not None:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener

    async def next(self, *, after: str, timeout_s: float) -> None:
        """Return at the next hint behind the entry `after` of the stream, or after the timeout."""
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen(), name="redis-hints")
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        # The latest entry that a waiter has seen: earlier waiters are told of what came before it by the read under way.
        self._after = after
        self._wanted.set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await waiting
        finally:
            self._waiting.discard(waiting)

    async def _listen(self) -> None:
        while True:
            if not self._waiting:
                self._wanted.clear()
                await self._wanted.wait()
            try:
                came = await self._server.call(
                    "XREAD", "BLOCK", _BLOCK_MS, "STREAMS", self._key, self._after, pinned="hints"
                )
            except CopydeskError:
                await asyncio.sleep(_PAUSE_S)  # the next look of those who wait tells them what is wrong
                continue
            if came:
                self.heard += 1
                for waiting in self._waiting:
                    if not waiting.done():
                        waiting.set_result(None)
                self._waiting.clear()
