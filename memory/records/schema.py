"""How a row class becomes columns: names, types, values in and out, and which columns a call may name.

The migrations spell the tables out in SQL; a test holds that they say what this module derives.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import AwareDatetime, ValidationError
from pydantic_core import PydanticSerializationError

from config.clock import from_millis, to_millis
from config.errors import BadInput, Damaged, Unsupported
from memory.rows.row import Row, clean_text

R = TypeVar("R", bound=Row)
_INT64 = range(-(2**63), 2**63)


class Kind(StrEnum):
    """How a value is stored."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    REAL = "real"
    INSTANT = "instant"
    """Milliseconds since 1970, UTC."""
    VECTOR = "vector"
    """Little-endian float32."""
    JSON = "json"


SQL_TYPES = {
    Kind.TEXT: "TEXT",
    Kind.INTEGER: "INTEGER",
    Kind.BOOLEAN: "INTEGER",
    Kind.REAL: "REAL",
    Kind.INSTANT: "INTEGER",
    Kind.VECTOR: "BLOB",
    Kind.JSON: "TEXT",
}


@dataclass(frozen=True)
class Column:
    """One column of one table."""

    name: str
    kind: Kind
    nullable: bool


def _plain(annotation: Any) -> tuple[Any, bool]:
    nullable = False
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        nullable = len(members) < len(get_args(annotation))
        annotation = members[0] if len(members) == 1 else object
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation, nullable


def _kind(annotation: Any) -> Kind:
    if not isinstance(annotation, type):
        return Kind.JSON
    if annotation is AwareDatetime or issubclass(annotation, datetime):
        return Kind.INSTANT
    if issubclass(annotation, str):
        return Kind.TEXT
    if issubclass(annotation, bool):
        return Kind.BOOLEAN
    if issubclass(annotation, int):
        return Kind.INTEGER
    return Kind.REAL if issubclass(annotation, float) else Kind.JSON


@cache
def columns(row_type: type[Row]) -> tuple[Column, ...]:
    """The columns of `row_type`'s table, in the order of its fields."""
    found = []
    for name, field in row_type.model_fields.items():
        annotation, nullable = _plain(field.annotation)
        found.append(Column(name, Kind.VECTOR if name == row_type.vector else _kind(annotation), nullable))
    return tuple(found)


@cache
def column(row_type: type[Row], name: str) -> Column:
    """The column of that name. Raises ValueError."""
    for candidate in columns(row_type):
        if candidate.name == name:
            return candidate
    raise ValueError(f"{row_type.table} has no column {name!r}: it has {', '.join(c.name for c in columns(row_type))}")


def is_searched(row_type: type[Row]) -> bool:
    """Whether the table is found by vector or by words, for which its rows carry a number that never changes."""
    return row_type.vector is not None or bool(row_type.searched_text)


def encode_vector(vector: Sequence[float]) -> bytes:
    """`vector` as float32. Raises BadInput for a number that float32 cannot hold."""
    try:
        blob = struct.pack(f"<{len(vector)}f", *vector)
    except (OverflowError, struct.error):
        raise BadInput("a vector holds a number that is not a float32: embed the text again") from None
    if not math.isfinite(sum(vector)):
        raise BadInput("a vector holds NaN or infinity: embed the text again")
    return blob


