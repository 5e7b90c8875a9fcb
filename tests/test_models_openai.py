"""Hosted models over the wire: langchain-openai against a loopback server, with every fault that servers have."""

import inspect
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from pydantic import BaseModel

from agents.chat_models import Answer, check_model, model_chain
from agents.openai_models import open_openai_model, translated
from agents.spending import Tokens, Unanswered, day_key
from config.clock import ManualClock
from config.errors import CopydeskError, ModelRefused, OverBudget, SettingsError, Unavailable, UsageError
from config.settings import Settings
from config.vocabulary import AgentType
from memory.embedding.openai_embeddings import open_openai_embedder
from memory.embedding.openai_errors import KNOWN, to_error
from memory.rows.sessions import Usage
from tests.fakes.hosted import Hosted, hosted_models
from tests.fakes.openai_server import Reply, serve_openai


class Note(BaseModel):
    """A note."""

    text: str
    score: int


GOOD = Reply({"text": "hello", "score": 7}, input_tokens=1000, output_tokens=200)
COST = (1000 * 0.15 + 200 * 0.60) / 1e6


class Desk(Hosted):
    """A model layer in front of a scripted server."""

    async def ask(self, **options: Any) -> Answer[Note]:
        return await self.models.structured(
            Note,
            agent=AgentType.CREATION,
            system="You write notes.",
            material={"task": "note", "about": "light"},
            session_id="s1",
            piece_id="p1",
            **options,
        )

    async def rows(self) -> list[Usage]:
        return await self.records.list_rows(Usage, day="2026-12-07")

    async def statuses(self) -> list[tuple[str, bool]]:
        """Of each attempt: how its row ended, and whether it cost anything."""
        return sorted((row.status, row.cost_usd > 0) for row in await self.rows())


@asynccontextmanager
async def a_desk(tmp_path: Path, *script: Reply, **settings: Any) -> AsyncIterator[Desk]:
    async with hosted_models(tmp_path, *script, **settings) as hosted:
        yield Desk(**vars(hosted))


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_structured_output_comes_over_the_wire_and_is_paid_for(tmp_path: Path, method: str) -> None:
    async with a_desk(tmp_path, GOOD, openai_structured_method=method) as desk:
        answer = await desk.ask(max_output_tokens=300)
        assert (answer.value, answer.mode, answer.model) == (Note(text="hello", score=7), "model", "openai:gpt-4o-mini")
        (row,) = await desk.rows()
        assert (row.status, row.input_tokens, row.output_tokens, row.agent_type) == ("settled", 1000, 200, "creation")
        assert row.cost_usd == pytest.approx(COST)
        assert row.reserved_usd > row.cost_usd
        assert await desk.cache.held(day_key("2026-12-07")) == pytest.approx(COST)
        (sent,) = desk.server.requests
        assert sent["model"] == "gpt-4o-mini"
        assert 300 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))
        assert desk.server.headers[0]["authorization"] == "Bearer sk-test"


async def test_untrusted_material_travels_fenced_in_the_human_message_with_a_fresh_nonce(tmp_path: Path) -> None:
    async with a_desk(tmp_path, GOOD) as desk:
        await desk.ask()
        await desk.ask()
        first, second = (request["messages"] for request in desk.server.requests)
        assert [message["role"] for message in first] == ["system", "user"]
        assert first[0]["content"] == "You write notes."
        lines, others = first[1]["content"].split("\n"), second[1]["content"].split("\n")
        assert lines[1] == others[1] == '{"about": "light", "task": "note"}'
        assert lines[0].startswith("<material ")
        assert lines[0] != others[0]


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (Reply(status=429, headers={"retry-after": "7"}), ("settled", False)),
        (Reply(status=500), ("settled", False)),
        (Reply(status=503), ("settled", False)),
        (Reply(fault="html"), ("assumed", True)),
        (Reply(fault="reset"), ("assumed", True)),
        (Reply(fault="not_json"), ("assumed", True)),
    ],
    ids=["429", "500", "503", "html", "reset", "not json"],
)
async def test_a_passing_fault_is_tried_again_and_each_attempt_is_a_row(
    tmp_path: Path, fault: Reply, first: tuple[str, bool]
) -> None:
    async with a_desk(tmp_path, fault, GOOD) as desk:
        assert (await desk.ask()).value.score == 7
        assert await desk.statuses() == sorted([first, ("settled", True)])
        assert len(desk.server.requests) == 2


