"""`make chaos`: twenty seeded loops over every kind of stores, then every mutation, which some loop must catch.

`python -m tests.chaos [--seeds N] [--first K] [--engine NAME] [--only loops|mutations]`. Exit code 1 when a loop finds a
violation or a mutation is not caught.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.chaos.engines import ENGINES
from tests.chaos.loop import run_loop
from tests.chaos.mutations import MUTATIONS

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
    parser.add_argument("--only", choices=("loops", "mutations"))
    args = parser.parse_args()
    bad = 0 if args.only == "mutations" else asyncio.run(loops(args.first, args.seeds, args.engine))
    missed = 0 if args.only == "loops" else asyncio.run(mutations(args.first))
    print(f"{bad} loops with violations, {missed} mutations not caught")
    return 1 if bad or missed else 0


if __name__ == "__main__":
    sys.exit(main())
