"""`doctor`: look for what is wrong and how to mend it."""

from __future__ import annotations

from typing import Any

from runtime.commands.common import add_verb


def register(verbs: Any) -> None:
    add_verb(verbs, "doctor", "look for what is wrong and how to mend it")
