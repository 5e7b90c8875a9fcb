"""Builds of different age on one data directory: what an earlier build left in the middle of a week is finished by this one, and what
a newer one left is parked for it.

tests/data/earlier_build holds what an earlier build wrote (tests/fakes/record_build.py made it). A test here that fails has found a
change that would strand work at an upgrade: mend the change (a migration, an alias of the graph), do not record anew.
"""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from config.clock import ManualClock
from config.vocabulary import TASK_KINDS, Decision, PieceState, SessionStatus
from graphs import cycle, piece
from graphs.versions import ALIASES
from memory.queue.protocol import GENERATION_QUEUE, UPKEEP_QUEUE, Enqueued, Task
from memory.rows.sessions import Session
from runtime import thread
from runtime import worker as worker_module
from runtime.advance import Done
from runtime.commands.session import resume
from runtime.reconcile import derive_tasks, reconcile
from runtime.reviews import decide
from runtime.worker import Worker
from tests.fakes.newsroom import BRAND, Newsroom, open_newsroom
from tests.fakes.record_build import EARLIER, STORES, a_script, record

BUILD: dict[str, Any] = json.loads((EARLIER / "build.json").read_text("utf-8"))
TASKS: list[dict[str, Any]] = json.loads((EARLIER / "queue.json").read_text("utf-8"))
PIECES: list[str] = [BUILD["sealed"], BUILD["gated"], BUILD["unbegun"]]
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(worker_module, "POLL_IDLE", 0.01)
    monkeypatch.setattr(worker_module, "POLL_BUSY", 0.01)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@asynccontextmanager
async def left_behind(folder: Path, *, tasks: Sequence[dict[str, Any]] = TASKS) -> AsyncIterator[Newsroom]:
    """This build, open on what the earlier one left, at the instant at which it stopped."""
    shutil.copytree(EARLIER / "brands", folder / "brands")
    for store in STORES:
        shutil.copy(EARLIER / store, folder / store)
    clock = ManualClock(datetime.fromisoformat(BUILD["left_at"]))
    async with open_newsroom(folder, clock=clock, script=a_script()) as room:
        with closing(sqlite3.connect(folder / "queue.db")) as db, db:
            for task in tasks:
                columns = [name for name in task if name != "seq"]
                marks = ", ".join("?" * len(columns))
                db.execute(
                    f"INSERT INTO tasks ({', '.join(columns)}) VALUES ({marks})", [task[name] for name in columns]
                )
        yield room


async def work(room: Newsroom, worker: Worker | None = None) -> Worker:
    """A worker of the present code does everything that is due."""
    worker = worker or Worker(room.runtime)

    async def idle() -> bool:
        depths = await room.runtime.queue.depths()
        return not any(depth.ready or depth.leased for depth in depths.values())

    await worker.run(until=idle)
    return worker


async def approve(room: Newsroom, *names: str) -> None:
    for name in names:
        row = await room.piece(name)
        await decide(room.runtime, BRAND, name, row.content_hash, Decision.APPROVED, by="ann")


async def states(room: Newsroom) -> list[PieceState]:
    return [(await room.piece(name)).state for name in PIECES]


async def the_session(room: Newsroom) -> Session:
    return await room.records.get(Session, id=BUILD["session"])


async def publish_all(room: Newsroom) -> None:
    """Live through the week, from slot to slot."""
    for name in PIECES:
        slot = await room.slot(await room.piece(name))
        room.clock.advance(slot.scheduled_at - room.clock.now())
        await work(room)


# What an earlier build left


def test_what_was_recorded_has_a_task_of_every_kind() -> None:
    assert {task["kind"] for task in TASKS} == {
        *("advance_session", "advance_piece", "publish", "reconcile_publication", "reconcile", "sweep")
    }
    assert {task["kind"] for task in TASKS} <= set(TASK_KINDS), "a kind that this build cannot run would wait for ever"


async def test_a_week_of_an_earlier_build_is_finished_by_this_one(tmp_path: Path) -> None:
    async with left_behind(tmp_path) as room:
        assert await states(room) == [PieceState.APPROVED, PieceState.WAITING, PieceState.PLANNED]
        worker = await work(room)
        assert await states(room) == [PieceState.APPROVED, PieceState.WAITING, PieceState.WAITING]
        assert (await the_session(room)).status is SessionStatus.WAITING
        for name, content_hash in BUILD["content_hashes"].items():
            assert (await room.piece(name)).content_hash == content_hash, "nothing that was done is done again"
        await approve(room, *PIECES[1:])
        await work(room)
        assert await states(room) == [PieceState.APPROVED] * 3
        assert (await the_session(room)).status is SessionStatus.DONE
        await publish_all(room)
        assert await states(room) == [PieceState.PUBLISHED] * 3
        assert len({path.parent for path in (tmp_path / "outbox").rglob("*.txt")}) == 3, "one folder a piece"
        assert await room.runtime.queue.list_dead() == []
        assert worker.failed == 0


