"""Which publisher serves an account, by name."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import cast

from config.clock import Clock
from config.errors import BadInput, DuplicateName
from config.settings import Settings
from config.vocabulary import nearest
from tools.publish.protocol import Publisher

_BUILT_IN = {
    "outbox": "tools.publish.outbox:open_outbox_publisher",
    "simulator": "tools.publish.simulator:open_simulator_publisher",
}


class Publishers:
    """The publishers by name: the built-in ones, and those that plug-ins register."""

    def __init__(self) -> None:
        self._openers = dict(_BUILT_IN)

    def names(self) -> list[str]:
        """The known names, sorted."""
        return sorted(self._openers)

    def register(self, name: str, opener: str) -> None:
        """Add a publisher; `opener` is `module:function`, called as `function(settings, clock=clock)`.

        The function returns an async context manager of a Publisher. Raises DuplicateName for a known name.
        """
        if name in self._openers:
            raise DuplicateName(f"publisher {name!r} is registered already: choose another name")
        self._openers[name] = opener

    def open(self, name: str, settings: Settings, *, clock: Clock) -> AbstractAsyncContextManager[Publisher]:
        """Open the publisher `name`. Raises BadInput, naming the nearest, for an unknown name."""
        if name not in self._openers:
            known = ", ".join(self.names())
            raise BadInput(f"publisher {name[:80]!r} is unknown{nearest(name, self.names())}; known: {known}")
        module, _, function = self._openers[name].partition(":")
        opened = getattr(import_module(module), function)(settings, clock=clock)
        return cast(AbstractAsyncContextManager[Publisher], opened)
