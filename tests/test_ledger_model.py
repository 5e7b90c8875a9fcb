"""A model of the ledger: senders, readers and humans that are paused, killed and raced at every step, under a clock
that steps.

Every actor stops at a gate before and after each call to the store, and after each post went live. What runs next, who
dies and what the platform answers is drawn by hypothesis.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import tools.publish.ledger as ledger_module
import tools.publish.steps as steps_module
from config.clock import ManualClock
from config.errors import CopydeskError, Unavailable
from config.vocabulary import Step
from memory.lease import Unleased
from memory.records.protocol import Once
from memory.rows.publication import LedgerStep
from tests.fakes.publishing import MemoryRecords, Times, a_parcel, a_thread, receipt
from tools.publish.fold import OUTCOMES, Publication, Status, fold
from tools.publish.ledger import Ledger, Subject
from tools.publish.protocol import Parcel, Receipt, Rejection
from tools.publish.steps import Steps

TIMES = Times()
PARTS = 2
BAD_ANSWERS = ["reset", "garbage", "refused", "rejected"]


class Killed(BaseException):
    """kill -9: nothing more of this actor happens."""


class Actor:
    """One process at work, which stops at every gate until it is stepped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.dead = False
        self.at_the_platform = False
        self.waiting: asyncio.Future[None] | None = None
        self.task: asyncio.Task[Any] | None = None

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        self.task = self.loop.create_task(self._run(work))
        self._settle()

    async def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        with contextlib.suppress(CopydeskError, Killed):
            await work

    async def gate(self, *_: Any) -> None:
        if self.dead:
            raise Killed
        self.waiting = self.loop.create_future()
        await self.waiting
        if self.dead:
            raise Killed

    async def hold_the_line(self) -> None:
        """Wait at the platform for the answer to the one call."""
        self.at_the_platform = True
        await self.gate()
        self.at_the_platform = False

    def step(self) -> None:
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.set_result(None)
        self._settle()

    def kill(self) -> None:
        self.dead = True
        self.step()

    @property
    def done(self) -> bool:
        return self.task is None or self.task.done()

    def _settle(self) -> None:
        async def until_still() -> None:
            while not self.done and self.waiting is None:  # noqa: ASYNC110  whoever is at work signals nobody
                await asyncio.sleep(0)

        self.loop.run_until_complete(until_still())
        if self.done and self.task is not None:
            self.task.result()


