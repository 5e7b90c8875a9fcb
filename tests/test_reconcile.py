"""Truth is in Records: whatever a queue loses is found again in the rows."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.vocabulary import TASK_KINDS, TERMINAL_PIECE, Decision, PieceState, SessionStatus
from graphs.weekly import Weekly
from memory.queue.protocol import GENERATION_QUEUE, PUBLICATION_QUEUE, UPKEEP_QUEUE, Task
from memory.rows.brand import Control
from runtime.guard import TaskGuard
from runtime.reconcile import DERIVATIONS, derive_tasks, reconcile, sweep, upkeep_task
from runtime.reviews import decide
from runtime.scheduler import Rule, fire_task, new_schedule
from runtime.worker import Worker
from tests.fakes.newsroom import BRAND, WEEK, Newsroom, Script, open_newsroom, words, write_brand

KINDS = sorted(TASK_KINDS)


CAPTIONS = ("Morning light helps set the body clock.", "Bright light late in the evening can delay sleep.")


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Newsroom]:
    # Different words for each piece: of two that read alike only one is approved.
    script = Script(write=lambda material: words(CAPTIONS["tuesday" in json.dumps(material, default=str)]))
    async with open_newsroom(tmp_path, script=script) as room:
        yield room


def ids(tasks: list[Task]) -> set[str]:
    return {task.id for task in tasks}


async def derived(room: Newsroom) -> set[str]:
    return ids(await derive_tasks(room.runtime, room.records))


async def wipe(room: Newsroom) -> None:
    """The queue loses everything, as a Redis that was flushed."""
    file = sqlite3.connect(room.runtime.settings.data_dir / "queue.db", isolation_level=None)
    file.execute("DELETE FROM tasks")
    file.close()


async def rewrite(room: Newsroom, row: Any, **changes: Any) -> None:
    await room.records.put(row.model_copy(update=changes))


async def damage(room: Newsroom, table: str, id: str) -> None:
    """Make a stored row unreadable."""
    file = sqlite3.connect(room.runtime.settings.data_dir / "records.db", isolation_level=None)
    column = "platform_specs" if table == "content_library" else "result_data"
    assert file.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", ("no json", id)).rowcount == 1
    file.close()


def test_every_kind_of_task_has_a_derivation() -> None:
    assert sorted(DERIVATIONS) == KINDS


async def one_of(room: Newsroom, kind: str) -> str:
    """Bring the rows where they call for a task of `kind`; its id."""
    if kind in ("reconcile", "sweep"):
        worker = Worker(room.runtime)

        async def started() -> bool:
            return True

        await worker.run(until=started)
        return f"upkeep:{kind}"
    if kind == "fire_schedule":
        schedule = new_schedule(BRAND, "weekly", Rule(Weekly(1, time(6), "Europe/Berlin")), room.clock.now())
        await room.records.put(schedule)
        return fire_task(schedule).id
    session = await room.week()
    if kind == "advance_session":
        return f"advance:{session.id}"
    await room.work()
    piece = (await room.pieces(session))[0]
    if kind == "advance_piece":
        await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.APPROVED, by="ann")
        return f"advance:{piece.id}"
    state = PieceState.APPROVED if kind == "publish" else PieceState.PUBLISHING
    seal = {"state": state, "sealed_hash": piece.content_hash}
    await rewrite(room, piece, **seal)
    row = await room.slot(piece)
    await rewrite(room, row, **seal)
    from runtime.publish_due import publish_task, reconcile_task

    return publish_task(row).id if kind == "publish" else reconcile_task(row, run_at=room.clock.now()).id


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_of_every_kind_that_was_lost_comes_back(room: Newsroom, kind: str) -> None:
    task_id = await one_of(room, kind)
    await wipe(room)
    assert await room.runtime.queue.find(task_id) is None
    if kind in ("reconcile", "sweep"):
        await one_of(room, kind)
    else:
        await reconcile(room.runtime)
    found = await room.runtime.queue.find(task_id)
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize("step", range(12))
async def test_a_queue_that_is_wiped_at_any_moment_of_a_week_loses_nothing(room: Newsroom, step: int) -> None:
    session = await room.week()
    await room.work(most=step)
    await wipe(room)
    await reconcile(room.runtime)
    await room.work(patience=timedelta(seconds=5))
    assert set(await room.states(session)) == {PieceState.WAITING}
    assert (await room.session(session)).status is SessionStatus.WAITING
    for piece in await room.pieces(session):
        await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.APPROVED, by="ann")
    await wipe(room)
    await reconcile(room.runtime)
    await room.work(most=1 + step % 3)
    await wipe(room)
    for _ in range(2):
        await reconcile(room.runtime)
        await room.work(patience=timedelta(seconds=5))
    assert set(await room.states(session)) == {PieceState.APPROVED}
    assert (await room.session(session)).status is SessionStatus.DONE
    events = [event.name for event in await room.events()]
    assert events.count("piece.drafting") == 2, "finished steps are not run again"


async def publish_all(room: Newsroom) -> int:
    """Do the publication tasks that are due, wiping the queue before each."""
    worker, done = Worker(room.runtime, upkeep=False), 0
    while True:
        await wipe(room)
        await reconcile(room.runtime)
        leases = await room.runtime.queue.claim(
            [PUBLICATION_QUEUE], owner=room.runtime.owner, ttl=timedelta(minutes=1), limit=1
        )
        if not leases:
            return done
        guard = TaskGuard(leases[0], room.runtime.queue, room.clock, timedelta(minutes=1))
        await worker._work(leases[0], guard, _NoHeartbeat())  # type: ignore[arg-type]
        done += 1


class _NoHeartbeat:
    def add(self, guard: TaskGuard) -> None: ...

    def drop(self, guard: TaskGuard) -> None: ...


async def test_publishing_survives_a_queue_that_is_wiped_before_every_task(room: Newsroom) -> None:
    session = await room.drafted()
    for piece in await room.pieces(session):
        await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.APPROVED, by="ann")
    await room.work()
    room.clock.advance(timedelta(days=8, hours=12))
    for piece in await room.pieces(session):
        row = await room.slot(piece)
        await rewrite(room, row, scheduled_at=room.clock.now(), arranged_at=room.clock.now())
    assert await publish_all(room) == 2
    assert set(await room.states(session)) == {PieceState.PUBLISHED}


async def test_nothing_is_derived_for_what_has_ended(room: Newsroom) -> None:
    session = await room.drafted()
    first, second = await room.pieces(session)
    for state in sorted(TERMINAL_PIECE):
        for piece in (first, second):
            await rewrite(room, piece, state=state, sealed_hash=piece.content_hash)
            await rewrite(room, await room.slot(piece), state=state, sealed_hash=piece.content_hash)
        await rewrite(room, session, status=SessionStatus.DONE)
        assert await derived(room) == set(), state


async def test_nothing_is_derived_for_what_was_given_up(room: Newsroom) -> None:
    session = await room.week()
    await room.work(most=1)
    for piece in await room.pieces(session):
        await rewrite(room, piece, dead_letter="it never works")
    await rewrite(room, await room.session(session), dead_letter="it never works")
    assert await derived(room) == set()


@pytest.mark.parametrize("what", ["session", "piece"])
async def test_nothing_is_derived_before_the_time_to_try_again(room: Newsroom, what: str) -> None:
    session = await room.week()
    later = room.clock.now() + timedelta(minutes=1)
    if what == "piece":
        await room.work(most=1)
        session = await room.session(session)
        await rewrite(room, session, status=SessionStatus.DONE)
        for piece in await room.pieces(session):
            await rewrite(room, piece, retry_at=later)
    else:
        await rewrite(room, session, retry_at=later)
    assert await derived(room) == set()
    room.clock.advance(timedelta(minutes=1))
    assert await derived(room) != set()


async def test_a_piece_that_waits_for_a_human_is_looked_at_only_when_there_is_something_to_see(room: Newsroom) -> None:
    session = await room.drafted()
    first, second = await room.pieces(session)
    assert await derived(room) == set()
    await decide(room.runtime, BRAND, first.id, first.content_hash, Decision.APPROVED, by="ann")
    assert await derived(room) == {f"advance:{first.id}"}
    flag = Control(brand=BRAND, name=f"cancel:{second.id}", value="on", updated_at=room.clock.now())
    await room.records.put(flag)
    assert await derived(room) == {f"advance:{first.id}", f"advance:{second.id}"}


async def test_a_cancelled_session_and_its_pieces_are_looked_at(room: Newsroom) -> None:
    session = await room.drafted()
    flag = Control(brand=BRAND, name=f"cancel:{session.id}", value="on", updated_at=room.clock.now())
    await room.records.put(flag)
    expected = {f"advance:{piece.id}" for piece in await room.pieces(session)} | {f"advance:{session.id}"}
    assert await derived(room) == expected
    await reconcile(room.runtime)
    await room.work(patience=timedelta(seconds=5))
    assert (await room.session(session)).status is SessionStatus.CANCELLED


async def test_reconciling_again_changes_nothing(room: Newsroom) -> None:
    await room.week()
    await room.work(most=3)
    await reconcile(room.runtime)
    before = await room.runtime.queue.depths()
    assert await reconcile(room.runtime) == await reconcile(room.runtime)
    assert await room.runtime.queue.depths() == before


async def test_two_reconciles_at_once_do_what_one_does(room: Newsroom) -> None:
    await room.week()
    await room.work(most=3)
    await reconcile(room.runtime)
    before = await room.runtime.queue.depths()
    await wipe(room)
    await asyncio.gather(*(reconcile(room.runtime) for _ in range(4)))
    assert await room.runtime.queue.depths() == before


@pytest.mark.parametrize("table", ["content_library", "publication_schedule"])
async def test_one_row_that_cannot_be_read_keeps_no_other_out(room: Newsroom, table: str) -> None:
    session = await room.drafted()
    first, second = await room.pieces(session)
    for piece in (first, second):
        changes = {"state": PieceState.APPROVED, "sealed_hash": piece.content_hash}
        await rewrite(room, await room.slot(piece), **changes)
        await rewrite(room, piece, **({"state": PieceState.DRAFTING} if table == "content_library" else changes))
    every = await derived(room)
    await damage(room, table, first.id if table == "content_library" else (await room.slot(first)).id)
    left = await derived(room)
    assert left < every
    assert any(second.id in json.dumps(dict(task.payload)) for task in await derive_tasks(room.runtime, room.records))


async def test_a_brand_that_cannot_be_read_keeps_no_other_out(room: Newsroom) -> None:
    other = "aardvark"
    write_brand(room.runtime.brands_dir / other)
    from runtime.start import start_cycle

    theirs = await start_cycle(room.runtime, other, theme="light", cycle_key=WEEK)
    flag = Control(brand=other, name="pause", value="off", updated_at=room.clock.now())
    await room.runtime.records.for_brand(other).put(flag)
    session = await room.week()
    await wipe(room)
    file = sqlite3.connect(room.runtime.settings.data_dir / "records.db", isolation_level=None)
    file.execute("UPDATE controls SET updated_at = ? WHERE brand = ?", (10**18, other))
    file.close()
    await reconcile(room.runtime)
    assert await room.runtime.queue.find(f"advance:{session.id}") is not None
    assert await room.runtime.queue.find(f"advance:{theirs.id}") is None


async def test_a_task_that_was_damaged_in_the_queue_is_replaced_by_what_its_row_says(room: Newsroom) -> None:
    session = await room.week()
    file = sqlite3.connect(room.runtime.settings.data_dir / "queue.db", isolation_level=None)
    file.execute("UPDATE tasks SET payload = '{\"session_id\":' WHERE id = ?", (f"advance:{session.id}",))
    file.close()
    await room.work()
    assert len(await room.runtime.queue.list_dead()) == 1
    await reconcile(room.runtime)
    assert await room.runtime.queue.list_dead() == []
    await room.work()
    assert set(await room.states(session)) == {PieceState.WAITING}


async def test_a_full_queue_is_filled_as_far_as_it_goes_and_the_rest_follows(tmp_path: Path) -> None:
    grid = tuple(
        (day, "facebook", "quote", "08:00") for day in ("monday", "tuesday", "wednesday", "thursday", "friday")
    )
    async with open_newsroom(tmp_path, grid=grid, settings={"max_queue": 2}) as room:
        session = await room.drafted()
        pieces = await room.pieces(session)
        for piece in pieces:
            await rewrite(room, piece, state=PieceState.DRAFTING)
        await wipe(room)
        await reconcile(room.runtime)
        assert (await room.runtime.queue.depths())[GENERATION_QUEUE].ready == 2


async def test_a_week_of_more_pieces_than_the_queue_holds_is_finished(tmp_path: Path) -> None:
    days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    grid = tuple((day, "facebook", "quote", "08:00") for day in days)
    async with open_newsroom(tmp_path, grid=grid, settings={"max_queue": 2}) as room:
        session = await room.week()
        for _ in range(12):
            await room.work(patience=timedelta(seconds=4))
            await reconcile(room.runtime)
        assert await room.runtime.queue.list_dead() == []
        assert set(await room.states(session)) == {PieceState.WAITING}
        assert (await room.session(session)).status is SessionStatus.WAITING


async def test_a_schedule_row_left_behind_its_piece_is_mended(room: Newsroom) -> None:
    session = await room.drafted()
    for state, row_state in (
        (PieceState.FAILED, PieceState.CHECKING),
        (PieceState.REJECTED, PieceState.WAITING),
        (PieceState.CANCELLED, PieceState.APPROVED),
        (PieceState.MISSED, PieceState.PUBLISHING),
        (PieceState.PUBLISHED, PieceState.UNKNOWN),
        (PieceState.WAITING, PieceState.CHECKING),
        (PieceState.WAITING, PieceState.DRAFTING),
    ):
        piece = (await room.pieces(session))[0]
        await rewrite(room, piece, state=state)
        await rewrite(room, await room.slot(piece), state=row_state)
        await reconcile(room.runtime)
        await room.work()
        assert (await room.slot(piece)).state is state, f"{row_state} behind {state}"


async def test_upkeep_is_one_task_of_each_kind_however_many_workers_start(room: Newsroom) -> None:
    for _ in range(3):
        await room.runtime.queue.enqueue(upkeep_task("reconcile", room.runtime), upkeep_task("sweep", room.runtime))
    assert (await room.runtime.queue.depths())[UPKEEP_QUEUE].ready == 2


async def test_a_worker_that_starts_on_an_empty_queue_finds_the_work_itself(room: Newsroom) -> None:
    session = await room.week()
    await wipe(room)
    worker = Worker(room.runtime)

    async def waiting() -> bool:
        return (await room.session(session)).status is SessionStatus.WAITING

    async with asyncio.timeout(20):
        await worker.run(until=waiting)
    assert set(await room.states(session)) == {PieceState.WAITING}


async def test_sweeping_an_empty_house_sweeps_nothing(room: Newsroom) -> None:
    assert await sweep(room.runtime) == 0
