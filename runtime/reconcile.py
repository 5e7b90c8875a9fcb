"""Truth is in Records, queues only make it fast: enqueue whatever the rows say should be queued and is not.

Every kind of task is derived here from a row and a predicate; a kind without a derivation cannot be enqueued by the worker.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from memory.rows.brand import REALM, Brand, Control
from memory.rows.checks import Review
from memory.rows.content import Piece
from memory.rows.publication import Schedule, ScheduledPublication
from memory.rows.row import Row
from memory.rows.sessions import Session
from runtime.advance import find_decision
from runtime.compose import Runtime
from runtime.publish_due import DEAD_LETTER, PAUSE, publish_task, reconcile_task
from runtime.scheduler import schedule_tasks
from runtime.together import together

R = TypeVar("R", bound=Row)
log = structlog.get_logger(__name__)
_SCHEDULED = (*sorted(UNSETTLED), PieceState.WAITING, PieceState.APPROVED, PieceState.PUBLISHING, PieceState.UNKNOWN)
LIVE: dict[type[Row], tuple[str, ...]] = {
    Session: (SessionStatus.RUNNING, SessionStatus.WAITING),
    Piece: (*sorted(UNSETTLED), PieceState.WAITING),
    ScheduledPublication: _SCHEDULED,
    Schedule: ("active",),
}
"""The states from which something may be derived: a brand without a row in one of them is not looked at."""
Marks = set[tuple[type[Row], str]]
"""Tables of a brand, each with a state of LIVE that a row of it is in."""
_BRANDS_AT_ONCE, _READS_AT_ONCE = 8, 4
_SOME = 64
"""Brands between two looks at the clock."""
_CURSOR, _CURSOR_KEPT = "brand:upkeep:reconcile", timedelta(hours=1)
UPKEEP_BRAND = "copydesk"
"""The brand column of tasks that belong to no brand."""

DERIVATIONS = {
    "advance_session": "agent_sessions: running, or waiting with no piece waiting any more or its cancel flag set; not dead-lettered",
    "advance_piece": "content_library: planned, drafting, checking; waiting with a decision or cancel flag; schedule row behind",
    "publish": "publication_schedule: state approved, sealed, not paused, not dead-lettered",
    "reconcile_publication": "publication_schedule: state publishing or unknown, not dead-lettered",
    "fire_schedule": "schedules: active and not paused, or with a fire that has no session yet",
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


async def live_brands(runtime: Runtime) -> dict[str, Marks]:
    """Every brand that has something to derive from, by name, with the states that its rows are in.

    Asked of the stores, one equality a state over all brands: a queue that was wiped cannot hide a brand, and a brand in which
    nothing is left to do costs nothing.
    """
    marks = [(row_type, state) for row_type, states in LIVE.items() for state in states]
    found = await together(
        marks, lambda mark: runtime.records.brands_with(mark[0], **{_column(mark[0]): mark[1]}), at_once=len(marks)
    )
    brands: dict[str, Marks] = {}
    for mark, names in zip(marks, found, strict=True):
        for name in names:
            brands.setdefault(name, set()).add(mark)
    return brands


async def derive_tasks(runtime: Runtime, records: Records, live: Marks | None = None) -> list[Task]:
    """Every task that this brand's rows call for now. A row that cannot be read keeps no other row out.

    `live` says in which states the brand has rows, where that is known already.
    """
    now, brand = runtime.clock.now(), records.brand
    wanted = [(row_type, state) for row_type, states in LIVE.items() for state in states]
    wanted = [mark for mark in wanted if live is None or mark in live]
    flags = await records.list_rows(Control)
    read = await together(wanted, lambda mark: _in_state(records, *mark), at_once=_READS_AT_ONCE)
    cancelled = {row.name.partition(":")[2] for row in flags if row.name.startswith("cancel:")}
    found: dict[tuple[type[Row], str], list[Any]] = dict(zip(wanted, read, strict=True))

    def rows(row_type: type[R], *states: str) -> list[R]:
        return [row for state in states for row in found.get((row_type, state), [])]

    def in_hand(row: Session | Piece) -> bool:
        return bool(row.dead_letter or (row.retry_at and row.retry_at > now))

    tasks: list[Task] = []
    waiting = rows(Piece, PieceState.WAITING)
    waiting_ids = {piece.id for piece in waiting}
    for session in rows(Session, SessionStatus.RUNNING, SessionStatus.WAITING):
        idle = session.status is SessionStatus.WAITING and session.id not in cancelled
        if not in_hand(session) and not (idle and waiting_ids.intersection(session_piece_ids(session))):
            tasks.append(advance_session_task(brand, session.id, runtime.clock))
    moving = [piece for piece in rows(Piece, *sorted(UNSETTLED)) if not in_hand(piece)]
    asked = [piece for piece in waiting if not in_hand(piece)]
    called_off = {piece.id for piece in asked if piece.id in cancelled or piece.session_id in cancelled}
    decided = await _decided(records, [piece for piece in asked if piece.id not in called_off])
    for piece in (*moving, *(piece for piece in asked if piece.id in called_off or piece.id in decided)):
        tasks.append(advance_piece_task(brand, piece.id, runtime.clock))
    stopped = {row.name for row in flags if row.value == "on"}
    for row in rows(ScheduledPublication, PieceState.APPROVED):
        dead = DEAD_LETTER["publish"] in row.result_data
        if row.sealed_hash and not dead and not stopped & {PAUSE, f"{PAUSE}:{row.platform}"}:
            tasks.append(publish_task(row))
    for row in rows(ScheduledPublication, PieceState.PUBLISHING, PieceState.UNKNOWN):
        if DEAD_LETTER["reconcile_publication"] not in row.result_data:
            tasks.append(reconcile_task(row, run_at=now))
    known = {piece.id: piece.state for piece in (*waiting, *rows(Piece, *UNSETTLED))}
    for row in await _disagreeing(records, rows(ScheduledPublication, *_SCHEDULED), known):
        tasks.append(advance_piece_task(brand, row.content_id, runtime.clock))
    tasks += await schedule_tasks(records, rows(Schedule, "active"), stopped, now)
    return tasks


async def _decided(records: Records, pieces: list[Piece]) -> set[str]:
    """The ids of the pieces on whose present bytes somebody has decided."""
    keys = {f"{piece.id}|{piece.content_hash}": piece.id for piece in pieces}
    try:
        return {keys[key] for key in await records.find_many_once("decision", list(keys), Review)}
    except Damaged as error:
        log.error("row.damaged", table=Review.table, error=str(error))
    decided = set()
    for piece in pieces:  # one that cannot be read must not hide the others: the piece's own look will say so
        try:
            if await find_decision(records, piece) is not None:
                decided.add(piece.id)
        except Damaged:
            decided.add(piece.id)
    return decided


async def _in_state(records: Records, row_type: type[R], state: str) -> list[R]:
    """The rows in that state that can be read."""
    column = _column(row_type)
    equals: dict[str, Any] = {column: state}
    try:
        return await records.find_by(row_type, **equals)
    except Damaged as error:
        log.error("row.damaged", table=row_type.table, error=str(error))
    found = [await _readable(records, row_type, key) for key in await _keys(records, row_type)]
    return [row for row in found if row is not None and getattr(row, column) == state]


def _column(row_type: type[Row]) -> str:
    return "state" if "state" in row_type.model_fields else "status"


async def _keys(records: Records, row_type: type[R]) -> list[dict[str, str]]:
    """The keys of the rows that the sessions call for, known without reading those rows."""
    if row_type in (Session, Schedule):
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


async def _disagreeing(
    records: Records, rows: list[ScheduledPublication], known: dict[str, PieceState]
) -> list[ScheduledPublication]:
    """Schedule rows that a death left behind their piece: the piece's row is written first. `known` pieces are not read again."""
    states = dict(known)
    unread = [{"id": row.content_id} for row in rows if row.content_id not in known]
    try:
        states |= {piece.id: piece.state for piece in await records.find_many(Piece, unread)}
    except Damaged:
        found = [await _readable(records, Piece, key) for key in unread]
        states |= {piece.id: piece.state for piece in found if piece is not None}
    return [row for row in rows if states.get(row.content_id, row.state) is not row.state]


