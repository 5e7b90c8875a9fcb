"""The tables of records.db and ledger.db, as they came to be. Append only: a released migration is never edited.

Every `*_at` column, `deadline` and `expires_after` are milliseconds since 1970, UTC. Columns of type TEXT that hold
lists, maps or nested objects hold JSON. Tables that are searched by vector or words have a `number`, because VACUUM
(and so a backup) renumbers rowids that nobody declared. Every index but the one that sweeping reads begins with the
brand: every read names one.
"""

from __future__ import annotations

import sqlite3

RECORDS_ID = 0x43445231
"""application_id of records.db: 'CDR1'."""
LEDGER_ID = 0x43444C31
"""application_id of ledger.db: 'CDL1'."""

_TABLES = """
CREATE TABLE brands (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, realm TEXT NOT NULL, name TEXT NOT NULL,
    title TEXT NOT NULL, zone TEXT NOT NULL, first_cycle_key TEXT NOT NULL, profile_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (realm, name)
) STRICT;
CREATE TABLE brand_knowledge (
    number INTEGER PRIMARY KEY, brand TEXT NOT NULL, row_version INTEGER NOT NULL, id TEXT NOT NULL,
    knowledge_type TEXT NOT NULL, title TEXT NOT NULL, content TEXT NOT NULL, embedding BLOB NOT NULL,
    embedder_id TEXT NOT NULL, relevance_score REAL NOT NULL, category TEXT NOT NULL,
    status TEXT NOT NULL, version INTEGER NOT NULL, source_id TEXT NOT NULL, chunk INTEGER NOT NULL,
    trust TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    UNIQUE (id)
) STRICT;
CREATE INDEX brand_knowledge_by_knowledge_type ON brand_knowledge (brand, knowledge_type);
CREATE INDEX brand_knowledge_by_category ON brand_knowledge (brand, category);
CREATE INDEX brand_knowledge_by_status ON brand_knowledge (brand, status);
CREATE TABLE knowledge_sources (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL,
    title TEXT NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL, version INTEGER NOT NULL,
    chunks INTEGER NOT NULL, status TEXT NOT NULL, attribution TEXT NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (brand, name)
) STRICT;
CREATE TABLE brand_guidelines (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, id TEXT NOT NULL, guideline_type TEXT NOT NULL,
    category TEXT NOT NULL, title TEXT NOT NULL, description TEXT NOT NULL, requirements TEXT NOT NULL,
    restrictions TEXT NOT NULL, examples TEXT NOT NULL, severity_level TEXT NOT NULL,
    platforms TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (id)
) STRICT;
CREATE INDEX brand_guidelines_by_guideline_type ON brand_guidelines (brand, guideline_type);
CREATE TABLE controls (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    "by" TEXT NOT NULL, reason TEXT NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (brand, name)
) STRICT;
CREATE TABLE content_library (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, id TEXT NOT NULL, title TEXT NOT NULL,
    description TEXT NOT NULL, content_type TEXT NOT NULL, platform TEXT NOT NULL,
    platform_specs TEXT NOT NULL, script_content TEXT NOT NULL, media_prompts TEXT NOT NULL,
    compliance_notes TEXT NOT NULL, performance_metrics TEXT NOT NULL, status TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL, session_id TEXT NOT NULL, cycle_key TEXT NOT NULL,
    cycle_day INTEGER NOT NULL, theme TEXT NOT NULL, plan INTEGER NOT NULL, copy_n INTEGER NOT NULL,
    brief_id TEXT NOT NULL, run INTEGER NOT NULL, content_hash TEXT NOT NULL,
    content_version INTEGER NOT NULL, sealed_hash TEXT NOT NULL, media TEXT NOT NULL,
    mode TEXT NOT NULL, retry_at INTEGER, attempts INTEGER NOT NULL, deaths INTEGER NOT NULL,
    dead_letter TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    published_at INTEGER,
    PRIMARY KEY (id)
) STRICT;
CREATE INDEX content_library_by_state ON content_library (brand, state);
CREATE INDEX content_library_by_content_type ON content_library (brand, content_type);
CREATE TABLE content_revisions (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, content_id TEXT NOT NULL,
    content_hash TEXT NOT NULL, post TEXT NOT NULL, sources TEXT NOT NULL, citations TEXT NOT NULL,
    gaps TEXT NOT NULL, mode TEXT NOT NULL, author TEXT NOT NULL, run INTEGER NOT NULL,
    revision INTEGER NOT NULL, template_id TEXT NOT NULL, created_at INTEGER NOT NULL,
    PRIMARY KEY (content_id, content_hash)
) STRICT;
CREATE TABLE content_embeddings (
    number INTEGER PRIMARY KEY, brand TEXT NOT NULL, row_version INTEGER NOT NULL, id TEXT NOT NULL,
    content_type TEXT NOT NULL, platform TEXT NOT NULL, content_text TEXT NOT NULL,
    embedding BLOB NOT NULL, embedder_id TEXT NOT NULL, metadata TEXT NOT NULL,
    brand_alignment_score REAL NOT NULL, compliance_status TEXT NOT NULL, created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (id)
) STRICT;
CREATE INDEX content_embeddings_by_content_type ON content_embeddings (brand, content_type);
CREATE INDEX content_embeddings_by_platform ON content_embeddings (brand, platform);
CREATE INDEX content_embeddings_by_compliance_status ON content_embeddings (brand, compliance_status);
CREATE TABLE content_templates (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, id TEXT NOT NULL, template_name TEXT NOT NULL,
    content_type TEXT NOT NULL, platform TEXT NOT NULL, template_structure TEXT NOT NULL,
    script_template TEXT NOT NULL, media_template TEXT NOT NULL, compliance_requirements TEXT NOT NULL,
    usage_count INTEGER NOT NULL, performance_score REAL NOT NULL, created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (id)
) STRICT;
CREATE INDEX content_templates_by_content_type ON content_templates (brand, content_type);
CREATE INDEX content_templates_by_platform ON content_templates (brand, platform);
CREATE TABLE metrics (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, content_id TEXT NOT NULL, id TEXT NOT NULL,
    platform TEXT NOT NULL, "values" TEXT NOT NULL, created_at INTEGER NOT NULL,
    PRIMARY KEY (content_id, id)
) STRICT;
CREATE TABLE compliance_checks (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, content_id TEXT NOT NULL, id TEXT NOT NULL,
    check_type TEXT NOT NULL, check_result TEXT NOT NULL, confidence_score REAL NOT NULL,
    issues_found TEXT NOT NULL, findings TEXT NOT NULL, recommendations TEXT NOT NULL,
    content_hash TEXT NOT NULL, run INTEGER NOT NULL, checked_by TEXT NOT NULL,
    reviewer_id TEXT NOT NULL, reviewed_at INTEGER, created_at INTEGER NOT NULL,
    PRIMARY KEY (content_id, id)
) STRICT;
CREATE INDEX compliance_checks_by_check_result ON compliance_checks (brand, check_result);
CREATE TABLE reviews (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, id TEXT NOT NULL, piece_id TEXT NOT NULL,
    session_id TEXT NOT NULL, content_hash TEXT NOT NULL, platform TEXT NOT NULL,
    content_type TEXT NOT NULL, result TEXT NOT NULL, findings INTEGER NOT NULL, severity TEXT,
    why TEXT NOT NULL, decision TEXT NOT NULL, reviewer TEXT NOT NULL, reason TEXT NOT NULL,
    edited_to TEXT NOT NULL, decided_at INTEGER, created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (brand, id)
) STRICT;
CREATE INDEX reviews_by_decision ON reviews (brand, decision);
CREATE TABLE publication_schedule (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, cycle_key TEXT NOT NULL, id TEXT NOT NULL,
    content_id TEXT NOT NULL, platform TEXT NOT NULL, content_type TEXT NOT NULL, account TEXT NOT NULL,
    scheduled_at INTEGER NOT NULL, arranged_at INTEGER, cycle_week INTEGER NOT NULL,
    cycle_day INTEGER NOT NULL, theme TEXT NOT NULL, priority INTEGER NOT NULL, status TEXT NOT NULL,
    state TEXT NOT NULL, sealed_hash TEXT NOT NULL, result_data TEXT NOT NULL, session_id TEXT NOT NULL,
    plan INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (brand, cycle_key, id)
) STRICT;
CREATE INDEX publication_schedule_by_state ON publication_schedule (brand, state);
CREATE TABLE accounts (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, name TEXT NOT NULL, platform TEXT NOT NULL,
    publisher TEXT NOT NULL, status TEXT NOT NULL, created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (brand, name)
) STRICT;
CREATE TABLE schedules (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
    rule TEXT NOT NULL, zone TEXT NOT NULL, status TEXT NOT NULL, next_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (brand, name)
) STRICT;
CREATE TABLE schedule_fires (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, id TEXT NOT NULL, schedule TEXT NOT NULL,
    local_slot TEXT NOT NULL, outcome TEXT NOT NULL, session_id TEXT NOT NULL,
    fired_at INTEGER NOT NULL,
    PRIMARY KEY (brand, id)
) STRICT;
CREATE TABLE agent_memory (
    number INTEGER PRIMARY KEY, brand TEXT NOT NULL, row_version INTEGER NOT NULL, id TEXT NOT NULL,
    agent_type TEXT NOT NULL, memory_type TEXT NOT NULL, memory_key TEXT NOT NULL,
    memory_content TEXT NOT NULL, embedding BLOB NOT NULL, embedder_id TEXT NOT NULL,
    relevance_score REAL NOT NULL, context_data TEXT NOT NULL, expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    UNIQUE (id)
) STRICT;
CREATE INDEX agent_memory_by_agent_type ON agent_memory (brand, agent_type);
CREATE INDEX agent_memory_by_memory_type ON agent_memory (brand, memory_type);
CREATE INDEX agent_memory_by_expires_at ON agent_memory (expires_at);
CREATE TABLE agent_sessions (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL,
    goal TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, cycle_key TEXT NOT NULL,
    theme TEXT NOT NULL, zone TEXT NOT NULL, plan INTEGER NOT NULL, request TEXT NOT NULL,
    request_hash TEXT NOT NULL, outcome TEXT NOT NULL, graph_version TEXT NOT NULL,
    envelope_usd REAL NOT NULL, added_usd REAL NOT NULL, tokens INTEGER NOT NULL,
    cost_usd REAL NOT NULL, retry_at INTEGER, attempts INTEGER NOT NULL, deaths INTEGER NOT NULL,
    dead_letter TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    PRIMARY KEY (brand, id)
) STRICT;
CREATE INDEX agent_sessions_by_status ON agent_sessions (brand, status);
CREATE TABLE agent_coordination (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, session_id TEXT NOT NULL, id TEXT NOT NULL,
    agent_type TEXT NOT NULL, task_description TEXT NOT NULL, status TEXT NOT NULL,
    dependencies TEXT NOT NULL, results TEXT NOT NULL, coordination_data TEXT NOT NULL,
    started_at INTEGER, completed_at INTEGER, created_at INTEGER NOT NULL,
    PRIMARY KEY (session_id, id)
) STRICT;
CREATE INDEX agent_coordination_by_status ON agent_coordination (brand, status);
CREATE TABLE usage (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, day TEXT NOT NULL, id TEXT NOT NULL,
    session_id TEXT NOT NULL, piece_id TEXT NOT NULL, agent_type TEXT NOT NULL, model TEXT NOT NULL,
    status TEXT NOT NULL, reserved_usd REAL NOT NULL, cost_usd REAL NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, expires_after INTEGER NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (brand, day, id)
) STRICT;
CREATE TABLE events (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, day TEXT NOT NULL, id TEXT NOT NULL,
    name TEXT NOT NULL, session_id TEXT NOT NULL, piece_id TEXT NOT NULL, actor TEXT NOT NULL,
    detail TEXT NOT NULL, created_at INTEGER NOT NULL,
    PRIMARY KEY (brand, day, id)
) STRICT;
"""

