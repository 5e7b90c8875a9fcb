"""`publish`: what is due, what was sent, what nobody knows."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from config.errors import BadInput, NotFound
from runtime.commands.common import (
    FINDINGS,
    INTERRUPTED,
    OK,
    actor,
    add_parts,
    add_verb,
    emit,
    live_tasks,
    next_command,
    opened,
    plain,
    printable,
    run_async,
    run_threads,
)

if TYPE_CHECKING:
    from memory.records.protocol import Records
    from memory.rows.content import Piece
    from memory.rows.publication import ScheduledPublication
    from runtime.compose import Runtime


def register(verbs: Any) -> None:
    parts = add_parts(add_verb(verbs, "publish", "send what is due; see and resolve what was sent"))
    due = add_verb(parts, "due", "send what is due now; the outbox may be filled ahead with --until")
    due.add_argument(
        "--until",
        metavar="DATE",
        help="2026-12-13, 2026-12-13T18:00 (brand's zone) or 2026-W50: past now for the outbox alone",
    )
    due.set_defaults(run=lambda args: run_async(lambda: publish_due(args)))
    status = add_verb(parts, "status", "every publication and where it stands")
    status.add_argument("--session", metavar="S", help="only of this session")
    status.set_defaults(run=lambda args: run_async(lambda: publish_status(args)))
    resolve = add_verb(parts, "resolve", "say what became of a publication that nobody knows about")
    resolve.add_argument("id", metavar="ID", help="pub_key (or its first 12 characters) or piece id")
    what = resolve.add_mutually_exclusive_group(required=True)
    what.add_argument("--sent", metavar="URL", help="it is out, at this address")
    what.add_argument("--not-sent", action="store_true", help="it is not on the account")
    resolve.add_argument("--by", metavar="NAME", help="who looked")
    resolve.set_defaults(run=lambda args: run_async(lambda: publish_resolve(args)))
    reconcile = add_verb(parts, "reconcile", "read back what is open or unknown")
    reconcile.set_defaults(run=lambda args: run_async(lambda: publish_reconcile(args)))
    for name, help in (("pause", "stop sending"), ("resume", "send again")):
        verb = add_verb(parts, name, help)
        verb.add_argument("--platform", metavar="NAME", help="only this platform")
        verb.add_argument("--by", metavar="NAME", help="who says so")
        verb.add_argument("--reason", default="", help="shown to whoever wonders")
        verb.set_defaults(run=lambda args, name=name: run_async(lambda: publish_pause(args, name)))


def parse_until(text: str | None, now: datetime, zone: str) -> datetime:
    """The instant up to which slots count as due: a date or week means its end in `zone`. Raises BadInput with the remedy."""
    from zoneinfo import ZoneInfo

    from graphs.week import monday

    if text is None:
        return now
    try:
        if re.fullmatch(r"[0-9]{4}-W[0-9]{2}", text):
            at = datetime.combine(monday(text) + timedelta(days=7), time(0), tzinfo=ZoneInfo(zone))
        elif "T" in text:
            at = datetime.fromisoformat(text)
            at = at.replace(tzinfo=ZoneInfo(zone)) if at.tzinfo is None else at
        else:
            at = datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(0), tzinfo=ZoneInfo(zone))
        at = at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadInput(f"--until {text[:40]!r} is not a date: write 2026-12-13, 2026-12-13T18:00 or 2026-W50") from None
    if at > now + timedelta(days=400):
        raise BadInput(f"--until {text!r} is more than 400 days ahead: choose an earlier date")
    return at


async def publish_due(args: argparse.Namespace) -> int:
    """Send everything that is due and wait for it; 1 when a piece could not be sent."""
    from config.clock import SystemClock
    from memory.rows.content import Piece
    from runtime.publish_due import due_rows, publish_task

    parse_until(args.until, SystemClock().now(), "UTC")  # refused before anything is opened
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        now = runtime.clock.now()
        until = parse_until(args.until, now, runtime.profile(brand).zone)
        rows = [
            row
            for row in await due_rows(records, until=until)
            if row.scheduled_at <= now or runtime.publisher(row.platform).ready_ahead
        ]
        tasks = [publish_task(row) for row in rows]
        for start in range(0, len(tasks), 100):
            # Pulled forward to now: the handler lets only publishers that make nothing public go ahead of the slot.
            await runtime.queue.enqueue(*(replace(task, run_at=now) for task in tasks[start : start + 100]))
        ids = [row.content_id for row in rows]

        async def sent() -> bool:
            # Put off for later (paused, its slot, a full window) or given up: that is said, not waited for.
            soon = runtime.clock.now() + timedelta(seconds=5)
            live = await live_tasks(runtime, [task.id for task in tasks])
            return not any(task.run_at <= soon for task in live.values())

        if tasks and not await run_threads(runtime, lambda: [task.id for task in tasks], until=sent):
            return INTERRUPTED
        pieces = await records.find_many(Piece, [{"id": id} for id in ids])
        shape = [_line(piece, row) for piece, row in zip(pieces, await _reload(records, rows), strict=True)]
        nothing = "" if shape else await _next_due(args, runtime, brand, now)

        def draw() -> None:
            if nothing:
                print(nothing)
                return
            for item in shape:
                note = f" ({item['reason']})" if item["reason"] else ""
                what = f"{item['platform']} {item['content_type']} {item['piece_id']}"
                print(printable(f"{item['status']} {what} {item['url'] or ''}{note}"))
            if any(str(item["url"] or "").startswith("outbox/") for item in shape):
                print(printable(f"outbox/ is in {runtime.settings.data_dir}, each post a folder for you to post from."))
            print(f"{sum(item['status'] == 'published' for item in shape)} of {len(shape)} due pieces are out.")

        emit(args, shape, draw)
        return OK if all(item["status"] == "published" for item in shape) else FINDINGS


async def _next_due(args: argparse.Namespace, runtime: Runtime, brand: str, now: datetime) -> str:
    """What to say when nothing is due: when the next is, and how to lay it out ahead."""
    from runtime.commands.lookup import when
    from runtime.publish_due import due_rows

    later = await due_rows(runtime.records.for_brand(brand), until=now + timedelta(days=400))
    if not later:
        return f"Nothing is approved and unsent. Next: {next_command(args, 'review list')}"
    zone = runtime.profile(brand).zone
    line = f"Nothing is due now; {len(later)} approved, the next at {when(later[0].scheduled_at, zone)} {zone}."
    if not any(runtime.publisher(row.platform).ready_ahead for row in later):
        return line
    day = when(later[0].scheduled_at, zone)[:10]
    return f"{line} To lay it into the outbox ahead: {next_command(args, f'publish due --until {day}')}"


async def _reload(records: Records, rows: list[ScheduledPublication]) -> list[ScheduledPublication]:
    from memory.rows.publication import ScheduledPublication

    return await records.find_many(ScheduledPublication, [{"cycle_key": row.cycle_key, "id": row.id} for row in rows])


def _line(piece: Piece, row: ScheduledPublication) -> dict[str, Any]:
    from tools.publish.ledger import pub_key

    data = row.result_data
    return {
        "pub_key": data.get("pub_key") or pub_key(row.brand, row.platform, row.account, row.content_id),
        "piece_id": piece.id,
        "platform": row.platform,
        "content_type": row.content_type,
        "status": data.get("phase")
        if piece.state in ("unknown", "publishing") and data.get("phase")
        else str(piece.state),
        "attempt": int(data.get("attempt", "0")),
        "external_id": data.get("external_id") or None,
        "url": data.get("url") or None,
        "scheduled_at": row.scheduled_at.isoformat(),
        "reason": piece.reason or data.get("waiting_for", ""),
    }


async def _publications(records: Records) -> list[tuple[Piece, ScheduledPublication]]:
    from config.vocabulary import PieceState
    from graphs.pieces import schedule_id
    from memory.rows.content import Piece
    from memory.rows.publication import ScheduledPublication

    states = (
        PieceState.APPROVED,
        PieceState.PUBLISHING,
        PieceState.PUBLISHED,
        PieceState.UNKNOWN,
        PieceState.MISSED,
        PieceState.FAILED,
    )
    pieces = [piece for state in states for piece in await records.find_by(Piece, state=state) if piece.sealed_hash]
    keys = [{"cycle_key": piece.cycle_key, "id": schedule_id(piece.id)} for piece in pieces]
    rows = {row.content_id: row for row in await records.find_many(ScheduledPublication, keys)}
    pairs = [(piece, rows[piece.id]) for piece in pieces if piece.id in rows]
    return sorted(pairs, key=lambda pair: (pair[1].scheduled_at, pair[1].id))


async def publish_status(args: argparse.Namespace) -> int:
    """Print every publication of the brand; 1 when one of them needs a human."""
    from runtime.commands.lookup import find_session, parse_ref, when

    ref = parse_ref(args.session, what="--session") if getattr(args, "session", None) else ""
    async with opened(args) as (runtime, brand):
        session_id = (await find_session(runtime.records.for_brand(brand), ref)).id if ref else ""
        pairs = [
            pair
            for pair in await _publications(runtime.records.for_brand(brand))
            if not session_id or pair[0].session_id == session_id
        ]
        shape = [_line(*pair) for pair in pairs]
        zone = runtime.profile(brand).zone

        def draw() -> None:
            from rich.box import SIMPLE_HEAD
            from rich.console import Console
            from rich.table import Table

            if not shape:
                print("Nothing is approved or sent yet.")
                return
            lines = [
                [
                    when(datetime.fromisoformat(item["scheduled_at"]), zone),
                    f"{item['platform']} {item['content_type']}",
                    item["status"],
                    item["pub_key"][:12],
                ]
                for item in shape
            ]
            table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), expand=True)
            for n, name in enumerate((f"at ({zone})", "what", "status", "pub_key")):
                # Where it is gives way, never the key that `publish resolve` takes.
                table.add_column(name, no_wrap=True, min_width=max(len(line[n]) for line in lines))
            table.add_column("where", overflow="fold", ratio=1)
            for item, line in zip(shape, lines, strict=True):
                table.add_row(*line, plain(item["url"] or item["reason"] or ""))
            Console(highlight=False, width=max(Console().width, 132)).print(table)

        emit(args, shape, draw)
        return FINDINGS if any(item["status"] in ("unknown", "needs_human") for item in shape) else OK


def _publication_ref(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f-]{8,64}", text):
        raise BadInput(f"publication {text[:70]!r}: give at least 8 hex digits of its pub_key, or the piece id")
    return text


async def _find(runtime: Runtime, brand: str, text: str) -> tuple[Piece, ScheduledPublication]:
    found = [
        pair
        for pair in await _publications(runtime.records.for_brand(brand))
        if _line(*pair)["pub_key"].startswith(text) or pair[0].id == text
    ]
    if len(found) != 1:
        raise NotFound(
            f"publication {text[:80]!r}: {'several match, give more characters' if found else 'there is none; see `publish status`'}"
        )
    return found[0]


async def publish_resolve(args: argparse.Namespace) -> int:
    """Record what a person saw on the account."""
    from runtime.hold import hold_piece
    from runtime.publish_due import open_parcel, subject_of, write_state

    ref = _publication_ref(args.id)
    if args.sent is not None and not re.fullmatch(r"https?://[^\s]{1,2000}|outbox/[^\s]{1,500}", args.sent):
        raise BadInput(f"--sent {args.sent[:80]!r} is not an address: write the post's https:// URL")
    async with opened(args) as (runtime, brand):
        piece, row = await _find(runtime, brand, ref)
        async with hold_piece(runtime, brand, piece.id, wait=timedelta(seconds=10)) as guard:
            records = runtime.records.for_brand(brand, lease=guard)
            piece = await records.get(type(piece), id=piece.id)
            parcel = await open_parcel(runtime, records, piece, row)
            subject = subject_of(runtime, piece, row, parts=runtime.publisher(piece.platform).parts(parcel.post))
            publication = await runtime.ledger(brand).resolve_by_human(
                subject, by=actor(args, runtime.settings), sent_url=args.sent or "", not_sent=args.not_sent
            )
            piece = await write_state(runtime, records, piece, row, publication)
        emit(
            args,
            {"pub_key": publication.pub_key, "status": str(publication.status), "piece_state": str(piece.state)},
            f"{publication.pub_key[:12]} is {publication.status}",
        )
    return OK


async def publish_reconcile(args: argparse.Namespace) -> int:
    """Read back every open or unknown publication once."""
    from config.vocabulary import PieceState
    from runtime.hold import hold_piece
    from runtime.publish_due import reconcile_publication

    async with opened(args) as (runtime, brand):
        pairs = [
            pair
            for pair in await _publications(runtime.records.for_brand(brand))
            if pair[0].state in (PieceState.PUBLISHING, PieceState.UNKNOWN)
        ]
        for piece, _ in pairs:
            async with hold_piece(runtime, brand, piece.id, wait=timedelta(seconds=10)) as guard:
                await reconcile_publication(runtime, brand, piece.id, guard)
    return await publish_status(args)


async def publish_pause(args: argparse.Namespace, verb: str) -> int:
    """Set or clear the flag that every sender reads after its permit and before its first byte."""
    from config.vocabulary import PLATFORMS
    from memory.rows.brand import Control
    from runtime.publish_due import PAUSE

    name = f"{PAUSE}:{PLATFORMS.parse(args.platform)}" if args.platform else PAUSE
    if len(args.reason) > 500:
        raise BadInput("--reason is longer than 500 characters: shorten it")
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        value = "on" if verb == "pause" else "off"
        await records.put(
            Control(
                brand=brand,
                name=name,
                value=value,
                by=actor(args, runtime.settings),
                reason=args.reason,
                updated_at=runtime.clock.now(),
            )
        )
        emit(
            args,
            {"control": name, "value": value},
            f"publishing {'is paused' if value == 'on' else 'goes on'} for {args.platform or 'every platform'} of {brand}",
        )
    return OK
