"""`cycle plan`: a week on a page before anything is spent, and `cycle run` of exactly that week."""

from __future__ import annotations

import shutil
from datetime import time, timedelta
from pathlib import Path

import pytest

from agents.forecast import forecast
from agents.spending import Tokens, day_of, price_of
from agents.tool_loop import ROUNDS
from config.brand_profile import Cell, find_brand_folder, load_brand
from config.calendar import DAYS
from config.clock import ManualClock
from config.errors import BadInput
from config.vocabulary import CHECK_TYPES, AgentType
from graphs.grid import GridChange, cell_name, edit_grid, parse_change
from graphs.state import MAX_REVISIONS
from graphs.week import resolve
from memory.records.protocol import open_records
from memory.rows.sessions import Usage
from tests.cli_support import MONDAY, RUN, WEEK, Cli, cli, planned, quiet_process, small_brand, week, week_of

__all__ = ["cli", "planned", "quiet_process", "week"]  # fixtures
PLAN = ("cycle", "plan", *RUN[2:])
CAROUSEL = "tue/instagram/carousel"


def test_the_page_shows_the_week_and_writes_no_session(cli: Cli) -> None:
    small_brand(cli)
    page = cli.ok(*PLAN)
    assert [(slot["day"], slot["platform"], slot["content_type"], slot["skipped"]) for slot in page["slots"]] == [
        (1, "instagram", "quote", ""),
        (1, "facebook", "quote", ""),
        (2, "instagram", "carousel", ""),
    ]
    assert [(day["day"], day["pieces"]) for day in page["days"]] == [(1, 2), (2, 1)]
    assert page["forecast"]["at_most_usd"] == 0
    assert (page["conflicts"], page["session_id"]) == ([], "")
    assert cli.ok("session", "list") == []
    assert {depth["ready"] for depth in cli.ok("queue", "list").values()} == {0}


def test_what_knowledge_lacks_is_a_gap_before_a_word_is_written(cli: Cli) -> None:
    small_brand(cli)
    [gap, *_] = cli.ok(*PLAN, "--theme", "submarine gardening")["gaps"]
    assert gap.startswith("monday: 0 sentences of knowledge for 2 pieces")


def test_only_sentences_that_a_post_can_use_are_counted_and_the_others_are_named(cli: Cli, tmp_path: Path) -> None:
    small_brand(cli)
    page = tmp_path / "submarines.md"
    page.write_text(
        "# Submarines\n\nA submarine dives for a month. A submarine ride cures cancer. The submarine has a bell.\n"
    )
    cli.ok("knowledge", "add", "--brand", "acme", str(page))
    plan = ("cycle", "plan", "--theme", "submarine", "--week", WEEK)
    assert {(day["sentences"], day["said"], day["refused"]) for day in cli.ok(*plan)["days"]} == {(2, 0, 1)}
    assert "2 sentences known (1 more a rule refuses)" in cli(*plan).out
    cli.ok("cycle", "run", "--theme", "submarine", "--week", WEEK, "--type", "quote")
    next_week = week_of(MONDAY + timedelta(days=7))
    later = cli.ok("cycle", "plan", "--theme", "submarine", "--week", next_week)
    assert {(day["sentences"], day["said"], day["refused"]) for day in later["days"]} == {(0, 2, 1)}
    assert (
        "0 sentences of knowledge for 2 pieces (2 more were said lately or wait to be, 1 more a rule refuses)"
        in later["gaps"][0]
    )
    assert {day["said"] for day in cli(*plan, "--json").json["days"]} == {0}, "the week's own posts are not before it"


def test_cells_are_dropped_changed_and_added_and_run_makes_exactly_those(cli: Cli) -> None:
    small_brand(cli)
    changes = (
        "--drop",
        "mon/facebook/quote",
        "--change",
        f"{CAROUSEL}=wed/instagram/quote",
        "--add",
        "sun/twitter/thread@10:00",
    )
    page = cli.ok(*PLAN, *changes)
    places = [(slot["day"], slot["platform"], slot["content_type"], slot["local"][11:]) for slot in page["slots"]]
    assert places == [
        (1, "instagram", "quote", "08:00"),
        (3, "instagram", "quote", "08:00"),
        (7, "twitter", "thread", "10:00"),
    ]
    for change in changes:
        assert change in page["run"], "what runs it is what is shown"
    made = cli.ok(*RUN, *changes)
    assert made["pieces"]["planned"] == 3
    listed = cli.ok("piece", "list", "--session", made["session_id"])
    assert [(piece["day"], piece["platform"], piece["content_type"]) for piece in listed] == [p[:3] for p in places]
    again = cli.ok(*RUN, *reversed_flags(changes))
    assert again["session_id"] == made["session_id"], "the same changes in another order are the same week"
    assert cli.ok(*PLAN, *changes)["session_id"] == made["session_id"]
    other = cli(*RUN)
    assert (other.code, "--replan" in other.complaint) == (1, True)


