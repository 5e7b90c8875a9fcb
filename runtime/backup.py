"""Backups of the embedded files: one instant of all of them, taken while workers run, and proved readable before it counts.

**One instant.** Rows, ledger, queue and checkpoints are five files, and no transaction spans two of them. A copy of each in turn
would be five instants: were the ledger the older one, a row could say "approved" of a piece whose permit the restored ledger has
never heard of, and it would be sent again; were the ledger the newer one, it would only know more than the rows, which is what a
crash leaves behind and reconcile mends. So the write locks of all files are taken together for the milliseconds in which a read
transaction is opened on each, and every copy is made from those. Should that ever be undone, the order still errs to the safe side:
rows are frozen before the ledger, and everything else before the rows that the decisions name.

**What is incremental.** Every file is read and copied in full: SQLite tells nobody which pages changed. A copy that comes out byte
for byte as in the newest backup beside it is stored as a hard link to that one and takes no space; so does a brand's file.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from config.clock import Clock
from config.errors import Busy, Damaged, DiskFull, NotFound, UsageError
from config.ids import new_token
from config.settings import Settings, mask_url
from memory.checkpoints import schema as checkpoints_schema
from memory.queue import schema as queue_schema
from memory.records.migrations import LEDGER_ID, LEDGER_MIGRATIONS, RECORDS_ID, RECORDS_MIGRATIONS
from memory.session_schema import APPLICATION_ID as SESSION_ID
from memory.session_schema import MIGRATIONS as SESSION_MIGRATIONS
from memory.sqlite_errors import marker_of, translated
from memory.sqlite_file import Migration, prepared
from runtime.backup_manifest import (
    FORMAT,
    MANIFEST,
    NAMES,
    Manifest,
    Report,
    StoredDatabase,
    StoredFile,
    examine,
    folder_name,
    read_manifest,
    sha256_of,
)

_LOCK_TRIES = 40
_LOCK_WAIT_S = 0.25
"""How long all locks together are waited for at a time. Short: what is locked already holds up the workers meanwhile."""
_PAGES = 2_048  # a step of the copy, between two reports of progress


@dataclass(frozen=True)
class EmbeddedFile:
    """One database file of an installation, under the name that a backup gives it."""

    name: str
    path: Path
    application_id: int
    migrations: Sequence[Migration]


def embedded_files(settings: Settings) -> list[EmbeddedFile]:
    """The database files that `settings` name, in the order of `NAMES`; stores that are elsewhere are not among them."""
    found = [EmbeddedFile("session.db", settings.session_db, SESSION_ID, SESSION_MIGRATIONS)]
    if folder := _file_of(settings.records_url):
        found.append(EmbeddedFile("records.db", folder / "records.db", RECORDS_ID, RECORDS_MIGRATIONS))
        found.append(EmbeddedFile("ledger.db", folder / "ledger.db", LEDGER_ID, LEDGER_MIGRATIONS))
    for name, url, tables in (
        ("queue.db", settings.queue_url, queue_schema),
        ("checkpoints.db", settings.checkpoints_url, checkpoints_schema),
    ):
        if path := _file_of(url):
            found.append(EmbeddedFile(name, path, tables.APPLICATION_ID, tables.MIGRATIONS))
    return sorted(found, key=lambda file: NAMES.index(file.name))


def _file_of(url: str) -> Path | None:
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


@contextmanager
def one_instant(files: Sequence[EmbeddedFile]) -> Iterator[dict[str, sqlite3.Connection]]:
    """A read transaction on each file, all of the same instant. Writers wait for milliseconds; afterwards nobody waits.

    Raises Busy when a process keeps a file locked (it may be stopped inside a transaction), and what `prepared` raises.
    """
    with ExitStack() as stack:
        writers, readers = [], {}
        for file in files:
            stack.enter_context(prepared(file.path, application_id=file.application_id, migrations=file.migrations))
        for file in files:
            with translated(file.path):
                writers.append(stack.enter_context(closing(_connect(file.path))))
                readers[file.name] = stack.enter_context(closing(_connect(file.path)))
        for _ in range(_LOCK_TRIES):
            with translated(files[0].path.parent):
                frozen = _freeze(writers, list(readers.values()))
            if frozen:
                break
        else:
            raise Busy(
                f"{files[0].path.parent}: its files stay locked by another process, nothing was copied: "
                f"see who holds them with `fuser {files[0].path.parent}/*.db`"
            )
        yield readers


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=_LOCK_WAIT_S, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _freeze(writers: Sequence[sqlite3.Connection], readers: Sequence[sqlite3.Connection]) -> bool:
    try:
        for writer in writers:
            writer.execute("BEGIN IMMEDIATE")
        for reader in readers:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()  # BEGIN alone reads nothing yet
        return True
    except sqlite3.OperationalError as error:
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) != sqlite3.SQLITE_BUSY:
            raise
        for reader in readers:
            reader.rollback()
        return False
    finally:
        for writer in writers:
            writer.rollback()


def back_up(settings: Settings, folder: Path | None, *, clock: Clock, report: Report) -> tuple[Path, Manifest]:
    """Write a backup of the installation to `folder` (default DATA_DIR/backups/INSTANT), verified; where it is, and its manifest.

    Workers may run. The folder appears complete or not at all.

    Raises:
        NotFound: there is no installation here.
        UsageError: `folder` is there and not empty, or cannot be written.
        Busy, DiskFull, Damaged: as every SQLite file of ours; nothing is left behind.
    """
    home = settings.data_dir.absolute()
    files = [file for file in embedded_files(settings) if os.path.lexists(file.path) or marker_of(file.path).exists()]
    if not files:
        raise NotFound(f"data directory {home} holds nothing to back up: name another with --data-dir")
    made_at = clock.now()
    folder = (folder or home / "backups" / folder_name(made_at)).absolute()
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"backup folder {folder} is there already and not empty: choose a new one with --to")
    building = folder.with_name(f".{folder.name}.{new_token()[:8]}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = _newest(folder.parent)
        building.mkdir(mode=0o700)
        try:
            manifest = _fill(building, settings, files, before, clock, report)
            _write_manifest(building, manifest)
            os.rename(building, folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"{folder}: no room for the backup: free space, or name another disk with --to") from error
        raise UsageError(
            f"backup folder {folder} cannot be written ({error.strerror}): choose another with --to"
        ) from error
    return folder, manifest


def _fill(
    building: Path, settings: Settings, files: Sequence[EmbeddedFile], before: Path | None, clock: Clock, report: Report
) -> Manifest:
    databases: dict[str, StoredDatabase] = {}
    with one_instant(files) as readers:
        made_at = clock.now()
        for file in files:
            with translated(building / file.name):
                _copy(readers[file.name], building / file.name, file.name, report)
    for file in files:
        databases[file.name] = _examined(building / file.name, before)
        report(f"{file.name}: whole, {sum(databases[file.name].rows.values()):,} rows")
    brands, skipped = _copy_brands(settings.data_dir.absolute() / "brands", building / "brands", before)
    urls = {name: getattr(settings, f"{name}_url") for name in ("records", "queue", "cache", "checkpoints")}
    return Manifest(
        format=FORMAT,
        made_at=made_at,
        databases=databases,
        brands=brands,
        outbox=outbox_posts(settings.outbox),
        elsewhere={name: mask_url(url) for name, url in urls.items() if _file_of(url) is None},
        skipped=skipped,
    )


def _copy(reader: sqlite3.Connection, path: Path, name: str, report: Report) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    shown = -1

    def progress(_status: int, left: int, total: int) -> None:
        nonlocal shown
        done = 100 * (total - left) // max(total, 1)
        if done // 10 != shown:
            shown = done // 10
            report(f"{name}: {done} %")

    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        copy.execute("PRAGMA synchronous = OFF")  # it is synced once, below, before it counts
        reader.backup(copy, pages=_PAGES, progress=progress)
        reader.rollback()  # lets the WAL be folded again
        # One file, no WAL beside it: read-only media and hard links want that. Opening it in earnest turns the WAL on.
        copy.execute("PRAGMA journal_mode = DELETE")


def _examined(path: Path, before: Path | None) -> StoredDatabase:
    version, rows = examine(path)
    digest, size = sha256_of(path), path.stat().st_size
    linked = _linked(path, before / path.name if before else None, digest)
    _seal(path)
    return StoredDatabase(size=size, sha256=digest, linked=linked, schema_version=version, rows=rows)


def _linked(path: Path, old: Path | None, digest: str) -> bool:
    """Put a link to `old` in the place of `path` if both are the same; False where that cannot be."""
    try:
        if old is None or not old.is_file() or old.is_symlink() or old.stat().st_size != path.stat().st_size:
            return False
        if sha256_of(old) != digest:
            return False
        spare = path.with_name(f".{path.name}.link")
        os.link(old, spare)
        os.replace(spare, path)
        return True
    except OSError:
        return False  # another disk, or one without links: the copy stays


def _seal(path: Path) -> None:
    path.chmod(0o400)
    sync(path)


def sync(path: Path) -> None:
    """Make what is in a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_brands(source: Path, target: Path, before: Path | None) -> tuple[dict[str, StoredFile], list[str]]:
    stored: dict[str, StoredFile] = {}
    skipped: list[str] = []
    for path in sorted(source.rglob("*")) if source.is_dir() and not source.is_symlink() else []:
        name = path.relative_to(source).as_posix()
        if path.is_dir() and not path.is_symlink():
            continue
        if path.is_symlink() or not path.is_file():
            skipped.append(name)
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(path, copy)
        digest = sha256_of(copy)
        linked = _linked(copy, before / "brands" / name if before else None, digest)
        _seal(copy)
        stored[name] = StoredFile(size=copy.stat().st_size, sha256=digest, linked=linked)
    return stored, skipped


def outbox_posts(outbox: Path) -> dict[str, str]:
    """Every post's folder in the outbox, with the sha256 of its manifest."""
    found = sorted(outbox.rglob(MANIFEST)) if outbox.is_dir() else []
    return {path.parent.relative_to(outbox).as_posix(): sha256_of(path) for path in found if path.is_file()}


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(manifest.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    _seal(path)
    for inner in (folder / "brands", folder):
        if inner.is_dir():
            sync(inner)


def _newest(parent: Path) -> Path | None:
    """The newest backup in `parent`."""
    made: list[tuple[datetime, Path]] = []
    for path in parent.iterdir():
        if path.name.startswith(".") or not (path / MANIFEST).is_file():
            continue
        try:
            made.append((read_manifest(path).made_at, path))
        except (Damaged, NotFound):
            continue  # it cannot be linked to; `backup --verify` tells what is wrong with it
    return max(made)[1] if made else None
