"""Records on AstraDB tables through the Data API, and `create_once` on the one collection that has conditional inserts.

A table has upserts, point reads, partitions in clustering order, filters on indexed columns and vector search; nothing
is compared and set, and nothing expires by itself. So a brand is checked by reading before writing, and an expired row is
filtered out until the sweeper has deleted it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from config.clock import Clock, to_millis
from config.errors import Damaged, SettingsError, Unavailable, Unsupported
from config.ids import name_id, parse_slug
from memory.astra_client import CHUNK, IN_VALUES, AstraDatabase, open_astra_database
from memory.astra_schema import PERMITS
from memory.embedding.protocol import DIMENSIONS
from memory.lease import LeaseGuard, Unleased
from memory.records import schema
from memory.records.all_brands import AllBrands
from memory.records.astra_rows import behind, decode, encode, indexed, key_of, server_filter, to_columns, value_of
from memory.records.decisions import decision_of
from memory.records.protocol import ALL_BRANDS, Capability, Decision, Once, Records, RecordsStore, Scored
from memory.records.rules import absent, check_brand, check_vector_search, foreign
from memory.rows import ROW_TYPES
from memory.rows.row import Row

R = TypeVar("R", bound=Row)

NEAREST_LIMIT = 1000
"""What one vector search may return; the server's own limit."""
_DECIDE_TIMES = 5


class AstraRecordsStore:
    """The open keyspace. Use `open_records`."""

    def __init__(self, database: AstraDatabase, clock: Clock) -> None:
        self.database = database
        self.clock = clock

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset()

    def for_brand(self, brand: str, *, lease: LeaseGuard | None = None) -> Records:
        return AstraRecords(self, parse_slug(brand, what="brand"), lease or Unleased())

    def all_brands(self) -> Records:
        return AllBrands(AstraRecords(self, ALL_BRANDS, Unleased()))

    def now(self) -> int:
        return to_millis(self.clock.now())

    async def brands_with(self, row_type: type[Row], **equals: Any) -> list[str]:
        where = to_columns(row_type, schema.over_all_brands(row_type, equals))
        return sorted({row["brand"] async for row in self.database.find(row_type.table, where, columns=["brand"])})

    async def list_once(self) -> AsyncIterator[Decision]:
        async for found in self.database.documents(PERMITS):
            kind, key = str(found.get("kind", "?")), str(found.get("key", found["_id"]))
            try:
                yield decision_of(kind, key, found["token"], found["table"], found["document"])
            except KeyError as error:
                raise _lacking(kind, key, error) from None

    async def sweep(self, *, limit: int = 1000) -> int:
        schema.check_limit(limit)
        swept = 0
        for row_type in filter(schema.expires, ROW_TYPES):
            (key,) = row_type.key.columns  # tables of rows that expire are keyed by id alone
            expired = {"expires_at": {"$lte": self.now()}}
            found = self.database.find(row_type.table, expired, columns=[key], limit=limit - swept)
            ids = [row[key] async for row in found]
            for start in range(0, len(ids), IN_VALUES):
                chunk = ids[start : start + IN_VALUES]
                await self.database.delete_many(row_type.table, {key: {"$in": chunk}})
            swept += len(ids)
        return swept


