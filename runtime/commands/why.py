"""`why`: the story of a session, piece, task or publication."""

from __future__ import annotations

from typing import Any

from runtime.commands.common import add_verb


def register(verbs: Any) -> None:
    add_verb(verbs, "why", "the story of a session, piece, task or publication")
