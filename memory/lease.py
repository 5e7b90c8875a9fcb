"""What a write may be bound to: the lease of the task that makes it."""

from __future__ import annotations

from typing import Protocol


class LeaseGuard(Protocol):
    """The worker's view of one lease, as its heartbeat last saw it."""

    @property
    def token(self) -> str:
        """The lease's random token."""
        ...

    def ensure_held(self) -> None:
        """Return if the lease is held. Raises LeaseLost when it was lost, or could have run out unnoticed."""
        ...

    async def extend(self) -> None:
        """Extend the lease now. Raises LeaseLost when somebody else may have it."""
        ...


class Unleased:
    """The guard of work that no queue gave out: a human's command that writes only rows that humans write, and tests."""

    token = "unleased"

    def ensure_held(self) -> None:
        return None

    async def extend(self) -> None:
        return None
