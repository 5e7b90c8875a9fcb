"""Rules: data of a pack, compiled once. A pattern is a row of word classes, words and gaps.

`EFFECT <6> DISEASE|AILMENT` fires where a run of class EFFECT is followed, at most six words on, by one of the two others.
Capitals name a class of lexicon.toml, small letters a word itself, `?` makes an element optional.
"""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import resources
from typing import Any

from config.errors import NotFound
from config.vocabulary import RULE_PACKS, Severity, nearest
from tools.checks.needs import SHORTEST, needs
from tools.checks.normalise import Folded, Token

PACKS = tuple(RULE_PACKS)
"""The rule packs that are shipped, by jurisdiction; `platform` holds the platforms' own policies."""


@dataclass(frozen=True)
class Element:
    """One place of a pattern: alternatives, or a gap of up to `gap` words."""

    classes: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    gap: int = -1
    optional: bool = False


@dataclass(frozen=True)
class Rule:
    """One rule: what it looks for, how grave it is, what to write instead, and the page it rests on."""

    id: str
    check_type: str
    severity: Severity
    jurisdiction: str
    title: str
    suggestion: str
    source: str
    patterns: tuple[tuple[Element, ...], ...] = ()
    regexes: tuple[re.Pattern[str], ...] = ()
    needs: tuple[tuple[str, ...], ...] = ()
    """For each expression, pieces of which one must stand in the text; () where nothing is known."""
    unless: tuple[str, ...] = ()
    """Names of guards (`guards.py`) under which it does not fire."""
    only: tuple[str, ...] = ()
    """Names of guards that must hold for it to fire."""
    also: str = ""
    """A second check type that it counts under where that one is asked for alone: a promise of lost weight is both."""
    named: Severity | None = None
    """Its severity where the market is known: a brand or an operator named the pack. None: the same as `severity`."""
    precision: float | None = None
    """Share of the labelled sentences it flagged that are violating, of five at least; None: it flagged fewer."""


_STRETCH = 200
"""Words: a guard reads the stretch of a match and the one at either side of it."""


class RuleSet:
    """Rules that are tried together, and where to begin: most of their patterns need a word that a sentence does not have."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._regexes: list[tuple[Rule, re.Pattern[str]]] = []
        self._always: list[int] = []
        self._by_piece: dict[str, list[tuple[str, int]]] = {}  # by the first letters of the piece
        for rule in rules:
            for regex, pieces in zip(rule.regexes, rule.needs, strict=True):
                if not pieces:
                    self._always.append(len(self._regexes))
                for piece in pieces:
                    self._by_piece.setdefault(piece[:SHORTEST], []).append((piece, len(self._regexes)))
                self._regexes.append((rule, regex))
        self._by_need: dict[str, list[tuple[int, int]]] = {}
        for at, rule in enumerate(self.rules):
            for number, pattern in enumerate(rule.patterns):
                must = [element for element in pattern if element.gap < 0 and not element.optional]
                # A class stands for many words, so that a word tells more.
                needed = min(must, key=lambda element: len(element.words) + 30 * len(element.classes))
                for key in needed.words | needed.classes:
                    self._by_need.setdefault(key, []).append((at, number))

    def candidates(self, sentence: Sentence) -> list[tuple[Rule, tuple[Element, ...]]]:
        """The patterns that may fire in `sentence`, in the order of their rules."""
        need = self._by_need
        found = {place for key in (*sentence.places, *sentence.class_places) for place in need.get(key, ())}
        return [(self.rules[at], self.rules[at].patterns[number]) for at, number in sorted(found)]

    def expressions(self, text: str) -> list[tuple[Rule, re.Pattern[str]]]:
        """The expressions that may match folded `text`, in the order of their rules: most need a piece that it does not have."""
        begins = {text[n : n + SHORTEST] for n in range(len(text) - SHORTEST + 1)}
        found = {
            place
            for begin in self._by_piece.keys() & begins
            for piece, place in self._by_piece[begin]
            if len(piece) == SHORTEST or piece in text
        }
        found.update(self._always)
        return [self._regexes[place] for place in sorted(found)]


@dataclass(frozen=True)
class Sentence:
    """The words of one sentence or hashtag, and the classes that each begins."""

    folded: Folded
    tokens: Sequence[Token]
    tags: Sequence[dict[str, set[int]]]
    present: frozenset[str]
    start: int
    end: int
    denied: bool = False
    """The next sentence says that it is not so."""
    weighed: bool = False
    """The next sentence speaks of a risk factor, as authorised claims of a reduced risk go on, or says how weak the evidence is."""

    typical: bool = False
    """It, or the next sentence, says what most people get, in an amount and with no haste in it."""

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """Where each word stands."""
        found: dict[str, list[int]] = {}
        for n, token in enumerate(self.tokens):
            found.setdefault(token.text, []).append(n)
        return found

    @cached_property
    def class_places(self) -> dict[str, list[int]]:
        """Where a run of each class begins."""
        found: dict[str, list[int]] = {}
        for n, tag in enumerate(self.tags):
            for name in tag:
                found.setdefault(name, []).append(n)
        return found

    @cached_property
    def known(self) -> dict[str, bool]:
        """What guards found out about the whole of it, by name: told once for all its matches."""
        return {}

    def has(self, name: str, start: int = 0, end: int | None = None) -> bool:
        """Whether class `name` begins at a word from `start` to before `end`."""
        if name not in self.present:
            return False
        places = self.class_places[name]
        first = bisect_left(places, slice(start, end).indices(len(self.tags))[0])
        return first < len(places) and places[first] < slice(start, end).indices(len(self.tags))[1]

    @cached_property
    def _parts(self) -> dict[int, Sentence]:
        return {}

    def around(self, word: int) -> tuple[Sentence, int]:
        """What a guard reads of a sentence that never ends: the words near `word`, and the index of the first of them.

        All of it for any that a person writes. Read whole for each match, a long one would take the square of its length.
        """
        if len(self.tokens) <= 3 * _STRETCH:
            return self, 0
        at = word // _STRETCH
        first, last = max(0, (at - 1) * _STRETCH), min((at + 2) * _STRETCH, len(self.tokens))
        if at not in self._parts:
            tags = [
                {name: {min(n, last) - first for n in ends} for name, ends in tag.items()}
                for tag in self.tags[first:last]
            ]
            present = frozenset(name for tag in tags for name in tag)
            self._parts[at] = replace(self, tokens=self.tokens[first:last], tags=tags, present=present)
        return self._parts[at], first

    def words(self, start: int, end: int) -> list[str]:
        return [token.text for token in self.tokens[max(0, start) : max(0, end)]]


def parse_pattern(text: str) -> tuple[Element, ...]:
    """A pattern's elements."""
    out = []
    for part in text.split():
        optional, part = part.endswith("?"), part.rstrip("?")
        if gap := re.fullmatch(r"<(\d+)>", part):
            out.append(Element(gap=int(gap.group(1))))
            continue
        names = part.split("|")
        out.append(
            Element(
                frozenset(n for n in names if n.isupper() and len(n) > 1),
                frozenset(n for n in names if not n.isupper()),
                optional=optional,
            )
        )
    return tuple(out)


