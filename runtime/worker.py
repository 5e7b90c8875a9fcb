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

from config.errors import Backpressure, Busy, CopydeskError, DiskFull, LeaseLost, Unavailable
from config.vocabulary import TASK_KINDS, TERMINAL_SESSION, UNSETTLED, PieceState, SessionStatus
from graphs.context import advance_session_task
from graphs.pieces import move
from memory.queue.protocol import GENERATION_QUEUE, PUBLICATION_QUEUE, UPKEEP_QUEUE, Lease, Task
from memory.rows.content import Piece
from memory.rows.sessions import Session
from runtime.advance import Done, Later, Outcome, advance_piece, advance_session
from runtime.compose import Runtime
from runtime.guard import Heartbeat, TaskGuard
from runtime.hold import hold_piece
from runtime.publish_due import note_attempt, publish_piece, reconcile_publication
from runtime.reconcile import reconcile, sweep, upkeep_task

log = structlog.get_logger(__name__)
QUEUES = (PUBLICATION_QUEUE, GENERATION_QUEUE, UPKEEP_QUEUE)
SOLO_DEATHS = 3
"""Workers that died running this task and nothing else, after which it is dead-lettered."""
UNKNOWN_KIND_WAIT = timedelta(seconds=60)
UNRECORDED_WAIT = timedelta(seconds=5)
UPKEEP = ("reconcile", "sweep")
"""Kinds that are never given up: without them nothing that was lost comes back."""
UPKEEP_REST = timedelta(minutes=5)
_AT_LEAST = timedelta(seconds=0.2)
_LOOK_FOR_DEAD = timedelta(seconds=2)
_LOOK_FOR_SUSPECTS = timedelta(seconds=5)
POLL_BUSY = 0.05
POLL_IDLE = 0.5
_DISK_FULL_EXIT_AFTER = timedelta(seconds=60)
_DISK_FULL_PROBE = timedelta(seconds=2)


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
        self._suspects_wait = False  # until nothing else runs here
        self._looked_for_suspects = runtime.clock.boottime()
        self._looked_for_dead = runtime.clock.boottime()
        self._disk_full: DiskFull | None = None
        self._disk_full_since = 0.0
        self._probe_at = 0.0
        self._hurry = False
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
                while not self._draining.is_set():
                    started = await self._claim(heartbeat)
                    if until is not None and not self._running and await until():
                        break
                    await self._pause(POLL_BUSY if started or self._running else POLL_IDLE)
            except asyncio.CancelledError:
                self._hurry = True
                raise
            finally:
                await self._finish_up()

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _claim(self, heartbeat: Heartbeat) -> int:
        """Start what is due and fits; how many were started. Raises DiskFull after a minute of it."""
        now = self.runtime.clock.boottime()
        free = self.concurrency - len(self._running)
        if self._disk_full is not None:
            if now - self._disk_full_since > _DISK_FULL_EXIT_AFTER.total_seconds():
                raise self._disk_full
            if self._running or now < self._probe_at:
                return 0
            free = 1  # one task shows whether there is space again
        if self._alone is not None:
            return 0
        only = list(self._only()) if self._only is not None else None
        try:
            if now - self._looked_for_dead > _LOOK_FOR_DEAD.total_seconds():
                self._looked_for_dead = now
                await self.runtime.queue.reclaim_dead()
            if free <= 0 or only == []:
                return 0
            leases = await self._take(free, only)
        except Unavailable as error:
            log.warning("queue.unavailable", error=str(error))
            await asyncio.sleep(1)
            return 0
        except DiskFull as error:
            self._note_disk_full(error)
            return 0
        if not leases:
            self._disk_full = None
        for lease in leases:
            self._start(lease, heartbeat)
        return len(leases)

    async def _take(self, free: int, only: list[str] | None) -> list[Lease]:
        """Claim a suspect alone where one waits, else up to `free` others."""
        queue, owner, ttl = self.runtime.queue, self.runtime.owner, self.runtime.settings.lease
        now = self.runtime.clock.boottime()
        if not self._running:
            # A task that was there when workers died runs alone, so that only its own deaths count against it.
            solo = await queue.claim(self.queues, owner=owner, ttl=ttl, limit=1, solo=True, only=only)
            self._suspects_wait = False
            if solo:
                self._alone = solo[0]
                return solo
        elif not self._suspects_wait and now - self._looked_for_suspects > _LOOK_FOR_SUSPECTS.total_seconds():
            # A worker that always has something else to do would never get to them.
            self._looked_for_suspects = now
            for lease in await queue.claim(self.queues, owner=owner, ttl=ttl, limit=1, solo=True, only=only):
                self._suspects_wait = True
                await queue.release(lease)
        if self._suspects_wait:
            return []
        return await queue.claim(self.queues, owner=owner, ttl=ttl, limit=free, only=only)

    def _note_disk_full(self, error: DiskFull) -> None:
        now = self.runtime.clock.boottime()
        if self._disk_full is None:
            self._disk_full, self._disk_full_since = error, now
        self._probe_at = now + _DISK_FULL_PROBE.total_seconds()
        log.error("disk.full", waiting_s=int(now - self._disk_full_since), error=str(error))

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
                self._disk_full = None
            except asyncio.CancelledError:
                if guard.lost:
                    await self._lost(lease, guard, "")
                    return
                # Drained: hand it back now instead of letting the lease run out.
                with suppress(CopydeskError):
                    await asyncio.shield(self.runtime.queue.release(lease))
                raise
            except LeaseLost as error:
                await self._lost(lease, guard, str(error))
            except Exception as error:  # not even its failure could be written down; that must not end the worker
                if isinstance(error, DiskFull):
                    self._note_disk_full(error)
                log.error("task.unrecorded", kind=task.kind, error=f"{type(error).__name__}: {error}")
                with suppress(CopydeskError):  # else the lease runs out, and the task comes back by itself
                    await self.runtime.queue.release(lease, run_at=self.runtime.clock.now() + UNRECORDED_WAIT)

    async def _lost(self, lease: Lease, guard: TaskGuard, why: str) -> None:
        """What a task leaves behind that is not ours any more; one that ran too long has failed, and says so."""
        log.warning("lease.lost", kind=lease.task.kind, error=why)
        if not guard.overdue():
            return
        settings = self.runtime.settings
        last = TaskGuard(lease, self.runtime.queue, self.runtime.clock, settings.lease)
        error = TimeoutError(f"it ran for longer than {settings.task_timeout.total_seconds():g} s and was stopped")
        with suppress(CopydeskError):  # somebody else has it by now, or will: it counts as a death there
            await last.extend()
            await self._failed(lease, last, error)

    async def _one(self, lease: Lease, guard: TaskGuard, heartbeat: Heartbeat) -> None:
        queue, task, clock = self.runtime.queue, lease.task, self.runtime.clock
        if task.solo_deaths >= SOLO_DEATHS and task.kind in UPKEEP:
            log.error("upkeep.resting", kind=task.kind, deaths=task.deaths)
            await queue.progressed(lease)
            await queue.release(lease, run_at=clock.now() + UPKEEP_REST)
            return
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
        except (LeaseLost, DiskFull):
            raise
        except (Busy, Backpressure) as error:
            # Nobody's failure: somebody else holds it, or the workers have to make room first.
            log.info("task.deferred", kind=task.kind, error=str(error))
            wait = timedelta(seconds=1 if isinstance(error, Busy) else 1 + 2 * random())
            await queue.release(lease, run_at=clock.now() + wait)
            return
        except (
            Exception
        ) as error:  # the one place where anything that a step may raise is turned into a retry or a dead letter
            await self._failed(lease, guard, error)
            return
        heartbeat.drop(guard)  # it must not take the end of the lease for a loss
        if isinstance(outcome, Later):
            if task.deaths:  # it came to an orderly end: it is not what killed those workers
                await queue.progressed(lease)
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
            return Done() if again is None else Later(max(_AT_LEAST, again - runtime.clock.now()), "not yet")
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
        if task.kind in UPKEEP:
            await queue.release(lease, run_at=now + timedelta(seconds=10))
            return
        if task.attempts + 1 >= self.runtime.settings.max_attempts:
            await self._give_up(lease, guard, reason)
            return
        wait = backoff(task.attempts + 1)
        if isinstance(error, Unavailable) and error.retry_after:
            wait = max(wait, min(error.retry_after, timedelta(seconds=300)))
        await self._note_attempt(task, guard, retry_at=now + wait)
        await queue.retry_at(lease, now + wait, reason=reason)

    async def _note_attempt(
        self, task: Task, guard: TaskGuard, *, retry_at: datetime | None, dead_letter: str = ""
    ) -> None:
        """Write attempts and dead letters on the row first; the queue holds a copy.

        A row that cannot be written, because it is absent, damaged or of no brand, is no reason to keep the task.
        """
        try:
            if task.kind in ("publish", "reconcile_publication"):
                piece_id, failed = _text(task.payload, "piece_id"), task.attempts + 1
                async with hold_piece(self.runtime, task.brand, piece_id, wait=timedelta(seconds=5)) as held:
                    await note_attempt(
                        self.runtime, task, held, attempts=failed, again_at=retry_at, dead_letter=dead_letter
                    )
            else:
                await self._write_attempt(task, guard, retry_at, dead_letter)
        except (LeaseLost, Unavailable, DiskFull):
            raise
        except (CopydeskError, ValueError) as error:
            log.error("row.unwritten", kind=task.kind, error=f"{type(error).__name__}: {error}")

    async def _write_attempt(self, task: Task, guard: TaskGuard, retry_at: datetime | None, dead_letter: str) -> None:
        records = self.runtime.records.for_brand(task.brand, lease=guard)
        update: dict[str, Any] = {
            "attempts": task.attempts + 1,
            "deaths": task.deaths,
            "retry_at": retry_at,
            "dead_letter": dead_letter,
        }
        if task.kind == "advance_piece":
            piece = await records.find(Piece, id=_text(task.payload, "piece_id"))
            # A settled piece stays what it is, even where looking after it failed: its ledger says what became of it.
            if piece is None or (piece.state not in UNSETTLED and piece.state is not PieceState.WAITING):
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

    async def _give_up(self, lease: Lease, guard: TaskGuard, reason: str) -> None:
        log.error("task.dead_lettered", kind=lease.task.kind, reason=reason)
        await self._note_attempt(lease.task, guard, retry_at=None, dead_letter=reason)
        guard.ensure_held()
        await self.runtime.queue.bury(lease, reason=reason)

    async def _finish_up(self) -> None:
        if not self._running:
            return
        grace = self.runtime.settings.drain.total_seconds() if self._draining.is_set() else 5.0
        try:
            if not self._hurry:
                await asyncio.wait(list(self._running), timeout=grace)
        finally:  # stopped at once while it waited: what runs is handed back all the same
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(list(self._running), timeout=5.0)


def _cancel_from_anywhere(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    with suppress(RuntimeError):  # the loop is closed: the task is gone with it
        loop.call_soon_threadsafe(task.cancel)


def _text(payload: Any, key: str) -> str:
    value = payload.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"task payload has no {key}")
    return value
