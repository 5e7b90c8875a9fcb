"""Templates are counted from rows, whatever ran twice, and the better ones are taken first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.compose import GOOD_SCORE, compose
from config.clock import ManualClock
from config.vocabulary import CheckResult, Decision
from graphs.templates import TemplateNumbers, refresh_templates, template_numbers
from memory.records.protocol import Records, open_records
from memory.rows.checks import Review
from memory.rows.content import ContentTemplate, Piece


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def records(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Records]:
    async with open_records(f"sqlite:///{tmp_path}", clock=clock) as store:
        records = store.for_brand("acme")
        now = clock.now()
        for name in ("plain", "bold", "idle"):
            await records.put(
                ContentTemplate(
                    brand="acme", id=name, template_name=name, content_type="quote", platform="any",
                    template_structure="{}", created_at=now, updated_at=now,
                )
            )  # fmt: skip
        yield records


async def a_piece(records: Records, clock: ManualClock, id: str, template: str) -> None:
    now = clock.now()
    await records.put(
        Piece(
            brand="acme", id=id, content_type="quote", platform="facebook", session_id="s",
            platform_specs={"template": template}, created_at=now, updated_at=now,
        )
    )  # fmt: skip


async def a_review(records: Records, clock: ManualClock, piece_id: str, decision: Decision, n: int = 0) -> None:
    now = clock.now()
    await records.put(
        Review(
            brand="acme", id=f"{piece_id}-{n}", piece_id=piece_id, session_id="s", content_hash=f"h{n}",
            platform="facebook", content_type="quote", result=CheckResult.PASSED, decision=decision,
            created_at=now, updated_at=now,
        )
    )  # fmt: skip


async def test_use_and_decisions_are_counted_and_counting_again_changes_nothing(
    records: Records, clock: ManualClock
) -> None:
    for id, template in (("a", "plain"), ("b", "plain"), ("c", "plain"), ("d", "bold"), ("e", "")):
        await a_piece(records, clock, id, template)
    await a_review(records, clock, "a", Decision.APPROVED)
    await a_review(records, clock, "b", Decision.EDITED)
    await a_review(records, clock, "b", Decision.APPROVED, 1)  # approved after the edit: the template needed a hand
    await a_review(records, clock, "c", Decision.PENDING)
    await a_review(records, clock, "d", Decision.REJECTED)
    assert await template_numbers(records) == {
        "plain": TemplateNumbers(3, approved=1, edited=1, rejected=0),
        "bold": TemplateNumbers(1, approved=0, edited=0, rejected=1),
    }
    await refresh_templates(records, clock)
    first = {row.id: row for row in await records.find_by(ContentTemplate, brand="acme")}
    assert {row.id: (row.usage_count, row.performance_score) for row in first.values()} == {
        "plain": (3, 0.625),
        "bold": (1, 0.333),
        "idle": (0, 0.5),
    }
    clock.advance(timedelta(days=1))
    await refresh_templates(records, clock)
    assert {row.id: row for row in await records.find_by(ContentTemplate, brand="acme")} == first


async def test_another_brands_pieces_do_not_count(records: Records, clock: ManualClock, tmp_path: Path) -> None:
    async with open_records(f"sqlite:///{tmp_path}", clock=clock) as store:
        rival = store.for_brand("rival")
        now = clock.now()
        await rival.put(
            Piece(
                brand="rival", id="r", content_type="quote", platform="facebook", session_id="s",
                platform_specs={"template": "plain"}, created_at=now, updated_at=now,
            )
        )  # fmt: skip
    assert await template_numbers(records) == {}


def test_one_decision_does_not_make_or_break_a_template() -> None:
    assert TemplateNumbers().score == 0.5
    assert TemplateNumbers(1, approved=1).score - 0.5 <= GOOD_SCORE
    assert TemplateNumbers(1, rejected=1).score >= 0.5 - GOOD_SCORE
    assert TemplateNumbers(9, approved=9).score > 0.9
    assert TemplateNumbers(9, rejected=9).score < 0.1


def written_with(scores: dict[str, float], *, turn: int = 0, most: float = 1000) -> str:
    material: dict[str, Any] = {
        "piece": {"id": "p", "platform": "facebook", "content_type": "quote"},
        "brand": {"title": "Acme"},
        "theme": "Light",
        "day": {"title": "Morning light", "angle": "", "keywords": []},
        "week_turn": turn,
        "facts": [{"text": "Light matters in the morning.", "source_id": "1", "source_title": "S"}],
        "templates": [
            {"name": name, "structure": {"slides": ["{fact1}" if score < most else "{fact1} {link}"]}, "score": score}
            for name, score in scores.items()
        ],
    }
    return str(compose(material)["template"])


def test_templates_that_people_liked_take_turns_and_the_others_stay_behind() -> None:
    scores = {"loved": 0.9, "liked": 0.8, "so-so": 0.5, "disliked": 0.1}
    assert {written_with(scores, turn=turn) for turn in range(8)} == {"loved", "liked"}
    assert [written_with(scores, turn=turn) for turn in range(4)] == [
        written_with(scores, turn=turn) for turn in range(4)
    ]


def test_a_template_that_nothing_fits_gives_way_to_a_lesser_one() -> None:
    assert written_with({"loved": 0.9, "so-so": 0.5, "disliked": 0.1}, most=0.9) == "so-so"
