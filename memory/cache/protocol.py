"""Cache: what may be forgotten. Compliance and preflight never read one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from importlib import import_module
from typing import Any, Protocol, cast

from config.clock import Clock
from config.errors import SettingsError
from config.settings import REDIS_SCHEMES
from memory.rows.checks import Review

SESSION_TTL = timedelta(minutes=30)
CONTENT_TTL = timedelta(hours=24)
BRAND_TTL = timedelta(hours=1)
AGENT_TTL = timedelta(minutes=5)
COORD_TTL = timedelta(hours=1)


REVIEWS_TTL = timedelta(minutes=1)
"""So long an index of reviews is believed that was not told of a change, because its teller died or could not reach it."""


@dataclass(frozen=True)
class Stale:
    """The answer of an index that is not known to be whole."""

    change: str
    """The last change that it was told of."""


class Held(StrEnum):
    """The answer of `hold`."""

    GRANTED = "granted"
    REFUSED = "refused"
    MISSING = "missing"


def content_key(*parts: str) -> str:
    """The seed's `content_gen:{hash}` key of one generation: sha256 of model, prompt, guideline, knowledge versions."""
    return "content_gen:" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


class Cache(Protocol):
    """One brand's values, which may vanish at any time, under the seed's keys: `session:{id}`, `brand:{type}:{key}`.

    A key holds one kind of thing: a value or an envelope. What an engine does with two of them is its own affair.
    """

    async def get(self, key: str) -> Any | None:
        """The JSON value, None if absent or expired."""
        ...

    async def put(self, key: str, value: Any, *, ttl: timedelta, content_type: str = "api_result") -> None:
        """Store a JSON value for `ttl`. Raises BadInput for values that are not plain JSON."""
        ...

    async def delete(self, key: str) -> None:
        """Forget it; no error if absent."""
        ...

    async def hold(self, key: str, item: str, amount: float, *, ceiling: float) -> Held:
        """Set `item` of the envelope `key` to `amount` (US dollars) if the sum of its items stays within `ceiling`.

        One atomic step, idempotent by `item`; exact to 1e-9. MISSING: the envelope is not known: rebuild it from usage
        rows first. Raises BadInput for an amount or ceiling that is negative, not finite or above 1e9.
        """
        ...

    async def set_hold(self, key: str, item: str, amount: float) -> None:
        """Set `item` without a ceiling: what a call really cost. Is kept also while the envelope is not known."""
        ...

    async def rebuild_holds(self, key: str, items: Mapping[str, float], *, ttl: timedelta) -> None:
        """Make the envelope known: add each of `items` that it does not hold yet. Safe when several do it at once."""
        ...

    async def held(self, key: str) -> float | None:
        """The sum of the envelope's items in US dollars; None if it is not known."""
        ...


class ReviewIndex(Protocol):
    """The seed's `compliance_review_queue`: one brand's pending reviews in the order in which humans read them.

    It is here and not among the queues because nothing is leased from it and nothing is lost with it: it is a copy of rows,
    for people, and a decision is never taken from it. It is told of each review as its row is written (`memory/live.py`),
    and is rebuilt from the rows by whoever asks when it is not known to be whole (`runtime/reviews.py`).
    """

    async def put(self, *reviews: Review) -> None:
        """Add pending reviews, or replace them by id."""
        ...

    async def remove(self, *ids: str) -> None:
        """Take out reviews that are decided; no error for others."""
        ...

    async def pending(self) -> Sequence[Review] | Stale:
        """The reviews, critical first, then oldest. Stale when it was never built, was wiped in whole or part, or was last
        built more than `REVIEWS_TTL` ago: then the rows are to be asked, and the index built from them."""
        ...

    async def rebuild(self, reviews: Sequence[Review], stale: Stale) -> bool:
        """Make the index exactly `reviews`, which were read after `stale` was answered.

        False, with nothing changed, if it was told of a change meanwhile, which those rows may not have.
        """
        ...


class CacheStore(Protocol):
    """An open engine."""

    def for_brand(self, brand: str) -> Cache:
        """The cache of one brand: it neither sees nor changes another brand's keys."""
        ...

    def review_index(self, brand: str) -> ReviewIndex | None:
        """The index of the brand's pending reviews; None where the rows are as near as an index would be."""
        ...

    async def sweep(self) -> int:
        """Delete what has expired; how many entries went."""
        ...


_ENGINES = {
    "sqlite": "memory.cache.sqlite:open_sqlite_cache",
    **dict.fromkeys(REDIS_SCHEMES, "memory.cache.redis:open_redis_cache"),
}


def open_cache(url: str, *, clock: Clock) -> AbstractAsyncContextManager[CacheStore]:
    """Open the cache behind `url`: `sqlite:///FILE` (the session database), or a Redis address (memory/redis_client.py).

    Raises SettingsError for another scheme.
    """
    scheme = url.partition("://")[0]
    if scheme not in _ENGINES:
        raise SettingsError(f"COPYDESK_CACHE: no engine for {scheme!r}; known: {', '.join(sorted(_ENGINES))}")
    module, _, name = _ENGINES[scheme].partition(":")
    return cast(AbstractAsyncContextManager[CacheStore], getattr(import_module(module), name)(url, clock=clock))
