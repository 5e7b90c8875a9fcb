"""Schedules in a newsroom: which week a fire makes and with which theme, and what it comes to when somebody was there before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock
from config.errors import BadInput, Damaged
from config.ids import new_id
from config.vocabulary import FireOutcome, SessionStatus
from graphs.week import cycle_key_of
from graphs.weekly import Weekly, local_minute
from memory.queue.protocol import UPKEEP_QUEUE
from memory.rows.brand import Control
from memory.rows.publication import Schedule, ScheduleFire
from memory.rows.sessions import Session
from runtime import worker as worker_module
from runtime.reconcile import reconcile
from runtime.scheduler import (
    AGAIN,
    Rule,
    Scheduler,
    cycle_starter,
    fire_session_id,
    fire_task,
    new_schedule,
    pause_control,
)
from runtime.worker import Worker
from tests.fakes.newsroom import BRAND, Newsroom, open_newsroom, write_brand

ZONE = "Europe/Berlin"
MINUTE, WEEK = timedelta(minutes=1), timedelta(days=7)
FIRST = datetime(2026, 12, 14, 5, 0, tzinfo=UTC)
"""Monday 06:00 in Berlin of the week after the clock's: the first slot of `weekly`."""
THEMES = ("one", "two", "three", "four", "five", "six")


class Desk:
    """A newsroom with a scheduler that looks when it is told to."""

    def __init__(self, room: Newsroom) -> None:
        self.room, self.clock, self.records = room, room.clock, room.records
        self.scheduler = Scheduler(self.records, self.clock, cycle_starter(room.runtime, self.records))

    async def add(self, name: str = "weekly", **rule: Any) -> Schedule:
        schedule = new_schedule(BRAND, name, Rule(Weekly(1, time(6), ZONE), **rule), self.clock.now())
        await self.records.put(schedule)
        return schedule

    async def look_at(self, instant: datetime, name: str = "weekly") -> datetime | None:
        self.clock.advance(instant - self.clock.now())
        return await self.scheduler.look(name)

    async def outcomes(self) -> dict[str, str]:
        """Local day of each slot, and what became of it, in order."""
        rows = await self.records.list_rows(ScheduleFire)
        return {row.local_slot[:10]: str(row.outcome) for row in sorted(rows, key=lambda row: row.local_slot)}

    async def last(self) -> ScheduleFire:
        return max(await self.records.list_rows(ScheduleFire), key=lambda row: row.local_slot)

    async def session(self) -> Session:
        """The session of the last fire."""
        return await self.records.get(Session, id=(await self.last()).session_id)

    async def theme(self) -> str:
        return str((await self.session()).request["theme"]["name"])

    async def pause(self, on: bool) -> None:
        value = "on" if on else "off"
        row = Control(brand=BRAND, name=pause_control("weekly"), value=value, updated_at=self.clock.now())
        await self.records.put(row)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    write_brand(tmp_path / "brands" / BRAND)
    themes = "".join(f'[[theme]]\nname = "{name}"\ntitle = "A week of {name}"\n' for name in THEMES)
    (tmp_path / "brands" / BRAND / "themes.toml").write_text(themes)
    async with open_newsroom(tmp_path) as room:
        yield Desk(room)


# Which week


async def test_a_fire_makes_the_iso_week_after_its_slot_as_cycle_run_would(desk: Desk) -> None:
    schedule = await desk.add()
    assert schedule.next_at == FIRST
    assert await desk.look_at(FIRST - MINUTE) == FIRST
    assert await desk.outcomes() == {}
    assert await desk.look_at(FIRST) == FIRST + WEEK
    fire, session = await desk.last(), await desk.session()
    assert (fire.local_slot, fire.outcome) == ("2026-12-14T06:00", FireOutcome.FIRED)
    assert session.id == fire_session_id(fire)
    assert (session.cycle_key, session.status) == ("2026-W52", SessionStatus.RUNNING)
    assert len(session.request["slots"]) == 2
    by_hand = await desk.room.week(theme=await desk.theme(), cycle_key="2026-W52")
    assert by_hand.id == session.id, "the same inputs name the same session"
    assert await desk.room.runtime.queue.find(f"advance:{session.id}") is not None


