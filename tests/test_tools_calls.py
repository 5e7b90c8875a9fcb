"""Tools: calls that fail, hang, never end or hold up others."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from config.errors import LeaseLost, Unavailable
from memory.rows.agents import AgentMemory
from tests.fakes.checkout import ROOT
from tests.fakes.toolbench import SECRET, Bench, add, open_bench
from tools.calls import MOST_ABANDONED, ToolCall
from tools.context import CallLimits, ToolContext
from tools.plugin_api import ToolFailed, ToolRetry, ToolSpec, tool
from tools.running import ToolBroke, abandoned


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as opened:
        yield opened


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
    assert not abandoned["slow"]


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
            lambda: ctx.once("k", lambda: add(wrote, "late")),
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
        assert len(abandoned["stubborn"]) == 1
    finally:
        free.set()  # or the loop would wait for it when the test has failed
    await done.wait()
    await asyncio.sleep(0)
    assert not wrote
    assert not abandoned["stubborn"]
    assert await bench.records.find_by(AgentMemory, brand="acme") == []
    assert [event.name for event in await bench.events()] == []


async def _until(true: Callable[[], bool]) -> None:
    """Give way to the loop until it is so."""
    while not true():  # noqa: ASYNC110 - a thread or a tool sets it, and knows no event of ours
        await asyncio.sleep(0.001)


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
        assert len(abandoned["fails_late"]) == 1, "it still runs, and counts"
        del twice  # an error is reported when nobody holds its call any more
        stay.set()
        await _until(lambda: not abandoned["fails_late"])
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
        assert calls == MOST_ABANDONED
    finally:
        free.set()
    await _until(lambda: not abandoned["endless"])
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
        assert len(abandoned["hanging"]) == 1
    finally:
        go.set()
    await _until(lambda: not abandoned["hanging"])


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


# Whatever it raises, and wherever


class Own(BaseException):
    pass


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


RAISED: list[tuple[BaseException, str]] = [
    (StopIteration("x"), "raised (StopIteration|RuntimeError)"),
    (Own("boom"), "raised Own: boom$"),
    (GeneratorExit(), "raised GeneratorExit$"),
    (KeyboardInterrupt(), "tried to end the process"),
    (SystemExit(0), "tried to end the process"),
    (BaseExceptionGroup("g", [Own("boom")]), "raised BaseExceptionGroup: g"),
    (Mute(), "raised Mute: Mute without words"),
    (RuntimeError("x" * 1_000_000), "raised RuntimeError: x{100}"),
]


@pytest.mark.parametrize(("error", "says"), RAISED, ids=[type(error).__name__ for error, _ in RAISED])
@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_whatever_a_tool_raises_breaks_its_step_at_once_and_nothing_else(
    bench: Bench, where: str, error: BaseException, says: str
) -> None:
    def in_thread() -> str:
        """Break."""
        raise error

    async def in_loop() -> str:
        """Break."""
        raise error

    spec = tool(agents={"research"}, timeout_s=60)(in_loop if where == "loop" else in_thread)
    box = bench.box(spec)
    with pytest.raises(ToolBroke, match=says) as broke:
        await box.call(spec.name)
    assert len(str(broke.value)) <= 300
    assert [made.outcome for made in box.made] == ["broke"]
    assert not abandoned[spec.name]


async def test_a_thread_that_cancels_itself_does_not_cancel_the_step(bench: Bench) -> None:
    @tool(agents={"research"}, timeout_s=60)
    def leaves() -> str:
        """Leave."""
        raise asyncio.CancelledError

    with pytest.raises(ToolFailed, match="tool 'leaves' cancelled itself"):
        await bench.box(leaves).call("leaves")


class Unreadable(dict[str, str]):
    def items(self) -> Any:
        raise KeyError("boom")


async def test_a_result_that_breaks_as_it_is_read_breaks_the_step_and_is_named(bench: Bench) -> None:
    @tool(agents={"research"})
    async def odd() -> dict[str, str]:
        """Return something odd."""
        return Unreadable()

    box = bench.box(odd)
    with pytest.raises(ToolBroke, match="tool 'odd' returned what cannot be read: 'boom'"):
        await box.call("odd")
    assert [made.outcome for made in box.made] == ["broke"]


FORKS = """
import asyncio, os, sys
from pathlib import Path
from tests.fakes.toolbench import open_bench
from tools.plugin_api import tool

@tool(agents={"research"}, timeout_s=30)
async def in_loop() -> int:
    '''Fork, and forget it.'''
    return os.fork()

@tool(agents={"research"}, timeout_s=30)
def in_thread() -> int:
    '''Fork, and forget it.'''
    return os.fork()

async def main():
    async with open_bench(Path(sys.argv[1])) as bench:
        result = await bench.box(in_loop, in_thread).call(sys.argv[2])
    status = os.waitstatus_to_exitcode(os.waitpid(result.value, 0)[1]) if result.value else "went on as a copy"
    print(status, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("name", ["in_loop", "in_thread"])
def test_the_copy_that_a_tool_makes_of_its_process_ends_there(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", FORKS, str(tmp_path), name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "70\n"
