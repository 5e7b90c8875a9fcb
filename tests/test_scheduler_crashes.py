"""A real worker process is killed after any write of a fire: exactly one session comes of it, and the bookmark never ran ahead of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from config.clock import SystemClock
from config.settings import Settings
from config.vocabulary import FireOutcome
from graphs.weekly import Weekly, week_after
from memory.records.protocol import open_records
from memory.rows.publication import Schedule, ScheduleFire
from memory.rows.sessions import Event, Session
from runtime.compose import open_runtime
from runtime.scheduler import Rule, fire_session_id, fire_task, new_schedule
from tests.cli_support import ROOT, environment
from tests.fakes.newsroom import BRAND, write_brand

pytestmark = pytest.mark.slow
WRITES = [
    "create_once schedule",
    "put schedule_fires",
    "create_once cycle",
    "put brands",
    "put agent_sessions",
    "put events",
    "put schedule_fires",
    "put events",
    "put schedules",
]
"""Every write of a fire, in order: its decision, its row, its session, its row again, and the bookmark last."""
KILLED = -9


@dataclass
class Mill:
    """Forks workers on request."""

    process: subprocess.Popen[str]

    def work(self, folder: Path, task: str, *, die_after: int | None = None) -> int:
        """Run a worker there to its end; how it ended."""
        (ended,) = self.work_together(folder, task, workers=1, die_after=die_after)
        return ended

    def work_together(self, folder: Path, task: str, *, workers: int, die_after: int | None = None) -> list[int]:
        """Run so many workers there at once to their ends; how each ended."""
        assert self.process.stdin
        assert self.process.stdout
        request = {"folder": str(folder), "task": task, "die_after": die_after, "workers": workers}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return [int(status) for status in json.loads(self.process.stdout.readline())]


@pytest.fixture(scope="module")
def mill() -> Iterator[Mill]:
    command = [sys.executable, "-m", "tests.fakes.schedule_worker"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield Mill(process)
        assert process.stdin
        process.stdin.close()


@dataclass(frozen=True)
class Due:
    """A data directory in which a slot has been due for an hour, and nobody has looked."""

    folder: Path
    task: str
    slot: str

    def copy(self, folder: Path) -> Due:
        shutil.copytree(self.folder, folder)
        return Due(folder, self.task, self.slot)


@pytest.fixture
async def due(tmp_path: Path) -> Due:
    folder = tmp_path / "due"
    write_brand(folder / "brands" / BRAND)
    then = SystemClock().now().replace(second=0, microsecond=0) - timedelta(hours=1)
    rule = Rule(Weekly(then.isoweekday(), then.time(), "UTC"))
    schedule = new_schedule(BRAND, "weekly", rule, then - timedelta(minutes=1))
    assert schedule.next_at == then
    async with open_runtime(Settings(data_dir=folder)) as runtime:
        await runtime.ensure_brand(BRAND)
        await runtime.records.for_brand(BRAND).put(schedule)
        await runtime.queue.enqueue(fire_task(schedule))
    return Due(folder, fire_task(schedule).id, rule.weekly.on(then.date()).local)


@dataclass(frozen=True)
class Found:
    """What Records hold."""

    schedule: Schedule
    fires: list[ScheduleFire]
    sessions: list[Session]
    started: int
    """How often a session was noted as started."""

    @property
    def bookmark_moved(self) -> bool:
        return self.schedule.next_at > SystemClock().now()


async def look_at(due: Due) -> Found:
    async with open_records(f"sqlite:///{due.folder}", clock=SystemClock()) as store:
        records = store.for_brand(BRAND)
        now = SystemClock().now()
        events = [e for n in (0, 1) for e in await records.list_rows(Event, day=f"{(now - timedelta(days=n)):%F}")]
        return Found(
            await records.get(Schedule, name="weekly"),
            await records.list_rows(ScheduleFire),
            await records.list_rows(Session),
            sum(event.name == "session.started" for event in events),
        )


async def is_right(due: Due) -> None:
    found = await look_at(due)
    (fire,), (session,) = found.fires, found.sessions
    assert (fire.local_slot, fire.outcome) == (due.slot, FireOutcome.FIRED)
    assert session.id == fire.session_id == fire_session_id(fire)
    assert session.cycle_key == week_after(due.slot)
    assert found.bookmark_moved


async def test_a_fire_goes_its_steps_in_order(mill: Mill, due: Due) -> None:
    assert mill.work(due.folder, due.task) == 0
    await is_right(due)
    assert (due.folder / "writes").read_text().splitlines() == WRITES


async def test_workers_that_find_a_slot_due_at_the_same_time_fire_it_once(mill: Mill, due: Due) -> None:
    assert mill.work_together(due.folder, due.task, workers=4) == [0] * 4
    await is_right(due)
    assert (await look_at(due)).started == 1
    assert (due.folder / "writes").read_text().splitlines() == WRITES


async def test_a_worker_killed_after_any_write_leaves_a_fire_that_another_ends_with_one_session(
    mill: Mill, due: Due, tmp_path: Path
) -> None:
    for die_after in range(len(WRITES) + 1):
        place = due.copy(tmp_path / str(die_after))
        assert mill.work(place.folder, place.task, die_after=die_after) == KILLED
        assert (place.folder / "writes").exists() is (die_after > 0)
        if die_after:
            assert (place.folder / "writes").read_text().splitlines() == WRITES[:die_after]
        found = await look_at(place)
        assert len(found.sessions) == (die_after >= WRITES.index("put agent_sessions") + 1)
        assert found.bookmark_moved is (die_after == len(WRITES)), "it moves last"
        assert mill.work(place.folder, place.task) == 0
        await is_right(place)


async def test_workers_killed_one_after_the_other_end_with_one_session_too(mill: Mill, due: Due) -> None:
    """The second finds the decision, the third its row, the fourth the session."""
    for die_after, rows in ((1, (0, 0)), (2, (1, 0)), (3, (1, 1))):
        assert mill.work(due.folder, due.task, die_after=die_after) == KILLED
        found = await look_at(due)
        assert (len(found.fires), len(found.sessions)) == rows
        assert not found.bookmark_moved
    assert mill.work(due.folder, due.task) == 0
    await is_right(due)