async def decided_and_left(desk: Desk) -> ScheduleFire:
    """The first slot as a process leaves it that dies after its decision and its row."""
    fire = ScheduleFire(
        brand=BRAND, id=new_id(FIRST), schedule="weekly", local_slot="2026-12-14T06:00",
        outcome=FireOutcome.FIRED, fired_at=FIRST,
    )  # fmt: skip
    await desk.records.create_once("schedule", "weekly|2026-12-14T06:00", fire, token="t")
    await desk.records.put(fire)
    return fire


async def test_a_fire_that_is_gone_on_with_within_its_week_plans_what_is_left(desk: Desk) -> None:
    await desk.add()
    fire = await decided_and_left(desk)
    await desk.look_at(datetime(2026, 12, 22, 0, 0, tzinfo=UTC))
    assert await desk.outcomes() == {"2026-12-14": "fired", "2026-12-21": "fired"}
    session = await desk.records.get(Session, id=fire_session_id(fire))
    assert (session.cycle_key, session.request["passed"], len(session.request["slots"])) == ("2026-W52", 1, 1)


async def test_a_fire_for_which_its_week_has_nothing_left_is_missed(desk: Desk) -> None:
    """The slots of the week are on Monday and Tuesday, and nobody is there until Wednesday."""
    await desk.add()
    await decided_and_left(desk)
    await desk.look_at(datetime(2026, 12, 23, 12, 0, tzinfo=UTC))
    assert await desk.outcomes() == {"2026-12-14": "missed", "2026-12-21": "fired"}
    assert (await desk.session()).cycle_key == "2026-W53"


async def test_an_outage_of_a_year_ends_in_one_week_and_a_list_of_what_was_missed(desk: Desk) -> None:
    await desk.add()
    await desk.look_at(FIRST + 52 * WEEK)
    outcomes = list((await desk.outcomes()).values())
    assert outcomes == ["missed"] * 51 + ["coalesced", "fired"]
    assert len(await desk.records.list_rows(Session)) == 1


async def test_pausing_holds_and_resuming_makes_one_fire_of_what_was_due(desk: Desk) -> None:
    await desk.add()
    await desk.pause(True)
    assert await desk.look_at(FIRST + WEEK) is None
    assert await desk.outcomes() == {}
    await desk.pause(False)
    assert await desk.look_at(FIRST + WEEK + MINUTE) == FIRST + 2 * WEEK
    assert await desk.outcomes() == {"2026-12-14": "coalesced", "2026-12-21": "fired"}


# Who was there before


@pytest.mark.parametrize("theme", ["one", "six"], ids=["the same inputs", "other inputs"])
async def test_a_week_that_was_planned_by_hand_stays_and_the_fire_names_its_session(desk: Desk, theme: str) -> None:
    await desk.add()
    by_hand = await desk.room.week(theme=theme, cycle_key="2026-W52")
    assert await desk.look_at(FIRST) == FIRST + WEEK
    fire = await desk.last()
    assert (fire.outcome, fire.session_id) == (FireOutcome.PLANNED, by_hand.id)
    assert len(await desk.records.list_rows(Session)) == 1
    await desk.look_at(FIRST + WEEK)
    assert (await desk.last()).outcome is FireOutcome.FIRED


async def test_a_week_that_a_person_cancelled_is_not_started_again(desk: Desk) -> None:
    await desk.add()
    session = await desk.room.week(theme="one", cycle_key="2026-W52")
    await desk.records.put(session.model_copy(update={"status": SessionStatus.CANCELLED}))
    await desk.look_at(FIRST)
    assert (await desk.last()).outcome is FireOutcome.PLANNED
    assert (await desk.room.session(session)).status is SessionStatus.CANCELLED