async def test_a_server_that_stays_away_is_asked_three_times_and_no_more(tmp_path: Path) -> None:
    async with a_desk(tmp_path, Reply(status=503)) as desk:
        with pytest.raises(Unavailable, match=r"openai:gpt-4o-mini.*HTTP 503"):
            await desk.ask()
        assert len(desk.server.requests) == 3
        assert await desk.statuses() == [("settled", False)] * 3


async def test_a_hang_ends_at_the_timeout_and_is_assumed_to_be_billed(tmp_path: Path) -> None:
    async with a_desk(tmp_path, Reply(fault="hang"), GOOD, model_timeout=timedelta(seconds=0.3)) as desk:
        assert (await desk.ask()).value.score == 7
        rows = sorted(await desk.rows(), key=lambda row: row.status)
        assert [row.status for row in rows] == ["assumed", "settled"]
        assert rows[0].cost_usd == rows[0].reserved_usd > 0


@pytest.mark.parametrize(
    ("header", "waited"), [("7", 7.0), ("0", 1.0), ("-5", 1.0), ("Mon, 07 Dec 2026 09:00:20 GMT", 20.0)]
)
async def test_retry_after_is_honoured_and_never_less_than_a_second(tmp_path: Path, header: str, waited: float) -> None:
    async with a_desk(tmp_path, Reply(status=429, headers={"retry-after": header}), GOOD) as desk:
        before = desk.clock.now()
        await desk.ask()
        assert (desk.clock.now() - before).total_seconds() == waited


@pytest.mark.parametrize("header", ["200", "1000000000"])
async def test_a_wait_that_no_step_can_hold_is_handed_to_the_queue(tmp_path: Path, header: str) -> None:
    async with a_desk(tmp_path, Reply(status=429, headers={"retry-after": header}), GOOD) as desk:
        with pytest.raises(Unavailable) as caught:
            await desk.ask()
        assert caught.value.retry_after == timedelta(seconds=min(300, int(header)))
        assert len(desk.server.requests) == 1


async def test_a_fallback_is_asked_when_the_first_model_is_away(tmp_path: Path) -> None:
    away = Reply(status=500)
    async with a_desk(tmp_path, away, away, away, GOOD, model_fallbacks="openai:gpt-4o, offline:") as desk:
        answer = await desk.ask()
        assert answer.model == "openai:gpt-4o"
        assert [request["model"] for request in desk.server.requests] == ["gpt-4o-mini"] * 3 + ["gpt-4o"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply({}, refusal="I will not."),
        Reply('{"text": "hel', finish_reason="length"),
        Reply("", finish_reason="content_filter"),
        Reply(status=400, code="content_filter"),
        Reply(status=400, code="context_length_exceeded"),
    ],
    ids=["refusal", "length", "content filter", "filtered prompt", "too long"],
)
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_a_refusal_or_a_cut_answer_is_never_tried_again(tmp_path: Path, reply: Reply, method: str) -> None:
    async with a_desk(tmp_path, reply, model_fallbacks="openai:gpt-4o", openai_structured_method=method) as desk:
        with pytest.raises(ModelRefused):
            await desk.ask()
        assert len(desk.server.requests) == 1
        (row,) = await desk.rows()
        assert row.status == "settled"
        assert (row.cost_usd > 0) == (reply.status == 200)


@pytest.mark.parametrize(
    "nonsense",
    [
        "Sure! Here it is.",
        "",
        {"text": "x"},
        {"text": "x", "score": "7"},
        {"text": "x", "score": "PASSED!"},
        {"text": "x", "score": 1.5},
    ],
)
async def test_nonsense_is_asked_about_once_more_with_the_mistake_named(tmp_path: Path, nonsense: Any) -> None:
    async with a_desk(tmp_path, Reply(nonsense), GOOD) as desk:
        assert (await desk.ask()).value.score == 7
        assert "Your last answer was refused" in desk.server.requests[1]["messages"][1]["content"]
    async with a_desk(tmp_path / "twice", Reply(nonsense)) as desk:
        with pytest.raises(ModelRefused, match="twice"):
            await desk.ask()
        assert len(desk.server.requests) == 2


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (401, None, "OPENAI_API_KEY"),
        (403, None, "OPENAI_API_KEY"),
        (404, "model_not_found", "COPYDESK_MODEL"),
        (400, None, "COPYDESK_OPENAI_STRUCTURED_METHOD"),
        (429, "insufficient_quota", "quota"),
    ],
)
async def test_what_only_the_operator_can_mend_is_said_once_with_the_remedy(
    tmp_path: Path, status: int, code: str | None, hint: str
) -> None:
    async with a_desk(tmp_path, Reply(status=status, code=code), model_fallbacks="openai:gpt-4o") as desk:
        with pytest.raises(SettingsError, match=hint):
            await desk.ask()
        assert len(desk.server.requests) == 1
        assert await desk.statuses() == [("settled", False)]


