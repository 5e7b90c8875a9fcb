"""What `capacity.py` counts: calls, requests, scripts and bytes while weeks of brands are made."""

from __future__ import annotations

import inspect
import re
import shutil
import sqlite3
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._report import CELLS
from config.brand_profile import shipped_brands
from config.calendar import DAYS
from config.settings import Settings

Week = tuple[int, int]
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
    request_s: float = 0.01
    """A Data API request, in seconds."""
    rows_a_page: int = 50
    """What the Data API answers at a time."""
    brands_at_once: int = 8
    """Of a reconcile."""
    unsent: float = 0.5
    """How much of a finished week waits to be published, on average over the week."""


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
    OfflineChatModel._agenerate = asked  # type: ignore[method-assign,assignment]
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
    """Bytes in use of each closed SQLite file; free pages, which the next rows take, do not count."""
    found: Counter[str] = Counter()
    for file in FILES:
        if (folder / file).exists():
            with closing(sqlite3.connect(f"file:{folder / file}?mode=ro", uri=True)) as opened_file:
                pages, free, size = (
                    opened_file.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("page_count", "freelist_count", "page_size")
                )
            found[f"kept: {file}"] = (pages - free) * size
    return found


# The work


def write_brand(data_dir: Path, name: str, week: Week) -> None:
    """The shipped brand under another name, with a week of so many pieces on so many days; no human is asked."""
    pieces, days = week
    folder = data_dir / "brands" / name
    shutil.copytree(shipped_brands() / "eesystem", folder)
    profile = (folder / "brand.toml").read_text().replace('name = "eesystem"', f'name = "{name}"')
    profile = profile.replace('approval = "all"', 'approval = "flagged"')
    profile = profile.replace("rules_only_ok = false", "rules_only_ok = true")
    blocks = profile.split("\n\n")
    profile = "\n\n".join(block for block in blocks if not block.lstrip().startswith("[[grid]]"))
    for n in range(pieces):
        platform, kind = CELLS[(n + n // days) % len(CELLS)]
        profile += (
            f'\n\n[[grid]]\nday = "{DAYS[n % days]}"\nplatform = "{platform}"\ncontent_type = "{kind}"\n'
            f'time = "{8 + n // days:02}:00"\n'
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
        cpu, loop_cpu, wall = time.process_time(), time.thread_time(), time.perf_counter()
        open_sessions = {}
        for brand in brands:
            week = next_cycle_key(runtime.clock.now(), runtime.profile(brand).zone)
            session = await start_cycle(runtime, brand, theme="quiet", cycle_key=week)
            counts["pieces"] += len(session_piece_ids(session))
            open_sessions[brand] = session.id

        async def settled() -> bool:
            for brand, id in list(open_sessions.items()):
                row = await store.for_brand(brand).get(Session, id=id)
                if row.status is SessionStatus.RUNNING:
                    return False
                if row.status is not SessionStatus.DONE:
                    counts["sessions not done"] += 1
                    print(f"  {brand}: its session is {row.status}: {row.reason}", flush=True)
                del open_sessions[brand]
            return True

        await Worker(runtime, concurrency=concurrency, upkeep=False).run(until=settled)
        counts["cpu ms"] += round((time.process_time() - cpu) * 1000)
        counts["loop cpu ms"] += round((time.thread_time() - loop_cpu) * 1000)
        counts["wall ms"] += round((time.perf_counter() - wall) * 1000)


@asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncIterator[Any]:
    """A runtime on `folder`, with what is loaded lazily loaded."""
    from runtime.compose import open_runtime

    async with open_runtime(Settings(data_dir=folder, **settings)) as runtime:
        assert runtime.graphs
        yield runtime


async def embedded(brands: Sequence[str], week: Week, concurrency: int) -> Counter[str]:
    """What one week of so many pieces for each brand takes on the embedded engines; the brands are loaded before."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for brand in brands:
            write_brand(folder, brand, week)
        async with opened(folder) as runtime:
            for brand in brands:
                await runtime.ensure_brand(brand)
        before = kept(folder)
        async with opened(folder) as runtime:
            written = Written(folder)
            await make_weeks(runtime, brands, concurrency, counts)
            counts.update(written.close())
        after = kept(folder)
        after.subtract(before)
        counts.update(after)
    return counts


async def many_machines(weeks: Sequence[Week]) -> tuple[list[Counter[str]], Counter[str]]:
    """What weeks of so many pieces, each a brand's, ask of the Data API and Redis, one after another; and what upkeep asks."""
    from memory.astra_schema import create_schema
    from runtime.reconcile import reconcile, sweep
    from tests.fakes.data_api import DataApi, Keyspace
    from tests.fakes.redis_server import RedisServer

    class Counting(DataApi):
        """Counts requests by the store that they are for."""

        def __init__(self) -> None:
            super().__init__()
            self.counts: Counter[str] = Counter()

        def _run(self, keyspace: str, name: str, command: str, *given: Any, **more: Any) -> dict[str, Any]:
            of = "checkpoints" if name.startswith("checkpoint") or name == "thread_owners" else "records"
            self.counts[f"astra: {of}"] += 1
            return super()._run(keyspace, name, command, *given, **more)

    api, server = Counting(), RedisServer("--appendonly", "yes").start()
    api.start()
    found: list[Counter[str]] = []
    upkeep: Counter[str] = Counter()
    try:
        api.keyspaces["capacity"] = Keyspace()
        from config.clock import SystemClock

        await create_schema(api.url("capacity"), clock=SystemClock())
        redis = f"{server.url}?prefix=capacity"
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            async with opened(folder, records=api.url("capacity"), queue=redis, cache=redis) as runtime:
                for number, week in enumerate(weeks):
                    brand = f"brand{number}"
                    write_brand(folder, brand, week)
                    await runtime.ensure_brand(brand)
                    counts: Counter[str] = Counter()
                    api.counts.clear()
                    scripts, held = redis_scripts(server), redis_bytes(server)
                    await make_weeks(runtime, [brand], Assumed.concurrency, counts)
                    counts.update(api.counts)
                    counts["redis: scripts"] = redis_scripts(server) - scripts
                    counts["redis: bytes kept"] = redis_bytes(server) - held
                    found.append(counts)
                    api.counts.clear()
                    await reconcile(runtime)
                    upkeep[f"reconcile {number + 1}"] = api.counts.total()
                api.counts.clear()
                await sweep(runtime)
                upkeep["sweep"] = api.counts.total()
    finally:
        server.close()
        api.stop()
    return found, upkeep


def redis_scripts(server: Any) -> int:
    """How many scripts clients have run: each transition of the queue and each step of an envelope is one."""
    told = server.command("INFO", "commandstats")
    return sum(int(calls) for calls in re.findall(r"cmdstat_eval(?:sha)?:calls=(\d+)", told))


def redis_bytes(server: Any) -> int:
    """MEMORY USAGE of all keys together, every element weighed."""
    script = """
        local sum = 0
        for _, key in ipairs(redis.call('KEYS', '*')) do
            sum = sum + redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0)
        end
        return sum"""
    return int(server.command("EVAL", script, "0").strip().removeprefix(":"))


async def redis_task_bytes(tasks: int = 2_000) -> tuple[float, float]:
    """Bytes a waiting task takes in Redis: by MEMORY USAGE of the queue's keys, and by what the server allocated."""
    from config.clock import SystemClock
    from graphs.context import advance_piece_task
    from memory.queue import open_queue
    from tests.fakes.redis_server import RedisServer

    server, clock = RedisServer().start(), SystemClock()

    def allocated() -> int:
        found = re.search(r"used_memory:(\d+)", server.command("INFO", "memory"))
        assert found
        return int(found[1])

    try:
        async with open_queue(f"{server.url}?prefix=capacity", clock=clock, max_length=tasks) as queue:
            await queue.depths()
            before, keys = allocated(), redis_bytes(server)
            ids = [str(uuid.uuid4()) for _ in range(tasks)]
            for first in range(0, tasks, 100):
                await queue.enqueue(*(advance_piece_task("brand1", id, clock) for id in ids[first : first + 100]))
            return (redis_bytes(server) - keys) / tasks, (allocated() - before) / tasks
    finally:
        server.close()
