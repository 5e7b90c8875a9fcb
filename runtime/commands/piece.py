"""`piece`: what was made, how it came to say that, and posting it again on purpose."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from config.errors import BadInput, Conflict, NotFound
from runtime.commands.common import OK, add_parts, add_verb, emit, opened, run_async
from runtime.commands.piece_texts import as_used, last_checks, post_lines, revisions

if TYPE_CHECKING:
    from memory.rows.content import Revision


def register(verbs: Any) -> None:
    parts = add_parts(add_verb(verbs, "piece", "see what was made and how; post again on purpose"))
    listing = add_verb(parts, "list", "the pieces of a session, a week or a state; the latest week by default")
    listing.add_argument("--session", metavar="S", help="only of this session")
    listing.add_argument("--week", metavar="2026-W50", help="only of this ISO week")
    listing.add_argument("--state", metavar="STATE", help="only in this state, such as waiting or failed")
    listing.set_defaults(run=lambda args: run_async(lambda: piece_list(args)))
    show = add_verb(parts, "show", "everything that goes out, the checks, and where it goes")
    show.set_defaults(run=lambda args: run_async(lambda: piece_show(args)))
    diff = add_verb(parts, "diff", "what one revision changed; the last two by default")
    diff.add_argument("--from", dest="old", metavar="HASH", help="content hash, its first characters, or a run")
    diff.add_argument("--to", dest="new", metavar="HASH", help="content hash, its first characters, or a run")
    diff.set_defaults(run=lambda args: run_async(lambda: piece_diff(args)))
    history = add_verb(parts, "history", "its revisions and decisions, first to last")
    history.set_defaults(run=lambda args: run_async(lambda: piece_history(args)))
    copy = add_verb(parts, "copy", "post again on purpose: a new piece on the same subject, checked and approved anew")
    copy.add_argument(
        "--at", metavar="2026-12-07T10:00", help="when (brand's zone; default: same weekday and time, next free week)"
    )
    copy.add_argument("--detach", action="store_true", help="only enqueue it; `worker` processes do the work")
    copy.set_defaults(run=lambda args: run_async(lambda: piece_copy(args)))
    for verb in (show, diff, history, copy):
        verb.add_argument("id", metavar="ID", help="piece id, or its first 8 or more characters")


async def piece_list(args: argparse.Namespace) -> int:
    """Print pieces by slot."""
    from config.vocabulary import PieceState, nearest
    from graphs.week import parse_week
    from memory.rows.content import Piece
    from runtime.commands.lookup import find_session, parse_ref, table
    from runtime.commands.week_view import session_pieces

    states = [str(state) for state in PieceState]
    if args.state and args.state not in states:
        raise BadInput(f"--state {args.state[:40]!r} is not one of {', '.join(states)}{nearest(args.state, states)}")
    if args.week:
        parse_week(args.week)
    ref = parse_ref(args.session, what="--session") if args.session else ""
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        if ref:
            rows = await session_pieces(records, await find_session(records, ref))
        elif args.state:
            rows = await records.find_by(Piece, state=args.state)
        else:
            rows = await records.find_by(Piece, brand=brand)
            week = args.week or max((row.cycle_key for row in rows), default="")
            rows = [row for row in rows if row.cycle_key == week]
    rows = [r for r in rows if args.state in (None, r.state) and args.week in (None, r.cycle_key)]
    rows.sort(key=lambda row: (row.cycle_key, row.cycle_day, row.platform_specs.get("local", ""), row.platform, row.id))
    shape = [
        {
            "piece_id": row.id,
            "session_id": row.session_id,
            "cycle_key": row.cycle_key,
            "day": row.cycle_day,
            "platform": row.platform,
            "content_type": row.content_type,
            "state": str(row.state),
            "title": row.title,
            "reason": row.reason,
            "content_hash": row.content_hash,
        }
        for row in rows
    ]
    lines = [
        [
            row.id,
            row.platform_specs.get("local", "").replace("T", " "),
            row.platform,
            row.content_type,
            row.state,
            row.title[:60],
        ]
        for row in rows
    ]
    emit(args, shape, table(["piece", "slot", "platform", "type", "state", "title"], lines))
    return OK


async def piece_show(args: argparse.Namespace) -> int:
    """Print one piece: its post, checks, review, schedule and sources."""
    from graphs.ids import review_id
    from graphs.pieces import find_schedule
    from graphs.sources import cited
    from memory.rows.checks import ComplianceCheck, Review
    from memory.rows.content import Revision
    from runtime.commands.lookup import find_piece, parse_ref, when

    ref = parse_ref(args.id, what="piece")
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        piece = await find_piece(records, ref)
        row = await find_schedule(records, piece)
        revision = await records.find(Revision, content_id=piece.id, content_hash=piece.content_hash or "-")
        checks = last_checks(await records.list_rows(ComplianceCheck, content_id=piece.id), piece.content_hash)
        review = await records.find(Review, id=review_id(piece.id, piece.content_hash))
        zone = runtime.profile(brand).zone
        rests_on = await cited(records, piece, revision) if revision else []
    shape: dict[str, Any] = {
        "piece_id": piece.id,
        "session_id": piece.session_id,
        "cycle_key": piece.cycle_key,
        "day": piece.cycle_day,
        "platform": piece.platform,
        "content_type": piece.content_type,
        "state": str(piece.state),
        "reason": piece.reason,
        "dead_letter": piece.dead_letter,
        "run": piece.run,
        "mode": piece.mode,
        "content_hash": piece.content_hash,
        "sealed_hash": piece.sealed_hash,
        "scheduled_at": row.scheduled_at.isoformat() if row else "",
        "account": row.account if row else "",
        "result": dict(row.result_data) if row else {},
        "post": revision.post.model_dump(mode="json") if revision else {},
        "sources": list(revision.sources) if revision else [],
        "rests_on": [
            {"id": c.id, "title": c.title, "sentences": list(c.sentences), "stands": c.stands} for c in rests_on
        ],
        "gaps": list(revision.gaps) if revision else [],
        "checks": [
            {
                "check_type": c.check_type,
                "result": str(c.check_result),
                "by": c.checked_by,
                "findings": [f.model_dump(mode="json") for f in c.findings],
            }
            for c in checks
        ],
        "review": {"decision": str(review.decision), "by": review.reviewer, "why": review.why} if review else {},
    }
    lines = [
        f"{piece.content_type} for {piece.platform}, {piece.cycle_key} day {piece.cycle_day}: {piece.state}"
        + (f": {piece.reason}" if piece.reason else ""),
        f"piece {piece.id}, session {piece.session_id}",
    ]
    if row:
        lines.append(f"goes out {when(row.scheduled_at, zone)} {zone} as {row.account}")
    if revision:
        lines += ["", *post_lines(revision.post), ""]
        lines.append(f"revision {piece.content_hash[:12]} ({piece.mode}), rests on {len(revision.sources)} passages")
        for source in rests_on:
            lines.append(
                f"  {source.title} ({source.id[:8]})" + ("" if source.stands else ", revoked or replaced since")
            )
            lines += [f'    "{sentence}"' for sentence in source.sentences]
        lines += [f"gap: {gap}" for gap in revision.gaps]
    for check in checks:
        lines.append(f"check {check.check_type}: {check.check_result} ({check.checked_by})")
        lines += [f"  {f.severity} {f.rule} {f.field} {f.start}-{f.end} {f.quote!r}" for f in check.findings]
    if review:
        lines.append(
            f"review: {review.decision}" + (f" by {review.reviewer}" if review.reviewer else f": {review.why}")
        )
    emit(args, shape, "\n".join(lines))
    return OK


async def piece_diff(args: argparse.Namespace) -> int:
    """Print what changed between two revisions; 0 also when nothing did."""
    import difflib

    from memory.rows.checks import ComplianceCheck
    from runtime.commands.lookup import find_piece, parse_ref

    ref = parse_ref(args.id, what="piece")
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        piece = await find_piece(records, ref)
        rows = as_used(
            await revisions(records, piece), await records.list_rows(ComplianceCheck, content_id=piece.id), piece
        )
    if not rows:
        raise NotFound(f"piece {piece.id} is {piece.state}: it has no revision yet")

    def pick(text: str, flag: str) -> Revision:
        if re.fullmatch("[0-9]{1,3}", text):  # as `piece history` numbers them: the last text of that run
            found = [row for row in rows if row.run == int(text)][-1:]
        else:
            found = [row for row in rows if len(text) >= 4 and row.content_hash.startswith(text.lower())]
        if len(found) != 1:
            known = ", ".join(row.content_hash[:12] for row in rows)
            raise BadInput(f"{flag} {text[:70]!r} names {len(found)} revisions of piece {piece.id}: there are {known}")
        return found[0]

    new = pick(args.new, "--to") if args.new else rows[-1]
    before = rows[: rows.index(new)][-1:]
    old = pick(args.old, "--from") if args.old else (before[0] if before else None)
    was = post_lines(old.post) if old else []
    name = old.content_hash[:12] if old else "nothing"
    diff = list(difflib.unified_diff(was, post_lines(new.post), name, new.content_hash[:12], lineterm="", n=1))
    shape = {"piece_id": piece.id, "from": old.content_hash if old else "", "to": new.content_hash, "diff": diff}
    emit(args, shape, "\n".join(diff) or "the same outgoing text")
    return OK


async def piece_history(args: argparse.Namespace) -> int:
    """Print the revisions and the decisions about them."""
    from graphs.ids import review_id
    from memory.rows.checks import ComplianceCheck, Review
    from runtime.commands.lookup import find_piece, parse_ref, when

    ref = parse_ref(args.id, what="piece")
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        piece = await find_piece(records, ref)
        rows = await revisions(records, piece)
        checks = await records.list_rows(ComplianceCheck, content_id=piece.id)
        reviews = await records.find_many(Review, [{"id": review_id(piece.id, row.content_hash)} for row in rows])
        zone = runtime.profile(brand).zone
    asked = {review.content_hash: review for review in reviews}
    shape = []
    for row in rows:
        review = asked.get(row.content_hash)
        shape.append(
            {
                "content_hash": row.content_hash,
                "at": row.created_at.isoformat(),
                "author": row.author,
                "mode": row.mode,
                "run": row.run,
                "revision": row.revision,
                "present": row.content_hash == piece.content_hash,
                "sealed": row.content_hash == piece.sealed_hash,
                "checks": {c.check_type: str(c.check_result) for c in last_checks(checks, row.content_hash)},
                "decision": str(review.decision) if review else "",
                "reviewer": review.reviewer if review else "",
                "decision_reason": review.reason if review else "",
            }
        )
    lines = [f"piece {piece.id}: {piece.state}"]
    for row, entry in zip(rows, shape, strict=True):
        marks = [
            word for name, word in (("present", "(the text now)"), ("sealed", "(approved to go out)")) if entry[name]
        ]
        lines.append(
            f"{when(row.created_at, zone)}  {row.content_hash[:12]}  run {row.run}  by {row.author} {' '.join(marks)}".rstrip()
        )
        if entry["checks"]:
            lines.append("  checks: " + ", ".join(f"{k} {v}" for k, v in sorted(dict(entry["checks"]).items())))  # type: ignore[call-overload]
        if entry["decision"]:
            why = f": {' '.join(str(entry['decision_reason']).split())}" if entry["decision_reason"] else ""
            by = f" by {entry['reviewer']}" if entry["reviewer"] else ""
            lines.append(f"  review: {entry['decision']}{by}{why}")
    emit(args, {"piece_id": piece.id, "state": str(piece.state), "revisions": shape}, "\n".join(lines))
    return OK


async def piece_copy(args: argparse.Namespace) -> int:
    """Make the next copy of the piece and run it here; as `create` it exits 3 when a human is asked."""
    from datetime import timedelta

    from config.ids import new_token
    from graphs.pieces import find_schedule
    from graphs.week import same_time_next_week
    from memory.rows.content import Piece
    from memory.rows.sessions import Session
    from runtime.commands.create import finish, is_free, make_slot
    from runtime.commands.lookup import find_piece, parse_at, parse_ref
    from runtime.start import start_piece

    ref = parse_ref(args.id, what="piece")
    if args.at:
        parse_at(args.at, flag="--at", zone="UTC")
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        piece = await find_piece(records, ref)
        session = await records.find(Session, id=piece.session_id)
        row = await find_schedule(records, piece)
        if row is None or session is None:
            raise Conflict(f"piece {piece.id} has no place in the plan to copy: use `create`")
        zone, resolution, now = runtime.profile(brand).zone, "ok", runtime.clock.now()
        if args.at:
            at, resolution = parse_at(args.at, flag="--at", zone=zone)
            if at <= now:
                raise BadInput(
                    f"--at {args.at}: that is {at:%Y-%m-%d %H:%M} UTC, which has passed: choose a later instant"
                )
        else:
            at = same_time_next_week(row.scheduled_at, zone)
            while at <= now or not await is_free(runtime, brand, piece.platform, at):
                at = same_time_next_week(at, zone)
                if at > now + timedelta(days=400):
                    raise Conflict(
                        f"no free week at that weekday and time on {piece.platform}: choose an instant with --at"
                    )
        # Copies are named by the slot of the piece that they copy, so that the next number is the first that is not there.
        slot_id = piece.platform_specs.get("slot", "") or row.id
        slot = make_slot(runtime, brand, piece.platform, piece.content_type, at, resolution, id=slot_id)
        n = 1
        # Of two who copy at the same moment each takes a number of its own: one piece never belongs to two sessions.
        while (
            await records.find(Piece, id=slot.piece_id(plan=1, copy=n)) is not None
            or not (await records.create_once("copy", f"{slot_id}|{n}", piece, token=new_token())).won
        ):
            n += 1
        topic = str(session.request.get("inputs", {}).get("topic") or piece.theme or session.theme)
        made = await start_piece(runtime, brand, topic=topic, slot=slot, copy=n)
        return await finish(args, runtime, records, made, slot)
