"""Records whose news is told at once: events go to their session's stream, reviews into the index that humans read.

Wrapped around the store where it is opened, so that whoever writes such a row has told it, and nobody can forget to. The row
is written first and decides alone: a stream or an index that is away costs nothing but the view, which is mended from rows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from config.clock import Clock
from config.errors import CopydeskError
from config.vocabulary import Decision
from memory.cache.protocol import CacheStore, ReviewIndex
from memory.events.protocol import EventStore, EventStream
from memory.lease import LeaseGuard
from memory.records.protocol import Once, Records, RecordsStore
from memory.rows.checks import Review
from memory.rows.row import Row
from memory.rows.sessions import Event

R = TypeVar("R", bound=Row)
_QUIET_S = 5.0
"""A live store that failed is left alone for so long: work must not wait for it at every event."""


class Teller:
    """Tells the live stores, and forgives them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._quiet_until = float("-inf")

    async def tell(self, call: Callable[[], Awaitable[None]]) -> None:
        """Make one call, unless one has just failed. Never raises an error of a store."""
        if self._clock.boottime() < self._quiet_until:
            return
        try:
            await call()
        except CopydeskError:  # whatever it is: the row stands, and a view may not undo it
            self._quiet_until = self._clock.boottime() + _QUIET_S


class LiveRecords:
    """The rows of one brand; `put` and `create_once` tell what they wrote. The rest is the engine's own."""

    def __init__(self, records: Records, teller: Teller, events: EventStream, reviews: ReviewIndex | None) -> None:
        self._records = records
        self._teller = teller
        self._events = events
        self._reviews = reviews

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def put(self, *rows: Row) -> None:
        await self._records.put(*rows)
        for row in rows:
            await self._tell(row)

    async def create_once(self, kind: str, key: str, row: R, *, token: str) -> Once[R]:
        once = await self._records.create_once(kind, key, row, token=token)
        if isinstance(once.row, Review):
            await self._tell(once.row)
        return once

    async def _tell(self, row: Row) -> None:
        if isinstance(row, Event) and row.session_id:
            await self._teller.tell(lambda: self._events.append(row))
        elif isinstance(row, Review) and (reviews := self._reviews) is not None:
            if row.decision is Decision.PENDING:
                await self._teller.tell(lambda: reviews.put(row))
            else:
                await self._teller.tell(lambda: reviews.remove(row.id))


class _LiveStore:
    def __init__(self, store: RecordsStore, teller: Teller, events: EventStore, cache: CacheStore) -> None:
        self._store = store
        self._teller = teller
        self._events = events
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def for_brand(self, brand: str, *, lease: LeaseGuard | None = None) -> Records:
        records = self._store.for_brand(brand, lease=lease)
        live = LiveRecords(records, self._teller, self._events.for_brand(brand), self._cache.review_index(brand))
        return cast(Records, live)


def live_records(store: RecordsStore, *, teller: Teller, events: EventStore, cache: CacheStore) -> RecordsStore:
    """`store`, whose writes of events and reviews are told to `events` and to the review index of `cache`."""
    return cast(RecordsStore, _LiveStore(store, teller, events, cache))
