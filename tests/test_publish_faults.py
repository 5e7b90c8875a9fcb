"""Publishing under faults: death and failure at every step, a platform that loses replies, and workers killed at work."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock
from config.errors import CopydeskError, Unavailable
from config.vocabulary import Step
from memory.lease import Unleased
from memory.rows.publication import LedgerStep
from tests.fakes.platform import CHAOS, FakePlatformPublisher, run_platform
from tests.fakes.publish_workers import TIMES, history, parcels, settle_all
from tests.fakes.publishing import MemoryRecords, ScriptedPublisher, Times, a_parcel, a_thread, allowed
from tools.publish.fold import OUTCOMES, Status
from tools.publish.ledger import Ledger
from tools.publish.simulator import REHEARSAL, Fault, SimulatorPublisher

ROOT = Path(__file__).parents[1]


class Killed(BaseException):
    """kill -9: from here on nothing of this worker happens."""


class Trouble:
    """Lets `calls` calls pass, then strikes: once, or from then on for ever."""

    def __init__(self, calls: int, error: BaseException, *, for_ever: bool) -> None:
        self.calls, self.error, self.for_ever, self.struck = calls, error, for_ever, False

    async def __call__(self, *_: Any) -> None:
        if self.struck and not self.for_ever:
            return
        if self.struck or self.calls == 0:
            self.struck = True
            raise self.error
        self.calls -= 1


def ledger_on(records: MemoryRecords, clock: ManualClock) -> Ledger:
    return Ledger(records, clock, Times(), boot_id="here")  # type: ignore[arg-type]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("error", "for_ever"),
    [(Killed(), True), (Unavailable("away"), False), (TimeoutError(), False), (asyncio.CancelledError(), False)],
    ids=["killed", "unavailable", "timeout", "cancelled"],
)
async def test_whatever_call_to_the_store_fails_no_part_goes_out_twice(
    moment: str, error: BaseException, for_ever: bool
) -> None:
    """Every call in turn, until a run meets no trouble; then time passes, and a successor ends the story."""
    calls = 0
    while True:
        records, clock, parcel, publisher = MemoryRecords(), ManualClock(), a_parcel(a_thread(2)), ScriptedPublisher()
        trouble = Trouble(calls, error, for_ever=for_ever)
        setattr(records, moment, trouble)
        try:
            await ledger_on(records, clock).publish(parcel, publisher, guard=Unleased(), still_allowed=allowed)
        except (CopydeskError, Killed, TimeoutError, asyncio.CancelledError):
            assert trouble.struck
        records.before = records.after = None
        successor = ledger_on(records, clock)
        for _ in range(4):
            clock.advance(timedelta(seconds=200))
            await successor.publish(parcel, publisher, guard=Unleased(), still_allowed=allowed)
            end = await successor.resolve_by_readback(parcel, publisher)
        counts = Counter(publisher.live)
        assert set(counts.values()) <= {1}, f"call {calls}: {counts}"
        # Where the permit was taken and the call never made, nobody can know: then it says so, and nothing goes out.
        assert end.status in (Status.PUBLISHED, Status.NEEDS_HUMAN), f"call {calls}: {end.status}"
        assert end.parts_done == len(publisher.live), f"call {calls}"
        if not trouble.struck:
            assert end.status is Status.PUBLISHED
            break
        calls += 1
    assert calls > 8, "too few calls were tried"


# --- the simulator --------------------------------------------------------------------------------------------------


async def test_the_simulator_does_the_same_to_the_same_attempt_in_any_order(tmp_path: Path) -> None:
    clock = ManualClock()
    one, two = (SimulatorPublisher(tmp_path, clock=clock, seed=7, faults=REHEARSAL) for _ in range(2))
    keys = [a_parcel(piece_id=f"piece-{n}").pub_key for n in range(300)]
    first = {key: one.fault(key, 0, "1") for key in keys}
    second = {key: two.fault(key, 0, "1") for key in reversed(keys)}
    assert first == second
    assert set(REHEARSAL) <= set(first.values())
    assert [one.fault(key, 0, "2") for key in keys] != list(first.values())


@pytest.mark.parametrize("fault", list(Fault))
async def test_the_ledger_meets_each_fault_of_the_simulator_as_it_should(tmp_path: Path, fault: Fault) -> None:
    clock, parcel = ManualClock(), a_parcel()
    records = MemoryRecords()
    times = Times(send_timeout=timedelta(milliseconds=50))
    ledger = Ledger(records, clock, times, boot_id="here")  # type: ignore[arg-type]
    publisher = SimulatorPublisher(tmp_path, clock=clock, faults={fault: 1.0})
    said = await ledger.publish(parcel, publisher, guard=Unleased(), still_allowed=allowed)
    definite = {Fault.REJECTED: Status.REJECTED, Fault.REFUSED: Status.NOT_SENT}
    assert said.status is definite.get(fault, Status.PUBLISHING)
    clock.advance(timedelta(days=1))
    healthy = SimulatorPublisher(tmp_path, clock=clock)
    await ledger.publish(parcel, healthy, guard=Unleased(), still_allowed=allowed)
    end = await ledger.resolve_by_readback(parcel, healthy)
    ends = {Fault.REJECTED: Status.REJECTED, Fault.LOST: Status.NEEDS_HUMAN}
    assert end.status is ends.get(fault, Status.PUBLISHED)
    assert len(publisher.posts()) == (0 if fault in ends else 1)


async def test_the_simulator_shows_a_post_only_after_its_lag(tmp_path: Path) -> None:
    clock, parcel = ManualClock(), a_parcel()
    publisher = SimulatorPublisher(tmp_path, clock=clock, lag=timedelta(seconds=30))
    sent = await publisher.finalize(parcel, part=0, handle="h", reply_to="", timeout=timedelta(seconds=1))
    assert await publisher.check(parcel, part=0, handle="h") is None
    clock.advance(timedelta(seconds=30))
    assert await publisher.check(parcel, part=0, handle="h") == sent


# --- a platform in another process ----------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_platform_that_is_down_is_not_sent_and_a_live_one_gets_the_next_attempt(tmp_path: Path) -> None:
    clock, parcel = ManualClock(), a_parcel()
    ledger = ledger_on(MemoryRecords(), clock)
    async with run_platform(tmp_path) as platform:
        publisher = FakePlatformPublisher(platform.url)
        handle = await publisher.prepare(parcel, attempt=1)
        await platform.stop()
        with pytest.raises(Unavailable):
            await publisher.prepare(parcel, attempt=1)
        with pytest.raises(ConnectionRefusedError):
            await publisher.finalize(parcel, part=0, handle=handle, reply_to="", timeout=timedelta(seconds=2))
        await platform.start()
        done = await ledger.publish(parcel, publisher, guard=Unleased(), still_allowed=allowed)
        assert (done.status, len(platform.posts())) == (Status.PUBLISHED, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "seed"), [("sqlite", 1), ("sqlite", 2), ("austere", 3)])
async def test_workers_killed_at_work_against_a_faulty_platform_send_nothing_twice(
    tmp_path: Path, engine: str, seed: int
) -> None:
    posts, rounds = 24, 8
    url = f"{engine}:///{tmp_path}/data"
    async with run_platform(tmp_path, seed=seed, faults=CHAOS, lag_s=0.2, delay_s=1.3) as platform:
        command = ["-m", "tests.fakes.publish_workers", url, platform.url, str(posts), str(rounds), str(seed)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        await process.communicate()
        assert process.returncode == 0
        ends = await settle_all(url, platform.url, posts)
        steps = await history(url, posts)
        live = platform.posts()

    assert platform.duplicates() == {}
    wrong = [post for post in live if not sent_under_a_permit(post, steps[post["pub_key"]])]
    assert wrong == []
    out = Counter(post["pub_key"] for post in live)
    by_key = {parcel.pub_key: parcel for parcel in parcels(posts)}
    assert set(ends) == set(by_key)
    for key, end in ends.items():
        assert end.status in (Status.PUBLISHED, Status.REJECTED, Status.NEEDS_HUMAN), end.status
        assert end.parts_done == out[key], f"{end.status}: {end.parts_done} parts recorded, {out[key]} live"
        if end.status is Status.PUBLISHED:
            assert out[key] == by_key[key].post.part_count()


def sent_under_a_permit(post: dict[str, Any], steps: list[LedgerStep]) -> bool:
    """Whether the ledger has a permit for `post` that was taken before it and not past its deadline (T20)."""
    at_ms = post["sent_at"] * 1000
    permits = [step for step in steps if step.step is Step.PERMIT and step.part == post["part"]]
    started = [step for step in permits if step.created_at.timestamp() * 1000 <= at_ms]
    return any(step.deadline is not None and at_ms <= step.deadline.timestamp() * 1000 for step in started)


async def test_the_times_of_the_kill_loop_keep_the_law() -> None:
    assert TIMES.send_timeout < TIMES.permit
    assert {Step.PUBLISHED, Step.REJECTED, Step.NOT_SENT} == OUTCOMES
