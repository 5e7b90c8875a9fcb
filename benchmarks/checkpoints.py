"""Our checkpoint saver beside LangGraph's AsyncSqliteSaver: the same graph, each on a fresh file of the same disk, in turn.

    .venv/bin/python benchmarks/checkpoints.py [--threads 100] [--rounds 5]

A hundred threads run a chain of six nodes with durability="sync", once one after the other and once all at the same time. Prints
the median CPU time a superstep (process time, all threads of it, microseconds), and the ratio. Ours claims each thread, checks
the owner in each write and commits with synchronous=NORMAL; the stock saver does not fence, and is measured as it comes
(synchronous=FULL) and with NORMAL. `none` is the graph without any checkpoints: the floor.
"""

from __future__ import annotations

import argparse
import asyncio
import operator
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph

from benchmarks._report import result
from config.clock import SystemClock
from memory.checkpoints.protocol import open_checkpoints
from memory.lease import Unleased

NODES = 6
SUPERSTEPS = NODES + 1  # the input is one

SaverOf = Callable[[str], Awaitable[Any]]


class State(TypedDict):
    piece_id: str
    done: Annotated[list[str], operator.add]


def build() -> Any:
    """A chain of nodes that do nothing but say so."""
    builder = StateGraph(State)
    before = START
    for n in range(NODES):

        async def node(state: State, name: str = f"n{n}") -> dict[str, Any]:
            return {"done": [name]}

        builder.add_node(f"n{n}", node)
        builder.add_edge(before, f"n{n}")
        before = f"n{n}"
    return builder.compile()


@asynccontextmanager
async def ours(folder: Path) -> AsyncIterator[SaverOf]:
    async with open_checkpoints(f"sqlite:///{folder / 'ours.db'}", clock=SystemClock()) as checkpoints:
        yield lambda thread: checkpoints.claim("acme", thread, Unleased())


@asynccontextmanager
async def stock(folder: Path, *, synchronous: str = "FULL") -> AsyncIterator[SaverOf]:
    async with AsyncSqliteSaver.from_conn_string(str(folder / f"stock-{synchronous}.db")) as saver:
        await saver.setup()
        await saver.conn.execute(f"PRAGMA synchronous = {synchronous}")

        async def same(thread: str) -> Any:
            return saver

        yield same


@asynccontextmanager
async def none(folder: Path) -> AsyncIterator[SaverOf]:
    async def nothing(thread: str) -> Any:
        return None

    yield nothing


ENGINES: dict[str, Callable[[Path], Any]] = {
    "none": none,
    "stock": stock,
    "stock+NORMAL": lambda folder: stock(folder, synchronous="NORMAL"),
    "ours": ours,
}


async def run(graph: Any, saver_of: SaverOf, threads: int, *, at_once: bool) -> float:
    """Microseconds of CPU a superstep."""

    async def one(n: int) -> None:
        bound = graph.copy(update={"checkpointer": await saver_of(f"t{n}")})
        config = {"configurable": {"thread_id": f"t{n}"}}
        durability = {} if bound.checkpointer is None else {"durability": "sync"}
        result = await bound.ainvoke({"piece_id": f"p{n}", "done": []}, config, **durability)
        assert len(result["done"]) == NODES

    began = time.process_time()
    if at_once:
        await asyncio.gather(*(one(n) for n in range(threads)))
    else:
        for n in range(threads):
            await one(n)
    return (time.process_time() - began) / (threads * SUPERSTEPS) * 1e6


async def main() -> None:
    parser = argparse.ArgumentParser(description="CPU a superstep of checkpointed graphs")
    parser.add_argument("--threads", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    graph = build()
    times: dict[tuple[str, bool], list[float]] = {}
    for turn in range(arguments.rounds + 1):
        for name, engine in ENGINES.items():
            for at_once in (False, True):
                with tempfile.TemporaryDirectory() as folder:
                    async with engine(Path(folder)) as saver_of:
                        taken = await run(graph, saver_of, arguments.threads, at_once=at_once)
                if turn:  # the first turn warms up caches and imports
                    times.setdefault((name, at_once), []).append(taken)
    print(
        f"{arguments.threads} threads x {NODES} nodes, CPU us a superstep, median of {arguments.rounds} interleaved rounds"
    )
    print(f"{'':16}{'one by one':>12}{'at once':>12}")
    medians = {key: statistics.median(values) for key, values in times.items()}
    for name in ENGINES:
        print(f"{name:16}{medians[name, False]:12.0f}{medians[name, True]:12.0f}")
    for at_once, how in ((False, "one by one"), (True, "at once")):
        own, other = medians["ours", at_once], medians["stock", at_once]
        result(f"a superstep, {how}", f"{own:.0f} us", f"stock {other:.0f} us", own / other, 0.5)


if __name__ == "__main__":
    asyncio.run(main())
