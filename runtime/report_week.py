"""What a week came to: what went out and when, who decided what, what the rules found, what it rests on, what it cost.

Derived from rows alone, never counted along the way: the same rows give the same report, whenever it is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from agents.spending import session_spent
from config.vocabulary import Decision, PieceState
from graphs.ids import review_id
from graphs.week import cycle_key_of
from memory.records.protocol import Records
from memory.rows.brand import BrandKnowledge
from memory.rows.checks import ComplianceCheck, Review
from memory.rows.content import Piece, Revision
from memory.rows.publication import ScheduledPublication
from memory.rows.sessions import Session
from runtime.compose import Runtime
from runtime.publish_due import SEND_LATE


@dataclass(frozen=True)
class PieceLine:
    """One piece of the week."""

    piece: Piece
    row: ScheduledPublication
    revisions: tuple[Revision, ...]
    """In the order in which they were written."""
    checks: tuple[ComplianceCheck, ...]
    reviews: tuple[Review, ...]

    @property
    def present(self) -> Revision | None:
        """The revision that goes out."""
        return next((rev for rev in self.revisions if rev.content_hash == self.piece.content_hash), None)

    @property
    def on_time(self) -> bool | None:
        """Whether it went out within half an hour of its first slot; None while it is not out."""
        if self.piece.published_at is None:
            return None
        return self.piece.published_at - (self.row.arranged_at or self.row.scheduled_at) <= SEND_LATE


@dataclass(frozen=True)
class WeekReport:
    """A brand's week. Counts are of pieces, `cost_usd` in US dollars."""

    cycle_key: str
    zone: str
    themes: tuple[str, ...]
    lines: tuple[PieceLine, ...]
    sources: dict[str, tuple[str, int]]
    """Knowledge id -> its title and how many pieces rest on it."""
    tokens: int
    cost_usd: float
    sessions: tuple[Session, ...]

    def states(self) -> Counter[str]:
        return Counter(str(line.piece.state) for line in self.lines)

    def decisions(self) -> Counter[tuple[str, str]]:
        """(who, what) -> how often; open questions are not in it."""
        rows = [review for line in self.lines for review in line.reviews if review.decision is not Decision.PENDING]
        return Counter((row.reviewer, str(row.decision)) for row in rows)

    def wait_s(self) -> float | None:
        """The median time from asking a human to the answer, in seconds; None without an answer."""
        rows = [review for line in self.lines for review in line.reviews if review.decided_at is not None]
        waits = [(row.decided_at - row.created_at).total_seconds() for row in rows if row.decided_at is not None]
        return round(median(waits), 1) if waits else None

    def rules(self) -> Counter[str]:
        """Rule -> how many revisions of the week it fired in, whatever became of them."""
        found = {(c.content_id, c.content_hash, f.rule) for line in self.lines for c in line.checks for f in c.findings}
        return Counter(rule for _, _, rule in found)

    def documents(self) -> Counter[str]:
        """Title of a document -> how many pieces rest on any part of it."""
        titles = [{self.sources[id][0] for id in line.present.sources} for line in self.lines if line.present]
        return Counter(title for of_piece in titles for title in of_piece)

    def gaps(self) -> list[str]:
        """What knowledge was missing, each once."""
        return [*dict.fromkeys(gap for line in self.lines if line.present for gap in line.present.gaps)]

    def troubles(self) -> list[PieceLine]:
        """What did not go the good way, or asks for somebody."""
        bad = (PieceState.FAILED, PieceState.MISSED, PieceState.UNKNOWN, PieceState.REJECTED)
        return [line for line in self.lines if line.piece.state in bad or line.piece.dead_letter]

    def templates(self) -> Counter[str]:
        """Template id -> how many pieces were made with it."""
        return Counter(line.present.template_id for line in self.lines if line.present and line.present.template_id)


