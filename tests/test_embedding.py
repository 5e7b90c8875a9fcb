"""The offline embedder: what is near, what is the same everywhere, what has no vector."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import SettingsError
from memory.embedding.protocol import DIMENSIONS, open_embedder


def cosine(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


async def test_the_nearest_text_shares_words_with_the_query() -> None:
    embedder = open_embedder("hash-v1")
    texts = [
        "Drinking enough water keeps the body hydrated.",
        "A regular bedtime helps you sleep well.",
        "Fruit and vegetables hold vitamins and fibre.",
    ]
    documents = await embedder.embed_documents(texts)
    query = await embedder.embed_query("how to sleep better at night")
    assert max(range(3), key=lambda n: cosine(query, documents[n])) == 1


async def test_inflected_and_misspelt_words_stay_near() -> None:
    embedder = open_embedder("hash-v1")
    word, inflected, misspelt, other = await embedder.embed_documents(["sleeping", "sleeps", "sleepping", "vitamin"])
    assert cosine(word, inflected) > 0.5
    assert cosine(word, misspelt) > 0.25
    assert abs(cosine(word, other)) < 0.15


@settings(max_examples=50, deadline=None, database=None)
@given(st.text())
async def test_a_vector_is_unit_length_or_empty(text: str) -> None:
    vector = await open_embedder("hash-v1").embed_query(text)
    assert vector == () or (len(vector) == DIMENSIONS and math.isclose(cosine(vector, vector), 1.0, rel_tol=1e-9))


@pytest.mark.parametrize("text", ["", "   ", "\n", "😴 !!! …", "___"])
async def test_a_text_without_a_letter_or_digit_has_no_vector(text: str) -> None:
    embedder = open_embedder("hash-v1")
    assert await embedder.embed_query(text) == ()
    assert await embedder.embed_documents([text, "word"]) == [(), await embedder.embed_query("word")]


async def test_another_process_makes_the_same_vector() -> None:
    program = (
        "import asyncio; from memory.embedding.protocol import open_embedder;"
        "print(repr(asyncio.run(open_embedder('hash-v1').embed_query('Schlaf and sleep: 8 hours'))))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)  # noqa: ASYNC221
    assert told.stdout.strip() == repr(await open_embedder("hash-v1").embed_query("Schlaf and sleep: 8 hours"))


def test_the_embedder_names_itself() -> None:
    assert open_embedder("hash-v1").id == "hash-v1"


def test_an_unknown_embedder_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="word2vec"):
        open_embedder("word2vec")
