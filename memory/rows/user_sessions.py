"""The seed's SQLite tables: one operator's session and preferences, and what may be forgotten."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UserSession(_Plain):
    """The seed's `sessions` row: one operator's recent choices; half an hour."""

    id: str
    user_id: str
    session_data: dict[str, Any]
    expires_at: datetime
    created_at: datetime
    updated_at: datetime


class TempContent(_Plain):
    """A variant that was made and not used; seven days."""

    id: str
    content_type: str
    platform: str
    content_data: dict[str, Any]
    media_urls: tuple[str, ...] = ()
    generation_metadata: dict[str, Any] = {}
    expires_at: datetime
    created_at: datetime


class BatchOperation(_Plain):
    """Progress of many items, recomputed from rows, never incremented."""

    id: str
    operation_type: str
    total_items: int
    completed_items: int = 0
    failed_items: int = 0
    status: str = "pending"
    operation_data: dict[str, Any] = {}
    results: dict[str, Any] = {}
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None = None


class ShortTermNote(_Plain):
    """agent_memory of type short_term: keyed by session, gone with it; any step can rebuild without it."""

    session_id: str
    agent_type: str
    memory_key: str
    memory_content: str
    relevance_score: float = 0.5
    context_data: dict[str, str] = {}
    expires_at: datetime
    created_at: datetime
    updated_at: datetime


class GenerationRow(_Plain):
    """The seed's `generation_queue` row, made from a piece and its task; stored nowhere."""

    id: str
    """The piece's id: the seed's counter would name a row that does not exist."""
    content_type: str
    platform: str
    prompt_data: dict[str, Any]
    priority: int
    status: str
    """pending, processing, completed or failed."""
    attempts: int
    max_attempts: int
    error_message: str | None = None
    result_data: dict[str, Any] | None = None
    created_at: datetime
    updated_at: datetime
    processed_at: datetime | None = None
