"""Plain JSON in and out of a text column."""

from __future__ import annotations

import json
from typing import Any

from config.errors import BadInput


def to_json_text(value: Any, *, what: str) -> str:
    """`value` as compact JSON that reads back equal.

    Raises:
        BadInput: NaN or infinity, keys that are not text, NUL, lone surrogates, or anything else that JSON cannot hold.
    """
    try:
        _refuse_odd_keys(value)
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(
            f"{what} is not plain JSON ({error}): pass text, numbers, lists and string-keyed objects"
        ) from None
    if "\\u0000" in text and "\x00" in "".join(_texts(value)):
        raise BadInput(f"{what} holds a NUL character: remove it")
    return text


def _refuse_odd_keys(value: Any) -> None:
    # json.dumps would turn the key 1 into "1" without a word, and the value would not read back equal.
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is not text")
            _refuse_odd_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_odd_keys(inner)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (key, *_texts(inner))]
    if isinstance(value, list | tuple):
        return [text for inner in value for text in _texts(inner)]
    return []
