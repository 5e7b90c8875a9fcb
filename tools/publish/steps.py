"""The ledger's rows: reading them with the decisions behind them, deciding, appending."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from config.clock import Clock
from config.ids import new_id
from config.vocabulary import Step
from memory.records.protocol import Once, Records
from memory.rows.publication import LedgerStep
from tools.publish.fold import Moment, Publication, fold, past
from tools.publish.protocol import Parcel, Publisher


class SendTimes(Protocol):
    """The settings that the ledger needs (`config.settings.Settings` has them)."""

    @property
    def permit(self) -> timedelta: ...
    @property
    def send_timeout(self) -> timedelta: ...
    @property
    def settle(self) -> timedelta: ...


@dataclass(frozen=True)
class Subject:
    """Which publication a human or a read-back speaks of."""

    pub_key: str
    piece_id: str
    platform: str
    account: str
    part_count: int = 1

    @classmethod
    def of(cls, parcel: Parcel, publisher: Publisher) -> Subject:
        return cls(parcel.pub_key, parcel.piece_id, parcel.post.platform, parcel.account, publisher.parts(parcel.post))


class Steps:
    """The append-only steps of one brand's publications, written on one machine."""

    def __init__(self, records: Records, clock: Clock, settings: SendTimes, *, boot_id: str) -> None:
        self._records = records
        self._clock = clock
        self._settings = settings
        self._boot_id = boot_id

    async def read(self, pub_key: str, part_count: int) -> Publication:
        """The publication as all steps and decisions say.

        A permit or outcome whose step was never written (its taker died in between) is found and written here. May
        raise Unavailable.
        """
        steps = {step.step_id: step for step in await self._records.list_rows(LedgerStep, pub_key=pub_key)}
        asked: set[tuple[str, int, int]] = set()
        while True:
            publication = fold(pub_key, steps.values(), part_count=part_count, at=self.moment())
            news = False
            for kind, attempt, part in publication.probes:
                if (kind, attempt, part) in asked:
                    continue
                asked.add((kind, attempt, part))
                found = await self._records.find_once(kind, _decision_key(pub_key, attempt, part), LedgerStep)
                if found is not None:
                    await self.append(found.row)
                    steps[found.row.step_id] = found.row
                    news = True
            if not news:
                return publication

    async def take(self, permit: LedgerStep, *, token: str) -> Once[LedgerStep]:
        """Compete for `permit`; its row is written whoever won it. Durable when this returns."""
        return await self._decide("permit", permit, token=token)

    async def record(self, outcome: LedgerStep) -> Once[LedgerStep]:
        """Compete for the outcome of a permit; the winner's row is written."""
        return await self._decide("outcome", outcome, token=outcome.step_id)

    async def append(self, step: LedgerStep) -> None:
        """Write `step`. A step is written by everybody who meets its decision: the same row under the same key."""
        await self._records.put(step)

    def permit(self, subject: Subject, attempt: int, part: int, *, holder: str, **fields: str) -> LedgerStep:
        """A permit as of now, not yet taken."""
        at = self.moment()
        sent = (subject.pub_key, str(attempt), str(part), fields.get("content_hash", ""), fields.get("handle", ""))
        return self.step(
            subject,
            Step.PERMIT,
            attempt,
            part,
            holder=holder,
            deadline=at.now + self._settings.permit,
            deadline_boot=at.boot_s + self._settings.permit.total_seconds(),
            boot_id=self._boot_id,
            request_hash=hashlib.sha256("|".join(sent).encode()).hexdigest(),
            **fields,
        )

    def outcome(self, permit: LedgerStep, step: Step, **fields: str) -> LedgerStep:
        """What became of `permit`, not yet recorded; by its holder unless `holder` is given."""
        subject = Subject(permit.pub_key, permit.piece_id, permit.platform, permit.account)
        fields = {"holder": permit.holder, "content_hash": permit.content_hash} | fields
        return self.step(subject, step, permit.attempt, permit.part, **fields)

    def step(self, subject: Subject, step: Step, attempt: int, part: int, **fields: Any) -> LedgerStep:
        """One row; its id is a fresh uuid7 unless `step_id` is given."""
        now = self._clock.now()
        values = {"step_id": new_id(now), "created_at": now} | fields
        return LedgerStep(
            brand=self._records.brand,
            pub_key=subject.pub_key,
            attempt=attempt,
            part=part,
            step=step,
            piece_id=subject.piece_id,
            platform=subject.platform,
            account=subject.account,
            **values,
        )

    def settled(self, permit: LedgerStep) -> bool:
        """Whether a call made under `permit` has ended and the platform has had its time to show the post."""
        return past(permit, self._settings.send_timeout + self._settings.settle, self.moment())

    def moment(self) -> Moment:
        return Moment(self._clock.now(), self._clock.boottime(), self._boot_id)

    async def _decide(self, kind: str, step: LedgerStep, *, token: str) -> Once[LedgerStep]:
        key = _decision_key(step.pub_key, step.attempt, step.part)
        decided = await self._records.create_once(kind, key, step, token=token)
        await self.append(decided.row)
        return decided


def _decision_key(pub_key: str, attempt: int, part: int) -> str:
    return f"{pub_key}|{attempt}|{part}"
