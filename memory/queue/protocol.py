"""TaskQueue: work that waits for a worker.

Queues make it fast; the truth is in Records, and `runtime/reconcile.py` rebuilds every queue from it. Values here are frozen
dataclasses, not pydantic rows, because `queue list` must start quickly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from importlib import import_module
from typing import Any, Protocol, cast

from config.clock import Clock
from config.errors import SettingsError
from config.settings import REDIS_SCHEMES
from memory.queue.payload import encode_payload

GENERATION_QUEUE = "content_generation_queue"
PUBLICATION_QUEUE = "publication_queue"
UPKEEP_QUEUE = "upkeep_queue"
QUEUES = (PUBLICATION_QUEUE, GENERATION_QUEUE, UPKEEP_QUEUE)
"""Every queue of ours."""


@dataclass(frozen=True)
class Task:
    """A unit of work. The same `id` is the same work: enqueueing it again changes nothing, or marks it `again`."""

    id: str
    kind: str
    queue: str
    brand: str
    run_at: datetime
    """Not before this instant; aware."""
    payload: Mapping[str, Any] = field(default_factory=dict)
    """JSON-plain, at most 256 KiB encoded; ids, not bodies."""
    priority: int = 5
    """1-10, higher is sooner."""
    attempts: int = 0
    """Failed runs so far (a copy; the row has the truth)."""
    deaths: int = 0
    """Workers that died while holding it, since its last progress."""
    solo_deaths: int = 0
    """Of those, how many were running nothing else."""
    reason: str = ""
    """Why it was last retried or buried."""

    def encoded_payload(self) -> str:
        """The payload as JSON. Raises BadInput for NaN, non-JSON values, bad text or more than 256 KiB."""
        return encode_payload(self.payload, task_id=self.id)


class Enqueued(StrEnum):
    """What enqueueing did."""

    CREATED = "created"
    EXISTS = "exists"
    """It was waiting already; an earlier `run_at` or a higher priority has been taken over."""
    AGAIN = "again"
    """It is leased: completing it will make it ready once more."""
    DEAD = "dead"
    """It is dead-lettered; only `requeue` revives it."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lease, precise enough to tell on its own host whether it still lives."""

    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    started: str
    """The process start time as the kernel gives it: a reused pid has another."""
    worker: str
    """A random name, unique to this worker."""


@dataclass(frozen=True)
class Lease:
    """The right to do `task` until `expires_at`, proved by `token`."""

    task: Task
    token: str
    expires_at: datetime
    solo: bool = False


@dataclass(frozen=True)
class Depth:
    """How many tasks of a queue are in each condition."""

    ready: int = 0
    delayed: int = 0
    leased: int = 0
    dead: int = 0
    paused: bool = False
    concurrency: int | None = None


@dataclass(frozen=True)
class DeadTask:
    """A dead-lettered task, why, and when."""

    task: Task
    reason: str
    died_at: datetime


