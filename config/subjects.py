"""Words for one subject, as everyday English groups them: subjects.toml. A brand's own `related` lists come before these."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources


@dataclass(frozen=True)
class Subject:
    """A theme that holds one of `words` is about this; `near` is what else an editor would look up for it."""

    words: tuple[str, ...]
    near: tuple[str, ...]


@lru_cache(maxsize=1)
def general_subjects() -> tuple[Subject, ...]:
    """The subjects of subjects.toml, in their order."""
    raw = tomllib.loads((resources.files("config") / "subjects.toml").read_text("utf-8"))
    return tuple(Subject(tuple(one["words"]), tuple(one["near"])) for one in raw["subject"])
