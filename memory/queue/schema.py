"""The tables of the queue's SQLite file. Append-only: a shipped migration is never edited, the next one mends it."""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x43445155  # "CDQU"


def m001_tasks(connection: sqlite3.Connection) -> None:
    for statement in _M001:
        connection.execute(statement)


def m002_turns(connection: sqlite3.Connection) -> None:
    for statement in _M002:
        connection.execute(statement)


MIGRATIONS = (m001_tasks, m002_turns)

_M001 = (
    """
    CREATE TABLE tasks (
        seq         INTEGER PRIMARY KEY,           -- order of first enqueueing
        id          TEXT NOT NULL UNIQUE,
        kind        TEXT NOT NULL,
        queue       TEXT NOT NULL,
        brand       TEXT NOT NULL,
        priority    INTEGER NOT NULL REFERENCES priorities,
        run_at      INTEGER NOT NULL,              -- epoch milliseconds
        state       TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'leased', 'dead')),
        attempts    INTEGER NOT NULL DEFAULT 0,
        deaths      INTEGER NOT NULL DEFAULT 0,
        solo_deaths INTEGER NOT NULL DEFAULT 0,
        reason      TEXT NOT NULL DEFAULT '',
        token       TEXT CHECK ((token IS NOT NULL) = (state = 'leased')),
        expires_at  INTEGER,                       -- epoch milliseconds, while leased
        solo        INTEGER NOT NULL DEFAULT 0,    -- leased by a worker that runs nothing else
        owner       TEXT,                          -- JSON of the Owner, while leased
        again_at    INTEGER,                       -- epoch milliseconds: enqueued while leased, due then
        died_at     INTEGER,                       -- epoch milliseconds, while dead
        payload     TEXT NOT NULL
    ) STRICT
    """,
    "CREATE TABLE priorities (priority INTEGER PRIMARY KEY) STRICT",
    "INSERT INTO priorities VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)",
    """
    CREATE TABLE queues (
        name        TEXT PRIMARY KEY,
        waiting     INTEGER NOT NULL DEFAULT 0,    -- kept by the triggers: counting 10,000 rows an enqueue is too slow
        paused      INTEGER NOT NULL DEFAULT 0,
        concurrency INTEGER                        -- leases at a time over all workers; null: no bound
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX tasks_waiting ON tasks (queue, priority, run_at) WHERE state = 'waiting' AND deaths < 2",
    "CREATE INDEX tasks_suspect ON tasks (queue, priority, run_at) WHERE state = 'waiting' AND deaths >= 2",
    "CREATE INDEX tasks_leased ON tasks (expires_at, queue) WHERE state = 'leased'",
    "CREATE INDEX tasks_dead ON tasks (died_at) WHERE state = 'dead'",
    """
    CREATE TRIGGER tasks_count_insert AFTER INSERT ON tasks WHEN NEW.state = 'waiting' BEGIN
        INSERT INTO queues (name, waiting) VALUES (NEW.queue, 1) ON CONFLICT (name) DO UPDATE SET waiting = waiting + 1;
    END
    """,
    """
    CREATE TRIGGER tasks_count_update AFTER UPDATE OF state ON tasks
    WHEN (NEW.state = 'waiting') <> (OLD.state = 'waiting') BEGIN
        UPDATE queues SET waiting = waiting + iif(NEW.state = 'waiting', 1, -1) WHERE name = NEW.queue;
    END
    """,
    """
    CREATE TRIGGER tasks_count_delete AFTER DELETE ON tasks WHEN OLD.state = 'waiting' BEGIN
        UPDATE queues SET waiting = waiting - 1 WHERE name = OLD.queue;
    END
    """,
)

# The brands of one priority take turns (memory/queue/sqlite_next.py), so each brand's tasks stand together.
_M002 = (
    "DROP INDEX tasks_waiting",
    "DROP INDEX tasks_suspect",
    "CREATE INDEX tasks_ready ON tasks (queue, priority, brand, run_at) WHERE state = 'waiting' AND deaths < 2",
    "CREATE INDEX tasks_suspect ON tasks (queue, priority, brand, run_at) WHERE state = 'waiting' AND deaths >= 2",
    """
    CREATE TABLE turns (
        asked    TEXT NOT NULL,     -- the queues that were asked together
        priority INTEGER NOT NULL,
        brand    TEXT NOT NULL,     -- whose turn was last, where several brands had due tasks
        PRIMARY KEY (asked, priority)
    ) STRICT, WITHOUT ROWID
    """,
)
