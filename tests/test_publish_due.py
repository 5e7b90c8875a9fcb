"""Publishing a piece from its rows: when, whether, how often, and what its rows say afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.errors import AlreadyPublished, Busy, Unavailable
from config.vocabulary import PieceState
from graphs.pieces import move
from memory.lease import Unleased
from memory.queue.protocol import PUBLICATION_QUEUE
from memory.rows.brand import Control
from memory.rows.content import Piece, Post, Revision
from memory.rows.publication import ScheduledPublication
from runtime.advance import cancel_piece
from runtime.guard import TaskGuard
from runtime.hold import hold_piece
from runtime.publish_due import (
    DEAD_LETTER,
    due_rows,
    open_parcel,
    publish_piece,
    publish_task,
    reconcile_publication,
    subject_of,
    write_state,
)
from runtime.reconcile import derive_tasks, reconcile
from runtime.worker import Worker
from tests.fakes.newsroom import BRAND, Newsroom, open_newsroom
from tests.fakes.publishing import ScriptedPublisher
from tools.publish.protocol import NothingSent, Rejection
from tools.publish.rate_limits import BurstLimit

SLOT = datetime(2026, 12, 7, 10, 0, tzinfo=UTC)
"""An hour after the clock's start."""


class Desk(Newsroom):
    """A newsroom that publishes through a scripted platform."""

    platform: ScriptedPublisher

    async def approved(self, name: str = "p1", *, at: datetime = SLOT, post: Post | None = None) -> Piece:
        """A sealed piece with its slot, as the arranging step leaves it."""
        post = post or Post(platform="facebook", content_type="quote", caption=f"Words of {name}.")
        now, seal = self.clock.now(), post.content_hash
        when: dict[str, Any] = {"created_at": now, "updated_at": now, "brand": BRAND}
        piece = Piece(
            id=name,
            platform=post.platform,
            content_type=post.content_type,
            state=PieceState.APPROVED,
            session_id="s",
            cycle_key="2026-W50",
            content_hash=seal,
            sealed_hash=seal,
            **when,
        )
        from graphs.pieces import schedule_id

        row = ScheduledPublication(
            cycle_key="2026-W50",
            id=schedule_id(name),
            content_id=name,
            platform=post.platform,
            content_type=post.content_type,
            scheduled_at=at,
            arranged_at=at,
            cycle_day=1,
            state=PieceState.APPROVED,
            sealed_hash=seal,
            **when,
        )
        revision = Revision(brand=BRAND, content_id=name, content_hash=seal, post=post, author="test", created_at=now)
        await self.records.put(revision)
        await self.records.put(piece)
        await self.records.put(row)
        return piece

    async def publish(self, piece: Piece) -> datetime | None:
        return await publish_piece(self.runtime, BRAND, piece.id, Unleased())

    async def read_back(self, piece: Piece) -> datetime | None:
        return await reconcile_publication(self.runtime, BRAND, piece.id, Unleased())

    async def state(self, piece: Piece) -> PieceState:
        """Of the piece; its schedule row must say the same."""
        state = (await self.piece(piece)).state
        assert (await self.slot(piece)).state is state
        return state

    async def run_due(self) -> int:
        """Do every publication task that is due, as a worker would, each once; how many there were."""
        worker = Worker(self.runtime, upkeep=False)
        leases = await self.runtime.queue.claim(
            [PUBLICATION_QUEUE], owner=self.runtime.owner, ttl=self.runtime.settings.lease, limit=100
        )
        for lease in leases:
            guard = TaskGuard(lease, self.runtime.queue, self.clock, self.runtime.settings.lease)
            await worker._work(lease, guard, _NoHeartbeat())  # type: ignore[arg-type]
        return len(leases)

    def at(self, instant: datetime) -> None:
        self.clock.advance(instant - self.clock.now())

    async def control(self, name: str, value: str) -> None:
        flag = Control(brand=BRAND, name=name, value=value, by="ann", reason="a recall", updated_at=self.clock.now())
        await self.records.put(flag)


class _NoHeartbeat:
    def add(self, guard: TaskGuard) -> None: ...

    def drop(self, guard: TaskGuard) -> None: ...


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_newsroom(tmp_path) as room:
        await room.runtime.ensure_brand(BRAND)
        desk = Desk(room.runtime, room.clock, room.script)
        desk.platform = ScriptedPublisher()
        room.runtime.publishers["outbox"] = desk.platform
        yield desk


