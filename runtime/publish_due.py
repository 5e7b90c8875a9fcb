"""Publishing: a plain function over the ledger, run by the worker under the piece's lease. No graph, so that one thing has one
durable state.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from config.errors import NotFound, Unavailable
from config.vocabulary import TERMINAL_PIECE, PieceState
from graphs.arrange import take_slot
from graphs.pieces import find_schedule, get_revision, move, write_embedding
from graphs.week import same_time_next_week
from memory.lease import LeaseGuard
from memory.queue.protocol import PUBLICATION_QUEUE, Task
from memory.records.protocol import Records
from memory.rows.brand import REALM, Brand, Control
from memory.rows.content import Piece
from memory.rows.publication import ScheduledPublication
from runtime.compose import Runtime
from runtime.parking import wait_of
from tools.publish.ledger import Publication, Status, Subject, pub_key
from tools.publish.protocol import Parcel
from tools.publish.rate_limits import BurstLimit

SEND_LATE = timedelta(minutes=30)
"""A publication up to this late is sent."""
MOVE_LATE = timedelta(hours=6)
"""Up to this late it takes the next free slot; later it is missed and reported."""
PAUSE = "pause"
"""Name of the control that stops publishing for a brand; `pause:PLATFORM` for one platform."""

DEAD_LETTER = {"publish": "dead_letter", "reconcile_publication": "readback_dead_letter"}
"""Task kind -> the key of `result_data` that says why that work was given up."""
_DEAD = tuple(DEAD_LETTER.values())
_AWAY_SINCE = "away_since"
"""Key of `result_data`: since when the platform has not answered; gone once it has."""
_OF_TASKS = (*_DEAD, "attempts", "again_at", _AWAY_SINCE)

STATE_OF = {
    Status.APPROVED: PieceState.APPROVED,
    Status.PREPARING: PieceState.APPROVED,
    Status.NOT_SENT: PieceState.APPROVED,
    Status.PUBLISHING: PieceState.PUBLISHING,
    Status.PUBLISHED: PieceState.PUBLISHED,
    Status.REJECTED: PieceState.FAILED,
    Status.UNKNOWN: PieceState.UNKNOWN,
    Status.NEEDS_HUMAN: PieceState.UNKNOWN,
    Status.CANCELLED: PieceState.CANCELLED,
}
"""The piece's state for what the ledger's fold says."""


def publish_task(row: ScheduledPublication) -> Task:
    """ "This is due at its slot's instant", or later where the row says so. The same id every time."""
    key = pub_key(row.brand, row.platform, row.account, row.content_id)
    again_at = row.result_data.get("again_at")
    return Task(
        id=f"publish:{key}",
        kind="publish",
        queue=PUBLICATION_QUEUE,
        brand=row.brand,
        run_at=max(row.scheduled_at, datetime.fromisoformat(again_at)) if again_at else row.scheduled_at,
        priority=row.priority,
        payload={"piece_id": row.content_id},
    )


def reconcile_task(row: ScheduledPublication, *, run_at: datetime) -> Task:
    """ "A permit is open or its time is over: find out what became of it." """
    key = pub_key(row.brand, row.platform, row.account, row.content_id)
    return Task(
        id=f"reconcile:{key}",
        kind="reconcile_publication",
        queue=PUBLICATION_QUEUE,
        brand=row.brand,
        run_at=run_at,
        priority=8,
        payload={"piece_id": row.content_id},
    )


def subject_of(runtime: Runtime, piece: Piece, row: ScheduledPublication, *, parts: int = 1) -> Subject:
    """The piece's publication, as the ledger's human verbs name it."""
    return Subject(
        pub_key(piece.brand, piece.platform, row.account, piece.id), piece.id, piece.platform, row.account, parts
    )


async def paused(records: Records, platform: str) -> str:
    """Why publishing is paused for this brand or platform; '' if it is not."""
    for name in (PAUSE, f"{PAUSE}:{platform}"):
        flag = await records.find(Control, name=name)
        if flag is not None and flag.value == "on":
            return f"publishing is paused by {flag.by or 'somebody'}{': ' + flag.reason if flag.reason else ''}: `publish resume`"
    return ""


async def open_parcel(runtime: Runtime, records: Records, piece: Piece, row: ScheduledPublication) -> Parcel:
    """The sealed revision, exactly. Raises NotFound without a seal or its bytes."""
    if not piece.sealed_hash:
        raise NotFound(f"piece {piece.id} has no seal: approve it with `review approve {piece.id}`")
    revision = await get_revision(records, piece, piece.sealed_hash)
    brand = await records.get(Brand, realm=REALM, name=piece.brand)
    return Parcel(
        brand=piece.brand,
        pub_key=pub_key(piece.brand, piece.platform, row.account, piece.id),
        piece_id=piece.id,
        account=row.account,
        post=revision.post,
        content_hash=piece.sealed_hash,
        scheduled_at=row.scheduled_at,
        title=piece.title,
        zone=brand.zone,
        cycle_key=piece.cycle_key,
        cycle_day=piece.cycle_day,
        sources=revision.sources,
    )


async def publish_piece(runtime: Runtime, brand: str, piece_id: str, guard: LeaseGuard) -> datetime | None:
    """Send the piece if it is due, sealed and not paused; the instant to look again, None when there is nothing left to do here.

    `guard` holds the piece's lease. Lateness counts from the arranged instant, and only while no permit exists.
    """
    records = runtime.records.for_brand(brand, lease=guard)
    piece = await records.find(Piece, id=piece_id)
    row = await find_schedule(records, piece) if piece else None
    if piece is None or row is None or piece.state not in (PieceState.APPROVED, PieceState.PUBLISHING):
        return None
    row = await _revived(runtime, records, row, "dead_letter")
    publisher = runtime.publisher(piece.platform)
    ledger = runtime.ledger(brand)
    parcel = await open_parcel(runtime, records, piece, row)
    before = await ledger.read(parcel.pub_key, publisher.parts(parcel.post))
    if not before.sendable:
        await write_state(runtime, records, piece, row, before)
        return None
    if why := await paused(records, piece.platform):
        await records.put(
            row.model_copy(
                update={"result_data": {**row.result_data, "waiting_for": why}, "updated_at": runtime.clock.now()}
            )
        )
        return runtime.clock.now() + timedelta(minutes=5)
    now = runtime.clock.now()
    if now < row.scheduled_at and not publisher.ready_ahead:
        return row.scheduled_at
    if before.attempt == 0 and not publisher.ready_ahead:
        send, again = await _late(runtime, records, piece, row, now)
        if not send:
            return again
    piece = await move(records, runtime.clock, piece, PieceState.PUBLISHING)
    row = await find_schedule(records, piece) or row

    async def still_allowed() -> str:
        fresh = await records.get(Piece, id=piece_id)
        if fresh.sealed_hash != parcel.content_hash:
            return "the seal is void: the approved bytes changed"
        return await paused(records, fresh.platform)

    after = await ledger.publish(parcel, publisher, guard=guard, still_allowed=still_allowed)
    if _AWAY_SINCE in row.result_data:  # it has answered
        data = {key: value for key, value in row.result_data.items() if key != _AWAY_SINCE}
        row = row.model_copy(update={"result_data": data})
    if after.status in (Status.NOT_SENT, Status.PREPARING):
        # On the row too, so that reconcile does not pull it forward and use up an attempt a minute.
        now = runtime.clock.now()
        again_at = BurstLimit().next_window(now) if after.code == "burst" else now + timedelta(minutes=1)
        await write_state(runtime, records, piece, row, after, again_at=again_at)
        return again_at
    await write_state(runtime, records, piece, row, after)
    if (
        after.status in (Status.PUBLISHING, Status.UNKNOWN)
        and after.permit is not None
        and after.permit.deadline is not None
    ):
        await runtime.queue.enqueue(reconcile_task(row, run_at=after.permit.deadline + timedelta(seconds=1)))
    return None


async def note_attempt(
    runtime: Runtime, task: Task, guard: LeaseGuard, *, attempts: int, again_at: datetime | None, dead_letter: str
) -> None:
    """Write a failed run of a publication's task on its rows; the state stays what the ledger says.

    `guard` holds the piece's lease. A dead letter is named in the piece's reason too.
    """
    records = runtime.records.for_brand(task.brand, lease=guard)
    piece = await records.find(Piece, id=str(task.payload.get("piece_id", "")))
    row = await find_schedule(records, piece) if piece else None
    if piece is None or row is None or piece.state in TERMINAL_PIECE:
        return
    data = {**row.result_data, "attempts": str(attempts)}
    if again_at is not None:
        data["again_at"] = again_at.isoformat()
    if not dead_letter:
        await records.put(row.model_copy(update={"result_data": data, "updated_at": runtime.clock.now()}))
        return
    data[DEAD_LETTER[task.kind]] = f"{dead_letter}; mend it, then `queue requeue {task.id}`"
    await move(
        records, runtime.clock, piece, piece.state, schedule={"result_data": data}, reason=data[DEAD_LETTER[task.kind]]
    )


async def note_away(
    runtime: Runtime, brand: str, piece_id: str, guard: LeaseGuard, error: Unavailable, *, limit: timedelta
) -> datetime | None:
    """Write on a publication's rows that its platform is away and nothing was sent; when to try again, None after `limit` of it.

    Waits are a minute at most for as long as it may still be sent in its slot. `guard` holds the piece's lease.
    """
    records, now = runtime.records.for_brand(brand, lease=guard), runtime.clock.now()
    piece = await records.find(Piece, id=piece_id)
    row = await find_schedule(records, piece) if piece else None
    if piece is None or row is None or piece.state in TERMINAL_PIECE:
        return now + timedelta(seconds=1)  # its next look ends it
    text = row.result_data.get(_AWAY_SINCE)
    since = datetime.fromisoformat(text) if text else now
    if now - since >= limit:
        return None
    again_at = now + wait_of(error, now - since, longest=timedelta(minutes=1 if now - since <= SEND_LATE else 5))
    data = {**row.result_data, _AWAY_SINCE: since.isoformat(), "again_at": again_at.isoformat()}
    reason = f"nothing was sent, it goes on by itself: {error}"[:300]
    await move(records, runtime.clock, piece, piece.state, schedule={"result_data": data}, reason=reason)
    return again_at


async def _revived(runtime: Runtime, records: Records, row: ScheduledPublication, kind: str) -> ScheduledPublication:
    """The row without the dead letter of a task that a human requeued: it runs, so it is not dead."""
    if kind not in row.result_data:
        return row
    data = {
        key: value for key, value in row.result_data.items() if key not in (kind, "attempts", "again_at", _AWAY_SINCE)
    }
    row = row.model_copy(update={"result_data": data, "updated_at": runtime.clock.now()})
    await records.put(row)
    return row


async def _late(
    runtime: Runtime, records: Records, piece: Piece, row: ScheduledPublication, now: datetime
) -> tuple[bool, datetime | None]:
    """Whether to send now; if not, the instant to send at, None when it is missed."""
    late = now - (row.arranged_at or row.scheduled_at)
    if late <= SEND_LATE:
        return True, None
    if late <= MOVE_LATE:
        zone = runtime.profile(piece.brand).zone
        for at in [now + timedelta(minutes=15 * n) for n in range(1, 24)] + [
            same_time_next_week(row.scheduled_at, zone)
        ]:
            at = at.replace(second=0, microsecond=0)
            if await take_slot(records, row, at):
                await move(
                    records, runtime.clock, piece, PieceState.APPROVED, schedule={"scheduled_at": at, "arranged_at": at}
                )
                return False, at
    await move(
        records,
        runtime.clock,
        piece,
        PieceState.MISSED,
        reason=f"due {row.scheduled_at:%Y-%m-%d %H:%M} UTC, found {late} late: nothing was sent",
    )
    return False, None


async def write_state(
    runtime: Runtime,
    records: Records,
    piece: Piece,
    row: ScheduledPublication,
    publication: Publication,
    *,
    again_at: datetime | None = None,
) -> Piece:
    """Write what the ledger says into the piece and its schedule row; `again_at` is when another attempt may be made."""
    state = STATE_OF[publication.status]
    unfinished = state in (PieceState.APPROVED, PieceState.PUBLISHING, PieceState.UNKNOWN)
    # What became of its tasks stays on the row until the publication has ended.
    kept = {key: row.result_data[key] for key in _OF_TASKS if unfinished and key in row.result_data}
    data = {
        **kept,
        **({"again_at": again_at.isoformat()} if again_at else {}),
        "phase": str(publication.status),
        "attempt": str(publication.attempt),
        "pub_key": publication.pub_key,
        **({"external_id": publication.external_id, "url": publication.url} if publication.external_id else {}),
        **({"error": publication.reason} if publication.reason else {}),
        **({"code": publication.code} if publication.code else {}),
    }
    stays = piece.reason if _AWAY_SINCE in kept else ""
    changes: dict[str, Any] = {"reason": publication.reason or next((kept[key] for key in _DEAD if key in kept), stays)}
    if state is PieceState.PUBLISHED:
        changes = {"reason": "", "published_at": piece.published_at or runtime.clock.now()}
    elif publication.status is Status.REJECTED:
        changes = {"reason": f"{publication.code}: {publication.reason}".strip(": ")}
    elif publication.status is Status.NEEDS_HUMAN:
        changes = {"reason": f"it may be out: look at the account, then `publish resolve {publication.pub_key[:12]}`"}
    elif state is PieceState.UNKNOWN:
        changes = {"reason": "sent, but the answer never came: reading back before anything else"}
    piece = await move(records, runtime.clock, piece, state, schedule={"result_data": data}, **changes)
    if state in (PieceState.PUBLISHED, PieceState.FAILED, PieceState.CANCELLED):
        await write_embedding(
            records,
            runtime.embedder,
            runtime.clock,
            piece,
            (await get_revision(records, piece, piece.sealed_hash)).post,
        )
    return piece


async def reconcile_publication(runtime: Runtime, brand: str, piece_id: str, guard: LeaseGuard) -> datetime | None:
    """Find out what became of an open permit, by reading back; the instant to look again, None when nothing is left to do."""
    records = runtime.records.for_brand(brand, lease=guard)
    piece = await records.find(Piece, id=piece_id)
    row = await find_schedule(records, piece) if piece else None
    if piece is None or row is None or not piece.sealed_hash:
        return None
    row = await _revived(runtime, records, row, "readback_dead_letter")
    publisher = runtime.publisher(piece.platform)
    ledger = runtime.ledger(brand)
    parcel = await open_parcel(runtime, records, piece, row)
    publication = await ledger.read(parcel.pub_key, publisher.parts(parcel.post))
    if publication.unresolved:
        # A platform that cannot be read just now is asked again: once its time is over the ledger names a human.
        with suppress(Unavailable):
            publication = await ledger.resolve_by_readback(parcel, publisher)
    behind = row.state is not piece.state and STATE_OF[publication.status] is piece.state
    if piece.state in (PieceState.APPROVED, PieceState.PUBLISHING, PieceState.UNKNOWN) or behind:
        await write_state(runtime, records, piece, row, publication)
    if publication.status is Status.UNKNOWN:
        return runtime.clock.now() + timedelta(seconds=30)
    if (
        publication.status is Status.PUBLISHING
        and publication.permit is not None
        and publication.permit.deadline is not None
        and not publication.sendable
    ):
        return max(publication.permit.deadline, runtime.clock.now()) + timedelta(seconds=1)
    if publication.sendable:
        await runtime.queue.enqueue(publish_task(row))
    return None


async def due_rows(records: Records, *, until: datetime) -> list[ScheduledPublication]:
    """Approved publications whose slot is at or before `until`, earliest first."""
    rows = await records.find_by(ScheduledPublication, state=PieceState.APPROVED)
    return sorted((row for row in rows if row.scheduled_at <= until), key=lambda row: (row.scheduled_at, row.id))
