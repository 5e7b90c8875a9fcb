"""Opening a file twice in one process must not drop the locks of the first opening: SQLite's best-known trap."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

from memory.sqlite_file import open_sqlite_file

READ_AND_CLOSE = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(c.execute('SELECT count(*) FROM t').fetchone()[0]); c.close()"


def m001(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (a INTEGER) STRICT")


async def test_another_process_closing_leaves_the_wal_to_a_process_that_opened_the_file_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with open_sqlite_file(path, application_id=7, migrations=[m001]) as first:
        await first.write(lambda db: db.execute("INSERT INTO t VALUES (1)"))
        async with open_sqlite_file(path, application_id=7, migrations=[m001]) as second:
            answer = subprocess.run([sys.executable, "-c", READ_AND_CLOSE, str(path)], capture_output=True, text=True, check=True)
            assert answer.stdout == "1\n"
            assert path.with_name("x.db-wal").exists(), "the other process took itself for the last one and deleted the WAL"
            await second.write(lambda db: db.execute("INSERT INTO t VALUES (2)"))
            assert await first.read(lambda db: db.execute("SELECT count(*) FROM t").fetchone()[0]) == 2
