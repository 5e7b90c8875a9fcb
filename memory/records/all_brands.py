"""The view over all brands, the same on every engine: it finds and lists `Brand` rows and refuses the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from config.errors import Unsupported
from memory.records.protocol import ALL_BRANDS, Once, Records, Scored
from memory.rows import Brand
from memory.rows.row import Row

R = TypeVar("R", bound=Row)


class AllBrands:
    """Wraps an engine's unscoped records, which nobody else may hold."""

    def __init__(self, unscoped: Records) -> None:
        self._unscoped = unscoped

    @property
    def brand(self) -> str:
        return ALL_BRANDS

    async def get(self, row_type: type[R], **key: Any) -> R:
        _brands_alone(row_type)
        return await self._unscoped.get(row_type, **key)

    async def find(self, row_type: type[R], **key: Any) -> R | None:
        _brands_alone(row_type)
        return await self._unscoped.find(row_type, **key)

    async def find_many(self, row_type: type[R], keys: Sequence[Mapping[str, Any]]) -> list[R]:
        _brands_alone(row_type)
        return await self._unscoped.find_many(row_type, keys)

    async def list_rows(
        self, row_type: type[R], *, limit: int | None = None, after: Mapping[str, Any] | None = None, **partition: Any
    ) -> list[R]:
        _brands_alone(row_type)
        return await self._unscoped.list_rows(row_type, limit=limit, after=after, **partition)

    async def find_by(self, row_type: type[R], *, limit: int | None = None, **equals: Any) -> list[R]:
        _refuse("find_by")

    async def put(self, *rows: Row) -> None:
        _refuse("put")

    async def delete(self, row_type: type[R], **key: Any) -> None:
        _refuse("delete")

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
        _refuse("search")

    async def search_text(self, row_type: type[R], query: str, *, limit: int, **equals: Any) -> list[Scored[R]]:
        _refuse("search_text")

    async def create_once(self, kind: str, key: str, row: R, *, token: str) -> Once[R]:
        _refuse("create_once")

    async def find_once(self, kind: str, key: str, row_type: type[R]) -> Once[R] | None:
        _refuse("find_once")

    async def find_many_once(self, kind: str, keys: Sequence[str], row_type: type[R]) -> dict[str, Once[R]]:
        _refuse("find_many_once")


def _brands_alone(row_type: type[Row]) -> None:
    if row_type is not Brand:
        raise Unsupported(f"the view over all brands shows brands alone, not {row_type.table}: open a brand's records")


def _refuse(what: str) -> NoReturn:
    raise Unsupported(f"the view over all brands has no {what}: open that brand's records")