def decode_vector(blob: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(blob) // 4}f", blob)


def encode_value(col: Column, value: Any) -> Any:
    """`value` of a column that may be in a key or an index, as it is stored. Raises ValueError for another type."""
    if isinstance(value, Enum):
        value = value.value
    if col.kind is Kind.INSTANT and isinstance(value, datetime):
        return to_millis(value)
    if col.kind is Kind.TEXT and isinstance(value, str):
        return clean_text(value)
    if col.kind is Kind.BOOLEAN and isinstance(value, bool):
        return int(value)
    if col.kind is Kind.INTEGER and isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
        return value
    if col.kind is Kind.REAL and isinstance(value, (int, float)):
        return float(value)
    raise ValueError(f"{col.name}={value!r} cannot be looked up: its column holds {col.kind}")


def encode_row(row: Row) -> dict[str, Any]:
    """The stored value of every column, in order: text, integers, floats, bytes, None.

    Raises BadInput, naming the column, for what no engine can store: NaN, infinity, big integers, bad Unicode.
    """
    cols = columns(type(row))
    nested = {col.name for col in cols if col.kind is Kind.JSON}
    try:
        plain = row.model_dump(mode="json", include=nested) if nested else {}
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise BadInput(
            f"{row.table} {row.key_values()!r}: a column cannot be written as JSON ({_first_line(error)}): give text, numbers and lists"
        ) from None
    stored: dict[str, Any] = {}
    for col in cols:
        value = getattr(row, col.name)
        try:
            if value is None:
                stored[col.name] = None
            elif col.kind is Kind.JSON:
                text = json.dumps(plain[col.name], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
                text.encode()
                stored[col.name] = text
            elif col.kind is Kind.VECTOR:
                stored[col.name] = encode_vector(value)
            else:
                if col.kind is Kind.REAL and not math.isfinite(value):
                    raise ValueError(f"{value} is not a finite number")
                stored[col.name] = encode_value(col, value)
        except (ValueError, TypeError, RecursionError) as error:
            raise BadInput(
                f"{row.table}.{col.name} of {row.key_values()!r} cannot be stored: {_first_line(error)}"
            ) from None
    return stored


@cache
def _decoders(row_type: type[Row]) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    found: dict[Kind, Callable[[Any], Any]] = {
        Kind.INSTANT: from_millis,
        Kind.JSON: json.loads,
        Kind.VECTOR: decode_vector,
    }
    return tuple((col.name, found.get(col.kind)) for col in columns(row_type))


def decode_row(row_type: type[R], values: Sequence[Any]) -> R:
    """The row of stored `values`, in the order of `columns`. Raises Damaged when they do not make one."""
    try:
        fields = {
            name: value if decode is None or value is None else decode(value)
            for (name, decode), value in zip(_decoders(row_type), values, strict=True)
        }
        # Numbers that came out of a float32 blob are floats: validating 1536 of them would cost more than the search did.
        vector = fields.pop(row_type.vector, None) if row_type.vector else None
        row = row_type.model_validate(fields)
    except (ValueError, TypeError, OverflowError, struct.error) as error:
        raise Damaged(
            f"{row_type.table}: a stored row cannot be read ({_first_line(error)}): see `copydesk restore`"
        ) from error
    return row.model_copy(update={str(row_type.vector): vector}) if vector is not None else row


def encode_document(row: Row) -> str:
    """The whole row as one JSON document, as a decision embeds it. Raises BadInput as `encode_row`."""
    encode_row(row)  # refuses what JSON would change silently, such as NaN into null
    return row.model_dump_json()


def decode_document(row_type: type[R], document: str) -> R:
    """The row of a document. Raises Damaged when it is not one of `row_type`."""
    try:
        return row_type.model_validate_json(document)
    except ValidationError as error:
        raise Damaged(
            f"a decision does not hold a row of {row_type.table} ({_first_line(error)}): see `copydesk restore`"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def full_key(row_type: type[Row], brand: str, key: Mapping[str, Any]) -> dict[str, Any]:
    """The stored values of a full primary key, `brand` filled in. Raises ValueError for a missing or unknown column."""
    given = {"brand": brand, **key} if "brand" in row_type.key.columns else dict(key)
    if set(given) != set(row_type.key.columns):
        raise ValueError(
            f"{row_type.table} is keyed by {', '.join(row_type.key.columns)}; given: {', '.join(key) or 'nothing'}"
        )
    return {name: encode_value(column(row_type, name), given[name]) for name in row_type.key.columns}


def partition_prefix(row_type: type[Row], brand: str, partition: Mapping[str, Any]) -> dict[str, Any]:
    """The stored values of a partition and the leading cluster columns that were given, in key order.

    Raises ValueError for a table without partitions, a missing partition column, or a cluster column out of order.
    """
    key = row_type.key
    if not key.cluster:
        raise ValueError(
            f"{row_type.table} is keyed by {', '.join(key.partition)} alone and has no partition to list: use find_by"
        )
    given = {"brand": brand, **partition} if "brand" in key.columns else dict(partition)
    prefix = key.columns[: len(given)]
    if len(given) < len(key.partition) or set(given) != set(prefix):
        raise ValueError(
            f"{row_type.table} is listed by {', '.join(key.columns)} from the left;"
            f" given: {', '.join(partition) or 'nothing'}"
        )
    return {name: encode_value(column(row_type, name), given[name]) for name in prefix}


def cluster_position(row_type: type[Row], prefix: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The stored values of the cluster key `after`, without the columns that `prefix` fixes. Raises ValueError."""
    rest = [name for name in row_type.key.cluster if name not in prefix]
    extra = set(after) - set(row_type.key.cluster)
    if extra or any(name not in after for name in rest):
        raise ValueError(
            f"{row_type.table}: `after` is a cluster key ({', '.join(row_type.key.cluster)}); given: {', '.join(after)}"
        )
    return {name: encode_value(column(row_type, name), after[name]) for name in rest}


def index_filter(row_type: type[Row], equals: Mapping[str, Any]) -> dict[str, Any]:
    """The stored values to filter by.

    Raises Unsupported for a column that is neither indexed nor part of the key, and for None.
    """
    allowed = (*row_type.indexes, *(name for name in row_type.key.columns if name not in row_type.indexes))
    for name, value in equals.items():
        if name not in allowed:
            raise Unsupported(f"{row_type.table} cannot be found by {name!r}: indexed are {', '.join(allowed)}")
        if value is None:
            raise Unsupported(
                f"{row_type.table} cannot be found by {name}=None: stores have no null filter, name a value"
            )
    return {name: encode_value(column(row_type, name), value) for name, value in equals.items()}


def over_all_brands(row_type: type[Row], equals: Mapping[str, Any]) -> dict[str, Any]:
    """The stored values that a find over all brands filters by. Raises Unsupported unless each names an index of the table."""
    if not equals or not set(equals) <= set(row_type.indexes) - {"brand"}:
        raise Unsupported(
            f"{row_type.table} cannot be found over all brands by {', '.join(equals) or 'nothing'}:"
            f" name one of {', '.join(name for name in row_type.indexes if name != 'brand') or 'no index'}"
        )
    return index_filter(row_type, equals)


def check_limit(limit: int | None) -> None:
    """Raises ValueError for a negative limit."""
    if limit is not None and limit < 0:
        raise ValueError(f"limit={limit} must be 0 or more")


def expires(row_type: type[Row]) -> bool:
    """Whether rows of this table become unreadable by themselves."""
    return "expires_at" in row_type.model_fields
