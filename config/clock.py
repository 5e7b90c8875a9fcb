"""The only place that asks what time it is. Tests use ManualClock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
"""The instant that means "no expiry"; never null, so that `expires_at > now` is one filter on every engine."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_millis(instant: datetime) -> int:
    """Milliseconds since 1970-01-01 UTC of an aware datetime. Raises ValueError for a naive one."""
    if instant.tzinfo is None:
        raise ValueError(f"naive datetime {instant!r}: give it a time zone")
    since = instant - _EPOCH
    # By hand: dividing a timedelta costs three times as much, and every row and task passes here.
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def from_millis(millis: int) -> datetime:
    """The aware UTC datetime of `millis` milliseconds since 1970-01-01."""
    return _EPOCH + timedelta(milliseconds=millis)


def as_utc_millis(instant: datetime) -> datetime:
    """The same instant in UTC, cut to whole milliseconds: what every engine can store. Raises ValueError for a naive one."""
    return from_millis(to_millis(instant))


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> datetime:
        """The present instant: aware, UTC, whole milliseconds."""
        ...

    def boottime(self) -> float:
        """Seconds since boot, suspension included; never set back. For deadlines inside one machine."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Wait for `duration` of this clock's time."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def boottime(self) -> float:
        # CLOCK_BOOTTIME counts suspension, which CLOCK_MONOTONIC does not: a laptop that slept must not think its permit is fresh.
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())


class ManualClock:
    """A clock that moves only when told to. `sleep` moves it at once, so that waiting code runs without waiting."""

    def __init__(self, start: datetime = datetime(2026, 12, 7, 9, 0, tzinfo=UTC)) -> None:
        self._now = as_utc_millis(start)
        self._boot = 1000.0

    def now(self) -> datetime:
        return self._now

    def boottime(self) -> float:
        return self._boot

    async def sleep(self, duration: timedelta) -> None:
        self.advance(duration)
        await asyncio.sleep(0)

    def advance(self, duration: timedelta) -> None:
        """Move both clocks forward by `duration`."""
        self._now = as_utc_millis(self._now + duration)
        self._boot += duration.total_seconds()

    def step(self, duration: timedelta) -> None:
        """Step the wall clock alone, as NTP does; may be negative."""
        self._now = as_utc_millis(self._now + duration)
