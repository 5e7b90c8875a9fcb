"""The research agent: which sentences of the brand's knowledge a day's posts may rest on, and what is missing.

Everything that it reads it reads through tools: knowledge, guidelines, blocked claims, past posts and its own memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agents.agent import AgentContext, Brief, DayPlan, Fact, remember
from agents.answers import BriefAnswer
from agents.chat_models import prompt
from agents.extract import OWN_KEYWORDS
from agents.sentences import mentions, split_sentences, visible
from config.brand_profile import Theme
from config.ids import name_id
from config.vocabulary import AgentType, Trust
from tools.calls import Toolbox
from tools.results import ToolResult

FACTS = 36
"""Most facts of one Brief: enough for a dozen pieces of one day to say different things."""
PASSAGES = 24
MEMORIES = 5
QUOTABLE = (Trust.BRAND, Trust.OPERATOR)
"""Whose text a post may rest on: a page from the web is no fact of the brand's."""


@dataclass(frozen=True)
class Passage:
    """A chunk of a document that may speak of the day."""

    id: str
    title: str
    text: str
    score: float

    def as_material(self) -> dict[str, Any]:
        return {"id": self.id, "source": self.title, "text": self.text, "score": round(self.score, 4)}


async def passages_about(tools: Toolbox, query: str, *, limit: int) -> list[Passage]:
    """Active document chunks near `query`, by meaning and, where the store can, by words; best first.

    Only what the brand or its operator put there.
    """
    return passages_in(await tools.call("search_knowledge", query=query[:2000], limit=limit))


def passages_in(result: ToolResult) -> list[Passage]:
    """The passages of a result that a post may rest on. Only our own two tools read them: another's text may say anything of itself."""
    if result.tool not in ("search_knowledge", "read_passages"):
        return []
    return [
        Passage(one["id"], one["source"], one["text"], float(one.get("score", 0.0)))
        for one in result.value
        if {"id", "source", "text", "trust"} <= one.keys() and one["trust"] in QUOTABLE
    ]


async def make_brief(ctx: AgentContext, theme: Theme, day: DayPlan, cycle_key: str) -> Brief:
    """The Brief of one day: distinct sentences, word for word, each with its source; named gaps where there are none.

    Passages come from searching the knowledge, and from what research remembers of other sessions on the same thing; with a
    hosted model, also from what it looks up itself. Sentences that hold what the brand restricts or blocked are left out and
    named as avoided; those that a post of the last four weeks rests on, sent or waiting, come last. The same
    knowledge, memory, past posts, theme and day give the same Brief. Raises what `Models.structured` raises.
    """
    query = " ".join((day.title, day.angle, *day.keywords, theme.title))
    async with ctx.toolbox(AgentType.RESEARCH) as tools:
        passages = {passage.id: passage for passage in await passages_about(tools, query, limit=PASSAGES)}
        memories = await _recalled(ctx, tools, query)
        passages = await _from_memories(tools, memories) | passages
        past = (await tools.call("past_content", before=cycle_key)).value
        barred = _barred((await tools.call("guidelines")).value, (await tools.call("claims", status="blocked")).value)
        said = {sentence for post in past for sentence in post["sentences"]}
        about = {
            "theme": theme.title,
            "keywords": list(theme.keywords),
            "day": {"title": day.title, "angle": day.angle, "keywords": list(day.keywords)},
        }
        if not ctx.models.is_offline(AgentType.RESEARCH):
            passages |= await _looked_up(
                ctx, tools, {**about, "passages": [p.as_material() for p in passages.values()]}
            )
    material: dict[str, Any] = {
        "task": "brief",
        "brand": ctx.profile.title,
        **about,
        # What was said lately is put behind the rest: where sentences cost nothing, as many more are asked for.
        "want": FACTS + (min(len(said), FACTS) if ctx.models.is_offline(AgentType.RESEARCH) else 0),
        "passages": [passage.as_material() for passage in passages.values()],
        "said_lately": sorted(said)[:100],
        "remembered": [memory["content"][:300] for memory in memories],
        "never_say": list(barred)[:100],
    }
    answer = await ctx.models.structured(
        BriefAnswer,
        agent=AgentType.RESEARCH,
        system=prompt("brief"),
        material=material,
        session_id=ctx.session_id,
        max_output_tokens=4000,
        kept=f"brief:{ctx.session_id}:{day.day}",
    )
    facts: list[Fact] = []
    avoided: list[str] = []
    for chosen in answer.value.facts[: material["want"]]:
        passage = passages.get(chosen.source_id)
        # Only what stands in its source, whole and word for word, is a fact: a model may not retell one.
        if passage is None or visible(chosen.text) not in split_sentences(passage.text):
            avoided.append(f"{chosen.text[:160]}: does not stand in its source word for word")
        elif why := next((why for phrase, why in barred.items() if mentions(chosen.text, phrase)), ""):
            avoided.append(f"{visible(chosen.text)}: {why}")
        elif all(chosen.text != fact.text for fact in facts):
            facts.append(Fact(text=visible(chosen.text), source_id=passage.id, source_title=passage.title))
    facts = sorted(facts, key=lambda fact: fact.text in said)[:FACTS]
    gaps = list(answer.value.gaps)
    if not facts and not gaps:
        gaps.append(f"the brand's knowledge holds no sentence about {day.title!r}: add a document that covers it")
    brief = Brief(
        id=name_id("brief", ctx.session_id, cycle_key, day.day),
        session_id=ctx.session_id,
        cycle_key=cycle_key,
        day=day.day,
        theme=theme.title,
        title=day.title,
        angle=day.angle,
        facts=tuple(facts),
        keywords=_keywords(day, [*map(visible, answer.value.keywords)], facts),
        gaps=tuple(gaps),
        avoided=tuple(avoided),
    )
    sources = [*dict.fromkeys(fact.source_id for fact in facts)]
    told = f"{day.title}: {len(facts)} sentences from {len(sources)} passages; gaps: {'; '.join(gaps) or 'none'}"
    if memories:
        told += f"; remembered: {', '.join(memory['key'] for memory in memories)}"
    await remember(ctx, AgentType.RESEARCH, f"brief:{brief.id}", told, sources=sources)
    return brief


