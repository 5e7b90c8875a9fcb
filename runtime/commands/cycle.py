"""`cycle run`: a themed week, from its theme to pieces that wait for a human."""

from __future__ import annotations

import argparse
import re
import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from config.errors import BadInput
from runtime.commands.common import (
    FINDINGS,
    INTERRUPTED,
    OK,
    WAITING_FOR_HUMAN,
    actor,
    add_parts,
    add_verb,
    emit,
    fail,
    next_command,
    opened,
    printable,
    run_async,
    run_session,
    run_threads,
)
from runtime.commands.cycle_plan import add_week_options, cycle_plan, week_changes

if TYPE_CHECKING:
    from memory.records.protocol import Records
    from memory.rows.content import Piece
    from memory.rows.sessions import Session
    from runtime.compose import Runtime


def register(verbs: Any) -> None:
    parts = add_parts(add_verb(verbs, "cycle", "plan and run a themed week"))
    plan = add_verb(
        parts, "plan", "the week on a page before anything is spent: grid, cost, gaps, conflicts; drop or change cells"
    )
    add_week_options(plan)
    plan.set_defaults(run=lambda args: run_async(lambda: cycle_plan(args)))
    run = add_verb(parts, "run", "research, write and check a themed week; the same inputs again change nothing")
    add_week_options(run)
    run.add_argument("--replan", action="store_true", help="cancel the week's unsealed pieces and plan it anew")
    run.add_argument("--detach", action="store_true", help="only enqueue it; `worker` processes do the work")
    run.add_argument("--by", help="who asks (default: COPYDESK_REVIEWER, else the login name)")
    run.set_defaults(run=lambda args: run_async(lambda: cycle_run(args)))


async def cycle_run(args: argparse.Namespace) -> int:
    """Start (or find) the week's session, run it here unless detached, and print what became of it."""
    check_week(args)
    async with opened(args) as (runtime, brand):
        session = await start(runtime, brand, args)
        if not args.detach and not await run_session(runtime, session, show=not args.json):
            return INTERRUPTED
        return await print_session(args, runtime, brand, session.id)


def check_week(args: argparse.Namespace) -> None:
    """Refuse what cannot be meant before anything is opened, so that a typing mistake leaves no data directory behind."""
    from config.vocabulary import CONTENT_TYPES, PLATFORMS

    if not args.theme.strip() or len(args.theme) > 200:
        raise BadInput("--theme must say something, in at most 200 characters")
    for registry, names in ((PLATFORMS, args.platform), (CONTENT_TYPES, args.type)):
        for name in names:
            registry.parse(name)
    check_iso_week(args.week)
    week_changes(args)


def check_iso_week(text: str | None) -> None:
    """Refuse a --week that is none; of a day, it says in which week it is."""
    from datetime import date

    from config.calendar import week_key
    from graphs.week import parse_week

    if not text:
        return
    day = re.fullmatch(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})", text) or re.fullmatch(
        r"(?P<d>[0-9]{1,2})\.(?P<m>[0-9]{1,2})\.(?P<y>[0-9]{4})", text
    )
    if day is not None:
        named = day.groupdict()
        year, month, number = (named["y"], named["m"], named["d"]) if named else day.groups()
        with suppress(ValueError):  # no day of the calendar either
            raise BadInput(f"--week {text!r} is a day: it is in {week_key(date(int(year), int(month), int(number)))}")
    parse_week(text)


async def start(runtime: Runtime, brand: str, args: argparse.Namespace) -> Session:
    """The session of the week that the command line (already checked) names."""
    from config.vocabulary import SessionStatus
    from graphs.sessions import session_piece_ids
    from graphs.week import next_cycle_key
    from memory.rows.sessions import Session
    from runtime.plan_week import near_theme
    from runtime.start import find_plans, request_cancel, start_cycle

    week = args.week or next_cycle_key(runtime.clock.now(), runtime.profile(brand).zone)
    by = actor(args, runtime.settings)
    for line in near_theme(runtime.profile(brand), args.theme):
        fail(line, label="note")
    records = runtime.records.for_brand(brand)
    if (
        args.replan
        and (plans := await find_plans(records, week))
        and plans[-1].status in (SessionStatus.RUNNING, SessionStatus.WAITING)
    ):
        last = plans[-1]
        await request_cancel(runtime, records, last, by=by, reason="replanned")
        ids = [f"advance:{id}" for id in (last.id, *session_piece_ids(last))]

        async def ended() -> bool:
            return (await records.get(Session, id=last.id)).status not in (SessionStatus.RUNNING, SessionStatus.WAITING)

        await run_threads(runtime, lambda: ids, until=ended)
    return await start_cycle(
        runtime,
        brand,
        theme=args.theme,
        cycle_key=week,
        platforms=args.platform,
        types=args.type,
        changes=week_changes(args),
        replan=args.replan,
        by=by,
    )


