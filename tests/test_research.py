"""Research: one Brief a day from knowledge, guidelines, past posts and memory, and sources that are named to the end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.agent import Brief
from agents.answers import CheckAnswer
from config.vocabulary import Decision, PieceState
from memory.knowledge import add_document, chunk_id, parse_document, revoke
from memory.rows.agents import AgentMemory
from memory.rows.content import Piece, Revision
from memory.rows.sessions import Assignment, Session
from runtime.reviews import decide
from tests.cli_support import Cli, cli, quiet_process
from tests.fakes.newsroom import BRAND, Newsroom, Script, open_newsroom

__all__ = ["cli", "quiet_process"]  # fixtures
ONE = (("monday", "facebook", "quote", "08:00"),)
TWO = (*ONE, ("tuesday", "facebook", "quote", "08:00"))


async def brief_of(room: Newsroom, session: Session) -> Brief:
    piece = (await room.pieces(session))[0]
    row = await room.records.get(Assignment, session_id=session.id, id=piece.brief_id)
    return Brief.model_validate_json(row.results)


async def seal(room: Newsroom, session: Session) -> list[Revision]:
    """Approve every piece; their sealed revisions."""
    out = []
    for piece in await room.pieces(session):
        await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.APPROVED, by="ann")
    await room.work()
    for piece in await room.pieces(session):
        assert piece.state is PieceState.APPROVED
        out.append(await room.records.get(Revision, content_id=piece.id, content_hash=piece.sealed_hash))
    return out


async def learn(room: Newsroom, name: str, text: str) -> str:
    """Add a document of one chunk; its passage's id."""
    clock, embedder = room.clock, room.runtime.embedder
    document = parse_document(text.encode(), name)
    await add_document(room.records, embedder, clock, name=f"{name}.md", path="", document=document)
    return chunk_id(BRAND, f"{name}.md", 1, 0)


async def calls_of(room: Newsroom, actor: str) -> list[str]:
    return [
        call["tool"]
        for event in await room.events()
        if event.name == "tools.used" and event.actor == actor
        for call in event.detail["calls"]
    ]


async def test_a_brief_is_made_from_knowledge_memory_past_posts_guidelines_and_claims(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE) as room:
        await room.drafted()
        assert await calls_of(room, "research") == [
            "search_knowledge",
            "recall",
            "past_content",
            "guidelines",
            "claims",
        ]
        assert "past_content" in await calls_of(room, "coordination")


async def test_creation_and_compliance_read_through_tools_too(tmp_path: Path) -> None:
    script = Script(read=lambda _: CheckAnswer(concerns=[], confidence=1.0))
    async with open_newsroom(tmp_path, grid=ONE, script=script) as room:
        await room.drafted()
        assert await calls_of(room, "creation") == ["guidelines", "platform_limits", "readability"]
        assert await calls_of(room, "compliance") == ["guidelines"] * 3, "one for each check that a model reads"
        (made,) = [m for m in await room.records.find_by(AgentMemory, brand=BRAND) if m.memory_key.startswith("draft:")]
        assert "; reading ease " in made.memory_content


async def test_what_the_brand_restricts_or_blocked_is_left_out_and_named(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE) as room:
        folder = tmp_path / "brands" / BRAND
        (folder / "guidelines.toml").write_text(
            '[[guideline]]\ntype = "voice"\ntitle = "Plain"\nrestrictions = ["curtains"]\n'
            '[[guideline]]\ntype = "voice"\ntitle = "Not on X"\nrestrictions = ["screens"]\nplatforms = ["twitter"]\n'
        )
        (folder / "claims.toml").write_text(
            '[[claim]]\ntext = "Morning light helps set the body clock."\nstatus = "blocked"\n'
        )
        brief = await brief_of(room, await room.drafted())
        said = " ".join(fact.text for fact in brief.facts)
        assert "urtains" not in said
        assert "body clock" not in said
        assert "Screens" in said, "what holds on another platform alone is no reason to leave it out here"
        why = "\n".join(brief.avoided)
        assert "Curtains keep out street light.: holds 'curtains', against guideline 'Plain'" in why
        assert "Morning light helps set the body clock.: is a claim that the brand blocked" in why


async def test_what_was_said_lately_is_left_out_also_when_the_agents_forgot(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE) as room:
        (revision,) = await seal(room, await room.drafted())
        for memory in await room.records.find_by(AgentMemory, brand=BRAND):
            await room.records.delete(AgentMemory, id=memory.id)
        brief = await brief_of(room, await room.drafted(cycle_key="2026-W52"))
        assert revision.citations
        assert brief.facts
        assert not set(revision.citations) & {fact.text for fact in brief.facts}


