"""The days of a week, without a model: derived from what the pages say about its theme."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.extract import (
    ENOUGH,
    FEW_PAGES,
    GENERIC,
    OWN_KEYWORDS,
    SPARSE,
    WEEKDAYS,
    Found,
    covering,
    quotable,
    said_everywhere,
)
from agents.sentences import NO_NOUN, noun_phrases, stems, words
from config.subjects import Subject

_ENDINGS = ("ment", "ness", "less", "ful")
_AGAIN = ("continued", "once more", "part four", "part five", "part six", "part seven")
"""What stands behind a page's name on its further days when it speaks of nothing that could stand there."""
LONGEST_NAME = 7
"""Words of a page's name that a day bears whole."""
ALIKE = 3
"""Things that a page must share with the pages on the theme to be read as another one on it."""
_SLACK = 1.3
"""How many sentences a day should have for each that its pieces need: some fit no place, some a rule takes out."""


@dataclass(frozen=True)
class _Page:
    """A page that can carry days of the week."""

    title: str
    keywords: tuple[str, ...]
    supply: int
    """Sentences that can be quoted from it."""
    tier: int
    """0: it speaks of the theme itself; 1: of what is related; 2: it touches the theme here and there."""
    weight: float
    sides: tuple[str, ...]
    """What its sentences speak of beside what its name says, most often first: for the titles of its further days."""


