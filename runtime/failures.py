"""What becomes of a task that failed: another attempt or a dead letter, on its row first, in the queue after it."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import random
from typing import Any

import structlog

from config.errors import BrokenBrand, CopydeskError, DiskFull, LeaseLost, SettingsError, Unavailable
from config.vocabulary import TERMINAL_SESSION, UNSETTLED, PieceState, SessionStatus
from graphs.context import advance_session_task
from graphs.pieces import move
from memory.queue.protocol import Lease, Task
from memory.rows.content import Piece
from memory.rows.sessions import Session
from runtime.compose import Runtime
from runtime.guard import TaskGuard
from runtime.hold import hold_piece
from runtime.parking import can_park, park
from runtime.publish_due import note_attempt, note_away

log = structlog.get_logger(__name__)
UPKEEP = ("reconcile", "sweep", "fire_schedule")
"""Kinds that are never given up: without them nothing that was lost comes back, and no week begins."""
_UPKEEP_AGAIN = timedelta(seconds=10)


def backoff(attempt: int) -> timedelta:
    """Full jitter between 1 s and 2^attempt s, 300 s at most."""
    return timedelta(seconds=1 + random() * min(300.0, 2.0**attempt))


def text_of(payload: Any, key: str) -> str:
    """The text under `key` of a payload. Raises ValueError when there is none."""
    value = payload.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"task payload has no {key}")
    return value


async def count_failure(runtime: Runtime, lease: Lease, guard: TaskGuard, error: Exception) -> None:
    """Retry the task later, or give it up when it has failed often enough or trying again cannot help.

    What fails because something is away, or because the brand's folder is broken just now, is parked, uncounted.
    Raises LeaseLost, Unavailable and DiskFull.
    """
    if isinstance(error, BrokenBrand):  # somebody is editing it: mended, the work goes on by itself
        error = Unavailable(str(error))
    if isinstance(error, Unavailable) and await _park(runtime, lease, guard, error):
        return
    task, queue, now = lease.task, runtime.queue, runtime.clock.now()
    reason = f"{type(error).__name__}: {error}"[:500]
    log.error(
        "task.failed",
        kind=task.kind,
        attempt=task.attempts + 1,
        error=reason,
        exc_info=not isinstance(error, CopydeskError),
    )
    if task.kind in UPKEEP:
        await queue.release(lease, run_at=now + _UPKEEP_AGAIN)
        return
    if isinstance(error, SettingsError):  # the key, its rights or a name: only a human can mend it
        await give_up(runtime, lease, guard, f"blocked by the settings: {error}: mend it, then {_revive(task)}"[:500])
        return
    if task.attempts + 1 >= runtime.settings.max_attempts:
        await give_up(runtime, lease, guard, reason)
        return
    wait = backoff(task.attempts + 1)
    if isinstance(error, Unavailable) and error.retry_after:
        wait = max(wait, min(error.retry_after, timedelta(seconds=300)))
    await _note_attempt(runtime, task, guard, retry_at=now + wait)
    await queue.retry_at(lease, now + wait, reason=reason)


def _revive(task: Task) -> str:
    return "`session resume ID`" if task.kind.startswith("advance_") else f"`queue requeue {task.id}`"


async def _park(runtime: Runtime, lease: Lease, guard: TaskGuard, error: Unavailable) -> bool:
    """Write on the task's row that it waits for what is away, and give the task back uncounted; False when it must be counted."""
    task, now = lease.task, runtime.clock.now()
    limit = runtime.settings.away_limit
    try:
        if task.kind == "publish":
            piece_id = text_of(task.payload, "piece_id")
            async with hold_piece(runtime, task.brand, piece_id, wait=timedelta(seconds=5)) as held:
                again_at = await note_away(runtime, task.brand, piece_id, held, error, limit=limit)
        elif task.kind in ("advance_piece", "advance_session"):
            records = runtime.records.for_brand(task.brand, lease=guard)
            row: Piece | Session | None
            if task.kind == "advance_piece":
                row = await records.find(Piece, id=text_of(task.payload, "piece_id"))
            else:
                row = await records.find(Session, id=text_of(task.payload, "session_id"))
            if row is None or not can_park(row):
                return False
            wait = await park(records, runtime.clock, row, error, limit=limit)
            again_at = now + wait if wait else None
        else:
            return False
    except (LeaseLost, Unavailable, DiskFull):
        raise
    except (CopydeskError, ValueError) as unwritten:
        log.error("row.unwritten", kind=task.kind, error=f"{type(unwritten).__name__}: {unwritten}")
        return False
    if again_at is None:
        log.error("task.away_too_long", kind=task.kind, error=str(error))
        await give_up(runtime, lease, guard, f"away for longer than {limit}: {error}"[:500])
        return True
    log.warning("task.parked", kind=task.kind, again_at=again_at.isoformat(), error=str(error))
    if task.deaths:  # it came to an orderly end: it is not what killed those workers
        await runtime.queue.progressed(lease)
    await runtime.queue.release(lease, run_at=again_at)
    return True