async def test_money_that_is_gone_stops_the_call_before_the_server_hears_of_it(tmp_path: Path) -> None:
    async with a_desk(tmp_path, GOOD, session_usd=0.0001) as desk:
        with pytest.raises(OverBudget):
            await desk.ask()
        assert desk.server.requests == []


async def test_an_answer_without_usage_is_assumed_at_its_worst(tmp_path: Path) -> None:
    async with a_desk(tmp_path, Reply({"text": "x", "score": 1}, usage=False)) as desk:
        await desk.ask()
        (row,) = await desk.rows()
        assert row.status == "assumed"
        assert row.cost_usd == row.reserved_usd


async def test_a_refused_connection_is_not_billed(tmp_path: Path) -> None:
    async with a_desk(tmp_path, GOOD) as desk:
        port_of_nobody = "http://127.0.0.1:9/v1"
        desk.models.settings = desk.models.settings.model_copy(update={"openai_base_url": port_of_nobody})
        with pytest.raises(Unavailable, match="ConnectError"):
            await desk.ask()
        assert await desk.statuses() == [("settled", False)] * 3


async def test_streaming_works_over_the_wire(tmp_path: Path) -> None:
    async with serve_openai(Reply("one two three")) as server:
        settings = Settings(data_dir=tmp_path, openai_base_url=server.base_url)
        model = open_openai_model("gpt-4o-mini", settings)
        pieces = [piece async for piece in model.astream("count")]
        total = sum(pieces[1:], pieces[0])
        assert str(total.content).split() == ["one", "two", "three"]
        assert len(pieces) > 3


def _all_errors() -> list[type[BaseException]]:
    import openai._exceptions

    named = [*vars(openai).values(), *vars(openai._exceptions).values(), *vars(httpx2).values()]
    found = {c for c in named if inspect.isclass(c) and issubclass(c, Exception) and not issubclass(c, Warning)}
    return sorted(found, key=lambda c: (c.__module__, c.__name__))


def _instance(kind: type[BaseException]) -> BaseException:
    """An instance without its constructor, which differs for each class, with what our mapping may read."""
    error = kind.__new__(kind)
    request = httpx2.Request("POST", "http://127.0.0.1/v1")
    status = {
        "AuthenticationError": 401,
        "OAuthError": 401,
        "PermissionDeniedError": 403,
        "NotFoundError": 404,
        "RateLimitError": 429,
    }
    code = status.get(kind.__name__, getattr(kind, "status_code", 500))
    fields = {
        "message": "scripted", "code": None, "body": None, "request": request,
        "status_code": code if isinstance(code, int) else 500, "response": httpx2.Response(500, request=request),
    }  # fmt: skip
    for name, value in fields.items():
        try:
            setattr(error, name, value)
        except AttributeError:
            continue  # a read-only property of httpx: it has its own
    return error


