"""Truth is in Records, queues only make it fast: enqueue whatever the rows say should be queued and is not.

Every kind of task is derived here from a row and a predicate; a kind without a derivation cannot be enqueued by the worker.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

import structlog

from config.errors import Backpressure, BadInput, Conflict, Damaged, UsageError
from config.vocabulary import TASK_KINDS, UNSETTLED, PieceState, SessionStatus
from graphs.context import advance_piece_task, advance_session_task
from graphs.pieces import schedule_id
from graphs.sessions import session_piece_ids, session_slots
from memory.queue.protocol import UPKEEP_QUEUE, Task
from memory.records.protocol import Records
from memory.rows.brand import Brand, Control
from memory.rows.content import Piece
from memory.rows.publication import ScheduledPublication
from memory.rows.row import Row
from memory.rows.sessions import Session
from runtime.advance import find_decision
from runtime.compose import Runtime
from runtime.publish_due import DEAD_LETTER, paused, publish_task, reconcile_task

R = TypeVar("R", bound=Row)
log = structlog.get_logger(__name__)
_LIVE = (*sorted(UNSETTLED), PieceState.WAITING, PieceState.APPROVED, PieceState.PUBLISHING, PieceState.UNKNOWN)
REALM = "all"
UPKEEP_BRAND = "copydesk"
"""The brand column of tasks that belong to no brand."""

DERIVATIONS = {
    "advance_session": "agent_sessions: running, or waiting with no piece waiting any more or its cancel flag set; not dead-lettered",
    "advance_piece": "content_library: planned, drafting, checking; waiting with a decision or cancel flag; schedule row behind",
    "publish": "publication_schedule: state approved, sealed, not paused, not dead-lettered",
    "reconcile_publication": "publication_schedule: state publishing or unknown, not dead-lettered",
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
    """Every task that this brand's rows call for now. A row that cannot be read keeps no other row out."""
    clock, brand = runtime.clock, records.brand
    tasks: list[Task] = []
    flagged = {row.name.partition(":")[2] for row in await records.list_rows(Control) if row.name.startswith("cancel:")}
    for status in (SessionStatus.RUNNING, SessionStatus.WAITING):
        for session in await _in_state(records, Session, status):
            if session.dead_letter or (session.retry_at and session.retry_at > clock.now()):
                continue
            if status is SessionStatus.RUNNING or session.id in flagged or not await _someone_waits(records, session):
                tasks.append(advance_session_task(brand, session.id, clock))
    for state in (*sorted(UNSETTLED), PieceState.WAITING):
        for piece in await _in_state(records, Piece, state):
            if piece.dead_letter or (piece.retry_at and piece.retry_at > clock.now()):
                continue
            cancelled = piece.id in flagged or piece.session_id in flagged
            if state is not PieceState.WAITING or cancelled or await find_decision(records, piece) is not None:
                tasks.append(advance_piece_task(brand, piece.id, clock))
    rows = {state: await _in_state(records, ScheduledPublication, state) for state in _LIVE}
    for row in rows[PieceState.APPROVED]:
        dead = DEAD_LETTER["publish"] in row.result_data
        if row.sealed_hash and not dead and not await paused(records, row.platform):
            tasks.append(publish_task(row))
    for row in (*rows[PieceState.PUBLISHING], *rows[PieceState.UNKNOWN]):
        if DEAD_LETTER["reconcile_publication"] not in row.result_data:
            tasks.append(reconcile_task(row, run_at=clock.now()))
    for row in await _disagreeing(records, [row for found in rows.values() for row in found]):
        tasks.append(advance_piece_task(brand, row.content_id, clock))
    return tasks


async def _in_state(records: Records, row_type: type[R], state: str) -> list[R]:
    """The rows in that state that can be read."""
    column = "status" if row_type is Session else "state"
    equals: dict[str, Any] = {column: state}
    try:
        return await records.find_by(row_type, **equals)
    except Damaged as error:
        log.error("row.damaged", table=row_type.table, error=str(error))
    found = [await _readable(records, row_type, key) for key in await _keys(records, row_type)]
    return [row for row in found if row is not None and getattr(row, column) == state]


