"""The cache in the session database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from config.clock import Clock, to_millis
from config.ids import parse_slug
from memory.cache.protocol import Held
from memory.cache.rules import NANO, UNCLAIMED_HOLDS, lifetime_millis, nano_of
from memory.json_text import to_json_text
from memory.session_schema import APPLICATION_ID, MIGRATIONS
from memory.sqlite_file import SqliteFile, open_sqlite_file


class SqliteCache:
    """One brand's view."""

    def __init__(self, file: SqliteFile, clock: Clock, brand: str) -> None:
        self._file = file
        self._clock = clock
        self._brand = brand

    def _now(self) -> int:
        return to_millis(self._clock.now())

    async def get(self, key: str) -> Any | None:
        now = self._now()

        def look(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(
                "SELECT value FROM content_cache WHERE brand = ? AND key = ? AND expires_at > ?",
                (self._brand, key, now),
            ).fetchone()
            return row[0] if row else None

        text = await self._file.read(look)
        return None if text is None else json.loads(text)

    async def put(self, key: str, value: Any, *, ttl: timedelta, content_type: str = "api_result") -> None:
        now = self._now()
        row = (
            self._brand,
            key,
            to_json_text(value, what=f"cache value {key!r}"),
            content_type,
            now + lifetime_millis(ttl, what=f"cache key {key!r}"),
            now,
        )

        def store(connection: sqlite3.Connection) -> None:
            connection.execute(
                """
                INSERT OR REPLACE INTO content_cache (brand, key, value, content_type, expires_at, created_at)
                VALUES (?, ?, ?, ?, ?, ?)""",
                row,
            )

        await self._file.write(store)

    async def delete(self, key: str) -> None:
        place = (self._brand, key)

        def forget(connection: sqlite3.Connection) -> None:
            for table in ("content_cache", "envelopes", "holds"):
                connection.execute(f"DELETE FROM {table} WHERE brand = ? AND key = ?", place)

        await self._file.write(forget)

    async def hold(self, key: str, item: str, amount: float, *, ceiling: float) -> Held:
        place = (self._brand, key)
        asked = nano_of(amount, what=f"hold {item!r} of {key!r}")
        bound = nano_of(ceiling, what=f"ceiling of {key!r}")
        now = self._now()

        def reserve(connection: sqlite3.Connection) -> Held:
            if not _is_known(connection, place, now):
                return Held.MISSING
            others = connection.execute(
                "SELECT coalesce(sum(amount_nano), 0) FROM holds WHERE brand = ? AND key = ? AND item <> ?",
                (*place, item),
            ).fetchone()[0]
            if others + asked > bound:
                return Held.REFUSED
            _set(connection, place, item, asked, now)
            return Held.GRANTED

        return await self._file.write(reserve)

    async def set_hold(self, key: str, item: str, amount: float) -> None:
        place = (self._brand, key)
        nano = nano_of(amount, what=f"hold {item!r} of {key!r}")
        now = self._now()

        def settle(connection: sqlite3.Connection) -> None:
            _drop_expired(connection, place, now)
            _set(connection, place, item, nano, now)

        await self._file.write(settle)

    async def rebuild_holds(self, key: str, items: Mapping[str, float], *, ttl: timedelta) -> None:
        place = (self._brand, key)
        rows = [(*place, item, nano_of(amount, what=f"hold {item!r} of {key!r}")) for item, amount in items.items()]
        now = self._now()
        expires_at = now + lifetime_millis(ttl, what=f"envelope {key!r}")

        def rebuild(connection: sqlite3.Connection) -> None:
            _drop_expired(connection, place, now)
            # IGNORE: what is held already is newer than the usage rows that the caller read before it came here.
            connection.executemany(
                f"INSERT OR IGNORE INTO holds (brand, key, item, amount_nano, set_at) VALUES (?, ?, ?, ?, {now})", rows
            )
            connection.execute(
                """
                INSERT INTO envelopes (brand, key, expires_at) VALUES (?, ?, ?)
                ON CONFLICT (brand, key) DO UPDATE SET expires_at = max(expires_at, excluded.expires_at)""",
                (*place, expires_at),
            )

        await self._file.write(rebuild)

    async def held(self, key: str) -> float | None:
        place = (self._brand, key)
        now = self._now()

        def look(connection: sqlite3.Connection) -> int | None:
            if not _is_known(connection, place, now):
                return None
            return int(
                connection.execute(
                    "SELECT coalesce(sum(amount_nano), 0) FROM holds WHERE brand = ? AND key = ?", place
                ).fetchone()[0]
            )

        total = await self._file.read(look)
        return None if total is None else total / NANO


def _is_known(connection: sqlite3.Connection, place: tuple[str, str], now: int) -> bool:
    row = connection.execute("SELECT expires_at FROM envelopes WHERE brand = ? AND key = ?", place).fetchone()
    return row is not None and row[0] > now


def _drop_expired(connection: sqlite3.Connection, place: tuple[str, str], now: int) -> None:
    # Its items go with it before anything new is set: a rebuild starts from usage rows and what was set since.
    row = connection.execute("SELECT expires_at FROM envelopes WHERE brand = ? AND key = ?", place).fetchone()
    if row is not None and row[0] <= now:
        for table in ("holds", "envelopes"):
            connection.execute(f"DELETE FROM {table} WHERE brand = ? AND key = ?", place)


def _set(connection: sqlite3.Connection, place: tuple[str, str], item: str, nano: int, now: int) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO holds (brand, key, item, amount_nano, set_at) VALUES (?, ?, ?, ?, ?)",
        (*place, item, nano, now),
    )


class SqliteCacheStore:
    """The open engine."""

    def __init__(self, file: SqliteFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def for_brand(self, brand: str) -> SqliteCache:
        return SqliteCache(self._file, self._clock, parse_slug(brand, what="brand"))

    def review_index(self, brand: str) -> None:
        return None  # listing the rows is an index seek in a file beside this one

    async def sweep(self) -> int:
        now = to_millis(self._clock.now())
        unclaimed = to_millis(self._clock.now() - UNCLAIMED_HOLDS)

        def remove(connection: sqlite3.Connection) -> int:
            gone = 0
            for head, body in (("content_cache", ""), ("envelopes", "holds")):
                if body:
                    connection.execute(
                        f"""
                        DELETE FROM {body}
                        WHERE (brand, key) IN (SELECT brand, key FROM {head} WHERE expires_at <= ?)""",
                        (now,),
                    )
                gone += connection.execute(f"DELETE FROM {head} WHERE expires_at <= ?", (now,)).rowcount
            gone += connection.execute(
                "DELETE FROM holds WHERE set_at <= ? AND (brand, key) NOT IN (SELECT brand, key FROM envelopes)",
                (unclaimed,),
            ).rowcount
            return gone

        return await self._file.write(remove)


@asynccontextmanager
async def open_sqlite_cache(url: str, *, clock: Clock) -> AsyncIterator[SqliteCacheStore]:
    """Open `sqlite:///FILE`, the session database. Raises Damaged and UsageError as every SQLite file of ours."""
    path = Path(url.removeprefix("sqlite:///"))
    async with open_sqlite_file(path, application_id=APPLICATION_ID, migrations=MIGRATIONS) as file:
        yield SqliteCacheStore(file, clock)
