"""`db`: create and migrate the databases."""

from __future__ import annotations

from typing import Any

from runtime.commands.common import add_verb


def register(verbs: Any) -> None:
    add_verb(verbs, "db", "create and migrate the databases")
