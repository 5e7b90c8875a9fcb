"""Four seeds of the loop that kills and pauses real processes, one on the austere engine, one on Redis, whose server is killed and
wiped as well; `make chaos` runs more.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.loop import run_loop

pytestmark = pytest.mark.slow
PATIENCE_S = 240.0
"""For a busy machine; a loop ends as soon as everything is settled. `make chaos` gives it 45 s."""


@pytest.mark.parametrize(("seed", "engine"), [(101, "sqlite"), (102, "austere"), (103, "sqlite")])
async def test_a_week_whose_processes_are_killed_and_paused_ends_as_one_that_nobody_disturbed(
    tmp_path: Path, seed: int, engine: str
) -> None:
    report = await run_loop(tmp_path, seed=seed, engine=engine, faults_s=8.0, settle_s=PATIENCE_S)
    assert report.violations == [], report.line()
    assert report.kills + report.pauses >= 6, "the loop broke too little to prove anything"
    assert report.posts > 0, report.line()


async def test_a_week_outlives_a_redis_server_that_is_wiped_and_killed(tmp_path: Path) -> None:
    report = await run_loop(tmp_path, seed=105, engine="redis", faults_s=6.0, settle_s=PATIENCE_S)
    assert report.violations == [], report.line()
    assert report.faults["wipes"] >= 1
    assert report.faults["server kills"] >= 1
    assert report.states.get("waiting", 0) + report.states.get("approved", 0) == 0, report.line()
    assert report.posts > 0, report.line()


async def test_the_checker_sees_a_post_that_goes_out_twice(tmp_path: Path) -> None:
    """The guarantee taken out: whoever asks for a permit gets it and an unanswered call counts as not sent."""
    for seed in (101, 104, 107, 110, 113):
        report = await run_loop(
            tmp_path / str(seed), seed=seed, mutation="unanswered_means_not_sent", faults_s=6.0, settle_s=15.0
        )
        if any("published" in violation for violation in report.violations):
            return
    pytest.fail("five loops without the guarantee and nobody noticed")