async def test_a_gate_of_an_earlier_build_is_answered_in_its_own_thread(tmp_path: Path) -> None:
    """It goes on from the checkpoint; a thread that began anew would draft once more."""
    async with left_behind(tmp_path, tasks=()) as room:
        await approve(room, BUILD["gated"])
        await work(room, Worker(room.runtime, upkeep=False))
        row = await room.piece(BUILD["gated"])
        assert (row.state, row.sealed_hash) == (PieceState.APPROVED, BUILD["content_hashes"][row.id])
        assert row.run == 1
        assert room.script.asked == [], "no model was asked anything"


async def test_the_tasks_of_an_earlier_build_are_the_ones_that_this_build_derives(tmp_path: Path) -> None:
    """Two builds that enqueue the same work under other ids would do it twice; other work under one id is refused."""
    async with left_behind(tmp_path) as room:
        queue = room.runtime.queue
        derived = {task.id: task for task in await derive_tasks(room.runtime, room.records)}
        left = {task["id"]: task for task in TASKS if task["queue"] != UPKEEP_QUEUE}
        assert left.keys() - derived.keys() == {
            task["id"] for task in TASKS if task["kind"] == "reconcile_publication"
        }, "only that one has no row that calls for it yet"
        for name in left.keys() & derived.keys():
            ours, theirs = derived[name], left[name]
            assert (ours.kind, ours.queue, ours.brand) == (theirs["kind"], theirs["queue"], theirs["brand"])
            assert (ours.priority, ours.payload) == (theirs["priority"], json.loads(theirs["payload"]))
        assert set(await queue.enqueue(*derived.values())) == {Enqueued.EXISTS}


async def test_an_earlier_week_whose_queue_was_lost_at_the_upgrade_is_finished_too(tmp_path: Path) -> None:
    async with left_behind(tmp_path, tasks=()) as room:
        assert await reconcile(room.runtime) >= 3
        await work(room)
        await approve(room, *PIECES[1:])
        await work(room)
        await publish_all(room)
        assert await states(room) == [PieceState.PUBLISHED] * 3
        assert (await the_session(room)).status is SessionStatus.DONE


def test_what_this_build_leaves_behind_has_the_shape_of_what_was_recorded(tmp_path: Path) -> None:
    """The script still works, so that the next earlier build can be recorded."""
    record(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in EARLIER.iterdir()}
    fresh = json.loads((tmp_path / "queue.json").read_text("utf-8"))
    assert [task["kind"] for task in fresh] == [task["kind"] for task in TASKS]


# What a newer build left


class NewerWorker(Worker):
    """Of a build that knows one kind of task more."""

    painted: list[str]

    async def _handle(self, task: Task, guard: Any, heartbeat: Any) -> Any:
        if task.kind == "paint_walls":
            self.painted.append(task.id)
            return Done()
        return await super()._handle(task, guard, heartbeat)


async def test_a_kind_of_a_newer_build_is_parked_by_this_one_and_taken_by_the_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with left_behind(tmp_path) as room:
        queue = room.runtime.queue
        await queue.enqueue(Task("new", "paint_walls", GENERATION_QUEUE, BRAND, room.clock.now(), {"wall": 1}))
        for _ in range(5):
            worker = await work(room)
            found = await queue.find("new")
            assert found is not None
            assert (found.attempts, found.deaths, found.reason) == (0, 0, "")
            assert found.run_at > room.clock.now()
            assert worker.failed == 0
            room.clock.advance(2 * MINUTE)
        assert await states(room) == [PieceState.APPROVED, PieceState.WAITING, PieceState.WAITING], "it held up nothing"
        assert await queue.list_dead() == []
        newer = NewerWorker(room.runtime)
        newer.painted = []
        with monkeypatch.context() as upgraded:
            upgraded.setattr(worker_module, "TASK_KINDS", {*TASK_KINDS, "paint_walls"})
            await work(room, newer)
        assert newer.painted == ["new"]
        assert await queue.find("new") is None


def _written_by_a_newer_graph(folder: Path) -> None:
    """The recorded threads, as if the graphs had been one version further on."""
    with closing(sqlite3.connect(folder / "checkpoints.db")) as db, db:
        version = "json_extract(metadata, '$.graph_version') + 1"
        changed = db.execute(f"UPDATE checkpoints SET metadata = json_set(metadata, '$.graph_version', {version})")
        assert changed.rowcount > 5


async def test_threads_of_a_newer_graph_are_parked_and_go_on_where_the_version_matches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated, session = BUILD["gated"], BUILD["session"]
    kept = [task for task in TASKS if task["kind"] == "advance_session"]
    async with left_behind(tmp_path, tasks=kept) as room:
        _written_by_a_newer_graph(tmp_path)
        queue = room.runtime.queue
        await approve(room, gated)
        for _ in range(5):
            worker = await work(room, Worker(room.runtime, upkeep=False))
            assert worker.failed == 0
            for name in (gated, session):
                task = await queue.find(f"advance:{name}")
                assert task is not None
                assert (task.attempts, task.deaths) == (0, 0)
                assert task.run_at > room.clock.now()
            room.clock.advance(2 * MINUTE)
        row, week = await room.piece(gated), await the_session(room)
        assert (row.state, row.attempts, row.dead_letter) == (PieceState.WAITING, 0, "")
        assert (week.status, week.attempts, week.dead_letter) == (SessionStatus.RUNNING, 0, "")
        real = thread._version
        monkeypatch.setattr(thread, "_version", lambda name: real(name) + 1)
        await work(room)
        assert (await room.piece(gated)).state is PieceState.APPROVED
        await approve(room, BUILD["unbegun"])
        await work(room)
        assert await states(room) == [PieceState.APPROVED] * 3
        assert (await the_session(room)).status is SessionStatus.DONE
        assert await queue.list_dead() == []


