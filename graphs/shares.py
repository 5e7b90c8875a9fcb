"""Which sentences each piece of a week may rest on: no sentence goes to two pieces.

A pure function over the week's briefs, so that any piece, on any worker and after any crash, finds the same share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agents.agent import Fact
from agents.extract import named_after
from agents.sentences import says_the_same, stems
from graphs.week import Slot

LEAST = {"quote": 1, "story": 1, "reel": 2, "carousel": 3, "thread": 2}
"""Sentences without which a piece of this type cannot be made; a day that has fewer leaves it to its other pieces."""
FULL = {"quote": 2, "story": 2, "reel": 4, "carousel": 5, "thread": 5}
"""Sentences with which it is worth reading."""
RESERVE = 6
"""Further sentences of a piece, for what compliance takes out."""
FAR = 5
"""Places in a Brief: a sentence that another day has so much higher is left to that day as long as it can be."""
SHORT = 140
"""Characters of what can be a quotation."""


def needs(slots: Iterable[Slot]) -> dict[int, int]:
    """How many sentences the pieces of each day cannot do without, by the number of the day."""
    counts: Counter[int] = Counter()
    for slot in slots:
        counts[slot.day] += LEAST.get(slot.content_type, 1)
    return dict(counts)


@dataclass
class Place:
    """One piece that wants sentences, and what it has got so far."""

    piece_id: str
    day: int
    content_type: str
    facts: list[Fact] = field(default_factory=list)


def share(
    places: Sequence[Place], briefs: Mapping[int, Sequence[Fact]], titles: Mapping[int, str] | None = None
) -> dict[str, tuple[Fact, ...]]:
    """The sentences of each piece by its id, those to be used first, then its reserve; all in the order of the Brief.

    First every piece gets what it cannot do without, the modest ones first, then what makes it whole, of the same pages, then a
    reserve of any. What another day is rather about, by the ranks of the Briefs or because it is named after that page
    (`titles`, by day), is taken where there is nothing else. A piece takes the best sentence that its day has left, and then
    rather sentences of the same page, those next to it in the Brief first, so that what stands together was written together.
    """
    left = {day: list(facts) for day, facts in briefs.items()}
    rank = {day: {fact.text: n for n, fact in enumerate(facts)} for day, facts in briefs.items()}
    away = _away(rank, _pages_of_others(briefs, titles or {}))
    modest = sorted(places, key=lambda place: LEAST.get(place.content_type, 1))
    for elsewhere in (away, {}):
        for place in modest:
            wanted = LEAST.get(place.content_type, 1)
            if not place.facts and len(_pool(place, left, elsewhere)) >= wanted:
                _take(place, left, rank, elsewhere, wanted)
    for more in range(1, max(FULL.values()) + 1):
        for place in places:
            if place.facts and more <= FULL.get(place.content_type, 2) - LEAST.get(place.content_type, 1):
                _take(place, left, rank, away, 1, astray=False)
    for _ in range(RESERVE):
        for place in places:
            # What cannot be made needs no reserve, and another piece may lose a sentence to the rules.
            if place.facts:
                _take(place, left, rank, {}, 1)
    return {place.piece_id: tuple(place.facts) for place in places}


def _pages_of_others(briefs: Mapping[int, Sequence[Fact]], titles: Mapping[int, str]) -> dict[int, frozenset[str]]:
    """The sentences of each day that stand on a page after which other days are named, and not this one."""
    pages = {fact.source_title for facts in briefs.values() for fact in facts}
    own = {day: named_after(title, pages) for day, title in titles.items()}
    taken = frozenset().union(*own.values())
    return {
        day: frozenset(fact.text for fact in facts if fact.source_title in taken - own.get(day, frozenset()))
        for day, facts in briefs.items()
    }


def _away(rank: Mapping[int, Mapping[str, int]], elsewhere: Mapping[int, frozenset[str]]) -> dict[int, frozenset[str]]:
    """The sentences of each day that belong to another day: they stand far higher in that one's Brief, or on its page."""
    best: dict[str, int] = {}
    for ranks in rank.values():
        for text, n in ranks.items():
            best[text] = min(best.get(text, n), n)
    far = {day: frozenset(text for text, n in ranks.items() if n > best[text] + FAR) for day, ranks in rank.items()}
    return {day: texts | elsewhere.get(day, frozenset()) for day, texts in far.items()}


def _pool(place: Place, left: Mapping[int, Sequence[Fact]], away: Mapping[int, frozenset[str]]) -> list[Fact]:
    return [fact for fact in left.get(place.day, ()) if fact.text not in away.get(place.day, frozenset())]


def _take(
    place: Place,
    left: dict[int, list[Fact]],
    rank: Mapping[int, Mapping[str, int]],
    away: Mapping[int, frozenset[str]],
    count: int,
    *,
    astray: bool = True,
) -> None:
    """Give `place` its next `count` sentences; only of the pages that it has, unless it may go `astray`."""
    for _ in range(count):
        pool = _pool(place, left, away)
        if not pool:
            return
        lead = place.facts[0] if place.facts else None
        fits = [fact for fact in pool if place.content_type != "quote" or lead or len(fact.text) <= SHORT] or pool
        together = [fact for fact in fits if lead and fact.source_title == lead.source_title]
        if together:
            ranks = rank[place.day]
            held = [ranks[fact.text] for fact in place.facts if fact.text in ranks]
            together.sort(key=lambda fact: min((abs(ranks[fact.text] - n), ranks[fact.text] < n) for n in held))
        elif lead and not astray:
            return
        chosen = (together or fits)[0]
        place.facts.append(chosen)
        about = stems(chosen.text)
        # What says the same is gone for the whole week, whatever day it was found for.
        for day, facts in left.items():
            left[day] = [
                fact for fact in facts if fact.text != chosen.text and not says_the_same(about, stems(fact.text))
            ]
