"""The compliance agent: rules first, then a model that can only make things worse for the post, never better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.agent import AgentContext
from agents.answers import CheckAnswer, Concern
from agents.chat_models import prompt
from agents.sentences import visible
from config.errors import ModelRefused, Unavailable
from config.ids import name_id
from config.vocabulary import AgentType, CheckResult, Severity
from memory.rows.checks import ComplianceCheck, Finding
from memory.rows.content import Piece, Post, Revision
from tools.checks.engine import confidence, fold, lint_post, lint_text

MOST_CONCERNS = 40
"""Of one answer: a model that loops objects to everything, again and again."""
MOST_SAID = 400
"""Characters that are kept of what a model says about one concern."""


async def check(
    ctx: AgentContext, piece: Piece, revision: Revision, check_type: str, *, packs: Sequence[str]
) -> ComplianceCheck:
    """One check of one revision. Offline: the rules alone. With a model: the rules, then what it adds to them.

    A model that does not answer, refuses or answers nonsense means manual_review, or failed where the rules say so: never
    passed. Raises OverBudget, and SettingsError when the model cannot be used at all.
    """
    findings = list(lint_post(revision.post, profile=ctx.profile, packs=packs, check_types=[check_type]))
    result, checked_by, sure, note = fold(findings), "rules", confidence(findings), ""
    if not ctx.models.is_offline(AgentType.COMPLIANCE):
        async with ctx.toolbox(AgentType.COMPLIANCE) as tools:
            rules = (await tools.call("guidelines")).value
        try:
            answer = await ctx.models.structured(
                CheckAnswer,
                agent=AgentType.COMPLIANCE,
                system=prompt("check"),
                material=_material(revision.post, check_type, rules),
                session_id=ctx.session_id,
                piece_id=piece.id,
                max_output_tokens=1500,
            )
        except (Unavailable, ModelRefused) as error:
            result, sure = _worse(result, CheckResult.MANUAL_REVIEW), 0.0
            note = f"the model did not answer: {error}"
        else:
            if answer.mode == "model":
                added, dropped = _verified(ctx, revision.post, answer.value, check_type, packs)
                findings += [finding for finding in added if not _known(finding, findings)]
                # Folded over what the rules found as well: a model adds, and clears nothing.
                result, checked_by, sure = fold(findings), answer.model, answer.value.confidence
                note = f"{dropped} concerns of the model quote nothing that stands in the post" if dropped else ""
    advice = [*dict.fromkeys(finding.suggestion for finding in findings if finding.suggestion)]
    return ComplianceCheck(
        brand=ctx.records.brand,
        content_id=piece.id,
        id=name_id("check", piece.id, revision.content_hash, piece.run, check_type),
        check_type=check_type,
        check_result=result,
        confidence_score=sure,
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


def _material(post: Post, check_type: str, rules: Sequence[dict[str, Any]]) -> dict[str, object]:
    return {
        "task": "check",
        "check_type": check_type,
        "platform": post.platform,
        "content_type": post.content_type,
        "fields": [{"name": name, "text": text} for name, text in post.fields()],
        "guidelines": [{key: rule[key] for key in ("title", "requirements", "restrictions")} for rule in rules],
    }


def _verified(
    ctx: AgentContext, post: Post, answer: CheckAnswer, check_type: str, packs: Sequence[str]
) -> tuple[list[Finding], int]:
    """The concerns whose quote stands in the field they name, as findings; and how many do not, or are too many."""
    fields, found = dict(post.fields()), []
    for concern in answer.concerns[:MOST_CONCERNS]:
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
                suggestion=_advice(ctx, concern, packs),
                source="model",
            )
        )
    return found, len(answer.concerns) - len(found)


def _advice(ctx: AgentContext, concern: Concern, packs: Sequence[str]) -> str:
    """What the model says to do, and the words it would put there, unless the rules object to them as well."""
    said = _clean(concern.suggestion) or _clean(concern.why)
    words = _clean(concern.rewrite)
    if words and words != concern.quote:
        judged = lint_text(words, field=concern.field, profile=ctx.profile, packs=packs)
        if all(finding.severity is Severity.PREFERRED for finding in judged):
            return f"{said} Write: {words!r}".strip()
    return said


def _clean(text: str) -> str:
    """A model's words as one line that a terminal can show, not longer than a reviewer reads."""
    line = " ".join(visible(text).split())
    return line if len(line) <= MOST_SAID else line[: MOST_SAID - 1] + "…"


def _known(finding: Finding, findings: Sequence[Finding]) -> bool:
    """Whether a rule, at least as severe, has already found this very span."""
    order = list(Severity)
    return any(
        (f.field, f.start, f.end) == (finding.field, finding.start, finding.end)
        and order.index(f.severity) <= order.index(finding.severity)
        for f in findings
    )
