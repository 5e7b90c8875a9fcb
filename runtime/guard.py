"""The worker's side of a lease: what writes ask, and the thread that keeps leases alive.

The heartbeat runs in a thread with an event loop and a queue connection of its own, so that a busy main loop does not lose its
leases; it stops when the main loop has not ticked for half a lease (a stuck worker must not look alive) or a task has passed
its timeout.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta

import structlog

from config.clock import Clock
from config.errors import CopydeskError, LeaseLost
from memory.queue.protocol import Lease, TaskQueue, open_queue

log = structlog.get_logger(__name__)


class TaskGuard:
    """One held lease. `ensure_held` is cheap and safe to call before every write."""

    def __init__(
        self, lease: Lease, queue: TaskQueue, clock: Clock, ttl: timedelta, *, timeout: timedelta | None = None
    ) -> None:
        self.lease = lease
        self._queue = queue
        self._clock = clock
        self._ttl = ttl
        self._until = clock.boottime() + ttl.total_seconds()
        self._started = clock.boottime()
        self._timeout = timeout
        self._lost = ""
        self._on_lost: list[Callable[[], None]] = []

    @property
    def token(self) -> str:
        return self.lease.token

    @property
    def lost(self) -> bool:
        """Whether the lease is known to be lost; `ensure_held` also finds one that ran out."""
        return bool(self._lost)

    def ensure_held(self) -> None:
        if not self._lost and self._clock.boottime() >= self._until:
            self.lose("it ran out before the heartbeat could extend it")
        if self._lost:
            raise LeaseLost(f"task {self.lease.task.id}: lease {self.token[:8]} is lost: {self._lost}")

    async def extend(self) -> None:
        self.ensure_held()
        started = self._clock.boottime()
        [renewed] = await self._queue.extend([self.lease], ttl=self._ttl)
        if renewed is None:
            self.lose("another worker may have it")
            self.ensure_held()
        self.renewed(started)

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` (from any thread) when the lease is lost."""
        self._on_lost.append(callback)

    def renewed(self, since_boot: float) -> None:
        """The lease was extended by a request sent at `since_boot`."""
        self._until = max(self._until, since_boot + self._ttl.total_seconds())

    def lose(self, why: str) -> None:
        """Mark the lease as lost and tell whoever listens, once."""
        if not self._lost:
            self._lost = why
            for callback in self._on_lost:
                callback()

    def overdue(self) -> bool:
        """True when the task has run longer than its timeout."""
        return self._timeout is not None and self._clock.boottime() - self._started > self._timeout.total_seconds()


class Heartbeat:
    """Extends every registered lease each `every`, off the main event loop. Use as an async context manager."""

    def __init__(self, queue_url: str, clock: Clock, *, ttl: timedelta, every: timedelta) -> None:
        self._url = queue_url
        self._clock = clock
        self._ttl = ttl
        self._every = every.total_seconds()
        self._guards: dict[str, TaskGuard] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ticked = clock.boottime()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    async def __aenter__(self) -> Heartbeat:
        self._thread.start()
        self._ticker = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        self._ticker.cancel()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def add(self, guard: TaskGuard) -> None:
        """Keep this lease alive."""
        with self._lock:
            self._guards[guard.token] = guard

    def drop(self, guard: TaskGuard) -> None:
        """Stop keeping it alive."""
        with self._lock:
            self._guards.pop(guard.token, None)

    async def _tick(self) -> None:
        while True:
            self._ticked = self._clock.boottime()
            await asyncio.sleep(min(1.0, self._every / 3))

    def _run(self) -> None:
        asyncio.run(self._beat())

    async def _beat(self) -> None:
        while not self._stop.is_set():
            try:
                async with open_queue(self._url, clock=self._clock) as queue:
                    while not await self._stopped_within(self._every):
                        await self._keep(queue)
            except Exception as error:  # a thread that ended here would lose every lease to come, and nobody would hear
                log.error("heartbeat.failed", error=f"{type(error).__name__}: {error}")
                await self._stopped_within(min(1.0, self._every))

    async def _stopped_within(self, seconds: float) -> bool:
        return await asyncio.get_running_loop().run_in_executor(None, self._stop.wait, seconds)

    async def _keep(self, queue: TaskQueue) -> None:
        if self._clock.boottime() - self._ticked > self._ttl.total_seconds() / 2:
            return  # the main loop is stuck: let the leases run out
        with self._lock:
            guards = list(self._guards.values())
        for guard in guards:
            if guard.overdue() and self._forget(guard):
                guard.lose("the task passed its timeout")
        await self._extend(queue, [guard for guard in guards if not guard.lost])

    def _forget(self, guard: TaskGuard) -> bool:
        """Stop keeping it alive; False if its holder gave it up meanwhile."""
        with self._lock:
            return self._guards.pop(guard.token, None) is not None

    async def _extend(self, queue: TaskQueue, guards: list[TaskGuard]) -> None:
        if not guards:
            return
        started = self._clock.boottime()
        try:
            renewed = await queue.extend([guard.lease for guard in guards], ttl=self._ttl)
        except CopydeskError:
            return  # away for a moment: each guard counts for itself how long it may still be trusted
        for guard, lease in zip(guards, renewed, strict=True):
            if lease is not None:
                guard.renewed(started)
            elif self._forget(guard):  # else its holder has just given the task back: nothing was lost
                guard.lose("another worker may have it")
