"""`create`: one piece, outside any themed week."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from config.errors import BadInput, Conflict
from runtime.commands.common import (
    FINDINGS,
    INTERRUPTED,
    OK,
    WAITING_FOR_HUMAN,
    add_verb,
    emit,
    next_command,
    opened,
    run_async,
    run_session,
)

if TYPE_CHECKING:
    from datetime import datetime

    from graphs.week import Slot
    from memory.records.protocol import Records
    from memory.rows.sessions import Session
    from runtime.compose import Runtime

MAX_TOPIC = 500
_TRIES = 24 * 14


def register(verbs: Any) -> None:
    create = add_verb(
        verbs, "create", "research, write and check one piece; with --at, the same command again changes nothing"
    )
    create.add_argument("--platform", required=True, metavar="P", help="instagram, tiktok, youtube, facebook, twitter")
    create.add_argument("--type", required=True, metavar="T", help="reel, story, carousel, quote or thread")
    create.add_argument("--topic", required=True, metavar="TEXT", help="what it is about, or a theme of the brand")
    create.add_argument(
        "--at", metavar="2026-12-07T10:00", help="when it goes out (brand's zone; default: next free hour)"
    )
    create.add_argument("--detach", action="store_true", help="only enqueue it; `worker` processes do the work")
    create.set_defaults(run=lambda args: run_async(lambda: run_create(args)))


async def run_create(args: argparse.Namespace) -> int:
    """Start (or find) the session of the piece, run it here unless detached, and print what became of it."""
    from config.platforms import possible
    from config.vocabulary import CONTENT_TYPES, PLATFORMS
    from memory.rows.content import Piece
    from memory.rows.sessions import Session
    from runtime.commands.lookup import parse_at
    from runtime.start import start_piece

    platform, kind = PLATFORMS.parse(args.platform), CONTENT_TYPES.parse(args.type)
    if not possible(platform, kind):
        raise BadInput(f"{platform} has no {kind}: choose another --type")
    topic = " ".join(args.topic.split())
    if not 3 <= len(topic) <= MAX_TOPIC:
        raise BadInput(f"--topic has {len(topic)} characters: give 3 to {MAX_TOPIC}")
    if args.at:
        parse_at(args.at, flag="--at", zone="UTC")  # refuse before anything is opened; the zone comes below
    async with opened(args) as (runtime, brand):
        profile = runtime.profile(brand)
        records = runtime.records.for_brand(brand)
        if args.at:
            at, resolution = parse_at(args.at, flag="--at", zone=profile.zone)
            if at <= runtime.clock.now():
                raise BadInput(
                    f"--at {args.at}: that is {at:%Y-%m-%d %H:%M} UTC, which has passed: choose a later instant"
                )
        else:
            at, resolution = await next_free_hour(runtime, brand, platform), "ok"
        slot = make_slot(runtime, brand, platform, kind, at, resolution)
        piece = await records.find(Piece, id=slot.piece_id(plan=1))
        if piece is not None:
            session = await records.get(Session, id=piece.session_id)
            if session.request.get("inputs", {}).get("topic") != topic:
                raise Conflict(
                    f"piece {piece.id} of session {session.id} is made for that place: choose another --at, or `piece show` it"
                )
        else:
            session = await start_piece(runtime, brand, topic=topic, slot=slot)
        return await finish(args, runtime, records, session, slot)


def make_slot(
    runtime: Runtime, brand: str, platform: str, kind: str, at: datetime, resolution: str, *, id: str = ""
) -> Slot:
    """The slot of one piece at `at`; it names itself unless `id` does."""
    from zoneinfo import ZoneInfo

    from config.ids import name_id
    from graphs.week import Slot, cycle_key_of

    profile = runtime.profile(brand)
    account = profile.account(platform)
    local = at.astimezone(ZoneInfo(profile.zone))
    return Slot(
        id=id or name_id("slot", brand, "create", platform, kind, account, at.isoformat()),
        cycle_key=cycle_key_of(at, profile.zone),
        day=local.isoweekday(),
        platform=platform,
        content_type=kind,
        account=account,
        at=at,
        local=local.strftime("%Y-%m-%dT%H:%M"),
        resolution=resolution,
    )


async def next_free_hour(runtime: Runtime, brand: str, platform: str) -> datetime:
    """The next full hour at which nothing else goes to the platform's account. Raises Conflict within two full weeks."""
    from datetime import timedelta

    at = runtime.clock.now().replace(minute=0, second=0, microsecond=0)
    for _ in range(_TRIES):
        at += timedelta(hours=1)
        if await is_free(runtime, brand, platform, at):
            return at
    raise Conflict(f"every hour of the next two weeks is taken on {platform}: choose an instant with --at")


async def is_free(runtime: Runtime, brand: str, platform: str, at: datetime) -> bool:
    """Whether no row of the plan holds that instant on the platform's account; who really gets it is decided by `take_slot`."""
    from config.vocabulary import TERMINAL_PIECE
    from graphs.week import cycle_key_of
    from memory.rows.publication import ScheduledPublication

    profile = runtime.profile(brand)
    rows = await runtime.records.for_brand(brand).list_rows(
        ScheduledPublication, cycle_key=cycle_key_of(at, profile.zone)
    )
    place = (platform, profile.account(platform), at)
    return not any(
        (row.platform, row.account, row.scheduled_at) == place
        and (row.state == "published" or row.state not in TERMINAL_PIECE)
        for row in rows
    )


async def finish(args: argparse.Namespace, runtime: Runtime, records: Records, session: Session, slot: Slot) -> int:
    """Run the session of one piece unless detached, and print what became of it."""
    from memory.rows.content import Piece
    from memory.rows.sessions import Session
    from runtime.commands.cycle import summary
    from runtime.commands.week_view import session_pieces

    if not args.detach and session.status == "running" and not await run_session(runtime, session, show=not args.json):
        return INTERRUPTED
    session = await records.get(Session, id=session.id)
    shape = await summary(records, session.id)
    pieces: list[Piece] = await session_pieces(records, session)
    piece = pieces[0] if pieces else None
    zone = runtime.profile(records.brand).zone
    utc = slot.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    shape |= {
        "piece_id": piece.id if piece else "",
        "state": str(piece.state) if piece else "",
        "scheduled_at": utc,
        "local": slot.local,
        "zone": zone,
        "reason": (piece.reason if piece else "") or session.reason,
    }
    lines = [f"{slot.content_type} for {slot.platform} on {slot.local.replace('T', ' ')} {zone} ({utc})"]
    if slot.resolution != "ok":
        lines[0] += f", {slot.resolution}: the clocks change then"
    lines += [f"not made: {why}" for why in shape["skipped"].values()]
    if piece:
        lines.append(f"piece {piece.id}: {piece.state}" + (f": {piece.reason}" if piece.reason else ""))
    lines.append(
        f"session {session.id}: {session.status}. Spent {shape['cost_usd']:.2f} USD, {shape['tokens']} tokens."
    )
    if args.detach and session.status == "running":
        lines.append(f"A worker does it: {next_command(args, 'worker')}")
    if piece and piece.state == "waiting":
        lines.append(f"Next: {next_command(args, f'review show {piece.id}')}")
    emit(args, shape, "\n".join(lines))
    if session.status == "failed" or shape["skipped"] or (piece and piece.state in ("failed", "rejected", "missed")):
        return FINDINGS
    return WAITING_FOR_HUMAN if piece and piece.state == "waiting" else OK
