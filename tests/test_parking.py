"""A model or platform that is away: work is parked, says so, and goes on by itself; what only a human can mend is not tried again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from config.clock import ManualClock
from config.errors import SettingsError, Unavailable
from config.settings import Settings
from config.vocabulary import UNSETTLED, Decision, PieceState, SessionStatus
from memory.queue.protocol import GENERATION_QUEUE
from memory.rows.content import Piece
from memory.rows.sessions import Session, Usage
from runtime.breaker import Breaker
from runtime.commands.common import run_session
from runtime.commands.session import resume
from runtime.commands.why import piece_story, session_story
from runtime.compose import open_runtime
from runtime.parking import LONGEST_WAIT, parked_since, wait_of
from runtime.reconcile import derive_tasks, reconcile
from runtime.reviews import decide
from runtime.worker import Worker
from tests.fakes.newsroom import BRAND, Newsroom, Script, open_newsroom, words
from tests.fakes.openai_server import Reply, serve_openai

DAY = timedelta(hours=24)
ONE = (("monday", "facebook", "quote", "08:00"),)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Model:
    """A model of which the test says whether it is there."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0
        self.script = Script(write=self.write, research=self.research)

    def _answer(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error

    def write(self, material: Any) -> Any:
        self._answer()
        return words(f"Morning light helps set the body clock. {material.get('ordinal', '')}")

    def research(self, material: Any) -> None:
        self._answer()


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
async def room(tmp_path: Path, model: Model) -> AsyncIterator[Newsroom]:
    async with open_newsroom(tmp_path, script=model.script, grid=ONE) as room:
        yield room


async def for_a_while(room: Newsroom, duration: timedelta, *, step: timedelta = timedelta(seconds=30)) -> None:
    """Work and reconcile as time passes."""
    while duration > timedelta(0):
        await room.work()
        await reconcile(room.runtime)
        room.clock.advance(step)
        duration -= step


async def drafting(room: Newsroom, model: Model) -> tuple[Session, Piece]:
    """A week whose one piece is to be written, by a model that has just gone away."""
    session = await room.week()
    while not (pieces := await room.pieces(session)) or pieces[0].state is PieceState.WAITING:
        await room.work(most=1)
    model.error = Unavailable("model 'gpt' is not available (HTTP 503): try again")
    await room.work()
    return session, (await room.pieces(session))[0]


async def test_a_piece_whose_model_is_away_for_hours_is_parked_and_written_when_it_is_back(
    room: Newsroom, model: Model
) -> None:
    session, piece = await drafting(room, model)
    assert piece.state in UNSETTLED
    assert parked_since(piece) is not None
    assert piece.retry_at is not None
    await for_a_while(room, timedelta(hours=3), step=timedelta(minutes=2))
    piece = await room.piece(piece)
    assert (piece.attempts, piece.dead_letter, piece.state in UNSETTLED) == (0, "", True)
    assert "HTTP 503" in piece.reason
    assert (await room.session(session)).status is SessionStatus.RUNNING
    assert await room.runtime.queue.list_dead() == []
    model.error = None
    await for_a_while(room, timedelta(minutes=6))
    assert await room.states(session) == [PieceState.WAITING]
    piece = await room.piece(piece)
    assert parked_since(piece) is None
    assert (piece.retry_at, piece.attempts) == (None, 0)
    assert (await room.session(session)).status is SessionStatus.WAITING


async def test_what_is_parked_says_since_when_and_why_in_every_view(room: Newsroom, model: Model) -> None:
    _session, piece = await drafting(room, model)
    since = parked_since(piece)
    assert since is not None
    assert piece.reason.startswith(f"parked since {since:%Y-%m-%dT%H:%M:%S}Z, goes on by itself: ")
    for _ in range(3):
        room.clock.advance(LONGEST_WAIT)
        await room.work()
    assert parked_since(await room.piece(piece)) == since, "since when it was first away, not since the last look"
    events = [event.name for event in await room.events()]
    assert events.count("piece.parked") == 1, "told once, not at each look"
    story = " ".join(entry["what"] for entry in await piece_story(room.runtime, room.records, piece))
    assert "parked" in story
    model.error = None
    room.clock.advance(LONGEST_WAIT)
    await room.work()
    assert [event.name for event in await room.events()].count("piece.unparked") == 1


async def test_a_week_whose_research_finds_no_model_is_parked_after_its_other_days_and_no_round_is_counted(
    tmp_path: Path,
) -> None:
    days = ("monday", "tuesday", "wednesday")
    asked: list[str] = []
    away = {"tuesday"}

    def research(material: Any) -> None:
        day = next(day for day in days if day in str(material).lower())
        asked.append(day)
        if day in away:
            raise Unavailable("no answer", retry_after=timedelta(seconds=100))

    async with open_newsroom(
        tmp_path, script=Script(research=research), grid=tuple((day, "facebook", "quote", "08:00") for day in days)
    ) as room:
        session = await room.week()
        for n in range(5):  # more often than a day that really fails is tried
            await room.work()
            row = await room.session(session)
            assert row.status is SessionStatus.RUNNING
            assert parked_since(row) is not None
            assert row.retry_at is not None
            assert row.retry_at >= room.clock.now() + timedelta(seconds=100), "as the server asked"
            assert sorted(asked) == sorted([*days, *["tuesday"] * n]), "nobody pays twice for a day that has its Brief"
            room.clock.advance(LONGEST_WAIT)
        story = await session_story(room.runtime, room.records, await room.session(session))
        assert any("parked" in entry["what"] for entry in story)
        away.clear()
        await room.work()
        row = await room.session(session)
        assert row.status is SessionStatus.WAITING
        assert (row.attempts, parked_since(row)) == (0, None)
        assert await room.states(session) == [PieceState.WAITING] * 3


async def test_a_parked_piece_outlives_a_queue_that_forgot_everything(room: Newsroom, model: Model) -> None:
    session, piece = await drafting(room, model)
    since = parked_since(piece)
    await room.runtime.queue.remove(f"advance:{piece.id}", f"advance:{session.id}")
    assert f"advance:{piece.id}" not in {task.id for task in await derive_tasks(room.runtime, room.records)}
    room.clock.advance(LONGEST_WAIT)
    await reconcile(room.runtime)
    await room.work()
    assert parked_since(await room.piece(piece)) == since
    model.error = None
    room.clock.advance(LONGEST_WAIT)
    await reconcile(room.runtime)
    await room.work()
    assert await room.states(session) == [PieceState.WAITING]


async def test_what_is_away_for_longer_than_the_limit_is_given_up_with_its_reason(room: Newsroom, model: Model) -> None:
    session, piece = await drafting(room, model)
    await for_a_while(room, DAY - timedelta(minutes=10), step=timedelta(minutes=55))
    assert (await room.piece(piece)).state in UNSETTLED
    await for_a_while(room, timedelta(minutes=20), step=timedelta(minutes=5))
    piece = await room.piece(piece)
    assert piece.state is PieceState.FAILED
    assert "away for longer than 1 day" in piece.dead_letter
    assert "HTTP 503" in piece.dead_letter
    row = await room.session(session)
    assert row.status is SessionStatus.DONE
    assert "1 pieces failed" in row.reason


async def test_an_approval_whose_embedder_is_away_is_applied_when_it_is_back(
    room: Newsroom, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await room.drafted()
    [piece] = await room.pieces(session)
    embed = type(room.runtime.embedder).embed_documents

    async def away(*_: Any) -> Any:
        raise Unavailable("the embedder is away")

    monkeypatch.setattr(type(room.runtime.embedder), "embed_documents", away)
    monkeypatch.setattr(type(room.runtime.embedder), "embed_query", away)
    await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.APPROVED, by="ann")
    await for_a_while(room, timedelta(hours=1), step=timedelta(minutes=3))
    piece = await room.piece(piece)
    if piece.state is PieceState.WAITING:
        assert "the embedder is away" in piece.reason
    assert await room.runtime.queue.list_dead() == []
    monkeypatch.setattr(type(room.runtime.embedder), "embed_documents", embed)
    monkeypatch.undo()
    await for_a_while(room, timedelta(minutes=10), step=timedelta(minutes=1))
    piece = await room.piece(piece)
    assert piece.state is PieceState.APPROVED
    assert parked_since(piece) is None


async def test_a_key_that_is_refused_blocks_at_once_and_goes_on_after_mending_and_resuming(
    room: Newsroom, model: Model
) -> None:
    session = await room.week()
    while not await room.pieces(session):
        await room.work(most=1)
    model.error, before = (
        SettingsError("model 'gpt' does not accept the key (HTTP 401): check OPENAI_API_KEY"),
        model.asked,
    )
    await room.work()
    assert model.asked == before + 1, "no retry"
    [piece] = await room.pieces(session)
    assert piece.state is PieceState.FAILED
    assert "blocked by the settings" in piece.reason
    assert "OPENAI_API_KEY" in piece.reason
    assert "session resume" in piece.reason
    assert "OPENAI_API_KEY" in (await room.session(session)).reason
    for _ in range(3):
        await for_a_while(room, timedelta(minutes=10))
    assert model.asked == before + 1, "nobody asks again by himself"
    model.error = None
    args = SimpleNamespace(by="ann", add_usd=0.0, from_draft=False, detach=True, json=True, brand=BRAND)
    assert await resume(room.runtime, BRAND, await room.session(session), args)  # type: ignore[arg-type]
    await room.work(patience=timedelta(seconds=5))
    assert await room.states(session) == [PieceState.WAITING]


async def test_a_week_that_was_never_planned_for_want_of_a_key_is_blocked_and_resumed(
    room: Newsroom, model: Model
) -> None:
    model.error = SettingsError("model 'gpt' is not known to the server (HTTP 404): check COPYDESK_MODEL")
    session = await room.week()
    await for_a_while(room, timedelta(minutes=10))
    assert model.asked == 1
    row = await room.session(session)
    assert row.status is SessionStatus.FAILED
    assert "blocked by the settings" in row.reason
    assert "COPYDESK_MODEL" in row.reason
    model.error = None
    args = SimpleNamespace(by="ann", add_usd=0.0, from_draft=False, detach=True, json=True, brand=BRAND)
    assert await resume(room.runtime, BRAND, row, args)  # type: ignore[arg-type]
    await room.work(patience=timedelta(seconds=5))
    assert await room.states(session) == [PieceState.WAITING]


async def test_records_that_refuse_their_token_open_the_breaker_and_bury_nothing(room: Newsroom) -> None:
    class Refusing:
        def __getattr__(self, name: str) -> Any:
            return getattr(room.runtime.records, name)

        def all_brands(self) -> Any:
            raise SettingsError("AstraDB does not accept the token: check COPYDESK_ASTRA_TOKEN")

    breaker = Breaker(Refusing(), room.clock)
    for _ in range(3):
        assert await breaker.caused(SettingsError("no"))
    assert breaker.is_open
    await breaker.close()
    healthy = Breaker(room.runtime.records, room.clock)
    assert not await healthy.caused(SettingsError("the model's key")), "Records answer: it is not they who refuse"
    await healthy.close()


async def test_a_command_does_not_wait_for_a_model_that_is_away_but_says_who_goes_on(
    room: Newsroom, model: Model
) -> None:
    session, _piece = await drafting(room, model)
    room.clock.advance(timedelta(minutes=10))
    await room.work()  # the next look is minutes away by now
    with pytest.raises(Unavailable, match=r"parked since .*HTTP 503.*session resume"):
        async with asyncio.timeout(30):
            await run_session(room.runtime, await room.session(session), show=False)


def test_waits_grow_with_the_absence_up_to_five_minutes_and_honour_what_was_asked_for() -> None:
    for away_for, least, most in ((0, 1, 2), (60, 15, 30), (600, 150, 300), (86_400, 150, 300)):
        waits = [wait_of(Unavailable("away"), timedelta(seconds=away_for)).total_seconds() for _ in range(50)]
        assert least <= min(waits) <= max(waits) <= most
        assert len(set(waits)) > 1, "everybody would come back at once"
    asked = Unavailable("slow down", retry_after=timedelta(seconds=120))
    assert wait_of(asked, timedelta(0)) == timedelta(seconds=120)
    assert wait_of(Unavailable("x", retry_after=timedelta(days=9)), timedelta(0)) == LONGEST_WAIT


@asynccontextmanager
async def open_desk(folder: Path, base_url: str, clock: ManualClock) -> AsyncIterator[Newsroom]:
    settings = Settings(
        data_dir=folder, model="openai:gpt-4o-mini", openai_base_url=base_url, openai_api_key="k",
    )  # fmt: skip
    async with open_runtime(settings, clock=clock) as runtime:
        yield Newsroom(runtime, clock, Script())


@pytest.mark.parametrize(("status", "parked"), [(503, True), (429, True), (401, False), (403, False), (404, False)])
async def test_what_a_real_server_answers_decides_between_parking_and_blocking(
    tmp_path: Path, status: int, parked: bool
) -> None:
    from tests.fakes.newsroom import write_brand

    write_brand(tmp_path / "brands" / BRAND, grid=ONE)
    clock = ManualClock()
    async with serve_openai(Reply(status=status)) as server, open_desk(tmp_path, server.base_url, clock) as room:
        session = await room.week()
        await room.work()
        row = await room.session(session)
        asked = len(server.requests)
        if parked:
            assert row.status is SessionStatus.RUNNING
            assert str(status) in row.reason
            assert parked_since(row) is not None
            assert (await room.runtime.queue.depths())[GENERATION_QUEUE].delayed == 1
        else:
            assert row.status is SessionStatus.FAILED
            assert "blocked by the settings" in row.reason
            assert asked == 1
        spent = await room.records.list_rows(Usage, day=clock.now().date().isoformat())
        assert len(spent) == asked
        assert sum(one.cost_usd for one in spent) == 0, "a refusal costs nothing"


def test_a_parked_task_is_no_failure_of_the_worker(tmp_path: Path) -> None:
    async def run() -> Worker:
        model = Model()
        async with open_newsroom(tmp_path, script=model.script, grid=ONE) as room:
            await drafting(room, model)
            return Worker(room.runtime, upkeep=False)

    assert asyncio.run(run()).failed == 0
