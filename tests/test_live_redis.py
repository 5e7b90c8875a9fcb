"""What people see of a session and of open reviews when the cache is a Redis: the seed's keys, healed from the rows."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock, SystemClock
from config.ids import new_id
from config.vocabulary import CheckResult, Decision, Severity
from memory.cache.protocol import REVIEWS_TTL, ReviewIndex, Stale, open_cache
from memory.events import EventStream, open_events
from memory.rows.checks import Review
from memory.rows.sessions import Event
from runtime.reviews import decide, listed_reviews, pending_reviews
from runtime.start import request_cancel
from tests.cli_support import Cli, cli, quiet_process, small_brand
from tests.fakes.newsroom import BRAND, Newsroom, open_newsroom
from tests.fakes.redis_server import RedisServer, redis_url, shared_server
from tests.test_redis_queue import SINCE

__all__ = ["cli", "quiet_process"]
CLOCK = SystemClock()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return redis_url(tmp_path)


@pytest.fixture
def key(url: str) -> Callable[[str], str]:
    """The full name of a key of the brand."""
    return lambda name: f"{{{url.partition('prefix=')[2]}:{BRAND}}}:{name}"


def an_event(n: int = 0, *, session: str = "s") -> Event:
    now = CLOCK.now()
    return Event(brand=BRAND, day="2026-12-07", id=new_id(now), name=f"n.{n}", session_id=session, created_at=now)


def ask(*words: str) -> str:
    return shared_server().command(*words)


# The stream


@pytest.fixture
async def stream(url: str) -> AsyncIterator[EventStream]:
    async with open_events(url, clock=CLOCK) as store:
        yield store.for_brand(BRAND)


async def test_a_sessions_events_are_the_seeds_key_and_live_an_hour_after_the_last(
    stream: EventStream, key: Callable[[str], str]
) -> None:
    await stream.append(an_event(1))
    assert ask("TYPE", key("coord:s")) == "+stream\r\n"
    assert 3_590_000 < int(ask("PTTL", key("coord:s"))[1:]) <= 3_600_000
    ask("PEXPIRE", key("coord:s"), "60000")
    await stream.append(an_event(2))
    assert 3_590_000 < int(ask("PTTL", key("coord:s"))[1:]) <= 3_600_000
    for n in range(1200):
        await stream.append(an_event(n))
    assert 500 <= int(ask("XLEN", key("coord:s"))[1:]) <= 700


async def test_a_list_that_an_earlier_build_keeps_there_is_replaced_and_followed_by_rows_till_then(
    stream: EventStream, key: Callable[[str], str]
) -> None:
    ask("RPUSH", key("coord:s"), '{"event": "started"}')
    page = await stream.read("s", wait=timedelta(milliseconds=10))
    assert (list(page.events), page.complete) == ([], False)
    await stream.append(an_event(1))
    page = await stream.read("s", after=page.cursor)
    assert [event.name for event in page.events] == ["n.1"]


async def test_an_entry_that_is_not_ours_is_passed_by(stream: EventStream, key: Callable[[str], str]) -> None:
    await stream.append(an_event(1))
    ask("XADD", key("coord:s"), "*", "e", '{"name": 1}', "p", "")
    ask("XADD", key("coord:s"), "*", "x", "y")
    await stream.append(an_event(2))
    assert [event.name for event in (await stream.read("s")).events] == ["n.1", "n.2"]


async def test_a_wait_in_which_nothing_happens_costs_the_server_two_commands() -> None:
    server = RedisServer().start()
    try:
        async with open_events(server.url, clock=CLOCK) as store:
            stream = store.for_brand(BRAND)
            await stream.append(an_event(1))
            page = await stream.read("s")
            server.command("CONFIG", "RESETSTAT")
            page = await stream.read("s", after=page.cursor, wait=timedelta(milliseconds=200))
            assert (list(page.events), page.complete) == ([], True)
        stats = server.command("INFO", "commandstats")
        calls = {name: int(n) for name, n in re.findall(r"cmdstat_([\w|]+):calls=(\d+)", stats)}
        assert {name: n for name, n in calls.items() if name.startswith("x")} == {"xread": 1, "xrevrange": 1}
        sent = {name.partition("|")[0].upper() for name in calls}
        assert sent - {"CONFIG", "INFO"} <= SINCE.keys(), sent
    finally:
        server.close()


# The index of reviews


def a_review(n: int, severity: Severity | None = None, *, at: int = 0) -> Review:
    now = CLOCK.now() + timedelta(seconds=at)
    return Review(
        brand=BRAND, id=f"r{n}", piece_id=f"p{n}", session_id="s", content_hash="h" * 64, platform="facebook",
        content_type="quote", result=CheckResult.MANUAL_REVIEW, findings=n, severity=severity, why="a rule asks — 1%",
        created_at=now, updated_at=now,
    )  # fmt: skip


@asynccontextmanager
async def opened_index(url: str) -> AsyncIterator[ReviewIndex]:
    async with open_cache(url, clock=CLOCK) as store:
        index = store.review_index(BRAND)
        assert index is not None
        yield index


@pytest.fixture
async def index(url: str) -> AsyncIterator[ReviewIndex]:
    async with opened_index(url) as opened:
        yield opened


async def built(index: ReviewIndex, *reviews: Review) -> None:
    stale = await index.pending()
    assert isinstance(stale, Stale)
    assert await index.rebuild(reviews, stale)


def names(found: Any) -> list[str]:
    assert not isinstance(found, Stale)
    return [review.id for review in found]


async def test_reviews_are_listed_critical_first_then_oldest_under_the_seeds_key(
    index: ReviewIndex, key: Callable[[str], str]
) -> None:
    await built(index, a_review(1, at=5), a_review(2, Severity.PREFERRED))
    await index.put(a_review(3, Severity.IMPORTANT, at=9), a_review(4, Severity.CRITICAL, at=9))
    await index.put(a_review(5, Severity.CRITICAL, at=3), a_review(6))
    assert names(await index.pending()) == ["r5", "r4", "r3", "r2", "r6", "r1"]
    first = ask("ZRANGE", key("compliance_review_queue"), "0", "0").split("\r\n")[2]
    assert json.loads(first)["piece_id"] == "p5", "people may look into it with ZRANGE"
    await index.put(a_review(6, Severity.CRITICAL, at=-9))
    await index.remove("r5", "r4", "never there")
    assert names(await index.pending()) == ["r6", "r3", "r2", "r1"]


async def test_an_index_that_was_never_built_does_not_pretend_to_be_whole(index: ReviewIndex) -> None:
    await index.put(a_review(1))
    assert isinstance(await index.pending(), Stale)


@pytest.mark.parametrize("lost", [("",), ("|id",), ("", "|id")], ids=["the order", "the names", "both"])
async def test_an_index_that_was_wiped_in_part_does_not_pretend_to_be_whole(
    index: ReviewIndex, key: Callable[[str], str], lost: tuple[str, ...]
) -> None:
    await built(index, a_review(1), a_review(2))
    for part in lost:
        assert ask("DEL", key("compliance_review_queue") + part) == ":1\r\n"
    await index.put(a_review(3))
    assert isinstance(await index.pending(), Stale)
    await built(index, a_review(1), a_review(3))
    assert names(await index.pending()) == ["r1", "r3"]


async def test_an_index_is_believed_for_a_minute(index: ReviewIndex, key: Callable[[str], str]) -> None:
    await built(index, a_review(1))
    until = int(ask("HGET", key("compliance_review_queue|id"), "|until").split("\r\n")[1])
    assert until <= CLOCK.now().timestamp() * 1000 + REVIEWS_TTL.total_seconds() * 1000 + 1000
    ask("HSET", key("compliance_review_queue|id"), "|until", str(until - 61_000))
    assert isinstance(await index.pending(), Stale)


async def test_a_rebuild_from_rows_that_were_read_before_a_change_changes_nothing(index: ReviewIndex) -> None:
    await index.put(a_review(1))
    stale = await index.pending()
    assert isinstance(stale, Stale)
    await index.put(a_review(2))
    assert not await index.rebuild([a_review(1)], stale)
    assert isinstance(await index.pending(), Stale)
    await built(index, a_review(1), a_review(2))


async def test_two_brands_have_an_index_each(url: str, index: ReviewIndex) -> None:
    async with open_cache(url, clock=CLOCK) as store:
        other = store.review_index("globex")
        assert other is not None
        await built(index, a_review(1))
        await built(other)
        assert (names(await index.pending()), names(await other.pending())) == (["r1"], [])


# As the product uses it


@asynccontextmanager
async def opened(tmp_path: Path, url: str) -> AsyncIterator[tuple[Newsroom, ReviewIndex]]:
    async with open_newsroom(tmp_path, clock=ManualClock(), settings={"cache": url}) as room:
        index = room.runtime.cache.review_index(BRAND)
        assert index is not None
        yield room, index


async def test_what_waits_and_what_is_decided_is_in_the_index_at_once(tmp_path: Path, url: str) -> None:
    async with opened(tmp_path, url) as (room, index):
        assert await listed_reviews(room.records, index) == []
        session = await room.drafted()
        waiting = await pending_reviews(room.records)
        assert len(waiting) == 2
        assert names(await index.pending()) == [row.id for row in waiting]
        await decide(room.runtime, BRAND, waiting[0].piece_id, waiting[0].content_hash, Decision.APPROVED, by="ann")
        assert names(await index.pending()) == [waiting[1].id]
        await request_cancel(room.runtime, room.records, await room.session(session), by="ann")
        await room.work(patience=timedelta(seconds=3))
        assert await pending_reviews(room.records) == []
        assert names(await index.pending()) == []


async def test_a_wiped_index_is_mended_by_who_reads_it_and_decides_nothing(
    tmp_path: Path, url: str, key: Callable[[str], str]
) -> None:
    async with opened(tmp_path, url) as (room, index):
        await room.drafted()
        first, second = await pending_reviews(room.records)
        ask("DEL", key("compliance_review_queue"), key("compliance_review_queue|id"))
        assert [row.id for row in await listed_reviews(room.records, index)] == [first.id, second.id]
        assert names(await index.pending()) == [first.id, second.id]
        assert await listed_reviews(room.records, index, session_id="other") == []
        # It says that the second does not wait and that another does: what is decided is what the rows say.
        await index.remove(second.id)
        await index.put(a_review(7))
        assert await pending_reviews(room.records) == [first, second]


async def test_reviews_are_listed_from_the_rows_while_redis_is_away(tmp_path: Path) -> None:
    server = RedisServer().start()
    try:
        async with opened(tmp_path, server.url) as (room, index):
            await room.drafted()
            server.kill()
            assert len(await listed_reviews(room.records, index)) == 2
    finally:
        server.close()


def test_review_list_reads_the_index(
    cli: Cli, url: str, key: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPYDESK_CACHE", url)
    small_brand(cli, BRAND)
    assert cli("review", "list").out == "Nothing waits for you.\n"

    async def tell() -> None:
        async with opened_index(url) as index:
            await index.put(a_review(3, Severity.CRITICAL))

    asyncio.run(tell())
    (listed,) = cli.ok("review", "list")
    assert (listed["piece_id"], listed["findings"]) == ("p3", 3)
    ask("DEL", key("compliance_review_queue"))
    assert cli("review", "list").out == "Nothing waits for you.\n"
