"""TaskQueue on Redis 6.2 or later: for workers on many machines.

Every transition is one script, `redis.lua`, which says how the keys are laid out. Leases end by the server's clock, so workers
whose clocks differ agree; a queue opened with any other clock than the system's passes that clock's time, for tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from config.clock import Clock, SystemClock, from_millis, to_millis
from config.ids import new_token
from memory.queue.owner import is_alive, owner_text
from memory.queue.payload import decode_payload
from memory.queue.protocol import DeadTask, Depth, Enqueued, Lease, Owner, Task, TaskQueue
from memory.queue.redis_wait import Hints
from memory.queue.rules import (
    check_claim,
    check_concurrency,
    check_name,
    check_run_at,
    check_task,
    check_ttl,
    clean_reason,
    full,
    not_dead,
    other_work,
    refuse_lost,
)
from memory.redis_client import open_redis
from memory.redis_lane import RedisLane

SCRIPT = (Path(__file__).parent / "redis.lua").read_text("utf-8")


class RedisTaskQueue(TaskQueue):
    """See TaskQueue, which is the specification."""

    def __init__(self, lane: RedisLane, hints: Hints, *, clock: Clock, max_length: int) -> None:
        self._lane = lane
        self._hints = hints
        self._clock = clock
        self._max_length = max_length
        self._server_time = isinstance(clock, SystemClock)
        self._found_nothing: tuple[list[str], int, float, bytes, bytes] | None = None

    async def enqueue(self, *tasks: Task) -> list[Enqueued]:
        now = self._clock.now()
        for task in tasks:
            check_task(task, now=now)
        arguments: list[Any] = []
        for t in tasks:
            arguments += (t.id, t.kind, t.queue, t.brand, t.priority, to_millis(t.run_at), t.encoded_payload())
        if not tasks:
            return []
        answers = [answer.decode("utf-8", "replace") for answer in await self._lane.ask("enqueue", arguments)]
        if answers[0] == "full":
            raise full(answers[1], self._max_length)
        if answers[0] == "conflict":
            raise other_work(*answers[1:])
        return [Enqueued(answer) for answer in answers]

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
        names, ttl_ms, wanted = check_claim(queues, ttl=ttl, limit=limit, solo=solo)
        asked_for = [len(names), *names, *([] if only is None else ["only", *only])]
        leases: list[Lease] = []
        while len(leases) < wanted:
            token, room = new_token(), wanted - len(leases)
            arguments = [token, *_named(owner), ttl_ms, room, int(solo), *asked_for]
            heard, began = self._hints.heard, asyncio.get_running_loop().time()
            asked = self._lane.ask_soon("claim", arguments)
            try:
                expires_at, *rows = await asyncio.shield(asked)
            except asyncio.CancelledError:
                # Nobody is left to do what the answer will bring: give it back, rather than let the leases run out.
                asked.add_done_callback(partial(self._unclaim, token))
                raise
            if rows and not rows[0]:
                self._found_nothing = (names, heard, began, rows[1], rows[2])
                break
            until, unreadable = from_millis(int(expires_at)), 0
            for n, row in enumerate(rows, 1):
                proof = f"{token}.{n}"
                try:
                    leases.append(Lease(_task_of(row), proof, until, solo))
                except ValueError as error:
                    unreadable += 1
                    lease = Lease(_readable_task_of(row), proof, until, solo)
                    await self.bury(lease, reason=f"payload does not decode: {error}")
            if not unreadable:
                break
        return leases

    def _unclaim(self, token: str, answer: asyncio.Future[Any]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            rows = answer.result()[1:]
            for n, row in enumerate(rows if rows and rows[0] else [], 1):
                self._lane.ask_soon("give_back", [_readable_task_of(row).id, f"{token}.{n}", ""])

    async def wait_for_work(
        self, queues: Sequence[str], *, at_most: timedelta, solo: bool = False, only: Sequence[str] | None = None
    ) -> bool:
        names = list(dict.fromkeys(queues))
        asked = [int(solo), len(names), *names, *([] if only is None else ["only", *only])]
        time = asyncio.get_running_loop().time
        deadline = time() + at_most.total_seconds()
        # The last claim may have found nothing in these queues, and then said what this would ask for.
        known, self._found_nothing = self._found_nothing, None
        if solo or only is not None or not self._server_time or (known and known[0] != names):
            known = None
        while True:
            if known:
                _, heard, began, in_ms, last = known
                known = None
            else:
                heard, began = self._hints.heard, time()
                in_ms, *more = await self._lane.ask("wait", asked)
                if not more or time() >= deadline:
                    return not more
                (last,) = more
            if self._hints.heard == heard:  # else one came since, and perhaps before the answer did
                end = min(deadline, began + int(in_ms) / 1000 if in_ms else deadline)
                await self._hints.next(after=last.decode(), timeout_s=end - time())

    async def extend(self, leases: Sequence[Lease], *, ttl: timedelta) -> list[Lease | None]:
        ttl_ms = check_ttl(ttl)
        if not leases:
            return []
        expires_at, *held = await self._lane.ask("extend", [ttl_ms, *_proofs(leases)])
        until = from_millis(int(expires_at))
        return [
            replace(lease, expires_at=until) if ok == b"1" else None for lease, ok in zip(leases, held, strict=True)
        ]

    async def complete(self, *leases: Lease) -> None:
        held = await self._lane.ask("complete", _proofs(leases)) if leases else []
        refuse_lost(lease for lease, ok in zip(leases, held, strict=True) if ok != b"1")

    async def _apply(self, verb: str, lease: Lease, *arguments: Any) -> None:
        (held,) = await self._lane.ask(verb, [lease.task.id, lease.token, *arguments])
        if held != b"1":
            refuse_lost([lease])

    async def retry_at(self, lease: Lease, run_at: datetime, *, reason: str) -> None:
        due = check_run_at(run_at, task_id=lease.task.id, now=self._clock.now())
        await self._apply("give_back", lease, due, clean_reason(reason))

    async def release(self, lease: Lease, *, run_at: datetime | None = None) -> None:
        due = "" if run_at is None else check_run_at(run_at, task_id=lease.task.id, now=self._clock.now())
        await self._apply("give_back", lease, due)

    async def bury(self, lease: Lease, *, reason: str) -> None:
        await self._apply("bury", lease, clean_reason(reason))

    async def progressed(self, lease: Lease) -> None:
        await self._apply("progressed", lease)

    async def reclaim_dead(self, alive: Callable[[Owner], bool | None] | None = None) -> int:
        judge = alive or is_alive
        flat = [text.decode() for text in await self._lane.ask("owners", [])]
        dead = [
            name for name, text in zip(flat[::2], flat[1::2], strict=True) if judge(Owner(**json.loads(text))) is False
        ]
        (taken,) = await self._lane.ask("take_back", dead)
        return int(taken)

    async def list_dead(self, queue: str | None = None) -> list[DeadTask]:
        flat = await self._lane.ask("list_dead", [queue or ""], reads=True)
        dead = [(int(died_at), _readable_task_of(row)) for died_at, row in zip(flat[::2], flat[1::2], strict=True)]
        return [DeadTask(task=task, reason=task.reason, died_at=from_millis(died_at)) for died_at, task in dead]

    async def requeue(self, *ids: str) -> int:
        names = list(dict.fromkeys(ids))
        if not names:
            return 0
        answer = await self._lane.ask("requeue", names)
        if answer[0] == b"missing":
            raise not_dead(answer[1].decode())
        return int(answer[0])

    async def find(self, task_id: str) -> Task | None:
        rows = await self._lane.ask("find", [task_id], reads=True)
        return _readable_task_of(rows[0]) if rows else None

    async def remove(self, *ids: str) -> int:
        (gone,) = await self._lane.ask("remove", list(ids)) if ids else [b"0"]
        return int(gone)

    async def depths(self) -> dict[str, Depth]:
        words = [text.decode() for text in await self._lane.ask("depths", [], reads=True)]
        return {
            name: Depth(int(ready), int(delayed), int(leased), int(dead), paused == "1", int(limit) if limit else None)
            for name, ready, delayed, leased, dead, paused, limit in zip(*[iter(words)] * 7, strict=True)
        }

    async def pause(self, queue: str) -> None:
        await self._set("paused", queue, 1)

    async def resume(self, queue: str) -> None:
        await self._set("paused", queue, None)

    async def set_concurrency(self, queue: str, limit: int | None) -> None:
        check_concurrency(queue, limit)
        await self._set("limit", queue, limit)

    async def _set(self, field: str, queue: str, value: int | None) -> None:
        check_name(queue, what="queue")
        await self._lane.ask("set", [field, queue, "" if value is None else value])


@lru_cache(maxsize=64)
def _named(owner: Owner) -> tuple[str, str]:
    """The owner as text, and a name for it that is short enough to keep Redis's compact form of a task's hash."""
    text = owner_text(owner)
    return text, hashlib.sha256(text.encode()).hexdigest()[:16]


def _proofs(leases: Sequence[Lease]) -> list[str]:
    return [part for lease in leases for part in (lease.task.id, lease.token)]


def _parts_of(row: bytes) -> tuple[list[str], str, str, bytes]:
    """The fields, the id, the reason and the payload of a task as the script writes it."""
    *numbers, texts = row.split(b"|", 11)
    fields = b"|".join(numbers).decode().split("|")
    id_end = int(fields[9])
    reason_end = id_end + int(fields[10])
    return fields, texts[:id_end].decode(), texts[id_end:reason_end].decode("utf-8", "replace"), texts[reason_end:]


def _task_of(row: bytes) -> Task:
    """The task. Raises ValueError for a payload that does not decode."""
    fields, task_id, reason, payload = _parts_of(row)
    _, kind, queue, brand, run_at, priority, attempts, deaths, solo_deaths, *_ = fields
    return Task(
        id=task_id,
        kind=kind,
        queue=queue,
        brand=brand,
        run_at=from_millis(int(run_at)),
        payload=decode_payload(payload),
        priority=int(priority),
        attempts=int(attempts),
        deaths=int(deaths),
        solo_deaths=int(solo_deaths),
        reason=reason,
    )


def _readable_task_of(row: bytes) -> Task:
    """For people: a payload that does not decode reads as empty, with a reason that says so."""
    try:
        return _task_of(row)
    except ValueError as error:
        _, _, reason, payload = _parts_of(row)
        task = _task_of(row[: len(row) - len(payload)] + b"{}")
        return replace(task, reason=reason or f"payload does not decode: {error}")


@asynccontextmanager
async def open_redis_queue(url: str, *, clock: Clock, max_length: int = 10_000) -> AsyncIterator[RedisTaskQueue]:
    """Open the queue at a Redis address (memory/redis_client.py lists its forms).

    Raises:
        SettingsError: the address is none, or the server refuses its user.
        Unavailable: the server does not answer.
    """
    server_time = isinstance(clock, SystemClock)
    async with open_redis(url) as server:
        prefix = f"{{{server.address.prefix}}}:queue:"
        now: Callable[[], int | str] = (lambda: "") if server_time else (lambda: to_millis(clock.now()))
        async with (
            RedisLane(server, SCRIPT, key=prefix, now=now, extra=max_length) as lane,
            Hints(server, f"{prefix}|hints") as hints,
        ):
            yield RedisTaskQueue(lane, hints, clock=clock, max_length=max_length)
