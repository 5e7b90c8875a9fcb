"""What every engine of event streams promises, alone and followed together with the rows. No test here names an engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock, SystemClock
from config.errors import BadInput, SettingsError, Unavailable
from config.ids import new_id
from memory.cache.protocol import open_cache
from memory.events import START, EventStore, EventStream, Page, open_events
from memory.events.follower import ROWS_EVERY, Follower
from memory.live import Teller, live_records
from memory.records import Records, open_records
from memory.rows.sessions import Event
from tests.fakes.event_engines import ENGINES, Place

CLOCK = SystemClock()
SOON = timedelta(milliseconds=30)
LONG = timedelta(seconds=4)


@pytest.fixture(params=sorted(ENGINES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return ENGINES[request.param](tmp_path)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[EventStore]:
    async with open_events(place.url, clock=CLOCK) as opened:
        yield opened


@pytest.fixture
def stream(store: EventStore) -> EventStream:
    return store.for_brand("acme")


def an_event(n: int = 0, *, session: str = "s", clock: Any = CLOCK, **fields: Any) -> Event:
    now = clock.now()
    named = {"name": "piece.drafted", "piece_id": f"p{n}", "actor": "creation", "detail": {"n": n}, **fields}
    return Event(brand="acme", day=now.date().isoformat(), id=new_id(now), session_id=session, created_at=now, **named)


def numbers(events: Any) -> list[int]:
    return [event.detail["n"] for event in events]


async def read_on(stream: EventStream, page: Page | None = None, **more: Any) -> Page:
    return await stream.read("s", after=page.cursor if page else START, **more)


# The stream


async def test_events_come_in_the_order_of_appending_as_they_were_given(stream: EventStream) -> None:
    events = [an_event(n, detail={"n": n, "why": "Grüße\n\u2028 \U0001f33f", "list": [1, None, 0.5]}) for n in range(5)]
    for event in reversed(events):
        await stream.append(event)
    page = await read_on(stream)
    assert list(page.events) == events[::-1]
    assert not page.complete, "who begins cannot know what was there before"


async def test_what_came_behind_a_cursor_is_whole_and_nothing_of_it_is_told_twice(stream: EventStream) -> None:
    await stream.append(an_event(1))
    page = await read_on(stream)
    assert (await read_on(stream, page)).complete
    await stream.append(an_event(2))
    await stream.append(an_event(3))
    page = await read_on(stream, page)
    assert (numbers(page.events), page.complete) == ([2, 3], True)
    page = await read_on(stream, page)
    assert (numbers(page.events), page.complete) == ([], True)


async def test_who_began_before_the_first_event_misses_none(stream: EventStream) -> None:
    page = await read_on(stream)
    assert page.cursor != START
    await stream.append(an_event(1))
    page = await read_on(stream, page)
    assert numbers(page.events) == [1]
    assert not page.complete, "there may have been more, wiped before this one"
    await stream.append(an_event(2))
    assert (await read_on(stream, page)).complete


@pytest.mark.parametrize("begun", [True, False], ids=["behind a cursor", "from the start"])
async def test_who_waits_is_woken_by_the_first_event_of_another_process(
    place: Place, stream: EventStream, begun: bool
) -> None:
    page = await read_on(stream) if begun else None
    waiting = asyncio.create_task(read_on(stream, page, wait=LONG))
    async with open_events(place.url, clock=CLOCK) as elsewhere:
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await elsewhere.for_brand("acme").append(an_event(7))
    assert numbers((await waiting).events) == [7]


async def test_a_wait_ends_when_it_is_over_with_nothing(stream: EventStream) -> None:
    page = await read_on(stream)
    begun = time.monotonic()
    page = await read_on(stream, page, wait=SOON)
    assert time.monotonic() - begun >= SOON.total_seconds() * 0.9
    assert (numbers(page.events), page.complete) == ([], True)


async def test_many_wait_at_once_and_none_holds_up_another(stream: EventStream) -> None:
    waiting = [asyncio.create_task(stream.read(f"s{n}", wait=LONG)) for n in range(12)]
    await asyncio.sleep(0.02)
    for n in range(12):
        await stream.append(an_event(n, session=f"s{n}"))
    assert [numbers(page.events) for page in await asyncio.gather(*waiting)] == [[n] for n in range(12)]


async def test_a_wait_that_is_given_up_leaves_the_stream_usable(stream: EventStream) -> None:
    waiting = asyncio.create_task(stream.read("s", wait=LONG))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    await stream.append(an_event(1))
    assert numbers((await read_on(stream)).events) == [1]


async def test_sessions_and_brands_have_streams_of_their_own(store: EventStore, stream: EventStream) -> None:
    await stream.append(an_event(1))
    page = await read_on(stream)
    await stream.append(an_event(2, session="other"))
    await store.for_brand("globex").append(an_event(3))
    assert not (await read_on(stream, page)).events
    assert numbers((await store.for_brand("globex").read("s")).events) == [3]
    with pytest.raises(BadInput):
        store.for_brand("no such brand")


async def test_a_wiped_stream_says_that_something_is_missing(place: Place, stream: EventStream) -> None:
    for n in range(3):
        await stream.append(an_event(n))
    page = await read_on(stream)
    await place.wipe()
    page = await read_on(stream, page, wait=SOON)
    assert not page.events
    assert not page.complete, "before anything new comes, at once or when the wait is over"
    assert (await read_on(stream, page)).complete


async def test_a_stream_that_was_wiped_and_went_on_says_that_something_is_missing(
    place: Place, stream: EventStream
) -> None:
    await stream.append(an_event(1))
    page = await read_on(stream)
    await stream.append(an_event(2))
    await place.wipe()
    await stream.append(an_event(3))
    await stream.append(an_event(4))
    page = await read_on(stream, page)
    assert (numbers(page.events), page.complete) == ([3, 4], False)
    await stream.append(an_event(5))
    page = await read_on(stream, page)
    assert (numbers(page.events), page.complete) == ([5], True)


async def test_a_stream_that_began_anew_while_the_clock_went_back_is_told_whole(
    place: Place, stream: EventStream
) -> None:
    async with open_events(place.url, clock=ManualClock(CLOCK.now() + timedelta(days=1))) as ahead:
        await ahead.for_brand("acme").append(an_event(1))
    page = await read_on(stream)
    await place.wipe()
    await stream.append(an_event(2))
    await stream.append(an_event(3))
    page = await read_on(stream, page)
    assert (numbers(page.events), page.complete) == ([2, 3], False)


async def test_a_stream_keeps_its_last_events_and_who_is_further_behind_is_told(stream: EventStream) -> None:
    await stream.append(an_event(0))
    page = await read_on(stream)
    for n in range(1, 800):
        await stream.append(an_event(n))
    held: list[int] = []
    behind = page
    complete = []
    while (behind := await read_on(stream, behind)).events:
        held += numbers(behind.events)
        complete.append(behind.complete)
    assert held == list(range(800 - len(held), 800))
    assert 500 <= len(held) < 799
    assert complete[0] is False
    assert all(complete[1:])


async def test_an_address_that_names_no_engine_is_refused() -> None:
    with pytest.raises(SettingsError, match="no engine for 'mysql'"):
        open_events("mysql://here", clock=CLOCK)


# Followed together with the rows


class Room:
    """Rows and streams of one brand, the rows written as the product writes them."""

    def __init__(self, records: Records, plain: Records, stream: EventStream) -> None:
        self.records = records
        self.plain = plain
        self.stream = stream
        self.since = CLOCK.now()

    def follower(self, clock: Any = CLOCK) -> Follower:
        return Follower(self.records, self.stream, clock, "s", since=self.since)


@pytest.fixture
async def room(place: Place, store: EventStore, tmp_path: Path) -> AsyncIterator[Room]:
    async with (
        open_records(f"sqlite:///{tmp_path / 'rows'}", clock=CLOCK) as rows,
        open_cache(place.url, clock=CLOCK) as cache,
    ):
        live = live_records(rows, teller=Teller(CLOCK), events=store, cache=cache)
        yield Room(live.for_brand("acme"), rows.for_brand("acme"), store.for_brand("acme"))


async def told(follower: Follower, count: int) -> list[int]:
    """The first `count` that are told from now on."""
    found: list[int] = []
    while len(found) < count:
        found += numbers(await follower.new(wait=timedelta(milliseconds=200)))
    return found


async def test_a_follower_is_told_what_was_and_then_what_comes_each_once(room: Room) -> None:
    await room.records.put(an_event(1), an_event(9, session="other"))
    follower = room.follower()
    assert await told(follower, 1) == [1]
    await room.records.put(an_event(2))
    await room.stream.append(an_event(3))  # a live step: no row
    assert await told(follower, 2) == [2, 3]
    assert not await follower.new(wait=SOON)


async def test_while_the_stream_is_whole_no_row_is_read(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    await room.records.put(an_event(99))
    follower = room.follower()
    assert await told(follower, 1) == [99]
    assert follower.read_rows
    read: list[Any] = []
    monkeypatch.setattr(room.records, "list_rows", lambda *args, **named: read.append(args), raising=False)
    for n in range(5):
        await room.records.put(an_event(n))
        assert await told(follower, 1) == [n]
        assert not follower.read_rows
    assert read == []


async def test_a_wiped_stream_costs_a_follower_nothing(place: Place, room: Room) -> None:
    follower = room.follower()
    await room.records.put(an_event(1))
    assert await told(follower, 1) == [1]
    await room.records.put(an_event(2), an_event(3))
    await place.wipe()
    assert sorted(await told(follower, 2)) == [2, 3], "the rows tell it, with nothing new happening"
    await room.records.put(an_event(4))
    await place.wipe()
    await room.records.put(an_event(5))
    assert sorted(await told(follower, 2)) == [4, 5]
    assert not await follower.new(wait=SOON)


async def test_an_event_that_never_reached_the_stream_is_told_a_little_later(place: Place, room: Room) -> None:
    clock = ManualClock(CLOCK.now())
    follower = room.follower(clock)
    await follower.new(wait=timedelta(0))
    await room.plain.put(an_event(1))
    assert not await follower.new(wait=timedelta(0))
    clock.advance(ROWS_EVERY)
    assert numbers(await follower.new(wait=timedelta(0))) == [1]
    assert not await follower.new(wait=timedelta(0))


async def test_an_event_whose_row_came_late_under_an_early_name_is_told(room: Room) -> None:
    clock = ManualClock(CLOCK.now())
    follower = room.follower(clock)
    late = an_event(1, clock=clock)
    await follower.new(wait=timedelta(0))
    clock.advance(ROWS_EVERY)
    await room.records.put(an_event(2, clock=clock))
    assert numbers(await follower.new(wait=timedelta(0))) == [2]
    await room.plain.put(late)
    clock.advance(ROWS_EVERY)
    assert numbers(await follower.new(wait=timedelta(0))) == [1]


class Failing:
    """A stream or a store of rows whose calls fail while `away`."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.away = True
        self.asked = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any, **named: Any) -> Any:
            self.asked += 1
            if self.away:
                raise Unavailable("nobody answers")
            return await getattr(self.inner, name)(*args, **named)

        return call


