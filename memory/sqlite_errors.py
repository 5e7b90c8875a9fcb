"""sqlite3's errors as ours, in one place."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.errors import Busy, CopydeskError, Damaged, DiskFull, Unavailable, UsageError

REBUILT = frozenset({"queue.db", "session.db"})
"""Files whose content is made again from the rows of the others."""


def marker_of(path: Path) -> Path:
    """What remembers that `path` was here, so that it is never recreated silently."""
    return path.parent / ".installed" / path.name


def remedy(path: Path) -> str:
    """The command that recovers `path`. Nobody is told to start empty beside a ledger: what it forgot may be sent twice."""
    if path.name in REBUILT:
        return f"stop every worker and take it away, it is made again from the rows: rm -f {path} {path}-wal {path}-shm {marker_of(path)}"
    backups = sorted(folder for folder in (path.parent / "backups").glob("*") if (folder / "manifest.json").is_file())
    newest = backups[-1] if backups else "DIR"
    return f"stop every worker and restore a backup: copydesk restore {newest} --data-dir {path.parent} --force"


def damaged(path: Path, what: str) -> Damaged:
    """The error for a file that cannot be trusted, with the command that recovers it."""
    return Damaged(f"{path}: {what}; {remedy(path)}")


def translate_error(error: sqlite3.Error, path: Path) -> CopydeskError:
    """Our error for any error of sqlite3, by its primary result code (https://sqlite.org/rescode.html)."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    primary = code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy(f"{path} stays locked by another process: see who holds it with `fuser {path}`")
    if primary == sqlite3.SQLITE_FULL or code in (
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    ):
        return DiskFull(f"{path}: no room to write: free space on this disk, work goes on by itself")
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH):
        return UsageError(f"{path} cannot be written ({error}): check owner and mode: chmod u+rw {path}")
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
        return damaged(path, f"damaged ({error})")
    if primary == sqlite3.SQLITE_IOERR:
        return Unavailable(f"{path}: the disk did not answer ({error}): check it, work goes on by itself")
    return CopydeskError(f"{path}: {type(error).__name__}: {error}: this is a fault of Copydesk, please report it")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise our errors instead of sqlite3's."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate_error(error, path) from error
