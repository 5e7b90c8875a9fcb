"""The coordination agent: what each day of a week is about."""

from __future__ import annotations

from collections.abc import Sequence

from agents.agent import AgentContext, DayPlan
from agents.answers import WeekAnswer
from agents.chat_models import prompt
from agents.research import passages_about
from agents.sentences import visible
from config.brand_profile import DAYS, Theme
from config.vocabulary import AgentType


async def plan_days(ctx: AgentContext, theme: Theme, days: Sequence[int]) -> list[DayPlan]:
    """A plan for each of `days` (1 is Monday), in that order: the brand's own where its theme has one, else derived.

    Raises what `Models.structured` raises, when a day must be derived.
    """
    named = {DAYS.index(day.day) + 1: day for day in theme.days}
    planned = {
        number: DayPlan(day=number, title=day.title, angle=day.angle, keywords=day.keywords or theme.keywords)
        for number, day in named.items()
    }
    open_days = [number for number in days if number not in planned]
    if open_days:
        planned |= await _derive(ctx, theme, open_days)
    return [planned[number] for number in days]


async def _derive(ctx: AgentContext, theme: Theme, days: Sequence[int]) -> dict[int, DayPlan]:
    passages = await passages_about(ctx, " ".join((theme.title, theme.description, *theme.keywords)), limit=12)
    material = {
        "task": "week",
        "theme": {"title": theme.title, "description": theme.description, "keywords": list(theme.keywords)},
        "brand": {"title": ctx.profile.title, "audience": ctx.profile.audience},
        "days": list(days),
        "passages": [passage.as_material() for passage in passages],
    }
    answer = await ctx.models.structured(
        WeekAnswer, agent=AgentType.COORDINATION, system=prompt("week"), material=material, session_id=ctx.session_id
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
