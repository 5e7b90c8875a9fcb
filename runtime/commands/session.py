"""`session`: what a run of the agents is doing or did, going on with it, and stopping it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from config.errors import BadInput, Conflict
from runtime.commands.common import (
    FINDINGS,
    INTERRUPTED,
    OK,
    actor,
    add_parts,
    add_verb,
    emit,
    opened,
    printable,
    run_async,
    run_session,
    run_threads,
)

if TYPE_CHECKING:
    from memory.records.protocol import Records
    from memory.rows.sessions import Event, Session
    from runtime.compose import Runtime


def register(verbs: Any) -> None:
    parts = add_parts(add_verb(verbs, "session", "see runs of the agents, go on with them, stop them"))
    listing = add_verb(parts, "list", "every session, latest first")
    listing.add_argument("--status", metavar="STATUS", help="only running, waiting, done, failed or cancelled")
    listing.set_defaults(run=lambda args: run_async(lambda: session_list(args)))
    show = add_verb(parts, "show", "one session: the week as a grid, who does what, what happened")
    show.set_defaults(run=lambda args: run_async(lambda: session_show(args)))
    resume = add_verb(parts, "resume", "go on: failed and dead-lettered work gets another chance, here and now")
    resume.add_argument("--add-usd", type=_money, default=0.0, metavar="X", help="US dollars more for this session")
    resume.add_argument(
        "--from-draft", action="store_true", help="keep the drafts of failed pieces and check them anew"
    )
    resume.add_argument("--detach", action="store_true", help="only enqueue it; `worker` processes do the work")
    resume.add_argument("--by", help="who says so")
    resume.set_defaults(run=lambda args: run_async(lambda: session_resume(args)))
    cancel = add_verb(parts, "cancel", "stop it: pieces that are not approved yet are cancelled")
    cancel.add_argument("--by", help="who says so")
    cancel.add_argument("--reason", default="", help="shown to whoever wonders")
    cancel.set_defaults(run=lambda args: run_async(lambda: session_cancel(args)))
    for verb in (show, resume, cancel):
        verb.add_argument("id", metavar="ID", help="session id, or its first 8 or more characters")


def _money(text: str) -> float:
    from config.settings import _number

    try:
        return float(_number(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} {error}") from None


async def session_list(args: argparse.Namespace) -> int:
    """Print every session of the brand, latest first."""
    from config.vocabulary import SessionStatus, nearest
    from memory.rows.sessions import Session
    from runtime.commands.lookup import table, when

    if args.status and args.status not in list(SessionStatus):
        known = [str(status) for status in SessionStatus]
        raise BadInput(f"--status {args.status[:40]!r} is not one of {', '.join(known)}{nearest(args.status, known)}")
    async with opened(args) as (runtime, brand):
        rows = [r for r in await runtime.records.for_brand(brand).list_rows(Session) if args.status in (None, r.status)]
    # Not by id: the one of a session that a schedule started says nothing of when.
    rows.sort(key=lambda row: row.created_at, reverse=True)
    shape = [
        {
            "session_id": row.id,
            "kind": row.kind,
            "goal": row.goal,
            "status": str(row.status),
            "cycle_key": row.cycle_key,
            "plan": row.plan,
            "cost_usd": row.cost_usd,
            "tokens": row.tokens,
            "reason": row.reason,
            "created_at": row.created_at.isoformat(),
        }
        for row in rows
    ]
    lines = [[row.id, when(row.created_at, row.zone), row.status, row.goal, row.reason] for row in rows]
    emit(args, shape, table(["session", "started", "status", "goal", "why"], lines))
    return OK


async def session_events(records: Records, session: Session) -> list[Event]:
    """What happened in the session, in order."""
    from datetime import timedelta

    from memory.rows.sessions import Event

    last = max(session.finished_at or session.updated_at, session.updated_at).date() + timedelta(days=15)
    day, events = session.created_at.date(), list[Event]()
    while day <= last:
        events += [e for e in await records.list_rows(Event, day=day.isoformat()) if e.session_id == session.id]
        day += timedelta(days=1)
    return events


async def session_show(args: argparse.Namespace) -> int:
    """Print one session with its pieces, assignments and events."""
    from graphs.sources import count_sources
    from memory.rows.sessions import Assignment
    from runtime.commands.cycle import summary
    from runtime.commands.lookup import find_session, parse_ref, when
    from runtime.commands.week_view import legend, session_pieces, week_table
    from runtime.parking import what_it_waits_for

    ref = parse_ref(args.id, what="session")
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        session = await find_session(records, ref)
        pieces = await session_pieces(records, session)
        assignments = (await records.list_rows(Assignment, session_id=session.id))[::-1]
        assignments.sort(key=lambda row: (row.created_at, row.agent_type, row.task_description))
        events = await session_events(records, session)
        shape = await summary(records, session.id)
        shape["sources"] = await count_sources(records, session.id, [piece.id for piece in pieces])
        ids = [f"advance:{id}" for id in (session.id, *(piece.id for piece in pieces))]
        dead = {letter.task.id for letter in await runtime.queue.list_dead()}
        tasks = [task for id in ids if (task := await runtime.queue.find(id)) is not None]
        waits_for = await what_it_waits_for(records, session)
    names = {row.id: row.task_description for row in assignments}
    shape["goal"], shape["theme"], shape["plan"] = session.goal, session.theme, session.plan
    shape["envelope_usd"] = round(runtime.settings.session_usd + session.added_usd, 6)
    shape["piece_list"] = [
        {
            "piece_id": piece.id,
            "day": piece.cycle_day,
            "platform": piece.platform,
            "content_type": piece.content_type,
            "state": str(piece.state),
            "reason": piece.reason,
            "title": piece.title,
        }
        for piece in pieces
    ]
    shape["assignments"] = [
        {
            "agent": row.agent_type,
            "task": row.task_description,
            "status": row.status,
            "waits_on": [names.get(id, id) for id in row.dependencies],
            **row.coordination_data,
        }
        for row in assignments
    ]
    shape["tasks"] = [
        {"id": task.id, "queue": task.queue, "run_at": task.run_at.isoformat(), "dead": task.id in dead}
        for task in tasks
    ]
    shape["waits_for"] = waits_for
    shape["events"] = [
        {"at": e.created_at.isoformat(), "name": e.name, "piece_id": e.piece_id, "actor": e.actor, "detail": e.detail}
        for e in events
    ]

    def draw() -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console(highlight=False)
        console.print(week_table(session, pieces))
        console.print(legend(pieces))
        table = Table(title="Who does what", title_justify="left", title_style="bold", pad_edge=False, box=None)
        for name in ("agent", "status", "task", "waits on"):
            table.add_column(name)
        for row in assignments:
            waits = f"{len(row.dependencies)} others" if len(row.dependencies) > 2 else None
            waits = waits or "; ".join(names.get(id, id) for id in row.dependencies)
            table.add_row(
                *(Text(printable(cell)) for cell in (row.agent_type, row.status, row.task_description, waits))
            )
        console.print(table)
        if shape["sources"]:
            console.print(Text("Rests on", style="bold"))
            for title, count in shape["sources"].items():
                console.print(
                    Text(printable(f"{count} {'piece' if count == 1 else 'pieces'}: {title}")), soft_wrap=True
                )
        console.print(Text("Last events", style="bold"))
        for event in events[-12:]:
            who = f" by {event.actor}" if event.actor else ""
            reason = f": {event.detail['reason']}" if event.detail.get("reason") else ""
            about = f" {event.piece_id[:8]}" if event.piece_id else ""
            line = f"{when(event.created_at, session.zone)}  {event.name}{about}{who}{reason}"
            console.print(Text(printable(" ".join(line.split(chr(10))))), soft_wrap=True)
        for piece in pieces:
            if piece.state in ("failed", "rejected", "missed") and piece.reason:
                console.print(
                    Text(
                        printable(f"{piece.state} {piece.id[:8]} {piece.platform} {piece.content_type}: {piece.reason}")
                    )
                )
        for task in tasks:
            state = "dead" if task.id in dead else f"due {when(task.run_at, session.zone)}"
            console.print(Text(f"task {task.id}  {state}"), soft_wrap=True)
        if waits_for and waits_for != session.reason:
            console.print(Text(printable(waits_for)), soft_wrap=True)
        money = f"{shape['cost_usd']:.2f} of {shape['envelope_usd']:.2f} USD, {shape['tokens']} tokens"
        console.print(
            Text(printable(f"Session {session.id}: {session.status}. {session.reason}".rstrip() + f"\nSpent {money}.")),
            soft_wrap=True,
        )

    emit(args, shape, draw)
    return OK


async def session_resume(args: argparse.Namespace) -> int:
    """Give what was given up another chance and run the session here; as `cycle run` it exits 3 when a human is asked."""
    from runtime.commands.cycle import print_session
    from runtime.commands.lookup import find_session, parse_ref

    ref = parse_ref(args.id, what="session")
    async with opened(args) as (runtime, brand):
        session = await find_session(runtime.records.for_brand(brand), ref)
        if not await resume(runtime, brand, session, args):
            return INTERRUPTED
        return await print_session(args, runtime, brand, session.id)


async def resume(runtime: Runtime, brand: str, session: Session, args: argparse.Namespace) -> bool:
    """Reopen the session and revive its pieces, in the order that a crash in between leaves resumable; False if stopped."""
    import sys

    from runtime.resume import given_up, needs_research, reopen_session, revive_piece

    records, by = runtime.records.for_brand(brand), actor(args, runtime.settings)
    pieces = await given_up(records, session)
    ended = session.status not in ("running", "waiting")
    if not pieces and not args.add_usd and (session.status == "done" or session.status == "waiting"):
        print(f"session {session.id} is {session.status}: nothing in it was given up", file=sys.stderr)
        return True
    if await needs_research(records, pieces) and session.outcome:
        # Some days have no Brief: the session's own graph goes over them first, keeping what there is.
        session = await reopen_session(runtime, brand, session.id, by=by, add_usd=args.add_usd, restart=True)
        args.add_usd = 0.0
        if not await run_session(runtime, session, show=not args.json):
            return False
    elif ended or args.add_usd:
        session = await reopen_session(
            runtime, brand, session.id, by=by, add_usd=args.add_usd, restart=args.from_draft and not session.outcome
        )
        args.add_usd = 0.0
    revived = [await revive_piece(runtime, brand, piece.id, by=by, from_draft=args.from_draft) for piece in pieces]
    for one in revived:
        print(f"{one.piece_id}: {'again ' + one.state if one.changed else 'left: ' + one.why}", file=sys.stderr)
    if any(one.changed for one in revived):
        session = await reopen_session(runtime, brand, session.id, by=by)
    return args.detach or await run_session(runtime, session, show=not args.json)


async def session_cancel(args: argparse.Namespace) -> int:
    """Set the cancel flag and work it off here; approved pieces stay, and are named."""
    from config.vocabulary import TERMINAL_SESSION, SessionStatus
    from graphs.sessions import session_piece_ids
    from memory.rows.sessions import Session
    from runtime.commands.cycle import summary
    from runtime.commands.lookup import find_session, parse_ref
    from runtime.commands.week_view import legend, session_pieces
    from runtime.start import request_cancel

    ref = parse_ref(args.id, what="session")
    if len(args.reason) > 2000:
        raise BadInput("--reason is longer than 2000 characters: shorten it")
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        session = await find_session(records, ref)
        if session.status in TERMINAL_SESSION and session.status is not SessionStatus.CANCELLED:
            raise Conflict(f"session {session.id} is {session.status}: there is nothing left in it to cancel")
        if session.status is not SessionStatus.CANCELLED:
            await request_cancel(runtime, records, session, by=actor(args, runtime.settings), reason=args.reason)
            ids = [f"advance:{id}" for id in (session.id, *session_piece_ids(session))]

            async def ended() -> bool:
                return (await records.get(Session, id=session.id)).status in TERMINAL_SESSION

            if not await run_threads(runtime, lambda: ids, until=ended):
                return INTERRUPTED
        pieces = await session_pieces(records, session)
        shape = await summary(records, session.id)
    left = [piece.id for piece in pieces if piece.state in ("approved", "publishing", "unknown")]
    shape["still_approved"] = left
    text = f"session {session.id} is {shape['status']}: {shape['reason']}\n{legend(pieces)}"
    if left:
        text += "\n" + "\n".join(f"approved and kept: `piece show {id}`" for id in left)
    emit(args, shape, text)
    return OK if shape["status"] == "cancelled" else FINDINGS
