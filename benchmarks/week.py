"""A durable week: one call that researches, then 35 pieces, each created by one call and checked by three: 141 model calls.

    .venv/bin/python benchmarks/week.py [--pieces 35] [--rounds 5]

First with a model that answers at once, where only the machinery is left: the CPU time (of all threads of the process) of the
same graphs on our lease-bound saver and on LangGraph's AsyncSqliteSaver as it comes, taken in turn, median of the rounds. The
graphs have the shape of ours: a thread for the week, which waits for its pieces, and a thread for each piece, all at the same
time, durability="sync". Then the product's own week (start, worker, queue, records, linter, 35 pieces) on both savers.
CrewAI, which keeps nothing, runs the same calls when COPYDESK_TEST_CREWAI_PYTHON names an interpreter that has it.

Then with a model that takes 200 ms an answer: the wall time against the critical path, which is the calls that must follow
one another. For the product's week they are counted as they happen: the week's own, and the longest chain of any piece.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import operator
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypedDict

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

from benchmarks._report import BRAND, SlowModel, result, run_product_week, write_week_brand
from config.clock import SystemClock
from config.log import configure_logging
from config.settings import Settings
from graphs.sessions import session_piece_ids
from graphs.state import merge
from memory.checkpoints.protocol import open_checkpoints
from memory.lease import Unleased
from runtime.compose import open_runtime

ANSWER = timedelta(milliseconds=200)
CHECKS = ("claims", "voice", "legal")
Model = Callable[[str], Awaitable[str]]
SaverOf = Callable[[str], Awaitable[Any]]


class WeekState(TypedDict, total=False):
    week: str
    brief: str
    pieces: list[str]
    done: bool


class PieceState(TypedDict, total=False):
    piece_id: str
    brief: str
    content_hash: str
    results: Annotated[dict[str, str], merge]
    notes: Annotated[list[str], operator.add]
    outcome: str


class CheckOne(TypedDict):
    content_hash: str
    kind: str


def build(model: Model, pieces: int) -> tuple[Any, Any]:
    """The week's graph and the pieces': steps that do nothing but ask the model."""

    async def research(state: WeekState) -> WeekState:
        return {"brief": await model(f"research {state['week']}")}

    async def dispatch(state: WeekState) -> WeekState:
        return {"pieces": [f"piece-{n}" for n in range(pieces)]}

    async def wait(state: WeekState) -> WeekState:
        interrupt({"waiting_for": "pieces"})
        return {"done": True}

    week = StateGraph(WeekState)
    for node in (research, dispatch, wait):
        week.add_node(node.__name__, node)
    week.add_edge(START, "research").add_edge("research", "dispatch").add_edge("dispatch", "wait").add_edge("wait", END)

    async def create(state: PieceState) -> PieceState:
        return {"content_hash": await model(f"create {state['piece_id']}")}

    async def check(state: CheckOne) -> PieceState:
        return {"results": {f"{state['content_hash']}|{state['kind']}": await model(f"check {state['kind']}")}}

    async def settle(state: PieceState) -> PieceState:
        return {"outcome": "approved" if len(state["results"]) == len(CHECKS) else "asked"}

    def to_checks(state: PieceState) -> list[Send]:
        return [Send("check", {"content_hash": state["content_hash"], "kind": kind}) for kind in CHECKS]

    piece = StateGraph(PieceState)
    piece.add_node("create", create)
    piece.add_node("check", check, input_schema=CheckOne)
    piece.add_node("settle", settle)
    piece.add_edge(START, "create").add_conditional_edges("create", to_checks, ["check"])
    piece.add_edge("check", "settle").add_edge("settle", END)
    return week.compile(), piece.compile()


async def run_week(saver_of: SaverOf, pieces: int, answer: timedelta) -> tuple[float, float]:
    """Run the week once; its CPU and wall time in milliseconds."""
    calls = 0

    async def model(prompt: str) -> str:
        nonlocal calls
        calls += 1
        if answer:
            await asyncio.sleep(answer.total_seconds())
        return f"{prompt}: " + "as it was found " * 4

    week, piece = build(model, pieces)

    async def advance(graph: Any, thread: str, feed: Any) -> Any:
        saver = await saver_of(thread)
        config = {"configurable": {"thread_id": thread}}
        durable = {"durability": "sync"} if saver is not None else {}
        return await graph.copy(update={"checkpointer": saver}).ainvoke(feed, config, **durable)

    cpu, wall = time.process_time(), time.perf_counter()
    found = await advance(week, "week", {"week": "2026-W50"})
    feeds = [advance(piece, name, {"piece_id": name, "brief": found["brief"]}) for name in found["pieces"]]
    assert [piece["outcome"] for piece in await asyncio.gather(*feeds)] == ["approved"] * pieces
    assert (await advance(week, "week", Command(resume=True)))["done"]
    taken = (time.process_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000
    assert calls == 1 + pieces * (1 + len(CHECKS))
    return taken


@asynccontextmanager
async def ours(folder: Path) -> AsyncIterator[SaverOf]:
    async with open_checkpoints(f"sqlite:///{folder / 'ours.db'}", clock=SystemClock()) as checkpoints:
        yield lambda thread: checkpoints.claim("acme", thread, Unleased())


@asynccontextmanager
async def stock(folder: Path, *, synchronous: str = "FULL") -> AsyncIterator[SaverOf]:
    async with open_stock(folder, synchronous=synchronous) as saver:

        async def same(thread: str) -> Any:
            return saver

        yield same


@asynccontextmanager
async def open_stock(folder: Path, *, synchronous: str) -> AsyncIterator[AsyncSqliteSaver]:
    async with AsyncSqliteSaver.from_conn_string(str(folder / "stock.db")) as saver:
        await saver.setup()
        await saver.conn.execute(f"PRAGMA synchronous = {synchronous}")
        yield saver


ENGINES: dict[str, Callable[[Path], Any]] = {
    "ours": ours,
    "stock": stock,
    "stock, NORMAL": lambda folder: stock(folder, synchronous="NORMAL"),
}


def graph_week(engine: str, pieces: int, answer: timedelta) -> tuple[float, float]:
    async def one(folder: str) -> tuple[float, float]:
        async with ENGINES[engine](Path(folder)) as saver_of:
            return await run_week(saver_of, pieces, answer)

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(one(folder))


class StockCheckpoints:
    """AsyncSqliteSaver where the product expects its own engine: it fences nothing and prunes nothing."""

    def __init__(self, saver: AsyncSqliteSaver) -> None:
        self.saver = saver

    def reader(self, brand: str) -> Any:
        return self.saver

    async def claim(self, brand: str, thread_id: str, lease: Any, **hooks: Any) -> Any:
        await lease.extend()
        return self.saver

    async def prune(self, brand: str, thread_id: str) -> None:
        return None


@contextmanager
def slow_model(answer: timedelta) -> Iterator[SlowModel]:
    model = SlowModel(answer.total_seconds())
    try:
        yield model
    finally:
        model.stop()


async def product_week(a_day: int, concurrency: int, answer: timedelta, *, stock: bool = False) -> dict[str, float]:
    """Start the week, work until it has settled; CPU and wall time in milliseconds, model calls, critical path in calls."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_week_brand(folder, a_day=a_day)
        async with open_runtime(Settings(data_dir=folder)) as runtime, open_stock(folder, synchronous="FULL") as saver:
            if stock:
                runtime.checkpoints = StockCheckpoints(saver)  # type: ignore[assignment]
            await runtime.ensure_brand(BRAND)
            with slow_model(answer) as model:
                cpu, wall = time.process_time(), time.perf_counter()
                session = await run_product_week(runtime, concurrency=concurrency)
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            assert str(session.status) == "done", session.reason
            pieces = session_piece_ids(session)
            chain = max(model.longest_chain(f"advance:{piece}") for piece in pieces)
            return {
                "cpu": cpu * 1000,
                "wall": wall * 1000,
                "calls": model.count,
                "chain": model.longest_chain(f"advance:{session.id}") + chain,
            }


