"""Tables and migrations of `checkpoints.db`. Migrations are appended, never changed."""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x43444B43  # "CDKC"


def m001_initial(connection: sqlite3.Connection) -> None:
    connection.execute("""
        CREATE TABLE thread_owners (
            brand TEXT NOT NULL,
            thread_id TEXT NOT NULL,
            n INTEGER NOT NULL,           -- claims so far; never goes down
            token TEXT NOT NULL,          -- of the last claim; '' after a delete: nobody may write until the next claim
            claimed_at INTEGER NOT NULL,  -- epoch milliseconds, for people
            PRIMARY KEY (brand, thread_id)
        ) STRICT, WITHOUT ROWID""")
    connection.execute("""
        CREATE TABLE checkpoints (
            brand TEXT NOT NULL,
            thread_id TEXT NOT NULL,
            ns TEXT NOT NULL,
            checkpoint_id TEXT NOT NULL,
            parent_id TEXT,
            run_id TEXT NOT NULL,
            type TEXT NOT NULL,
            checkpoint BLOB NOT NULL,
            metadata TEXT NOT NULL,       -- JSON
            PRIMARY KEY (brand, thread_id, ns, checkpoint_id)
        ) STRICT""")
    connection.execute("CREATE INDEX checkpoints_of_run ON checkpoints (brand, run_id) WHERE run_id <> ''")
    connection.execute("""
        CREATE TABLE writes (
            brand TEXT NOT NULL,
            thread_id TEXT NOT NULL,
            ns TEXT NOT NULL,
            checkpoint_id TEXT NOT NULL,
            task_id TEXT NOT NULL,
            task_path TEXT NOT NULL,
            idx INTEGER NOT NULL,         -- below 0: error, interrupt, resume
            channel TEXT NOT NULL,
            type TEXT NOT NULL,
            value BLOB NOT NULL,
            PRIMARY KEY (brand, thread_id, ns, checkpoint_id, task_id, idx)
        ) STRICT""")


MIGRATIONS = (m001_initial,)
