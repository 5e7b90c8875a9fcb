"""A copy of this repository, for tests that build it or type what its README says."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_NOT_COPIED = shutil.ignore_patterns(
    ".git",
    ".venv*",
    ".copydesk",
    ".demo",
    "__pycache__",
    "*.pyc",
    ".*_cache",
    ".hypothesis",
    "dist",
    "build",
    "*.egg-info",
)


def copy_checkout(to: Path) -> Path:
    """Copy the tree, without what is built, cached or installed, into the new folder `to`; returns it."""
    return Path(shutil.copytree(ROOT, to, ignore=_NOT_COPIED, symlinks=True))
