"""The creation agent: one post from one Brief, and better ones when compliance finds something."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from agents.agent import AgentContext, Brief, Draft, remember
from agents.answers import PostAnswer
from agents.chat_models import Answer, prompt
from agents.compose import PLACEHOLDER
from agents.kit import LISTS, TEXTS, pick
from agents.sentences import mentions, visible, words
from config.errors import BadInput, ModelRefused
from config.platforms import find_urls
from config.vocabulary import AgentType, Severity
from memory.rows.checks import Finding
from memory.rows.content import ContentTemplate, Piece, Post, Revision
from tools.calls import Toolbox
from tools.checks.engine import lint_text
from tools.plugin_api import ToolRetry

UNJUDGED = 0.5
"""The score of a template that no review has judged (graphs/templates.py)."""


async def draft(ctx: AgentContext, piece: Piece, brief: Brief, *, used: Collection[str]) -> Draft:
    """The first draft of `piece`, on the facts of `brief`; sentences in `used` come last.

    Offline, the same inputs give the same draft. When the facts do not suffice, the post is bare, which no platform
    takes, and `gaps` says what is missing.
    Raises BadInput for an impossible cell, else what `Models.structured` raises.
    """
    return await _write(ctx, piece, brief, used=used)


async def revise(
    ctx: AgentContext, piece: Piece, revision: Revision, brief: Brief, findings: Sequence[Finding]
) -> Draft:
    """The draft again, without what `findings` quote; the same post when nothing can be mended.

    Offline, the same inputs give the same draft. Raises as `draft`.
    """
    return await _write(ctx, piece, brief, used=(), revision=revision, findings=findings)


async def _write(
    ctx: AgentContext,
    piece: Piece,
    brief: Brief,
    *,
    used: Collection[str],
    revision: Revision | None = None,
    findings: Sequence[Finding] = (),
) -> Draft:
    async with ctx.toolbox(AgentType.CREATION) as tools:
        material = {
            **_material(ctx, piece, brief, used, revision, findings, await _rules(tools, piece)),
            "limits": await _limits(tools, piece),
            "templates": await _templates(ctx, piece),
        }
        made = await _made(ctx, piece, brief, material)
        told = f"{piece.platform} {piece.content_type} about {brief.title}: {made.post.title or made.post.caption[:80] or 'no post'}"
        told += await _reading(tools, ctx, made.post)
    if made.gaps:
        told += f"; gaps: {'; '.join(made.gaps)}"
    number = revision.revision + 1 if revision else 0
    await remember(ctx, AgentType.CREATION, f"draft:{piece.id}:{piece.run}:{number}", told, sources=made.sources)
    return made


async def _made(ctx: AgentContext, piece: Piece, brief: Brief, material: dict[str, Any]) -> Draft:
    answer = await ctx.models.structured(
        PostAnswer,
        agent=AgentType.CREATION,
        system=prompt("draft"),
        material=material,
        session_id=ctx.session_id,
        piece_id=piece.id,
        max_output_tokens=3000,
        kept=f"draft:{piece.id}:{piece.run}",
    )
    return _draft(ctx, piece, brief, answer)


async def _limits(tools: Toolbox, piece: Piece) -> dict[str, Any]:
    """What the platform takes, without where the numbers are from."""
    try:
        found = await tools.call("platform_limits", platform=piece.platform, content_type=piece.content_type)
    except ToolRetry as error:
        raise BadInput(str(error)) from None
    return {key: value for key, value in found.value.items() if key not in ("source", "checked", "unit_in_words")}


async def _rules(tools: Toolbox, piece: Piece) -> list[dict[str, Any]]:
    """The guidelines that hold on the piece's platform."""
    found = await tools.call("guidelines", platform=piece.platform)
    return [{key: rule[key] for key in ("type", "title", "requirements", "restrictions")} for rule in found.value]


async def _reading(tools: Toolbox, ctx: AgentContext, post: Post) -> str:
    """How hard the post is to read, for the working notes; the measure is for English."""
    text = "\n\n".join(part for part in (post.caption, post.script, *post.slides, *post.parts) if words(part))
    if ctx.profile.language.partition("-")[0] != "en" or not text:
        return ""
    found = (await tools.call("readability", text=text[:20_000])).value
    return f"; reading ease {found['reading_ease']:g}, grade {found['grade']:g}"


