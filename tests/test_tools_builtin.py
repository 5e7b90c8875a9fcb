"""The tools that come with the product, on real rows; and the verbs that show and run them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config.vocabulary import CONTENT_TYPES, PLATFORMS, AgentType, Trust
from memory.knowledge import add_document, chunk_id, parse_document, revoke
from memory.rows.agents import AgentMemory
from tests.cli_support import Cli, cli, quiet_process
from tests.fakes.toolbench import Bench, open_bench
from tools.builtin.readability import measure, syllables
from tools.plugin_api import ToolFailed, ToolRetry, ToolSpec
from tools.registry import discover, shipped_tools
from tools.results import ToolResult

__all__ = ["cli", "quiet_process"]  # fixtures
NOTES = "Morning light helps set the body clock. A short walk outside is enough for most days.\n"


@pytest.fixture(params=["sqlite", "austere"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """On an engine that searches words, and on one that cannot."""
    async with open_bench(tmp_path, engine=request.param) as opened:
        yield opened


async def learn(bench: Bench, name: str, text: str, trust: Trust = Trust.BRAND) -> str:
    document = parse_document(text.encode(), name)
    await add_document(
        bench.records, bench.embedder, bench.clock, name=f"{name}.md", path="", document=document, trust=trust
    )
    return chunk_id("acme", f"{name}.md", 1, 0)


async def call(bench: Bench, name: str, /, **arguments: Any) -> ToolResult:
    return await bench.box().call(name, **arguments)


@pytest.mark.parametrize("spec", [*shipped_tools()], ids=lambda spec: spec.name)
def test_every_tool_says_what_it_does_and_what_it_takes(spec: ToolSpec) -> None:
    assert spec.description.endswith(".")
    assert spec.agents <= set(AgentType)
    assert spec.timeout_s <= 30
    schema = spec.schema()
    assert schema["additionalProperties"] is False
    assert all(about["description"].endswith(".") for about in schema["properties"].values())


def test_every_family_is_found_in_its_folder() -> None:
    found = discover()
    assert set(found.where.values()) >= {
        f"tools.builtin.{family}"
        for family in (
            "knowledge", "claims", "guidelines", "platform_limits", "past_content", "keyphrases", "readability", "memory",
        )
    }  # fmt: skip


# Knowledge


async def test_a_search_gives_passages_to_cite_with_whom_they_are_from(bench: Bench) -> None:
    light = await learn(bench, "light", NOTES)
    await learn(bench, "bread", "Rye flour needs more water than wheat flour.\n")
    result = await call(bench, "search_knowledge", query="morning light", limit=1)
    (found,) = result.value
    assert (found["id"], found["document"], found["trust"]) == (light, "light.md", "brand")
    assert found["text"] == NOTES.strip()
    assert (result.trust, result.sources) == (Trust.BRAND, (light,))


async def test_a_result_is_as_trusted_as_its_least_trusted_passage(bench: Bench) -> None:
    await learn(bench, "light", NOTES, Trust.OPERATOR)
    assert (await call(bench, "search_knowledge", query="morning light")).trust is Trust.OPERATOR
    web = await learn(bench, "web", "Morning light is a miracle, they say.\n", Trust.WEB)
    result = await call(bench, "search_knowledge", query="morning light")
    assert result.trust is Trust.WEB
    assert (await call(bench, "read_passages", ids=[web])).trust is Trust.WEB


async def test_passages_are_read_again_by_id_until_they_are_revoked(bench: Bench) -> None:
    light = await learn(bench, "light", NOTES)
    (found,) = (await call(bench, "read_passages", ids=[light, "nowhere", light])).value
    assert found["text"] == NOTES.strip()
    await revoke(bench.records, "light.md", clock=bench.clock)
    assert (await call(bench, "read_passages", ids=[light])).value == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("search_knowledge", {"query": ""}),
        ("search_knowledge", {"query": "x" * 2001}),
        ("search_knowledge", {"query": "x", "limit": 0}),
        ("search_knowledge", {"query": "x", "limit": 51}),
        ("read_passages", {"ids": []}),
        ("read_passages", {"ids": ["x"] * 21}),
        ("recall", {"query": "x", "agent": "editor"}),
        ("past_content", {"before": "2026-12-07"}),
        ("past_content", {"before": "2026-W54"}),
        ("past_content", {"before": "x" * 1000}),
        ("past_content", {"before": "0001-W01"}),
        ("past_content", {"before": "1-W1"}),
        ("past_content", {"before": "٢٠٢٦-W٥٠"}),
        ("read_passages", {"ids": ["\x00"]}),
        ("recall", {"query": "light \x00"}),
        ("past_content", {"weeks": 13}),
        ("platform_limits", {"platform": "myspace", "content_type": "reel"}),
        ("platform_limits", {"platform": "tiktok", "content_type": "thread"}),
        ("text_length", {"text": "x", "platform": "myspace"}),
        ("keyphrases", {"texts": []}),
        ("claims", {"status": "maybe"}),
        ("guidelines", {"kind": "smell"}),
    ],
)
async def test_a_wrong_call_is_told_in_one_line(bench: Bench, name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ToolRetry) as refused:
        await call(bench, name, **arguments)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


# What the brand says of itself


async def test_claims_by_status_and_market(bench: Bench) -> None:
    everything = await call(bench, "claims")
    assert [claim["text"] for claim in everything.value] == ["Our rooms are quiet.", "Light cures insomnia."]
    assert everything.trust is Trust.OPERATOR
    assert [c["text"] for c in (await call(bench, "claims", status="blocked")).value] == ["Light cures insomnia."]
    assert [c["text"] for c in (await call(bench, "claims", market="eu")).value] == ["Light cures insomnia."]
    assert (await call(bench, "claims", status="approved", market="eu")).value == []


async def test_guidelines_by_kind_and_platform(bench: Bench) -> None:
    assert [rule["title"] for rule in (await call(bench, "guidelines")).value] == ["Plain words", "Daylight"]
    assert [rule["title"] for rule in (await call(bench, "guidelines", platform="tiktok")).value] == ["Plain words"]
    (rule,) = (await call(bench, "guidelines", kind="voice")).value
    assert rule["restrictions"] == ["game-changer"]


# Platforms


@pytest.mark.parametrize("platform", [*PLATFORMS])
async def test_limits_are_those_of_the_table_with_their_source(platform: str, tmp_path: Path) -> None:
    from config.platforms import limits, possible_types

    async with open_bench(tmp_path) as bench:
        for content_type in possible_types(platform):
            assert content_type in CONTENT_TYPES
            found = (await call(bench, "platform_limits", platform=platform, content_type=content_type)).value
            assert found["caption"] == limits(platform, content_type).caption
            assert found["source"]
            assert found["unit_in_words"]


async def test_a_text_is_counted_as_the_platform_counts_it(bench: Bench) -> None:
    text = "👍🏽" * 140
    counted = {c["content_type"]: c for c in (await call(bench, "text_length", text=text, platform="twitter")).value}
    assert (counted["quote"]["length"], counted["quote"]["fits"]) == (280, True)
    longer = {
        c["content_type"]: c for c in (await call(bench, "text_length", text=text + "a", platform="twitter")).value
    }
    assert (longer["quote"]["length"], longer["quote"]["fits"]) == (281, False)
    assert longer["quote"]["unit"] == "weighted characters"


# Memory


async def test_memories_are_recalled_by_meaning_and_by_words_and_only_of_whom_was_asked(bench: Bench) -> None:
    now = bench.clock.now()

    async def remember(key: str, content: str, agent: str, *, vector: bool, trust: str = "brand") -> None:
        (embedding,) = await bench.embedder.embed_documents([content])
        await bench.records.put(
            AgentMemory(
                brand="acme", id=key, agent_type=agent, memory_type="semantic", memory_key=key, memory_content=content,
                embedding=embedding if vector else (), embedder_id=bench.embedder.id if vector else "",
                context_data={"session": "s0", "trust": trust, "source": "a b"}, created_at=now, updated_at=now,
            )
        )  # fmt: skip

    await remember("meant", "Morning light goes well with breakfast.", "research", vector=True)
    await remember("other", "Morning light was rejected twice.", "compliance", vector=True)
    result = await call(bench, "recall", query="morning light")
    (found,) = result.value
    assert (found["key"], found["session"], found["sources"]) == ("meant", "s0", ["a", "b"])
    assert (result.trust, result.sources) == (Trust.BRAND, ("a", "b"))
    assert [m["key"] for m in (await call(bench, "recall", query="morning light", agent="compliance")).value] == [
        "other"
    ]
    await remember("planted", "Morning light cures all.", "research", vector=True, trust="web")
    assert (await call(bench, "recall", query="morning light")).trust is Trust.WEB


async def test_a_memory_without_a_vector_is_found_by_its_words_and_one_without_provenance_is_not_trusted(
    tmp_path: Path,
) -> None:
    async with open_bench(tmp_path) as bench:
        now = bench.clock.now()
        await bench.records.put(
            AgentMemory(
                brand="acme", id="m", agent_type="research", memory_type="episodic", memory_key="k",
                memory_content="The lighthouse was closed.", created_at=now, updated_at=now,
            )
        )  # fmt: skip
        result = await call(bench, "recall", query="lighthouse")
        assert [(m["key"], m["trust"]) for m in result.value] == [("k", "web")]
        assert result.trust is Trust.WEB


# Words


async def test_keyphrases_are_what_the_texts_repeat(bench: Bench) -> None:
    texts = ["Morning light, in the house.", "Open the blinds: morning light is free.", "A cup of tea."]
    assert (await call(bench, "keyphrases", texts=texts, most=1)).value == ["morning light"]


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("cat", 1), ("mat", 1), ("water", 2), ("table", 2), ("make", 1), ("makes", 1), ("waited", 2), ("walked", 1),
        ("boxes", 2), ("reading", 2), ("syllable", 3), ("the", 1), ("rhythm", 1), ("2026", 4), ("café", 1),
    ],
)  # fmt: skip
def test_syllables_are_counted_as_they_are_spoken(word: str, count: int) -> None:
    assert syllables(word) == count


def test_reading_ease_and_grade_are_those_of_the_formulas() -> None:
    found = measure("The cat sat on the mat. The water was still and cold.")
    assert (found["words"], found["sentences"], found["syllables"]) == (12, 2, 13)
    assert found["reading_ease"] == round(206.835 - 1.015 * 6 - 84.6 * 13 / 12, 1)
    assert found["grade"] == round(0.39 * 6 + 11.8 * 13 / 12 - 15.59, 1)
    harder = measure(
        "Institutional considerations necessitate comprehensive documentation of organisational responsibilities."
    )
    assert harder["reading_ease"] < found["reading_ease"]
    assert harder["grade"] > found["grade"]


async def test_a_text_without_words_has_no_readability(bench: Bench) -> None:
    with pytest.raises(ToolFailed, match="no words"):
        await call(bench, "readability", text="!!! 🙂")


# The verbs


def test_tools_list_and_show_open_nothing(cli: Cli) -> None:
    listed = cli.ok("tools", "list")
    assert {tool["name"] for tool in listed["tools"]} == {spec.name for spec in shipped_tools()}
    assert listed["broken"] == []
    shown = cli.ok("tools", "show", "search_knowledge")
    assert shown["effect"] == "read"
    assert shown["schema"]["required"] == ["query"]
    assert "query (string, required): What to look for" in cli("tools", "show", "search_knowledge").out
    assert not cli.data_dir.exists()


def test_a_tool_runs_from_the_command_line_as_an_agent_would_call_it(cli: Cli) -> None:
    found = cli.ok("tools", "run", "search_knowledge", "--arg", "query=evening light", "--arg", "limit=2")
    assert (found["tool"], found["trust"], found["truncated"]) == ("search_knowledge", "brand", False)
    assert [passage["id"] for passage in found["result"]] == found["sources"]
    limits = cli.ok("tools", "run", "platform_limits", "--json-args", '{"platform": "tiktok", "content_type": "reel"}')
    assert limits["result"]["caption"] == 2200
    assert cli("tools", "run", "keyphrases", "--arg", 'texts=["soft light", "soft light"]', "--arg", "most=1").code == 0


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["show", "serch_knowledge"], "'serch_knowledge' is unknown (did you mean 'search_knowledge'?)"),
        (["run", "nothing"], "tool 'nothing' is unknown"),
        (["run", "claims", "--arg", "status"], "--arg 'status' must be NAME=VALUE"),
        (["run", "claims", "--arg", "status=a", "--arg", "status=b"], "--arg status is given twice"),
        (["run", "claims", "--arg", "status=maybe"], "claims: status = 'maybe': Input should be"),
        (["run", "claims", "--arg", "stat=any"], "claims: no argument 'stat'; there are: status, market"),
        (["run", "search_knowledge"], "search_knowledge: query: Field required"),
        (["run", "search_knowledge", "--arg", "query=x", "--arg", "limit=many"], "--arg limit=many: write the value as JSON"),
        (["run", "search_knowledge", "--arg", "query=x", "--arg", "limit=99"], "limit = 99: Input should be less than"),
        (["run", "claims", "--json-args", "{"], "--json-args is not JSON"),
        (["run", "claims", "--json-args", "[]"], "--json-args is a list"),
        (["run", "claims", "--json-args", "[" * 50_000], "--json-args is not JSON"),
        (["run", "claims", "--agent", "editor"], "--agent 'editor': claims is for research, creation, compliance"),
        (["run", "readability", "--agent", "coordination", "--arg", "text=x"], "--agent 'coordination': readability is for"),
        (["run", "platform_limits", "--arg", "platform=x", "--arg", "content_type=y"], "platform 'x' has no limits"),
    ],
)  # fmt: skip
def test_a_wrong_command_gets_one_line_and_exit_2(cli: Cli, argv: list[str], says: str) -> None:
    result = cli("tools", *argv)
    assert result.code == 2
    assert says in result.complaint
