"""What a piece costs, what 1, 100 and 10,000 brands need, and whether that holds for 200 sessions at once.

    .venv/bin/python benchmarks/capacity.py [--sessions 200]

The costs are counted while the offline model makes two weeks, of 7 and of 21 pieces: the difference gives the cost of a piece,
the rest is the cost of a session. Once on the embedded engines, with counters around the real stores, and once on a real
redis-server and the fake Data API, where the servers count. docs/capacity.md says what is assumed and how to read the tables.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._report import CELLS, DAYS
from config.brand_profile import shipped_brands
from config.settings import Settings

SMALL, LARGE = 7, 21
"""Pieces of the two measured weeks; the larger is the week that the model plans for."""
FILES = ("records.db", "ledger.db", "queue.db", "checkpoints.db", "session.db")


@dataclass(frozen=True)
class Assumed:
    """What the model takes for granted; docs/capacity.md says why."""

    answer_s: float = 5.0
    """A model call, in seconds."""
    concurrency: int = 8
    """Tasks that a worker runs at a time (COPYDESK_CONCURRENCY)."""
    window_h: float = 8.0
    """All brands' weeks are made within these hours, once a week."""
    busy: float = 0.7
    """How much of a worker's core and of its places may be used."""
    reconcile_s: float = 60.0
    """COPYDESK_RECONCILE_EVERY."""


# What is counted


class Counted:
    """Stands in for a store and counts the calls of its methods under `name`; what it opens is counted too."""

    def __init__(self, inner: Any, counts: Counter[str], name: str) -> None:
        self._inner, self._counts, self._name = inner, counts, name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._inner, attribute)
        if attribute in ("for_brand", "all_brands"):
            return lambda *given, **more: Counted(value(*given, **more), self._counts, self._name)
        if not inspect.iscoroutinefunction(value):
            return value

        async def counted(*given: Any, **more: Any) -> Any:
            self._counts[f"{self._name}: {attribute}"] += 1
            return await value(*given, **more)

        return counted


@contextmanager
def count_calls(runtime: Any, counts: Counter[str]) -> Iterator[None]:
    """Count what goes to Records, queue, cache, checkpoints and the model."""
    from agents.offline import OfflineChatModel
    from memory.checkpoints.saver import LeasedSaver

    patched: list[tuple[Any, str, Any]] = []

    def count(cls: Any, method: str, name: str) -> None:
        kept = getattr(cls, method)

        async def counted(self: Any, *given: Any, **more: Any) -> Any:
            counts[name] += 1
            return await kept(self, *given, **more)

        patched.append((cls, method, kept))
        setattr(cls, method, counted)

    stores = {name: getattr(runtime, name) for name in ("records", "queue", "cache", "checkpoints")}
    for name, store in stores.items():
        setattr(runtime, name, Counted(store, counts, name))
    for method in ("aget_tuple", "aput", "aput_writes"):
        count(LeasedSaver, method, f"checkpoints: {method}")
    quick: Any = OfflineChatModel._agenerate

    async def asked(model: Any, *given: Any, **more: Any) -> Any:
        answer = await quick(model, *given, **more)
        counts["model: calls"] += 1
        for generation in answer.generations:
            usage = generation.message.usage_metadata or {}
            counts["tokens: in"] += usage.get("input_tokens", 0)
            counts["tokens: out"] += usage.get("output_tokens", 0)
        return answer

    patched.append((OfflineChatModel, "_agenerate", quick))
    OfflineChatModel._agenerate = asked  # type: ignore[method-assign]
    try:
        yield
    finally:
        for cls, method, kept in patched:
            setattr(cls, method, kept)
        for name, store in stores.items():
            setattr(runtime, name, store)


