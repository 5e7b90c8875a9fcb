"""Situations in which words of illness promise nothing: an emergency, a form to fill in, a seat for somebody, a charity, a refusal.

Each is told by what the whole sentence does, sometimes with the next one. None holds where something is offered that works.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tools.checks import situation_words as words
from tools.checks.allowances import ALLOWED, CAUTIONS
from tools.checks.rules import Sentence

_FORWARD = 160
"""Characters of the next sentence that are read."""


def _said(sentence: Sentence) -> str:
    return sentence.folded.text[sentence.tokens[0].start : sentence.tokens[-1].end]


def _rest(sentence: Sentence) -> str:
    return sentence.folded.text[sentence.end : sentence.end + _FORWARD].lstrip(" .!?\n")


def _next(sentence: Sentence) -> str:
    return re.split(r"[.!?\n]", _rest(sentence), maxsplit=1)[0]


def _offers(sentence: Sentence) -> bool:
    """Whether a product or a therapy stands in the sentence, other than by a pronoun or a word of every day."""
    return any(
        not words.OFFER.isdisjoint(tag) and token.text not in words.PRONOUNS and token.text not in words.PLAIN
        for token, tag in zip(sentence.tokens, sentence.tags, strict=True)
    )


def _works(said: str) -> bool:
    """Whether something is said to work on a body. To recover from an operation is no promise."""
    return words.WORKS.search(said.replace("recovering from", "after")) is not None


def _emergency(sentence: Sentence, said: str, then: str) -> bool:
    """The reader is sent to an emergency service or a professional, here or in the next sentence, and nothing is offered."""
    if _offers(sentence) or words.SELLS.search(_rest(sentence)):
        return False
    return any(
        (words.TURN_TO.search(text) or words.URGENT.search(text)) and not words.TURNED_AWAY.search(text)
        for text in (said, then)
    )


def _keep_taking(sentence: Sentence, said: str, then: str) -> bool:
    """Medicine is to be taken on, or it is said what stopping it does."""
    return (
        words.KEEP_TAKING.search(said) is not None
        and not words.TAKEN_BACK.search(said)
        and not words.ANSWER.match(then)
    )


def _no_such(sentence: Sentence, said: str, then: str) -> bool:
    """Nothing of the kind works, or takes the place of medicine: said of all of them, and not turned round for one."""
    if words.ANSWER.match(then):
        return False
    if words.NO_ALTERNATIVE.search(said):
        return not re.search(r"\b(?:but|there|it's no longer|until)\b", said)
    found = words.NO_SUCH.match(said)
    return found is not None and not words.BUT_OURS.search(said)


def _intake(sentence: Sentence, said: str, then: str) -> bool:
    """A form or the staff asks what to look out for, and nothing is promised for it."""
    return (
        words.FORM.search(said) is not None
        and words.INTAKE.search(said) is not None
        and not words.THEN_SELLS.search(said)
        and not _works(said)
        and not (words.WORKS.search(then) or words.SELLS.match(then))
    )


def _room_for(sentence: Sentence, said: str, then: str) -> bool:
    """People with an illness have a seat, an hour, a cap, a menu or a label to read, which does nothing for the illness."""
    if _works(said) or _offers(sentence) or sentence.has("STRONG"):
        return False
    if words.BOOKING.search(said) or words.BOOKING.search(then):
        return not words.WORKS.search(then)
    if not words.FOR_PEOPLE.search(said):
        return False
    return (words.ROOM.search(said) or words.LABEL.search(said)) is not None and not words.WORKS.search(then)


def _cause(sentence: Sentence, said: str, then: str) -> bool:
    """Money or a walk for a cause: the illness is what the cause is named for."""
    if words.CAUSE.search(said) is None or _offers(sentence):
        return False
    rest = words.WALK_VERB.sub(" ", said)
    return not words.WORKS.search(rest) and not words.WORKS.search(then)


def _own_story(sentence: Sentence, said: str, then: str) -> bool:
    """Somebody's own time with an illness, with no product and no way out of it."""
    return (
        words.OWN.search(said) is not None
        and not _offers(sentence)
        and not words.OUTCOME.search(said)
        and not (words.OUTCOME.search(then) or words.SELLS.search(then))
    )


def _refusal(sentence: Sentence, said: str, then: str) -> bool:
    """It is said what is not sold, offered or claimed any more."""
    return (
        words.REFUSED.search(said) is not None
        and not any(_works(part.removesuffix("instead")) for part in re.split("[:;]", said)[1:])
        and not words.REFUSAL_TURNS.search(said)
        and not words.ANSWER.match(then)
    )


