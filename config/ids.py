"""Ids: uuid7 where order matters, uuid5 where the thing names itself, random tokens for leases and permits."""

from __future__ import annotations

import os
import re
import secrets
import threading
import uuid
from datetime import datetime

from config.clock import to_millis
from config.errors import BadInput

_NAMESPACE = uuid.UUID("6f9bb0a5-2f4c-5f0e-9a53-6d5b1a3a7c11")
_counting = threading.Lock()
_last = [0, 0]
"""The millisecond of the last uuid7, and its count in it."""
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def new_id(now: datetime) -> str:
    """A fresh uuid7 (RFC 9562, section 5.7) for the instant `now`: ids made later sort later, to the millisecond.

    Within one millisecond those of one process sort as they were made, the first two thousand of them (section 6.2, method 1).
    """
    millis = to_millis(now)
    with _counting:
        count = _last[1] + 1 if _last[0] == millis else secrets.randbelow(2048)
        _last[:] = millis, min(count, 4095)
        head = _last[1].to_bytes(2, "big")
    return _uuid7(now, head + os.urandom(8))


def first_id(instant: datetime) -> str:
    """The least id of the millisecond `instant`: those made at it or later are not below it."""
    return _uuid7(instant, bytes(10))


def _uuid7(instant: datetime, rest: bytes) -> str:
    value = (to_millis(instant) & ((1 << 48) - 1)) << 80 | int.from_bytes(rest, "big")
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return str(uuid.UUID(int=value))


def name_id(*parts: str | int) -> str:
    """The uuid5 of `parts`: the same parts always give the same id, so doing a thing twice is harmless.

    Each part is length-prefixed: ("ab", "c") and ("a", "bc") differ.
    """
    return str(uuid.uuid5(_NAMESPACE, "|".join(f"{len(str(part))}:{part}" for part in parts)))


def new_token() -> str:
    """128 random bits as 32 hex digits: the right to act under a lease or permit."""
    return secrets.token_hex(16)


def parse_slug(text: str, *, what: str) -> str:
    """`text` if it is 1-64 of a-z, 0-9 and '-'. Raises BadInput otherwise."""
    if not _SLUG.fullmatch(text):
        raise BadInput(
            f"{what} {text[:80]!r} must be 1-64 characters of a-z, 0-9 and '-', and start with a letter or digit"
        )
    return text
