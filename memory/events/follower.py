"""Following one session: each of its events once, from the stream while that is whole, from the rows where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from config.clock import Clock
from config.errors import Unavailable
from config.ids import first_id
from memory.events.protocol import START, EventStream
from memory.records.protocol import Records
from memory.rows.sessions import Event

ROWS_EVERY = timedelta(seconds=15)
"""An event that never reached the stream, because its writer could not, is told this much later at most."""
_LATE = timedelta(minutes=2)
"""A row is named before it is written, by its writer's clock: so far back the rows are read again."""
_AWAY_EVERY = timedelta(seconds=2)


class Follower:
    """Tells the events of one session. Its durable ones are all told, each once; live steps may be lost.

    What it tells at once is in order of time; what the rows bring later is not held back for.
    """

    def __init__(
        self, records: Records, stream: EventStream, clock: Clock, session_id: str, *, since: datetime
    ) -> None:
        """`since`: when the session was made; what happened before now is told first."""
        self._records = records
        self._stream = stream
        self._clock = clock
        self._session_id = session_id
        self._cursor = START
        self._read_until = since
        """Instant up to which the rows have been read."""
        self._looked: float | None = None
        self._due = True
        """The rows must be read before the stream can be trusted again."""
        self._told: set[str] = set()
        self._untold: list[Event] = []
        self.read_rows = False
        """Whether the last `new` read rows: whoever shows other rows of the session does well to read them then."""

    async def new(self, *, wait: timedelta) -> Sequence[Event]:
        """What has not been told yet; if that is nothing, what happens within `wait`. Empty when nothing does.

        Raises Unavailable when the rows are needed and cannot be read; what came meanwhile is told by the next call.
        """
        self.read_rows = False
        missing = False
        try:
            held_back = self._due or self._untold
            page = await self._stream.read(
                self._session_id, after=self._cursor, wait=timedelta(0) if held_back else wait
            )
        except Unavailable:
            if not self._due:  # the rows tell, more slowly
                await self._clock.sleep(min(wait, _AWAY_EVERY))
            missing = True
        else:
            self._untold += page.events
            self._cursor = page.cursor
            missing = not page.complete
        now = self._clock.boottime()
        stale = self._looked is None or now - self._looked >= ROWS_EVERY.total_seconds()
        self._due = self._due or missing or stale
        if self._due:
            self._untold += await self._rows()
            self._due, self._looked, self.read_rows = False, now, True
        fresh = {event.id: event for event in self._untold if event.id not in self._told}
        self._untold = []
        self._told |= fresh.keys()
        return sorted(
            fresh.values(), key=lambda event: event.created_at
        )  # stable: the stream's order within a millisecond

    async def _rows(self) -> list[Event]:
        now = self._clock.now()
        start = self._read_until - _LATE
        day, after, rows = start.date(), {"id": first_id(start)}, list[Event]()
        while day <= (now + _LATE).date():
            # A day's ids are all behind an earlier day's, so that the one bound does for every day.
            rows += await self._records.list_rows(Event, day=day.isoformat(), after=after)
            day += timedelta(days=1)
        self._read_until = now
        return [row for row in rows if row.session_id == self._session_id]
