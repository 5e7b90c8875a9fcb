"""Exact vector search through Records, beside the least that a pass over the same matrix can cost.

    .venv/bin/python benchmarks/vector_search.py [--n 10000]

Three medians of five, taken in turn over the same numbers in the same process, each call with another query:
floor (one matrix-vector product), ranking (product, filters, the ten best) and search (the whole call: change check, ranking,
reading ten rows and their vectors back as row objects, which costs the same for any n).
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks._report import result
from config.clock import SystemClock
from memory.embedding.protocol import DIMENSIONS
from memory.records import Records, open_records
from memory.records.sqlite import SqliteRecordsStore
from memory.rows import ContentEmbedding

LIMIT = 10
ROUNDS = 5
REPEATS = 20


def clustered(n: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """`n` unit vectors around n/50 centres, which is harder to rank than noise."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((max(1, n // 50), DIMENSIONS), dtype=np.float32)
    vectors = centres[random.integers(0, len(centres), n)]
    vectors += 0.5 * random.standard_normal((n, DIMENSIONS), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def fill(path: Path, vectors: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    """Write the rows with SQL: making 100,000 row objects would take longer than everything that is measured."""
    with sqlite3.connect(path) as db:
        db.executemany(
            "INSERT INTO content_embeddings (brand, row_version, id, content_type, platform, content_text, embedding,"
            " embedder_id, metadata, brand_alignment_score, compliance_status, created_at, updated_at)"
            " VALUES ('acme', 1, ?, 'quote', 'instagram', 'text', ?, 'e1', '{}', 0, 'approved', 0, 0)",
            ((f"id-{n}", vector.astype("<f4").tobytes()) for n, vector in enumerate(vectors)),
        )
    db.close()


def milliseconds(run: Callable[[Any], object], queries: Sequence[Any]) -> float:
    start = time.perf_counter()
    for query in queries:
        run(query)
    return (time.perf_counter() - start) / len(queries) * 1000


async def searched(records: Records, queries: Sequence[tuple[float, ...]]) -> float:
    start = time.perf_counter()
    for query in queries:
        await records.search(ContentEmbedding, query, embedder_id="e1", limit=LIMIT)
    return (time.perf_counter() - start) / len(queries) * 1000


async def measure(n: int) -> None:
    """Print one line for `n` vectors."""
    vectors = clustered(n)
    queries = [vectors[slot] + 0.01 for slot in range(0, n, n // max(3, REPEATS * 10_000 // n))]
    asked = [tuple(query.tolist()) for query in queries]
    with tempfile.TemporaryDirectory() as folder:
        async with open_records(f"sqlite:///{folder}", clock=SystemClock()) as store:
            assert isinstance(store, SqliteRecordsStore)
            fill(Path(folder) / "records.db", vectors)
            records = store.for_brand("acme")
            start = time.perf_counter()
            found = await records.search(ContentEmbedding, asked[1], embedder_id="e1", limit=LIMIT)
            load_s = time.perf_counter() - start
            best = np.argsort(-(vectors @ queries[1]))[:LIMIT]
            assert [hit.row.id for hit in found] == [f"id-{slot}" for slot in best], "not the exact nearest"
            matrix = store.matrices.get(ContentEmbedding, "acme", "e1", DIMENSIONS)
            taken: dict[str, list[float]] = {"floor": [], "ranking": [], "search": []}
            for _ in range(ROUNDS + 1):  # in turn, so that a busy moment of the machine hits all; the first warms up
                taken["floor"].append(milliseconds(lambda query: vectors @ query, queries))
                taken["ranking"].append(
                    milliseconds(lambda q: matrix.nearest(q, limit=LIMIT, min_score=0, equals={}, now=0), asked)
                )
                taken["search"].append(await searched(records, asked))
    floor, ranking, search = (statistics.median(times[1:]) for times in taken.values())
    print(
        f"{n} x {DIMENSIONS}, the {LIMIT} best, median of {ROUNDS}; the first search, which loads, took {load_s:.1f} s"
    )
    result("ranking", f"{ranking:.2f} ms", f"floor {floor:.2f} ms", ranking / floor, 1.25)
    result(
        "search, the rows and their vectors included", f"{search:.2f} ms", f"floor {floor:.2f} ms", search / floor, 1.25
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, action="append", help="how many vectors; may be repeated (10000 and 100000)")
    for n in parser.parse_args().n or [10_000, 100_000]:
        asyncio.run(measure(n))


if __name__ == "__main__":
    main()
