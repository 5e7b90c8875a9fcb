"""The ledger: what is sent, what is not sent again, and who may say what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from config.clock import ManualClock
from config.errors import AlreadyPublished, Conflict, LeaseLost, Unavailable, Uncertain
from config.vocabulary import Step
from memory.lease import Unleased
from memory.records.protocol import Records, open_records
from memory.rows.publication import LedgerStep
from tests.fakes.publishing import (
    MemoryRecords,
    ScriptedPublisher,
    Times,
    a_parcel,
    a_post,
    a_thread,
    allowed,
    receipt,
)
from tools.publish.ledger import BurstLimit, Ledger, Status, Subject, is_open, pub_key
from tools.publish.protocol import Parcel, Publisher, Receipt, Rejection

PAST_DEADLINE = timedelta(seconds=21)
PAST_SETTLE = timedelta(seconds=20 + 15 + 90)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "austere"])
async def records(request: pytest.FixtureRequest, tmp_path: Any, clock: ManualClock) -> AsyncIterator[Records]:
    async with open_records(f"{request.param}:///{tmp_path}/data", clock=clock) as store:
        yield store.for_brand("eesystem")


@pytest.fixture
def ledger(records: Records, clock: ManualClock) -> Ledger:
    return Ledger(records, clock, Times(), boot_id="here")


def in_memory(clock: ManualClock, records: MemoryRecords | None = None, **options: Any) -> Ledger:
    times = options.pop("times", Times())
    return Ledger(records or MemoryRecords(), clock, times, boot_id="here", **options)  # type: ignore[arg-type]


async def send(ledger: Ledger, parcel: Parcel, publisher: Publisher, **options: Any) -> Any:
    return await ledger.publish(
        parcel,
        publisher,
        guard=options.get("guard", Unleased()),
        still_allowed=options.get("still_allowed", allowed),
    )


# --- one post, once -------------------------------------------------------------------------------------------------


async def test_a_post_goes_out_once_however_often_it_is_published(ledger: Ledger) -> None:
    parcel, publisher = a_parcel(), ScriptedPublisher()
    first = await send(ledger, parcel, publisher)
    again = await send(ledger, parcel, publisher)
    assert (first.status, first.external_id, first.url) == (
        Status.PUBLISHED,
        receipt(parcel, 0).external_id,
        receipt(parcel, 0).url,
    )
    assert again == first
    assert publisher.live == [(parcel.pub_key, 0)]


async def test_of_many_who_publish_at_once_one_sends(records: Records, clock: ManualClock) -> None:
    parcel, publisher = a_parcel(), ScriptedPublisher()
    ledgers = [Ledger(records, clock, Times(), boot_id="here") for _ in range(8)]
    await asyncio.gather(*(send(ledger, parcel, publisher) for ledger in ledgers))
    assert publisher.live == [(parcel.pub_key, 0)]
    assert (await ledgers[0].read(parcel.pub_key, 1)).status is Status.PUBLISHED


async def test_the_permit_is_durable_before_the_first_byte(records: Records, ledger: Ledger) -> None:
    parcel, publisher, seen = a_parcel(), ScriptedPublisher(), []

    async def look() -> None:
        seen.append(await records.find_once("permit", f"{parcel.pub_key}|1|0", LedgerStep))

    publisher.during = look
    await send(ledger, parcel, publisher)
    assert seen[0] is not None
    assert (seen[0].row.step, seen[0].row.content_hash) == (Step.PERMIT, parcel.content_hash)


async def test_steps_are_appended_in_the_order_in_which_they_happened(records: Records, ledger: Ledger) -> None:
    parcel = a_parcel()
    await send(ledger, parcel, ScriptedPublisher())
    steps = await records.list_rows(LedgerStep, pub_key=parcel.pub_key)
    assert sorted(step.step for step in steps) == [Step.PERMIT, Step.PREPARING, Step.PUBLISHED]


@pytest.mark.parametrize(
    "answer",
    [
        TimeoutError(),
        ConnectionResetError(),
        Unavailable("429", retry_after=timedelta(seconds=1)),
        Uncertain("502"),
        ValueError("not JSON"),
        LeaseLost("odd"),
        None,
        {"id": "1"},
        Receipt("", "https://platform.test/1"),
    ],
    ids=repr,
)
async def test_an_answer_that_is_no_answer_is_never_followed_by_another_send(clock: ManualClock, answer: Any) -> None:
    ledger, parcel, publisher = in_memory(clock), a_parcel(), ScriptedPublisher(answers={0: [answer]})
    assert (await send(ledger, parcel, publisher)).status is Status.PUBLISHING
    clock.advance(PAST_DEADLINE)
    assert (await send(ledger, parcel, publisher)).status is Status.UNKNOWN
    clock.advance(timedelta(days=400))
    assert (await send(ledger, parcel, publisher)).status is Status.UNKNOWN
    assert publisher.live == [(parcel.pub_key, 0)]


async def test_a_call_that_hangs_is_cut_off_and_unknown(clock: ManualClock) -> None:
    ledger = in_memory(clock, times=Times(send_timeout=timedelta(milliseconds=30)))
    publisher = ScriptedPublisher(during=lambda: asyncio.sleep(30))
    assert (await send(ledger, a_parcel(), publisher)).status is Status.PUBLISHING
    clock.advance(PAST_DEADLINE)
    assert (await ledger.read(a_parcel().pub_key, 1)).status is Status.UNKNOWN


async def test_a_worker_cancelled_while_the_call_is_under_way_leaves_no_outcome(clock: ManualClock) -> None:
    ledger, parcel, arrived = in_memory(clock), a_parcel(), asyncio.Event()

    async def hang() -> None:
        arrived.set()
        await asyncio.sleep(30)

    task = asyncio.create_task(send(ledger, parcel, ScriptedPublisher(during=hang)))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    clock.advance(PAST_DEADLINE)
    assert (await ledger.read(parcel.pub_key, 1)).status is Status.UNKNOWN


async def test_a_worker_cancelled_before_the_first_byte_ends_its_attempt_as_not_sent(clock: ManualClock) -> None:
    ledger, parcel, publisher, asked = in_memory(clock), a_parcel(), ScriptedPublisher(), asyncio.Event()

    async def hang() -> str:
        asked.set()
        await asyncio.sleep(30)
        return ""

    task = asyncio.create_task(send(ledger, parcel, publisher, still_allowed=hang))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await ledger.read(parcel.pub_key, 1)).status is Status.NOT_SENT
    assert publisher.live == []


# --- refusals -------------------------------------------------------------------------------------------------------


async def test_a_refused_connection_is_not_sent_and_may_be_tried_again(ledger: Ledger) -> None:
    parcel = a_parcel()
    publisher = ScriptedPublisher(answers={0: [ConnectionRefusedError()]}, refuses={0})
    assert (await send(ledger, parcel, publisher)).status is Status.NOT_SENT
    publisher.refuses.clear()
    second = await send(ledger, parcel, publisher)
    assert (second.status, second.attempt, publisher.prepared) == (Status.PUBLISHED, 2, 2)


async def test_a_listed_refusal_is_final(ledger: Ledger) -> None:
    parcel = a_parcel()
    publisher = ScriptedPublisher(answers={0: [Rejection("policy", "no music")]}, refuses={0})
    refused = await send(ledger, parcel, publisher)
    assert (refused.status, refused.code, refused.reason) == (Status.REJECTED, "policy", "no music")
    assert (await send(ledger, parcel, publisher)).status is Status.REJECTED
    assert publisher.live == []


async def test_a_refusal_while_preparing_is_final_and_nothing_is_sent(ledger: Ledger) -> None:
    publisher = ScriptedPublisher(prepare_error=Rejection("format", "too long"))
    refused = await send(ledger, a_parcel(), publisher)
    assert (refused.status, refused.code, publisher.live) == (Status.REJECTED, "format", [])


async def test_preparing_that_fails_takes_no_permit(ledger: Ledger) -> None:
    parcel, publisher = a_parcel(), ScriptedPublisher(prepare_error=Unavailable("away"))
    with pytest.raises(Unavailable):
        await send(ledger, parcel, publisher)
    assert (await ledger.read(parcel.pub_key, 1)).permit is None


async def test_an_upload_of_other_bytes_is_not_used_again(clock: ManualClock) -> None:
    records, parcel, publisher = MemoryRecords(), a_parcel(), ScriptedPublisher()
    dying = in_memory(clock, records)

    async def die(name: str, row: Any) -> None:
        if name == "create_once permit":
            raise Unavailable("cut off")

    records.before = die
    with pytest.raises(Unavailable):
        await send(dying, parcel, publisher)
    records.before = None
    assert (await dying.read(parcel.pub_key, 1)).status is Status.PREPARING
    edited = a_parcel(a_post(caption="Breathe out."))
    assert edited.pub_key == parcel.pub_key
    assert (await send(in_memory(clock, records), edited, publisher)).status is Status.PUBLISHED
    assert publisher.prepared == 2


async def test_an_upload_that_was_made_is_used_again_for_the_same_bytes(clock: ManualClock) -> None:
    records, parcel, publisher = MemoryRecords(), a_parcel(), ScriptedPublisher()

    async def die(name: str, row: Any) -> None:
        if name == "create_once permit":
            raise Unavailable("cut off")

    records.before = die
    with pytest.raises(Unavailable):
        await send(in_memory(clock, records), parcel, publisher)
    records.before = None
    assert (await send(in_memory(clock, records), parcel, publisher)).status is Status.PUBLISHED
    assert publisher.prepared == 1


# --- the moment between permit and first byte -----------------------------------------------------------------------


async def test_what_was_paused_or_unsealed_meanwhile_is_not_sent_and_says_why(ledger: Ledger) -> None:
    parcel, publisher = a_parcel(), ScriptedPublisher()

    async def paused() -> str:
        return "publishing is paused by Ana"

    held = await send(ledger, parcel, publisher, still_allowed=paused)
    assert (held.status, held.reason, publisher.live) == (Status.NOT_SENT, "publishing is paused by Ana", [])
    assert (await send(ledger, parcel, publisher)).status is Status.PUBLISHED


async def test_a_seal_that_cannot_be_read_is_not_sent(ledger: Ledger) -> None:
    async def broken() -> str:
        raise Unavailable("records are away")

    parcel, publisher = a_parcel(), ScriptedPublisher()
    with pytest.raises(Unavailable):
        await send(ledger, parcel, publisher, still_allowed=broken)
    assert ((await ledger.read(parcel.pub_key, 1)).status, publisher.live) == (Status.NOT_SENT, [])


async def test_other_bytes_than_the_sealed_ones_are_not_sent(ledger: Ledger) -> None:
    parcel, publisher = replace(a_parcel(), content_hash="0" * 64), ScriptedPublisher()
    assert ((await send(ledger, parcel, publisher)).code, publisher.live) == ("seal", [])


@pytest.mark.parametrize("paused", ["both", "boot", "utc"])
async def test_a_holder_that_was_paused_past_its_deadline_gives_up(
    ledger: Ledger, clock: ManualClock, paused: str
) -> None:
    parcel, publisher = a_parcel(), ScriptedPublisher()

    async def long_pause() -> str:
        if paused in ("both", "boot"):
            clock.advance(PAST_DEADLINE)
        if paused == "boot":
            clock.step(-PAST_DEADLINE)
        if paused == "utc":
            clock.step(PAST_DEADLINE)
        return ""

    assert (await send(ledger, parcel, publisher, still_allowed=long_pause)).status is Status.NOT_SENT
    assert publisher.live == []


async def test_nothing_is_sent_that_could_still_be_under_way_at_the_deadline(
    ledger: Ledger, clock: ManualClock
) -> None:
    parcel, publisher = a_parcel(), ScriptedPublisher()

    async def slow() -> str:
        clock.advance(timedelta(seconds=6))  # 14 s are left of the permit, the request may take 15
        return ""

    assert ((await send(ledger, parcel, publisher, still_allowed=slow)).code, publisher.live) == ("too_late", [])


async def test_a_permit_that_was_settled_by_somebody_else_meanwhile_sends_nothing(clock: ManualClock) -> None:
    """Another machine, whose wall clock runs an hour ahead for a while, lets a human settle what was never sent."""
    records, parcel, publisher = MemoryRecords(), a_parcel(), ScriptedPublisher()
    elsewhere = Ledger(records, clock, Times(), boot_id="elsewhere")  # type: ignore[arg-type]

    async def ahead() -> str:
        clock.step(timedelta(hours=1))
        await elsewhere.resolve_by_human(Subject.of(parcel, publisher), by="Ana", not_sent=True)
        clock.step(-timedelta(hours=1))
        return ""

    assert (await send(in_memory(clock, records), parcel, publisher, still_allowed=ahead)).status is Status.NOT_SENT
    assert publisher.live == []


async def test_a_worker_cancelled_while_it_records_a_receipt_still_records_it(clock: ManualClock) -> None:
    records, parcel, writing = MemoryRecords(), a_parcel(), asyncio.Event()

    async def slow(name: str, row: Any) -> None:
        if name == "create_once outcome":
            writing.set()
            await asyncio.sleep(0.02)

    records.before = slow
    task = asyncio.create_task(send(in_memory(clock, records), parcel, ScriptedPublisher()))
    await writing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    records.before = None
    assert (await in_memory(clock, records).read(parcel.pub_key, 1)).status is Status.PUBLISHED


async def test_a_lost_lease_stops_the_send_and_frees_the_post_for_the_next_holder(ledger: Ledger) -> None:
    class Lost(Unleased):
        lost = False

        def ensure_held(self) -> None:
            if self.lost:
                raise LeaseLost("task 'publish': somebody else has it")

    guard, parcel, publisher = Lost(), a_parcel(), ScriptedPublisher()

    async def lose() -> str:
        guard.lost = True
        return ""

    with pytest.raises(LeaseLost):
        await send(ledger, parcel, publisher, guard=guard, still_allowed=lose)
    assert publisher.live == []
    assert (await send(ledger, parcel, publisher)).status is Status.PUBLISHED


async def test_an_account_never_bursts_and_goes_on_in_the_next_window(records: Records, clock: ManualClock) -> None:
    ledger = Ledger(records, clock, Times(), boot_id="here", burst=BurstLimit(most=2, window=timedelta(minutes=10)))
    publisher = ScriptedPublisher()
    parcels = [a_parcel(piece_id=f"piece-{n}") for n in range(3)]
    other = a_parcel(piece_id="piece-9", account="second")
    said = [(await send(ledger, parcel, publisher)).status for parcel in [*parcels, other]]
    assert said == [Status.PUBLISHED, Status.PUBLISHED, Status.NOT_SENT, Status.PUBLISHED]
    clock.advance(timedelta(minutes=10))
    assert (await send(ledger, parcels[2], publisher)).status is Status.PUBLISHED


async def test_a_thread_counts_as_one_post_to_the_burst_guard(records: Records, clock: ManualClock) -> None:
    ledger = Ledger(records, clock, Times(), boot_id="here", burst=BurstLimit(most=1))
    assert (await send(ledger, a_parcel(a_thread(5)), ScriptedPublisher())).status is Status.PUBLISHED


async def test_the_burst_guard_leaves_publishers_alone_that_publish_nothing_by_sending(
    records: Records, clock: ManualClock
) -> None:
    ledger = Ledger(records, clock, Times(), boot_id="here", burst=BurstLimit(most=1))
    publisher = ScriptedPublisher(ready_ahead=True)
    said = [(await send(ledger, a_parcel(piece_id=f"piece-{n}"), publisher)).status for n in range(3)]
    assert said == [Status.PUBLISHED] * 3


# --- threads --------------------------------------------------------------------------------------------------------


async def test_the_parts_of_a_thread_go_out_in_order_each_in_reply_to_the_one_before(ledger: Ledger) -> None:
    parcel, publisher = a_parcel(a_thread(3)), ScriptedPublisher()
    done = await send(ledger, parcel, publisher)
    ids = [receipt(parcel, part).external_id for part in range(3)]
    assert [part for _, part in publisher.live] == [0, 1, 2]
    assert publisher.reply_to == ["", ids[0], ids[1]]
    assert (done.status, done.parts_done, done.external_id, done.sent_ids) == (Status.PUBLISHED, 3, ids[0], tuple(ids))


async def test_an_open_part_stops_the_rest_until_it_is_known_to_be_out(ledger: Ledger, clock: ManualClock) -> None:
    parcel, publisher = a_parcel(a_thread(3)), ScriptedPublisher(answers={1: [TimeoutError()]})
    await send(ledger, parcel, publisher)
    clock.advance(PAST_DEADLINE)
    stuck = await send(ledger, parcel, publisher)
    assert (stuck.status, stuck.part, stuck.parts_done) == (Status.UNKNOWN, 1, 1)
    assert [part for _, part in publisher.live] == [0, 1]
    found = await ledger.resolve_by_readback(parcel, publisher)
    assert (found.status, found.next_permit) == (Status.PUBLISHING, (1, 2))
    assert (await send(ledger, parcel, publisher)).status is Status.PUBLISHED
    assert [part for _, part in publisher.live] == [0, 1, 2]


async def test_the_next_attempt_starts_at_the_first_part_that_no_attempt_has_published(ledger: Ledger) -> None:
    parcel = a_parcel(a_thread(3))
    publisher = ScriptedPublisher(answers={1: [ConnectionRefusedError()]}, refuses={1})
    stopped = await send(ledger, parcel, publisher)
    assert (stopped.status, stopped.next_permit, is_open(stopped)) == (Status.NOT_SENT, (2, 1), True)
    publisher.refuses.clear()
    assert (await send(ledger, parcel, publisher)).status is Status.PUBLISHED
    assert [part for _, part in publisher.live] == [0, 1, 2]
    assert publisher.reply_to[1] == receipt(parcel, 0).external_id


async def test_a_worker_that_died_between_two_parts_is_followed_by_one_that_goes_on(clock: ManualClock) -> None:
    records, parcel, publisher = MemoryRecords(), a_parcel(a_thread(3)), ScriptedPublisher()

    async def die(name: str, row: Any) -> None:
        if name == "create_once permit" and row.part == 1:
            raise Unavailable("cut off")

    records.before = die
    with pytest.raises(Unavailable):
        await send(in_memory(clock, records), parcel, publisher)
    records.before = None
    between = await in_memory(clock, records).read(parcel.pub_key, 3)
    assert (between.status, between.sendable, is_open(between)) == (Status.PUBLISHING, True, True)
    assert (await send(in_memory(clock, records), parcel, publisher)).status is Status.PUBLISHED
    assert [part for _, part in publisher.live] == [0, 1, 2]


# --- finding out ----------------------------------------------------------------------------------------------------


async def unknown(ledger: Ledger, clock: ManualClock, parcel: Parcel, **options: Any) -> ScriptedPublisher:
    publisher = ScriptedPublisher(answers={0: [TimeoutError()]}, **options)
    await send(ledger, parcel, publisher)
    clock.advance(PAST_DEADLINE)
    return publisher


async def test_reading_back_resolves_an_unknown_post_to_published(ledger: Ledger, clock: ManualClock) -> None:
    parcel = a_parcel()
    publisher = await unknown(ledger, clock, parcel)
    found = await ledger.resolve_by_readback(parcel, publisher)
    assert (found.status, found.url) == (Status.PUBLISHED, receipt(parcel, 0).url)


async def test_a_post_that_is_not_seen_stays_unknown_then_needs_a_human_and_is_never_resent(
    ledger: Ledger, clock: ManualClock
) -> None:
    parcel = a_parcel()
    publisher = await unknown(ledger, clock, parcel, visible=False)
    assert (await ledger.resolve_by_readback(parcel, publisher)).status is Status.UNKNOWN
    clock.advance(PAST_SETTLE)
    asked = await ledger.resolve_by_readback(parcel, publisher)
    assert (asked.status, asked.needs_human) == (Status.NEEDS_HUMAN, True)
    assert "proves nothing" in asked.reason
    assert (await send(ledger, parcel, publisher)).status is Status.NEEDS_HUMAN
    assert len(publisher.live) == 1
    publisher.visible = True
    assert (await ledger.resolve_by_readback(parcel, publisher)).status is Status.PUBLISHED


async def test_a_platform_that_cannot_be_read_is_asked_again_and_in_the_end_a_human_is(
    ledger: Ledger, clock: ManualClock
) -> None:
    class Unreadable(ScriptedPublisher):
        async def check(self, parcel: Parcel, *, part: int, handle: str) -> Receipt | None:
            raise Unavailable("away")

    parcel = a_parcel()
    await unknown(ledger, clock, parcel)
    with pytest.raises(Unavailable):
        await ledger.resolve_by_readback(parcel, Unreadable())
    clock.advance(PAST_SETTLE)
    assert (await ledger.resolve_by_readback(parcel, Unreadable())).status is Status.NEEDS_HUMAN


async def test_a_human_must_wait_until_the_call_has_ended_and_settled(ledger: Ledger, clock: ManualClock) -> None:
    parcel = a_parcel()
    publisher = await unknown(ledger, clock, parcel)
    subject = Subject.of(parcel, publisher)
    for _ in range(2):
        with pytest.raises(Conflict, match=r"wait until 2026-12-07 09:02:05 UTC"):
            await ledger.resolve_by_human(subject, by="Ana", not_sent=True)
        clock.step(timedelta(days=1))  # a stepped wall clock does not shorten the wait
    clock.advance(PAST_SETTLE)
    freed = await ledger.resolve_by_human(subject, by="Ana", not_sent=True)
    assert (freed.status, freed.next_permit) == (Status.NOT_SENT, (2, 0))
    assert (await send(ledger, parcel, publisher)).attempt == 2


async def test_a_human_who_saw_the_post_makes_it_published(ledger: Ledger, clock: ManualClock) -> None:
    parcel = a_parcel()
    publisher = await unknown(ledger, clock, parcel, visible=False)
    clock.advance(PAST_SETTLE)
    seen = await ledger.resolve_by_human(Subject.of(parcel, publisher), by="Ana", sent_url="https://x.test/1")
    assert (seen.status, seen.url) == (Status.PUBLISHED, "https://x.test/1")


async def test_of_two_humans_the_second_is_told_who_decided(clock: ManualClock) -> None:
    records, parcel = MemoryRecords(), a_parcel()
    ledger = in_memory(clock, records)
    publisher = await unknown(ledger, clock, parcel)
    clock.advance(PAST_SETTLE)
    subject = Subject.of(parcel, publisher)
    answers = await asyncio.gather(
        ledger.resolve_by_human(subject, by="Ana", not_sent=True),
        ledger.resolve_by_human(subject, by="Ben", sent_url="https://x.test/1"),
        return_exceptions=True,
    )
    lost = [answer for answer in answers if isinstance(answer, Conflict)]
    assert len(lost) == 1
    assert "decided first by" in str(lost[0])


async def test_there_is_nothing_to_resolve_before_a_permit_and_after_publishing(ledger: Ledger) -> None:
    parcel, publisher = a_parcel(), ScriptedPublisher()
    subject = Subject.of(parcel, publisher)
    with pytest.raises(Conflict, match="nothing to resolve"):
        await ledger.resolve_by_human(subject, by="Ana", not_sent=True)
    await send(ledger, parcel, publisher)
    with pytest.raises(Conflict, match="nothing to resolve"):
        await ledger.resolve_by_human(subject, by="Ana", sent_url="https://x.test/1")


async def test_a_receipt_that_comes_after_a_human_said_not_sent_blocks_every_further_attempt(
    ledger: Ledger, clock: ManualClock
) -> None:
    parcel, publisher = a_parcel(), ScriptedPublisher()

    async def stopped_for_long() -> None:
        clock.advance(PAST_SETTLE)
        await ledger.resolve_by_human(Subject.of(parcel, publisher), by="Ana", not_sent=True)

    publisher.during = stopped_for_long
    done = await send(ledger, parcel, publisher)
    publisher.during = None
    assert (done.status, done.url) == (Status.PUBLISHED, receipt(parcel, 0).url)
    assert (await send(ledger, parcel, publisher)).status is Status.PUBLISHED
    assert len(publisher.live) == 1


async def test_a_post_found_live_after_all_is_recorded_by_a_human_and_not_sent_again(ledger: Ledger) -> None:
    parcel = a_parcel()
    publisher = ScriptedPublisher(answers={0: [ConnectionRefusedError()]})  # it lied: the post is live
    assert (await send(ledger, parcel, publisher)).status is Status.NOT_SENT
    subject = Subject.of(parcel, publisher)
    seen = await ledger.resolve_by_human(subject, by="Ana", sent_url="https://x.test/1")
    assert (seen.status, (await send(ledger, parcel, publisher)).status) == (Status.PUBLISHED, Status.PUBLISHED)
    assert len(publisher.live) == 1


# --- cancel and hold ------------------------------------------------------------------------------------------------


async def test_a_cancelled_publication_is_never_sent(ledger: Ledger) -> None:
    parcel, publisher = a_parcel(), ScriptedPublisher()
    subject = Subject.of(parcel, publisher)
    gone = await ledger.cancel(subject, by="Ana")
    assert (gone.status, gone.reason, gone.sendable) == (Status.CANCELLED, "cancelled by Ana", False)
    assert (await send(ledger, parcel, publisher)).status is Status.CANCELLED
    assert (await ledger.cancel(subject, by="Ben")).reason == "cancelled by Ana"
    assert publisher.live == []


@pytest.mark.parametrize("verb", ["cancel", "hold"])
async def test_what_is_going_out_may_be_out_or_is_out_can_be_neither_cancelled_nor_held(
    ledger: Ledger, clock: ManualClock, verb: str
) -> None:
    parcel, publisher = a_parcel(), ScriptedPublisher(answers={0: [TimeoutError()]})
    withdraw = getattr(ledger, verb)
    subject, refused = Subject.of(parcel, publisher), []

    async def meanwhile() -> None:
        with pytest.raises(AlreadyPublished, match="it is going out") as error:
            await withdraw(subject, by="Ana")
        refused.append(error)

    publisher.during = meanwhile
    await send(ledger, parcel, publisher)
    assert len(refused) == 1
    clock.advance(PAST_DEADLINE)
    await meanwhile()
    await ledger.resolve_by_readback(parcel, publisher)
    await meanwhile()


async def test_whoever_cancels_and_loses_the_race_is_told_that_it_is_going_out(clock: ManualClock) -> None:
    records, parcel, publisher = MemoryRecords(), a_parcel(), ScriptedPublisher()
    human, worker = in_memory(clock, records), in_memory(clock, records)

    async def overtake(name: str, row: Any) -> None:
        if name == "create_once permit" and row.holder == "cancel":
            records.before = None
            await send(worker, parcel, publisher)

    records.before = overtake
    with pytest.raises(AlreadyPublished, match="a sender took the permit"):
        await human.cancel(Subject.of(parcel, publisher), by="Ana")
    assert len(publisher.live) == 1


async def test_a_sender_that_loses_the_race_to_a_cancel_sends_nothing(clock: ManualClock) -> None:
    records, parcel, publisher = MemoryRecords(), a_parcel(), ScriptedPublisher()
    human, worker = in_memory(clock, records), in_memory(clock, records)

    async def overtake(name: str, row: Any) -> None:
        if name == "create_once permit" and row.holder != "cancel":
            records.before = None
            await human.cancel(Subject.of(parcel, publisher), by="Ana")

    records.before = overtake
    assert (await send(worker, parcel, publisher)).status is Status.CANCELLED
    assert publisher.live == []


async def test_a_cancel_that_died_after_its_permit_still_cancels(clock: ManualClock) -> None:
    records, parcel, publisher = MemoryRecords(), a_parcel(), ScriptedPublisher()

    async def die(name: str, row: Any) -> None:
        if name == "create_once permit":
            raise asyncio.CancelledError

    records.after = die
    with pytest.raises(asyncio.CancelledError):
        await in_memory(clock, records).cancel(Subject.of(parcel, publisher), by="Ana")
    records.after = None
    assert (await send(in_memory(clock, records), parcel, publisher)).status is Status.CANCELLED
    assert publisher.live == []


async def test_a_held_publication_goes_out_with_its_next_attempt(ledger: Ledger) -> None:
    parcel, publisher = a_parcel(), ScriptedPublisher()
    held = await ledger.hold(Subject.of(parcel, publisher), by="Ana", reason="moved to Friday")
    assert (held.status, held.reason, is_open(held)) == (Status.NOT_SENT, "moved to Friday", False)
    sent = await send(ledger, parcel, publisher)
    assert (sent.status, sent.attempt) == (Status.PUBLISHED, 2)


async def test_a_cancel_that_loses_its_permit_to_a_hold_cancels_all_the_same(clock: ManualClock) -> None:
    records, parcel, publisher = MemoryRecords(), a_parcel(), ScriptedPublisher()
    subject = Subject.of(parcel, publisher)

    async def overtake(name: str, row: Any) -> None:
        if name == "create_once permit" and row.holder == "cancel":
            records.before = None
            await in_memory(clock, records).hold(subject, by="Ben")

    records.before = overtake
    assert (await in_memory(clock, records).cancel(subject, by="Ana")).status is Status.CANCELLED
    assert (await send(in_memory(clock, records), parcel, publisher)).status is Status.CANCELLED


async def test_the_rest_of_a_thread_can_be_cancelled_but_not_edited(ledger: Ledger) -> None:
    parcel = a_parcel(a_thread(3))
    publisher = ScriptedPublisher(answers={1: [ConnectionRefusedError()]}, refuses={1})
    await send(ledger, parcel, publisher)
    subject = Subject.of(parcel, publisher)
    with pytest.raises(AlreadyPublished):
        await ledger.hold(subject, by="Ana")
    stopped = await ledger.cancel(subject, by="Ana")
    assert (stopped.status, stopped.parts_done, is_open(stopped)) == (Status.CANCELLED, 1, True)
    assert [part for _, part in publisher.live] == [0]


# --- what a crash leaves behind -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "then"), [("permit", Status.UNKNOWN), ("outcome", Status.PUBLISHED)])
async def test_a_decision_whose_taker_died_before_writing_its_row_is_found_and_written(
    clock: ManualClock, kind: str, then: Status
) -> None:
    records, parcel, publisher = MemoryRecords(), a_parcel(), ScriptedPublisher()

    async def die(name: str, row: Any) -> None:
        if name == f"create_once {kind}":
            records.before = dead
            raise asyncio.CancelledError

    async def dead(name: str, row: Any) -> None:
        raise asyncio.CancelledError

    records.after = die
    with pytest.raises(asyncio.CancelledError):
        await send(in_memory(clock, records), parcel, publisher)
    records.before = records.after = None
    written = {row.step for row in records.rows.values() if isinstance(row, LedgerStep)}
    clock.advance(PAST_DEADLINE)
    successor = in_memory(clock, records)
    assert (await send(successor, parcel, publisher)).status is then
    assert {row.step for row in records.rows.values() if isinstance(row, LedgerStep)} > written
    assert len(publisher.live) == (1 if kind == "outcome" else 0)


async def test_a_receipt_is_recorded_although_the_store_is_away_for_a_moment(clock: ManualClock) -> None:
    records, parcel, failures = MemoryRecords(), a_parcel(), [1, 1, 1]

    async def away(name: str, row: Any) -> None:
        if name == "create_once outcome" and failures:
            failures.pop()
            raise Unavailable("records are away")

    records.before = away
    assert (await send(in_memory(clock, records), parcel, ScriptedPublisher())).status is Status.PUBLISHED


async def test_a_receipt_that_cannot_be_recorded_is_told_and_the_post_is_not_sent_again(clock: ManualClock) -> None:
    records, parcel, publisher = MemoryRecords(), a_parcel(), ScriptedPublisher()

    async def away(name: str, row: Any) -> None:
        if name == "create_once outcome":
            raise Unavailable("records are away")

    records.before = away
    with pytest.raises(Uncertain, match=r"resolve --sent https://platform\.test"):
        await send(in_memory(clock, records), parcel, publisher)
    records.before = None
    clock.advance(PAST_SETTLE)
    assert (await send(in_memory(clock, records), parcel, publisher)).status is Status.UNKNOWN
    assert len(publisher.live) == 1


async def test_a_permit_of_another_boot_runs_out_by_the_wall_clock(clock: ManualClock) -> None:
    records, parcel = MemoryRecords(), a_parcel()
    await send(in_memory(clock, records), parcel, ScriptedPublisher(answers={0: [TimeoutError()]}))
    rebooted = Ledger(records, clock, Times(), boot_id="after the reboot")  # type: ignore[arg-type]
    assert (await rebooted.read(parcel.pub_key, 1)).status is Status.PUBLISHING
    clock.step(PAST_DEADLINE)
    assert (await rebooted.read(parcel.pub_key, 1)).status is Status.UNKNOWN


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_publication_is_named_by_brand_platform_account_and_piece_alone() -> None:
    parcel = a_parcel()
    moved = replace(parcel, scheduled_at=parcel.scheduled_at + timedelta(days=3), content_hash="1" * 64)
    assert pub_key("eesystem", "instagram", "default", parcel.piece_id) == moved.pub_key
    assert len({pub_key("ab", "c", "d", "e"), pub_key("a", "bc", "d", "e"), pub_key("a", "b", "cd", "e")}) == 3