class LedgerMachine(RuleBasedStateMachine):
    ledger_type: type[Ledger] = Ledger

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.parcel = a_parcel(a_thread(PARTS))
        self.shared = MemoryRecords()
        self.actors: list[Actor] = []
        self.answers: list[Any] = []
        self.live: list[tuple[int, int]] = []
        """(attempt, part) of every post that the platform has."""
        self.wrong: list[str] = []
        self.paused = ""
        self.lose_reply = False
        self.was_published = False

    # --- the world ---

    def ledger(self, actor: Actor | None) -> Ledger:
        records = MemoryRecords(self.shared.rows, self.shared.decisions)
        if actor is not None:

            async def after(name: str, row: Any) -> None:
                lost, self.lose_reply = self.lose_reply and name.startswith("create_once"), False
                await actor.gate()
                if lost:
                    raise Unavailable("the reply was lost")

            records.before, records.after = actor.gate, after
        return self.ledger_type(records, self.clock, TIMES, boot_id="one machine")  # type: ignore[arg-type]

    def publisher(self, actor: Actor | None) -> ModelPublisher:
        return ModelPublisher(self, actor)

    async def still_allowed(self) -> str:
        return self.paused

    def decision(self, kind: str, attempt: int, part: int) -> LedgerStep | None:
        kept = self.shared.decisions.get((kind, f"{self.parcel.pub_key}|{attempt}|{part}"))
        return kept.row if kept else None

    def rows(self) -> list[LedgerStep]:
        return [row for row in self.shared.rows.values() if isinstance(row, LedgerStep)]

    def look(self) -> Publication:
        return self.loop.run_until_complete(self.ledger(None).read(self.parcel.pub_key, PARTS))

    def went_live(self, attempt: int, part: int) -> None:
        """The platform has one post more: what was wrong with that? Kept: what is raised here would look like its answer."""
        permit = self.decision("permit", attempt, part)
        if permit is None or permit.deadline is None:
            self.wrong.append("sent without a permit")
        else:
            boot_ends = self.clock.boottime() + TIMES.send_timeout.total_seconds()
            if permit.holder in ("cancel", "hold"):
                self.wrong.append("sent under a permit that was taken to stop it")
            if self.clock.now() + TIMES.send_timeout > permit.deadline or boot_ends > permit.deadline_boot:
                self.wrong.append("sent too late")
        if self.decision("outcome", attempt, part) is not None:
            self.wrong.append("sent after its outcome was decided")
        if part in [p for _, p in self.live]:
            self.wrong.append("sent twice")
        elif part != len(self.live):
            self.wrong.append("sent out of order")
        for earlier in range(1, attempt):
            ended = {row.step for row in self.rows() if row.attempt == earlier}
            holders = {row.holder for row in self.rows() if row.attempt == earlier and row.step is Step.PERMIT}
            if Step.NOT_SENT not in ended and not holders & {"cancel", "hold"}:
                self.wrong.append("sent again after an unknown outcome")
        self.live.append((attempt, part))

    # --- what may happen ---

    @property
    def room(self) -> bool:
        return len([actor for actor in self.actors if not actor.done]) < 4

    def begin(self, work: Callable[[Actor], Coroutine[Any, Any, Any]], *, gates: int = 0) -> None:
        actor = Actor(self.loop)
        self.actors = [other for other in self.actors if not other.done]
        self.actors.append(actor)
        actor.start(work(actor))
        for _ in range(gates):
            actor.step()

    @precondition(lambda self: self.room)
    @rule(gates=st.integers(0, 25), answer=st.sampled_from(["", "", *BAD_ANSWERS]))
    def a_sender_starts(self, gates: int, answer: str) -> None:
        self.answers = [answer]
        self.begin(
            lambda actor: self.ledger(actor).publish(
                self.parcel, self.publisher(actor), guard=Unleased(), still_allowed=self.still_allowed
            ),
            gates=gates,
        )

    @precondition(lambda self: self.room)
    @rule(answer=st.sampled_from(["", *BAD_ANSWERS]))
    def a_sender_waits_for_its_answer(self, answer: str) -> None:
        self.a_sender_starts(gates=0, answer=answer)
        actor = self.actors[-1]
        while not (actor.done or actor.at_the_platform):
            actor.step()

    @precondition(lambda self: self.room and self.look().unresolved)
    @rule(gates=st.integers(0, 25))
    def somebody_reads_back(self, gates: int) -> None:
        self.begin(
            lambda actor: self.ledger(actor).resolve_by_readback(self.parcel, self.publisher(actor)), gates=gates
        )

    @precondition(lambda self: self.room and self.look().unresolved)
    @rule(gates=st.integers(0, 25))
    def a_human_says_what_is_there(self, gates: int) -> None:
        part = self.look().part
        out = part in [p for _, p in self.live]
        subject = Subject.of(self.parcel, self.publisher(None))
        self.begin(
            lambda actor: self.ledger(actor).resolve_by_human(
                subject, by="Ana", sent_url="https://x.test/1" if out else "", not_sent=not out
            ),
            gates=gates,
        )

    @precondition(lambda self: self.room)
    @rule(verb=st.sampled_from(["hold", "hold", "cancel"]))
    def a_human_stops_it(self, verb: str) -> None:
        subject = Subject.of(self.parcel, self.publisher(None))
        self.begin(lambda actor: getattr(self.ledger(actor), verb)(subject, by="Ben"))

    @precondition(lambda self: any(not actor.done for actor in self.actors))
    @rule(data=st.data(), gates=st.integers(1, 20))
    def somebody_goes_on(self, data: st.DataObject, gates: int) -> None:
        actor = data.draw(st.sampled_from([actor for actor in self.actors if not actor.done]))
        for _ in range(gates):
            actor.step()

    @rule()
    def everybody_ends(self) -> None:
        for actor in self.actors:
            while not actor.done:
                actor.step()

    @precondition(lambda self: any(not actor.done for actor in self.actors))
    @rule(data=st.data())
    def somebody_is_killed(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from([actor for actor in self.actors if not actor.done])).kill()

    @rule(seconds=st.sampled_from([1, 6, 21, 130]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    @rule(seconds=st.sampled_from([-3600, -10, 10, 3600]))
    def the_wall_clock_is_stepped(self, seconds: int) -> None:
        self.clock.step(timedelta(seconds=seconds))

    @rule(answer=st.sampled_from(BAD_ANSWERS))
    def the_platform_will_fail(self, answer: str) -> None:
        self.answers.append(answer)

    @rule()
    def the_store_will_lose_a_reply(self) -> None:
        self.lose_reply = True

    @rule(reason=st.sampled_from(["", "paused by Ana"]))
    def publishing_is_paused_or_resumed(self, reason: str) -> None:
        self.paused = reason

    # --- what must hold ---

    @invariant()
    def every_send_was_right(self) -> None:
        assert not self.wrong, self.wrong[0]

    @invariant()
    def published_is_absorbing(self) -> None:
        published = self.look().status is Status.PUBLISHED
        assert published or not self.was_published
        self.was_published = published

    @invariant()
    def what_the_ledger_calls_out_is_out(self) -> None:
        assert self.look().parts_done <= len(self.live)

    @invariant()
    def a_permit_has_one_outcome(self) -> None:
        outcomes: dict[tuple[int, int], list[Step]] = {}
        for row in self.rows():
            if row.step in OUTCOMES:
                outcomes.setdefault((row.attempt, row.part), []).append(row.step)
        for (attempt, part), said in outcomes.items():
            negative = [step for step in said if step is not Step.PUBLISHED]
            assert len(negative) <= 1, f"attempt {attempt} part {part}: {said}"
            assert negative or len(said) == 1, f"attempt {attempt} part {part}: {said}"

    def teardown(self) -> None:
        try:
            for actor in self.actors:
                while not actor.done:
                    actor.kill()
            self.the_story_comes_to_an_end()
        finally:
            self.loop.close()

    def the_story_comes_to_an_end(self) -> None:
        """With nobody in the way, every publication ends, and as the platform has it."""
        self.answers, self.paused, self.lose_reply = [], "", False
        for _ in range(12):
            self.clock.advance(timedelta(seconds=200))
            now = self.look()
            ledger, publisher = self.ledger(None), self.publisher(None)
            if now.sendable:
                work: Coroutine[Any, Any, Any] = ledger.publish(
                    self.parcel, publisher, guard=Unleased(), still_allowed=self.still_allowed
                )
            elif now.unresolved:
                out = now.part in [p for _, p in self.live]
                subject = Subject.of(self.parcel, publisher)
                url = "https://x.test/1" if out else ""
                work = ledger.resolve_by_human(subject, by="Ana", sent_url=url, not_sent=not out)
            else:
                break
            self.loop.run_until_complete(work)
        end = self.look()
        self.every_send_was_right()
        self.a_permit_has_one_outcome()
        assert end.status in (Status.PUBLISHED, Status.REJECTED, Status.CANCELLED), end.status
        assert [part for _, part in self.live] == list(range(end.parts_done))
        assert end.status is not Status.PUBLISHED or end.parts_done == PARTS


class ModelPublisher:
    """The platform as one actor meets it."""

    name = "model"
    ready_ahead = True  # the burst guard has tests of its own

    def __init__(self, world: LedgerMachine, actor: Actor | None) -> None:
        self.world = world
        self.actor = actor

    def parts(self, post: Any) -> int:
        return PARTS

    async def prepare(self, parcel: Parcel, *, attempt: int) -> str:
        return str(attempt)

    async def finalize(self, parcel: Parcel, *, part: int, handle: str, reply_to: str, timeout: timedelta) -> Receipt:
        answer = self.world.answers.pop(0) if self.world.answers else ""
        if self.actor is not None and answer in ("refused", "rejected"):
            await self.actor.hold_the_line()
        if answer == "refused":
            raise ConnectionRefusedError
        if answer == "rejected":
            raise Rejection("policy", "no")
        self.world.went_live(int(handle), part)
        if self.actor is not None:
            await self.actor.hold_the_line()
        if answer == "reset":
            raise ConnectionResetError
        return receipt(parcel, part) if answer != "garbage" else Receipt("", "")

    async def check(self, parcel: Parcel, *, part: int, handle: str) -> Receipt | None:
        return receipt(parcel, part) if part in [p for _, p in self.world.live] else None


def run(machine: type[LedgerMachine], *, examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_order_of_events_sends_a_part_twice_or_without_a_permit() -> None:
    run(LedgerMachine, examples=150)


# --- planted bugs: the model must see each of them -------------------------------------------------------------------


class SendsFirst(Ledger):
    """Takes its permit after the call."""

    async def _send(self, subject: Any, parcel: Any, publisher: Any, permit: LedgerStep, *rest: Any) -> bool:
        return True

    async def publish(self, parcel: Parcel, publisher: Any, **options: Any) -> Publication:
        publication = await self.read(parcel.pub_key, publisher.parts(parcel.post))
        if publication.next_permit is not None:
            attempt, part = publication.next_permit
            with contextlib.suppress(Rejection, OSError):
                await publisher.finalize(parcel, part=part, handle=str(attempt), reply_to="", timeout=timedelta(0))
        return await super().publish(parcel, publisher, **options)


def resending_fold(key: str, steps: Iterable[LedgerStep], **options: Any) -> Publication:
    """Takes silence for `not sent`."""
    known = list(steps)
    while (publication := fold(key, known, **options)).status is Status.UNKNOWN and publication.permit is not None:
        known.append(publication.permit.model_copy(update={"step": Step.NOT_SENT, "step_id": "assumed"}))
    return publication


async def recorded_without_a_race(self: Steps, outcome: LedgerStep) -> Once[LedgerStep]:
    await self.append(outcome)
    return Once(True, outcome, outcome.step_id)


async def taken_without_a_race(self: Steps, permit: LedgerStep, *, token: str) -> Once[LedgerStep]:
    await self.append(permit)
    return Once(True, permit, token)


def plant(name: str, monkeypatch: pytest.MonkeyPatch) -> type[LedgerMachine]:
    machine = type(f"Planted{LedgerMachine.__name__}", (LedgerMachine,), {})
    if name == "resend on unknown":
        monkeypatch.setattr(steps_module, "fold", resending_fold)
    elif name == "deadline not checked":
        monkeypatch.setattr(ledger_module, "time_left", lambda *_: timedelta(days=1))
    elif name == "permit after the call":
        machine.ledger_type = SendsFirst  # type: ignore[attr-defined]
    elif name == "outcome without create_once":
        monkeypatch.setattr(Steps, "record", recorded_without_a_race)
    elif name == "permit without create_once":
        monkeypatch.setattr(Steps, "take", taken_without_a_race)
    return machine


BUGS = (
    "resend on unknown",
    "deadline not checked",
    "permit after the call",
    "outcome without create_once",
    "permit without create_once",
)


@pytest.mark.parametrize("bug", BUGS)
def test_the_model_sees_a_planted_bug(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of its invariants sees it first depends on what is tried, and that on what else is imported."""
    machine = plant(bug, monkeypatch)
    with pytest.raises(AssertionError):
        run(machine, examples=3000)  # stops at the first
