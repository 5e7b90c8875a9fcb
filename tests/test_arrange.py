"""Slots are taken once; an approval that comes late finds the next free one, or is reported missed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock
from config.vocabulary import PieceState, SessionStatus
from graphs.arrange import arrange, take_slot
from graphs.pieces import schedule_id
from graphs.week import cycle_key_of
from memory.records.protocol import Records, open_records
from memory.rows.content import Piece
from memory.rows.publication import ScheduledPublication
from memory.rows.sessions import Session

ZONE = "Europe/Berlin"
HORIZON = timedelta(days=14)
MONDAY = datetime(2026, 12, 14, 7, 0, tzinfo=UTC)
"""08:00 in Berlin on the Monday of 2026-W51."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "austere"])
async def records(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Records]:
    async with open_records(f"{request.param}:///{tmp_path}", clock=clock) as store:
        yield store.for_brand("acme")


def a_slot(piece: str, at: datetime = MONDAY, **fields: Any) -> ScheduledPublication:
    given = {
        "brand": "acme", "cycle_key": cycle_key_of(at, ZONE), "id": schedule_id(piece), "content_id": piece,
        "platform": "facebook", "content_type": "quote", "account": "default", "scheduled_at": at, "cycle_day": 1,
        "session_id": "s1", "created_at": MONDAY, "updated_at": MONDAY,
    }  # fmt: skip
    return ScheduledPublication.model_validate({**given, **fields})


async def put(records: Records, row: ScheduledPublication, state: PieceState) -> ScheduledPublication:
    """The piece of `row` and the row itself, in `state`; the row as it is stored."""
    old = await records.find(ScheduledPublication, cycle_key=row.cycle_key, id=row.id)
    row = row.model_copy(update={"state": state, "row_version": old.row_version if old else 0})
    piece = Piece(
        brand="acme", id=row.content_id, content_type=row.content_type, platform=row.platform, session_id=row.session_id,
        cycle_key=row.cycle_key, state=state, created_at=MONDAY, updated_at=MONDAY,
    )  # fmt: skip
    await records.put(piece, row)
    return await records.get(ScheduledPublication, cycle_key=row.cycle_key, id=row.id)


async def taken(records: Records, clock: ManualClock, row: ScheduledPublication) -> datetime | None:
    return await arrange(records, clock, row, zone=ZONE, horizon=HORIZON)


async def test_a_slot_is_taken_once_and_taking_it_again_is_harmless(records: Records) -> None:
    one, other = (
        await put(records, a_slot("a"), PieceState.PLANNED),
        await put(records, a_slot("b"), PieceState.PLANNED),
    )
    assert [await take_slot(records, one, MONDAY) for _ in range(3)] == [True] * 3
    assert not await take_slot(records, other, MONDAY)
    assert await take_slot(records, one, MONDAY)


async def test_other_accounts_platforms_and_instants_are_other_slots(records: Records) -> None:
    assert await take_slot(records, await put(records, a_slot("a"), PieceState.PLANNED), MONDAY)
    others: dict[str, dict[str, Any]] = {"b": {"account": "second"}, "c": {"platform": "twitter"}, "d": {}}
    for name, fields in others.items():
        row = await put(records, a_slot(name, **fields), PieceState.PLANNED)
        assert await take_slot(records, row, MONDAY + timedelta(minutes=name == "d"))


@pytest.mark.parametrize(
    "state", [PieceState.CANCELLED, PieceState.REJECTED, PieceState.FAILED, PieceState.MISSED, PieceState.ARCHIVED]
)
async def test_a_slot_whose_piece_will_not_be_sent_is_free_again(records: Records, state: PieceState) -> None:
    assert await take_slot(records, await put(records, a_slot("a"), PieceState.PLANNED), MONDAY)
    await put(records, a_slot("a"), state)
    second, third = [await put(records, a_slot(n), PieceState.PLANNED) for n in "bc"]
    assert await take_slot(records, second, MONDAY)
    assert not await take_slot(records, third, MONDAY)