async def _keys(records: Records, row_type: type[R]) -> list[dict[str, str]]:
    """The keys of the rows that the sessions call for, known without reading those rows."""
    if row_type is Session:
        return []  # nothing else names them: the log says what is damaged, `doctor` too
    sessions = await records.list_rows(Session)
    if row_type is Piece:
        return [{"id": id} for session in sessions for id in session_piece_ids(session)]
    return [
        {"cycle_key": slot.cycle_key, "id": schedule_id(id)}
        for session in sessions
        for slot, id in zip(session_slots(session), session_piece_ids(session), strict=True)
    ]


async def _readable(records: Records, row_type: type[R], key: dict[str, str]) -> R | None:
    try:
        return await records.find(row_type, **key)
    except Damaged:
        return None


async def _disagreeing(records: Records, rows: list[ScheduledPublication]) -> list[ScheduledPublication]:
    """Schedule rows that a death left behind their piece: the piece's row is written first."""
    behind = []
    for start in range(0, len(rows), 100):
        some = rows[start : start + 100]
        try:
            pieces = await records.find_many(Piece, [{"id": row.content_id} for row in some])
        except Damaged:
            found = [await _readable(records, Piece, {"id": row.content_id}) for row in some]
            pieces = [piece for piece in found if piece is not None]
        states = {piece.id: piece.state for piece in pieces}
        behind += [row for row in some if states.get(row.content_id, row.state) is not row.state]
    return behind


async def _someone_waits(records: Records, session: Session) -> bool:
    found = [await _readable(records, Piece, {"id": id}) for id in session_piece_ids(session)]
    return any(row is not None and row.state is PieceState.WAITING for row in found)


async def reconcile(runtime: Runtime) -> int:
    """Enqueue what is missing for every brand; how many tasks were derived. Enqueueing what is there changes nothing.

    Raises Unavailable and DiskFull only; a brand whose rows cannot be read is logged, and the next one follows.
    """
    total = 0
    for brand in await list_brands(runtime):
        try:
            tasks = await derive_tasks(runtime, runtime.records.for_brand(brand.name))
        except (Damaged, UsageError, Conflict) as error:
            log.error("brand.not_reconciled", brand=brand.name, error=str(error))
            continue
        for start in range(0, len(tasks), 100):
            total += await _enqueue(runtime, tasks[start : start + 100])
    return total


async def _enqueue(runtime: Runtime, tasks: list[Task]) -> int:
    try:
        await runtime.queue.enqueue(*tasks)
        return len(tasks)
    except (BadInput, Conflict, Backpressure):
        pass
    done, full = 0, set[str]()
    for task in tasks:  # one task that cannot be enqueued must not keep the others out
        if task.queue in full:
            continue
        try:
            done += await _enqueue_one(runtime, task)
        except Backpressure:
            full.add(task.queue)  # what fits is in; the rest is found again once workers have made room
        except (BadInput, Conflict) as error:
            log.error("task.refused", task_id=task.id, error=str(error))
    return done


async def _enqueue_one(runtime: Runtime, task: Task) -> int:
    try:
        await runtime.queue.enqueue(task)
    except Conflict:
        # The queue holds something else under this id, such as a payload that was damaged there. The row is the truth.
        log.error("task.replaced", task_id=task.id)
        await runtime.queue.remove(task.id)
        await runtime.queue.enqueue(task)
    return 1


async def sweep(runtime: Runtime) -> int:
    """Delete what has expired and settle reservations that nobody will; how many rows went."""
    from agents.spending import settle_stale

    gone = await runtime.records.sweep() + await runtime.cache.sweep() + await runtime.user_sessions.sweep()
    for brand in await list_brands(runtime):
        await settle_stale(runtime.records.for_brand(brand.name), runtime.cache.for_brand(brand.name), runtime.clock)
    return gone
