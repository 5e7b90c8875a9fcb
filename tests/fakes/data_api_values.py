"""Values of Data API tables: checked on the way in, stored as Cassandra would, written on the way out.

Follows facts/astra.md: sections 1.1 (timestamps of whole milliseconds, float32, `$binary`) and 1.3 (the wire).
"""

from __future__ import annotations

import base64
import binascii
import struct
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGERS = {"int": 31, "bigint": 63, "smallint": 15, "tinyint": 7, "counter": 63}


class Refused(Exception):
    """An answered error: HTTP 200 with `errors` (section 1.3)."""

    def __init__(self, code: str, message: str = "", *, family: str = "REQUEST", scope: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.body = {
            "id": str(uuid.uuid4()),
            "family": family,
            "scope": scope,
            "errorCode": code,
            "title": code.replace("_", " ").capitalize(),
            "message": message or code,
        }


def column_type(given: Any) -> dict[str, Any]:
    """A column's type, written out: `"text"` and `{"type": "text"}` mean the same (section 1.3)."""
    return {"type": given} if isinstance(given, str) else dict(given)


def stored(name: str, kind: dict[str, Any], value: Any) -> Any:
    """`value` of the wire as it is stored. Raises Refused(INVALID_COLUMN_VALUES) for another type (section 5, test list)."""
    if value is None:
        return None
    try:
        return _stored(kind, value)
    except (TypeError, ValueError, KeyError, AttributeError, struct.error, binascii.Error, OverflowError):
        raise Refused("INVALID_COLUMN_VALUES", f"{name} is of type {kind['type']}", scope="DOCUMENT") from None


def _stored(kind: dict[str, Any], value: Any) -> Any:
    name = kind["type"]
    if name in ("text", "ascii"):
        if not isinstance(value, str):
            raise TypeError
        return value
    if name in _INTEGERS:
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or not -(2 ** _INTEGERS[name]) <= value < 2 ** _INTEGERS[name]
        ):
            raise TypeError
        return value
    if name == "boolean":
        if not isinstance(value, bool):
            raise TypeError
        return value
    if name in ("double", "float"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError
        # Section 1.1: FLOAT is float32, 0.1 is stored as 0.1f.
        return float(value) if name == "double" else struct.unpack(">f", struct.pack(">f", value))[0]
    if name == "timestamp":
        # Section 1.1: the server does Instant.parse, a CQL timestamp is whole milliseconds.
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            raise ValueError
        return (instant - _EPOCH) // timedelta(milliseconds=1)
    if name == "uuid":
        return str(uuid.UUID(value))
    if name == "blob":
        return base64.b64decode(value["$binary"], validate=True)
    if name == "vector":
        numbers = _vector(value)
        if len(numbers) != kind["dimension"]:
            raise ValueError
        return numbers
    if name == "map":
        pairs = value.items() if isinstance(value, dict) else value
        return {
            _stored({"type": kind["keyType"]}, k): _stored({"type": kind["valueType"]}, v) for k, v in pairs
        } or None
    if name in ("set", "list"):
        items = [_stored({"type": kind["valueType"]}, item) for item in value]
        return (items if name == "list" else sorted(set(items))) or None
    raise TypeError


def _vector(value: Any) -> tuple[float, ...]:
    # Section 1.1: {"$binary": base64 of big-endian float32}, or a list of numbers.
    if isinstance(value, dict):
        blob = base64.b64decode(value["$binary"], validate=True)
        return struct.unpack(f">{len(blob) // 4}f", blob)
    return struct.unpack(f">{len(value)}f", struct.pack(f">{len(value)}f", *value))


def as_vector(value: Any) -> tuple[float, ...]:
    """The vector of a sort clause."""
    return _vector(value)


def written(kind: dict[str, Any], value: Any) -> Any:
    """A stored value as the wire shows it."""
    if kind["type"] == "timestamp":
        instant = _EPOCH + timedelta(milliseconds=value)
        return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03}Z".rjust(24, "0")
    if kind["type"] == "blob":
        return {"$binary": base64.b64encode(value).decode()}
    if kind["type"] == "vector":
        return {"$binary": base64.b64encode(struct.pack(f">{len(value)}f", *value)).decode()}
    return value
