"""Checkpoints in one SQLite file. A late writer is refused inside the very transaction that would have written.

The file has no clock in it: the queue owns the time, this store owns the order of claims. Rows are bytes before they
are queued for the writer, because a process that is stopped inside a transaction holds the file's write lock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from config.clock import Clock, to_millis
from config.errors import BadInput, Conflict, LeaseLost
from config.ids import new_token, parse_slug
from memory.checkpoints.saver import LeasedSaver
from memory.checkpoints.schema import APPLICATION_ID, MIGRATIONS
from memory.checkpoints.stored import Claim, Found, Place, StoredCheckpoint, StoredWrite, Wanted
from memory.lease import LeaseGuard
from memory.sqlite_file import SqliteFile, open_sqlite_file

_COLUMNS = "thread_id, ns, checkpoint_id, parent_id, run_id, type, checkpoint, metadata"
_WRITE_COLUMNS = "task_id, task_path, idx, channel, type, value"
# The newest of a namespace is the greatest id: LangGraph's checkpoint ids are uuid6, which sort by time.
_KEEP_NEWEST = """
    DELETE FROM {table}
    WHERE brand = ? AND thread_id = ? AND checkpoint_id <> (
        SELECT max(c.checkpoint_id) FROM checkpoints AS c
        WHERE c.brand = {table}.brand AND c.thread_id = {table}.thread_id AND c.ns = {table}.ns
    )"""


def _guard(connection: sqlite3.Connection, claim: Claim) -> None:
    row = connection.execute(
        "SELECT n, token FROM thread_owners WHERE brand = ? AND thread_id = ?", (claim.brand, claim.thread_id)
    ).fetchone()
    if row != (claim.n, claim.token):
        now = "nobody" if row is None or not row[1] else f"claim {row[0]}"
        raise LeaseLost(
            f"thread {claim.thread_id!r}: claim {claim.n} no longer owns it, {now} does: nothing was written"
        )


def _with_writes(connection: sqlite3.Connection, brand: str, row: Any) -> Found:
    checkpoint = StoredCheckpoint(*row)
    writes = connection.execute(
        f"SELECT {_WRITE_COLUMNS} FROM writes WHERE brand = ? AND thread_id = ? AND ns = ? AND checkpoint_id = ?",
        (brand, checkpoint.thread_id, checkpoint.ns, checkpoint.checkpoint_id),
    )
    return checkpoint, [StoredWrite(*write) for write in writes]


def _where(brand: str, wanted: Wanted, after: Place | None) -> tuple[str, list[Any]]:
    clauses, values = ["brand = ?"], [brand]
    for column, value in (("thread_id", wanted.thread_id), ("ns", wanted.ns), ("checkpoint_id", wanted.checkpoint_id)):
        if value is not None:
            clauses.append(f"{column} = ?")
            values.append(value)
    if wanted.before_id is not None:
        clauses.append("checkpoint_id < ?")
        values.append(wanted.before_id)
    for key, value in (wanted.metadata or {}).items():
        if '"' in key or "\\" in key:
            raise BadInput(
                f"metadata key {key!r} cannot be searched for: it holds a quote or backslash, choose another"
            )
        path = f'$."{key}"'
        if value is None:
            clauses.append("json_extract(metadata, ?) IS NULL")
            values.append(path)
        elif isinstance(value, dict | list):
            clauses.append("json_extract(metadata, ?) = json(?)")
            values += [path, json.dumps(value)]
        else:
            clauses.append("json_extract(metadata, ?) = ?")
            values += [path, value]
    if after is not None:
        clauses.append("(checkpoint_id, thread_id, ns) < (?, ?, ?)")
        values += after
    return " AND ".join(clauses), values


class SqliteCheckpoints:
    """The engine: one file, shared by every saver of the process."""

    def __init__(self, file: SqliteFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def reader(self, brand: str) -> LeasedSaver:
        return LeasedSaver(self, parse_slug(brand, what="brand"))

    async def claim(
        self,
        brand: str,
        thread_id: str,
        lease: LeaseGuard,
        *,
        on_lost: Callable[[], None] | None = None,
        on_progress: Callable[[], None] | None = None,
    ) -> LeasedSaver:
        parse_slug(brand, what="brand")
        key = (brand, thread_id)

        def count(connection: sqlite3.Connection) -> int:
            row = connection.execute("SELECT n FROM thread_owners WHERE brand = ? AND thread_id = ?", key).fetchone()
            return row[0] if row else 0

        # In this order: a worker that slept between its lease and here fails to extend, or finds that n has moved.
        seen = await self._file.read(count)
        await lease.extend()
        claim = Claim(brand, thread_id, seen + 1, new_token(), lease, on_lost, on_progress)
        claimed_at = to_millis(self._clock.now())

        def own(connection: sqlite3.Connection) -> None:
            if count(connection) != seen:
                raise Conflict(f"thread {thread_id!r}: somebody else claimed it just now: look again")
            connection.execute(
                "INSERT OR REPLACE INTO thread_owners (brand, thread_id, n, token, claimed_at) VALUES (?, ?, ?, ?, ?)",
                (*key, claim.n, claim.token, claimed_at),
            )

        await self._file.write(own)
        return LeasedSaver(self, brand, claim)

    async def prune(self, brand: str, thread_id: str) -> None:
        await self._file.write(lambda connection: _prune(connection, brand, thread_id))

    async def delete(self, brand: str, thread_id: str) -> None:
        def forget(connection: sqlite3.Connection) -> None:
            _delete(connection, brand, thread_id)
            # n stays, so an older claim still conflicts; without a token no late write can bring rows back.
            connection.execute(
                "UPDATE thread_owners SET token = '' WHERE brand = ? AND thread_id = ?", (brand, thread_id)
            )

        await self._file.write(forget)

    async def size_bytes(self, brand: str, thread_ids: list[str]) -> int:
        def measure(connection: sqlite3.Connection) -> int:
            total = 0
            for column, table in (
                ("length(checkpoint) + length(metadata)", "checkpoints"),
                ("length(value)", "writes"),
            ):
                row = connection.execute(
                    f"""
                    SELECT coalesce(sum({column}), 0) FROM {table}
                    WHERE brand = ? AND thread_id IN (SELECT value FROM json_each(?))""",
                    (brand, json.dumps(thread_ids)),
                ).fetchone()
                total += row[0]
            return total

        return await self._file.read(measure)

    # What savers ask (memory/checkpoints/stored.py, CheckpointTables).

    async def find(self, brand: str, thread_id: str, ns: str, checkpoint_id: str | None) -> Found | None:
        def look(connection: sqlite3.Connection) -> Found | None:
            row = connection.execute(
                f"""
                SELECT {_COLUMNS}
                FROM checkpoints
                WHERE brand = ? AND thread_id = ? AND ns = ? {"" if checkpoint_id is None else "AND checkpoint_id = ?"}
                ORDER BY checkpoint_id DESC
                LIMIT 1""",
                (brand, thread_id, ns) if checkpoint_id is None else (brand, thread_id, ns, checkpoint_id),
            ).fetchone()
            return None if row is None else _with_writes(connection, brand, row)

        return await self._file.read(look)

    async def page(self, brand: str, wanted: Wanted, *, after: Place | None, limit: int) -> list[Found]:
        where, values = _where(brand, wanted, after)

        def look(connection: sqlite3.Connection) -> list[Found]:
            rows = connection.execute(
                f"""
                SELECT {_COLUMNS}
                FROM checkpoints
                WHERE {where}
                ORDER BY checkpoint_id DESC, thread_id DESC, ns DESC
                LIMIT ?""",
                (*values, limit),
            ).fetchall()
            return [_with_writes(connection, brand, row) for row in rows]

        return await self._file.read(look)

    async def put(self, claim: Claim, row: StoredCheckpoint) -> None:
        def store(connection: sqlite3.Connection) -> None:
            _guard(connection, claim)
            connection.execute(
                f"INSERT OR REPLACE INTO checkpoints (brand, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (claim.brand, *row),
            )

        await self._file.write(store)

    async def put_writes(
        self, claim: Claim, ns: str, checkpoint_id: str, rows: Sequence[StoredWrite], *, replace: bool
    ) -> None:
        verb = "REPLACE" if replace else "IGNORE"
        statement = f"""
            INSERT OR {verb} INTO writes (brand, thread_id, ns, checkpoint_id, {_WRITE_COLUMNS})
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
        values = [(claim.brand, claim.thread_id, ns, checkpoint_id, *row) for row in rows]

        def store(connection: sqlite3.Connection) -> None:
            _guard(connection, claim)
            connection.executemany(statement, values)

        await self._file.write(store)

    async def threads_of_runs(self, brand: str, run_ids: Sequence[str]) -> list[str]:
        def look(connection: sqlite3.Connection) -> list[str]:
            rows = connection.execute(
                """
                SELECT DISTINCT thread_id FROM checkpoints
                WHERE brand = ? AND run_id <> '' AND run_id IN (SELECT value FROM json_each(?))
                ORDER BY thread_id""",
                (brand, json.dumps(list(run_ids))),
            )
            return [thread_id for (thread_id,) in rows]

        return await self._file.read(look)

    async def has_rows(self, brand: str, thread_id: str) -> bool:
        def look(connection: sqlite3.Connection) -> bool:
            key = (brand, thread_id)
            return any(
                connection.execute(f"SELECT 1 FROM {table} WHERE brand = ? AND thread_id = ? LIMIT 1", key).fetchone()
                for table in ("checkpoints", "writes")
            )

        return await self._file.read(look)

    async def delete_runs(self, claim: Claim, run_ids: Sequence[str]) -> None:
        chosen = json.dumps(list(run_ids))

        def forget(connection: sqlite3.Connection) -> None:
            _guard(connection, claim)
            key = (claim.brand, claim.thread_id)
            connection.execute(
                """
                DELETE FROM writes
                WHERE brand = ? AND thread_id = ? AND (ns, checkpoint_id) IN (
                    SELECT ns, checkpoint_id FROM checkpoints
                    WHERE brand = ? AND thread_id = ? AND run_id <> '' AND run_id IN (SELECT value FROM json_each(?))
                )""",
                (*key, *key, chosen),
            )
            connection.execute(
                """
                DELETE FROM checkpoints
                WHERE brand = ? AND thread_id = ? AND run_id <> '' AND run_id IN (SELECT value FROM json_each(?))""",
                (*key, chosen),
            )

        await self._file.write(forget)

    async def delete_thread(self, claim: Claim) -> None:
        def forget(connection: sqlite3.Connection) -> None:
            _guard(connection, claim)
            _delete(connection, claim.brand, claim.thread_id)

        await self._file.write(forget)

    async def prune_thread(self, claim: Claim) -> None:
        def forget(connection: sqlite3.Connection) -> None:
            _guard(connection, claim)
            _prune(connection, claim.brand, claim.thread_id)

        await self._file.write(forget)

    async def copy_into(self, claim: Claim, source_thread_id: str) -> None:
        def copy(connection: sqlite3.Connection) -> None:
            _guard(connection, claim)
            for table, columns in (
                ("checkpoints", "ns, checkpoint_id, parent_id, run_id, type, checkpoint, metadata"),
                ("writes", f"ns, checkpoint_id, {_WRITE_COLUMNS}"),
            ):
                connection.execute(
                    f"""
                    INSERT OR REPLACE INTO {table} (brand, thread_id, {columns})
                    SELECT brand, ?, {columns} FROM {table} WHERE brand = ? AND thread_id = ?""",
                    (claim.thread_id, claim.brand, source_thread_id),
                )

        await self._file.write(copy)


def _prune(connection: sqlite3.Connection, brand: str, thread_id: str) -> None:
    # Writes first: they are judged by the checkpoints that are still there.
    for table in ("writes", "checkpoints"):
        connection.execute(_KEEP_NEWEST.format(table=table), (brand, thread_id))


def _delete(connection: sqlite3.Connection, brand: str, thread_id: str) -> None:
    for table in ("writes", "checkpoints"):
        connection.execute(f"DELETE FROM {table} WHERE brand = ? AND thread_id = ?", (brand, thread_id))


@asynccontextmanager
async def open_sqlite_checkpoints(url: str, *, clock: Clock) -> AsyncIterator[SqliteCheckpoints]:
    """Open `sqlite:///FILE`. Raises Damaged and UsageError as every SQLite file of ours."""
    path = Path(url.removeprefix("sqlite:///"))
    async with open_sqlite_file(path, application_id=APPLICATION_ID, migrations=MIGRATIONS) as file:
        yield SqliteCheckpoints(file, clock)
