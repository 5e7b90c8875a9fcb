"""How often a brand's templates are used and what people made of the posts: counted anew from rows, never incremented.

So doing it twice, on two workers or after a crash, gives the same numbers. The next plan reads them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from config.clock import Clock
from config.vocabulary import Decision
from memory.records.protocol import Records
from memory.rows.checks import Review
from memory.rows.content import ContentTemplate, Piece

WORTH = {Decision.APPROVED: 1.0, Decision.EDITED: 0.5, Decision.REJECTED: 0.0}


@dataclass(frozen=True)
class TemplateNumbers:
    """One template's pieces, and what reviews decided about them: each piece counts once."""

    used: int = 0
    approved: int = 0
    edited: int = 0
    rejected: int = 0

    @property
    def score(self) -> float:
        """From 0 to 1: approved as it stood is 1, edited first is 0.5, rejected is 0, and one good and one bad piece more
        than there were, so that a single decision does not make or break a template. 0.5 before anybody decided."""
        judged = self.approved + self.edited + self.rejected
        return round((self.approved + WORTH[Decision.EDITED] * self.edited + 1) / (judged + 2), 3)


async def template_numbers(records: Records) -> dict[str, TemplateNumbers]:
    """The numbers of every template of which there is a piece, by its name. Pieces of a hosted model have no template."""
    made: dict[str, list[str]] = defaultdict(list)
    for piece in await records.find_by(Piece, brand=records.brand):
        if name := piece.platform_specs.get("template", ""):
            made[name].append(piece.id)
    decided: dict[str, Decision] = {}
    for review in await records.list_rows(Review):
        if review.decision in WORTH:
            # A piece that was edited once stays so, whatever was approved afterwards: the template needed a hand.
            worse = min(decided.get(review.piece_id, review.decision), review.decision, key=_severity)
            decided[review.piece_id] = worse
    numbers = {}
    for name, ids in made.items():
        counts = Counter(decided[key] for key in ids if key in decided)
        numbers[name] = TemplateNumbers(
            len(ids), counts[Decision.APPROVED], counts[Decision.EDITED], counts[Decision.REJECTED]
        )
    return numbers


def _severity(decision: Decision) -> float:
    return WORTH[decision]


async def refresh_templates(records: Records, clock: Clock) -> None:
    """Write usage_count and performance_score of the brand's templates, where they changed."""
    numbers = await template_numbers(records)
    for row in await records.find_by(ContentTemplate, brand=records.brand):
        counted = numbers.get(row.template_name, TemplateNumbers())
        if (row.usage_count, row.performance_score) != (counted.used, counted.score):
            changes = {"usage_count": counted.used, "performance_score": counted.score, "updated_at": clock.now()}
            await records.put(row.model_copy(update=changes))
