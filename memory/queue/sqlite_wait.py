"""Waiting until somebody writes to the queue's file: asks SQLite for the file's version, which takes microseconds and no lock."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable

from memory.sqlite_file import Operation, SqliteFile, T

_LOOK_EVERY_S = 0.025
"""How often a wait asks whether another process has written."""


def version_of(connection: sqlite3.Connection) -> int:
    """A number that changes when anybody else has written to the file of this connection."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _end(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class WatchedFile:
    """A file whose writers end the waits for it."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self.read = file.read
        self._waiting: set[asyncio.Future[None]] = set()

    def write(self, operation: Operation[T]) -> Awaitable[T]:
        """See SqliteFile; waits on this object end at once."""
        return self._write_and_tell(operation) if self._waiting else self._file.write(operation)

    async def _write_and_tell(self, operation: Operation[T]) -> T:
        answer = await self._file.write(operation)
        here = asyncio.get_running_loop()
        for waiting in self._waiting:
            if waiting.get_loop() is here:  # a wait on another loop looks by itself
                _end(waiting)
        return answer

    async def written(self, version: int, *, until: float) -> None:
        """Return once the file, as `read` sees it, has another version, or at `until` of the loop's time."""
        loop = asyncio.get_running_loop()
        while (left := until - loop.time()) > 0:
            waiting: asyncio.Future[None] = loop.create_future()
            timer = loop.call_later(min(left, _LOOK_EVERY_S), _end, waiting)
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                timer.cancel()
                self._waiting.discard(waiting)
            if await self.read(version_of) != version:
                return
