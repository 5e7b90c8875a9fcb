"""A Data API server on loopback, for the real astrapy: what facts about the server are known, and no more.

Each rule names its source: "astra.md" is the team's page of measured facts (its section follows). Everything is in memory;
one server holds any number of keyspaces. Faults are ordered by `fail`: the next matching requests meet them.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fakes.data_api_collections import on_collection
from tests.fakes.data_api_tables import Table
from tests.fakes.data_api_values import Refused, column_type

HARMLESS = {"MISSING_INDEX", "ZERO_FILTER_OPERATIONS"}
"""astra.md 5, test 2: the partition beside an indexed column, and a vector search without a filter."""
INDEXES_PER_TABLE, INDEXES_PER_DATABASE = 10, 100  # astra.md 0.4
_GUARDRAIL = "Guardrail sai_indexes{}_failure_threshold violated: aborting"
_BODY = 20 * 1024 * 1024  # astra.md 1.2

Kind = Literal["429", "503", "401", "413", "delay", "drop", "commit_drop", "partial", "error", "garbage"]


@dataclass
class Fault:
    """What the next matching requests meet; `after` requests are let pass first."""

    kind: Kind
    command: str | None = None
    table: str | None = None
    times: int = 1
    after: int = 0
    retry_after: str = "1"
    seconds: float = 0.0
    code: str = "TIMEOUT_WRITING_DATA"

    def meets(self, command: str, table: str) -> bool:
        if self.times <= 0 or self.command not in (None, command) or self.table not in (None, table):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Keyspace:
    """Tables, collections, and what the server warned of."""

    tables: dict[str, Table] = field(default_factory=dict)
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name -> options."""
    documents: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    warned: list[str] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    hidden: dict[str, int] = field(default_factory=dict)
    """Name of a new table or index -> how many listings do not show it yet (astra.md 4: visible after a moment)."""

    def like(self) -> Keyspace:
        """An empty keyspace of the same definitions."""
        return Keyspace(
            {name: table.like() for name, table in self.tables.items()},
            dict(self.collections),
            {name: {} for name in self.documents},
        )


