"""The session database: what may vanish. One file, shared by the cache and the user sessions.

The seed's SQLite tables, with `brand` in every key. `generation_queue` is not among them: tasks are not stored twice,
and an SQL view cannot read another file or a Redis, so `memory/generation_queue.py` makes its rows.
"""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x43444B53  # "CDKS"


def m001_initial(connection: sqlite3.Connection) -> None:
    for statement in _INITIAL.split(";"):
        if statement.strip():
            connection.execute(statement)


_INITIAL = """
CREATE TABLE sessions (
    brand TEXT NOT NULL,
    id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    session_data TEXT NOT NULL,         -- JSON
    expires_at INTEGER NOT NULL,        -- epoch milliseconds, as every *_at here
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (brand, id)
) STRICT;
CREATE INDEX idx_sessions_user_id ON sessions (brand, user_id);
CREATE INDEX idx_sessions_expires_at ON sessions (expires_at);

CREATE TABLE user_preferences (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    brand TEXT NOT NULL,
    user_id TEXT NOT NULL,
    preference_key TEXT NOT NULL,
    preference_value TEXT NOT NULL,     -- JSON
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (brand, user_id, preference_key)
) STRICT;

CREATE TABLE content_cache (
    brand TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,                -- JSON
    content_type TEXT NOT NULL,         -- 'generated_content', 'ai_response', 'api_result'
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (brand, key)
) STRICT;
CREATE INDEX idx_content_cache_expires_at ON content_cache (expires_at);
CREATE INDEX idx_content_cache_content_type ON content_cache (content_type);

CREATE TABLE cache_lists (
    brand TEXT NOT NULL,
    key TEXT NOT NULL,
    last_n INTEGER NOT NULL,            -- of the newest item
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (brand, key)
) STRICT;
CREATE INDEX idx_cache_lists_expires_at ON cache_lists (expires_at);

CREATE TABLE cache_list_items (
    brand TEXT NOT NULL,
    key TEXT NOT NULL,
    n INTEGER NOT NULL,
    value TEXT NOT NULL,                -- JSON
    PRIMARY KEY (brand, key, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE envelopes (
    brand TEXT NOT NULL,
    key TEXT NOT NULL,
    expires_at INTEGER NOT NULL,        -- a row here is what makes an envelope known
    PRIMARY KEY (brand, key)
) STRICT;
CREATE INDEX idx_envelopes_expires_at ON envelopes (expires_at);

CREATE TABLE holds (
    brand TEXT NOT NULL,
    key TEXT NOT NULL,
    item TEXT NOT NULL,
    amount_nano INTEGER NOT NULL,       -- US dollars x 10^9: sums of integers are exact
    set_at INTEGER NOT NULL,
    PRIMARY KEY (brand, key, item)
) STRICT, WITHOUT ROWID;

CREATE TABLE temp_content (
    brand TEXT NOT NULL,
    id TEXT NOT NULL,
    content_type TEXT NOT NULL,
    platform TEXT NOT NULL,
    content_data TEXT NOT NULL,         -- JSON
    media_urls TEXT NOT NULL,           -- JSON array
    generation_metadata TEXT NOT NULL,  -- JSON
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (brand, id)
) STRICT;
CREATE INDEX idx_temp_content_expires_at ON temp_content (expires_at);
CREATE INDEX idx_temp_content_content_type ON temp_content (content_type);

CREATE TABLE batch_operations (
    brand TEXT NOT NULL,
    id TEXT NOT NULL,
    operation_type TEXT NOT NULL,       -- 'content_generation', 'publication', 'compliance_check'
    total_items INTEGER NOT NULL,
    completed_items INTEGER NOT NULL,
    failed_items INTEGER NOT NULL,
    status TEXT NOT NULL,               -- 'pending', 'running', 'completed', 'failed'
    operation_data TEXT NOT NULL,       -- JSON
    results TEXT NOT NULL,              -- JSON
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    completed_at INTEGER,
    PRIMARY KEY (brand, id)
) STRICT;
CREATE INDEX idx_batch_operations_status ON batch_operations (status);
CREATE INDEX idx_batch_operations_created_at ON batch_operations (created_at);

CREATE TABLE short_term_notes (
    brand TEXT NOT NULL,
    session_id TEXT NOT NULL,
    agent_type TEXT NOT NULL,
    memory_key TEXT NOT NULL,
    memory_content TEXT NOT NULL,
    relevance_score REAL NOT NULL,
    context_data TEXT NOT NULL,         -- JSON
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (brand, session_id, agent_type, memory_key)
) STRICT;
CREATE INDEX idx_short_term_notes_expires_at ON short_term_notes (expires_at)
"""


def m002_session_events(connection: sqlite3.Connection) -> None:
    for statement in _SESSION_EVENTS:
        connection.execute(statement)


_SESSION_EVENTS = (
    "DROP TABLE cache_list_items",  # the lists of events that these streams take the place of
    "DROP TABLE cache_lists",
    """
    CREATE TABLE session_events (
        seq INTEGER PRIMARY KEY,                -- in the order of commits; above epoch milliseconds x 1000, so that a number
                                                -- means the same event also when the file was made anew
        brand TEXT NOT NULL,
        session_id TEXT NOT NULL,
        prev INTEGER NOT NULL,                  -- seq of the session's event before this one, 0 if none was held
        event TEXT NOT NULL,                    -- JSON
        expires_at INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX idx_session_events_session ON session_events (brand, session_id, seq)",
    "CREATE INDEX idx_session_events_expires_at ON session_events (expires_at)",
)

MIGRATIONS = (m001_initial, m002_session_events)
