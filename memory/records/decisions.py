"""The decisions of `create_once` in SQLite: one found, and all of a brand listed."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from config.errors import Damaged
from memory.records import schema
from memory.records.protocol import Decision, Once
from memory.rows import ROW_TYPES
from memory.rows.row import Row
from memory.sqlite_file import SqliteFile

R = TypeVar("R", bound=Row)
Stored = tuple[str, str, str]
"""Token, table name, document."""
_PAGE = 200


def find_decision(db: sqlite3.Connection, brand: str, kind: str, key: str) -> Stored | None:
    """What was decided in this race; None when nothing was."""
    found: Stored | None = db.execute(
        "SELECT token, table_name, document FROM decisions WHERE brand = ? AND kind = ? AND decision_key = ?",
        (brand, kind, key),
    ).fetchone()
    return found


def once_of(decision: Stored, row_type: type[R], kind: str, key: str, *, won: bool) -> Once[R]:
    """The answer of `create_once`. Raises Damaged, and ValueError when the decision is about another table."""
    token, table, document = decision
    if table != row_type.table:
        raise ValueError(f"the decision {kind} {key!r} holds a row of {table}, not of {row_type.table}")
    return Once(won=won, row=schema.decode_document(row_type, document), token=token)


def find_decisions(
    db: sqlite3.Connection, brand: str, kind: str, keys: Sequence[str], row_type: type[R]
) -> dict[str, Once[R]]:
    """As `Records.find_many_once`. Raises Damaged, and ValueError when a decision is about another table."""
    found = {key: find_decision(db, brand, kind, key) for key in keys}
    return {key: once_of(one, row_type, kind, key, won=False) for key, one in found.items() if one is not None}


async def every_decision(ledger: SqliteFile) -> AsyncIterator[Decision]:
    """As `RecordsStore.list_once`. Raises Damaged."""
    place = ("", "", "")
    while True:
        found = await ledger.read(lambda db, behind=place: _behind(db, behind))  # type: ignore[misc]
        for _, kind, key, *decision in found:
            yield decision_of(kind, key, *decision)
        if len(found) < _PAGE:
            return
        place = found[-1][:3]


def _behind(db: sqlite3.Connection, place: tuple[str, str, str]) -> list[Any]:
    return db.execute(
        "SELECT brand, kind, decision_key, token, table_name, document FROM decisions"
        " WHERE (brand, kind, decision_key) > (?, ?, ?) ORDER BY brand, kind, decision_key LIMIT ?",
        (*place, _PAGE),
    ).fetchall()


def decision_of(kind: str, key: str, token: str, table: str, document: str) -> Decision:
    """The decision that these stored values make. Raises Damaged when they make none."""
    row_type = next((known for known in ROW_TYPES if known.table == table), None)
    if row_type is None:
        raise Damaged(
            f"the decision {kind} {key!r} holds a row of {table!r}, which is no table: see `copydesk restore`"
        )
    return Decision(kind, key, token, schema.decode_document(row_type, document))
