"""Exact vector search through Records, beside the least that a pass over the same matrix can cost.

    .venv/bin/python benchmarks/vector_search.py [--n 10000]

Prints the median of five for each, and their ratio: the whole call (change check, product, ranking, reading the ten rows
back) against one matrix-vector product, in turn over the same numbers in the same process.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from config.clock import SystemClock
from memory.embedding.protocol import DIMENSIONS
from memory.records import Records, open_records
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


def milliseconds(run: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats * 1000


async def searched(records: Records, query: tuple[float, ...], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        await records.search(ContentEmbedding, query, embedder_id="e1", limit=LIMIT)
    return (time.perf_counter() - start) / repeats * 1000


async def measure(n: int) -> float:
    """Print one line for `n` vectors; the ratio."""
    vectors = clustered(n)
    query = vectors[n // 2] + 0.01
    asked = struct.unpack(f"<{DIMENSIONS}f", query.tobytes())
    repeats = max(3, REPEATS * 10_000 // n)
    with tempfile.TemporaryDirectory() as folder:
        async with open_records(f"sqlite:///{folder}", clock=SystemClock()) as store:
            fill(Path(folder) / "records.db", vectors)
            records = store.for_brand("acme")
            start = time.perf_counter()
            found = await records.search(ContentEmbedding, asked, embedder_id="e1", limit=LIMIT)
            load = time.perf_counter() - start
            best = np.argsort(-(vectors @ (query / np.linalg.norm(query))))[:LIMIT]
            assert [hit.row.id for hit in found] == [f"id-{slot}" for slot in best], "not the exact nearest"
            milliseconds(lambda: vectors @ query, repeats)
            ours, floor = [], []
            for _ in range(ROUNDS):  # in turn, so that a busy moment of the machine hits both
                floor.append(milliseconds(lambda: vectors @ query, repeats))
                ours.append(await searched(records, asked, repeats))
    ratio = statistics.median(ours) / statistics.median(floor)
    print(
        f"{n:>7} x {DIMENSIONS}: search {statistics.median(ours):7.2f} ms   floor {statistics.median(floor):7.2f} ms"
        f"   ratio {ratio:.2f}   first search (load) {load:.1f} s"
    )
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, action="append", help="how many vectors; may be repeated (10000 and 100000)")
    for n in parser.parse_args().n or [10_000, 100_000]:
        asyncio.run(measure(n))


if __name__ == "__main__":
    main()