async def test_a_fire_is_its_own_though_its_week_was_planned_anew_before_that_was_noted(desk: Desk) -> None:
    """Killed between its session and its row; then a person replans the week."""
    await desk.add()
    await desk.look_at(FIRST)
    fire, session = await desk.last(), await desk.session()
    await desk.records.put(fire.model_copy(update={"session_id": ""}))
    await desk.records.put(session.model_copy(update={"status": SessionStatus.CANCELLED}))
    await desk.room.week(theme="six", cycle_key="2026-W52", replan=True)
    await desk.look_at(FIRST + MINUTE)
    assert (await desk.last()).session_id == session.id


async def test_two_triggers_in_one_minute_are_one_fire_and_a_later_one_finds_the_week_planned(desk: Desk) -> None:
    schedule = await desk.add()
    first, again = await desk.scheduler.trigger(schedule), await desk.scheduler.trigger(schedule)
    assert first == again
    assert first.local_slot == local_minute(desk.clock.now(), ZONE)
    assert (await desk.session()).cycle_key == "2026-W51"
    desk.clock.advance(MINUTE)
    later = await desk.scheduler.trigger(schedule)
    assert (later.outcome, later.session_id) == (FireOutcome.PLANNED, first.session_id)
    await desk.look_at(FIRST)
    assert (await desk.session()).cycle_key == "2026-W52", "its own slots stay as they are"


async def test_a_trigger_at_the_minute_of_a_slot_is_that_slots_fire(desk: Desk) -> None:
    schedule = await desk.add()
    desk.clock.advance(FIRST - desk.clock.now())
    fire = await desk.scheduler.trigger(schedule)
    assert await desk.scheduler.look("weekly") == FIRST + WEEK
    assert await desk.records.list_rows(ScheduleFire) == [await desk.records.get(ScheduleFire, id=fire.id)]


# Which theme


async def themes_of(desk: Desk, weeks: int, start: int = 0) -> list[str]:
    found = []
    for n in range(start, start + weeks):
        await desk.look_at(FIRST + n * WEEK)
        found.append(await desk.theme())
    return found


async def test_the_brands_themes_come_in_their_order_and_again(desk: Desk) -> None:
    await desk.add()
    assert await themes_of(desk, 8) == [*THEMES, "one", "two"]


async def test_a_theme_that_ran_lately_by_hand_is_passed_over(desk: Desk) -> None:
    await desk.add()
    await desk.room.week(theme="two", cycle_key="2026-W51")
    assert await themes_of(desk, 6) == ["one", "three", "four", "five", "six", "one"]


async def test_a_theme_whose_week_was_cancelled_has_not_run(desk: Desk) -> None:
    await desk.add()
    session = await desk.room.week(theme="two", cycle_key="2026-W51")
    await desk.records.put(session.model_copy(update={"status": SessionStatus.CANCELLED}))
    assert await themes_of(desk, 2) == ["one", "two"]


async def test_when_all_themes_ran_lately_the_one_that_rested_longest_comes(desk: Desk) -> None:
    file = desk.room.runtime.brand_folder(BRAND) / "themes.toml"
    file.write_text("".join(f'[[theme]]\nname = "{name}"\ntitle = "Week of {name}"\n' for name in ("one", "two")))
    await desk.add()
    await desk.room.week(theme="one", cycle_key="2026-W51")
    assert await themes_of(desk, 4) == ["two", "one", "two", "one"]


async def test_a_list_of_themes_is_taken_in_turn_whatever_ran_lately(desk: Desk) -> None:
    await desk.add(themes=("four", "two"))
    await desk.room.week(theme="four", cycle_key="2026-W51")
    assert await themes_of(desk, 3) == ["four", "two", "four"]


async def test_two_schedules_keep_their_own_turns(desk: Desk) -> None:
    await desk.add(themes=("one", "two"), platforms=("facebook",))
    await themes_of(desk, 1)
    desk.clock.step(-WEEK)
    await desk.add("other", themes=("two", "one"))
    desk.clock.step(2 * WEEK)
    await desk.scheduler.look("other")
    assert await desk.theme() == "two"


