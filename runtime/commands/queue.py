"""`queue`: how much work waits, what was given up and why, and giving it another chance.

`list` and `show` open the queue alone, so that they answer quickly and while everything else is broken.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from config.errors import BadInput, Conflict, NotFound
from runtime.commands.common import FINDINGS, OK, actor, add_parts, add_verb, emit, load, opened, run_async

if TYPE_CHECKING:
    from memory.queue.protocol import Task, TaskQueue
    from runtime.compose import Runtime


def register(verbs: Any) -> None:
    parts = add_parts(add_verb(verbs, "queue", "how much work waits; what was given up, and its second chance"))
    listing = add_verb(parts, "list", "how many tasks are ready, delayed, leased and dead in each queue")
    listing.set_defaults(run=lambda args: run_async(lambda: queue_list(args)), needs_logging=False)
    show = add_verb(parts, "show", "the dead letters, why each was given up, and the command that requeues it")
    show.add_argument("queue", nargs="?", metavar="QUEUE", help="only of this queue")
    show.set_defaults(run=lambda args: run_async(lambda: queue_show(args)), needs_logging=False)
    requeue = add_verb(parts, "requeue", "give dead tasks another chance, from the step where they stopped")
    requeue.add_argument("ids", nargs="*", metavar="TASK", help="task ids as `queue show` prints them")
    requeue.add_argument("--all", action="store_true", help="every dead task")
    requeue.add_argument("--by", help="who says so")
    requeue.set_defaults(run=lambda args: run_async(lambda: queue_requeue(args)))
    bury = add_verb(parts, "bury", "give up a waiting task; its piece or session becomes failed")
    bury.add_argument("id", metavar="TASK", help="task id, as in advance:PIECE")
    bury.add_argument("--reason", default="", help="shown to whoever wonders")
    bury.add_argument("--by", help="who says so")
    bury.set_defaults(run=lambda args: run_async(lambda: queue_bury(args)))


@asynccontextmanager
async def _open(args: argparse.Namespace) -> AsyncIterator[TaskQueue]:
    from config.clock import SystemClock
    from memory.queue.protocol import open_queue

    settings = load(args)
    async with open_queue(settings.queue_url, clock=SystemClock(), max_length=settings.max_queue) as queue:
        yield queue


async def queue_list(args: argparse.Namespace) -> int:
    """Print the depth of every queue."""
    from memory.queue.protocol import GENERATION_QUEUE, PUBLICATION_QUEUE, Depth
    from runtime.commands.lookup import table

    async with _open(args) as queue:
        depths = {GENERATION_QUEUE: Depth(), PUBLICATION_QUEUE: Depth(), **await queue.depths()}
    shape = {
        name: {"ready": depth.ready, "delayed": depth.delayed, "leased": depth.leased, "dead": depth.dead}
        for name, depth in sorted(depths.items())
    }

    def draw() -> str:
        rows = [[name, *counts.values(), "paused" if depths[name].paused else ""] for name, counts in shape.items()]
        dead = sum(counts["dead"] for counts in shape.values())
        text = table(["queue", "ready", "delayed", "leased", "dead", ""], rows)
        return text + (f"\n{dead} dead: see why with `queue show`" if dead else "")

    emit(args, shape, "" if args.json else draw())
    return OK


async def queue_show(args: argparse.Namespace) -> int:
    """Print the dead letters, latest first; 1 when there are any."""
    async with _open(args) as queue:
        if args.queue and args.queue not in (known := await queue.depths()):
            raise NotFound(f"queue {args.queue[:80]!r} is not known: there are {', '.join(known) or 'none with tasks'}")
        dead = await queue.list_dead(args.queue)
    shape = [
        {
            "id": letter.task.id,
            "kind": letter.task.kind,
            "queue": letter.task.queue,
            "brand": letter.task.brand,
            "reason": letter.reason,
            "attempts": letter.task.attempts,
            "deaths": letter.task.deaths,
            "died_at": letter.died_at.isoformat(),
            "requeue": f"run_agents.py queue requeue {letter.task.id}",
        }
        for letter in dead
    ]
    lines = [
        f"{row['id']}  ({row['kind']}, brand {row['brand']}, {str(row['died_at'])[:16]} UTC)\n"
        f"  why: {' '.join(str(row['reason']).split())}\n  again: {row['requeue']}"
        for row in shape
    ]
    emit(args, shape, "\n".join(lines) or "nothing is dead")
    return FINDINGS if shape else OK


async def queue_requeue(args: argparse.Namespace) -> int:
    """Requeue dead tasks; their rows are cleared first, each under its lease."""
    if bool(args.ids) == args.all:
        raise BadInput("queue requeue: name tasks, or give --all (`queue show` lists what is dead)")
    done: list[dict[str, Any]] = []
    async with opened(args, any_brand=True) as (runtime, _):
        by = actor(args, runtime.settings)
        dead = {letter.task.id: letter.task for letter in await runtime.queue.list_dead()}
        for id in args.ids:
            if id not in dead:
                raise NotFound(f"no dead task {id[:80]!r}: `queue show` lists them; nothing was requeued")
        for task in [dead[id] for id in dict.fromkeys(args.ids)] or dead.values():
            done.append({"id": task.id, **await _requeue(runtime, task, by)})
    lines = [f"{row['id']}: {'requeued' if row['requeued'] else 'left: ' + row['why']}" for row in done]
    emit(
        args,
        done,
        "\n".join([*lines, "`run_agents.py worker --until-idle` works it off"] if done else ["nothing is dead"]),
    )
    return OK if all(row["requeued"] for row in done) else FINDINGS


async def _requeue(runtime: Runtime, task: Task, by: str) -> dict[str, Any]:
    from memory.rows.content import Piece
    from memory.rows.sessions import Session
    from runtime.resume import reopen_session, revive_piece

    records = runtime.records.for_brand(task.brand)
    if task.kind == "advance_piece":
        piece = await records.find(Piece, id=str(task.payload.get("piece_id", "")))
        if piece is not None:
            revived = await revive_piece(runtime, task.brand, piece.id, by=by)
            if revived.changed:
                await reopen_session(runtime, task.brand, piece.session_id, by=by)
                return {"requeued": True, "why": ""}
            if await runtime.queue.find(task.id) is None or revived.state == "failed":
                return {"requeued": False, "why": revived.why}
    if task.kind == "advance_session":
        session = await records.find(Session, id=str(task.payload.get("session_id", "")))
        if session is not None and (session.dead_letter or session.status == "failed"):
            await reopen_session(runtime, task.brand, session.id, by=by)
            return {"requeued": True, "why": ""}
    if any(letter.task.id == task.id for letter in await runtime.queue.list_dead(task.queue)):
        await runtime.queue.requeue(task.id)
    return {"requeued": True, "why": ""}


async def queue_bury(args: argparse.Namespace) -> int:
    """Give up a waiting task: on its row first, then in the queue."""
    from config.vocabulary import UNSETTLED, PieceState, SessionStatus
    from graphs.context import advance_session_task
    from graphs.pieces import move
    from memory.queue.protocol import UPKEEP_QUEUE
    from memory.rows.content import Piece
    from memory.rows.sessions import Session
    from runtime.hold import hold_task

    async with opened(args, any_brand=True) as (runtime, _):
        task = await runtime.queue.find(args.id)
        if task is None:
            raise NotFound(
                f"no task {args.id[:80]!r}: `queue list` counts what waits, `session show` names a session's"
            )
        if any(letter.task.id == task.id for letter in await runtime.queue.list_dead(task.queue)):
            emit(
                args,
                {"id": task.id, "buried": True},
                f"{task.id} is dead already: `queue requeue {task.id}` revives it",
            )
            return OK
        if task.queue == UPKEEP_QUEUE:
            raise Conflict(f"task {task.id} is upkeep, which every worker starts again: stop the workers instead")
        by = actor(args, runtime.settings)
        reason = f"buried by {by}" + (f": {args.reason}" if args.reason else "")
        async with hold_task(runtime, task, f"task {task.id}", look_again=True) as guard:
            records = runtime.records.for_brand(task.brand, lease=guard)
            gone: dict[str, Any] = {"dead_letter": reason, "reason": reason, "retry_at": None}
            if task.kind == "advance_piece":
                piece = await records.find(Piece, id=str(task.payload.get("piece_id", "")))
                if piece is not None and piece.state is PieceState.WAITING:
                    raise Conflict(f"piece {piece.id} waits for a human: `review reject {piece.id}` ends it")
                if piece is not None and piece.state in UNSETTLED:
                    await move(records, runtime.clock, piece, PieceState.FAILED, actor=by, **gone)
                    await runtime.queue.enqueue(advance_session_task(task.brand, piece.session_id, runtime.clock))
            elif task.kind == "advance_session":
                session = await records.find(Session, id=str(task.payload.get("session_id", "")))
                if session is not None and session.status is SessionStatus.RUNNING:
                    now = runtime.clock.now()
                    gone |= {"status": SessionStatus.FAILED, "finished_at": now, "updated_at": now}
                    await records.put(session.model_copy(update=gone))
            await runtime.queue.bury(guard.lease, reason=reason)
    emit(args, {"id": args.id, "buried": True}, f"{args.id} is buried; `queue requeue {args.id}` revives it")
    return OK
