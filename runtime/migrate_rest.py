"""What a move does beside copying rows: it holds the source's queues still, and brings folders, dead letters and budgets along.

Tasks that wait are not copied: reconcile derives them from the rows. A dead letter is derived from nothing, since its row says
that it is to stay dead; it is buried again at the target, with its reason.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from agents.spending import day_key, day_of, session_key
from config.clock import Clock
from config.errors import BadInput, Conflict, NotFound
from config.settings import Settings
from memory.cache.protocol import CacheStore
from memory.queue.owner import current_owner
from memory.queue.protocol import QUEUES, DeadTask, TaskQueue
from memory.records.protocol import RecordsStore
from memory.rows import Session
from runtime.backup import sync
from runtime.migrate_copy import Report, Step

QueueSettings = Mapping[str, tuple[bool, int | None]]
"""Queue -> whether it is paused, and its concurrency."""
_TTL = timedelta(seconds=5)


# Queues


async def queue_settings(queue: TaskQueue) -> dict[str, tuple[bool, int | None]]:
    """How every queue is set now."""
    depths = await queue.depths()
    return {**dict.fromkeys(QUEUES, (False, None)), **{name: (d.paused, d.concurrency) for name, d in depths.items()}}


async def stand_still(queue: TaskQueue, before: QueueSettings) -> None:
    """Pause every queue, so that no worker takes a task any more. Raises Conflict, leaving them as `before`, while one is at work."""
    await queue.reclaim_dead()
    await _nobody_at_work(queue)
    for name in before:
        await queue.pause(name)
    try:
        await _nobody_at_work(queue)  # it may have claimed just before the pause
    except Conflict:
        await set_queues(queue, before)
        raise


async def _nobody_at_work(queue: TaskQueue) -> None:
    for name, depth in (await queue.depths()).items():
        if depth.leased:
            raise Conflict(
                f"{depth.leased} tasks of {name} are leased: stop the workers (the lease of one that was killed ends"
                " by itself), or copy beforehand with --live; nothing was changed"
            )


async def set_queues(queue: TaskQueue, wanted: QueueSettings) -> None:
    """Pause, resume and bound the queues as `wanted`."""
    for name, (paused, concurrency) in wanted.items():
        await (queue.pause(name) if paused else queue.resume(name))
        await queue.set_concurrency(name, concurrency)


async def move_dead_letters(old: TaskQueue, new: TaskQueue, clock: Clock, report: Report) -> int:
    """Make the dead letters of `new` those of `old`, with their reasons and in their order; how many there are.

    They are dated now. Its queues must not be paused. Raises Conflict when somebody works on one of these tasks at the target.
    """
    here = await old.list_dead()
    there = {dead.task.id: dead for dead in await new.list_dead()}
    await new.remove(*(there.keys() - {dead.task.id for dead in here}))
    moved = 0
    for n, dead in enumerate(reversed(here)):  # the latest last
        found = there.get(dead.task.id)
        if found is None or found.reason != dead.reason:
            moved += await _bury_again(new, dead, clock, report)
        else:
            moved += 1
        report(Step("dead letters", n + 1, len(here)))
    return moved


async def _bury_again(queue: TaskQueue, dead: DeadTask, clock: Clock, report: Report) -> bool:
    task = replace(dead.task, run_at=clock.now() - timedelta(days=1))  # due also by a server's clock that is behind
    try:
        await queue.remove(task.id)
        await queue.enqueue(task)
    except (BadInput, Conflict) as error:
        report(Step(f"left behind, its row says that it is dead: {error}"))
        return False
    owner = current_owner("migrate")
    for waited in (False, True):
        for solo in (False, True):
            leases = await queue.claim([task.queue], owner=owner, ttl=_TTL, limit=1, only=[task.id], solo=solo)
            if leases:
                await queue.bury(leases[0], reason=dead.reason)
                return True
        if not waited:  # a run that was killed may hold it: for no longer than this
            await clock.sleep(_TTL)
            await queue.reclaim_dead()
    raise Conflict(f"task {task.id!r} is worked on at the target: stop the workers there, then run it again")


# Budgets


async def forget_envelopes(
    records: RecordsStore, cache: CacheStore, brands: Sequence[str], clock: Clock, report: Report
) -> None:
    """Forget what the target's cache knows of money: the next call that costs some rebuilds it from the usage rows.

    Kept, it would not know what was spent since that cache was last in use.
    """
    days = [day_of(clock.now() - timedelta(days=back)) for back in range(-1, 3)]  # an envelope lives two days
    for brand in brands:
        known = cache.for_brand(brand)
        sessions = await records.for_brand(brand).list_rows(Session)
        for key in (*map(day_key, days), *(session_key(session.id) for session in sessions)):
            await known.delete(key)
    report(Step("budgets are counted anew from the usage rows"))


# Folders


def copy_brand_folders(source: Settings, to: Settings) -> None:
    """Copy the folders of the operator's own brands."""
    here, there = source.data_dir.absolute() / "brands", to.data_dir.absolute() / "brands"
    if here != there and here.is_dir():
        shutil.copytree(here, there, dirs_exist_ok=True, symlinks=True)


def copy_outbox(source: Settings, to: Settings, report: Report) -> int:
    """Copy every post's folder that the target's outbox lacks, each whole or not at all; how many posts lie there then.

    A folder is never changed once it is there, so one that is there is left as it is, whatever a person took out of it.
    Raises NotFound when a folder vanishes meanwhile.
    """
    here, there = source.outbox, to.outbox
    posts = [path.relative_to(here) for path in sorted(here.glob("[!.]*/[!.]*/*")) if path.is_dir()]
    missing = [post for post in posts if here != there and not (there / post).exists()]
    for n, post in enumerate(missing):
        _copy_post(here / post, there / post, there / post.parts[0] / f".moving-{post.name}")
        report(Step("posts of the outbox", n + 1, len(missing)))
    return len(posts)


def _copy_post(source: Path, target: Path, building: Path) -> None:
    shutil.rmtree(building, ignore_errors=True)  # what a killed run left behind
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(source, building)
    except FileNotFoundError as error:
        raise NotFound(f"{source} vanished while it was copied ({error.filename}): run it again") from None
    for path in building.rglob("*"):
        if path.is_file():
            sync(path)
    sync(building)
    os.rename(building, target)
    sync(target.parent)