class Written:
    """Bytes that go to each SQLite file. A reader that stays open keeps the WAL from starting over, so that it only grows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._readers = []
        for file in self.files():
            reader = sqlite3.connect(f"file:{folder / file}?mode=ro", uri=True, isolation_level=None)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
            self._readers.append(reader)
        self._before = self._wal()

    def files(self) -> list[str]:
        return [file for file in FILES if (self.folder / file).exists()]

    def _wal(self) -> Counter[str]:
        wal = {file: self.folder / f"{file}-wal" for file in self.files()}
        return Counter({f"written: {file}": path.stat().st_size for file, path in wal.items() if path.exists()})

    def close(self) -> Counter[str]:
        """Bytes appended to each WAL since the beginning."""
        found = self._wal()
        found.subtract(self._before)
        for reader in self._readers:
            reader.close()
        return found


def kept(folder: Path) -> Counter[str]:
    """Bytes of each closed SQLite file."""
    return Counter({f"kept: {file}": (folder / file).stat().st_size for file in FILES if (folder / file).exists()})


# The work


def write_brand(data_dir: Path, name: str, pieces: int) -> None:
    """The shipped brand under another name, with a week of so many pieces; no human is asked."""
    folder = data_dir / "brands" / name
    shutil.copytree(shipped_brands() / "eesystem", folder)
    profile = (folder / "brand.toml").read_text().replace('name = "eesystem"', f'name = "{name}"')
    profile = profile.replace('approval = "all"', 'approval = "flagged"')
    profile = profile.replace("rules_only_ok = false", "rules_only_ok = true")
    blocks = profile.split("\n\n")
    profile = "\n\n".join(block for block in blocks if not block.lstrip().startswith("[[grid]]"))
    for n in range(pieces):
        platform, kind = CELLS[n // len(DAYS) % len(CELLS)] if pieces > len(CELLS) else CELLS[n]
        profile += (
            f'\n\n[[grid]]\nday = "{DAYS[n % len(DAYS)]}"\nplatform = "{platform}"\ncontent_type = "{kind}"\n'
            f'time = "{8 + n // len(DAYS):02}:00"\n'
        )
    (folder / "brand.toml").write_text(profile)


async def make_weeks(runtime: Any, brands: Sequence[str], concurrency: int, counts: Counter[str]) -> None:
    """Start one week a brand, all before any work, then work until every session has settled; CPU and wall in ms."""
    from config.vocabulary import SessionStatus
    from graphs.sessions import session_piece_ids
    from graphs.week import next_cycle_key
    from memory.rows.sessions import Session
    from runtime.start import start_cycle
    from runtime.worker import Worker

    store = runtime.records
    with count_calls(runtime, counts):
        cpu, wall = time.process_time(), time.perf_counter()
        open_sessions = {}
        for brand in brands:
            week = next_cycle_key(runtime.clock.now(), runtime.profile(brand).zone)
            session = await start_cycle(runtime, brand, theme="quiet", cycle_key=week)
            counts["pieces"] += len(session_piece_ids(session))
            open_sessions[brand] = session.id
        counts["start cpu ms"] += round((time.process_time() - cpu) * 1000)

        async def settled() -> bool:
            for brand, id in list(open_sessions.items()):
                row = await store.for_brand(brand).get(Session, id=id)
                if row.status is SessionStatus.RUNNING:
                    return False
                assert row.status is SessionStatus.DONE, f"{brand}: {row.status} {row.reason}"
                del open_sessions[brand]
            return True

        await Worker(runtime, concurrency=concurrency, upkeep=False).run(until=settled)
        counts["cpu ms"] += round((time.process_time() - cpu) * 1000)
        counts["wall ms"] += round((time.perf_counter() - wall) * 1000)


@asynccontextmanager
async def opened(folder: Path, brands: Sequence[str], pieces: int, **settings: Any) -> AsyncIterator[Any]:
    from runtime.compose import open_runtime

    for brand in brands:
        write_brand(folder, brand, pieces)
    async with open_runtime(Settings(data_dir=folder, **settings)) as runtime:
        assert runtime.graphs
        for brand in brands:
            await runtime.ensure_brand(brand)
        yield runtime


async def embedded(brands: Sequence[str], pieces: int, concurrency: int) -> Counter[str]:
    """What one week of so many pieces for each brand takes on the embedded engines."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with opened(folder, brands, pieces):
            pass
        before = kept(folder)
        async with _again(folder) as runtime:
            written = Written(folder)
            await make_weeks(runtime, brands, concurrency, counts)
            counts += written.close()
        after = kept(folder)
        after.subtract(before)
        counts.update(after)
    return counts


@asynccontextmanager
async def _again(folder: Path) -> AsyncIterator[Any]:
    from runtime.compose import open_runtime

    async with open_runtime(Settings(data_dir=folder)) as runtime:
        assert runtime.graphs
        yield runtime


def main() -> None:
    from config.log import configure_logging

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=200)
    arguments = parser.parse_args()
    configure_logging(level="error")
    small = asyncio.run(embedded(["one"], SMALL, 8))
    large = asyncio.run(embedded(["one"], LARGE, 8))
    for name in sorted(small | large):
        print(name, small[name], large[name])


if __name__ == "__main__":
    main()
