"""TaskQueue on one SQLite file: the default, with no server.

Every call is one short transaction, and calls that wait at the same time share a commit (memory/sqlite_file.py), so
claiming is atomic over threads and processes. Leases end by the wall clock of the host, read inside the transaction. A
clock that steps back makes leases last longer, one that steps forward makes them end early; neither gives a task to two
holders, because a token is replaced only once its lease ended by that same clock, or its owner is dead, and every later
write asks for the token.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from config.clock import Clock, from_millis, to_millis
from config.errors import SettingsError
from config.ids import new_token
from memory.queue.owner import is_alive, owner_text
from memory.queue.protocol import DeadTask, Depth, Enqueued, Lease, Owner, Task, TaskQueue
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
from memory.queue.schema import APPLICATION_ID, MIGRATIONS
from memory.queue.sqlite_next import best_rows, soonest
from memory.queue.sqlite_rows import COLUMNS, readable_task_of, task_of
from memory.queue.sqlite_wait import WatchedFile, version_of
from memory.sqlite_file import SqliteFile, open_sqlite_file

# Strictly greater: at the instant `expires_at` the lease is over, and a claim at that instant may take the task.
_CURRENT = "id = ? AND token = ? AND expires_at > ?"

_UNLEASED = "token = NULL, expires_at = NULL, owner = NULL, solo = 0, again_at = NULL"
_WAITING = f"state = 'waiting', {_UNLEASED}"
_DEAD = f"state = 'dead', {_UNLEASED}, died_at = ?, reason = ?"
_TAKE_BACK = f"""
    UPDATE tasks SET deaths = deaths + 1, solo_deaths = solo_deaths + solo, {_WAITING}
    WHERE state = 'leased'
