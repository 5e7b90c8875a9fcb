"""One SQLite file, opened safely: what every SQLite engine of ours stands on.

Opening refuses what must not be trusted (facts: an empty file opens as a valid empty database, which is silent total loss) and
never recreates a file that was here before. Writing goes through one writer connection a process and file
(`memory/sqlite_lane.py`): each operation in a transaction of its own, or together with others that wait, each inside its own
savepoint, so that a failing neighbour harms nobody. An operation is acknowledged only after the commit.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar, cast

from config.errors import Damaged, Unavailable, UsageError
from config.ids import new_token
from memory.sqlite_errors import damaged, marker_of, remedy, translated
from memory.sqlite_lane import BUSY_MS, Lane

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]
Migration = Callable[[sqlite3.Connection], None]

_LONGEST_TURN_S = 0.002
_WAL_PAGES = 4_000  # 16 MB of WAL at SQLite's page size
_MAGIC = b"SQLite format 3\x00"
_opening = threading.RLock()
_open_here: Counter[Path] = Counter()
"""Files that this process has open now, and how often."""
_NETWORK_FS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs"})


def _filesystem(path: Path) -> str:
    try:
        mounts = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for line in mounts:
        parts = line.split()
        mount = parts[1].replace("\\040", " ")
        if (str(path) + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best):
            best, kind = mount, parts[2]
    return kind


def _refuse_untrustworthy(path: Path) -> None:
    info = path.lstat()
    if not stat.S_ISREG(info.st_mode):
        raise UsageError(
            f"{path} must be a regular file, not a link or device: put the file itself there, or choose another --data-dir"
        )
    if info.st_size == 0:
        raise damaged(path, "is empty (0 bytes), which would read as a database with nothing in it")
    if _open_here[path.absolute()]:
        # Opening and closing the file by any way but SQLite's would drop every POSIX lock that this process holds on it
        # (https://sqlite.org/howtocorrupt.html, 2.2), and another process would then delete the WAL under our feet. It was
        # looked at when it was opened first.
        return
    with path.open("rb") as file:
        head = file.read(100)
    if len(head) < 100 or head[:16] != _MAGIC:
        raise damaged(path, "is not a SQLite database")
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    wal = path.with_name(path.name + "-wal")
    pages_known = head[24:28] == head[92:96]
    if (
        pages_known
        and not (wal.exists() and wal.stat().st_size)
        and info.st_size < page * int.from_bytes(head[28:32], "big")
    ):
        raise damaged(path, f"is cut short ({info.st_size} bytes)")


def _create(path: Path, application_id: int, migrations: Sequence[Migration]) -> None:
    # Built under another name and linked into place: nobody ever sees a half-made file, and of two creators one wins.
    building = path.with_name(f".{path.name}.{new_token()[:8]}")
    os.close(os.open(building, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600))
    try:
        connection = sqlite3.connect(building, isolation_level=None)
        try:
            connection.execute(f"PRAGMA application_id = {application_id}")
            connection.execute(
                "CREATE TABLE schema_migrations (n INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT"
            )
            _migrate(connection, migrations)
        finally:
            connection.close()
        with suppress(FileExistsError):
            os.link(building, path)
    finally:
        building.unlink(missing_ok=True)


def _migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    for n in range(connection.execute("PRAGMA user_version").fetchone()[0] + 1, len(migrations) + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] < n:  # another process may have been quicker
                migrations[n - 1](connection)
                connection.execute(
                    "INSERT INTO schema_migrations (n, name, applied_at) VALUES (?, ?, unixepoch() * 1000)",
                    (n, migrations[n - 1].__name__),
                )
                connection.execute(f"PRAGMA user_version = {n}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _connect(path: Path, synchronous: str, *, readonly: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000, cached_statements=512
    )
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    # A checkpoint waits for the disk twice. SQLite's 1,000 pages are about 90 queue tasks, a third of the time of each.
    connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    if readonly:
        connection.execute("PRAGMA query_only = ON")
    return connection


def _lane_connection(path: Path, synchronous: str, *, readonly: bool = False) -> sqlite3.Connection:
    connection = _connect(path, synchronous, readonly=readonly)
    connection.execute("PRAGMA busy_timeout = 0")  # a lane waits by itself, where waiting holds up nobody
    return connection


@contextmanager
def prepared(path: Path, *, application_id: int, migrations: Sequence[Migration]) -> Iterator[None]:
    """Make `path` a current database of ours, or refuse; hold this around every connection to it.

    Raises:
        Damaged: the file is empty, cut short, not ours, newer than this program, or was here and is gone.
        UsageError: the file or its folder cannot be used (mode, link, network file system).
    """
    with _opening:
        _prepare(path, application_id, migrations)
        _open_here[path.absolute()] += 1
    try:
        yield
    finally:
        with _opening:
            _open_here[path.absolute()] -= 1


def _prepare(path: Path, application_id: int, migrations: Sequence[Migration]) -> None:
    kind = _filesystem(path.parent.absolute())
    if kind in _NETWORK_FS:
        raise UsageError(
            f"{path} is on a network file system ({kind}), where SQLite locks are not safe: choose a local --data-dir"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        marker_of(path).parent.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageError(
            f"data directory {path.parent} cannot be used ({error.strerror}): choose another --data-dir"
        ) from error
    with translated(path):
        if not os.path.lexists(path):
            if marker_of(path).exists():
                raise Damaged(f"{path} was here and is gone; {remedy(path)}")
            _create(path, application_id, migrations)
        _refuse_untrustworthy(path)
        connection = _connect(path, "NORMAL")
        try:
            found = connection.execute("PRAGMA application_id").fetchone()[0]
            if found != application_id:
                raise damaged(path, f"belongs to another program (application_id {found:#x})")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(migrations):
                raise Damaged(
                    f"{path} was written by a newer Copydesk (schema {version}, this one knows {len(migrations)}): "
                    "upgrade with `pip install --upgrade copydesk`"
                )
            if (
                connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'schema_migrations'").fetchone()[0]
                == 0
            ):
                raise damaged(path, "has lost its schema")
            _migrate(connection, migrations)
        finally:
            connection.close()
    marker_of(path).touch(mode=0o600)


class SqliteFile:
    """An open file. `write` and `read` run a function of a connection: at once if the file is idle, else in a thread."""

    def __init__(self, path: Path, synchronous: str, *, short_cut: bool) -> None:
        self.path = path
        self._writer = Lane(path, _lane_connection(path, synchronous), writes=True)
        self._reader = Lane(path, _lane_connection(path, synchronous, readonly=True), writes=False)
        # A commit that waits for the disk belongs in the thread: it would hold up the event loop, and it gains from company.
        self._write_at_once = short_cut and synchronous != "FULL"
        self._read_at_once = short_cut
        self._closed = False
        self._yielded = 0.0

    async def write(self, operation: Operation[T]) -> T:
        """Run `operation` in a transaction; return its result once it is committed.

        An exception undoes this operation alone. The operation must be short and touch nothing but the connection.
        """
        return await self._hand(self._writer, operation, self._write_at_once)

    async def read(self, operation: Operation[T]) -> T:
        """Run `operation` on a read-only connection, which sees every acknowledged write."""
        return await self._hand(self._reader, operation, self._read_at_once)

    async def _hand(self, lane: Lane, operation: Operation[T], at_once: bool) -> T:
        if self._closed:
            raise Unavailable(f"{self.path} is closed: open it again")
        loop = asyncio.get_running_loop()
        if at_once and lane.writes and lane.home is loop:
            # Writes alone: reads have no commit to share.
            future = lane.together(operation)
            if future is not None:
                return cast(T, await future)
        if at_once and (answers := lane.at_once([operation])) is not None:
            # An await that never suspends would starve every other task of the loop (a heartbeat among them).
            if time.monotonic() - self._yielded > _LONGEST_TURN_S:
                await asyncio.sleep(0)
                self._yielded = time.monotonic()
            value, error = answers[0]
            if error is not None:
                raise error
            return cast(T, value)
        future = loop.create_future()
        lane.inbox.put((operation, loop, future))
        return cast(T, await future)

    def _start(self) -> None:
        self._writer.home = asyncio.get_running_loop()
        self._writer.start()
        self._reader.start()

    def _close(self) -> None:
        self._closed = True
        # The writer last: a connection that may only query cannot fold the WAL into the file as the last one does.
        for lane in (self._reader, self._writer):
            lane.inbox.put(None)
            lane.join()


@asynccontextmanager
async def open_sqlite_file(
    path: Path,
    *,
    application_id: int,
    migrations: Sequence[Migration],
    synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
    short_cut: bool = True,
) -> AsyncIterator[SqliteFile]:
    """Open (and if need be create or migrate) a database file of ours.

    `synchronous="FULL"` survives power loss; NORMAL survives any process death, and may lose the last commits with the power.
    Without `short_cut` every operation runs in the file's threads: for long reads.

    Raises:
        Damaged, UsageError: as `prepared`.
    """
    with prepared(path, application_id=application_id, migrations=migrations):
        with translated(path):
            file = SqliteFile(path, synchronous, short_cut=short_cut)
        file._start()
        try:
            yield file
        finally:
            await asyncio.get_running_loop().run_in_executor(None, file._close)
