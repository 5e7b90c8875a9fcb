"""The fence around untrusted material: one line of JSON between two lines that the material cannot forge."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_FENCE = re.compile(r"^<material ([0-9a-f]{32})>\n([^\n]*)\n</material \1>$", re.MULTILINE)

_BREAKS = {code: f"\\u{code:04x}" for code in (0x7F, 0x85, 0x2028, 0x2029)}
"""What breaks a line for some readers and JSON leaves as it is."""


def fence(material: Mapping[str, Any], *, nonce: str) -> str:
    """`material` as one line of JSON inside a fence marked with `nonce` (32 hex digits, fresh for each call).

    Every line break is an escape, so no text inside can stand on a line of its own, whatever it holds.
    """
    line = json.dumps(material, ensure_ascii=False, sort_keys=True).translate(_BREAKS)
    return f"<material {nonce}>\n{line}\n</material {nonce}>"


def read_fence(text: str) -> dict[str, Any] | None:
    """The material of the first fence in `text`; None without one, or when it is not a JSON object."""
    match = _FENCE.search(text)
    if match is None:
        return None
    try:
        value = json.loads(match.group(2))
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
