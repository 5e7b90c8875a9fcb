"""Sentences, words and keyphrases, by rules: what the offline model and research read text with."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from agents.quotable import is_fragment, runs_on
from memory.sentences import paragraphs
from tools.text import HIDDEN, STOPWORDS
from tools.text import keyphrases as keyphrases
from tools.text import words as words

_LABEL = re.compile(r"^(?:Summary|Abstract|Overview|Introduction|Tip|Note|Question|Answer|Q|A)\s*:\s+(?=[\"“A-Z])")
_ASIDE = re.compile(r"\s*(?:\||```|>|<)")
_MARKUP = re.compile(
    r"!\[([^\]]*)\]\([^)]*\)|\[([^\]]*)\]\([^)]*\)|(\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=[\w.,;:!?…)’”])[*_](?!\w))"
)


def visible(text: str) -> str:
    """`text` in NFC without what cannot be seen or stored: controls, direction overrides, zero-width marks, tags."""
    return HIDDEN.sub("", unicodedata.normalize("NFC", text))


def split_sentences(text: str) -> list[str]:
    """The whole sentences of Markdown or plain text, word for word and in order, without headings, tables, quotes and marks.

    The last item of a list often runs into the prose behind it ("... tanning beds Check your skin"), and an item with a
    full stop is often no sentence: behind a line that does not end, such text is left out. So is a label ("Summary :").
    """
    lines = ["" if _ASIDE.match(line) else line for line in visible(text).splitlines()]
    plain = _MARKUP.sub(lambda m: m.group(1) or m.group(2) or "", "\n".join(lines))
    found = []
    blocks = paragraphs(plain)
    for n, block in enumerate(blocks):
        # What stood before the first block of a chunk is not known: it may have been a list.
        behind = n == 0 or _open(blocks[n - 1][-1])
        for m, sentence in enumerate(block):
            bare = _LABEL.sub("", sentence)
            if m == 0 and behind and (runs_on(bare, in_a_list=True) or is_fragment(bare)):
                continue
            if is_sentence(bare):
                found.append(bare)
    return found


def _open(sentence: str) -> bool:
    """Whether a paragraph ends without an end: a heading, a line before a list, or an item of one."""
    return not sentence.rstrip("\"'”’)").endswith((".", "!", "?", "…"))


def is_sentence(text: str) -> bool:
    """Whether `text` can stand alone: three words or more, an end, no address, no source line."""
    first = next((char for char in text if char.isalnum()), "")
    return (
        len(words(text)) >= 3
        and not first.islower()
        and text[-1] in '.!…"”’)'
        and "http" not in text
        and not re.match(r"(?i)(source|sources|see|note)\b\s*:", text)
    )


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import snowballstemmer  # type: ignore[import-untyped]  # only whoever ranks sentences pays for it

    return snowballstemmer.stemmer("english")


_SINGULAR = {
    "teeth": "tooth", "feet": "foot", "children": "child", "kids": "child", "kid": "child", "men": "man", "women": "woman",
    "leaves": "leaf", "loaves": "loaf", "knives": "knife", "shelves": "shelf", "mice": "mouse", "geese": "goose", "slept": "sleep",
    "ate": "eat", "eaten": "eat", "drank": "drink", "drunk": "drink", "grown": "grow", "grew": "grow", "swam": "swim",
    "ran": "run", "ridden": "ride", "rode": "ride", "kept": "keep", "brought": "bring", "bought": "buy", "taught": "teach",
    "thought": "think", "thoughts": "think", "written": "write", "wrote": "write", "spoken": "speak", "made": "make",
}  # fmt: skip
"""Forms that no rule for endings finds, and a word that means the same."""


@lru_cache(maxsize=20000)
def _stem(word: str) -> str:
    bare = word.removesuffix("'s").removesuffix("’s")
    return str(_stemmer().stemWord(_SINGULAR.get(bare, bare)))


def stems(text: str) -> frozenset[str]:
    """The stems of the words of `text` that carry meaning."""
    return frozenset(
        _stem(word) for word in (w.lower() for w in words(text)) if word not in STOPWORDS and len(word) > 1
    )


def overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """How much two sets of stems share: 0 nothing, 1 the smaller is inside the larger."""
    return len(one & other) / min(len(one), len(other)) if one and other else 0.0


SAME = 0.75
"""Two sentences that share at least this of the shorter one, and half of all that they say, say the same."""


def says_the_same(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two sentences, by the stems of their words, say the same: the shorter is no more than a part of the longer."""
    return overlap(one, other) >= SAME and len(one & other) * 2 >= len(one | other)