async def test_nothing_goes_out_before_its_slot(desk: Desk) -> None:
    piece = await desk.approved()
    assert await desk.publish(piece) == SLOT
    assert desk.platform.live == []
    desk.at(SLOT)
    assert await desk.publish(piece) is None
    assert len(desk.platform.live) == 1
    assert await desk.state(piece) is PieceState.PUBLISHED
    assert (await desk.slot(piece)).result_data["url"].startswith("https://platform.test/")


async def test_what_makes_nothing_public_may_go_ahead_of_its_slot(desk: Desk) -> None:
    desk.platform.ready_ahead = True
    piece = await desk.approved()
    await desk.publish(piece)
    assert await desk.state(piece) is PieceState.PUBLISHED


@pytest.mark.parametrize(
    ("late", "state"),
    [
        (timedelta(minutes=30), PieceState.PUBLISHED),
        (timedelta(minutes=30, milliseconds=1), PieceState.APPROVED),
        (timedelta(hours=6), PieceState.APPROVED),
        (timedelta(hours=6, milliseconds=1), PieceState.MISSED),
    ],
)
async def test_what_is_late_is_sent_then_moved_then_missed(desk: Desk, late: timedelta, state: PieceState) -> None:
    piece = await desk.approved()
    desk.at(SLOT + late)
    again = await desk.publish(piece)
    assert await desk.state(piece) is state
    assert bool(desk.platform.live) is (state is PieceState.PUBLISHED)
    if state is PieceState.APPROVED:
        row = await desk.slot(piece)
        assert again == row.scheduled_at == row.arranged_at
        assert desk.clock.now() < row.scheduled_at <= desk.clock.now() + timedelta(minutes=15)
        desk.at(row.scheduled_at)
        await desk.publish(piece)
        assert await desk.state(piece) is PieceState.PUBLISHED
    elif state is PieceState.MISSED:
        assert "2026-12-07 10:00 UTC" in (await desk.piece(piece)).reason


async def test_after_an_outage_late_pieces_take_different_slots(desk: Desk) -> None:
    pieces = [await desk.approved(f"p{n}") for n in range(3)]
    desk.at(SLOT + timedelta(hours=1))
    moved = {await desk.publish(piece) for piece in pieces}
    assert len(moved) == 3
    assert desk.platform.live == []


async def test_lateness_no_longer_counts_once_a_permit_was_taken(desk: Desk) -> None:
    piece = await desk.approved()
    desk.at(SLOT)
    desk.platform.answers, desk.platform.refuses = {0: [NothingSent("nobody listens")]}, {0}
    assert await desk.publish(piece) == SLOT + timedelta(minutes=1)
    assert await desk.state(piece) is PieceState.APPROVED
    desk.at(SLOT + timedelta(days=1))
    desk.platform.refuses = set()
    await desk.publish(piece)
    assert await desk.state(piece) is PieceState.PUBLISHED
    assert len(desk.platform.live) == 1


@pytest.mark.parametrize("name", ["pause", "pause:facebook"])
async def test_a_pause_holds_a_piece_back_until_it_is_lifted(desk: Desk, name: str) -> None:
    piece = await desk.approved()
    desk.at(SLOT)
    await desk.control(name, "on")
    assert await desk.publish(piece) == SLOT + timedelta(minutes=5)
    assert await desk.state(piece) is PieceState.APPROVED
    assert "paused by ann: a recall" in (await desk.slot(piece)).result_data["waiting_for"]
    assert "publish" not in {task.kind for task in await derive_tasks(desk.runtime, desk.records)}
    await desk.control(name, "off")
    assert "publish" in {task.kind for task in await derive_tasks(desk.runtime, desk.records)}
    await desk.publish(piece)
    assert await desk.state(piece) is PieceState.PUBLISHED


async def test_a_pause_of_another_platform_holds_nothing_back(desk: Desk) -> None:
    piece = await desk.approved()
    desk.at(SLOT)
    await desk.control("pause:instagram", "on")
    await desk.publish(piece)
    assert await desk.state(piece) is PieceState.PUBLISHED


class FlagAtTheLastMoment(ScriptedPublisher):
    """Something changes while the post is being prepared: after the first look, before the permit."""

    change: Any = None

    async def prepare(self, parcel: Any, *, attempt: int) -> str:
        handle = await super().prepare(parcel, attempt=attempt)
        change, self.change = self.change, None
        if change is not None:
            await change()
        return handle