def _vaccine_fact(sentence: Sentence, said: str, then: str) -> bool:
    """A vaccine or a medicine does not do what is said of it."""
    return words.VACCINE_FACT.search(said) is not None and not words.FACT_TURNS.search(said)


def _licensed(sentence: Sentence, said: str, then: str) -> bool:
    """A licensed medicine for what it is licensed for, with the words that its advert must hold."""
    both = f"{said}. {then}"
    if words.HERBAL_REGISTERED.search(said):
        return True
    return (
        words.OTC_ACTIVE.search(said) and words.READ_LABEL.search(both)
    ) is not None and not words.BEYOND_OTC.search(both)


def _monograph(sentence: Sentence, said: str, then: str) -> bool:
    """What a monograph or a list lets be said: fluoride and cavities, a shampoo and dandruff, gum and plaque acids."""
    return words.MONOGRAPH.search(said) is not None and not words.BEYOND_MONOGRAPH.search(said)


def _public_service(sentence: Sentence, said: str, then: str) -> bool:
    """The next sentence names the public service that helps."""
    return words.NHS.search(then) is not None and not (words.SELLS.search(then) or words.FAILED.search(then))


def _other_sense(sentence: Sentence, said: str, then: str) -> bool:
    """The zodiac, a doorbell, a tree: the word means something else."""
    if _offers(sentence):
        return False
    if "ringing" in said and words.DOORBELL.search(f"{said} {then}"):
        return not (_works(said) or _works(then))
    if words.WORKS_ON_BODY.search(said):
        return False
    return bool(
        (len(words.STARS.findall(said)) > 1 and "cancer" in said)
        or words.WEATHER.search(said)
        or (words.TREES.search(said) and re.search(r"\bheal(?:s|ed|ing)?(?: over| up)?\b", said))
    )


def _care(sentence: Sentence, said: str, then: str) -> bool:
    """Care before and after a treatment, hygiene, a leaflet, somebody to ask first."""
    return (
        words.CARE_TAKEN.search(said) is not None and not words.SELLING.search(said) and not words.SELLING.search(then)
    )


def _counselling(sentence: Sentence, said: str, then: str) -> bool:
    """Counsellors and support groups name whom they are for, and promise no result."""
    return words.COUNSELLING.search(said) is not None and not _works(said) and not _works(then)


def _modest(sentence: Sentence, said: str, then: str) -> bool:
    """What members typically lose at two pounds a week at most, with the plan they kept to; or slimming in a diet, with no number."""
    if words.EXERCISE.search(said) and not words.BEYOND_EXERCISE.search(said):
        return True
    if words.IN_A_DIET.search(said) and not words.HASTE.search(said):
        return True
    if words.WEEKLY.search(said) and not words.EASE.search(said):
        return True
    found = words.TYPICAL_LOSS.search(said)
    if found is None or words.EASE.search(said):
        return False
    amount, unit, time, span = found.groups()
    return words.modest(words.number(amount) * (2.2 if unit.startswith("k") else 1.0), time, span)


def _waste_told(sentence: Sentence, said: str, then: str) -> bool:
    """It is said which part is recyclable, or where."""
    return words.WASTE_TOLD.search(said) is not None or words.WASTE_TOLD.match(then) is not None


def _priced(sentence: Sentence, said: str, then: str) -> bool:
    """A price by the month, of a pass or a subscription, and nobody earns."""
    return (
        any(sign in said for sign in "$£€") and words.PRICED.search(said) is not None and not words.EARNING.search(said)
    )


def _skin_tested(sentence: Sentence, said: str, then: str) -> bool:
    """Tested by dermatologists on so many people, and no more is said of it."""
    return words.SKIN_TESTED.search(said) is not None and not words.SKIN_OUTCOME.search(said)


def _cleared(sentence: Sentence, said: str, then: str) -> bool:
    """A measuring device or a hearing aid is called cleared, which it can be, and does no more than measure."""
    return words.CLEARED.search(said) is not None and not words.WORKS.search(said) and not words.WORKS.search(then)


def _gift_told(sentence: Sentence, said: str, then: str) -> bool:
    """A reviewer says that the thing was free, in return for an honest review."""
    return words.GIFT_TOLD.search(said) is not None


