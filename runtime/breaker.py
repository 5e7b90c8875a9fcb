"""The breaker of a worker: it stops claiming while Records are away, and looks for them again with growing waits."""

from __future__ import annotations

import asyncio
from random import random

import structlog

from config.clock import Clock
from config.errors import DiskFull, SettingsError, Unavailable
from memory.records.protocol import RecordsStore
from memory.rows.brand import REALM, Brand

log = structlog.get_logger(__name__)
OPENS_AFTER = 3
"""Tasks in a row that found Records away, after which a worker claims no more."""
FIRST_PROBE_S, LONGEST_PROBE_S = 0.5, 30.0


class Breaker:
    """Open: Records are away, claim nothing. It closes by itself, after a probe that was answered or a task that ended well."""

    def __init__(self, records: RecordsStore, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._in_a_row = 0
        self._opened_at = 0.0
        self._wait_s = FIRST_PROBE_S
        self._probe_at = 0.0
        self._asking: asyncio.Task[bool] | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether Records are away: claim nothing."""
        return self._in_a_row >= OPENS_AFTER

    def succeeded(self) -> None:
        """A task came to its end, so Records answer."""
        if self.is_open:
            log.info("records.back", away_s=round(self._clock.boottime() - self._opened_at, 1))
        self._in_a_row = 0
        self._wait_s = FIRST_PROBE_S

    async def caused(self, error: Exception) -> bool:
        """Whether Records being away is what a task failed of: asked of Records themselves, not read out of the error.

        Records that refuse their token or password are away too: nothing could be written down, least of all a dead letter.
        """
        if not isinstance(error, Unavailable | SettingsError) or await self._answer():
            return False
        self._in_a_row += 1
        if self._in_a_row == OPENS_AFTER:
            self._opened_at = self._clock.boottime()
            self._probe_later()
            log.warning("records.away", error=str(error))
        return True

    def look(self) -> None:
        """Called while it is open: start a probe if one is due. It never waits, so that a worker can still be drained."""
        if self._clock.boottime() >= self._probe_at and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(), name="breaker-probe")

    async def close(self) -> None:
        """End what is under way."""
        for task in (self._looking, self._asking):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _look(self) -> None:
        if await self._answer():
            self.succeeded()
        else:
            self._probe_later()

    def _probe_later(self) -> None:
        self._probe_at = self._clock.boottime() + self._wait_s * (0.5 + random() / 2)
        self._wait_s = min(LONGEST_PROBE_S, 2 * self._wait_s)

    async def _answer(self) -> bool:
        """Whether Records answer now; those who ask at the same time share one request."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="breaker-ask")
        return await asyncio.shield(self._asking)

    async def _ask(self) -> bool:
        try:
            await self._records.all_brands().list_rows(Brand, realm=REALM, limit=1)
        except (Unavailable, SettingsError):
            return False
        except DiskFull:
            return True  # it answers; what it says is somebody else's affair
        return True