async def test_a_pause_that_comes_while_it_is_prepared_is_heeded_before_the_first_byte(desk: Desk) -> None:
    platform = FlagAtTheLastMoment()
    platform.change = lambda: desk.control("pause", "on")
    desk.runtime.publishers["outbox"] = platform
    piece = await desk.approved()
    desk.at(SLOT)
    await desk.publish(piece)
    assert platform.live == []
    assert await desk.state(piece) is PieceState.APPROVED
    assert (await desk.slot(piece)).result_data["phase"] == "not_sent"


async def test_a_seal_that_is_void_by_the_time_of_sending_ends_the_attempt_as_not_sent(desk: Desk) -> None:
    platform = FlagAtTheLastMoment()
    piece = await desk.approved()

    async def edit() -> None:
        await desk.records.put((await desk.piece(piece)).model_copy(update={"sealed_hash": ""}))

    platform.change = edit
    desk.runtime.publishers["outbox"] = platform
    desk.at(SLOT)
    await desk.publish(piece)
    assert platform.live == []
    row = await desk.slot(piece)
    assert row.result_data["phase"] == "not_sent"
    assert "seal is void" in row.result_data["error"]


async def test_an_answer_that_never_came_is_unknown_and_read_back_and_never_resent(desk: Desk) -> None:
    piece = await desk.approved()
    desk.at(SLOT)
    desk.platform.answers = {0: [ConnectionResetError("broke")]}
    await desk.publish(piece)
    assert await desk.state(piece) is PieceState.PUBLISHING
    desk.clock.advance(timedelta(seconds=21))
    assert await desk.publish(piece) is None
    assert await desk.state(piece) is PieceState.UNKNOWN
    assert await desk.read_back(piece) is None
    assert await desk.state(piece) is PieceState.PUBLISHED
    assert len(desk.platform.live) == 1


async def unknown(desk: Desk) -> Piece:
    """A piece that the platform does not show long after it was sent."""
    piece = await desk.approved()
    desk.at(SLOT)
    desk.platform.answers, desk.platform.visible = {0: [TimeoutError()]}, False
    await desk.publish(piece)
    desk.clock.advance(timedelta(seconds=21))
    again = await desk.read_back(piece)
    assert again == desk.clock.now() + timedelta(seconds=30), "it may still be shown"
    assert await desk.state(piece) is PieceState.UNKNOWN
    desk.clock.advance(timedelta(minutes=5))
    assert await desk.read_back(piece) is None
    return piece


async def test_what_nobody_can_find_names_the_human_and_the_command(desk: Desk) -> None:
    piece = await unknown(desk)
    assert await desk.state(piece) is PieceState.UNKNOWN
    key = (await desk.slot(piece)).result_data["pub_key"]
    assert f"publish resolve {key[:12]}" in (await desk.piece(piece)).reason
    assert (await desk.slot(piece)).result_data["phase"] == "needs_human"
    assert await desk.publish(piece) is None
    assert len(desk.platform.live) == 1


@pytest.mark.parametrize("sent", [True, False])
async def test_a_human_resolves_it_both_ways(desk: Desk, sent: bool) -> None:
    piece = await unknown(desk)
    piece, row = await desk.piece(piece), await desk.slot(piece)
    said: dict[str, Any] = {"sent_url": "https://platform.test/seen"} if sent else {"not_sent": True}
    publication = await desk.runtime.ledger(BRAND).resolve_by_human(
        subject_of(desk.runtime, piece, row), by="ann", **said
    )
    await write_state(desk.runtime, desk.records, piece, row, publication)
    assert await desk.state(piece) is (PieceState.PUBLISHED if sent else PieceState.APPROVED)
    await reconcile(desk.runtime)
    await desk.run_due()
    assert await desk.state(piece) is PieceState.PUBLISHED
    assert len(desk.platform.live) == (1 if sent else 2), "only a human's word lets it be sent again"


async def test_a_platform_that_cannot_be_read_for_a_while_is_asked_again(desk: Desk) -> None:
    class Unreadable(ScriptedPublisher):
        away = True

        async def check(self, *args: Any, **rest: Any) -> Any:
            if self.away:
                raise Unavailable("the platform is away")
            return await super().check(*args, **rest)

    platform = Unreadable(answers={0: [TimeoutError()]})
    desk.runtime.publishers["outbox"] = platform
    piece = await desk.approved()
    desk.at(SLOT)
    await desk.publish(piece)
    desk.clock.advance(timedelta(seconds=21))
    for _ in range(3):
        assert await desk.read_back(piece) == desk.clock.now() + timedelta(seconds=30)
        desk.clock.advance(timedelta(seconds=5))
    assert await desk.state(piece) is PieceState.UNKNOWN
    platform.away = False
    await desk.read_back(piece)
    assert await desk.state(piece) is PieceState.PUBLISHED


