"""`db`: make the databases, and bring them to the present schema."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.commands.common import OK, add_parts, add_verb, emit, opened, run_async

if TYPE_CHECKING:
    from config.settings import Settings

FILES = ("records.db", "ledger.db", "queue.db", "checkpoints.db", "session.db")
"""The embedded files, as `open_runtime` makes them."""


def register(verbs: Any) -> None:
    parts = add_parts(add_verb(verbs, "db", "make the databases, and bring them to the present schema"))
    for name, help in (
        ("init", "make what is missing; what is there is kept"),
        ("migrate", "bring every file to the present schema; opening one does the same"),
    ):
        add_verb(parts, name, help).set_defaults(run=lambda args: run_async(lambda: db_open(args)))


def schema_version(path: Path) -> int:
    """The schema version of an SQLite file, read without opening it for writing. Raises sqlite3.Error."""
    import sqlite3
    from contextlib import closing
    from urllib.parse import quote

    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


async def db_open(args: argparse.Namespace) -> int:
    """Open everything once, which makes and migrates it, and print the schema versions before and after."""
    from config.settings import mask_url
    from runtime.commands.common import load
    from runtime.commands.lookup import table

    settings = load(args)
    paths = [settings.data_dir.absolute() / name for name in FILES]
    made = await _make_tables(settings) if settings.records_url.startswith("astra") else {}
    before = {path.name: schema_version(path) if path.is_file() and path.stat().st_size else 0 for path in paths}
    async with opened(args, any_brand=True):
        after = {path.name: schema_version(path) for path in paths if path.is_file()}
    stores = {name: mask_url(getattr(settings, f"{name}_url")) for name in ("records", "queue", "cache", "checkpoints")}
    files = {name: {"before": before[name], "schema": after[name]} for name in after}
    lines = [
        [name, v["schema"], "made" if not v["before"] else "migrated" if v["before"] < v["schema"] else "as it was"]
        for name, v in files.items()
    ]
    text = table(["file", "schema", ""], lines) + "\n" + "\n".join(f"{name}: {url}" for name, url in stores.items())
    for what, names in made.items():
        text += f"\nAstraDB {what}: {len(names)} made" + (f" ({', '.join(names)})" if names else "")
    emit(args, {"files": files, "stores": stores, **({"astra": made} if made else {})}, text)
    return OK


async def _make_tables(settings: Settings) -> dict[str, list[str]]:
    """Make what AstraDB lacks; the names of what was made. Raises what `create_schema` raises."""
    from config.clock import SystemClock
    from memory.astra_schema import create_schema

    before = await create_schema(
        settings.records_url, clock=SystemClock(), token=settings.astra_token.get_secret_value()
    )
    return {
        "tables": list(before.missing_tables),
        "columns": [f"{table}.{column}" for table, column in before.missing_columns],
        "indexes": [f"{table}.{column}" for table, column in before.missing_indexes],
        "collections": list(before.missing_collections),
    }
