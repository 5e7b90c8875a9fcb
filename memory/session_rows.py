"""Rows of the session database: their columns in stored order, and the values that they become."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from config.clock import from_millis
from config.errors import BadInput
from memory.rows.row import clean_text
from memory.rows.user_sessions import BatchOperation, ShortTermNote, TempContent, UserSession

SESSION = "id, user_id, session_data, expires_at, created_at, updated_at"
VARIANT = "id, content_type, platform, content_data, media_urls, generation_metadata, expires_at, created_at"
BATCH = (
    "id, operation_type, total_items, completed_items, failed_items, status, operation_data, results, "
    "created_at, updated_at, completed_at"
)
NOTE = (
    "session_id, agent_type, memory_key, memory_content, relevance_score, context_data, "
    "expires_at, created_at, updated_at"
)
_JSON = frozenset(
    {
        "session_data",
        "content_data",
        "media_urls",
        "generation_metadata",
        "operation_data",
        "results",
        "context_data",
    }
)


def _named(columns: str, row: Any) -> dict[str, Any]:
    values = dict(zip(columns.split(", "), row, strict=True))
    for column, value in values.items():
        if value is not None and column.endswith("_at"):
            values[column] = from_millis(value)
        elif column in _JSON:
            values[column] = json.loads(value)
    return values


def to_session(row: Any) -> UserSession:
    """The session in a row of SESSION."""
    return UserSession(**_named(SESSION, row))


def to_variant(row: Any) -> TempContent:
    """The variant in a row of VARIANT."""
    return TempContent(**_named(VARIANT, row))


def to_batch(row: Any) -> BatchOperation:
    """The batch in a row of BATCH."""
    return BatchOperation(**_named(BATCH, row))


def to_note(row: Any) -> ShortTermNote:
    """The note in a row of NOTE."""
    return ShortTermNote(**_named(NOTE, row))


def clean(text: str, what: str) -> str:
    """`text`. Raises BadInput for what some store would change silently."""
    try:
        return clean_text(text)
    except ValueError as error:
        raise BadInput(f"{what}: {error}") from None


def checked_text(text: str, what: str) -> str:
    """`text` as a key. Raises BadInput unless it is 1-200 characters of good Unicode."""
    if not text or len(text) > 200:
        raise BadInput(f"{what} {text[:40]!r} must be 1-200 characters")
    return clean(text, what)


def lifetime_millis(ttl: timedelta) -> int:
    """`ttl` in milliseconds. Raises BadInput unless it is positive."""
    if ttl <= timedelta(0):
        raise BadInput(f"ttl {ttl} is not positive: delete the row instead")
    return ttl // timedelta(milliseconds=1)
