"""Runs of the agents, who does what in them, what they spent, what happened."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from config.vocabulary import SessionStatus
from memory.rows.row import Instant, Key, Row, Text


class Session(Row):
    """One run of the agents on one goal. Its id is the thread id of its graph."""

    table = "agent_sessions"
    key = Key(("brand",), ("id",), descending=True)
    indexes = ("status",)
    id: Text
    kind: Text
    """cycle or create."""
    goal: Text
    status: SessionStatus = SessionStatus.RUNNING
    reason: Text = ""
    """Why it failed, what it skipped, or whom it waits for."""
    cycle_key: Text = ""
    theme: Text = ""
    zone: Text = "UTC"
    plan: int = 1
    request: dict[str, Any] = Field(default_factory=dict)
    """What was asked for, JSON: the input of its graph."""
    request_hash: Text = ""
    outcome: dict[str, Any] = Field(default_factory=dict)
    """The report of the finish node."""
    graph_version: Text = ""
    envelope_usd: float = 0.0
    added_usd: float = 0.0
    """What `session resume --add-usd` put on top."""
    tokens: int = 0
    cost_usd: float = 0.0
    retry_at: Instant | None = None
    attempts: int = 0
    deaths: int = 0
    dead_letter: Text = ""
    created_at: Instant
    updated_at: Instant
    finished_at: Instant | None = None


class Assignment(Row):
    """The seed's agent_coordination: one agent's part in a session, what it waits on, what it handed over."""

    table = "agent_coordination"
    key = Key(("session_id",), ("id",), descending=True)
    indexes = ("status",)
    session_id: Text
    id: Text
    """uuid5 of session, agent and part: assigning again rewrites it."""
    agent_type: Text
    task_description: Text
    status: Text = "active"
    """active, waiting, completed or failed."""
    dependencies: tuple[Text, ...] = ()
    results: Text = ""
    """JSON: what the agent hands over, such as a Brief."""
    coordination_data: dict[str, str] = Field(default_factory=dict)
    started_at: Instant | None = None
    completed_at: Instant | None = None
    created_at: Instant


class Usage(Row):
    """One attempt of one model call: `reserved` at the worst case before it, `settled` or `assumed` after it."""

    table = "usage"
    key = Key(("brand", "day"), ("id",))
    day: Text
    """UTC day, 2026-12-07."""
    id: Text
    session_id: Text
    piece_id: Text = ""
    agent_type: Text = ""
    model: Text
    status: Text
    """reserved, settled or assumed."""
    reserved_usd: float = 0.0
    cost_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    expires_after: Instant
    """A reservation not settled by then is settled at its worst case."""
    created_at: Instant
    updated_at: Instant


class Event(Row):
    """Something that happened, in order."""

    table = "events"
    key = Key(("brand", "day"), ("id",))
    day: Text
    id: Text
    """uuid7."""
    name: Text
    """noun.verb_past: piece.drafted."""
    session_id: Text = ""
    piece_id: Text = ""
    actor: Text = ""
    detail: dict[str, Any] = Field(default_factory=dict)
    created_at: Instant
