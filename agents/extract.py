"""What to say, without a model: sentences chosen from passages, and days derived from what the passages are about."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.quotable import stands_alone
from agents.sentences import noun_phrases, overlap, split_sentences, stems, words

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NEAR = 0.75
"""Two sentences that share more than this of the shorter one say the same."""
OWN_KEYWORDS = 4
"""The first keywords of a day are its own; those behind them are only related."""
_PART = re.compile(rf", part (?:two|three|four)$| on (?:{'|'.join(WEEKDAYS)})$")
"""What a derived day's title has behind the name of its page or theme."""
_REMAINDER = re.compile(r"(?i)\bthe rest\b")  # no rest that anybody takes
_GENERIC = stems(
    "day days time week part parts thing things people hour way better best good great well new old small big little long short"
    " yourself stay staying keep keeping get getting"
)
"""Stems that make no sentence belong to a day or a week which is named with them."""
SHORTEST_FACT, LONGEST_FACT = 5, 45
"""Words; a shorter sentence says too little, a longer one fits no place of a post."""
ENOUGH = 8
"""Sentences that carry a day: three posts of two or three."""
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


def quotable(passages: Iterable[Mapping[str, Any]]) -> list[Found]:
    """The sentences of the passages that can stand in a post by themselves, in order; none that says the same as one before."""
    found: list[Found] = []
    for passage in passages:
        for sentence in split_sentences(passage["text"]):
            if not SHORTEST_FACT <= len(sentence.split()) <= LONGEST_FACT or not stands_alone(sentence):
                continue
            about = stems(_REMAINDER.sub("", sentence))
            if all(overlap(about, other.stems) < NEAR for other in found):
                found.append(Found(sentence, passage["id"], passage.get("source", ""), about, len(found)))
    return found


