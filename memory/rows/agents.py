"""What agents remember."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from config.clock import FOREVER
from memory.rows.row import Instant, Key, Row, Text, Vector


class AgentMemory(Row):
    """One remembered fact of one agent. `id` is the uuid5 of brand, agent type, memory type and key."""

    table = "agent_memory"
    key = Key(("id",))
    indexes = ("brand", "agent_type", "memory_type", "expires_at")
    vector: ClassVar[str | None] = "embedding"
    searched_text = ("memory_key", "memory_content")
    id: Text
    agent_type: Text
    memory_type: Text
    memory_key: Text
    memory_content: Text
    embedding: Vector = ()
    embedder_id: Text = ""
    relevance_score: float = Field(default=0.5, ge=0, le=1)
    context_data: dict[str, str] = Field(default_factory=dict)
    """Provenance among it: `session`, `trust`, `source`."""
    expires_at: Instant = FOREVER
    created_at: Instant
    updated_at: Instant