async def test_a_build_that_was_rolled_back_leaves_the_threads_of_the_newer_one_as_they_are(tmp_path: Path) -> None:
    """Not a checkpoint is written or lost while they are parked."""
    async with left_behind(tmp_path, tasks=[task for task in TASKS if task["kind"] == "advance_session"]) as room:
        _written_by_a_newer_graph(tmp_path)
        before = _checkpoints(tmp_path)
        await approve(room, BUILD["gated"])
        await work(room, Worker(room.runtime, upkeep=False))
        assert _checkpoints(tmp_path) == before


# What a build with changed graphs finds


def _upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both graphs are of a version more, and the piece graph has another shape: nothing in it can answer an old gate."""
    built = piece.build_piece_graph

    def reshaped(*, node_timeout: timedelta) -> Any:
        graph = built(node_timeout=node_timeout)
        graph.nodes["sign"] = graph.nodes.pop("gate")
        other = {"gate": "sign"}
        graph.edges = {(other.get(a, a), other.get(b, b)) for a, b in graph.edges}
        return graph

    monkeypatch.setattr(piece, "build_piece_graph", reshaped)
    monkeypatch.setattr(piece, "VERSION", piece.VERSION + 1)
    monkeypatch.setattr(cycle, "VERSION", cycle.VERSION + 1)


def _graph_versions(folder: Path, thread_id: str) -> set[int]:
    with closing(sqlite3.connect(folder / "checkpoints.db")) as db:
        found = db.execute(
            "SELECT DISTINCT json_extract(metadata, '$.graph_version') FROM checkpoints WHERE thread_id = ?",
            (thread_id,),
        )
        return {row[0] for row in found}


async def test_threads_of_an_older_graph_go_on_under_its_alias_and_new_ones_under_the_present_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ALIASES["piece"], piece.VERSION, piece.build_piece_graph)
    monkeypatch.setitem(ALIASES["cycle"], cycle.VERSION, cycle.build_cycle_graph)
    old = piece.VERSION
    _upgraded(monkeypatch)
    async with left_behind(tmp_path) as room:
        gated, unbegun = [(await room.piece(name)).thread_id for name in PIECES[1:]]
        worker = await work(room)
        assert _graph_versions(tmp_path, gated) == {old}
        assert _graph_versions(tmp_path, unbegun) == {old + 1}
        written = _graph_versions(tmp_path, BUILD["session"])
        assert written == {old}, "it stays of its version until it ends"
        await approve(room, *PIECES[1:])
        await work(room, worker)
        assert await states(room) == [PieceState.APPROVED] * 3
        assert (await the_session(room)).status is SessionStatus.DONE
        assert (await room.piece(BUILD["gated"])).run == 1
        assert worker.failed == 0


async def test_without_an_alias_an_older_thread_fails_with_the_remedy_and_the_remedy_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _upgraded(monkeypatch)
    name = BUILD["gated"]
    kept = [task for task in TASKS if task["kind"] == "advance_session"]
    async with left_behind(tmp_path, tasks=kept) as room:
        await approve(room, name)
        for _ in range(room.runtime.settings.max_attempts):
            await work(room, Worker(room.runtime, upkeep=False))
            room.clock.advance(10 * MINUTE)
        row, week = await room.piece(name), await the_session(room)
        assert row.state is PieceState.FAILED
        assert week.status is SessionStatus.FAILED
        for told in (row.reason, week.reason):
            assert "version 1, which is gone: `session resume --from-draft`" in told
        args = SimpleNamespace(by="ann", add_usd=0.0, from_draft=True, detach=True, json=True, brand=BRAND)
        assert await resume(room.runtime, BRAND, week, args)  # type: ignore[arg-type]
        await work(room)
        row = await room.piece(name)
        assert (row.run, row.content_hash) == (2, BUILD["content_hashes"][name]), "its draft was kept"
        await approve(room, *[one for one in PIECES if (await room.piece(one)).state is PieceState.WAITING])
        await work(room)
        assert await states(room) == [PieceState.APPROVED] * 3
        assert (await the_session(room)).status is SessionStatus.DONE


def _checkpoints(folder: Path) -> list[Any]:
    with closing(sqlite3.connect(folder / "checkpoints.db")) as db:
        return [
            db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4, 5").fetchall()
            for table in ("checkpoints", "writes")
        ]
