"""Tools: effects that happen once, and what a tool may write."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from config.errors import BadInput, Unavailable, Uncertain, Unsupported
from memory.records.protocol import Once
from memory.rows.agents import AgentMemory
from memory.rows.brand import Control
from tests.fakes.checkout import ROOT
from tests.fakes.toolbench import Bench, add, cyclic, open_bench
from tools.calls import Toolbox
from tools.context import ToolContext
from tools.plugin_api import ToolFailed, ToolRetry, ToolSpec, tool
from tools.running import ToolBroke


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as opened:
        yield opened


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
    await acting(bench, lambda: add(done, "y")).call("act", key="b")
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
        await acting(broken, lambda: add(done, "x")).call("act", key="a")
    happened = len(done)
    assert happened <= 1
    try:
        await acting(bench, lambda: add(done, "x"), answers).call("act", key="a")
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
            lambda: ctx.once("a", lambda: add([], "x")),
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


async def test_an_effect_that_is_not_async_happens_once_too(bench: Bench) -> None:
    done: list[str] = []
    answers: list[Any] = []

    def effect() -> str:
        done.append("x")
        return "yes"

    for _ in range(2):
        await acting(bench, effect, answers).call("act", key="a")  # type: ignore[arg-type]
    assert (answers, done) == (["yes", "yes"], ["x"])


@pytest.mark.parametrize("key", ["", "x" * 201, "a\x00b", "\ud800"])
async def test_a_key_that_names_nothing_starts_nothing(bench: Bench, key: str) -> None:
    done: list[str] = []

    @tool(agents={"coordination"}, effect="write")
    async def act(ctx: ToolContext) -> str:
        """Act once."""
        return str(await ctx.once(key, lambda: add(done, "x")))

    with pytest.raises(BadInput, match="must have 1 to 200 characters"):
        await bench.box(act, agent="coordination", effects={"write"}).call("act")
    assert done == []
    assert [event.name for event in await bench.events()] == []


async def test_an_effect_that_is_called_too_early_is_refused_before_it_is_started(bench: Bench) -> None:
    done: list[str] = []
    with pytest.raises(BadInput, match="needs a function: give `send`, not `send\\(\\)`"):
        await acting(bench, add(done, "x")).call("act", key="a")  # type: ignore[arg-type]
    await acting(bench, lambda: add(done, "y")).call("act", key="a")
    assert done == ["y"], "the key was not used up"
