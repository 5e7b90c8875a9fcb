"""What a piece costs, what 1, 100 and 10,000 brands need, and whether that holds for 200 sessions at once.

    .venv/bin/python benchmarks/capacity.py [--sessions 200]

The costs are counted while the offline model makes three weeks: 7 pieces on 7 days, 21 on 7 days, 7 on one day. The differences
give the cost of a piece and of a day (each has research of its own), the rest is the cost of a session. Three times on the
embedded engines, with counters around the real stores, and once on a real redis-server and the fake Data API, where the
servers count. docs/capacity.md says what is assumed and how to read the tables. Exits with 0, whatever it finds.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import math
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

from benchmarks._report import CELLS, DAYS
from benchmarks.footprint import peak_mb
from config.brand_profile import shipped_brands
from config.settings import Settings

SMALL, LARGE, ONE_DAY = (7, 7), (21, 7), (7, 1)
"""Pieces and days of the measured weeks; LARGE is the week that the model plans for."""
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
    """A Data API request, in seconds; a reconcile makes them one after another."""
    unsent: float = 0.5
    """How much of a finished week waits to be published, on average over the week."""


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


# The model


@dataclass(frozen=True)
class Cost:
    """What a session takes however small, what each day with pieces adds, and what each piece adds."""

    session: dict[str, float]
    day: dict[str, float]
    piece: dict[str, float]

    @classmethod
    def of(cls, small: Counter[str], large: Counter[str], one_day: Counter[str]) -> Cost:
        """From the three measured weeks. What shared commits make negative is left so: only the sum is a cost."""
        names = sorted(small | large | one_day)
        piece = {name: (large[name] - small[name]) / (LARGE[0] - SMALL[0]) for name in names}
        day = {name: (small[name] - one_day[name]) / (SMALL[1] - ONE_DAY[1]) for name in names}
        session = {name: small[name] - SMALL[1] * day[name] - SMALL[0] * piece[name] for name in names}
        return cls(session, day, piece)

    def week(self, name: str, week: Week) -> float:
        """What a week takes."""
        pieces, days = week
        return self.session.get(name, 0) + days * self.day.get(name, 0) + pieces * self.piece.get(name, 0)

    def weeks(self, prefix: str, week: Week) -> float:
        """All that begins with `prefix`, for one week."""
        return sum(self.week(name, week) for name in self.piece if name.startswith(prefix))


def groups(counts: Counter[str]) -> Counter[str]:
    """The counts as the tables show them, one name for each store."""
    found: Counter[str] = Counter()
    for name, n in counts.items():
        store, _, _ = name.partition(": ")
        found[store if store in ("records", "queue", "cache", "checkpoints") else name] += n
    return found


def show_costs(cost: Cost, many: Cost) -> None:
    print("Costs: a session, each day of it that has pieces, and each piece")
    lines = [
        ("model calls", cost, "model: calls", 1),
        ("tokens in (as the offline model counts them)", cost, "tokens: in", 1),
        ("tokens out", cost, "tokens: out", 1),
        ("Records requests", cost, "records", 1),
        ("queue operations", cost, "queue", 1),
        ("cache operations", cost, "cache", 1),
        ("checkpoint requests", cost, "checkpoints", 1),
        ("CPU on the embedded engines, ms", cost, "cpu ms", 1),
        ("CPU of the event loop on Redis and Data API, ms", many, "loop cpu ms", 1),
        *((f"written to {file}, KB", cost, f"written: {file}", 1000) for file in FILES),
        *((f"kept in {file}, KB", cost, f"kept: {file}", 1000) for file in FILES),
        ("Data API requests for rows", many, "astra: records", 1),
        ("Data API requests for checkpoints", many, "astra: checkpoints", 1),
        ("Redis scripts, queue and cache", many, "redis: scripts", 1),
        ("left in Redis until it expires, KB", many, "redis: bytes kept", 1000),
    ]
    print(f"  {'':46} {'session':>10} {'day':>10} {'piece':>10} {f'week of {LARGE[0]}':>12}")
    for what, of, name, unit in lines:
        parts = " ".join(f"{part.get(name, 0) / unit:10,.1f}" for part in (of.session, of.day, of.piece))
        print(f"  {what:46} {parts} {of.week(name, LARGE) / unit:12,.0f}", flush=True)


@dataclass(frozen=True)
class Upkeep:
    """Data API requests that happen without any work."""

    reconcile: float
    brand: float
    """What each brand adds to a reconcile."""
    unsent: float
    """What each piece adds to it that waits to be published."""
    sweep: float

    @classmethod
    def of(cls, asked: Counter[str], weeks: Sequence[Week]) -> Upkeep:
        """From reconciles after each of three weeks, the first and the last of one size."""
        first, second, third = (asked[f"reconcile {n}"] for n in (1, 2, 3))
        unsent = ((second - first) - (third - second)) / (weeks[1][0] - weeks[2][0])
        brand = (third - second) - weeks[2][0] * unsent
        return cls(first - (third - second), brand, unsent, asked["sweep"])

    def a_round(self, brands: int, assumed: Assumed) -> float:
        return self.reconcile + brands * (self.brand + LARGE[0] * assumed.unsent * self.unsent)

    def a_day(self, brands: int, assumed: Assumed) -> float:
        one = self.a_round(brands, assumed)
        return 86_400 / (assumed.reconcile_s + one * assumed.request_s) * one + 24 * self.sweep


def show_model(cost: Cost, many: Cost, upkeep: Upkeep, task_bytes: float, assumed: Assumed) -> None:
    print(
        f"Model: one week of {LARGE[0]} pieces a brand, all made within {assumed.window_h:g} h; a model call takes "
        f"{assumed.answer_s:g} s,\n  {assumed.concurrency} tasks a worker, {assumed.busy:.0%} of it used, "
        f"{assumed.reconcile_s:g} s between reconciles, {assumed.request_s * 1000:g} ms a request"
    )
    print(f"  {'brands':46} {1:>12,} {100:>12,} {10_000:>12,}")
    fleet = (1, 100, 10_000)
    seconds = assumed.window_h * 3600 * assumed.busy
    cores = [brands * many.week("loop cpu ms", LARGE) / 1000 / seconds for brands in fleet]
    waits = [brands * cost.week("model: calls", LARGE) * assumed.answer_s / seconds for brands in fleet]
    workers = [
        max(1, math.ceil(max(core, wait / assumed.concurrency))) for core, wait in zip(cores, waits, strict=True)
    ]
    week_requests = many.weeks("astra: ", LARGE)
    rows: list[tuple[str, list[float]]] = [
        ("cores busy", cores),
        ("model calls at once", waits),
        ("workers", [float(n) for n in workers]),
        ("tasks waiting at most", [float(brands * (LARGE[0] + 1)) for brands in fleet]),
        ("Redis, tasks, MB", [brands * (LARGE[0] + 1) * task_bytes / 1e6 for brands in fleet]),
        ("Redis, cache and status, MB", [brands * many.week("redis: bytes kept", LARGE) / 1e6 for brands in fleet]),
        ("Data API requests a day, work", [brands * week_requests / 7 for brands in fleet]),
        ("Data API requests a day, upkeep", [upkeep.a_day(brands, assumed) for brands in fleet]),
        ("a reconcile takes, s", [upkeep.a_round(brands, assumed) * assumed.request_s for brands in fleet]),
        ("Data API requests a second in the window", [
            brands * week_requests / (assumed.window_h * 3600) + upkeep.a_day(brands, assumed) / 86_400
            for brands in fleet
        ]),
        ("SQLite after a year of weeks, GB", [brands * 52 * cost.weeks("kept: ", LARGE) / 1e9 for brands in fleet]),
        ("SQLite written a week, GB", [brands * cost.weeks("written: ", LARGE) / 1e9 for brands in fleet]),
    ]  # fmt: skip
    for what, numbers in rows:
        print(
            f"  {what:46} " + " ".join(f"{n:>12,.0f}" if n >= 100 or n == int(n) else f"{n:>12,.3g}" for n in numbers)
        )
    print(flush=True)


def show_check(cost: Cost, found: Counter[str], sessions: int, week: Week) -> None:
    """Predicted beside found, for a run that the costs were not taken from."""
    print(f"Check: {sessions} sessions under way at once, {week[0]} pieces each, one worker with {sessions} places")
    print(f"  {'':46} {'predicted':>12} {'found':>12} {'found/predicted':>16}")
    lines = [
        ("model calls", "model: calls", 1),
        ("tokens in", "tokens: in", 1),
        ("Records requests", "records", 1),
        ("queue operations", "queue", 1),
        ("cache operations", "cache", 1),
        ("checkpoint requests", "checkpoints", 1),
        ("CPU, s", "cpu ms", 1000),
        *((f"written to {file}, MB", f"written: {file}", 1e6) for file in FILES),
        *((f"kept in {file}, MB", f"kept: {file}", 1e6) for file in FILES),
    ]
    for what, name, unit in lines:
        predicted, real = sessions * cost.week(name, week) / unit, found[name] / unit
        ratio = f"{real / predicted:16.2f}" if predicted else f"{'-':>16}"
        print(f"  {what:46} {predicted:12,.1f} {real:12,.1f} {ratio}")
    wall, cpu = found["wall ms"] / 1000, found["cpu ms"] / 1000
    predicted = sessions * cost.week("cpu ms", week) / 1000
    print(
        f"  {found['pieces']} pieces, {sessions - found['sessions not done']} of {sessions} sessions done, "
        f"in {wall:.1f} s (at least {predicted:.1f} predicted: one core), "
        f"{found['pieces'] / wall:.1f} a second; {cpu / wall:.2f} cores busy; at most {peak_mb():.0f} MB resident"
    )


def main() -> None:
    from config.log import configure_logging

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--pieces", type=int, default=3, help="pieces of each of those sessions")
    arguments = parser.parse_args()
    configure_logging(level="error")
    asyncio.run(embedded(["warm"], SMALL, Assumed.concurrency))
    measured = (SMALL, LARGE, ONE_DAY)
    rounds = [
        [groups(asyncio.run(embedded(["one"], week, Assumed.concurrency))) for week in measured] for _ in range(3)
    ]
    cost = Cost.of(*(min((one[n] for one in rounds), key=lambda found: found["cpu ms"]) for n in range(3)))
    weeks = (*measured, SMALL)
    found, asked = asyncio.run(many_machines(weeks))
    many = Cost.of(*found[:3])
    show_costs(cost, many)
    by_keys, by_server = asyncio.run(redis_task_bytes())
    print(f"  a waiting task in Redis: {by_keys:,.0f} bytes by MEMORY USAGE, {by_server:,.0f} by used_memory\n")
    upkeep = Upkeep.of(asked, weeks)
    print(
        f"Upkeep: a reconcile asks the Data API {upkeep.reconcile:.0f} times, {upkeep.brand:.1f} a brand and "
        f"{upkeep.unsent:.1f} a piece not yet published; a sweep {upkeep.sweep:.0f} times\n"
    )
    show_model(cost, many, upkeep, max(by_keys, by_server), Assumed())
    brands = [f"brand{n}" for n in range(arguments.sessions)]
    week = arguments.pieces, min(arguments.pieces, len(DAYS))
    show_check(cost, groups(asyncio.run(embedded(brands, week, arguments.sessions))), arguments.sessions, week)


if __name__ == "__main__":
    main()
