"""What the ledger's steps say about one publication, as pure functions of the steps and an instant."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from config.vocabulary import Step
from memory.rows.publication import LedgerStep

CANCEL = "cancel"
HOLD = "hold"
WITHDRAWN = frozenset({CANCEL, HOLD})
"""Holders of permits that nobody can send under: taken to keep a publication from going out, for good or for now."""

OUTCOMES = frozenset({Step.PUBLISHED, Step.REJECTED, Step.NOT_SENT})


class Status(StrEnum):
    """Where a publication stands. Derived, never stored."""

    APPROVED = "approved"
    """Nothing was tried yet."""
    PREPARING = "preparing"
    """Uploads may have been made; nothing is public and no permit was taken for this attempt."""
    PUBLISHING = "publishing"
    """A permit is open, or some parts of a thread are out and the next has no permit yet."""
    PUBLISHED = "published"
    """Every part is out. Absorbing."""
    REJECTED = "rejected"
    """The platform refused it for good; a new piece is needed."""
    NOT_SENT = "not_sent"
    """The last attempt ended before its first byte; another attempt may be made."""
    UNKNOWN = "unknown"
    """A permit is past its deadline and has no outcome."""
    NEEDS_HUMAN = "needs_human"
    """As unknown, and reading back did not find it."""
    CANCELLED = "cancelled"
    """A cancel took the permit: nothing more goes out."""


@dataclass(frozen=True)
class Moment:
    """One instant on both clocks of one machine."""

    now: datetime
    boot_s: float
    boot_id: str


Probe = tuple[Literal["permit", "outcome"], int, int]
"""A decision that the steps do not show but that may have been taken: its kind, attempt and part."""


@dataclass(frozen=True)
class Publication:
    """What is known about one piece going to one account."""

    pub_key: str
    status: Status
    attempt: int
    """Of the last permit; 0 when none was taken."""
    part: int
    """The part that is open, was refused, or comes next; the last one when all are out."""
    part_count: int
    parts_done: int
    handle: str
    """Of the last preparation of the attempt that is open or comes next; '' if there is none."""
    prepared_hash: str
    """The content hash that `handle` was prepared from."""
    external_id: str
    """Of the first part; '' until it is out."""
    url: str
    reason: str
    code: str
    permit: LedgerStep | None
    """The last permit taken."""
    next_permit: tuple[int, int] | None
    """Attempt and part of the permit that may be taken now; None when none may."""
    sent_ids: tuple[str, ...]
    """External ids of the leading parts that are out, in order."""
    probes: tuple[Probe, ...] = ()

    @property
    def needs_human(self) -> bool:
        return self.status is Status.NEEDS_HUMAN

    @property
    def sendable(self) -> bool:
        """Whether `Ledger.publish` would try to send."""
        return self.next_permit is not None

    @property
    def unresolved(self) -> bool:
        """Whether a permit's time is over and nobody has said what became of it."""
        return self.status in (Status.UNKNOWN, Status.NEEDS_HUMAN)