@pytest.mark.parametrize(
    "state", [PieceState.PLANNED, PieceState.WAITING, PieceState.APPROVED, PieceState.PUBLISHING, PieceState.UNKNOWN,
              PieceState.PUBLISHED],
)  # fmt: skip
async def test_a_slot_of_a_piece_that_is_coming_or_out_stays_taken(records: Records, state: PieceState) -> None:
    assert await take_slot(records, await put(records, a_slot("a"), state), MONDAY)
    assert not await take_slot(records, await put(records, a_slot("b"), PieceState.PLANNED), MONDAY)


async def test_a_piece_that_lost_its_slot_cannot_have_it_back_while_the_next_one_holds_it(records: Records) -> None:
    one = await put(records, a_slot("a"), PieceState.PLANNED)
    assert await take_slot(records, one, MONDAY)
    await put(records, a_slot("a"), PieceState.REJECTED)
    assert await take_slot(records, await put(records, a_slot("b"), PieceState.APPROVED), MONDAY)
    assert not await take_slot(records, await put(records, a_slot("a"), PieceState.CHECKING), MONDAY)


async def test_slots_of_a_plan_whose_pieces_were_never_written_are_free_once_its_session_ended(
    records: Records,
) -> None:
    assert await take_slot(records, a_slot("a"), MONDAY)
    second = await put(records, a_slot("b", session_id="s2"), PieceState.PLANNED)
    session = Session(brand="acme", id="s1", kind="cycle", goal="g", created_at=MONDAY, updated_at=MONDAY)
    await records.put(session)
    assert not await take_slot(records, second, MONDAY)
    await records.put(session.model_copy(update={"status": SessionStatus.CANCELLED}))
    assert await take_slot(records, second, MONDAY)


async def test_a_piece_that_moved_elsewhere_leaves_its_slot(records: Records) -> None:
    one = await put(records, a_slot("a"), PieceState.APPROVED)
    assert await take_slot(records, one, MONDAY)
    await put(records, a_slot("a", MONDAY + timedelta(hours=1), cycle_key=one.cycle_key), PieceState.APPROVED)
    assert await take_slot(records, await put(records, a_slot("b"), PieceState.PLANNED), MONDAY)


async def test_an_approval_in_time_keeps_its_slot(records: Records, clock: ManualClock) -> None:
    assert await taken(records, clock, await put(records, a_slot("a"), PieceState.WAITING)) == MONDAY


async def test_at_the_very_instant_of_the_slot_it_is_late(records: Records, clock: ManualClock) -> None:
    row = await put(records, a_slot("a"), PieceState.WAITING)
    clock.advance(MONDAY - clock.now())
    assert await taken(records, clock, row) == MONDAY + timedelta(days=7)


async def test_a_late_approval_takes_the_next_freed_slot_of_its_kind(records: Records, clock: ManualClock) -> None:
    row = await put(records, a_slot("late"), PieceState.WAITING)
    day = timedelta(days=1)
    await put(records, a_slot("gone", MONDAY + 3 * day), PieceState.REJECTED)
    await put(records, a_slot("sooner", MONDAY + 2 * day), PieceState.CANCELLED)
    await put(records, a_slot("passed", MONDAY - day), PieceState.CANCELLED)
    await put(records, a_slot("other", MONDAY + day, content_type="reel"), PieceState.CANCELLED)
    await put(records, a_slot("account", MONDAY + day, account="second"), PieceState.CANCELLED)
    await put(records, a_slot("coming", MONDAY + day), PieceState.WAITING)
    clock.advance(MONDAY - clock.now() + timedelta(hours=1))
    assert await taken(records, clock, row) == MONDAY + 2 * day
    second = await put(records, a_slot("late2"), PieceState.WAITING)
    assert await taken(records, clock, second) == MONDAY + 3 * day


async def test_a_freed_slot_of_next_week_counts_too(records: Records, clock: ManualClock) -> None:
    row = await put(records, a_slot("late"), PieceState.WAITING)
    thursday = MONDAY + timedelta(days=10)
    await put(records, a_slot("freed", thursday), PieceState.CANCELLED)
    clock.advance(MONDAY - clock.now() + timedelta(days=8))
    assert await taken(records, clock, row) == thursday


