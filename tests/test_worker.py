"""The worker in the test's own process: what becomes of a task that runs, fails, blocks, or cannot be written down."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from config.clock import ManualClock, SystemClock
from config.errors import Backpressure, Busy, Damaged, DiskFull, LeaseLost, OverBudget, Unavailable
from config.settings import Settings
from config.vocabulary import PieceState, SessionStatus
from graphs.context import advance_piece_task, advance_session_task
from memory.queue.protocol import GENERATION_QUEUE, PUBLICATION_QUEUE, QUEUES, UPKEEP_QUEUE, Task, TaskQueue
from memory.rows.content import Piece
from memory.rows.sessions import Session
from runtime import worker as module
from runtime.advance import Done, Later
from runtime.compose import Runtime, open_runtime
from runtime.failures import backoff
from runtime.guard import TaskGuard
from runtime.worker import Worker
from tests.fakes.newsroom import BRAND, write_brand

Work = Callable[[str, TaskGuard], Awaitable[Any]]


class Bench:
    """An open Runtime whose pieces are advanced by a function of the test."""

    def __init__(self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runtime = runtime
        self.monkeypatch = monkeypatch
        self.ran: list[str] = []

    @property
    def queue(self) -> TaskQueue:
        return self.runtime.queue

    def does(self, work: Work) -> None:
        async def advance(runtime: Runtime, brand: str, piece_id: str, guard: TaskGuard) -> Any:
            self.ran.append(piece_id)
            return await work(piece_id, guard) or Done()

        self.monkeypatch.setattr(module, "advance_piece", advance)

    def fails(self, *errors: BaseException) -> None:
        """Every run raises the next error, then succeeds."""
        left = list(errors)

        async def work(piece_id: str, guard: TaskGuard) -> None:
            if left:
                raise left.pop(0)

        self.does(work)

    async def piece(self, name: str, state: PieceState = PieceState.DRAFTING) -> Task:
        """A piece of a session, with its task."""
        now = self.runtime.clock.now()
        when: dict[str, Any] = {"created_at": now, "updated_at": now, "brand": BRAND}
        records = self.runtime.records.for_brand(BRAND)
        ended = SessionStatus.DONE  # so that nothing but the piece is worked on
        await records.put(Session(id="s", kind="create", goal="g", status=ended, request={"slots": []}, **when))
        await records.put(
            Piece(id=name, content_type="quote", platform="facebook", state=state, session_id="s", **when)
        )
        task = advance_piece_task(BRAND, name, self.runtime.clock)
        await self.queue.enqueue(task)
        return task

    async def row(self, name: str) -> Piece:
        return await self.runtime.records.for_brand(BRAND).get(Piece, id=name)

    async def settled(self) -> bool:
        """Whether nothing waits that is due within ten seconds, or is leased."""
        depths = await self.queue.depths()
        return not any(depth.ready or depth.leased for depth in depths.values())

    async def run(self, *, worker: Worker | None = None, **options: Any) -> Worker:
        worker = worker or Worker(self.runtime, upkeep=False, **options)
        async with asyncio.timeout(15):
            await worker.run(until=self.settled)
        return worker

    async def kill_off(self, times: int, **claim: Any) -> None:
        """Lease a task and die, `times` times, one task alone each time from the second death."""
        for _ in range(times):
            for solo in (True, False):
                leases = await self.queue.claim(
                    QUEUES, owner=self.runtime.owner, ttl=timedelta(minutes=1), limit=9, solo=solo
                )
                if leases:
                    break
            assert leases
            await self.queue.reclaim_dead(lambda owner: False)


@asynccontextmanager
async def open_bench(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, clock: Any = None, **settings: Any
) -> AsyncIterator[Bench]:
    write_brand(folder / "brands" / BRAND)
    async with open_runtime(Settings(data_dir=folder, **settings), clock=clock or ManualClock()) as runtime:
        yield Bench(runtime, monkeypatch)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "POLL_IDLE", 0.02)
    monkeypatch.setattr(module, "POLL_BUSY", 0.01)
    # Tracebacks with every local variable, as an unconfigured log draws them, take longer than the tests.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


async def until(true: Callable[[], bool]) -> None:
    """Return as soon as `true` answers so; how long that takes is the machine's affair."""
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110  the worker has no event for each thing that it does
            await asyncio.sleep(0.01)


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, monkeypatch) as bench:
        yield bench