def _answered_no(sentence: Sentence, said: str, then: str) -> bool:
    """A question, and no is the answer, or that there is no evidence for it."""
    asked = sentence.folded.text[: sentence.end].rstrip().endswith("?")
    return (
        asked
        and words.NO_ANSWER.match(then) is not None
        and not (
            words.BETTER.search(re.sub(r"\b(?:cure|treat|heal|help with) anything\b", " ", said))
            or words.ANSWER_TURNS.search(re.sub(r"\bwithout (?:talking|speaking|asking|checking)\b", " ", then))
        )
    )


def _turned_round(sentence: Sentence, said: str, then: str) -> bool:
    """Nothing else works, it says, and then that this one does."""
    return bool(words.OURS_DOES.match(then) or words.NO_LIKE_OURS.search(said) or words.AND_IT_CURES.search(said))


def _warned(sentence: Sentence, said: str, then: str) -> bool:
    """Products that promise it are called a fraud, a myth or against the law, here; or the reader learns to spot them."""
    return words.WARNED.search(said) is not None and not words.WARNED_BUT.search(f"{said} {then}")


def _heals_anyway(sentence: Sentence, said: str, then: str) -> bool:
    """A product is to heal or to cure, and nothing is denied: a doctor or a caution beside it takes nothing back."""
    return "NEGATOR" not in sentence.present and _offers(sentence) and words.HEALS.search(said) is not None


_KINDS: dict[str, Callable[[Sentence, str, str], bool]] = {
    "emergency": _emergency,
    "keep_taking": _keep_taking,
    "no_such": _no_such,
    "intake": _intake,
    "room_for": _room_for,
    "cause": _cause,
    "own_story": _own_story,
    "refusal": _refusal,
    "vaccine_fact": _vaccine_fact,
    "licensed": _licensed,
    "monograph": _monograph,
    "public_service": _public_service,
    "other_sense": _other_sense,
    "care": _care,
    "counselling": _counselling,
    "modest": _modest,
    "waste_told": _waste_told,
    "priced": _priced,
    "skin_tested": _skin_tested,
    "cleared": _cleared,
    "gift_told": _gift_told,
    "answered_no": _answered_no,
    "warned": _warned,
    "heals_anyway": _heals_anyway,
    "turned_round": _turned_round,
    **ALLOWED,
}


def situation(sentence: Sentence, *names: str) -> bool:
    """Whether one of the situations of those names holds for `sentence`. Each is looked into once a sentence."""
    known = sentence.known
    for name in names:
        if name not in known:
            known[name] = _KINDS[name](sentence, _said(sentence), _next(sentence))
        if known[name]:
            return True
    return False


def _alone(name: str) -> Callable[[Sentence, int, int], bool]:
    def guard(sentence: Sentence, start: int, end: int) -> bool:
        return situation(sentence, name)

    return guard


def manual_therapy(sentence: Sentence, start: int, end: int) -> bool:
    """What CAP accepts of osteopaths, chiropractors and physiotherapists, and for a short term of needles: aches of the frame."""
    said = set(sentence.words(0, len(sentence.tokens)))
    short = {"acupuncture", "acupuncturist"} & said and said & {"short", "temporary", "adjunct"}
    manual = said & words.MANUAL or {"manual", "therapy"} <= said
    if not (manual or short) or said & words.NOT_OF_FRAME:
        return False
    spoken = [
        any("FRAME" in sentence.tags[k] or sentence.tokens[k].text in words.OF_FRAME for k in range(n, max(ends)))
        for n, tag in enumerate(sentence.tags)
        for name, ends in tag.items()
        if name in ("DISEASE", "AILMENT")
    ]
    return bool(spoken) and all(spoken)


_NAMED = (
    "priced",
    "skin_tested",
    "cleared",
    "gift_told",
    "other_sense",
    "only_registered",
    "puffed",
    "given_to_try",
    "company",
)
SITUATIONS = {name: _alone(name) for name in _NAMED}
"""Those that a rule names by itself."""
ADVISING = (
    "emergency",
    "keep_taking",
    "no_such",
    "intake",
    "refusal",
    "vaccine_fact",
    "licensed",
    "care",
    "answered_no",
    "warned",
    *CAUTIONS,
)
"""Those that warn, send to a professional or refuse: what the guard `advice` spares."""
KINDLY = ("room_for", "cause", "own_story", "public_service", "counselling", "company")
"""Those that think of people with an illness: what the guard `awareness` spares."""
