"""What a sentence is about, where that changes what its words mean: software, a film, a walk, a look, a story, a question."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from tools.checks.rules import Sentence
from tools.checks.situations import situation


def _of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_HOUSEHOLD = _of(
    """software spreadsheet spreadsheets inbox invoicing invoice invoices cloud database code sales marketing
    garden lawn plants plant tomato tomatoes roses crops engine drain drains roof carpet laundry laptop computer
    website server servers admin paperwork tax taxes budget savings bank money traffic network pipes printer
    printers router wifi download deadline deadlines scheduling calendar checkout supply shirts shirt iron
    ironing steamer steam clothes garment garments curtains counters surfaces kitchen bathroom sink toilet epa
    logistics payroll accounting bookkeeping spreadsheet's windows plumbing fabric linen upholstery vineyard
    orchard greenhouse compost wallet fees fee contract contracts recruitment hiring shipping parcel"""
)
_SHOWN = _of(
    """history film movie museum exhibition novel documentary memoir library lecture author festival gallery theatre
    theater play podcast parking entrance wing ward biography bestseller poem poet song band album"""
)
_PRACTICE = _of(
    """music playlist walk walks walking yoga meditation meditate breathing breath breathe journal journaling class
    classes workshop stretch stretches stretching nap swim swimming dance dancing monday tuesday wednesday
    thursday friday saturday sunday book podcast massage session sessions nature course coach coaching desk team
    bill bills budget habit habits planner lighting headphones"""
)
_TOLD = _of(
    """day year week month hour after since until weeks months years days now finally again session sessions first
    once before never today started starting thanks then when within"""
)
_ACCESS = _of(
    """ramp access accessible entrance parking rental rent rents hire lift users user friendly basketball donate
    donated donation bring please allowed toilet toilets welcome tennis rugby space spaces seats seating"""
)
_LOOK = _of(
    """appearance visibly visible conceals conceal concealer covers cover coverage makeup tinted tint primer
    foundation blurs blur camouflage illusion dye dyes styling hides hide"""
)
_SERVICE = _of("hypnotherapy nhs helpline quitline charity council gp service services charities")
_REFUSES = _of("not never don't doesn't won't cannot can't isn't aren't nobody didn't without")
_DULL = _of(
    """monday mondays tuesday wednesday thursday friday saturday sunday boredom afternoon rainy weather homework
    dull wanderlust homesick writer's winter november january buns"""
)
_ASKED = 6
"""Words of a question that only names a complaint."""


def _words(sentence: Sentence) -> set[str]:
    return set(sentence.words(0, len(sentence.tokens)))


def homonym(sentence: Sentence, start: int, end: int) -> bool:
    """Software, money, plants or the house has the complaint, and nobody's body is spoken of."""
    if situation(sentence, "other_sense"):
        return True
    if any(sentence.has(name) for name in ("DISEASE", "BODY", "ORGAN", "SIGN", "FUNCTION")):
        return False
    return bool(_HOUSEHOLD & _words(sentence))


def culture(sentence: Sentence, start: int, end: int) -> bool:
    """A film, a book, a museum or a talk is about it."""
    return bool(_SHOWN & _words(sentence)) and not sentence.has("STRONG") and not sentence.has("REMEDY", end)


def practice(sentence: Sentence, start: int, end: int) -> bool:
    """Something that people do, such as a walk or a class, has the benefit."""
    return bool(_PRACTICE & _words(sentence))


def told(sentence: Sentence, start: int, end: int) -> bool:
    """Somebody's story is told, and it is not about how to get into a building."""
    words = _words(sentence)
    return not words & _ACCESS and (sentence.has("TESTIFIER") or sentence.has("PRODUCT") or bool(words & _TOLD))


def asked(sentence: Sentence, start: int, end: int) -> bool:
    """The sentence is a short question."""
    text = sentence.folded.text[sentence.start : sentence.end].rstrip()
    return text.endswith("?") and len(sentence.tokens) <= _ASKED


def appearance(sentence: Sentence, start: int, end: int) -> bool:
    """The look is spoken of, which a cosmetic may change."""
    words = sentence.words(0, len(sentence.tokens))
    return bool(_LOOK & set(words)) or any(
        word in ("look", "looks") and words[n + 1 : n + 2] in (["of"], ["less"], ["smoother"], ["longer"])
        for n, word in enumerate(words)
    )


def service(sentence: Sentence, start: int, end: int) -> bool:
    """A public service or a charity offers the help."""
    return bool(_SERVICE & _words(sentence))


def disclaimed(sentence: Sentence, start: int, end: int) -> bool:
    """The sentence says that it promises nothing."""
    text = " ".join(sentence.words(0, len(sentence.tokens)))
    return any(
        phrase in text
        for phrase in (
            "no promise",
            "not promise",
            "no guarantee",
            "not guarantee",
            "never promise",
            "not a get",
            "make no claim",
        )
    )


def negated_before(sentence: Sentence, start: int, end: int) -> bool:
    """The sentence refuses: we do not, never, no product; a negation inside of the match is part of what it says."""
    words = sentence.words(max(0, start - 5), start)
    return any(word in _REFUSES for word in words)


def looks_of(sentence: Sentence, start: int, end: int) -> bool:
    """The appearance or the look of something is spoken of, by that word."""
    words = sentence.words(max(0, start - 4), end)
    return "appearance" in words or any(a == "look" and b == "of" for a, b in pairwise(words))


def idiom(sentence: Sentence, start: int, end: int) -> bool:
    """A cure for a dull day: nothing of a body stands in the sentence."""
    if any(sentence.has(name) for name in ("DISEASE", "AILMENT", "SIGN", "BODY", "ORGAN", "DRUG", "FUNCTION")):
        return False
    return bool(_DULL & _words(sentence))


def perceived(sentence: Sentence, start: int, end: int) -> bool:
    """What users thought of the look or the feel of their skin or hair."""
    words = _words(sentence)
    return bool(
        words & {"thought", "agreed", "said", "felt"} and words & {"skin", "hair", "lashes", "nails", "lips"}
    ) and not (sentence.has("AILMENT") or sentence.has("DISEASE") or sentence.has("AGESIGN"))


def federal(sentence: Sentence, start: int, end: int) -> bool:
    """Worded as the FDA's own examples of claims of structure or function are: upkeep, or drowsiness and the like by name."""
    words = _words(sentence)
    return bool(words & {"occasional", "normal", "wakefulness", "drowsiness", "sexual"}) or (
        not sentence.has("STRONG") and bool(words & {"regularity", "contributes", "contribute"})
    )


def its_look(sentence: Sentence, start: int, end: int) -> bool:
    """The next word says that only the look of it is meant: "your skin's appearance"."""
    return sentence.words(end, end + 1) in (["appearance"], ["look"], ["looks"])


SUBJECTS: dict[str, Callable[[Sentence, int, int], bool]] = {
    "homonym": homonym,
    "culture": culture,
    "practice": practice,
    "told": told,
    "asked": asked,
    "appearance": appearance,
    "service": service,
    "disclaimed": disclaimed,
    "negated_before": negated_before,
    "federal": federal,
    "idiom": idiom,
    "looks_of": looks_of,
    "perceived": perceived,
    "its_look": its_look,
}
"""The guards of this page, by the names that rules use."""
