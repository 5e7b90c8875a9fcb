"""The cache on Redis, under the seed's keys: `{PREFIX:BRAND}:session:ID`, `{PREFIX:BRAND}:agent:TYPE:ID` and so on.

Redis ends lifetimes by itself. A cache opened with any other clock than the system's keeps them by that clock, for tests.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from config.clock import Clock, SystemClock, to_millis
from config.ids import parse_slug
from memory.cache.protocol import Held
from memory.cache.redis_reviews import RedisReviewIndex
from memory.cache.rules import NANO, UNCLAIMED_HOLDS, lifetime_millis, nano_of
from memory.json_text import to_json_text
from memory.redis_client import RedisServer, open_redis

SCRIPT = (Path(__file__).parent / "redis.lua").read_text("utf-8")
_UNCLAIMED_MS = UNCLAIMED_HOLDS // timedelta(milliseconds=1)
_ITEMS = 2000  # a rebuild sends so many at a time: a script's arguments have a bound


class RedisCache:
    """One brand's view."""

    def __init__(self, server: RedisServer, clock: Clock, brand: str) -> None:
        self._server = server
        self._clock = None if isinstance(clock, SystemClock) else clock
        self._prefix = f"{{{server.address.prefix}:{brand}}}:"

    async def _do(self, verb: str, key: str, *arguments: Any) -> Any:
        now = "" if self._clock is None else to_millis(self._clock.now())
        keys = [self._prefix + key, self._prefix]
        return await self._server.repeat_script(SCRIPT, keys, [now, verb, *arguments])

    async def get(self, key: str) -> Any | None:
        stored = await self._do("get", key)
        try:
            return None if stored is None else json.loads(stored)
        except ValueError:
            return None  # not what we wrote: a cache may forget it, and the next put mends it

    async def put(self, key: str, value: Any, *, ttl: timedelta, content_type: str = "api_result") -> None:
        text = to_json_text(value, what=f"cache value {key!r}")
        await self._do("put", key, text, lifetime_millis(ttl, what=f"cache key {key!r}"))

    async def delete(self, key: str) -> None:
        await self._do("delete", key)

    async def hold(self, key: str, item: str, amount: float, *, ceiling: float) -> Held:
        asked = nano_of(amount, what=f"hold {item!r} of {key!r}")
        bound = nano_of(ceiling, what=f"ceiling of {key!r}")
        return Held((await self._do("hold", key, item, asked, bound)).decode())

    async def set_hold(self, key: str, item: str, amount: float) -> None:
        await self._do("set_hold", key, item, nano_of(amount, what=f"hold {item!r} of {key!r}"), _UNCLAIMED_MS)

    async def rebuild_holds(self, key: str, items: Mapping[str, float], *, ttl: timedelta) -> None:
        lifetime = lifetime_millis(ttl, what=f"envelope {key!r}")
        rows = [(item, nano_of(amount, what=f"hold {item!r} of {key!r}")) for item, amount in items.items()]
        # Made known by the last part alone; until then each part is set as the cost of a call is, unless it is there.
        *parts, last = [rows[start : start + _ITEMS] for start in range(0, max(1, len(rows)), _ITEMS)]
        for part in parts:
            await self._do("fill", key, _UNCLAIMED_MS, *(text for row in part for text in row))
        await self._do("rebuild", key, lifetime, *(text for row in last for text in row))

    async def held(self, key: str) -> float | None:
        total = await self._do("held", key)
        return None if total is None else int(total) / NANO

    async def sweep(self) -> int:
        """Delete what is over by a clock that the server does not know; how many entries went."""
        return 0 if self._clock is None else int(await self._do("sweep", ""))


class RedisCacheStore:
    """The open engine."""

    def __init__(self, server: RedisServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._brands: dict[str, RedisCache] = {}
        self._reviews: dict[str, RedisReviewIndex] = {}

    def for_brand(self, brand: str) -> RedisCache:
        name = parse_slug(brand, what="brand")
        if name not in self._brands:
            self._brands[name] = RedisCache(self._server, self._clock, name)
        return self._brands[name]

    def review_index(self, brand: str) -> RedisReviewIndex:
        name = parse_slug(brand, what="brand")
        if name not in self._reviews:
            self._reviews[name] = RedisReviewIndex(self._server, name)
        return self._reviews[name]

    async def sweep(self) -> int:
        # Redis has deleted what expired already; only a test's clock leaves anything to do.
        return sum([await cache.sweep() for cache in self._brands.values()])


@asynccontextmanager
async def open_redis_cache(url: str, *, clock: Clock) -> AsyncIterator[RedisCacheStore]:
    """Open the cache at a Redis address (memory/redis_client.py lists its forms). Raises SettingsError and Unavailable."""
    async with open_redis(url) as server:
        yield RedisCacheStore(server, clock)
