"""A themed week from its name to its report: planned once, researched day by day, never held up by one piece or one human."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.answers import BriefAnswer
from config.clock import ManualClock
from config.errors import BadInput, Conflict, ModelRefused, OverBudget
from config.vocabulary import AgentType, Decision, PieceState, SessionStatus
from graphs import cycle as cycle_graph
from graphs.context import advance_piece_task, advance_session_task
from graphs.ids import brief_id
from graphs.sessions import session_slots
from memory.queue.protocol import GENERATION_QUEUE
from memory.rows.checks import Review
from memory.rows.content import Piece
from memory.rows.publication import ScheduledPublication
from memory.rows.sessions import Assignment, Session
from runtime import thread
from runtime.reconcile import reconcile
from runtime.reviews import decide
from runtime.start import request_cancel
from tests.fakes.newsroom import BRAND, WEEK, Newsroom, Script, open_newsroom, words

THREE = (
    ("monday", "facebook", "quote", "08:00"),
    ("tuesday", "facebook", "quote", "08:00"),
    ("wednesday", "facebook", "quote", "08:00"),
)
SENTENCES = (
    "Morning light helps set the body clock.",
    "A short walk outside is enough for most days.",
    "Curtains keep out street light.",
    "The sky is brightest around noon.",
    "Many people read before bed.",
    "A desk near a window gets more daylight.",
)
S = PieceState


def different() -> Script:
    """A model that says something else each time."""
    said: list[int] = []

    def write(_: Mapping[str, Any]) -> Any:
        said.append(1)
        text = SENTENCES[(len(said) - 1) % len(SENTENCES)]
        return words(text, slides=[text], alt_text=["A card"], media_prompts=["A card"])

    return Script(write=write)


def room_of(folder: Path, grid: tuple[tuple[str, ...], ...] = THREE, **more: Any) -> Any:
    return open_newsroom(folder, **{"grid": grid, "script": different(), **more})


async def approve(room: Newsroom, piece: Piece, decision: Decision = Decision.APPROVED) -> None:
    await decide(room.runtime, BRAND, piece.id, piece.content_hash, decision, by="ann")
    await room.work()


def lose(folder: Path, name: str) -> None:
    """The database is gone, and the operator has accepted it."""
    for file in (*folder.glob(f"{name}*"), folder / ".installed" / name):
        file.unlink()


async def cancel(room: Newsroom, session: Session) -> Session:
    await request_cancel(room.runtime, room.records, session, by="ann")
    await room.work(patience=timedelta(seconds=5))
    return await room.session(session)


async def assert_nothing_is_open(room: Newsroom, session: Session) -> None:
    assert session.status is SessionStatus.CANCELLED
    assert session.finished_at is not None
    assert await room.records.find_by(Review, decision=Decision.PENDING) == []
    assert {piece.state for piece in await room.pieces(session)} <= {S.CANCELLED, S.REJECTED, S.FAILED, S.APPROVED}
    for queue, depth in (await room.runtime.queue.depths()).items():
        assert (queue, depth.ready, depth.delayed, depth.leased) == (queue, 0, 0, 0)
    assert await room.work() == 0


async def test_a_session_runs_then_waits_for_humans_then_is_done(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        session = await room.week()
        assert session.status is SessionStatus.RUNNING
        await room.work()
        waiting = await room.session(session)
        assert (waiting.status, waiting.reason) == (SessionStatus.WAITING, "3 pieces wait for a human: `review list`")
        assert waiting.finished_at is None
        pieces = await room.pieces(session)
        await approve(room, pieces[0])
        assert "2 pieces wait" in (await room.session(session)).reason
        await approve(room, pieces[1], Decision.REJECTED)
        await approve(room, pieces[2])
        done = await room.session(session)
        assert (done.status, done.reason) == (SessionStatus.DONE, "")
        assert done.finished_at == room.clock.now()
        assert await room.states(session) == [S.APPROVED, S.REJECTED, S.APPROVED]


async def test_the_same_inputs_return_the_same_session_and_the_rows_stay(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        session = await room.drafted()
        pieces = await room.pieces(session)
        assert (await room.week()).id == session.id
        await room.work()
        assert await room.pieces(session) == pieces


async def test_a_week_started_by_two_at_once_is_one_session(tmp_path: Path) -> None:
    import asyncio

    async with room_of(tmp_path) as room:
        await room.runtime.ensure_brand(BRAND)
        started = await asyncio.gather(*(room.week() for _ in range(5)))
        assert len({session.id for session in started}) == 1
        await room.work()
        assert len(await room.records.list_rows(ScheduledPublication, cycle_key=WEEK)) == 3


async def test_other_inputs_are_a_conflict_that_names_the_session_and_offers_replan(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        session = await room.drafted()
        for other in ({"theme": "sleep"}, {"platforms": ["facebook"]}, {"types": ["quote"]}):
            with pytest.raises(Conflict, match=f"{session.id}.*--replan"):
                await room.week(**other)


async def test_a_replan_keeps_what_was_sealed_and_replaces_the_rest(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        first = await room.drafted()
        kept, *others = await room.pieces(first)
        await approve(room, kept)
        with pytest.raises(Conflict, match="run the same command again"):
            await room.week(theme="sleep", replan=True, by="ann")
        await room.work(patience=timedelta(seconds=5))
        assert (await room.session(first)).status is SessionStatus.CANCELLED
        assert await room.states(first) == [S.APPROVED, S.CANCELLED, S.CANCELLED]
        second = await room.week(theme="sleep", replan=True, by="ann")
        assert (second.plan, second.theme) == (2, "A week of sleep")
        await room.work()
        assert (await room.piece(kept)).state is S.APPROVED
        made = [piece for piece in await room.pieces(second) if piece.id]
        assert len(made) == 2, "the sealed piece keeps its slot"
        assert not {piece.id for piece in made} & {kept.id, *(piece.id for piece in others)}
        assert [slot.state for slot in [await room.slot(piece) for piece in made]] == [S.WAITING] * 2
        for piece in made:
            await approve(room, piece)
        second = await room.session(second)
        assert second.status is SessionStatus.DONE
        assert len(second.outcome["skipped"]) == 1
        assert "taken by another piece" in next(iter(second.outcome["skipped"].values()))
        assert (await room.week(theme="sleep", replan=True)).id == second.id


async def test_days_that_have_passed_are_not_planned_and_the_session_says_so(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 12, 15, 12, 0, tzinfo=UTC))  # the Tuesday of that week, after its slot
    async with room_of(tmp_path, clock=clock) as room:
        session = await room.drafted()
        assert [slot.day for slot in session_slots(session)] == [3]
        assert session.request["passed"] == 2
        assert len(await room.pieces(session)) == 1
        clock.advance(timedelta(days=7))
        with pytest.raises(BadInput, match="all of its 3 slots have passed"):
            await room.week(replan=True, theme="sleep", cycle_key="2026-W51")


async def test_a_week_too_far_ahead_or_empty_is_refused(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        with pytest.raises(BadInput, match="days ahead"):
            await room.week(cycle_key="2029-W01")
        with pytest.raises(BadInput, match="no cell in its grid"):
            await room.week(platforms=["youtube"])


async def test_impossible_cells_are_skipped_with_the_reason(tmp_path: Path) -> None:
    grid = (("monday", "facebook", "quote", "08:00"), ("monday", "youtube", "quote", "08:00"))
    async with room_of(tmp_path, grid) as room:
        session = await room.drafted()
        (piece,) = await room.pieces(session)
        assert piece.platform == "facebook"
        await approve(room, piece)
        outcome = (await room.session(session)).outcome
        assert list(outcome["skipped"].values()) == ["youtube has no quote"]


async def test_a_week_of_impossible_cells_goes_straight_to_its_report(tmp_path: Path) -> None:
    async with room_of(tmp_path, (("monday", "youtube", "quote", "08:00"),)) as room:
        session = await room.drafted()
        assert (session.status, session.outcome["pieces"]) == (SessionStatus.DONE, [])


async def test_research_that_fails_for_one_day_loses_that_days_pieces_alone(tmp_path: Path) -> None:
    script = different()

    def research(material: Mapping[str, Any]) -> BriefAnswer | None:
        if material["day"]["title"] == "Light on tuesday":
            raise ModelRefused("nothing to say about that day")
        return None

    script.research = research
    async with room_of(tmp_path, script=script) as room:
        session = await room.drafted()
        assert await room.states(session) == [S.WAITING, S.FAILED, S.WAITING]
        failed = (await room.pieces(session))[1]
        assert failed.reason == "research: ModelRefused: nothing to say about that day"
        tried = [asked for asked in script.asked if asked.get("task") == "brief"]
        assert len(tried) == 2 + cycle_graph.RESEARCH_ROUNDS
        row = await room.records.get(Assignment, session_id=session.id, id=brief_id(session.id, 2))
        assert row.status == "failed"
        assert session.status is SessionStatus.WAITING


async def test_research_that_fails_once_is_tried_again_and_nothing_is_lost(tmp_path: Path) -> None:
    script, left = different(), [1]

    def research(_: Mapping[str, Any]) -> BriefAnswer | None:
        if left:
            left.pop()
            raise ModelRefused("not now")
        return None

    script.research = research
    async with room_of(tmp_path, script=script) as room:
        session = await room.drafted()
        assert await room.states(session) == [S.WAITING] * 3
        rows = await room.records.list_rows(Assignment, session_id=session.id)
        assert {row.status for row in rows if row.agent_type == AgentType.RESEARCH} == {"completed"}
        for piece in await room.pieces(session):
            await approve(room, piece)
        assert (await room.session(session)).outcome["failures"] == {}


async def test_who_did_what_and_waited_on_whom_stands_in_agent_coordination(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        session = await room.drafted()
        rows = await room.records.list_rows(Assignment, session_id=session.id)
        by = {(row.agent_type, row.task_description.split()[0]): row for row in rows}
        plan, write, check = by["coordination", "plan"], by["creation", "write"], by["compliance", "check"]
        briefs = [row for row in rows if row.agent_type == "research"]
        assert plan.status == "completed"
        assert len(briefs) == 3
        assert {row.dependencies for row in briefs} == {(plan.id,)}
        assert set(write.dependencies) == {row.id for row in briefs}
        assert check.dependencies == (write.id,)
        assert {row.status for row in rows} == {"completed"}
        assert "3 waiting" in check.results


async def test_one_open_review_never_holds_the_week(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        session = await room.drafted()
        assert session.outcome["pieces"], "the graph has reported while three humans are still asked"
        names = {event.name for event in await room.events()}
        assert {"session.started", "cycle.planned", "brief.made", "cycle.dispatched", "cycle.reported"} <= names
        assert "session.waiting" in names


async def test_a_look_too_many_at_an_ended_session_does_nothing(tmp_path: Path) -> None:
    async with room_of(tmp_path, approval='"flagged"', rules_only_ok="true") as room:
        session = await room.drafted()
        assert session.status is SessionStatus.DONE
        before = [session, *await room.pieces(session), *await room.events()]
        asked = len(room.script.asked)
        tasks = [advance_session_task(BRAND, session.id, room.clock)]
        tasks += [advance_piece_task(BRAND, piece.id, room.clock) for piece in await room.pieces(session)]
        await room.runtime.queue.enqueue(*tasks)
        await room.work()
        assert len(room.script.asked) == asked
        after = [await room.session(session), *await room.pieces(session), *await room.events()]
        assert [row.model_copy(update={"row_version": 0}) for row in after] == [
            row.model_copy(update={"row_version": 0}) for row in before
        ]
        await reconcile(room.runtime)
        assert await room.runtime.queue.find(f"advance:{session.id}") is None


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 100])
async def test_a_cancel_ends_the_session_wherever_it_stands_with_nothing_left_open(tmp_path: Path, steps: int) -> None:
    """Before the plan, after the dispatch, while pieces are drafted, while they wait."""
    async with room_of(tmp_path) as room:
        session = await room.week()
        await room.work(most=steps)
        await assert_nothing_is_open(room, await cancel(room, session))


async def test_a_cancel_in_the_middle_of_research_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = different()
    async with room_of(tmp_path, script=script) as room:
        session = await room.week()
        real, begun = cycle_graph.research.make_brief, []

        async def slowly(*args: Any, **named: Any) -> Any:
            begun.append(1)
            await request_cancel(room.runtime, room.records, session, by="ann")
            return await real(*args, **named)

        monkeypatch.setattr(cycle_graph.research, "make_brief", slowly)
        await room.work(patience=timedelta(seconds=5))
        assert begun
        assert await room.pieces(session) == [], "no piece is made after the flag was set"
        await assert_nothing_is_open(room, await room.session(session))


async def test_a_cancel_keeps_what_was_sealed(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        session = await room.drafted()
        await approve(room, (await room.pieces(session))[0])
        ended = await cancel(room, session)
        assert ended.status is SessionStatus.CANCELLED
        assert "approved pieces stay" in ended.reason
        assert await room.states(session) == [S.APPROVED, S.CANCELLED, S.CANCELLED]


async def test_a_cancelled_pieces_slot_is_free_for_the_next_plan(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        session = await room.drafted()
        await cancel(room, session)
        again = await room.week(replan=True)
        await room.work()
        assert again.plan == 2
        assert await room.states(again) == [S.WAITING] * 3


@pytest.mark.parametrize("graph", ["cycle", "piece"])
async def test_a_thread_of_a_newer_graph_waits_for_a_newer_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph: str
) -> None:
    real = thread._version
    async with room_of(tmp_path, THREE[:1]) as room:
        session = await room.week()
        with monkeypatch.context() as newer:
            newer.setattr(thread, "_version", lambda name: real(name) + (name == graph))
            await room.work()
        (piece,) = await room.pieces(session)
        decided = await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.APPROVED, by="ann")
        assert decided.won
        await room.work()
        if graph == "piece":
            assert (await room.piece(piece)).state is S.WAITING, "it is parked"
            task = await room.runtime.queue.find(f"advance:{piece.id}")
            assert task is not None
            assert task.run_at > room.clock.now()
        monkeypatch.setattr(thread, "_version", lambda name: real(name) + (name == graph))
        await room.work(patience=timedelta(seconds=70))
        assert (await room.piece(piece)).state is S.APPROVED
        assert (await room.session(session)).status is SessionStatus.DONE


async def test_a_thread_of_an_older_graph_fails_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = thread._version
    async with room_of(tmp_path, THREE[:1]) as room:
        session = await room.drafted()
        (piece,) = await room.pieces(session)
        monkeypatch.setattr(thread, "_version", lambda name: real(name) + 1)
        await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.APPROVED, by="ann")
        await room.work(patience=timedelta(minutes=30))
        piece = await room.piece(piece)
        assert piece.state is S.FAILED
        assert "session resume" in piece.reason
        assert "--from-draft" in piece.reason


async def test_when_only_reservations_block_the_work_waits_uncounted(tmp_path: Path) -> None:
    script, left = different(), [1, 1]
    write = script.write

    def wait(material: Mapping[str, Any]) -> Any:
        if left:
            left.pop()
            raise OverBudget("the envelope is reserved", asked_usd=1.0, left_usd=0.0, blocked_by_reservations=True)
        assert write is not None
        return write(material)

    script.write = wait
    async with room_of(tmp_path, THREE[:1], script=script) as room:
        session = await room.drafted()
        (piece,) = await room.pieces(session)
        assert (piece.state, piece.attempts) == (S.DRAFTING, 0)
        await room.work(patience=timedelta(seconds=40))
        piece = await room.piece(piece)
        assert (piece.state, piece.attempts, piece.dead_letter) == (S.WAITING, 0, "")


async def test_when_the_money_is_gone_the_session_finishes_with_what_exists(tmp_path: Path) -> None:
    script, made = different(), [1]
    write = script.write

    def once(material: Mapping[str, Any]) -> Any:
        if not made:
            raise OverBudget(
                "the session's 5.00 USD are spent: add to them",
                asked_usd=1.0,
                left_usd=0.0,
                blocked_by_reservations=False,
            )
        made.pop()
        assert write is not None
        return write(material)

    script.write = once
    async with room_of(tmp_path, script=script) as room:
        session = await room.drafted()
        states = await room.states(session)
        assert sorted(states) == [S.FAILED, S.FAILED, S.WAITING]
        for piece in await room.pieces(session):
            if piece.state is S.FAILED:
                assert piece.reason == "over budget: the session's 5.00 USD are spent: add to them"
        assert "2 pieces failed" in session.reason
        await approve(room, next(p for p in await room.pieces(session) if p.state is S.WAITING))
        done = await room.session(session)
        assert done.status is SessionStatus.DONE
        assert "over budget: the session's 5.00 USD are spent: add to them" in done.reason


async def test_money_gone_before_anything_was_planned_fails_the_session_and_says_how_it_goes_on(
    tmp_path: Path,
) -> None:
    async with room_of(tmp_path) as room:

        async def broke(*_: Any, **__: Any) -> Any:
            raise OverBudget(
                "the day's 20.00 USD are spent: wait for the next",
                asked_usd=1.0,
                left_usd=0.0,
                blocked_by_reservations=False,
            )

        session = await room.week()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(cycle_graph.coordination, "plan_days", broke)
            await room.work()
        failed = await room.session(session)
        assert failed.status is SessionStatus.FAILED
        assert failed.reason == "over budget: the day's 20.00 USD are spent: wait for the next"


async def test_the_session_database_may_vanish_in_the_middle_of_a_session(tmp_path: Path) -> None:
    clock = ManualClock()
    async with room_of(tmp_path, clock=clock) as room:
        session = await room.week()
        await room.work(most=2)
    lose(tmp_path, "session.db")
    async with room_of(tmp_path, clock=clock) as room:
        await reconcile(room.runtime)
        await room.work(patience=timedelta(seconds=40))
        assert await room.states(session) == [S.WAITING] * 3
        assert (await room.session(session)).status is SessionStatus.WAITING


async def test_queues_that_were_wiped_are_filled_again_and_the_week_ends_the_same(tmp_path: Path) -> None:
    clock = ManualClock()
    async with room_of(tmp_path, clock=clock) as room:
        session = await room.week()
        await room.work(most=2)
    lose(tmp_path, "queue.db")
    async with room_of(tmp_path, clock=clock) as room:
        assert await room.work() == 0
        await reconcile(room.runtime)
        await room.work()
        assert await room.states(session) == [S.WAITING] * 3
        assert GENERATION_QUEUE not in await room.runtime.queue.depths(), "nothing is left in it"