def in_turn(rounds: int, runs: dict[str, Callable[[], Any]]) -> dict[str, list[Any]]:
    """What each gave in `rounds` rounds, taken in turn so that a busy moment of the machine hits all; the first warms up."""
    found: dict[str, list[Any]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            answer = run()
            if turn:
                found[name].append(answer)
    return found


def crewai(pieces: int) -> dict[str, Any] | None:
    python = os.environ.get("COPYDESK_TEST_CREWAI_PYTHON")
    if not python:
        return None
    script = Path(__file__).with_name("peer_crewai.py")
    with tempfile.TemporaryDirectory() as home:
        command = [python, str(script), "--pieces", str(pieces)]
        told = subprocess.run(
            command, env={**os.environ, "HOME": home}, cwd=home, capture_output=True, text=True, check=True
        )
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found


def machinery(pieces: int, rounds: int) -> None:
    calls = 1 + pieces * (1 + len(CHECKS))
    print(f"A model that answers at once; {pieces} pieces, {calls} calls; CPU ms (wall ms), median of {rounds}")
    found = in_turn(rounds, {name: lambda n=name: graph_week(n, pieces, timedelta(0)) for name in ENGINES})  # type: ignore[misc]
    cpu = {name: statistics.median(one for one, _ in taken) for name, taken in found.items()}
    wall = {name: statistics.median(one for _, one in taken) for name, taken in found.items()}
    for name in ("stock", "stock, NORMAL"):
        result(
            f"the graphs, on ours : AsyncSqliteSaver{name[5:]}",
            f"{cpu['ours']:.0f} ({wall['ours']:.0f})",
            f"{name} {cpu[name]:.0f} ({wall[name]:.0f})",
            cpu["ours"] / cpu[name],
            0.5,
        )
    peer = crewai(pieces)
    if peer is None:
        print("  CrewAI: not measured, COPYDESK_TEST_CREWAI_PYTHON names no interpreter that has it")
    else:
        assert peer["calls"] == calls
        result(
            f"the graphs, wall : CrewAI {peer['crewai']}",
            f"{wall['ours']:.0f}",
            f"CrewAI {peer['wall_ms']:.0f}",
            peer["wall_ms"] / wall["ours"],
            5,
            most=False,
        )
    a_day = max(1, pieces // 7)
    found = in_turn(
        min(3, rounds),
        {
            name: lambda s=name == "stock": asyncio.run(product_week(a_day, 8, timedelta(0), stock=s))  # type: ignore[misc]
            for name in ("ours", "stock")
        },
    )
    cpu = {name: statistics.median(one["cpu"] for one in taken) for name, taken in found.items()}
    wall = {name: statistics.median(one["wall"] for one in taken) for name, taken in found.items()}
    result(
        f"the product's week of {a_day * 7}, {found['ours'][0]['calls']} calls (no target)",
        f"{cpu['ours']:.0f} ({wall['ours']:.0f})",
        f"stock {cpu['stock']:.0f} ({wall['stock']:.0f})",
        cpu["ours"] / cpu["stock"],
        1,
    )


def waiting(pieces: int, rounds: int) -> None:
    print(f"A model that takes {ANSWER.total_seconds() * 1000:.0f} ms; wall ms, median of {rounds}")
    found = in_turn(rounds, {name: lambda n=name: graph_week(n, pieces, ANSWER) for name in ENGINES})  # type: ignore[misc]
    path = 3 * ANSWER.total_seconds() * 1000
    for name, taken in found.items():
        wall = statistics.median(one for _, one in taken)
        if name == "ours":
            result("the graphs on ours", f"{wall:.0f}", f"critical path {path:.0f}", wall / path, 1.15)
        else:
            print(
                f"  {f'the graphs on {name} (no target)':48} {wall:>16.0f}  {f'critical path {path:.0f}':>34}  {wall / path:6.2f}"
            )
    a_day = max(1, pieces // 7)
    for concurrency in (a_day * 7, 8):
        weeks = [asyncio.run(product_week(a_day, concurrency, ANSWER)) for _ in range(min(3, rounds))]
        week = sorted(weeks, key=lambda one: one["wall"])[len(weeks) // 2]
        path = week["chain"] * ANSWER.total_seconds() * 1000
        result(
            f"the product's week, {concurrency} tasks at a time",
            f"{week['wall']:.0f} (CPU {week['cpu']:.0f})",
            f"critical path {path:.0f}",
            week["wall"] / path,
            1.15,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pieces", type=int, default=35)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    configure_logging(level="error")
    machinery(arguments.pieces, arguments.rounds)
    waiting(arguments.pieces, arguments.rounds)


if __name__ == "__main__":
    main()
