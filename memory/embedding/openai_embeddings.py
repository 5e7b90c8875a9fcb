"""Vectors from OpenAI, or from a server that speaks its wire format."""

from __future__ import annotations

import math
from collections.abc import Sequence

import openai

from config.clock import Clock
from config.errors import Unavailable, UsageError
from config.settings import Settings
from memory.embedding.openai_errors import KNOWN, open_http_client, to_error
from memory.embedding.protocol import DIMENSIONS

BATCH = 256
"""Texts a request; the API takes 2,048 and 300,000 tokens."""
LONGEST = 24_000
"""Characters of a text that are embedded: under the model's 8,191 tokens for Latin text."""


class OpenAIEmbedder:
    """`text-embedding-3-large` and its like, asked for 1536 dimensions explicitly."""

    def __init__(self, model: str, client: openai.AsyncOpenAI, clock: Clock) -> None:
        self._model, self._client, self._clock = model, client, clock

    @property
    def id(self) -> str:
        return f"openai:{self._model}:{DIMENSIONS}"

    async def embed_documents(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        asked = [n for n, text in enumerate(texts) if text.strip()]
        vectors: list[tuple[float, ...]] = [()] * len(texts)
        for start in range(0, len(asked), BATCH):
            places = asked[start : start + BATCH]
            found = await self._embed([texts[n][:LONGEST] for n in places])
            for n, vector in zip(places, found, strict=True):
                vectors[n] = vector
        return vectors

    async def embed_query(self, text: str) -> tuple[float, ...]:
        return (await self.embed_documents([text]))[0]

    async def _embed(self, texts: list[str]) -> list[tuple[float, ...]]:
        what = f"embedder {self._model!r}"
        try:
            answer = await self._client.embeddings.create(
                model=self._model, input=texts, dimensions=DIMENSIONS, encoding_format="float"
            )
        except KNOWN as error:
            raise to_error(error, what=what, clock=self._clock) from error
        vectors = [tuple(item.embedding) for item in sorted(answer.data, key=lambda item: item.index)]
        if len(vectors) != len(texts) or any(len(vector) != DIMENSIONS for vector in vectors):
            raise Unavailable(
                f"{what} gave {len(vectors)} vectors for {len(texts)} texts, or not of {DIMENSIONS} numbers: "
                "choose a COPYDESK_EMBEDDER that gives as many"
            )
        return [_unit(vector) for vector in vectors]


def _unit(vector: tuple[float, ...]) -> tuple[float, ...]:
    size = math.sqrt(math.fsum(value * value for value in vector))
    return tuple(value / size for value in vector) if size else ()


def open_openai_embedder(model: str, *, settings: Settings, clock: Clock) -> OpenAIEmbedder:
    """The embedder `openai:MODEL`. Raises UsageError without a key, unless a server of one's own is named."""
    key = settings.openai_api_key.get_secret_value()
    if not key and not settings.openai_base_url:
        raise UsageError(f"embedder 'openai:{model}' needs a key: set OPENAI_API_KEY, or use COPYDESK_EMBEDDER=hash-v1")
    client = openai.AsyncOpenAI(
        api_key=key or "none",
        base_url=settings.openai_base_url or None,
        timeout=settings.model_timeout.total_seconds(),
        max_retries=0,
        http_client=open_http_client(settings.model_timeout),
    )
    return OpenAIEmbedder(model, client, clock)
