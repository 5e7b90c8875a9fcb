"""Sentences, words and keyphrases, by rules: what the offline model and research read text with."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from agents.quotable import is_fragment, runs_on
from memory.sentences import paragraphs
from tools.text import HIDDEN, STOPWORDS, phrases_of
from tools.text import keyphrases as keyphrases
from tools.text import words as words

_LABEL = re.compile(r"^(?:Summary|Abstract|Overview|Introduction|Tip|Note|Question|Answer|Q|A)\s*:\s+(?=[\"“A-Z])")
_ASIDE = re.compile(r"\s*(?:\||```|>|<)")
_MARKUP = re.compile(r"!\[([^\]]*)\]\([^)]*\)|\[([^\]]*)\]\([^)]*\)|(\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w))")


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
    lists = any(_open(block[-1]) for block in blocks)
    for n, block in enumerate(blocks):
        # What stood before the first block of a chunk is not known: it may have been a list.
        behind = lists if n == 0 else _open(blocks[n - 1][-1])
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
