"""Opening a file twice in one process must not drop the locks of the first opening: SQLite's best-known trap."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

from memory.sqlite_file import open_sqlite_file

READ_AND_CLOSE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM t").fetchone()[0])
connection.close()
"""


def m001(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE t (a INTEGER) STRICT")


async def test_another_process_closing_leaves_the_wal_to_a_process_that_opened_the_file_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with open_sqlite_file(path, application_id=7, migrations=[m001]) as first:
        await first.write(lambda db: db.execute("INSERT INTO t VALUES (1)"))
        async with open_sqlite_file(path, application_id=7, migrations=[m001]) as second:
            reader = await asyncio.create_subprocess_exec(
                sys.executable, "-c", READ_AND_CLOSE, str(path), stdout=asyncio.subprocess.PIPE
            )
            assert (await reader.communicate())[0] == b"1\n"
            wal = path.with_name("x.db-wal")
            assert wal.exists(), "the other process took itself for the last one and deleted the WAL"
            await second.write(lambda db: db.execute("INSERT INTO t VALUES (2)"))
            assert await first.read(lambda db: db.execute("SELECT count(*) FROM t").fetchone()[0]) == 2
