"""Events: what happens in a session, told to whoever follows it from any machine.

The durable events are the rows of the Records table `events`, and they alone are read by `why` and `session show`. The stream
is a copy of a session's latest ones that is cheap to wait at: it may be wiped, cut or away, and says so, and then the rows
tell what is missing (`memory/events/follower.py`). It is fed where rows are written (`memory/live.py`), so no writer can
forget it. It also carries live steps, such as a check that begins, which are no rows and may be lost.

On Redis this is the seed's key `coord:{session}`: an ordered list of events that lives an hour after its last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Protocol, cast

from pydantic import ValidationError

from config.clock import Clock
from config.errors import SettingsError
from config.settings import REDIS_SCHEMES
from memory.rows.sessions import Event

KEPT = 500
"""Events a session at least: who follows is behind by a few, and who begins reads the rows."""
START = ""
"""The cursor of somebody who has read nothing."""


@dataclass(frozen=True)
class Page:
    """What came behind a cursor."""

    events: Sequence[Event]
    cursor: str
    """Where to go on. Only the engine that gave it can read it."""
    complete: bool
    """Nothing is missing between the cursor that was given and this one. What comes from START, or as the first into a stream
    that held nothing, is never known to be."""


class EventStream(Protocol):
    """The events of one brand's sessions. Another brand's sessions of the same id are others.

    Order is that of appending, over all processes and machines.
    """

    async def append(self, event: Event) -> None:
        """Add `event` to its session's stream, once: appending the same id again may or may not add it again.

        Asked once and not again when no answer comes. Raises Unavailable and the engine's other errors.
        """
        ...

    async def read(self, session_id: str, *, after: str = START, wait: timedelta = timedelta(0)) -> Page:
        """What is held behind the cursor `after`, oldest first; if that is nothing, what comes within `wait`.

        Returns with the first that comes, or empty when `wait` is over; it may be over sooner, and is cut at 4 s. A stream
        that was wiped, cut or began anew is read from its beginning, and is not `complete`. Raises Unavailable.
        """
        ...


def decode_event(stored: str | bytes) -> Event | None:
    """The event that an engine stored, None for what is not one of ours: a newer build's, or damaged. Its row tells it."""
    try:
        return Event.model_validate_json(stored)
    except ValidationError:
        return None


class EventStore(Protocol):
    """An open engine."""

    def for_brand(self, brand: str) -> EventStream:
        """The streams of one brand. Raises BadInput for a malformed name."""
        ...


_ENGINES = {
    "sqlite": "memory.events.sqlite:open_sqlite_events",
    **dict.fromkeys(REDIS_SCHEMES, "memory.events.redis:open_redis_events"),
}


def open_events(url: str, *, clock: Clock) -> AbstractAsyncContextManager[EventStore]:
    """Open the streams behind `url`, which is the cache's: `sqlite:///FILE` (the session database) or a Redis address.

    Raises SettingsError for another scheme.
    """
    scheme = url.partition("://")[0]
    if scheme not in _ENGINES:
        raise SettingsError(f"COPYDESK_CACHE: no engine for {scheme!r}; known: {', '.join(sorted(_ENGINES))}")
    module, _, name = _ENGINES[scheme].partition(":")
    return cast(AbstractAsyncContextManager[EventStore], getattr(import_module(module), name)(url, clock=clock))
