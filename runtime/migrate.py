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
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.clock import Clock
from config.errors import BadInput, Conflict, Damaged
from config.ids import new_token
from config.settings import Settings, mask_url
from memory.cache.protocol import open_cache
from memory.checkpoints.protocol import open_checkpoints
from memory.queue.protocol import open_queue
from memory.records.protocol import Records, open_records
from memory.rows import Brand, Control
from memory.rows.brand import REALM
from memory.user_sessions import open_user_sessions
from runtime.backup import embedded_files
from runtime.migrate_copy import DECISIONS, PREFERENCES, THREADS, Pass, Report, Step, Stores, copy_all
from runtime.migrate_rest import (
    QueueSettings,
    copy_brand_folders,
    copy_outbox,
    forget_envelopes,
    move_dead_letters,
    queue_settings,
    set_queues,
    stand_still,
)
from runtime.publish_due import PAUSE
from runtime.restore import nobody_else

BY = "migrate"
_PASSES = 5
_ASTRA = ("astra://", "astra+http://")


@dataclass
class Moved:
    """What a run did. `tables` counts the rows of each table after it, `copied` what this run wrote or removed."""

    target: str
    finished: bool
    brands: list[str] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    """Table -> one sha256 over its rows, in no order: what both ends held in the last pass, if that found them equal."""
    copied: int = 0
    decisions: int = 0
    threads: int = 0
    preferences: int = 0
    posts: int = 0
    """Folders in the target's outbox."""
    dead_letters: int = 0

    def count(self, seen: Pass) -> None:
        """Take over what a pass read."""
        counts = seen.counts()
        self.decisions, self.threads, self.preferences = (
            counts.pop(name, 0) for name in (DECISIONS, THREADS, PREFERENCES)
        )
        self.tables, self.hashes = counts, seen.hashes() if seen.equal else {}
        self.copied += seen.written


