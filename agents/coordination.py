"""The coordination agent: what each day of a week is about."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from agents.agent import AgentContext, DayPlan
from agents.answers import WeekAnswer
from agents.chat_models import prompt
from agents.days import related_words
from agents.extract import GENERIC, OWN_KEYWORDS
from agents.research import passages_about
from agents.sentences import stems, visible, words
from config.brand_profile import Theme
from config.calendar import DAYS
from config.subjects import Subject, general_subjects
from config.vocabulary import AgentType, Severity
from tools.calls import Toolbox
from tools.checks.engine import lint_text

PASSAGES = 24
"""Chunks that a week is derived from, of each search."""
PASSAGES_FREE = 50
"""The same where no model is paid for reading them."""


async def plan_days(
    ctx: AgentContext, theme: Theme, days: Sequence[int], *, cycle_key: str = "", needs: Mapping[int, int] | None = None
) -> list[DayPlan]:
    """A plan for each of `days` (1 is Monday), in that order: the brand's own where its theme has one, else derived.

    With the `cycle_key` of the week that is planned, a day whose title ran under this theme in the four weeks before is shown
    from another side: under one of its keywords that has not stood in a title since. `needs` says how many sentences the pieces
    of a day cannot do without, by its number. Raises what `Models.structured` raises, when a
    day must be derived.
    """
    async with ctx.toolbox(AgentType.COORDINATION) as tools:
        past = (await tools.call("past_content", before=cycle_key)).value if cycle_key else []
        ran = [*dict.fromkeys(post["day_theme"] for post in past if post["theme"] == theme.title)]
        planned = await _planned(ctx, tools, theme, days, ran, needs or {})
    shown: list[DayPlan] = []
    for number in days:
        beside = [*(plan.title for plan in shown), *(planned[other].title for other in days[len(shown) :])]
        shown.append(_apart(planned[number], ran, beside))
    return shown


def _apart(day: DayPlan, ran: Sequence[str], beside: Sequence[str] = ()) -> DayPlan:
    """The day under a title of its own when its title ran: a keyword that stands in no title of `ran` and of the week `beside` it."""
    if day.title.lower() not in [title.lower() for title in ran]:
        return day
    fresh = [
        word
        for word in day.keywords
        if _titles(word) and not any(stems(word) <= stems(t) for t in (*ran, *beside, day.title))
    ]
    own = [word for word in fresh if word in day.keywords[:OWN_KEYWORDS]] or fresh
    if not own:
        return day
    # "Green tea" says more as a title than "Water".
    title = next((word for word in own if " " in word), own[0])
    return day.model_copy(update={"title": (title[:1].upper() + title[1:])[:120]})


def _titles(word: str) -> bool:
    """Whether a keyword can stand as a title: no weekday, no number, no word that says nothing by itself."""
    weekday = any(part.lower().removesuffix("s") in DAYS for part in words(word))
    return len(word) > 3 and not weekday and not re.search(r"[0-9]", word) and bool(stems(word) - GENERIC)


async def _planned(
    ctx: AgentContext,
    tools: Toolbox,
    theme: Theme,
    days: Sequence[int],
    ran: Sequence[str],
    needs: Mapping[int, int],
) -> dict[int, DayPlan]:
    named = {DAYS.index(day.day) + 1: day for day in theme.days}
    planned = {
        number: DayPlan(day=number, title=day.title, angle=day.angle, keywords=day.keywords or theme.keywords)
        for number, day in named.items()
    }
    open_days = [number for number in days if number not in planned]
    if open_days:
        planned |= await _derive(ctx, tools, theme, open_days, ran, needs)
    return planned


async def _derive(
    ctx: AgentContext,
    tools: Toolbox,
    theme: Theme,
    days: Sequence[int],
    ran: Sequence[str],
    needs: Mapping[int, int],
) -> dict[int, DayPlan]:
    asked = " ".join((*theme.keywords, theme.title))
    # The brand's own words for a subject before the general ones.
    related = related_words([*(Subject(words, ()) for words in ctx.profile.related), *general_subjects()], asked)
    query = " ".join((theme.title, theme.description, *theme.keywords))
    limit = PASSAGES_FREE if ctx.models.is_offline(AgentType.COORDINATION) else PASSAGES
    # Two searches: beside a dozen related words the theme's own would hardly count.
    found = {passage.id: passage for passage in await passages_about(tools, query, limit=limit)}
    if related:
        found = {p.id: p for p in await passages_about(tools, " ".join(related), limit=limit)} | found
    material = {
        "task": "week",
        "theme": {
            "title": theme.title,
            "description": theme.description,
            "keywords": list(theme.keywords),
            "related": list(related),
            "unnamed": sorted({page.title for page in found.values() if _fires(ctx, page.title)}),
        },
        "brand": {"title": ctx.profile.title, "audience": ctx.profile.audience},
        "days": list(days),
        "needs": {str(day): needs[day] for day in days if day in needs},
        "ran_lately": list(ran),
        "passages": [passage.as_material() for passage in found.values()],
    }
    answer = await ctx.models.structured(
        WeekAnswer,
        agent=AgentType.COORDINATION,
        system=prompt("week"),
        material=material,
        session_id=ctx.session_id,
        kept=f"week:{ctx.session_id}",
    )
    given = {
        day.day: DayPlan(
            day=day.day,
            title=visible(day.title)[:120],
            angle=visible(day.angle)[:300],
            keywords=tuple(map(visible, day.keywords)),
        )
        for day in answer.value.days
        if day.title.strip()
    }
    # A day that the model left out is still in the week: it carries the theme's own words.
    return {day: given.get(day) or DayPlan(day=day, title=theme.title, keywords=theme.keywords) for day in days}


def _fires(ctx: AgentContext, title: str) -> bool:
    """Whether a day of this name would have every one of its posts flagged: a page named after an illness names no day."""
    findings = lint_text(title, profile=ctx.profile, packs=ctx.profile.packs)
    return any(finding.severity is not Severity.PREFERRED for finding in findings)