@pytest.mark.parametrize("kind", _all_errors(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_exception_of_the_sdk_and_its_http_client_is_mapped(kind: type[BaseException]) -> None:
    assert issubclass(kind, KNOWN), f"{kind} is not in KNOWN: say what it means to us"
    mapped = to_error(_instance(kind), what="model 'x'", clock=ManualClock())
    assert isinstance(mapped, Unavailable | SettingsError | ModelRefused)
    with pytest.raises(CopydeskError), translated("x", ManualClock()):
        raise _instance(kind)


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [
        (openai.APITimeoutError, Unanswered),
        (openai.APIConnectionError, Unanswered),
        (openai.RateLimitError, Unavailable),
        (openai.InternalServerError, Unavailable),
        (openai.AuthenticationError, SettingsError),
        (openai.NotFoundError, SettingsError),
        (openai.LengthFinishReasonError, ModelRefused),
        (openai.ContentFilterFinishReasonError, ModelRefused),
        (httpx2.ReadTimeout, Unanswered),
        (httpx2.ConnectError, Unavailable),
        (httpx2.UnsupportedProtocol, SettingsError),
    ],
)
def test_each_kind_of_failure_has_its_meaning(kind: type[BaseException], meaning: type[BaseException]) -> None:
    with pytest.raises(meaning) as caught, translated("x", ManualClock()):
        raise _instance(kind)
    assert isinstance(caught.value, Unanswered) == (meaning is Unanswered)


def test_a_missing_key_is_said_at_the_start_and_not_at_the_first_call(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="OPENAI_API_KEY"):
        check_model(Settings(model="openai:gpt-4o-mini"))
    with pytest.raises(UsageError, match="'openai:gpt-4o'"):
        check_model(Settings(model="offline:", model_fallbacks="openai:gpt-4o"))
    with pytest.raises(SettingsError, match="'gpt-4o'"):
        check_model(Settings(model="gpt-4o"))
    with pytest.raises(SettingsError, match="'gpt-4o'"):
        check_model(Settings(agent_models="research=gpt-4o"))
    check_model(Settings(model="openai:gpt-4o-mini", openai_base_url="http://127.0.0.1:1/v1"))
    check_model(Settings(model="offline:"))
    assert model_chain(Settings(model="offline:", model_fallbacks=" openai:a ,,openai:b,offline:")) == (
        "offline:",
        "openai:a",
        "openai:b",
    )


async def test_embeddings_come_in_order_at_unit_length_and_1536_dimensions_are_asked_for(tmp_path: Path) -> None:
    async with serve_openai(Reply()) as server:
        embedder = open_openai_embedder(
            "text-embedding-3-large", settings=Settings(openai_base_url=server.base_url), clock=ManualClock()
        )
        one, nothing, two = await embedder.embed_documents(["one", "  ", "two"])
        assert (len(one), nothing, len(two)) == (1536, (), 1536)
        assert sum(value * value for value in one) == pytest.approx(1.0)
        assert await embedder.embed_query("two") == two != one
        assert server.requests[0]["dimensions"] == 1536
        assert embedder.id == "openai:text-embedding-3-large:1536"


async def test_an_embedder_that_is_away_is_unavailable() -> None:
    async with serve_openai(Reply(status=503)) as server:
        embedder = open_openai_embedder(
            "text-embedding-3-large", settings=Settings(openai_base_url=server.base_url), clock=ManualClock()
        )
        with pytest.raises(Unavailable, match="embedder 'text-embedding-3-large'"):
            await embedder.embed_query("x")


def test_an_embedder_without_a_key_is_refused_at_the_start() -> None:
    with pytest.raises(UsageError, match="OPENAI_API_KEY"):
        open_openai_embedder("text-embedding-3-large", settings=Settings(), clock=ManualClock())


def test_an_agent_may_have_a_model_of_its_own(tmp_path: Path) -> None:
    settings = Settings(
        model="offline:", agent_models="compliance=openai:a, research=openai:b", model_fallbacks="offline:"
    )
    assert {agent: model_chain(settings, agent) for agent in AgentType} == {
        AgentType.RESEARCH: ("openai:b", "offline:"),
        AgentType.CREATION: ("offline:",),
        AgentType.COMPLIANCE: ("openai:a", "offline:"),
        AgentType.COORDINATION: ("offline:",),
    }
    for value, said in (("complaince=openai:a", "did you mean 'compliance'"), ("research=", "no model")):
        with pytest.raises(ValueError, match=said):
            Settings(agent_models=value)


async def test_the_agents_own_model_is_the_one_that_is_asked(tmp_path: Path) -> None:
    async with a_desk(tmp_path, GOOD, agent_models="creation=openai:gpt-4o") as desk:
        await desk.ask()
        [request] = desk.server.requests
        assert request["model"] == "gpt-4o"


async def test_a_step_that_asks_the_same_again_is_answered_once_a_day_and_billed_once(tmp_path: Path) -> None:
    async with a_desk(tmp_path, GOOD, GOOD, GOOD) as desk:
        first = await desk.ask(kept="draft:p1:1")
        again = await desk.ask(kept="draft:p1:1")
        assert (again.value, again.mode, again.model) == (first.value, "model", "openai:gpt-4o-mini")
        assert (again.usage, len(await desk.rows())) == (Tokens(0, 0), 1)
        await desk.ask(kept="draft:p2:1")
        assert len(desk.server.requests) == 2, "another step is asked about by itself"
        desk.clock.advance(timedelta(hours=25))
        await desk.ask(kept="draft:p1:1")
        assert len(desk.server.requests) == 3


async def test_what_is_not_kept_or_can_no_longer_be_read_is_asked_again(tmp_path: Path) -> None:
    async with a_desk(tmp_path, GOOD, GOOD, GOOD, GOOD) as desk:
        await desk.ask()
        await desk.ask()
        assert len(desk.server.requests) == 2, "compliance names no step: a verdict is always fresh"
        await desk.ask(kept="s")
        with sqlite3.connect(tmp_path / "cache.db") as file:
            assert file.execute("UPDATE content_cache SET value = '{}' WHERE key LIKE 'content_gen:%'").rowcount == 1
        await desk.ask(kept="s")
        assert len(desk.server.requests) == 4
