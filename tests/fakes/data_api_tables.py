"""Tables of the fake Data API: upserts, keys, clustering order, filters with the server's warnings, vector search.

Each rule names its source: "astra.md" is the team's page of measured facts about the server, "analyzer" is
WhereCQLClauseAnalyzer.java of stargate/data-api.
"""

from __future__ import annotations

import base64
import hashlib
import json
import operator
from collections.abc import Iterator
from typing import Any

from tests.fakes.data_api_values import Refused, as_vector, column_type, stored, written

_TESTS = {
    "$eq": operator.eq,
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
    "$in": lambda value, given: value in given,
    "$ne": operator.ne,
    "$nin": lambda value, given: value not in given,
}
_SLICES = ("$gt", "$gte", "$lt", "$lte")
_UNORDERED = ("text", "ascii", "boolean", "uuid")  # analyzer: ALLOW_FILTERING_NEEDED_FOR_COMPARISON

_MARKER = ""
"""The name of no column: whether an insert made the row."""

Condition = tuple[str, str, Any]
"""Column, operator, stored value."""


class _Descending:
    """Sorts the other way."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and self.value == other.value


def warning(code: str, message: str) -> dict[str, str]:
    return {"errorCode": code, "family": "REQUEST", "scope": "WARNING", "title": code, "message": message}


class Table:
    """One table of a keyspace."""

    def __init__(self, name: str, definition: dict[str, Any]) -> None:
        self.name = name
        self.columns = {column: column_type(kind) for column, kind in definition["columns"].items()}
        key = definition["primaryKey"]
        if isinstance(key, str):
            key = {"partitionBy": [key]}
        self.partition: list[str] = list(key["partitionBy"])
        self.sort: dict[str, int] = dict(key.get("partitionSort") or {})
        self.key = [*self.partition, *self.sort]
        for column in self.key:
            if column not in self.columns:
                raise Refused("UNKNOWN_PARTITION_COLUMNS", column, scope="SCHEMA")
        self.indexes: dict[str, dict[str, Any]] = {}
        self.rows: dict[tuple[Any, ...], dict[str, Any]] = {}

    def like(self) -> Table:
        """An empty table of the same definition."""
        other = Table(self.name, self.definition())
        other.indexes = dict(self.indexes)
        return other

    def definition(self) -> dict[str, Any]:
        return {
            "columns": dict(self.columns),
            "primaryKey": {"partitionBy": list(self.partition), "partitionSort": dict(self.sort)},
        }

    @property
    def indexed(self) -> set[str]:
        return {index["definition"]["column"] for index in self.indexes.values()}

    # Writing

    def insert(self, document: dict[str, Any], *, marker: bool = True) -> list[Any]:
        """Upsert (astra.md 0.1): columns left out stay, null clears. Answers the key.

        A row that only updates made (`marker` is false) is gone once its last column is null, as in CQL.
        """
        unknown = sorted(set(document) - set(self.columns))
        if unknown:
            raise Refused("UNKNOWN_TABLE_COLUMNS", ", ".join(unknown), scope="DOCUMENT")
        if missing := [column for column in self.key if document.get(column) is None]:
            raise Refused("MISSING_PRIMARY_KEY_COLUMNS", ", ".join(missing), scope="DOCUMENT")
        values = {column: stored(column, self.columns[column], value) for column, value in document.items()}
        if len(self.partition) == 1 and values[self.partition[0]] in ("", b""):
            # Cassandra's own rule for a partition key of one column; not in astra.md.
            raise Refused("INVALID_DATABASE_QUERY", "Key may not be empty", family="SERVER", scope="DATABASE")
        for index in self.indexes.values():
            vector = values.get(index["definition"]["column"]) if index["indexType"] == "vector" else None
            if vector is not None and sum(number * number for number in vector) < 1e-12:
                # Cassandra's own rule for the cosine function; not in astra.md.
                raise Refused(
                    "INVALID_DATABASE_QUERY", "Zero vectors cannot be indexed", family="SERVER", scope="DATABASE"
                )
        key = tuple(values[column] for column in self.key)
        row = {**self.rows.get(key, {}), **values}
        row[_MARKER] = marker or row.get(_MARKER, False)
        self.rows[key] = row
        if not row[_MARKER] and all(row.get(column) is None for column in self.columns if column not in self.key):
            del self.rows[key]
        return [written(self.columns[column], values[column]) for column in self.key]

    def update_one(self, where: dict[str, Any], update: dict[str, Any]) -> None:
        """astra.md 1.2: the full key, $set and $unset; an upsert like any other."""
        key = self._full_key(self.conditions(where))
        changes = {**update.get("$set", {}), **dict.fromkeys(update.get("$unset", {}))}
        if touched := set(changes) & set(self.key):
            raise Refused("UNSUPPORTED_UPDATE_FOR_PRIMARY_KEY_COLUMNS", ", ".join(sorted(touched)), scope="UPDATE")
        given = {column: written(self.columns[column], value) for column, value in zip(self.key, key, strict=True)}
        self.insert({**given, **changes}, marker=False)

    def delete_one(self, where: dict[str, Any]) -> None:
        self.rows.pop(self._full_key(self.conditions(where)), None)

    def delete_many(self, where: dict[str, Any]) -> None:
        """astra.md 1.2: a partition with an ordered clustering prefix, the last a range; {} is TRUNCATE."""
        conditions = self.conditions(where)
        if not conditions:
            self.rows.clear()
            return
        self._only_key_columns(conditions)
        named = {column for column, _, _ in conditions}
        if any(column not in named for column in self.partition) or self._out_of_order(named):
            raise Refused("INVALID_PRIMARY_KEY_FILTER", scope="FILTER")
        ranged = {column for column, op, _ in conditions if op in _SLICES}
        if (
            ranged & set(self.partition)
            or len(ranged) > 1
            or (ranged and [c for c in self.key if c in named][-1] not in ranged)
        ):
            raise Refused("INVALID_DATABASE_QUERY", "a range must come last", family="SERVER", scope="DATABASE")
        for row in list(self.matching(conditions)):
            del self.rows[tuple(row[column] for column in self.key)]

    def _full_key(self, conditions: list[Condition]) -> tuple[Any, ...]:
        # analyzer, DELETE_ONE and UPDATE_ONE: no other columns, $eq alone, the whole key; in this order.
        if not conditions:
            raise Refused("MISSING_FILTER_FOR_UPDATE_DELETE", scope="FILTER")
        self._only_key_columns(conditions)
        if any(op != "$eq" for _, op, _ in conditions):
            raise Refused("UNSUPPORTED_FILTER_FOR_UPDATE_ONE_DELETE_ONE", scope="FILTER")
        given = {column: value for column, _, value in conditions}
        if set(given) != set(self.key):
            raise Refused("MISSING_FULL_PRIMARY_KEY_FOR_UPDATE_DELETE", scope="FILTER")
        return tuple(given[column] for column in self.key)

    def _only_key_columns(self, conditions: list[Condition]) -> None:
        if others := sorted({column for column, _, _ in conditions} - set(self.key)):
            raise Refused("UNSUPPORTED_NON_PRIMARY_KEY_FILTER_FOR_UPDATE_DELETE", ", ".join(others), scope="FILTER")

    # Reading

    def conditions(self, where: dict[str, Any]) -> list[Condition]:
        """The filter as conditions. Logical operators are not faked: the product uses none."""
        found: list[Condition] = []
        for column, wanted in where.items():
            if column not in self.columns:
                raise Refused("UNKNOWN_TABLE_COLUMNS", column, scope="FILTER")
            kind = self.columns[column]
            operators = (
                wanted if isinstance(wanted, dict) and all(key[:1] == "$" for key in wanted) else {"$eq": wanted}
            )
            if kind["type"] in ("blob", "vector"):
                raise Refused("UNSUPPORTED_COLUMN_TYPES", column, scope="FILTER")
            for op, value in operators.items():
                if op not in _TESTS:
                    raise Refused("UNSUPPORTED_FILTER_OPERATION", op, scope="FILTER")
                if op in ("$in", "$nin"):
                    if len(value) > 100:  # astra.md 1.2
                        raise Refused("FILTER_FIELDS_LIMIT_VIOLATION", "at most 100 values", scope="FILTER")
                    found.append((column, op, [stored(column, kind, one) for one in value]))
                elif value is None:  # astra.md 1.2: no null filter
                    raise Refused("INVALID_FILTER_COLUMN_VALUES", column, scope="FILTER")
                else:
                    found.append((column, op, stored(column, kind, value)))
        return found

    def warnings(self, conditions: list[Condition]) -> list[dict[str, str]]:
        """analyzer, SELECT: each of them means that ALLOW FILTERING was added."""
        named = {column for column, _, _ in conditions}
        if not named:
            return [warning("ZERO_FILTER_OPERATIONS", self.name)]
        found = []
        only_key = named <= set(self.key)
        # The quirk of astra.md 1.2: beside an indexed column, the columns of the partition count as not indexed.
        unindexed = sorted(column for column in named if column not in self.indexed and not only_key)
        if unindexed:
            found.append(warning("MISSING_INDEX", f"{self.name}: {', '.join(unindexed)}"))
        for ops, code in (
            (_SLICES, "COMPARISON_FILTER_UNSUPPORTED_BY_INDEXING"),
            (("$ne",), "NOT_EQUALS_UNSUPPORTED_BY_INDEXING"),
            (("$nin",), "NOT_IN_FILTER_UNSUPPORTED_BY_INDEXING"),
        ):
            slow = {
                c
                for c, op, _ in conditions
                if op in ops and c in self.indexed and self.columns[c]["type"] in _UNORDERED
            }
            if slow:
                found.append(warning(code, f"{self.name}: {', '.join(sorted(slow))}"))
        if only_key and (any(column not in named for column in self.partition) or self._out_of_order(named)):
            found.append(warning("INCOMPLETE_PRIMARY_KEY_FILTER", f"{self.name}: {', '.join(sorted(named))}"))
        return found

    def _out_of_order(self, named: set[str]) -> bool:
        skipped = False
        for column in self.sort:
            if column in named and skipped:
                return True
            skipped = skipped or column not in named
        return False

    def matching(self, conditions: list[Condition]) -> Iterator[dict[str, Any]]:
        pinned = {column: value for column, op, value in conditions if op == "$eq"}
        if all(column in pinned for column in self.key):
            row = self.rows.get(tuple(pinned[column] for column in self.key))
            candidates = [row] if row is not None else []
        else:
            candidates = list(self.rows.values())
        for row in candidates:
            if all(row.get(column) is not None and _TESTS[op](row[column], value) for column, op, value in conditions):
                yield row

    def order(self, row: dict[str, Any]) -> tuple[Any, ...]:
        """Partitions by a hash, as the ring has them; inside a partition the clustering order."""
        token = hashlib.md5(repr([row[column] for column in self.partition]).encode()).digest()
        cluster = (row[column] if way > 0 else _Descending(row[column]) for column, way in self.sort.items())
        return (token, *cluster)

    def shown(self, row: dict[str, Any], projection: dict[str, Any] | None) -> dict[str, Any]:
        """The row on the wire; null columns are left out (astra.md 1.1)."""
        names = projection if projection else self.columns
        return {c: written(self.columns[c], row[c]) for c in names if row.get(c) is not None}

    def schema_of(self, projection: dict[str, Any] | None) -> dict[str, Any]:
        for column in projection or ():
            if column not in self.columns:
                raise Refused("UNKNOWN_TABLE_COLUMNS", column, scope="PROJECTION")
        return {column: self.columns[column] for column in (projection or self.columns)}

    def find(self, command: dict[str, Any], *, page_size: int, sort_cap: int) -> dict[str, Any]:
        """`find`: by vector, in clustering order with pages, or sorted in memory."""
        options, projection = command.get("options") or {}, command.get("projection") or None
        conditions = self.conditions(command.get("filter") or {})
        warnings = self.warnings(conditions)
        sort, limit, state = command.get("sort") or {}, options.get("limit"), options.get("pageState")
        next_state = None
        schema = self.schema_of(projection)
        by = next(iter(sort), None)
        if by is not None and self.columns.get(by, {}).get("type") == "vector":
            documents = self._nearest(by, as_vector(sort[by]), conditions, limit or 1000, projection, options)
        elif by is not None and (options.get("skip") or not self._clustering_sort(sort, conditions)):
            # astra.md 1.2: sorted in memory, one page without a page state, too many rows are refused.
            if state is not None:
                raise Refused("UNSUPPORTED_PAGE_STATE", scope="SORT")
            rows = list(self.matching(conditions))
            if len(rows) > sort_cap:
                raise Refused("OVERLOADED_SORT_ROW_LIMIT", scope="DATABASE")
            for column, way in reversed(sort.items()):
                rows.sort(key=lambda row, column=column: row[column], reverse=way < 0)  # type: ignore[misc]
            skip = options.get("skip") or 0
            documents = [self.shown(row, projection) for row in rows[skip : skip + min(limit or page_size, page_size)]]
        else:
            keyed = sorted(((self.order(row), row) for row in self.matching(conditions)), key=lambda pair: pair[0])
            if by is not None and sort[by] != self.sort[by]:
                keyed.reverse()
            left = limit
            if state is not None:
                last, left = json.loads(base64.b64decode(state))
                mark = self.order({c: stored(c, self.columns[c], v) for c, v in zip(self.key, last, strict=True)})
                behind = (
                    (lambda place: place < mark)
                    if by is not None and sort[by] != self.sort[by]
                    else (lambda p: mark < p)
                )
                keyed = [pair for pair in keyed if behind(pair[0])]
            size = page_size if left is None else min(page_size, left)
            rows = [row for _, row in keyed[:size]]
            documents = [self.shown(row, projection) for row in rows]
            left = None if left is None else left - len(rows)
            if len(keyed) > len(rows) and left != 0:
                last = [written(self.columns[column], rows[-1][column]) for column in self.key]
                next_state = base64.b64encode(json.dumps([last, left]).encode()).decode()
        status: dict[str, Any] = {"projectionSchema": schema}
        if warnings:
            status["warnings"] = warnings
        if options.get("includeSortVector") and by is not None:
            status["sortVector"] = sort[by]
        return {"data": {"documents": documents, "nextPageState": next_state}, "status": status}

    def _clustering_sort(self, sort: dict[str, Any], conditions: list[Condition]) -> bool:
        pinned = {column for column, op, _ in conditions if op == "$eq"}
        names = list(sort)
        same = {sort[name] == self.sort.get(name) for name in names}
        return set(self.partition) <= pinned and names == list(self.sort)[: len(names)] and len(same) == 1

    def _nearest(
        self,
        column: str,
        vector: tuple[float, ...],
        conditions: list[Condition],
        limit: int,
        projection: dict[str, Any] | None,
        options: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """astra.md 1.2 and 5: at most 1000, no skip, every filtered column indexed, (1 + cosine) / 2.

        Columns of the key may be filtered if they name the partition: astrapy's own table tests do so.
        """
        if len(vector) != self.columns[column]["dimension"]:
            raise Refused("CANNOT_VECTOR_SORT_ON_MISMATCHED_VECTOR_DIMENSIONS", scope="SORT")
        if column not in self.indexed:
            raise Refused("CANNOT_VECTOR_SORT_NON_INDEXED_VECTOR_COLUMNS", scope="SORT")
        if limit > 1000 or options.get("skip") or options.get("pageState"):
            raise Refused("CANNOT_VECTOR_SORT_WITH_LIMIT_EXCEEDS_MAX", scope="SORT")
        named = {name for name, _, _ in conditions}
        in_partition = set(self.partition) <= named <= set(self.key)
        if named - self.indexed and not in_partition:
            message = "ANN ordering by vector requires all restricted column(s) to be indexed"
            raise Refused("INVALID_DATABASE_QUERY", message, family="SERVER", scope="DATABASE")
        length = sum(number * number for number in vector) ** 0.5
        if not length:
            raise Refused("INVALID_DATABASE_QUERY", "Zero vectors cannot be queried", family="SERVER", scope="DATABASE")
        found = []
        for row in self.matching(conditions):
            there = row.get(column)
            if there is None:
                continue
            cosine = sum(map(operator.mul, vector, there)) / (length * sum(map(operator.mul, there, there)) ** 0.5)
            found.append(((1 + cosine) / 2, row))
        found.sort(key=lambda pair: -pair[0])
        return [
            {**self.shown(row, projection), **({"$similarity": near} if options.get("includeSimilarity") else {})}
            for near, row in found[:limit]
        ]
