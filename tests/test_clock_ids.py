"""Time is aware, UTC and in milliseconds; ids sort, name themselves, or are refused at the edge."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.clock import FOREVER, Clock, ManualClock, SystemClock, as_utc_millis, from_millis, to_millis
from config.errors import BadInput
from config.ids import name_id, new_id, new_token, parse_slug

NAIVE_MIN, NAIVE_MAX = (datetime(year, 1, 3, tzinfo=UTC).replace(tzinfo=None) for year in (1970, 9000))
INSTANTS = st.datetimes(timezones=st.timezones(), min_value=NAIVE_MIN, max_value=NAIVE_MAX)


@given(INSTANTS)
def test_an_instant_survives_storage_to_the_millisecond(instant: datetime) -> None:
    stored = from_millis(to_millis(instant))
    assert stored == as_utc_millis(instant)
    assert timedelta(0) <= instant.astimezone(UTC) - stored < timedelta(milliseconds=1)
    assert stored.tzinfo is UTC


def test_an_instant_before_1970_is_cut_towards_the_past() -> None:
    assert to_millis(datetime(1969, 12, 31, 23, 59, 59, 999_900, tzinfo=UTC)) == -1


def test_no_expiry_survives_storage() -> None:
    assert from_millis(to_millis(FOREVER)) == FOREVER


def test_a_naive_datetime_is_refused() -> None:
    with pytest.raises(ValueError, match=r"naive datetime .* give it a time zone"):
        to_millis(datetime(2026, 12, 7))  # noqa: DTZ001


def test_two_wall_clocks_of_one_fold_are_two_instants() -> None:
    zone = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=0)
    second = datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=1)
    assert to_millis(second) - to_millis(first) == 3_600_000


def test_the_system_clock_is_aware_and_in_whole_milliseconds() -> None:
    clock: Clock = SystemClock()
    now = clock.now()
    assert now.tzinfo is UTC
    assert now.microsecond % 1000 == 0
    assert clock.boottime() <= clock.boottime()


async def test_sleeping_on_a_manual_clock_moves_it_and_takes_no_time() -> None:
    clock, system = ManualClock(), SystemClock()
    before, started = clock.now(), system.boottime()
    await clock.sleep(timedelta(days=400))
    assert clock.now() - before == timedelta(days=400)
    assert system.boottime() - started < 5


def test_a_stepped_wall_clock_leaves_boot_time_alone() -> None:
    clock = ManualClock()
    now, boot = clock.now(), clock.boottime()
    clock.step(-timedelta(hours=2))
    assert clock.now() == now - timedelta(hours=2)
    assert clock.boottime() == boot


def test_advancing_moves_both_clocks() -> None:
    clock = ManualClock()
    boot = clock.boottime()
    clock.advance(timedelta(seconds=3))
    assert clock.boottime() == boot + 3


@given(st.lists(st.integers(0, 2**47), min_size=2, max_size=20, unique=True))
def test_ids_made_later_sort_later(millis: list[int]) -> None:
    made = [new_id(from_millis(at)) for at in sorted(millis) if at < to_millis(FOREVER)]
    assert made == sorted(made)


def test_a_fresh_id_is_a_uuid_of_version_7_and_holds_its_instant() -> None:
    now = datetime(2026, 12, 7, 9, 0, tzinfo=UTC)
    made = uuid.UUID(new_id(now))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == to_millis(now)


def test_fresh_ids_and_tokens_differ() -> None:
    now = datetime(2026, 12, 7, tzinfo=UTC)
    made = [new_id(now) for _ in range(1000)]
    assert made == sorted(made), "of one millisecond they sort as they were made"
    assert len({new_id(now) for _ in range(1000)} | {new_token() for _ in range(1000)}) == 2000


def test_the_same_parts_name_the_same_id() -> None:
    assert name_id("piece", "slot", 1) == name_id("piece", "slot", 1)
    assert uuid.UUID(name_id("piece")).version == 5


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_different_parts_name_different_ids(one: list[str], other: list[str]) -> None:
    assert (name_id(*one) == name_id(*other)) == (one == other)


def test_parts_cannot_be_shifted_across_their_boundary() -> None:
    assert name_id("ab", "c") != name_id("a", "bc") != name_id("a", "b", "c")
    assert name_id("a|1:b") != name_id("a", "b")


@pytest.mark.parametrize("text", ["", "-a", "A", "a b", "../a", "a\n", "a" * 65, "ä", "a_b", "a/b"])
def test_what_is_not_a_slug_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"--brand .* must be 1-64 characters"):
        parse_slug(text, what="--brand")


@pytest.mark.parametrize("text", ["a", "0", "acme-2", "a" * 64])
def test_a_slug_is_kept_as_it_is(text: str) -> None:
    assert parse_slug(text, what="--brand") == text


def test_an_offset_is_the_same_instant_in_utc() -> None:
    assert as_utc_millis(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == datetime(
        2026, 1, 1, tzinfo=UTC
    )