def choose_facts(material: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a `brief` task: up to `want` distinct sentences about the day, best first, keywords, named gaps.

    A sentence is about the day when it shares a word with the day's own keywords or the theme's, or two with the related
    ones, or stands on a page that is named after the day. The day counts more than the week, a rare word more than a common
    one; the title's words and what the search ranked high count a little.
    """
    day = material["day"]
    title = stems(_PART.sub("", day["title"])) - _GENERIC
    keywords = list(day.get("keywords", ())) or [day["title"]]
    first, later = (stems(" ".join(part)) - _GENERIC for part in (keywords[:OWN_KEYWORDS], keywords[OWN_KEYWORDS:]))
    week = stems(" ".join((material["theme"], *material.get("keywords", ())))) - _GENERIC
    angle = stems(day.get("angle", ""))
    searched = {passage["id"]: float(passage.get("score", 0.0)) for passage in material.get("passages", ())}
    found = quotable(material.get("passages", ()))
    spread = Counter(stem for one in found for stem in one.stems)
    depth = Counter(one.page for one in found if one.stems & first)
    scored = []
    for one in found:
        own_page = _same(stems(one.page) - _GENERIC, title)
        # A word that is only related may mean something else here ("the rest of the page"); two of them hardly do.
        close = len((one.stems & later) - first - week)
        if not one.stems & (first | week) and close < 2 and not own_page:
            continue
        # "Lemon" says more about its day than "water", which half of the week's sentences hold.
        score = sum(3.0 if spread[stem] * 10 <= len(found) else 2.0 for stem in one.stems & first)
        score += len(one.stems & title) + len((one.stems & week) - first) + 0.5 * close + 0.5 * len(one.stems & angle)
        # A page that speaks of the day again and again means the same by its words; a single hit may be about another step.
        score += min(2.0, 0.4 * depth[one.page]) if one.stems & first else 0.0
        score += (4 if own_page else 0) + 2 * searched[one.source_id] - 0.02 * len(words(one.text))
        scored.append((-score, one.order, one))
    chosen = [one for _, _, one in sorted(scored, key=lambda item: item[:2])][: int(material.get("want", 12))]
    gaps = []
    if not chosen:
        gaps = [f"the brand's knowledge holds no sentence about {day['title']!r}: add a document that covers it"]
    own = day.get("keywords", ())
    return {
        "facts": [{"text": one.text, "source_id": one.source_id} for one in chosen],
        "keywords": [*dict.fromkeys([*own, *noun_phrases((one.text for one in chosen), most=4, least=2)])][:8],
        "gaps": gaps,
    }


def plan_week(material: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a `week` task: title, angle and keywords of each asked day, from the theme and what is known.

    A day is named after a page that speaks of the theme, as the page names itself; where there are fewer such pages than
    """
    theme = material["theme"]
    wanted = [int(day) for day in material["days"]]
    topics = _topics(theme, material.get("passages", ()), len(wanted))
    days = []
    for n, day in enumerate(wanted):
        title, about = topics[n] if n < len(topics) else (f"{theme['title']} on {WEEKDAYS[day - 1]}", ())
        angle = f"What the brand's pages say about {title}." if n < len(topics) else "What is left to say on the theme."
        days.append(
            {
                "day": day,
                "title": (title[:1].upper() + title[1:])[:120],
                "angle": angle[:300],
                "keywords": _keywords(about, theme),
            }
        )
    return {"days": days}


def _keywords(about: Sequence[str], theme: Mapping[str, Any]) -> list[str]:
    """The day's own, filled up with the theme's, then what is related."""
    own = [*dict.fromkeys([*about, *theme.get("keywords", ())])]
    return [*dict.fromkeys([*own[:OWN_KEYWORDS], *own[OWN_KEYWORDS:], *theme.get("related", ())])][:12]


def _topics(
    theme: Mapping[str, Any], passages: Sequence[Mapping[str, Any]], most: int
) -> list[tuple[str, tuple[str, ...]]]:
    """Up to `most` things that the passages say about the theme: a title and its keywords, the richest first."""
    asked = roots(" ".join((theme["title"], *theme.get("keywords", ()))))
    near = roots(" ".join(theme.get("related", ()))) - asked
    pages: dict[str, list[Found]] = {}
    for one in quotable(passages):
        pages.setdefault(one.page, []).append(one)
    weight: dict[str, float] = {}
    for page, sentences in pages.items():
        name = roots(page)
        direct = sum(bool(roots(one.text) & asked) for one in sentences)
        close = sum(bool(roots(one.text) & near) for one in sentences)
        of_it = (direct + close) * 3 >= len(sentences) and direct + close >= SPARSE
        if len(sentences) >= SPARSE and (name & (asked | near) or of_it):
            weight[page] = 8 * bool(name & asked) + 4 * bool(name & near) + 2 * direct + close
    unnamed = set(theme.get("unnamed", ()))
    ranked = [page for page in sorted(weight, key=lambda page: (-weight[page], page)) if page not in unnamed]
    topics = [(page, _about(page, pages[page])) for page in ranked[:most]]
    # Fewer pages than days: a rich page carries more than one.
    for n, part in enumerate(("two", "three", "four"), 2):
        topics += [
            (f"{page}, part {part}", _about(page, pages[page])) for page in ranked if len(pages[page]) >= n * ENOUGH
        ]
    return topics[:most]


def _about(page: str, sentences: Sequence[Found]) -> tuple[str, ...]:
    """Up to four keywords of a page: the words of its name that its sentences repeat, then what they speak of."""
    named = [
        word.lower()
        for word in words(page)
        if stems(word) and sum(bool(stems(word) & one.stems) for one in sentences) * 4 >= len(sentences)
    ]
    return tuple(dict.fromkeys([*named, *noun_phrases((one.text for one in sentences), most=3, least=2)]))[:4]


_ENDINGS = ("ment", "ness", "less", "ful")


def roots(text: str) -> frozenset[str]:
    """The stems of the words of `text`, with what makes a noun or an adjective of them taken off: movement is moving."""
    out = set()
    for stem in stems(text):
        ending = next((end for end in _ENDINGS if stem.endswith(end) and len(stem) > len(end) + 2), "")
        out.add(stem.removesuffix(ending).removesuffix("e"))
    return frozenset(out)


def _same(one: frozenset[str], other: frozenset[str]) -> bool:
    return bool(one) and overlap(one, other) >= NEAR and len(one & other) * 2 > max(len(one), len(other))
