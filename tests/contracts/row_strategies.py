"""Hypothesis strategies that make any row of any table, from the types of its fields."""

from __future__ import annotations

import struct
from datetime import datetime
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from annotated_types import Ge, Le
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from config.clock import FOREVER, from_millis, to_millis
from memory.embedding.protocol import DIMENSIONS
from memory.rows.row import Row

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
INSTANT = st.integers(0, to_millis(FOREVER)).map(from_millis)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FLOAT32 = st.floats(-1, 1, width=32)
VECTOR = st.just(()) | st.lists(FLOAT32, min_size=1, max_size=4).map(
    lambda head: struct.unpack(
        f"<{DIMENSIONS}f", struct.pack(f"<{DIMENSIONS}f", *head, *[0.0] * (DIMENSIONS - len(head)))
    )
)


@cache
def rows_of(row_type: type[Row]) -> st.SearchStrategy[Row]:
    """Any row of `row_type` that belongs to the brand acme."""
    fields = _fields(row_type)
    if row_type.vector is not None:
        fields[row_type.vector] = VECTOR
    fields |= {
        name: st.just("acme") for name in ("brand", "name") if name in fields and (name == "brand" or "realm" in fields)
    }
    return st.builds(row_type, **fields)


def _fields(model: type[BaseModel]) -> dict[str, st.SearchStrategy[Any]]:
    return {name: _field(field) for name, field in model.model_fields.items()}


def _field(field: FieldInfo) -> st.SearchStrategy[Any]:
    low = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
    high = next((bound.le for bound in field.metadata if isinstance(bound, Le)), None)
    if field.annotation is int:
        return st.integers(-(2**62) if low is None else low, 2**62 if high is None else high)  # type: ignore[arg-type]
    if field.annotation is float:
        return st.floats(low, high, allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]
    return _value(field.annotation)


def _value(annotation: Any) -> st.SearchStrategy[Any]:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _value(inside[0])
    if origin in (Union, UnionType):
        return st.one_of(*(_value(member) for member in inside))
    if origin is tuple:
        return st.lists(_value(inside[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(TEXT, _value(inside[1]), max_size=3)
    simple = {
        NoneType: st.none(),
        AwareDatetime: INSTANT,
        datetime: INSTANT,
        str: TEXT,
        float: NUMBER,
        Any: JSON,
        int: st.integers(0, 9),
    }
    if annotation in simple:
        return simple[annotation]
    if issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    return st.builds(annotation, **_fields(annotation))
