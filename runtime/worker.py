"""The worker: N tasks at a time, each under a lease that a thread keeps alive, until it is told to drain.

A handler says what became of its task; failures are classed here and nowhere else. The row is written before the queue: attempts
and dead letters stand on the piece or session, the queue holds a copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from random import random
from typing import Any

import structlog

from config.errors import Busy, Conflict, CopydeskError, Damaged, DiskFull, LeaseLost, Unavailable
from config.vocabulary import TASK_KINDS, TERMINAL_PIECE, TERMINAL_SESSION, PieceState, SessionStatus
from graphs.context import advance_session_task
from graphs.pieces import move
from memory.queue.protocol import GENERATION_QUEUE, PUBLICATION_QUEUE, UPKEEP_QUEUE, Lease, Task
from memory.rows.content import Piece
from memory.rows.sessions import Session
from runtime.advance import Done, Later, Outcome, advance_piece, advance_session
from runtime.compose import Runtime
from runtime.guard import Heartbeat, TaskGuard
from runtime.hold import hold_piece
from runtime.publish_due import publish_piece, reconcile_publication
from runtime.reconcile import reconcile, sweep, upkeep_task

log = structlog.get_logger(__name__)
QUEUES = (PUBLICATION_QUEUE, GENERATION_QUEUE, UPKEEP_QUEUE)
SOLO_DEATHS = 3
"""Workers that died running this task and nothing else, after which it is dead-lettered."""
UNKNOWN_KIND_WAIT = timedelta(seconds=60)
_LOOK_FOR_DEAD = timedelta(seconds=2)
POLL_BUSY = 0.05
POLL_IDLE = 0.5
_DISK_FULL_EXIT_AFTER = timedelta(seconds=60)


def backoff(attempt: int) -> timedelta:
    """Full jitter between 1 s and 2^attempt s, 300 s at most."""
    return timedelta(seconds=1 + random() * min(300.0, 2.0**attempt))


class Worker:
    """Runs tasks of an open Runtime. `only` bounds it to the task ids that it returns (a short command's own threads)."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        concurrency: int | None = None,
        only: Callable[[], Sequence[str]] | None = None,
        upkeep: bool = True,
        queues: Sequence[str] = QUEUES,
    ) -> None:
        self.runtime = runtime
        self.queues = queues
        self.concurrency = concurrency or runtime.settings.concurrency
        self._only = only
        self._upkeep = upkeep and only is None
        self._running: dict[asyncio.Task[None], tuple[TaskGuard, Lease]] = {}
        self._draining = asyncio.Event()
        self._wake = asyncio.Event()
        self._alone: Lease | None = None
        self._disk_full_since: float | None = None
        self.finished = 0
        """Tasks that came to an end here, for better or worse."""

    def drain(self) -> None:
        """Claim nothing more; finish what runs within the grace period, hand back the rest."""
        self._draining.set()
        self._wake.set()

    @property
    def idle(self) -> bool:
        """True while nothing runs here."""
        return not self._running

    async def run(self, *, until: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Work until drained, or until `until` answers True while nothing runs here. Raises DiskFull after a minute of it."""
        settings = self.runtime.settings
        async with Heartbeat(
            settings.queue_url, self.runtime.clock, ttl=settings.lease, every=settings.heartbeat
        ) as heartbeat:
            await self.runtime.queue.reclaim_dead()
            if self._upkeep:
                await self.runtime.queue.enqueue(
                    upkeep_task("reconcile", self.runtime),
                    upkeep_task("sweep", self.runtime, after=timedelta(minutes=5)),
                )
            try:
                looked = self.runtime.clock.boottime()
                while not self._draining.is_set():
                    if self.runtime.clock.boottime() - looked > _LOOK_FOR_DEAD.total_seconds():
                        looked = self.runtime.clock.boottime()
                        with suppress(Unavailable):
                            await self.runtime.queue.reclaim_dead()
                    started = await self._claim(heartbeat)
                    if until is not None and not self._running and await until():
                        break
                    await self._pause(POLL_BUSY if started or self._running else POLL_IDLE)
            finally:
                await self._finish_up()

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _claim(self, heartbeat: Heartbeat) -> int:
        free = self.concurrency - len(self._running)
        if free <= 0 or self._alone is not None:
            return 0
        only = list(self._only()) if self._only is not None else None
        if only == []:
            return 0
        queue, ttl = self.runtime.queue, self.runtime.settings.lease
        try:
            if not self._running:
                # A task that was there when workers died runs alone, so that only its own deaths count against it.
                solo = await queue.claim(self.queues, owner=self.runtime.owner, ttl=ttl, limit=1, solo=True, only=only)
                if solo:
                    self._alone = solo[0]
                    self._start(solo[0], heartbeat)
                    return 1
            leases = await queue.claim(self.queues, owner=self.runtime.owner, ttl=ttl, limit=free, only=only)
            self._disk_full_since = None
        except Unavailable as error:
            log.warning("queue.unavailable", error=str(error))
            await asyncio.sleep(1)
            return 0
        except DiskFull:
            now = self.runtime.clock.boottime()
            self._disk_full_since = self._disk_full_since or now
            if now - self._disk_full_since > _DISK_FULL_EXIT_AFTER.total_seconds():
                raise
            log.error("disk.full", waiting_s=int(now - self._disk_full_since))
            await asyncio.sleep(2)
            return 0
        for lease in leases:
            self._start(lease, heartbeat)
        return len(leases)

    def _start(self, lease: Lease, heartbeat: Heartbeat) -> None:
        settings = self.runtime.settings
        guard = TaskGuard(lease, self.runtime.queue, self.runtime.clock, settings.lease, timeout=settings.task_timeout)
        heartbeat.add(guard)
        running = asyncio.create_task(self._work(lease, guard, heartbeat), name=lease.task.id)
        loop = asyncio.get_running_loop()
        guard.on_lost(lambda: _cancel_from_anywhere(loop, running))
        self._running[running] = (guard, lease)

        def ended(task: asyncio.Task[None]) -> None:
            heartbeat.drop(guard)
            self._running.pop(task, None)
            self.finished += 1
            if self._alone is lease:
                self._alone = None
            self._wake.set()

        running.add_done_callback(ended)

    async def _work(self, lease: Lease, guard: TaskGuard, heartbeat: Heartbeat) -> None:
        task = lease.task
        with structlog.contextvars.bound_contextvars(task_id=task.id, brand=task.brand):
            try:
                await self._one(lease, guard, heartbeat)
            except asyncio.CancelledError:
                if guard.lost:
                    log.warning("lease.lost", kind=task.kind)
                    return
                # Drained: hand it back now instead of letting the lease run out.
                with suppress(CopydeskError):
                    await asyncio.shield(self.runtime.queue.release(lease))
                raise
            except LeaseLost as error:
                log.warning("lease.lost", kind=task.kind, error=str(error))
            except (Unavailable, DiskFull, Damaged) as error:
                # The queue or the rows cannot be written now: the lease runs out and the task comes back by itself.
                log.error("task.unrecorded", kind=task.kind, error=str(error))

    async def _one(self, lease: Lease, guard: TaskGuard, heartbeat: Heartbeat) -> None:
        queue, task, clock = self.runtime.queue, lease.task, self.runtime.clock
        if task.solo_deaths >= SOLO_DEATHS:
            await self._give_up(lease, guard, f"{task.solo_deaths} workers died while running it alone")
            return
        if task.kind not in TASK_KINDS:
            # Written by a newer build: parked, not dead, so that a newer worker can take it.
            log.warning("task.unsupported", kind=task.kind)
            await queue.release(lease, run_at=clock.now() + UNKNOWN_KIND_WAIT)
            return
        try:
            outcome = await self._handle(task, guard, heartbeat)
        except (LeaseLost, DiskFull, Damaged):
            raise
        except Busy as error:
            log.info("task.deferred", kind=task.kind, error=str(error))
            await queue.release(lease, run_at=clock.now() + timedelta(seconds=1))
            return
        except (
            Exception
        ) as error:  # the one place where anything that a step may raise is turned into a retry or a dead letter
            await self._failed(lease, guard, error)
            return
        if isinstance(outcome, Later):
            await queue.release(lease, run_at=clock.now() + outcome.after)
        else:
            await queue.complete(lease)

    async def _handle(self, task: Task, guard: TaskGuard, heartbeat: Heartbeat) -> Outcome:
        runtime, payload = self.runtime, task.payload
        if task.kind == "advance_session":
            return await advance_session(runtime, task.brand, _text(payload, "session_id"), guard)
        if task.kind == "advance_piece":
            return await advance_piece(runtime, task.brand, _text(payload, "piece_id"), guard)
        if task.kind in ("publish", "reconcile_publication"):
            act = publish_piece if task.kind == "publish" else reconcile_publication
            piece_id = _text(payload, "piece_id")
            async with hold_piece(runtime, task.brand, piece_id, heartbeat=heartbeat) as held:
                held.on_lost(lambda: guard.lose("the piece's own lease was lost"))
                again = await act(runtime, task.brand, piece_id, held)
            return Done() if again is None else Later(_until(again, runtime.clock.now()), "not yet")
        if task.kind == "reconcile":
            found = await reconcile(runtime)
            log.info("queues.reconciled", derived=found)
            await runtime.queue.reclaim_dead()
            return Later(runtime.settings.reconcile_every, "again and again")
        gone = await sweep(runtime)
        log.info("stores.swept", rows=gone)
        return Later(timedelta(hours=1), "again and again")

    async def _failed(self, lease: Lease, guard: TaskGuard, error: Exception) -> None:
        task, queue, now = lease.task, self.runtime.queue, self.runtime.clock.now()
        reason = f"{type(error).__name__}: {error}"[:500]
        log.error(
            "task.failed",
            kind=task.kind,
            attempt=task.attempts + 1,
            error=reason,
            exc_info=not isinstance(error, CopydeskError),
        )
        if task.kind in ("reconcile", "sweep"):
            await queue.release(lease, run_at=now + timedelta(seconds=10))
            return
        if task.attempts + 1 >= self.runtime.settings.max_attempts:
            await self._give_up(lease, guard, reason)
            return
        wait = backoff(task.attempts + 1)
        if isinstance(error, Unavailable) and error.retry_after:
            wait = max(wait, min(error.retry_after, timedelta(seconds=300)))
        await self._write_attempt(task, guard, attempts=task.attempts + 1, retry_at=now + wait)
        await queue.retry_at(lease, now + wait, reason=reason)

    async def _write_attempt(
        self, task: Task, guard: TaskGuard, *, attempts: int, retry_at: datetime | None, dead_letter: str = ""
    ) -> None:
        """Write attempts and dead letters on the row first; the queue holds a copy."""
        records = self.runtime.records.for_brand(task.brand, lease=guard)
        update: dict[str, Any] = {
            "attempts": attempts,
            "deaths": task.deaths,
            "retry_at": retry_at,
            "dead_letter": dead_letter,
        }
        if task.kind in ("publish", "reconcile_publication"):
            await self._note_unsent(task, dead_letter)
        elif task.kind == "advance_piece":
            piece = await records.find(Piece, id=_text(task.payload, "piece_id"))
            if piece is None or piece.state in TERMINAL_PIECE:
                return
            if dead_letter:
                await move(records, self.runtime.clock, piece, PieceState.FAILED, **{**update, "reason": dead_letter})
                await self.runtime.queue.enqueue(advance_session_task(task.brand, piece.session_id, self.runtime.clock))
            else:
                await records.put(piece.model_copy(update=update))
        elif task.kind == "advance_session":
            session = await records.find(Session, id=_text(task.payload, "session_id"))
            if session is None or session.status in TERMINAL_SESSION:
                return
            if dead_letter:
                now = self.runtime.clock.now()
                update.update(status=SessionStatus.FAILED, reason=dead_letter, finished_at=now, updated_at=now)
            await records.put(session.model_copy(update=update))

    async def _note_unsent(self, task: Task, dead_letter: str) -> None:
        """A publication that was given up stays what the ledger says; the piece's row names why nothing more happens."""
        if not dead_letter:
            return
        piece_id = _text(task.payload, "piece_id")
        async with hold_piece(self.runtime, task.brand, piece_id, wait=timedelta(seconds=5)) as held:
            records = self.runtime.records.for_brand(task.brand, lease=held)
            piece = await records.find(Piece, id=piece_id)
            if piece is not None and piece.state not in TERMINAL_PIECE:
                reason = f"{dead_letter}; mend it, then `queue requeue {task.id}`"
                await move(records, self.runtime.clock, piece, piece.state, reason=reason)

    async def _give_up(self, lease: Lease, guard: TaskGuard, reason: str) -> None:
        task = lease.task
        log.error("task.dead_lettered", kind=task.kind, reason=reason)
        # Only where the piece can still fail: a piece that is out, or whose sending is open, stays what the ledger says.
        with suppress(Conflict):
            await self._write_attempt(task, guard, attempts=task.attempts + 1, retry_at=None, dead_letter=reason)
        guard.ensure_held()
        await self.runtime.queue.bury(lease, reason=reason)

    async def _finish_up(self) -> None:
        if not self._running:
            return
        grace = self.runtime.settings.drain.total_seconds() if self._draining.is_set() else 5.0
        _, left = await asyncio.wait(list(self._running), timeout=grace)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=5.0)


def _cancel_from_anywhere(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    with suppress(RuntimeError):  # the loop is closed: the task is gone with it
        loop.call_soon_threadsafe(task.cancel)


def _text(payload: Any, key: str) -> str:
    value = payload.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"task payload has no {key}")
    return value


def _until(instant: datetime, now: datetime) -> timedelta:
    return max(timedelta(seconds=0.2), instant - now)
