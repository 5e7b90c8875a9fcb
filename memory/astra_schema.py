"""What `db init` makes in an AstraDB keyspace: tables, indexes, one collection; and the comparison with what is there.

Definitions are derived from the row classes; the tables of checkpoints are spelt out here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from config.clock import Clock
from config.errors import Unavailable, UsageError
from memory.astra_client import AstraDatabase, open_astra_database
from memory.records.astra_rows import column_types, indexed
from memory.rows import ROW_TYPES

PERMITS = "permits"
INDEXES_PER_TABLE, INDEXES_PER_DATABASE = 10, 100
"""Limits of HCD and AstraDB on storage-attached indexes; the second is counted over all keyspaces."""
_VISIBLE_WITHIN = timedelta(seconds=30)
_LOOK_EVERY = timedelta(milliseconds=500)


@dataclass(frozen=True)
class TablePlan:
    """A table as it has to be: column types, key, and the columns with an index (a vector index for a vector)."""

    name: str
    columns: Mapping[str, Any]
    partition: tuple[str, ...]
    sort: Mapping[str, int] = field(default_factory=dict)
    """Cluster column -> 1 ascending, -1 descending."""
    indexes: tuple[str, ...] = ()

    @property
    def definition(self) -> dict[str, Any]:
        """As createTable wants it."""
        types = {name: {"type": kind} if isinstance(kind, str) else dict(kind) for name, kind in self.columns.items()}
        key = {"partitionBy": list(self.partition), "partitionSort": dict(self.sort)}
        return {"columns": types, "primaryKey": key}

    def index_name(self, column: str) -> str:
        """Unique in the keyspace, as the server demands."""
        return f"{self.name}_{column}"


_ROW_OF_A_CLAIM = {"brand": "text", "thread_id": "text", "n": "bigint", "token": "text"}
_OWNED = ("brand", "thread_id")
CHECKPOINT_TABLES = (
    TablePlan(
        "thread_owners",
        {**_ROW_OF_A_CLAIM, "ready": "boolean", "claimed_at": "timestamp"},
        _OWNED,
        {"n": -1, "token": -1},
    ),
    TablePlan(
        "checkpoints",
        {
            **_ROW_OF_A_CLAIM,
            "ns": "text",
            "checkpoint_id": "text",
            "parent_id": "text",
            "run_id": "text",
            "type": "text",
            "checkpoint": "blob",
            "metadata": "text",
            "size_bytes": "bigint",
        },
        _OWNED,
        {"n": -1, "token": -1, "ns": 1, "checkpoint_id": -1},
    ),
    TablePlan(
        "checkpoint_writes",
        {
            **_ROW_OF_A_CLAIM,
            "ns": "text",
            "checkpoint_id": "text",
            "task_path": "text",
            "task_id": "text",
            "slot": "bigint",
            "entries": "text",
            "size_bytes": "bigint",
        },
        _OWNED,
        {"n": -1, "token": -1, "ns": 1, "checkpoint_id": -1, "task_path": 1, "task_id": 1, "slot": 1},
    ),
    TablePlan(
        "checkpoint_runs",
        {"brand": "text", "run_id": "text", "thread_id": "text"},
        ("brand", "run_id"),
        {"thread_id": 1},
    ),
    TablePlan("checkpoint_threads", {"brand": "text", "thread_id": "text"}, ("brand",), {"thread_id": 1}),
)


def _plan_of_rows() -> tuple[TablePlan, ...]:
    plans = []
    for row_type in ROW_TYPES:
        order = -1 if row_type.key.descending else 1
        names = indexed(row_type) + ((row_type.vector,) if row_type.vector else ())
        sort = dict.fromkeys(row_type.key.cluster, order)
        plans.append(TablePlan(row_type.table, column_types(row_type), row_type.key.partition, sort, names))
    return tuple(plans)


PLAN: tuple[TablePlan, ...] = _plan_of_rows() + CHECKPOINT_TABLES
"""Every table of Copydesk."""


@dataclass(frozen=True)
class SchemaReport:
    """What is missing or different in a keyspace. `problems` are lines that need a person."""

    missing_tables: tuple[str, ...]
    missing_columns: tuple[tuple[str, str], ...]
    """(table, column), of tables that are there."""
    missing_indexes: tuple[tuple[str, str], ...]
    """(table, column)."""
    missing_collections: tuple[str, ...]
    problems: tuple[str, ...]
    indexes: int
    """How many indexes the keyspace holds now; other keyspaces of the database count as well, and cannot be seen."""

    @property
    def complete(self) -> bool:
        return not (self.missing or self.problems)

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of all that is missing, in the order in which it is made."""
        pairs = (*self.missing_columns, *self.missing_indexes)
        return (*self.missing_tables, *(f"{table}.{column}" for table, column in pairs), *self.missing_collections)