def target_settings(settings: Settings, to: str, *, queue: str = "", cache: str = "") -> Settings:
    """The settings of the installation at `to`: a folder, `sqlite:///FOLDER`, or an address of AstraDB. Raises BadInput.

    A folder holds every store that has no address of its own. Beside AstraDB the data directory stays where it is, and so does a
    queue or cache that is not named; `cache` is where `queue` is unless it is named.
    """
    scheme, found, rest = to.partition("://")
    if not to or (found and not rest.strip("/")):
        raise BadInput(f"--to {to!r}: name a folder, sqlite:///FOLDER or astra://HOST/KEYSPACE")
    cache = cache or queue
    if found and scheme != "sqlite":
        change: dict[str, Any] = {
            "records": to,
            "queue": queue or settings.queue_url,
            "cache": cache or settings.cache_url,
        }
    else:
        change = {"data_dir": Path(to.removeprefix("sqlite:///")), "records": "", "queue": queue, "cache": cache}
    try:
        return Settings.model_validate({**settings.model_dump(), **change})
    except ValidationError as error:
        shown = mask_url(" ".join(filter(None, (to, queue, cache))))
        raise BadInput(f"--to {shown!r}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


@asynccontextmanager
async def _opened(settings: Settings, clock: Clock) -> AsyncIterator[Stores]:
    token = settings.astra_token.get_secret_value()
    async with AsyncExitStack() as stack:
        yield Stores(
            await stack.enter_async_context(open_records(settings.records_url, clock=clock, astra_token=token)),
            await stack.enter_async_context(open_checkpoints(settings.checkpoints_url, clock=clock, astra_token=token)),
            await stack.enter_async_context(open_queue(settings.queue_url, clock=clock, max_length=settings.max_queue)),
            await stack.enter_async_context(open_cache(settings.cache_url, clock=clock)),
            await stack.enter_async_context(open_user_sessions(settings.session_db, clock=clock)),
        )


async def migrate(source: Settings, to: Settings, *, live: bool, clock: Clock, report: Report) -> Moved:
    """Copy the installation of `source` into the stores of `to`; with `live` while workers run, and then again without.

    Without `live` the source ends paused for good, its queues too, and the target as the source was, publishing as it did;
    `finished` says so. What AstraDB lacks of tables is made first.

    Raises:
        Conflict: workers run (without `live`); the target holds brands of its own; the source has moved before; or the source
            is still being written.
        UsageError: tables of the target are not ours.
    """
    if source.records_url == to.records_url:
        raise BadInput(f"--to {mask_url(to.records_url)!r} is where the installation is already: name another place")
    state = _State(source, to)
    _nobody_has_open(source, to, live=live)
    if to.records_url.startswith(_ASTRA):
        from memory.astra_schema import create_schema

        report(Step("comparing the tables of AstraDB, making what is missing"))
        await create_schema(to.records_url, clock=clock, token=to.astra_token.get_secret_value())
    done = Moved(mask_url(to.records_url), finished=False)
    async with _opened(source, clock) as old, _opened(to, clock) as new:
        move = _Move(source, to, old, new, state, clock, report)
        brands = await old.records.all_brands().list_rows(Brand, realm=REALM)
        done.brands = [brand.name for brand in brands]
        await move.forget_old_move(done.brands)
        if state.over:  # killed after the switch: the target may have gone on by itself, and is not to be written over
            report(Step(f"the move to {state.name} is over: it is the installation"))
            await move.release_target(done)
            return done
        for hold in (False, True):  # all are looked at before the first is touched
            for name in done.brands:
                await move.hold_target(name, hold=hold)
        if not live:
            await move.hold_source(done.brands)
        for n in range(1, _PASSES + 1):
            seen = await copy_all(old, new, done.brands, clock, report)
            done.count(seen)
            report(Step(f"pass {n}: {seen.written:,} rows, decisions, threads and preferences differed"))
            if seen.equal or live:
                break
        else:
            raise Conflict(
                f"the source was written to in each of {_PASSES} passes: stop whatever writes to it, then run it again"
            )
        copy_brand_folders(source, to)
        if live:
            return done
        done.posts = copy_outbox(source, to, report)
        # Everything was compared and is equal. From here on the target is the installation.
        state.switched()
        await move.release_target(done)
    return done


async def abandon(source: Settings, to: Settings, *, clock: Clock) -> list[str]:
    """Give up a move to `to` that has not ended: the source publishes and works again as it did; its brands.

    What was copied stays at the target, paused; the move can be begun again. Raises Conflict when the move has ended.
    """
    state = _State(source, to)
    if state.over:
        raise Conflict(f"the move to {state.name} has ended: move back from there with `migrate --to`")
    async with _opened(source, clock) as old:
        brands = [brand.name for brand in await old.records.all_brands().list_rows(Brand, realm=REALM)]
        for name in brands:
            if name in state.flags:  # else it is not this move that paused it
                await _release(old.records.for_brand(name), state.flags[name], _moved_to(state.name))
        await set_queues(old.queue, state.queues)
        state.begin()
    return brands


def _nobody_has_open(source: Settings, to: Settings, *, live: bool) -> None:
    """Raises Conflict when a process has an embedded file open that this run needs for itself."""
    ours = {file.path: file for file in embedded_files(source)}
    theirs = {file.path: file for file in embedded_files(to) if file.path not in ours}
    for files in ([] if live else [ours]) + [theirs]:
        with nobody_else([file for path, file in files.items() if path.is_file()]):
            pass


class _State:
    """A small file in the source's data directory: what was paused there before the move began, and whether it is over."""

    def __init__(self, source: Settings, to: Settings) -> None:
        home = source.data_dir.absolute()
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = f"{source.records_url} {to.records_url}"
        self.path = home / f".migrate-{hashlib.sha256(names.encode()).hexdigest()[:16]}.json"
        self.name, self.source = mask_url(to.records_url), mask_url(source.records_url)
        self.flags: dict[str, dict[str, Any] | None] = {}
        self.queues: dict[str, tuple[bool, int | None]] = {}
        self.over = False
        try:
            read = json.loads(self.path.read_text(encoding="utf-8"))
            self.flags = dict(read["flags"])
            self.queues = {name: (bool(paused), limit) for name, (paused, limit) in read.get("queues", {}).items()}
            self.over = bool(read["over"])
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(f"{self.path} cannot be read ({error}): move it away to begin the move anew") from None

    def remember(self, brand: str, flag: Control | None) -> None:
        """Note the pause that was there before ours. The first note stays."""
        if brand not in self.flags:
            self.flags[brand] = None if flag is None else flag.model_dump(mode="json")
            self._write()

    def note_queues(self, queues: QueueSettings) -> None:
        """Note how the queues were set before we paused them."""
        self.queues = dict(queues)
        self._write()

    def switched(self) -> None:
        """Note that the target is the installation from now on."""
        self.over = True
        self._write()

    def begin(self) -> None:
        """Forget what was noted of an earlier move."""
        self.flags, self.queues, self.over = {}, {}, False
        self._write()

    def _write(self) -> None:
        spare = self.path.with_name(f"{self.path.name}.{new_token()[:8]}")
        with spare.open("w", encoding="utf-8") as file:
            told = {"to": self.name, "flags": self.flags, "queues": self.queues, "over": self.over}
            json.dump(told, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(spare, self.path)


@dataclass
class _Move:
    """Who may publish and work, at either end, at each moment of a move."""

    source: Settings
    to: Settings
    old: Stores
    new: Stores
    state: _State
    clock: Clock
    report: Report

    async def forget_old_move(self, brands: list[str]) -> None:
        """After a move and its way back the source is alive again, and the note of the first move says nothing about it."""
        flags = [await self.old.records.for_brand(brand).find(Control, name=PAUSE) for brand in brands]
        if self.state.over and not any(_ours(flag) for flag in flags):
            self.state.begin()

    async def hold_source(self, brands: list[str]) -> None:
        """Let nobody work or publish there any more. Raises Conflict, having changed nothing, while somebody works."""
        noted = self.state.queues
        if not noted:  # before they are paused: whoever dies in between must not take our pause for the operator's
            self.state.note_queues(await queue_settings(self.old.queue))
        try:
            await stand_still(self.old.queue, self.state.queues)
        except Conflict:
            self.state.note_queues(noted)
            raise
        for brand in brands:
            records = self.old.records.for_brand(brand)
            flag = await records.find(Control, name=PAUSE)
            if not _ours(flag):
                self.state.remember(brand, flag)
                await _pause(records, flag, _moved_to(self.state.name), self.clock)

    async def hold_target(self, brand: str, *, hold: bool) -> None:
        """Pause the brand at the target before its first row is there. Raises Conflict where that would stop somebody's work."""
        was = await self.old.records.for_brand(brand).find(Control, name=PAUSE)
        if was is not None and _ours(was) and brand not in self.state.flags:
            raise Conflict(f"brand {brand!r} is not here any more ({was.reason}): migrate from there")
        records = self.new.records.for_brand(brand)
        flag = await records.find(Control, name=PAUSE)
        filled = f"migrate fills this installation from {self.state.source} and has not ended"
        if flag is not None and _ours(flag):
            if flag.reason not in (filled, _moved_to(self.state.source)):
                raise Conflict(
                    f"{self.state.name} belongs to another move of brand {brand!r} ({flag.reason}): name an empty place"
                )
            return
        if flag is not None or await records.find(Brand, realm=REALM, name=brand) is not None:
            raise Conflict(f"{self.state.name} has a brand {brand!r} of its own: migrate into an empty place")
        if hold:
            await _pause(records, None, filled, self.clock)

    async def release_target(self, done: Moved) -> None:
        """Let the target work as the source did; brands that were let go before are left alone."""
        held = [name for name in done.brands if _ours(await self._flag(name))]
        if held:
            old, new, same = self.old, self.new, self.source.queue_url == self.to.queue_url
            if not same:
                await set_queues(new.queue, dict.fromkeys(self.state.queues, (False, None)))
                done.dead_letters = await move_dead_letters(old.queue, new.queue, self.clock, self.report)
            if self.source.cache_url != self.to.cache_url:
                await forget_envelopes(new.records, new.cache, held, self.clock, self.report)
            await set_queues(new.queue, self.state.queues)
        for name in held:
            await _release(self.new.records.for_brand(name), self.state.flags.get(name))
        done.finished = True

    async def _flag(self, brand: str) -> Control | None:
        return await self.new.records.for_brand(brand).find(Control, name=PAUSE)


def _moved_to(name: str) -> str:
    return f"this installation moved to {name}: publish from there"


def _ours(flag: Control | None) -> bool:
    return flag is not None and flag.by == BY and flag.value == "on"


async def _pause(records: Records, before: Control | None, reason: str, clock: Clock) -> None:
    flag = Control(brand=records.brand, name=PAUSE, value="on", by=BY, reason=reason, updated_at=clock.now())
    await records.put(flag.model_copy(update={"row_version": before.row_version if before else 0}))


async def _release(records: Records, before: dict[str, Any] | None, reason: str | None = None) -> None:
    """Put back the pause that was there before ours; with `reason`, only if ours says that."""
    flag = await records.find(Control, name=PAUSE)
    if flag is None or not _ours(flag) or reason not in (None, flag.reason):
        return
    if before is None:
        await records.delete(Control, name=PAUSE)
    else:
        await records.put(Control.model_validate(before))
