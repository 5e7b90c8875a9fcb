"""Records on the poorest store we can think of, so that nothing leans on SQLite's riches.

What is underneath is a dumb ordered key-value file shared by processes: get, upsert, insert-if-absent in a keyspace
apart, and scans of 20. No transaction spans two calls, nothing is filtered by the store, and a brand is checked by
reading before writing.
SQLite only holds the bytes: one table, `k` and `v`, each call its own commit.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from config.clock import Clock
from config.errors import SettingsError, Unsupported
from config.ids import parse_slug
from memory.lease import LeaseGuard, Unleased
from memory.records import schema
from memory.records.all_brands import AllBrands
from memory.records.decisions import decision_of
from memory.records.protocol import ALL_BRANDS, Capability, Decision, Once, Records, RecordsStore, Scored
from memory.records.rules import absent, check_brand, check_vector_search, foreign
from memory.rows import ROW_TYPES
from memory.rows.row import Row
from memory.sqlite_errors import translated

R = TypeVar("R", bound=Row)
_PAGE = 20
_END = b"\xff"


def _part(value: Any) -> bytes:
    """Bytes that sort as the value does; text holds no NUL, so a NUL may end it."""
    if isinstance(value, int):
        return struct.pack(">Q", value + 2**63)
    return str(value).encode() + b"\x00"


def _name(*parts: Any) -> bytes:
    return b"".join(_part(part) for part in parts)


class _KeyValueFile:
    """Ordered bytes to bytes, shared by processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        with translated(path):
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS kv (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID"
            )
        self._turn = asyncio.Lock()

    async def _execute(self, statement: str, *bound: Any) -> tuple[list[Any], int]:
        def run() -> tuple[list[Any], int]:
            with translated(self._path):
                cursor = self._connection.execute(statement, bound)
                return cursor.fetchall(), cursor.rowcount

        async with self._turn:
            return await asyncio.to_thread(run)

    async def get(self, key: bytes) -> bytes | None:
        found, _ = await self._execute("SELECT v FROM kv WHERE k = ?", key)
        return found[0][0] if found else None

    async def upsert(self, key: bytes, value: bytes) -> None:
        await self._execute(
            "INSERT INTO kv (k, v) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v", key, value
        )

    async def insert_if_absent(self, key: bytes, value: bytes) -> None:
        await self._execute("INSERT INTO kv (k, v) VALUES (?, ?) ON CONFLICT (k) DO NOTHING", key, value)

    async def delete(self, key: bytes) -> None:
        await self._execute("DELETE FROM kv WHERE k = ?", key)

    async def scan(self, prefix: bytes, *, descending: bool, after: bytes | None) -> AsyncIterator[tuple[bytes, bytes]]:
        """The entries under `prefix` in key order, strictly behind `after`, read in pages."""
        low, high = prefix, prefix + _END
        order = "DESC" if descending else "ASC"
        if after is not None:
            # Behind `after` lies everything that has it as a proper prefix too, so step over those.
            low, high = (low, after) if descending else (after + _END, high)
        while True:
            page, _ = await self._execute(
                f"SELECT k, v FROM kv WHERE k >= ? AND k < ? ORDER BY k {order} LIMIT {_PAGE}", low, high
            )
            for key, value in page:
                yield key, value
            if len(page) < _PAGE:
                return
            low, high = (low, page[-1][0]) if descending else (page[-1][0] + b"\x00", high)

    def close(self) -> None:
        self._connection.close()


