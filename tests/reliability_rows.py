"""What the table of reliability rows is built from: the table itself, everything a data directory holds, and the two shapes that
most rows demand (refused on the command line, dead-lettered by the worker).
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.calendar import week_key
from config.clock import SystemClock
from config.errors import CopydeskError
from memory.queue.protocol import DeadTask, Task
from tests.cli_support import Cli, Result, small_brand
from tests.test_worker import Bench

BAD_INPUT = 2
BUSY = 75
Contents = dict[str, Any]


@dataclass(frozen=True)
class World:
    """Where a case runs: a data directory with a planned week in it, and one that does not exist."""

    cli: Cli
    """Its data directory holds the brand `acme` and a week that is under way."""
    fresh: Cli
    """Its data directory does not exist."""
    patch: pytest.MonkeyPatch
    folder: Path
    """An empty folder of the case's own."""

    def refused(self, *argv: str, says: tuple[str, ...], code: int = BAD_INPUT) -> None:
        """Both data directories refuse `argv` in one line holding every one of `says`, and are as they were."""
        for cli in (self.fresh, self.cli):
            before = contents(cli.data_dir)
            check_refusal(cli(*argv), says=says, code=code)
            assert contents(cli.data_dir) == before

    def refused_setting(self, name: str, value: str, *says: str) -> None:
        """The setting is refused by verbs that read and verbs that write, whatever they would have done."""
        with self.patch.context() as patch:
            patch.setenv(name, value)
            for argv in (("queue", "list"), ("--brand", "acme", "knowledge", "add", str(Path(__file__)))):
                self.refused(*argv, says=says)


def check_refusal(result: Result, *, says: tuple[str, ...], code: int = BAD_INPUT) -> None:
    """Exactly one printable line on stderr, nothing on stdout, and the exit code."""
    assert (result.code, result.out) == (code, ""), result
    assert all(part in result.complaint for part in says), (says, result.complaint)
    assert result.complaint.startswith("error: ")
    assert len(result.complaint) < 1000
    assert result.complaint.isprintable()


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    row: int
    subject: str
    run: Callable[[World], Any]

    @property
    def id(self) -> str:
        return f"row-{self.row}-{self.subject}"


class Table(list[Case]):
    """The rows, in the order in which they are written down."""

    def row(self, number: int, subject: str) -> Callable[[Callable[[World], Any]], Callable[[World], Any]]:
        """Make the decorated function the case of row `number`; it may be a coroutine function."""

        def add(run: Callable[[World], Any]) -> Callable[[World], Any]:
            self.append(Case(number, subject, run))
            return run

        return add


def contents(data_dir: Path) -> Contents | None:
    """Every row of every database and the hash of every other file; None where there is no directory."""
    if not data_dir.exists():
        return None
    found: Contents = {}
    for path in sorted(data_dir.rglob("*")):
        if path.suffix == ".db":
            found |= {f"{path.name}/{table}": rows for table, rows in database_rows(path).items()}
        elif path.is_file() and not path.name.endswith((".db-wal", ".db-shm")):
            found[str(path.relative_to(data_dir))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def database_rows(path: Path) -> dict[str, list[str]]:
    """Every row of every table of a database that nobody has damaged."""
    with closing(sqlite3.connect(path)) as db:
        db.text_factory = bytes  # a case may have stored text that is none
        tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'")
        return {
            name.decode(): sorted(map(repr, db.execute(f'SELECT * FROM "{name.decode()}"')))
            for (name,) in tables.fetchall()
        }


def coming_week() -> str:
    """An ISO week that begins after the present one, whenever the tests run."""
    return week_key(SystemClock().now() + timedelta(days=14))


def plant(cli: Cli) -> None:
    """Write the brand `acme` and start a week that no worker has touched yet."""
    small_brand(cli)
    cli.ok("--brand", "acme", "cycle", "run", "--theme", "water-and-pause", "--week", coming_week(), "--detach")


def copy_planted(planted: Path, to: Path) -> None:
    """A data directory like the planted one."""
    shutil.copytree(planted, to)
    to.chmod(0o700)


# Tasks


async def refused_task(bench: Bench, task: Task, *says: str) -> None:
    """The queue refuses the task, and a good one enqueued with it, in one line; nothing is stored."""
    stored = database_rows(bench.runtime.settings.data_dir / "queue.db")
    good = Task("good", task.kind, task.queue, "acme", bench.runtime.clock.now(), {"piece_id": "good"})
    with pytest.raises(CopydeskError) as refusal:
        await bench.queue.enqueue(good, task)
    message = str(refusal.value)
    assert refusal.value.exit_code == BAD_INPUT, refusal.value
    assert "\n" not in message
    assert all(part in message for part in says), (says, message)
    assert len(message) < 1000
    assert database_rows(bench.runtime.settings.data_dir / "queue.db") == stored


async def nothing(piece_id: str, guard: Any) -> None:
    """The work of a piece that has nothing to do."""


async def dead_lettered(bench: Bench, *payloads: bytes) -> list[DeadTask]:
    """Spoil the payload of one stored task each; a worker buries them all, and does the good task behind them."""
    bench.does(nothing)
    file = bench.runtime.settings.data_dir / "queue.db"
    for n, payload in enumerate(payloads):
        task = await bench.piece(f"bad{n}")
        with closing(sqlite3.connect(file)) as db, db:
            db.execute("UPDATE tasks SET payload = CAST(? AS TEXT) WHERE id = ?", (payload, task.id))
    await bench.piece("good")
    await bench.run()
    letters = await bench.queue.list_dead()
    assert bench.ran == ["good"]
    assert {letter.task.id for letter in letters} == {f"advance:bad{n}" for n in range(len(payloads))}
    for n in range(len(payloads)):
        row = await bench.row(f"bad{n}")
        assert (row.attempts, row.deaths, row.state) == (0, 0, "drafting"), "its row is whole: reconcile makes it anew"
    for letter in letters:
        assert letter.reason.startswith("payload does not decode: ")
        assert "\n" not in letter.reason
    return letters
