"""The worker: N tasks at a time, each under a lease that a thread keeps alive, until it is told to drain.

A handler says what became of its task; failures are classed here and nowhere else (runtime/failures.py counts them). While Records
are away it claims nothing; after so many tasks, or so much memory, it drains by itself for a fresh process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from random import random

import structlog

from config.errors import Backpressure, Busy, CopydeskError, DiskFull, LeaseLost, Unavailable
from config.vocabulary import TASK_KINDS
from memory.queue.protocol import QUEUES, Lease, Task
from runtime.advance import Done, Later, Outcome, advance_piece, advance_session
from runtime.breaker import Breaker
from runtime.compose import Runtime
from runtime.failures import UPKEEP, count_failure, give_up, text_of
from runtime.guard import Heartbeat, TaskGuard
from runtime.hold import hold_piece
from runtime.metrics import rss_bytes
from runtime.publish_due import publish_piece, reconcile_publication
from runtime.reconcile import reconcile_turn, sweep, upkeep_task
from runtime.scheduler import fire_schedule

log = structlog.get_logger(__name__)
SOLO_DEATHS = 3
"""Workers that died running this task and nothing else, after which it is dead-lettered."""
UNKNOWN_KIND_WAIT = timedelta(seconds=60)
UNRECORDED_WAIT = timedelta(seconds=5)
UPKEEP_REST = timedelta(minutes=5)
_AT_LEAST = timedelta(seconds=0.2)
_LOOK_FOR_DEAD = timedelta(seconds=2)
_LOOK_FOR_UPKEEP = timedelta(seconds=5)
_WEIGH_EVERY = timedelta(seconds=5)
_NEVER = float("-inf")
_LOOK_FOR_SUSPECTS = timedelta(seconds=5)
POLL_BUSY = 0.05
POLL_IDLE = 0.5
_DISK_FULL_EXIT_AFTER = timedelta(seconds=60)
_DISK_FULL_PROBE = timedelta(seconds=2)


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
        self._looked_for_dead = self._looked_for_upkeep = self._weighed = _NEVER
        self._disk_full: DiskFull | None = None
        self._disk_full_since = 0.0
        self._probe_at = 0.0
        self._hurry = False
        self.breaker = Breaker(runtime.records, runtime.clock)
        self.started_at = runtime.clock.boottime()
        self.finished = 0
        """Tasks that came to an end here, for better or worse."""
        self.failed = 0
        """Of those, runs that count as an attempt of their task."""
        self.leases_lost = 0
        self.queue_away = False
        """Whether the last claim found the queue away."""
        self.recycled = ""
        """Why it drained by itself: another process should take its place."""

    def drain(self) -> None:
        """Claim nothing more; finish what runs within the grace period, hand back the rest."""
        self._draining.set()
        self._wake.set()

    @property
    def running(self) -> int:
        """Tasks that run here now."""
        return len(self._running)

    @property
    def draining(self) -> bool:
        """Whether it claims nothing more and ends when what runs has ended."""
        return self._draining.is_set()

    async def run(self, *, until: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Work until drained, or until `until` answers True while nothing runs here. Raises DiskFull after a minute of it."""
        settings = self.runtime.settings
        async with Heartbeat(
            settings.queue_url, self.runtime.clock, ttl=settings.lease, every=settings.heartbeat
        ) as heartbeat:
            try:
                while not self._draining.is_set():
                    self._recycle()
                    self._wake.clear()  # before the claim: what ends during it must be noticed after it
                    await self._claim(heartbeat)
                    if until is not None and not self._running and await until():
                        break
                    await self._until_work()
            except asyncio.CancelledError:
                self._hurry = True
                raise
            finally:
                await self._finish_up()
                await self.breaker.close()

    def _recycle(self) -> None:
        """Drain when this process has done or taken enough; a supervisor starts another."""
        settings, now = self.runtime.settings, self.runtime.clock.boottime()
        if self._only is not None or self._draining.is_set():
            return
        if settings.recycle_sessions and self.finished >= settings.recycle_sessions:
            self.recycled = f"it has run {self.finished} tasks"
        elif settings.recycle_rss_mb and now - self._weighed > _WEIGH_EVERY.total_seconds():
            self._weighed = now
            if (megabytes := rss_bytes() // 2**20) >= settings.recycle_rss_mb:
                self.recycled = f"it takes {megabytes} MiB of memory"
        if self.recycled:
            log.info("worker.recycling", why=self.recycled)
            self.drain()

    async def _look_after_queue(self, now: float) -> None:
        """Take back what the dead held; see that upkeep is queued, which a queue that was wiped has lost with all else."""
        if now - self._looked_for_dead > _LOOK_FOR_DEAD.total_seconds():
            await self.runtime.queue.reclaim_dead()
            self._looked_for_dead = now
        if self._upkeep and now - self._looked_for_upkeep > _LOOK_FOR_UPKEEP.total_seconds():
            for kind, after in (("reconcile", timedelta(0)), ("sweep", timedelta(minutes=5))):
                task = upkeep_task(kind, self.runtime, after=after)
                if self._looked_for_upkeep == _NEVER:
                    await self.runtime.queue.enqueue(task)  # brought forward
                elif await self.runtime.queue.find(task.id) is None:
                    # The queue was wiped, leases and all. Whoever held one believes in it for a lease at most: only then is what
                    # they had given out again, so that no row has two writers meanwhile.
                    log.warning("queue.wiped", missing=task.id)
                    await self.runtime.queue.enqueue(upkeep_task(kind, self.runtime, after=self.runtime.settings.lease))
            self._looked_for_upkeep = now

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _until_work(self) -> None:
        """Wait until a task may be there, one ends here, or it is time to look again."""
        only = list(self._only()) if self._only is not None else None
        held_back = self._disk_full or self.breaker.is_open or self._alone or self._suspects_wait or self.queue_away
        if held_back or only == [] or len(self._running) >= self.concurrency:
            await self._pause(POLL_BUSY if self._running else POLL_IDLE)
            return
        at_most = timedelta(seconds=POLL_IDLE)
        wait = self.runtime.queue.wait_for_work(self.queues, at_most=at_most, solo=not self._running, only=only)
        waits = [asyncio.ensure_future(wait), asyncio.ensure_future(self._wake.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            (answer, _) = await asyncio.gather(*waits, return_exceptions=True)
        if isinstance(answer, CopydeskError):  # the next claim says what is wrong
            await self._pause(POLL_IDLE)

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
        if self.breaker.is_open:
            self.breaker.look()
            return 0
        if self._alone is not None:
            return 0
        only = list(self._only()) if self._only is not None else None
        try:
            await self._look_after_queue(now)
            if free <= 0 or only == []:
                return 0
            leases = await self._take(free, only)
        except Unavailable as error:
            log.warning("queue.unavailable", error=str(error))
            self.queue_away = True
            await self._pause(1.0)
            return 0
        except DiskFull as error:
            self._note_disk_full(error)
            return 0
        self.queue_away = False
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
        self.leases_lost += 1
        log.warning("lease.lost", kind=lease.task.kind, error=why)
        if not guard.overdue():
            return
        settings = self.runtime.settings
        last = TaskGuard(lease, self.runtime.queue, self.runtime.clock, settings.lease)
        error = TimeoutError(f"it ran for longer than {settings.task_timeout.total_seconds():g} s and was stopped")
        with suppress(CopydeskError):  # somebody else has it by now, or will: it counts as a death there
            await last.extend()
            await count_failure(self.runtime, lease, last, error)

    async def _one(self, lease: Lease, guard: TaskGuard, heartbeat: Heartbeat) -> None:
        queue, task, clock = self.runtime.queue, lease.task, self.runtime.clock
        if task.solo_deaths >= SOLO_DEATHS and task.kind in UPKEEP:
            log.error("upkeep.resting", kind=task.kind, deaths=task.deaths)
            await queue.progressed(lease)
            await queue.release(lease, run_at=clock.now() + UPKEEP_REST)
            return
        if task.solo_deaths >= SOLO_DEATHS:
            await give_up(self.runtime, lease, guard, f"{task.solo_deaths} workers died while running it alone")
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
            if await self.breaker.caused(error):
                # Nobody's failure either: it is parked until Records are back.
                log.info("task.parked", kind=task.kind, error=str(error))
                await queue.release(lease, run_at=clock.now() + timedelta(seconds=1 + 2 * random()))
                return
            self.failed += 1
            await count_failure(self.runtime, lease, guard, error)
            return
        self.breaker.succeeded()
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
            return await advance_session(runtime, task.brand, text_of(payload, "session_id"), guard)
        if task.kind == "advance_piece":
            return await advance_piece(runtime, task.brand, text_of(payload, "piece_id"), guard)
        if task.kind in ("publish", "reconcile_publication"):
            act = publish_piece if task.kind == "publish" else reconcile_publication
            piece_id = text_of(payload, "piece_id")
            async with hold_piece(runtime, task.brand, piece_id, heartbeat=heartbeat) as held:
                held.on_lost(lambda: guard.lose("the piece's own lease was lost"))
                again = await act(runtime, task.brand, piece_id, held)
            return Done() if again is None else Later(max(_AT_LEAST, again - runtime.clock.now()), "not yet")
        if task.kind == "fire_schedule":
            again = await fire_schedule(runtime, task.brand, text_of(payload, "schedule"), guard)
            return Done() if again is None else Later(max(_AT_LEAST, again - runtime.clock.now()), "its next slot")
        if task.kind == "reconcile":
            turn = await reconcile_turn(runtime)
            log.info("queues.reconciled", derived=turn.derived, brands=turn.brands, ended=turn.ended)
            await runtime.queue.reclaim_dead()
            return Later(runtime.settings.reconcile_every if turn.ended else _AT_LEAST, "again and again")
        gone = await sweep(runtime)
        log.info("stores.swept", rows=gone)
        return Later(timedelta(hours=1), "again and again")

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
