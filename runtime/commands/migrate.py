"""`migrate`: move an installation to other stores."""

from __future__ import annotations

import argparse
from typing import Any

from runtime.commands.backup import say
from runtime.commands.common import OK, WAITING_FOR_HUMAN, add_verb, emit, load, program, run_async


def register(verbs: Any) -> None:
    verb = add_verb(verbs, "migrate", "move everything to another folder or to other stores; killed, it goes on")
    verb.add_argument(
        "--to", metavar="DIR_OR_URL", required=True, help="a folder, sqlite:///FOLDER or astra://HOST/KEYSPACE"
    )
    verb.add_argument(
        "--live", action="store_true", help="copy most of it while workers run; run it again without to end"
    )
    verb.set_defaults(run=lambda args: run_async(lambda: move(args)))


async def move(args: argparse.Namespace) -> int:
    """Copy, compare, switch, and rebuild the queues there. 3: a live pass is done, the last one waits for the workers to stop."""
    from config.clock import SystemClock
    from runtime.compose import open_runtime
    from runtime.migrate import migrate, target_settings
    from runtime.reconcile import reconcile

    settings = load(args)
    to = target_settings(settings, args.to)
    done = await migrate(settings, to, live=args.live, clock=SystemClock(), report=lambda step: say(str(step)))
    tasks = 0
    if done.finished:
        async with open_runtime(to) as runtime:
            tasks = await reconcile(runtime)
    shape = {**vars(done), "tasks": tasks}
    rows = sum(done.tables.values())
    text = f"{rows:,} rows, {done.decisions:,} decisions, {done.threads:,} open threads of {len(done.brands)} brands"
    if done.finished:
        text += (
            f" are at {done.target}, compared and equal; {tasks} tasks were derived there\npublishing is paused here for good."
            " Copy the outbox folder yourself if you want the old posts there; preferences start afresh"
        )
    else:
        again = f"{program()} --data-dir {settings.data_dir} migrate --to {args.to}"
        text += f" copied; now stop the workers and run `{again}` for what changes until then"
    emit(args, shape, text)
    return OK if done.finished else WAITING_FOR_HUMAN
