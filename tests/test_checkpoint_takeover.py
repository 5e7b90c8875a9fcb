"""Checkpoints and real processes: one that sleeps through its lease, and one that is killed in the middle of its writes."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from config.clock import SystemClock
from config.errors import Conflict, LeaseLost
from memory.checkpoints.protocol import Checkpoints, open_checkpoints
from memory.lease import Unleased

ROOT = Path(__file__).parents[1]
CONFIG: Any = {"configurable": {"thread_id": "t"}}
pytestmark = pytest.mark.slow

_GRAPH = """
import asyncio, operator, sys
from typing import Annotated, TypedDict
from langgraph.graph import START, StateGraph
from langgraph.types import Send
from config.clock import SystemClock
from config.errors import LeaseLost
from memory.checkpoints.protocol import open_checkpoints
from memory.lease import Unleased

slept = []

class State(TypedDict):
    done: Annotated[list[str], operator.add]

def graph(who, stop_in=None):
    def node(name, after=0.0):
        async def run(state):
            await asyncio.sleep(after)
            if name == stop_in:
                print("stopping", flush=True)
                slept.append(await asyncio.to_thread(sys.stdin.readline))
            return {"done": [f"{name} by {who}"]}
        return run

    builder = StateGraph(State)
    for name in ("first", "fan", "join", "last"):
        builder.add_node(name, node(name))
    for name in ("left", "right"):
        builder.add_node(name, node(name, 0.0 if name == "left" else 0.05))
        builder.add_edge("fan", name)
    builder.add_edge(START, "first")
    builder.add_edge("first", "fan")
    builder.add_edge(["left", "right"], "join")
    builder.add_edge("join", "last")
    return builder.compile()
"""

_SLEEPER = (
    _GRAPH
    + """
class Timed(Unleased):
    def ensure_held(self):
        if slept:
            raise LeaseLost("the lease ran out")

async def main(url, stop_in, lease):
    async with open_checkpoints(url, clock=SystemClock()) as checkpoints:
        # A blind lease believes for ever that it is held: then the store alone stands in the way.
        guard = Unleased() if lease == "blind" else Timed()
        saver = await checkpoints.claim("acme", "t", guard, on_lost=lambda: print("told", flush=True))
        try:
            bound = graph("sleeper", stop_in).copy(update={"checkpointer": saver})
            await bound.ainvoke({"done": []}, {"configurable": {"thread_id": "t"}}, durability="sync")
        except LeaseLost:
            print("refused", flush=True)
        print("tasks left:", len(asyncio.all_tasks()) - 1, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""
)

_WRITER = """
import asyncio, os, sys
from langgraph.checkpoint.base import empty_checkpoint
from config.clock import SystemClock
from memory.checkpoints.protocol import open_checkpoints
from memory.lease import Unleased

async def write(checkpoints, thread):
    saver = await checkpoints.claim("acme", thread, Unleased())
    config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    found = await saver.aget_tuple(config)
    n = found.checkpoint["channel_values"]["n"] if found else 0
    while True:
        n += 1
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"n": n}
        stored = await saver.aput(config, checkpoint, {"step": n}, {})
        await saver.aput_writes(stored, [("a", n), ("b", n)], "task")
        os.write(1, f"{thread} {n}\\n".encode())

async def main(url):
    async with open_checkpoints(url, clock=SystemClock()) as checkpoints:
        await asyncio.gather(*(write(checkpoints, f"t{n}") for n in range(8)))

asyncio.run(main(*sys.argv[1:]))
"""


async def start(code: str, *arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, cwd=ROOT, stdin=pipe, stdout=pipe
    )


async def until_stored(url: str, step: str) -> None:
    """Wait until the result of a step is stored that the checkpoint after it does not hold yet."""
    async with open_checkpoints(url, clock=SystemClock()) as checkpoints, asyncio.timeout(120):
        while True:
            found = await checkpoints.reader("acme").aget_tuple(CONFIG)
            if found is not None and step in str(found.pending_writes):
                return
            await asyncio.sleep(0.01)


async def wake(sleeper: asyncio.subprocess.Process) -> None:
    """Let it go on: its next write is refused, it hears of that, and ends with nothing under way."""
    sleeper.send_signal(signal.SIGCONT)
    out, _ = await sleeper.communicate(b"go on\n")
    assert out.decode().splitlines() == ["told", "refused", "tasks left: 0"]


async def finish_as_successor(checkpoints: Checkpoints) -> list[str]:
    names: dict[str, Any] = {}
    exec(compile(_GRAPH, "graph", "exec", dont_inherit=True), names)  # the sleeper's very graph
    saver = await checkpoints.claim("acme", "t", Unleased())
    bound = names["graph"]("successor").copy(update={"checkpointer": saver})
    result = await bound.ainvoke(None, CONFIG, durability="sync")
    return list(result["done"])


