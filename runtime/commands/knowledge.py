"""`knowledge`: what the brand knows."""

from __future__ import annotations

from typing import Any

from runtime.commands.common import add_verb


def register(verbs: Any) -> None:
    add_verb(verbs, "knowledge", "what the brand knows")
