"""What a tool returned, as plain JSON of a bounded size that says where it comes from."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from config.vocabulary import Trust
from tools.plugin_api import Sourced, ToolFailed, least_trusted
from tools.text import HIDDEN

MAX_BYTES = 64 * 1024
"""Of one result, as UTF-8 JSON: what fits a prompt and a row."""
DEEPEST = 32
MOST_SOURCES = 200
LONGEST_SOURCE = 500
"""Characters of one source: an id or an address."""
_BIGGEST = 2**63


@dataclass(frozen=True)
class ToolResult:
    """One answer of one tool."""

    tool: str
    value: Any
    """Plain JSON: None, bool, int, float, str, list, dict with str keys."""
    trust: Trust
    sources: tuple[str, ...] = ()
    truncated: bool = False
    """Whether something was left out to keep the result within its size."""

    def as_material(self) -> dict[str, Any]:
        """For a model: the value, and what to think of it."""
        shown: dict[str, Any] = {"tool": self.tool, "trust": str(self.trust), "result": self.value}
        return {**shown, "truncated": True} if self.truncated else shown


def to_result(tool: str, returned: Any, *, trust: Trust, limit: int = MAX_BYTES) -> ToolResult:
    """`returned` as a result of at most `limit` bytes of JSON; lists lose their end first, texts theirs.

    None is a result. A `Sourced` says where it is from; one inside another value makes all of it as trusted as the least of it.
    Raises ToolFailed for what has no plain form: bytes that are not text, a value inside itself, something nested too deep, a
    coroutine or generator, an object.
    """
    plain = _Plain(tool, limit)
    if isinstance(returned, Sourced):
        trust = plain.credit(returned)
        returned = returned.value
    value = plain.of(returned, 0)
    trust = least_trusted({trust, *plain.trusts})
    return ToolResult(tool, value, trust, tuple(plain.sources), plain.cut)


class _Plain:
    """One walk over a value, with a budget of bytes: what is beyond it is never copied."""

    def __init__(self, tool: str, limit: int) -> None:
        self.tool, self.left, self.cut = tool, limit, False
        self.trusts: set[Trust] = set()
        self.sources: dict[str, None] = {}
        self._inside: set[int] = set()

    def credit(self, said: Sourced) -> Trust:
        """Note where something is from; how far it is trusted. Raises ToolFailed for what says neither."""
        if said.trust not in list(Trust):
            raise self._refused(f"a trust {said.trust!r:.40}: use one of {', '.join(Trust)}")
        if isinstance(said.sources, str) or not isinstance(said.sources, Collection):
            raise self._refused(f"sources that are a {type(said.sources).__name__}: give a tuple of texts")
        for source in said.sources:
            if len(self.sources) < MOST_SOURCES:
                self.sources[_clean(str(source)[:LONGEST_SOURCE])] = None
        return Trust(said.trust)

    def of(self, value: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise self._refused(f"something nested deeper than {DEEPEST}")
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, Sourced):
            self.trusts.add(self.credit(value))
            return self.of(value.value, depth + 1)
        if value is None or isinstance(value, bool):
            return self._spent(value, 4 if value is not False else 5)
        if isinstance(value, int):
            # Beyond 64 bits no store and no other language reads it as the same number.
            return (
                self._spent(int(value), len(repr(int(value)))) if abs(value) < _BIGGEST else self._text(f"{value:#x}")
            )
        if isinstance(value, float):
            # NaN and infinities have no JSON.
            return (
                self._spent(float(value), len(repr(float(value))))
                if abs(value) < float("inf")
                else self._text(str(value))
            )
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bytes | bytearray | memoryview):
            try:
                return self._text(bytes(value).decode())
            except UnicodeDecodeError:
                raise self._refused(f"{len(bytes(value))} bytes that are not text") from None
        if isinstance(value, date | time):
            return self._text(value.isoformat())
        if isinstance(value, timedelta):
            return self._spent(value.total_seconds(), 25)
        if isinstance(value, UUID | Decimal | PurePath):
            return self._text(str(value))
        return self._container(value, depth)

    def _container(self, value: Any, depth: int) -> Any:
        if inspect.iscoroutine(value):
            value.close()
            raise self._refused("a coroutine: it forgot an await")
        if inspect.isawaitable(value) or inspect.isgenerator(value) or inspect.isasyncgen(value):
            raise self._refused(f"a {type(value).__name__}, which is not a value yet: return a list")
        if id(value) in self._inside:
            raise self._refused("a value that holds itself")
        self._inside.add(id(value))
        try:
            if isinstance(value, BaseModel):
                return self._pairs(dict(value), depth)
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                return self._pairs({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, depth)
            if isinstance(value, Mapping):
                return self._pairs(value, depth)
            if isinstance(value, list | tuple):
                return self._items(value, depth)
            if isinstance(value, set | frozenset):
                return self._items(sorted(value, key=repr), depth)
        finally:
            self._inside.discard(id(value))
        raise self._refused(f"a {type(value).__name__}, which has no plain form")

    def _items(self, values: Any, depth: int) -> list[Any]:
        out: list[Any] = []
        self.left -= 2
        for value in values:
            before, cut = self.left, self.cut
            self.left -= 2
            item = self.of(value, depth + 1)
            if self.left < 0 or (self.cut and not cut):
                # Half an entry misleads, unless it is all there is.
                if not out and self.left >= 0 and item not in ("", [], {}):
                    out.append(item)
                self.left, self.cut = max(before if out else self.left, 0), True
                break
            out.append(item)
        return out

    def _pairs(self, values: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        self.left -= 2
        for key, value in values.items():
            if not isinstance(key, str | int | Enum):
                raise self._refused(f"a mapping with a key of type {type(key).__name__}")
            before, cut = self.left, self.cut
            self.left -= 4
            name = self._text(str(key.value if isinstance(key, Enum) else key))
            item = None if self.cut and not cut else self.of(value, depth + 1)
            if self.left < 0 or (self.cut and not cut):
                if self.left >= 0 and item not in (None, "", [], {}):
                    out[name] = item
                self.left, self.cut = max(self.left if name in out else before, 0), True
                break
            out[name] = item
        return out

    def _text(self, text: str) -> str:
        if len(text) > self.left:
            text, self.cut = text[: max(self.left, 0)], True
        text = _clean(text)
        size = _size(text)
        while size > self.left and text:
            self.cut = True
            # A character takes 1 to 6 bytes of JSON: never cuts more than it must by much, and ends soon.
            text = text[: max(0, min(len(text) - 1, len(text) * max(self.left, 0) // size))]
            size = _size(text)
        return str(self._spent(text, size))

    def _spent(self, value: Any, size: int) -> Any:
        self.left -= size
        return value

    def _refused(self, what: str) -> ToolFailed:
        return ToolFailed(f"tool {self.tool!r} returned {what}")


def _clean(text: str) -> str:
    return HIDDEN.sub("", text).encode("utf-8", "replace").decode()


def _size(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode())
