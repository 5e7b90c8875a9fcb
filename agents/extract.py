"""What to say, without a model: the sentences of passages that can be quoted, and those of them that are about a day."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.quotable import stands_alone, taken_back
from agents.sentences import SAME, noun_phrases, overlap, says_the_same, split_sentences, stems, words
from config.calendar import DAYS

WEEKDAYS = tuple(day.capitalize() for day in DAYS)
OWN_KEYWORDS = 4
"""The first keywords of a day are its own; those behind them are only related."""
PART = re.compile(rf",? \(?(?:continued|once more|part (?:four|five|six|seven))\)?$| on (?:{'|'.join(WEEKDAYS)})$")
"""What a derived day's title has behind the name of its page or theme."""
_REMAINDER = re.compile(r"(?i)\bthe rest\b")  # no rest that anybody takes
GENERIC = stems(
    "day days time minute minutes second seconds"
    " week part parts thing things people hour way better best good great well new old small big little long short"
    " yourself stay staying keep keeping get getting"
    " health healthy wellness wellbeing life lives living care caring other others back start season year month home today"
)
"""Stems that make no sentence belong to a day or a week which is named with them."""
SHORTEST_FACT, LONGEST_FACT = 5, 45
"""Words; a shorter sentence says too little, a longer one fits no place of a post."""
ENOUGH = 8
"""Sentences that carry a day: three posts of two or three."""
FEW_PAGES = 4
"""With at most this many pages none of them tells what the brand is about."""
RUN = 2
"""Sentences behind the best one that are read together with it."""
SPARSE = 3
"""With fewer sentences than this a page carries no day of its own."""


@dataclass(frozen=True)
class Found:
    """A sentence that can be quoted, and where it stands."""

    text: str
    source_id: str
    page: str
    stems: frozenset[str]
    order: int
    at: int = 0
    """Which sentence of its passage it is, those that cannot be quoted counted too."""


def quotable(passages: Iterable[Mapping[str, Any]]) -> list[Found]:
    """The sentences of the passages that can stand in a post by themselves, in order; none that says the same as one before."""
    found: list[Found] = []
    for passage in passages:
        sentences = split_sentences(passage["text"])
        for at, (sentence, following) in enumerate(zip(sentences, [*sentences[1:], ""], strict=True)):
            if not SHORTEST_FACT <= len(sentence.split()) <= LONGEST_FACT or not stands_alone(sentence):
                continue
            if taken_back(following):
                continue
            about = stems(_REMAINDER.sub("", sentence))
            if not any(says_the_same(about, other.stems) for other in found):
                found.append(Found(sentence, passage["id"], passage.get("source", ""), about, len(found), at))
    return found


