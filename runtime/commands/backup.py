"""`backup`: a verified copy of the embedded files, taken while workers run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from runtime.commands.common import OK, add_verb, emit, load, printable


def register(verbs: Any) -> None:
    verb = add_verb(verbs, "backup", "copy the embedded files at one instant while workers run, and prove the copy")
    what = verb.add_mutually_exclusive_group()
    what.add_argument("--to", metavar="DIR", help="a new folder (default: DATA_DIR/backups/INSTANT)")
    what.add_argument("--verify", metavar="DIR", help="read a backup through and compare it with its manifest")
    verb.set_defaults(run=backup, needs_logging=False)


def say(text: str) -> None:
    """A line of progress."""
    print(printable(text), file=sys.stderr)


def backup(args: argparse.Namespace) -> int:
    """Make a backup, or verify one; prints where it is and what it holds."""
    from config.clock import SystemClock
    from config.errors import BadInput
    from runtime.backup import back_up
    from runtime.backup_manifest import verify

    for name in ("to", "verify"):
        if getattr(args, name) == "":
            raise BadInput(f"--{name} is empty: name a folder")
    settings = load(args)
    if args.verify:
        folder = Path(args.verify).absolute()
        manifest = verify(folder, report=say)
    else:
        folder, manifest = back_up(settings, Path(args.to) if args.to else None, clock=SystemClock(), report=say)
    for name in manifest.skipped:
        say(f"not copied: brands/{name} is a link or no regular file")
    for name, url in manifest.elsewhere.items():
        say(f"not in this backup: {name}, which is at {url}")
    size = sum(stored.size for stored in (*manifest.databases.values(), *manifest.brands.values()))
    linked = sum(stored.linked for stored in (*manifest.databases.values(), *manifest.brands.values()))
    shape = {"folder": str(folder), "verified": True, "bytes": size, **manifest.model_dump(mode="json")}
    text = (
        f"{folder}\n{len(manifest.databases)} databases and {len(manifest.brands)} brand files of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC,"
        f" {size:,} bytes, verified; {linked} unchanged since the backup before and linked to it\n"
        f"bring it back with `restore {folder}`"
    )
    emit(args, shape, text)
    return OK