class DataApi:
    """The server, in a thread of its own."""

    def __init__(self, *, page_size: int = 50, sort_cap: int = 10_000, token: str = "", port: int = 0) -> None:
        self.keyspaces: dict[str, Keyspace] = {}
        self.faults: list[Fault] = []
        self.page_size = page_size  # astra.md 1.2: 50, and 20 before 1.0.48
        self.sort_cap = sort_cap
        self.token = token
        """The one token that is accepted; empty: any."""
        self.hide_new = 0
        """How many listings do not show a new table or index."""
        self.port = port
        """0: any free one, known once it has started."""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def start(self) -> DataApi:
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        assert self._stopping is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        self._loop.close()

    def url(self, keyspace: str) -> str:
        """How Copydesk names a keyspace of this server."""
        return f"astra+http://user:secret@127.0.0.1:{self.port}/{keyspace}"

    def fail(self, kind: Kind, **how: Any) -> Fault:
        """Order a fault for the next matching requests."""
        fault = Fault(kind, **how)
        self.faults.append(fault)
        return fault

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        connections: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                while await self._exchange(reader, writer):
                    pass
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # the client went away, or the server stops
            finally:
                connections.discard(task)
                writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", self.port, limit=2**16)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        _, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name}
        length = int(headers.get("content-length", 0))
        body = await reader.readexactly(length)
        # astra.md 1.1: /v1 of a self-hosted API, /api/json/v1 of AstraDB.
        place = path.removeprefix("/api/json").strip("/").split("/")
        if place[0] != "v1":
            return _answer(writer, 404, b"no such page", "text/plain")
        if length > _BODY:
            return _answer(writer, 413, b"too large", "text/plain")
        token = headers.get("token", "")
        if not token or (self.token and token != self.token):
            code = "UNAUTHENTICATED_REQUEST" if token else "MISSING_AUTHENTICATION_TOKEN"  # astra.md 1.3
            return _answer(writer, 401, json.dumps({"errors": [Refused(code).body]}).encode())
        try:
            ((command, arguments),) = json.loads(body).items()
        except (ValueError, AttributeError):
            return _answer(writer, 200, json.dumps({"errors": [Refused("INVALID_REQUEST_NOT_JSON").body]}).encode())
        keyspace, table = (place[1] if len(place) > 1 else ""), (place[2] if len(place) > 2 else "")
        fault = next((fault for fault in self.faults if fault.meets(command, table)), None)
        if fault is not None and fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        if fault is not None and fault.kind == "drop":
            return False
        if fault is not None and fault.kind in ("429", "503", "401", "413", "garbage"):
            return _gateway(writer, fault)
        try:
            if fault is not None and fault.kind == "error":
                raise Refused(fault.code, family="SERVER", scope="DATABASE")
            answer = self._run(
                keyspace, table, command, arguments, partial=fault is not None and fault.kind == "partial"
            )
        except Refused as refusal:
            answer = {"errors": [refusal.body]}
        if fault is not None and fault.kind == "commit_drop":
            return False
        return _answer(writer, 200, json.dumps(answer).encode())

    def _run(
        self, keyspace: str, name: str, command: str, arguments: dict[str, Any], *, partial: bool
    ) -> dict[str, Any]:
        if not keyspace:
            if command == "createKeyspace":
                self.keyspaces.setdefault(arguments["name"], Keyspace())
                return {"status": {"ok": 1}}
            if command == "findKeyspaces":
                return {"status": {"keyspaces": sorted(self.keyspaces)}}
            raise Refused("COMMAND_UNKNOWN", command)
        space = self.keyspaces.get(keyspace)
        if space is None:
            raise Refused("KEYSPACE_DOES_NOT_EXIST", keyspace, scope="SCHEMA")
        space.requests[command] += 1
        if not name:
            return self._define(space, command, arguments)
        if name in space.collections:
            return on_collection(space, name, command, arguments)
        if name not in space.tables:
            raise Refused("COLLECTION_NOT_EXIST", name, scope="SCHEMA")
        answer = self._on_table(space, space.tables[name], command, arguments, partial)
        space.warned += [f"{w['errorCode']} {w['message']}" for w in answer.get("status", {}).get("warnings", ())]
        return answer

    def _define(self, space: Keyspace, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        options = arguments.get("options") or {}
        name = arguments.get("name", "")
        if command == "createTable":
            if name in space.tables and not options.get("ifNotExists"):
                raise Refused("CANNOT_ADD_EXISTING_TABLE", name, scope="SCHEMA")
            if name not in space.tables:  # astra.md 5: ifNotExists does not compare
                if not name.isidentifier() or len(name) > 48:  # astra.md 1.2
                    raise Refused("UNSUPPORTED_TABLE_NAME", name, scope="SCHEMA")
                space.tables[name] = Table(name, arguments["definition"])
                space.hidden[name] = self.hide_new
        elif command == "dropTable":
            if space.tables.pop(name, None) is None and not options.get("ifExists"):
                raise Refused("CANNOT_DROP_UNKNOWN_TABLE", name, scope="SCHEMA")
        elif command == "dropIndex":
            for table in space.tables.values():
                if table.indexes.pop(name, None) is not None:
                    return {"status": {"ok": 1}}
            if not options.get("ifExists"):
                raise Refused("CANNOT_DROP_UNKNOWN_INDEX", name, scope="SCHEMA")
        elif command == "listTables":
            shown = [table for table in space.tables.values() if _visible(space, table.name)]
            explained = [{"name": table.name, "definition": _shown(space, table)} for table in shown]
            return {"status": {"tables": explained if options.get("explain") else [table.name for table in shown]}}
        elif command == "createCollection":
            if space.collections.setdefault(name, options) != options:
                raise Refused("EXISTING_COLLECTION_DIFFERENT_SETTINGS", name, scope="SCHEMA")
            space.documents.setdefault(name, {})
        elif command == "findCollections":
            explained = [{"name": name, "options": options} for name, options in space.collections.items()]
            return {"status": {"collections": explained if options.get("explain") else list(space.collections)}}
        else:
            raise Refused("COMMAND_UNKNOWN", command)
        return {"status": {"ok": 1}}

    def _on_table(
        self, space: Keyspace, table: Table, command: str, arguments: dict[str, Any], partial: bool
    ) -> dict[str, Any]:
        where = arguments.get("filter") or {}
        if command == "find":
            return table.find(arguments, page_size=self.page_size, sort_cap=self.sort_cap)
        if command == "findOne":
            found = table.find({**arguments, "options": {"limit": 1}}, page_size=self.page_size, sort_cap=self.sort_cap)
            documents = found["data"]["documents"]
            return {"data": {"document": documents[0] if documents else None}, "status": found["status"]}
        if command == "insertOne":
            key = table.insert(arguments["document"])
            return {"status": {"primaryKeySchema": _key_schema(table), "insertedIds": [key]}}
        if command == "insertMany":
            ordered = (arguments.get("options") or {}).get("ordered", False)
            return _insert_many(table, arguments["documents"], partial, ordered)
        if command == "updateOne":
            table.update_one(where, arguments["update"])
            return {"status": {"matchedCount": 1, "modifiedCount": 1}}  # astra.md 0.1: always
        if command == "deleteOne":
            table.delete_one(where)
            return {"status": {"deletedCount": -1}}  # astra.md 1.2
        if command == "deleteMany":
            table.delete_many(where)
            return {"status": {"deletedCount": -1}}
        if command in ("createIndex", "createVectorIndex"):
            return self._index(space, table, command, arguments)
        if command == "listIndexes":
            shown = [index for index in table.indexes.values() if _visible(space, index["name"])]
            explain = (arguments.get("options") or {}).get("explain")
            return {"status": {"indexes": shown if explain else [index["name"] for index in shown]}}
        if command == "alterTable":
            return self._alter(space, table, arguments["operation"])
        raise Refused("UNSUPPORTED_TABLE_COMMAND", command)  # astra.md 1.2: count and the like

    def _alter(self, space: Keyspace, table: Table, operation: dict[str, Any]) -> dict[str, Any]:
        """AlterTableCommandResolver.java of stargate/data-api, add alone: of existing columns (by name) all are refused."""
        added = (operation.get("add") or {}).get("columns") or {}
        if not added:
            raise Refused("MISSING_ALTER_TABLE_OPERATIONS", "add", scope="SCHEMA")
        if there := sorted(set(added) & set(table.columns)):
            if space.hidden.get(
                f"{table.name}.{there[0]}"
            ):  # Cassandra's AlterTableStatement: it knows before the Data API
                message = f"The database error: Column with name '{there[0]}' already exists."
                raise Refused("INVALID_DATABASE_QUERY", message, family="SERVER", scope="DATABASE")
            raise Refused("CANNOT_ADD_EXISTING_COLUMNS", ", ".join(there), scope="SCHEMA")
        table.columns.update({column: column_type(kind) for column, kind in added.items()})
        for column in added:
            space.hidden[f"{table.name}.{column}"] = self.hide_new
        return {"status": {"ok": 1}}

    def _index(self, space: Keyspace, table: Table, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        name, definition = arguments["name"], arguments["definition"]
        column, vector = definition["column"], command == "createVectorIndex"
        everywhere = [index for other in space.tables.values() for index in other.indexes]
        if name in everywhere:  # astra.md 1.2: unique in the keyspace
            if (arguments.get("options") or {}).get("ifNotExists"):
                return {"status": {"ok": 1}}
            raise Refused("CANNOT_ADD_EXISTING_INDEX", name, scope="SCHEMA")
        if column not in table.columns or space.hidden.get(f"{table.name}.{column}"):  # the schema that it still sees
            raise Refused("UNKNOWN_INDEX_COLUMN", str(column), scope="SCHEMA")
        if vector != (table.columns[column]["type"] == "vector") or table.columns[column]["type"] == "blob":
            raise Refused("UNSUPPORTED_INDEXING_FOR_DATA_TYPES", str(column), scope="SCHEMA")
        if table.partition == [column]:  # astra.md 3: a partition key of one column cannot be indexed
            raise Refused("CANNOT_CREATE_INDEX_ON_PARTITION_KEY", column, scope="SCHEMA")
        total = sum(len(other.indexes) for held in self.keyspaces.values() for other in held.tables.values())
        own = sum(len(other.indexes) for other in space.tables.values())
        if len(table.indexes) >= INDEXES_PER_TABLE or min(own, total) >= INDEXES_PER_DATABASE:
            # astra.md 4: not TOO_MANY_INDEXES. The real limit counts all keyspaces; here each test has its own.
            message = _GUARDRAIL.format("_per_table" if len(table.indexes) >= INDEXES_PER_TABLE else "_total")
            raise Refused("INVALID_DATABASE_QUERY", message, family="SERVER", scope="DATABASE")
        kind = "vector" if vector else "regular"
        table.indexes[name] = {"name": name, "definition": definition, "indexType": kind}
        space.hidden[name] = self.hide_new
        return {"status": {"ok": 1}}


def _visible(space: Keyspace, name: str) -> bool:
    if space.hidden.get(name, 0) > 0:
        space.hidden[name] -= 1
        return False
    return True


def _shown(space: Keyspace, table: Table) -> dict[str, Any]:
    definition = table.definition()
    columns = {name: kind for name, kind in definition["columns"].items() if _visible(space, f"{table.name}.{name}")}
    return {**definition, "columns": columns}


def _key_schema(table: Table) -> dict[str, Any]:
    return {column: table.columns[column] for column in table.key}


def _insert_many(table: Table, documents: list[dict[str, Any]], partial: bool, ordered: bool) -> dict[str, Any]:
    """astra.md 1.2: independent inserts, at most 100; `partial` lets every second one fail as a timeout.

    Ordered, a row that is refused refuses the whole request: astrapy's own table tests say so.
    """
    before = dict(table.rows)
    if len(documents) > 100:
        raise Refused("INVALID_REQUEST_STRUCTURE", "amount of documents to insert is over the max limit")
    responses: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for n, document in enumerate(documents):
        try:
            if partial and n % 2:
                raise Refused("TIMEOUT_WRITING_DATA", family="SERVER", scope="DATABASE")
            responses.append({"_id": table.insert(document), "status": "OK"})
        except Refused as refusal:
            errors.append(refusal.body)
            named = [document.get(column) for column in table.key]
            responses.append({"_id": named, "status": "ERROR", "errorsIdx": len(errors) - 1})
    if ordered and errors:
        table.rows, errors = before, errors[:1]
        responses = [
            {"_id": r["_id"], "status": "ERROR" if "errorsIdx" in r else "SKIP", "errorsIdx": 0} for r in responses
        ]
    answer: dict[str, Any] = {"status": {"primaryKeySchema": _key_schema(table), "documentResponses": responses}}
    return {**answer, "errors": errors} if errors else answer


def _gateway(writer: asyncio.StreamWriter, fault: Fault) -> bool:
    """What stands before the server answers: no JSON (astra.md 1.3 and 5)."""
    page = b"<html><body><h1>Service Unavailable</h1></body></html>"
    if fault.kind == "garbage":
        return _answer(writer, 200, page, "text/html")
    extra = f"Retry-After: {fault.retry_after}\r\n" if fault.kind == "429" else ""
    return _answer(writer, int(fault.kind), page, "text/html", extra)


def _answer(
    writer: asyncio.StreamWriter, status: int, body: bytes, content_type: str = "application/json", extra: str = ""
) -> bool:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    writer.write(head.encode() + body)
    return True
