"""Exact vector search over matrices held in memory, kept true to the file by its change log.

One matrix a (table, brand, embedder, length): brands and embedders never meet in one product. The cost of a search is
one pass over the matrix, which is what the memory bus allows.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from memory.records.schema import expires
from memory.rows.row import Row

if TYPE_CHECKING:
    import numpy as np

_MATRICES = 16  # kept per process, least recently used out first
_SPARSE = 8  # when fewer than one row in this many passes the filters, those are gathered; else all are multiplied
_SPARE_CHANGES = 1000  # entries of the change log that are kept whatever the size of the table


class Matrix:
    """The normalised vectors of one table, brand, embedder and length, with what their rows are filtered by."""

    def __init__(self, row_type: type[Row], brand: str, embedder_id: str, dims: int) -> None:
        import numpy as np  # lazy: most commands never search

        self._np = np
        self._row_type = row_type
        self._brand = brand
        self._embedder_id = embedder_id
        self._dims = dims
        self._filters = tuple(
            name for name in dict.fromkeys((*row_type.indexes, *row_type.key.columns)) if name != "brand"
        )
        self._generation = -1
        self._clear(0)

    def _clear(self, capacity: int) -> None:
        np = self._np
        self.count = 0
        self._vectors = np.empty((capacity, self._dims), dtype=np.float32)
        self._numbers = np.empty(capacity, dtype=np.int64)
        self._columns: dict[str, list[Any]] = {name: [] for name in self._filters}
        self._masks: dict[str, Any] = {}
        self._slots: dict[int, int] = {}

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Take in what any process has committed since the last time; call it inside a read transaction."""
        table = self._row_type.table
        generation, forgotten = connection.execute(
            "SELECT generation, forgotten FROM vector_tables WHERE name = ?", (table,)
        ).fetchone()
        if generation == self._generation:
            return
        wanted = f't."number", t."{self._row_type.vector}"' + "".join(f', t."{name}"' for name in self._filters)
        mine = f't.brand = ? AND t.embedder_id = ? AND length(t."{self._row_type.vector}") = ?'
        size = self._dims * 4
        if self._generation < forgotten or self._generation < 0:
            where = f'FROM "{table}" AS t WHERE {mine}'
            bound = (self._brand, self._embedder_id, size)
            self._clear(connection.execute(f"SELECT count(*) {where}", bound).fetchone()[0])
            for number, *values in connection.execute(f"SELECT {wanted} {where}", bound):
                self._put(number, values)
        else:
            changed = connection.execute(
                f'SELECT c.number, {wanted} FROM vector_changes AS c LEFT JOIN "{table}" AS t'
                f" ON t.number = c.number AND {mine}"
                " WHERE c.table_name = ? AND c.generation > ?",
                (self._brand, self._embedder_id, size, table, self._generation),
            )
            for number, present, *values in changed:
                if present is None:
                    self._remove(number)
                else:
                    self._put(number, values)
        self._masks.clear()
        self._generation = generation

    def _put(self, number: int, values: Sequence[Any]) -> None:
        np = self._np
        vector = np.frombuffer(values[0], dtype="<f4")
        length = float(np.linalg.norm(vector))
        if length == 0:
            self._remove(number)
            return
        slot = self._slots.get(number)
        if slot is None:
            slot = self.count
            if slot == len(self._vectors):
                self._grow()
            self._slots[number] = slot
            self._numbers[slot] = number
            self.count += 1
            for name, value in zip(self._filters, values[1:], strict=True):
                self._columns[name].append(value)
        else:
            for name, value in zip(self._filters, values[1:], strict=True):
                self._columns[name][slot] = value
        np.divide(vector, length, out=self._vectors[slot])

    def _grow(self) -> None:
        np = self._np
        spare = max(64, self.count // 4)
        self._vectors = np.concatenate([self._vectors, np.empty((spare, self._dims), dtype=np.float32)])
        self._numbers = np.concatenate([self._numbers, np.empty(spare, dtype=np.int64)])

    def _remove(self, number: int) -> None:
        slot = self._slots.pop(number, None)
        if slot is None:
            return
        last = self.count - 1
        if slot != last:
            self._vectors[slot] = self._vectors[last]
            self._numbers[slot] = self._numbers[last]
            self._slots[int(self._numbers[slot])] = slot
        for values in self._columns.values():
            values[slot] = values[last]
            values.pop()
        self.count = last

    def nearest(
        self, vector: Sequence[float], *, limit: int, min_score: float, equals: Mapping[str, Any], now: int
    ) -> list[tuple[int, float]]:
        """(row number, cosine) of the nearest readable rows, best first; ties by row number."""
        np = self._np
        query = np.asarray(vector, dtype=np.float32)
        length = float(np.linalg.norm(query))
        limit = min(limit, self.count)
        if length == 0 or limit <= 0:
            return []
        query = query / length
        chosen = self._chosen(equals, now)
        vectors = self._vectors[: self.count]
        if chosen is None:
            scores = vectors @ query
        else:
            picked = np.flatnonzero(chosen)
            if len(picked) * _SPARSE < self.count:
                scores = np.full(self.count, -np.inf, dtype=np.float32)
                scores[picked] = vectors[picked] @ query
            else:
                scores = vectors @ query
                scores[~chosen] = -np.inf
        best = np.argpartition(scores, self.count - limit)[self.count - limit :]
        ranked = sorted((-float(scores[slot]), int(self._numbers[slot])) for slot in best)
        least = max(min_score, 0.0)
        return [
            (number, min(1.0, max(0.0, -score)))
            for score, number in ranked
            if score != np.inf and max(0.0, -score) >= least
        ]

    def _chosen(self, equals: Mapping[str, Any], now: int) -> np.ndarray[Any, Any] | None:
        chosen = None
        for name, value in equals.items():
            mask = self._mask(name) == value
            chosen = mask if chosen is None else chosen & mask
        if expires(self._row_type):
            alive = self._mask("expires_at") > now
            if not alive.all():
                chosen = alive if chosen is None else chosen & alive
        return chosen

    def _mask(self, name: str) -> Any:
        if name not in self._masks:
            values = self._columns[name]
            self._masks[name] = self._np.array(values) if values else self._np.empty(0, dtype=self._np.int64)
        return self._masks[name]


class Matrices:
    """The matrices of one process and file. Used by one thread."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str, str, int], Matrix] = OrderedDict()

    def get(self, row_type: type[Row], brand: str, embedder_id: str, dims: int) -> Matrix:
        key = (row_type.table, brand, embedder_id, dims)
        if key not in self._held:
            self._held[key] = Matrix(row_type, brand, embedder_id, dims)
            if len(self._held) > _MATRICES:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key]


def forget_changes(db: sqlite3.Connection, row_type: type[Row]) -> None:
    """Shorten the change log once deletions fill it: matrices that have not seen them load everything again."""
    listed = db.execute("SELECT count(*) FROM vector_changes WHERE table_name = ?", (row_type.table,)).fetchone()[0]
    if listed > _SPARE_CHANGES + 2 * db.execute(f'SELECT count(*) FROM "{row_type.table}"').fetchone()[0]:
        db.execute("UPDATE vector_tables SET forgotten = generation WHERE name = ?", (row_type.table,))
        db.execute("DELETE FROM vector_changes WHERE table_name = ?", (row_type.table,))
