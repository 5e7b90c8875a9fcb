"""A fault at calls that leave the process, on Redis and the fake AstraDB: a few of them here, every one by `python -m tests.chaos`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.chaos.points import DEATHS, FAILURES, count_points, every_point, lossy_lives, open_houses
from tests.chaos.replies import lossy_queue
from tests.fakes.publishing import ScriptedPublisher
from tools.publish.protocol import NothingSent

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


async def test_an_undisturbed_life_meets_every_kind_of_call(tmp_path: Path) -> None:
    async with open_houses(tmp_path) as houses:
        calls = await count_points(houses)
    met = {name.partition(":")[0] for name in calls}
    assert met == {"astra", "redis", "model", "platform"}
    assert len(calls) > 25, "what is not met cannot be broken"


async def test_a_machine_that_dies_at_a_call_is_followed_by_another_that_ends_the_story(tmp_path: Path) -> None:
    done = await every_point(tmp_path, DEATHS, first=37, step=190)
    assert done.violations == []
    assert done.tried >= 2


async def test_a_call_that_fails_breaks_no_promise(tmp_path: Path) -> None:
    done = await every_point(tmp_path, FAILURES, first=61, step=150)
    assert done.violations == []
    assert done.tried >= 3


async def test_whatever_becomes_of_the_one_irreversible_call_it_is_made_once(tmp_path: Path) -> None:
    done = await every_point(tmp_path, (*DEATHS, *FAILURES), of="platform: finalize")
    assert done.violations == []
    assert done.met["platform: finalize"] == len(DEATHS) + len(FAILURES)


async def test_the_points_see_a_post_that_goes_out_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guarantee taken out: an answer that never came is taken for a refusal."""
    from tests.chaos.points import Platform

    finalize = Platform.finalize

    async def hopeful(self: Any, *args: Any, **named: Any) -> Any:
        try:
            return await finalize(self, *args, **named)
        except Exception as error:
            raise NothingSent(str(error)) from error

    monkeypatch.setattr(Platform, "finalize", hopeful)
    assert issubclass(Platform, ScriptedPublisher)
    done = await every_point(tmp_path, ("lost once",), of="platform: finalize")
    assert any("published 2 times" in violation for violation in done.violations)


async def test_lives_in_which_one_answer_in_twenty_is_lost_end_as_others_do(tmp_path: Path) -> None:
    done = await lossy_lives(tmp_path, seeds=range(1, 3))
    assert done.violations == []
    assert done.met["data api"] > 0
    assert done.met["redis"] > 0


async def test_no_lost_answer_doubles_or_loses_a_task() -> None:
    done = await lossy_queue(300, seed=1)
    assert done.violations == []
    assert done.lost > 0
    assert set(done.ran.values()) == {1}
