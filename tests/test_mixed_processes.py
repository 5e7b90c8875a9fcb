"""Workers of an earlier and of a newer build at the same time, as processes on one queue, as at an upgrade machine by machine."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from config.clock import SystemClock
from config.settings import Settings
from config.vocabulary import TASK_KINDS, UNSETTLED, Decision, PieceState, SessionStatus
from graphs.pieces import find_schedule
from graphs.sessions import session_piece_ids
from graphs.week import next_cycle_key
from memory.astra_schema import create_schema
from memory.queue.protocol import GENERATION_QUEUE, Task
from memory.rows.content import Piece
from memory.rows.sessions import Session
from runtime.compose import Runtime, open_runtime
from runtime.reviews import decide
from runtime.start import start_cycle
from tests.fakes.build_process import kinds_of
from tests.fakes.data_api import DataApi, Keyspace
from tests.fakes.newsroom import BRAND, write_brand
from tests.fakes.redis_server import RedisServer

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
GRID = tuple((day, "facebook", "quote", "08:00") for day in ("monday", "wednesday", "friday"))


@asynccontextmanager
async def machines(folder: Path, engine: str) -> AsyncIterator[tuple[Runtime, dict[str, str]]]:
    """An open runtime, and the settings with which other processes find the same stores."""
    write_brand(folder / "brands" / BRAND, grid=GRID)
    environ = {"COPYDESK_RECONCILE_EVERY": "2", "COPYDESK_DRAIN": "10"}
    async with AsyncExitStack() as stack:
        if engine == "many":
            api = DataApi().start()
            stack.callback(api.stop)
            api.keyspaces["desk"] = Keyspace()
            await create_schema(api.url("desk"), clock=SystemClock())
            redis = RedisServer("--appendonly", "yes")
            stack.callback(redis.close)
            await asyncio.to_thread(redis.start)
            environ |= {"COPYDESK_RECORDS": api.url("desk"), "COPYDESK_QUEUE": redis.url, "COPYDESK_CACHE": redis.url}
        stores = {name: environ.get(f"COPYDESK_{name.upper()}", "") for name in ("records", "queue", "cache")}
        settings = Settings(data_dir=folder, **stores)
        yield await stack.enter_async_context(open_runtime(settings)), environ


@asynccontextmanager
async def worker(folder: Path, build: str, environ: dict[str, str]) -> AsyncIterator[int]:
    """A running worker of that build; drained, and well, in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.build_process", str(folder), build,
        *(f"{name}={value}" for name, value in environ.items()),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("COPYDESK_")},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process.pid
        assert process.returncode is None, "it ended by itself"
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def eventually(true: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as `true` answers so; how long that takes is the machine's affair."""
    async with asyncio.timeout(180):
        while not await true():  # noqa: ASYNC110  other processes do it
            await asyncio.sleep(0.1)


def test_the_older_build_knows_less_than_this_one_and_the_newer_more() -> None:
    assert kinds_of("older") < set(TASK_KINDS) < kinds_of("newer")


@pytest.mark.parametrize("engine", ["sqlite", "many"])
async def test_builds_of_two_ages_finish_one_week_together_and_each_leaves_what_it_does_not_know(
    tmp_path: Path, engine: str
) -> None:
    async with machines(tmp_path, engine) as (runtime, environ):
        records, queue = runtime.records.for_brand(BRAND), runtime.queue
        walls = [f"wall-{n}" for n in range(4)]
        for name in walls:
            await queue.enqueue(Task(name, "paint_walls", GENERATION_QUEUE, BRAND, runtime.clock.now(), {"wall": 1}))
        entered = {name: found.run_at for name in walls if (found := await queue.find(name)) is not None}

        async def parked() -> bool:
            tasks = [await queue.find(name) for name in walls]
            return all(task is not None and task.run_at > entered[task.id] for task in tasks)

        async with worker(tmp_path, "older", environ) as older:
            await eventually(parked)
            session = await start_cycle(
                runtime, BRAND, theme="light", cycle_key=next_cycle_key(runtime.clock.now(), "UTC")
            )
            async with worker(tmp_path, "newer", environ) as newer:

                async def pieces() -> list[Piece]:
                    row = await records.get(Session, id=session.id)
                    return await records.find_many(Piece, [{"id": id} for id in session_piece_ids(row)])

                async def settled() -> bool:
                    found = await pieces()
                    return len(found) == len(GRID) and not any(piece.state in UNSETTLED for piece in found)

                await eventually(settled)
                for piece in await pieces():
                    if piece.state is PieceState.WAITING:
                        await decide(runtime, BRAND, piece.id, piece.content_hash, Decision.APPROVED, by="ann")

                async def done() -> bool:
                    row = await records.get(Session, id=session.id)
                    return row.status is SessionStatus.DONE

                await eventually(done)

                async def painted() -> bool:
                    return [await queue.find(name) for name in walls] == [None] * len(walls)

                await eventually(painted)
        done_by: dict[str, Any] = dict(line.split() for line in (tmp_path / "painted").read_text().splitlines())
        assert done_by == dict.fromkeys(walls, str(newer)), f"none by the older one, {older}"
        assert await queue.list_dead() == []
        for piece in await pieces():
            assert piece.state in (PieceState.APPROVED, PieceState.REJECTED), piece.reason
            assert (piece.attempts, piece.dead_letter) == (0, "")
            row = await find_schedule(records, piece)
            assert row is not None
            assert row.state is piece.state
        events = [event.name for day in await _days(runtime) for event in day]
        assert events.count("piece.drafting") == len(GRID), "finished steps are not run again by the other build"


async def _days(runtime: Runtime) -> list[Any]:
    from datetime import timedelta

    from memory.rows.sessions import Event

    records, today = runtime.records.for_brand(BRAND), runtime.clock.now()
    return [await records.list_rows(Event, day=(today - timedelta(days=back)).date().isoformat()) for back in (1, 0)]
