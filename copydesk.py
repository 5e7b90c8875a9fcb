"""What plug-ins and scripts import: the one public module of Copydesk.

```python
from copydesk import open_runtime, register_platform

register_platform("linkedin")
```

A tool is a function with `@tool` on it (docs/add-a-tool.md); nothing here loads an SDK until a runtime is opened.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.compose import Runtime as Runtime
    from runtime.compose import open_runtime as open_runtime
    from tools.context import ToolContext as ToolContext
    from tools.plugin_api import Sourced as Sourced
    from tools.plugin_api import ToolFailed as ToolFailed
    from tools.plugin_api import ToolRetry as ToolRetry
    from tools.plugin_api import tool as tool

__all__ = [
    "Runtime",
    "Sourced",
    "ToolContext",
    "ToolFailed",
    "ToolRetry",
    "open_runtime",
    "register_check",
    "register_platform",
    "tool",
]
_HOMES = {
    "Runtime": "runtime.compose",
    "open_runtime": "runtime.compose",
    "ToolContext": "tools.context",
    "Sourced": "tools.plugin_api",
    "ToolFailed": "tools.plugin_api",
    "ToolRetry": "tools.plugin_api",
    "tool": "tools.plugin_api",
}


def _prepare_path() -> None:
    """Let our packages be found before others of the same names.

    Raises ImportError when another `config`, `memory`, ... was imported first: two cannot share one process.
    """
    here = Path(__file__).resolve().parent
    home = here / "_copydesk" if (here / "_copydesk").is_dir() else here
    # In front even when it is on the path already: other distributions own top-level names such as `agents` and `config`.
    if sys.path[:1] != [str(home)]:
        sys.path.insert(0, str(home))
    for name in ("config", "memory", "tools", "agents", "graphs", "runtime"):
        loaded = getattr(sys.modules.get(name), "__file__", None)
        if name in sys.modules and (loaded is None or not Path(loaded).resolve().is_relative_to(home)):
            raise ImportError(
                f"copydesk: another package named {name!r} is loaded from {loaded}: import copydesk first"
            )


_prepare_path()


def register_platform(name: str) -> None:
    """Add a platform's name, so that brands, schedules and accounts may name it.

    Raises DuplicateName if it is there, BadInput unless it is 1-64 of a-z, 0-9 and '-'.
    """
    from config.ids import parse_slug
    from config.vocabulary import PLATFORMS

    PLATFORMS.register(parse_slug(name, what="platform"))


def register_check(name: str) -> None:
    """Add a check type's name. Raises DuplicateName if it is there, BadInput unless it is a lower-case identifier."""
    from config.errors import BadInput
    from config.vocabulary import CHECK_TYPES

    if not (name.isascii() and name.isidentifier() and name == name.lower()) or len(name) > 64:
        raise BadInput(f"check type {name[:80]!r} must be a lower-case identifier such as 'medical_claim'")
    CHECK_TYPES.register(name)


def __getattr__(name: str) -> Any:
    # Opening a runtime loads every SDK: a plug-in that only registers a name must not pay for it.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'copydesk' has no attribute {name!r}")