def mentions(text: str, phrase: str) -> bool:
    """Whether `phrase` stands in `text`, whole words, whatever the case, quotes and spaces."""
    wanted = _flat(phrase)
    return bool(wanted) and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", _flat(text)) is not None


def _flat(text: str) -> str:
    return " ".join(
        unicodedata.normalize("NFKC", text)
        .translate({0x2019: "'", 0x2018: "'", 0x201C: '"', 0x201D: '"'})
        .lower()
        .split()
    )


_BREAK_BEFORE = frozenset(
    """
    because so and but or than that which who when while where with without of in for to from at on before after as by into
    until if unless about through over under between is are can will
    """.split()  # noqa: SIM905
)
_JOINS = frozenset("because so but than that which who when while where before after until if unless".split())  # noqa: SIM905
_PARTICLES = frozenset("in on up down out off over away back".split())  # noqa: SIM905
_CARRY_ON = _PARTICLES | {"with", "for", "from", "of", "to"}
_LEADS_ON = frozenset(
    """
    a an the your our my their his her its this that these those every each no any some one two three four five very too as
    more most less only
    """.split()  # noqa: SIM905
)
"""What belongs to the word or two behind it."""


def screen_lines(text: str, *, most: int = 7) -> list[str]:
    """`text` as lines of at most `most` words for a screen, all of it and in order, broken where one would take a breath."""
    parts = text.rstrip(".").split()
    if len(parts) <= most:
        return [" ".join(parts)] if parts else []
    # The best way to break the first n words: its cost, and where its last line begins.
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(parts) + 1):
        options = []
        for start in range(max(0, end - most), end):
            size = end - start
            cost = best[start][0] + 1.5 + (6 if size == 1 else 3 if size == 2 else 0)
            if end < len(parts):
                cost += _break_cost(parts, end)
            options.append((cost, start))
        best.append(min(options))
    lines: list[str] = []
    end = len(parts)
    while end:
        start = best[end][1]
        lines.insert(0, " ".join(parts[start:end]).strip(",;:"))
        end = start
    return lines


def _break_cost(parts: list[str], at: int) -> float:
    """How much a break in front of word `at` hurts: nothing after a comma, most inside "a low lamp" or "once an hour"."""
    last, following = parts[at - 1], parts[at].lower()
    if last.endswith((",", ";", ":", ".", "—", "–")):
        return 0.0
    behind = parts[at + 1].lower() if at + 1 < len(parts) else ""
    if following == "of" or (following in _PARTICLES and behind in _CARRY_ON):
        return 5.0
    # "go in / with a little": the first belongs to its verb.
    if last.lower() in _PARTICLES and following in _CARRY_ON:
        return 1.5
    if last.lower() in _LEADS_ON or last.lower() in STOPWORDS or last.lower() in _BREAK_BEFORE:
        return 7.0
    if following in _JOINS:
        return 0.5
    if following in ("and", "or"):
        return 1.5
    # Between an article and its noun may stand one word more: "a low / lamp".
    if at > 1 and parts[at - 2].lower() in _LEADS_ON and following not in STOPWORDS:
        return 6.0
    if following in _BREAK_BEFORE:
        return 1.5
    if following in ("a", "an", "the", "your", "our", "my", "their", "its"):
        return 3.0  # mostly a verb's object
    return 2.0 if following in _LEADS_ON else 3.5