async def latest_week(runtime: Runtime, records: Records, zone: str) -> str:
    """The present ISO week if anything is planned in it, else the latest planned one, else the present one."""
    now = cycle_key_of(runtime.clock.now(), zone)
    planned = {row.cycle_key for row in await records.list_rows(Session) if row.cycle_key}
    return now if now in planned or not planned else max(planned)


async def report_week(runtime: Runtime, brand: str, cycle_key: str) -> WeekReport:
    """The report of that ISO week, empty when nothing was ever planned in it. Reads only."""
    records = runtime.records.for_brand(brand)
    rows = {row.content_id: row for row in await records.list_rows(ScheduledPublication, cycle_key=cycle_key)}
    pieces = await records.find_many(Piece, [{"id": id} for id in rows])
    lines = [await _line(records, piece, rows[piece.id]) for piece in pieces]
    lines.sort(key=lambda line: (line.row.scheduled_at, line.row.platform, line.piece.id))
    sessions = [row for row in await records.list_rows(Session) if row.cycle_key == cycle_key]
    sessions.sort(key=lambda row: row.created_at)
    spent = [await session_spent(records, session) for session in sessions]
    return WeekReport(
        cycle_key=cycle_key,
        zone=runtime.profile(brand).zone,
        themes=tuple(dict.fromkeys(session.theme for session in sessions if session.theme)),
        lines=tuple(lines),
        sources=await _sources(records, lines),
        tokens=sum(one.tokens for one in spent),
        cost_usd=round(sum(one.cost_usd for one in spent), 6),
        sessions=tuple(sessions),
    )


async def _line(records: Records, piece: Piece, row: ScheduledPublication) -> PieceLine:
    revisions = await records.list_rows(Revision, content_id=piece.id)
    revisions.sort(key=lambda rev: (rev.created_at, rev.run, rev.revision))
    reviews = await records.find_many(Review, [{"id": review_id(piece.id, rev.content_hash)} for rev in revisions])
    checks = await records.list_rows(ComplianceCheck, content_id=piece.id)
    return PieceLine(piece, row, tuple(revisions), tuple(checks), tuple(reviews))


async def _sources(records: Records, lines: Sequence[PieceLine]) -> dict[str, tuple[str, int]]:
    used = Counter(id for line in lines if line.present for id in set(line.present.sources))
    rows = {row.id: row for row in await records.find_many(BrandKnowledge, [{"id": id} for id in used])}
    return {id: (rows[id].title if id in rows else "no longer there", count) for id, count in used.most_common()}


def as_json(report: WeekReport) -> dict[str, Any]:
    """The shape of `report week --json`."""
    out = [line.on_time for line in report.lines if line.on_time is not None]
    return {
        "cycle_key": report.cycle_key,
        "themes": list(report.themes),
        "sessions": [{"session_id": row.id, "status": str(row.status), "goal": row.goal} for row in report.sessions],
        "states": dict(sorted(report.states().items())),
        "published": {"on_time": sum(out), "late": len(out) - sum(out)},
        "pieces": [
            {
                "piece_id": line.piece.id,
                "scheduled_at": line.row.scheduled_at.isoformat(),
                "published_at": line.piece.published_at.isoformat() if line.piece.published_at else "",
                "platform": line.piece.platform,
                "content_type": line.piece.content_type,
                "account": line.row.account,
                "state": str(line.piece.state),
                "reason": line.piece.reason,
                "title": line.piece.title,
                "revisions": len(line.revisions),
                "sources": list(line.present.sources) if line.present else [],
                "url": line.row.result_data.get("url", ""),
            }
            for line in report.lines
        ],
        "decisions": [
            {"by": who, "decision": what, "count": count} for (who, what), count in sorted(report.decisions().items())
        ],
        "median_wait_s": report.wait_s(),
        "rules": dict(report.rules().most_common()),
        "sources": [{"id": id, "title": title, "pieces": count} for id, (title, count) in report.sources.items()],
        "templates": dict(report.templates().most_common()),
        "gaps": report.gaps(),
        "tokens": report.tokens,
        "cost_usd": report.cost_usd,
    }
