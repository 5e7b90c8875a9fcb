"""Publisher: the three calls by which a post reaches a platform."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from memory.rows.content import Post


@dataclass(frozen=True)
class Parcel:
    """What is to be sent, exactly as it was sealed."""

    brand: str
    pub_key: str
    piece_id: str
    account: str
    post: Post
    content_hash: str
    scheduled_at: datetime
    title: str = ""
    zone: str = "UTC"
    """The brand's zone, in which a person reads `scheduled_at`."""
    cycle_key: str = ""
    cycle_day: int = 0
    sources: tuple[str, ...] = ()
    """What the post rests on, for the person who posts it; never sent."""


@dataclass(frozen=True)
class Receipt:
    """The proof that a part is out."""

    external_id: str
    url: str


class Rejection(Exception):
    """A refusal that the publisher lists as definite: nothing went out. Anything not listed is an unknown outcome."""

    # A plain class: a frozen dataclass refuses the traceback that a context manager sets on whatever passes through it.
    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class NothingSent(ConnectionRefusedError):
    """The publisher knows that not one byte went out, so another attempt may follow."""


class Publisher(Protocol):
    """One platform's calls. Only `finalize` is irreversible: called at most once for a permit, never retried."""

    name: str
    ready_ahead: bool
    """True when nothing becomes public by sending (the outbox), so it may run before the slot's instant."""

    def parts(self, post: Post) -> int:
        """How many irreversible calls `post` needs here: `part_count()` if a thread goes out post by post, or 1."""
        ...

    async def prepare(self, parcel: Parcel, *, attempt: int) -> str:
        """Do everything reversible (upload, container); return its handle as JSON, '' if there is none.

        Raises Rejection (the platform will never take it) or Unavailable (try again).
        """
        ...

    async def finalize(self, parcel: Parcel, *, part: int, handle: str, reply_to: str, timeout: timedelta) -> Receipt:
        """Make part `part` public. `reply_to` is the external id of the part before it, '' for part 0.

        Returns only on a parsed success. Raises Rejection for a listed definite refusal, ConnectionRefusedError (or
        NothingSent) when no byte was sent, and anything else for an outcome that nobody knows.
        """
        ...

    async def check(self, parcel: Parcel, *, part: int, handle: str) -> Receipt | None:
        """Read-only: the receipt if the part is out; None if it is not seen, which proves nothing.

        May raise Unavailable.
        """
        ...