class AstraRecords:
    """The rows of one brand."""

    def __init__(self, store: AstraRecordsStore, brand: str, lease: LeaseGuard) -> None:
        self._store = store
        self._database = store.database
        self._brand = brand
        self._lease = lease

    @property
    def brand(self) -> str:
        return self._brand

    def _sees(self, row_type: type[Row], columns: Mapping[str, Any]) -> bool:
        if self._brand not in (columns["brand"], ALL_BRANDS):
            return False
        return not schema.expires(row_type) or value_of(row_type, columns, "expires_at") > self._store.now()

    async def get(self, row_type: type[R], **key: Any) -> R:
        row = await self.find(row_type, **key)
        if row is None:
            raise absent(row_type, self._brand, key)
        return row

    async def find(self, row_type: type[R], **key: Any) -> R | None:
        stored = to_columns(row_type, schema.full_key(row_type, self._brand, key))
        found = await self._database.find_one(row_type.table, stored)
        return decode(row_type, found) if found is not None and self._sees(row_type, found) else None

    async def find_many(self, row_type: type[R], keys: Sequence[Mapping[str, Any]]) -> list[R]:
        stored = [to_columns(row_type, schema.full_key(row_type, self._brand, key)) for key in keys]
        found = await self._at(row_type, stored, None)
        rows = (found.get(tuple(key.values())) for key in stored)
        return [decode(row_type, row) for row in rows if row is not None and self._sees(row_type, row)]

    async def _at(
        self, row_type: type[Row], keys: Sequence[Mapping[str, Any]], columns: Sequence[str] | None
    ) -> dict[tuple[Any, ...], dict[str, Any]]:
        """What is stored at these full keys, whoever's it is: a hundred ids a call, or one call each for longer keys."""
        names = row_type.key.columns
        wanted = None if columns is None else [*dict.fromkeys((*names, *columns))]
        distinct = {tuple(key.values()): key for key in keys}
        found: list[dict[str, Any]] = []
        if len(names) == 1 and len(distinct) > 1:
            values = [value for (value,) in distinct]
            for start in range(0, len(values), IN_VALUES):
                where = {names[0]: {"$in": values[start : start + IN_VALUES]}}
                found += [row async for row in self._database.find(row_type.table, where, columns=wanted)]
        else:
            reads = (self._database.find_one(row_type.table, key, columns=wanted) for key in distinct.values())
            found = [row for row in await asyncio.gather(*reads) if row is not None]
        return {key_of(row_type, row): row for row in found}

    async def list_rows(
        self, row_type: type[R], *, limit: int | None = None, after: Mapping[str, Any] | None = None, **partition: Any
    ) -> list[R]:
        schema.check_limit(limit)
        prefix = schema.partition_prefix(row_type, self._brand, partition)
        steps: list[dict[str, Any]] = [{}]
        if after is not None:
            position = schema.cluster_position(row_type, prefix, after)
            if not position:
                return []
            steps = behind(list(to_columns(row_type, position).items()), descending=row_type.key.descending)
        rows: list[R] = []
        for step in steps:
            where = {**to_columns(row_type, prefix), **step}
            rows += await self._first(row_type, where, {}, None if limit is None else limit - len(rows))
        return rows

    async def find_by(self, row_type: type[R], *, limit: int | None = None, **equals: Any) -> list[R]:
        schema.check_limit(limit)
        filters = {"brand": self._brand, **schema.index_filter(row_type, equals or {"brand": self._brand})}
        if filters["brand"] != self._brand:
            return []
        where, rest = server_filter(row_type, filters)
        # Part of a partition alone is no way to its rows, index or not: the server would read the whole table, and warns.
        partial = "brand" in row_type.key.columns and row_type.key.partition != ("brand",)
        if not where or (set(where) == {"brand"} and (rest or partial)):
            raise Unsupported(
                f"{row_type.table} cannot be found by {', '.join(equals) or 'brand'}: that reads the whole table;"
                f" name its partition ({', '.join(row_type.key.partition)}) or one of {', '.join(indexed(row_type)) or 'no index'}"
            )
        return await self._first(row_type, where, rest, limit)

    async def _first(
        self, row_type: type[R], where: Mapping[str, Any], rest: Mapping[str, Any], limit: int | None
    ) -> list[R]:
        left = to_columns(row_type, rest)
        rows: list[R] = []
        if limit == 0:
            return rows
        # A limit given to the server would count rows that are left out here.
        exact = limit if not left and not schema.expires(row_type) and "brand" in where else None
        async for found in self._database.find(row_type.table, where, limit=exact):
            if self._sees(row_type, found) and all(
                value_of(row_type, found, name) == value for name, value in left.items()
            ):
                rows.append(decode(row_type, found))
                if len(rows) == limit:
                    break
        return rows

    async def put(self, *rows: Row) -> None:
        for row in rows:
            check_brand(row, self._brand)
        sent = [(type(row), encode(row.model_copy(update={"row_version": row.row_version + 1}))) for row in rows]
        self._lease.ensure_held()
        by_type: dict[type[Row], list[dict[str, Any]]] = {}
        for row_type, columns in sent:
            by_type.setdefault(row_type, []).append(columns)
        for row_type, several in by_type.items():
            await self._refuse_foreign(row_type, several)
        for row_type, chunk in _chunks(sent):
            self._lease.ensure_held()
            await self._database.insert(row_type.table, row_type.key.columns, chunk)

    async def _refuse_foreign(self, row_type: type[Row], rows: Sequence[Mapping[str, Any]]) -> None:
        if "brand" in row_type.key.columns:
            return
        keys = [{name: row[name] for name in row_type.key.columns} for row in rows]
        for key, found in (await self._at(row_type, keys, ["brand"])).items():
            if found["brand"] != self._brand:
                raise foreign(row_type, key)

    async def delete(self, row_type: type[R], **key: Any) -> None:
        stored = to_columns(row_type, schema.full_key(row_type, self._brand, key))
        self._lease.ensure_held()
        if stored.get("brand", self._brand) != self._brand:
            return
        if "brand" not in stored:
            found = await self._at(row_type, [stored], ["brand"])
            if any(row["brand"] != self._brand for row in found.values()):
                return
        self._lease.ensure_held()
        await self._database.delete_one(row_type.table, stored)

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
        if limit > NEAREST_LIMIT:
            raise Unsupported(
                f"a search of {row_type.table} for {limit} rows: AstraDB returns at most {NEAREST_LIMIT}, ask for no more"
            )
        filters = schema.index_filter(row_type, equals)
        for name in filters:
            if name not in indexed(row_type):
                raise Unsupported(
                    f"{row_type.table} cannot be searched by {name}: indexed are {', '.join(indexed(row_type))}"
                )
        schema.encode_vector(vector)
        zero = not any(vector) or not limit
        if zero or filters.pop("brand", self._brand) != self._brand or len(vector) != DIMENSIONS:
            return []
        where: dict[str, Any] = {"brand": self._brand, "embedder_id": embedder_id, **to_columns(row_type, filters)}
        if schema.expires(row_type):
            where["expires_at"] = {"$gt": self._store.now()}
        found = await self._database.nearest(row_type.table, column, vector, where, limit=limit)
        least = max(min_score, 0.0)
        scored = []
        for columns in found:
            score = min(1.0, max(0.0, 2.0 * float(columns.pop("$similarity")) - 1.0))
            if score >= least and self._sees(row_type, columns):
                scored.append(Scored(decode(row_type, columns), score))
        return scored

    async def search_text(self, row_type: type[R], query: str, *, limit: int, **equals: Any) -> list[Scored[R]]:
        raise Unsupported("AstraDB tables have no text index on every kind of database: search by vector")

    async def create_once(self, kind: str, key: str, row: R, *, token: str) -> Once[R]:
        check_brand(row, self._brand)
        decision_id = self._decision_id(kind, key)
        document = {
            "_id": decision_id,
            "brand": self._brand,
            "kind": schema.clean_text(kind),
            "key": schema.clean_text(key),
            "token": schema.clean_text(token),
            "table": row.table,
            "document": schema.encode_document(row),
        }
        for attempt in range(_DECIDE_TIMES):
            self._lease.ensure_held()
            # Its answer is not asked: won or lost is what the stored token says, also when the first answer got lost.
            await self._database.insert_document(PERMITS, document)
            found = await self._database.find_document(PERMITS, decision_id)
            if found is not None:
                return _once(found, type(row), kind, key, won=found["token"] == token)
            # Refused and yet absent: a conditional insert of somebody else is half way. It decides nothing.
            await self._store.clock.sleep(timedelta(milliseconds=50 * 2**attempt))
        raise Unavailable(f"the decision {kind} {key!r} can neither be made nor read: try again")

    async def find_once(self, kind: str, key: str, row_type: type[R]) -> Once[R] | None:
        found = await self._database.find_document(PERMITS, self._decision_id(kind, key))
        return _once(found, row_type, kind, key, won=False) if found is not None else None

    async def find_many_once(self, kind: str, keys: Sequence[str], row_type: type[R]) -> dict[str, Once[R]]:
        ids = {self._decision_id(kind, key): key for key in keys}
        found = await self._database.find_documents(PERMITS, list(ids))
        return {ids[one["_id"]]: _once(one, row_type, kind, ids[one["_id"]], won=False) for one in found}

    def _decision_id(self, kind: str, key: str) -> str:
        # Of fixed length: kinds and keys may be longer than an `_id`. The document holds them for people.
        return name_id("permit", self._brand, kind, key)