@pytest.mark.parametrize("dropped", ["one", "two", "three"])
async def test_a_theme_that_the_brand_drops_while_it_is_in_turn_leaves_the_turn_where_it_is(
    desk: Desk, dropped: str
) -> None:
    await desk.add(themes=("one", "two", "three"))
    assert await themes_of(desk, 2) == ["one", "two"]
    file = desk.room.runtime.brand_folder(BRAND) / "themes.toml"
    kept = [name for name in THEMES if name != dropped]
    file.write_text("".join(f'[[theme]]\nname = "{name}"\ntitle = "A week of {name}"\n' for name in kept))
    turn = [name for name in ("three", "one", "two", "three") if name != dropped]
    desk.clock.step(WEEK)
    await desk.scheduler.look("weekly")
    assert await desk.theme() == turn[0]


# What a person has to mend


async def test_a_broken_brand_keeps_the_fire_open_until_it_is_mended(desk: Desk) -> None:
    await desk.add()
    file = desk.room.runtime.brand_folder(BRAND) / "brand.toml"
    text = file.read_text()
    file.write_text(text + "\nno toml")
    assert await desk.look_at(FIRST) == FIRST + AGAIN
    assert ((await desk.last()).outcome, (await desk.last()).session_id) == (FireOutcome.FIRED, "")
    assert (await desk.records.get(Schedule, name="weekly")).next_at == FIRST, "the bookmark waits"
    file.write_text(text)
    assert await desk.look_at(FIRST + AGAIN) == FIRST + WEEK
    assert (await desk.session()).cycle_key == "2026-W52"


async def test_a_fire_that_waited_until_its_week_was_over_is_missed_and_the_next_one_fires(desk: Desk) -> None:
    await desk.add(themes=("gone",))
    await desk.look_at(FIRST)
    with pytest.raises(BadInput, match="gone"):
        await desk.scheduler.trigger(await desk.records.get(Schedule, name="weekly"))
    assert await desk.look_at(FIRST + 2 * WEEK) == FIRST + 2 * WEEK + AGAIN
    outcomes = await desk.outcomes()
    assert (outcomes["2026-12-14"], outcomes["2026-12-28"]) == ("missed", "fired")


async def test_a_rule_that_cannot_be_read_is_damage_and_stops_no_other_schedule(desk: Desk) -> None:
    schedule = await desk.add("broken")
    await desk.records.put(schedule.model_copy(update={"rule": {"day": "1"}}))
    await desk.add()
    with pytest.raises(Damaged, match="broken"):
        await desk.look_at(FIRST, "broken")
    await desk.look_at(FIRST)
    assert await desk.outcomes() == {"2026-12-14": "fired"}


# The worker


async def work(desk: Desk, **options: Any) -> Worker:
    """A worker does everything of upkeep that is due."""
    worker = Worker(desk.room.runtime, **{"queues": (UPKEEP_QUEUE,), **options})

    async def idle() -> bool:
        depth = (await desk.room.runtime.queue.depths()).get(UPKEEP_QUEUE)
        return depth is None or not (depth.ready or depth.leased)

    await worker.run(until=idle)
    return worker


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "POLL_IDLE", 0.01)
    monkeypatch.setattr(worker_module, "POLL_BUSY", 0.01)


async def test_a_worker_finds_a_schedule_fires_it_and_puts_its_task_off_to_the_next_slot(
    desk: Desk, quick: None
) -> None:
    schedule = await desk.add()
    await work(desk)
    task = await desk.room.runtime.queue.find(fire_task(schedule).id)
    assert task is not None
    assert task.run_at == FIRST
    desk.clock.advance(FIRST + MINUTE - desk.clock.now())
    await work(desk)
    assert await desk.outcomes() == {"2026-12-14": "fired"}
    task = await desk.room.runtime.queue.find(task.id)
    assert task is not None
    assert task.run_at == FIRST + WEEK


