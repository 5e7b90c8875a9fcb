"""A round of reconcile over many brands: what it costs, that it ends, and that it goes on where it stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock
from config.errors import Unavailable
from config.settings import Settings
from config.vocabulary import Decision, PieceState, SessionStatus
from memory.astra_schema import create_schema
from memory.rows.brand import Brand
from memory.rows.checks import Review
from memory.rows.content import Piece
from memory.rows.publication import ScheduledPublication
from memory.rows.sessions import Session
from runtime import reconcile as module
from runtime.compose import Runtime, open_runtime
from runtime.reconcile import live_brands, reconcile, reconcile_turn
from runtime.together import together
from tests.fakes.data_api import HARMLESS, DataApi, Keyspace

STATES = (PieceState.DRAFTING, PieceState.WAITING, PieceState.APPROVED, PieceState.PUBLISHING)
"""What a live brand of these tests has: one piece in each of them, the waiting one decided."""
TASKS = 5
"""A look at the session, one at the drafting and one at the decided piece, a publication, a read-back."""


@asynccontextmanager
async def desk(folder: Path, **settings: Any) -> AsyncIterator[Runtime]:
    async with open_runtime(Settings(data_dir=folder, **settings), clock=ManualClock()) as runtime:
        yield runtime


@asynccontextmanager
async def remote_desk(folder: Path) -> AsyncIterator[tuple[Runtime, Keyspace]]:
    """A desk whose rows are behind the Data API, whose requests are counted."""
    api = DataApi().start()
    try:
        keyspace = api.keyspaces["desk"] = Keyspace()
        url = api.url("desk")
        await create_schema(url, clock=ManualClock())
        async with desk(folder, records=url) as runtime:
            yield runtime, keyspace
    finally:
        api.stop()


async def write_brand(runtime: Runtime, name: str, *, live: bool, waiting: int = 1) -> None:
    """A brand with four pieces and `waiting` of them waiting for a human, or with four that are out."""
    records, now = runtime.records.for_brand(name), runtime.clock.now()
    when: dict[str, Any] = {"brand": name, "created_at": now, "updated_at": now}
    status = SessionStatus.RUNNING if live else SessionStatus.DONE
    await records.put(Brand(name=name, title=name, zone="UTC", **when))
    await records.put(Session(id=f"{name}-s", kind="cycle", goal="g", status=status, **when))
    states = (*STATES, *[PieceState.WAITING] * (waiting - 1)) if live else [PieceState.PUBLISHED] * 4
    for n, state in enumerate(states):
        made = {"platform": "facebook", "content_type": "quote", "state": state, "sealed_hash": "h", **when}
        id = f"{name}-{n}"
        piece = Piece(id=id, session_id=f"{name}-s", content_hash="h", **made)
        row = ScheduledPublication(
            cycle_key="2026-W51", id=f"{id}-slot", content_id=id, scheduled_at=now, cycle_day=1, **made
        )
        await records.put(piece, row)
        if state is PieceState.WAITING:
            review = Review(
                id=f"{id}-r", piece_id=id, session_id=f"{name}-s", content_hash="h", platform="facebook",
                content_type="quote", result="passed", decision=Decision.APPROVED, **when,
            )  # fmt: skip
            await records.create_once("decision", f"{id}|h", review, token=f"{id}-t")


async def asked(runtime: Runtime, keyspace: Keyspace) -> int:
    """How many requests a round takes."""
    before = keyspace.requests.total()
    await reconcile(runtime)
    return keyspace.requests.total() - before


async def test_a_brand_in_which_nothing_is_left_to_do_costs_no_request(tmp_path: Path) -> None:
    async with remote_desk(tmp_path) as (runtime, keyspace):
        for n in range(3):
            await write_brand(runtime, f"live-{n}", live=True)
        alone = await asked(runtime, keyspace)
        for n in range(25):
            await write_brand(runtime, f"idle-{n}", live=False)
        assert await asked(runtime, keyspace) == alone
        await write_brand(runtime, "live-3", live=True)
        more = await asked(runtime, keyspace) - alone
        assert 0 < more <= 10, "a live brand costs what its own rows cost"


async def test_pieces_that_wait_are_read_a_page_at_a_time_and_not_one_by_one(tmp_path: Path) -> None:
    async with remote_desk(tmp_path) as (runtime, keyspace):
        await write_brand(runtime, "few", live=True, waiting=1)
        few = await asked(runtime, keyspace)
        await write_brand(runtime, "few", live=True, waiting=41)
        assert await asked(runtime, keyspace) - few <= 41 // 20 + 2, "40 more rows and decisions, pages of 50 and 20"


@pytest.mark.parametrize("engine", ["sqlite", "astra"])
async def test_a_wiped_queue_is_rebuilt_for_every_brand(tmp_path: Path, engine: str) -> None:
    async def rebuilt(runtime: Runtime) -> None:
        names = [f"brand-{n}" for n in range(12)]
        for name in names:
            await write_brand(runtime, name, live=True)
        await write_brand(runtime, "idle", live=False)
        assert await runtime.queue.depths() == {}
        assert await reconcile(runtime) == TASKS * len(names)
        for name in names:
            assert await runtime.queue.find(f"advance:{name}-s") is not None
            assert await runtime.queue.find(f"advance:{name}-0") is not None
            assert await runtime.queue.find(f"advance:{name}-1") is not None, "somebody decided on it"
        assert await runtime.queue.find("advance:idle-s") is None
        depth = (await runtime.queue.depths())["publication_queue"]
        assert depth.ready + depth.delayed == 2 * len(names)

    if engine == "sqlite":
        async with desk(tmp_path) as runtime:
            await rebuilt(runtime)
    else:
        async with remote_desk(tmp_path) as (runtime, keyspace):
            await rebuilt(runtime)
            assert [said for said in keyspace.warned if not said.startswith(tuple(HARMLESS))] == []


async def test_a_round_is_cut_into_turns_and_the_next_one_goes_on_behind_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SOME", 2)
    names = [f"brand-{n}" for n in range(5)]
    seen: list[list[str]] = []

    async def noted(runtime: Runtime, name: str, live: Any) -> int:
        seen[-1].append(name)
        return 1

    monkeypatch.setattr(module, "_one_brand", noted)
    for life in range(3):  # another process each time: what it stood at is not in its memory
        async with desk(tmp_path) as runtime:
            if life == 0:
                for name in names:
                    await write_brand(runtime, name, live=True)
            seen.append([])
            turn = await reconcile_turn(runtime, within=timedelta(0))
            assert (turn.derived, turn.brands) == (len(seen[-1]), len(seen[-1]))
            assert turn.ended is (life == 2)
    assert [sorted(turn) for turn in seen] == [names[:2], names[2:4], names[4:]]
    async with desk(tmp_path) as runtime:
        seen.append([])
        assert (await reconcile_turn(runtime)).ended, "the next round starts at the first brand"
        assert sorted(seen[-1]) == names
        seen.append([])
        assert await reconcile(runtime) == 5
        assert sorted(seen[-1]) == names


async def test_a_brand_that_no_list_of_brands_holds_is_found_by_its_rows(tmp_path: Path) -> None:
    async with desk(tmp_path) as runtime:
        await write_brand(runtime, "acme", live=True)
        await runtime.records.for_brand("acme").delete(Brand, realm="all", name="acme")
        assert set(await live_brands(runtime)) == {"acme"}
        assert await reconcile(runtime) == TASKS


async def test_stores_that_are_away_are_said_to_be(tmp_path: Path) -> None:
    async with desk(tmp_path, records="astra+http://u:p@127.0.0.1:9/desk") as runtime:
        runtime.clock.sleep = _no_wait  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await reconcile(runtime)


async def _no_wait(duration: timedelta) -> None:
    await asyncio.sleep(0)


async def test_together_keeps_order_and_bound_and_stops_the_others_at_the_first_error() -> None:
    running, most, ended = 0, 0, list[int]()

    async def act(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(0)
            if n == 7:
                raise Unavailable("away")
            await asyncio.sleep(0 if n < 7 else 3600)
            return n * n
        finally:
            running -= 1
            ended.append(n)

    assert await together(range(7), act, at_once=3) == [n * n for n in range(7)]
    assert most == 3
    ended.clear()
    with pytest.raises(Unavailable):
        await together(range(20), act, at_once=3)
    assert running == 0, "nothing goes on"
    assert max(ended) < 12, "what had not begun never does"