def matches(pattern: Sequence[Element], sentence: Sentence) -> Iterator[tuple[int, int]]:
    """The word ranges at which `pattern` fires, one for each word that it can begin at."""
    # Most patterns need a word that is not there: told by two look-ups, before anything is tried.
    for element in pattern:
        if (
            element.gap < 0
            and not element.optional
            and element.classes.isdisjoint(sentence.present)
            and element.words.isdisjoint(sentence.places)
        ):
            return
    first = pattern[0]
    if first.optional:
        starts: Iterable[int] = range(len(sentence.tokens))
    else:
        at = {n for word in first.words for n in sentence.places.get(word, ())}
        at.update(n for name in first.classes for n in sentence.class_places.get(name, ()))
        starts = sorted(at)
    for n in starts:
        if end := _match(pattern, 0, sentence, n):
            yield n, end


def _match(pattern: Sequence[Element], k: int, sentence: Sentence, n: int) -> int:
    """The index behind a match of `pattern[k:]` at word `n`; 0 for none."""
    if k == len(pattern):
        return n
    element = pattern[k]
    if element.gap >= 0:
        for skip in range(element.gap + 1):
            if n + skip > len(sentence.tokens):
                break
            if end := _match(pattern, k + 1, sentence, n + skip):
                return end
        return 0
    if n < len(sentence.tokens):
        ends = {n + 1} if sentence.tokens[n].text in element.words else set()
        tag = sentence.tags[n]
        for name in element.classes:
            ends |= tag.get(name, set())
        for stop in sorted(ends, reverse=True):
            if end := _match(pattern, k + 1, sentence, stop):
                return end
    return _match(pattern, k + 1, sentence, n) if element.optional else 0


_FILES = {"us": ("us", "us_ftc", "us_green", "us_body", "us_trade", "us_more"), "uk": ("uk", "uk_more")}
"""The files of a pack, where it has more than the one of its name."""


@cache
def load_pack(name: str) -> tuple[Rule, ...]:
    """The rules of the pack `name`, and those that it takes over from another pack under its own sources.

    Raises NotFound, naming the packs that there are.
    """
    own = own_rules(name)
    taken = []
    for other, sources in _header(name).get("also", {}).items():
        taken += [
            replace(rule, jurisdiction=name, source=sources[rule.check_type])
            for rule in own_rules(other)
            if rule.id in sources.get("with", (rule.id,)) and rule.id not in sources.get("without", ())
        ]
    return (*own, *taken)


@cache
def own_rules(name: str) -> tuple[Rule, ...]:
    """The rules that are written in the files of the pack `name`. Raises NotFound."""
    return tuple(
        Rule(
            id=item["id"],
            check_type=item["check_type"],
            severity=Severity(item["severity"]),
            jurisdiction=name,
            title=item["title"],
            suggestion=item["suggestion"],
            source=item["source"],
            patterns=tuple(parse_pattern(pattern) for pattern in item.get("patterns", ())),
            regexes=tuple(re.compile(pattern) for pattern in item.get("regexes", ())),
            needs=tuple(needs(pattern) for pattern in item.get("regexes", ())),
            unless=tuple(item.get("unless", ())),
            only=tuple(item.get("only", ())),
            also=item.get("also", ""),
            named=Severity(item["named"]) if "named" in item else None,
            precision=measured().get(item["id"]),
        )
        for file in _FILES.get(name, (name,))
        for item in _read(name, file)["rule"]
    )


@cache
def measured() -> dict[str, float]:
    """The precision of each rule that was measured, by id, and `UNFLAGGED`: the share of unflagged sentences that are in order."""
    source = resources.files("tools.checks") / "rule_packs" / "measured.json"
    return dict(json.loads(source.read_text(encoding="utf-8")))


def _header(name: str) -> dict[str, Any]:
    return _read(name, name)


@cache
def _read(name: str, file: str) -> dict[str, Any]:
    if name not in PACKS:
        raise NotFound(f"rule pack {name!r} is not known{nearest(name, list(PACKS))}: use one of {', '.join(PACKS)}")
    return tomllib.loads((resources.files("tools.checks") / "rule_packs" / f"{file}.toml").read_text(encoding="utf-8"))
