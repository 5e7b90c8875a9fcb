"""Moving an installation: its rows, vectors, decisions and checkpoints into other stores, through the protocols alone.

What is copied is compared first, row by row, so a run that was killed goes on where it stopped, and a run after a run copies what has
changed. Tasks are not copied: reconcile derives them from the rows. Two installations of one brand would publish everything
twice, so at every moment at most one of them may publish: the source is paused before the last pass, the target is paused from its
first row until every table has been compared and found equal.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from config.clock import Clock
from config.errors import BadInput, Conflict, Damaged
from config.ids import new_token
from config.settings import Settings, mask_url
from config.vocabulary import TERMINAL_PIECE, TERMINAL_SESSION
from memory.checkpoints.protocol import Checkpoints, open_checkpoints
from memory.checkpoints.saver import LeasedSaver
from memory.lease import Unleased
from memory.records import schema
from memory.records.protocol import Records, RecordsStore, open_records
from memory.rows import (
    ROW_TYPES,
    Brand,
    Control,
    Piece,
    Session,
)
from memory.rows.row import Row
from runtime.backup import embedded_files
from runtime.publish_due import PAUSE
from runtime.restore import nobody_else
from runtime.whole_tables import rows_of

BY = "migrate"
_PAGE = 200
_PASSES = 5
Report = Callable[[str], None]


@dataclass
class Stores:
    """One end of a move, open."""

    records: RecordsStore
    checkpoints: Checkpoints


@dataclass
class Moved:
    """What a run did. `tables` counts the rows of each table after it, `copied` those that this run wrote or removed."""

    target: str
    finished: bool
    brands: list[str] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    copied: int = 0
    decisions: int = 0
    threads: int = 0


def target_settings(settings: Settings, to: str) -> Settings:
    """The settings of the installation at `to`: a folder, `sqlite:///FOLDER`, or an address of AstraDB. Raises BadInput."""
    scheme, found, rest = to.partition("://")
    if not to or (found and not rest.strip("/")):
        raise BadInput(f"--to {to!r}: name a folder, sqlite:///FOLDER or astra://HOST/KEYSPACE")
    if found and scheme != "sqlite":
        try:
            return Settings.model_validate({**settings.model_dump(), "records": to})
        except ValidationError as error:
            raise BadInput(f"--to {mask_url(to)!r}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    folder = Path(to.removeprefix("sqlite:///"))
    return settings.model_copy(update={"data_dir": folder, "records": "", "queue": "", "cache": ""})


@asynccontextmanager
async def _opened(settings: Settings, clock: Clock) -> AsyncIterator[Stores]:
    token = settings.astra_token.get_secret_value()
    async with AsyncExitStack() as stack:
        yield Stores(
            await stack.enter_async_context(open_records(settings.records_url, clock=clock, astra_token=token)),
            await stack.enter_async_context(open_checkpoints(settings.checkpoints_url, clock=clock, astra_token=token)),
        )


async def migrate(source: Settings, to: Settings, *, live: bool, clock: Clock, report: Report) -> Moved:
    """Copy the installation of `source` into the stores of `to`; with `live` while workers run, and then again without.

    Without `live` the source ends paused for good and the target as the source was, publishing as it did; `finished` says so.

    Raises:
        Conflict: workers run (without `live`); the target holds brands of its own; the source has moved before; or the source
            is still being written.
        Unsupported: an engine cannot list what has to be copied.
    """
    if source.records_url == to.records_url:
        raise BadInput(f"--to {mask_url(to.records_url)!r} is where the installation is already: name another place")
    state = _State(source, to)
    if not live:
        with nobody_else([file for file in embedded_files(source) if file.path.is_file()]):
            pass
    done = Moved(mask_url(to.records_url), finished=False)
    async with _opened(source, clock) as old, _opened(to, clock) as new:
        brands = await old.records.all_brands().list_rows(Brand, realm="all")
        done.brands = [brand.name for brand in brands]
        await _forget_old_move(old, done.brands, state)
        if state.over:  # killed after the switch: the target may have gone on by itself, and is not to be written over
            report(f"the move to {state.name} is over: it is the installation")
            for name in done.brands:
                await _release_target(new, name, state, clock)
            done.finished = True
            return done
        for hold in (False, True):  # all are looked at before the first is touched
            for name in done.brands:
                await _hold_target(old, new, name, state, clock, hold=hold)
        if not live:
            for name in done.brands:
                await _hold_source(old, name, state, clock)
        for n in range(1, _PASSES + 1):
            done.tables, done.decisions, done.threads, changed = {}, 0, 0, 0
            for name in done.brands:
                changed += await _copy_brand(old, new, name, done, report)
            done.copied += changed
            report(f"pass {n}: {changed:,} rows, decisions and threads differed")
            if not changed or live:
                break
        else:
            raise Conflict(
                f"the source was written to in each of {_PASSES} passes: stop whatever writes to it, then run it again"
            )
        _copy_brand_folders(source, to)
        if live:
            return done
        # Everything was compared and is equal. From here on the target is the installation.
        state.switched()
        for name in done.brands:
            await _release_target(new, name, state, clock)
    done.finished = True
    return done


class _State:
    """A small file in the source's data directory: what was paused there before the move began, and whether it is over."""

    def __init__(self, source: Settings, to: Settings) -> None:
        home = source.data_dir.absolute()
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = f"{source.records_url} {to.records_url}"
        self.path = home / f".migrate-{hashlib.sha256(names.encode()).hexdigest()[:16]}.json"
        self.name, self.source = mask_url(to.records_url), mask_url(source.records_url)
        try:
            read = json.loads(self.path.read_text(encoding="utf-8"))
            self.flags: dict[str, dict[str, Any] | None] = dict(read["flags"])
            self.over = bool(read["over"])
        except FileNotFoundError:
            self.flags, self.over = {}, False
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(f"{self.path} cannot be read ({error}): move it away to begin the move anew") from None

    def remember(self, brand: str, flag: Control | None) -> None:
        """Note the pause that was there before ours. The first note stays."""
        if brand not in self.flags:
            self.flags[brand] = None if flag is None else flag.model_dump(mode="json")
            self._write()

    def switched(self) -> None:
        self.over = True
        self._write()

    def begin(self) -> None:
        self.flags, self.over = {}, False
        self._write()

    def _write(self) -> None:
        spare = self.path.with_name(f"{self.path.name}.{new_token()[:8]}")
        with spare.open("w", encoding="utf-8") as file:
            json.dump({"to": self.name, "flags": self.flags, "over": self.over}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(spare, self.path)


async def _forget_old_move(old: Stores, brands: list[str], state: _State) -> None:
    """After a move and its way back the source is alive again, and the note of the first move says nothing about it."""
    flags = [await old.records.for_brand(brand).find(Control, name=PAUSE) for brand in brands]
    if state.over and not any(_ours(flag) for flag in flags):
        state.begin()


async def _hold_source(old: Stores, brand: str, state: _State, clock: Clock) -> None:
    records = old.records.for_brand(brand)
    flag = await records.find(Control, name=PAUSE)
    if _ours(flag):
        return
    state.remember(brand, flag)
    await _pause(records, flag, _moved_to(state.name), clock)


async def _hold_target(old: Stores, new: Stores, brand: str, state: _State, clock: Clock, *, hold: bool) -> None:
    """Pause the brand at the target before its first row is there. Raises Conflict where that would stop somebody's work."""
    was = await old.records.for_brand(brand).find(Control, name=PAUSE)
    if _ours(was) and brand not in state.flags:
        raise Conflict(f"brand {brand!r} is not here any more ({was.reason if was else ''}): migrate from there")
    records = new.records.for_brand(brand)
    flag = await records.find(Control, name=PAUSE)
    filled = f"migrate fills this installation from {state.source} and has not ended"
    if flag is not None and _ours(flag):
        if flag.reason not in (filled, _moved_to(state.source)):
            raise Conflict(
                f"{state.name} belongs to another move of brand {brand!r} ({flag.reason}): name an empty place"
            )
        return
    if flag is not None or await records.find(Brand, realm="all", name=brand) is not None:
        raise Conflict(f"{state.name} has a brand {brand!r} of its own: migrate into an empty place")
    if hold:
        await _pause(records, None, filled, clock)


def _moved_to(name: str) -> str:
    return f"this installation moved to {name}: publish from there"


def _ours(flag: Control | None) -> bool:
    return flag is not None and flag.by == BY and flag.value == "on"


async def _pause(records: Records, before: Control | None, reason: str, clock: Clock) -> None:
    version = before.row_version if before else 0
    await records.put(
        Control(
            brand=records.brand,
            name=PAUSE,
            value="on",
            by=BY,
            reason=reason,
            updated_at=clock.now(),
            row_version=version,
        )
    )


async def _release_target(new: Stores, brand: str, state: _State, clock: Clock) -> None:
    records = new.records.for_brand(brand)
    if not _ours(await records.find(Control, name=PAUSE)):
        return
    before = state.flags.get(brand)
    if before is None:
        await records.delete(Control, name=PAUSE)
    else:
        await records.put(Control.model_validate(before))


# Rows


async def _copy_brand(old: Stores, new: Stores, brand: str, done: Moved, report: Report) -> int:
    source, target = old.records.for_brand(brand), new.records.for_brand(brand)
    changed = await _copy_decisions(old, target, done)
    for row_type in ROW_TYPES:
        there = {_key(row): _digest(row) for row in await rows_of(target, row_type) if _moves(row)}
        rows = [row for row in await rows_of(source, row_type) if _moves(row)]
        differ = [row for row in rows if there.pop(_key(row), "") != _digest(row)]
        for start in range(0, len(differ), _PAGE):
            # The store counts this write as one more; the row is to say what it said.
            some = [
                row.model_copy(update={"row_version": row.row_version - 1}) for row in differ[start : start + _PAGE]
            ]
            await target.put(*some)
            report(f"{brand}: {row_type.table} {min(start + _PAGE, len(differ)):,} of {len(differ):,}")
        for key in there:  # removed at the source since an earlier pass
            await target.delete(row_type, **dict(zip(row_type.key.columns, key, strict=True)))
        changed += len(differ) + len(there)
        done.tables[row_type.table] = done.tables.get(row_type.table, 0) + len(rows)
    return changed + await _copy_threads(old, new, source, done)


def _moves(row: Row) -> bool:
    return not (isinstance(row, Control) and row.name == PAUSE)  # who may publish is decided by the move itself


def _key(row: Row) -> tuple[Any, ...]:
    return row.key_values()


def _digest(row: Row) -> str:
    # What engines store, vectors as float32, so that equal here is equal there.
    stored = sorted(schema.encode_row(row).items())
    return hashlib.sha256(repr(stored).encode("utf-8", "surrogatepass")).hexdigest()


async def _copy_decisions(old: Stores, target: Records, done: Moved) -> int:
    changed = 0
    async for one in old.records.list_once():
        if one.row.brand != target.brand:
            continue
        found = await target.find_once(one.kind, one.key, type(one.row))
        if found is None:
            found = await target.create_once(one.kind, one.key, one.row, token=one.token)
            changed += 1
        if found.token != one.token or found.row != one.row:
            raise Conflict(f"the target has decided {one.kind} {one.key!r} otherwise: migrate into an empty place")
        done.decisions += 1
    return changed


# Checkpoints


async def _copy_threads(old: Stores, new: Stores, records: Records, done: Moved) -> int:
    """The checkpoints of every thread that has not ended; a thread that has is never resumed."""
    pieces = [piece for piece in await records.find_by(Piece) if piece.state not in TERMINAL_PIECE]
    sessions = [one for one in await records.list_rows(Session) if one.status not in TERMINAL_SESSION]
    changed = 0
    reader = cast(LeasedSaver, old.checkpoints.reader(records.brand))
    there = cast(LeasedSaver, new.checkpoints.reader(records.brand))
    for thread_id in [*(one.id for one in sessions), *(piece.thread_id for piece in pieces)]:
        found = await reader.stored(thread_id)
        done.threads += bool(found)
        if not found or _states(found) == _states(await there.stored(thread_id)):
            continue
        claimed = cast(LeasedSaver, await new.checkpoints.claim(records.brand, thread_id, Unleased()))
        await claimed.replace_stored(found)
        changed += 1
    return changed


def _states(found: Any) -> list[Any]:
    return [(row, sorted(writes)) for row, writes in found]


def _copy_brand_folders(source: Settings, to: Settings) -> None:
    here, there = source.data_dir.absolute() / "brands", to.data_dir.absolute() / "brands"
    if here != there and here.is_dir():
        shutil.copytree(here, there, dirs_exist_ok=True, symlinks=True)
