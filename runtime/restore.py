"""Bringing a backup back: checked first, installed by renames, and nothing goes out before a person has looked.

What was sent after the backup was made is in no restored row. So publishing is paused for every brand inside the copy, before it is
installed: there is no moment at which a worker finds the old rows without the pause. What was due by now, or open, is moreover
treated as sent without an answer: it is read back from the platform, or a person says what became of it, also after publishing was
resumed. Old files are moved aside, never deleted.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from config.clock import Clock
from config.errors import Conflict, DiskFull, NotFound, UsageError
from config.ids import new_token
from config.settings import Settings
from config.vocabulary import PieceState
from graphs.pieces import get_revision, move
from memory.queue.owner import current_owner, is_alive
from memory.queue.protocol import Owner
from memory.records.protocol import Records, open_records
from memory.rows.brand import REALM, Brand, Control
from memory.rows.content import Piece
from memory.rows.publication import ScheduledPublication
from memory.sqlite_errors import marker_of
from memory.sqlite_file import prepared
from runtime.backup import EmbeddedFile, embedded_files, outbox_posts, sync
from runtime.backup_manifest import Manifest, Report, check_copy, folder_name, verify
from runtime.publish_due import PAUSE
from tools.publish.ledger import Subject, pub_key
from tools.publish.steps import Steps

BY = "restore"
_SIDECARS = ("", "-wal", "-shm", "-journal")
_OPEN = (PieceState.PUBLISHING, PieceState.UNKNOWN)


@dataclass(frozen=True)
class Restored:
    """What was brought back, and what a person has to look at before publishing goes on."""

    manifest: Manifest
    aside: Path | None
    """Where the files that were here before are now; None when there were none."""
    paused: list[str]
    """The brands whose publishing is paused."""
    at_risk: list[ScheduledPublication]
    """Due by now, or open when the backup was made: they may have gone out since."""
    missing_posts: list[str]
    """Outbox folders that the backup lists and this installation lacks."""


async def restore(settings: Settings, folder: Path, *, force: bool, clock: Clock, report: Report) -> Restored:
    """Install the backup in `folder` in the place of the embedded files that `settings` name.

    Killed at any moment, the installation is the old one, the restored one, or refuses to open until `restore` is run again.

    Raises:
        NotFound, Damaged: `folder` holds no backup, or one that cannot be trusted, or was made by a newer Copydesk.
        UsageError: there is an installation and `force` is not given; or `settings` keep a store elsewhere.
        Conflict: a process has the installation open. Nothing was changed, as with every error above.
        DiskFull: nothing was changed.
    """
    manifest = verify(folder, report=report)
    home = settings.data_dir.absolute()
    targets = {file.name: file for file in embedded_files(settings)}
    if lost := sorted(set(manifest.databases) - set(targets)):
        raise UsageError(
            f"{folder} holds {lost[0]}, but the settings keep that store elsewhere: unset COPYDESK_RECORDS and COPYDESK_QUEUE"
        )
    chosen = [targets[name] for name in manifest.databases]
    if not force and (found := _in_the_way(home, chosen, manifest)):
        raise UsageError(
            f"{found} is there already: restore into another --data-dir, or give --force (what is there is moved aside, not deleted)"
        )
    staging = home / f".restore-{new_token()[:8]}"
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with nobody_else(chosen):
            try:
                staging.mkdir(mode=0o700)
                _stage(folder, staging, manifest)
                paused, at_risk = await _prepare(staging, chosen, manifest, settings, clock)
                report("copied and checked; installing")
                aside = _install(staging, home, chosen, manifest, clock.now())
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"{home}: no room to restore: free space and run it again") from error
        raise UsageError(
            f"{error.filename or home} cannot be written ({error.strerror}): check owner and mode"
        ) from error
    missing = sorted(set(manifest.outbox) - set(outbox_posts(settings.outbox)))
    return Restored(manifest, aside, paused, at_risk, missing)


def _in_the_way(home: Path, chosen: Sequence[EmbeddedFile], manifest: Manifest) -> Path | None:
    for file in chosen:
        for path in (file.path, marker_of(file.path)):
            if os.path.lexists(path):
                return path
    return next((path for name in manifest.brands if os.path.lexists(path := home / "brands" / name)), None)


@contextmanager
def nobody_else(chosen: Sequence[EmbeddedFile]) -> Iterator[None]:
    """Hold every old file alone. Whoever starts meanwhile waits or is refused. Raises Conflict when somebody has one open."""
    with ExitStack() as stack:
        for file in chosen:
            if not file.path.is_file() or file.path.stat().st_size == 0:
                continue
            connection = sqlite3.connect(file.path, isolation_level=None, timeout=1.0)
            stack.callback(connection.close)
            try:
                # Leaving the WAL needs the file alone: any other open connection, idle or not, is in the way of that.
                if connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0] != "delete":
                    raise _in_use(file, chosen)
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise _in_use(file, chosen) from None
            except sqlite3.DatabaseError:
                pass  # damaged, which may be why there is a restore: it is moved aside as it is
        yield


def _in_use(file: EmbeddedFile, chosen: Sequence[EmbeddedFile]) -> Conflict:
    pids = sorted({str(owner.pid) for owner in _owners(chosen) if is_alive(owner)})
    who = f"process {', '.join(pids)} works there" if pids else f"`fuser {file.path}` names the process"
    return Conflict(f"{file.path} is open in a running Copydesk ({who}): stop it first; nothing was changed")


def _owners(chosen: Sequence[EmbeddedFile]) -> list[Owner]:
    path = next((file.path for file in chosen if file.name == "queue.db"), None)
    if path is None:
        return []
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=1.0)
        try:
            rows = connection.execute("SELECT DISTINCT owner FROM tasks WHERE state = 'leased'").fetchall()
            return [Owner(**json.loads(text)) for (text,) in rows]
        finally:
            connection.close()
    except (sqlite3.Error, ValueError, TypeError):
        return []  # it only helps to say who


def _stage(folder: Path, staging: Path, manifest: Manifest) -> None:
    for name, stored in manifest.files():
        copy = staging / name
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(folder / name, copy)
        copy.chmod(0o600)
        check_copy(copy, stored)


async def _prepare(
    staging: Path, chosen: Sequence[EmbeddedFile], manifest: Manifest, settings: Settings, clock: Clock
) -> tuple[list[str], list[ScheduledPublication]]:
    """Bring the staged files to the present schema, and pause publishing in them."""
    for file in chosen:
        with prepared(staging / file.name, application_id=file.application_id, migrations=file.migrations):
            pass
    if not {"records.db", "ledger.db"} <= set(manifest.databases):
        return [], []  # rows and ledger are elsewhere and were not set back
    now, paused, at_risk = clock.now(), list[str](), list[ScheduledPublication]()
    async with open_records(f"sqlite:///{staging}", clock=clock) as store:
        for brand in await store.all_brands().list_rows(Brand, realm=REALM):
            records = store.for_brand(brand.name)
            reason = f"restored from the backup of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC; what was sent since then is not known"
            flag = await records.find(Control, name=PAUSE)
            version = flag.row_version if flag else 0
            await records.put(
                Control(
                    brand=brand.name, name=PAUSE, value="on", by=BY, reason=reason, updated_at=now, row_version=version
                )
            )
            paused.append(brand.name)
            due = await records.find_by(ScheduledPublication, state=PieceState.APPROVED)
            rows = [row for row in due if row.scheduled_at <= now]
            for state in _OPEN:
                rows += await records.find_by(ScheduledPublication, state=state)
            steps = Steps(records, clock, settings, boot_id=current_owner(BY).boot_id)
            for row in rows:
                with suppress(NotFound):  # without a piece or its bytes nothing can be sent
                    await _take_permits(records, steps, row, reason, clock)
            at_risk += rows
    return paused, sorted(at_risk, key=lambda row: (row.brand, row.scheduled_at, row.id))


async def _take_permits(records: Records, steps: Steps, row: ScheduledPublication, reason: str, clock: Clock) -> None:
    """Take the permits that somebody may have taken since the backup: what became of them is read back, or asked of a human.

    Every part gets one, so that a thread whose beginning is found out does not go on sending its end.
    """
    piece = await records.get(Piece, id=row.content_id)
    parts = (await get_revision(records, piece, piece.sealed_hash)).post.part_count()
    subject = Subject(
        pub_key(row.brand, row.platform, row.account, piece.id), piece.id, row.platform, row.account, parts
    )
    found = await steps.read(subject.pub_key, parts)
    if found.next_permit is None:
        return  # open already: it is read back anyway
    attempt, first = found.next_permit
    for part in range(first, parts):
        permit = steps.permit(subject, attempt, part, holder=BY, content_hash=piece.sealed_hash, reason=reason)
        await steps.take(permit, token=new_token())
    await move(records, clock, piece, PieceState.PUBLISHING, reason=reason)


def _install(
    staging: Path, home: Path, chosen: Sequence[EmbeddedFile], manifest: Manifest, now: datetime
) -> Path | None:
    for file in chosen:
        file.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A store may be on another disk, and the last step must be a rename.
        shutil.move(staging / file.name, _beside(file))
        sync(_beside(file))
        # First of all: from here on a file that is not there is one that is missed, never one to be made anew.
        marker = marker_of(file.path)
        marker.parent.mkdir(exist_ok=True, mode=0o700)
        marker.touch(mode=0o600)
    aside = home / "replaced" / folder_name(now)
    old = [(file.path.with_name(file.path.name + end), file.name + end) for file in chosen for end in _SIDECARS]
    old += [(home / "brands", "brands")] if manifest.brands else []
    moved = False
    # The rows go first and come back last: in between whoever opens the installation is refused, not shown half of it.
    for path, name in sorted(old, key=lambda item: not item[1].startswith("records.db")):
        if os.path.lexists(path):
            aside.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.move(path, aside / name)
            moved = True
    if manifest.brands:
        os.rename(staging / "brands", home / "brands")
    for file in sorted(chosen, key=lambda file: file.name == "records.db"):
        os.rename(_beside(file), file.path)
        sync(file.path.parent)
    return aside if moved else None


def _beside(file: EmbeddedFile) -> Path:
    return file.path.with_name(f".{file.path.name}.restored")
