"""A thread with one SQLite connection, and the short cut past it.

An operation that finds the file idle runs at once on the caller's thread: a hop to another thread costs several times what a
commit without fsync does. Where several tasks of the loop ask in the same turn of it, they share one transaction at the turn's
end. Whatever finds the file busy (another thread, another process, a commit that waits for the disk) is handed to the thread,
where operations that wait together become one transaction and one commit.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from config.errors import CopydeskError, Damaged, Unavailable
from memory.sqlite_errors import translate_error

Operation = Callable[[sqlite3.Connection], Any]
Answer = tuple[Any, BaseException | None]
Asked = tuple[Operation, asyncio.AbstractEventLoop, "asyncio.Future[Any]"]

BUSY_MS = 10_000
"""How long an operation waits in the thread for another process's lock."""
_BATCH = 256  # operations a commit, so that one long burst cannot hold the write lock for seconds
_SETTLED_ERRORS = (sqlite3.Error, CopydeskError)


def _is_busy(error: BaseException) -> bool:
    return (
        isinstance(error, sqlite3.Error)
        and ((getattr(error, "sqlite_errorcode", None) or 0) & 0xFF) == sqlite3.SQLITE_BUSY
    )


class Lane(threading.Thread):
    """Runs operations on `connection`, which must have a busy timeout of 0, one transaction at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, writes: bool) -> None:
        super().__init__(name=f"sqlite-{'write' if writes else 'read'}-{path.name}", daemon=True)
        self.path = path
        self.writes = writes
        self.connection = connection
        self.inbox: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self.home: asyncio.AbstractEventLoop | None = None
        """The loop whose tasks may share a transaction without the thread; touched by that loop's thread alone."""
        self._together: list[Asked] = []
        self._first: asyncio.Task[Any] | None = None
        self._in_turn = False
        self._crowded = False
        self._turn = threading.Lock()
        self._inode = path.stat().st_ino
        self._checked = time.monotonic()

    def at_once(self, operations: list[Operation]) -> list[Answer] | None:
        """The answers of `operations`, run here and now; None if the file is busy and the thread must wait for it."""
        if not self.inbox.empty() or not self._turn.acquire(blocking=False):
            return None
        try:
            return self._run(operations, wait=False)
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                return None
            raise
        finally:
            self._turn.release()

    def together(self, operation: Operation) -> asyncio.Future[Any] | None:
        """The future of `operation` if other tasks of this turn of the loop use the file too; None if it may run at once.

        For the home loop alone. A task that has the file to itself pays no future and no turn of the loop.
        """
        loop = self.home
        assert loop is not None
        task = asyncio.current_task(loop)
        if not self._in_turn:
            self._in_turn = True
            self._first = task
            loop.call_soon(self._end_turn)
        if self._first is task and not self._crowded and not self._together:
            return None
        future: asyncio.Future[Any] = loop.create_future()
        self._together.append((operation, loop, future))
        return future

    def _end_turn(self) -> None:
        asked, self._together = self._together, []
        self._in_turn, self._first = False, None
        self._crowded = len(asked) > 1
        for start in range(0, len(asked), _BATCH):
            work = asked[start : start + _BATCH]
            answers = self.at_once([operation for operation, _, _ in work])
            if answers is None:
                for item in work:
                    self.inbox.put(item)
            else:
                _settle([(future, *answer) for (_, _, future), answer in zip(work, answers, strict=True)])

    def run(self) -> None:
        while True:
            batch = [self.inbox.get()]
            with suppress(queue.Empty):
                while len(batch) < _BATCH and batch[-1] is not None:
                    batch.append(self.inbox.get_nowait())
            work = [item for item in batch if item is not None]
            if work:
                with self._turn:
                    answers = self._run([operation for operation, _, _ in work], wait=True)
                self._deliver(work, answers)
            if batch[-1] is None:
                with self._turn:
                    self.connection.close()
                return

    def _deliver(self, work: list[Asked], answers: list[Answer]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[Any]] = {}
        for (_, loop, future), (value, error) in zip(work, answers, strict=True):
            by_loop.setdefault(loop, []).append((future, value, error))
        for loop, settled in by_loop.items():
            with suppress(RuntimeError):  # the loop is closed: nobody waits for these answers any more
                loop.call_soon_threadsafe(_settle, settled)

    def _run(self, operations: list[Operation], *, wait: bool) -> list[Answer]:
        """An answer for each operation. Raises SQLite's own busy error, with nothing done, only if not told to `wait`."""
        try:
            self._still_there()
            if not self.writes:
                return [self._read(operation, wait) for operation in operations]
            # IMMEDIATE: a deferred transaction that reads and then writes fails at once when another process wrote in between.
            self._patiently(self._begin, wait)
            return self._transaction(operations)
        except _SETTLED_ERRORS as error:
            if self.connection.in_transaction:
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
            if not wait and _is_busy(error):
                raise
            ours = translate_error(error, self.path) if isinstance(error, sqlite3.Error) else error
            return [(None, ours)] * len(operations)

    def _transaction(self, operations: list[Operation]) -> list[Answer]:
        if len(operations) == 1:
            answers = [self._attempt(operations[0])]
            if answers[0][1] is not None:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                return answers
        else:
            answers = []
            for operation in operations:
                self.connection.execute("SAVEPOINT operation")
                answers.append(self._attempt(operation))
                if not self.connection.in_transaction:  # a savepoint would now begin, and its release commit, a new one
                    break
                if answers[-1][1] is not None:
                    self.connection.execute("ROLLBACK TO operation")
                self.connection.execute("RELEASE operation")
        if not self.connection.in_transaction:  # SQLite rolled everything back by itself (disk full, I/O error)
            error = next((e for _, e in answers if e is not None), None)
            return [(None, error or Unavailable(f"{self.path}: the transaction was rolled back"))] * len(operations)
        self.connection.execute("COMMIT")
        return answers

    def _attempt(self, operation: Operation) -> Answer:
        try:
            return operation(self.connection), None
        except sqlite3.Error as error:
            return None, translate_error(error, self.path)
        except Exception as error:  # handed to the caller, whose operation it was
            return None, error

    def _read(self, operation: Operation, wait: bool) -> Answer:
        try:
            return self._patiently(lambda: operation(self.connection), wait), None
        except sqlite3.Error as error:
            if not wait and _is_busy(error):
                raise
            return None, translate_error(error, self.path)
        except Exception as error:  # handed to the caller, whose operation it was
            return None, error

    def _begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def _patiently(self, action: Callable[[], Any], wait: bool) -> Any:
        if not wait:
            return action()
        deadline = time.monotonic() + BUSY_MS / 1000
        pause = 0.0005
        while True:
            try:
                return action()
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(pause)
                pause = min(0.025, pause * 2)

    def _still_there(self) -> None:
        now = time.monotonic()
        if now - self._checked < 1.0:
            return
        self._checked = now
        try:
            same = self.path.stat().st_ino == self._inode
        except OSError:
            same = False
        if not same:
            raise Damaged(
                f"{self.path} was deleted or replaced while open: stop every worker; "
                "started again, it names the `copydesk restore` that helps"
            )


def _settle(settled: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for future, value, error in settled:
        if future.done():
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
