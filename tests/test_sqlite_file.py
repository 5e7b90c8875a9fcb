"""A SQLite file of ours: what it refuses to open, what an error becomes, and that nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, closing, suppress
from pathlib import Path

import pytest

from config.errors import Busy, CopydeskError, Damaged, DiskFull, Unavailable, UsageError
from memory import sqlite_file, sqlite_lane
from memory.sqlite_errors import translate_error
from memory.sqlite_file import SqliteFile, open_sqlite_file

APPLICATION_ID = 0x54455354


def m001_notes(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE notes (n INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT")


def m002_count(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE counts (n INTEGER NOT NULL) STRICT")
    connection.execute("INSERT INTO counts (n) VALUES (0)")


MIGRATIONS = (m001_notes, m002_count)


def opening(
    path: Path, migrations: tuple[sqlite_file.Migration, ...] = MIGRATIONS
) -> AbstractAsyncContextManager[SqliteFile]:
    return open_sqlite_file(path, application_id=APPLICATION_ID, migrations=migrations)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "notes.db"


@pytest.fixture
async def file(path: Path) -> AsyncIterator[SqliteFile]:
    async with opening(path) as opened:
        yield opened


def add(n: int, text: str = "x") -> Callable[[sqlite3.Connection], None]:
    def operation(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO notes (n, text) VALUES (?, ?)", (n, text))

    return operation


def numbers(db: sqlite3.Connection) -> list[int]:
    return [n for (n,) in db.execute("SELECT n FROM notes ORDER BY n")]


# What is refused when opening


def empty(path: Path) -> None:
    path.write_bytes(b"")


def not_a_database(path: Path) -> None:
    path.write_bytes(b"this is a letter, not a database. " * 300)


def too_short_for_a_header(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\x00")


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def schema_overwritten(path: Path) -> None:
    with path.open("r+b") as raw:
        raw.seek(100)
        raw.write(b"\xff" * 3000)


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA application_id = 7")


def from_a_newer_version(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA user_version = 99")


def without_its_tables(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TABLE schema_migrations")


def gone(path: Path) -> None:
    path.unlink()


def a_link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (empty, Damaged, r"empty \(0 bytes\).*copydesk restore"),
        (not_a_database, Damaged, "not a SQLite database.*copydesk restore"),
        (too_short_for_a_header, Damaged, "not a SQLite database.*copydesk restore"),
        (cut_short, Damaged, "cut short.*copydesk restore"),
        (schema_overwritten, Damaged, "damaged.*copydesk restore"),
        (of_another_program, Damaged, "another program.*0x7"),
        (from_a_newer_version, Damaged, "newer Copydesk.*schema 99.*upgrade"),
        (without_its_tables, Damaged, "lost its schema.*copydesk restore"),
        (gone, Damaged, "was here and is gone.*copydesk restore"),
        (a_link, UsageError, "regular file"),
        (a_folder, UsageError, "regular file"),
    ],
    ids=lambda value: value.__name__ if callable(value) and not isinstance(value, type) else "",
)
async def test_a_file_that_cannot_be_trusted_is_refused_and_left_as_it_is(
    path: Path, spoil: Callable[[Path], None], error: type[CopydeskError], says: str
) -> None:
    async with opening(path) as file:
        await file.write(add(1))
    spoil(path)
    before = path.read_bytes() if path.is_file() else None  # noqa: ASYNC240
    for _ in range(2):  # the second time too: nothing was repaired behind the operator's back
        with pytest.raises(error, match=says) as caught:
            async with opening(path):
                pass
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before  # noqa: ASYNC240


async def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "_filesystem", lambda folder: "nfs4")
    with pytest.raises(UsageError, match=r"network file system \(nfs4\).*--data-dir"):
        async with opening(path):
            pass
    assert not path.exists()  # noqa: ASYNC240


async def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match=r"taken.*--data-dir"):
        async with opening(tmp_path / "taken" / "notes.db"):
            pass


async def test_the_file_and_its_folder_are_for_their_owner_alone(file: SqliteFile, path: Path) -> None:
    assert oct(path.stat().st_mode & 0o777) == "0o600"  # noqa: ASYNC240
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"


# Errors while open


async def test_damage_found_while_reading_names_the_remedy(path: Path) -> None:
    async with opening(path) as file:
        for n in range(40):
            await file.write(add(n, "x" * 4000))
    with path.open("r+b") as raw:
        raw.seek(4096 * 8)
        raw.write(b"\xff" * 4096 * 20)
    async with opening(path) as file:
        with pytest.raises(Damaged, match="copydesk restore"):
            await file.read(lambda db: db.execute("SELECT n, text FROM notes").fetchall())


async def test_a_file_locked_for_too_long_is_busy_and_serves_again_when_freed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_lane, "BUSY_MS", 20)
    async with opening(path) as file:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy, match="fuser"):
            await file.write(add(1))
        assert await file.read(numbers) == []  # readers are not held up
        holder.execute("COMMIT")
        holder.close()
        await file.write(add(2))
        assert await file.read(numbers) == [2]


async def test_read_then_write_never_meets_a_stale_snapshot(path: Path, file: SqliteFile) -> None:
    def count_up(db: sqlite3.Connection) -> None:
        (n,) = db.execute("SELECT n FROM counts").fetchone()
        db.execute("UPDATE counts SET n = ?", (n + 1,))

    async with opening(path) as second:
        await asyncio.gather(*(each.write(count_up) for _ in range(100) for each in (file, second)))
    assert await file.read(lambda db: db.execute("SELECT n FROM counts").fetchone()) == (200,)


async def test_a_full_disk_undoes_the_write_and_work_goes_on_when_there_is_room(file: SqliteFile) -> None:
    await file.write(add(1))
    pages = await file.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await limit_pages(file, pages + 2)
    with pytest.raises(DiskFull, match="free space"):
        await file.write(add(2, "x" * 100_000))
    assert await file.read(numbers) == [1]
    await limit_pages(file, 1_000_000)
    await file.write(add(3, "x" * 100_000))
    assert await file.read(numbers) == [1, 3]
    assert await file.read(lambda db: db.execute("PRAGMA integrity_check").fetchone()) == ("ok",)


async def limit_pages(file: SqliteFile, pages: int) -> None:
    await file.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())


FILE_LIMIT = """
import asyncio, resource, sys
from pathlib import Path
from config.errors import DiskFull
from tests.test_sqlite_file import add, numbers, opening

