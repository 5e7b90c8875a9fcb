"""Embedder: text into vectors. Vectors of different embedders are never compared."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from config.clock import Clock, SystemClock
from config.errors import SettingsError
from config.settings import Settings

DIMENSIONS = 1536
"""Of every stored vector (the seed's VECTOR<FLOAT, 1536>)."""


class Embedder(Protocol):
    """Turns text into unit-length vectors of 1536 numbers."""

    @property
    def id(self) -> str:
        """Stored beside every vector."""
        ...

    async def embed_documents(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """One vector a text, in order; an empty tuple for a text without any feature. May raise Unavailable."""
        ...

    async def embed_query(self, text: str) -> tuple[float, ...]:
        """The vector to search with; empty if the text has no feature."""
        ...


_ENGINES = {
    "hash-v1": "memory.embedding.hashing:HashingEmbedder",
    "openai": "memory.embedding.openai_embeddings:open_openai_embedder",
}


def open_embedder(name: str, *, settings: Settings | None = None, clock: Clock | None = None) -> Embedder:
    """The embedder `hash-v1` (lexical, offline) or `openai:MODEL`, which `settings` tell where and how to ask.

    Raises SettingsError for another name, UsageError for a model without its key.
    """
    scheme = name.partition(":")[0]
    if scheme not in _ENGINES:
        raise SettingsError(f"COPYDESK_EMBEDDER={name!r} is unknown; known: hash-v1, openai:MODEL")
    module, _, factory = _ENGINES[scheme].partition(":")
    make = getattr(import_module(module), factory)
    if scheme == "hash-v1":
        return cast(Embedder, make())
    model = name.partition(":")[2]
    return cast(Embedder, make(model, settings=settings or Settings(), clock=clock or SystemClock()))
