"""Backups of the embedded files: one instant, proved whole, brought back without anything going out twice."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock, SystemClock
from config.errors import Busy, Conflict, Damaged, DiskFull, NotFound, UsageError
from config.settings import Settings
from config.vocabulary import PieceState
from memory.records.protocol import open_records
from memory.rows.brand import Control
from memory.rows.content import Post
from memory.rows.sessions import Event
from runtime import backup as backup_module
from runtime import restore as restore_module
from runtime.backup import back_up, embedded_files
from runtime.backup_manifest import MANIFEST, NAMES, read_manifest, verify
from runtime.compose import open_runtime
from runtime.publish_due import PAUSE, subject_of
from runtime.reconcile import reconcile
from runtime.restore import restore
from tests.cli_support import ROOT, Cli, environment, small_brand
from tests.cli_support import cli as cli
from tests.fakes.newsroom import BRAND, open_newsroom, write_brand
from tests.fakes.publishing import ScriptedPublisher, a_thread
from tests.test_publish_due import SLOT, Desk

NOW = datetime(2026, 12, 7, 9, 0, tzinfo=UTC)


def quiet(_: str) -> None: ...


def event(n: int) -> Event:
    return Event(brand="acme", day="2026-12-07", id=f"e{n:06}", name="test", created_at=NOW)


async def write(home: Path, *numbers: int) -> None:
    async with open_records(f"sqlite:///{home}", clock=ManualClock()) as store:
        await store.for_brand("acme").put(*map(event, numbers))


async def written(home: Path) -> list[str]:
    async with open_records(f"sqlite:///{home}", clock=ManualClock()) as store:
        return [row.id for row in await store.for_brand("acme").list_rows(Event, day="2026-12-07")]


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    """An installation with a brand and a row."""
    home = tmp_path / "data"
    write_brand(home / "brands" / "acme")
    async with open_runtime(Settings(data_dir=home), clock=ManualClock()) as runtime:
        await runtime.ensure_brand("acme")
    await write(home, 1)
    return home


def make(home: Path, folder: Path | None = None) -> Path:
    return back_up(Settings(data_dir=home), folder, clock=SystemClock(), report=quiet)[0]


async def bring_back(home: Path, folder: Path, *, force: bool = False) -> restore_module.Restored:
    return await restore(Settings(data_dir=home), folder, force=force, clock=ManualClock(), report=quiet)


def inode(path: Path) -> int:
    return path.stat().st_ino


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# One instant


class Spy:
    """A reader that, when it begins, tries to write to every file as a worker would."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.locked: list[str] = []

    def execute(self, statement: str) -> Spy:
        for path in self.paths if statement == "BEGIN" else []:
            with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as worker:
                try:
                    worker.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    self.locked.append(path.name)
        return self

    def fetchone(self) -> None: ...


def test_nobody_writes_to_any_file_while_the_snapshots_are_taken(home: Path) -> None:
    files = embedded_files(Settings(data_dir=home))
    spy = Spy([file.path for file in files])
    writers = [sqlite3.connect(file.path, timeout=0, isolation_level=None) for file in files]
    assert backup_module._freeze(writers, [spy])  # type: ignore[list-item]
    assert spy.locked == list(NAMES)
    for writer in writers:
        assert not writer.in_transaction
        writer.close()


WRITER = """
import asyncio, sys
from config.clock import ManualClock
from memory.records.protocol import open_records
from tests.test_backup import event

async def main():
    async with open_records(f"sqlite:///{sys.argv[1]}", clock=ManualClock()) as store:
        records = store.for_brand("acme")
        for n in range(2, 1_000_000):
            await records.create_once("event", str(n), event(n), token="t")
            await records.put(event(n))
            if n == 20:
                print("on my way", flush=True)

asyncio.run(main())
"""


def test_a_backup_beside_a_writing_process_holds_one_instant_of_all_files(home: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(home)], stdout=subprocess.PIPE, cwd=ROOT, env=environment()
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on my way\n"
        counts = []
        for n in range(4):
            rows = verify(make(home, tmp_path / f"b{n}"), report=quiet).databases
            counts.append((rows["records.db"].rows["events"] - 1, rows["ledger.db"].rows["decisions"]))
        assert process.poll() is None, "it was writing all the time"
    finally:
        process.kill()
        process.communicate()
    # A decision is written before its row: at any one instant there are as many, or one more.
    assert all(decisions - rows in (0, 1) for rows, decisions in counts), counts
    assert counts[0] < counts[-1]


