"""Slots are taken once; a late piece finds the next free one."""

from __future__ import annotations

from datetime import datetime, timedelta

from config.clock import Clock, to_millis
from config.vocabulary import TERMINAL_SESSION, PieceState
from graphs.pieces import schedule_id
from graphs.week import cycle_key_of, same_time_next_week
from memory.records.protocol import Records
from memory.rows.content import Piece
from memory.rows.publication import ScheduledPublication
from memory.rows.sessions import Session

_FREED = frozenset(
    {PieceState.REJECTED, PieceState.FAILED, PieceState.MISSED, PieceState.CANCELLED, PieceState.ARCHIVED}
)
"""A piece in these states will not be sent, so its slot may be taken again."""


async def take_slot(records: Records, row: ScheduledPublication, at: datetime) -> bool:
    """Reserve (platform, account, instant) for `row`'s piece; whether it is ours now. Doing it twice is harmless.

    A slot whose holder will never be sent, or has moved elsewhere, is taken by the next generation of the same key; the
    holder of the last generation has it. `row` is the stored row as it was read under the piece's lease.
    """
    place = f"{row.platform}:{row.account}|{to_millis(at)}"
    wanted = row.model_copy(update={"scheduled_at": at})
    held: ScheduledPublication | None = None
    for generation in range(100):
        last = await records.find_once("slot", f"{place}|{generation}", ScheduledPublication)
        if last is not None:
            held = last.row
            continue
        if held is not None and held.content_id == row.content_id:
            return True
        if held is not None and not await _freed(records, held, at):
            return False
        once = await records.create_once("slot", f"{place}|{generation}", wanted, token=row.content_id)
        if once.row.content_id != row.content_id:
            held = once.row
            continue
        if held is None or await _freed(records, held, at):
            return True
        # An edit brought the holder back to life since it was looked at. It came back first and looks at the slot
        # second, so it may count on it: it gets it back.
        await records.create_once("slot", f"{place}|{generation + 1}", held, token=held.content_id)
        return False
    return False


async def _freed(records: Records, held: ScheduledPublication, at: datetime) -> bool:
    holder = await records.find(Piece, id=held.content_id)
    if holder is None:  # planned but not yet written: it is coming, unless its session has ended
        session = await records.find(Session, id=held.session_id)
        return session is not None and session.status in TERMINAL_SESSION
    if holder.state in _FREED:
        return True
    row = await records.find(ScheduledPublication, cycle_key=held.cycle_key, id=schedule_id(held.content_id))
    # Elsewhere, and written since it took this slot: one that has taken it and is about to write it is not gone.
    return row is not None and row.scheduled_at != at and row.row_version > held.row_version


async def arrange(
    records: Records, clock: Clock, row: ScheduledPublication, *, zone: str, horizon: timedelta
) -> datetime | None:
    """The instant at which the approved piece goes out: its own slot, else (late) the next free one; None if there is none.

    Late means that the slot's instant has passed. First the freed slots of the same platform, account and content type in
    planned weeks, then the same weekday and wall-clock time of the weeks after, nothing beyond `horizon` from its slot.
    """
    now = clock.now()
    if row.scheduled_at > now:
        return (
            row.scheduled_at
            if await take_slot(records, row, row.scheduled_at)
            else await _later(records, clock, row, zone, horizon)
        )
    return await _later(records, clock, row, zone, horizon)


async def _later(
    records: Records, clock: Clock, row: ScheduledPublication, zone: str, horizon: timedelta
) -> datetime | None:
    now = clock.now()
    last = row.scheduled_at + horizon
    planned: list[ScheduledPublication] = []
    for week in range(horizon // timedelta(days=7) + 2):
        planned += await records.list_rows(
            ScheduledPublication, cycle_key=cycle_key_of(row.scheduled_at + timedelta(days=7 * week), zone)
        )
    freed = sorted(
        other.scheduled_at
        for other in planned
        if (other.platform, other.account, other.content_type) == (row.platform, row.account, row.content_type)
        and other.id != row.id
        and other.state in _FREED
        and now < other.scheduled_at <= last
    )
    weeks = [same_time_next_week(row.scheduled_at, zone, weeks=n) for n in range(1, horizon // timedelta(days=7) + 1)]
    for at in [*freed, *(at for at in weeks if now < at <= last)]:
        if await take_slot(records, row, at):
            return at
    return None
