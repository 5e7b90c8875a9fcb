"""A themed week as slots: ISO weeks, zones, and clocks that skip or repeat an hour."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.brand_profile import BrandProfile, Cell
from config.errors import BadInput
from graphs.week import (
    cycle_key_of,
    monday,
    next_cycle_key,
    parse_week,
    resolve,
    same_time_next_week,
    week_slots,
    weeks_between,
)

BERLIN, LORD_HOWE, APIA, KATHMANDU = "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu"
ZONES = (
    BERLIN, LORD_HOWE, APIA, KATHMANDU, "UTC", "America/New_York", "America/St_Johns", "Africa/Casablanca",
    "America/Sao_Paulo", "Pacific/Kiritimati", "Antarctica/Troll",
)  # fmt: skip
WALL = st.times(min_value=time(0), max_value=time(23, 59)).map(lambda t: t.replace(second=0, microsecond=0))
DAYS = st.dates(min_value=date(2005, 1, 1), max_value=date(2037, 12, 1))


def a_profile(*cells: tuple[str, str, str, str], zone: str = BERLIN, name: str = "acme") -> BrandProfile:
    grid = tuple(Cell(day=d, platform=p, content_type=t, time=at) for d, p, t, at in cells)
    return BrandProfile(name=name, title="Acme", zone=zone, grid=grid)


@pytest.mark.parametrize(
    "text",
    ["", "2026", "2026-50", "2026-W5", "2026-W00", "2026-W54", "2025-W53", "2026-w50", "2026-W50 ", " 2026-W50", "26-W50",
     "2026-W50-1", "1999-W01", "2201-W01", "0000-W01", "٢٠٢٦-W50", "2026-W٥٠", "2026-W50\n", "-026-W50", "x" * 500],
)  # fmt: skip
def test_what_is_no_iso_week_is_refused_in_one_line_with_the_remedy(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_week(text)
    assert "2026-W50" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_the_first_and_the_last_year_are_planned() -> None:
    assert parse_week("2000-W01") == (2000, 1)
    assert parse_week("2200-W52") == (2200, 52)


def test_a_long_year_has_a_week_53_and_a_short_one_has_not() -> None:
    assert monday("2026-W53") == date(2026, 12, 28)
    assert monday("2027-W01") == date(2027, 1, 4)
    with pytest.raises(BadInput):
        monday("2027-W53")


def test_a_week_that_spans_two_years_is_one_week() -> None:
    slots = week_slots(
        a_profile(("monday", "facebook", "quote", "08:00"), ("sunday", "facebook", "quote", "08:00")), "2026-W53"
    )
    assert [slot.local for slot in slots] == ["2026-12-28T08:00", "2027-01-03T08:00"]
    assert {slot.cycle_key for slot in slots} == {"2026-W53"}
    assert {cycle_key_of(slot.at, BERLIN) for slot in slots} == {"2026-W53"}


def test_the_week_of_an_instant_is_the_one_of_the_zone() -> None:
    sunday_night = datetime(2026, 12, 13, 23, 30, tzinfo=UTC)
    assert cycle_key_of(sunday_night, "UTC") == "2026-W50"
    assert cycle_key_of(sunday_night, BERLIN) == "2026-W51"
    assert cycle_key_of(datetime(2027, 1, 1, tzinfo=UTC), "UTC") == "2026-W53"


def test_the_next_week_after_the_last_of_a_year_is_the_first_of_the_next() -> None:
    assert next_cycle_key(datetime(2026, 12, 28, 12, tzinfo=UTC), "UTC") == "2027-W01"
    assert weeks_between("2026-W53", "2027-W01") == 2


def test_a_time_that_the_clocks_skip_is_shifted_forward_by_the_gap() -> None:
    at, how = resolve(date(2027, 3, 28), time(2, 30), BERLIN)
    assert (at, how) == (datetime(2027, 3, 28, 1, 30, tzinfo=UTC), "gap-shifted")
    assert at.astimezone(ZoneInfo(BERLIN)).time() == time(3, 30)


def test_a_time_that_comes_twice_means_the_first() -> None:
    at, how = resolve(date(2026, 10, 25), time(2, 30), BERLIN)
    assert (at, how) == (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "ambiguous-first")


def test_lord_howe_moves_its_clocks_by_half_an_hour() -> None:
    at, how = resolve(date(2026, 10, 4), time(2, 15), LORD_HOWE)
    assert how == "gap-shifted"
    assert at.astimezone(ZoneInfo(LORD_HOWE)).time() == time(2, 45)
    assert resolve(date(2026, 4, 5), time(1, 45), LORD_HOWE)[1] == "ambiguous-first"
    assert resolve(date(2026, 4, 5), time(2, 15), LORD_HOWE)[1] == "ok"


def test_the_day_that_apia_never_had_is_shifted_by_that_day() -> None:
    at, how = resolve(date(2011, 12, 30), time(10, 0), APIA)
    assert how == "gap-shifted"
    assert at.astimezone(ZoneInfo(APIA)).date() == date(2011, 12, 31)


def test_kathmandu_is_a_quarter_of_an_hour_off() -> None:
    assert resolve(date(2026, 12, 7), time(8, 0), KATHMANDU) == (datetime(2026, 12, 7, 2, 15, tzinfo=UTC), "ok")


@given(day=DAYS, at=WALL, zone=st.sampled_from(ZONES))
def test_a_wall_clock_time_resolves_to_itself_or_is_skipped(day: date, at: time, zone: str) -> None:
    instant, how = resolve(day, at, zone)
    back = instant.astimezone(ZoneInfo(zone))
    assert instant.tzinfo is UTC
    if how == "gap-shifted":
        assert timedelta(0) < back.replace(tzinfo=None) - datetime.combine(day, at) <= timedelta(days=1)
    else:
        assert back.replace(tzinfo=None) == datetime.combine(day, at)
    earlier = [instant - timedelta(minutes=minutes) for minutes in (30, 60, 120)]
    again = [e for e in earlier if e.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == datetime.combine(day, at)]
    assert not again, "an earlier instant has the same wall-clock time"


@given(day=DAYS, at=WALL, zone=st.sampled_from(ZONES), weeks=st.integers(1, 4))
def test_the_same_time_next_week_keeps_weekday_and_wall_clock(day: date, at: time, zone: str, weeks: int) -> None:
    instant, _how = resolve(day, at, zone)
    later = same_time_next_week(instant, zone, weeks=weeks)
    local, next_local = instant.astimezone(ZoneInfo(zone)), later.astimezone(ZoneInfo(zone))
    wanted = local.date() + timedelta(days=7 * weeks)
    if resolve(wanted, local.time().replace(fold=0), zone)[1] != "gap-shifted":
        assert (next_local.date(), next_local.replace(tzinfo=None).time()) == (
            wanted,
            local.replace(tzinfo=None).time(),
        )
    assert later > instant


@given(year=st.integers(2001, 2199), week=st.integers(1, 53))
def test_a_week_starts_on_the_monday_that_falls_into_it(year: int, week: int) -> None:
    key = f"{year}-W{week:02d}"
    try:
        first = monday(key)
    except BadInput:
        assert week == 53
        assert date(year, 12, 28).isocalendar().week == 52
        return
    assert first.isoweekday() == 1
    for zone in (BERLIN, APIA, LORD_HOWE):
        noon = datetime.combine(first, time(12), tzinfo=ZoneInfo(zone))
        assert cycle_key_of(noon, zone) == key


@pytest.mark.parametrize("zone", ZONES)
def test_every_slot_of_a_week_falls_into_it_also_where_the_clocks_change(zone: str) -> None:
    days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    grid = [(day, "facebook", "quote", at) for day in days for at in ("00:15", "02:15", "23:59")]
    for week in ("2026-W13", "2026-W14", "2026-W40", "2026-W43", "2026-W44", "2026-W10", "2026-W53"):
        slots = week_slots(a_profile(*grid, zone=zone), week)
        assert len({slot.id for slot in slots}) == len(slots) == 21
        assert [slot.at for slot in slots] == sorted(slot.at for slot in slots)
        assert {cycle_key_of(slot.at, zone) for slot in slots} == {week}
        assert all(date.fromisoformat(slot.local[:10]).isoweekday() == slot.day for slot in slots)


def test_moving_a_cell_to_another_time_keeps_the_slots_name() -> None:
    early = week_slots(a_profile(("monday", "facebook", "quote", "08:00")), "2026-W51")
    late = week_slots(a_profile(("monday", "facebook", "quote", "18:00")), "2026-W51")
    assert early[0].id == late[0].id
    assert early[0].at != late[0].at


def test_two_cells_of_one_kind_on_one_day_are_two_slots() -> None:
    slots = week_slots(
        a_profile(("monday", "facebook", "quote", "08:00"), ("monday", "facebook", "quote", "18:00")), "2026-W51"
    )
    assert len({slot.id for slot in slots}) == 2


def test_slots_and_pieces_of_two_brands_never_share_an_id() -> None:
    cell = ("monday", "facebook", "quote", "08:00")
    (mine,), (theirs,) = week_slots(a_profile(cell), "2026-W51"), week_slots(a_profile(cell, name="rival"), "2026-W51")
    assert mine.id != theirs.id
    pieces = {slot.piece_id(plan=plan, copy=copy) for slot in (mine, theirs) for plan in (1, 2) for copy in (0, 1)}
    assert len(pieces) == 8


def test_filters_narrow_the_week_to_what_was_named() -> None:
    profile = a_profile(
        ("monday", "facebook", "quote", "08:00"), ("monday", "instagram", "reel", "09:00"),
        ("tuesday", "instagram", "quote", "09:00"),
    )  # fmt: skip
    assert [s.content_type for s in week_slots(profile, "2026-W51", platforms=["instagram"])] == ["reel", "quote"]
    assert [s.platform for s in week_slots(profile, "2026-W51", types=["quote"])] == ["facebook", "instagram"]
    assert week_slots(profile, "2026-W51", platforms=["youtube"]) == []
