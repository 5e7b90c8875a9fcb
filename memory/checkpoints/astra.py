"""Checkpoints on AstraDB tables, which have neither transactions nor compare-and-set.

Claims are appended, never overwritten; the greatest (n, token) owns the thread, and each row names the claim that wrote
it, so a late write of a displaced worker lands where nobody reads. A claim copies what its predecessor had, and is
`ready` only then. A writer writes first and looks second, a claimant claims first and reads second: one of the two sees the
other. Every part of this is needed; leaving out any loses states (docs/operate.md).

It rests on reads that see every acknowledged write (LOCAL_QUORUM in one region).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

from config.clock import Clock
from config.errors import Conflict, LeaseLost, Unavailable
from config.ids import new_token, parse_slug
from memory.astra_client import CHUNK, AstraDatabase, open_astra_database
from memory.checkpoints.astra_rows import (
    Key,
    Owner,
    check_metadata,
    checkpoint_columns,
    checkpoint_of,
    newest_of_each_namespace,
    owner_of,
    taken_over,
    under,
    wanted_key,
    write_rows,
    writes_of,
)
from memory.checkpoints.saver import LeasedSaver
from memory.checkpoints.stored import Claim, Found, Place, StoredCheckpoint, StoredWrite, Wanted
from memory.lease import LeaseGuard

_OWNERS_KEY = ("brand", "thread_id", "n", "token")
_CHECKPOINTS_KEY = (*_OWNERS_KEY, "ns", "checkpoint_id")
_WRITES_KEY = (*_CHECKPOINTS_KEY, "task_path", "task_id", "slot")
_DELETED = "~"
"""The token of a deleted thread's last claim: greater than every other, which are hex digits, and nobody's."""
_READER_WAITS, _READER_WAIT = 5, timedelta(milliseconds=50)
_ROWS_A_CALL = 20  # checkpoints hold up to megabytes, a request at most 20


class AstraCheckpoints:
    """The engine, as a reader sees it: the rows of the greatest claim that is ready."""

    def __init__(self, database: AstraDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def reader(self, brand: str) -> LeasedSaver:
        return LeasedSaver(self, parse_slug(brand, what="brand"))

    async def claim(
        self,
        brand: str,
        thread_id: str,
        lease: LeaseGuard,
        *,
        on_lost: Callable[[], None] | None = None,
        on_progress: Callable[[], None] | None = None,
    ) -> LeasedSaver:
        parse_slug(brand, what="brand")
        seen = await self._last_n(brand, thread_id)
        # In this order: a worker that slept between its lease and here fails to extend, or finds that n has moved.
        await lease.extend()
        if await self._last_n(brand, thread_id) != seen:
            raise Conflict(f"thread {thread_id!r}: somebody else claimed it just now: look again")
        claim = Claim(brand, thread_id, seen + 1, new_token(), lease, on_lost, on_progress)
        mine = owner_of(claim)
        if not seen:
            await self._database.insert(
                "checkpoint_threads", ("brand", "thread_id"), [{"brand": brand, "thread_id": thread_id}]
            )
        await self._put_claim(brand, thread_id, mine, ready=False)
        claims = await self._claims(brand, thread_id)
        if claims[0][0] != mine:
            raise Conflict(f"thread {thread_id!r}: somebody else claimed it just now: look again")
        # Which claim to take over is read now, not before ours was there: its owner may have written until then.
        source = next((owner for owner, ready in claims[1:] if ready), None)
        if source is not None:
            await self._copy(claim, thread_id, source)
        await self._put_claim(brand, thread_id, mine, ready=True)
        if await self._top(brand, thread_id) != mine:
            raise Conflict(f"thread {thread_id!r}: somebody else claimed it just now: look again")
        if source is not None:
            # The thread is claimed all the same; the next claim or a prune removes what is left.
            with suppress(Unavailable):
                await self._forget_before(brand, thread_id, mine.n)
        return LeasedSaver(_Owned(self._database, self._clock, claim), brand, claim)

    async def prune(self, brand: str, thread_id: str) -> None:
        owner = await self._visible(brand, thread_id)
        if owner is not None:
            await self._prune(brand, thread_id, owner)

    async def delete(self, brand: str, thread_id: str) -> None:
        n = await self._last_n(brand, thread_id)
        if n:
            # First, so that no earlier claim's write is acknowledged from here on, and the next claim copies nothing.
            await self._put_claim(brand, thread_id, Owner(n, _DELETED), ready=True)
            await self._delete_rows(brand, thread_id, {"$lte": n})

    async def size_bytes(self, brand: str, thread_ids: list[str]) -> int:
        async def measure(table: str, thread_id: str) -> int:
            where = {"brand": brand, "thread_id": thread_id}
            found = self._database.find(table, where, columns=["size_bytes"])
            return sum([row["size_bytes"] async for row in found])

        measures = (measure(table, one) for one in thread_ids for table in ("checkpoints", "checkpoint_writes"))
        return sum(await asyncio.gather(*measures))

    # What savers ask (memory/checkpoints/stored.py, CheckpointTables).

    async def find(self, brand: str, thread_id: str, ns: str, checkpoint_id: str | None) -> Found | None:
        owner = await self._visible(brand, thread_id)
        while owner is not None:
            named = {} if checkpoint_id is None else {"checkpoint_id": checkpoint_id}
            async for row in self._database.find(
                "checkpoints", under(brand, thread_id, owner, ns=ns, **named), limit=1
            ):
                checkpoint = checkpoint_of(row)
                where = under(brand, thread_id, owner, ns=ns, checkpoint_id=checkpoint.checkpoint_id)
                return checkpoint, (await self._writes(where)).get(checkpoint.checkpoint_id, [])
            now = await self._visible(brand, thread_id)
            if now == owner:
                return None
            owner = now  # taken over between the two reads
        return None

    async def page(self, brand: str, wanted: Wanted, *, after: Place | None, limit: int) -> list[Found]:
        check_metadata(wanted)
        if wanted.thread_id is not None:
            threads = [wanted.thread_id]
        else:
            listed = self._database.find("checkpoint_threads", {"brand": brand}, columns=["thread_id"])
            threads = [row["thread_id"] async for row in listed]
        owners = {thread: owner for thread in threads if (owner := await self._visible(brand, thread)) is not None}
        keys: list[Key] = []
        for thread, owner in owners.items():
            keys += [key for key in await self._keys(brand, thread, owner, wanted.ns) if wanted_key(wanted, key, after)]
        keys.sort(key=lambda key: key.place, reverse=True)
        found: dict[Place, Found] = {}
        chosen: dict[tuple[str, str], list[str]] = {}
        for key in keys[:limit]:
            chosen.setdefault((key.thread_id, key.ns), []).append(key.checkpoint_id)
        for (thread, ns), ids in chosen.items():
            between = {"$gte": min(ids), "$lte": max(ids)}
            where = under(brand, thread, owners[thread], ns=ns, checkpoint_id=between)
            writes = await self._writes(where)
            async for row in self._database.find("checkpoints", where):
                if row["checkpoint_id"] in ids:
                    checkpoint = checkpoint_of(row)
                    place = (checkpoint.checkpoint_id, thread, ns)
                    found[place] = checkpoint, writes.get(checkpoint.checkpoint_id, [])
        return [found[key.place] for key in keys[:limit] if key.place in found]

    async def put(self, claim: Claim, row: StoredCheckpoint) -> None:
        if row.run_id:
            run = {"brand": claim.brand, "run_id": row.run_id, "thread_id": claim.thread_id}
            await self._database.insert("checkpoint_runs", tuple(run), [run])
        columns = checkpoint_columns(claim.brand, owner_of(claim), row)
        await self._database.insert("checkpoints", _CHECKPOINTS_KEY, [columns])
        await self._look(claim)

    async def put_writes(
        self, claim: Claim, ns: str, checkpoint_id: str, rows: Sequence[StoredWrite], *, replace: bool
    ) -> None:
        # The last one of a (task, slot) stays, whatever `replace` says: an upsert cannot be told to keep the first.
        place = under(claim.brand, claim.thread_id, owner_of(claim), ns=ns, checkpoint_id=checkpoint_id)
        for row in write_rows(place, rows):
            await self._database.insert("checkpoint_writes", _WRITES_KEY, [row])
        await self._look(claim)

    async def threads_of_runs(self, brand: str, run_ids: Sequence[str]) -> list[str]:
        threads = set()
        for run_id in filter(None, run_ids):
            where = {"brand": brand, "run_id": run_id}
            threads |= {row["thread_id"] async for row in self._database.find("checkpoint_runs", where)}
        # The list of a run is never shortened by a prune or delete, so each thread is asked.
        asked = [(thread, await self._shown(brand, thread)) for thread in sorted(threads)]
        return [thread for thread, owner in asked if owner and await self._keys_of_runs(brand, thread, owner, run_ids)]

    async def has_rows(self, brand: str, thread_id: str) -> bool:
        owner = await self._shown(brand, thread_id)
        if owner is None:
            return False
        for table in ("checkpoints", "checkpoint_writes"):
            async for _ in self._database.find(table, under(brand, thread_id, owner), columns=["ns"], limit=1):
                return True
        return False

    async def delete_runs(self, claim: Claim, run_ids: Sequence[str]) -> None:
        await self._look(claim)
        mine = owner_of(claim)
        for key in await self._keys_of_runs(claim.brand, claim.thread_id, mine, run_ids):
            where = under(claim.brand, claim.thread_id, mine, ns=key.ns, checkpoint_id=key.checkpoint_id)
            await self._database.delete_one("checkpoints", where)
            await self._database.delete_many("checkpoint_writes", where)
        for run_id in filter(None, run_ids):
            run = {"brand": claim.brand, "run_id": run_id, "thread_id": claim.thread_id}
            await self._database.delete_one("checkpoint_runs", run)

    async def delete_thread(self, claim: Claim) -> None:
        # Looks before it deletes: what a later claim is copying from must stay.
        await self._look(claim)
        await self._delete_rows(claim.brand, claim.thread_id, {"$lte": claim.n})

    async def prune_thread(self, claim: Claim) -> None:
        await self._look(claim)
        await self._prune(claim.brand, claim.thread_id, owner_of(claim))

    async def copy_into(self, claim: Claim, source_thread_id: str) -> None:
        source = await self._visible(claim.brand, source_thread_id)
        if source is not None:
            await self._copy(claim, source_thread_id, source, everything=True)
        await self._look(claim)

    # Claims

    async def _claims(self, brand: str, thread_id: str, limit: int | None = None) -> list[tuple[Owner, bool]]:
        """The thread's claims, greatest first, and whether each is ready."""
        where = {"brand": brand, "thread_id": thread_id}
        found = self._database.find("thread_owners", where, columns=["n", "token", "ready"], limit=limit)
        return [(Owner(row["n"], row["token"]), row["ready"]) async for row in found]

    async def _top(self, brand: str, thread_id: str) -> Owner | None:
        claims = await self._claims(brand, thread_id, 1)
        return claims[0][0] if claims else None

    async def _last_n(self, brand: str, thread_id: str) -> int:
        top = await self._top(brand, thread_id)
        return top.n if top is not None else 0

    async def _put_claim(self, brand: str, thread_id: str, owner: Owner, *, ready: bool) -> None:
        row = {**under(brand, thread_id, owner), "ready": ready, "claimed_at": self._clock.now()}
        await self._database.insert("thread_owners", _OWNERS_KEY, [row])

    async def _look(self, claim: Claim) -> None:
        top = await self._top(claim.brand, claim.thread_id)
        if top != owner_of(claim):
            now = "nobody" if top is None or top.token == _DELETED else f"claim {top.n}"
            raise LeaseLost(
                f"thread {claim.thread_id!r}: claim {claim.n} no longer owns it, {now} does: drop what it made"
            )

    async def _visible(self, brand: str, thread_id: str) -> Owner | None:
        """Whose rows a caller of this engine reads."""
        return await self._shown(brand, thread_id)

    async def _shown(self, brand: str, thread_id: str) -> Owner | None:
        """Whose rows a reader is shown. While a thread changes hands it waits a little; a killed claimant stays unready."""
        for _ in range(_READER_WAITS):
            claims = await self._claims(brand, thread_id, 1)
            if not claims or claims[0][1]:
                return claims[0][0] if claims else None
            await self._clock.sleep(_READER_WAIT)
        return next((owner for owner, ready in await self._claims(brand, thread_id) if ready), None)

    # Rows

    async def _keys(self, brand: str, thread_id: str, owner: Owner, ns: str | None = None) -> list[Key]:
        where = under(brand, thread_id, owner, **({} if ns is None else {"ns": ns}))
        found = self._database.find("checkpoints", where, columns=[*Key._fields])
        return [Key(*(row[name] for name in Key._fields)) async for row in found]

    async def _keys_of_runs(self, brand: str, thread_id: str, owner: Owner, run_ids: Sequence[str]) -> list[Key]:
        keys = await self._keys(brand, thread_id, owner)
        return [key for key in keys if key.run_id and key.run_id in run_ids]

    async def _writes(self, where: dict[str, Any]) -> dict[str, list[StoredWrite]]:
        """Checkpoint id -> its writes."""
        found: dict[str, list[StoredWrite]] = {}
        async for row in self._database.find("checkpoint_writes", where):
            found.setdefault(row["checkpoint_id"], []).extend(writes_of(row))
        return found

    async def _copy(self, claim: Claim, thread_id: str, source: Owner, *, everything: bool = False) -> None:
        """Write again under `claim` what a take-over needs, or everything: writes first, so that no checkpoint lacks its own."""
        keys = await self._keys(claim.brand, thread_id, source)
        to = {"thread_id": claim.thread_id, "n": claim.n, "token": claim.token}
        checkpoints: list[dict[str, Any]] = []
        writes: list[dict[str, Any]] = []
        for key in keys if everything else taken_over(keys):
            where = under(claim.brand, thread_id, source, ns=key.ns, checkpoint_id=key.checkpoint_id)
            row = await self._database.find_one("checkpoints", where)
            if row is not None:
                checkpoints.append({**row, **to})
                writes += [{**row, **to} async for row in self._database.find("checkpoint_writes", where)]
        # Special writes in the order of their slots, ordinary ones after them.
        writes.sort(key=lambda row: row["slot"])
        for table, key_columns, rows, size in (
            ("checkpoint_writes", _WRITES_KEY, writes, CHUNK),
            ("checkpoints", _CHECKPOINTS_KEY, checkpoints, _ROWS_A_CALL),
        ):
            for start in range(0, len(rows), size):
                await self._database.insert(table, key_columns, rows[start : start + size])

    async def _delete_rows(self, brand: str, thread_id: str, n: dict[str, int]) -> None:
        for table in ("checkpoints", "checkpoint_writes"):
            await self._database.delete_many(table, {"brand": brand, "thread_id": thread_id, "n": n})

    async def _forget_before(self, brand: str, thread_id: str, n: int) -> None:
        """Remove what earlier claims left. Only a claim that was ready and then saw itself as the greatest may: every later
        one copies from it. The claims go last, or a late writer could take itself for the owner.
        """
        await self._delete_rows(brand, thread_id, {"$lt": n})
        await self._database.delete_many("thread_owners", {"brand": brand, "thread_id": thread_id, "n": {"$lt": n}})

    async def _prune(self, brand: str, thread_id: str, owner: Owner) -> None:
        for key in newest_of_each_namespace(await self._keys(brand, thread_id, owner)).values():
            older = under(brand, thread_id, owner, ns=key.ns, checkpoint_id={"$lt": key.checkpoint_id})
            for table in ("checkpoints", "checkpoint_writes"):
                await self._database.delete_many(table, older)
        await self._delete_rows(brand, thread_id, {"$lt": owner.n})


