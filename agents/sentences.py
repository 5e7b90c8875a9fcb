"""Sentences, words and keyphrases, by rules: what the offline model and research read text with."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from memory.sentences import sentences

_ASIDE = re.compile(r"\s*(?:\||```|>|<)")
_MARKUP = re.compile(r"!\[([^\]]*)\]\([^)]*\)|\[([^\]]*)\]\([^)]*\)|(\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w))")
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)
_WORD = re.compile(r"[^\W_]+(?:[’'-][^\W_]+)*")
STOPWORDS = frozenset(
    """
    a about above after again all also am an and any are as at be because been before being below between both but by
    can could did do does doing down during each few for from further had has have having he her here hers him his how i
    if in into is it its itself just let like made make many may me might more most much must my no nor not now of off
    on once one only or other our out over own per s same she should so some such t than that the their them then there
    these they this those through to too under until up us use used using very via was we were what when where which
    while who why will with within without would you your yours
    """.split()  # noqa: SIM905 - a hundred quoted words are no easier to read
)


def visible(text: str) -> str:
    """`text` in NFC without what cannot be seen or stored: controls, direction overrides, zero-width marks, tags."""
    return _HIDDEN.sub("", unicodedata.normalize("NFC", text))


def split_sentences(text: str) -> list[str]:
    """The whole sentences of Markdown or plain text, word for word and in order, without headings, tables, quotes and marks."""
    lines = ["" if _ASIDE.match(line) else line for line in visible(text).splitlines()]
    plain = _MARKUP.sub(lambda m: m.group(1) or m.group(2) or "", "\n".join(lines))
    return [sentence for sentence in sentences(plain) if is_sentence(sentence)]


def is_sentence(text: str) -> bool:
    """Whether `text` can stand alone: three words or more, an end, no address, no source line."""
    return (
        len(words(text)) >= 3
        and text[-1] in '.!…"”’)'
        and "http" not in text
        and not re.match(r"(?i)(source|sources|see|note)\b\s*:", text)
    )


def words(text: str) -> list[str]:
    """The words of `text` as they stand."""
    return _WORD.findall(text)


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import snowballstemmer  # type: ignore[import-untyped]  # only whoever ranks sentences pays for it

    return snowballstemmer.stemmer("english")


@lru_cache(maxsize=20000)
def _stem(word: str) -> str:
    return str(_stemmer().stemWord(word))


def stems(text: str) -> frozenset[str]:
    """The stems of the words of `text` that carry meaning."""
    return frozenset(
        _stem(word) for word in (w.lower() for w in words(text)) if word not in STOPWORDS and len(word) > 1
    )


def overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """How much two sets of stems share: 0 nothing, 1 the smaller is inside the larger."""
    return len(one & other) / min(len(one), len(other)) if one and other else 0.0


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


def label(text: str, keywords: Iterable[str] = (), *, most: int = 7) -> str:
    """At most `most` words for a screen: `text` if short, else a keyword of several words in it, else a phrase."""
    if len(text.split()) <= most:
        return text.rstrip(".")
    for keyword in keywords:
        if mentions(text, keyword) and 2 <= len(keyword.split()) <= most:
            return keyword[:1].upper() + keyword[1:]
    phrases = phrases_of(text)
    best = max(phrases, key=lambda p: (min(len(p.split()), 3), len(p)), default="")
    best = " ".join(best.split()[: min(most, 4)])
    return best[:1].upper() + best[1:]


def phrases_of(text: str) -> list[str]:
    """Runs of words between stopwords and punctuation, as they stand, in order."""
    found = []
    for clause in re.split(r"[^\w\s’'-]+", text):
        run: list[str] = []
        for word in [*clause.split(), "the"]:
            if word.lower() in STOPWORDS or not any(char.isalnum() for char in word):
                if run:
                    found.append(" ".join(run))
                run = []
            else:
                run.append(word)
    return found


def keyphrases(texts: Iterable[str], *, most: int) -> list[str]:
    """The phrases of one to three words that the texts repeat most, lower-cased, best first."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update({phrase.lower() for phrase in phrases_of(text) if len(phrase.split()) <= 3 and len(phrase) > 3})
    ranked = sorted(counts.items(), key=lambda item: (-item[1] * (1 + 0.3 * item[0].count(" ")), item[0]))
    return [phrase for phrase, _ in ranked[:most]]
