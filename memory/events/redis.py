"""The event streams on Redis 6.2 or later: one stream a session, under the seed's key `{PREFIX:BRAND}:coord:SESSION`.

Redis ends a stream an hour after its last event, whatever clock this was opened with. Who waits does so on a connection that
the client lends to this one call, so that nothing else waits behind it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from config.clock import Clock
from config.errors import Damaged
from config.ids import parse_slug
from memory.cache.protocol import COORD_TTL
from memory.events.protocol import KEPT, START, Page, decode_event
from memory.redis_client import TIMEOUT_S, RedisServer, open_redis
from memory.rows.sessions import Event

SCRIPT = (Path(__file__).parent / "redis.lua").read_text("utf-8")
_EMPTY = "0-0"
"""The cursor behind a stream that holds nothing: Redis names no entry so."""
_LONGEST_WAIT_S = TIMEOUT_S - 1
"""Below the client's own time limit, past which a server that says nothing counts as away."""


class RedisEventStream:
    """One brand's view."""

    def __init__(self, server: RedisServer, clock: Clock, brand: str) -> None:
        self._server = server
        self._clock = clock
        self._prefix = f"{{{server.address.prefix}:{brand}}}:coord:"

    async def append(self, event: Event) -> None:
        key = self._prefix + event.session_id
        lifetime = COORD_TTL // timedelta(milliseconds=1)
        await self._server.script(SCRIPT, [key], [event.model_dump_json(), KEPT, lifetime])

    async def read(self, session_id: str, *, after: str = START, wait: timedelta = timedelta(0)) -> Page:
        key = self._prefix + session_id
        try:
            if after == START:
                page = await self._from_start(key)
                if page.events or wait <= timedelta(0):
                    return page
                came = await self._behind(key, _EMPTY, wait)
                return Page(_events(came), _last(came, _EMPTY), False)
            came = await self._behind(key, after, wait)
            if came:
                return Page(_events(came), _last(came, after), _before(came[0]) == after)
            # Nothing came: because nothing happened, or because the stream is gone or began anew with lower numbers.
            newest = await self._server.call("XREVRANGE", key, "+", "-", "COUNT", 1)
            if _last(newest, _EMPTY) == after:
                return Page((), after, True)
            return await self._from_start(key)
        except Damaged:
            # Not a stream: a list, as an earlier build keeps it. It cannot be waited at, and the rows tell the same.
            await self._clock.sleep(min(wait, timedelta(seconds=_LONGEST_WAIT_S)))
            return Page((), _EMPTY, False)

    async def _from_start(self, key: str) -> Page:
        held = await self._server.call("XRANGE", key, "-", "+")
        return Page(_events(held), _last(held, _EMPTY), False)

    async def _behind(self, key: str, after: str, wait: timedelta) -> Sequence[Any]:
        milliseconds = min(wait.total_seconds(), _LONGEST_WAIT_S) * 1000
        block = ["BLOCK", max(1, round(milliseconds))] if milliseconds > 0 else []  # BLOCK 0 would be for ever
        answer = await self._server.call("XREAD", "COUNT", KEPT, *block, "STREAMS", key, after)
        return answer[0][1] if answer else []


def _fields(entry: Any) -> dict[bytes, bytes]:
    flat = entry[1]
    return flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=False))


def _before(entry: Any) -> str:
    return _fields(entry).get(b"p", b"?").decode("ascii", "replace")


def _last(entries: Sequence[Any], otherwise: str) -> str:
    return entries[-1][0].decode() if entries else otherwise


def _events(entries: Sequence[Any]) -> list[Event]:
    return [event for entry in entries if (event := decode_event(_fields(entry).get(b"e", b"")))]


class RedisEventStore:
    """The open engine."""

    def __init__(self, server: RedisServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    def for_brand(self, brand: str) -> RedisEventStream:
        return RedisEventStream(self._server, self._clock, parse_slug(brand, what="brand"))


@asynccontextmanager
async def open_redis_events(url: str, *, clock: Clock) -> AsyncIterator[RedisEventStore]:
    """Open the streams at a Redis address (memory/redis_client.py lists its forms). Raises SettingsError and Unavailable."""
    async with open_redis(url) as server:
        yield RedisEventStore(server, clock)
