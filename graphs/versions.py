"""The versions of the graphs, and which older ones this build still runs.

A change of a graph after which its threads under way could not go on raises VERSION in the graph's module. The graph as it
was is then kept as an alias here until no thread of it is left: a thread goes on under the version that began it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

Builder = Callable[..., "StateGraph[Any, Any, Any, Any]"]
"""Called as `build(node_timeout=timedelta)`."""

ALIASES: dict[str, dict[int, Builder]] = {"cycle": {}, "piece": {}}
"""Graph -> older version -> what builds a graph that finishes its threads."""


def version_of(name: str) -> int:
    """The version with which new threads of the graph begin."""
    from graphs import cycle, piece

    return {"cycle": cycle.VERSION, "piece": piece.VERSION}[name]
