"""`create`: make one piece."""

from __future__ import annotations

from typing import Any

from runtime.commands.common import add_verb


def register(verbs: Any) -> None:
    add_verb(verbs, "create", "make one piece")