def test_a_file_that_stays_locked_is_busy_and_leaves_nothing_behind(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_module, "_LOCK_TRIES", 1)
    with closing(sqlite3.connect(home / "ledger.db", isolation_level=None)) as stopped:
        stopped.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy, match="nothing was copied"):
            make(home, tmp_path / "to" / "b")
    assert list((tmp_path / "to").iterdir()) == []


async def test_an_open_installation_is_backed_up_with_what_only_its_wal_holds(home: Path, tmp_path: Path) -> None:
    async with open_records(f"sqlite:///{home}", clock=ManualClock()) as store:
        await store.for_brand("acme").put(event(2))
        assert (home / "records.db-wal").stat().st_size > 0
        folder = make(home, tmp_path / "b")
        await store.for_brand("acme").put(event(3))
    await bring_back(tmp_path / "new", folder)
    assert await written(tmp_path / "new") == ["e000001", "e000002"]


# What is written, and what is linked


async def test_what_is_unchanged_is_linked_to_the_backup_before_and_the_rest_is_not(home: Path) -> None:
    first = make(home)
    await write(home, 2)
    (home / "brands" / "acme" / "notes.txt").write_text("new")
    second = make(home)
    manifest = read_manifest(second)
    assert {name: stored.linked for name, stored in manifest.databases.items()} == {
        name: name != "records.db" for name in NAMES
    }
    assert {name for name, stored in manifest.brands.items() if not stored.linked} == {"acme/notes.txt"}
    for name in NAMES:
        assert (inode(first / name) == inode(second / name)) is (name != "records.db")
    assert verify(first, report=quiet) == read_manifest(first)
    shutil.rmtree(first)
    assert verify(second, report=quiet) == manifest


def test_a_link_among_the_brands_is_named_and_not_followed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    (home / "brands" / "acme" / "link").symlink_to(tmp_path / "secret")
    folder = make(home)
    assert read_manifest(folder).skipped == ["acme/link"]
    assert not os.path.lexists(folder / "brands" / "acme" / "link")