class AustereStore:
    """The open file."""

    def __init__(self, file: _KeyValueFile, clock: Clock) -> None:
        self.file = file
        self.clock = clock

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset()

    def for_brand(self, brand: str, *, lease: LeaseGuard | None = None) -> Records:
        return AustereRecords(self, parse_slug(brand, what="brand"), lease or Unleased())

    def all_brands(self) -> Records:
        return AllBrands(AustereRecords(self, ALL_BRANDS, Unleased()))

    async def brands_with(self, row_type: type[Row], **equals: Any) -> list[str]:
        everybody = AustereRecords(self, ALL_BRANDS, Unleased())
        filters = schema.over_all_brands(row_type, equals)
        return sorted({row.brand async for row in everybody._matching(row_type, filters)})

    async def list_once(self) -> AsyncIterator[Decision]:
        async for name, value in self.file.scan(_name("once"), descending=False, after=None):
            _, _, kind, key, _ = name.decode().split("\x00")
            stored = json.loads(value)
            yield decision_of(kind, key, stored["token"], stored["table"], stored["document"])

    async def sweep(self, *, limit: int = 1000) -> int:
        schema.check_limit(limit)
        swept = 0
        for row_type in filter(schema.expires, ROW_TYPES):
            async for key, value in self.file.scan(_name("row", row_type.table), descending=False, after=None):
                if swept >= limit:
                    break
                if not self.readable(_decode(row_type, value)):
                    await self.file.delete(key)
                    swept += 1
        return swept

    def readable(self, row: Row) -> bool:
        return not schema.expires(type(row)) or row.expires_at > self.clock.now()  # type: ignore[attr-defined]


def _encode(row: Row) -> bytes:
    stored = schema.encode_row(row)
    if row.vector is not None:
        stored[row.vector] = stored[row.vector].hex()
    return json.dumps(stored).encode()


def _decode(row_type: type[R], value: bytes) -> R:
    stored = json.loads(value)
    if row_type.vector is not None:
        stored[row_type.vector] = bytes.fromhex(stored[row_type.vector])
    return schema.decode_row(row_type, list(stored.values()))