async def reconcile(runtime: Runtime) -> int:
    """A whole round: enqueue what is missing for every brand; how many tasks were derived. Raises as `reconcile_turn`."""
    await runtime.cache.for_brand(UPKEEP_BRAND).delete(_CURSOR)
    turn = await reconcile_turn(runtime)
    derived = turn.derived
    while not turn.ended:
        turn = await reconcile_turn(runtime)
        derived += turn.derived
    return derived


@dataclass(frozen=True)
class Turn:
    """What one turn of a round did."""

    derived: int
    """Tasks that the rows call for; those that were queued already changed nothing."""
    brands: int
    ended: bool
    """Whether the round has reached the last brand; else another turn goes on behind the last one of this."""


async def reconcile_turn(runtime: Runtime, *, within: timedelta | None = None) -> Turn:
    """Enqueue what is missing for the brands of the round that have not had their turn, for about `within` (by default the time
    between two rounds, a quarter of a task's timeout at most); at least for some of them.

    Where a round stands is kept in the cache, so that it goes on wherever the next turn runs; a cache that has forgotten starts
    over, which costs time and nothing else. Raises Unavailable and DiskFull only; a brand whose rows cannot be read is logged,
    and the next one follows.
    """
    settings, clock = runtime.settings, runtime.clock
    limit = within if within is not None else min(settings.reconcile_every, settings.task_timeout / 4)
    until = clock.boottime() + limit.total_seconds()
    cache = runtime.cache.for_brand(UPKEEP_BRAND)
    last = await cache.get(_CURSOR) or ""
    live = await live_brands(runtime)
    names = [name for name in sorted(live) if name > last]
    derived = done = 0
    for start in range(0, len(names), _SOME):
        some = names[start : start + _SOME]
        derived += sum(
            await together(some, lambda name: _one_brand(runtime, name, live[name]), at_once=_BRANDS_AT_ONCE)
        )
        done += len(some)
        if done < len(names) and clock.boottime() >= until:
            await cache.put(_CURSOR, some[-1], ttl=_CURSOR_KEPT)
            return Turn(derived, done, ended=False)
    if last:
        await cache.delete(_CURSOR)
    return Turn(derived, done, ended=True)


async def _one_brand(runtime: Runtime, name: str, live: Marks) -> int:
    try:
        tasks = await derive_tasks(runtime, runtime.records.for_brand(name), live)
    except (Damaged, UsageError, Conflict) as error:
        log.error("brand.not_reconciled", brand=name, error=str(error))
        return 0
    return sum([await _enqueue(runtime, tasks[start : start + 100]) for start in range(0, len(tasks), 100)])


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
    await together(
        [brand.name for brand in await list_brands(runtime)],
        lambda name: settle_stale(runtime.records.for_brand(name), runtime.cache.for_brand(name), runtime.clock),
        at_once=_BRANDS_AT_ONCE,
    )
    return gone
