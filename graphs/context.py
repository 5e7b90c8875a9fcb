"""What a running graph step is given: clients and settings, never checkpointed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from agents.agent import AgentContext
from config.brand_profile import BrandProfile
from config.clock import Clock
from config.errors import Damaged, DiskFull, LeaseLost, Unavailable
from config.ids import new_id
from config.settings import Settings
from memory.cache.protocol import AGENT_TTL, Cache
from memory.embedding.protocol import Embedder
from memory.events.protocol import EventStream
from memory.lease import LeaseGuard
from memory.live import Teller
from memory.queue.protocol import GENERATION_QUEUE, Task
from memory.records.protocol import Records
from memory.rows.brand import Control
from memory.rows.content import Piece, Revision
from memory.rows.sessions import Event
from memory.user_sessions import UserSessions


class CancelRequested(Exception):
    """A human asked for this session or piece to stop; the worker turns it into the state `cancelled`."""


PASS_THROUGH = (LeaseLost, CancelRequested, DiskFull, Damaged)
"""What an error handler must never turn into a result: the work is not ours any more, or cannot be recorded."""


@dataclass(frozen=True)
class Live:
    """Where people look while a session runs."""

    cache: Cache
    events: EventStream
    teller: Teller


@dataclass(frozen=True)
class GraphContext:
    """Services of one task, all bound to its lease."""

    records: Records
    agent: AgentContext
    embedder: Embedder
    profile: BrandProfile
    settings: Settings
    clock: Clock
    guard: LeaseGuard
    enqueue: Callable[..., Awaitable[Any]]
    """Takes Tasks; best effort, because reconcile finds whatever it loses."""
    session_id: str
    piece_id: str = ""
    live: Live | None = None
    """Live status for people who watch; nothing is read back from it."""
    variants: UserSessions | None = None
    """Where drafts go that were not used."""

    async def enter(self) -> None:
        """Call at the top of every step: the lease must be held, and nobody may have asked to stop."""
        self.guard.ensure_held()
        names = [f"cancel:{self.session_id}"] + ([f"cancel:{self.piece_id}"] if self.piece_id else [])
        for name in names:
            if await self.records.find(Control, name=name) is not None:
                raise CancelRequested(name)

    async def note(self, name: str, *, actor: str = "", **detail: Any) -> None:
        """Append an event of this session, and show whose it is."""
        await note(
            self.records, self.clock, name, session_id=self.session_id, piece_id=self.piece_id, actor=actor, **detail
        )
        await self.status(name, actor=actor)

    async def show(self, name: str, *, actor: str) -> None:
        """Tell whoever watches what an agent begins to do. It is kept for an hour at most, and costs nothing if it is lost."""
        await self.status(name, actor=actor)
        if (live := self.live) is not None:
            step = an_event(
                self.records, self.clock, name, session_id=self.session_id, piece_id=self.piece_id, actor=actor
            )
            await live.teller.tell(lambda: live.events.append(step))

    async def status(self, name: str, *, actor: str) -> None:
        """Write what an agent does now to the cache, for five minutes."""
        if actor and (live := self.live) is not None:
            key, seen = f"agent:{actor}:{self.session_id}", {"event": name, "piece_id": self.piece_id}
            seen["at"] = self.clock.now().isoformat()
            await live.teller.tell(lambda: live.cache.put(key, seen, ttl=AGENT_TTL))

    async def keep_variant(self, piece: Piece, revision: Revision) -> None:
        """Keep a draft that another one replaced, for a week, for people who look for it."""
        if self.variants is None:
            return
        with suppress(Unavailable, Damaged, DiskFull):
            await self.variants.keep_variant(
                variant_id=f"{piece.id}:{revision.content_hash}",
                content_type=piece.content_type,
                platform=piece.platform,
                content_data=revision.post.model_dump(mode="json"),
                generation_metadata={"piece_id": piece.id, "run": revision.run, "revision": revision.revision},
            )


async def note(
    records: Records,
    clock: Clock,
    name: str,
    *,
    session_id: str = "",
    piece_id: str = "",
    actor: str = "",
    **detail: Any,
) -> None:
    """Append an event: `name` is noun.verb_past, `detail` JSON-plain."""
    await records.put(
        an_event(records, clock, name, session_id=session_id, piece_id=piece_id, actor=actor, detail=detail)
    )


def an_event(records: Records, clock: Clock, name: str, **fields: Any) -> Event:
    """An event that happens now, not yet written."""
    now = clock.now()
    return Event(brand=records.brand, day=now.date().isoformat(), id=new_id(now), name=name, created_at=now, **fields)


def advance_piece_task(brand: str, piece_id: str, clock: Clock, *, priority: int = 5) -> Task:
    """ "Look at this piece again." Carries no decision; the same id every time."""
    return Task(
        id=f"advance:{piece_id}",
        kind="advance_piece",
        queue=GENERATION_QUEUE,
        brand=brand,
        run_at=clock.now(),
        priority=priority,
        payload={"piece_id": piece_id},
    )


def advance_session_task(brand: str, session_id: str, clock: Clock) -> Task:
    """ "Look at this session again." Sooner than pieces, so that a finished week is reported at once."""
    return Task(
        id=f"advance:{session_id}",
        kind="advance_session",
        queue=GENERATION_QUEUE,
        brand=brand,
        run_at=clock.now(),
        priority=7,
        payload={"session_id": session_id},
    )
