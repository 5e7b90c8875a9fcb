"""The ledger: how a post is sent at most once, and what is said when nobody can know.

Every publication has one `pub_key`. Whoever wants to make a part of it public first takes a permit, which only one
caller in the world can win, and which is durable before the first byte of the irreversible call. Whatever then happens
to that caller, nobody else sends that part in that attempt; a further attempt exists only after an outcome that says
`not_sent`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from config.clock import Clock
from config.errors import AlreadyPublished, Conflict, LeaseLost, Unavailable, Uncertain
from config.ids import name_id, new_token
from config.vocabulary import Step
from memory.lease import LeaseGuard
from memory.records.protocol import Once, Records
from memory.rows.publication import LedgerStep
from tools.publish.fold import (
    CANCEL,
    HOLD,
    WITHDRAWN,
    Publication,
    Status,
    fold,
    is_open,
    pub_key,
    time_left,
)
from tools.publish.protocol import Parcel, Publisher, Receipt, Rejection
from tools.publish.rate_limits import BurstLimit
from tools.publish.steps import SendTimes, Steps, Subject

__all__ = ["CANCEL", "HOLD", "BurstLimit", "Ledger", "Publication", "Status", "Subject", "fold", "is_open", "pub_key"]

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_RECORD_TRIES = 5


class Ledger:
    """The publications of one brand.

    `records` must not be bound to a lease: steps are only appended and races are decided by `create_once`, while the
    outcome of a call that was made must be written even if the lease ended meanwhile. The lease is asked through
    `guard` instead.
    """

    def __init__(
        self, records: Records, clock: Clock, settings: SendTimes, *, boot_id: str, burst: BurstLimit | None = None
    ) -> None:
        self._records = records
        self._clock = clock
        self._settings = settings
        self._steps = Steps(records, clock, settings, boot_id=boot_id)
        self._burst = burst or BurstLimit()

    async def read(self, pub_key: str, part_count: int) -> Publication:
        """The publication as all steps and decisions say.

        What somebody decided and died before writing is found and written here. May raise Unavailable.
        """
        return await self._steps.read(pub_key, part_count)

    async def publish(
        self,
        parcel: Parcel,
        publisher: Publisher,
        *,
        guard: LeaseGuard,
        still_allowed: Callable[[], Awaitable[str]],
    ) -> Publication:
        """Send every part that is still to be sent, each at most once, and return where the publication then stands.

        Sends nothing when `sendable` is false. `still_allowed` reads seal and pause again, after the permit and before
        the first byte; it returns '' or why not, and anything but '' ends the attempt as `not_sent`. Stops at the
        first part that is not published. A call whose answer is not a parsed success or a listed refusal gets no
        outcome, ever, from here.

        Raises:
            LeaseLost: `guard` lost its lease before the first byte; the attempt ended as `not_sent` if it had begun.
            Unavailable: preparing failed, or Records did not answer; nothing was sent under a permit taken by this
                call, or the publication is `unknown` after the permit's deadline.
            Uncertain: the part is out but its receipt could not be recorded; the message holds it.
        """
        subject = Subject.of(parcel, publisher)
        while True:
            publication = await self.read(subject.pub_key, subject.part_count)
            if publication.next_permit is None:
                return publication
            attempt, part = publication.next_permit
            guard.ensure_held()
            try:
                handle = await self._prepare(parcel, publisher, publication, subject, attempt, part)
            except Rejection as refusal:
                await self._refuse(subject, parcel, attempt, part, refusal)
                return await self.read(subject.pub_key, subject.part_count)
            await guard.extend()
            permit = self._steps.permit(
                subject, attempt, part, holder=new_token(), handle=handle, content_hash=parcel.content_hash
            )
            taken = await self._steps.take(permit, token=permit.holder)
            if not taken.won:
                return await self.read(subject.pub_key, subject.part_count)
            reply_to = publication.sent_ids[part - 1] if part else ""
            if not await self._send(subject, parcel, publisher, permit, reply_to, guard, still_allowed):
                return await self.read(subject.pub_key, subject.part_count)

    async def resolve_by_readback(self, parcel: Parcel, publisher: Publisher) -> Publication:
        """Ask the platform about a part whose permit ran out; only ever resolves to published.

        Not seen proves nothing: once the platform has had its time to show the post (`send_timeout` and `settle` after
        the deadline) the publication needs a human. Does nothing to a publication that is not `unresolved`. Raises
        Unavailable while the platform cannot be read and has time left.
        """
        subject = Subject.of(parcel, publisher)
        publication = await self.read(subject.pub_key, subject.part_count)
        permit = publication.permit
        if not publication.unresolved or permit is None:
            return publication
        reason = f"{publisher.name} does not show it, which proves nothing: look at the account, then `publish resolve`"
        try:
            receipt = await publisher.check(parcel, part=permit.part, handle=permit.handle)
        except Unavailable as error:
            if not self._steps.settled(permit):
                raise
            receipt, reason = (
                None,
                f"{publisher.name} could not be read ({error}): look at the account, then `publish resolve`",
            )
        if _is_proof(receipt):
            assert receipt is not None
            step = self._steps.outcome(
                permit, Step.PUBLISHED, holder="readback", external_id=receipt.external_id, url=receipt.url
            )
            await self._steps.record(step)
        elif self._steps.settled(permit) and publication.status is not Status.NEEDS_HUMAN:
            # Named after the permit, so that two readers who come to the same end write one row.
            step_id = name_id(permit.step_id, Step.NEEDS_HUMAN)
            await self._steps.append(self._steps.outcome(permit, Step.NEEDS_HUMAN, step_id=step_id, reason=reason))
        return await self.read(subject.pub_key, subject.part_count)

    async def resolve_by_human(
        self, subject: Subject, *, by: str, sent_url: str = "", not_sent: bool = False, external_id: str = ""
    ) -> Publication:
        """Record what a person saw on the account: the post at `sent_url`, or that it is not there (`not_sent`).

        `not_sent` allows a further attempt. `sent_url` is also taken for a part that was recorded as not sent or
        refused: it is out all the same, and no attempt at it follows.

        Raises:
            Conflict: there is nothing to resolve; it is too early (the message says until when); or somebody else
                decided first (the message says who, and what).
        """
        if bool(sent_url) == not_sent:
            raise ValueError("give exactly one of sent_url and not_sent")
        publication = await self.read(subject.pub_key, subject.part_count)
        permit = publication.permit
        name = f"publication {subject.pub_key[:12]} of piece {subject.piece_id}"
        if permit is None or publication.status is Status.PUBLISHED or permit.part < len(publication.sent_ids):
            raise Conflict(f"{name} is {publication.status}: there is nothing to resolve")
        said = Step.NOT_SENT if not_sent else Step.PUBLISHED
        step = self._steps.outcome(
            permit, said, holder=by, url=sent_url, external_id=external_id or sent_url, reason=f"{by} looked"
        )
        if publication.status in (Status.NOT_SENT, Status.PREPARING, Status.REJECTED, Status.CANCELLED):
            if not_sent:
                raise Conflict(f"{name} is {publication.status} already: nothing went out")
            await self._steps.append(step)
            return await self.read(subject.pub_key, subject.part_count)
        if not self._steps.settled(permit):
            assert permit.deadline is not None
            until = permit.deadline + self._settings.send_timeout + self._settings.settle
            raise Conflict(f"{name} may still be on its way: wait until {until:%Y-%m-%d %H:%M:%S} UTC, then resolve it")
        decided = await self._steps.record(step)
        if not decided.won:
            winner = decided.row
            raise Conflict(
                f"{name} was decided first by {winner.holder or 'the sender'}: {winner.step} {winner.url}".rstrip()
            )
        return await self.read(subject.pub_key, subject.part_count)

    async def cancel(self, subject: Subject, *, by: str, reason: str = "") -> Publication:
        """Take the next permit so that nothing more of it goes out, for good.

        Does nothing to one that is cancelled or rejected. Raises AlreadyPublished when it is out, going out or may be
        out.
        """
        return await self._withdraw(subject, CANCEL, by, reason or f"cancelled by {by}")

    async def hold(self, subject: Subject, *, by: str, reason: str = "") -> Publication:
        """Take the next permit before an edit or a slot move, so that no sender is under way; another attempt may follow.

        Does nothing to one that is cancelled or rejected. Raises AlreadyPublished as `cancel`, and also when a part of
        it is out, for what is out cannot be edited.
        """
        return await self._withdraw(subject, HOLD, by, reason or f"held by {by}")

    async def _withdraw(self, subject: Subject, holder: str, by: str, reason: str) -> Publication:
        publication = await self.read(subject.pub_key, subject.part_count)
        if publication.status in (Status.CANCELLED, Status.REJECTED):
            return publication
        going = f"piece {subject.piece_id}: it is going out"
        if publication.next_permit is None or (holder == HOLD and is_open(publication)):
            raise AlreadyPublished(f"{going} ({publication.status})")
        attempt, part = publication.next_permit
        permit = self._steps.permit(subject, attempt, part, holder=holder, reason=reason)
        taken = await self._steps.take(permit, token=new_token())
        if not taken.won and taken.row.holder not in WITHDRAWN:
            raise AlreadyPublished(f"{going}: a sender took the permit at {taken.row.created_at:%H:%M:%S} UTC")
        # A permit with this holder counts as not sent by itself; the outcome is for whoever reads the rows.
        await self._steps.record(self._steps.outcome(taken.row, Step.NOT_SENT, holder=by, reason=reason))
        if holder == CANCEL and taken.row.holder == HOLD:
            # Lost to somebody who only holds it: that would let another attempt follow.
            return await self._withdraw(subject, holder, by, reason)
        return await self.read(subject.pub_key, subject.part_count)

    async def _prepare(
        self, parcel: Parcel, publisher: Publisher, publication: Publication, subject: Subject, attempt: int, part: int
    ) -> str:
        if publication.prepared_hash == parcel.content_hash:
            return publication.handle
        handle = await publisher.prepare(parcel, attempt=attempt)
        await self._steps.append(
            self._steps.step(subject, Step.PREPARING, attempt, part, handle=handle, content_hash=parcel.content_hash)
        )
        return handle

    async def _refuse(self, subject: Subject, parcel: Parcel, attempt: int, part: int, refusal: Rejection) -> None:
        """Close an attempt that the platform refused while preparing; the permit keeps any other attempt out."""
        permit = self._steps.permit(subject, attempt, part, holder=new_token(), content_hash=parcel.content_hash)
        if (await self._steps.take(permit, token=permit.holder)).won:
            await self._steps.record(
                self._steps.outcome(permit, Step.REJECTED, code=refusal.code, reason=refusal.message)
            )

    async def _send(
        self,
        subject: Subject,
        parcel: Parcel,
        publisher: Publisher,
        permit: LedgerStep,
        reply_to: str,
        guard: LeaseGuard,
        still_allowed: Callable[[], Awaitable[str]],
    ) -> bool:
        """The one irreversible call under `permit`; True when it answered with a receipt that is now recorded."""
        try:
            code, reason = await self._objection(subject, parcel, publisher, permit, guard, still_allowed)
        except BaseException as error:
            # Cancellation too: no byte was sent and only this holder may send, so the attempt ended here, whatever
            # happened.
            reason = f"stopped before the first byte: {type(error).__name__}"
            await _finish(self._steps.record(self._steps.outcome(permit, Step.NOT_SENT, code="stopped", reason=reason)))
            if isinstance(error, Exception) and not isinstance(error, LeaseLost | Unavailable):
                _log.warning("publication.stopped", pub_key=permit.pub_key, error=repr(error))
            raise
        if reason:
            await self._steps.record(self._steps.outcome(permit, Step.NOT_SENT, code=code, reason=reason))
            return False
        limit = self._settings.send_timeout
        try:
            async with asyncio.timeout(limit.total_seconds()):
                receipt = await publisher.finalize(
                    parcel, part=permit.part, handle=permit.handle, reply_to=reply_to, timeout=limit
                )
        except Rejection as refusal:
            await _finish(
                self._steps.record(
                    self._steps.outcome(permit, Step.REJECTED, code=refusal.code, reason=refusal.message)
                )
            )
            return False
        except ConnectionRefusedError as error:
            reason = f"connection refused: {error}"
            await _finish(self._steps.record(self._steps.outcome(permit, Step.NOT_SENT, code="refused", reason=reason)))
            return False
        except Exception as error:
            # Whatever a client library raises after the first byte, the post may be out: no outcome is written.
            _log.warning("publication.unanswered", pub_key=permit.pub_key, part=permit.part, error=repr(error))
            return False
        if not _is_proof(receipt):
            _log.warning(
                "publication.unanswered", pub_key=permit.pub_key, part=permit.part, error=f"no receipt: {receipt!r}"
            )
            return False
        step = self._steps.outcome(permit, Step.PUBLISHED, external_id=receipt.external_id, url=receipt.url)
        decided = await _finish(self._record_receipt(step))
        if not decided.won and decided.row.step is not Step.PUBLISHED:
            # A person said `not sent`, and was wrong. It is out: say so beside that outcome, so that nothing follows
            # it.
            await _finish(self._steps.append(step))
        return True

    async def _objection(
        self,
        subject: Subject,
        parcel: Parcel,
        publisher: Publisher,
        permit: LedgerStep,
        guard: LeaseGuard,
        still_allowed: Callable[[], Awaitable[str]],
    ) -> tuple[str, str]:
        """Why nothing may be sent under `permit` after all, as code and reason; two empty strings if it may."""
        guard.ensure_held()
        if parcel.post.content_hash != parcel.content_hash:
            return "seal", "the post is not the one that was sealed"
        if reason := await still_allowed():
            return "not_allowed", reason
        known = await self.read(subject.pub_key, subject.part_count)
        if known.permit is None or known.permit.step_id != permit.step_id or known.status is not Status.PUBLISHING:
            return "overtaken", f"by the time of sending the publication was {known.status}"
        if not publisher.ready_ahead and not await self._burst.admit(self._records, permit, now=self._clock.now()):
            again = self._burst.next_window(self._clock.now())
            return (
                "burst",
                f"account {permit.account!r} has had {self._burst.most} posts just now; again from {again:%H:%M} UTC",
            )
        guard.ensure_held()
        # Last of all, with nothing awaited between here and the call: whoever was paused until now gives up.
        if time_left(permit, self._steps.moment()) < self._settings.send_timeout:
            return "too_late", "the permit has too little time left for the request to end within it"
        return "", ""

    async def _record_receipt(self, step: LedgerStep) -> Once[LedgerStep]:
        """Record what is already public; tried several times, because nobody else can know it."""
        for attempt in range(1, _RECORD_TRIES + 1):
            try:
                return await self._steps.record(step)
            except Unavailable as error:
                if attempt == _RECORD_TRIES:
                    raise Uncertain(
                        f"piece {step.piece_id} part {step.part} is out as {step.external_id} {step.url}"
                        f" but could not be recorded ({error}): `publish resolve --sent {step.url or step.external_id}`"
                    ) from error
                await self._clock.sleep(timedelta(milliseconds=100 * 2**attempt))
        raise AssertionError("unreachable")


def _is_proof(receipt: object) -> bool:
    return isinstance(receipt, Receipt) and isinstance(receipt.external_id, str) and receipt.external_id != ""


async def _finish(writing: Coroutine[Any, Any, T]) -> T:
    """Run `writing` to its end even if this task is cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(writing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