async def main():
    async with opening(Path(sys.argv[1])) as file:
        await file.write(add(1))
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
        try:
            await file.write(add(2, "x" * 1_000_000))
        except DiskFull:
            print("disk full")
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await file.write(add(3))
        print(await file.read(numbers))

asyncio.run(main())
"""


async def test_a_write_that_the_system_cuts_off_is_a_full_disk(path: Path) -> None:
    told = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", FILE_LIMIT, str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert told.stdout.splitlines() == ["disk full", "[1, 3]"], told.stderr


async def test_a_file_that_may_not_be_written_names_its_mode(file: SqliteFile) -> None:
    await file.write(add(1))
    await file.write(lambda db: db.execute("PRAGMA query_only = ON").fetchone())
    with pytest.raises(UsageError, match=r"chmod u\+rw"):
        await file.write(add(2))
    assert await file.read(numbers) == [1]


@pytest.mark.parametrize("replace", [False, True], ids=["deleted", "replaced"])
async def test_a_file_that_vanishes_while_open_takes_no_more_writes(path: Path, replace: bool) -> None:
    async with opening(path) as file:
        await file.write(add(1))
        path.unlink()  # noqa: ASYNC240
        if replace:
            path.write_bytes(b"something else")  # noqa: ASYNC240
        for lane in (file._writer, file._reader):
            lane._checked -= 2  # seconds: it looks once a second
        with pytest.raises(Damaged, match=r"deleted or replaced while open.*copydesk restore"):
            await file.write(add(2))
        with pytest.raises(Damaged, match="deleted or replaced while open"):
            await file.read(numbers)


PRIMARY_CODES = sorted(
    {
        getattr(sqlite3, name)
        for name in dir(sqlite3)
        if name.startswith("SQLITE_") and not name.startswith("SQLITE_LIMIT")
    }
    & set(range(1, 29))
)


@pytest.mark.parametrize("code", PRIMARY_CODES)
def test_every_error_code_of_sqlite_becomes_an_error_of_ours(code: int) -> None:
    error = sqlite3.OperationalError("the cause")
    error.sqlite_errorcode = code
    ours = translate_error(error, Path("notes.db"))
    assert isinstance(ours, CopydeskError)
    assert "notes.db" in str(ours)
    expected = {
        5: Busy,
        6: Busy,
        8: UsageError,
        10: Unavailable,
        11: Damaged,
        13: DiskFull,
        14: UsageError,
        26: Damaged,
    }
    assert type(ours) is expected.get(code, type(ours))


# Promises of writing


async def test_an_operation_that_fails_harms_no_neighbour(file: SqliteFile) -> None:
    def half_done(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO notes (n, text) VALUES (1000, 'half')")
        raise ValueError("changed its mind")

    operations = [add(n) for n in range(30)] + [half_done, add(5)] + [add(n) for n in range(30, 60)]
    results = await asyncio.gather(*(file.write(operation) for operation in operations), return_exceptions=True)
    failed = [result for result in results if result is not None]
    assert [type(result) for result in failed] == [ValueError, CopydeskError]
    assert await file.read(numbers) == list(range(60))


async def test_a_read_sees_every_acknowledged_write(file: SqliteFile) -> None:
    for n in range(50):
        await file.write(add(n))
        assert (await file.read(numbers))[-1] == n


async def test_a_read_cannot_write(file: SqliteFile) -> None:
    with pytest.raises(UsageError):
        await file.read(add(1))
    assert await file.read(numbers) == []


async def test_a_closed_file_is_unavailable(path: Path) -> None:
    async with opening(path) as file:
        await file.write(add(1))
    with pytest.raises(Unavailable, match="closed"):
        await file.write(add(2))


async def test_migrations_run_once_in_order_and_are_recorded(path: Path) -> None:
    async with opening(path, MIGRATIONS[:1]) as file:
        await file.write(add(1))
    for _ in range(2):
        async with opening(path) as file:
            assert await file.read(numbers) == [1]
            recorded = await file.read(lambda db: db.execute("SELECT n, name FROM schema_migrations").fetchall())
            assert recorded == [(1, "m001_notes"), (2, "m002_count")]


async def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    def m003_breaks(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE notes")
        raise sqlite3.OperationalError("no")

    async with opening(path) as file:
        await file.write(add(1))
    with pytest.raises(CopydeskError):
        async with opening(path, (*MIGRATIONS, m003_breaks)):
            pass
    async with opening(path) as file:
        assert await file.read(numbers) == [1]


WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from tests.test_sqlite_file import add, opening

async def write_on(file, n, step):
    while True:
        await file.write(add(n))
        sys.stdout.write(f"{n}\\n")
        sys.stdout.flush()
        n += step

async def main():
    async with opening(Path(sys.argv[1])) as file:
        await asyncio.gather(*(write_on(file, n, 8) for n in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("heard", [1, 40, 400])
def test_killing_the_writer_loses_no_acknowledged_write(path: Path, heard: int) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(heard)]
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate(timeout=30)
    for line in rest.splitlines(keepends=True):
        with suppress(ValueError):
            if line.endswith("\n"):  # the kill may have cut the last line
                acknowledged.append(int(line))

    async def read() -> tuple[set[int], str]:
        async with opening(path) as file:
            check = await file.read(lambda db: db.execute("PRAGMA integrity_check").fetchone()[0])
            return set(await file.read(numbers)), check

    kept, check = asyncio.run(read())
    assert set(acknowledged) <= kept
    assert check == "ok"
