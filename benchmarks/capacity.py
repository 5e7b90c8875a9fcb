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
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._capacity_counts import FILES, Assumed, Week, embedded, many_machines, redis_task_bytes
from benchmarks.footprint import peak_mb
from config.calendar import DAYS

SMALL, LARGE, ONE_DAY = (7, 7), (21, 7), (7, 1)
"""Pieces and days of the measured weeks; LARGE is the week that the model plans for."""


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
    """What each brand adds to a reconcile that has something left to do; one that has nothing adds none (counted by a test)."""
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
        return self.reconcile + self._pages(brands, assumed) + brands * (self.brand + self._left(assumed) * self.unsent)

    def _left(self, assumed: Assumed) -> float:
        return LARGE[0] * assumed.unsent

    def _pages(self, brands: int, assumed: Assumed) -> float:
        """Of one state over all brands. Modelled: three brands' rows fit one page, so that no run here has more."""
        return brands * self._left(assumed) / assumed.rows_a_page

    def a_round_s(self, brands: int, assumed: Assumed) -> float:
        """Pages of one state over all brands come one after another, the brands themselves several at once."""
        pages = self._pages(brands, assumed)
        rest = max(0.0, self.a_round(brands, assumed) - self.reconcile - pages)
        return assumed.request_s * (1 + pages + rest / assumed.brands_at_once)

    def a_day(self, brands: int, assumed: Assumed) -> float:
        rounds = 86_400 / (assumed.reconcile_s + self.a_round_s(brands, assumed))
        return rounds * self.a_round(brands, assumed) + 24 * self.sweep


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
        ("… where one brand in ten has work left", [upkeep.a_day(max(1, brands // 10), assumed) for brands in fleet]),
        ("a reconcile takes, s", [upkeep.a_round_s(brands, assumed) for brands in fleet]),
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