async def give_up(runtime: Runtime, lease: Lease, guard: TaskGuard, reason: str) -> None:
    """Dead-letter the task: its row first. Raises LeaseLost, Unavailable and DiskFull."""
    log.error("task.dead_lettered", kind=lease.task.kind, reason=reason)
    await _note_attempt(runtime, lease.task, guard, retry_at=None, dead_letter=reason)
    guard.ensure_held()
    await runtime.queue.bury(lease, reason=reason)


async def _note_attempt(
    runtime: Runtime, task: Task, guard: TaskGuard, *, retry_at: datetime | None, dead_letter: str = ""
) -> None:
    """Write attempts and dead letters on the row first; the queue holds a copy.

    A row that cannot be written, because it is absent, damaged or of no brand, is no reason to keep the task.
    """
    try:
        if task.kind in ("publish", "reconcile_publication"):
            piece_id, failed = text_of(task.payload, "piece_id"), task.attempts + 1
            async with hold_piece(runtime, task.brand, piece_id, wait=timedelta(seconds=5)) as held:
                await note_attempt(runtime, task, held, attempts=failed, again_at=retry_at, dead_letter=dead_letter)
        else:
            await _write_attempt(runtime, task, guard, retry_at, dead_letter)
    except (LeaseLost, Unavailable, DiskFull):
        raise
    except (CopydeskError, ValueError) as error:
        log.error("row.unwritten", kind=task.kind, error=f"{type(error).__name__}: {error}")


async def _write_attempt(
    runtime: Runtime, task: Task, guard: TaskGuard, retry_at: datetime | None, dead_letter: str
) -> None:
    records = runtime.records.for_brand(task.brand, lease=guard)
    update: dict[str, Any] = {
        "attempts": task.attempts + 1,
        "deaths": task.deaths,
        "retry_at": retry_at,
        "dead_letter": dead_letter,
    }
    if task.kind == "advance_piece":
        piece = await records.find(Piece, id=text_of(task.payload, "piece_id"))
        # A settled piece stays what it is, even where looking after it failed: its ledger says what became of it.
        if piece is None or (piece.state not in UNSETTLED and piece.state is not PieceState.WAITING):
            return
        if dead_letter:
            await move(records, runtime.clock, piece, PieceState.FAILED, **{**update, "reason": dead_letter})
            await runtime.queue.enqueue(advance_session_task(task.brand, piece.session_id, runtime.clock))
        else:
            await records.put(piece.model_copy(update=update))
    elif task.kind == "advance_session":
        session = await records.find(Session, id=text_of(task.payload, "session_id"))
        if session is None or session.status in TERMINAL_SESSION:
            return
        if dead_letter:
            now = runtime.clock.now()
            update.update(status=SessionStatus.FAILED, reason=dead_letter, finished_at=now, updated_at=now)
        await records.put(session.model_copy(update=update))