async def test_a_clock_that_was_years_ahead_and_comes_back_does_not_silence_a_schedule(desk: Desk, quick: None) -> None:
    schedule = await desk.add()
    desk.clock.step(FIRST + 200 * WEEK - desk.clock.now())
    await work(desk)
    ahead = await desk.outcomes()
    desk.clock.step(FIRST + 3 * WEEK - MINUTE - desk.clock.now())
    await work(desk)
    assert (await desk.records.get(Schedule, name="weekly")).next_at == FIRST + 3 * WEEK
    task = await desk.room.runtime.queue.find(fire_task(schedule).id)
    assert task is not None
    assert task.run_at == FIRST + 3 * WEEK
    await desk.look_at(FIRST + 3 * WEEK)
    assert await desk.outcomes() == ahead, "what was decided stays decided"


async def test_a_clock_that_was_a_year_behind_misses_nothing_of_before_the_schedule_was_added(desk: Desk) -> None:
    await desk.add()
    await desk.look_at(FIRST)
    desk.clock.step(-52 * WEEK)
    for _ in range(2):
        await desk.scheduler.look("weekly")
        desk.clock.advance(WEEK)
    desk.clock.step(52 * WEEK)
    assert await desk.look_at(FIRST + 3 * WEEK) == FIRST + 4 * WEEK
    outcomes = {day: outcome for day, outcome in (await desk.outcomes()).items() if day > "2026-06"}
    assert outcomes == {
        "2026-12-14": "fired",
        "2026-12-21": "missed",
        "2026-12-28": "coalesced",
        "2027-01-04": "fired",
    }
    assert "missed" not in {outcome for day, outcome in (await desk.outcomes()).items() if day < "2026-12"}


async def test_a_trigger_that_died_before_its_session_is_gone_on_with_by_a_worker_even_while_paused(
    desk: Desk, quick: None
) -> None:
    await desk.add()
    await desk.pause(True)
    now = desk.clock.now()
    fire = ScheduleFire(
        brand=BRAND, id=new_id(now), schedule="weekly", local_slot=local_minute(now, ZONE),
        outcome=FireOutcome.FIRED, fired_at=now,
    )  # fmt: skip
    await desk.records.put(fire)
    await work(desk)
    assert (await desk.last()).session_id == fire_session_id(fire)
    assert (await desk.session()).cycle_key == cycle_key_of(now + WEEK, ZONE)


async def test_a_paused_schedule_has_no_task_and_a_resumed_one_gets_it_back(desk: Desk, quick: None) -> None:
    schedule = await desk.add()
    await desk.pause(True)
    desk.clock.advance(FIRST - desk.clock.now())
    await reconcile(desk.room.runtime)
    assert await desk.room.runtime.queue.find(fire_task(schedule).id) is None
    await desk.pause(False)
    await work(desk)
    assert await desk.outcomes() == {"2026-12-14": "fired"}


async def test_a_fire_that_cannot_be_written_is_tried_again_and_never_given_up(
    desk: Desk, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = await desk.add()
    desk.clock.advance(FIRST - desk.clock.now())

    async def fails(*_: Any) -> None:
        raise RuntimeError("whatever")

    with monkeypatch.context() as patch:
        patch.setattr(worker_module, "fire_schedule", fails)
        for _ in range(12):
            await work(desk)
            desk.clock.advance(MINUTE)
    assert await desk.room.runtime.queue.list_dead() == []
    assert await desk.room.runtime.queue.find(fire_task(schedule).id) is not None
    await work(desk)
    assert await desk.outcomes() == {"2026-12-14": "fired"}


def test_the_clock_of_these_tests_is_in_the_week_before_the_first_slot() -> None:
    assert cycle_key_of(ManualClock().now(), ZONE) == "2026-W50"
    assert cycle_key_of(FIRST, ZONE) == "2026-W51"
