"""`schedule` as an operator types it: what it prints, what it refuses, and what `doctor` says of slots that nobody fired."""

from __future__ import annotations

import asyncio
import re
from datetime import time, timedelta
from typing import Any

import pytest

from config.clock import SystemClock
from config.ids import new_id
from config.vocabulary import FireOutcome
from graphs.weekly import Weekly, week_after
from memory.records.protocol import open_records
from memory.rows.publication import Schedule, ScheduleFire
from memory.rows.row import Row
from runtime.scheduler import Rule, new_schedule
from tests.cli_support import Cli, cli, quiet_process, small_brand

__all__ = ["cli", "quiet_process"]  # fixtures

MONDAYS = ("schedule", "add", "weekly", "--day", "mon", "--at", "06:00")
REFUSED = [
    ("no day", ["schedule", "add", "weekly", "--at", "06:00"], "--day"),
    ("a day that is none", [*MONDAYS[:4], "moonday", "--at", "06:00"], "did you mean 'monday'"),
    ("a day of two letters", [*MONDAYS[:4], "mo", "--at", "06:00"], "--day 'mo'"),
    ("an hour without its nought", [*MONDAYS[:6], "6:00"], "write it as 06:00"),
    ("24 o'clock", [*MONDAYS[:6], "24:00"], "--at '24:00'"),
    ("seconds", [*MONDAYS[:6], "06:00:00"], "--at"),
    ("other digits", [*MONDAYS[:6], "٠٦:٠٠"], "--at"),
    ("a zone misspelt", [*MONDAYS, "--zone", "America/NewYork"], "did you mean 'America/New_York'"),
    ("a zone in lower case", [*MONDAYS, "--zone", "europe/berlin"], "did you mean 'Europe/Berlin'"),
    ("a zone that is a path", [*MONDAYS, "--zone", "../../etc/passwd"], "IANA"),
    ("a theme misspelt", [*MONDAYS, "--theme", "quiet-evenngs"], "did you mean 'quiet-evenings'"),
    ("a theme twice", [*MONDAYS, "--theme", "quiet-evenings", "Quiet evenings"], "named twice"),
    ("a platform misspelt", [*MONDAYS, "--platform", "twiter"], "did you mean 'twitter'"),
    ("a type misspelt", [*MONDAYS, "--type", "quot"], "did you mean 'quote'"),
    ("an empty grid", [*MONDAYS, "--platform", "youtube", "--type", "thread"], "no cell in its grid"),
    ("a name with capitals", ["schedule", "add", "Weekly", *MONDAYS[3:]], "NAME 'Weekly'"),
    ("a part misspelt", ["schedule", "lst"], "did you mean 'list'"),
    ("a brand misspelt", ["--brand", "eesytem", *MONDAYS], "did you mean 'eesystem'"),
]