async def test_what_an_account_may_not_post_now_waits_for_its_next_window(desk: Desk) -> None:
    pieces = [await desk.approved(f"p{n}") for n in range(6)]
    desk.at(SLOT)
    again = {await desk.publish(piece) for piece in pieces}
    window = BurstLimit().next_window(SLOT)
    assert again == {None, window}
    assert len(desk.platform.live) == 4
    waiting = [piece for piece in pieces if await desk.state(piece) is PieceState.APPROVED]
    for minute in range(3):  # however often reconcile looks meanwhile, no attempt is used up
        desk.at(SLOT + timedelta(minutes=1 + minute))
        await reconcile(desk.runtime)
        assert await desk.run_due() == 0
    assert {(await desk.slot(piece)).result_data["attempt"] for piece in waiting} == {"1"}
    desk.at(window)
    assert await desk.run_due() == 2
    assert {await desk.state(piece) for piece in pieces} == {PieceState.PUBLISHED}
    assert len(desk.platform.live) == 6


async def test_a_refusal_fails_the_piece_with_the_platforms_code(desk: Desk) -> None:
    piece = await desk.approved()
    desk.at(SLOT)
    desk.platform.answers, desk.platform.refuses = {0: [Rejection("policy_368", "not allowed here")]}, {0}
    assert await desk.publish(piece) is None
    assert await desk.state(piece) is PieceState.FAILED
    assert (await desk.piece(piece)).reason == "policy_368: not allowed here"
    assert (await desk.slot(piece)).result_data["code"] == "policy_368"
    assert await desk.publish(piece) is None
    assert desk.platform.live == []


async def test_a_thread_goes_on_at_the_first_part_that_is_not_out(desk: Desk) -> None:
    post = Post(platform="twitter", content_type="thread", parts=("one", "two", "three"))
    piece = await desk.approved(post=post)
    desk.at(SLOT)
    desk.platform.answers, desk.platform.refuses = {1: [NothingSent("nobody listens")]}, {1}
    again = await desk.publish(piece)
    assert again is not None
    assert [part for _, part in desk.platform.live] == [0]
    desk.at(again)
    desk.platform.refuses = set()
    await desk.publish(piece)
    assert [part for _, part in desk.platform.live] == [0, 1, 2]
    assert await desk.state(piece) is PieceState.PUBLISHED


async def test_a_part_whose_answer_was_lost_is_found_and_the_rest_follows(desk: Desk) -> None:
    post = Post(platform="twitter", content_type="thread", parts=("one", "two", "three"))
    piece = await desk.approved(post=post)
    desk.at(SLOT)
    desk.platform.answers = {1: [ConnectionResetError("broke")]}
    await desk.publish(piece)
    desk.clock.advance(timedelta(seconds=25))
    await reconcile(desk.runtime)
    await desk.run_due()
    await desk.run_due()
    assert [part for _, part in desk.platform.live] == [0, 1, 2]
    assert await desk.state(piece) is PieceState.PUBLISHED


async def test_cancelling_an_approved_piece_wins_before_it_is_sent(desk: Desk) -> None:
    piece = await desk.approved()
    await cancel_piece(desk.runtime, BRAND, piece.id, Unleased(), by="ann")
    desk.at(SLOT)
    assert await desk.publish(piece) is None
    assert await desk.state(piece) is PieceState.CANCELLED
    assert desk.platform.live == []


async def test_cancelling_a_piece_that_is_on_its_way_says_that_it_is_going_out(desk: Desk) -> None:
    piece = await desk.approved()
    desk.at(SLOT)
    said: list[str] = []

    async def cancel() -> None:
        with pytest.raises(AlreadyPublished) as refused:
            await cancel_piece(desk.runtime, BRAND, piece.id, Unleased(), by="ann")
        said.append(str(refused.value))

    desk.platform.during = cancel
    await desk.publish(piece)
    assert "it is going out" in said[0]
    assert await desk.state(piece) is PieceState.PUBLISHED


