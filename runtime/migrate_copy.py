"""One pass of a move: what differs between two places is written, what is equal is counted, and nothing is believed unread.

Each table is read at both ends. A row is told by the hash of what engines store of it (whole milliseconds, vectors as
float32), so equal here is equal there. Killed between any two writes, the next pass writes what is still missing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, TypeVar, cast

from config.clock import Clock
from config.errors import Conflict
from config.vocabulary import TERMINAL_PIECE, TERMINAL_SESSION, PieceState, SessionStatus
from memory.cache.protocol import CacheStore
from memory.checkpoints.protocol import Checkpoints
from memory.checkpoints.saver import LeasedSaver
from memory.checkpoints.stored import Found
from memory.lease import Unleased
from memory.queue.protocol import TaskQueue
from memory.records import schema
from memory.records.protocol import Decision, Records, RecordsStore
from memory.rows import ROW_TYPES, Control, Piece, Session
from memory.rows.row import Row
from memory.user_sessions import UserSessionsStore
from runtime.publish_due import PAUSE
from runtime.whole_tables import Place, pages_of, places_of

T = TypeVar("T")
DECISIONS, THREADS, PREFERENCES = "decisions", "threads", "preferences"
_PAGE = 200
_AT_ONCE = 8
"""Decisions and threads that are copied side by side: a remote store answers in milliseconds, and there are thousands."""

# What failed can be resumed where it stopped.
_ENDED_PIECE, _ENDED_SESSION = TERMINAL_PIECE - {PieceState.FAILED}, TERMINAL_SESSION - {SessionStatus.FAILED}


@dataclass
class Stores:
    """One end of a move, open."""

    records: RecordsStore
    checkpoints: Checkpoints
    queue: TaskQueue
    cache: CacheStore
    user_sessions: UserSessionsStore


@dataclass(frozen=True)
class Step:
    """Where a pass is: `done` of `total` things of `what` differed and are written."""

    what: str
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        return f"{self.what}: {self.done:,} of {self.total:,}" if self.total else self.what


Report = Callable[[Step], None]


@dataclass
class Pass:
    """What one pass found: for each table the hashes of what it holds at either end, and how much had to be written."""

    source: dict[str, list[str]] = field(default_factory=dict)
    target: dict[str, list[str]] = field(default_factory=dict)
    written: int = 0

    def saw(self, table: str, source: Iterable[str], target: Iterable[str]) -> None:
        """Note what was read of a table, before anything of it was written."""
        self.source.setdefault(table, []).extend(source)
        self.target.setdefault(table, []).extend(target)

    @property
    def equal(self) -> bool:
        """Whether both ends held the same, counts and hashes, when they were read."""
        return not self.written and all(
            _sum(self.source[table]) == _sum(self.target[table]) for table in {**self.source, **self.target}
        )

    def counts(self) -> dict[str, int]:
        """Table -> how many rows the source holds."""
        return {table: len(rows) for table, rows in self.source.items()}

    def hashes(self) -> dict[str, str]:
        """Table -> one hash over all its rows at the source, whatever their order."""
        return {table: _sum(rows) for table, rows in self.source.items()}


def _sum(digests: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


async def copy_all(old: Stores, new: Stores, brands: Sequence[str], clock: Clock, report: Report) -> Pass:
    """Read both ends and make the target say what the source says. Raises Conflict where the target has decided otherwise."""
    seen = Pass()
    until = (clock.now() + timedelta(days=1)).date()
    decided = await _copy_decisions(old, new, set(brands), seen, report)
    for brand in brands:
        records = old.records.for_brand(brand), new.records.for_brand(brand)
        named = [one.row for one in decided if one.row.brand == brand]
        for row_type in ROW_TYPES:
            await _copy_table(*records, row_type, until, named, seen, report)
        await _copy_threads(old, new, records[0], seen, report)
        await _copy_preferences(old, new, brand, seen)
    return seen


# Rows


async def _copy_table(
    source: Records, target: Records, row_type: type[Row], until: date, named: Sequence[Row], seen: Pass, report: Report
) -> None:
    # One end after the other, hashes alone being kept: a table of vectors is large.
    places = await places_of(source, row_type, until=until, also=named)
    there = await _hashes(target, row_type, until, places)
    here: dict[tuple[Any, ...], str] = {}
    copied = 0
    async for page in pages_of(source, row_type, until=until, also=places):
        rows = {row.key_values(): row for row in page if _moves(row)}
        hashed = {key: digest(row) for key, row in rows.items()}
        differ = [rows[key] for key, one in hashed.items() if there.get(key) != one]
        here |= hashed
        for start in range(0, len(differ), _PAGE):
            some = differ[start : start + _PAGE]
            # The store counts this write as one more; the row is to say what it said.
            await target.put(*(row.model_copy(update={"row_version": row.row_version - 1}) for row in some))
            copied += len(some)
            report(Step(f"{source.brand}: {row_type.table}", copied, copied + len(differ) - start - len(some)))
    seen.saw(row_type.table, here.values(), there.values())
    gone = there.keys() - here.keys()
    for key in sorted(gone):  # removed at the source since an earlier pass
        await target.delete(row_type, **dict(zip(row_type.key.columns, key, strict=True)))
    seen.written += copied + len(gone)


async def _hashes(
    records: Records, row_type: type[Row], until: date, places: Sequence[Place]
) -> dict[tuple[Any, ...], str]:
    pages = pages_of(records, row_type, until=until, also=places)
    return {row.key_values(): digest(row) async for page in pages for row in page if _moves(row)}


def _moves(row: Row) -> bool:
    return not (isinstance(row, Control) and row.name == PAUSE)  # who may publish is decided by the move itself


def digest(row: Row) -> str:
    """A hash of what engines store of the row, its key included."""
    stored = sorted(schema.encode_row(row).items())
    return hashlib.sha256(repr(stored).encode("utf-8", "surrogatepass")).hexdigest()


# Decisions


async def _copy_decisions(old: Stores, new: Stores, brands: set[str], seen: Pass, report: Report) -> list[Decision]:
    """Make the source's decisions at the target, each by the token that won; the source's."""
    here = {_race(one): one async for one in old.records.list_once() if one.row.brand in brands}
    there = {_race(one): _decided(one) async for one in new.records.list_once() if one.row.brand in brands}
    seen.saw(DECISIONS, (_decided(one) for one in here.values()), there.values())
    for (_, kind, key), hashed in there.items():
        one = here.get((_, kind, key))
        if one is None or _decided(one) != hashed:
            raise Conflict(f"the target has decided {kind} {key!r} otherwise: migrate into an empty place")
    missing = [one for race, one in here.items() if race not in there]

    async def make(one: Decision) -> None:
        made = await new.records.for_brand(one.row.brand).create_once(one.kind, one.key, one.row, token=one.token)
        if (made.token, made.row) != (one.token, one.row):
            raise Conflict(f"the target decides {one.kind} {one.key!r} just now: stop whatever runs there")

    await _side_by_side(missing, make, DECISIONS, report)
    seen.written += len(missing)
    return list(here.values())


def _race(one: Decision) -> tuple[str, str, str]:
    return one.row.brand, one.kind, one.key


def _decided(one: Decision) -> str:
    said = repr((_race(one), one.token, one.row.table, digest(one.row)))
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


async def _side_by_side(things: Sequence[T], copy: Callable[[T], Awaitable[None]], what: str, report: Report) -> None:
    for start in range(0, len(things), _AT_ONCE):
        some = things[start : start + _AT_ONCE]
        await asyncio.gather(*(copy(one) for one in some))
        report(Step(what, start + len(some), len(things)))


# Checkpoints


async def _copy_threads(old: Stores, new: Stores, records: Records, seen: Pass, report: Report) -> None:
    """The checkpoints of every thread that may be gone on with; what the target still holds of any other is removed."""
    brand = records.brand
    pieces, sessions = await records.find_by(Piece), await records.list_rows(Session)
    threads = {one.id: one.status not in _ENDED_SESSION for one in sessions}
    threads |= {piece.thread_id: piece.state not in _ENDED_PIECE for piece in pieces}
    reader = cast(LeasedSaver, old.checkpoints.reader(brand))
    there = cast(LeasedSaver, new.checkpoints.reader(brand))
    differ: list[str] = []

    async def held(thread_id: str) -> list[Found]:
        return await reader.stored(thread_id) if threads[thread_id] else []

    async def compare(thread_id: str) -> None:
        here, other = _states(thread_id, await held(thread_id)), _states(thread_id, await there.stored(thread_id))
        seen.saw(THREADS, here, other)
        if here != other:
            differ.append(thread_id)

    async def replace(thread_id: str) -> None:
        if found := await held(thread_id):
            claimed = cast(LeasedSaver, await new.checkpoints.claim(brand, thread_id, Unleased()))
            await claimed.replace_stored(found)
        else:
            # It ended, or began anew, since it was copied: its old steps must not be gone on with.
            await new.checkpoints.delete(brand, thread_id)

    ids = list(threads)
    for start in range(0, len(ids), _AT_ONCE):
        await asyncio.gather(*(compare(one) for one in ids[start : start + _AT_ONCE]))
    await _side_by_side(differ, replace, f"{brand}: {THREADS}", report)
    seen.written += len(differ)


def _states(thread_id: str, found: Sequence[Found]) -> list[str]:
    """One hash for a thread that holds something, over all its checkpoints and their writes."""
    said = repr(sorted((tuple(map(str, row[:3])), tuple(row), sorted(map(tuple, writes))) for row, writes in found))
    return [hashlib.sha256(f"{thread_id} {said}".encode("utf-8", "surrogatepass")).hexdigest()] if found else []


# Preferences


async def _copy_preferences(old: Stores, new: Stores, brand: str, seen: Pass) -> None:
    source, target = old.user_sessions.for_brand(brand), new.user_sessions.for_brand(brand)
    for user in {*await source.list_users(), *await target.list_users()}:
        here, there = await source.list_preferences(user), await target.list_preferences(user)
        seen.saw(PREFERENCES, *([repr((brand, user, *one)) for one in kept.items()] for kept in (here, there)))
        differ = {key: value for key, value in here.items() if key not in there or there[key] != value}
        for key, value in differ.items():
            await target.set_preference(user, key, value)
        for key in there.keys() - here.keys():
            await target.delete_preference(user, key)
        seen.written += len(differ) + len(there.keys() - here.keys())
