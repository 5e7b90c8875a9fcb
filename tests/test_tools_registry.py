"""Tools: what is refused when it is written, what a call may take, cost and return, and effects that happen once."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import BaseModel
from structlog.testing import capture_logs

from config.errors import BadInput, DuplicateName, LeaseLost, Unavailable, Uncertain, UnknownTool, Unsupported
from config.vocabulary import Trust
from memory.records.protocol import Once
from memory.rows.agents import AgentMemory
from memory.rows.brand import Control
from tests.fakes.checkout import ROOT
from tests.fakes.toolbench import Bench, open_bench
from tools import calls as tool_calls
from tools.calls import Toolbox, ToolBroke, ToolCall
from tools.context import CallLimits, ToolContext
from tools.plugin_api import ToolFailed, ToolRetry, ToolSpec, tool
from tools.registry import ToolSet
from tools.results import MAX_BYTES, to_result

SECRET = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as opened:
        yield opened


# What a tool is


@tool(agents={"research"}, timeout_s=5)
async def weather(
    place: str, days: int = 3, unit: Literal["c", "f"] = "c", near: list[str] | None = None
) -> dict[str, Any]:
    """Say what the weather will be.

    Somewhere on earth.

    Args:
        place: A town, and its country
            where there are several.
        days: How many days, 1 to 10.
        unit: Celsius or Fahrenheit.
        near: Other towns.

    Returns:
        A day each.
    """
    return {"place": place, "days": days, "unit": unit, "near": near}


def test_the_schema_comes_from_the_types_and_the_docstring() -> None:
    assert (weather.name, weather.effect, weather.timeout_s) == ("weather", "read", 5.0)
    assert weather.description == "Say what the weather will be. Somewhere on earth."
    schema = weather.schema()
    assert schema["required"] == ["place"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["place"] == {
        "type": "string",
        "description": "A town, and its country where there are several.",
    }
    assert schema["properties"]["days"] == {"type": "integer", "default": 3, "description": "How many days, 1 to 10."}
    assert schema["properties"]["unit"]["enum"] == ["c", "f"]


def test_a_context_is_nobodys_to_give() -> None:
    @tool(agents={"research"})
    async def where(ctx: ToolContext, place: str) -> str:
        """Say where.

        Args:
            place: What.
        """
        return place + ctx.brand

    assert list(where.schema()["properties"]) == ["place"]
    with pytest.raises(ToolRetry, match="no argument 'ctx'; there are: place"):
        where.parse({"place": "x", "ctx": "y"})


async def no_docstring(a: str) -> str:
    return a


async def no_type(a, b: str) -> str:  # type: ignore[no-untyped-def]
    """Say something.

    Args:
        a: One.
        b: Two.
    """
    return b


async def no_return(a: str):  # type: ignore[no-untyped-def]
    """Say something.

    Args:
        a: One.
    """


async def no_line(a: str) -> str:
    """Say something."""
    return a


async def misspelt(a: str) -> str:
    """Say something.

    Args:
        a: One.
        aa: Two.
    """
    return a


async def anything(a: Any) -> str:
    """Say something.

    Args:
        a: One.
    """
    return str(a)


async def more(*a: str) -> str:
    """Say something."""
    return str(a)


async def unreadable(a: Nowhere) -> str:  # type: ignore[name-defined]  # noqa: F821
    """Say something.

    Args:
        a: One.
    """
    return str(a)


async def shapeless(a: Callable[[], str]) -> str:
    """Say something.

    Args:
        a: One.
    """
    return a()


async def bad_default(a: int = "x") -> str:  # type: ignore[assignment]
    """Say something.

    Args:
        a: One.
    """
    return str(a)


async def yields(a: str) -> AsyncIterator[str]:
    """Say something.

    Args:
        a: One.
    """
    yield a


async def Shouting(a: str) -> str:  # noqa: N802
    """Say something.

    Args:
        a: One.
    """
    return a


REFUSED: list[tuple[Any, str]] = [
    (no_docstring, "has no docstring"),
    (no_type, "parameter 'a' has no type"),
    (no_return, "says not what it returns"),
    (no_line, "does not say what 'a' is"),
    (misspelt, "describes 'aa', which is not one of its parameters"),
    (anything, "parameter 'a' may be anything"),
    (more, "cannot be named in a call"),
    (unreadable, "annotations cannot be read: NameError"),
    (shapeless, "have no JSON Schema"),
    (bad_default, "the default of a is wrong"),
    (yields, "yields: return a list"),
    (Shouting, "lower case letters"),
]


@pytest.mark.parametrize(("function", "says"), REFUSED, ids=[function.__name__ for function, _ in REFUSED])
def test_what_is_missing_is_refused_in_one_line_that_names_the_function(function: Any, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        tool(agents={"research"})(function)
    line = str(refused.value)
    assert says in line
    assert f"tool {__name__}:{function.__name__}" in line
    assert "\n" not in line
    assert len(line) < 400


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"agents": set()}, "must be a set of roles"),
        ({"agents": "research"}, "must be a set of roles"),
        ({"agents": {"research", "editor"}}, "agent 'editor' is not one of research, creation"),
        ({"agents": {"research"}, "effect": "delete"}, "effect 'delete' is not one of read, write, publish"),
        ({"agents": {"research"}, "timeout_s": 0}, "must be above 0"),
        ({"agents": {"research"}, "timeout_s": 3600}, "at most 300 seconds"),
        ({"agents": {"research"}, "timeout_s": True}, "timeout_s=True"),
        ({"agents": {"research"}, "trust": "me"}, "trust 'me' is not one of"),
    ],
)
def test_a_decorator_that_says_something_impossible_is_refused(options: dict[str, Any], says: str) -> None:
    async def fine() -> str:
        """Say something."""
        return ""

    with pytest.raises(BadInput, match=says):
        tool(**options)(fine)


def test_two_tools_with_one_name_are_refused_naming_both() -> None:
    with pytest.raises(DuplicateName, match=r"'weather' is in .*weather and in .*weather: rename one"):
        ToolSet().with_tools(weather, weather)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "place: Field required"),
        ({"place": 5}, "place = 5: Input should be a valid string"),
        ({"place": "Rome", "days": "3"}, "days = '3': Input should be a valid integer"),
        ({"place": "Rome", "days": True}, "days = True"),
        ({"place": "Rome", "unit": "k"}, "unit = 'k': Input should be 'c' or 'f'"),
        ({"place": "Rome", "near": [1]}, "near.0 = 1"),
        ({"place": "Rome", "when": "now"}, "no argument 'when'; there are: place, days, unit, near"),
        ('{"place": "Rome"', "Invalid JSON"),
        ("[1]", "should be an object"),
        ({"place": float("nan")}, "not plain JSON"),
        ({"place": {1, 2}}, "not plain JSON"),
        ({"place": "\ud800"}, "Invalid JSON"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_wrong_arguments_are_named(arguments: Any, says: str) -> None:
    with pytest.raises(ToolRetry) as refused:
        weather.parse(arguments)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_a_call_with_wrong_arguments_is_not_made(bench: Bench) -> None:
    log: list[str] = []
    box = bench.box(counting(log))
    for arguments in ({}, {"word": 1}, {"word": "a", "more": 1}):
        with pytest.raises(ToolRetry):
            await box.call("count", **arguments)
    await box.answer([ToolCall("1", "count", "{"), ToolCall("2", "count", {"word": None})])
    assert log == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_whatever_a_model_sends_is_taken_or_refused_in_one_line(value: Any) -> None:
    for arguments in (value if isinstance(value, dict) else {"place": value}, json.dumps(value)):
        try:
            taken = weather.parse(arguments)
        except ToolRetry as error:
            assert "\n" not in str(error).strip()  # noqa: PT017 - either outcome is right
        else:
            assert isinstance(taken["place"], str)


async def test_a_right_call_gets_its_defaults_and_says_where_it_is_from(bench: Bench) -> None:
    result = await bench.box(weather).call("weather", place="Rome", near=["Ostia"])
    assert result.value == {"place": "Rome", "days": 3, "unit": "c", "near": ["Ostia"]}
    assert (result.tool, result.trust, result.truncated) == ("weather", Trust.WEB, False)


# Results


class Colour(Enum):
    RED = "red"


class Model(BaseModel):
    a: int = 1


@dataclass
class Data:
    b: Any = None


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (b"bytes", "bytes"),
        (Colour.RED, "red"),
        (Model(), {"a": 1}),
        (Data(Data(2)), {"b": {"b": 2}}),
        ({1: (1, 2), Colour.RED: {3}}, {"1": [1, 2], "red": [3]}),
        (2**80, "0x100000000000000000000"),
        (float("nan"), "nan"),
        (date(2026, 12, 7), "2026-12-07"),
        (datetime(2026, 12, 7, tzinfo=UTC), "2026-12-07T00:00:00+00:00"),
        (timedelta(minutes=1), 60.0),
        (Path("a/b"), "a/b"),
        ("a\x00b\ud800\u202ec\U000e0041", "abc"),
        ([], []),
    ],
)
def test_what_has_a_plain_form_comes_back_in_it(value: Any, plain: Any) -> None:
    result = to_result("t", value, trust=Trust.BRAND)
    assert result.value == plain
    assert not result.truncated
    json.dumps(result.value, allow_nan=False)


def cyclic() -> list[Any]:
    inside: list[Any] = []
    inside.append({"again": inside})
    return inside


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    return value


async def forgotten() -> str:
    return "x"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (lambda: b"\xff\xfe", "2 bytes that are not text"),
        (cyclic, "holds itself"),
        (deep, "nested deeper than 32"),
        (forgotten, "a coroutine: it forgot an await"),
        (lambda: (n for n in range(3)), "a generator, which is not a value yet"),
        (object, "a object, which has no plain form"),
        (lambda: {(1, 2): 3}, "a key of type tuple"),
    ],
)
def test_what_has_none_is_refused(value: Callable[[], Any], says: str) -> None:
    with pytest.raises(ToolFailed, match=f"tool 't' returned .*{says}"):
        to_result("t", value(), trust=Trust.BRAND)


BIG: list[Any] = [
    "x" * 10_000_000,
    "\U0001f600" * 100_000,
    '"\\\n' * 50_000,
    ["word " * 100] * 20_000,
    [{"id": str(n), "text": "y" * 500} for n in range(20_000)],
    {str(n): n for n in range(100_000)},
    {"a": {"b": ["z" * 100_000]}},
    [[[]] * 100_000],
    [0] * 1_000_000,
]


@pytest.mark.parametrize("value", BIG, ids=range(len(BIG)))
def test_ten_megabytes_come_back_as_sixty_four_kilobytes_that_say_so(value: Any) -> None:
    result = to_result("t", value, trust=Trust.BRAND)
    size = len(json.dumps(result.value, ensure_ascii=False).encode())
    assert result.truncated
    assert size <= MAX_BYTES
    assert size > MAX_BYTES // 4, "what fits is kept"
    if isinstance(value, list) and isinstance(value[0], dict):
        assert all(set(entry) == {"id", "text"} and len(entry["text"]) == 500 for entry in result.value), (
            "no half entry"
        )


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=5).map(bytes.hex),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x) | st.tuples(x, x),
)


@given(PLAIN, st.integers(64, 400))
@hypothesis_settings(max_examples=80, deadline=None)
def test_no_result_is_over_its_size_and_a_whole_one_is_whole(value: Any, limit: int) -> None:
    result = to_result("t", value, trust=Trust.WEB, limit=limit)
    assert len(json.dumps(result.value, ensure_ascii=False, allow_nan=False).encode()) <= limit
    if not result.truncated:
        assert to_result("t", result.value, trust=Trust.WEB, limit=10**6).value == result.value


# Calls that go wrong


def counting(log: list[str], effect: Any = "read", **options: Any) -> ToolSpec:
    @tool(agents={"research", "coordination", "creation"}, effect=effect, **options)
    async def count(word: str) -> str:
        """Count.

        Args:
            word: What to write down.
        """
        log.append(word)
        return word

    return count


async def test_a_tool_that_does_not_answer_is_cancelled_and_said_so(bench: Bench) -> None:
    left = asyncio.Event()

    @tool(agents={"research"}, timeout_s=0.01)
    async def slow() -> str:
        """Wait."""
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return ""

    box = bench.box(slow)
    with pytest.raises(ToolFailed, match=r"tool 'slow' did not answer in 0\.01 s"):
        await box.call("slow")
    assert left.is_set()
    assert not tool_calls._abandoned["slow"]


async def test_a_tool_that_ignores_cancellation_is_abandoned_its_place_is_free_and_nothing_it_does_is_written(
    bench: Bench,
) -> None:
    free, done, wrote = asyncio.Event(), asyncio.Event(), list[str]()

    @tool(agents={"creation"}, effect="write", timeout_s=0.01)
    async def stubborn(ctx: ToolContext) -> str:
        """Stay."""
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue
        for act in (
            lambda: ctx.records.find(AgentMemory, id="x"),
            lambda: ctx.store.aput(("creation", "semantic"), "k", {"content": "late"}),
            lambda: ctx.once("k", lambda: _add(wrote, "late")),
        ):
            try:
                await act()  # type: ignore[no-untyped-call]
                wrote.append("late")
            except LeaseLost:
                pass
        done.set()
        return ""

    box = bench.box(stubborn, agent="creation", effects={"write"})
    try:
        with pytest.raises(ToolFailed, match="did not answer"):
            await box.call("stubborn")
        assert len(tool_calls._abandoned["stubborn"]) == 1
    finally:
        free.set()  # or the loop would wait for it when the test has failed
    await done.wait()
    await asyncio.sleep(0)
    assert not wrote
    assert not tool_calls._abandoned["stubborn"]
    assert await bench.records.find_by(AgentMemory, brand="acme") == []
    assert [event.name for event in await bench.events()] == []


async def _until(true: Callable[[], bool]) -> None:
    """Give way to the loop until it is so."""
    while not true():  # noqa: ASYNC110 - a thread or a tool sets it, and knows no event of ours
        await asyncio.sleep(0.001)


async def _add(log: list[str], word: str) -> str:
    log.append(word)
    return word


async def test_a_call_that_fails_as_its_caller_is_cancelled_is_not_reported_as_forgotten(bench: Bench) -> None:
    """By itself in the very turn of the loop, or late because it was told to leave, its caller cancelled twice."""
    told, callers = list[str](), list[asyncio.Future[Any]]()
    loop = asyncio.get_running_loop()
    was = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    begun, leaving, stay = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @tool(agents={"research"}, timeout_s=60)
    async def fails_at_once() -> str:
        """Fail, its caller cancelled the moment before."""
        callers.pop().cancel()
        raise OSError("gone")

    @tool(agents={"research"}, timeout_s=60)
    async def fails_late() -> str:
        """Fail some time after being told to leave."""
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            leaving.set()
            await stay.wait()
        raise OSError("gone")

    async def called(name: str) -> None:
        await box.call(name)

    box = bench.box(fails_at_once, fails_late, limits=CallLimits(grace_s=60))
    try:
        callers.append(asyncio.ensure_future(called("fails_at_once")))
        await asyncio.wait({callers[0]})
        twice = asyncio.ensure_future(called("fails_late"))
        await begun.wait()
        twice.cancel()
        await leaving.wait()
        twice.cancel()
        await asyncio.wait({twice})
        assert twice.cancelled()
        assert len(tool_calls._abandoned["fails_late"]) == 1, "it still runs, and counts"
        del twice  # an error is reported when nobody holds its call any more
        stay.set()
        await _until(lambda: not tool_calls._abandoned["fails_late"])
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(was)
    assert callers == []
    assert told == []


async def test_a_tool_that_never_ends_is_not_called_for_ever(bench: Bench) -> None:
    free, calls = asyncio.Event(), 0

    @tool(agents={"research"}, timeout_s=0.001)
    async def endless() -> str:
        """Stay."""
        nonlocal calls
        calls += 1
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue
        return ""

    box = bench.box(endless, limits=CallLimits(grace_s=0.001))
    try:
        for _ in range(12):
            with pytest.raises(ToolFailed):
                await box.call("endless")
        assert calls == tool_calls.MOST_ABANDONED
    finally:
        free.set()
    await _until(lambda: not tool_calls._abandoned["endless"])
    assert (await box.call("endless")).value == ""


async def test_a_sync_function_runs_in_a_thread_of_its_own_and_the_loop_goes_on(bench: Bench) -> None:
    go, names = threading.Event(), list[str]()

    @tool(agents={"research"})
    def blocking(word: str) -> str:
        """Block.

        Args:
            word: To give back.
        """
        names.append(threading.current_thread().name)
        assert go.wait(20)
        return word

    call = asyncio.create_task(bench.box(blocking).call("blocking", word="x"))
    await _until(lambda: bool(names))
    go.set()  # from the loop, which therefore is not blocked
    assert (await call).value == "x"
    assert names == ["tool-blocking"]


async def test_a_tool_that_held_up_the_event_loop_is_named_in_the_log(bench: Bench) -> None:
    held = timedelta(0)

    @tool(agents={"research"}, timeout_s=5)
    async def blocking() -> str:
        """Block."""
        bench.clock.advance(held)  # as if it had computed for so long without giving way
        return "done"

    with capture_logs() as logs:
        assert (await bench.box(blocking).call("blocking")).value == "done"
        assert logs == []
        held = timedelta(minutes=1)
        assert (await bench.box(blocking).call("blocking")).value == "done"
    assert logs == [{"event": "tool.blocked_loop", "tool": "blocking", "seconds": 60.0, "log_level": "warning"}]


async def test_a_sync_function_that_hangs_is_left_alone(bench: Bench) -> None:
    go = threading.Event()

    @tool(agents={"research"}, timeout_s=0.01)
    def hanging() -> str:
        """Hang."""
        go.wait(60)
        return ""

    try:
        with pytest.raises(ToolFailed, match="did not answer"):
            await bench.box(hanging).call("hanging")
        assert len(tool_calls._abandoned["hanging"]) == 1
    finally:
        go.set()
    await _until(lambda: not tool_calls._abandoned["hanging"])


async def test_cancelling_the_step_cancels_its_tools(bench: Bench) -> None:
    begun, left = asyncio.Event(), list[str]()

    @tool(agents={"research"})
    async def waiting() -> str:
        """Wait."""
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.append("left")
        return ""

    step = asyncio.create_task(bench.box(waiting).call("waiting"))
    await begun.wait()
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    assert left == ["left"]


async def test_what_a_tool_raises_reaches_whom_it_is_for_without_secrets(bench: Bench) -> None:
    def raising(error: BaseException) -> ToolSpec:
        @tool(agents={"research"})
        async def breaks() -> str:
            """Break."""
            raise error

        return breaks

    for error, kind in (
        (ToolRetry(f"the key {SECRET} is old"), ToolRetry),
        (ToolFailed(f"the key {SECRET} is old"), ToolFailed),
        (RuntimeError(f"GET https://x.example/?key={SECRET}"), ToolBroke),
        (ValueError(f"bad {SECRET}"), ToolBroke),
        (SystemExit(3), ToolBroke),
        (asyncio.CancelledError(), ToolFailed),
        (Unavailable("the store is away"), Unavailable),
        (LeaseLost("gone"), LeaseLost),
    ):
        box = bench.box(raising(error))
        with pytest.raises(kind) as raised:
            await box.call("breaks")
        if kind is ToolBroke:
            assert SECRET not in str(raised.value)
        (made,) = box.made
        assert SECRET not in repr(made)
        if not isinstance(raised.value, LeaseLost | Unavailable):
            (told,) = await _told_of(bench, error, raising)
            assert SECRET not in told


async def _told_of(bench: Bench, error: BaseException, make: Callable[[BaseException], ToolSpec]) -> list[str]:
    try:
        (answer,) = await bench.box(make(error)).answer([ToolCall("1", "breaks", {})])
    except ToolBroke as broke:
        return [str(broke)]
    return [answer.error]


# What a model is told


async def test_a_model_may_mend_its_call_once(bench: Bench) -> None:
    box = bench.box(weather)
    wrong = ToolCall("1", "weather", {"place": "Rome", "days": "three"})
    (first,) = await box.answer([wrong])
    assert first.error.endswith("mend it and call again")
    assert "days = 'three'" in first.error
    (mended,) = await box.answer([ToolCall("2", "weather", '{"place": "Rome"}')])
    assert mended.result is not None
    (second,) = await box.answer([wrong])
    assert second.error.endswith("do not call it again")
    (third,) = await box.answer([ToolCall("4", "weather", {"place": "Rome"})])
    assert third.result is None
    assert "closed" in third.error


async def test_a_tool_that_failed_is_told_as_failed(bench: Bench) -> None:
    @tool(agents={"research"})
    async def down() -> str:
        """Fail."""
        raise ToolFailed("the calendar is down")

    (answer,) = await bench.box(down).answer([ToolCall("1", "down", {})])
    assert answer.error == "the calendar is down: do not call it again"


async def test_of_five_hundred_parallel_calls_eight_run_all_at_once_and_no_more(bench: Bench) -> None:
    running, most, total = 0, 0, 0
    gate = asyncio.Barrier(8)

    @tool(agents={"research"})
    async def one(n: int) -> int:
        """Count.

        Args:
            n: Which.
        """
        nonlocal running, most, total
        running, total = running + 1, total + 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return n

    box = bench.box(one)
    answers = await box.answer([ToolCall(str(n), "one", {"n": n}) for n in range(500)])
    assert [answer.call.id for answer in answers] == [str(n) for n in range(500)]
    assert [answer.result.value for answer in answers[:8] if answer.result] == list(range(8))
    assert {answer.error for answer in answers[8:]} == {"not called: at most 8 calls in one answer"}
    assert (most, total) == (8, 8)
    assert len(box.made) == 9, "492 refusals are one line of the record"


async def test_when_one_call_breaks_the_step_the_others_have_ended_first(bench: Bench) -> None:
    ended: list[str] = []

    @tool(agents={"research"})
    async def broken() -> str:
        """Break."""
        raise RuntimeError("boom")

    @tool(agents={"research"})
    async def late() -> str:
        """Take a while."""
        for _ in range(5):
            await asyncio.sleep(0)
        ended.append("late")
        return ""

    with pytest.raises(ToolBroke, match="tool 'broken' raised RuntimeError: boom"):
        await bench.box(broken, late).answer([ToolCall("1", "broken", {}), ToolCall("2", "late", {})])
    assert ended == ["late"]


async def test_a_tool_that_does_not_exist_is_refused_by_name_to_our_code_and_to_a_model(bench: Bench) -> None:
    box = bench.box(weather)
    with pytest.raises(UnknownTool, match=r"'wether' is unknown \(did you mean 'weather'\?\)"):
        await box.call("wether")
    (answer,) = await box.answer([ToolCall("1", "publish_post\n\x1b", {})])
    assert answer.error.startswith("there is no tool 'publish_post")
    assert answer.error.endswith("there are: weather")
    assert answer.error.isprintable()


async def test_what_a_step_called_is_one_event(bench: Bench) -> None:
    async with bench.box(weather) as box:
        await box.call("weather", place=f"Rome {SECRET}")
        await box.answer([ToolCall("1", "weather", "{"), ToolCall("2", "launch", {"at": 1})])
    (event,) = await bench.events()
    assert (event.name, event.actor, event.session_id) == ("tools.used", "research", "s1")
    calls = [(c["tool"], c["by"], c["outcome"]) for c in event.detail["calls"]]
    assert calls == [("weather", "code", "ok"), ("weather", "model", "retry"), ("launch", "model", "refused")]
    assert SECRET not in event.model_dump_json()


async def test_a_step_that_failed_says_what_it_called_and_one_that_called_nothing_says_nothing(bench: Bench) -> None:
    async with bench.box(weather):
        pass
    assert await bench.events() == []
    with pytest.raises(ToolRetry):
        async with bench.box(weather) as box:
            await box.call("weather")
    (event,) = await bench.events()
    assert event.detail["calls"][0]["outcome"] == "retry"


# once


def once_tool(effect: Callable[[], Awaitable[Any]], answers: list[Any]) -> ToolSpec:
    @tool(agents={"coordination"}, effect="write")
    async def act(ctx: ToolContext, key: str) -> str:
        """Act once.

        Args:
            key: Which time.
        """
        answers.append(await ctx.once(key, effect))
        return "done"

    return act


def acting(bench: Bench, effect: Callable[[], Awaitable[Any]], answers: list[Any] | None = None) -> Toolbox:
    return bench.box(once_tool(effect, answers if answers is not None else []), agent="coordination", effects={"write"})


async def test_an_effect_happens_once_a_key_and_answers_the_same_again(bench: Bench) -> None:
    done: list[str] = []
    answers: list[Any] = []

    async def effect() -> dict[str, Any]:
        done.append("x")
        return {"n": len(done), "at": (1, 2)}

    for key in ("a", "a", "b", "a"):
        await acting(bench, effect, answers).call("act", key=key)
    assert len(done) == 2
    assert answers == [{"n": 1, "at": [1, 2]}, {"n": 1, "at": [1, 2]}, {"n": 2, "at": [1, 2]}, {"n": 1, "at": [1, 2]}]
    names = [event.name for event in await bench.events()]
    assert names.count("tool.effect_started") == names.count("tool.effect_ended") == 2


async def test_one_that_says_that_nothing_happened_may_be_tried_again(bench: Bench) -> None:
    done: list[str] = []

    async def effect() -> str:
        done.append("x")
        if len(done) < 3:
            raise ToolFailed("refused: nothing happened") if len(done) == 1 else ToolRetry("not so")
        return "yes"

    answers: list[Any] = []
    with pytest.raises(ToolFailed):
        await acting(bench, effect).call("act", key="a")
    with pytest.raises(ToolRetry):
        await acting(bench, effect).call("act", key="a")
    for _ in range(2):
        await acting(bench, effect, answers).call("act", key="a")
    assert answers == ["yes", "yes"]
    assert len(done) == 3


@pytest.mark.parametrize("error", [RuntimeError("boom"), TimeoutError(), asyncio.CancelledError(), Unavailable("away")])
async def test_after_any_other_end_it_is_uncertain_for_ever_and_never_repeated(
    bench: Bench, error: BaseException
) -> None:
    done: list[str] = []

    async def effect() -> str:
        done.append("x")
        raise error

    with pytest.raises((ToolBroke, ToolFailed, Unavailable)):
        await acting(bench, effect).call("act", key="a")
    for _ in range(3):
        with pytest.raises(
            Uncertain, match=r"'a' was started at 2026-12-07T09:00:00\+00:00 and nobody recorded how it ended"
        ):
            await acting(bench, effect).call("act", key="a")
    assert done == ["x"]
    await acting(bench, lambda: _add(done, "y")).call("act", key="b")
    assert done == ["x", "y"], "another key is another effect"


async def test_of_two_that_race_one_acts_and_the_other_does_not_know(bench: Bench) -> None:
    begun, go, done = asyncio.Event(), asyncio.Event(), list[str]()

    async def effect() -> str:
        done.append("x")
        begun.set()
        await go.wait()
        return "x"

    first = asyncio.create_task(acting(bench, effect).call("act", key="a"))
    await begun.wait()
    with pytest.raises(Uncertain):
        await acting(bench, effect).call("act", key="a")
    go.set()
    await first
    assert done == ["x"]
    await acting(bench, effect).call("act", key="a")
    assert done == ["x"]


async def test_a_result_that_cannot_be_kept_does_not_make_what_happened_unknown(bench: Bench) -> None:
    answers: list[Any] = []

    async def effect() -> Any:
        return cyclic()

    for _ in range(2):
        await acting(bench, effect, answers).call("act", key="a")
    assert answers == [None, None]


class Failing:
    """Rows whose Nth write raises: before it happened, or after."""

    def __init__(self, records: Any, n: int, when: str) -> None:
        self._records, self._n, self._when, self.writes = records, n, when, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def put(self, *rows: Any) -> None:
        await self._fail(lambda: self._records.put(*rows))

    async def create_once(self, *args: Any, **kwargs: Any) -> Once[Any]:
        return await self._fail(lambda: self._records.create_once(*args, **kwargs))

    async def _fail(self, write: Callable[[], Awaitable[Any]]) -> Any:
        self.writes += 1
        if self.writes == self._n and self._when == "before":
            raise Unavailable("the reply was lost")
        answer = await write()
        if self.writes == self._n:
            raise Unavailable("the reply was lost")
        return answer


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
async def test_whichever_write_fails_the_effect_happens_at_most_once_and_is_never_skipped(
    bench: Bench, n: int, when: str
) -> None:
    done: list[str] = []
    answers: list[Any] = []
    broken = Bench(Failing(bench.records, n, when), bench.embedder, bench.clock)  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await acting(broken, lambda: _add(done, "x")).call("act", key="a")
    happened = len(done)
    assert happened <= 1
    try:
        await acting(bench, lambda: _add(done, "x"), answers).call("act", key="a")
    except Uncertain:
        assert (n, when) != (1, "before"), "nothing had been started"
        assert len(done) == happened
    else:
        assert (done, answers) == (["x"], ["x"]), "it answers only with what happened"


KILLED = """
import asyncio, os, sys
from pathlib import Path
from tests.fakes.toolbench import open_bench
from tools.context import ToolContext
from tools.plugin_api import tool