def reversed_flags(flags: tuple[str, ...]) -> list[str]:
    pairs = [flags[n : n + 2] for n in range(0, len(flags), 2)]
    return [word for pair in reversed(pairs) for word in pair]


def test_a_week_that_is_planned_already_is_a_conflict_that_names_its_session(week: Cli) -> None:
    [session] = week.ok("session", "list")
    result = week("cycle", "plan", "--theme", "quiet-evenings", "--week", WEEK, "--json")
    assert result.code == 1
    [conflict] = result.json["conflicts"]
    assert session["session_id"] in conflict
    assert result.json["run"].split(" --data-dir")[0].endswith("--replan")
    assert week.ok(*PLAN)["session_id"] == session["session_id"]


def test_a_slot_that_another_piece_holds_is_left_out_and_said(week: Cli) -> None:
    piece = week.ok("piece", "list")[0]
    slot = next(s for s in week.ok(*PLAN)["slots"] if s["platform"] == piece["platform"])
    week.ok("review", "approve", piece["piece_id"])
    page = week.ok(*PLAN)
    held = next(s for s in page["slots"] if s["at"] == slot["at"] and s["platform"] == slot["platform"])
    assert held["skipped"] == f"taken by piece {piece['piece_id']}"
    assert f"taken by piece {piece['piece_id']}" in week(*PLAN).out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--drop", "tue"), "--drop 'tue' is not a cell"),
        (("--drop", ""), "--drop is empty"),
        (("--add", " "), "--add is empty"),
        (("--drop", "xyz/instagram/quote"), "'xyz' is not a day"),
        (("--drop", "sun/instagram/quote"), "the grid has no such cell; on sunday it has none"),
        (("--drop", "mon/instagramm/quote"), "'instagramm' is unknown"),
        (("--add", "sun/instagram/quote"), "say when: sun/instagram/quote@08:00"),
        (("--add", "sun/instagram/quote@8:60"), "time '8:60' is not a time"),
        (("--add", "mon/instagram/quote@08:00"), "has a cell there already"),
        (("--add", "sun/youtube/thread@08:00"), "youtube has no thread"),
        (("--change", CAROUSEL), "write CELL=CELL"),
    ],
)
def test_a_cell_that_cannot_be_meant_is_one_line_and_changes_nothing(
    cli: Cli, flags: tuple[str, str], said: str
) -> None:
    small_brand(cli)
    for verb in (PLAN, RUN):
        result = cli(*verb, *flags)
        assert (result.code, said in result.complaint) == (2, True), result
    assert cli.ok("session", "list") == []


def test_one_of_two_like_cells_is_named_by_its_time() -> None:
    profile = load_brand(find_brand_folder("eesystem", Path("brands")))
    grid = tuple(Cell(day="monday", platform="twitter", content_type="quote", time=time) for time in ("08:00", "18:00"))
    profile = profile.model_copy(update={"grid": grid})
    with pytest.raises(BadInput, match="names 2 cells: say which: mon/twitter/quote@08:00, mon/twitter/quote@18:00"):
        edit_grid(profile, [GridChange(drop="mon/twitter/quote")])
    left, said = edit_grid(profile, [GridChange(drop="mon/twitter/quote@18:00")])
    assert ([cell_name(cell) for cell in left.grid], said) == (
        ["mon/twitter/quote@08:00"],
        ["-mon/twitter/quote@18:00"],
    )
    assert edit_grid(left, [parse_change("mon/twitter/quote=mon/twitter/quote")])[1] == [], "no change is none"


