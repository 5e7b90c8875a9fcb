"""Moving between one machine's files and the stores of many machines: AstraDB (the real client, a server of ours) and Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.spending import day_key, day_of
from config.clock import ManualClock
from config.errors import Conflict
from config.settings import Settings
from config.vocabulary import Decision, PieceState, SessionStatus
from graphs.context import advance_piece_task
from memory.cache.protocol import open_cache
from memory.checkpoints.protocol import open_checkpoints
from memory.queue.owner import current_owner
from memory.queue.protocol import GENERATION_QUEUE, PUBLICATION_QUEUE, TaskQueue, open_queue
from memory.records.protocol import open_records
from memory.rows import Event, LedgerStep, Session
from runtime.migrate import Moved, abandon, migrate, target_settings
from runtime.migrate_copy import Step
from runtime.publish_due import paused
from runtime.reconcile import reconcile
from runtime.reviews import decide
from tests.cli_support import ROOT, Cli
from tests.cli_support import cli as cli
from tests.fakes.astra_keyspaces import a_keyspace, a_server
from tests.fakes.data_api import DataApi, Keyspace
from tests.fakes.newsroom import BRAND, Newsroom, open_newsroom
from tests.fakes.publishing import ScriptedPublisher
from tests.fakes.redis_server import redis_url
from tests.test_migrate import NOW, contents, flag, killed_after, quiet, threads
from tests.test_migrate import home as home
from tests.test_migrate import template as template
from tests.test_publish_due import SLOT, Desk


class Dead(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module")
def data_api() -> Iterator[DataApi]:
    with a_server() as api:
        yield api


@pytest.fixture
def here(home: Path) -> Settings:
    """One machine's installation, with a week that waits for its reviews."""
    return Settings(data_dir=home)


@pytest.fixture
def many(here: Settings, data_api: DataApi, tmp_path: Path) -> Iterator[Settings]:
    """The stores of many machines, empty."""
    with ExitStack() as stack:
        url = data_api.url(stack.enter_context(a_keyspace(data_api)))
        yield target_settings(here, url, queue=redis_url(tmp_path))


async def move(source: Settings, to: Settings, *, live: bool = False) -> Moved:
    return await migrate(source, to, live=live, clock=ManualClock(), report=quiet)


def queue_of(settings: Settings) -> Any:
    return open_queue(settings.queue_url, clock=ManualClock())


def room_of(settings: Settings) -> Any:
    stores = {"records": settings.records, "queue": settings.queue, "cache": settings.cache}
    return open_newsroom(settings.data_dir, settings=stores)


async def stored_threads(settings: Settings, ids: list[str]) -> list[Any]:
    async with open_checkpoints(settings.checkpoints_url, clock=ManualClock()) as checkpoints:
        reader: Any = checkpoints.reader(BRAND)
        return [[(row, sorted(writes)) for row, writes in await reader.stored(id)] for id in ids]


async def open_threads(settings: Settings) -> list[str]:
    async with room_of(settings) as room:
        reviews = await room.asked_reviews()
        pieces = [await room.piece(review.piece_id) for review in reviews]
        return [pieces[0].session_id, *(piece.thread_id for piece in pieces)]


async def approve_one(room: Newsroom) -> PieceState:
    """A human approves one piece that waits, and a worker does what follows; what became of the piece."""
    await reconcile(room.runtime)
    review = (await room.asked_reviews())[0]
    by: dict[str, Any] = {"by": "ann", "reason": "read"}
    await decide(room.runtime, BRAND, review.piece_id, review.content_hash, Decision.APPROVED, **by)
    await room.work()
    return (await room.piece(review.piece_id)).state


async def test_rows_decisions_vectors_and_threads_are_the_same_there_and_after_the_way_back(
    here: Settings, many: Settings, tmp_path: Path
) -> None:
    before, ids = await contents(here.records_url), await open_threads(here)
    held = await stored_threads(here, ids)
    assert all(held)
    there = await move(here, many)
    assert there.finished
    assert await contents(many.records_url) == before
    assert await stored_threads(many, ids) == held
    again = await move(many, target_settings(many, str(tmp_path / "again")))
    assert again.finished
    assert await contents(f"sqlite:///{tmp_path / 'again'}") == before
    assert await threads(tmp_path / "again") == await threads(here.data_dir)
    assert again.hashes == there.hashes
    assert (again.tables, again.decisions, again.threads) == (there.tables, there.decisions, there.threads)
    assert {"content_library", "agent_memory", "decisions", "threads"} <= set(there.hashes)


async def test_a_week_goes_on_at_the_other_side_and_ends_after_the_way_back(here: Settings, many: Settings) -> None:
    ids = await open_threads(here)
    await move(here, many)
    async with room_of(many) as room:
        assert await approve_one(room) is PieceState.APPROVED
        assert room.script.asked == [], "its thread went on behind the gate: nothing was written or checked again"
    back = target_settings(many, str(here.data_dir))
    assert (await move(many, back)).finished
    async with room_of(back) as room:
        while await room.asked_reviews():
            assert await approve_one(room) is PieceState.APPROVED
        assert room.script.asked == []
        [session] = [row for row in await room.runtime.records.for_brand(BRAND).list_rows(Session) if row.id in ids]
        assert session.status is SessionStatus.DONE