def _type(column: Any) -> Any:
    if isinstance(column, str):
        return column
    kind = column.get("type")
    return (kind, column.get("dimension")) if kind == "vector" else kind


def _differences(plan: TablePlan, there: Mapping[str, Any]) -> list[str]:
    found = []
    key = there.get("primaryKey") or {}
    if isinstance(key, str):
        key = {"partitionBy": [key], "partitionSort": {}}
    if list(key.get("partitionBy", [])) != list(plan.partition) or list(
        (key.get("partitionSort") or {}).items()
    ) != list(plan.sort.items()):
        found.append(
            f"table {plan.name}: its primary key is {key}, not {plan.definition['primaryKey']}: use another keyspace"
        )
    columns = {name: _type(kind) for name, kind in (there.get("columns") or {}).items()}
    for name, kind in plan.columns.items():
        if name in columns and columns[name] != _type(kind):
            found.append(
                f"table {plan.name}: column {name} is {columns[name]}, not {_type(kind)}: use another keyspace"
            )
    return found


async def check_schema(database: AstraDatabase) -> SchemaReport:
    """Compare the keyspace with the plan; changes nothing."""
    tables, collections = await database.tables(), await database.collections()
    missing_columns, missing_indexes, problems, count = [], [], [], 0
    for plan in PLAN:
        if plan.name not in tables:
            missing_indexes += [(plan.name, column) for column in plan.indexes]
            continue
        problems += _differences(plan, tables[plan.name])
        there_are = tables[plan.name].get("columns") or {}
        missing_columns += [(plan.name, name) for name in plan.columns if name not in there_are]
    for table in tables:
        there = await database.indexes(table)
        count += len(there)
        mine = next((plan for plan in PLAN if plan.name == table), None)
        if mine is None:
            continue
        covered = {definition.get("column") for definition in there.values()}
        wanted = [column for column in mine.indexes if column not in covered]
        missing_indexes += [(table, column) for column in wanted]
        if len(there) + len(wanted) > INDEXES_PER_TABLE:
            problems.append(
                f"table {table}: {len(there)} indexes and {len(wanted)} to make: at most {INDEXES_PER_TABLE}"
            )
        for column in wanted:
            if mine.index_name(column) in there:
                problems.append(f"index {mine.index_name(column)} is not on column {column}: drop it")
    if count + len(missing_indexes) > INDEXES_PER_DATABASE:
        problems.append(
            f"the keyspace has {count} indexes and needs {len(missing_indexes)} more: a database holds {INDEXES_PER_DATABASE}:"
            " use a database of its own"
        )
    missing = tuple(plan.name for plan in PLAN if plan.name not in tables)
    decided = () if PERMITS in collections else (PERMITS,)
    return SchemaReport(missing, tuple(missing_columns), tuple(missing_indexes), decided, tuple(problems), count)


async def create_schema(url: str, *, clock: Clock, token: str = "") -> SchemaReport:
    """Make what is missing, wait until the server shows it, and return what was missing before.

    Tables and indexes that are there are compared and kept; a table that an earlier version made gets the columns that it
    lacks. Nothing is dropped and no type is changed. One definition after the other: the server refuses several at once.
    Repeating it is harmless, and two may run at once. Rows that are there read with the default of an added column; a find
    by an index on it does not meet them before they are written again.

    Raises:
        UsageError: a table differs, or the indexes would not fit; nothing was made.
        Unavailable: the server does not answer, or does not show in time what was made: run it again.
    """
    async with open_astra_database(url, clock=clock, token=token) as database:
        before = await check_schema(database)
        if before.problems:
            raise UsageError("; ".join(before.problems))
        plans = {plan.name: plan for plan in PLAN}
        for name in before.missing_tables:
            await database.create_table(name, plans[name].definition)
        for table, column in before.missing_columns:  # one a request: a request that names one that is there adds none
            await database.add_column(table, column, plans[table].definition["columns"][column])
        if before.missing_columns:  # an index on a column that the server does not show yet is refused
            await _until(database, clock, lambda now: not now.missing_columns)
        for table, column in before.missing_indexes:
            vector = _type(plans[table].columns[column]) != plans[table].columns[column]
            await database.create_index(table, plans[table].index_name(column), column, vector=vector)
        for name in before.missing_collections:
            await database.create_collection(name)
        await _until(database, clock, lambda now: now.complete)
        return before


async def _until(database: AstraDatabase, clock: Clock, shown: Callable[[SchemaReport], bool]) -> None:
    """Wait until the server shows what was made. Raises UsageError for a problem, Unavailable when it takes too long."""
    started = clock.now()
    while not shown(now := await check_schema(database)):
        if now.problems:
            raise UsageError("; ".join(now.problems))
        if clock.now() - started > _VISIBLE_WITHIN:
            late = ", ".join(now.missing)
            raise Unavailable(f"AstraDB does not show yet what was made ({late}): run `copydesk db init` again")
        await clock.sleep(_LOOK_EVERY)
