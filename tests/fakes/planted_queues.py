"""Task queues with one bug each: the stateful model must find every one of them, or it proves nothing.

The bugs are those that queues have had in the wild; each variant breaks one promise of the SQLite engine and no other.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from config.clock import Clock, from_millis
from config.errors import LeaseLost
from config.ids import new_token
from memory.queue.owner import owner_text
from memory.queue.protocol import Lease, Owner
from memory.queue.schema import APPLICATION_ID, MIGRATIONS
from memory.queue.sqlite import SqliteTaskQueue
from memory.sqlite_file import open_sqlite_file


class NoTokenCheck(SqliteTaskQueue):
    """Whoever once held a task may complete it, although somebody else holds it now."""

    def _complete(self, connection: sqlite3.Connection, lease: Lease, now: int) -> bool:
        row = connection.execute(
            "SELECT token FROM tasks WHERE id = ? AND state = 'leased' AND expires_at > ?", (lease.task.id, now)
        ).fetchone()
        return row is not None and super()._complete(connection, replace(lease, token=row[0]), now)


class NonAtomicClaim(SqliteTaskQueue):
    """Reads the best tasks in one transaction and leases them in the next."""

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
        def read(connection: sqlite3.Connection) -> list[Any]:
            now = self._now()
            self._take_back_expired(connection, now)
            wanted = min(limit, 1) if solo else limit
            return self._best(connection, list(dict.fromkeys(queues)), now=now, limit=wanted, solo=solo, only=None)

        best = await self._file.write(read) if only is None else []
        await asyncio.sleep(0)  # another caller reads before this one writes, every time

        def lease(connection: sqlite3.Connection) -> list[Lease]:
            expires_at = self._now() + ttl // timedelta(milliseconds=1)
            leases = []
            for seq, task in best:
                token = new_token()
                connection.execute(
                    "UPDATE tasks SET state = 'leased', token = ?, expires_at = ?, owner = ?, solo = ? WHERE seq = ?",
                    (token, expires_at, owner_text(owner), int(solo), seq),
                )
                leases.append(Lease(task=task, token=token, expires_at=from_millis(expires_at), solo=solo))
            return leases

        return await self._file.write(lease)


class LostAgain(SqliteTaskQueue):
    """Completing forgets the task, although it was enqueued while it was leased."""

    def _complete(self, connection: sqlite3.Connection, lease: Lease, now: int) -> bool:
        connection.execute("UPDATE tasks SET again_at = NULL WHERE id = ? AND token = ?", (lease.task.id, lease.token))
        return super()._complete(connection, lease, now)


class LeaseToTheLastMillisecond(SqliteTaskQueue):
    """`>=` for `>`: a lease counts at the very instant it ends, when a claim may give the task to somebody else."""

    def _complete(self, connection: sqlite3.Connection, lease: Lease, now: int) -> bool:
        return super()._complete(connection, lease, now - 1)


class LostDeadLetter(SqliteTaskQueue):
    """Burying deletes."""

    async def bury(self, lease: Lease, *, reason: str) -> None:
        def drop(connection: sqlite3.Connection) -> int:
            proof = (lease.task.id, lease.token, self._now())
            return connection.execute("DELETE FROM tasks WHERE id = ? AND token = ? AND expires_at > ?", proof).rowcount

        if not await self._file.write(drop):
            raise LeaseLost(f"task {lease.task.id!r}")


class UncountedDeath(SqliteTaskQueue):
    """A lease that ran out gives the task back, but nobody learns that its worker died."""

    def _take_back_expired(self, connection: sqlite3.Connection, now: int) -> int:
        connection.execute("UPDATE tasks SET deaths = deaths - 1 WHERE state = 'leased' AND expires_at <= ?", (now,))
        return super()._take_back_expired(connection, now)


PLANTED: dict[str, type[SqliteTaskQueue]] = {
    "no token check": NoTokenCheck,
    "non-atomic claim": NonAtomicClaim,
    "lost again": LostAgain,
    "lease >= instead of >": LeaseToTheLastMillisecond,
    "lost dead letter": LostDeadLetter,
    "uncounted death": UncountedDeath,
}


@asynccontextmanager
async def open_planted(
    planted: type[SqliteTaskQueue], path: Path, *, clock: Clock, max_length: int
) -> AsyncIterator[SqliteTaskQueue]:
    """Open a queue with a bug."""
    async with open_sqlite_file(path, application_id=APPLICATION_ID, migrations=MIGRATIONS) as file:
        yield planted(file, clock=clock, max_length=max_length)