async def test_without_a_freed_slot_it_is_the_same_weekday_and_time_of_next_week(
    records: Records, clock: ManualClock
) -> None:
    clock.advance(MONDAY - clock.now() + timedelta(minutes=1))
    rows = [await put(records, a_slot(name), PieceState.WAITING) for name in "abc"]
    assert await taken(records, clock, rows[0]) == MONDAY + timedelta(days=7)
    assert await taken(records, clock, rows[1]) == MONDAY + timedelta(days=14)
    assert await taken(records, clock, rows[2]) is None, "nothing beyond the horizon"


async def test_next_week_keeps_the_wall_clock_over_a_clock_change(records: Records, clock: ManualClock) -> None:
    before = datetime(2027, 3, 22, 7, 0, tzinfo=UTC)  # 08:00 in Berlin, a week before summer time has begun
    row = await put(records, a_slot("a", before), PieceState.WAITING)
    clock.advance(before - clock.now() + timedelta(minutes=1))
    assert await taken(records, clock, row) == datetime(2027, 3, 29, 6, 0, tzinfo=UTC)


async def test_beyond_the_horizon_there_is_no_slot(records: Records, clock: ManualClock) -> None:
    row = await put(records, a_slot("a"), PieceState.WAITING)
    clock.advance(MONDAY - clock.now() + HORIZON)
    assert await taken(records, clock, row) is None


async def test_arranging_again_after_a_death_finds_the_same_slot(records: Records, clock: ManualClock) -> None:
    """The slot was taken and the piece's row not yet written: the next look must not take a second slot."""
    row = await put(records, a_slot("a"), PieceState.WAITING)
    clock.advance(MONDAY - clock.now() + timedelta(minutes=1))
    assert await taken(records, clock, row) == await taken(records, clock, row) == MONDAY + timedelta(days=7)


async def test_two_late_pieces_approved_at_the_same_moment_never_share_a_slot(
    records: Records, clock: ManualClock
) -> None:
    """Neither has written its row yet when the other looks."""
    clock.advance(MONDAY - clock.now() + timedelta(minutes=1))
    rows = [await put(records, a_slot(name), PieceState.WAITING) for name in "ab"]
    found = await asyncio.gather(*(taken(records, clock, row) for row in rows))
    assert sorted(at for at in found if at) == [MONDAY + timedelta(days=7), MONDAY + timedelta(days=14)]


async def test_a_holder_that_comes_back_to_life_while_its_slot_is_taken_keeps_it(records: Records) -> None:
    one = await put(records, a_slot("a"), PieceState.PLANNED)
    assert await take_slot(records, one, MONDAY)
    await put(records, one, PieceState.REJECTED)
    other = await put(records, a_slot("b"), PieceState.PLANNED)

    class Revived:
        """Records in which the edit of the holder lands just before the next generation is decided."""

        def __getattr__(self, name: str) -> Any:
            return getattr(records, name)

        async def create_once(self, kind: str, key: str, *rest: Any, **named: Any) -> Any:
            if key.endswith("|1"):
                await put(records, one, PieceState.CHECKING)
                assert await take_slot(records, one, MONDAY)
            return await records.create_once(kind, key, *rest, **named)

    revived: Any = Revived()
    assert not await take_slot(revived, other, MONDAY)
    assert not await take_slot(records, other, MONDAY)
    assert await take_slot(records, one, MONDAY)


async def test_whoever_took_a_freed_slot_keeps_it_when_its_first_holder_is_edited(records: Records) -> None:
    one = await put(records, a_slot("a"), PieceState.PLANNED)
    assert await take_slot(records, one, MONDAY)
    await put(records, one, PieceState.REJECTED)
    other = await put(records, a_slot("b"), PieceState.PLANNED)
    assert await take_slot(records, other, MONDAY)
    await put(records, one, PieceState.CHECKING)
    assert await take_slot(records, other, MONDAY)
    assert not await take_slot(records, one, MONDAY)