class TaskQueue(Protocol):
    """A durable priority queue with leases.

    A task is leased by at most one worker at a time. A lease that has run out, or whose owner is dead on this host, gives the
    task back with `deaths` counted up, so a handler may run more than once: handlers are idempotent on `Task.id`.
    Ordering at claim time: highest priority first; the brands of one priority take turns; of a brand, the earliest `run_at`, then
    the first enqueued. So a brand with a thousand tasks cannot starve one with ten. Every call may raise Unavailable: then it was
    done or it was not, and asking again is harmless.
    """

    async def enqueue(self, *tasks: Task) -> list[Enqueued]:
        """Add the tasks, all or none; one answer each, in order.

        A waiting task keeps its payload; a leased one is marked `again` (its new `run_at` is kept).

        Raises:
            BadInput: priority outside 1-10 or not an int, bad payload, naive or absurd (> 400 days ahead) `run_at`, malformed id.
            Conflict: the id exists with another kind, queue, brand or payload.
            Backpressure: a queue would exceed its bound; nothing was added.
        """
        ...

    async def claim(
        self,
        queues: Sequence[str],
        *,
        owner: Owner,
        ttl: timedelta,
        limit: int,
        solo: bool = False,
        only: Sequence[str] | None = None,
    ) -> list[Lease]:
        """Lease up to `limit` due tasks of `queues`, in order over all of them; an empty list if none is due.

        Tasks with two or more `deaths` are claimed only with `solo=True`, which claims one such task and nothing else.
        `only` restricts to these task ids. A paused queue gives nothing; a queue's `concurrency` bounds its leases.
        Leases that ran out are taken back first.
        """
        ...

    async def wait_for_work(
        self, queues: Sequence[str], *, at_most: timedelta, solo: bool = False, only: Sequence[str] | None = None
    ) -> bool:
        """Wait until a claim on `queues` may find something: True then, False after `at_most` without it.

        It takes nothing, and others may be quicker: claim to see. It ends by itself at once where a claim would find something
        now, when a task comes due or a lease runs out, and when anybody, in any process, adds or gives back a task, resumes a
        queue or makes room in it. Word of what others do may come a moment late (SQLite), and may be lost (Redis): then the
        wait ends at `at_most`, so choose that as the time between looks. `solo`: what only a solo claim gives counts as well.
        `only` as for `claim`. Cancelling it is harmless.
        """
        ...

    async def extend(self, leases: Sequence[Lease], *, ttl: timedelta) -> list[Lease | None]:
        """Extend each lease to now + `ttl`; None for one that is no longer current (also when it ran out unclaimed)."""
        ...

    async def complete(self, *leases: Lease) -> None:
        """Forget each task, or make it ready once more if it was marked `again` (attempts and deaths back to 0).

        Raises:
            LeaseLost: a lease is not current; the others were completed.
        """
        ...

    async def retry_at(self, lease: Lease, run_at: datetime, *, reason: str) -> None:
        """Give the task back, not before `run_at`, with `attempts` counted up; a mark `again` is forgotten. Raises LeaseLost."""
        ...

    async def release(self, lease: Lease, *, run_at: datetime | None = None) -> None:
        """Give the task back uncounted, due now or at `run_at`; a mark `again` is forgotten. Raises LeaseLost."""
        ...

    async def bury(self, lease: Lease, *, reason: str) -> None:
        """Dead-letter the task with its reason. Raises LeaseLost."""
        ...

    async def progressed(self, lease: Lease) -> None:
        """The task got further: set `deaths` and `solo_deaths` to 0. Raises LeaseLost."""
        ...

    async def reclaim_dead(self, alive: Any = None) -> int:
        """Take back every lease that ran out or whose owner is dead on this host; how many were taken back.

        `alive(owner) -> bool | None` answers None for owners of other hosts; the default is `memory.queue.owner.is_alive`.
        """
        ...

    async def list_dead(self, queue: str | None = None) -> list[DeadTask]:
        """Dead-lettered tasks, latest first."""
        ...

    async def requeue(self, *ids: str) -> int:
        """Make dead tasks ready with attempts and deaths at 0; how many there were. Raises NotFound for an id that is not dead."""
        ...

    async def find(self, task_id: str) -> Task | None:
        """The task if it waits, is leased or is dead."""
        ...

    async def remove(self, *ids: str) -> int:
        """Forget tasks that wait or are dead (a leased one stays); how many went."""
        ...

    async def depths(self) -> dict[str, Depth]:
        """Every queue that holds tasks or has settings."""
        ...

    async def pause(self, queue: str) -> None:
        """Stop claims from `queue`; running leases go on."""
        ...

    async def resume(self, queue: str) -> None:
        """Undo `pause`."""
        ...

    async def set_concurrency(self, queue: str, limit: int | None) -> None:
        """At most `limit` leases of `queue` at a time over all workers; None removes the bound."""
        ...


_ENGINES = {
    "sqlite": "memory.queue.sqlite:open_sqlite_queue",
    **dict.fromkeys(REDIS_SCHEMES, "memory.queue.redis:open_redis_queue"),
}


def open_queue(url: str, *, clock: Clock, max_length: int = 10_000) -> AbstractAsyncContextManager[TaskQueue]:
    """Open the queue behind `url`: `sqlite:///FILE`, or a Redis address in any form of memory/redis_client.py.

    `max_length` bounds the waiting tasks of each queue.

    Raises SettingsError for a scheme that is not known.
    """
    scheme = url.partition("://")[0]
    if scheme not in _ENGINES:
        raise SettingsError(f"COPYDESK_QUEUE: no engine for {scheme!r}; known: {', '.join(sorted(_ENGINES))}")
    module, _, name = _ENGINES[scheme].partition(":")
    return cast(
        AbstractAsyncContextManager[TaskQueue],
        getattr(import_module(module), name)(url, clock=clock, max_length=max_length),
    )
