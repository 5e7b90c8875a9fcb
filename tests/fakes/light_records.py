"""Records in a dict, for tests that live through years: the few calls that schedules make, each at a moment of its own.

Every call gives way to others before it takes effect and after it, a random number of times, so that two that race meet in every
order. A `Machine` is one process's view of it, and may be suspended before any of its calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random
from typing import Any, TypeVar

from config.errors import NotFound
from memory.records.protocol import Once
from memory.rows.row import Row

R = TypeVar("R", bound=Row)


class LightRecords:
    """What all machines share."""

    def __init__(self) -> None:
        self.tables: dict[type[Row], dict[tuple[Any, ...], Row]] = {}
        self.decisions: dict[tuple[str, str], tuple[str, Row]] = {}

    def rows(self, row_type: type[R]) -> list[R]:
        """Every row of a table, in the order in which they came."""
        return list(self.tables.get(row_type, {}).values())  # type: ignore[arg-type]


class Machine:
    """One process's Records, which can be suspended."""

    brand = "acme"

    def __init__(self, shared: LightRecords, rng: Random) -> None:
        self.shared, self._rng = shared, rng
        self._calls_left = -1
        self._suspended, self._woken = asyncio.Event(), asyncio.Event()

    def suspend_after(self, calls: int) -> asyncio.Event:
        """Suspend before the call after so many; the event tells when that has happened."""
        self._calls_left = calls
        self._suspended, self._woken = asyncio.Event(), asyncio.Event()
        return self._suspended

    def wake(self) -> None:
        """Go on."""
        self._calls_left = -1
        self._woken.set()

    async def _gives_way(self) -> None:
        if self._calls_left == 0:
            self._suspended.set()
            await self._woken.wait()
        self._calls_left -= self._calls_left > 0
        for _ in range(self._rng.randrange(3)):
            await asyncio.sleep(0)

    async def find(self, row_type: type[R], **key: Any) -> R | None:
        await self._gives_way()
        columns = {"brand": self.brand, **key}
        found = self.shared.tables.get(row_type, {}).get(tuple(columns[name] for name in row_type.key.columns))
        await self._gives_way()
        return found  # type: ignore[return-value]

    async def get(self, row_type: type[R], **key: Any) -> R:
        found = await self.find(row_type, **key)
        if found is None:
            raise NotFound(f"{row_type.table} {key}")
        return found

    async def put(self, *rows: Row) -> None:
        for row in rows:
            await self._gives_way()
            self.shared.tables.setdefault(type(row), {})[row.key_values()] = row
            await self._gives_way()

    async def list_rows(
        self, row_type: type[R], *, limit: int | None = None, after: Mapping[str, Any] | None = None
    ) -> list[R]:
        await self._gives_way()
        rows = sorted(self.shared.rows(row_type), key=lambda row: row.key_values(), reverse=row_type.key.descending)
        if after is not None:
            rows = [row for row in rows if (row.key_values()[1] < after["id"]) is row_type.key.descending]
            rows = [row for row in rows if row.key_values()[1] != after["id"]]
        return rows[:limit]

    async def create_once(self, kind: str, key: str, row: R, *, token: str) -> Once[R]:
        await self._gives_way()
        winner, stored = self.shared.decisions.setdefault((kind, key), (token, row))
        await self._gives_way()
        return Once(winner == token, stored, winner)  # type: ignore[arg-type]