async def test_only_one_of_the_two_publishes(here: Settings, many: Settings) -> None:
    platform = ScriptedPublisher()
    await move(here, many)
    for settings in (here, many, here):
        async with room_of(settings) as room:
            for queue in (GENERATION_QUEUE, PUBLICATION_QUEUE):
                await room.runtime.queue.resume(queue)  # by a hand that should not: the pause of the brand holds alone
            desk = Desk(room.runtime, room.clock, room.script)
            room.runtime.publishers["outbox"] = platform
            desk.at(SLOT)
            await reconcile(room.runtime)
            await desk.run_due()
    assert len(platform.live) == 1
    back = target_settings(many, str(here.data_dir))
    await move(many, back)
    published = await contents(back.records_url)
    assert published == await contents(many.records_url)
    assert {"permit", "outcome"} <= {one.kind for one in published["decisions"]}
    assert len(published["publications"]) >= 2, "its ledger came back with it"
    async with room_of(back) as room:
        room.runtime.publishers["outbox"] = platform
        desk = Desk(room.runtime, room.clock, room.script)
        desk.at(SLOT)
        await reconcile(room.runtime)
        await desk.run_due()
    assert len(platform.live) == 1


async def test_a_ledger_that_no_slot_names_any_more_is_found_by_its_permit(
    here: Settings, many: Settings, tmp_path: Path
) -> None:
    """Its slot names another account now, and AstraDB cannot list a ledger without knowing whose it is."""
    step = LedgerStep(
        brand=BRAND, pub_key="of another account", attempt=1, part=0, step_id="1", step="permit",
        piece_id="p1", platform="facebook", account="old", created_at=NOW,
    )  # fmt: skip
    await move(here, many)
    async with open_records(many.records_url, clock=ManualClock()) as store:
        records = store.for_brand(BRAND)
        await records.create_once("permit", "of another account|1|0", step, token="t")
        await records.put(step, step.model_copy(update={"step_id": "2", "step": "published"}))
    await move(many, target_settings(many, str(tmp_path / "again")))
    async with open_records(f"sqlite:///{tmp_path / 'again'}", clock=ManualClock()) as store:
        found = await store.for_brand(BRAND).list_rows(LedgerStep, pub_key="of another account")
    assert [row.step_id for row in found] == ["1", "2"]


async def test_what_astradb_lacks_is_made_first(here: Settings, data_api: DataApi) -> None:
    data_api.keyspaces["fresh"] = Keyspace()
    there = target_settings(here, data_api.url("fresh"))
    assert (there.queue_url, there.cache_url) == (here.queue_url, here.cache_url), "only the rows move"
    assert (await move(here, there)).finished
    assert await contents(there.records_url) == await contents(here.records_url)
    async with queue_of(there) as queue:
        assert not any(depth.paused for depth in (await queue.depths()).values()), "the queue that both share works on"


# What is no row


async def bury(queue: TaskQueue, *names: str) -> None:
    for name in names:
        await queue.enqueue(advance_piece_task(BRAND, name, ManualClock()))
        [lease] = await queue.claim(
            [GENERATION_QUEUE], owner=current_owner(), ttl=timedelta(seconds=30), limit=1, only=[f"advance:{name}"]
        )
        await queue.bury(lease, reason=f"{name} is broken")


async def dead(settings: Settings) -> list[tuple[str, str]]:
    async with queue_of(settings) as queue:
        return [(one.task.id, one.reason) for one in await queue.list_dead()]


async def test_dead_letters_keep_their_reasons_and_their_order_and_queues_their_settings(
    here: Settings, many: Settings, tmp_path: Path
) -> None:
    async with queue_of(here) as queue:
        await bury(queue, "first", "second")
        await queue.set_concurrency(GENERATION_QUEUE, 3)
        await queue.pause(PUBLICATION_QUEUE)
    before = await dead(here)
    assert len(before) == 2
    assert (await move(here, many)).dead_letters == 2
    assert await dead(many) == before
    async with queue_of(many) as queue:
        depths = await queue.depths()
        assert (depths[GENERATION_QUEUE].paused, depths[GENERATION_QUEUE].concurrency) == (False, 3)
        assert depths[PUBLICATION_QUEUE].paused
        await queue.requeue("advance:first")  # mended there: it is not dead after the way back either
        await queue.remove("advance:first")
    back = target_settings(many, str(here.data_dir))
    await move(many, back)
    assert await dead(back) == [("advance:second", "second is broken")]
    async with queue_of(back) as queue:
        depths = await queue.depths()
        assert (depths[GENERATION_QUEUE].paused, depths[GENERATION_QUEUE].concurrency) == (False, 3)