def _material(
    ctx: AgentContext,
    piece: Piece,
    brief: Brief,
    used: Collection[str],
    revision: Revision | None,
    findings: Sequence[Finding],
    rules: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    profile = ctx.profile
    fresh = [fact for fact in brief.facts if fact.text not in used]
    ordered = [*fresh, *(fact for fact in brief.facts if fact.text in used)]
    ordinal = piece.platform_specs.get("ordinal", "")
    material: dict[str, Any] = {
        "task": "draft",
        "piece": {"id": piece.id, "platform": piece.platform, "content_type": piece.content_type},
        "brand": {
            "title": profile.title,
            "audience": profile.audience,
            "call_to_action": list(profile.call_to_action),
            "hashtags": list(profile.hashtags),
            "link": profile.link,
            "visual_style": profile.visual_style,
            "language": profile.language,
            "guidelines": list(rules),
        },
        "theme": brief.theme,
        "day": {
            "number": brief.day,
            "title": brief.title,
            "angle": brief.angle,
            "keywords": list(brief.keywords),
        },
        "facts": [fact.model_dump(mode="json") for fact in ordered],
        "gaps": list(brief.gaps),
        "turn": int(ordinal) if ordinal.isdigit() else pick(piece.id, 97),
        "week_turn": brief.turn,
    }
    if revision is not None:
        material["avoid"] = _avoid(revision, findings)
        # Revisions are few: what the rules would object to next is not tried.
        material["facts"] = [
            fact for fact in material["facts"] if not _fires(ctx, f"{fact['text']}\n{fact['source_title']}")
        ]
        material["findings"] = [
            f.model_dump(mode="json", include={"field", "quote", "suggestion", "severity"}) for f in findings
        ]
        material["last"] = revision.post.model_dump(mode="json", exclude_defaults=True)
    return material


def _fires(ctx: AgentContext, text: str) -> bool:
    found = lint_text(text, profile=ctx.profile, packs=ctx.profile.packs)
    return any(finding.severity is not Severity.PREFERRED for finding in found)


async def _templates(ctx: AgentContext, piece: Piece) -> list[dict[str, Any]]:
    """The brand's templates for this cell with what reviews made of them; one that nobody has judged yet is in the middle."""
    rows = await ctx.records.find_by(ContentTemplate, content_type=piece.content_type)
    scores = {row.template_name: row.performance_score for row in rows}
    return [
        {
            "name": template.name,
            "structure": template.structure,
            "media": template.media,
            "script": template.script,
            "score": scores.get(template.name) or UNJUDGED,
        }
        for template in ctx.profile.templates
        if template.content_type == piece.content_type and template.platform in ("any", piece.platform)
    ]


def _avoid(revision: Revision, findings: Sequence[Finding]) -> list[str]:
    """What must not be said again: each quote, and each cited sentence that one of them touches. Lengths are mended by
    composing, not by avoiding."""
    quoted = [f for f in findings if f.quote.strip() and f.check_type not in ("limits", "near_duplicate")]
    quotes = [finding.quote for finding in quoted]
    texts = dict(revision.post.fields())
    for finding in quoted:
        text = texts.get(finding.field, "")
        for sentence in revision.citations:
            at = text.find(sentence)
            # The quote may begin before the sentence, at a label such as "Scene 1:".
            if at >= 0 and at < finding.end and finding.start < at + len(sentence):
                quotes.append(sentence)
    if any(finding.check_type == "near_duplicate" for finding in findings):
        quotes += list(revision.citations)[:1]
    return [*dict.fromkeys(quotes)]


def _draft(ctx: AgentContext, piece: Piece, brief: Brief, answer: Answer[PostAnswer]) -> Draft:
    """The answer as a post, its citations checked against the brief, nothing in it that nobody put there."""
    value = answer.value
    fields: dict[str, Any] = {name: visible(getattr(value, name)).strip() for name in TEXTS}
    fields |= {
        name: tuple(visible(text).strip() for text in getattr(value, name) if text.strip())
        for name in (*LISTS, "hashtags")
    }
    post = Post(platform=piece.platform, content_type=piece.content_type, **fields)
    gaps = list(value.gaps)
    if answer.mode == "model":
        _refuse_strange(ctx, post, brief)
    facts = {fact.source_id: fact for fact in brief.facts}
    citations = {c.sentence: c.source_id for c in value.citations if c.source_id in facts and _stands(c.sentence, post)}
    if answer.mode == "model":
        gaps += [
            f"a citation of {c.source_id[:40]!r} does not hold" for c in value.citations if c.sentence not in citations
        ]
    sources = tuple(dict.fromkeys(citations.values()))
    named = {template.name for template in ctx.profile.templates}
    template = value.template if value.template in named else ""
    return Draft(
        post=post, sources=sources, citations=citations, gaps=tuple(gaps), mode=answer.mode, template_id=template
    )


def _stands(sentence: str, post: Post) -> bool:
    return any(mentions(text, sentence.rstrip(".!")) for _, text in post.fields())


def _refuse_strange(ctx: AgentContext, post: Post, brief: Brief) -> None:
    """Raise ModelRefused for places left unfilled, and for addresses that neither the brand nor its facts name."""
    known = " ".join((ctx.profile.link, *ctx.profile.call_to_action, *(fact.text for fact in brief.facts)))
    for name, text in post.fields():
        if found := PLACEHOLDER.search(text) or re.search(r"\{\{.*?\}\}|<script\b", text, re.IGNORECASE):
            raise ModelRefused(f"the model left {found.group()!r} in {name}: not a text that can go out")
        for url in find_urls(text):
            if url not in known:
                raise ModelRefused(f"the model wrote the address {url[:120]!r} in {name}, which no source holds")
