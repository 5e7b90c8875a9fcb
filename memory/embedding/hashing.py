"""The offline embedder: lexical, deterministic, no weights, no account.

Half of the vector counts stemmed words, half counts the character n-grams inside them, each hashed to a signed place.
Texts are near when they share words or spellings; a paraphrase in other words is not found, and nothing here pretends
otherwise.
"""

from __future__ import annotations

import asyncio
import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from snowballstemmer.english_stemmer import EnglishStemmer  # type: ignore[import-untyped]

from memory.embedding.protocol import DIMENSIONS

_HALF = DIMENSIONS // 2
_WORD = re.compile(r"[^\W_]+")
_GRAMS = (3, 4, 5)
_LONGEST = 64  # characters of a word that n-grams are taken from: a pasted blob must not cost more than a sentence
_stemmer = EnglishStemmer()  # by name: the factory would take a C stemmer where one happens to be installed


class HashingEmbedder:
    """Vectors of 1536 numbers, unit length, the same in every process and on every machine."""

    @property
    def id(self) -> str:
        return "hash-v1"

    async def embed_documents(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """One vector a text, in order; empty for a text without a letter or digit."""
        vectors = []
        for text in texts:
            vectors.append(_embed(text))
            await asyncio.sleep(0)  # many texts take long; heartbeats share this loop
        return vectors

    async def embed_query(self, text: str) -> tuple[float, ...]:
        """The vector to search with, made as a document's is; empty for a text without a letter or digit."""
        return _embed(text)


def _embed(text: str) -> tuple[float, ...]:
    words = Counter(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
    stems: Counter[tuple[int, int]] = Counter()
    grams: Counter[tuple[int, int]] = Counter()
    for word, count in words.items():
        stem, inside = _places(word)
        stems[stem] += count
        for place in inside:
            grams[place] += count
    vector = _half(stems) + _half(grams)
    length = math.sqrt(math.fsum(value * value for value in vector))
    return tuple(value / length for value in vector) if length else ()


def _half(places: Counter[tuple[int, int]]) -> list[float]:
    half = [0.0] * _HALF
    for (place, sign), count in places.items():
        half[place] += sign * (1 + math.log(count))  # the tenth mention of a word says less than the first
    length = math.sqrt(math.fsum(value * value for value in half))
    return [value / length for value in half] if length else half


@lru_cache(maxsize=20_000)
def _places(word: str) -> tuple[tuple[int, int], tuple[tuple[int, int], ...]]:
    marked = f"<{word[:_LONGEST]}>"  # the marks tell the beginning and end of a word from its middle
    grams = {marked[at : at + size] for size in _GRAMS for at in range(len(marked) - size + 1)}
    return _place(_stemmer.stemWord(word)), tuple(sorted(_place(gram) for gram in grams))


def _place(feature: str) -> tuple[int, int]:
    # crc32, because the built-in hash differs between processes; mixed, because similar texts have similar checksums.
    mixed = zlib.crc32(feature.encode("utf-8", "surrogatepass")) * 0x9E3779B1 & 0xFFFFFFFF
    mixed ^= mixed >> 15
    return (mixed >> 1) % _HALF, 1 if mixed & 1 else -1
