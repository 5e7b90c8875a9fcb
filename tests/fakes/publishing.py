"""What publishing tests are built from: parcels, a scripted publisher, short times, and rows in a dict."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from memory.records.protocol import Once
from memory.rows.content import Post
from memory.rows.row import Row
from tools.publish.ledger import pub_key
from tools.publish.protocol import Parcel, Receipt

PIECE = "0b8c1f6e-0000-5000-8000-000000000001"


@dataclass(frozen=True)
class Times:
    """Permit and friends, as Settings has them."""

    permit: timedelta = timedelta(seconds=20)
    send_timeout: timedelta = timedelta(seconds=15)
    settle: timedelta = timedelta(seconds=90)


def a_post(**fields: Any) -> Post:
    given = {
        "platform": "instagram",
        "content_type": "reel",
        "title": "Calm mornings",
        "caption": "Breathe in.",
    } | fields
    return Post(**given)


def a_thread(parts: int = 3) -> Post:
    texts = tuple(f"post {n}" for n in range(parts))
    return Post(platform="twitter", content_type="thread", title="A thread", parts=texts)


def a_parcel(post: Post | None = None, *, piece_id: str = PIECE, brand: str = "eesystem", **fields: Any) -> Parcel:
    post = post or a_post()
    given: dict[str, Any] = {
        "content_hash": post.content_hash,
        "scheduled_at": datetime(2026, 12, 7, 17, 30, tzinfo=UTC),
        "title": post.title,
        "zone": "Europe/Berlin",
        "cycle_key": "2026-W50",
        "cycle_day": 1,
        "account": "default",
    } | fields
    key = pub_key(brand, post.platform, given["account"], piece_id)
    return Parcel(brand=brand, pub_key=key, piece_id=piece_id, post=post, **given)


async def allowed() -> str:
    return ""


@dataclass
class MemoryRecords:
    """The part of Records that the ledger uses, over dicts that several instances may share."""

    rows: dict[tuple[Any, ...], Row] = field(default_factory=dict)
    decisions: dict[tuple[str, str], Once[Any]] = field(default_factory=dict)
    before: Callable[[str, Any], Awaitable[None]] | None = None
    """Awaited with the call's name and its row or key before each call takes effect; may raise."""
    after: Callable[[str, Any], Awaitable[None]] | None = None
    """The same, after it took effect: raising is a lost reply."""
    brand: str = "eesystem"

    async def list_rows(self, row_type: type[Any], **partition: Any) -> list[Any]:
        await self._met(self.before, "list_rows", partition)
        mine = [r for r in self.rows.values() if all(getattr(r, name) == value for name, value in partition.items())]
        return sorted(mine, key=lambda row: row.key_values())

    async def put(self, *rows: Row) -> None:
        await self._met(self.before, "put", rows[0])
        for row in rows:
            self.rows[row.key_values()] = row
        await self._met(self.after, "put", rows[0])

    async def create_once(self, kind: str, key: str, row: Any, *, token: str) -> Once[Any]:
        await self._met(self.before, f"create_once {kind}", row)
        kept = self.decisions.setdefault((kind, key), Once(True, row, token))
        await self._met(self.after, f"create_once {kind}", row)
        return Once(kept.token == token, kept.row, kept.token)

    async def find_once(self, kind: str, key: str, row_type: type[Any]) -> Once[Any] | None:
        await self._met(self.before, f"find_once {kind}", key)
        kept = self.decisions.get((kind, key))
        return None if kept is None else Once(False, kept.row, kept.token)

    async def _met(self, hook: Callable[[str, Any], Awaitable[None]] | None, name: str, what: Any) -> None:
        await asyncio.sleep(0)
        if hook is not None:
            await hook(name, what)


Answer = Callable[[int], Awaitable[Any]]


@dataclass
class ScriptedPublisher:
    """Posts into `live` (what the platform really has, one entry a call that arrived), then answers as told."""

    live: list[tuple[str, int]] = field(default_factory=list)
    answers: dict[int, list[Exception | object]] = field(default_factory=dict)
    """By part, what finalize answers, first first: an exception to raise or a value to return; then receipts."""
    refuses: set[int] = field(default_factory=set)
    """Parts whose scripted answer comes before anything is posted."""
    visible: bool = True
    name: str = "scripted"
    ready_ahead: bool = False
    prepared: int = 0
    prepare_error: Exception | None = None
    reply_to: list[str] = field(default_factory=list)
    during: Callable[[], Awaitable[None]] | None = None
    """Awaited while a call is at the platform: after the post is live, before the answer."""

    def parts(self, post: Post) -> int:
        return post.part_count()

    async def prepare(self, parcel: Parcel, *, attempt: int) -> str:
        self.prepared += 1
        if self.prepare_error is not None:
            raise self.prepare_error
        return f'{{"container": "{attempt}"}}'

    async def finalize(self, parcel: Parcel, *, part: int, handle: str, reply_to: str, timeout: timedelta) -> Receipt:
        scripted = self.answers.get(part, [])
        answer: Any = scripted.pop(0) if scripted else receipt(parcel, part)
        if part not in self.refuses:
            self.live.append((parcel.pub_key, part))
            self.reply_to.append(reply_to)
        if self.during is not None:
            await self.during()
        if isinstance(answer, BaseException):
            raise answer
        return answer  # garbage is one of the scripted answers

    async def check(self, parcel: Parcel, *, part: int, handle: str) -> Receipt | None:
        return receipt(parcel, part) if self.visible and (parcel.pub_key, part) in self.live else None


def receipt(parcel: Parcel, part: int) -> Receipt:
    return Receipt(f"id-{parcel.pub_key[:8]}-{part}", f"https://platform.test/{parcel.pub_key[:8]}/{part}")
