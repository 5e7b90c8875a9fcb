"""Text as the rules read it, with the way back to the characters that were written.

Folding undoes what hides a word from a reader of plain letters: full-width and mathematical letters, look-alikes of other
scripts, accents, zero-width characters, letters spelled out with dots or spaces, digits and stars for letters.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

_LOOKALIKES = dict(
    zip(
        "аеорсухіјѕһԁԛԝӏвкмнтіґᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢɑɡıłøœαβεικνορτυχκηωđħŧʀɩɪ",
        "aeopcyxijshdqwlbkmhtirabcdefghijklmnoprstuvwyzagilooabeiknoptuxknwdhtrii",
        strict=True,
    )
)
_QUOTES = {
    "‘": "'",
    "’": "'",
    "‛": "'",
    "ʼ": "'",
    "`": "'",
    "´": "'",
    "“": '"',
    "”": '"',
    "„": '"',
    "«": '"',
    "»": '"',
    "…": "...",
}
_DASHES = "‐‑‒–—―−﹘﹣－"
_SPACES = {"™", "®", "©", "℠", "¹", "²", "³", "⁴", "⁵", "⁰", "†", "‡", "§"}
_SPELLED = re.compile(r"(?<![a-z0-9'])[a-z]([ .\-_*·|/~])(?:[a-z]\1)+[a-z](?![a-z0-9'])")
_MASKED_WORD = re.compile(r"[a-z0-9@$!|*+]+")
_LETTER = re.compile(r"[a-z]")
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)*|[^\W\d_]+")
_LEET = str.maketrans("0134578@$!|+", "oieastbasiit")
_LEET_L = str.maketrans("0134578@$!|+", "olcastbaslit")


@dataclass(frozen=True)
class Folded:
    """Lower-case text and, for each of its characters, the half-open span of the original that it came from."""

    text: str
    starts: tuple[int, ...] | range
    ends: tuple[int, ...] | range
    original: str

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The original's span of the folded text from `start` to `end` (not empty)."""
        return self.starts[start], self.ends[end - 1]


def _fold_char(char: str) -> str:
    if char in _QUOTES:
        return _QUOTES[char]
    if char in _DASHES:
        return "-"
    if char in _SPACES:
        return " "
    code = ord(char)
    for first in (0x1F130, 0x1F150, 0x1F170):  # squared and circled capitals, which NFKC leaves alone
        if first <= code <= first + 25:
            return chr(ord("a") + code - first)
    out = []
    for part in unicodedata.normalize("NFKD", char):
        category = unicodedata.category(part)
        if category in ("Mn", "Me", "Cf", "Cs"):
            continue
        if category == "Cc" and part not in "\n\t":
            part = "" if part != "\r" else "\n"
        for low in part.lower():
            if unicodedata.category(low) != "Mn":
                out.append(_LOOKALIKES.get(low, low))
    return "".join(out)


def fold(text: str, known: Callable[[str], bool] = lambda word: False) -> Folded:
    """`text` folded. `known` says whether a word is one that a rule looks for: only those are put together from disguises."""
    if text.isascii() and text.isprintable():
        chars, starts, ends = list(text.lower()), list(range(len(text))), list(range(1, len(text) + 1))
    else:
        chars, starts, ends = [], [], []
        for n, char in enumerate(text):
            if char.isascii() and char not in "\r\x00":
                folded = char.lower() if char.isprintable() or char in "\n\t" else ""
            else:
                folded = _fold_char(char)
            for part in folded:
                chars.append(part)
                starts.append(n)
                ends.append(n + 1)
    joined = "".join(chars)
    if blanks := _long_blanks(joined):
        keep = [n for n in range(len(chars)) if n not in blanks]
        chars, starts, ends = [chars[n] for n in keep], [starts[n] for n in keep], [ends[n] for n in keep]
        joined = "".join(chars)
    for match in _MASKED_WORD.finditer(joined):
        word = match.group()
        if word.isalpha() or len(word) < 4 or not _LETTER.search(word):
            continue
        plain = _undisguise(word, known)
        if plain:
            chars[match.start() : match.end()] = plain
    drop: set[int] = set()
    for match in _SPELLED.finditer("".join(chars)):
        drop.update(range(match.start() + 1, match.end(), 2))
    if drop:
        keep = [n for n in range(len(chars)) if n not in drop]
        chars, starts, ends = [chars[n] for n in keep], [starts[n] for n in keep], [ends[n] for n in keep]
    return Folded("".join(chars), tuple(starts), tuple(ends), text)


