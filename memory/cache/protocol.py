"""Cache: what may be forgotten. Compliance and preflight never read one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from importlib import import_module
from typing import Any, Protocol, cast

from config.clock import Clock
from config.errors import SettingsError

SESSION_TTL = timedelta(minutes=30)
CONTENT_TTL = timedelta(hours=24)
BRAND_TTL = timedelta(hours=1)
AGENT_TTL = timedelta(minutes=5)
COORD_TTL = timedelta(hours=1)


def content_key(*parts: str) -> str:
    """The seed's `content_gen:{hash}` key for one generation: sha256 of model, prompt, guideline and knowledge versions."""
    import hashlib

    return "content_gen:" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


class Cache(Protocol):
    """Values of one brand that may vanish at any time. Keys are those of the seed: `session:{id}`, `brand:{type}:{key}`, ..."""

    async def get(self, key: str) -> Any | None:
        """The JSON value, None if absent or expired."""
        ...

    async def put(self, key: str, value: Any, *, ttl: timedelta, content_type: str = "api_result") -> None:
        """Store a JSON value for `ttl`. Raises BadInput for values that are not plain JSON."""
        ...

    async def delete(self, key: str) -> None:
        """Forget it; no error if absent."""
        ...

    async def append(self, key: str, value: Any, *, ttl: timedelta, keep: int = 500) -> None:
        """Add to an ordered list (`coord:{session}`), keeping the last `keep` items and renewing `ttl`."""
        ...

    async def items(self, key: str) -> Sequence[Any]:
        """The ordered list, oldest first; empty if absent or expired."""
        ...


class CacheStore(Protocol):
    """An open engine."""

    def for_brand(self, brand: str) -> Cache: ...

    async def sweep(self) -> int:
        """Delete what has expired; how many entries went."""
        ...


_ENGINES = {"sqlite": "memory.cache.sqlite:open_sqlite_cache"}


def open_cache(url: str, *, clock: Clock) -> AbstractAsyncContextManager[CacheStore]:
    """Open the cache behind `url`: `sqlite:///FILE` (the session database). Raises SettingsError for an unknown scheme."""
    scheme = url.partition("://")[0]
    if scheme not in _ENGINES:
        raise SettingsError(f"COPYDESK_CACHE: no engine for {scheme!r}; known: {', '.join(sorted(_ENGINES))}")
    module, _, name = _ENGINES[scheme].partition(":")
    return cast(AbstractAsyncContextManager[CacheStore], getattr(import_module(module), name)(url, clock=clock))
