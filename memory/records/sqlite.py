"""Records in two SQLite files: records.db, and ledger.db for what must survive power loss."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from config.clock import Clock, to_millis
from config.errors import SettingsError, Unsupported
from config.ids import parse_slug
from memory.lease import LeaseGuard, Unleased
from memory.records import schema
from memory.records.all_brands import AllBrands
from memory.records.decisions import every_decision, find_decision, find_decisions, once_of
from memory.records.migrations import (
    LEDGER_ID,
    LEDGER_MIGRATIONS,
    RECORDS_ID,
    RECORDS_MIGRATIONS,
    TEXT_INDEXES,
    match_text_search,
    text_search_state,
)
from memory.records.protocol import ALL_BRANDS, Capability, Decision, Once, Records, RecordsStore, Scored
from memory.records.rules import absent, check_brand, check_vector_search, foreign
from memory.records.vectors import Matrices, forget_changes
from memory.rows import ROW_TYPES, LedgerStep
from memory.rows.row import Row
from memory.sqlite_file import SqliteFile, open_sqlite_file

R = TypeVar("R", bound=Row)
_CHUNK = 100  # rows a transaction, and keys a read
_WORDS = 64  # of a text query; the rest of a longer one is ignored


@cache
def _columns(row_type: type[Row], alias: str = "") -> str:
    prefix = f"{alias}." if alias else ""
    return ", ".join(f'{prefix}"{col.name}"' for col in schema.columns(row_type))


@cache
def _upsert(row_type: type[Row]) -> str:
    names = [col.name for col in schema.columns(row_type)]
    key = row_type.key.columns
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name not in key)
    # The condition keeps another brand's row as it is, also when that brand wrote it since anybody looked.
    return (
        f'INSERT INTO "{row_type.table}" ({_columns(row_type)}) VALUES ({", ".join("?" * len(names))})'
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes} WHERE brand = excluded.brand"
        + (" RETURNING number" if schema.is_searched(row_type) else " RETURNING 0")
    )


class SqliteRecordsStore:
    """The open files. Use `open_records`."""

    def __init__(
        self,
        records: SqliteFile,
        ledger: SqliteFile,
        searches: SqliteFile,
        capabilities: frozenset[Capability],
        clock: Clock,
    ) -> None:
        self.records = records
        self.ledger = ledger
        self.searches = searches
        self.matrices = Matrices()
        self.clock = clock
        self._capabilities = capabilities

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    def for_brand(self, brand: str, *, lease: LeaseGuard | None = None) -> Records:
        return SqliteRecords(self, parse_slug(brand, what="brand"), lease or Unleased())

    def all_brands(self) -> Records:
        return AllBrands(SqliteRecords(self, ALL_BRANDS, Unleased()))

    async def brands_with(self, row_type: type[Row], **equals: Any) -> list[str]:
        filters = schema.over_all_brands(row_type, equals)
        conditions = " AND ".join(f'"{name}" = ?' for name in filters)
        query = f'SELECT DISTINCT brand FROM "{row_type.table}" WHERE {conditions} ORDER BY brand'
        bound = tuple(filters.values())
        return await self.file(row_type).read(lambda db: [brand for (brand,) in db.execute(query, bound)])

    async def list_once(self) -> AsyncIterator[Decision]:
        async for decision in every_decision(self.ledger):
            yield decision

    async def sweep(self, *, limit: int = 1000) -> int:
        schema.check_limit(limit)
        swept = 0
        for row_type in filter(schema.expires, ROW_TYPES):
            while swept < limit:
                size = min(_CHUNK, limit - swept)
                deleted = await self.records.write(lambda db, t=row_type, n=size: self._sweep(db, t, n))  # type: ignore[misc]
                swept += deleted
                if deleted < size:
                    break
            if swept and row_type.vector:
                await self.records.write(lambda db, t=row_type: forget_changes(db, t))  # type: ignore[misc]
        return swept

    def file(self, row_type: type[Row]) -> SqliteFile:
        return self.ledger if row_type is LedgerStep else self.records

    def now(self) -> int:
        return to_millis(self.clock.now())

    def indexed_text(self, row_type: type[Row]) -> tuple[str, ...]:
        """The columns that the text index of this table holds; empty when there is none to keep."""
        return TEXT_INDEXES.get(row_type.table, ()) if Capability.TEXT_SEARCH in self._capabilities else ()

    def remove(self, db: sqlite3.Connection, row_type: type[Row], where: str, bound: Sequence[Any]) -> int:
        """Delete the rows `where` says, and their words; how many there were."""
        if not self.indexed_text(row_type):
            return db.execute(f'DELETE FROM "{row_type.table}" WHERE {where}', bound).rowcount
        numbers = db.execute(f'DELETE FROM "{row_type.table}" WHERE {where} RETURNING number', bound).fetchall()
        db.executemany(f"DELETE FROM {row_type.table}_text WHERE rowid = ?", numbers)
        return len(numbers)

    def _sweep(self, db: sqlite3.Connection, row_type: type[Row], limit: int) -> int:
        some = f'SELECT number FROM "{row_type.table}" WHERE expires_at <= ? LIMIT ?'
        return self.remove(db, row_type, f"number IN ({some})", [self.now(), limit])


class SqliteRecords:
    """The rows of one brand."""

    def __init__(self, store: SqliteRecordsStore, brand: str, lease: LeaseGuard) -> None:
        self._store = store
        self._brand = brand
        self._lease = lease

    @property
    def brand(self) -> str:
        return self._brand

    async def get(self, row_type: type[R], **key: Any) -> R:
        row = await self.find(row_type, **key)
        if row is None:
            raise absent(row_type, self._brand, key)
        return row

    async def find(self, row_type: type[R], **key: Any) -> R | None:
        found = await self.find_many(row_type, [key])
        return found[0] if found else None

    async def find_many(self, row_type: type[R], keys: Sequence[Mapping[str, Any]]) -> list[R]:
        stored = [schema.full_key(row_type, self._brand, key) for key in keys]
        where, readable = self._readable(row_type)
        conditions = " AND ".join(f'"{name}" = ?' for name in row_type.key.columns)
        query = f'SELECT {_columns(row_type)} FROM "{row_type.table}" WHERE {conditions} AND {where}'

        def read(db: sqlite3.Connection, chunk: Sequence[Mapping[str, Any]]) -> list[R]:
            answers = (db.execute(query, (*key.values(), *readable)).fetchone() for key in chunk)
            return [schema.decode_row(row_type, values) for values in answers if values is not None]

        rows: list[R] = []
        for start in range(0, len(stored), _CHUNK):
            chunk = stored[start : start + _CHUNK]
            rows += await self._store.file(row_type).read(lambda db, chunk=chunk: read(db, chunk))  # type: ignore[misc]
        return rows

    async def list_rows(
        self, row_type: type[R], *, limit: int | None = None, after: Mapping[str, Any] | None = None, **partition: Any
    ) -> list[R]:
        schema.check_limit(limit)
        prefix = schema.partition_prefix(row_type, self._brand, partition)
        where, bound = self._readable(row_type)
        conditions = [where, *(f'"{name}" = ?' for name in prefix)]
        bound = [*bound, *prefix.values()]
        if after is not None:
            position = schema.cluster_position(row_type, prefix, after)
            if not position:
                return []
            names, marks = ", ".join(f'"{name}"' for name in position), ", ".join("?" * len(position))
            conditions.append(f"({names}) {'<' if row_type.key.descending else '>'} ({marks})")
            bound += position.values()
        direction = " DESC" if row_type.key.descending else ""
        order = ", ".join(f'"{name}"{direction}' for name in row_type.key.cluster)
        return await self._select(
            row_type,
            f"WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?",
            [*bound, -1 if limit is None else limit],
        )

    async def find_by(self, row_type: type[R], *, limit: int | None = None, **equals: Any) -> list[R]:
        schema.check_limit(limit)
        filters = schema.index_filter(row_type, equals or {"brand": self._brand})
        where, bound = self._readable(row_type)
        conditions = " AND ".join([where, *(f'"{name}" = ?' for name in filters)])
        return await self._select(
            row_type, f"WHERE {conditions} LIMIT ?", [*bound, *filters.values(), -1 if limit is None else limit]
        )

    async def put(self, *rows: Row) -> None:
        for row in rows:
            check_brand(row, self._brand)
        stored = [
            (type(row), schema.encode_row(row.model_copy(update={"row_version": row.row_version + 1}))) for row in rows
        ]
        self._lease.ensure_held()
        chunks = list(_chunks(stored))
        if len(chunks) > 1:  # a foreign key in a later chunk must not leave the earlier ones written
            for row_type, values in chunks:
                await self._store.file(row_type).read(lambda db, t=row_type, v=values: self._refuse_foreign(db, t, v))  # type: ignore[misc]
        for row_type, values in chunks:
            await self._store.file(row_type).write(lambda db, t=row_type, v=values: self._write(db, t, v))  # type: ignore[misc]

    def _refuse_foreign(self, db: sqlite3.Connection, row_type: type[Row], rows: Sequence[Mapping[str, Any]]) -> None:
        conditions = " AND ".join(f'"{name}" = ?' for name in row_type.key.columns)
        for values in rows:
            key = [values[name] for name in row_type.key.columns]
            if db.execute(
                f'SELECT 1 FROM "{row_type.table}" WHERE {conditions} AND brand <> ?', (*key, self._brand)
            ).fetchone():
                raise foreign(row_type, tuple(key))

    def _write(self, db: sqlite3.Connection, row_type: type[Row], rows: Sequence[Mapping[str, Any]]) -> None:
        self._lease.ensure_held()  # again: the write may have waited in line, or for another process
        statement = _upsert(row_type)
        for values in rows:
            written = db.execute(statement, tuple(values.values())).fetchone()
            if written is None:
                raise foreign(row_type, tuple(values[name] for name in row_type.key.columns))
            if texts := self._store.indexed_text(row_type):
                marks = ", ".join("?" * len(texts))
                db.execute(
                    f"INSERT OR REPLACE INTO {row_type.table}_text (rowid, {', '.join(texts)}) VALUES (?, {marks})",
                    (written[0], *(values[name] for name in texts)),
                )

    async def delete(self, row_type: type[R], **key: Any) -> None:
        stored = schema.full_key(row_type, self._brand, key)
        conditions = " AND ".join(f'"{name}" = ?' for name in stored)
        self._lease.ensure_held()

        def remove(db: sqlite3.Connection) -> None:
            self._lease.ensure_held()
            self._store.remove(db, row_type, f"{conditions} AND brand = ?", [*stored.values(), self._brand])

        await self._store.file(row_type).write(remove)

    async def search(
        self,
        row_type: type[R],
        vector: Sequence[float],
        *,
        embedder_id: str,
        limit: int,
        min_score: float = 0.0,
        **equals: Any,
    ) -> list[Scored[R]]:
        check_vector_search(row_type, limit)
        filters = schema.index_filter(row_type, equals)
        if filters.pop("brand", self._brand) != self._brand or not vector:
            return []
        schema.encode_vector(vector)
        now = self._store.now()

        def look(db: sqlite3.Connection) -> list[Scored[R]]:
            db.execute("BEGIN")  # one snapshot: the rows that are fetched are those that were ranked
            try:
                matrix = self._store.matrices.get(row_type, self._brand, embedder_id, len(vector))
                matrix.refresh(db)
                found = matrix.nearest(vector, limit=limit, min_score=min_score, equals=filters, now=now)
                query = f'SELECT {_columns(row_type)} FROM "{row_type.table}" WHERE number = ?'
                return [
                    Scored(schema.decode_row(row_type, db.execute(query, (number,)).fetchone()), score)
                    for number, score in found
                ]
            finally:
                db.execute("COMMIT")

        return await self._store.searches.read(look)

    async def search_text(self, row_type: type[R], query: str, *, limit: int, **equals: Any) -> list[Scored[R]]:
        if Capability.TEXT_SEARCH not in self._store.capabilities:
            raise Unsupported(
                "text search needs an SQLite built with FTS5, which this Python's is not: search by vector"
            )
        if not row_type.searched_text:
            raise Unsupported(f"{row_type.table} has no text to search: `find_by` one of {', '.join(row_type.indexes)}")
        schema.check_limit(limit)
        filters = schema.index_filter(row_type, equals)
        words = re.findall(r"\w+", query)[:_WORDS]
        if not words:
            return []
        where, bound = self._readable(row_type, "t")
        conditions = " AND ".join([where, *(f't."{name}" = ?' for name in filters)])
        index = f"{row_type.table}_text"
        statement = (
            f"SELECT bm25({index}), {_columns(row_type, 't')}"
            f' FROM {index} JOIN "{row_type.table}" AS t ON t.number = {index}.rowid'
            f" WHERE {index} MATCH ? AND {conditions} ORDER BY bm25({index}), t.number LIMIT ?"
        )
        quoted = " OR ".join(f'"{word}"' for word in words)  # quoted, no word is an operator

        def look(db: sqlite3.Connection) -> list[Scored[R]]:
            found = db.execute(statement, (quoted, *bound, *filters.values(), limit)).fetchall()
            # bm25 is negative, unbounded, best lowest.
            return [Scored(schema.decode_row(row_type, values), -rank / (1 - rank)) for rank, *values in found]

        return await self._store.searches.read(look)

    async def create_once(self, kind: str, key: str, row: R, *, token: str) -> Once[R]:
        check_brand(row, self._brand)
        document = schema.encode_document(row)
        name = [schema.clean_text(part) for part in (kind, key, token)]
        self._lease.ensure_held()

        def decide(db: sqlite3.Connection) -> tuple[str, str, str]:
            self._lease.ensure_held()
            db.execute(
                "INSERT INTO decisions (brand, kind, decision_key, token, table_name, document)"
                " VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (brand, kind, decision_key) DO NOTHING",
                (self._brand, *name, row.table, document),
            )
            decision = find_decision(db, self._brand, kind, key)
            assert decision is not None  # inserted, or there before: nothing deletes a decision
            return decision

        decision = await self._store.ledger.write(decide)
        return once_of(decision, type(row), kind, key, won=decision[0] == token)

    async def find_once(self, kind: str, key: str, row_type: type[R]) -> Once[R] | None:
        decision = await self._store.ledger.read(lambda db: find_decision(db, self._brand, kind, key))
        return once_of(decision, row_type, kind, key, won=False) if decision else None

    async def find_many_once(self, kind: str, keys: Sequence[str], row_type: type[R]) -> dict[str, Once[R]]:
        return await self._store.ledger.read(lambda db: find_decisions(db, self._brand, kind, keys, row_type))

    def _readable(self, row_type: type[Row], alias: str = "") -> tuple[str, list[Any]]:
        prefix = f"{alias}." if alias else ""
        if self._brand == ALL_BRANDS:
            return "TRUE", []
        if schema.expires(row_type):
            return f"{prefix}brand = ? AND {prefix}expires_at > ?", [self._brand, self._store.now()]
        return f"{prefix}brand = ?", [self._brand]

    async def _select(self, row_type: type[R], clauses: str, bound: Sequence[Any]) -> list[R]:
        query = f'SELECT {_columns(row_type)} FROM "{row_type.table}" {clauses}'
        return await self._store.file(row_type).read(
            lambda db: [schema.decode_row(row_type, values) for values in db.execute(query, bound)]
        )


def _chunks(stored: Sequence[tuple[type[Row], dict[str, Any]]]) -> Iterator[tuple[type[Row], list[dict[str, Any]]]]:
    chunk: list[dict[str, Any]] = []
    for n, (row_type, values) in enumerate(stored):
        chunk.append(values)
        if len(chunk) == _CHUNK or n + 1 == len(stored) or stored[n + 1][0] is not row_type:
            yield row_type, chunk
            chunk = []


@asynccontextmanager
async def open_sqlite_records(url: str, *, clock: Clock) -> AsyncIterator[RecordsStore]:
    """Open `sqlite:///FOLDER`. Raises SettingsError, and what `open_sqlite_file` raises."""
    folder = url.removeprefix("sqlite:///")
    if not folder or folder == url:
        raise SettingsError(f"COPYDESK_RECORDS={url!r} must be sqlite:///FOLDER")
    records_db, ledger_db = Path(folder) / "records.db", Path(folder) / "ledger.db"
    async with (
        open_sqlite_file(records_db, application_id=RECORDS_ID, migrations=RECORDS_MIGRATIONS) as records,
        open_sqlite_file(
            ledger_db, application_id=LEDGER_ID, migrations=LEDGER_MIGRATIONS, synchronous="FULL"
        ) as ledger,
        # Searches read in a thread of their own, so that one over a large matrix holds up no other read.
        open_sqlite_file(
            records_db, application_id=RECORDS_ID, migrations=RECORDS_MIGRATIONS, short_cut=False
        ) as searches,
    ):
        able, fits = await records.read(text_search_state)
        if not fits:
            await records.write(match_text_search)
        capabilities = frozenset({Capability.TEXT_SEARCH}) if able else frozenset[Capability]()
        yield SqliteRecordsStore(records, ledger, searches, capabilities, clock)