def _chunks(sent: Sequence[tuple[type[Row], dict[str, Any]]]) -> Iterator[tuple[type[Row], list[dict[str, Any]]]]:
    chunk: list[dict[str, Any]] = []
    for n, (row_type, columns) in enumerate(sent):
        chunk.append(columns)
        if len(chunk) == CHUNK or n + 1 == len(sent) or sent[n + 1][0] is not row_type:
            yield row_type, chunk
            chunk = []


def _lacking(kind: str, key: str, error: KeyError) -> Damaged:
    return Damaged(f"the decision {kind} {key!r} lacks {error}: see docs/operate.md")


def _once(found: Mapping[str, Any], row_type: type[R], kind: str, key: str, *, won: bool) -> Once[R]:
    try:
        table, document, token = found["table"], found["document"], found["token"]
    except KeyError as error:
        raise _lacking(kind, key, error) from None
    if table != row_type.table:
        raise ValueError(f"the decision {kind} {key!r} holds a row of {table}, not of {row_type.table}")
    return Once(won=won, row=schema.decode_document(row_type, document), token=token)


@asynccontextmanager
async def open_astra_records(url: str, *, clock: Clock, token: str = "") -> AsyncIterator[RecordsStore]:
    """Open `astra://HOST/KEYSPACE` or `astra+http://[USER:PASSWORD@]HOST:PORT/KEYSPACE`; `db init` made its tables.

    Sends nothing. Raises SettingsError.
    """
    if not url.startswith(("astra://", "astra+http://")):
        raise SettingsError(f"COPYDESK_RECORDS: {url.partition('://')[0]!r} is not AstraDB")
    async with open_astra_database(url, clock=clock, token=token) as database:
        yield AstraRecordsStore(database, clock)