async def test_while_the_stream_is_away_the_rows_tell(room: Room) -> None:
    clock = ManualClock(CLOCK.now())
    stream = Failing(room.stream)
    follower = Follower(room.records, stream, clock, "s", since=room.since)
    for n in range(3):
        await room.records.put(an_event(n))
        assert numbers(await follower.new(wait=SOON)) == [n]
    stream.away = False
    assert not await follower.new(wait=SOON), "and nothing is told again when it comes back"
    await room.records.put(an_event(3))
    assert await told(follower, 1) == [3]


async def test_what_has_happened_already_does_not_wait_for_what_will(room: Room) -> None:
    asked: list[timedelta] = []

    class Watched:
        async def read(self, session_id: str, *, after: str, wait: timedelta) -> Page:
            asked.append(wait)
            return await room.stream.read(session_id, after=after)

    follower = Follower(room.records, Watched(), CLOCK, "s", since=room.since)  # type: ignore[arg-type]
    await room.records.put(an_event(1))
    assert numbers(await follower.new(wait=LONG)) == [1]
    assert not await follower.new(wait=LONG)
    assert asked == [timedelta(0), LONG], "the rows of the past are due first"


async def test_what_came_while_the_rows_were_away_is_told_when_they_are_back(room: Room) -> None:
    records = Failing(room.records)
    follower = Follower(records, room.stream, CLOCK, "s", since=room.since)  # type: ignore[arg-type]
    await room.records.put(an_event(1))
    for _ in range(2):
        with pytest.raises(Unavailable):
            await follower.new(wait=LONG)
    records.away = False
    assert numbers(await follower.new(wait=LONG)) == [1]
    assert not await follower.new(wait=SOON)


async def test_a_stream_that_fails_costs_no_row_and_is_not_asked_at_every_event(room: Room) -> None:
    clock, stream = ManualClock(), Failing(room.stream)

    class Stores:
        """Of rows, of streams, and a cache that keeps no index."""

        def __init__(self, brands: Any) -> None:
            self._brands = brands

        def for_brand(self, brand: str, **_: Any) -> Any:
            return self._brands

        def review_index(self, brand: str) -> None:
            return None

    store: Any = Stores(room.plain)
    live = live_records(store, teller=Teller(clock), events=Stores(stream), cache=store).for_brand("acme")
    for n in range(5):
        await live.put(an_event(n))
    assert stream.asked == 1
    clock.advance(timedelta(seconds=6))
    stream.away = False
    await live.put(an_event(5))
    assert numbers((await room.stream.read("s")).events) == [5]
    assert len(await room.plain.list_rows(Event, day=CLOCK.now().date().isoformat())) == 6