_LEDGER = """
CREATE TABLE publications (
    brand TEXT NOT NULL, row_version INTEGER NOT NULL, pub_key TEXT NOT NULL, attempt INTEGER NOT NULL,
    part INTEGER NOT NULL, step_id TEXT NOT NULL, step TEXT NOT NULL, piece_id TEXT NOT NULL,
    platform TEXT NOT NULL, account TEXT NOT NULL, holder TEXT NOT NULL, deadline INTEGER,
    deadline_boot REAL NOT NULL, boot_id TEXT NOT NULL, request_hash TEXT NOT NULL,
    content_hash TEXT NOT NULL, handle TEXT NOT NULL, external_id TEXT NOT NULL, url TEXT NOT NULL,
    code TEXT NOT NULL, reason TEXT NOT NULL, created_at INTEGER NOT NULL,
    PRIMARY KEY (pub_key, attempt, part, step_id)
) STRICT;
CREATE TABLE decisions (
    brand TEXT NOT NULL, kind TEXT NOT NULL, decision_key TEXT NOT NULL, token TEXT NOT NULL,
    table_name TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (brand, kind, decision_key)
) STRICT, WITHOUT ROWID;
"""

_VECTOR_CHANGES = """
CREATE TABLE vector_tables (
    name TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,  -- grows by one with each written row
    forgotten INTEGER NOT NULL  -- changes up to this generation are no longer listed: whoever saw less loads everything
) STRICT;
CREATE TABLE vector_changes (
    table_name TEXT NOT NULL, number INTEGER NOT NULL,
    generation INTEGER NOT NULL,  -- of the row's last write
    PRIMARY KEY (table_name, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX vector_changes_by_generation ON vector_changes (table_name, generation);
"""