def plan_week(material: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a `week` task: title, angle and keywords of each asked day, from the theme and what is known.

    A day is named after a page that speaks of the theme, as the page names itself; where there are fewer such pages than
    days, rich pages carry several, then come pages on what is related to the theme. A day for which nothing is left keeps the
    theme's own words. Days whose pieces `need` more sentences get the pages that have more.
    """
    theme = material["theme"]
    wanted = [int(day) for day in material["days"]]
    needs = {int(day): int(count) for day, count in material.get("needs", {}).items()}
    sentences = quotable(material.get("passages", ()))
    given = _assigned(_pages(theme, sentences), wanted, needs)
    spoken = frozenset().union(*(roots(one.text) for one in sentences))
    related = [word for word in theme.get("related", ()) if roots(word) <= spoken]
    seen: dict[str, int] = {}
    sides = {page.title: page.sides for page in given.values()}
    days = []
    for day in wanted:
        page = given.get(day)
        title, angle = f"{theme['title']} on {WEEKDAYS[day - 1]}", "What is left to say on the theme."
        about: tuple[str, ...] = ()
        if page is not None:
            n = seen[page.title] = seen.get(page.title, -1) + 1
            side, sides[page.title] = (sides[page.title][:2], sides[page.title][2:]) if n else ((), sides[page.title])
            title = _titled(page.title, side, n)
            about = tuple(dict.fromkeys((*page.keywords[:1], *side, *page.keywords[1:])))
            angle = f"What the brand's pages say about {title}."
        days.append(
            {
                "day": day,
                "title": (title[:1].upper() + title[1:])[:120],
                "angle": angle[:300],
                "keywords": _keywords(about, theme, related),
            }
        )
    return {"days": days}


def _titled(page: str, side: Sequence[str], n: int) -> str:
    """The day's title: the page's name, and on its further days what else the page speaks of: "Stretching: shoulders and floor".

    Of a long name the part before its first mark.
    """
    page = re.sub(r"[!.]+$", "", page) or page
    if len(page.split()) > LONGEST_NAME:
        page = re.split(r"(?: [-–—|(]|[:;,]) ?", page)[0] or page
    if not n:
        return page
    shown = " and ".join(side) or _AGAIN[n - 1]
    if page[-1:] in "?!.…" or ": " in page:
        return f"{page} ({shown})"
    return f"{page}: {shown}" if side else f"{page}, {shown}"


def _assigned(pages: Sequence[_Page], days: Sequence[int], needs: Mapping[int, int]) -> dict[int, _Page]:
    """Which page each day is about; days beyond what the pages hold have none, and these are the ones that need most.

    A page on the theme itself comes before one on what is related, and three days of one page are enough while there is another.
    """
    least = {day: max(1, needs.get(day, ENOUGH - SPARSE)) for day in days}
    held = sum(page.supply for page in pages)
    carried: list[int] = []
    # Where the pages do not suffice, many short pieces are better than a few long ones.
    for day in sorted(days, key=lambda day: (least[day], day)):
        if held >= least[day]:
            carried.append(day)
            held -= round(_SLACK * least[day])
    left = {page.title: page.supply for page in pages}
    given: dict[int, _Page] = {}
    richest = sorted(carried, key=lambda day: (-least[day], day))
    for day in (*richest, *sorted(set(days) - set(carried), key=lambda day: (least[day], day))):
        wanted = round(_SLACK * least[day])
        times = Counter(page.title for page in given.values())
        open_ = [
            (page.tier + times[page.title] // 3, times[page.title], n, page)
            for n, page in enumerate(pages)
            if left[page.title] >= SPARSE
        ]
        if not open_:
            break
        # What is near and suffices; then the most of what is near; a page that touches the theme comes last.
        close = [one for one in open_ if one[0] <= 1] or open_
        enough = [one for one in close if left[one[-1].title] >= least[day]]
        page = min(enough)[-1] if enough else max(close, key=lambda one: (left[one[-1].title], -one[2]))[-1]
        given[day] = page
        left[page.title] -= min(wanted, left[page.title])
    return given


def _keywords(about: Sequence[str], theme: Mapping[str, Any], related: Sequence[str]) -> list[str]:
    """The day's own, filled up with the theme's, then what is related and spoken of."""
    own = [*dict.fromkeys([*about, *theme.get("keywords", ())])]
    return [*dict.fromkeys([*own[:OWN_KEYWORDS], *own[OWN_KEYWORDS:], *related])][:12]


def _pages(theme: Mapping[str, Any], quoted: Sequence[Found]) -> list[_Page]:
    """The pages that say enough about the theme, or about what is related to it, to carry a day; the best first."""
    asked = strong(" ".join((theme["title"], *theme.get("keywords", ()))))
    near = roots(" ".join(theme.get("related", ()))) - asked
    sentences: dict[str, list[Found]] = {}
    for one in quoted:
        sentences.setdefault(one.page, []).append(one)
    unnamed = set(theme.get("unnamed", ()))
    named = {title: roots(title) for title in sentences}
    hits = {title: sum(bool(roots(one.text) & asked) for one in found) for title, found in sentences.items()}
    # A theme that most pages speak of is what the brand is about, and so is every page.
    core = sum(bool(hits[title] or named[title] & asked) for title in sentences) * 2 > len(sentences) > FEW_PAGES
    alike = _alike(
        sentences, [title for title in sentences if named[title] & asked or hits[title] * 3 >= len(sentences[title])]
    )
    everywhere = said_everywhere(quoted)
    pages = []
    for title, found in sentences.items():
        if len(found) < SPARSE or title in unnamed:
            continue
        name, direct = named[title], hits[title]
        close = sum(bool(roots(one.text) & near) for one in found)
        kinds = len(near & frozenset().union(*(roots(one.text) for one in found)))
        # The related words come nearest first: a page that is named after the second is nearer than one after the tenth.
        weight = 8 * bool(name & asked) + 4 * bool(name & near) + 2 * direct + close
        if name & asked or direct * 3 >= len(found):
            tier = 0
        # One related word again and again may mean something else here: a page is about two of them.
        elif name & near or ((direct + close) * 3 >= len(found) and direct + close >= SPARSE and direct + kinds > 1):
            tier = 1
        elif (
            core
            or title in alike
            or ((direct + close) * 4 >= len(found) and direct + close >= 2 and direct + kinds > 1)
        ):
            tier = 2
        else:
            continue
        pages.append(_Page(title, _about(title, found), len(found), tier, weight, _sides(title, found, everywhere)))
    return sorted(pages, key=lambda page: (page.tier, -page.weight, page.title))


def _alike(sentences: Mapping[str, Sequence[Found]], on_theme: Sequence[str]) -> frozenset[str]:
    """The pages that speak of the same things as those `on_theme`: a third of their sentences, of three such things or more.

    What at least two sentences of the pages on the theme hold counts, unless half of all pages hold it.
    """
    holding = Counter(stem for found in sentences.values() for stem in frozenset().union(*(one.stems for one in found)))
    said = Counter(stem for title in on_theme for one in sentences[title] for stem in one.stems - GENERIC)
    telling = {stem for stem, times in said.items() if times >= 2 and holding[stem] * 2 <= len(sentences)}
    found_alike = set()
    for title, found in sentences.items():
        shared = frozenset().union(*(one.stems & telling for one in found))
        if len(shared) >= ALIKE and sum(bool(one.stems & telling) for one in found) * 3 >= len(found):
            found_alike.add(title)
    return frozenset(found_alike)


def _sides(page: str, sentences: Sequence[Found], everywhere: frozenset[str]) -> tuple[str, ...]:
    """What at least two of the page's sentences speak of, and neither its name nor most of the other pages do."""
    said = set(stems(page) | everywhere)
    found = []
    spoken = noun_phrases((one.text for one in sentences), most=40)
    for phrase in sorted(spoken, key=lambda phrase: -_holding(phrase, sentences)):
        new = stems(phrase) - GENERIC
        if phrase in page.lower():
            continue  # "room" says no more than "A restful bedroom"
        plain = set(phrase.split()).isdisjoint(NO_NOUN) and not _modifies(phrase, sentences)
        if new and plain and not stems(phrase) & said and len(phrase) > 3 and _holding(phrase, sentences) >= 2:
            found.append(phrase)
            said |= new
    return tuple(found)


def _modifies(phrase: str, sentences: Sequence[Found]) -> bool:
    """Whether another noun mostly follows it: "evening" of "the evening routine" is no side of its own."""
    behind = re.compile(rf"(?i)\b{re.escape(phrase)}\b(?: ([a-z]+))?")
    after = [match.group(1) or "" for one in sentences for match in behind.finditer(one.text)]
    carried = sum(word.lower() in ("one", "ones") or bool(stems(word)) for word in after)
    return carried * 2 > len(after)


def _holding(phrase: str, sentences: Sequence[Found]) -> int:
    """How many of the sentences hold the words of the phrase, in whatever form."""
    return sum(stems(phrase) <= one.stems for one in sentences)


def _about(page: str, sentences: Sequence[Found]) -> tuple[str, ...]:
    """Up to four keywords of a page: the words of its name that its sentences repeat, then what the others speak of."""
    named = [
        word.lower()
        for word in words(page)
        if stems(word) and sum(bool(stems(word) & one.stems) for one in sentences) * 4 >= len(sentences)
    ]
    named = named or [word.lower() for word in words(page) if stems(word)]
    return covering(
        named, noun_phrases((one.text for one in sentences), most=12, least=2), sentences, most=OWN_KEYWORDS
    )


def related_words(subjects: Iterable[Subject], asked: str) -> tuple[str, ...]:
    """The words of every subject that holds a word of `asked` in any of its forms, then what is near; without those of `asked`."""
    given, said = strong(asked), roots(asked)
    met = [one for one in subjects if any(roots(word) & given for word in one.words)]
    found = [*(word for one in met for word in one.words), *(word for one in met for word in one.near)]
    return tuple(word for word in dict.fromkeys(found) if not roots(word) & said)


def strong(text: str) -> frozenset[str]:
    """The roots of the words that say what `text` is about; all of them where none does: "Heart health" is about the heart."""
    named = [word for word in words(text) if not stems(word) & GENERIC]
    # "Mindful eating" is about eating.
    nouns = [word for word in named if not word.lower().endswith(("ful", "less", "ous"))] or named
    return frozenset().union(*map(roots, nouns)) or roots(text)


def roots(text: str) -> frozenset[str]:
    """The stems of the words of `text`, with what makes a noun or an adjective of them taken off: movement is moving."""
    out = set()
    for stem in stems(text):
        ending = next((end for end in _ENDINGS if stem.endswith(end) and len(stem) > len(end) + 2), "")
        out.add(stem.removesuffix(ending).removesuffix("e"))
    return frozenset(out)