_BEFORE_A_NOUN = frozenset(
    "a an the your our of in with for about by from into on some many more less enough any no every each".split()  # noqa: SIM905
)
NO_NOUN = frozenset(
    """
    day days time times way ways thing things people person part parts lot kind kinds one two three four five first last
    good great new old small large best better free few little many minute minutes moment end side place work used needed
    important different certain several most various possible able something someone somebody else example
    hour hours week month year years half whole change changes amount number sort bit piece pieces rest beginning movement movements
    nobody everybody anybody ones dark cold warm hot hard soft open early late front back top bottom left right outside inside middle
    """.split()  # noqa: SIM905
)


def noun_phrases(texts: Iterable[str], *, most: int, least: int = 1) -> list[str]:
    """What at least `least` of the texts speak of: one or two words behind an article or a preposition, most often first.

    A rule of thumb and no parser: "a slow breath", "the evening routine", "of dietary fiber". Lower-cased.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(
            {phrase for clause in re.split(r"[^\w\s’'-]+", text) for phrase in _phrases_behind(clause.split())}
        )
    for phrase in [phrase for phrase in counts if f"{phrase}s" in counts]:
        counts[phrase] += counts.pop(f"{phrase}s")
    ranked = sorted(counts.items(), key=lambda item: (-item[1] * (1.6 if " " in item[0] else 1), item[0]))
    return [phrase for phrase, count in ranked if count >= least][:most]


_UNSEEN = frozenset(
    """
    score line goal key reason aim role sign kind matter idea word words name names claim risk chance cause pace length
    sense habit habits purpose variety combination substance response stage look sound memory moment muscles body
    """.split()  # noqa: SIM905
)
"""Nouns of which there is no picture, or none that a card should carry."""


def things(text: str, *, most: int = 3) -> list[str]:
    """What a picture of `text` could show, in its order: nouns behind an article, with it: "a low lamp", "the stairs"."""
    found: list[str] = []
    for clause in re.split(r"[^\w\s’'-]+", text):
        parts = clause.split()
        for n, word in enumerate(parts):
            if word.lower() not in ("a", "an", "the", "your", "our"):
                continue
            run: list[str] = []
            behind = ""
            for follower in parts[n + 1 :]:
                if follower.lower() in STOPWORDS or not follower[:1].isalpha():
                    behind = follower.lower()
                    break
                run.append(follower.lower())
            # "While the kettle boils", "watch a cat wake up", "make your legs stronger": the second word is no noun.
            if len(run) == 2 and (behind in _PARTICLES or (not behind and re.search(r"[^s]s$|er$", run[1]))):
                run.pop()
            # A longer run holds a verb, and so may two words whose second ends like one.
            if not 1 <= len(run) <= 2 or run[-1] in NO_NOUN or run[0] in NO_NOUN or run[-1].endswith(("ly", "ing")):
                continue
            if word.lower() in ("a", "an") and re.search(r"[^s]s$", run[-1]):
                continue
            if run[-1] in _UNSEEN:
                continue
            article = word.lower() if word.lower() in ("a", "an") else "the"
            found.append(f"{article} {' '.join(run)}")
    return list({thing.partition(" ")[2]: thing for thing in found}.values())[:most]


def _phrases_behind(parts: list[str]) -> set[str]:
    found: set[str] = set()
    for n, word in enumerate(parts):
        if word.lower() not in _BEFORE_A_NOUN:
            continue
        run: list[str] = []
        for follower in parts[n + 1 :]:
            if follower.lower() in STOPWORDS or not follower[:1].isalpha():
                break
            run.append(follower.lower())
        # A longer run is likely to hold a verb, and nothing says where.
        if not 1 <= len(run) <= 2 or run[-1] in NO_NOUN or run[0].endswith("ing") or run[-1].endswith("ly"):
            continue
        if len(run) == 2 or len(run[0]) > 3:
            found.add(" ".join(run))
    return found
