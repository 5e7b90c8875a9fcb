"""The payload of a task as text, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from config.errors import BadInput

MAX_PAYLOAD_BYTES = 256 * 1024
_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def encode_payload(payload: Mapping[str, Any], *, task_id: str) -> str:
    """The payload as JSON, equal payloads as equal text. Raises BadInput, naming the place, for what cannot be stored."""
    try:
        text = _ENCODER.encode(payload)
        size = len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError) as error:
        where = _first_bad_key(payload)
        at = f" at {where}" if where else ""
        raise BadInput(f"task {task_id!r}: payload{at} is not plain JSON ({error}): pass ids and text only") from None
    if size > MAX_PAYLOAD_BYTES:
        raise BadInput(
            f"task {task_id!r}: payload is {size} bytes, the limit is {MAX_PAYLOAD_BYTES}: store it and pass its id"
        )
    if "\\u0000" in text and (where := _first_bad_key(payload)):
        raise BadInput(f"task {task_id!r}: payload at {where} holds a NUL character: remove it")
    return text


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def decode_payload(stored: bytes) -> Mapping[str, Any]:
    """The payload that `stored` holds. Raises ValueError, saying what is wrong with it."""
    if len(stored) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"{len(stored)} bytes, the limit is {MAX_PAYLOAD_BYTES}")
    try:
        text = stored.decode("utf-8")
        value = _DECODER.decode(text)
        # An escape may smuggle in what plain text cannot: NUL and lone surrogates, on which other stores choke.
        if "\\u" in text and (where := _first_bad_key(value)):
            raise ValueError(f"text that cannot be stored at {where}")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}, not an object")
    return value


def _first_bad_key(payload: Any) -> str:
    """Where the first value that a payload may not hold stands, as `a.b[0]`; empty if there is none."""
    left: list[tuple[str, Any]] = [("", payload)]
    # More than any payload of the allowed size has; one that holds itself would never end.
    for _ in range(2 * MAX_PAYLOAD_BYTES):
        if not left or len(left) > MAX_PAYLOAD_BYTES:
            break
        where, value = left.pop()
        if isinstance(value, Mapping):
            for key, inner in reversed(list(value.items())):
                left.append((f"{where}.{key}"[:80] if where else str(key)[:80], inner))
                left.append((left[-1][0], key))
        elif isinstance(value, (list, tuple)):
            left += reversed([(f"{where}[{n}]"[:80], inner) for n, inner in enumerate(value)])
        elif not _is_plain(value):
            return repr(where)
    return ""


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, int)
