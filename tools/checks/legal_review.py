"""Check type `legal_review`: approvals, guarantees, proof, endorsements, and the platforms' own policies."""

from __future__ import annotations

import re
from collections.abc import Iterable

from memory.rows.checks import Finding
from tools.checks import text_form
from tools.checks.context import FieldText, Judge, apply_rules
from tools.checks.lexicon import lexicon

_CLEAR = re.compile(
    r"(?<!\w)#(?:ad|advert|advertisement|sponsored|paidad|paidpartnership)\b|\bpaid partnership\b"
    r"|\bsponsored by\b|^\s*(?:ad|sponsored|advertisement)\b"
    # The FTC takes a plain sentence that names the giver and the gift for a disclosure.
    r"|\b(?:gave|sent) me (?:this|these|the|a) [\w ]{0,30}?(?:to try|to test|to review|for free)\b|^\s*thanks [\w @]{0,30}for the free\b"
)
_ALSO_ENGLISH = frozenset(
    [
        "as",
        "com",
        "die",
        "em",
        "est",
        "la",
        "las",
        "los",
        "med",
        "met",
        "na",
        "nem",
        "non",
        "nos",
        "os",
        "per",
        "se",
        "som",
        "sur",
        "um",
        "van",
        "ve",
        "y",
        "zur",
    ]
)
"""Small words of other languages that an English line may hold, be it in a name."""
_SELDOM = frozenset("äöüßøåæłşğıőűčšžřěů")
_FIRST_LINES = 125
"""Characters that a feed shows before "more"; a disclosure behind them is not seen."""


def _undisclosed(text: FieldText) -> bool:
    """No clear disclosure stands where a reader sees it first."""
    for seen in (text.folded.text, text.lead.lower()):
        found = _CLEAR.search(seen)
        if found is not None and found.start() <= _FIRST_LINES:
            return False
    return True


def foreign(text: FieldText) -> bool:
    """The text is long enough to tell, and not English."""
    letters = [c for c in text.text if c.isalpha()]
    other = sum(
        1
        for c in letters
        if ord(c) > 0x24F
        and not 0x1D00 <= ord(c) <= 0x1EFF
        and not 0xFF00 <= ord(c) <= 0xFF60
        and not 0x1D400 <= ord(c) <= 0x1D7FF
    )
    if len(letters) >= 8 and other > 0.5 * len(letters):
        return True
    words = re.findall(r"[^\W\d_]+", text.text.lower())
    if len(words) < 3:
        return False
    ours, theirs = lexicon().raw["ENGLISH"], lexicon().raw["FOREIGN"]
    english = sum(word in ours for word in words)
    strange = sum(word in theirs and word not in ours for word in words)
    if english or len(words) >= 12:
        return len(words) >= 6 and strange >= 2 and strange > 2 * english
    # Few words have few small ones among them: what tells are those that are no English words, and letters that English borrows seldom.
    sure = sum(word in theirs and word not in _ALSO_ENGLISH for word in words)
    accented = any(c.isalpha() and not c.isascii() for word in words for c in word)
    return sure >= 2 or (sure >= 1 and accented) or sum(not _SELDOM.isdisjoint(word) for word in words) >= 2


def check(text: FieldText, judge: Judge) -> Iterable[Finding]:
    """The findings of the packs' legal rules in one field, and what is wrong with its characters."""
    yield from apply_rules(text, judge.rules("legal_review"), {"undisclosed": _undisclosed, "foreign": foreign})
    yield from text_form.check(text)
