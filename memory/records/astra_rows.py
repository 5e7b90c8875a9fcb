"""How rows become columns of a Data API table, and back.

`memory/records/schema.py` decides what is stored; here its values get the table's types: instants as milliseconds, JSON as
text, vectors as float32. Two things a table cannot hold are stored otherwise:
- the empty text as the only column of a partition key (Cassandra: "Key may not be empty") is escaped;
- a vector that a cosine index refuses, being zero, nearly zero or of another length, goes into a blob beside it, where
  no search finds it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from pydantic_core import to_jsonable_python

from memory.astra_client import as_vector
from memory.embedding.protocol import DIMENSIONS
from memory.records import schema
from memory.records.schema import Kind
from memory.rows.row import Row

R = TypeVar("R", bound=Row)

TYPES: dict[Kind, Any] = {
    Kind.TEXT: "text",
    Kind.INTEGER: "bigint",
    Kind.BOOLEAN: "boolean",
    Kind.REAL: "double",
    # Not a timestamp: astrapy 2.3 reads one in 170 of those a millisecond too early (it multiplies floats).
    Kind.INSTANT: "bigint",
    Kind.VECTOR: {"type": "vector", "dimension": DIMENSIONS},
    Kind.JSON: "text",
}
_LEAST_SQUARED_LENGTH = 1e-8
"""A vector shorter than the root of it is not given to the cosine index, which divides by the length."""


def raw_column(row_type: type[Row]) -> str:
    """The blob beside the vector column, for vectors that cannot be indexed."""
    return f"{row_type.vector}_raw"


def column_types(row_type: type[Row]) -> dict[str, Any]:
    """Column name -> Data API type."""
    types = {col.name: TYPES[col.kind] for col in schema.columns(row_type)}
    if row_type.vector is not None:
        types[raw_column(row_type)] = "blob"
    return types


def indexed(row_type: type[Row]) -> tuple[str, ...]:
    """The columns that get an index each, the vector column not among them.

    Besides those of the row class: `brand` where it stands neither at the head of the key nor alone in it, so that a find by
    an index reads one brand's rows; and `embedder_id`, because a vector search filters by indexed columns alone.
    """
    names = list(row_type.indexes)
    if names and "brand" not in names and row_type.key.partition != ("brand",):
        names.append("brand")
    if row_type.vector is not None:
        names.append("embedder_id")
    return tuple(names)


def _escaped(row_type: type[Row], name: str) -> bool:
    return row_type.key.partition == (name,)


def to_column(row_type: type[Row], name: str, stored: Any) -> Any:
    """A value of `schema.encode_value` or `encode_row` as its column holds it, in rows and in filters."""
    col = schema.column(row_type, name)
    if stored is None:
        return None
    if col.kind is Kind.BOOLEAN:
        return bool(stored)
    if col.kind is Kind.TEXT and _escaped(row_type, name) and (not stored or stored[0] == "\x01"):
        return "\x01" + stored
    return stored


def from_column(row_type: type[Row], name: str, value: Any) -> Any:
    """What `schema.decode_row` expects, of a value read."""
    col = schema.column(row_type, name)
    if value is None:
        return None
    if col.kind is Kind.BOOLEAN:
        return int(value)
    if col.kind is Kind.TEXT and _escaped(row_type, name) and value[:1] == "\x01":
        return value[1:]
    return value


def to_columns(row_type: type[Row], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Stored values by name as columns; for keys and filters."""
    return {name: to_column(row_type, name, value) for name, value in stored.items()}


def encode(row: Row) -> dict[str, Any]:
    """The whole row as an insert sends it. Raises BadInput as `schema.encode_row`."""
    row_type = type(row)
    stored = schema.encode_row(row)
    blob = stored.pop(row_type.vector) if row_type.vector is not None else None
    sent = to_columns(row_type, stored)
    if row_type.vector is not None and blob is not None:
        numbers = schema.decode_vector(blob)
        fits = len(numbers) == DIMENSIONS and sum(n * n for n in numbers) > _LEAST_SQUARED_LENGTH
        sent[row_type.vector] = as_vector(numbers) if fits else None
        sent[raw_column(row_type)] = None if fits or not numbers else blob
    return sent


@cache
def _names(row_type: type[Row]) -> tuple[tuple[str, bool], ...]:
    """Each column in order, and whether its values are read as they are."""
    return tuple(
        (col.name, col.kind not in (Kind.VECTOR, Kind.BOOLEAN) and not _escaped(row_type, col.name))
        for col in schema.columns(row_type)
    )


def decode(row_type: type[R], columns: Mapping[str, Any]) -> R:
    """The row of what was read. Columns that this version does not know are left aside, those that the row does not have
    hold their default. Raises Damaged."""
    values = []
    for name, plain in _names(row_type):
        value = value_of(row_type, columns, name)
        if plain:
            values.append(value)
        elif name == row_type.vector:
            raw = columns.get(raw_column(row_type))
            values.append(raw or b"" if value is None else struct.pack(f"<{len(value)}f", *value))
        else:
            values.append(from_column(row_type, name, value))
    return schema.decode_row(row_type, values)


@cache
def defaults(row_type: type[Row]) -> Mapping[str, Any]:
    """What a column that may not be null holds in a row that was written before `db init` added it: its field's default."""
    found: dict[str, Any] = {}
    for col in schema.columns(row_type):
        field = row_type.model_fields[col.name]
        if col.nullable or col.kind is Kind.VECTOR or field.is_required():
            continue
        value = field.get_default(call_default_factory=True)
        found[col.name] = (
            json.dumps(to_jsonable_python(value)) if col.kind is Kind.JSON else schema.encode_value(col, value)
        )
    return found


def value_of(row_type: type[Row], columns: Mapping[str, Any], name: str) -> Any:
    """The value of a column of what was read, in a row that is older than the column as well."""
    value = columns.get(name)
    return defaults(row_type).get(name) if value is None else value


def key_of(row_type: type[Row], columns: Mapping[str, Any]) -> tuple[Any, ...]:
    """The primary key of what was read or will be written, as columns hold it."""
    return tuple(columns[name] for name in row_type.key.columns)


def server_filter(row_type: type[Row], filters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Which of the (stored) `filters` the server applies, and which are left to us.

    The server gets what it answers from a key or an index: a whole key, else the partition with its leading cluster
    columns or with its indexed ones, else the indexed columns. Anything more would make it scan (ALLOW FILTERING). The
    first answer is empty when nothing of this holds.
    """
    key, indexes = row_type.key, indexed(row_type)
    chosen: list[str] = []
    if all(name in filters for name in key.partition):
        chosen = list(key.partition)
        for name in key.cluster:
            if name not in filters:
                break
            chosen.append(name)
        # A partition that does not name the brand holds one brand's rows all the same.
        found = [name for name in filters if name in indexes and name not in chosen and name != "brand"]
        if found and len(chosen) < len(key.columns):
            chosen = [*key.partition, *found]
    else:
        chosen = [name for name in filters if name in indexes]
    sent = {name: filters[name] for name in chosen}
    return to_columns(row_type, sent), {name: value for name, value in filters.items() if name not in sent}


def behind(position: Sequence[tuple[str, Any]], *, descending: bool) -> list[dict[str, Any]]:
    """Filters that together name, in clustering order, the rows behind `position`: (a, b) > (1, 2) is a = 1 and b > 2,
    then a > 1. The Data API compares no tuples."""
    operator = "$lt" if descending else "$gt"
    steps = []
    for length in range(len(position), 0, -1):
        *equal, (name, value) = position[:length]
        steps.append({**dict(equal), name: {operator: value}})
    return steps
