"""The one place that opens astrapy: a database of the Data API, with timeouts, one retry policy and our errors.

astrapy retries nothing and raises httpx's transport errors as they are; `memory/astra_errors.py` turns all of them into
ours. Everything sent here is an upsert, a delete by key or a conditional insert, so a call whose answer was lost is
simply made again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import astrapy.exceptions
import structlog
from astrapy import AsyncCollection, AsyncTable, DataAPIClient
from astrapy.api_options import APIOptions, SerdesOptions, TimeoutOptions
from astrapy.authentication import StaticTokenProvider, TokenProvider, UsernamePasswordTokenProvider
from astrapy.constants import Environment
from astrapy.data_types import DataAPIVector
from astrapy.event_observers import ObservableEvent, ObservableWarning, Observer
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from config.clock import Clock
from config.errors import SettingsError, Unavailable
from memory.astra_errors import error_code, says_the_column_is_there, translated

T = TypeVar("T")
log = structlog.get_logger(__name__)

CHUNK = 50
"""Rows of one insertMany: 50 rows with vectors are 0.4 MB; the server takes 100 rows and 20 MB."""
IN_VALUES = 100
"""Values of one `$in`, at most."""
_DOCUMENTS = 20
"""Documents of one page of a collection."""
ATTEMPTS = 3
_LONGEST_WAIT_S = 8.0
_POINT_MS, _SEARCH_MS, _CHUNK_MS, _DDL_MS = 10_000, 10_000, 20_000, 90_000  # the server's own DDL takes up to 32 s
_CALLS_AT_ONCE = 16  # a call that waits long for a connection of httpx's pool would count as a timeout
HARMLESS = ("MISSING_INDEX", "ZERO_FILTER_OPERATIONS")
"""Warnings that our queries may cause: a partition and an indexed column together, and a vector search without filter."""


class _Warnings(Observer):
    """Tells what the server warns of; astrapy's own logger says it on every page, with the filter's values."""

    def receive(
        self,
        event: ObservableEvent,
        sender: Any = None,
        function_name: str | None = None,
        request_id: str | None = None,
    ) -> None:
        if isinstance(event, ObservableWarning) and event.warning.error_code not in HARMLESS:
            log.warning("astra.warned", code=event.warning.error_code, table=getattr(sender, "name", ""))


class AstraDatabase:
    """An open keyspace. Every call raises our errors only: Unavailable after three attempts, and what does not pass."""

    def __init__(self, database: Any, clock: Clock, stack: AsyncExitStack) -> None:
        self._database = database
        self._clock = clock
        self._stack = stack
        self._tables: dict[str, AsyncTable[dict[str, Any]]] = {}
        self._collections: dict[str, AsyncCollection[dict[str, Any]]] = {}
        self._turn = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._random = random.Random()

    async def _table(self, name: str) -> AsyncTable[dict[str, Any]]:
        if name not in self._tables:  # each has a connection pool of its own: kept, and closed with the database
            self._tables[name] = self._database.get_table(name)
            await self._stack.enter_async_context(self._tables[name])
        return self._tables[name]

    async def _collection(self, name: str) -> AsyncCollection[dict[str, Any]]:
        if name not in self._collections:
            self._collections[name] = self._database.get_collection(name)
            await self._stack.enter_async_context(self._collections[name])
        return self._collections[name]

    async def _call(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """`call`, made again after Unavailable: three attempts, full jitter, Retry-After honoured."""

        async def attempt() -> T:
            async with self._turn:
                with translated(what):
                    return await call()

        try:
            return await attempt()  # nearly always: setting up the retries costs as much as a tenth of the call
        except Unavailable as error:
            first = error
        await self._clock.sleep(timedelta(seconds=_pause(first, 1, self._random)))
        retrying = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS - 1),
            retry=retry_if_exception_type(Unavailable),
            wait=lambda state: _pause(state.outcome.exception(), state.attempt_number + 1, self._random),  # type: ignore[union-attr]
            sleep=lambda seconds: self._clock.sleep(timedelta(seconds=seconds)),
            reraise=True,
        )
        return await retrying(attempt)

    # Rows of tables

    async def find_one(
        self, table: str, key: Mapping[str, Any], *, columns: Sequence[str] | None = None
    ) -> dict[str, Any] | None:
        """The row with this full primary key, or None."""
        opened = await self._table(table)
        wanted = None if columns is None else dict.fromkeys(columns, True)
        return await self._call(
            f"reading {table}",
            lambda: opened.find_one(dict(key), projection=wanted, request_timeout_ms=_POINT_MS),
        )

    async def find(
        self,
        table: str,
        where: Mapping[str, Any],
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """The rows that `where` names, in clustering order if it pins the partition, read page by page.

        Never without a filter: that would read the whole table.
        """
        assert where, f"a find on {table} without a filter reads all of it"
        opened = await self._table(table)
        wanted = None if columns is None else dict.fromkeys(columns, True)
        left, state = limit, None
        while left is None or left > 0:

            def page(state: str | None = state, left: int | None = left) -> Awaitable[Any]:
                more: Any = {} if state is None else {"initial_page_state": state}
                cursor = opened.find(dict(where), projection=wanted, limit=left, request_timeout_ms=_POINT_MS, **more)
                return cursor.fetch_next_page()

            found = await self._call(f"reading {table}", page)
            for row in found.results if left is None else found.results[:left]:
                yield row
            state = found.next_page_state
            if state is None:
                return
            left = None if left is None else left - len(found.results)

    async def nearest(
        self, table: str, column: str, vector: Sequence[float], where: Mapping[str, Any], *, limit: int
    ) -> list[dict[str, Any]]:
        """The `limit` (at most 1000) rows nearest to `vector`, best first, each with its `$similarity`, (1 + cosine) / 2.

        Every column of `where` has to be indexed.
        """
        opened = await self._table(table)

        def search() -> Awaitable[Any]:
            cursor = opened.find(
                dict(where),
                sort={column: DataAPIVector(list(vector))},
                include_similarity=True,
                limit=limit,
                request_timeout_ms=_SEARCH_MS,
            )
            return cursor.to_list()

        return list(await self._call(f"searching {table}", search))

    async def insert(self, table: str, key: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert or replace up to 50 rows. After a partial failure only the rows that failed are sent again.

        Columns left out of a row stay as they are; None clears one.
        """
        opened = await self._table(table)
        left = {tuple(row[name] for name in key): dict(row) for row in rows}  # the last of two with one key

        async def send() -> None:
            try:
                if len(left) == 1:
                    await opened.insert_one(next(iter(left.values())), request_timeout_ms=_CHUNK_MS)
                else:
                    await opened.insert_many(
                        list(left.values()),
                        ordered=False,
                        concurrency=1,
                        chunk_size=CHUNK,
                        request_timeout_ms=_CHUNK_MS,
                        general_method_timeout_ms=_CHUNK_MS,
                    )
            except astrapy.exceptions.TableInsertManyException as error:
                for done in error.inserted_ids:
                    left.pop(tuple(done[name] for name in key), None)
                raise

        await self._call(f"writing {table}", send)

    async def delete_one(self, table: str, key: Mapping[str, Any]) -> None:
        """Remove the row with this full primary key, if there is one."""
        opened = await self._table(table)
        await self._call(f"deleting from {table}", lambda: opened.delete_one(dict(key), request_timeout_ms=_POINT_MS))

    async def delete_many(self, table: str, where: Mapping[str, Any]) -> None:
        """Remove the rows of a partition, a clustering prefix of it (the last may be a range), or `$in` of whole keys."""
        assert where, f"a delete on {table} without a filter empties it"
        opened = await self._table(table)
        await self._call(
            f"deleting from {table}",
            lambda: opened.delete_many(dict(where), request_timeout_ms=_CHUNK_MS, general_method_timeout_ms=_CHUNK_MS),
        )

    # Documents of collections, the one thing that can be inserted on a condition

    async def insert_document(self, collection: str, document: Mapping[str, Any]) -> None:
        """Insert the document unless its `_id` is taken, in which case nothing happens. Read it back to learn which."""
        opened = await self._collection(collection)

        async def send() -> None:
            try:
                await opened.insert_one(dict(document), request_timeout_ms=_POINT_MS)
            except astrapy.exceptions.DataAPIResponseException as error:
                if error_code(error) != "DOCUMENT_ALREADY_EXISTS":
                    raise

        await self._call(f"deciding in {collection}", send)

    async def find_document(self, collection: str, document_id: str) -> dict[str, Any] | None:
        """The document with this `_id`, or None."""
        opened = await self._collection(collection)
        return await self._call(
            f"reading {collection}", lambda: opened.find_one({"_id": document_id}, request_timeout_ms=_POINT_MS)
        )

    async def find_documents(self, collection: str, document_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The documents that exist among these `_id`s, in no order, a page of the server at a time."""
        opened = await self._collection(collection)

        def page(some: list[str]) -> Awaitable[Any]:
            cursor = opened.find({"_id": {"$in": some}}, limit=len(some), request_timeout_ms=_POINT_MS)
            return cursor.to_list()

        found: list[dict[str, Any]] = []
        for start in range(0, len(document_ids), _DOCUMENTS):
            some = list(document_ids[start : start + _DOCUMENTS])
            found += await self._call(f"reading {collection}", lambda some=some: page(some))  # type: ignore[misc]
        return found

    async def documents(self, collection: str) -> AsyncIterator[dict[str, Any]]:
        """Every document of the collection, in no order, read page by page: it reads all of it."""
        opened = await self._collection(collection)
        state: str | None = ""
        while state is not None:

            def page(state: str = state) -> Awaitable[Any]:
                more: Any = {"initial_page_state": state} if state else {}
                # No filter, which needs no index, and no sort, which would end after one page.
                return opened.find({}, request_timeout_ms=_POINT_MS, **more).fetch_next_page()

            found = await self._call(f"reading {collection}", page)
            for document in found.results:
                yield document
            state = found.next_page_state

    # Definitions, for `db init` and `doctor`

    async def tables(self) -> dict[str, dict[str, Any]]:
        """Every table of the keyspace with its definition."""
        listed = await self._call("listing tables", lambda: self._database.list_tables(table_admin_timeout_ms=_DDL_MS))
        return {table.name: table.definition.as_dict() for table in listed}

    async def collections(self) -> list[str]:
        """The names of the keyspace's collections."""
        return list(
            await self._call(
                "listing collections",
                lambda: self._database.list_collection_names(collection_admin_timeout_ms=_DDL_MS),
            )
        )

    async def indexes(self, table: str) -> dict[str, dict[str, Any]]:
        """Every index of the table with its definition."""
        opened = await self._table(table)
        listed = await self._call(
            f"listing the indexes of {table}", lambda: opened.list_indexes(table_admin_timeout_ms=_DDL_MS)
        )
        return {index.name: index.definition.as_dict() for index in listed}

    async def create_table(self, table: str, definition: Mapping[str, Any]) -> None:
        """Create the table unless one of that name exists, whatever its columns."""
        await self._call(
            f"creating {table}",
            lambda: self._database.create_table(
                table, definition=dict(definition), if_not_exists=True, table_admin_timeout_ms=_DDL_MS
            ),
        )

    async def create_index(self, table: str, name: str, column: str, *, vector: bool) -> None:
        """Create an index on one column (cosine for a vector) unless one of that name exists."""
        from astrapy.info import TableIndexOptions, TableVectorIndexOptions

        opened = await self._table(table)
        create: Any = opened.create_vector_index if vector else opened.create_index
        options: Any = TableIndexOptions(ascii=False, normalize=False, case_sensitive=True)
        if vector:
            options = TableVectorIndexOptions(metric="cosine", source_model="other")
        await self._call(
            f"creating the index {name}",
            lambda: create(name, column=column, options=options, if_not_exists=True, table_admin_timeout_ms=_DDL_MS),
        )

    async def add_column(self, table: str, column: str, kind: Mapping[str, Any]) -> None:
        """Add a column of the type `kind` unless the table has one of that name; it is null in every row."""
        opened = await self._table(table)

        async def send() -> None:
            try:
                change = {"add": {"columns": {column: dict(kind)}}}
                await opened.alter(change, table_admin_timeout_ms=_DDL_MS)
            except astrapy.exceptions.DataAPIResponseException as error:
                if not says_the_column_is_there(error):
                    raise

        await self._call(f"adding the column {table}.{column}", send)

    async def create_collection(self, name: str) -> None:
        """Create a collection whose fields are not indexed (a document is found by its `_id` alone)."""
        definition = {"indexing": {"deny": ["*"]}}
        await self._call(
            f"creating {name}",
            lambda: self._database.create_collection(name, definition=definition, collection_admin_timeout_ms=_DDL_MS),
        )


def _pause(error: Any, attempt: int, dice: random.Random) -> float:
    """Seconds to wait after the `attempt`-th attempt."""
    if error.retry_after is not None:
        return min(float(error.retry_after.total_seconds()), _LONGEST_WAIT_S)
    return dice.uniform(0, min(_LONGEST_WAIT_S, 0.4 * 2.0**attempt))


def as_vector(numbers: Sequence[float]) -> DataAPIVector:
    """The wrapper that astrapy sends as binary; a plain list takes three times the bytes and four times the time."""
    return DataAPIVector(list(numbers))


def parse_astra_url(url: str, token: str) -> tuple[str, str, TokenProvider]:
    """Endpoint, keyspace and credentials of `astra://HOST/KEYSPACE` or `astra+http://[USER:PASSWORD@]HOST:PORT/KEYSPACE`.

    A token in the place of the password of `astra://` wins over `token`; it is there for tests. Raises SettingsError.
    """
    scheme = url.partition("://")[0]
    shape = "astra://HOST/KEYSPACE" if scheme == "astra" else "astra+http://[USER:PASSWORD@]HOST:PORT/KEYSPACE"
    try:
        parts = urlsplit(url)
        host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    except ValueError:
        host = None
        parts = urlsplit("")
    keyspace = parts.path.strip("/")
    if not host or not keyspace.isidentifier() or len(keyspace) > 48:
        raise SettingsError(f"COPYDESK_RECORDS must be {shape}, the keyspace of letters, digits and '_'")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if scheme == "astra":
        if not (password or token):
            raise SettingsError(f"COPYDESK_RECORDS names AstraDB at {host}: give its token in COPYDESK_ASTRA_TOKEN")
        return f"https://{host}", keyspace, StaticTokenProvider(password or token)
    provider = UsernamePasswordTokenProvider(user, password) if user else StaticTokenProvider(token or None)
    return f"http://{host}", keyspace, provider


@asynccontextmanager
async def open_astra_database(url: str, *, clock: Clock, token: str = "") -> AsyncIterator[AstraDatabase]:
    """Open the keyspace behind `url` inside the running event loop, and close all its connections at the end.

    Nothing is sent yet. Raises SettingsError for a malformed URL or a missing token.
    """
    endpoint, keyspace, provider = parse_astra_url(url, token)
    # It would log each error and warning in full, content of rows included, and an index filter on every page.
    logging.getLogger("astrapy").setLevel(logging.CRITICAL)
    options = APIOptions(
        serdes_options=SerdesOptions(custom_datatypes_in_reading=False),
        timeout_options=TimeoutOptions(request_timeout_ms=_POINT_MS, general_method_timeout_ms=3 * _POINT_MS),
        event_observers={"copydesk": _Warnings()},
    )
    environment = Environment.PROD if url.startswith("astra://") else Environment.OTHER
    with translated("opening AstraDB"):
        client = DataAPIClient(environment=environment, api_options=options)
        database = client.get_async_database(endpoint, token=provider, keyspace=keyspace)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(database)
        yield AstraDatabase(database, clock, stack)
