"""Words and phrases of a text, by rules; and what of it nobody can see."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)
"""Controls, direction overrides, zero-width marks, tags, halves of characters: neither seen nor stored."""
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


def many(count: int, noun: str) -> str:
    """`1 piece`, `2 pieces`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def words(text: str) -> list[str]:
    """The words of `text` as they stand."""
    return _WORD.findall(text)


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
