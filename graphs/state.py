"""The state of the graphs: JSON-plain, ids and short fields only; bodies live in Records.

Reducers merge by id, so that a step that runs again changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from pydantic import BaseModel, ConfigDict

MAX_REVISIONS = 2
"""Rewrites of one piece, beside its first draft."""


def merge(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """The union of two maps, the right one winning."""
    return {**(left or {}), **(right or {})}


class CycleState(TypedDict, total=False):
    """One themed week."""

    session_id: str
    days: dict[str, dict[str, Any]]
    """day -> its theme (title, angle, keywords)."""
    briefs: Annotated[dict[str, str], merge]
    """day -> id of its Brief."""
    failures: Annotated[dict[str, str], merge]
    """day -> why its research gave nothing."""
    rounds: int
    skipped: Annotated[dict[str, str], merge]
    """slot id -> why no piece was put there."""
    pieces: list[str]
    outcome: dict[str, Any]


class ResearchDay(TypedDict):
    """What one research branch is given."""

    session_id: str
    day: int
    theme: dict[str, Any]


class PieceGraphState(TypedDict, total=False):
    """One run of one piece."""

    piece_id: str
    run: int
    start_at: str
    """`draft`, or `checks` when a human supplied the text."""
    content_hash: str
    revision: int
    results: Annotated[dict[str, str], merge]
    """content hash | check type -> result."""
    decision: dict[str, Any]
    verdict: str
    why: str
    outcome: dict[str, Any]


class CheckOne(TypedDict):
    """What one check branch is given."""

    piece_id: str
    run: int
    content_hash: str
    check_type: str


class Settled(BaseModel):
    """What the cycle's wait is answered with: every piece is settled, says Records."""

    model_config = ConfigDict(extra="forbid")
    settled: bool


class HumanDecision(BaseModel):
    """What the gate is answered with: the decision in Records on exactly this content hash."""

    model_config = ConfigDict(extra="forbid")
    decision: str
    content_hash: str
    reviewer: str
    reason: str = ""
