"""The rows of a piece's checks: what rules found in these bytes, who looked at it after them, and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from config.clock import Clock
from config.vocabulary import CheckResult, Decision, Severity
from graphs.context import GraphContext
from graphs.ids import check_id, review_id
from memory.records.protocol import Records
from memory.rows.checks import ComplianceCheck, Finding, Review
from memory.rows.content import Piece, Revision
from tools.checks.engine import fold

_ORDER = list(CheckResult)
GRAVITY = {
    CheckResult.FAILED: Severity.CRITICAL,
    CheckResult.MANUAL_REVIEW: Severity.IMPORTANT,
    CheckResult.WARNING: Severity.PREFERRED,
    CheckResult.PASSED: None,
}
"""How soon a human looks: a check that did not finish comes before those that found something small."""


def worst(results: list[str]) -> CheckResult:
    """The worst of several results; manual_review when there is none, because an unrecorded check is not a pass."""
    return max((CheckResult(r) for r in results), key=_ORDER.index, default=CheckResult.MANUAL_REVIEW)


def rule_row(
    context: GraphContext,
    piece: Piece,
    revision: Revision,
    kind: str,
    findings: list[Finding],
    *,
    result: CheckResult | None = None,
    notes: str = "",
) -> ComplianceCheck:
    """A check that rules made; `result` of one that did not finish, which knows nothing."""
    return ComplianceCheck(
        brand=context.records.brand,
        content_id=piece.id,
        id="",
        check_type=kind,
        check_result=result or fold(findings),
        confidence_score=1.0 if result is None else 0.0,
        findings=tuple(findings),
        issues_found=tuple(f"{f.rule}|{f.field}|{f.start}-{f.end}|{f.quote}" for f in findings),
        recommendations=notes or "; ".join(f.suggestion for f in findings if f.suggestion),
        content_hash=revision.content_hash,
        created_at=context.clock.now(),
    )


async def record_twin(context: GraphContext, piece: Piece, revision: Revision, twin: Finding) -> None:
    """Write into the piece's check for near-duplicates what was found when it was to be sealed, after the check had passed."""
    row = rule_row(context, piece, revision, twin.check_type, [twin])
    key = check_id(piece.id, piece.run, revision.content_hash, twin.check_type)
    was = await context.records.find(ComplianceCheck, content_id=piece.id, id=key)
    signed = {"reviewer_id": was.reviewer_id, "reviewed_at": was.reviewed_at} if was else {}
    version = was.row_version if was else 0
    await context.records.put(row.model_copy(update={"id": key, "run": piece.run, "row_version": version, **signed}))


async def checks_of(records: Records, piece_id: str, content_hash: str, *, run: int) -> list[ComplianceCheck]:
    """What was found in these bytes in this run: an earlier run asked by other rules, and its answers are history."""
    rows = await records.list_rows(ComplianceCheck, content_id=piece_id)
    return [row for row in rows if (row.content_hash, row.run) == (content_hash, run)]


def grounds(row: ComplianceCheck) -> str:
    """What a check objects to, in a line: its type, and the first critical finding with its way out."""
    worst_one = next((finding for finding in row.findings if finding.severity is Severity.CRITICAL), None)
    if worst_one is None:
        return row.check_type
    return f"{row.check_type} ({worst_one.rule} in {worst_one.field}: {worst_one.suggestion})"


def who_asks(rows: Sequence[ComplianceCheck]) -> str:
    """Why a human looks at what did not fail: a rule or the model found something important, or a check did not finish."""
    found = [f for row in rows for f in row.findings if f.severity is Severity.IMPORTANT]
    if any(finding.source != "model" for finding in found):
        return "a rule asks for a human eye"
    if found:
        return "the model asks for a human eye"
    kinds = [row.check_type for row in rows if row.check_result is CheckResult.MANUAL_REVIEW]
    return f"not everything could be checked: {', '.join(sorted(kinds))}" if kinds else "not everything was checked"


async def close_review(records: Records, clock: Clock, piece: Piece, decision: dict[str, Any]) -> None:
    """Write the human's decision into the review of these bytes, and who looked, and when, into their checks."""
    review = await records.get(Review, id=review_id(piece.id, decision["content_hash"]))
    # A worker may apply it hours after the human decided.
    decided = await records.find_once("decision", f"{piece.id}|{decision['content_hash']}", Review)
    now = clock.now()
    closed = review.model_copy(
        update={
            "decision": Decision(decision["decision"]),
            "reviewer": decision["reviewer"],
            "reason": decision["reason"],
            "decided_at": review.decided_at or (decided.row.decided_at if decided else None) or now,
            "updated_at": now,
        }
    )
    await records.put(closed)
    await sign_checks(records, piece, closed)


async def sign_checks(records: Records, piece: Piece, review: Review) -> None:
    """Write into the checks of the piece's present run who decided about these bytes, and when. Doing it twice changes nothing."""
    for row in await checks_of(records, piece.id, review.content_hash, run=piece.run):
        if not row.reviewer_id:
            signed = {"reviewer_id": review.reviewer, "reviewed_at": review.decided_at}
            await records.put(row.model_copy(update=signed))