async def test_the_forecast_rests_on_what_calls_used_and_never_falls_short_of_every_revision(
    tmp_path: Path,
) -> None:
    clock, model = ManualClock(), "openai:gpt-4o-mini"
    async with open_records(f"sqlite:///{tmp_path}/records.db", clock=clock) as store:
        records = store.for_brand("acme")
        guess = await forecast(
            records,
            clock,
            models=dict.fromkeys(AgentType, model),
            pieces=10,
            revisions=MAX_REVISIONS,
            days=5,
            derived=True,
        )
        assert {line.agent: (line.calls, line.most_calls) for line in guess} == {
            "coordination": (1, 1),
            "research": (5, 5 * (1 + ROUNDS)),
            "creation": (10, 10 * (1 + MAX_REVISIONS)),
            "compliance": (10 * len([*CHECK_TYPES]), 10 * len([*CHECK_TYPES]) * (1 + MAX_REVISIONS)),
        }
        assert {line.basis for line in guess} == {"typical sizes"}
        now = clock.now()
        for n in range(4):
            await records.put(
                Usage(
                    brand="acme",
                    day=day_of(now),
                    id=f"u{n}",
                    session_id="s",
                    agent_type="creation",
                    model=model,
                    status="settled",
                    input_tokens=1000 + n,
                    output_tokens=100,
                    expires_after=now,
                    created_at=now,
                    updated_at=now,
                )
            )
        known = {
            line.agent: line
            for line in await forecast(
                records,
                clock,
                models=dict.fromkeys(AgentType, model),
                pieces=10,
                revisions=MAX_REVISIONS,
                days=5,
                derived=False,
            )
        }
        assert "coordination" not in known
        assert known["creation"].basis == "4 calls of the last 28 days"
        assert known["creation"].expected_usd == pytest.approx(10 * price_of(model).cost(Tokens(1001, 100)), abs=1e-6)
        assert all(line.at_most_usd >= line.expected_usd for line in known.values())
        free = await forecast(
            records,
            clock,
            models=dict.fromkeys(AgentType, "offline:"),
            pieces=10,
            revisions=MAX_REVISIONS,
            days=5,
            derived=False,
        )
        assert sum(line.at_most_usd for line in free) == 0


TEA = (
    "The kettle takes four minutes to boil water for green tea in our kitchen.",
    "Green tea leaves open slowly in water that has just stopped boiling.",
    "A small pot keeps black tea warm for about half an hour on the table.",
    "We pour the tea before the first guest sits down in the morning.",
    "Some people like their tea with a slice of lemon from the garden.",
    "The tea cupboard holds eleven tins with labels written by hand.",
    "Mint tea smells of summer when the leaves are fresh from the bed outside.",
    "The old kettle whistles on a low note that everybody in the house knows.",
    "White tea is picked early in the year and dried in the shade.",
    "Our tea tray is made of ash and was built by a neighbour.",
)
TEA_ROOM = ("--theme", "tea-room", "--week", WEEK)


def tea_brand(cli: Cli, sentences: int, days: int) -> None:
    """A brand that knows so many sentences about tea, and posts three times on each of so many days."""
    assert cli("brand", "new", "acme").code == 0
    folder = cli.data_dir / "brands" / "acme"
    shutil.rmtree(folder / "documents")
    (folder / "documents").mkdir()
    (folder / "documents" / "tea.md").write_text("# Tea notes\n\n" + "\n\n".join(TEA[:sentences]) + "\n")
    (folder / "themes.toml").write_text(
        '[[theme]]\nname = "tea-room"\ntitle = "Tea room"\nkeywords = ["tea", "kettle"]\n'
    )
    head = (folder / "brand.toml").read_text().partition("[[grid]]")[0]
    cells = (("instagram", "quote", "08:00"), ("instagram", "carousel", "12:00"), ("facebook", "quote", "18:00"))
    grid = [
        f'[[grid]]\nday = "{day}"\nplatform = "{platform}"\ncontent_type = "{content_type}"\ntime = "{time}"\n'
        for day in DAYS[:days]
        for platform, content_type, time in cells
    ]
    (folder / "brand.toml").write_text(head + "\n".join(grid))


@pytest.mark.parametrize(
    ("sentences", "days", "says"),
    [
        (5, 1, []),
        (4, 1, ["monday: 4 sentences of knowledge for 3 pieces: add a document that covers it, or drop cells"]),
        (10, 2, []),
        (
            10,
            3,
            [
                "the week: its days share 10 sentences of knowledge, and no post says what another says: 5 too few for 9 pieces:"
                " add a document that covers it, or drop cells"
            ],
        ),
    ],
)
def test_gaps_of_the_plan_are_those_of_the_week(cli: Cli, sentences: int, days: int, says: list[str]) -> None:
    tea_brand(cli, sentences, days)
    plan = cli.ok("cycle", "plan", *TEA_ROOM)
    assert ([day["sentences"] for day in plan["days"]], plan["gaps"]) == ([sentences] * days, says)
    cli.ok("cycle", "run", *TEA_ROOM)
    made = cli.ok("report", "week", "--week", WEEK)
    assert len(made["pieces"]) == 3 * days
    assert bool(made["gaps"]) == bool(says)