"""


class SqliteTaskQueue(TaskQueue):
    """See TaskQueue, which is the specification."""

    def __init__(self, file: SqliteFile, *, clock: Clock, max_length: int) -> None:
        self._file = WatchedFile(file)
        self._clock = clock
        self._max_length = max_length

    def _now(self) -> int:
        return to_millis(self._clock.now())

    async def enqueue(self, *tasks: Task) -> list[Enqueued]:
        now = self._clock.now()
        for task in tasks:
            check_task(task, now=now)
        rows = [(t.id, t.kind, t.queue, t.brand, t.priority, to_millis(t.run_at), t.encoded_payload()) for t in tasks]

        def add(connection: sqlite3.Connection) -> list[Enqueued]:
            answers = [self._add(connection, row) for row in rows]
            for queue in {row[2] for row, answer in zip(rows, answers, strict=True) if answer is Enqueued.CREATED}:
                (waiting,) = connection.execute("SELECT waiting FROM queues WHERE name = ?", (queue,)).fetchone()
                if waiting > self._max_length:
                    raise full(queue, self._max_length)
            return answers

        return await self._file.write(add) if rows else []

    def _add(self, connection: sqlite3.Connection, row: tuple[Any, ...]) -> Enqueued:
        added = connection.execute(
            """
            INSERT INTO tasks (id, kind, queue, brand, priority, run_at, payload) VALUES (?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (id) DO NOTHING
            """,
            row,
        )
        if added.rowcount:
            return Enqueued.CREATED
        task_id, kind, queue, brand, priority, run_at, payload = row
        state, *found = connection.execute(
            "SELECT state, kind, queue, brand, CAST(payload AS BLOB) FROM tasks WHERE id = ?", (task_id,)
        ).fetchone()
        for field, old, new in zip(
            ("kind", "queue", "brand", "payload"), found, (kind, queue, brand, payload.encode()), strict=True
        ):
            if old != new:
                raise other_work(task_id, field, *(_text(value) for value in (old, new)))
        if state == "dead":
            return Enqueued.DEAD
        if state == "leased":
            connection.execute(
                """
                UPDATE tasks SET again_at = max(coalesce(again_at, ?1), ?1), priority = max(priority, ?2)
                WHERE id = ?3
                """,
                (run_at, priority, task_id),
            )
            return Enqueued.AGAIN
        connection.execute(
            """
            UPDATE tasks SET run_at = min(run_at, ?1), priority = max(priority, ?2)
            WHERE id = ?3 AND (run_at > ?1 OR priority < ?2)
            """,
            (run_at, priority, task_id),
        )
        return Enqueued.EXISTS

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
        if wanted < 1:
            return []
        holder = owner_text(owner)
        ids = None if only is None else json.dumps(list(only))

        def lease(connection: sqlite3.Connection) -> list[Lease]:
            now = self._now()
            self._take_back_expired(connection, now)
            best = self._best(connection, names, now=now, limit=wanted, solo=solo, only=ids)
            leases = [
                Lease(task=task, token=new_token(), expires_at=from_millis(now + ttl_ms), solo=solo) for _, task in best
            ]
            connection.executemany(
                "UPDATE tasks SET state = 'leased', token = ?, expires_at = ?, owner = ?, solo = ? WHERE seq = ?",
                [(one.token, now + ttl_ms, holder, int(solo), seq) for one, (seq, _) in zip(leases, best, strict=True)],
            )
            return leases

        return await self._file.write(lease)

    def _best(
        self,
        connection: sqlite3.Connection,
        queues: Sequence[str],
        *,
        now: int,
        limit: int,
        solo: bool,
        only: str | None,
    ) -> list[tuple[int, Task]]:
        """The best due tasks with their `seq`, best first; what cannot be read is dead-lettered and passed over."""
        while True:
            best, bad = [], 0
            for row in best_rows(connection, queues, now=now, limit=limit, solo=solo, only=only):
                try:
                    best.append((row[0], task_of(row)))
                except ValueError as error:
                    bad += 1
                    reason = clean_reason(f"payload does not decode: {error}")
                    connection.execute(f"UPDATE tasks SET {_DEAD} WHERE seq = ?", (now, reason, row[0]))
            if not bad:
                return best

    def _take_back_expired(self, connection: sqlite3.Connection, now: int) -> int:
        return connection.execute(f"{_TAKE_BACK} AND expires_at <= ?", (now,)).rowcount

    async def wait_for_work(
        self, queues: Sequence[str], *, at_most: timedelta, solo: bool = False, only: Sequence[str] | None = None
    ) -> bool:
        names, ids = list(dict.fromkeys(queues)), None if only is None else json.dumps(list(only))

        def look(connection: sqlite3.Connection) -> tuple[int, int | None]:
            return version_of(connection), soonest(connection, names, solo=solo, only=ids)

        time = asyncio.get_running_loop().time
        deadline = time() + at_most.total_seconds()
        while True:
            version, due = await self._file.read(look)
            in_s = float("inf") if due is None else (due - self._now()) / 1000
            if in_s <= 0 or time() >= deadline:
                return in_s <= 0
            await self._file.written(version, until=min(deadline, time() + in_s))

    async def extend(self, leases: Sequence[Lease], *, ttl: timedelta) -> list[Lease | None]:
        ttl_ms = check_ttl(ttl)

        def extend_all(connection: sqlite3.Connection) -> list[Lease | None]:
            now = self._now()
            extended: list[Lease | None] = []
            for lease in leases:
                held = connection.execute(
                    f"UPDATE tasks SET expires_at = ? WHERE {_CURRENT}", (now + ttl_ms, lease.task.id, lease.token, now)
                )
                extended.append(replace(lease, expires_at=from_millis(now + ttl_ms)) if held.rowcount else None)
            return extended

        return await self._file.write(extend_all) if leases else []

    async def complete(self, *leases: Lease) -> None:
        def complete_all(connection: sqlite3.Connection) -> list[Lease]:
            now = self._now()
            return [lease for lease in leases if not self._complete(connection, lease, now)]

        # Raised only here: raised inside the transaction it would undo the completion of the others.
        refuse_lost(await self._file.write(complete_all) if leases else [])

    def _complete(self, connection: sqlite3.Connection, lease: Lease, now: int) -> bool:
        proof = (lease.task.id, lease.token, now)
        if connection.execute(f"DELETE FROM tasks WHERE {_CURRENT} AND again_at IS NULL", proof).rowcount:
            return True
        again = connection.execute(
            f"""
            UPDATE tasks SET run_at = again_at, attempts = 0, deaths = 0, solo_deaths = 0, reason = '', {_WAITING}
            WHERE {_CURRENT}
            """,
            proof,
        )
        return bool(again.rowcount)

    async def _give_back(self, lease: Lease, change: Callable[[int], tuple[str, Sequence[Any]]]) -> None:
        """Apply `change(now)`, a SET clause with its values, if the lease is current. Raises LeaseLost."""

        def apply(connection: sqlite3.Connection) -> bool:
            now = self._now()
            clause, values = change(now)
            held = connection.execute(
                f"UPDATE tasks SET {clause} WHERE {_CURRENT}", (*values, lease.task.id, lease.token, now)
            )
            return bool(held.rowcount)

        if not await self._file.write(apply):
            refuse_lost([lease])

    async def retry_at(self, lease: Lease, run_at: datetime, *, reason: str) -> None:
        due = check_run_at(run_at, task_id=lease.task.id, now=self._clock.now())
        values = (due, clean_reason(reason))
        await self._give_back(
            lease, lambda now: (f"run_at = ?, reason = ?, attempts = attempts + 1, {_WAITING}", values)
        )

    async def release(self, lease: Lease, *, run_at: datetime | None = None) -> None:
        due = None if run_at is None else check_run_at(run_at, task_id=lease.task.id, now=self._clock.now())
        await self._give_back(lease, lambda now: (f"run_at = ?, {_WAITING}", (now if due is None else due,)))

    async def bury(self, lease: Lease, *, reason: str) -> None:
        await self._give_back(lease, lambda now: (_DEAD, (now, clean_reason(reason))))

    async def progressed(self, lease: Lease) -> None:
        await self._give_back(lease, lambda now: ("deaths = 0, solo_deaths = 0", ()))

    async def reclaim_dead(self, alive: Callable[[Owner], bool | None] | None = None) -> int:
        judge = alive or is_alive
        owners = await self._file.read(
            lambda connection: [
                text
                for (text,) in connection.execute(
                    "SELECT DISTINCT owner FROM tasks INDEXED BY tasks_leased WHERE state = 'leased'"
                )
            ]
        )
        # Judged outside the transaction: it reads files. A dead process takes no new lease meanwhile.
        dead = [text for text in owners if judge(Owner(**json.loads(text))) is False]

        def take_back(connection: sqlite3.Connection) -> int:
            ended = self._take_back_expired(connection, self._now())
            return ended + sum(connection.execute(f"{_TAKE_BACK} AND owner = ?", (text,)).rowcount for text in dead)

        return await self._file.write(take_back)

    async def list_dead(self, queue: str | None = None) -> list[DeadTask]:
        def dead(connection: sqlite3.Connection) -> list[DeadTask]:
            rows = connection.execute(
                f"""
                SELECT {COLUMNS}, t.died_at
                FROM tasks AS t
                WHERE t.state = 'dead' AND (?1 IS NULL OR t.queue = ?1)
                ORDER BY t.died_at DESC, t.seq DESC
                """,
                (queue,),
            )
            return [DeadTask(task=readable_task_of(row), reason=row[10], died_at=from_millis(row[12])) for row in rows]

        return await self._file.read(dead)

    async def requeue(self, *ids: str) -> int:
        def revive(connection: sqlite3.Connection) -> int:
            now = self._now()
            for task_id in dict.fromkeys(ids):
                revived = connection.execute(
                    """
                    UPDATE tasks
                    SET state = 'waiting', run_at = ?, died_at = NULL, attempts = 0, deaths = 0, solo_deaths = 0
                    WHERE id = ? AND state = 'dead'
                    """,
                    (now, task_id),
                )
                if not revived.rowcount:
                    raise not_dead(task_id)
            return len(dict.fromkeys(ids))

        return await self._file.write(revive) if ids else 0

    async def find(self, task_id: str) -> Task | None:
        def look(connection: sqlite3.Connection) -> Task | None:
            row = connection.execute(f"SELECT {COLUMNS} FROM tasks AS t WHERE t.id = ?", (task_id,)).fetchone()
            return None if row is None else readable_task_of(row)

        return await self._file.read(look)

    async def remove(self, *ids: str) -> int:
        def forget(connection: sqlite3.Connection) -> int:
            return sum(
                connection.execute("DELETE FROM tasks WHERE id = ? AND state <> 'leased'", (task_id,)).rowcount
                for task_id in ids
            )

        return await self._file.write(forget) if ids else 0

    async def depths(self) -> dict[str, Depth]:
        def count(connection: sqlite3.Connection) -> dict[str, Depth]:
            now = self._now()
            counts = {
                row[0]: row[1:]
                for row in connection.execute(
                    """
                    SELECT queue, sum(state = 'waiting' AND run_at <= ?1), sum(state = 'waiting' AND run_at > ?1),
                        sum(state = 'leased'), sum(state = 'dead')
                    FROM tasks GROUP BY queue
                    """,
                    (now,),
                )
            }
            settings = connection.execute("SELECT name, paused, concurrency FROM queues ORDER BY name").fetchall()
            depths = {}
            for name, paused, concurrency in settings:
                if name in counts or paused or concurrency is not None:
                    ready, delayed, leased, dead = counts.get(name, (0, 0, 0, 0))
                    depths[name] = Depth(ready, delayed, leased, dead, bool(paused), concurrency)
            return depths

        return await self._file.read(count)

    async def pause(self, queue: str) -> None:
        await self._set(queue, "paused", 1)

    async def resume(self, queue: str) -> None:
        await self._set(queue, "paused", 0)

    async def set_concurrency(self, queue: str, limit: int | None) -> None:
        check_concurrency(queue, limit)
        await self._set(queue, "concurrency", limit)

    async def _set(self, queue: str, column: Literal["paused", "concurrency"], value: int | None) -> None:
        check_name(queue, what="queue")
        sql = f"INSERT INTO queues (name, {column}) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET {column} = ?2"
        await self._file.write(lambda connection: connection.execute(sql, (queue, value)).rowcount)


def _text(stored: str | bytes) -> str:
    return stored if isinstance(stored, str) else stored.decode("utf-8", "replace")


@asynccontextmanager
async def open_sqlite_queue(url: str, *, clock: Clock, max_length: int = 10_000) -> AsyncIterator[SqliteTaskQueue]:
    """Open the queue in the file of `sqlite:///FILE`, creating it if it never was.

    Raises:
        SettingsError: the URL names no file.
        Damaged, UsageError: the file cannot be trusted or used.
    """
    path = url.removeprefix("sqlite:///")
    if path == url or not path:
        raise SettingsError(f"COPYDESK_QUEUE: {url!r} names no file: write sqlite:///FILE")
    async with open_sqlite_file(Path(path), application_id=APPLICATION_ID, migrations=MIGRATIONS) as file:
        yield SqliteTaskQueue(file, clock=clock, max_length=max_length)