@pytest.mark.parametrize(
    ("stop_in", "lease"),
    [("first", "blind"), ("left", "blind"), ("right", "blind"), ("last", "blind"), ("right", "timed")],
)
async def test_a_worker_that_slept_through_its_lease_writes_nothing_that_is_ever_read(
    tmp_path: Path, stop_in: str, lease: str
) -> None:
    url = f"sqlite:///{tmp_path / 'checkpoints.db'}"
    sleeper = await start(_SLEEPER, url, stop_in, lease)
    assert sleeper.stdout is not None
    assert await sleeper.stdout.readline() == b"stopping\n"
    if stop_in == "right":
        await until_stored(url, "left by sleeper")
    sleeper.send_signal(signal.SIGSTOP)

    async with open_checkpoints(url, clock=SystemClock()) as checkpoints:
        if lease == "timed":  # before anybody else has the thread: nothing but its own lease stands in the way
            await wake(sleeper)
        done = await finish_as_successor(checkpoints)
        history = [item.checkpoint["id"] async for item in checkpoints.reader("acme").alist(CONFIG)]
        if lease == "blind":
            await wake(sleeper)
        found = await checkpoints.reader("acme").aget_tuple(CONFIG)
        assert found is not None
        assert found.checkpoint["channel_values"]["done"] == done
        assert found.pending_writes == []
        assert [item.checkpoint["id"] async for item in checkpoints.reader("acme").alist(CONFIG)] == history
    assert sorted(line.split()[0] for line in done) == sorted(["first", "fan", "left", "right", "join", "last"])
    by_sleeper = {line.split()[0] for line in done if line.endswith("sleeper")}
    assert (
        by_sleeper
        == {
            "first": set(),
            "left": {"first", "fan"} | by_sleeper & {"right"},
            "right": {"first", "fan", "left"},
            "last": {"first", "fan", "left", "right", "join"},
        }[stop_in]
    )


async def test_what_was_acknowledged_outlives_kill_9_at_any_moment(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'checkpoints.db'}"
    acknowledged: dict[str, set[int]] = defaultdict(set)
    for lines in (40, 75, 130):
        writer = await start(_WRITER, url)
        assert writer.stdout is not None
        for _ in range(lines):
            thread, n = (await writer.stdout.readline()).split()
            acknowledged[thread.decode()].add(int(n))
        writer.kill()
        rest, _ = await writer.communicate()
        for line in rest.splitlines(keepends=True):
            if line.endswith(b"\n"):
                thread, n = line.split()
                acknowledged[thread.decode()].add(int(n))
        async with open_checkpoints(url, clock=SystemClock()) as checkpoints:
            reader = checkpoints.reader("acme")
            for name, numbers in acknowledged.items():
                config: Any = {"configurable": {"thread_id": name, "checkpoint_ns": ""}}
                stored = [item async for item in reader.alist(config)]
                present = {item.checkpoint["channel_values"]["n"]: item.pending_writes for item in stored}
                for k in numbers:
                    assert present[k] == [("task", "a", k), ("task", "b", k)]
    assert len(acknowledged) == 8
    assert sum(len(numbers) for numbers in acknowledged.values()) >= 245


@pytest.mark.parametrize("seed", range(3))
async def test_workers_that_steal_a_thread_from_each_other_lose_no_acknowledged_step(tmp_path: Path, seed: int) -> None:
    """Each claim sees every step acknowledged before it, and no step number is ever acknowledged to two workers."""
    chance = random.Random(seed)
    url = f"sqlite:///{tmp_path / 'checkpoints.db'}"
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    acknowledged: list[int] = [0]
    displaced = 0

    async def work(checkpoints: Checkpoints) -> None:
        nonlocal displaced
        for _ in range(12):
            floor = max(acknowledged)
            try:
                saver = await checkpoints.claim("acme", "t", Unleased())
                found = await saver.aget_tuple(config)
                n = found.checkpoint["channel_values"]["n"] if found else 0
                assert n >= floor
                for _ in range(chance.randrange(6)):
                    checkpoint = empty_checkpoint()
                    checkpoint["channel_values"] = {"n": n + 1}
                    await saver.aput(config, checkpoint, {"step": n + 1}, {})
                    n += 1
                    acknowledged.append(n)
                    await asyncio.sleep(chance.random() / 500)
            except (Conflict, LeaseLost):
                displaced += 1

    # Two engines on one file are two connections, as two processes would have.
    async with open_checkpoints(url, clock=SystemClock()) as one, open_checkpoints(url, clock=SystemClock()) as two:
        await asyncio.gather(*(work(engine) for engine in (one, two, one, two, one)))
        found = await one.reader("acme").aget_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"]["n"] >= max(acknowledged)
    assert len(set(acknowledged)) == len(acknowledged)
    assert displaced > 0