def _long_blanks(text: str) -> set[int]:
    """The places in the middle of long runs of blanks that are left out: a rule tries a run from each of its lines.

    A line break in the middle stays, since it ends a sentence; what stays is longer than any distance that a rule allows.
    """
    out: set[int] = set()
    for match in _BLANKS.finditer(text):
        start, end = match.start() + _BLANK_SIDE, match.end() - _BLANK_SIDE
        out.update(range(start, end))
        out.discard(text.find("\n", start, end))
    return out


def _undisguise(word: str, known: Callable[[str], bool]) -> str:
    body = word.strip("!*|+")
    if not body or body.isalpha() or len(body) > _LONGEST_WORD:
        return ""
    if "*" in body:
        # A star may stand for any letter; only vowels are tried, since that is what writers take out.
        options = [""]
        for char in body:
            options = [head + tail for head in options[:125] for tail in ("aeiou" if char == "*" else char)]
        plain = next((option for option in options if known(option)), "")
    else:
        plain = next((option for option in (body.translate(_LEET), body.translate(_LEET_L)) if known(option)), "")
    return word.replace(body, plain, 1) if plain else ""


def words_with_spans(folded: Folded) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """The words of folded text and their spans in it."""
    found = list(_WORD.finditer(folded.text))
    return tuple(m.group() for m in found), tuple(m.span() for m in found)


@dataclass(frozen=True)
class Token:
    """One word of folded text: where it stands, and whether it was cut out of a hashtag."""

    text: str
    start: int
    end: int
    tag: bool = False


_TOKEN = re.compile(r"[a-z0-9]+(?:'[a-z]+)*")
_HASHTAG = re.compile(r"#([a-z0-9_]+)")
_URL = re.compile(r"https?://\S+|www\.\S+|(?<!\w)@[\w.]+|\S+@\S+\.\w+")
_LONGEST_ADDRESS = 2048
"""Characters without a blank that may still be an address; of anything longer every word is read."""
_LONGEST_WORD = 64
"""Characters of a disguise that is tried: no word that a rule looks for is longer."""
_BLANK_SIDE = 200
"""Blanks that are read at either side of a long run of them."""
_BLANKS = re.compile(rf"\s{{{2 * _BLANK_SIDE + 2},}}")
_RUN = re.compile(r"\S+")
_SEPARATORS = re.compile(r"[ ,]*")
# A run of dots or blanks is tried from its first character alone: tried from each of them, a long one would take for ever.
_BREAK = re.compile(
    r"(?<![.!?])[.!?]+[\"')\]]*(?:\s+|$)|\n+|(?<=\w)\.(?=[A-Z])"
    r"|(?:(?<![^\S\n])[^\S\n]+|(?<=\s))[•▪✅✔🔹➡]\s*|(?:(?<![^\S\n])[^\S\n]*|(?<=\s))\|\s+"
)
_ABBREVIATION = re.compile(r"(?:\b(?:dr|mr|mrs|ms|vs|e\.g|i\.e|etc|no|st|approx|u\.s|inc|jr|prof)|\b[a-z])\.$")


