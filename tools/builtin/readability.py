"""How hard a text is to read.

Flesch reading ease and Flesch-Kincaid grade as in J. P. Kincaid, R. P. Fishburne, R. L. Rogers and B. S. Chissom,
"Derivation of New Readability Formulas (Automated Readability Index, Fog Count and Flesch Reading Ease Formula) for Navy
Enlisted Personnel", Research Branch Report 8-75, Naval Technical Training Command, 1975; reading ease from R. Flesch, "A new
readability yardstick", Journal of Applied Psychology 32(3), 1948, 221-233. Both are for English.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from memory.sentences import sentences
from tools.plugin_api import ToolFailed, tool
from tools.text import words

_VOWELS = re.compile(r"[aeiouy]+")
_SILENT = re.compile(r"(?<=[^aeiouy])(?:e|es|ed)$")
_SPOKEN = re.compile(r"(?:[^aeiouy]le|[td]ed|(?:[sxz]|ch|sh|[cg])es)$")


@tool(agents={"research", "creation", "compliance"}, effect="read", timeout_s=5, trust="operator")
async def readability(text: Annotated[str, Field(min_length=1, max_length=20000)]) -> dict[str, float]:
    """Say how hard an English text is to read: Flesch reading ease (100 easy, 0 hard) and Flesch-Kincaid school grade.

    Args:
        text: The text, at least one whole sentence.
    """
    return measure(text)


def measure(text: str) -> dict[str, float]:
    """Reading ease, grade, and the counts that both are made of; syllables are counted by rule. Raises ToolFailed without words."""
    spoken = words(text)
    if not spoken:
        raise ToolFailed("the text has no words: nothing to measure")
    lines = max(1, len(sentences(text)))
    beats = sum(map(syllables, spoken))
    per_sentence, per_word = len(spoken) / lines, beats / len(spoken)
    return {
        "reading_ease": round(206.835 - 1.015 * per_sentence - 84.6 * per_word, 1),
        "grade": round(0.39 * per_sentence + 11.8 * per_word - 15.59, 1),
        "words": len(spoken),
        "sentences": lines,
        "syllables": beats,
    }


def syllables(word: str) -> int:
    """The syllables of an English word: groups of vowels, without an ending that is not spoken; a number has one a digit."""
    letters = re.sub(r"[^a-z]", "", word.lower())
    if not letters:
        return max(1, sum(char.isdigit() for char in word))
    groups = len(_VOWELS.findall(letters))
    if groups > 1 and _SILENT.search(letters) and not _SPOKEN.search(letters):
        groups -= 1
    return max(1, groups)
