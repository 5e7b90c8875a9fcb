"""What no outgoing text may hold whatever it says: characters that nobody sees, letters of two alphabets in one word,
markup, places that were never filled in, and one sentence over and over. Found under `legal_review`, with any pack or none.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from config.vocabulary import Severity
from memory.rows.checks import Finding
from tools.checks.context import FieldText

CHECK_TYPE = "legal_review"
_HIDDEN = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufff9-\ufffb\U000e0000-\U000e007f]"
    # A joiner belongs between the parts of an emoji, and nowhere else.
    "|(?<![\u2600-\u27bf\ufe0f\U0001f1e6-\U0001faff])\u200d|\u200d(?![\u2600-\u27bf\u2640\u2642\U0001f300-\U0001faff])|(?<=.)\ufeff",
    re.DOTALL,
)
_TAGS = (
    "a|b|i|u|p|br|hr|em|strong|span|div|script|style|img|iframe|h[1-6]|ul|ol|li|table|tr|td|th|font|center|input|form"
    "|button|svg|object|embed|link|meta|html|head|body|blockquote|code|pre|sup|sub|small|mark|video|audio|source|title"
)
_MARKUP = re.compile(
    rf"</?(?:{_TAGS})(?:\s[^<>]{{0,200}})?/?>|&(?:#\d{{2,6}}|#x[0-9a-fA-F]{{2,5}}|[a-zA-Z]{{2,8}});|javascript:"
    r"|\{\{[^{}]{0,80}\}\}|\{%[^{}]{0,80}%\}|\$\{[^{}]{0,80}\}|\[(?:insert|your|brand|name|link|todo|tbd)\b[^\]]{0,40}\]",
    re.IGNORECASE,
)
_LINK = re.compile(r"\[[^\]\n]{1,100}\]\([^)\s]{1,200}\)|(?m:^#{1,6} )|\*\*[^*\n]{1,200}\*\*|```")
_WORD = re.compile(r"[^\W\d_]{2,}")
_SENTENCE = re.compile(r"[^.!?\n]{12,}[.!?]?")
_TIMES = 12
"""How often one sentence may stand in a field; a model that loops says it hundreds of times."""


def check(text: FieldText) -> Iterable[Finding]:
    """The findings in one field; spans and quotes are of the text as it is."""
    for match in _HIDDEN.finditer(text.text):
        name = unicodedata.name(match.group(), f"U+{ord(match.group()):04X}")
        yield _found(text, match.span(), "TEXT-HIDDEN", f"Remove the character that nobody sees ({name.lower()}).")
    for match in _WORD.finditer(text.text):
        if len(_alphabets(match.group())) > 1:
            yield _found(text, match.span(), "TEXT-MIXED-ALPHABETS", "Write the word in the letters of one alphabet.")
    for match in _MARKUP.finditer(text.text):
        yield _found(text, match.span(), "TEXT-MARKUP", "Remove the markup, or fill the place in.")
    if text.field != "text":  # a file of Markdown is linted as what it is; a post is shown with its stars and brackets
        for match in _LINK.finditer(text.text):
            yield _found(text, match.span(), "TEXT-MARKDOWN", "Write it plainly: platforms show the marks.")
    yield from _loops(text)


def _loops(text: FieldText) -> Iterable[Finding]:
    sentences = [(" ".join(m.group().lower().split()).rstrip(".!?"), m.span()) for m in _SENTENCE.finditer(text.text)]
    often = {said for said, times in Counter(said for said, _ in sentences).items() if times >= _TIMES}
    for said in sorted(often):
        spans = [span for other, span in sentences if other == said]
        yield _found(text, (spans[0][0], spans[-1][1]), "TEXT-LOOP", "Say it once.")


def _alphabets(word: str) -> set[str]:
    found = set()
    for char in word:
        name = unicodedata.name(char, "")
        if (script := name.split(" ")[0]) in ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"):
            found.add(script)
        elif name.startswith(("FULLWIDTH LATIN", "MATHEMATICAL")):
            found.add("STYLED")
    return found


def _found(text: FieldText, span: tuple[int, int], rule: str, suggestion: str) -> Finding:
    return text.finding(*span, rule=rule, check_type=CHECK_TYPE, severity=Severity.IMPORTANT, suggestion=suggestion)