def _keywords(day: DayPlan, found: Sequence[str], facts: Sequence[Fact]) -> tuple[str, ...]:
    """Up to eight words for the day: its own, what its sentences speak of, then what was only related, if they say it at all."""
    said = "\n".join(fact.text for fact in facts)
    rest = [word for word in day.keywords[OWN_KEYWORDS:] if mentions(said, word)]
    return tuple(dict.fromkeys([*day.keywords[:OWN_KEYWORDS], *found, *rest]))[:8]


async def _recalled(ctx: AgentContext, tools: Toolbox, query: str) -> list[dict[str, Any]]:
    """What research remembers of other sessions; what this one wrote says nothing new, and would change a step that runs again."""
    found = (await tools.call("recall", query=query[:2000], limit=2 * MEMORIES)).value
    return [m for m in found if m["session"] != ctx.session_id and m["trust"] in QUOTABLE][:MEMORIES]


async def _from_memories(tools: Toolbox, memories: Iterable[dict[str, Any]]) -> dict[str, Passage]:
    """The passages that the memories rest on, as they are now; revoked ones are gone."""
    ids = [*dict.fromkeys(source for memory in memories for source in memory["sources"])][:20]
    found = passages_in(await tools.call("read_passages", ids=ids)) if ids else []
    return {passage.id: passage for passage in found}


def _barred(rules: Iterable[dict[str, Any]], blocked: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Phrase -> why no post of the brand may hold it. What holds on some platforms only is for creation to know."""
    barred = {claim["text"].strip().rstrip(".!"): "is a claim that the brand blocked" for claim in blocked}
    for rule in rules:
        if rule["type"] in ("voice", "messaging") and not rule["platforms"]:
            barred |= {
                phrase: f"holds {phrase!r}, against guideline {rule['title']!r}" for phrase in rule["restrictions"]
            }
    return barred


async def _looked_up(ctx: AgentContext, tools: Toolbox, material: dict[str, Any]) -> dict[str, Passage]:
    """The passages that a hosted model found by calling tools itself; what it says about them is not kept."""
    results = await ctx.models.look_up(
        tools, agent=AgentType.RESEARCH, system=prompt("look_up"), material=material, session_id=ctx.session_id
    )
    return {passage.id: passage for result in results for passage in passages_in(result)}