@pytest.mark.parametrize(("argv", "says"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_mistake_gets_one_line_and_leaves_nothing(cli: Cli, argv: list[str], says: str) -> None:
    result = cli(*argv)
    assert result.code == 2, result
    assert says in result.complaint
    assert result.out == ""
    assert not cli.data_dir.exists()


@pytest.fixture
def acme(cli: Cli) -> Cli:
    small_brand(cli)
    return cli


def write(cli: Cli, *rows: Row) -> None:
    """Put rows of acme where the commands look."""

    async def put() -> None:
        async with open_records(f"sqlite:///{cli.data_dir}", clock=SystemClock()) as store:
            await store.for_brand("acme").put(*rows)

    asyncio.run(put())


def read(cli: Cli, row_type: type[Any]) -> list[Any]:
    async def rows() -> list[Any]:
        async with open_records(f"sqlite:///{cli.data_dir}", clock=SystemClock()) as store:
            return await store.for_brand("acme").list_rows(row_type)

    return asyncio.run(rows())


def a_fire(slot: str, outcome: FireOutcome, ago: timedelta, **fields: Any) -> ScheduleFire:
    then = SystemClock().now() - ago
    named = {"brand": "acme", "id": new_id(then), "schedule": "weekly", "local_slot": slot}
    return ScheduleFire(**{**named, "outcome": outcome, "fired_at": then, **fields})


def findings(cli: Cli) -> list[dict[str, str]]:
    return [row for row in cli("doctor", "--json").json["findings"] if "schedule" in row["finding"]]


def test_add_says_when_it_fires_and_what_it_makes_and_again_changes_nothing(acme: Cli) -> None:
    made = acme.ok(*MONDAYS, "--zone", "Europe/Berlin", "--platforms", "instagram", "facebook")
    assert (made["day"], made["at"], made["zone"]) == ("monday", "06:00", "Europe/Berlin")
    assert (made["status"], made["platforms"], made["themes"]) == ("active", ["instagram", "facebook"], [])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT06:00", made["next_local"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT0[45]:00:00Z", made["next_utc"])
    assert made["next_week"] == week_after(made["next_local"])
    assert made["next_theme"]
    before = read(acme, Schedule)
    assert acme.ok(*MONDAYS, "--zone", "Europe/Berlin", "--platforms", "instagram", "facebook") == made
    assert read(acme, Schedule) == before
    other = acme(*MONDAYS[:4], "tue", "--at", "06:00")
    assert other.code == 1
    assert "says otherwise" in other.complaint


def test_its_zone_is_the_brands_unless_one_is_given(acme: Cli) -> None:
    assert acme.ok(*MONDAYS)["zone"] == acme.ok("brand", "show", "acme")["zone"]


def test_a_worker_that_is_idle_fires_what_is_due_and_list_shows_it(acme: Cli) -> None:
    then = SystemClock().now().replace(second=0, microsecond=0) - timedelta(hours=1)
    rule = Rule(Weekly(then.isoweekday(), then.time(), "UTC"))
    acme.ok("knowledge", "search", "light")
    write(acme, new_schedule("acme", "weekly", rule, then - timedelta(minutes=1)))
    assert any("was due at" in row["finding"] for row in findings(acme))
    assert acme("worker", "--until-idle").code == 0
    (shown,) = acme.ok("schedule", "list")
    (fire,) = shown["fires"]
    assert (fire["local_slot"], fire["outcome"]) == (rule.weekly.on(then.date()).local, "fired")
    assert (fire["week"], shown["next_week"]) == (week_after(fire["local_slot"]), week_after(shown["next_local"]))
    (session,) = acme.ok("session", "list")
    assert (session["session_id"], session["cycle_key"]) == (fire["session_id"], fire["week"])
    assert session["status"] == "waiting"
    assert findings(acme) == []


def test_a_worker_without_a_scheduler_fires_nothing(acme: Cli) -> None:
    acme.ok(*MONDAYS)
    (schedule,) = read(acme, Schedule)
    write(acme, schedule.model_copy(update={"next_at": schedule.next_at - timedelta(days=7)}))
    acme.ok("schedule", "resume", "weekly")
    assert acme("worker", "--until-idle", "--no-scheduler").code == 0
    assert read(acme, ScheduleFire) == []


def test_pause_holds_and_says_who_and_resume_goes_on(acme: Cli) -> None:
    acme.ok(*MONDAYS)
    held = acme.ok("schedule", "pause", "weekly", "--by", "ann", "--reason", "holiday")
    assert (held["status"], held["paused_by"], held["reason"]) == ("paused", "ann", "holiday")
    assert (held["next_local"], held["next_utc"]) == ("", "")
    assert "paused" in acme("schedule", "list").out
    again = acme.ok("schedule", "resume", "weekly")
    assert (again["status"], again["paused_by"]) == ("active", "")
    assert again["next_local"]


def test_a_schedule_that_is_not_there_is_named_with_the_nearest(acme: Cli) -> None:
    assert "add one" in acme("schedule", "list").out
    acme.ok(*MONDAYS)
    for part in ("pause", "resume", "trigger"):
        result = acme("schedule", part, "weakly")
        assert result.code == 2
        assert "did you mean 'weekly'" in result.complaint


def test_trigger_makes_next_week_now_and_says_when_that_is_planned_already(acme: Cli) -> None:
    acme.ok(*MONDAYS, "--theme", *[t["name"] for t in acme.ok("brand", "show", "acme")["themes"]][:1])
    fired = acme.ok("schedule", "trigger", "weekly")
    assert fired["outcome"] == "fired"
    (session,) = acme.ok("session", "list")
    assert (session["session_id"], session["cycle_key"]) == (fired["session_id"], fired["week"])
    (schedule,) = read(acme, Schedule)
    write(acme, schedule.model_copy(update={"name": "other"}))
    result = acme("schedule", "trigger", "other")
    assert result.code == 1
    assert f"planned already by session {fired['session_id']}" in result.out
    assert f"cycle run --theme THEME --week {fired['week']} --replan" in result.out
    assert len(acme.ok("session", "list")) == 1


def test_a_trigger_that_cannot_make_its_week_is_refused_before_anything_is_decided(acme: Cli) -> None:
    acme.ok(*MONDAYS)
    file = acme.data_dir / "brands" / "acme" / "themes.toml"
    file.write_text("")
    result = acme("schedule", "trigger", "weekly")
    assert result.code == 2
    assert "add [[theme]]" in result.complaint
    assert read(acme, ScheduleFire) == []


def test_missed_slots_are_told_by_list_and_for_two_weeks_by_doctor(acme: Cli) -> None:
    acme.ok(*MONDAYS)
    assert findings(acme) == []
    write(
        acme,
        a_fire("2026-01-05T06:00", FireOutcome.MISSED, timedelta(days=15)),
        a_fire("2026-01-12T06:00", FireOutcome.MISSED, timedelta(days=13)),
        a_fire("2026-01-19T06:00", FireOutcome.COALESCED, timedelta(days=12)),
        a_fire("2026-01-26T06:00", FireOutcome.FIRED, timedelta(hours=1)),
    )
    found = findings(acme)
    assert [row["mend"] for row in found] == [
        "run_agents.py worker --until-idle",
        "run_agents.py --brand acme schedule trigger weekly",
    ]
    assert "2026-01-26T06:00 (2026-W06) is fired and has no session yet" in found[0]["finding"]
    assert "2026-01-12T06:00 (2026-W04) was missed" in found[1]["finding"]
    shown = acme("schedule", "list").out
    assert "missed: the week was over" in shown
    assert "coalesced" in shown
    assert [fire["outcome"] for fire in acme.ok("schedule", "list")[0]["fires"]] == [
        "fired", "coalesced", "missed", "missed",
    ]  # fmt: skip


def test_a_schedule_that_nobody_fires_is_a_finding_unless_it_is_paused(acme: Cli) -> None:
    acme.ok(*MONDAYS)
    now = SystemClock().now()
    write(acme, new_schedule("acme", "late", Rule(Weekly(1, time(6), "UTC")), now - timedelta(days=8)))
    (found,) = findings(acme)
    assert "schedule late was due at" in found["finding"]
    assert [shown["due"] for shown in acme.ok("schedule", "list")] == [True, False]
    acme.ok("schedule", "pause", "late")
    assert findings(acme) == []


def test_list_says_who_holds_a_schedule_and_why(acme: Cli) -> None:
    acme.ok(*MONDAYS)
    held = acme("schedule", "pause", "weekly", "--by", "Ada", "--reason", "holidays\nuntil May \x1b[31m")
    assert "paused by Ada: holidays until May" in held.out
    page = acme("schedule", "list").out
    assert "weekly  paused by Ada: holidays until May" in page
    assert "\x1b" not in page


def test_list_says_what_keeps_a_schedule_from_firing(acme: Cli) -> None:
    acme.ok(*MONDAYS)
    (acme.data_dir / "brands" / "acme" / "themes.toml").write_text("")
    [shape] = acme.ok("schedule", "list")
    assert (shape["next_theme"], "add [[theme]]" in shape["problem"]) == ("", True)
    assert "weekly  cannot fire: schedule 'weekly': a theme is not in brand 'acme'" in acme("schedule", "list").out


def test_a_week_that_is_planned_already_is_told_before_and_after_a_schedule_finds_it(acme: Cli) -> None:
    acme.ok(*MONDAYS)
    [before] = acme.ok("schedule", "list")
    assert before["next_planned_by"] == ""
    made = acme.ok("cycle", "run", "--theme", "small-thanks", "--week", before["next_week"], "--type", "quote")
    [after] = acme.ok("schedule", "list")
    assert after["next_planned_by"] == made["session_id"]
    told = f"weekly  {before['next_week']} is planned already by session {made['session_id']}: it stays as it is"
    assert told in acme("schedule", "list").out


def test_a_second_schedule_is_told_of_the_first(acme: Cli) -> None:
    assert acme(*MONDAYS).err == ""
    second = acme("schedule", "add", "nightly", "--day", "tue", "--at", "06:00")
    assert second.complaint == "note: there are other schedules (weekly): a week is made once, by whichever fires first"
    assert acme(*MONDAYS).complaint.startswith("note: there are other schedules (nightly)")
