"""`restore`: bring a backup back. Publishing stays paused until a person has looked."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from runtime.commands.backup import say
from runtime.commands.common import OK, add_verb, emit, load, program, run_async


def register(verbs: Any) -> None:
    verb = add_verb(verbs, "restore", "bring a backup back; publishing stays paused until you have looked")
    verb.add_argument("folder", metavar="DIR", help="a backup, as `backup` printed its folder")
    verb.add_argument("--force", action="store_true", help="move aside what is in the data directory")
    verb.set_defaults(
        run=lambda args: run_async(lambda: restore_backup(args, Path(args.folder).absolute())), needs_logging=False
    )


async def restore_backup(args: argparse.Namespace, folder: Path) -> int:
    """Restore, then say what is paused, what may have gone out since, and the commands that go on."""
    from config.clock import SystemClock
    from config.errors import BadInput
    from runtime.restore import restore

    if not args.folder:
        raise BadInput("DIR is empty: name a backup's folder")
    settings = load(args)
    done = await restore(settings, folder, force=args.force, clock=SystemClock(), report=say)
    resume = {
        brand: f"{program()} --data-dir {settings.data_dir} --brand {brand} publish resume" for brand in done.paused
    }
    shape = {
        "folder": str(folder),
        "made_at": done.manifest.made_at.isoformat(),
        "aside": str(done.aside) if done.aside else None,
        "paused": done.paused,
        "resume": resume,
        "may_be_out": [
            {
                "brand": row.brand,
                "piece_id": row.content_id,
                "platform": row.platform,
                "state": str(row.state),
                "scheduled_at": row.scheduled_at.isoformat(),
            }
            for row in done.at_risk
        ],
        "missing_posts": done.missing_posts,
    }
    lines = [f"restored the state of {done.manifest.made_at:%Y-%m-%d %H:%M:%S} UTC into {settings.data_dir.absolute()}"]
    if done.aside:
        lines.append(f"what was there before is in {done.aside}")
    lines += [
        f"may be out already: {row.brand} {row.platform} {row.content_type} {row.content_id}"
        f" ({row.state}, due {row.scheduled_at:%Y-%m-%d %H:%M} UTC)"
        for row in done.at_risk
    ]
    if done.at_risk:
        lines.append(
            "these are read back, never resent; `publish status` names those that only you can tell: `publish resolve`"
        )
    if done.missing_posts:
        lines.append(
            f"{len(done.missing_posts)} posts that lay in the outbox then are not in this one: first {done.missing_posts[0]}"
        )
    if done.paused:
        lines.append(
            "publishing is paused: what was sent since the backup is not known. Look at the accounts, then, for each brand:"
        )
        lines += [f"  {command}" for command in resume.values()]
    emit(args, shape, "\n".join(lines))
    return OK
