"""`review`: what waits for a human, and the human's decision about exactly these bytes."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from config.errors import BadInput, Conflict
from runtime.commands.common import (
    FINDINGS,
    INTERRUPTED,
    OK,
    add_parts,
    add_verb,
    emit,
    fail,
    live_tasks,
    opened,
    plain,
    printable,
    run_async,
    run_threads,
)

if TYPE_CHECKING:
    from memory.records.protocol import Records

_NOT_GOING_OUT = ("rejected", "failed", "missed")
"""States in which an approval may end: something else stood in the way."""


def register(verbs: Any) -> None:
    verb = add_verb(
        verbs, "review", "see and decide what waits for a human; alone: one piece after another, critical first"
    )
    verb.add_argument("--session", metavar="S", help="only of this session")
    verb.add_argument("--by", metavar="NAME", help="who decides (default: COPYDESK_REVIEWER, else the login name)")
    verb.set_defaults(run=lambda args: run_async(lambda: _pass(args)))
    parts = add_parts(verb, required=False)
    listing = add_verb(parts, "list", "what waits for a decision, critical first")
    listing.add_argument("--session", metavar="S", help="only of this session")
    listing.set_defaults(run=lambda args: run_async(lambda: review_list(args)))
    show = add_verb(parts, "show", "the exact bytes that would go out, with what the rules found in them")
    show.add_argument("id", metavar="ID", help="piece id")
    show.set_defaults(run=lambda args: run_async(lambda: _show(args)))
    for name, help in (("approve", "approve exactly the bytes that are pending"), ("reject", "refuse them")):
        verb = add_verb(parts, name, help)
        verb.add_argument(
            "ids",
            metavar="ID[@HASH]",
            nargs="*",
            help="piece id, with the content hash (or its first 8 characters) to be strict",
        )
        verb.add_argument("--session", metavar="S", help="with --all: every pending piece of this session")
        verb.add_argument("--all", action="store_true", help="with --session: all of them")
        verb.add_argument("--by", metavar="NAME", help="who decides (default: COPYDESK_REVIEWER, else the login name)")
        verb.add_argument("--reason", default="", help="recorded with the decision")
        verb.set_defaults(run=lambda args, name=name: run_async(lambda: review_decide(args, name)))
    edit = add_verb(parts, "edit", "replace the text; it is checked again and waits again")
    edit.add_argument("id", metavar="ID", help="piece id")
    edit.add_argument(
        "--file",
        metavar="F",
        help="JSON of the post as `review show --json` prints it under `post` (- = standard input)",
    )
    edit.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=TEXT",
        help="replace a field (caption=...) or one part (slides[0]=...); parts of a whole list stand apart by blank lines",
    )
    edit.add_argument("--by", metavar="NAME", help="who edits")
    edit.add_argument("--reason", default="", help="recorded with the edit")
    edit.set_defaults(run=lambda args: run_async(lambda: _edit(args)))


async def _edit(args: argparse.Namespace) -> int:
    from runtime.commands.review_edit import review_edit

    return await review_edit(args)


async def _show(args: argparse.Namespace) -> int:
    from runtime.commands.review_view import review_show

    return await review_show(args)


async def _pass(args: argparse.Namespace) -> int:
    from runtime.commands.review_pass import review_pass

    return await review_pass(args)


async def review_list(args: argparse.Namespace) -> int:
    """Print the open reviews."""
    from memory.rows.content import Piece
    from runtime.commands.lookup import find_session, parse_ref
    from runtime.reviews import in_slot_order, listed_reviews

    ref = parse_ref(args.session, what="--session") if args.session else ""
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        session_id = (await find_session(records, ref)).id if ref else ""
        rows = await listed_reviews(records, runtime.cache.review_index(brand), session_id=session_id)
        rows, slots = await in_slot_order(records, rows)
        found = await records.find_many(Piece, [{"id": row.piece_id} for row in rows])
        pieces = {piece.id: piece for piece in found}
        zone = runtime.profile(brand).zone
        titles = {row.piece_id: pieces[row.piece_id].title if row.piece_id in pieces else "" for row in rows}
        shape = [
            {
                "piece_id": row.piece_id,
                "platform": row.platform,
                "content_type": row.content_type,
                "result": str(row.result),
                "findings": row.findings,
                "content_hash": row.content_hash,
                "session_id": row.session_id,
                "why": row.why,
                "title": titles[row.piece_id],
                "scheduled_at": slots[row.piece_id].isoformat() if row.piece_id in slots else "",
            }
            for row in rows
        ]

        def draw() -> None:
            from rich.box import SIMPLE_HEAD
            from rich.console import Console
            from rich.table import Table

            from runtime.commands.lookup import when

            if not rows:
                print("Nothing waits for you.")
                return
            lines = [
                [
                    row.piece_id,
                    when(slots.get(row.piece_id), zone)[5:],
                    f"{row.platform} {row.content_type}",
                    f"{row.result} {row.findings}",
                    row.content_hash[:8],
                ]
                for row in rows
            ]
            table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), expand=True)
            for n, name in enumerate(("piece", "when", "what", "result", "hash")):
                # The title gives way, never what is copied from here.
                table.add_column(name, no_wrap=True, min_width=max(len(line[n]) for line in lines))
            table.add_column("title", overflow="ellipsis", no_wrap=True, ratio=1)
            for row, line in zip(rows, lines, strict=True):
                table.add_row(*line, plain(titles[row.piece_id]))
            # Wider than a narrow terminal rather than cut: ids are copied from here.
            Console(highlight=False, width=max(Console().width, 132)).print(table)
            for why in sorted({row.why for row in rows}):
                print(printable(f"{sum(row.why == why for row in rows)} because {why}"))

        emit(args, shape, draw)
    return OK


def _parse_targets(args: argparse.Namespace) -> list[tuple[str, str]]:
    """(piece reference, wanted hash or '') as the command line names them. Raises BadInput before anything is opened."""
    from runtime.commands.lookup import parse_ref

    if args.all != bool(args.session) or (args.all and args.ids):
        raise BadInput("give piece ids, or --session S together with --all")
    if not args.all and not args.ids:
        raise BadInput("no piece given: `review list` prints their ids")
    if args.all:
        parse_ref(args.session, what="--session")
    wanted = []
    for text in args.ids:
        name, at, content_hash = text.partition("@")
        if at and not re.fullmatch(r"[0-9a-f]{8,64}", content_hash):
            raise BadInput(
                f"content hash {content_hash[:70]!r} must be 8 to 64 hex digits, as `review list` prints them"
            )
        wanted.append((parse_ref(name, what="piece"), content_hash))
    return [*dict.fromkeys(wanted)]


async def _targets(records: Records, args: argparse.Namespace, wanted: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The (piece, content hash) pairs to decide: read once, when the command starts."""
    from runtime.commands.lookup import find_piece, find_session, parse_ref
    from runtime.reviews import pending_reviews

    if args.all:
        session = await find_session(records, parse_ref(args.session, what="--session"))
        return [(row.piece_id, row.content_hash) for row in await pending_reviews(records, session_id=session.id)]
    targets = []
    for ref, content_hash in wanted:
        piece = await find_piece(records, ref)
        # A hash that is not the present one is carried on as given: deciding it answers that other bytes are pending.
        targets.append((piece.id, piece.content_hash if piece.content_hash.startswith(content_hash) else content_hash))
    return [*dict.fromkeys(targets)]