def choose_facts(material: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a `brief` task: up to `want` distinct sentences about the day, keywords, named gaps.

    The best sentence comes first, with those that stand around it on its page; then the best of the others, and so on.

    A sentence is about the day when it shares a word with the day's own keywords or the theme's, or two with the related
    ones, or stands on a page that is named after the day. The day counts more than the week, a rare word more than a common
    one; the title's words and what the search ranked high count a little.
    """
    day = material["day"]
    title = stems(PART.sub("", day["title"])) - GENERIC
    found = quotable(material.get("passages", ()))
    # Neither the brand's name nor what all its pages speak of ties a sentence to one day.
    everyday = stems(material.get("brand", "")) | said_everywhere(found)
    # "Slowly" does not make a sentence be about walking slowly.
    leading = stems(" ".join(word for word in words(PART.sub("", day["title"])) if not word.endswith("ly"))) - GENERIC
    keywords = list(day.get("keywords", ())) or [day["title"]]
    first, later = (stems(" ".join(part)) - GENERIC for part in (keywords[:OWN_KEYWORDS], keywords[OWN_KEYWORDS:]))
    week = stems(" ".join((material["theme"], *material.get("keywords", ())))) - GENERIC
    angle = stems(day.get("angle", ""))
    searched = {passage["id"]: float(passage.get("score", 0.0)) for passage in material.get("passages", ())}
    spread = Counter(stem for one in found for stem in one.stems)
    depth = Counter(one.page for one in found if one.stems & first)
    stray = strays(found, first, week)
    named = named_after(day["title"], {one.page for one in found})
    scored = []
    for one in found:
        own_page = one.page in named
        # A word that is only related may mean something else here ("the rest of the page"); two of them hardly do.
        close = len((one.stems & later) - first - week)
        if one in stray and close < 2 and not own_page:
            continue
        # Where a page has the day's name, a sentence of another page must say more of it than one word in passing.
        passing = len(one.stems & (title | first) - everyday) < 2 or not one.stems & leading - everyday
        if named and not own_page and passing and not title <= one.stems:
            continue
        # "Lemon" says more about its day than "water", which half of the week's sentences hold.
        score = sum(3.0 if spread[stem] * 10 <= len(found) else 2.0 for stem in one.stems & first)
        score += len(one.stems & title) + len((one.stems & week) - first) + 0.5 * close + 0.5 * len(one.stems & angle)
        # A page that speaks of the day again and again means the same by its words; a single hit may be about another step.
        score += min(2.0, 0.4 * depth[one.page]) if one.stems & first else 0.0
        score += (8 if own_page else 0) + 2 * searched[one.source_id] - 0.02 * len(words(one.text))
        scored.append((-score, one.order, one))
    ranked = [one for _, _, one in sorted(scored, key=lambda item: item[:2])][: int(material.get("want", 12))]
    chosen = _runs(ranked)
    gaps = []
    if not chosen:
        gaps = [f"the brand's knowledge holds no sentence about {day['title']!r}: add a document that covers it"]
    return {
        "facts": [{"text": one.text, "source_id": one.source_id} for one in chosen],
        "keywords": _spoken_of(chosen, keywords[:OWN_KEYWORDS]),
        "gaps": gaps,
    }


def strays(found: Sequence[Found], own: frozenset[str], week: frozenset[str]) -> set[Found]:
    """The sentences that share no word with the day or the week, or one with the week alone on a page that never speaks of the day.

    They are about another day, or about nothing: a gap says more. `own` and `week` are stems.
    """
    speaking = {one.page for one in found if one.stems & (own - week or own)}
    both = own | week
    return {one for one in found if len(one.stems & both) < (1 if one.page in speaking else 2)}


def said_everywhere(found: Iterable[Found]) -> frozenset[str]:
    """The stems that more than half of the pages hold, where there are pages enough to tell."""
    pages: dict[str, set[str]] = {}
    for one in found:
        pages.setdefault(one.page, set()).update(one.stems)
    count = Counter(stem for held in pages.values() for stem in held)
    return frozenset(stem for stem, times in count.items() if times * 2 > len(pages) > FEW_PAGES)


def named_after(title: str, pages: Collection[str]) -> frozenset[str]:
    """The pages that bear the day's title, or what stands in it before the side that the day is about."""
    bare = PART.sub("", title)
    plain = bare.lower()
    exact = frozenset(page for page in pages if page.lower() == plain)
    # A page with a long name lends a day its beginning: "Brushing" of "Brushing: what we tell everyone".
    exact = exact or frozenset(
        page for page in pages if re.match(rf"{re.escape(plain)}(?: [-–—|(]|[:;,])", page.lower())
    )
    if exact:
        return exact
    names = [stems(name) - GENERIC for name in (bare, bare.rpartition(": ")[0], bare.rpartition(" (")[0]) if name]
    return frozenset(page for page in pages if any(_same(stems(page) - GENERIC, name) for name in names))


def _runs(ranked: Sequence[Found]) -> list[Found]:
    """`ranked` with the sentences that belong to a better one right behind it, in the order of the page."""
    left = list(ranked)
    out: list[Found] = []
    while left:
        lead = left[0]
        run = [one for one in left if one.source_id == lead.source_id and 0 <= one.at - lead.at <= RUN]
        out += sorted(run, key=lambda one: one.at)
        left = [one for one in left if one not in run]
    return out


def _spoken_of(chosen: Sequence[Found], own: Sequence[str]) -> list[str]:
    """Up to eight keywords: the day's own, then those that reach most of the sentences which hold none of them."""
    texts = [one.text for one in chosen]
    phrases = noun_phrases(texts, most=16, least=2)
    return [*covering(own, [*phrases, *noun_phrases(texts, most=40)], chosen, most=8)]


def covering(first: Iterable[str], phrases: Sequence[str], sentences: Sequence[Found], *, most: int) -> tuple[str, ...]:
    """`first`, then those of `phrases` that each time reach most sentences which hold none of the words so far."""
    chosen = [*dict.fromkeys(first)][:most]
    open_ = [one for one in sentences if not any(stems(word) & one.stems for word in chosen)]
    left = [phrase for phrase in phrases if phrase not in chosen]
    while left and open_ and len(chosen) < most:
        best = max(left, key=lambda phrase: sum(stems(phrase) <= one.stems for one in open_))
        if not any(stems(best) <= one.stems for one in open_):
            break
        chosen.append(best)
        left.remove(best)
        open_ = [one for one in open_ if not stems(best) <= one.stems]
    return tuple(dict.fromkeys([*chosen, *left]))[:most]


def _same(one: frozenset[str], other: frozenset[str]) -> bool:
    return bool(one) and overlap(one, other) >= SAME and len(one & other) * 2 > max(len(one), len(other))
