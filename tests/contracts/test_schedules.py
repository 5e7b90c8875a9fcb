"""What firing a schedule asks of Records, on every engine: two that race, a death after any write, a lease that is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock
from config.errors import LeaseLost
from config.settings import Settings
from config.vocabulary import FireOutcome
from graphs.weekly import Weekly, week_after
from memory.records.protocol import Records, RecordsStore
from memory.rows.publication import Schedule, ScheduleFire
from memory.rows.row import Row
from memory.rows.sessions import Session
from runtime.compose import Runtime, open_runtime
from runtime.reconcile import reconcile
from runtime.scheduler import Rule, Scheduler, cycle_starter, fire_session_id, fire_task, list_fires, new_schedule
from tests.contracts.test_records import FailingLease, a_fire
from tests.fakes.newsroom import BRAND, write_brand

WEEK = timedelta(days=7)
MONDAYS = Rule(Weekly(1, time(6), "Europe/Berlin"))


@pytest.fixture
async def machines(records_url: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[list[Runtime]]:
    """Two processes' views of one brand, whose schedule is due in the week after the clock's."""
    write_brand(tmp_path / "data" / "brands" / BRAND)
    async with AsyncExitStack() as stack:
        settings = Settings(data_dir=tmp_path / "data", records=records_url)
        runtimes = [await stack.enter_async_context(open_runtime(settings, clock=clock)) for _ in range(2)]
        await runtimes[0].ensure_brand(BRAND)
        await runtimes[0].records.for_brand(BRAND).put(new_schedule(BRAND, "weekly", MONDAYS, clock.now()))
        yield runtimes


def a_scheduler(runtime: Runtime, records: Records | None = None) -> Scheduler:
    records = records or runtime.records.for_brand(BRAND)
    return Scheduler(records, runtime.clock, cycle_starter(runtime, records))


async def decided(runtime: Runtime, slots: int) -> list[ScheduleFire]:
    """The fires, which must be so many, each with its own session of its own week; the latest first."""
    records = runtime.records.for_brand(BRAND)
    fires = await records.list_rows(ScheduleFire)
    sessions = {row.id: row for row in await records.list_rows(Session)}
    assert len(fires) == len(sessions) == slots
    for fire in fires:
        assert fire.outcome is FireOutcome.FIRED
        assert fire.session_id == fire_session_id(fire)
        assert sessions[fire.session_id].cycle_key == week_after(fire.local_slot)
    assert (await records.get(Schedule, name="weekly")).next_at > runtime.clock.now()
    return fires


async def test_of_two_schedulers_that_race_each_week_exactly_one_session_comes(
    machines: list[Runtime], clock: ManualClock
) -> None:
    for weeks in range(1, 4):
        clock.advance(WEEK)
        await asyncio.gather(*(a_scheduler(runtime).look("weekly") for runtime in machines))
        await decided(machines[0], weeks)


async def test_schedules_of_one_name_in_two_brands_do_not_meet(
    machines: list[Runtime], clock: ManualClock, tmp_path: Path
) -> None:
    runtime = machines[0]
    write_brand(tmp_path / "data" / "brands" / "bravo")
    theirs = runtime.records.for_brand("bravo")
    await runtime.ensure_brand("bravo")
    await theirs.put(new_schedule("bravo", "weekly", MONDAYS, clock.now()))
    clock.advance(WEEK)
    for records in (runtime.records.for_brand(BRAND), theirs):
        await a_scheduler(runtime, records).look("weekly")
    (our_fire,), (their_fire,) = await decided(runtime, 1), await theirs.list_rows(ScheduleFire)
    assert our_fire.local_slot == their_fire.local_slot
    assert our_fire.session_id != their_fire.session_id
    assert [row.id for row in await theirs.list_rows(Session)] == [their_fire.session_id]
    ours = await runtime.records.for_brand(BRAND).get(Schedule, name="weekly")
    assert fire_task(ours).id != fire_task(await theirs.get(Schedule, name="weekly")).id
    assert await runtime.records.brands_with(Schedule, status="active") == [BRAND, "bravo"]


class Dies(Exception):
    """The process ends here."""


class MortalRecords:
    """Records whose process ends after so many writes."""

    brand = BRAND

    def __init__(self, records: Records, writes: int) -> None:
        self._records, self._left = records, writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def _write(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if self._left == 0:
            raise Dies
        self._left -= 1
        return await call()

    async def put(self, *rows: Row) -> None:
        for row in rows:
            await self._write(lambda row=row: self._records.put(row))  # type: ignore[misc]

    async def create_once(self, kind: str, key: str, row: Row, *, token: str) -> Any:
        return await self._write(lambda: self._records.create_once(kind, key, row, token=token))


class MortalStore:
    """Every view of it dies together."""

    def __init__(self, store: RecordsStore, mortal: MortalRecords) -> None:
        self._store, self._mortal = store, mortal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def for_brand(self, brand: str, **lease: Any) -> Any:
        return self._mortal


async def test_a_death_after_any_write_of_a_fire_is_gone_on_with(machines: list[Runtime], clock: ManualClock) -> None:
    dying, other = machines
    store, weeks, died = dying.records, 0, True
    while died:
        clock.advance(WEEK)
        mortal = MortalRecords(store.for_brand(BRAND), weeks)
        dying.records = MortalStore(store, mortal)
        try:
            await a_scheduler(dying, mortal).look("weekly")
            died = False
        except Dies:
            assert (await other.records.for_brand(BRAND).get(Schedule, name="weekly")).next_at <= clock.now()
        weeks += 1
        await a_scheduler(other).look("weekly")
        await decided(other, weeks)
    assert weeks >= 9, "every write of a fire was the last one once"


async def test_a_scheduler_whose_lease_is_lost_writes_no_more_and_another_ends_it(
    machines: list[Runtime], clock: ManualClock
) -> None:
    paused, other = machines
    for weeks, calls in enumerate((1, 2, 3), 1):
        clock.advance(WEEK)
        bound = paused.records.for_brand(BRAND, lease=FailingLease(calls))
        with pytest.raises(LeaseLost):
            await a_scheduler(paused, bound).look("weekly")
        await a_scheduler(other).look("weekly")
        await decided(other, weeks)


async def test_reconcile_finds_active_schedules_of_all_brands_and_fires_without_a_session(
    machines: list[Runtime], clock: ManualClock
) -> None:
    runtime = machines[0]
    records = runtime.records.for_brand(BRAND)
    schedule = await records.get(Schedule, name="weekly")
    assert await runtime.records.brands_with(Schedule, status="active") == [BRAND]
    await reconcile(runtime)
    task = await runtime.queue.find(fire_task(schedule).id)
    assert task is not None
    assert task.run_at == schedule.next_at > clock.now()
    await records.put(a_fire(1, schedule="weekly", local_slot="2026-12-07T09:00", fired_at=clock.now()))
    await reconcile(runtime)
    task = await runtime.queue.find(task.id)
    assert task is not None
    assert task.run_at <= clock.now()
    await a_scheduler(runtime).look("weekly")
    await decided(runtime, 1)


async def test_fires_are_listed_page_by_page_back_to_an_instant(machines: list[Runtime], clock: ManualClock) -> None:
    records = machines[0].records.for_brand(BRAND)
    start = clock.now()
    await records.put(*(a_fire(n, fired_at=start + n * timedelta(hours=1)) for n in range(240)))
    assert [f.id for f in await list_fires(records, since=start)] == [f"fire-{n:03}" for n in reversed(range(240))]
    recent = await list_fires(records, since=start + timedelta(hours=100))
    assert [fire.id for fire in recent] == [f"fire-{n:03}" for n in reversed(range(100, 240))]
    assert await list_fires(records, since=start + timedelta(days=99)) == []