async def test_it_runs_as_many_tasks_at_a_time_as_it_may_and_no_more(bench: Bench) -> None:
    now, most = 0, 0

    async def work(piece_id: str, guard: TaskGuard) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.03)
        now -= 1

    bench.does(work)
    for n in range(9):
        await bench.piece(f"p{n}")
    worker = await bench.run(concurrency=3)
    assert most == 3
    assert worker.finished == 9
    assert await bench.queue.depths() == {}


async def test_one_that_is_bounded_to_some_tasks_runs_no_others(bench: Bench) -> None:
    bench.does(_nothing)
    tasks = [await bench.piece(f"p{n}") for n in range(3)]

    async def done() -> bool:
        return bench.ran == ["p1"]

    await Worker(bench.runtime, only=lambda: [tasks[1].id]).run(until=done)
    assert (await bench.queue.depths())[GENERATION_QUEUE].ready == 2


async def _nothing(piece_id: str, guard: TaskGuard) -> None:
    return None


async def test_a_failure_is_written_on_the_row_before_the_queue(bench: Bench) -> None:
    task = await bench.piece("p")
    bench.fails(RuntimeError("the step broke"))
    order: list[str] = []
    retry_at = type(bench.queue).retry_at

    async def watched(self: TaskQueue, *args: Any, **rest: Any) -> None:
        row = await bench.row("p")
        order.append(f"row has {row.attempts} attempts by then")
        await retry_at(self, *args, **rest)

    bench.monkeypatch.setattr(type(bench.queue), "retry_at", watched)
    await bench.run()
    row, found = await bench.row("p"), await bench.queue.find(task.id)
    assert order == ["row has 1 attempts by then"]
    assert found is not None
    assert found.attempts == 1
    assert "the step broke" in found.reason
    assert row.retry_at == found.run_at > bench.runtime.clock.now()
    assert row.state is PieceState.DRAFTING


async def test_a_task_that_keeps_failing_is_dead_lettered_on_its_row_and_in_the_queue(bench: Bench) -> None:
    task = await bench.piece("p")
    bench.fails(*[RuntimeError("it never works")] * 3)
    for _ in range(3):
        await bench.run()
        bench.runtime.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
    assert bench.ran == ["p"] * 3
    row = await bench.row("p")
    assert row.state is PieceState.FAILED
    assert row.attempts == 3
    assert "it never works" in row.dead_letter == row.reason
    [letter] = await bench.queue.list_dead()
    assert (letter.task.id, letter.reason) == (task.id, row.dead_letter)
    await bench.queue.requeue(task.id)
    await bench.run()
    assert bench.ran == ["p"] * 4
    assert await bench.queue.list_dead() == []


async def test_a_session_that_is_given_up_has_failed_and_says_why(bench: Bench) -> None:
    await bench.piece("p")
    await bench.queue.remove("advance:p")
    records = bench.runtime.records.for_brand(BRAND)
    session = await records.get(Session, id="s")
    await records.put(session.model_copy(update={"status": SessionStatus.RUNNING}))
    await bench.queue.enqueue(advance_session_task(BRAND, "s", bench.runtime.clock))

    async def broken(*args: Any) -> Any:
        raise RuntimeError("the plan is broken")

    bench.monkeypatch.setattr(module, "advance_session", broken)
    for _ in range(3):
        await bench.run()
        bench.runtime.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
    session = await records.get(Session, id="s")
    assert session.status is SessionStatus.FAILED
    assert "the plan is broken" in session.dead_letter
    assert session.finished_at is not None


