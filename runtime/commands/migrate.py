"""`migrate`: move an installation to other stores."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from runtime.commands.backup import say
from runtime.commands.common import OK, WAITING_FOR_HUMAN, add_verb, emit, load, printable, run_async

if TYPE_CHECKING:
    from config.settings import Settings
    from runtime.migrate import Moved
    from runtime.migrate_copy import Report, Step


def register(verbs: Any) -> None:
    verb = add_verb(verbs, "migrate", "move everything to another folder or to other stores; killed, it goes on")
    verb.add_argument(
        "--to", metavar="DIR_OR_URL", required=True, help="a folder, sqlite:///FOLDER or astra://HOST/KEYSPACE"
    )
    verb.add_argument(
        "--queue", metavar="URL", default="", help="where tasks are to wait there, such as redis://HOST:6379/0"
    )
    verb.add_argument("--cache", metavar="URL", default="", help="where the cache is to be there (default: as --queue)")
    how = verb.add_mutually_exclusive_group()
    how.add_argument(
        "--live", action="store_true", help="copy most of it while workers run; run it again without to end"
    )
    how.add_argument(
        "--abandon", action="store_true", help="give up a move that has not ended: work goes on here as before"
    )
    verb.set_defaults(run=lambda args: run_async(lambda: move(args)))


async def move(args: argparse.Namespace) -> int:
    """Copy, compare, switch, and rebuild the queues there. 3: a live pass is done, the last one waits for the workers to stop."""
    from config.clock import SystemClock
    from runtime.compose import open_runtime
    from runtime.migrate import abandon, migrate, target_settings
    from runtime.reconcile import reconcile

    settings = load(args)
    to = target_settings(settings, args.to, queue=args.queue, cache=args.cache)
    if args.abandon:
        brands = await abandon(settings, to, clock=SystemClock())
        emit(
            args,
            {"abandoned": True, "brands": brands},
            f"given up: {len(brands)} brands work and publish here as before",
        )
        return OK
    with progress() as report:
        done = await migrate(settings, to, live=args.live, clock=SystemClock(), report=report)
    tasks = 0
    if done.finished:
        async with open_runtime(to) as runtime:
            tasks = await reconcile(runtime)
    use = _use(settings, to)
    emit(args, {**vars(done), "tasks": tasks, "use": use}, _told(done, tasks, use))
    return OK if done.finished else WAITING_FOR_HUMAN


def _told(done: Moved, tasks: int, use: list[str]) -> str:
    text = f"{sum(done.tables.values()):,} rows, {done.decisions:,} decisions, {done.threads:,} threads of {len(done.brands)} brands"
    if not done.finished:
        return f"{text} copied; now stop the workers and run the same without --live for what changes until then"
    return (
        f"{text} are at {done.target}, counted and compared at both ends; {tasks} tasks were derived there,"
        f" {done.dead_letters} dead letters, {done.preferences} preferences and {done.posts} posts of the outbox came along\n"
        f"work and publishing stand still here for good; from now on use\n" + "\n".join(f"  {line}" for line in use)
    )


def _use(settings: Settings, to: Settings) -> list[str]:
    """How the new place is named on every machine; passwords are left out."""
    from config.settings import mask_url

    lines = [f"--data-dir {to.data_dir}"] if to.data_dir != settings.data_dir else []
    for name in ("records", "queue", "cache"):
        url = getattr(to, name)
        if url and not url.startswith("sqlite:"):
            lines.append(f"COPYDESK_{name.upper()}={mask_url(url)}")
        elif getattr(settings, name) and not url:
            lines.append(f"no COPYDESK_{name.upper()}")
    return lines


@contextmanager
def progress() -> Iterator[Report]:
    """Where each step is told: bars on a terminal, else a line a step; always on stderr."""
    if not sys.stderr.isatty():
        yield lambda step: say(str(step))
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as bars:
        known: dict[str, Any] = {}

        def report(step: Step) -> None:
            what = printable(step.what)
            if not step.total:
                known.clear()  # the next pass has bars of its own
                bars.console.print(what, markup=False)
                return
            if what not in known:
                known[what] = bars.add_task(what)
            bars.update(known[what], completed=step.done, total=step.total)

        yield report
