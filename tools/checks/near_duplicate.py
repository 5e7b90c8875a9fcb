"""Whether a text says nearly what another one said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class NearDuplicate:
    """Another text, by its name, and how alike it is: 0 to 100."""

    name: str
    score: float


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[\w']+", re.sub(r"#\w+|https?://\S+", " ", text.lower())))


def near_duplicates(text: str, others: Mapping[str, str], threshold: float = 85.0) -> list[NearDuplicate]:
    """Those of `others` (name -> text) that are at least `threshold` alike, most alike first, then by name.

    Letter case, punctuation, links and hashtags do not count. A text shorter than four words is like nothing.
    """
    from rapidfuzz import fuzz, process

    wanted = _plain(text)
    if len(wanted.split()) < 4:
        return []
    plain = {name: _plain(other) for name, other in others.items()}
    hits = process.extract(wanted, plain, scorer=fuzz.token_sort_ratio, score_cutoff=threshold, limit=None)
    return sorted(
        (NearDuplicate(str(name), round(score, 1)) for _, score, name in hits), key=lambda hit: (-hit.score, hit.name)
    )


def similarity(text: str, other: str) -> float:
    """How alike two texts are, 0 to 1, where letter case, punctuation, links, hashtags and the order of words do not count."""
    from rapidfuzz import fuzz

    return round(fuzz.token_sort_ratio(_plain(text), _plain(other)) / 100, 4)