_VECTOR_TRIGGER = """
CREATE TRIGGER {table}_vector_{event} AFTER {event} ON {table} BEGIN
    UPDATE vector_tables SET generation = generation + 1 WHERE name = '{table}';
    INSERT INTO vector_changes (table_name, number, generation)
    SELECT '{table}', {row}.number, generation FROM vector_tables WHERE name = '{table}'
    ON CONFLICT (table_name, number) DO UPDATE SET generation = excluded.generation;
END
"""

TEXT_INDEXES = {
    "brand_knowledge": ("title", "content"),
    "agent_memory": ("memory_key", "memory_content"),
}
"""The tables that are found by words, each through an FTS5 table `{table}_text` whose rowid is the row's number.

The engine writes it beside the row: under `trusted_schema = OFF` SQLite lets no trigger touch it.
"""


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Run each statement inside the transaction under way; `executescript` would commit it first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""


def m001_tables(connection: sqlite3.Connection) -> None:
    run_script(connection, _TABLES)


def m002_vector_changes(connection: sqlite3.Connection) -> None:
    run_script(connection, _VECTOR_CHANGES)
    for table in ("brand_knowledge", "content_embeddings", "agent_memory"):
        connection.execute("INSERT INTO vector_tables (name, generation, forgotten) VALUES (?, 0, 0)", (table,))
        for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            connection.execute(_VECTOR_TRIGGER.format(table=table, event=event, row=row))