folder, dies, wrote = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[1]) / "effects"

@tool(agents={"coordination"}, effect="write")
async def act(ctx: ToolContext) -> str:
    "Act."
    async def effect() -> str:
        with wrote.open("a") as file:
            file.write("x")
        if dies == "dies":
            os._exit(9)
        return "happened"
    return await ctx.once("a", effect)

async def main() -> None:
    async with open_bench(folder) as bench:
        result = await bench.box(act, agent="coordination", effects={"write"}).call("act")
        print(result.value)

try:
    asyncio.run(main())
except Exception as error:
    print(type(error).__name__)
"""


def test_a_process_that_dies_inside_leaves_an_uncertain_effect_that_no_other_repeats_or_skips(tmp_path: Path) -> None:
    def act(dies: str) -> tuple[int, str]:
        command = [sys.executable, "-c", KILLED, str(tmp_path), dies]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout.strip()

    assert act("dies") == (9, "")
    assert act("lives") == (0, "Uncertain")
    assert act("lives") == (0, "Uncertain")
    assert (tmp_path / "effects").read_text() == "x"


async def test_a_tool_that_only_reads_has_no_effects(bench: Bench) -> None:
    caught: list[Exception] = []

    @tool(agents={"research"})
    async def sly(ctx: ToolContext) -> str:
        """Try."""
        now = ctx.clock.now()
        row = Control(brand="acme", name="pause", value="off", updated_at=now)
        for act in (
            lambda: ctx.once("a", lambda: _add([], "x")),
            lambda: ctx.records.put(row),
            lambda: ctx.records.delete(Control, name="pause"),
            lambda: ctx.store.aput(("research", "semantic"), "k", {"content": "planted"}),
            lambda: ctx.records.create_once("decision", "p|h", row, token="t"),
            lambda: ctx.records.list_once(limit=1),
        ):
            try:
                await act()  # type: ignore[no-untyped-call]
            except (BadInput, Unsupported) as error:
                caught.append(error)
        return "tried"

    await bench.box(sly).call("sly")
    assert len(caught) == 6
    assert await bench.records.find_by(AgentMemory, brand="acme") == []


async def test_a_tool_that_writes_writes_memories_and_nothing_else(bench: Bench) -> None:
    @tool(agents={"creation"}, effect="write")
    async def learn(ctx: ToolContext, word: str) -> str:
        """Learn.

        Args:
            word: What.
        """
        await ctx.store.aput(("creation", "semantic"), word, {"content": word})
        now = ctx.clock.now()
        await ctx.records.put(Control(brand="acme", name="pause", value="off", updated_at=now))
        return word

    with pytest.raises(Unsupported, match="may not write Control: tools write AgentMemory alone"):
        await bench.box(learn, agent="creation", effects={"write"}).call("learn", word="light")
    (memory,) = await bench.records.find_by(AgentMemory, brand="acme")
    assert memory.memory_content == "light"
    assert await bench.records.find(Control, name="pause") is None
