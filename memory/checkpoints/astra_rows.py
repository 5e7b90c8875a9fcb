"""Rows of the checkpoint tables, and which of a claim's checkpoints the next claim takes over."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from config.errors import BadInput, Damaged
from memory.checkpoints.stored import Claim, Place, StoredCheckpoint, StoredWrite, Wanted

ORDINARY = 0
"""The slot of a task's ordinary writes. Special ones (error, interrupt, resume) have their own, below it."""


class Owner(NamedTuple):
    """Under which claim a row was written. The greatest owns the thread."""

    n: int
    token: str


class Key(NamedTuple):
    """A checkpoint without its contents."""

    checkpoint_id: str
    thread_id: str
    ns: str
    run_id: str
    metadata: str

    @property
    def place(self) -> Place:
        return self.checkpoint_id, self.thread_id, self.ns


def under(brand: str, thread_id: str, owner: Owner, **more: Any) -> dict[str, Any]:
    """A filter on the rows of one claim."""
    return {"brand": brand, "thread_id": thread_id, "n": owner.n, "token": owner.token, **more}


def owner_of(claim: Claim) -> Owner:
    return Owner(claim.n, claim.token)


def checkpoint_columns(brand: str, owner: Owner, row: StoredCheckpoint) -> dict[str, Any]:
    """A row of `checkpoints`."""
    return {
        **under(brand, row.thread_id, owner),
        **{name: getattr(row, name) for name in row._fields if name != "thread_id"},
        "size_bytes": len(row.checkpoint) + len(row.metadata.encode()),
    }


def checkpoint_of(columns: Mapping[str, Any]) -> StoredCheckpoint:
    return StoredCheckpoint(**{name: columns[name] for name in StoredCheckpoint._fields})


def write_rows(place: Mapping[str, Any], writes: Sequence[StoredWrite]) -> list[dict[str, Any]]:
    """Rows of `checkpoint_writes`, to be written in this order.

    All ordinary writes of a task are one row: LangGraph takes a task with any stored write as finished, so half of them
    would silently cut its result short. A special write has a row of its own, resume before interrupt.
    """
    rows: dict[tuple[str, str, int], dict[str, Any]] = {}
    for write in sorted(writes, key=lambda write: write.idx):
        slot = min(write.idx, ORDINARY)
        row = rows.setdefault(
            (write.task_path, write.task_id, slot),
            {
                **place,
                "task_path": write.task_path,
                "task_id": write.task_id,
                "slot": slot,
                "entries": [],
                "size_bytes": 0,
            },
        )
        row["entries"].append([write.idx, write.channel, write.type, base64.b64encode(write.value).decode()])
        row["size_bytes"] += len(write.value)
    return [{**row, "entries": json.dumps(row["entries"])} for row in rows.values()]


def writes_of(columns: Mapping[str, Any]) -> list[StoredWrite]:
    """The writes of a row. Raises Damaged."""
    try:
        return [
            StoredWrite(columns["task_id"], columns["task_path"], idx, channel, kind, base64.b64decode(value))
            for idx, channel, kind, value in json.loads(columns["entries"])
        ]
    except (ValueError, TypeError) as error:
        raise Damaged(
            f"thread {columns['thread_id']!r}: stored writes cannot be read ({error}): see docs/operate.md"
        ) from error


def newest_of_each_namespace(keys: Iterable[Key]) -> dict[str, Key]:
    """Namespace -> its newest checkpoint. LangGraph's checkpoint ids are uuid6, which sort by time."""
    newest: dict[str, Key] = {}
    for key in keys:
        if key.ns not in newest or key.checkpoint_id > newest[key.ns].checkpoint_id:
            newest[key.ns] = key
    return newest


def taken_over(keys: Iterable[Key]) -> list[Key]:
    """What a claim copies: the newest checkpoint of the root, of namespaces without a task, and of calls still under way.

    A call of a subgraph has a namespace `name:task_id`; unless its parent is the newest root checkpoint it has ended,
    and copying it again at each claim would pile ended calls up.
    """
    newest = newest_of_each_namespace(keys)
    root = newest[""].checkpoint_id if "" in newest else None
    return [key for ns, key in newest.items() if ":" not in ns or _root_parent(key.metadata) == root]


def _root_parent(metadata: str) -> Any:
    parents = json.loads(metadata).get("parents")
    return parents.get("") if isinstance(parents, dict) else None


def wanted_key(wanted: Wanted, key: Key, after: Place | None) -> bool:
    """Whether a listing shows this checkpoint. `wanted.metadata` was checked by `check_metadata`."""
    return (
        wanted.ns in (None, key.ns)
        and wanted.checkpoint_id in (None, key.checkpoint_id)
        and (wanted.before_id is None or key.checkpoint_id < wanted.before_id)
        and (after is None or key.place < after)
        and all(json.loads(key.metadata).get(name) == value for name, value in (wanted.metadata or {}).items())
    )


def check_metadata(wanted: Wanted) -> None:
    """Raises BadInput for a name that not every engine can search for."""
    for name in wanted.metadata or ():
        if '"' in name or "\\" in name:
            raise BadInput(
                f"metadata key {name!r} cannot be searched for: it holds a quote or backslash, choose another"
            )
