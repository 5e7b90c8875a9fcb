"""The one state machine of a piece, written into the rows that hold it."""

from pathlib import Path

import pytest

from config.clock import ManualClock
from config.errors import Conflict, LeaseLost
from config.vocabulary import (
    TERMINAL_PIECE,
    UNSETTLED,
    PieceState,
    embedding_status,
    library_status,
    schedule_status,
)
from graphs.pieces import ALLOWED, find_schedule, move, projection, schedule_id
from memory.records.protocol import Records, open_records
from memory.rows.content import Piece, Post
from memory.rows.publication import ScheduledPublication
from memory.rows.sessions import Event

S = PieceState
PAIRS = [(one, other) for one in S for other in S]


def a_piece(clock: ManualClock, state: PieceState = S.PLANNED) -> Piece:
    now = clock.now()
    return Piece(
        brand="acme", id="p1", content_type="quote", platform="facebook", session_id="s1", cycle_key="2026-W51", state=state,
        created_at=now, updated_at=now,
    )  # fmt: skip


def a_slot(clock: ManualClock, state: PieceState = S.PLANNED) -> ScheduledPublication:
    now = clock.now()
    return ScheduledPublication(
        brand="acme", cycle_key="2026-W51", id=schedule_id("p1"), content_id="p1", platform="facebook", content_type="quote",
        account="default", scheduled_at=now, cycle_day=1, state=state, session_id="s1", created_at=now, updated_at=now,
    )  # fmt: skip


async def put(records: Records, clock: ManualClock, state: PieceState) -> Piece:
    await records.put(a_piece(clock, state), a_slot(clock, state))
    return await records.get(Piece, id="p1")


async def events(records: Records, clock: ManualClock) -> list[Event]:
    return await records.list_rows(Event, day=clock.now().date().isoformat())


async def test_every_state_may_follow_exactly_those_that_the_machine_allows(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_records(f"sqlite:///{tmp_path}", clock=clock) as store:
        records = store.for_brand("acme")
        for was, wanted in PAIRS:
            piece = await put(records, clock, was)
            if wanted is was or wanted in ALLOWED[was]:
                moved = await move(records, clock, piece, wanted)
                row = await find_schedule(records, piece)
                assert row is not None
                stored = await records.get(Piece, id="p1")
                assert (stored.state, stored.status) == (wanted, library_status(wanted))
                assert stored == moved
                if wanted is not was:
                    assert (row.state, row.status) == (wanted, schedule_status(wanted))
            else:
                with pytest.raises(Conflict, match=f"is {was}: it cannot become {wanted}"):
                    await move(records, clock, piece, wanted)
                assert (await records.get(Piece, id="p1")).state is was


def test_a_thread_is_named_by_its_first_part_without_the_number() -> None:
    parts = ("1/5 Hot, but how hot?\nWarm.", *(f"{n}/5 part" for n in range(2, 6)))
    assert projection(Post(platform="twitter", content_type="thread", parts=parts))["title"] == "Hot, but how hot?"
    halves = Post(platform="twitter", content_type="thread", parts=("1/2 cup of water.", "Stir.", "Wait."))
    assert projection(halves)["title"] == "1/2 cup of water."


def test_what_went_out_or_was_withdrawn_never_becomes_work_again() -> None:
    assert ALLOWED[S.PUBLISHED] == ALLOWED[S.CANCELLED] == {S.ARCHIVED}
    assert ALLOWED[S.ARCHIVED] == frozenset()


def test_nothing_reaches_publishing_but_what_was_approved() -> None:
    """unknown was on its way already: it goes on when the ledger says so."""
    assert {state for state in S if S.PUBLISHING in ALLOWED[state]} == {S.APPROVED, S.UNKNOWN}
    assert not {state for state in UNSETTLED | {S.WAITING} if S.PUBLISHED in ALLOWED[state]}


def test_nothing_is_approved_before_it_was_checked_or_asked_about() -> None:
    """publishing and unknown go back when the ledger says that nothing was sent."""
    assert {state for state in S if S.APPROVED in ALLOWED[state]} == {S.CHECKING, S.WAITING, S.PUBLISHING, S.UNKNOWN}


@pytest.mark.parametrize("state", [state for state in S if state not in TERMINAL_PIECE])
def test_a_live_piece_can_be_brought_to_an_end(state: PieceState) -> None:
    assert ALLOWED[state] & TERMINAL_PIECE


@pytest.mark.parametrize("state", list(S))
def test_every_state_has_its_words_in_the_three_columns_of_the_seed(state: PieceState) -> None:
    assert library_status(state) in ("draft", "approved", "published", "archived")
    assert schedule_status(state) in ("scheduled", "published", "failed", "cancelled")
    assert embedding_status(state) in ("approved", "pending", "rejected", "review")


async def test_a_move_is_an_event_and_writing_the_same_state_again_is_none(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_records(f"sqlite:///{tmp_path}", clock=clock) as store:
        records = store.for_brand("acme")
        piece = await put(records, clock, S.PLANNED)
        piece = await move(records, clock, piece, S.DRAFTING, actor="creation")
        await move(records, clock, piece, S.DRAFTING)
        (event,) = await events(records, clock)
        assert (event.name, event.piece_id, event.session_id, event.actor) == ("piece.drafting", "p1", "s1", "creation")
        assert event.detail["was"] == "planned"


async def test_a_move_writes_nothing_once_the_lease_is_gone(tmp_path: Path) -> None:
    class Lost:
        token = "t"

        def ensure_held(self) -> None:
            raise LeaseLost("task p1: lease t is lost")

        async def extend(self) -> None:
            self.ensure_held()

    clock = ManualClock()
    async with open_records(f"sqlite:///{tmp_path}", clock=clock) as store:
        piece = await put(store.for_brand("acme"), clock, S.CHECKING)
        with pytest.raises(LeaseLost):
            await move(store.for_brand("acme", lease=Lost()), clock, piece, S.APPROVED)
        records = store.for_brand("acme")
        assert (await records.get(Piece, id="p1")).state is S.CHECKING
        assert (await records.get(ScheduledPublication, cycle_key="2026-W51", id=schedule_id("p1"))).state is S.CHECKING
        assert await events(records, clock) == []


async def test_a_schedule_row_that_a_death_left_behind_is_mended_by_the_next_look(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_records(f"sqlite:///{tmp_path}", clock=clock) as store:
        records = store.for_brand("acme")
        await records.put(a_piece(clock, S.WAITING), a_slot(clock, S.CHECKING))
        await move(records, clock, await records.get(Piece, id="p1"), S.WAITING)
        row = await find_schedule(records, a_piece(clock))
        assert row is not None
        assert row.state is S.WAITING
