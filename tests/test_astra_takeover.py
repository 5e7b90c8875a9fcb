"""Random schedules over checkpoints on upsert-only tables: whatever the order of requests, no acknowledged step is lost.

The tables are the fake server's own; the network between is replaced by pauses of random length, so that hundreds of
schedules take a second.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from config.clock import ManualClock
from config.errors import Conflict, LeaseLost
from memory.astra_schema import CHECKPOINT_TABLES
from memory.checkpoints.astra import AstraCheckpoints
from memory.lease import Unleased
from tests.fakes.data_api_tables import Table

CONFIG: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


class JitteryDatabase:
    """What the engine asks of an open database, each request after a random pause, pages of three."""

    def __init__(self, seed: int) -> None:
        self.tables = {plan.name: Table(plan.name, plan.definition) for plan in CHECKPOINT_TABLES}
        self.random = random.Random(seed)

    async def _pause(self) -> None:
        long = self.random.random() < 0.15  # a worker that hangs for a while
        for _ in range(self.random.randrange(60 if long else 4)):
            await asyncio.sleep(0)

    async def find(
        self, table: str, where: Mapping[str, Any], *, columns: Sequence[str] | None = None, limit: int | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        state: str | None = None
        while True:
            await self._pause()
            options = {"limit": limit, "pageState": state}
            command = {"filter": dict(where), "options": {k: v for k, v in options.items() if v is not None}}
            answer = self.tables[table].find(command, page_size=3, sort_cap=100)
            assert "warnings" not in answer["status"]
            await self._pause()
            for row in answer["data"]["documents"]:
                yield {name: _read(row.get(name)) for name in self.tables[table].columns}
            state = answer["data"]["nextPageState"]
            if state is None:
                return
            limit = None

    async def find_one(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        async for row in self.find(table, key, limit=1):
            return row
        return None

    async def insert(self, table: str, key: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        for row in self.random.sample(list(rows), len(rows)):  # an insertMany keeps no order
            await self._pause()
            self.tables[table].insert({name: _sent(value) for name, value in row.items()})
        await self._pause()

    async def delete_one(self, table: str, key: Mapping[str, Any]) -> None:
        await self._pause()
        self.tables[table].delete_one(dict(key))

    async def delete_many(self, table: str, where: Mapping[str, Any]) -> None:
        await self._pause()
        self.tables[table].delete_many(dict(where))
        await self._pause()


def _sent(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$binary": base64.b64encode(value).decode()}
    return value.isoformat() if isinstance(value, datetime) else value


def _read(value: Any) -> Any:
    return base64.b64decode(value["$binary"]) if isinstance(value, dict) else value


async def _steal(
    checkpoints: AstraCheckpoints, told: list[int], written: list[int], wrong: list[str], steps: int
) -> None:
    """A worker that believes that it holds the thread: claims it, goes on from what it reads, until it is displaced."""
    for _ in range(6):
        acknowledged, with_writes = max(told, default=0), set(written)
        try:
            saver = await checkpoints.claim("acme", "t", Unleased())
            found = await saver.aget_tuple(CONFIG)
            n = found.checkpoint["channel_values"]["n"] if found else 0
            if n < acknowledged:
                wrong.append(f"a claim saw step {n} after step {acknowledged} was acknowledged")
            writes = [value for _, _, value in found.pending_writes or ()] if found else []
            if writes != [n, n] and (writes or n in with_writes):
                wrong.append(f"step {n} has the writes {writes}")
            for _ in range(steps):
                n += 1
                checkpoint = empty_checkpoint()
                checkpoint["channel_values"] = {"n": n}
                stored = await saver.aput(CONFIG, checkpoint, {"step": n}, {})
                told.append(n)
                await saver.aput_writes(stored, [("a", n), ("b", n)], "task")
                written.append(n)
        except (Conflict, LeaseLost):
            continue


async def _schedule(seed: int) -> tuple[int, list[str]]:
    database = JitteryDatabase(seed)
    checkpoints = AstraCheckpoints(database, ManualClock())  # type: ignore[arg-type]
    told: list[int] = []
    written: list[int] = []
    wrong: list[str] = []
    dice = random.Random(seed)
    workers = [
        asyncio.create_task(_steal(checkpoints, told, written, wrong, dice.randrange(2, 9)))
        for _ in range(dice.randrange(2, 6))
    ]
    while any(not worker.done() for worker in workers):
        await asyncio.sleep(0)
        if dice.random() < 0.002:
            dice.choice(workers).cancel()  # killed, at any request
    for ended in await asyncio.gather(*workers, return_exceptions=True):
        if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
            raise ended
    # Whoever comes last sees everything that was acknowledged.
    saver = await checkpoints.claim("acme", "t", Unleased())
    found = await saver.aget_tuple(CONFIG)
    last = found.checkpoint["channel_values"]["n"] if found else 0
    if last < max(told, default=0):
        wrong.append(f"the last claim sees step {last} of {max(told)}")
    reader = await checkpoints.reader("acme").aget_tuple(CONFIG)
    if (reader.checkpoint["channel_values"]["n"] if reader else 0) != last:
        wrong.append("a reader sees another step than the owner")
    return len(told), wrong


@pytest.mark.parametrize("block", range(4))
async def test_no_schedule_of_workers_that_all_believe_they_hold_a_thread_loses_an_acknowledged_step(
    block: int,
) -> None:
    acknowledged = 0
    for seed in range(block * 40, block * 40 + 40):
        steps, wrong = await _schedule(seed)
        assert wrong == [], f"schedule {seed}: {wrong[0]}"
        acknowledged += steps
    assert acknowledged > 150  # or nothing was tried
