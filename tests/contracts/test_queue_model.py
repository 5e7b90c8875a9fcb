"""Random histories of a task queue against a model of forty lines a verb; and proof that the model finds planted bugs.

The histories are the same on every run. `COPYDESK_TEST_QUEUE_EXAMPLES=2000` plays that many new ones.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from config.clock import ManualClock
from config.errors import Backpressure, LeaseLost, NotFound
from memory.queue import Depth, Enqueued, Lease, Owner, Task, TaskQueue, open_queue
from tests.contracts.queue_engines import ENGINES, a_task, an_owner
from tests.fakes.planted_queues import PLANTED, open_planted

MORE = int(os.environ.get("COPYDESK_TEST_QUEUE_EXAMPLES", "0"))
SETTINGS = settings(
    max_examples=MORE or 40,
    stateful_step_count=60 if MORE else 50,
    derandomize=not MORE,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
TTL = timedelta(seconds=30)
MS = timedelta(milliseconds=1)
MAX_LENGTH = 4
QUEUE_OF = {"t0": "a", "t1": "a", "t2": "a", "t3": "a", "t4": "a", "t5": "b", "t6": "b"}
OWNERS = [an_owner(name) for name in ("w1", "w2")]
Opener = Callable[[Path, ManualClock], AbstractAsyncContextManager[TaskQueue]]


@dataclass
class Row:
    """A task as the model knows it."""

    seq: int
    task: Task
    state: str = "waiting"
    lease: Lease | None = None
    owner: Owner | None = None
    again_at: datetime | None = None
    died_at: datetime | None = None

    def end(self, state: str, **changes: Any) -> None:
        self.state, self.lease, self.owner, self.again_at = state, None, None, None
        self.task = replace(self.task, **changes)


class Model:
    """What TaskQueue promises, in memory, one caller at a time."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.rows: dict[str, Row] = {}
        self.enqueued = 0
        self.paused: set[str] = set()
        self.concurrency: dict[str, int | None] = {}

    def of(self, state: str, queue: str | None = None) -> list[Row]:
        return [row for row in self.rows.values() if row.state == state and queue in (None, row.task.queue)]

    def enqueue(self, tasks: list[Task]) -> list[Enqueued] | str:
        new = {task.id: task for task in tasks if task.id not in self.rows}
        for queue in {task.queue for task in new.values()}:
            if len(self.of("waiting", queue)) + sum(task.queue == queue for task in new.values()) > MAX_LENGTH:
                return "full"
        return [self.enqueue_one(task) for task in tasks]

    def enqueue_one(self, task: Task) -> Enqueued:
        row = self.rows.get(task.id)
        if row is None:
            self.enqueued += 1
            self.rows[task.id] = Row(self.enqueued, task)
            return Enqueued.CREATED
        if row.state == "dead":
            return Enqueued.DEAD
        row.task = replace(row.task, priority=max(row.task.priority, task.priority))
        if row.state == "leased":
            row.again_at = max(row.again_at or task.run_at, task.run_at)
            return Enqueued.AGAIN
        row.task = replace(row.task, run_at=min(row.task.run_at, task.run_at))
        return Enqueued.EXISTS

    def take_back(self, lost: Callable[[Row], bool]) -> int:
        taken = [row for row in self.of("leased") if row.lease and lost(row)]
        for row in taken:
            solo = row.lease is not None and row.lease.solo
            row.end("waiting", deaths=row.task.deaths + 1, solo_deaths=row.task.solo_deaths + solo)
        return len(taken)

    def ran_out(self, row: Row) -> bool:
        return row.lease is not None and row.lease.expires_at <= self.clock.now()

    def best(self, queues: set[str], *, limit: int, solo: bool, only: set[str] | None = None) -> list[Row]:
        """The rows to lease next, best first."""
        self.take_back(self.ran_out)
        due = [row for row in self.of("waiting") if row.task.queue in queues - self.paused]
        due = [row for row in due if row.task.run_at <= self.clock.now() and (row.task.deaths >= 2) == solo]
        due = [row for row in due if only is None or row.task.id in only]
        room = {queue: (self.concurrency.get(queue) or 99) - len(self.of("leased", queue)) for queue in queues}
        best: list[Row] = []
        for row in sorted(due, key=lambda row: (-row.task.priority, row.task.run_at, row.seq)):
            if room[row.task.queue] > 0 and len(best) < (min(limit, 1) if solo else limit):
                room[row.task.queue] -= 1
                best.append(row)
        return best

    def current(self, lease: Lease) -> Row | None:
        row = self.rows.get(lease.task.id)
        if row is None or row.lease is None or row.lease.token != lease.token or self.ran_out(row):
            return None
        return row

    def complete(self, lease: Lease) -> bool:
        row = self.current(lease)
        if row is None:
            return False
        if row.again_at is None:
            del self.rows[row.task.id]
        else:
            row.end("waiting", run_at=row.again_at, attempts=0, deaths=0, solo_deaths=0, reason="")
        return True

    def depth(self, queue: str) -> Depth:
        waiting = self.of("waiting", queue)
        ready = sum(row.task.run_at <= self.clock.now() for row in waiting)
        return Depth(
            ready=ready,
            delayed=len(waiting) - ready,
            leased=len(self.of("leased", queue)),
            dead=len(self.of("dead", queue)),
            paused=queue in self.paused,
            concurrency=self.concurrency.get(queue),
        )


