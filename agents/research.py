"""The research agent: which sentences of the brand's knowledge a day's posts may rest on, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agents.agent import AgentContext, Brief, DayPlan, Fact, remember
from agents.answers import BriefAnswer
from agents.chat_models import prompt
from agents.sentences import split_sentences, visible
from config.brand_profile import Theme
from config.ids import name_id
from config.vocabulary import AgentType, Trust
from memory.knowledge import search
from memory.rows.brand import BrandKnowledge

FACTS = 36
"""Most facts of one Brief: enough for a dozen pieces of one day to say different things."""
PASSAGES = 24


@dataclass(frozen=True)
class Passage:
    """A chunk of a document that may speak of the day."""

    id: str
    title: str
    text: str
    score: float

    def as_material(self) -> dict[str, Any]:
        return {"id": self.id, "source": self.title, "text": self.text, "score": round(self.score, 4)}


async def passages_about(ctx: AgentContext, query: str, *, limit: int) -> list[Passage]:
    """Active document chunks near `query`, by meaning and, where the store can, by words; best first.

    Only what the brand or its operator put there: a page from the web is no fact of the brand's.
    """
    hits = {hit.chunk_id: hit for hit in await search(ctx.records, ctx.embedder, query, limit)}
    rows = await ctx.records.find_many(BrandKnowledge, [{"id": hit_id} for hit_id in hits])
    return [
        Passage(row.id, row.title, row.content, hits[row.id].score)
        for row in rows
        if row.trust in (Trust.BRAND, Trust.OPERATOR)
    ]


async def make_brief(ctx: AgentContext, theme: Theme, day: DayPlan, cycle_key: str) -> Brief:
    """The Brief of one day: distinct sentences, word for word, each with its source; named gaps where there are none.

    The same knowledge, theme and day give the same Brief. Raises what `Models.structured` raises.
    """
    query = " ".join((day.title, day.angle, *day.keywords, theme.title))
    passages = {passage.id: passage for passage in await passages_about(ctx, query, limit=PASSAGES)}
    material = {
        "task": "brief",
        "theme": theme.title,
        "keywords": list(theme.keywords),
        "day": {"title": day.title, "angle": day.angle, "keywords": list(day.keywords)},
        "want": FACTS,
        "passages": [passage.as_material() for passage in passages.values()],
    }
    answer = await ctx.models.structured(
        BriefAnswer,
        agent=AgentType.RESEARCH,
        system=prompt("brief"),
        material=material,
        session_id=ctx.session_id,
        max_output_tokens=4000,
    )
    facts: list[Fact] = []
    avoided: list[str] = []
    for chosen in answer.value.facts[:FACTS]:
        passage = passages.get(chosen.source_id)
        # Only what stands in its source, whole and word for word, is a fact: a model may not retell one.
        if passage is None or visible(chosen.text) not in split_sentences(passage.text):
            avoided.append(f"{chosen.text[:160]}: does not stand in its source word for word")
        elif all(chosen.text != fact.text for fact in facts):
            facts.append(Fact(text=visible(chosen.text), source_id=passage.id, source_title=passage.title))
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
        keywords=tuple(dict.fromkeys([*day.keywords, *map(visible, answer.value.keywords)]))[:8],
        gaps=tuple(gaps),
        avoided=tuple(avoided),
    )
    sources = [*dict.fromkeys(fact.source_id for fact in facts)]
    told = f"{day.title}: {len(facts)} sentences from {len(sources)} passages; gaps: {'; '.join(gaps) or 'none'}"
    await remember(ctx, AgentType.RESEARCH, f"brief:{brief.id}", told, sources=sources)
    return brief