def gap_brand(cli: Cli, *times: str) -> tuple[str, str]:
    """A brand that posts at these times of the Sunday on which its clocks next skip an hour; that week, and the one before."""
    small_brand(cli)
    at = time.fromisoformat(times[0])
    file = cli.data_dir / "brands" / "acme" / "brand.toml"
    head = file.read_text().partition("[[grid]]")[0]
    types = ("quote", "story", "reel")
    cells = [
        f'[[grid]]\nday = "sunday"\nplatform = "instagram"\ncontent_type = "{content_type}"\ntime = "{clock}"\n'
        for content_type, clock in zip(types, times, strict=False)
    ]
    file.write_text(head + "\n".join(cells))
    sundays = [MONDAY + timedelta(days=7 * n - 1) for n in range(1, 45)]
    sunday, zone = next(
        (sunday, zone)
        for sunday in sundays
        for zone in ("America/New_York", "Australia/Sydney")  # one in spring, one in autumn: never a year ahead
        if resolve(sunday, at, zone)[1] == "gap-shifted"
    )
    file.write_text(file.read_text().replace("America/New_York", zone))
    return week_of(sunday), week_of(sunday - timedelta(days=7))


def test_two_cells_that_the_clocks_make_one_instant_are_one_piece_and_said(cli: Cli) -> None:
    gap, other = gap_brand(cli, "02:30", "03:30", "03:45")
    run = ("--theme", "water-and-pause", "--week")
    page = cli.ok("cycle", "plan", *run, gap)
    assert [(slot["content_type"], slot["resolution"], slot["skipped"]) for slot in page["slots"]] == [
        ("quote", "gap-shifted", ""),
        ("story", "ok", "taken by the quote of 02:30"),
        ("reel", "ok", ""),
    ]
    assert "2 pieces of 3 slots." in cli("cycle", "plan", *run, gap).out
    assert cli.ok("cycle", "run", *run, gap)["pieces"]["planned"] == 2
    assert [slot["skipped"] for slot in cli.ok("cycle", "plan", *run, other)["slots"]] == ["", "", ""]


def test_a_filter_that_no_cell_fits_is_answered_alike_by_plan_and_run(cli: Cli) -> None:
    small_brand(cli)
    planned = cli(*PLAN, "--platform", "youtube", "--json")
    assert (planned.code, planned.json["run"]) == (1, "")
    [conflict] = planned.json["conflicts"]
    ran = cli(*RUN, "--platform", "youtube")
    assert (ran.code, ran.complaint) == (2, f"error: {conflict}")
    assert "no cell in its grid for that: add [[grid]] entries" in conflict


def test_a_filter_that_is_named_twice_is_the_same_week(cli: Cli) -> None:
    small_brand(cli)
    once = cli.ok(*RUN, "--type", "quote")
    assert cli.ok(*RUN, "--type", "quote", "--type", "quote")["session_id"] == once["session_id"]


def test_a_week_that_was_cancelled_starts_again_with_replan_alone_and_the_page_says_so(week: Cli) -> None:
    [session] = week.ok("session", "list")
    week("session", "cancel", session["session_id"])
    page = week(*PLAN, "--json")
    assert (page.code, page.json["session_id"]) == (1, "")
    assert "is cancelled" in page.json["conflicts"][0]
    assert "--replan" in page.json["run"]
    again = week.ok(*RUN, "--replan")
    assert (again["session_id"] != session["session_id"], again["pieces"]["waiting"]) == (True, 3)


@pytest.mark.parametrize(
    "verb", [("cycle", "plan", "--theme", "x"), ("cycle", "run", "--theme", "x"), ("report", "week")]
)
@pytest.mark.parametrize("day", ["2026-11-30", "20261130", "30.11.2026", "2026-12-06"])
def test_a_day_where_a_week_is_asked_for_is_told_its_week(cli: Cli, verb: tuple[str, ...], day: str) -> None:
    result = cli(*verb, "--week", day)
    assert (result.code, result.complaint) == (2, f"error: --week {day!r} is a day: it is in 2026-W49")
    wrong = cli(*verb, "--week", day.replace("11", "13").replace("12", "13"))
    assert (wrong.code, "is not an ISO week" in wrong.complaint) == (2, True)


def test_a_page_with_few_cells_is_headed_by_one_line_and_counts_as_people_do(week: Cli) -> None:
    few = ("--type", "carousel")
    page = week("cycle", "plan", "--theme", "small-thanks", "--week", week_of(MONDAY + timedelta(days=7)), *few).out
    assert page.splitlines()[0].endswith("  Small thanks  (times in America/New_York)")
    assert "1 piece of 1 slot." in page
    assert ": 1 piece, " in page
    report = week("report", "week", "--week", WEEK).out
    assert report.splitlines()[0] == f"{WEEK}  Water and pause  (times in America/New_York)"
    [session] = week.ok("session", "list")
    assert week("session", "show", session["session_id"]).out.splitlines()[0] == f"{WEEK}  Water and pause"