def test_a_folder_with_something_in_it_is_refused_and_stays_as_it_was(home: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        make(home, tmp_path / "b")
    assert everything(tmp_path / "b") == {"mine": b"x"}


def test_an_empty_data_directory_has_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing to back up"):
        make(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_full_disk_leaves_no_half_backup(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_module, "_write_manifest", full)
    with pytest.raises(DiskFull, match="no room"):
        make(home, tmp_path / "to" / "b")
    assert list((tmp_path / "to").iterdir()) == []


# What is refused when verifying


def flip(folder: Path) -> None:
    path = folder / "records.db"
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(folder: Path) -> None:
    (folder / "ledger.db").chmod(0o600)
    os.truncate(folder / "ledger.db", 4096)


def lose(folder: Path) -> None:
    (folder / "queue.db").unlink()


def change_a_brand(folder: Path) -> None:
    path = folder / "brands" / "acme" / "brand.toml"
    path.chmod(0o600)
    path.write_text(path.read_text() + "# more\n")


def edit(change: Callable[[Any], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / MANIFEST
        path.chmod(0o600)
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))

    return damage


@edit
def count_more(manifest: Any) -> None:
    manifest["databases"]["records.db"]["rows"]["events"] += 1


@edit
def climb_out(manifest: Any) -> None:
    manifest["brands"]["../../escaped"] = manifest["brands"].pop("acme/brand.toml")


@edit
def name_another_database(manifest: Any) -> None:
    manifest["databases"]["../records.db"] = manifest["databases"].pop("records.db")


@edit
def come_from_the_future(manifest: Any) -> None:
    manifest["format"] = 2


@pytest.mark.parametrize(
    "damage", [flip, cut, lose, change_a_brand, count_more, climb_out, name_another_database, come_from_the_future]
)
async def test_a_backup_that_is_not_what_was_made_is_neither_verified_nor_restored(
    home: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = make(home, tmp_path / "b")
    damage(folder)
    with pytest.raises(Damaged, match="use another backup") as refusal:
        verify(folder, report=quiet)
    assert len(str(refusal.value).splitlines()) == 1
    with pytest.raises(Damaged):
        await bring_back(tmp_path / "new", folder)
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("name", ["../../escaped", "acme/../../../escaped", "/etc/passwd", "", "acme/\x00"])
def test_a_manifest_that_names_a_file_outside_of_the_backup_is_refused_before_it_is_looked_for(
    home: Path, tmp_path: Path, name: str
) -> None:
    folder = make(home, tmp_path / "b")

    @edit
    def damage(manifest: Any) -> None:
        manifest["brands"][name] = manifest["brands"].pop("acme/brand.toml")

    damage(folder)
    with pytest.raises(Damaged, match=r"outside of brands/.*use another backup"):
        read_manifest(folder)


def test_a_folder_without_a_manifest_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not a backup"):
        verify(tmp_path, report=quiet)


# Restoring


async def test_a_restored_installation_is_as_it_was_but_paused(home: Path, tmp_path: Path) -> None:
    folder = make(home)
    done = await bring_back(tmp_path / "new", folder)
    assert done.paused == ["acme"]
    assert done.aside is None
    assert await written(tmp_path / "new") == ["e000001"]
    assert everything(tmp_path / "new" / "brands") == everything(home / "brands")
    async with open_runtime(Settings(data_dir=tmp_path / "new"), clock=ManualClock()) as runtime:
        flag = await runtime.records.for_brand("acme").get(Control, name=PAUSE)
    assert (flag.value, flag.by) == ("on", "restore")
    assert "restored from the backup of" in flag.reason


async def test_an_installation_that_is_there_is_kept_unless_forced_and_then_moved_aside(home: Path) -> None:
    folder = make(home)
    await write(home, 2)
    with pytest.raises(UsageError, match="--force"):
        await bring_back(home, folder)
    assert await written(home) == ["e000001", "e000002"]
    done = await bring_back(home, folder, force=True)
    assert await written(home) == ["e000001"]
    assert done.aside is not None
    assert done.aside.parent == home / "replaced"
    assert await written(done.aside) == ["e000001", "e000002"]
    assert everything(done.aside / "brands") == everything(home / "brands")


async def test_a_lost_file_comes_back_and_opens(home: Path) -> None:
    folder = make(home)
    (home / "ledger.db").unlink()
    with pytest.raises(Damaged, match="copydesk restore"):
        await written(home)
    await bring_back(home, folder, force=True)
    assert await written(home) == ["e000001"]


async def test_a_damaged_file_with_its_wal_is_moved_aside_whole(home: Path) -> None:
    folder = make(home)
    (home / "records.db").write_bytes(b"this is a letter, not a database. " * 300)
    (home / "records.db-wal").write_bytes(b"stale")
    done = await bring_back(home, folder, force=True)
    assert await written(home) == ["e000001"]
    assert done.aside is not None
    assert (done.aside / "records.db-wal").read_bytes() == b"stale"


@pytest.mark.parametrize("name", NAMES)
async def test_an_installation_that_anybody_has_open_is_left_alone(home: Path, name: str) -> None:
    folder = make(home)
    before = everything(home / "brands")
    with closing(sqlite3.connect(home / name)) as idle:
        idle.execute("PRAGMA journal_mode = WAL")
        idle.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with pytest.raises(Conflict, match="is open in a running Copydesk"):
            await bring_back(home, folder, force=True)
    await write(home, 2)
    assert await written(home) == ["e000001", "e000002"]
    assert everything(home / "brands") == before
    assert not (home / "replaced").exists()


async def state_of(home: Path) -> tuple[int, bool] | None:
    try:
        # By way of the runtime, as every command and worker does.
        async with open_runtime(Settings(data_dir=home), clock=ManualClock()) as runtime:
            records = runtime.records.for_brand("acme")
            rows = len(await records.list_rows(Event, day="2026-12-07"))
            return rows, await records.find(Control, name=PAUSE) is not None
    except Damaged:
        return None


async def test_a_restore_that_dies_at_any_step_can_be_run_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    folder = make(home, tmp_path / "b")
    await write(home, 2)
    states: set[tuple[int, bool] | None] = set()  # rows and whether paused; None: refused
    for step in range(100):
        trial = tmp_path / f"t{step}"
        shutil.copytree(home, trial)
        left = step

        def dying(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any) -> Any:
                nonlocal left
                if left == 0:
                    raise Died
                left -= 1
                return real(*args)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(restore_module.os, "rename", dying(os.rename))
            patch.setattr(restore_module.shutil, "move", dying(shutil.move))
            patch.setattr(restore_module.shutil, "rmtree", lambda *_, **__: None)  # a death cleans nothing up
            try:
                await bring_back(trial, folder, force=True)
                died = False
            except Died:
                died = True
        states.add(await state_of(trial))
        await bring_back(trial, folder, force=True)
        assert await written(trial) == ["e000001"]
        if not died:
            break
    # As it was, or refused, or restored with its pause: never the old rows beside the restored ledger, never unpaused.
    assert states == {(2, False), None, (1, True)}


async def test_what_went_out_after_the_backup_does_not_go_out_again(tmp_path: Path) -> None:
    home, platform, clock = tmp_path / "data", ScriptedPublisher(), ManualClock()
    async with open_newsroom(home, clock=clock) as room:
        await room.runtime.ensure_brand(BRAND)
        desk = Desk(room.runtime, clock, room.script)
        room.runtime.publishers["outbox"] = platform
        piece = await desk.approved()
        later = await desk.approved("p2", at=SLOT + timedelta(days=2))
        folder = make(home, tmp_path / "b")
        desk.at(SLOT)
        await desk.publish(piece)
        assert len(platform.live) == 1
    done = await restore(Settings(data_dir=home), folder, force=True, clock=clock, report=quiet)
    assert [row.content_id for row in done.at_risk] == [piece.id]
    async with open_newsroom(home, clock=clock) as room:
        desk = Desk(room.runtime, clock, room.script)
        room.runtime.publishers["outbox"] = platform
        await reconcile(room.runtime)
        await desk.publish(piece)
        clock.advance(timedelta(minutes=10))
        await desk.run_due()
        assert await desk.state(piece) is PieceState.PUBLISHED, "read back"
        desk.at(SLOT + timedelta(days=2))
        await desk.publish(later)
        assert len(platform.live) == 1, "paused"
        await desk.control(PAUSE, "off")
        await desk.publish(later)
        assert await desk.state(later) is PieceState.PUBLISHED
        assert len(platform.live) == 2


@pytest.mark.parametrize("post", [None, a_thread(3)], ids=["one part", "a thread"])
async def test_what_cannot_be_read_back_waits_for_a_human_also_when_publishing_goes_on(
    tmp_path: Path, post: Post | None
) -> None:
    home, platform, clock = tmp_path / "data", ScriptedPublisher(visible=False), ManualClock()
    async with open_newsroom(home, clock=clock) as room:
        await room.runtime.ensure_brand(BRAND)
        desk = Desk(room.runtime, clock, room.script)
        room.runtime.publishers["outbox"] = platform
        piece = await desk.approved(post=post)
        folder = make(home, tmp_path / "b")
        desk.at(SLOT)
        await desk.publish(piece)
        sent = list(platform.live)
        assert sent
    await restore(Settings(data_dir=home), folder, force=True, clock=clock, report=quiet)
    async with open_newsroom(home, clock=clock) as room:
        desk = Desk(room.runtime, clock, room.script)
        room.runtime.publishers["outbox"] = platform
        await desk.control(PAUSE, "off")
        for n in range(4):
            if n == 2:  # somebody found the beginning of it
                row = await desk.slot(piece)
                subject = subject_of(room.runtime, piece, row, parts=platform.parts(await desk.post(piece)))
                await room.runtime.ledger(BRAND).resolve_by_human(subject, by="ann", sent_url="https://p.test/1")
            await reconcile(room.runtime)
            await desk.run_due()
            await desk.publish(piece)
            clock.advance(timedelta(minutes=10))
            if n < 2:
                assert await desk.state(piece) in (PieceState.PUBLISHING, PieceState.UNKNOWN)
        assert platform.live == sent
        assert await desk.state(piece) is (PieceState.PUBLISHED if post is None else PieceState.UNKNOWN)


# The command line


def test_backup_and_restore_on_the_command_line(cli: Cli, tmp_path: Path) -> None:
    assert cli("backup").complaint.endswith("name another with --data-dir")
    small_brand(cli)
    assert cli("db", "init").code == 0
    made = cli.ok("backup", "--to", str(tmp_path / "b"))
    assert made["verified"] is True
    assert set(made["databases"]) == set(NAMES)
    result = cli("backup", "--verify", str(tmp_path / "b"))
    assert result.code == 0
    assert f"restore {tmp_path / 'b'}" in result.out
    refused = cli("restore", str(tmp_path / "b"))
    assert refused.code == 2
    assert "--force" in refused.err.splitlines()[-1]
    done = cli.ok("restore", str(tmp_path / "b"), "--force")
    assert done["may_be_out"] == []
    assert Path(done["aside"]).is_dir()
    assert cli("restore", str(tmp_path / "none")).code == 2
    assert cli("backup", "--to", "").complaint == "error: --to is empty: name a folder"


async def test_the_terminal_names_each_paused_brand_and_the_command_that_goes_on(home: Path, cli: Cli) -> None:
    folder = make(home)
    cli.data_dir = home.with_name("new")
    result = await asyncio.to_thread(cli, "restore", str(folder))
    assert result.code == 0
    assert "publishing is paused" in result.out
    assert "--brand acme publish resume" in result.out
    resumed = await asyncio.to_thread(cli, "--brand", "acme", "publish", "resume")
    assert resumed.code == 0, resumed
