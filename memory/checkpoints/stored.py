"""What travels between a saver and its engine: claims, and rows that are already bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from memory.lease import LeaseGuard


@dataclass(eq=False)
class Claim:
    """One task's ownership of one thread, shared by all copies of its saver: a loss is known to all and told once."""

    brand: str
    thread_id: str
    n: int
    token: str
    """Fresh for each claim; the lease's own token would not tell two claims under one lease apart."""
    lease: LeaseGuard
    on_lost: Callable[[], None] | None = None
    on_progress: Callable[[], None] | None = None
    lost: bool = False

    def lose(self) -> None:
        """Note that another claim owns the thread, and tell the worker, once."""
        if not self.lost:
            self.lost = True
            if self.on_lost is not None:
                self.on_lost()


class StoredCheckpoint(NamedTuple):
    """A row of `checkpoints`, without its brand."""

    thread_id: str
    ns: str
    checkpoint_id: str
    parent_id: str | None
    run_id: str
    type: str
    checkpoint: bytes
    metadata: str
    """JSON."""


class StoredWrite(NamedTuple):
    """A row of `writes`, without its brand, thread, namespace and checkpoint."""

    task_id: str
    task_path: str
    idx: int
    channel: str
    type: str
    value: bytes


@dataclass(frozen=True)
class Wanted:
    """Which checkpoints to list, newest first; None means any."""

    thread_id: str | None = None
    ns: str | None = None
    checkpoint_id: str | None = None
    before_id: str | None = None
    metadata: Mapping[str, Any] | None = None


Found = tuple[StoredCheckpoint, Sequence[StoredWrite]]
Place = tuple[str, str, str]
"""Checkpoint id, thread id, namespace: where a page of a listing ended."""


class CheckpointTables(Protocol):
    """What a saver asks of its engine. Writes raise LeaseLost, storing nothing, unless the claim is the last one."""

    async def find(self, brand: str, thread_id: str, ns: str, checkpoint_id: str | None) -> Found | None:
        """This checkpoint, or the newest of the namespace, with its writes."""
        ...

    async def page(self, brand: str, wanted: Wanted, *, after: Place | None, limit: int) -> list[Found]:
        """Up to `limit` checkpoints, newest first, behind `after`."""
        ...

    async def put(self, claim: Claim, row: StoredCheckpoint) -> None:
        """Insert or replace a checkpoint."""
        ...

    async def put_writes(
        self, claim: Claim, ns: str, checkpoint_id: str, rows: Sequence[StoredWrite], *, replace: bool
    ) -> None:
        """Add writes; the first one of a (task, idx) stays unless `replace`."""
        ...

    async def threads_of_runs(self, brand: str, run_ids: Sequence[str]) -> list[str]:
        """The threads that hold checkpoints of these runs."""
        ...

    async def has_rows(self, brand: str, thread_id: str) -> bool:
        """Whether the thread holds a checkpoint or write."""
        ...

    async def delete_runs(self, claim: Claim, run_ids: Sequence[str]) -> None:
        """Remove these runs' checkpoints of the claimed thread, and their writes."""
        ...

    async def delete_thread(self, claim: Claim) -> None:
        """Remove every checkpoint and write of the claimed thread."""
        ...

    async def prune_thread(self, claim: Claim) -> None:
        """Keep the newest checkpoint of each namespace of the claimed thread, and its writes."""
        ...

    async def copy_into(self, claim: Claim, source_thread_id: str) -> None:
        """Copy every checkpoint and write of `source_thread_id` into the claimed thread."""
        ...
