"""records.db and ledger.db: the SQL of the migrations says what the row classes say, and text search is optional."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock
from config.errors import Damaged, LeaseLost, Unsupported
from memory.records import migrations, open_records, schema
from memory.records.protocol import Capability
from memory.records.sqlite import SqliteRecordsStore
from memory.rows import ROW_TYPES, AgentMemory, BrandKnowledge, Control, LedgerStep
from memory.rows.row import Row
from tests.contracts.test_records import FailingLease, a_claim, a_control, a_memory, a_vector

NOW = ManualClock().now()


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    async with open_records(f"sqlite:///{tmp_path}", clock=ManualClock()):
        return tmp_path


def database_of(row_type: type[Row], folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / ("ledger.db" if row_type is LedgerStep else "records.db"))


@pytest.mark.parametrize("row_type", ROW_TYPES, ids=lambda row_type: row_type.table)
def test_the_migrated_table_is_the_row_class(row_type: type[Row], folder: Path) -> None:
    with database_of(row_type, folder) as db:
        found = db.execute(f"PRAGMA table_info({row_type.table})").fetchall()
        strict = db.execute("SELECT strict FROM pragma_table_list(?)", (row_type.table,)).fetchone()
        unique = {
            tuple(name for (name,) in db.execute("SELECT name FROM pragma_index_info(?)", (index,)))
            for (index,) in db.execute('SELECT name FROM pragma_index_list(?) WHERE "unique"', (row_type.table,))
        }
    expected: list[Any] = [
        (col.name, schema.SQL_TYPES[col.kind], int(not col.nullable)) for col in schema.columns(row_type)
    ]
    numbered = [("number", "INTEGER", 0)] if schema.is_searched(row_type) else []
    assert [(name, kind, required) for _, name, kind, required, _, _ in found] == numbered + expected
    assert strict == (1,)
    assert row_type.key.columns in unique


@pytest.mark.parametrize("row_type", ROW_TYPES, ids=lambda row_type: row_type.table)
def test_every_declared_index_is_used(row_type: type[Row], folder: Path) -> None:
    with database_of(row_type, folder) as db:
        for name in row_type.indexes:
            query = f"EXPLAIN QUERY PLAN SELECT 1 FROM {row_type.table} WHERE brand = 'a' AND {name} = 'x'"
            plan = " ".join(str(step[-1]) for step in db.execute(query))
            assert "USING" in plan, (name, plan)
            assert "SCAN" not in plan, (name, plan)


def test_the_files_know_whose_they_are(folder: Path) -> None:
    ids = []
    for name in ("records.db", "ledger.db"):
        with sqlite3.connect(folder / name) as db:
            ids.append(db.execute("PRAGMA application_id").fetchone()[0])
    assert ids == [migrations.RECORDS_ID, migrations.LEDGER_ID]
    assert ids[0] != ids[1]


def test_the_ledger_is_a_file_of_its_own(folder: Path) -> None:
    with sqlite3.connect(folder / "records.db") as db:
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'publications'").fetchone() == (0,)
    with sqlite3.connect(folder / "ledger.db") as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"publications", "decisions", "schema_migrations"}


async def test_without_fts5_text_search_is_absent_and_everything_else_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}"
    async with open_records(url, clock=ManualClock()) as able:
        await able.for_brand("acme").put(a_claim("old", content="water"), a_claim("gone", content="water"))
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "has_fts5", lambda connection: False)
        async with open_records(url, clock=ManualClock()) as poor:
            assert Capability.TEXT_SEARCH not in poor.capabilities
            records = poor.for_brand("acme")
            await records.put(a_claim("new", content="water", embedding=a_vector(1.0)), a_claim("old", content="bread"))
            await records.delete(BrandKnowledge, id="gone")
            assert len(await records.search(BrandKnowledge, a_vector(1.0), embedder_id="e1", limit=5)) == 1
            with pytest.raises(Unsupported, match="FTS5"):
                await records.search_text(BrandKnowledge, "water", limit=5)
    async with open_records(url, clock=ManualClock()) as able:
        found = await able.for_brand("acme").search_text(BrandKnowledge, "water", limit=5)
        assert [hit.row.id for hit in found] == ["new"]


async def test_a_copy_made_by_vacuum_is_searched_like_the_original(tmp_path: Path) -> None:
    async with open_records(f"sqlite:///{tmp_path}/first", clock=ManualClock()) as store:
        records = store.for_brand("acme")
        await records.put(*(a_claim(f"c{n}", content=f"word{n}", embedding=a_vector(1.0, n)) for n in range(5)))
        await records.delete(BrandKnowledge, id="c0")
    (tmp_path / "second").mkdir()
    for name in ("records.db", "ledger.db"):
        with sqlite3.connect(tmp_path / "first" / name) as db:
            db.execute("VACUUM INTO ?", (str(tmp_path / "second" / name),))
    async with open_records(f"sqlite:///{tmp_path}/second", clock=ManualClock()) as store:
        records = store.for_brand("acme")
        assert [hit.row.id for hit in await records.search_text(BrandKnowledge, "word3", limit=5)] == ["c3"]
        near = await records.search(BrandKnowledge, a_vector(1.0), embedder_id="e1", limit=1)
        assert [hit.row.id for hit in near] == ["c1"]


async def test_sweeping_shortens_the_change_log_and_searches_stay_right(tmp_path: Path) -> None:
    clock = ManualClock()
    url = f"sqlite:///{tmp_path}"
    async with open_records(url, clock=clock) as store, open_records(url, clock=clock) as elsewhere:
        records = store.for_brand("acme")
        soon = clock.now().replace(minute=1)
        await records.put(
            a_memory("kept", embedding=a_vector(1.0), embedder_id="e1"),
            *(a_memory(f"m{n}", embedding=a_vector(1.0), embedder_id="e1", expires_at=soon) for n in range(1100)),
        )
        theirs = elsewhere.for_brand("acme")
        how: dict[str, Any] = {"embedder_id": "e1", "limit": 2000}
        await records.put(a_memory("deleted", embedding=a_vector(1.0), embedder_id="e1"))
        assert len(await theirs.search(AgentMemory, a_vector(1.0), **how)) == 1102
        await records.delete(AgentMemory, id=a_memory("deleted").id)
        clock.step(soon - clock.now())
        assert await store.sweep(limit=2000) == 1100
        with sqlite3.connect(tmp_path / "records.db") as db:
            assert db.execute("SELECT count(*) FROM vector_changes").fetchone() == (0,)
        for view in (records, theirs):
            assert [hit.row.memory_key for hit in await view.search(AgentMemory, a_vector(1.0), **how)] == ["kept"]


async def test_a_stored_row_that_cannot_be_read_is_damage_not_a_traceback(folder: Path) -> None:
    async with open_records(f"sqlite:///{folder}", clock=ManualClock()) as store:
        await store.for_brand("acme").put(a_claim("c"), a_control("pause"))
        with sqlite3.connect(folder / "records.db") as db:
            db.execute("UPDATE brand_knowledge SET trust = 'nobody'")
        with pytest.raises(Damaged, match=r"brand_knowledge.*copydesk restore"):
            await store.for_brand("acme").get(BrandKnowledge, id="c")
        assert (await store.for_brand("acme").get(Control, name="pause")).value == "on"


async def test_the_files_are_for_their_owner_alone(folder: Path) -> None:
    assert {oct(os.stat(folder / name).st_mode & 0o777) for name in ("records.db", "ledger.db")} == {"0o600"}


async def test_a_lease_lost_while_a_decision_waits_in_line_decides_nothing(folder: Path) -> None:
    async with open_records(f"sqlite:///{folder}", clock=ManualClock()) as store:
        with pytest.raises(LeaseLost):
            await store.for_brand("acme", lease=FailingLease(1)).create_once("k", "k", a_control("x"), token="t")
        assert await store.for_brand("acme").find_once("k", "k", Control) is None


async def test_the_ledger_is_written_through_to_the_disk_and_records_are_not(folder: Path) -> None:
    async with open_records(f"sqlite:///{folder}", clock=ManualClock()) as store:
        assert isinstance(store, SqliteRecordsStore)
        levels = [
            await file.write(lambda db: db.execute("PRAGMA synchronous").fetchone()[0])
            for file in (store.records, store.ledger)
        ]
        assert store.file(LedgerStep) is store.ledger
    assert levels == [1, 2]  # NORMAL, FULL


NO_SEARCH = """
import asyncio, sys
from config.clock import SystemClock
from memory.records import open_records
from memory.rows import Piece

async def main():
    async with open_records("sqlite:///" + sys.argv[1], clock=SystemClock()) as store:
        await store.for_brand("acme").find_by(Piece)

asyncio.run(main())
print("numpy" in sys.modules)
"""


def test_records_load_numpy_only_to_search(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NO_SEARCH, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "False\n"
