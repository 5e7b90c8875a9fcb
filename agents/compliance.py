"""The compliance agent: rules first, then a model that can only make things worse for the post, never better."""

from __future__ import annotations

from collections.abc import Sequence

from agents.agent import AgentContext
from agents.answers import CheckAnswer
from agents.chat_models import prompt
from config.errors import ModelRefused, Unavailable
from config.ids import name_id
from config.vocabulary import AgentType, CheckResult, Severity
from memory.rows.checks import ComplianceCheck, Finding
from memory.rows.content import Piece, Post, Revision
from tools.checks.engine import fold, lint_post


async def check(
    ctx: AgentContext, piece: Piece, revision: Revision, check_type: str, *, packs: Sequence[str]
) -> ComplianceCheck:
    """One check of one revision. Offline: the rules alone. With a model: the rules, then what it adds to them.

    A model that does not answer, refuses or answers nonsense means manual_review, or failed where the rules say so: never
    passed. Raises OverBudget, and SettingsError when the model cannot be used at all.
    """
    findings = list(lint_post(revision.post, profile=ctx.profile, packs=packs, check_types=[check_type]))
    result, checked_by, confidence, note = fold(findings), "rules", 1.0, ""
    if not ctx.models.is_offline:
        try:
            answer = await ctx.models.structured(
                CheckAnswer,
                agent=AgentType.COMPLIANCE,
                system=prompt("check"),
                material=_material(ctx, revision.post, check_type),
                session_id=ctx.session_id,
                piece_id=piece.id,
                max_output_tokens=1500,
            )
        except (Unavailable, ModelRefused) as error:
            result, confidence = _worse(result, CheckResult.MANUAL_REVIEW), 0.0
            note = f"the model did not answer: {error}"
        else:
            if answer.mode == "model":
                added, dropped = _verified(revision.post, answer.value, check_type)
                findings += [finding for finding in added if not _known(finding, findings)]
                result, checked_by, confidence = fold(findings), answer.model, answer.value.confidence
                note = f"{dropped} concerns of the model quote nothing that stands in the post" if dropped else ""
    advice = [*dict.fromkeys(finding.suggestion for finding in findings if finding.suggestion)]
    return ComplianceCheck(
        brand=ctx.records.brand,
        content_id=piece.id,
        id=name_id("check", piece.id, revision.content_hash, piece.run, check_type),
        check_type=check_type,
        check_result=result,
        confidence_score=confidence,
        issues_found=tuple(f"{f.rule}|{f.field}|{f.start}-{f.end}|{f.quote}" for f in findings),
        findings=tuple(findings),
        recommendations="; ".join([*advice, *([note] if note else [])]),
        content_hash=revision.content_hash,
        run=piece.run,
        checked_by=checked_by,
        created_at=ctx.clock.now(),
    )


def _worse(one: CheckResult, other: CheckResult) -> CheckResult:
    return max(one, other, key=list(CheckResult).index)


def _material(ctx: AgentContext, post: Post, check_type: str) -> dict[str, object]:
    return {
        "task": "check",
        "check_type": check_type,
        "platform": post.platform,
        "content_type": post.content_type,
        "fields": [{"name": name, "text": text} for name, text in post.fields()],
        "guidelines": [
            {"title": rule.title, "requirements": list(rule.requirements), "restrictions": list(rule.restrictions)}
            for rule in ctx.profile.guidelines
        ],
    }


def _verified(post: Post, answer: CheckAnswer, check_type: str) -> tuple[list[Finding], int]:
    """The concerns whose quote stands in the field they name, as findings; and how many do not."""
    fields, found = dict(post.fields()), []
    for concern in answer.concerns:
        start = fields.get(concern.field, "").find(concern.quote)
        if start < 0 or not concern.quote.strip():
            continue
        found.append(
            Finding(
                rule=f"MODEL-{check_type.upper().replace('_', '-')}",
                check_type=check_type,
                severity=Severity(concern.severity),
                field=concern.field,
                start=start,
                end=start + len(concern.quote),
                quote=concern.quote,
                suggestion=concern.suggestion or concern.why,
                source="model",
            )
        )
    return found, len(answer.concerns) - len(found)


def _known(finding: Finding, findings: Sequence[Finding]) -> bool:
    """Whether a rule, at least as severe, has already found this very span."""
    order = list(Severity)
    return any(
        (f.field, f.start, f.end) == (finding.field, finding.start, finding.end)
        and order.index(f.severity) <= order.index(finding.severity)
        for f in findings
    )
