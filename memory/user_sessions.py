"""User sessions: an operator's session and preferences, unused variants, progress of batches, notes of a session.

All of it may vanish; nothing that a resume needs lives here. Through aiosqlite, in autocommit: each call is one
statement, which SQLite runs as an immediate transaction of its own, waiting for other writers; a cancelled task cannot
leave it open, as it could a BEGIN IMMEDIATE of several hops to aiosqlite's thread.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiosqlite

from config.clock import Clock, to_millis
from config.errors import BadInput, NotFound
from config.ids import new_id, parse_slug
from memory.json_text import to_json_text
from memory.rows.user_sessions import BatchOperation, ShortTermNote, TempContent, UserSession
from memory.session_rows import (
    BATCH,
    NOTE,
    SESSION,
    VARIANT,
    to_batch,
    to_note,
    to_session,
    to_variant,
)
from memory.session_rows import checked_text as _text
from memory.session_rows import clean as _clean
from memory.session_rows import lifetime_millis as _millis
from memory.session_schema import APPLICATION_ID, MIGRATIONS
from memory.sqlite_errors import translated
from memory.sqlite_file import prepared

SESSION_TTL = timedelta(minutes=30)
VARIANT_TTL = timedelta(days=7)
NOTE_TTL = timedelta(days=1)
EVERY_BRAND = "copydesk"
"""The brand column of what belongs to a person, whichever brand the person works on."""
_BUSY_MS = 10_000
_EXPIRING = ("sessions", "temp_content", "short_term_notes")


class UserSessions:
    """One brand's view. What has expired is absent in every call. Every call may raise Busy, DiskFull or Damaged."""

    def __init__(self, connection: aiosqlite.Connection, path: Path, clock: Clock, brand: str) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock
        self._brand = brand

    # Sessions: one operator's recent choices, half an hour from the last put.

    async def put_session(
        self, session_id: str, user_id: str, data: Mapping[str, Any], *, ttl: timedelta = SESSION_TTL
    ) -> UserSession:
        """Store the session for `ttl` from now; its first `created_at` stays. Raises BadInput if not JSON."""
        now = self._now()
        rows = await self._run(
            f"""
            INSERT INTO sessions (brand, {SESSION})
            VALUES (?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (brand, id) DO UPDATE SET
                user_id = excluded.user_id,
                session_data = excluded.session_data,
                expires_at = excluded.expires_at,
                created_at = iif(sessions.expires_at > excluded.updated_at, sessions.created_at, excluded.created_at),
                updated_at = excluded.updated_at
            RETURNING {SESSION}""",
            self._brand,
            _text(session_id, "session id"),
            _text(user_id, "user id"),
            to_json_text(dict(data), what=f"session {session_id!r}"),
            now + _millis(ttl),
            now,
            now,
        )
        return to_session(rows[0])

    async def find_session(self, session_id: str) -> UserSession | None:
        """The session, None if there is none."""
        rows = await self._run(
            f"""
            SELECT {SESSION} FROM sessions
            WHERE brand = ? AND id = ? AND expires_at > ?""",
            self._brand,
            session_id,
            self._now(),
        )
        return to_session(rows[0]) if rows else None

    async def get_session(self, session_id: str) -> UserSession:
        """The session. Raises NotFound."""
        found = await self.find_session(session_id)
        if found is None:
            raise NotFound(f"user session {session_id!r} does not exist or has expired: begin a new one")
        return found

    async def delete_session(self, session_id: str) -> None:
        """Forget it; no error if absent."""
        await self._run("DELETE FROM sessions WHERE brand = ? AND id = ?", self._brand, session_id)

    # Preferences: kept until deleted.

    async def set_preference(self, user_id: str, key: str, value: Any) -> None:
        """Set one JSON value, replacing an earlier one. Raises BadInput for an empty key or no JSON."""
        now = self._now()
        await self._run(
            """
            INSERT INTO user_preferences (brand, user_id, preference_key, preference_value, created_at, updated_at)
            VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (brand, user_id, preference_key) DO UPDATE SET
                preference_value = excluded.preference_value,
                updated_at = excluded.updated_at""",
            self._brand,
            _text(user_id, "user id"),
            _text(key, "preference"),
            to_json_text(value, what=f"preference {key!r}"),
            now,
            now,
        )

    async def get_preference(self, user_id: str, key: str) -> Any:
        """The value. Raises NotFound: None is a value that may be set."""
        query = "SELECT preference_value FROM user_preferences WHERE brand = ? AND user_id = ? AND preference_key = ?"
        preferences = await self._run(query, self._brand, user_id, key)
        if not preferences:
            raise NotFound(f"preference {key!r} of {user_id!r} is not set: `preferences set {key} VALUE`")
        return json.loads(preferences[0][0])

    async def list_preferences(self, user_id: str) -> dict[str, Any]:
        """Every preference of the user, by key in alphabetical order."""
        rows = await self._run(
            """
            SELECT preference_key, preference_value FROM user_preferences
            WHERE brand = ? AND user_id = ?
            ORDER BY preference_key""",
            self._brand,
            user_id,
        )
        return {key: json.loads(value) for key, value in rows}

    async def list_users(self) -> list[str]:
        """Every user that has a preference, in alphabetical order."""
        query = "SELECT DISTINCT user_id FROM user_preferences WHERE brand = ? ORDER BY user_id"
        return [user for (user,) in await self._run(query, self._brand)]

    async def delete_preference(self, user_id: str, key: str) -> bool:
        """Unset it; whether it was set."""
        rows = await self._run(
            "DELETE FROM user_preferences WHERE brand = ? AND user_id = ? AND preference_key = ? RETURNING 1",
            self._brand,
            user_id,
            key,
        )
        return bool(rows)

    # Unused variants: seven days.

    async def keep_variant(
        self,
        *,
        content_type: str,
        platform: str,
        content_data: Mapping[str, Any],
        media_urls: Iterable[str] = (),
        generation_metadata: Mapping[str, Any] | None = None,
        variant_id: str = "",
        ttl: timedelta = VARIANT_TTL,
    ) -> TempContent:
        """Keep a variant that was not used; the same `variant_id` replaces. Raises BadInput if it is not JSON."""
        now = self._now()
        rows = await self._run(
            f"""
            INSERT OR REPLACE INTO temp_content (brand, {VARIANT})
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            RETURNING {VARIANT}""",
            self._brand,
            _text(variant_id or new_id(self._clock.now()), "variant id"),
            _text(content_type, "content type"),
            _text(platform, "platform"),
            to_json_text(dict(content_data), what="variant content"),
            to_json_text(list(media_urls), what="media urls"),
            to_json_text(dict(generation_metadata or {}), what="generation metadata"),
            now + _millis(ttl),
            now,
        )
        return to_variant(rows[0])

    async def list_variants(self, *, content_type: str | None = None, platform: str | None = None) -> list[TempContent]:
        """Variants, latest first."""
        rows = await self._run(
            f"""
            SELECT {VARIANT} FROM temp_content
            WHERE brand = ? AND expires_at > ?
                AND content_type = coalesce(?, content_type) AND platform = coalesce(?, platform)
            ORDER BY created_at DESC, id DESC""",
            self._brand,
            self._now(),
            content_type,
            platform,
        )
        return [to_variant(row) for row in rows]

    async def delete_variant(self, variant_id: str) -> None:
        """Forget it; no error if absent."""
        await self._run("DELETE FROM temp_content WHERE brand = ? AND id = ?", self._brand, variant_id)

    # Batch operations: a projection that its maker recomputes from rows; never incremented here.

    async def put_batch(self, batch: BatchOperation) -> None:
        """Write the whole projection; its first `created_at` stays. Raises BadInput for counts that cannot be."""
        if min(batch.total_items, batch.completed_items, batch.failed_items) < 0 or (
            batch.completed_items + batch.failed_items > batch.total_items
        ):
            raise BadInput(
                f"batch {batch.id!r}: {batch.completed_items} completed and {batch.failed_items} failed of "
                f"{batch.total_items}: recompute it from its rows"
            )
        await self._run(
            f"""
            INSERT INTO batch_operations (brand, {BATCH})
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (brand, id) DO UPDATE SET
                operation_type = excluded.operation_type,
                total_items = excluded.total_items,
                completed_items = excluded.completed_items,
                failed_items = excluded.failed_items,
                status = excluded.status,
                operation_data = excluded.operation_data,
                results = excluded.results,
                updated_at = excluded.updated_at,
                completed_at = excluded.completed_at""",
            self._brand,
            _text(batch.id, "batch id"),
            batch.operation_type,
            batch.total_items,
            batch.completed_items,
            batch.failed_items,
            batch.status,
            to_json_text(batch.operation_data, what=f"batch {batch.id!r}"),
            to_json_text(batch.results, what=f"batch {batch.id!r}"),
            to_millis(batch.created_at),
            to_millis(batch.updated_at),
            None if batch.completed_at is None else to_millis(batch.completed_at),
        )

    async def find_batch(self, batch_id: str) -> BatchOperation | None:
        """The projection, None if it was never written."""
        query = f"SELECT {BATCH} FROM batch_operations WHERE brand = ? AND id = ?"
        rows = await self._run(query, self._brand, batch_id)
        return to_batch(rows[0]) if rows else None

    async def list_batches(self, *, status: str | None = None) -> list[BatchOperation]:
        """Batches, latest first."""
        rows = await self._run(
            f"""
            SELECT {BATCH} FROM batch_operations
            WHERE brand = ? AND status = coalesce(?, status)
            ORDER BY created_at DESC, id DESC""",
            self._brand,
            status,
        )
        return [to_batch(row) for row in rows]

    # Short-term notes: agent_memory of type short_term.

    async def put_note(
        self,
        session_id: str,
        agent_type: str,
        memory_key: str,
        memory_content: str,
        *,
        relevance_score: float = 0.5,
        context_data: Mapping[str, str] | None = None,
        ttl: timedelta = NOTE_TTL,
    ) -> ShortTermNote:
        """Note it for the session, for `ttl` from now; the same key replaces, and its first `created_at` stays."""
        now = self._now()
        rows = await self._run(
            f"""
            INSERT INTO short_term_notes (brand, {NOTE})
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (brand, session_id, agent_type, memory_key) DO UPDATE SET
                memory_content = excluded.memory_content,
                relevance_score = excluded.relevance_score,
                context_data = excluded.context_data,
                created_at = iif(
                    short_term_notes.expires_at > excluded.updated_at, short_term_notes.created_at, excluded.created_at
                ),
                expires_at = excluded.expires_at,
                updated_at = excluded.updated_at
            RETURNING {NOTE}""",
            self._brand,
            _text(session_id, "session id"),
            _text(agent_type, "agent type"),
            _text(memory_key, "memory key"),
            _clean(memory_content, "memory content"),
            relevance_score,
            to_json_text(dict(context_data or {}), what=f"context of {memory_key!r}"),
            now + _millis(ttl),
            now,
            now,
        )
        return to_note(rows[0])

    async def list_notes(self, session_id: str, *, agent_type: str | None = None) -> list[ShortTermNote]:
        """The session's notes, latest first."""
        rows = await self._run(
            f"""
            SELECT {NOTE} FROM short_term_notes
            WHERE brand = ? AND session_id = ? AND agent_type = coalesce(?, agent_type) AND expires_at > ?
            ORDER BY updated_at DESC, agent_type, memory_key""",
            self._brand,
            session_id,
            agent_type,
            self._now(),
        )
        return [to_note(row) for row in rows]

    async def delete_notes(
        self, session_id: str, *, agent_type: str | None = None, memory_key: str | None = None
    ) -> int:
        """Forget the session's notes, or those of one agent or key; how many went."""
        rows = await self._run(
            """
            DELETE FROM short_term_notes
            WHERE brand = ? AND session_id = ?
                AND agent_type = coalesce(?, agent_type) AND memory_key = coalesce(?, memory_key)
            RETURNING 1""",
            self._brand,
            session_id,
            agent_type,
            memory_key,
        )
        return len(rows)

    def _now(self) -> int:
        return to_millis(self._clock.now())

    async def _run(self, statement: str, *values: Any) -> list[Any]:
        with translated(self._path):
            # One hop to aiosqlite's thread, read to its end there: the statement is committed when this returns.
            return list(await self._connection.execute_fetchall(statement, values))


