"""The errors of Copydesk, drawn once.

```
CopydeskError                 the root
  UsageError                  the operator or developer can mend it; the message says how; exit code 2
    SettingsError  UnknownTool  DuplicateName
    BadInput
      BrokenBrand
  NotFound                    (also LookupError) exit code 2
  Conflict                    the state of things forbids it; exit code 1
    LeaseLost  AlreadyPublished
  Unavailable                 a backend, platform or model did not answer; safe to try again; exit code 75
    Backpressure  Busy
  DiskFull                    exit code 74
  Uncertain                   it may or may not have happened: look before trying again
  Unsupported                 this backend cannot
  Damaged                     stored data cannot be trusted; the message holds the recovery command; exit code 2
  ComplianceBlocked           carries the Verdict
  OverBudget                  the money set aside for this is gone; carries what was asked and what is left
  ModelRefused                the model answered, but not with something usable
```

The retry policy (`agents/openai_models.py`, the store engines) reads the class: `Unavailable` yes, everything else no.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar


class CopydeskError(Exception):
    """Root of every error that Copydesk raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(CopydeskError):
    """The operator or developer can mend it, and the message says how."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is unknown, malformed or contradicts another."""


class UnknownTool(UsageError):
    """No tool of that name was discovered."""


class DuplicateName(UsageError):
    """Two things registered one name."""


class BadInput(UsageError):
    """Input refused at the edge: names the field, the value and the remedy."""


class BrokenBrand(BadInput):
    """The brand's folder cannot be read as it is now: whoever edits it mends it, and work that needs it waits."""


class NotFound(CopydeskError, LookupError):
    """Nothing of that kind and id exists for this brand."""

    exit_code = 2


class Conflict(CopydeskError):
    """The present state forbids it; the message names what stands in the way."""


class LeaseLost(Conflict):
    """The lease that this write was bound to is no longer held: somebody else may hold it now."""


class AlreadyPublished(Conflict):
    """The publication went out, is going out, or may have gone out."""


class Unavailable(CopydeskError):
    """A backend, platform or model did not answer; trying again is safe.

    `retry_after` is what the other side asked for, None when it asked for nothing.
    """

    exit_code = 75

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Backpressure(Unavailable):
    """The queue is at its bound; try again later or drain it."""


class Busy(Unavailable):
    """Somebody else holds the lock or lease that this needs; the message says who."""


class DiskFull(CopydeskError):
    """The disk is full; nothing was half-written."""

    exit_code = 74


class Uncertain(CopydeskError):
    """It may or may not have happened: look before trying again."""


class Unsupported(CopydeskError):
    """This backend cannot do it, and says so rather than ignore it."""


class Damaged(CopydeskError):
    """Stored data cannot be trusted; the message holds the command that recovers it."""

    exit_code = 2


class ComplianceBlocked(CopydeskError):
    """The content may not go out. `verdict` says why."""

    def __init__(self, message: str, *, verdict: Any) -> None:
        super().__init__(message)
        self.verdict = verdict


class OverBudget(CopydeskError):
    """A reservation does not fit the envelope. Nothing was spent."""

    def __init__(
        self, message: str, *, asked_usd: float, left_usd: float, blocked_by_reservations: bool = False
    ) -> None:
        super().__init__(message)
        self.asked_usd = asked_usd
        self.left_usd = left_usd
        self.blocked_by_reservations = blocked_by_reservations
        """True when money is only reserved by calls under way, so waiting may help."""


class ModelRefused(CopydeskError):
    """The model refused, was cut off, or answered nothing usable; never retried, never content."""