async def outcome(call: Awaitable[Any]) -> Any:
    """The answer, or the name of the refusal."""
    try:
        return await call
    except LeaseLost:
        return "lost"
    except Backpressure:
        return "full"
    except NotFound:
        return "not found"


def step(name: str, **given: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.tuples(st.just(name), st.fixed_dictionaries(given))


ENQUEUE = step(
    "enqueue",
    ids=st.lists(st.sampled_from(sorted(QUEUE_OF)), min_size=1, max_size=3),
    priority=st.sampled_from([1, 5, 10]),
    delay=st.sampled_from([-TTL, timedelta(0), MS, TTL]),
)
CLAIM = step(
    "claim",
    queues=st.sampled_from([["a"], ["b", "a"], ["a", "b"]]),
    limit=st.integers(1, 3),
    solo=st.booleans(),
    owner=st.sampled_from(OWNERS),
    only=st.sampled_from([None, None, None, ["t0", "t1", "t6"]]),
    at_once=st.sampled_from([0, 0, 0, 1]),
)
USE = step(
    "use_a_lease",
    pick=st.integers(0, 9),
    verb=st.sampled_from(
        ["complete", "complete", "extend", "progressed", "retry_at", "release", "release_at", "bury", "bury"]
    ),
    delay=st.sampled_from([timedelta(0), TTL]),
)
OPERATE = step(
    "operate",
    verb=st.sampled_from(["requeue", "remove", "reclaim", "reclaim", "pause", "resume", "resume", "bound", "unbound"]),
    ids=st.lists(st.sampled_from(sorted(QUEUE_OF)), min_size=1, max_size=2, unique=True),
    queue=st.sampled_from("ab"),
    dead=st.sampled_from([None, *OWNERS]),
)
PASS = step(
    "pass_time",
    duration=st.sampled_from([MS, TTL - MS, TTL, TTL, -MS, -TTL]),
    to_the_end_of=st.sampled_from([None, 0, 1, 2]),
)
STEP = st.one_of(ENQUEUE, CLAIM, CLAIM, USE, USE, PASS, OPERATE)


class Histories(RuleBasedStateMachine):
    """Plays the same history to a queue and to the model; every answer and all that can be seen must agree."""

    open: Opener

    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.clock = ManualClock()
        self.model = Model(self.clock)
        self.queue = self.run(self.stack.enter_async_context(type(self).open(folder, self.clock)))
        self.leases: list[Lease] = []
        self.enqueue(["t0", "t1", "t5"], priority=5, delay=timedelta(0))

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.run(self.stack.aclose())
            self.runner.close()

    def run(self, call: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await call

        return self.runner.run(awaited())

    @rule(taken=STEP)
    def play(self, taken: tuple[str, dict[str, Any]]) -> None:
        # One rule, not five: hypothesis switches rules off for a whole history, and most bugs need all of them.
        name, given = taken
        getattr(self, name)(**given)

    def pick(self, n: int) -> Lease:
        """Mostly a lease that is current or ran out just now, sometimes one whose task somebody else holds, or any."""
        held = [row.lease for row in self.model.of("leased") if row.lease]
        tokens = {lease.token: lease.task.id for lease in held}
        lost = [one for one in self.leases if one.token not in tokens and one.task.id in tokens.values()]
        among = (held if n < 6 else lost if n < 9 else self.leases) or self.leases
        return among[-1 - n % len(among)]

    def lease(self, rows: list[Row], leases: list[Lease], owner: Owner) -> None:
        for row, lease in zip(rows, leases, strict=True):
            assert lease.task == row.task
            row.state, row.lease, row.owner = "leased", lease, owner
            self.leases.append(lease)

    def enqueue(self, ids: list[str], priority: int, delay: timedelta) -> None:
        run_at = self.clock.now() + delay
        tasks = [a_task(self.clock, name, queue=QUEUE_OF[name], priority=priority, run_at=run_at) for name in ids]
        assert self.run(outcome(self.queue.enqueue(*tasks))) == self.model.enqueue(tasks)

    def claim(
        self, queues: list[str], limit: int, solo: bool, owner: Owner, only: list[str] | None, at_once: int
    ) -> None:
        if at_once:
            self.claim_at_once(limit, at_once)
            return
        leases = self.run(self.queue.claim(queues, owner=owner, ttl=TTL, limit=limit, solo=solo, only=only))
        rows = self.model.best(set(queues), limit=limit, solo=solo, only=None if only is None else set(only))
        assert [lease.task.id for lease in leases] == [row.task.id for row in rows]
        assert all(lease.expires_at == self.clock.now() + TTL and lease.solo is solo for lease in leases)
        self.lease(rows, leases, owner)

    def claim_at_once(self, first: int, second: int) -> None:
        async def both() -> list[list[Lease]]:
            calls = [self.queue.claim("ab", owner=OWNERS[0], ttl=TTL, limit=limit) for limit in (first, second)]
            return await asyncio.gather(*calls)

        answers = self.run(both())
        leases = {lease.task.id: lease for claimed in answers for lease in claimed}
        assert len(leases) == sum(map(len, answers)), "one task was given to two claims"
        rows = self.model.best({"a", "b"}, limit=first + second, solo=False)
        assert leases.keys() == {row.task.id for row in rows}
        self.lease(rows, [leases[row.task.id] for row in rows], OWNERS[0])

    def use_a_lease(self, pick: int, verb: str, delay: timedelta) -> None:
        if not self.leases:
            return
        lease, now = self.pick(pick), self.clock.now()
        row = self.model.current(lease)
        if verb == "complete":
            assert self.run(outcome(self.queue.complete(lease))) == (None if self.model.complete(lease) else "lost")
            return
        if verb == "extend":
            extended = replace(lease, expires_at=now + TTL) if row else None
            assert self.run(self.queue.extend([lease], ttl=TTL)) == [extended]
            if row:
                row.lease = extended
            return
        call: Awaitable[None] = {
            "retry_at": lambda: self.queue.retry_at(lease, now + delay, reason="again"),
            "release": lambda: self.queue.release(lease),
            "release_at": lambda: self.queue.release(lease, run_at=now + delay),
            "bury": lambda: self.queue.bury(lease, reason="cannot"),
            "progressed": lambda: self.queue.progressed(lease),
        }[verb]()
        assert self.run(outcome(call)) == (None if row else "lost")
        if row is None:
            return
        if verb == "retry_at":
            row.end("waiting", run_at=now + delay, attempts=row.task.attempts + 1, reason="again")
        elif verb.startswith("release"):
            row.end("waiting", run_at=now + (delay if verb == "release_at" else timedelta(0)))
        elif verb == "bury":
            row.end("dead", reason="cannot")
            row.died_at = now
        else:
            row.task = replace(row.task, deaths=0, solo_deaths=0)

    def operate(self, verb: str, ids: list[str], queue: str, dead: Owner | None) -> None:
        model = self.model
        rows = [row for name in ids if (row := model.rows.get(name))]
        if verb == "requeue":
            revived = len(rows) == len(ids) and all(row.state == "dead" for row in rows)
            assert self.run(outcome(self.queue.requeue(*ids))) == (len(ids) if revived else "not found")
            for row in rows if revived else []:
                row.end("waiting", run_at=self.clock.now(), attempts=0, deaths=0, solo_deaths=0)
        elif verb == "remove":
            gone = [row.task.id for row in rows if row.state != "leased"]
            assert self.run(self.queue.remove(*ids)) == len(gone)
            for name in gone:
                del model.rows[name]
        elif verb == "reclaim":
            answer = self.run(self.queue.reclaim_dead(lambda owner: owner != dead))
            assert answer == model.take_back(lambda row: model.ran_out(row) or row.owner == dead)
        elif verb in ("pause", "resume"):
            self.run(getattr(self.queue, verb)(queue))
            (model.paused.add if verb == "pause" else model.paused.discard)(queue)
        else:
            limit = 2 if verb == "bound" else None
            self.run(self.queue.set_concurrency(queue, limit))
            model.concurrency = {**model.concurrency, queue: limit}

    def pass_time(self, duration: timedelta, to_the_end_of: int | None) -> None:
        """Most often to the very end of a lease, where the interesting mistakes are; at times the clock steps back."""
        ends = sorted(row.lease.expires_at for row in self.model.of("leased") if row.lease)
        if ends and to_the_end_of is not None:
            duration = ends[to_the_end_of % len(ends)] - self.clock.now()
        if duration > timedelta(0):
            self.clock.advance(duration)
        else:
            self.clock.step(duration)

    @invariant()
    def all_that_can_be_seen_agrees(self) -> None:
        if not hasattr(self, "model"):
            return

        async def look() -> list[Any]:
            return await asyncio.gather(
                self.queue.depths(), self.queue.list_dead(), *(self.queue.find(name) for name in QUEUE_OF)
            )

        depths, dead, *found = self.run(look())
        model = self.model
        assert found == [row.task if (row := model.rows.get(name)) else None for name in QUEUE_OF]
        assert depths == {queue: depth for queue in "ab" if (depth := model.depth(queue)) != Depth()}
        rows = sorted(model.of("dead"), key=lambda row: (row.died_at, row.seq), reverse=True)
        assert [(one.task, one.reason, one.died_at) for one in dead] == [
            (row.task, row.task.reason, row.died_at) for row in rows
        ]


def histories_of(opener: Opener) -> type[Histories]:
    """The same class for each opener, so that every queue is played the same histories."""
    return type("Histories", (Histories,), {"open": staticmethod(opener)})


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_any_history_agrees_with_the_model(engine: str) -> None:
    def opener(folder: Path, clock: ManualClock) -> AbstractAsyncContextManager[TaskQueue]:
        return open_queue(ENGINES[engine].url(folder), clock=clock, max_length=MAX_LENGTH)

    run_state_machine_as_test(histories_of(opener), settings=SETTINGS)


@pytest.mark.parametrize("bug", sorted(PLANTED))
def test_the_model_finds_a_planted_bug(bug: str) -> None:
    def opener(folder: Path, clock: ManualClock) -> AbstractAsyncContextManager[TaskQueue]:
        return open_planted(PLANTED[bug], folder / "queue.db", clock=clock, max_length=MAX_LENGTH)

    # No shrinking: that it is found is the point, and a short proof of it takes ten times as long.
    with pytest.raises(AssertionError):
        run_state_machine_as_test(histories_of(opener), settings=settings(SETTINGS, phases=[Phase.generate]))
