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


@dataclass(frozen=True)
class Receipt:
    """The proof that a part is out."""

    external_id: str
    url: str


@dataclass(frozen=True)
class Rejection(Exception):
    """A refusal that the publisher lists as definite: nothing went out. Anything not listed is an unknown outcome."""

    code: str
    message: str


class Publisher(Protocol):
    """One platform's calls. Only `finalize` is irreversible; it is called at most once for a permit and never retried."""

    name: str
    ready_ahead: bool
    """True when nothing becomes public by sending (the outbox), so it may run before the slot's instant."""

    async def prepare(self, parcel: Parcel, *, attempt: int) -> str:
        """Do everything reversible (upload, container); return its handle as JSON, '' if there is none.

        Raises Rejection (the platform will never take it) or Unavailable (try again).
        """
        ...

    async def finalize(self, parcel: Parcel, *, part: int, handle: str, reply_to: str, timeout: timedelta) -> Receipt:
        """Make part `part` public. `reply_to` is the external id of the part before it.

        Returns only on a parsed success. Raises Rejection for a listed definite refusal, ConnectionRefusedError when no byte was
        sent, and anything else for an outcome that nobody knows.
        """
        ...

    async def check(self, parcel: Parcel, *, part: int, handle: str) -> Receipt | None:
        """Read-only: the receipt if the part is out; None if it is not seen, which proves nothing. May raise Unavailable."""
        ...