def m003_text_search(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE text_indexes (name TEXT PRIMARY KEY) STRICT")  # those that miss no write
    match_text_search(connection)


def m004_active_schedules(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE INDEX schedules_by_status ON schedules (brand, status)")


def m001_ledger(connection: sqlite3.Connection) -> None:
    run_script(connection, _LEDGER)


RECORDS_MIGRATIONS = (m001_tables, m002_vector_changes, m003_text_search, m004_active_schedules)
LEDGER_MIGRATIONS = (m001_ledger,)


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Whether this build of SQLite can search text."""
    return bool(connection.execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')").fetchone()[0])


def text_search_state(connection: sqlite3.Connection) -> tuple[bool, bool]:
    """Whether this build of SQLite can search text, and whether the text indexes fit that."""
    able = has_fts5(connection)
    current = {name for (name,) in connection.execute("SELECT name FROM text_indexes")}
    return able, current == (set(TEXT_INDEXES) if able else set())


def match_text_search(connection: sqlite3.Connection) -> None:
    """Make the text indexes fit this build of SQLite. Harmless when nothing has changed.

    A build without FTS5 cannot keep an index while it writes, so it strikes it out; the next that can makes it anew.
    """
    able = has_fts5(connection)
    current = {name for (name,) in connection.execute("SELECT name FROM text_indexes")}
    for table, texts in TEXT_INDEXES.items():
        if able and table not in current:
            names = ", ".join(texts)
            connection.execute(f"DROP TABLE IF EXISTS {table}_text")
            connection.execute(f"CREATE VIRTUAL TABLE {table}_text USING fts5 ({names}, tokenize='porter unicode61')")
            connection.execute(f"INSERT INTO {table}_text (rowid, {names}) SELECT number, {names} FROM {table}")
            connection.execute("INSERT INTO text_indexes (name) VALUES (?)", (table,))
        elif current and not able:
            connection.execute("DELETE FROM text_indexes WHERE name = ?", (table,))