async def test_a_cancel_whose_canceller_died_before_the_rows_is_written_by_whoever_looks_next(desk: Desk) -> None:
    piece = await desk.approved()
    await desk.runtime.ledger(BRAND).cancel(subject_of(desk.runtime, piece, await desk.slot(piece)), by="ann")
    desk.at(SLOT)
    await desk.publish(piece)
    assert await desk.state(piece) is PieceState.CANCELLED
    assert desk.platform.live == []


async def test_two_workers_on_one_publication_send_it_once(desk: Desk) -> None:
    piece = await desk.approved()
    desk.at(SLOT)

    async def one() -> None:
        async with hold_piece(desk.runtime, BRAND, piece.id) as held:
            await publish_piece(desk.runtime, BRAND, piece.id, held)

    results = await asyncio.gather(one(), one(), return_exceptions=True)
    assert {type(result) for result in results if result is not None} <= {Busy}
    assert len(desk.platform.live) == 1


async def test_even_without_the_pieces_lease_two_senders_send_it_once(desk: Desk) -> None:
    piece = await desk.approved()
    desk.at(SLOT)
    await asyncio.gather(desk.publish(piece), desk.publish(piece), return_exceptions=True)
    assert len(desk.platform.live) == 1


async def test_a_publication_has_the_same_task_id_every_time(desk: Desk) -> None:
    piece = await desk.approved()
    row = await desk.slot(piece)
    moved = row.model_copy(update={"scheduled_at": SLOT + timedelta(days=3), "sealed_hash": "other"})
    assert publish_task(row).id == publish_task(moved).id
    assert publish_task(row).run_at == SLOT


async def test_due_rows_are_the_approved_ones_earliest_first(desk: Desk) -> None:
    for n, hours in enumerate((3, 1, 2, 30)):
        await desk.approved(f"p{n}", at=SLOT + timedelta(hours=hours))
    found = await due_rows(desk.records, until=SLOT + timedelta(hours=3))
    assert [row.content_id for row in found] == ["p1", "p2", "p0"]


async def test_a_publication_that_was_given_up_says_why_and_goes_on_when_it_is_requeued(desk: Desk) -> None:
    piece = await desk.approved()
    desk.at(SLOT)
    desk.platform.prepare_error = RuntimeError("the upload is broken")
    await reconcile(desk.runtime)
    for _ in range(3):
        await desk.run_due()
        desk.clock.advance(timedelta(seconds=10))
    [letter] = await desk.runtime.queue.list_dead()
    assert "the upload is broken" in letter.reason
    for _ in range(2):  # whatever looks at it meanwhile, the reason stays
        await desk.read_back(piece)
    reason = (await desk.piece(piece)).reason
    assert "the upload is broken" in reason
    assert f"queue requeue {letter.task.id}" in reason
    assert DEAD_LETTER["publish"] in (await desk.slot(piece)).result_data
    assert "publish" not in {task.kind for task in await derive_tasks(desk.runtime, desk.records)}
    desk.platform.prepare_error = None
    await desk.runtime.queue.requeue(letter.task.id)
    await desk.run_due()
    assert await desk.state(piece) is PieceState.PUBLISHED
    assert (await desk.piece(piece)).reason == ""
    assert len(desk.platform.live) == 1


async def away_for(desk: Desk, duration: timedelta) -> None:
    """Let the platform be away for so long, and publication tasks run as they fall due."""
    desk.platform.prepare_error = Unavailable("the platform is away")
    end = desk.clock.now() + duration
    while desk.clock.now() < end:
        await reconcile(desk.runtime)
        await desk.run_due()
        desk.clock.advance(timedelta(seconds=15))
    desk.platform.prepare_error = None


async def test_a_platform_that_is_away_at_the_slot_is_tried_until_it_is_too_late_to_be_sent_there(desk: Desk) -> None:
    piece = await desk.approved()
    desk.at(SLOT)
    await away_for(desk, timedelta(minutes=20))
    row = await desk.slot(piece)
    assert await desk.runtime.queue.list_dead() == []
    assert "the platform is away" in (await desk.piece(piece)).reason, "a human sees why it is not out"
    assert "attempts" not in row.result_data
    assert 20 <= desk.platform.prepared <= 60, "waits grow to a minute, and no further"
    desk.clock.advance(timedelta(minutes=1))
    for _ in range(2):
        await reconcile(desk.runtime)
        await desk.run_due()
    assert await desk.state(piece) is PieceState.PUBLISHED
    assert (await desk.piece(piece)).reason == ""
    assert len(desk.platform.live) == 1
    assert "away_since" not in (await desk.slot(piece)).result_data


