"""The values of the memory store: checked on the way in, made from rows on the way out, and filtered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.store.base import SearchItem

from config.errors import BadInput
from memory.rows.agents import AgentMemory
from memory.rows.user_sessions import ShortTermNote
from memory.session_rows import clean

SHORT_TERM = "short_term"
DEFAULT_RELEVANCE = 0.5
_FIELDS = ("content", "relevance", "context")


@dataclass(frozen=True)
class MemoryValue:
    """What one memory says."""

    content: str
    relevance: float
    context: dict[str, str]


def checked_value(key: str, value: Mapping[str, Any]) -> MemoryValue:
    """`value` as a memory. Raises BadInput naming the field that cannot be."""
    unknown = sorted(set(value) - set(_FIELDS))
    if unknown:
        raise BadInput(f"memory {key!r}: unknown field {unknown[0]!r}; a memory holds content, relevance and context")
    content = value.get("content")
    if not isinstance(content, str) or not content.strip():
        raise BadInput(f"memory {key!r}: content must be text that is not empty")
    relevance = value.get("relevance", DEFAULT_RELEVANCE)
    if isinstance(relevance, bool) or not isinstance(relevance, int | float) or not 0 <= relevance <= 1:
        raise BadInput(f"memory {key!r}: relevance {relevance!r} must be a number from 0 to 1")
    context = value.get("context", {})
    if not isinstance(context, dict) or not all(isinstance(part, str) for pair in context.items() for part in pair):
        raise BadInput(f"memory {key!r}: context must map text to text")
    for part in (content, *context, *context.values()):
        clean(part, f"memory {key!r}")
    return MemoryValue(content, float(relevance), dict(context))


def item_of_row(row: AgentMemory, score: float | None = None) -> SearchItem:
    """The item of a long-term memory."""
    return SearchItem(
        namespace=(row.agent_type, row.memory_type),
        key=row.memory_key,
        value={"content": row.memory_content, "relevance": row.relevance_score, "context": dict(row.context_data)},
        created_at=row.created_at,
        updated_at=row.updated_at,
        score=score,
    )


def item_of_note(note: ShortTermNote, score: float | None = None) -> SearchItem:
    """The item of a short-term note."""
    return SearchItem(
        namespace=(note.agent_type, SHORT_TERM),
        key=note.memory_key,
        value={"content": note.memory_content, "relevance": note.relevance_score, "context": dict(note.context_data)},
        created_at=note.created_at,
        updated_at=note.updated_at,
        score=score,
    )


_COMPARE = {
    "$eq": lambda a, b: a == b,
    "$ne": lambda a, b: a != b,
    "$gt": lambda a, b: a > b,
    "$gte": lambda a, b: a >= b,
    "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b,
}


def matches(value: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Whether a stored value passes a LangGraph filter. Raises BadInput for an operator or comparison that cannot be."""
    return wanted is None or _fits(value, wanted)


def _fits(value: Any, wanted: Any) -> bool:
    if not isinstance(wanted, dict):
        return bool(value == wanted)
    for key, expected in wanted.items():
        if key.startswith("$"):
            if key not in _COMPARE:
                raise BadInput(f"filter operator {key!r} is unknown; known: {', '.join(_COMPARE)}")
            try:
                if not _COMPARE[key](value, expected):
                    return False
            except TypeError:
                raise BadInput(f"filter {key} {expected!r} cannot be compared with {value!r}") from None
        elif not isinstance(value, dict) or key not in value or not _fits(value[key], expected):
            return False
    return True