class _Owned(AstraCheckpoints):
    """The engine as the owner of a thread sees it: of that thread, its own rows."""

    def __init__(self, database: AstraDatabase, clock: Clock, claim: Claim) -> None:
        super().__init__(database, clock)
        self._claim = claim

    async def _visible(self, brand: str, thread_id: str) -> Owner | None:
        if (brand, thread_id) == (self._claim.brand, self._claim.thread_id):
            return owner_of(self._claim)
        return await super()._visible(brand, thread_id)

    async def find(self, brand: str, thread_id: str, ns: str, checkpoint_id: str | None) -> Found | None:
        found = await super().find(brand, thread_id, ns, checkpoint_id)
        if found is None and (brand, thread_id) == (self._claim.brand, self._claim.thread_id):
            # A later claim removes the rows of this one: that must not read as a thread that was never started.
            await self._look(self._claim)
        return found


@asynccontextmanager
async def open_astra_checkpoints(url: str, *, clock: Clock, token: str = "") -> AsyncIterator[AstraCheckpoints]:
    """Open the checkpoint tables of `astra://HOST/KEYSPACE` or `astra+http://…`; `db init` made them. Raises SettingsError."""
    async with open_astra_database(url, clock=clock, token=token) as database:
        yield AstraCheckpoints(database, clock)
