"""Records: long-term rows, vectors and the one race that the store decides.

The protocol assumes no more than a wide-column store can do: upserts by primary key, no transaction over two rows, no
compare-and-set, no null filter, filters on indexed columns only. Every row has one writer, the holder of its thread's lease.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar, cast

from config.clock import Clock
from config.errors import SettingsError
from memory.lease import LeaseGuard
from memory.rows.row import Row

R = TypeVar("R", bound=Row)
ALL_BRANDS = "*"
"""The scope of `brands`-listing code alone: it may list `Brand` rows and nothing else."""


class Capability(StrEnum):
    """What an engine may lack; calling it then raises Unsupported."""

    TEXT_SEARCH = "text_search"


@dataclass(frozen=True)
class Scored(Generic[R]):
    """A row and how well it matched, 0 to 1 (cosine similarity clipped at 0, or a rank-based text score)."""

    row: R
    score: float


@dataclass(frozen=True)
class Once(Generic[R]):
    """The answer of `create_once`: whether this token won, and the row that is stored, the winner's in either case."""

    won: bool
    row: R
    token: str


@dataclass(frozen=True)
class Decision:
    """A decision as `list_once` shows it: the race, the winner's token, and its row as it was when it won."""

    kind: str
    key: str
    token: str
    row: Row


class Records(Protocol):
    """The rows of one brand. Another brand's rows read as absent and are never overwritten.

    Writes raise LeaseLost, before anything is written, once the lease given to `for_brand` is no longer held.
    Rows with an `expires_at` in the past are unreadable at once, in every call.
    Every call may raise Unavailable (try again), DiskFull or Damaged.
    """

    @property
    def brand(self) -> str:
        """Whose rows these are."""
        ...

    async def get(self, row_type: type[R], **key: Any) -> R:
        """The row with this full primary key (`brand` may be left out). Raises NotFound."""
        ...

    async def find(self, row_type: type[R], **key: Any) -> R | None:
        """As `get`, None if there is none."""
        ...

    async def find_many(self, row_type: type[R], keys: Sequence[Mapping[str, Any]]) -> list[R]:
        """The rows that exist among `keys`, in the order of `keys`; read a hundred at a time."""
        ...

    async def list_rows(
        self, row_type: type[R], *, limit: int | None = None, after: Mapping[str, Any] | None = None, **partition: Any
    ) -> list[R]:
        """The rows of one partition in clustering order, at most `limit`, strictly behind the cluster key `after`.

        `partition` names every partition column, and may go on with leading cluster columns (`brand` may be left out).
        Tables whose key is `id` alone have no partition worth listing: use `find_by`. Raises ValueError then.
        """
        ...

    async def find_by(self, row_type: type[R], *, limit: int | None = None, **equals: Any) -> list[R]:
        """Rows whose indexed columns equal the given values, in no order.

        Raises Unsupported when a column is not in `row_type.indexes` (nor part of the key), and where the engine would
        have to read the whole table: no partition is named in full and no indexed column.
        """
        ...

    async def put(self, *rows: Row) -> None:
        """Insert or replace each row by its primary key; not atomic over several rows.

        The stored `row_version` is the given one plus one. Raises Conflict (and writes nothing) when a row's `brand` is not
        this one or its key belongs to another brand.
        """
        ...

    async def delete(self, row_type: type[R], **key: Any) -> None:
        """Remove the row with this full primary key; no error if there is none."""
        ...

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
        """The rows whose vector is nearest by cosine, best first; only vectors of `embedder_id` are compared.

        Exact in an embedded engine; a remote one may use an approximate index, which may miss a row. `equals` filters
        before the ranking, on indexed columns. Raises Unsupported for more rows than the engine returns at once, never
        for 1000 or fewer.
        """
        ...

    async def search_text(self, row_type: type[R], query: str, *, limit: int, **equals: Any) -> list[Scored[R]]:
        """The rows that best match the words of `query`, best first. Any query string is safe. Raises Unsupported."""
        ...

    async def create_once(self, kind: str, key: str, row: R, *, token: str) -> Once[R]:
        """Decide a race: the first caller of (brand, kind, key) wins, and its row is what everybody reads from then on.

        Repeating a call with the same token answers as the first time, so an unanswered call may be repeated. The row is
        stored inside the decision, not in its table: whoever meets it, winner or loser, puts it there if it is absent.
        Durable, power loss included, when this returns.
        """
        ...

    async def find_once(self, kind: str, key: str, row_type: type[R]) -> Once[R] | None:
        """The decision of (brand, kind, key) if there is one; `won` is False."""
        ...

    async def find_many_once(self, kind: str, keys: Sequence[str], row_type: type[R]) -> dict[str, Once[R]]:
        """Those of the races (brand, kind, key) that are decided, by key: as `find_once`, a page of keys at a time."""
        ...


class RecordsStore(Protocol):
    """An open engine."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this engine can do beyond what every engine can."""
        ...

    def for_brand(self, brand: str, *, lease: LeaseGuard | None = None) -> Records:
        """The rows of `brand`; writes are bound to `lease` if one is given. Raises BadInput for a malformed brand name."""
        ...

    def all_brands(self) -> Records:
        """A view that lists and finds `Brand` rows (`list_rows(Brand, realm=REALM)`); anything else raises Unsupported."""
        ...

    async def brands_with(self, row_type: type[Row], **equals: Any) -> list[str]:
        """The names, sorted, of the brands that have a row whose indexed columns equal the given values; of the rows themselves
        nothing is shown. It costs what those rows cost, however many brands there are.

        A row that is written meanwhile may be missed. Raises Unsupported as `find_by`, and without a column to find by.
        """
        ...

    def list_once(self) -> AsyncIterator[Decision]:
        """Every decision of every brand, in no order, read page by page; `row.brand` says whose: for `migrate` alone.

        One that is made meanwhile may be missed.
        """
        ...

    async def sweep(self, *, limit: int = 1000) -> int:
        """Delete up to `limit` expired rows; how many were deleted."""
        ...


_ENGINES = {
    "sqlite": "memory.records.sqlite:open_sqlite_records",
    "astra": "memory.records.astra:open_astra_records",
    "astra+http": "memory.records.astra:open_astra_records",
    "austere": "tests.fakes.austere:open_austere_records",
}


def open_records(url: str, *, clock: Clock, astra_token: str = "") -> AbstractAsyncContextManager[RecordsStore]:
    """Open the records behind `url`: `sqlite:///FOLDER` (records.db and ledger.db in it), `astra://HOST/KEYSPACE` with
    `astra_token`, or `astra+http://[USER:PASSWORD@]HOST:PORT/KEYSPACE` (a Data API of one's own).

    Raises SettingsError for a scheme that is not known.
    """
    scheme = url.partition("://")[0]
    if scheme not in _ENGINES:
        raise SettingsError(
            f"COPYDESK_RECORDS: no engine for {scheme!r}; known: {', '.join(sorted(set(_ENGINES) - {'austere'}))}"
        )
    module, _, name = _ENGINES[scheme].partition(":")
    more = {"token": astra_token} if scheme.startswith("astra") else {}
    return cast(
        AbstractAsyncContextManager[RecordsStore], getattr(import_module(module), name)(url, clock=clock, **more)
    )
