"""A fresh place for each engine of event streams, and a way to wipe it as a crash of its server does."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.redis_server import redis_url, shared_server


@dataclass(frozen=True)
class Place:
    """Where an engine keeps its streams."""

    url: str
    wipe: Callable[[], Awaitable[None]]


def _sqlite(folder: Path) -> Place:
    file = folder / "session.db"

    def empty() -> None:
        with closing(sqlite3.connect(file, isolation_level=None, timeout=10)) as connection:
            connection.execute("DELETE FROM session_events")
            connection.execute("DELETE FROM sqlite_sequence")  # numbers begin anew, as in a new file

    return Place(f"sqlite:///{file}", lambda: asyncio.to_thread(empty))


def _redis(folder: Path) -> Place:
    url = redis_url(folder)
    prefix = url.partition("prefix=")[2]
    empty = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end return 1"

    async def wipe() -> None:
        assert await asyncio.to_thread(shared_server().command, "EVAL", empty, "0", f"{{{prefix}:*") == ":1\r\n"
        # Redis names entries by its millisecond: one that is wiped and written again within it bears the old name.
        # A server that crashed and came back is never so quick.
        await asyncio.sleep(0.002)

    return Place(url, wipe)


ENGINES = {"sqlite": _sqlite, "redis": _redis}