async def review_decide(args: argparse.Namespace, verb: str) -> int:
    """Decide each hash, then run the waiting steps of those pieces here; 1 if any was not decided, or was approved in vain."""
    from config.vocabulary import Decision
    from memory.rows.content import Piece
    from runtime.commands.common import actor as who
    from runtime.reviews import decide

    decision = Decision.APPROVED if verb == "approve" else Decision.REJECTED
    if len(args.reason) > 2000:
        raise BadInput("--reason is longer than 2000 characters: shorten it")
    wanted = _parse_targets(args)
    async with opened(args) as (runtime, brand):
        by = who(args, runtime.settings)
        results: list[dict[str, Any]] = []
        decided: list[str] = []
        sessions: set[str] = set()
        records = runtime.records.for_brand(brand)
        for piece_id, content_hash in await _targets(records, args, wanted):
            try:
                answer = await decide(runtime, brand, piece_id, content_hash, decision, by=by, reason=args.reason)
            except Conflict as error:
                results.append(
                    {"piece_id": piece_id, "content_hash": content_hash, "decision": None, "error": str(error)}
                )
                continue
            decided.append(piece_id)
            results.append(
                {
                    "piece_id": piece_id,
                    "content_hash": content_hash,
                    "decision": answer.decision,
                    "by": answer.by,
                    "won": answer.won,
                    "error": None,
                }
            )

        async def applied() -> bool:
            rows = await records.find_many(Piece, [{"id": id} for id in decided])
            sessions.update(row.session_id for row in rows)
            # A piece whose task is gone has been looked at: what it then waits for is said, not waited for.
            return not await live_tasks(runtime, [f"advance:{id}" for id in (*decided, *sessions)])

        finished = (
            await run_threads(runtime, lambda: [f"advance:{id}" for id in (*decided, *sessions)], until=applied)
            if decided
            else True
        )
        rows = {row.id: row for row in await records.find_many(Piece, [{"id": id} for id in decided])}
        for result in results:
            if result["piece_id"] in rows:
                result["state"] = str(rows[result["piece_id"]].state)
                result["reason"] = rows[result["piece_id"]].reason
            if result["decision"] == Decision.APPROVED and result.get("state") in _NOT_GOING_OUT:
                result["error"] = (
                    f"piece {result['piece_id']} was approved by {result['by']}, and will not go out all the same: it is "
                    f"{result['state']} ({result['reason']})"
                )

        def draw() -> None:
            for result in results:
                if result["error"]:
                    fail(result["error"])
                else:
                    note = f" ({' '.join(result['reason'].split())})" if result["reason"] else ""
                    note += (
                        "" if result["won"] else f" (decided before by {result['by']}; a new reason is not recorded)"
                    )
                    print(
                        printable(
                            f"{result['decision']} {result['piece_id']}@{result['content_hash'][:12]} -> {result['state']}{note}"
                        )
                    )
            if not results:
                print("Nothing waits for you there.")

        emit(args, results, draw)
    if not finished:
        return INTERRUPTED
    return FINDINGS if any(result["error"] for result in results) else OK