async def test_one_that_is_away_is_asked_again_when_it_said(bench: Bench) -> None:
    task = await bench.piece("p")
    bench.fails(Unavailable("slow down", retry_after=timedelta(seconds=100)))
    before = bench.runtime.clock.now()
    await bench.run()
    found = await bench.queue.find(task.id)
    assert found is not None
    assert found.run_at == before + timedelta(seconds=100)


async def test_nobody_waits_longer_than_five_minutes_for_what_is_away(bench: Bench) -> None:
    task = await bench.piece("p")
    bench.fails(Unavailable("slow down", retry_after=timedelta(days=100)))
    await bench.run()
    found = await bench.queue.find(task.id)
    assert found is not None
    assert found.run_at == bench.runtime.clock.now() + timedelta(seconds=300)


def test_waiting_times_grow_with_the_attempts_and_end() -> None:
    assert all(timedelta(seconds=1) <= backoff(1) <= timedelta(seconds=3) for _ in range(50))
    assert all(timedelta(seconds=1) <= backoff(60) <= timedelta(seconds=301) for _ in range(50))
    assert len({backoff(5) for _ in range(20)}) > 1, "everybody would come back at once"


@pytest.mark.parametrize("error", [Busy("somebody has it"), Backpressure("the queue is full")], ids=["busy", "full"])
async def test_a_lease_held_elsewhere_and_a_full_queue_are_nobodys_failure(bench: Bench, error: Exception) -> None:
    task = await bench.piece("p")
    for _ in range(5):
        bench.fails(error)
        await bench.run()
        bench.runtime.clock.advance(timedelta(seconds=10))  # type: ignore[attr-defined]
    found = await bench.queue.find(task.id)
    assert found is not None
    assert (found.attempts, found.deaths) == (0, 0)
    assert (await bench.row("p")).attempts == 0