def pub_key(brand: str, platform: str, account: str, piece_id: str) -> str:
    """The publication's name for ever, sha256 as hex: slot, time and edits never change it."""
    parts = (brand, platform, account, piece_id)
    return hashlib.sha256("|".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()


def is_open(publication: Publication) -> bool:
    """Whether edits and slot moves must be refused: it is going out, may have gone out, or is out, if only in part."""
    return publication.parts_done > 0 or publication.status in (
        Status.PUBLISHING,
        Status.UNKNOWN,
        Status.NEEDS_HUMAN,
        Status.PUBLISHED,
    )


def expired(permit: LedgerStep, at: Moment) -> bool:
    """Whether nothing may be sent under `permit` any more: its deadline has passed on either clock."""
    assert permit.deadline is not None
    return at.now >= permit.deadline or (permit.boot_id == at.boot_id and at.boot_s >= permit.deadline_boot)


def time_left(permit: LedgerStep, at: Moment) -> timedelta:
    """How long its holder may still send, by the clock that leaves less."""
    assert permit.deadline is not None
    return min(permit.deadline - at.now, timedelta(seconds=permit.deadline_boot - at.boot_s))


def past(permit: LedgerStep, wait: timedelta, at: Moment) -> bool:
    """Whether `wait` has gone by since the deadline.

    Boot time decides where the permit was taken since this machine's boot: it is not moved by a stepped wall clock.
    """
    assert permit.deadline is not None
    if permit.boot_id == at.boot_id:
        return at.boot_s >= permit.deadline_boot + wait.total_seconds()
    return at.now >= permit.deadline + wait


def fold(key: str, steps: Iterable[LedgerStep], *, part_count: int, at: Moment) -> Publication:
    """The publication that `steps` (in any order) add up to.

    Parts go in order and an open part stops the rest. Attempt n+1 exists only after attempt n ended as not sent, and
    starts at the first part that no attempt has published. A part counts as out when any step says so, even beside
    another outcome.
    """
    steps = sorted(steps, key=lambda step: (step.attempt, step.part, step.step_id))
    permits = {(step.attempt, step.part): step for step in steps if step.step is Step.PERMIT}
    outcomes: dict[tuple[int, int], dict[Step, LedgerStep]] = {}
    for step in steps:
        if step.step in OUTCOMES:
            outcomes.setdefault((step.attempt, step.part), {})[step.step] = step
    out: dict[int, LedgerStep] = {}
    for step in steps:
        if step.step is Step.PUBLISHED:
            out.setdefault(step.part, step)
    undone = next((part for part in range(part_count) if part not in out), None)

    last: LedgerStep | None = None
    end: LedgerStep | None = None
    probes: list[Probe] = []
    position = (1, 0)
    open_permit = False
    while (permit := permits.get(position)) is not None:
        last, (attempt, part) = permit, position
        said = outcomes.get(position, {})
        # The outcome of a decision that lost to a late `published` still ended its attempt.
        end = said.get(Step.NOT_SENT) or said.get(Step.PUBLISHED) or said.get(Step.REJECTED)
        if Step.NOT_SENT in said or (permit.holder in WITHDRAWN and not said):
            position = (attempt + 1, part)
            if part in out and position not in permits:
                # Published late. The next attempt may have begun at this very part before that was known.
                probes.append(("permit", *position))
                position = (attempt + 1, undone if undone is not None else part)
        elif Step.PUBLISHED in said:
            if undone is None:
                break
            position = (attempt, undone)
        else:
            open_permit = not said
            break

    status = _status(position, steps, last, end, undone, open_permit, at)
    may_go_on = undone is not None and not open_permit and status not in (Status.REJECTED, Status.CANCELLED)
    if open_permit:
        probes.append(("outcome", *position))
    elif undone is not None and status is not Status.REJECTED:
        probes.append(("permit", *position))
    prepared = [s for s in steps if s.step is Step.PREPARING and s.attempt == position[0]][-1:]
    why = _last_word(steps, last, position, open_permit, end)
    return Publication(
        pub_key=key,
        status=status,
        attempt=last.attempt if last else 0,
        part=position[1],
        part_count=part_count,
        parts_done=len([part for part in out if part < part_count]),
        handle=prepared[0].handle if prepared else "",
        prepared_hash=prepared[0].content_hash if prepared else "",
        external_id=out[0].external_id if 0 in out else "",
        url=out[0].url if 0 in out else "",
        reason=why.reason if why else "",
        code=why.code if why else "",
        permit=last,
        next_permit=position if may_go_on else None,
        sent_ids=tuple(out[part].external_id for part in range(undone if undone is not None else part_count)),
        probes=tuple(dict.fromkeys(probes)),
    )


def _status(
    position: tuple[int, int],
    steps: Sequence[LedgerStep],
    last: LedgerStep | None,
    end: LedgerStep | None,
    undone: int | None,
    open_permit: bool,
    at: Moment,
) -> Status:
    if undone is None:
        return Status.PUBLISHED
    here = [step.step for step in steps if (step.attempt, step.part) == position]
    if open_permit and last is not None:
        if Step.NEEDS_HUMAN in here:
            return Status.NEEDS_HUMAN
        return Status.UNKNOWN if expired(last, at) else Status.PUBLISHING
    if end is not None and end.step is Step.REJECTED:
        return Status.REJECTED
    if last is not None and last.holder == CANCEL:
        return Status.CANCELLED
    if last is not None and end is not None and end.step is Step.PUBLISHED:
        return Status.PUBLISHING
    if Step.PREPARING in here:
        return Status.PREPARING
    return Status.APPROVED if last is None else Status.NOT_SENT


def _last_word(
    steps: Sequence[LedgerStep],
    last: LedgerStep | None,
    position: tuple[int, int],
    open_permit: bool,
    end: LedgerStep | None,
) -> LedgerStep | None:
    """The step whose reason a person should read now."""
    if open_permit:
        return next(
            (s for s in reversed(steps) if (s.attempt, s.part) == position and s.step is Step.NEEDS_HUMAN), None
        )
    return end if end is not None else last
