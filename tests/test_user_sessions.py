"""The session database: lifetimes, brands, projections, and living beside the cache in one file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from config.clock import ManualClock
from config.errors import BadInput, Busy, Damaged, NotFound
from config.vocabulary import PieceState
from memory import user_sessions
from memory.cache import open_cache
from memory.generation_queue import generation_queue
from memory.queue.protocol import GENERATION_QUEUE, Task
from memory.rows.content import Piece
from memory.rows.user_sessions import BatchOperation
from memory.user_sessions import UserSessions, UserSessionsStore, open_user_sessions

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session.db"


@pytest.fixture
async def store(path: Path, clock: ManualClock) -> AsyncIterator[UserSessionsStore]:
    async with open_user_sessions(path, clock=clock) as opened:
        yield opened


@pytest.fixture
def ours(store: UserSessionsStore) -> UserSessions:
    return store.for_brand("acme")


def a_piece(clock: ManualClock, name: str, **changes: object) -> Piece:
    values = {
        "brand": "acme",
        "id": name,
        "content_type": "post",
        "platform": "instagram",
        "session_id": "s",
        "theme": "rest",
        "created_at": clock.now(),
        "updated_at": clock.now(),
    }
    return Piece.model_validate(values | changes)


def a_batch(clock: ManualClock, **changes: object) -> BatchOperation:
    values = {
        "id": "week",
        "operation_type": "content_generation",
        "total_items": 3,
        "created_at": clock.now(),
        "updated_at": clock.now(),
    }
    return BatchOperation.model_validate(values | changes)


async def test_a_session_lives_half_an_hour_from_its_last_put(ours: UserSessions, clock: ManualClock) -> None:
    made = await ours.put_session("s1", "dana", {"brand": "acme", "recent": ["a", "b"]})
    assert made.expires_at - made.created_at == timedelta(minutes=30)
    clock.advance(20 * MINUTE)
    again = await ours.put_session("s1", "dana", {"recent": []})
    assert again.created_at == made.created_at
    clock.advance(29 * MINUTE)
    assert await ours.get_session("s1") == again
    clock.advance(MINUTE)
    assert await ours.find_session("s1") is None
    with pytest.raises(NotFound, match="s1"):
        await ours.get_session("s1")


async def test_an_expired_session_that_is_put_again_begins_anew(ours: UserSessions, clock: ManualClock) -> None:
    await ours.put_session("s1", "dana", {})
    clock.advance(31 * MINUTE)
    assert (await ours.put_session("s1", "dana", {})).created_at == clock.now()


async def test_a_preference_is_set_read_listed_and_deleted(ours: UserSessions, clock: ManualClock) -> None:
    await ours.set_preference("dana", "platform", "instagram")
    await ours.set_preference("dana", "length", {"max": 3})
    await ours.set_preference("dana", "platform", None)
    clock.advance(1000 * DAY)
    assert await ours.get_preference("dana", "platform") is None
    assert await ours.list_preferences("dana") == {"length": {"max": 3}, "platform": None}
    assert await ours.list_preferences("kim") == {}
    assert await ours.delete_preference("dana", "platform") is True
    assert await ours.delete_preference("dana", "platform") is False
    with pytest.raises(NotFound, match="preferences set platform"):
        await ours.get_preference("dana", "platform")


@pytest.mark.parametrize("key", ["", "x" * 201, "nul\x00", "\ud800"])
async def test_a_key_that_no_store_could_keep_is_refused(ours: UserSessions, key: str) -> None:
    with pytest.raises(BadInput):
        await ours.set_preference("dana", key, 1)
    with pytest.raises(BadInput):
        await ours.put_session(key, "dana", {})
    with pytest.raises(BadInput):
        await ours.set_preference("dana", "k", {"v": float("nan")})
    assert await ours.list_preferences("dana") == {}


async def test_an_unused_variant_is_kept_for_seven_days(ours: UserSessions, clock: ManualClock) -> None:
    first = await ours.keep_variant(
        content_type="post",
        platform="x",
        content_data={"caption": "a"},
        media_urls=["m1"],
        generation_metadata={"mode": "t"},
    )
    clock.advance(DAY)
    second = await ours.keep_variant(content_type="reel", platform="x", content_data={"caption": "b"})
    assert await ours.list_variants() == [second, first]
    assert await ours.list_variants(content_type="post") == [first]
    assert await ours.list_variants(platform="tiktok") == []
    assert (first.media_urls, first.generation_metadata) == (("m1",), {"mode": "t"})
    clock.advance(6 * DAY)
    assert await ours.list_variants() == [second]
    await ours.delete_variant(second.id)
    assert await ours.list_variants() == []


async def test_a_batch_is_a_projection_that_each_write_replaces(ours: UserSessions, clock: ManualClock) -> None:
    await ours.put_batch(a_batch(clock, completed_items=2, status="running"))
    clock.advance(MINUTE)
    await ours.put_batch(
        a_batch(
            clock, completed_items=1, failed_items=2, status="completed", results={"a": 1}, completed_at=clock.now()
        )
    )
    found = await ours.find_batch("week")
    assert found is not None
    assert (found.completed_items, found.failed_items, found.status) == (1, 2, "completed")
    assert (found.created_at, found.updated_at) == (clock.now() - MINUTE, clock.now())
    assert await ours.list_batches(status="completed") == [found]
    assert await ours.list_batches(status="running") == []


@pytest.mark.parametrize(("done", "failed"), [(3, 1), (-1, 0), (0, 4)])
async def test_a_batch_whose_counts_cannot_be_is_refused(
    ours: UserSessions, clock: ManualClock, done: int, failed: int
) -> None:
    with pytest.raises(BadInput, match="recompute"):
        await ours.put_batch(a_batch(clock, completed_items=done, failed_items=failed))
    assert await ours.find_batch("week") is None


async def test_notes_belong_to_their_session_and_go_with_it(ours: UserSessions, clock: ManualClock) -> None:
    await ours.put_note("s1", "research", "angle", "begin with sleep", context_data={"trust": "model"})
    clock.advance(MINUTE)
    await ours.put_note("s1", "creation", "tone", "calm")
    await ours.put_note("s2", "research", "angle", "begin with water")
    assert [note.memory_content for note in await ours.list_notes("s1")] == ["calm", "begin with sleep"]
    assert [note.memory_key for note in await ours.list_notes("s1", agent_type="research")] == ["angle"]
    assert await ours.delete_notes("s1", agent_type="research", memory_key="angle") == 1
    assert await ours.delete_notes("s1") == 1
    assert await ours.list_notes("s1") == []
    assert len(await ours.list_notes("s2")) == 1
    clock.advance(DAY)
    assert await ours.list_notes("s2") == []


async def test_users_with_preferences_are_listed_by_name(store: UserSessionsStore) -> None:
    mine, theirs = store.for_brand("acme"), store.for_brand("other")
    for user in ("zoe", "ann", "zoe"):
        await mine.set_preference(user, f"of {user}", 1)
    await theirs.set_preference("bob", "k", 1)
    assert await mine.list_users() == ["ann", "zoe"]
    await mine.delete_preference("zoe", "of zoe")
    assert await mine.list_users() == ["ann"]


async def test_brands_do_not_see_each_others_rows(store: UserSessionsStore, clock: ManualClock) -> None:
    ours, theirs = store.for_brand("acme"), store.for_brand("other")
    await ours.put_session("s", "dana", {"v": "ours"})
    await ours.set_preference("dana", "k", "ours")
    await ours.keep_variant(variant_id="v", content_type="post", platform="x", content_data={"v": "ours"})
    await ours.put_batch(a_batch(clock, results={"v": "ours"}))
    await ours.put_note("s", "research", "k", "ours")

    assert await theirs.find_session("s") is None
    assert await theirs.list_preferences("dana") == {}
    assert await theirs.list_variants() == []
    assert await theirs.find_batch("week") is None
    assert await theirs.list_notes("s") == []

    await theirs.put_session("s", "kim", {"v": "theirs"})
    await theirs.set_preference("dana", "k", "theirs")
    await theirs.keep_variant(variant_id="v", content_type="post", platform="x", content_data={"v": "theirs"})
    await theirs.put_batch(a_batch(clock, results={"v": "theirs"}))
    await theirs.put_note("s", "research", "k", "theirs")
    await theirs.delete_session("s")
    await theirs.delete_preference("dana", "k")
    await theirs.delete_variant("v")
    await theirs.delete_notes("s")

    assert (await ours.get_session("s")).session_data == {"v": "ours"}
    assert await ours.get_preference("dana", "k") == "ours"
    assert [variant.content_data for variant in await ours.list_variants()] == [{"v": "ours"}]
    assert [batch.results for batch in await ours.list_batches()] == [{"v": "ours"}]
    assert [note.memory_content for note in await ours.list_notes("s")] == ["ours"]


async def test_sweeping_removes_what_expired_and_nothing_else(
    store: UserSessionsStore, ours: UserSessions, clock: ManualClock, path: Path
) -> None:
    await ours.put_session("s", "dana", {})
    await ours.keep_variant(content_type="post", platform="x", content_data={})
    await ours.put_note("s", "research", "k", "v")
    await ours.set_preference("dana", "k", 1)
    await ours.put_batch(a_batch(clock))
    clock.advance(31 * MINUTE)
    assert await store.sweep() == 1
    clock.advance(7 * DAY)
    assert await store.sweep() == 2
    assert await store.sweep() == 0
    assert await ours.get_preference("dana", "k") == 1
    assert await ours.find_batch("week") is not None
    with sqlite3.connect(path) as connection:
        left = [connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("sessions", "temp_content")]
    connection.close()
    assert left == [0, 0]


async def test_the_cache_and_the_user_sessions_share_one_file(path: Path, clock: ManualClock) -> None:
    async with (
        open_cache(f"sqlite:///{path}", clock=clock) as caches,
        open_user_sessions(path, clock=clock) as sessions,
    ):
        cache, ours = caches.for_brand("acme"), sessions.for_brand("acme")
        await asyncio.gather(
            *(cache.put(f"k{n}", n, ttl=MINUTE) for n in range(40)),
            *(ours.set_preference("dana", f"k{n}", n) for n in range(40)),
        )
        assert [await cache.get(f"k{n}") for n in range(40)] == list(range(40))
        assert sorted((await ours.list_preferences("dana")).values()) == list(range(40))


async def test_a_writer_waits_for_another_process_and_says_busy_when_that_takes_too_long(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_sessions, "_BUSY_MS", 100)
    async with open_user_sessions(path, clock=clock) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy, match="locked by another process"):
            await store.for_brand("acme").set_preference("dana", "k", 1)
        waiting = asyncio.create_task(store.for_brand("acme").set_preference("dana", "k", 2))
        await asyncio.sleep(0.02)
        other.execute("COMMIT")
        other.close()
        await waiting
        assert await store.for_brand("acme").get_preference("dana", "k") == 2


async def test_a_cancelled_write_leaves_no_lock_behind(ours: UserSessions, path: Path) -> None:
    writing = asyncio.create_task(ours.set_preference("dana", "k", 1))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await ours.set_preference("dana", "k", 2)
    other = sqlite3.connect(path, isolation_level=None, timeout=0)
    other.execute("BEGIN IMMEDIATE")
    other.close()
    assert await ours.get_preference("dana", "k") == 2


async def test_a_file_of_another_program_is_refused(path: Path, clock: ManualClock) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE t (x)")
    other.commit()
    other.close()
    with pytest.raises(Damaged, match="another program"):
        async with open_user_sessions(path, clock=clock):
            pass


def test_the_generation_queue_shows_pieces_and_their_tasks_in_the_seeds_columns(clock: ManualClock) -> None:
    early = a_piece(clock, "early")
    clock.advance(MINUTE)
    pieces = [
        a_piece(clock, "done", state=PieceState.WAITING, content_hash="h", attempts=1),
        a_piece(clock, "busy", state=PieceState.CHECKING),
        a_piece(clock, "dead", state=PieceState.DRAFTING, dead_letter="killed its worker 3 times"),
        a_piece(clock, "cancelled", state=PieceState.CANCELLED, reason="replanned"),
        early,
    ]
    task = Task(id="t", kind="advance", queue=GENERATION_QUEUE, brand="acme", run_at=clock.now(), priority=9)
    rows = generation_queue(pieces, {pieces[1].thread_id: task}, max_attempts=3)
    assert [row.id for row in rows] == ["busy", "early", "cancelled", "dead", "done"]
    shown = {row.id: (row.status, row.priority, row.error_message, row.processed_at is not None) for row in rows}
    assert shown == {
        "busy": ("processing", 9, None, False),
        "early": ("pending", 5, None, False),
        "cancelled": ("failed", 5, "replanned", True),
        "dead": ("failed", 5, "killed its worker 3 times", True),
        "done": ("completed", 5, None, True),
    }
    assert rows[-1].result_data == {"content_hash": "h", "mode": ""}
    seed = """id content_type platform prompt_data priority status attempts max_attempts error_message result_data
        created_at updated_at processed_at"""
    assert set(type(rows[0]).model_fields) == set(seed.split())
