"""The event streams in the session database.

Why not the rows of `events` themselves: their ids sort by the millisecond in which a process named them, so a row may come in
behind one that was read, and a cursor over them would pass it by. A number that the file gives out in the order of commits
cannot be passed. Live steps have no rows either. The table may vanish with its file, as everything in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from config.clock import Clock, to_millis
from config.ids import parse_slug
from memory.cache.protocol import COORD_TTL
from memory.events.protocol import KEPT, Page, decode_event
from memory.rows.sessions import Event
from memory.session_schema import APPLICATION_ID, MIGRATIONS
from memory.sqlite_file import SqliteFile, open_sqlite_file

_LOOK_EVERY = timedelta(milliseconds=200)
"""Another process cannot wake us: one look is an index seek of some microseconds."""
_LONGEST_WAIT = timedelta(seconds=4)


class SqliteEventStream:
    """One brand's view."""

    def __init__(self, file: SqliteFile, clock: Clock, brand: str) -> None:
        self._file = file
        self._clock = clock
        self._brand = brand

    async def append(self, event: Event) -> None:
        place = (self._brand, event.session_id)
        text = event.model_dump_json()
        now = to_millis(self._clock.now())
        until = now + COORD_TTL // timedelta(milliseconds=1)

        def add(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM session_events WHERE expires_at <= ?", (now,))
            connection.execute(
                """
                INSERT INTO session_events (seq, brand, session_id, prev, event, expires_at)
                SELECT max(coalesce((SELECT max(seq) FROM session_events), 0) + 1, ?5 * 1000),
                    ?1, ?2, coalesce(max(seq), 0), ?3, ?4
                FROM session_events
                WHERE brand = ?1 AND session_id = ?2""",
                (*place, text, until, now),
            )
            connection.execute(
                """
                DELETE FROM session_events
                WHERE brand = ?1 AND session_id = ?2 AND seq <= (
                    SELECT seq
                    FROM session_events
                    WHERE brand = ?1 AND session_id = ?2
                    ORDER BY seq DESC
                    LIMIT 1 OFFSET ?3)""",
                (*place, KEPT),
            )

        await self._file.write(add)

    async def read(self, session_id: str, *, after: str = "", wait: timedelta = timedelta(0)) -> Page:
        deadline = self._clock.boottime() + min(wait, _LONGEST_WAIT).total_seconds()
        while True:
            page = await self._held(session_id, after)
            left = timedelta(seconds=deadline - self._clock.boottime())
            if page.events or (after and not page.complete) or left <= timedelta(0):
                return page
            await self._clock.sleep(min(_LOOK_EVERY, left))

    async def _held(self, session_id: str, after: str) -> Page:
        place = (self._brand, session_id, to_millis(self._clock.now()))
        seen = int(after) if after else -1

        def look(connection: sqlite3.Connection) -> tuple[list[tuple[int, int, str]], int]:
            held = "FROM session_events WHERE brand = ? AND session_id = ? AND expires_at > ?"
            (last,) = connection.execute(f"SELECT coalesce(max(seq), 0) {held}", place).fetchone()
            if last == seen:
                return [], last
            first = seen if last > seen else -1  # what is held is older than the cursor: begin again
            rows = connection.execute(f"SELECT seq, prev, event {held} AND seq > ? ORDER BY seq", (*place, first))
            return rows.fetchall(), last

        rows, last = await self._file.read(look)
        joined = 0 < seen == rows[0][1] if rows else last == seen
        return Page([event for _, _, text in rows if (event := decode_event(text))], str(last), joined)


class SqliteEventStore:
    """The open engine."""

    def __init__(self, file: SqliteFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def for_brand(self, brand: str) -> SqliteEventStream:
        return SqliteEventStream(self._file, self._clock, parse_slug(brand, what="brand"))


@asynccontextmanager
async def open_sqlite_events(url: str, *, clock: Clock) -> AsyncIterator[SqliteEventStore]:
    """Open `sqlite:///FILE`, the session database. Raises Damaged and UsageError as every SQLite file of ours."""
    path = Path(url.removeprefix("sqlite:///"))
    async with open_sqlite_file(path, application_id=APPLICATION_ID, migrations=MIGRATIONS) as file:
        yield SqliteEventStore(file, clock)