@pytest.mark.parametrize(
    "error",
    [
        Damaged("a row cannot be read"),
        OverBudget("no money", asked_usd=1, left_usd=0),
        KeyError("x"),
        RecursionError(),
        MemoryError(),
        sqlite3.DatabaseError("bad"),
        BaseExceptionGroup("g", [ValueError("v")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_no_failure_of_a_task_ends_the_worker_or_the_task_beside_it(bench: Bench, error: BaseException) -> None:
    await bench.piece("bad")
    await bench.piece("good")
    raised: list[BaseException] = []

    async def work(piece_id: str, guard: TaskGuard) -> None:
        if piece_id == "bad":
            raised.append(error)
            raise error

    bench.does(work)
    for _ in range(3):
        await bench.run()
        bench.runtime.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
    assert sorted(bench.ran) == ["bad", "bad", "bad", "good"]
    [letter] = await bench.queue.list_dead()
    assert letter.task.id == "advance:bad"
    assert type(error).__name__ in letter.reason


@pytest.mark.parametrize(
    "task",
    [
        Task("x", "advance_piece", GENERATION_QUEUE, BRAND, ManualClock().now(), {}),
        Task("x", "advance_piece", GENERATION_QUEUE, BRAND, ManualClock().now(), {"piece_id": 7}),
        Task("x", "advance_session", GENERATION_QUEUE, BRAND, ManualClock().now(), {"piece_id": "p"}),
        Task("x", "publish", PUBLICATION_QUEUE, BRAND, ManualClock().now(), {"piece_id": None}),
        Task("x", "reconcile_publication", PUBLICATION_QUEUE, BRAND, ManualClock().now(), {}),
    ],
    ids=lambda task: f"{task.kind} {dict(task.payload)}",
)
async def test_a_payload_that_names_nothing_is_dead_lettered_with_its_reason(bench: Bench, task: Task) -> None:
    await bench.queue.enqueue(task)
    for _ in range(3):
        await bench.run()
        bench.runtime.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
    [letter] = await bench.queue.list_dead()
    assert "payload has no" in letter.reason


@pytest.mark.parametrize("payload", ["not json", "[" * 100_000, '{"piece_id": NaN}', "[1]", ""])
async def test_a_stored_payload_that_cannot_be_read_is_dead_lettered_and_the_loop_goes_on(
    bench: Bench, payload: str
) -> None:
    bench.does(_nothing)
    poison = await bench.piece("poison")
    file = sqlite3.connect(bench.runtime.settings.data_dir / "queue.db")
    with file:
        file.execute("UPDATE tasks SET payload = ? WHERE id = ?", (payload, poison.id))
    file.close()
    await bench.piece("good")
    await bench.run()
    assert bench.ran == ["good"]
    [letter] = await bench.queue.list_dead()
    assert "payload does not decode" in letter.reason


async def test_a_kind_of_a_newer_build_is_parked_and_not_dead(bench: Bench) -> None:
    task = Task("new", "paint_walls", GENERATION_QUEUE, BRAND, bench.runtime.clock.now(), {})
    await bench.queue.enqueue(task)
    for _ in range(5):
        await bench.run()
        bench.runtime.clock.advance(timedelta(seconds=61))  # type: ignore[attr-defined]
    found = await bench.queue.find("new")
    assert found is not None
    assert (found.attempts, found.deaths) == (0, 0)
    assert await bench.queue.list_dead() == []


async def test_what_has_no_row_or_belongs_to_another_brand_is_done(tmp_path: Path, bench: Bench) -> None:
    await bench.piece("mine")
    await bench.queue.remove("advance:mine")
    now = bench.runtime.clock.now()
    await bench.queue.enqueue(
        Task("a", "advance_piece", GENERATION_QUEUE, BRAND, now, {"piece_id": "nothing"}),
        Task("b", "advance_piece", GENERATION_QUEUE, "other", now, {"piece_id": "mine"}),
        Task("c", "publish", PUBLICATION_QUEUE, "other", now, {"piece_id": "mine"}),
        Task("d", "advance_session", GENERATION_QUEUE, "other", now, {"session_id": "s"}),
    )
    before = await bench.row("mine")
    await bench.run()
    assert await bench.queue.depths() == {}
    assert await bench.row("mine") == before


async def test_a_piece_whose_brand_has_no_folder_is_given_up_with_that_reason(bench: Bench) -> None:
    task = await bench.piece("p")
    import shutil

    shutil.rmtree(bench.runtime.brands_dir / BRAND)
    for _ in range(3):
        await bench.run()
        bench.runtime.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
    [letter] = [letter for letter in await bench.queue.list_dead() if letter.task.id == task.id]
    assert BRAND in letter.reason
    assert (await bench.row("p")).state is PieceState.FAILED


async def test_two_deaths_make_a_task_run_alone(bench: Bench) -> None:
    await bench.piece("suspect")
    await bench.kill_off(2)
    for n in range(4):
        await bench.piece(f"p{n}")
    beside: list[int] = []
    worker = Worker(bench.runtime, upkeep=False, concurrency=4)

    async def work(piece_id: str, guard: TaskGuard) -> None:
        if piece_id == "suspect":
            for _ in range(5):
                beside.append(len(worker._running) - 1)
                await asyncio.sleep(0.02)
        else:
            await asyncio.sleep(0.1)

    bench.does(work)
    await bench.run(worker=worker)
    assert beside == [0] * 5
    assert len(bench.ran) == 5
    assert await bench.queue.depths() == {}


async def test_a_suspect_gets_its_turn_on_a_worker_that_always_has_something_to_do(bench: Bench) -> None:
    bench.monkeypatch.setattr(module, "_LOOK_FOR_SUSPECTS", timedelta(0))
    worker = Worker(bench.runtime, upkeep=False, concurrency=2)
    began = [asyncio.Event() for _ in range(32)]

    async def work(piece_id: str, guard: TaskGuard) -> None:
        if piece_id == "suspect":
            worker.drain()
            return
        n = int(piece_id)
        began[n].set()
        bench.runtime.clock.advance(timedelta(milliseconds=10))  # type: ignore[attr-defined]
        if n == 3:
            await bench.piece("suspect")
            file = sqlite3.connect(bench.runtime.settings.data_dir / "queue.db")
            with file:
                file.execute("UPDATE tasks SET deaths = 2 WHERE id = 'advance:suspect'")
            file.close()
        if n == 30:
            worker.drain()
            return
        await bench.piece(str(n + 1))
        with suppress(TimeoutError):  # as long as the next one is claimed, there is always one that runs
            await asyncio.wait_for(began[n + 1].wait(), 0.5)

    bench.does(work)
    await bench.piece("0")
    async with asyncio.timeout(10):
        await worker.run()
    assert bench.ran[-1] == "suspect"


async def test_three_deaths_alone_dead_letter_a_task_and_say_so(bench: Bench) -> None:
    bench.does(_nothing)
    task = await bench.piece("poison")
    await bench.kill_off(5)
    await bench.piece("good")
    await bench.run()
    assert bench.ran == ["good"]
    [letter] = await bench.queue.list_dead()
    assert letter.task.id == task.id
    assert "3 workers died while running it alone" in letter.reason
    row = await bench.row("poison")
    assert row.state is PieceState.FAILED
    assert "3 workers died" in row.dead_letter
    await bench.queue.requeue(task.id)
    await bench.run()
    assert bench.ran[-1] == "poison"


async def test_deaths_beside_others_never_dead_letter(bench: Bench) -> None:
    bench.does(_nothing)
    await bench.piece("innocent")
    for _ in range(6):
        await bench.queue.claim(QUEUES, owner=bench.runtime.owner, ttl=timedelta(minutes=1), limit=9, solo=False)
        await bench.queue.reclaim_dead(lambda owner: False)
    await bench.run()
    assert bench.ran == ["innocent"]
    assert await bench.queue.list_dead() == []


async def test_a_new_checkpoint_resets_the_count_of_deaths(bench: Bench) -> None:
    task = await bench.piece("p")
    await bench.kill_off(4)

    async def work(piece_id: str, guard: TaskGuard) -> Later:
        from runtime.thread import _progressed

        before = await bench.queue.find(task.id)
        assert before is not None
        assert (before.deaths, before.solo_deaths) == (4, 2)
        _progressed(bench.runtime, guard)
        await asyncio.sleep(0.1)
        return Later(timedelta(minutes=5), "test")

    bench.does(work)
    await bench.run()
    found = await bench.queue.find(task.id)
    assert found is not None
    assert (found.deaths, found.solo_deaths) == (0, 0)


async def test_a_settled_piece_stays_what_it_is_when_looking_after_it_fails(bench: Bench) -> None:
    await bench.piece("p", PieceState.PUBLISHING)
    bench.fails(*[RuntimeError("no")] * 3)
    for _ in range(3):
        await bench.run()
        bench.runtime.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
    assert len(await bench.queue.list_dead()) == 1
    assert (await bench.row("p")).state is PieceState.PUBLISHING


async def test_upkeep_is_never_given_up_however_many_workers_died_of_it(bench: Bench) -> None:
    from runtime.reconcile import upkeep_task

    await bench.queue.enqueue(upkeep_task("reconcile", bench.runtime))
    await bench.kill_off(5)
    await bench.run()
    assert await bench.queue.list_dead() == []
    found = await bench.queue.find("upkeep:reconcile")
    assert found is not None
    assert found.run_at == bench.runtime.clock.now() + module.UPKEEP_REST, "it rests, and is tried again"
    assert (found.deaths, found.solo_deaths) == (0, 0)


async def test_upkeep_that_ended_well_forgets_the_deaths_of_its_workers(bench: Bench) -> None:
    from runtime.reconcile import upkeep_task

    await bench.queue.enqueue(upkeep_task("reconcile", bench.runtime))
    await bench.kill_off(2)
    await bench.run()
    found = await bench.queue.find("upkeep:reconcile")
    assert found is not None
    assert (found.queue, found.deaths) == (UPKEEP_QUEUE, 0)


async def test_a_full_disk_pauses_claiming_and_work_resumes_by_itself(bench: Bench) -> None:
    for n in range(10):
        await bench.piece(f"p{n}")
    full = [True]

    async def work(piece_id: str, guard: TaskGuard) -> None:
        if full[0]:
            raise DiskFull("no space left")

    bench.does(work)
    worker = Worker(bench.runtime, upkeep=False, concurrency=5)

    async def empty() -> bool:
        return await bench.queue.depths() == {}

    running = asyncio.create_task(worker.run(until=empty))
    await until(lambda: len(bench.ran) == 5)
    await asyncio.sleep(0.3)
    assert len(bench.ran) == 5, "the others wait"
    bench.runtime.clock.advance(timedelta(seconds=3))  # type: ignore[attr-defined]
    await until(lambda: len(bench.ran) == 6)
    await asyncio.sleep(0.3)
    assert len(bench.ran) == 6, "one is enough to see that it is still full"
    full[0] = False
    bench.runtime.clock.advance(timedelta(seconds=10))  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        await running
    assert len(bench.ran) == 16
    assert {(await bench.row(f"p{n}")).attempts for n in range(10)} == {0}, "nothing was counted against the tasks"


async def test_a_disk_that_stays_full_ends_the_worker_after_a_minute(bench: Bench) -> None:
    await bench.piece("p")

    async def full(*args: Any, **rest: Any) -> Any:
        raise DiskFull("no space left")

    bench.monkeypatch.setattr(type(bench.queue), "claim", full)
    running = asyncio.create_task(bench.run())
    await asyncio.sleep(0.1)
    for _ in range(7):
        assert not running.done()
        bench.runtime.clock.advance(timedelta(seconds=9))  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)
    with pytest.raises(DiskFull) as ended:
        await running
    assert ended.value.exit_code == 74


async def test_a_queue_that_is_away_is_asked_again(bench: Bench) -> None:
    bench.does(_nothing)
    await bench.piece("p")
    claim, failures = type(bench.queue).claim, [Unavailable("away")]

    async def flaky(self: TaskQueue, *args: Any, **rest: Any) -> Any:
        if failures:
            raise failures.pop()
        return await claim(self, *args, **rest)

    bench.monkeypatch.setattr(type(bench.queue), "claim", flaky)
    await bench.run()
    assert bench.ran == ["p"]


async def test_a_task_whose_end_cannot_be_written_comes_back_without_counting_as_a_death(bench: Bench) -> None:
    task = await bench.piece("p")
    bench.fails(RuntimeError("the step broke"))
    put = type(bench.runtime.records.for_brand(BRAND)).put
    away = [True]

    async def unavailable(self: Any, *rows: Any) -> None:
        if away[0]:
            raise Unavailable("rows cannot be written")
        await put(self, *rows)

    bench.monkeypatch.setattr(type(bench.runtime.records.for_brand(BRAND)), "put", unavailable)
    await bench.run()
    found = await bench.queue.find(task.id)
    assert found is not None
    assert (found.attempts, found.deaths) == (0, 0)
    away[0] = False
    bench.runtime.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
    await bench.run()
    assert await bench.queue.depths() == {}


async def test_a_lost_lease_cancels_what_runs_under_it_and_completes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"lease": timedelta(seconds=0.9), "heartbeat": timedelta(seconds=0.1)}
    async with open_bench(tmp_path, monkeypatch, clock=SystemClock(), **short) as bench:
        cancelled = asyncio.Event()
        started = asyncio.Event()

        async def work(piece_id: str, guard: TaskGuard) -> None:
            started.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        bench.does(work)
        task = await bench.piece("p")
        worker = Worker(bench.runtime, upkeep=False)
        running = asyncio.create_task(worker.run())
        await started.wait()
        await bench.queue.reclaim_dead(lambda owner: False)
        [taken] = await bench.queue.claim(
            [GENERATION_QUEUE], owner=bench.runtime.owner, ttl=timedelta(minutes=1), limit=1
        )
        await asyncio.wait_for(cancelled.wait(), 20)
        worker.drain()
        await running
        assert taken.task.deaths == 1
        await bench.queue.complete(taken)
        assert await bench.queue.find(task.id) is None


async def test_a_write_under_a_lost_lease_is_refused(bench: Bench) -> None:
    await bench.piece("p")
    refused: list[str] = []

    async def work(piece_id: str, guard: TaskGuard) -> None:
        row = await bench.row("p")
        guard.lose("taken")
        try:
            await bench.runtime.records.for_brand(BRAND, lease=guard).put(row.model_copy(update={"title": "x"}))
        except LeaseLost as error:
            refused.append(str(error))
            raise

    bench.does(work)
    worker = Worker(bench.runtime, upkeep=False)

    async def once() -> bool:
        return bool(bench.ran)

    await worker.run(until=once)
    assert "taken" in refused[0]
    assert (await bench.row("p")).title == ""


async def test_a_task_that_runs_too_long_is_stopped_and_has_failed_for_that_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"lease": timedelta(seconds=5), "heartbeat": timedelta(seconds=0.1)}
    async with open_bench(
        tmp_path, monkeypatch, clock=SystemClock(), task_timeout=timedelta(seconds=1), max_attempts=1, **short
    ) as bench:

        async def work(piece_id: str, guard: TaskGuard) -> None:
            if piece_id == "hangs":
                await asyncio.sleep(30)

        bench.does(work)
        await bench.piece("hangs")
        await bench.piece("good")
        await bench.run()
        [letter] = await bench.queue.list_dead()
        assert letter.task.id == "advance:hangs"
        assert "longer than 1 s" in letter.reason
        assert (await bench.row("hangs")).dead_letter == letter.reason


async def test_what_is_asked_for_while_it_runs_is_looked_at_once_more(bench: Bench) -> None:
    task = await bench.piece("p")

    async def work(piece_id: str, guard: TaskGuard) -> None:
        if len(bench.ran) == 1:
            await bench.queue.enqueue(replace(task, priority=9))

    bench.does(work)
    await bench.run()
    assert bench.ran == ["p", "p"]


async def test_draining_lets_what_runs_finish_and_hands_back_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(tmp_path, monkeypatch, clock=SystemClock(), drain=timedelta(seconds=2)) as bench:
        started: list[str] = []
        both = asyncio.Event()

        async def work(piece_id: str, guard: TaskGuard) -> None:
            started.append(piece_id)
            if len(started) == 2:
                both.set()
            await asyncio.sleep(0.2 if piece_id == "short" else 30)

        bench.does(work)
        for name in ("short", "long", "unclaimed"):
            await bench.piece(name)
        worker = Worker(bench.runtime, upkeep=False, concurrency=2)
        running = asyncio.create_task(worker.run())
        await both.wait()
        worker.drain()
        async with asyncio.timeout(30):
            await running
        assert started == ["short", "long"]
        assert await bench.queue.find("advance:short") is None
        [*back] = await bench.queue.claim(
            [GENERATION_QUEUE], owner=bench.runtime.owner, ttl=timedelta(minutes=1), limit=9
        )
        assert sorted(lease.task.id for lease in back) == ["advance:long", "advance:unclaimed"]
        assert {lease.task.deaths for lease in back} == {0}


async def test_being_stopped_at_once_while_draining_hands_back_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(tmp_path, monkeypatch, clock=SystemClock(), drain=timedelta(seconds=30)) as bench:
        started = asyncio.Event()

        async def work(piece_id: str, guard: TaskGuard) -> None:
            started.set()
            await asyncio.sleep(30)

        bench.does(work)
        await bench.piece("p")
        worker = Worker(bench.runtime, upkeep=False)
        running = asyncio.create_task(worker.run())
        await started.wait()
        worker.drain()
        await asyncio.sleep(0.05)
        running.cancel()
        async with asyncio.timeout(20):
            with pytest.raises(asyncio.CancelledError):
                await running
        depth = (await bench.queue.depths())[GENERATION_QUEUE]
        assert (depth.ready, depth.leased) == (1, 0)