async def summary(records: Records, session_id: str) -> dict[str, Any]:
    """The shape that scripts rely on: the session, its pieces by outcome, tokens and US dollars."""
    from agents.spending import session_spent
    from config.vocabulary import PieceState
    from memory.rows.sessions import Session
    from runtime.commands.week_view import session_pieces

    session = await records.get(Session, id=session_id)
    pieces = await session_pieces(records, session)
    spent = await session_spent(records, session)

    def count(*states: PieceState) -> int:
        return sum(piece.state in states for piece in pieces)

    return {
        "session_id": session.id,
        "status": str(session.status),
        "cycle_key": session.cycle_key,
        "pieces": {
            "planned": len(pieces),
            "approved": count(PieceState.APPROVED, PieceState.PUBLISHING, PieceState.PUBLISHED, PieceState.UNKNOWN),
            "waiting": count(PieceState.WAITING),
            "rejected": count(PieceState.REJECTED, PieceState.CANCELLED),
            "failed": count(PieceState.FAILED, PieceState.MISSED),
        },
        "tokens": spent.tokens,
        "cost_usd": round(spent.cost_usd, 6),
        "skipped": session.outcome.get("skipped", {}),
        "passed": session.request.get("passed", 0),
        "reason": session.reason,
    }


async def print_session(args: argparse.Namespace, runtime: Runtime, brand: str, session_id: str) -> int:
    """Print the session (grid, what waits, what was spent, the next command); its exit code."""
    from config.vocabulary import SessionStatus
    from memory.rows.sessions import Session
    from runtime.commands.week_view import legend, session_pieces, week_table

    records = runtime.records.for_brand(brand)
    session = await records.get(Session, id=session_id)
    pieces = await session_pieces(records, session)
    shape = await summary(records, session_id)

    steps = await _next_steps(records, session, pieces)

    def draw() -> None:
        from rich.console import Console

        console = Console(highlight=False)
        console.print(week_table(session, pieces, width=console.width))
        print(legend(pieces))
        if shape["passed"]:
            print(f"{shape['passed']} slots of the week had passed and were not planned")
        for reason in shape["skipped"].values():
            print(printable(f"skipped: {reason}"))
        for piece in pieces:
            if piece.state in ("failed", "rejected", "missed") and piece.reason:
                place = f"{piece.platform} {piece.content_type} day {piece.cycle_day}"
                print(printable(f"{piece.state}: {place}: {piece.reason}"))
        waiting = shape["pieces"]["waiting"]
        print(f"\nSession {session.id}: {session.status}. {waiting} {'waits' if waiting == 1 else 'wait'} for you.")
        print(f"Spent {shape['cost_usd']:.2f} USD, {shape['tokens']} tokens.")
        if session.reason and session.status in (SessionStatus.FAILED, SessionStatus.CANCELLED):
            print(printable(session.reason))
        if getattr(args, "detach", False) and session.status is SessionStatus.RUNNING:
            print(printable(f"A worker does it: {next_command(args, 'worker')}"))
        for n, words in enumerate(steps):
            print(printable(f"{'      ' if n else 'Next: '}{next_command(args, words)}"))

    emit(args, shape, draw)
    nothing = (
        shape["pieces"]["failed"] == shape["pieces"]["planned"] > 0
    )  # a week that is over, and nothing of it was made
    if session.status in (SessionStatus.FAILED, SessionStatus.CANCELLED) or nothing:
        return FINDINGS
    return WAITING_FOR_HUMAN if waiting_now(shape) else OK


async def _next_steps(records: Records, session: Session, pieces: list[Piece]) -> list[str]:
    """What the operator would type next: decide what can be decided, else send what is approved, else plan anew."""
    from config.vocabulary import CheckResult, PieceState, SessionStatus
    from runtime.reviews import pending_reviews

    pending = await pending_reviews(records, session_id=session.id)
    if any(review.result is not CheckResult.FAILED for review in pending):
        return ["review list", f"review approve --session {session.id} --all"]
    if pending:  # nothing of it may pass as it is: a human writes it
        from memory.rows.content import Revision
        from runtime.commands.review_view import edit_words

        row = await records.get(Revision, content_id=pending[0].piece_id, content_hash=pending[0].content_hash)
        return ["review list", edit_words(pending[0].piece_id, row.post)]
    if any(piece.state is PieceState.APPROVED for piece in pieces):
        return [f"publish due --until {_week_end(session)}"]
    if session.kind == "cycle" and session.status is SessionStatus.CANCELLED:
        return [f"cycle run --theme {shlex.quote(session.theme)} --week {session.cycle_key} --replan"]
    return []


def waiting_now(shape: dict[str, Any]) -> bool:
    """Whether a human is asked for something."""
    return bool(shape["pieces"]["waiting"])


def _week_end(session: Session) -> str:
    from datetime import timedelta

    from graphs.week import monday

    return (monday(session.cycle_key) + timedelta(days=6)).isoformat()
