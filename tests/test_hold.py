"""Taking a piece's lease for something that is not an advance (runtime/hold.py)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from config.clock import SystemClock
from config.errors import Busy, Conflict
from graphs.context import advance_piece_task
from memory import sqlite_file
from memory.queue.owner import current_owner
from memory.queue.protocol import GENERATION_QUEUE, TaskQueue
from runtime.hold import hold_piece
from tests.contracts.queue_engines import ENGINES
from tests.fakes.newsroom import BRAND, Newsroom, open_newsroom

PIECES = [f"piece-{n}" for n in range(20)]


async def take_everything(room: Newsroom, queue: TaskQueue) -> None:
    """A worker that never rests."""
    settings = room.runtime.settings
    while True:
        for lease in await queue.claim([GENERATION_QUEUE], owner=current_owner(), ttl=settings.lease, limit=9):
            await queue.complete(lease)


@pytest.mark.parametrize("engine", ENGINES)
async def test_no_worker_comes_between_the_enqueueing_of_a_look_and_its_taking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setattr(sqlite_file, "_LONGEST_TURN_S", 0)  # as on a slow machine: each call gives way to the others
    async with open_newsroom(tmp_path, settings={"queue": ENGINES[engine].url(tmp_path)}) as room:
        worker = asyncio.create_task(take_everything(room, room.runtime.queue))
        try:
            for piece in PIECES:
                async with hold_piece(room.runtime, BRAND, piece) as held:
                    held.ensure_held()
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)


async def test_what_is_held_is_busy(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path) as room, hold_piece(room.runtime, BRAND, "p"):
        with pytest.raises(Busy, match="piece p is being worked on"):
            async with hold_piece(room.runtime, BRAND, "p"):
                raise AssertionError("two hold it")


async def test_a_look_that_nobody_asked_for_is_forgotten(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path) as room:
        async with hold_piece(room.runtime, BRAND, "p"):
            pass
        assert await room.runtime.queue.find("advance:p") is None


async def test_a_look_that_was_asked_for_is_given_back(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path) as room:
        queue = room.runtime.queue
        await queue.enqueue(advance_piece_task(BRAND, "p", room.clock))
        async with hold_piece(room.runtime, BRAND, "p"):
            pass
        async with hold_piece(room.runtime, BRAND, "q", look_again=True):
            pass
        leases = await queue.claim([GENERATION_QUEUE], owner=current_owner(), ttl=room.runtime.settings.lease, limit=9)
        assert [lease.task.id for lease in leases] == ["advance:p", "advance:q"]


async def test_a_dead_look_is_revived_for_a_human(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path) as room:
        queue = room.runtime.queue
        async with hold_piece(room.runtime, BRAND, "p") as held:
            await queue.bury(held.lease, reason="it broke")
        async with hold_piece(room.runtime, BRAND, "p") as held:
            held.ensure_held()
        assert await queue.list_dead() == []


async def test_other_work_under_the_same_id_is_refused_and_stays_free(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path) as room:
        queue = room.runtime.queue
        task = advance_piece_task("other-brand", "p", SystemClock())
        await queue.enqueue(task)
        with pytest.raises(Conflict, match="another brand"):
            async with hold_piece(room.runtime, BRAND, "p"):
                raise AssertionError("it is another brand's")
        [depth] = (await queue.depths()).values()
        assert depth.leased == 0
