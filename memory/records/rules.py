"""What every records engine refuses, and in which words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from config.errors import Conflict, NotFound, Unsupported
from memory.records.schema import check_limit
from memory.rows.row import Row


def check_brand(row: Row, brand: str) -> None:
    """Raises Conflict for a row that is not this brand's."""
    if row.brand != brand:
        raise Conflict(f"{row.table} {row.key_values()!r} belongs to brand {row.brand!r}: use that brand's records")


def foreign(row_type: type[Row], key: Any) -> Conflict:
    """The error for a key under which another brand has a row."""
    return Conflict(f"{row_type.table} {key!r} belongs to another brand: use an id of this brand's own")


def absent(row_type: type[Row], brand: str, key: Mapping[str, Any]) -> NotFound:
    """The error for a key under which the brand has no row."""
    named = ", ".join(f"{name}={value!r}" for name, value in key.items())
    return NotFound(f"{row_type.table}: brand {brand!r} has no row with {named}: check id and --brand")


def check_vector_search(row_type: type[Row], limit: int) -> str:
    """The column of this table that is searched. Raises Unsupported where there is none, ValueError for a negative limit."""
    if row_type.vector is None:
        raise Unsupported(f"{row_type.table} has no vectors to search: `find_by` one of {', '.join(row_type.indexes)}")
    check_limit(limit)
    return row_type.vector
