"""Checkpoints: LangGraph savers, each bound to a lease.

The promise: a claim sees every acknowledged checkpoint, and after a claim no other token's put is acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from config.clock import Clock
from config.errors import SettingsError
from memory.lease import LeaseGuard

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver


class Checkpoints(Protocol):
    """An open engine. Thread ids are `SESSION_ID` or `PIECE_ID.RUN`; brands are told apart by the brand given here."""

    def reader(self, brand: str) -> BaseCheckpointSaver[str]:
        """A saver that reads; its writes raise LeaseLost."""
        ...

    async def claim(
        self,
        brand: str,
        thread_id: str,
        lease: LeaseGuard,
        *,
        on_lost: Callable[[], None] | None = None,
        on_progress: Callable[[], None] | None = None,
    ) -> BaseCheckpointSaver[str]:
        """Take the thread for this lease and return the saver of its task.

        Reads the owner count, extends the lease, then claims. A write after another claim raises LeaseLost, calls
        `on_lost` (once) and stores nothing. `on_progress` is called after each acknowledged checkpoint and each
        acknowledged result of a step that has finished: neither is done twice.

        Raises:
            LeaseLost: the lease could not be extended.
            Conflict: somebody claimed in between; look again.
        """
        ...

    async def prune(self, brand: str, thread_id: str) -> None:
        """Keep the last checkpoint of a finished thread only. The owner count stays, so a late claim cannot go back."""
        ...

    async def delete(self, brand: str, thread_id: str) -> None:
        """Remove every checkpoint and write of the thread; no earlier claim may write again. The owner count stays."""
        ...

    async def size_bytes(self, brand: str, thread_ids: list[str]) -> int:
        """Bytes that these threads' checkpoints and writes hold."""
        ...


_ENGINES = {
    "sqlite": "memory.checkpoints.sqlite:open_sqlite_checkpoints",
    "astra": "memory.checkpoints.astra:open_astra_checkpoints",
    "astra+http": "memory.checkpoints.astra:open_astra_checkpoints",
}


def open_checkpoints(url: str, *, clock: Clock, astra_token: str = "") -> AbstractAsyncContextManager[Checkpoints]:
    """Open the checkpoints behind `url`: `sqlite:///FILE`, or `astra://HOST/KEYSPACE` with `astra_token`, or
    `astra+http://[USER:PASSWORD@]HOST:PORT/KEYSPACE`. Raises SettingsError for an unknown scheme.
    """
    scheme = url.partition("://")[0]
    if scheme not in _ENGINES:
        raise SettingsError(f"checkpoints: no engine for {scheme!r}; known: {', '.join(sorted(_ENGINES))}")
    module, _, name = _ENGINES[scheme].partition(":")
    more = {"token": astra_token} if scheme.startswith("astra") else {}
    return cast(
        AbstractAsyncContextManager[Checkpoints], getattr(import_module(module), name)(url, clock=clock, **more)
    )
