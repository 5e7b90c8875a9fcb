"""Where and when a piece goes out, and the append-only ledger of what was sent."""

from __future__ import annotations

from pydantic import Field

from config.vocabulary import FireOutcome, PieceState, Step
from memory.rows.row import Instant, Key, Row, Text


class ScheduledPublication(Row):
    """The seed's publication_schedule. Stays in its cycle's partition even when `scheduled_at` moves past the week."""

    table = "publication_schedule"
    key = Key(("brand", "cycle_key"), ("id",))
    indexes = ("state",)
    cycle_key: Text
    id: Text
    """uuid5 of the piece."""
    content_id: Text
    platform: Text
    content_type: Text
    account: Text = "default"
    scheduled_at: Instant
    arranged_at: Instant | None = None
    """The slot's instant as last arranged; lateness counts from it."""
    cycle_week: int = 0
    cycle_day: int = Field(ge=0, le=7)
    theme: Text = ""
    priority: int = Field(default=5, ge=1, le=10)
    status: Text = "scheduled"
    state: PieceState = PieceState.PLANNED
    sealed_hash: Text = ""
    result_data: dict[str, str] = Field(default_factory=dict)
    session_id: Text = ""
    plan: int = 1
    created_at: Instant
    updated_at: Instant


class LedgerStep(Row):
    """One appended fact about one publication. Never rewritten, never deleted."""

    table = "publications"
    key = Key(("pub_key",), ("attempt", "part", "step_id"))
    pub_key: Text
    """sha256 of brand, platform, account and piece id: slot, time and edits never change it."""
    attempt: int = Field(ge=1)
    part: int = Field(ge=0)
    step_id: Text
    """uuid7, so that steps of a part sort by time."""
    step: Step
    piece_id: Text
    platform: Text
    account: Text = "default"
    holder: Text = ""
    """Token of whoever may send, for a permit; who decided, for an outcome."""
    deadline: Instant | None = None
    """Of a permit: nothing may be sent after it."""
    deadline_boot: float = 0.0
    """The same deadline in seconds since boot of the machine named by `boot_id`."""
    boot_id: Text = ""
    request_hash: Text = ""
    content_hash: Text = ""
    handle: Text = ""
    """What the platform gave for the reversible part (container, upload), JSON."""
    external_id: Text = ""
    url: Text = ""
    code: Text = ""
    reason: Text = ""
    created_at: Instant


class Account(Row):
    """A place to publish to."""

    table = "accounts"
    key = Key(("brand",), ("name",))
    name: Text
    platform: Text
    publisher: Text = "outbox"
    """Which publisher serves it: outbox, simulator, or a platform's own."""
    status: Text = "active"
    created_at: Instant
    updated_at: Instant


class Schedule(Row):
    """A rule that starts something again and again.

    After `schedule add` its one writer is the scheduler. Whether it is paused is in `controls`, which humans alone write.
    """

    table = "schedules"
    key = Key(("brand",), ("name",))
    indexes = ("status",)
    name: Text
    kind: Text
    """cycle: a themed week."""
    rule: dict[str, str] = Field(default_factory=dict)
    """day (1-7), at (06:00), themes, platforms and types (names with commas between; empty: the brand's)."""
    zone: Text = "UTC"
    status: Text = "active"
    next_at: Instant
    """Of the first slot that is not decided and carried out. A bookmark: what was decided is in `create_once`."""
    created_at: Instant
    updated_at: Instant


class ScheduleFire(Row):
    """One local slot of a schedule, and what became of it."""

    table = "schedule_fires"
    key = Key(("brand",), ("id",), descending=True)
    id: Text
    """uuid7 of when it was decided, the winner's."""
    schedule: Text
    local_slot: Text
    """Wall clock in the schedule's zone, 2026-12-07T06:00."""
    outcome: FireOutcome
    session_id: Text = ""
    """The session that makes the week; empty while a fire has none yet, and where there will be none."""
    fired_at: Instant
    """When it was decided."""