async def test_a_post_whose_platform_was_away_for_longer_takes_another_slot(desk: Desk) -> None:
    piece = await desk.approved()
    desk.at(SLOT)
    await away_for(desk, timedelta(minutes=40))
    row = await desk.slot(piece)
    assert row.scheduled_at > SLOT + timedelta(minutes=30)
    assert await desk.state(piece) is PieceState.APPROVED
    desk.at(row.scheduled_at)
    await reconcile(desk.runtime)
    await desk.run_due()
    assert await desk.state(piece) is PieceState.PUBLISHED
    assert len(desk.platform.live) == 1


async def test_a_platform_that_never_comes_back_is_given_up_after_a_day_with_its_reason(desk: Desk) -> None:
    piece = await desk.approved()
    desk.at(SLOT)
    desk.platform.prepare_error = Unavailable("the platform is away")
    for _ in range(27 * 4):
        await reconcile(desk.runtime)
        await desk.run_due()
        desk.clock.advance(timedelta(minutes=15))
    [letter] = await desk.runtime.queue.list_dead()
    assert "away for longer than 1 day" in letter.reason
    assert f"queue requeue {letter.task.id}" in (await desk.piece(piece)).reason
    assert desk.platform.live == []
    desk.platform.prepare_error = None
    await desk.runtime.queue.requeue(letter.task.id)
    for _ in range(8):
        await desk.run_due()
        desk.clock.advance(timedelta(minutes=15))
    assert await desk.state(piece) is PieceState.PUBLISHED
    assert len(desk.platform.live) == 1


CRASHES: list[tuple[str, PieceState, PieceState]] = [
    ("before anything was sent", PieceState.PUBLISHING, PieceState.APPROVED),
    ("before its permit", PieceState.PUBLISHING, PieceState.PUBLISHING),
    ("it was out", PieceState.PUBLISHED, PieceState.PUBLISHING),
    ("it was out, no row written", PieceState.PUBLISHING, PieceState.PUBLISHING),
    ("unknown", PieceState.UNKNOWN, PieceState.PUBLISHING),
    ("moved back", PieceState.APPROVED, PieceState.PUBLISHING),
    ("just approved", PieceState.APPROVED, PieceState.CHECKING),
    ("approved by a human", PieceState.APPROVED, PieceState.WAITING),
]


@pytest.mark.parametrize(("what", "piece_state", "row_state"), CRASHES, ids=[what for what, _, _ in CRASHES])
async def test_a_death_between_two_rows_is_mended_and_the_piece_ends_published_once(
    desk: Desk, what: str, piece_state: PieceState, row_state: PieceState
) -> None:
    piece = await desk.approved()
    desk.at(SLOT)
    if "out" in what or what == "unknown":
        if what == "unknown":
            desk.platform.answers = {0: [TimeoutError()]}
        await desk.publish(piece)
        desk.clock.advance(timedelta(seconds=21))
    piece = await desk.piece(piece)
    await desk.records.put(piece.model_copy(update={"state": piece_state}))
    await desk.records.put((await desk.slot(piece)).model_copy(update={"state": row_state, "result_data": {}}))
    for _ in range(4):
        await reconcile(desk.runtime)
        await desk.run_due()
        await desk.work()
        desk.clock.advance(timedelta(seconds=31))
    assert await desk.state(piece) is PieceState.PUBLISHED
    assert len(desk.platform.live) == 1
    row = await desk.slot(piece)
    assert row.result_data["url"]
    assert row.status == "published"


async def test_a_piece_that_is_not_sealed_or_not_there_is_not_sent(desk: Desk) -> None:
    piece = await desk.approved()
    await move(desk.records, desk.clock, piece, PieceState.CHECKING)
    desk.at(SLOT)
    assert await desk.publish(piece) is None
    assert await publish_piece(desk.runtime, BRAND, "nothing", Unleased()) is None
    assert await publish_piece(desk.runtime, "other", piece.id, Unleased()) is None
    assert desk.platform.live == []


async def test_what_is_sent_is_the_sealed_revision_not_the_projection(desk: Desk) -> None:
    piece = await desk.approved()
    await desk.records.put(piece.model_copy(update={"description": "Other words."}))
    parcel = await open_parcel(desk.runtime, desk.records, piece, await desk.slot(piece))
    assert parcel.post.caption == "Words of p1."
    assert parcel.content_hash == piece.sealed_hash
