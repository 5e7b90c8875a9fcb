"""The compliance agent: rules first, then a model that can only make things worse for the post, never better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
from tools.checks.brand_voice import phrase_spans
from tools.checks.context import FieldText
from tools.checks.engine import confidence, fold, lint_post, lint_text
from tools.checks.limits import check_limits

MOST_CONCERNS = 40
"""Of one answer: a model that loops objects to everything, again and again."""
MOST_SAID = 400
"""Characters that are kept of what a model says about one concern."""


async def check(
    ctx: AgentContext, piece: Piece, revision: Revision, check_type: str, *, packs: Sequence[str]
) -> ComplianceCheck:
    """One check of one revision. Offline: the rules alone. With a model: the rules, then what it adds to them.

    A model that does not answer, refuses, answers nonsense or objects to words that stand nowhere means manual_review, or
    failed where the rules say so: never passed. Raises OverBudget, and SettingsError when the model cannot be used at all.
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
            note = _clean(f"the model did not answer: {error}")
        else:
            if answer.mode == "model":
                added, lost = _verified(ctx, revision, answer.value, check_type, packs)
                findings += [finding for finding in added if not _known(finding, findings)]
                # Folded over what the rules found as well: a model adds, and clears nothing.
                result, checked_by, sure = fold(findings), answer.model, answer.value.confidence
                if any(concern.severity != "preferred" for concern in lost):
                    # It objects to something, and we cannot see to what: what is missing can not be quoted either.
                    result = _worse(result, CheckResult.MANUAL_REVIEW)
                note = _told(lost)
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
    ctx: AgentContext, revision: Revision, answer: CheckAnswer, check_type: str, packs: Sequence[str]
) -> tuple[list[Finding], list[Concern]]:
    """The concerns whose quote stands in the post, as findings; and those whose quote does not. The gravest come first."""
    fields = dict(revision.post.fields())
    gravest = sorted(answer.concerns, key=lambda concern: list(Severity).index(Severity(concern.severity)))
    found, lost = [], []
    for concern in gravest[:MOST_CONCERNS]:
        place = _place(concern, fields)
        if place is None:
            lost.append(concern)
            continue
        field, start, end = place
        found.append(
            Finding(
                rule=f"MODEL-{check_type.upper().replace('_', '-')}",
                check_type=check_type,
                severity=Severity(concern.severity),
                field=field,
                start=start,
                end=end,
                quote=fields[field][start:end],
                suggestion=_advice(ctx, concern, revision, place, packs),
                source="model",
            )
        )
    return found, lost


def _place(concern: Concern, fields: Mapping[str, str]) -> tuple[str, int, int] | None:
    """Where the quote stands: in the field that it names, else in the first that holds it.

    A model copies with other quotation marks, dashes, spaces, letter case or accents than stand there: the words count.
    """
    if not concern.quote.strip():
        return None
    names = [*([concern.field] if concern.field in fields else []), *fields]
    for name in names:
        if (start := fields[name].find(concern.quote)) >= 0:
            return name, start, start + len(concern.quote)
    for name in names:
        if spans := phrase_spans(concern.quote, FieldText(name, fields[name])):
            return name, *spans[0]
    return None


def _told(lost: Sequence[Concern]) -> str:
    """What a reviewer is told of the concerns whose quote stands nowhere in the post."""
    if not lost:
        return ""
    why = [said for concern in lost if (said := _clean(concern.why) or _clean(concern.suggestion))]
    line = f"{len(lost)} concerns of the model quote nothing that stands in the post"
    return _clean(": ".join([line, "; ".join(dict.fromkeys(why))]) if why else line)


def _advice(
    ctx: AgentContext, concern: Concern, revision: Revision, place: tuple[str, int, int], packs: Sequence[str]
) -> str:
    """What the model says to do, and the words it would put there, if the post would be none the worse for them."""
    said = _clean(concern.suggestion) or _clean(concern.why)
    words = " ".join(visible(concern.rewrite).split())
    if len(words) > MOST_SAID or not words or words == concern.quote:
        return said
    return f"{said} Write: {words!r}".strip() if _fits(ctx, words, revision, place, packs) else said


def _fits(ctx: AgentContext, words: str, revision: Revision, place: tuple[str, int, int], packs: Sequence[str]) -> bool:
    """Whether the rules let the words through, alone and in their place, the platform takes the post, and every sentence that
    rests on a source still stands in it.
    """
    post, (field, start, end) = revision.post, place
    text = dict(post.fields())[field]
    changed = f"{text[:start]}{words}{text[end:]}"
    new = _replaced(post, field, changed)

    def grave(text: str) -> Counter[str]:
        judged = lint_text(text, field=field, profile=ctx.profile, packs=packs, platform=post.platform)
        return Counter(finding.rule for finding in judged if finding.severity is not Severity.PREFERRED)

    if grave(words) or grave(changed) - grave(text):
        return False
    if Counter(f.rule for f in check_limits(new)) - Counter(f.rule for f in check_limits(post)):
        return False
    was, now = _flat(text), _flat(changed)
    return all(said in now for said in map(_flat, revision.citations) if said in was)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _replaced(post: Post, field: str, text: str) -> Post:
    name, _, rest = field.partition("[")
    if not rest:
        return post.model_copy(update={name: text})
    texts = list(getattr(post, name))
    texts[int(rest.rstrip("]"))] = text
    return post.model_copy(update={name: tuple(texts)})


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
