"""`make chaos`: twenty seeded loops over every kind of stores; a fault at every Nth call that leaves the process (points.py); lost
answers; then every mutation, which some loop must catch.

`python -m tests.chaos [--seeds N] [--first K] [--engine NAME] [--only loops|points|replies|mutations] [--step N]`. `--step 1` breaks
every single call, which takes an hour. Exit code 1 when a promise was broken or a mutation is not caught.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import structlog

from tests.chaos.engines import ENGINES
from tests.chaos.loop import run_loop
from tests.chaos.mutations import MUTATIONS
from tests.chaos.points import DEATHS, FAILURES, every_point, lossy_lives
from tests.chaos.replies import lossy_queue

TRIES = 4
"""Seeds that a mutation is given to be caught in."""


_ROUND = ("sqlite", "redis", "sqlite", "many", "redis")
"""The stores of the seeds, in turns; the second turn starts with `austere`."""


def engine_of(n: int) -> str:
    """The stores of the n-th loop."""
    return "austere" if n == len(_ROUND) else _ROUND[n % len(_ROUND)]


async def loops(first: int, count: int, only: str | None) -> int:
    """Run `count` seeds; how many found a violation."""
    bad = 0
    for n in range(count):
        engine = only or engine_of(n)
        with tempfile.TemporaryDirectory(prefix="copydesk-chaos-") as folder:
            report = await run_loop(Path(folder), seed=first + n, engine=engine)
        print(f"{engine:8} {report.line()}", flush=True)
        for violation in report.violations:
            print(f"         {violation}", flush=True)
        bad += bool(report.violations)
    return bad


async def points(first: int, step: int) -> int:
    """A death, and a failure, at every `step`th call; how many promises were broken."""
    bad = 0
    for name, faults in (("T6 deaths", DEATHS), ("T7 failures", FAILURES)):
        with tempfile.TemporaryDirectory(prefix="copydesk-points-") as folder:
            done = await every_point(Path(folder), faults, first=1 + first % step, step=step)
        print(done.line(name), flush=True)
        for violation in done.violations:
            print(f"         {violation}", flush=True)
        bad += len(done.violations)
    return bad


async def replies(first: int) -> int:
    """One answer in twenty is lost; how many promises were broken."""
    with tempfile.TemporaryDirectory(prefix="copydesk-replies-") as folder:
        done = await lossy_lives(Path(folder), seeds=range(first, first + 20))
    queue = await lossy_queue(2000, seed=first)
    violations = [*done.violations, *queue.violations]
    print(
        f"T8 lives: {len(done.violations) or 'no'} violations; {done.tried} of {done.points} answers lost", flush=True
    )
    print(f"T8 queue: {len(queue.violations) or 'no'} violations; 2000 tasks, {queue.lost} answers lost", flush=True)
    for violation in violations:
        print(f"         {violation}", flush=True)
    return len(violations)


async def mutations(first: int) -> int:
    """Take out each guarantee in turn; how many nobody noticed."""
    missed = 0
    for name, item in MUTATIONS.items():
        caught = _by_tests(name, item.caught_by) if item.caught_by else await _by_loop(name, first)
        print(f"without {name}: {'caught by ' + caught if caught else 'NOT CAUGHT'}", flush=True)
        missed += not caught
    return missed


def _by_tests(name: str, nodes: tuple[str, ...]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *nodes],
        env={**os.environ, "COPYDESK_TEST_MUTATION": name},
        capture_output=True,
        text=True,
        timeout=300,
    )
    failed = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    return failed[0] if done.returncode == 1 and failed else ""


async def _by_loop(name: str, first: int) -> str:
    for n in range(TRIES):
        with tempfile.TemporaryDirectory(prefix="copydesk-chaos-") as folder:
            report = await run_loop(Path(folder), seed=first + n, mutation=name, faults_s=7.0, settle_s=20.0)
        if report.violations:
            return f"the loop, seed {first + n}: {report.violations[0]} (+{len(report.violations) - 1} more)"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--only", choices=("loops", "points", "replies", "mutations"))
    parser.add_argument("--step", type=int, default=9)
    args = parser.parse_args()
    parts = {
        "loops": lambda: loops(args.first, args.seeds, args.engine),
        "points": lambda: points(args.first, args.step),
        "replies": lambda: replies(args.first),
        "mutations": lambda: mutations(args.first),
    }
    # What breaks is the product's affair here: its log would bury the report.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # tasks that their dead process left behind
    found = {name: asyncio.run(part()) for name, part in parts.items() if args.only in (None, name)}
    said = {"loops": "loops with violations", "mutations": "mutations not caught"}
    print(", ".join(f"{n} {said.get(name, f'violations by {name}')}" for name, n in found.items()))
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