def sentence_ranges(folded: Folded) -> list[tuple[int, int]]:
    """Half-open ranges of the sentences and lines of folded text; a run of hashtags stands apart from the words before it."""
    cuts = [0]
    for match in _BREAK.finditer(folded.text):
        head = folded.text[max(cuts[-1], match.start() - 16) : match.start() + 1]  # longer than any abbreviation
        if match.group().startswith(".") and "\n" not in match.group() and _ABBREVIATION.search(head):
            continue
        cuts.append(match.end())
    cuts.append(len(folded.text))
    return [(a, b) for a, b in pairwise(cuts) if b > a]


def _addresses(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The spans of links, handles and mail addresses between `start` and `end`: no words of the text."""
    return [
        match.span()
        for run in _RUN.finditer(text, start, end)
        if run.end() - run.start() <= _LONGEST_ADDRESS
        for match in _URL.finditer(text, *run.span())
    ]


def tokens_of(
    folded: Folded, start: int, end: int, segment: Callable[[str], list[str]], *, whole_tag: bool
) -> list[list[Token]]:
    """The words between `start` and `end`, as one list for the sentence and one for each hashtag that stands outside it.

    `segment` cuts a run of letters into words (an empty list if it cannot). `whole_tag`: the text is a hashtag without its '#'.
    """
    text = folded.text
    body: list[Token] = []
    tags: list[list[Token]] = []
    position = start
    blanks = _addresses(text, start, end)
    begins = [a for a, _ in blanks]
    previous_was_tag = True
    while match := _TOKEN.search(text, position, end):
        a, b = match.span()
        position = b
        nearest = bisect_right(begins, a) - 1
        if nearest >= 0 and a < blanks[nearest][1]:
            position = blanks[nearest][1]
            continue
        tagged = a > 0 and text[a - 1] == "#"
        if tagged or (whole_tag and not body and not tags):
            run = _HASHTAG.match(text, a - 1) if tagged else re.compile(r"[a-z0-9_]+").match(text, a, end)
            b = run.end() if run else b
            position = b
            words = _camel(folded, a, b, segment)
            gap = _SEPARATORS.match(text, b, end)
            after = gap.end() if gap else b
            alone = previous_was_tag or after == end or text[after] == "#"
            (tags.append(words) if alone else body.extend(words))
            previous_was_tag = alone
            continue
        previous_was_tag = False
        word = match.group()
        if word.endswith("'s") and len(word) > 3:
            b -= 2
            word = word[:-2]
        if len(word) > 5 and word.isalpha() and (pieces := _spelled(folded, a, b, segment)):
            body.extend(pieces)
        else:
            body.append(Token(word, a, b))
    return [group for group in (body, *tags) if group]


def _spelled(folded: Folded, start: int, end: int, segment: Callable[[str], list[str]]) -> list[Token]:
    """The words of a run of letters that was written with something between them; [] for an ordinary word."""
    if folded.ends[end - 1] - folded.starts[start] < 2 * (end - start) - 1:
        return []
    return _cut(segment(folded.text[start:end]), start)


def _cut(words: list[str], start: int) -> list[Token]:
    out = []
    for word in words:
        out.append(Token(word, start, start + len(word), tag=True))
        start += len(word)
    return out


def _camel(folded: Folded, start: int, end: int, segment: Callable[[str], list[str]]) -> list[Token]:
    out: list[Token] = []
    for run in re.finditer(r"[a-z0-9]+", folded.text[start:end]):
        a, b = start + run.start(), start + run.end()
        if pieces := _cut(segment(folded.text[a:b]), a):
            out.extend(pieces)
            continue
        written = "".join(folded.original[folded.starts[n]] for n in range(a, b))
        humps = [m.span() for m in re.finditer(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", written)]
        if len(humps) > 1:
            for x, y in humps:
                part = _cut(segment(folded.text[a + x : a + y]), a + x)
                out.extend(part or [Token(folded.text[a + x : a + y], a + x, a + y, tag=True)])
        else:
            out.append(Token(folded.text[a:b], a, b, tag=True))
    return out
