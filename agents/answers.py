"""What a model must answer to each task of the agents: strict schemas, nothing coerced."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedDay(_Answer):
    """One day of the week."""

    day: int = Field(ge=1, le=7)
    title: str
    angle: str
    keywords: list[str]


class WeekAnswer(_Answer):
    """The days that were asked for."""

    days: list[PlannedDay]


class ChosenFact(_Answer):
    """One sentence copied from a passage, word for word."""

    text: str
    source_id: str


class BriefAnswer(_Answer):
    """The sentences that creation may use, and what is missing."""

    facts: list[ChosenFact]
    keywords: list[str]
    gaps: list[str]


class Citation(_Answer):
    """A sentence of the post that rests on a source."""

    sentence: str
    source_id: str


class PostAnswer(_Answer):
    """Every field of the post; empty where the platform has none."""

    title: str
    caption: str
    script: str
    first_comment: str
    slides: list[str]
    parts: list[str]
    on_screen_text: list[str]
    hashtags: list[str]
    alt_text: list[str]
    media_prompts: list[str]
    citations: list[Citation]
    gaps: list[str]
    template: str


class Concern(_Answer):
    """One span of one field that a rule may have missed."""

    field: str
    quote: str
    severity: Literal["critical", "important", "preferred"]
    why: str
    suggestion: str
    rewrite: str = ""
    """What may stand in the place of the quote; empty: nothing."""


class CheckAnswer(_Answer):
    """What the check found; empty when nothing."""

    concerns: list[Concern]
    confidence: float = Field(ge=0, le=1)