class UserSessionsStore:
    """The open session database."""

    def __init__(self, connection: aiosqlite.Connection, path: Path, clock: Clock) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock

    def for_brand(self, brand: str) -> UserSessions:
        """The rows of `brand`. Raises BadInput for a malformed brand name."""
        return UserSessions(self._connection, self._path, self._clock, parse_slug(brand, what="brand"))

    async def sweep(self) -> int:
        """Delete every brand's expired sessions, variants and notes; how many went."""
        now = to_millis(self._clock.now())
        gone = 0
        for table in _EXPIRING:
            with translated(self._path):
                statement = f"DELETE FROM {table} WHERE expires_at <= ? RETURNING 1"
                gone += len(list(await self._connection.execute_fetchall(statement, (now,))))
        return gone


@asynccontextmanager
async def open_user_sessions(path: Path, *, clock: Clock) -> AsyncIterator[UserSessionsStore]:
    """Open (or create) the session database, which the cache may share.

    Raises:
        Damaged, UsageError: the file cannot be trusted or used.
    """
    with prepared(path, application_id=APPLICATION_ID, migrations=MIGRATIONS):
        with translated(path):
            connection = await aiosqlite.connect(path, isolation_level=None, timeout=_BUSY_MS / 1000)
        try:
            with translated(path):
                for pragma in (
                    f"busy_timeout = {_BUSY_MS}",
                    "journal_mode = WAL",
                    "synchronous = NORMAL",
                    "trusted_schema = OFF",
                ):
                    await connection.execute_fetchall(f"PRAGMA {pragma}")
            yield UserSessionsStore(connection, path, clock)
        finally:
            await connection.close()
