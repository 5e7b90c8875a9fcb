"""Running one thread of a graph under its task's lease: claim it, see where it stands, go on, answer what it asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from config.errors import Busy, Conflict, LeaseLost, NotFound
from graphs.context import GraphContext
from graphs.versions import version_of
from memory.lease import LeaseGuard
from runtime.compose import Runtime
from runtime.guard import TaskGuard

if TYPE_CHECKING:
    from langgraph.pregel import Pregel
    from langgraph.types import StateSnapshot

log = structlog.get_logger(__name__)
RECURSION_LIMIT = 60
MAX_CONCURRENCY = 8
PARK = timedelta(seconds=60)


@dataclass(frozen=True)
class Done:
    """The task is finished; it is forgotten, or looked at again if somebody asked meanwhile."""


@dataclass(frozen=True)
class Later:
    """Give the task back, uncounted, for `after` from now."""

    after: timedelta
    why: str


Outcome = Done | Later


async def run_thread(
    runtime: Runtime,
    name: str,
    brand: str,
    thread_id: str,
    initial: dict[str, Any],
    context: GraphContext,
    guard: LeaseGuard,
    answer: Any,
) -> str | Later:
    """Run the thread until it ends ("ended") or waits with no answer in Records ("waiting"); Later if it is not ours to run."""
    from langgraph.types import Command

    running = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def lost() -> None:
        if running is not None:
            loop.call_soon_threadsafe(running.cancel)

    if isinstance(guard, TaskGuard):
        guard.on_lost(lost)
    progress = (lambda: _progressed(runtime, guard)) if isinstance(guard, TaskGuard) else None
    try:
        saver = await runtime.checkpoints.claim(brand, thread_id, guard, on_lost=lost, on_progress=progress)
    except LeaseLost:
        raise
    except Conflict as error:
        raise Busy(f"thread {thread_id} is changing hands: {error}") from error
    bound = {"checkpointer": saver, "store": _memory(runtime, context)}
    graph: Pregel[Any, Any, Any, Any] = runtime.graphs[name].copy(update=bound)
    version = _version(name)
    config: Any = {
        "configurable": {"thread_id": thread_id},
        "metadata": {"graph": name, "graph_version": version},
        "recursion_limit": RECURSION_LIMIT,
        "max_concurrency": MAX_CONCURRENCY,
    }
    feed: Any = initial
    while True:
        snapshot = await graph.aget_state({"configurable": {"thread_id": thread_id}})
        if snapshot.created_at is not None:
            found = _written_by(snapshot, version)
            if found > version:
                return Later(
                    PARK,
                    f"thread {thread_id} was written by a newer graph ({found} > {version}): a newer worker must take it",
                )
            if found < version:
                older = runtime.older_graph(name, found)
                if older is None:
                    raise NotFound(
                        f"thread {thread_id} needs graph {name} version {found}, which is gone: `session resume --from-draft`"
                    )
                # It stays of that version to its end: the marks of what it writes must not say otherwise.
                graph, version = older.copy(update=bound), found
                config["metadata"]["graph_version"] = found
                continue
            feed = None
            if snapshot.interrupts:
                reply = await answer(snapshot.values)
                if reply is None:
                    return "waiting"
                feed = Command(resume={pending.id: reply for pending in snapshot.interrupts})
            elif not snapshot.next and not snapshot.tasks:
                return "ended"
        await graph.ainvoke(feed, config, context=context, durability="sync")
        feed = None


def _memory(runtime: Runtime, context: GraphContext) -> Any:
    """What the agents remember, bound to the task's lease: `runtime.store` of its steps."""
    from memory.graph_store import MemoryStore

    return MemoryStore(
        context.records,
        context.embedder,
        clock=runtime.clock,
        notes=runtime.user_sessions.for_brand(context.records.brand),
        session_id=context.session_id,
    )


async def read_thread(runtime: Runtime, name: str, brand: str, thread_id: str) -> StateSnapshot:
    """Where the thread stands, seen through the graph of its own version where this build has it."""
    saver, at = runtime.checkpoints.reader(brand), {"configurable": {"thread_id": thread_id}}
    snapshot = await runtime.graphs[name].copy(update={"checkpointer": saver}).aget_state(at)  # type: ignore[arg-type]
    older = runtime.older_graph(name, _written_by(snapshot, _version(name)))
    if older is None:
        return snapshot
    return await older.copy(update={"checkpointer": saver}).aget_state(at)  # type: ignore[arg-type]


def _written_by(snapshot: StateSnapshot, version: int) -> int:
    return int(dict(snapshot.metadata or {}).get("graph_version", version))  # type: ignore[call-overload]


def _version(name: str) -> int:
    return version_of(name)


_background: set[asyncio.Task[None]] = set()


def _progressed(runtime: Runtime, guard: TaskGuard) -> None:
    """A new checkpoint: the task is not what kills workers, so its deaths count from here."""
    if not guard.lease.task.deaths and not guard.lease.task.solo_deaths:
        return

    async def reset() -> None:
        try:
            await runtime.queue.progressed(guard.lease)
        except LeaseLost:
            log.info("lease.lost", task_id=guard.lease.task.id)

    task = asyncio.get_running_loop().create_task(reset())
    _background.add(task)
    task.add_done_callback(_background.discard)
