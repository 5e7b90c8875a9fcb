"""The rows of tasks, files and time: through a real queue and worker, and through the file that every SQLite engine opens.

A case says in its docstring where the product answers otherwise than the row asks, and why.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from config.clock import ManualClock
from config.errors import Busy, Conflict, Damaged, DiskFull, LeaseLost, UsageError
from config.vocabulary import PieceState
from memory import sqlite_file, sqlite_lane
from memory.lease import Unleased
from memory.queue.owner import current_owner
from memory.queue.protocol import GENERATION_QUEUE, Enqueued, Task, open_queue
from runtime import worker as worker_module
from runtime.guard import TaskGuard
from tests import test_sqlite_file as spoiling
from tests.fakes.newsroom import BRAND
from tests.fakes.publishing import MemoryRecords, ScriptedPublisher, Times, a_parcel
from tests.reliability_rows import (
    BUSY,
    Table,
    World,
    check_refusal,
    contents,
    database_rows,
    dead_lettered,
    nothing,
    refused_task,
)
from tests.test_sqlite_file import add, limit_pages, numbers, opening
from tests.test_worker import Bench, open_bench
from tools.publish.ledger import Ledger, Status

CREATE = ("create", "--platform", "twitter", "--type", "quote", "--topic", "tea")
STORES = Table()
row = STORES.row


# Tasks


@asynccontextmanager
async def bench_in(world: World, **settings: object) -> AsyncIterator[Bench]:
    async with open_bench(world.folder, world.patch, **settings) as bench:
        yield bench


def _task(bench: Bench, task_id: str = "bad", **fields: object) -> Task:
    given = Task(task_id, "advance_piece", GENERATION_QUEUE, BRAND, bench.runtime.clock.now(), {"piece_id": "p"})
    return replace(given, **fields)  # type: ignore[arg-type]


@row(24, "not-json")
async def _(world: World) -> None:
    async with bench_in(world) as bench:
        await dead_lettered(bench, b"certainly not", b'{"n": 1', b'{"n": NaN}', b'{"n": -Infinity}', b"[1]", b"")
        await refused_task(bench, _task(bench, payload={"n": float("nan")}), "'bad'", "float values", "pass ids")


@row(25, "too-deep-or-too-long-a-number")
async def _(world: World) -> None:
    """A whole number past 2^63 is no error here: payloads are stored as text, so it comes back as it was."""
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    async with bench_in(world) as bench:
        letters = await dead_lettered(bench, b"[" * 100_000 + b"]" * 100_000, b'{"n": ' + b"1" * 5_000 + b"}")
        assert {"nested" in letter.reason for letter in letters} == {True, False}
        await refused_task(bench, _task(bench, payload={"n": deep}), "'bad'", "pass ids")
        await refused_task(bench, _task(bench, payload={"n": 10**5_000}), "'bad'", "pass ids")
        await bench.queue.enqueue(_task(bench, payload={"n": 2**80}))
        found = await bench.queue.find("bad")
        assert found is not None
        assert found.payload == {"n": 2**80}


@row(26, "lone-surrogate")
async def _(world: World) -> None:
    async with bench_in(world) as bench:
        await dead_lettered(bench, b'{"n": "\\ud800"}', b'{"n": "\xff"}')
        await refused_task(bench, _task(bench, payload={"n": "\ud800"}), "'bad'", "surrogates", "pass ids")
        await refused_task(bench, _task(bench, "bad\ud800"), "task id")


@row(27, "nul-in-text")
async def _(world: World) -> None:
    async with bench_in(world) as bench:
        await dead_lettered(bench, b'{"n": "a\\u0000b"}')
        await refused_task(bench, _task(bench, payload={"n": "a\0b"}), "'bad'", "NUL", "remove it")
        await refused_task(bench, _task(bench, "a\0b"), "task id")


@row(28, "priority-that-is-no-number-from-1-to-10")
async def _(world: World) -> None:
    async with bench_in(world) as bench:
        for priority in (True, "7", 0, 11, -5, 7.0, None):
            says = ("'bad'", f"priority {priority!r}", "whole number from 1 to 10")
            await refused_task(bench, _task(bench, priority=priority), *says)


@row(29, "a-kind-of-a-newer-build")
async def _(world: World) -> None:
    """The kind is the schema of a task: a payload that changes its shape gets a new kind, and old kinds stay readable."""
    async with bench_in(world) as bench:
        bench.does(nothing)
        await bench.piece("new")
        with world.patch.context() as older:
            older.setattr(worker_module, "TASK_KINDS", ("sweep",))
            for _ in range(5):
                await bench.run()
                bench.runtime.clock.advance(timedelta(seconds=61))  # type: ignore[attr-defined]
        parked = await bench.queue.find("advance:new")
        assert parked is not None
        assert (parked.attempts, parked.deaths, bench.ran, await bench.queue.list_dead()) == (0, 0, [], [])
        await bench.run()
        assert bench.ran == ["new"], "after the upgrade it is done"


@row(30, "one-id-twice")
async def _(world: World) -> None:
    """There are no E_ codes: another payload under a known id is `Conflict`, in one line that names the id."""
    async with bench_in(world) as bench:
        task = await bench.piece("p")
        stored = database_rows(world.folder / "queue.db")
        assert await bench.queue.enqueue(task) == [Enqueued.EXISTS]
        with pytest.raises(Conflict, match="advance:p") as refusal:
            await bench.queue.enqueue(_task(bench, "fresh"), replace(task, payload={"piece_id": "q"}))
        assert "\n" not in str(refusal.value)
        assert database_rows(world.folder / "queue.db") == stored


@row(31, "a-payload-of-20-mb")
async def _(world: World) -> None:
    async with bench_in(world) as bench:
        await refused_task(bench, _task(bench, payload={"n": "x" * 20_000_000}), "'bad'", "262144", "pass its id")
        [letter] = await dead_lettered(bench, b'{"n": "' + b"x" * 20_000_000 + b'"}')
        assert "262144" in letter.reason


@row(32, "run-at-in-1970-2200-or-no-zone")
async def _(world: World) -> None:
    """What is past runs now: a task means "look again". Whether a post is too late is decided on its slot, not on its task."""
    async with bench_in(world) as bench:
        bench.does(nothing)
        await bench.piece("old")
        await bench.queue.remove("advance:old")
        old = datetime(1970, 1, 1, tzinfo=UTC)
        await bench.queue.enqueue(_task(bench, "advance:old", run_at=old, payload={"piece_id": "old"}))
        await bench.run()
        assert bench.ran == ["old"]
        year_2200 = datetime(2200, 1, 1, tzinfo=UTC)
        await refused_task(bench, _task(bench, run_at=year_2200), "'bad'", "run_at 2200-01-01", "400 days")
        naive = bench.runtime.clock.now().replace(tzinfo=None)
        await refused_task(bench, _task(bench, run_at=naive), "'bad'", "run_at", "aware")
        elsewhere = bench.runtime.clock.now().astimezone(timezone(timedelta(hours=14)))
        await bench.queue.enqueue(_task(bench, run_at=elsewhere))
        found = await bench.queue.find("bad")
        assert found is not None
        assert found.run_at == bench.runtime.clock.now(), "another zone is the same instant"


@row(33, "poison-that-kills-its-worker")
async def _(world: World) -> None:
    """Only deaths of workers that ran nothing else count towards the three, so that what stood beside it is not blamed."""
    async with bench_in(world) as bench:
        bench.does(nothing)
        await bench.piece("poison")
        await bench.kill_off(4)
        found = await bench.queue.find("advance:poison")
        assert found is not None
        assert (found.attempts, found.deaths, found.solo_deaths) == (0, 4, 2)
        await bench.kill_off(1)
        for n in range(3):
            await bench.piece(f"good{n}")
        await bench.run()
        assert sorted(bench.ran) == ["good0", "good1", "good2"]
        [letter] = await bench.queue.list_dead()
        assert (letter.task.id, letter.task.attempts) == ("advance:poison", 0)
        assert "3 workers died" in letter.reason
        poison = await bench.row("poison")
        assert poison.state is PieceState.FAILED
        assert "3 workers died" in poison.dead_letter


@row(34, "brand-missing-unknown-or-another")
async def _(world: World) -> None:
    """A task of a brand that has no such row is done, not dead-lettered: queues are copies, and a copy of nothing is no loss."""
    async with bench_in(world) as bench:
        await bench.piece("mine")
        await bench.queue.remove("advance:mine")
        await refused_task(bench, _task(bench, brand=""), "'bad'", "brand ''")
        await refused_task(bench, _task(bench, brand="../acme"), "'bad'", "brand '../acme'")
        records = world.folder / "records.db"
        before = database_rows(records)
        for n, kind in enumerate(("advance_piece", "advance_session", "publish", "reconcile_publication")):
            payload = {"piece_id": "mine", "session_id": "s"}
            await bench.queue.enqueue(_task(bench, f"t{n}", kind=kind, brand="other", payload=payload))
        await bench.queue.enqueue(_task(bench, "unknown", payload={"piece_id": "nothing"}))
        for _ in range(3):  # two of them want the lease of one piece: whoever comes second is due again in a second
            await bench.run()
            bench.runtime.clock.advance(timedelta(seconds=2))  # type: ignore[attr-defined]
        assert await bench.queue.depths() == {}
        assert database_rows(records) == before


# Files and disks


@row(59, "sqlite-locked-for-too-long")
async def _(world: World) -> None:
    """A stale snapshot cannot be met: every write begins IMMEDIATE, and waits BUSY_MS instead of three tries."""
    world.patch.setattr(sqlite_lane, "BUSY_MS", 20)
    path = world.folder / "notes.db"
    async with opening(path) as file:
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(Busy, match=r"notes\.db.*fuser") as refusal:
                await file.write(add(1))
            assert (refusal.value.exit_code, "\n" in str(refusal.value)) == (BUSY, False)
            assert await file.read(numbers) == []
        await file.write(add(2))
        assert await file.read(numbers) == [2]
    await asyncio.to_thread(_locked_behind_a_command, world)


def _locked_behind_a_command(world: World) -> None:
    before = contents(world.cli.data_dir)
    with closing(sqlite3.connect(world.cli.data_dir / "records.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        result = world.cli("--brand", "acme", *CREATE, "--detach")
        check_refusal(result, says=("records.db", "fuser"), code=BUSY)
    assert contents(world.cli.data_dir) == before


@row(60, "disk-full")
async def _(world: World) -> None:
    async with opening(world.folder / "notes.db") as file:
        await file.write(add(1))
        await limit_pages(file, await file.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0]) + 2)
        with pytest.raises(DiskFull, match=r"notes\.db.*free space"):
            await file.write(add(2, "x" * 100_000))
        assert await file.read(numbers) == [1]
        await limit_pages(file, 1_000_000)
        await file.write(add(3, "x" * 100_000))
    async with bench_in(world) as bench:
        bench.does(nothing)
        await bench.piece("p")
        claim, full = type(bench.queue).claim, [True]

        async def claiming(*args: object, **rest: object) -> object:
            if full[0]:
                raise DiskFull("no space left")
            return await claim(*args, **rest)  # type: ignore[arg-type]

        world.patch.setattr(type(bench.queue), "claim", claiming)
        for stays in (False, True):
            full[0] = True
            running = asyncio.create_task(bench.run())
            for _ in range(7 if stays else 3):
                await asyncio.sleep(0.05)
                assert (running.done(), bench.ran) == (False, ["p"] if stays else [])
                bench.runtime.clock.advance(timedelta(seconds=9))  # type: ignore[attr-defined]
            full[0] = stays
            if not stays:
                await running
                assert bench.ran == ["p"], "it goes on by itself"
                await bench.piece("q")
        with pytest.raises(DiskFull) as ended:
            await running
        assert ended.value.exit_code == 74


@row(61, "a-file-that-cannot-be-trusted")
async def _(world: World) -> None:
    spoilt = [spoiling.empty, spoiling.not_a_database, spoiling.cut_short, spoiling.schema_overwritten]
    for n, spoil in enumerate([*spoilt, spoiling.from_a_newer_version, spoiling.gone]):
        path = world.folder / str(n) / "notes.db"
        async with opening(path) as file:
            await file.write(add(1))
        spoil(path)
        before = path.read_bytes() if path.exists() else None
        with pytest.raises(
            Damaged, match="upgrade" if spoil is spoiling.from_a_newer_version else "copydesk restore"
        ) as e:
            async with opening(path):
                pass
        assert (str(path) in str(e.value), "\n" in str(e.value), e.value.exit_code) == (True, False, 2)
        assert (path.read_bytes() if path.exists() else None) == before, "nothing was recreated"
    async with opening(world.folder / "ro.db") as file:
        await file.write(lambda db: db.execute("PRAGMA query_only = ON").fetchone())
        with pytest.raises(UsageError, match=r"ro\.db.*chmod u\+rw"):
            await file.write(add(2))
    with world.patch.context() as patch:
        patch.setattr(sqlite_file, "_filesystem", lambda folder: "nfs4")
        with pytest.raises(UsageError, match=r"nfs4.*--data-dir"):
            async with opening(world.folder / "nfs.db"):
                pass
    assert not (world.folder / "nfs.db").exists()
    async with opening(world.folder / "open.db") as file:
        await file.write(add(1))
        (world.folder / "open.db").unlink()
        file._writer._checked -= 2  # seconds: it looks once a second
        with pytest.raises(Damaged, match=r"deleted or replaced while open.*copydesk restore"):
            await file.write(add(2))
    await asyncio.to_thread(_spoilt_behind_a_command, world)


def _spoilt_behind_a_command(world: World) -> None:
    for name in ("records.db", "ledger.db", "queue.db", "checkpoints.db", "session.db"):
        path = world.cli.data_dir / name
        kept = path.read_bytes()
        path.write_bytes(b"")
        check_refusal(
            world.cli("--brand", "acme", "session", "list"),
            says=(name, "0 bytes", "made again" if name in ("queue.db", "session.db") else "copydesk restore"),
        )
        assert path.read_bytes() == b"", "nothing was recreated"
        path.write_bytes(kept)
    assert world.cli("--brand", "acme", "session", "list").code == 0


# Time


HOUR = timedelta(hours=1)
TTL = timedelta(seconds=30)


@row(62, "a-clock-that-jumps")
async def _(world: World) -> None:
    """Leases end by the wall clock, which several hosts share, and are fenced by their tokens; the worker's guard and the ledger's
    permits go by boot time too. There is no scheduler yet, so no fire can double.
    """
    for name, jump in (
        ("forward", lambda clock: clock.step(HOUR)),
        ("back", lambda clock: clock.step(-HOUR)),
        ("suspended", lambda clock: clock.advance(8 * HOUR)),
    ):
        await _lease_over(world.folder / f"{name}.db", name, jump)
        await _permit_over(name, jump)


async def _lease_over(file: Path, name: str, jump: Callable[[ManualClock], None]) -> None:
    clock = ManualClock()
    async with open_queue(f"sqlite:///{file}", clock=clock) as queue:
        await queue.enqueue(Task("t", "sweep", GENERATION_QUEUE, BRAND, clock.now()))
        [lease] = await queue.claim([GENERATION_QUEUE], owner=current_owner(), ttl=TTL, limit=1)
        guard = TaskGuard(lease, queue, clock, TTL)
        jump(clock)
        if name == "suspended":
            with pytest.raises(LeaseLost):
                guard.ensure_held()
        else:
            guard.ensure_held()
        taken = await queue.claim([GENERATION_QUEUE], owner=current_owner(), ttl=TTL, limit=1)
        if name == "back":
            assert taken == [], "nobody else gets it while it is held"
            await queue.complete(lease)
        else:
            with pytest.raises(LeaseLost):
                await queue.complete(lease)
            await queue.complete(*taken)
        assert await queue.depths() == {}


async def _permit_over(name: str, jump: Callable[[ManualClock], None]) -> None:
    clock, publisher, parcel = ManualClock(), ScriptedPublisher(), a_parcel()
    ledger = Ledger(MemoryRecords(), clock, Times(), boot_id="here")  # type: ignore[arg-type]
    jumps = [jump]

    async def still_allowed() -> str:  # asked between the permit and the first byte
        while jumps:
            jumps.pop()(clock)
        return ""

    seen = [
        (await ledger.publish(parcel, publisher, guard=Unleased(), still_allowed=still_allowed)).status
        for _ in range(3)
    ]
    assert seen[0] is (Status.PUBLISHED if name == "back" else Status.NOT_SENT), "past its deadline nothing is sent"
    assert publisher.live == [(parcel.pub_key, 0)], "sent once, whatever the clock said"
