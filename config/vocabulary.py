"""The words of the product: closed vocabularies as StrEnums, open ones as registries with built-in names.

Values are those of the seed's columns (docs/source-map.md). A plug-in adds a platform, a content type, a check type or a
memory type with `register`; nothing of ours is edited.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from enum import StrEnum

from config.errors import BadInput, DuplicateName


def nearest(name: str, known: list[str]) -> str:
    """' (did you mean X?)' for the known name closest to `name`, '' when none is close."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


class Registry:
    """An open set of names with built-in members, in the order in which they were added."""

    def __init__(self, what: str, *names: str) -> None:
        self.what = what
        self._names = dict.fromkeys(names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def register(self, name: str) -> None:
        """Add `name`. Raises DuplicateName if it is there."""
        if name in self._names:
            raise DuplicateName(f"{self.what} {name!r} is registered already: choose another name")
        self._names[name] = None

    def parse(self, name: str) -> str:
        """`name` if it is registered; BadInput with the nearest name otherwise."""
        if name not in self._names:
            known = ", ".join(self._names)
            raise BadInput(f"{self.what} {name[:80]!r} is unknown{nearest(name, list(self._names))}; known: {known}")
        return name


PLATFORMS = Registry("platform", "instagram", "tiktok", "youtube", "facebook", "twitter")
CONTENT_TYPES = Registry("content type", "reel", "story", "carousel", "quote", "thread")
CHECK_TYPES = Registry("check type", "medical_claim", "brand_voice", "legal_review")
RULE_PACKS = Registry("rule pack", "us", "uk", "eu", "platform")
MEMORY_TYPES = Registry("memory type", "short_term", "long_term", "episodic", "semantic")
TASK_KINDS = Registry(
    "task kind",
    "advance_session",
    "advance_piece",
    "publish",
    "reconcile",
    "reconcile_publication",
    "fire_schedule",
    "sweep",
)


class AgentType(StrEnum):
    """The four roles; never a fifth."""

    RESEARCH = "research"
    CREATION = "creation"
    COMPLIANCE = "compliance"
    COORDINATION = "coordination"


class PieceState(StrEnum):
    """The one state machine of a piece; the seed's status columns are written from it."""

    PLANNED = "planned"
    DRAFTING = "drafting"
    CHECKING = "checking"
    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    FAILED = "failed"
    PUBLISHING = "publishing"
    PUBLISHED = "published"
    UNKNOWN = "unknown"
    MISSED = "missed"
    CANCELLED = "cancelled"
    ARCHIVED = "archived"


UNSETTLED = frozenset({PieceState.PLANNED, PieceState.DRAFTING, PieceState.CHECKING})
"""A cycle waits for these; any other state is settled."""

TERMINAL_PIECE = frozenset(
    {
        PieceState.REJECTED,
        PieceState.FAILED,
        PieceState.PUBLISHED,
        PieceState.MISSED,
        PieceState.CANCELLED,
        PieceState.ARCHIVED,
    }
)

LIBRARY_STATUS = {  # content_library.status: draft, approved, published, archived
    PieceState.APPROVED: "approved",
    PieceState.PUBLISHING: "approved",
    PieceState.UNKNOWN: "approved",
    PieceState.MISSED: "approved",
    PieceState.PUBLISHED: "published",
    PieceState.ARCHIVED: "archived",
    PieceState.CANCELLED: "archived",
}
SCHEDULE_STATUS = {  # publication_schedule.status: scheduled, published, failed, cancelled
    PieceState.PUBLISHED: "published",
    PieceState.FAILED: "failed",
    PieceState.REJECTED: "cancelled",
    PieceState.MISSED: "failed",
    PieceState.CANCELLED: "cancelled",
    PieceState.ARCHIVED: "cancelled",
}
EMBEDDING_STATUS = {  # content_embeddings.compliance_status: approved, pending, rejected, review
    PieceState.APPROVED: "approved",
    PieceState.PUBLISHING: "approved",
    PieceState.PUBLISHED: "approved",
    PieceState.UNKNOWN: "approved",
    PieceState.MISSED: "approved",
    PieceState.WAITING: "review",
    PieceState.REJECTED: "rejected",
    PieceState.FAILED: "rejected",
    PieceState.CANCELLED: "rejected",
}


def library_status(state: PieceState) -> str:
    """The seed's content_library.status for a piece in `state`."""
    return LIBRARY_STATUS.get(state, "draft")


def schedule_status(state: PieceState) -> str:
    """The seed's publication_schedule.status for a piece in `state`."""
    return SCHEDULE_STATUS.get(state, "scheduled")


def embedding_status(state: PieceState) -> str:
    """The seed's content_embeddings.compliance_status for a piece in `state`."""
    return EMBEDDING_STATUS.get(state, "pending")


class SessionStatus(StrEnum):
    """Of a session; the last three are terminal."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL_SESSION = frozenset({SessionStatus.DONE, SessionStatus.FAILED, SessionStatus.CANCELLED})


class FireOutcome(StrEnum):
    """What became of a schedule's local slot."""

    FIRED = "fired"
    """It makes its week. Without a session: it is about to."""
    PLANNED = "planned"
    """Its week had been planned already, by hand or by another fire; the session is that one."""
    MISSED = "missed"
    """Its week was over, or had nothing left to plan, before anybody could fire it."""
    COALESCED = "coalesced"
    """It was due together with a later one, which stands for both."""


class CheckResult(StrEnum):
    """Result of a compliance check, from best to worst. "Flagged" means manual_review or failed."""

    PASSED = "passed"
    WARNING = "warning"
    MANUAL_REVIEW = "manual_review"
    FAILED = "failed"


class Severity(StrEnum):
    """Of a finding or a guideline: critical -> failed, important -> manual_review, preferred -> warning."""

    CRITICAL = "critical"
    IMPORTANT = "important"
    PREFERRED = "preferred"


class Decision(StrEnum):
    """Of a review. `pending` is a value, because a null cannot be queried."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EDITED = "edited"
    CANCELLED = "cancelled"


class Trust(StrEnum):
    """Where text came from; untrusted text (web, model) gains no capability."""

    OPERATOR = "operator"
    BRAND = "brand"
    WEB = "web"
    MODEL = "model"


class Step(StrEnum):
    """What one appended row of the publication ledger says."""

    APPROVED = "approved"
    PREPARING = "preparing"
    PERMIT = "permit"
    PUBLISHED = "published"
    REJECTED = "rejected"
    NOT_SENT = "not_sent"
    NEEDS_HUMAN = "needs_human"