class AustereRecords:
    """The rows of one brand."""

    def __init__(self, store: AustereStore, brand: str, lease: LeaseGuard) -> None:
        self._store = store
        self._file = store.file
        self._brand = brand
        self._lease = lease

    @property
    def brand(self) -> str:
        return self._brand

    def _sees(self, row: Row) -> bool:
        return self._brand in (row.brand, ALL_BRANDS) and self._store.readable(row)

    async def _at(self, key: bytes, row_type: type[R]) -> R | None:
        value = await self._file.get(key)
        return None if value is None else _decode(row_type, value)

    async def get(self, row_type: type[R], **key: Any) -> R:
        row = await self.find(row_type, **key)
        if row is None:
            raise absent(row_type, self._brand, key)
        return row

    async def find(self, row_type: type[R], **key: Any) -> R | None:
        stored = schema.full_key(row_type, self._brand, key)
        row = await self._at(_name("row", row_type.table, *stored.values()), row_type)
        return row if row is not None and self._sees(row) else None

    async def find_many(self, row_type: type[R], keys: Sequence[Mapping[str, Any]]) -> list[R]:
        return [row for key in keys if (row := await self.find(row_type, **key)) is not None]

    async def _scan(self, row_type: type[R], prefix: bytes, *, after: bytes | None = None) -> AsyncIterator[R]:
        async for _, value in self._file.scan(prefix, descending=row_type.key.descending, after=after):
            if self._sees(row := _decode(row_type, value)):
                yield row

    async def list_rows(
        self, row_type: type[R], *, limit: int | None = None, after: Mapping[str, Any] | None = None, **partition: Any
    ) -> list[R]:
        schema.check_limit(limit)
        fixed = schema.partition_prefix(row_type, self._brand, partition)
        prefix = _name("row", row_type.table, *fixed.values())
        behind = None
        if after is not None:
            position = schema.cluster_position(row_type, fixed, after)
            if not position:
                return []
            behind = prefix + _name(*position.values())
        return await _first(limit, self._scan(row_type, prefix, after=behind))

    async def find_by(self, row_type: type[R], *, limit: int | None = None, **equals: Any) -> list[R]:
        schema.check_limit(limit)
        filters = schema.index_filter(row_type, equals or {"brand": self._brand})
        return await _first(limit, self._matching(row_type, filters))

    async def _matching(self, row_type: type[R], filters: Mapping[str, Any]) -> AsyncIterator[R]:
        async for row in self._scan(row_type, _name("row", row_type.table)):
            if all(
                schema.encode_value(schema.column(row_type, name), getattr(row, name)) == value
                for name, value in filters.items()
            ):
                yield row

    async def put(self, *rows: Row) -> None:
        named = []
        for row in rows:
            check_brand(row, self._brand)
            key = schema.full_key(type(row), self._brand, dict(zip(row.key.columns, row.key_values(), strict=True)))
            value = _encode(row.model_copy(update={"row_version": row.row_version + 1}))
            named.append((_name("row", row.table, *key.values()), type(row), value))
        self._lease.ensure_held()
        for name, row_type, _ in named:
            there = await self._at(name, row_type)
            if there is not None and there.brand != self._brand:
                raise foreign(row_type, there.key_values())
        for name, _, value in named:
            self._lease.ensure_held()
            await self._file.upsert(name, value)

    async def delete(self, row_type: type[R], **key: Any) -> None:
        name = _name("row", row_type.table, *schema.full_key(row_type, self._brand, key).values())
        self._lease.ensure_held()
        there = await self._at(name, row_type)
        if there is not None and there.brand == self._brand:
            self._lease.ensure_held()
            await self._file.delete(name)

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
        column = check_vector_search(row_type, limit)
        filters = schema.index_filter(row_type, equals)
        if vector:
            schema.encode_vector(vector)
        found = []
        async for row in self._matching(row_type, filters):
            there = getattr(row, column)
            lengths = _norm(vector) * _norm(there)
            if row.embedder_id == embedder_id and len(there) == len(vector) and lengths > 0:  # type: ignore[attr-defined]
                score = sum(a * b for a, b in zip(vector, there, strict=True)) / lengths
                found.append(Scored(row, min(1.0, max(0.0, score))))
        return sorted((hit for hit in found if hit.score >= min_score), key=lambda hit: -hit.score)[:limit]

    async def search_text(self, row_type: type[R], query: str, *, limit: int, **equals: Any) -> list[Scored[R]]:
        raise Unsupported("this store cannot search text")

    async def create_once(self, kind: str, key: str, row: R, *, token: str) -> Once[R]:
        check_brand(row, self._brand)
        name = _name("once", self._brand, schema.clean_text(kind), schema.clean_text(key))
        document = json.dumps({"token": token, "table": row.table, "document": schema.encode_document(row)}).encode()
        self._lease.ensure_held()
        await self._file.insert_if_absent(name, document)
        decided = await self.find_once(kind, key, type(row))
        assert decided is not None  # inserted, or there before: nothing deletes a decision
        return Once(won=decided.token == token, row=decided.row, token=decided.token)

    async def find_once(self, kind: str, key: str, row_type: type[R]) -> Once[R] | None:
        stored = await self._file.get(_name("once", self._brand, kind, key))
        if stored is None:
            return None
        decision = json.loads(stored)
        if decision["table"] != row_type.table:
            raise ValueError(f"the decision {kind} {key!r} holds a row of {decision['table']}, not of {row_type.table}")
        return Once(won=False, row=schema.decode_document(row_type, decision["document"]), token=decision["token"])

    async def find_many_once(self, kind: str, keys: Sequence[str], row_type: type[R]) -> dict[str, Once[R]]:
        found = {key: await self.find_once(kind, key, row_type) for key in keys}
        return {key: once for key, once in found.items() if once is not None}


def _norm(vector: Sequence[float]) -> float:
    return float(sum(number * number for number in vector) ** 0.5)


async def _first(limit: int | None, rows: AsyncIterator[R]) -> list[R]:
    found: list[R] = []
    if limit == 0:
        return found
    async for row in rows:
        found.append(row)
        if len(found) == limit:
            break
    return found


@asynccontextmanager
async def open_austere_records(url: str, *, clock: Clock) -> AsyncIterator[RecordsStore]:
    """Open `austere:///FOLDER`. Raises SettingsError."""
    folder = url.removeprefix("austere:///")
    if not folder or folder == url:
        raise SettingsError(f"{url!r} must be austere:///FOLDER")
    file = _KeyValueFile(Path(folder) / "austere.kv")
    try:
        yield AustereStore(file, clock)
    finally:
        file.close()
