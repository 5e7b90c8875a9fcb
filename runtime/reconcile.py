"""Truth is in Records, queues only make it fast: enqueue whatever the rows say should be queued and is not.

Every kind of task is derived here from a row and a predicate; a kind without a derivation cannot be enqueued by the worker.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from config.errors import BadInput, Conflict
from config.vocabulary import TASK_KINDS, UNSETTLED, PieceState, SessionStatus
from graphs.context import advance_piece_task, advance_session_task
from graphs.sessions import session_piece_ids
from memory.queue.protocol import UPKEEP_QUEUE, Task
from memory.records.protocol import Records
from memory.rows.brand import Brand, Control
from memory.rows.content import Piece
from memory.rows.publication import ScheduledPublication
from memory.rows.sessions import Session
from runtime.advance import find_decision
from runtime.compose import Runtime
from runtime.publish_due import publish_task, reconcile_task

log = structlog.get_logger(__name__)
_LIVE = (*sorted(UNSETTLED), PieceState.WAITING, PieceState.APPROVED, PieceState.PUBLISHING, PieceState.UNKNOWN)
REALM = "all"
UPKEEP_BRAND = "copydesk"
"""The brand column of tasks that belong to no brand."""

DERIVATIONS = {
    "advance_session": "agent_sessions: running, or waiting with no piece waiting any more or its cancel flag set; not dead-lettered",
    "advance_piece": "content_library: planned, drafting, checking; waiting with a decision on its hash or a cancel flag; or its schedule row disagrees",
    "publish": "publication_schedule: state approved, sealed",
    "reconcile_publication": "publication_schedule: state publishing or unknown",
    "reconcile": "built in: every reconcile_every, and at worker start",
    "sweep": "built in: every hour",
}
"""Task kind -> the row and predicate that it is derived from."""
assert set(DERIVATIONS) == set(TASK_KINDS)


def upkeep_task(kind: str, runtime: Runtime, *, after: timedelta = timedelta(0)) -> Task:
    """The one task of that kind, whoever enqueues it."""
    return Task(
        id=f"upkeep:{kind}",
        kind=kind,
        queue=UPKEEP_QUEUE,
        brand=UPKEEP_BRAND,
        run_at=runtime.clock.now() + after,
        priority=9,
    )


async def list_brands(runtime: Runtime) -> list[Brand]:
    """Every brand that has rows."""
    return await runtime.records.all_brands().list_rows(Brand, realm=REALM)


async def derive_tasks(runtime: Runtime, records: Records) -> list[Task]:
    """Every task that this brand's rows call for now."""
    clock, brand = runtime.clock, records.brand
    tasks: list[Task] = []
    flagged = {row.name.partition(":")[2] for row in await records.list_rows(Control) if row.name.startswith("cancel:")}
    for status in (SessionStatus.RUNNING, SessionStatus.WAITING):
        for session in await records.find_by(Session, status=status):
            if session.dead_letter or (session.retry_at and session.retry_at > clock.now()):
                continue
            if status is SessionStatus.RUNNING or session.id in flagged or not await _someone_waits(records, session):
                tasks.append(advance_session_task(brand, session.id, clock))
    for state in (*sorted(UNSETTLED), PieceState.WAITING):
        for piece in await records.find_by(Piece, state=state):
            if piece.dead_letter or (piece.retry_at and piece.retry_at > clock.now()):
                continue
            cancelled = piece.id in flagged or piece.session_id in flagged
            if state is not PieceState.WAITING or cancelled or await find_decision(records, piece) is not None:
                tasks.append(advance_piece_task(brand, piece.id, clock))
    for row in await records.find_by(ScheduledPublication, state=PieceState.APPROVED):
        if row.sealed_hash:
            tasks.append(publish_task(row))
    for state in (PieceState.PUBLISHING, PieceState.UNKNOWN):
        for row in await records.find_by(ScheduledPublication, state=state):
            tasks.append(reconcile_task(row, run_at=clock.now()))
    for row in await _disagreeing(records):
        tasks.append(advance_piece_task(brand, row.content_id, clock))
    return tasks


async def _disagreeing(records: Records) -> list[ScheduledPublication]:
    """Schedule rows that a death left behind their piece: the piece's row is written first."""
    rows = [row for state in _LIVE for row in await records.find_by(ScheduledPublication, state=state)]
    pieces = {piece.id: piece for piece in await records.find_many(Piece, [{"id": row.content_id} for row in rows])}
    return [row for row in rows if row.content_id in pieces and pieces[row.content_id].state is not row.state]


async def _someone_waits(records: Records, session: Session) -> bool:
    rows = await records.find_many(Piece, [{"id": id} for id in session_piece_ids(session)])
    return any(row.state is PieceState.WAITING for row in rows)


async def reconcile(runtime: Runtime) -> int:
    """Enqueue what is missing for every brand; how many tasks were derived. Enqueueing what is there changes nothing."""
    total = 0
    for brand in await list_brands(runtime):
        tasks = await derive_tasks(runtime, runtime.records.for_brand(brand.name))
        for start in range(0, len(tasks), 100):
            total += await _enqueue(runtime, tasks[start : start + 100])
    return total


async def _enqueue(runtime: Runtime, tasks: list[Task]) -> int:
    try:
        await runtime.queue.enqueue(*tasks)
        return len(tasks)
    except (BadInput, Conflict):
        pass
    done = 0
    for task in tasks:  # one task that cannot be enqueued must not keep the others out
        try:
            await runtime.queue.enqueue(task)
            done += 1
        except (BadInput, Conflict) as error:
            log.error("task.refused", task_id=task.id, error=str(error))
    return done


async def sweep(runtime: Runtime) -> int:
    """Delete what has expired and settle reservations that nobody will; how many rows went."""
    from agents.spending import settle_stale

    gone = await runtime.records.sweep() + await runtime.cache.sweep() + await runtime.user_sessions.sweep()
    for brand in await list_brands(runtime):
        await settle_stale(runtime.records.for_brand(brand.name), runtime.cache.for_brand(brand.name), runtime.clock)
    return gone