async def test_past_content_is_what_was_sealed_or_waits_in_the_weeks_before_and_nothing_else(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=TWO) as room:
        session = await room.drafted()
        box = room.runtime.graph_context(BRAND, guard=_Held(), session_id="s").agent.toolbox("coordination")  # type: ignore[arg-type]

        async def past(before: str, **more: Any) -> list[dict[str, Any]]:
            return (await box.call("past_content", before=before, **more)).value

        first, second = await room.pieces(session)
        assert {post["id"] for post in await past("2026-W52")} == {first.id, second.id}, (
            "what waits is about to be said"
        )
        await decide(room.runtime, BRAND, first.id, first.content_hash, Decision.APPROVED, by="ann")
        await decide(room.runtime, BRAND, second.id, second.content_hash, Decision.REJECTED, by="ann")
        await room.work()
        (post,) = await past("2026-W52")
        revision = await room.records.get(Revision, content_id=first.id, content_hash=first.content_hash)
        assert (post["id"], post["week"], post["theme"]) == (first.id, "2026-W51", "A week of light")
        assert post["day_theme"] == (await room.records.get(Piece, id=first.id)).theme
        assert post["sentences"] == list(revision.citations)
        assert post["opening"]
        assert await past("2026-W51") == [], "the week itself is not past"
        assert await past("2027-W02") == [post], "four weeks back, over the turn of a year with 53 weeks"
        assert await past("2027-W03") == []
        assert await past("2027-W03", weeks=12) == [post]


class _Held:
    token = "t"

    def ensure_held(self) -> None: ...

    async def extend(self) -> None: ...


async def test_research_goes_back_to_passages_that_it_remembers_from_other_sessions(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE, script=(script := Script())) as room:
        await room.runtime.ensure_brand(BRAND)
        lighthouse = await learn(room, "house", "The keeper trims the wick at four. Ships count on it.\n")
        gone = await learn(room, "gone", "The harbour was closed in spring.\n")
        await revoke(room.records, "gone.md", clock=room.clock)
        now = room.clock.now()

        def memory(key: str, session: str, sources: str, trust: str = "brand") -> AgentMemory:
            return AgentMemory(
                brand=BRAND, id=key, agent_type="research", memory_type="semantic", memory_key=key,
                memory_content=f"Light on monday goes well with {key}.", created_at=now, updated_at=now,
                context_data={"session": session, "source": sources, "trust": trust},
            )  # fmt: skip

        await room.records.put(memory("keeper", "old", f"{lighthouse} {gone}"))
        await room.records.put(memory("planted", "old", "x", trust="web"))
        session = await room.drafted()
        (material,) = [asked for asked in script.asked if asked.get("task") == "brief"]
        assert lighthouse in {passage["id"] for passage in material["passages"]}
        assert gone not in {passage["id"] for passage in material["passages"]}
        assert material["remembered"] == ["Light on monday goes well with keeper."], (
            "what the web planted is not remembered"
        )
        (made,) = [m for m in await room.records.find_by(AgentMemory, brand=BRAND) if m.memory_key.startswith("brief:")]
        assert made.memory_content.endswith("remembered: keeper")
        assert made.context_data["session"] == session.id


async def test_a_session_does_not_remember_itself_so_a_step_that_runs_again_makes_the_same_brief(
    tmp_path: Path,
) -> None:
    from agents import research
    from agents.agent import DayPlan
    from config.brand_profile import Theme

    async with open_newsroom(tmp_path, grid=ONE, script=(script := Script())) as room:
        await room.runtime.ensure_brand(BRAND)
        agent = room.runtime.graph_context(BRAND, guard=_Held(), session_id="s").agent  # type: ignore[arg-type]
        theme, day = Theme(name="light", title="Light", keywords=("light",)), DayPlan(day=1, title="Morning light")
        first = await research.make_brief(agent, theme, day, "2026-W51")
        assert first.facts
        assert await research.make_brief(agent, theme, day, "2026-W51") == first
        assert script.asked[0] == script.asked[1]


