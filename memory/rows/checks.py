"""Compliance results and the humans who decide."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from config.vocabulary import CheckResult, Decision, Severity
from memory.rows.row import Instant, Key, Row, Text


class Finding(BaseModel):
    """One rule that fired on one span of one outgoing field. `start` and `end` count characters of that field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Text
    check_type: Text
    severity: Severity
    field: Text
    start: int
    end: int
    quote: Text
    suggestion: Text = ""
    source: Text = ""
    """Page of the regulator or policy that the rule rests on."""
    jurisdiction: Text = ""


class ComplianceCheck(Row):
    """One check of one revision. `id` is the uuid5 of piece, content hash, run and check type: checking again rewrites it."""

    table = "compliance_checks"
    key = Key(("content_id",), ("id",), descending=True)
    indexes = ("check_result",)
    content_id: Text
    id: Text
    check_type: Text
    check_result: CheckResult
    confidence_score: float = Field(default=0.0, ge=0, le=1)
    issues_found: tuple[Text, ...] = ()
    """`RULE|field|start-end|quote`, one a finding: the seed's column, for people."""
    findings: tuple[Finding, ...] = ()
    recommendations: Text = ""
    content_hash: Text
    run: int = 1
    checked_by: Text = "rules"
    """`rules`, or the model that looked after them."""
    reviewer_id: Text = ""
    reviewed_at: Instant | None = None
    created_at: Instant


class Review(Row):
    """One question to a human about one revision, and the answer. `id` is the uuid5 of piece and content hash."""

    table = "reviews"
    key = Key(("brand",), ("id",), descending=True)
    indexes = ("decision",)
    id: Text
    piece_id: Text
    session_id: Text
    content_hash: Text
    platform: Text
    content_type: Text
    result: CheckResult
    findings: int = 0
    severity: Severity | None = None
    """The worst severity found; important when a check did not finish, None when no rule fired."""
    why: Text = ""
    """Why a human is asked."""
    decision: Decision = Decision.PENDING
    reviewer: Text = ""
    reason: Text = ""
    edited_to: Text = ""
    """Of an edit: the content hash that took this one's place."""
    decided_at: Instant | None = None
    created_at: Instant
    updated_at: Instant

    @property
    def place(self) -> tuple[int, datetime, str]:
        """Where it stands among those that wait: critical first, then oldest."""
        rank = list(Severity).index(self.severity) if self.severity is not None else len(Severity)
        return rank, self.created_at, self.id
