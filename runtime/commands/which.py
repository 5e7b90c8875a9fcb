"""Which brand a command means, and what to type to go on with it. Imports nothing heavy."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from config.errors import BadInput

if TYPE_CHECKING:
    from config.settings import Settings

DEFAULT_BRAND = "eesystem"


def program() -> str:
    """What to type here to run this program again: `copydesk` when installed, else the interpreter and the file."""
    started = Path(sys.argv[0])
    if started.name == "copydesk":
        return "copydesk"
    # Not resolved: a virtual environment's python is a link, and what it links to lacks our dependencies.
    python = Path(sys.executable)
    here = Path.cwd()
    file = started if started.name == "run_agents.py" else Path("run_agents.py")
    if python.is_relative_to(here):
        return f"{python.relative_to(here)} {file}"
    return f"{python if file.is_absolute() else python.name} {file}"


def next_command(args: argparse.Namespace, words: str) -> str:
    """`words` as they must be typed to go on with the same brand and data directory."""
    folder = args.data_dir or os.environ.get("COPYDESK_DATA_DIR") or ".copydesk"
    flags = f" --data-dir {args.data_dir}" if args.data_dir else ""
    meant = getattr(args, "preferred", {}).get("brand") or default_brand(Path(folder))
    if args.brand and args.brand != meant:
        flags = f" --brand {args.brand}{flags}"
    return f"{program()} {words}{flags}"


def default_brand(data_dir: Path) -> str:
    """The brand that commands mean without --brand: the operator's only one, the shipped example for none, '' for several."""
    return own_brand(data_dir) if own_brands(data_dir) else DEFAULT_BRAND


def own_brand(data_dir: Path) -> str:
    """The operator's only brand; '' when there is none, or more than one."""
    own = own_brands(data_dir)
    return own[0] if len(own) == 1 else ""


def own_brands(data_dir: Path) -> list[str]:
    """The names of the operator's brands, in order."""
    return sorted(path.parent.name for path in (data_dir / "brands").glob("[!.]*/brand.toml"))


def brand_of(args: argparse.Namespace, settings: Settings, preferences: Mapping[str, str]) -> str:
    """The brand that the command is about: --brand, else the preferred one, else the default; BadInput where several could be meant."""
    if args.brand:
        from config.ids import parse_slug

        return parse_slug(args.brand, what="--brand")
    if meant := preferences.get("brand") or default_brand(settings.data_dir):
        return meant
    own = ", ".join(own_brands(settings.data_dir))
    raise BadInput(
        f"which brand? There are {own}: give --brand NAME, or keep one: {program()} preferences set brand NAME"
    )