@pytest.mark.parametrize(("kind", "changes"), [("cycle", True), ("create", False)])
async def test_days_that_ran_lately_are_shown_from_another_side(kind: str, changes: bool) -> None:
    from agents.agent import DayPlan
    from agents.coordination import _apart

    day = DayPlan(day=1, title="Morning light", keywords=("morning light", "windows", "desk"))
    ran = ["Morning light"] if changes else []
    assert _apart(day, ran).title == ("Windows" if changes else "Morning light")
    assert _apart(day, [*ran, "Windows"]).title == ("Desk" if changes else "Morning light")
    assert _apart(day, ran, beside=["Desks by the window"]).title == "Morning light"


def test_the_second_title_is_a_phrase_rather_than_a_word_and_never_a_weekday() -> None:
    from agents.agent import DayPlan
    from agents.coordination import _apart

    day = DayPlan(
        day=6,
        title="Taste it at the counter",
        keywords=("saturday", "saturdays at ten", "counter", "time", "cold brew"),
    )
    assert _apart(day, ["taste it at the counter"]).title == "Cold brew"
    bare = day.model_copy(update={"keywords": ("saturday", "tin", "good time")})
    assert _apart(bare, [day.title]).title == day.title


async def test_a_theme_that_ran_last_week_is_planned_from_other_sides(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=TWO) as room:
        themes = tmp_path / "brands" / BRAND / "themes.toml"
        text = themes.read_text()
        for n, word in enumerate(("window", "lamp")):
            text = text.replace('keywords = ["light"]', f'keywords = ["light", "{word}", "desk {n}"]', 1)
        themes.write_text(text)
        first = await room.drafted()
        titles = [piece.theme for piece in await room.pieces(first)]
        assert titles == ["Light on monday", "Light on tuesday"]
        second = await room.drafted(cycle_key="2026-W52")
        others = ["Window", "Lamp"]
        assert [piece.theme for piece in await room.pieces(second)] == others, "what waits is about to run"
        for piece in await room.pieces(first):
            await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.REJECTED, by="ann")
        for piece in await room.pieces(second):
            await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.REJECTED, by="ann")
        await room.work()
        third = await room.drafted(cycle_key="2026-W53")
        assert [piece.theme for piece in await room.pieces(third)] == titles, "what was turned down did not run"


async def test_sources_are_named_in_the_piece_the_review_the_session_and_its_report_also_when_they_are_gone(
    tmp_path: Path, cli: Cli
) -> None:
    async with open_newsroom(cli.data_dir, grid=ONE) as room:
        session = await room.drafted()
        (piece,) = await room.pieces(session)
        revision = await room.records.get(Revision, content_id=piece.id, content_hash=piece.content_hash)
        row = await room.session(session)
        assert revision.sources
        assert set(revision.citations.values()) <= set(revision.sources)
        assert row.outcome["sources"] == {"Light and the body clock": 1}

    async def shown() -> tuple[Any, Any, Any]:
        verbs = (("piece", "show", piece.id), ("review", "show", piece.id), ("session", "show", session.id))
        made = [await asyncio.to_thread(cli.ok, "--brand", BRAND, *argv) for argv in verbs]
        return made[0], made[1], made[2]

    one, two, three = await shown()
    (source,) = one["rests_on"]
    assert (source["title"], source["stands"]) == ("Light and the body clock", True)
    assert source["sentences"] == list(revision.citations)
    assert two["source_titles"] == {source["id"]: "Light and the body clock"}
    assert three["sources"] == {"Light and the body clock": 1}
    async with open_newsroom(cli.data_dir) as room:
        await revoke(room.records, "light.md", clock=room.clock)
    one, two, three = await shown()
    assert [(s["title"], s["stands"]) for s in one["rests_on"]] == [("Light and the body clock", False)]
    assert two["source_titles"] == {source["id"]: "Light and the body clock"}
    assert two["revoked_sources"] == [source["id"]]
    assert three["sources"] == {"Light and the body clock": 1}
    text = (await asyncio.to_thread(cli, "--brand", BRAND, "piece", "show", piece.id)).out
    assert "Light and the body clock" in text
    assert "revoked or replaced since" in text


async def test_why_shows_which_tools_were_called_with_what_and_what_came_of_it(tmp_path: Path, cli: Cli) -> None:
    async with open_newsroom(cli.data_dir, grid=ONE) as room:
        session = await room.drafted()
    out = (await asyncio.to_thread(cli, "--brand", BRAND, "why", session.id)).out
    line = next(line for line in out.splitlines() if "tools.used by research" in line)
    assert "search_knowledge(query='Light on monday light A week of light', limit=24) -> ok 1 entries (brand)" in line
    assert "past_content(before='2026-W51') -> ok" in line
