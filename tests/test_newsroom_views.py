"""What agents remember from week to week, and what people see of a session while it runs; no session needs any of it."""

from pathlib import Path
from typing import Any

from agents.agent import Brief
from config.errors import Damaged
from config.vocabulary import Decision, PieceState
from graphs.used import AGAIN, without_used
from memory.cache.protocol import AGENT_TTL, COORD_TTL
from memory.rows.agents import AgentMemory
from memory.rows.content import Revision
from memory.rows.sessions import Assignment, Session
from runtime.reviews import decide
from tests.fakes.newsroom import BRAND, Newsroom, Script, a_brief, open_newsroom, words

ONE = (("monday", "facebook", "quote", "08:00"),)


async def brief_of(room: Newsroom, session: Session) -> Brief:
    (piece,) = await room.pieces(session)
    row = await room.records.get(Assignment, session_id=session.id, id=piece.brief_id)
    return Brief.model_validate_json(row.results)


async def sealed(room: Newsroom, session: Session) -> Revision:
    (piece,) = await room.pieces(session)
    await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.APPROVED, by="ann")
    await room.work()
    piece = await room.piece(piece)
    assert piece.state is PieceState.APPROVED
    return await room.records.get(Revision, content_id=piece.id, content_hash=piece.sealed_hash)


async def test_the_next_weeks_research_leaves_out_what_was_said_this_week(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE) as room:
        said = set((await sealed(room, await room.drafted())).citations)
        assert said
        brief = await brief_of(room, await room.drafted(cycle_key="2026-W52"))
        assert brief.facts
        assert not said & {fact.text for fact in brief.facts}
        assert {line.removesuffix(f": {AGAIN}") for line in brief.avoided} >= said


async def test_the_next_weeks_research_leaves_out_what_still_waits_for_a_human(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE) as room:
        (piece,) = await room.pieces(await room.drafted())
        assert piece.state is PieceState.WAITING
        said = set((await room.records.get(Revision, content_id=piece.id, content_hash=piece.content_hash)).citations)
        brief = await brief_of(room, await room.drafted(theme="sleep", cycle_key="2026-W52"))
        assert said
        assert brief.facts
        assert not said & {fact.text for fact in brief.facts}


async def test_what_was_turned_down_may_be_said_the_next_week(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE) as room:
        (piece,) = await room.pieces(await room.drafted())
        said = set((await room.records.get(Revision, content_id=piece.id, content_hash=piece.content_hash)).citations)
        await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.REJECTED, by="ann")
        await room.work()
        brief = await brief_of(room, await room.drafted(cycle_key="2026-W52"))
        assert said <= {fact.text for fact in brief.facts}


async def test_what_was_said_long_ago_may_be_said_again(tmp_path: Path) -> None:
    from datetime import timedelta

    async with open_newsroom(tmp_path, grid=ONE) as room:
        said = set((await sealed(room, await room.drafted())).citations)
        room.clock.advance(timedelta(days=29))
        brief = await brief_of(room, await room.drafted(cycle_key="2027-W04"))
        assert said <= {fact.text for fact in brief.facts}


async def test_what_was_never_sealed_was_never_said(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE) as room:
        await room.drafted()
        rows = await room.records.find_by(AgentMemory, brand=BRAND)
        assert not [row for row in rows if row.memory_key.startswith("used:")]


def test_used_sentences_are_left_out_and_named_as_a_gap_where_there_are_not_enough_new_ones() -> None:
    brief = a_brief("one", "two", "three")
    enough = without_used(brief, {"one"}, pieces=2)
    assert ([fact.text for fact in enough.facts], enough.gaps) == (["two", "three"], ())
    few = without_used(brief, {"one", "two"}, pieces=2)
    assert [fact.text for fact in few.facts] == ["three"]
    assert few.gaps[0].startswith("2 sentences about 'Light' were said in the last four weeks")
    assert without_used(brief, (), pieces=2) == brief


async def test_people_see_who_does_what_while_it_is_fresh(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE) as room:
        session = await room.drafted()
        cache = room.runtime.cache.for_brand(BRAND)
        seen = [await cache.get(f"agent:{name}:{session.id}") for name in ("research", "creation", "compliance")]
        assert all(seen)
        stream = room.runtime.events.for_brand(BRAND)
        names = [event.name for event in (await stream.read(session.id)).events]
        assert [name for name in names if name != "tools.used"][:2] == ["session.started", "cycle.planned"]
        assert {"brief.made", "cycle.dispatched", "draft.started", "piece.drafting", "cycle.reported"} <= set(names)
        room.clock.advance(AGENT_TTL)
        assert await cache.get(f"agent:research:{session.id}") is None
        room.clock.advance(COORD_TTL)
        assert not (await stream.read(session.id)).events


async def test_a_draft_that_was_replaced_is_kept_as_a_variant(tmp_path: Path) -> None:
    def write(material: Any) -> Any:
        text = "Light is quiet." if material.get("findings") else "Light cures cancer."
        return words(text, slides=[text], alt_text=["A card"], media_prompts=["A card"])

    async with open_newsroom(tmp_path, grid=ONE, script=Script(write=write)) as room:
        (piece,) = await room.pieces(await room.drafted())
        (variant,) = await room.runtime.user_sessions.for_brand(BRAND).list_variants()
        assert variant.content_data["caption"] == "Light cures cancer."
        assert variant.generation_metadata["piece_id"] == piece.id


async def test_progress_is_read_off_the_rows(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE) as room:
        views = room.runtime.user_sessions.for_brand(BRAND)
        session = await room.week()
        await room.work(most=1)
        begun = await views.find_batch(session.id)
        assert begun is not None
        assert (begun.status, begun.total_items, begun.completed_items, begun.failed_items) == ("processing", 1, 0, 0)
        await room.work()
        await sealed(room, session)
        done = await views.find_batch(session.id)
        assert done is not None
        assert (done.status, done.completed_items, done.results) == ("completed", 1, {"approved": 1})


async def test_a_cache_and_a_session_database_that_cannot_be_written_cost_nothing_but_the_view(tmp_path: Path) -> None:
    class Broken:
        def for_brand(self, _: str) -> Any:
            return self

        def __getattr__(self, name: str) -> Any:
            async def call(*_: Any, **__: Any) -> Any:
                raise Damaged("the session database is gone")

            return call

    async with open_newsroom(tmp_path, grid=ONE) as room:
        session = await room.week()
        room.runtime.user_sessions = Broken()  # type: ignore[assignment]
        await room.work()
        assert await room.states(session) == [PieceState.WAITING]