async def test_an_old_budget_at_the_target_is_forgotten(here: Settings, many: Settings) -> None:
    """It does not know what was spent since that cache was last in use."""
    key = day_key(day_of(ManualClock().now()))
    async with open_cache(many.cache_url, clock=ManualClock()) as cache:
        await cache.for_brand(BRAND).rebuild_holds(key, {"long ago": 1.0}, ttl=timedelta(days=1))
        assert await cache.for_brand(BRAND).held(key) == 1.0
        await move(here, many)
        assert await cache.for_brand(BRAND).held(key) is None


# Killed, and while workers run


async def test_killed_on_the_way_it_goes_on_and_never_lets_two_publish(here: Settings, many: Settings) -> None:
    before = await contents(here.records_url)
    for lines in (1, 9):
        assert await asyncio.to_thread(killed_after, here.data_dir, many.records, lines, many.queue)
        flags = [await flag(here.records_url), await flag(many.records_url)]
        assert [one is not None and one.value == "on" for one in flags] == [True, True], "both wait until it is over"
    assert (await move(here, many)).finished
    assert await contents(many.records_url) == before
    assert await flag(many.records_url) is None


async def test_a_worker_of_redis_is_refused_unless_live_and_what_it_did_is_in_the_last_pass(
    here: Settings, many: Settings, tmp_path: Path
) -> None:
    await move(here, many)
    again = target_settings(many, str(tmp_path / "again"))
    elsewhere = many.model_copy(update={"data_dir": tmp_path / "elsewhere"})  # that machine holds no file of this one
    async with AsyncExitStack() as stack:
        room = await stack.enter_async_context(room_of(elsewhere))
        queue = room.runtime.queue
        await queue.enqueue(advance_piece_task(BRAND, "p1", room.clock))
        [lease] = await queue.claim([GENERATION_QUEUE], owner=current_owner(), ttl=timedelta(seconds=30), limit=1)
        with pytest.raises(Conflict, match="1 tasks of content_generation_queue are leased"):
            await move(many, again)
        assert not any(depth.paused for depth in (await queue.depths()).values())
        assert await paused(room.records, "facebook") == ""
        assert not (await move(many, again, live=True)).finished
        await room.records.put(Event(brand=BRAND, day="2026-12-07", id="meanwhile", name="test", created_at=NOW))
        await queue.complete(lease)
        last = await move(many, again)
        assert (last.finished, last.copied) == (True, 1)
        assert await contents(again.records_url) == await contents(many.records_url)
        await queue.enqueue(advance_piece_task(BRAND, "p1", room.clock))
        taken = await queue.claim([GENERATION_QUEUE], owner=current_owner(), ttl=timedelta(seconds=30), limit=1)
        assert taken == [], "a worker that was left running at the old place takes nothing"


async def test_a_move_that_was_given_up_leaves_the_old_place_as_it_was(here: Settings, many: Settings) -> None:
    before = await contents(here.records_url)

    def die(step: Step) -> None:
        if step.total:  # something was copied
            raise Dead

    with pytest.raises(Dead):
        await migrate(here, many, live=False, clock=ManualClock(), report=die)
    assert await flag(here.records_url) is not None
    assert await abandon(here, many, clock=ManualClock()) == [BRAND]
    assert await flag(here.records_url) is None
    async with queue_of(here) as queue:
        assert not any(depth.paused for depth in (await queue.depths()).values())
    assert (await move(here, many)).finished, "it can be begun again"
    assert await contents(many.records_url) == before
    with pytest.raises(Conflict, match="has ended"):
        await abandon(here, many, clock=ManualClock())


def test_the_command_moves_and_says_how_the_new_place_is_named_without_its_password(
    cli: Cli, data_api: DataApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_api.keyspaces["typed"] = Keyspace()
    url, queue = data_api.url("typed"), redis_url(tmp_path)
    assert cli("brand", "new", "acme").code == 0
    assert cli("--brand", "acme", "knowledge", "add", str(ROOT / "README.md")).code == 0
    learned = cli.ok("--brand", "acme", "knowledge", "search", "copydesk")
    done = cli("migrate", "--to", url, "--queue", queue)
    assert done.code == 0, done.err
    assert "COPYDESK_RECORDS=astra+http://user:***@" in done.out
    assert f"COPYDESK_QUEUE={queue}" in done.out
    assert f"COPYDESK_CACHE={queue}" in done.out
    assert "secret" not in done.out + done.err
    assert "acme: brand_knowledge" in done.err
    for name, place in (("RECORDS", url), ("QUEUE", queue), ("CACHE", queue)):
        monkeypatch.setenv(f"COPYDESK_{name}", place)
    found = cli.ok("--brand", "acme", "knowledge", "search", "copydesk")
    assert {row["source"] for row in found} & {row["source"] for row in learned}
    assert cli("--brand", "acme", "publish", "status").code == 0
