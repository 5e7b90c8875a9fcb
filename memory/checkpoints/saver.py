"""The LangGraph saver of one task: a small view on an open engine, bound to a claim. Async only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
    writes_sort_key,
)

from config.errors import BadInput, LeaseLost, Unsupported, UsageError
from memory.checkpoints.serializer import StrictSerializer
from memory.checkpoints.stored import CheckpointTables, Claim, Found, Place, StoredCheckpoint, StoredWrite, Wanted

T = TypeVar("T")

_PAGE = 100
_SERDE = StrictSerializer()


class LeasedSaver(BaseCheckpointSaver[str]):
    """Reads what the brand's threads hold; writes to the one thread it has claimed, while that claim is the last one.

    A refused write raises LeaseLost, stores nothing and calls the claim's `on_lost`. LangGraph shows a refused
    `aput_writes` only when the superstep ends, so the worker has to cancel the run from `on_lost`. Everything shared is
    in the engine and the claim, because LangGraph copies savers.
    """

    def __init__(self, tables: CheckpointTables, brand: str, claim: Claim | None = None) -> None:
        super().__init__(serde=_SERDE)
        self._tables = tables
        self._brand = brand
        self.claim = claim

    async def claim_for(self, thread_id: str) -> Claim:
        """The claim under which `thread_id` may be written now. Raises LeaseLost when there is none."""
        claim = self.claim
        if claim is None:
            raise LeaseLost(f"thread {thread_id!r}: this saver only reads: write under a claim of the thread")
        if claim.thread_id != thread_id:
            raise LeaseLost(
                f"thread {thread_id!r}: this saver has claimed {claim.thread_id!r}, no other: claim it first"
            )
        return claim

    async def _owned(self, claim: Claim, writing: Awaitable[T]) -> T:
        try:
            return await writing
        except LeaseLost:
            claim.lose()
            raise

    async def _ready(self, thread_id: str) -> Claim:
        claim = await self.claim_for(thread_id)
        if claim.lost:
            raise LeaseLost(f"thread {thread_id!r}: claim {claim.n} was lost to a later one: drop what it made")
        try:
            claim.lease.ensure_held()
        except LeaseLost:
            claim.lose()
            raise
        return claim

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that `config` names, or the newest of its thread and namespace; None if there is none."""
        place = config["configurable"]
        found = await self._tables.find(
            self._brand, str(place["thread_id"]), place.get("checkpoint_ns", ""), get_checkpoint_id(config)
        )
        if found is None:
            return None
        return self._tuple(found, config if get_checkpoint_id(config) else None)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Checkpoints of this brand, newest first. Holds no lock between items, so reading on while listing is safe."""
        place = {} if config is None else config["configurable"]
        thread_id = place.get("thread_id")
        wanted = Wanted(
            thread_id=None if thread_id is None else str(thread_id),
            ns=place.get("checkpoint_ns"),
            checkpoint_id=None if config is None else get_checkpoint_id(config),
            before_id=None if before is None else get_checkpoint_id(before),
            metadata=filter or None,
        )
        left = limit
        after: Place | None = None
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            found = await self._tables.page(self._brand, wanted, after=after, limit=size)
            for item in found:
                yield self._tuple(item, None)
            if len(found) < size:
                return
            last = found[-1][0]
            after = (last.checkpoint_id, last.thread_id, last.ns)
            left = None if left is None else left - len(found)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint; it is durable against process death when this returns.

        Raises:
            LeaseLost: another claim owns the thread, or the lease is gone.
            Unsupported: the graph uses a DeltaChannel.
            BadInput: state or metadata hold something that cannot be stored.
        """
        place = config["configurable"]
        thread_id = str(place["thread_id"])
        ns = place.get("checkpoint_ns", "")
        if metadata.get("counters_since_delta_snapshot"):
            # Such a checkpoint holds only changes: after a prune or copy it would silently read as empty.
            raise Unsupported(
                f"thread {thread_id!r}: the graph's state has a DeltaChannel, which prune would empty: use another"
            )
        claim = await self._ready(thread_id)
        full = get_checkpoint_metadata(config, metadata)
        try:
            encoded = json.dumps(full, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise BadInput(
                f"thread {thread_id!r}: metadata is not plain JSON ({error}): pass ids and text only"
            ) from error
        type_, data = self.serde.dumps_typed(checkpoint)
        row = StoredCheckpoint(
            thread_id,
            ns,
            checkpoint["id"],
            get_checkpoint_id(config),
            str(full.get("run_id") or ""),
            type_,
            data,
            encoded,
        )
        await self._owned(claim, self._tables.put(claim, row))
        if claim.on_progress is not None:
            claim.on_progress()
        return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ns, "checkpoint_id": row.checkpoint_id}}

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task produced, all of it or nothing. Raises LeaseLost and BadInput as `aput`."""
        place = config["configurable"]
        claim = await self._ready(str(place["thread_id"]))
        rows = [
            StoredWrite(task_id, task_path, WRITES_IDX_MAP.get(channel, idx), channel, *self.serde.dumps_typed(value))
            for idx, (channel, value) in enumerate(writes)
        ]
        replace = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        writing = self._tables.put_writes(
            claim, place.get("checkpoint_ns", ""), str(place["checkpoint_id"]), rows, replace=replace
        )
        await self._owned(claim, writing)
        if not replace and claim.on_progress is not None:  # the step is done and will not run again
            claim.on_progress()

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove the claimed thread's checkpoints and writes. Raises LeaseLost."""
        claim = await self._ready(thread_id)
        await self._owned(claim, self._tables.delete_thread(claim))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove these runs' checkpoints and writes. Raises LeaseLost, removing nothing, if a thread is not claimed."""
        claims = [
            await self._ready(thread_id) for thread_id in await self._tables.threads_of_runs(self._brand, run_ids)
        ]
        for claim in claims:
            await self._owned(claim, self._tables.delete_runs(claim, run_ids))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy the source's checkpoints and writes into the claimed target. Raises LeaseLost."""
        claim = await self._ready(target_thread_id)
        await self._owned(claim, self._tables.copy_into(claim, source_thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Keep each namespace's newest checkpoint (`keep_latest`) or nothing (`delete`); an unknown thread is no error.

        Raises LeaseLost, and UsageError for another strategy.
        """
        if strategy not in ("keep_latest", "delete"):
            raise UsageError(f"prune strategy {strategy!r} is unknown: use 'keep_latest' or 'delete'")
        for thread_id in thread_ids:
            if not await self._tables.has_rows(self._brand, thread_id):
                continue
            claim = await self._ready(thread_id)
            pruning = (
                self._tables.prune_thread(claim) if strategy == "keep_latest" else self._tables.delete_thread(claim)
            )
            await self._owned(claim, pruning)

    async def stored(self, thread_id: str) -> list[Found]:
        """Every checkpoint of a thread with its writes, oldest first, as bytes."""
        found: list[Found] = []
        after: Place | None = None
        while True:
            page = await self._tables.page(self._brand, Wanted(thread_id=thread_id), after=after, limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                return found[::-1]
            last = page[-1][0]
            after = (last.checkpoint_id, last.thread_id, last.ns)

    async def replace_stored(self, found: Sequence[Found]) -> None:
        """Make `found`, as `stored` of another engine returned it, all that the claimed thread holds. Raises LeaseLost.

        Killed in between it holds the oldest of them; the same call makes it whole.
        """
        claim = await self._ready(found[0][0].thread_id)
        await self._owned(claim, self._tables.delete_thread(claim))
        for row, writes in found:
            # The writes of a checkpoint stand before it: a reader finds it with all of them or not at all.
            await self._owned(
                claim, self._tables.put_writes(claim, row.ns, row.checkpoint_id, list(writes), replace=True)
            )
            await self._owned(claim, self._tables.put(claim, row))

    def get_next_version(self, current: str | None, channel: None) -> str:
        """The next version of a channel: digits that sort as text."""
        return f"{(0 if current is None else int(current)) + 1:016}"

    def _tuple(self, found: Found, asked: RunnableConfig | None) -> CheckpointTuple:
        row, writes = found
        here = {"thread_id": row.thread_id, "checkpoint_ns": row.ns}
        ordered = sorted(writes, key=lambda write: writes_sort_key(write.task_path, write.task_id, write.idx))
        return CheckpointTuple(
            config=asked or {"configurable": {**here, "checkpoint_id": row.checkpoint_id}},
            checkpoint=self.serde.loads_typed((row.type, row.checkpoint)),
            metadata=cast(CheckpointMetadata, json.loads(row.metadata)),
            parent_config={"configurable": {**here, "checkpoint_id": row.parent_id}} if row.parent_id else None,
            pending_writes=[
                (write.task_id, write.channel, self.serde.loads_typed((write.type, write.value))) for write in ordered
            ],
        )
