"""What a text must hold for an expression to match it: told by look-ups, before the expression is tried."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# The standard library's own reading of an expression. Another Python may keep it elsewhere: then every expression is tried.
_parse: Any = getattr(getattr(re, "_parser", None), "parse", None)
SHORTEST = 3
"""Letters of the shortest piece."""


def needs(pattern: str) -> tuple[str, ...]:
    """Pieces of text of which one at least stands in whatever `pattern` matches; () where there are none to tell."""
    return tuple(sorted(_best(_parse(pattern)))) if _parse else ()


def _best(items: Iterable[Any]) -> frozenset[str]:
    """The fewest pieces that one place of a sequence offers; empty for none."""
    offers: list[frozenset[str]] = []
    run = ""
    for name, value in [*((str(item[0]), item[1]) for item in items), ("END", None)]:
        if name == "LITERAL":
            run += chr(value)
            continue
        if len(run) >= SHORTEST:
            offers.append(frozenset((run,)))
        run = ""
        if name == "SUBPATTERN":
            offers.append(_best(value[3]))
        elif name == "MAX_REPEAT" and value[0] > 0:
            offers.append(_best(value[2]))
        elif name == "BRANCH":
            parts = [_best(branch) for branch in value[1]]
            offers.append(frozenset().union(*parts) if all(parts) else frozenset())
    return min(
        (offer for offer in offers if offer), key=lambda offer: (len(offer), -min(map(len, offer))), default=frozenset()
    )
