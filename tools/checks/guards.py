"""What surrounds a match and changes its meaning: negation, advice, a subject that is not the product, a natural state."""

from __future__ import annotations

from collections.abc import Callable

from tools.checks.allowances import DENIALS
from tools.checks.rules import Sentence
from tools.checks.situations import ADVISING, KINDLY, SITUATIONS, manual_therapy, situation
from tools.checks.subjects import SUBJECTS

Guard = Callable[[Sentence, int, int], bool]
_NOT_REALLY = frozenset(("only", "just", "merely", "simply", "alone", "everyone", "all"))
_CLAUSE = (";", ":", " - ", ". ", "! ", "? ")
_TURN = frozenset(("but", "yet", "however", "instead", "while", "because", "so", "until"))
_CURES = frozenset(
    ("cure", "cures", "cured", "curing", "reverse", "reverses", "reversing", "reversed", "guarantees", "guaranteed")
)
_HEDGE = frozenset(("may", "might", "can", "could", "healthy", "well", "vegetables"))
_UPKEEP = frozenset(
    (
        "normal",
        "maintenance",
        "reducing",
        "reduction",
        "maintain",
        "protection",
        "improvement",
        "increase",
        "regulation",
        "balance",
    )
)
_SELF = frozenset(("i", "my", "me", "i'm", "i've"))
_WE = frozenset(("our", "we", "us", "this"))
_GIVING = _WE | {"order", "buy"}


def negated(sentence: Sentence, start: int, end: int) -> bool:
    """A negation governs the match, as in "not intended to treat", "treats no disease". Not: "not only treats", "no more X"."""
    words = sentence.words(0, len(sentence.tokens))
    if ("until" in words and "now" in words) or situation(sentence, "turned_round"):
        return False
    if debunked(sentence, start, end):
        return True
    if any(word in ("better", "faster", "like") for word in words) and {"nothing", "nobody", "none"} & set(words):
        return False
    for n in range(start - 1, max(-1, start - 12), -1):
        word = words[n]
        gap = sentence.folded.text[sentence.tokens[n].end : sentence.tokens[n + 1].start]
        if word in _TURN or any(mark in gap for mark in _CLAUSE):
            return False
        if "NEGATOR" not in sentence.tags[n] or word in ("without",):
            if "," in gap and not _listing(words, n, start):
                return False
            continue
        between = sentence.folded.text[sentence.tokens[n].end : sentence.tokens[start].start]
        if word in ("no", "nothing", "none") and "," in between:
            continue
        if word in ("no", "zero") and n == start - 1 and n and words[n - 1] in ("and", "with", "now"):
            return False  # "strong bones and no polyps" is what it promises
        if word in ("no", "zero") and "and" in words[n + 1 : start]:
            continue  # "no experience needed, and earn": what it denies ends before the promise
        following = words[n + 1] if n + 1 < len(words) else ""
        if following in _NOT_REALLY or following in ("more", "longer", "matter", "doubt", "wonder", "need"):
            return False
        if word == "never" and following in ("suffer", "have", "get", "experience", "worry", "again", "fear"):
            return False
        if word in ("don't", "dont") and following in ("let", "suffer", "miss", "wait", "live"):
            return False
        # "no" governs its own noun phrase, not a verb far behind it: "no pills, no needles, just relief".
        return not (word in ("no", "nothing", "none", "without") and start - n > 4)
    inside = words[start + 1 : end]
    refused = "REGULATOR" in sentence.tags[start] and "APPROVAL" in sentence.tags[end - 1]
    if refused and any("NEGATOR" in tag for tag in sentence.tags[start + 1 : end]):
        return True
    return len(inside) > 1 and inside[0] in ("no", "nothing", "neither") and words[start] not in ("no", "there")


def _listing(words: list[str], n: int, start: int) -> bool:
    """Whether the words between are one list with the match: "diagnose, treat, cure, or prevent"."""
    return any(word in ("or", "nor") for word in words[n + 1 : start + 3]) or start - n <= 3


def advice(sentence: Sentence, start: int, end: int) -> bool:
    """The sentence sends the reader to a professional, warns or excludes, rather than promises."""
    text = " ".join(sentence.words(0, len(sentence.tokens)))
    if situation(sentence, "heals_anyway", "turned_round"):
        return False
    if sentence.has("CARE") and sentence.has("ADVICE"):
        return True
    if sentence.denied or situation(sentence, *ADVISING):
        return True
    return any(
        phrase in text
        for phrase in (
            "not suitable for",
            "not recommended for",
            "do not use if",
            "don't use if",
            "not for people with",
            "not a substitute",
            "not intended",
            "medical advice",
            "not replace",
            "should not use",
            "not be used by",
            "seek medical",
            "avoid if you have",
            "unsuitable for",
            "not advised for",
            "not meant to",
            "cannot replace",
            "no substitute",
            "away from children",
            "reach of children",
            "no replacement",
            "for coeliacs",
            "for celiacs",
            "special medical purposes",
            "medical supervision",
            "not a replacement",
        )
    )


def lifestyle(sentence: Sentence, start: int, end: int) -> bool:
    """The subject is a diet, exercise, a vaccine or a physician, and no product is named."""
    if (
        authorised(sentence, start, end)
        or history(sentence, start, end)
        or manual_therapy(sentence, start, end)
        or physiology(sentence, start, end)
    ):
        return True
    words = sentence.words(0, len(sentence.tokens))
    if _SELF & set(words) or sentence.has("PRODUCT") or sentence.has("INGEST") or not sentence.has("LIFESTYLE"):
        return False
    # A way of eating may be good; that it cures an illness, or that one food keeps one away, is a claim about that food.
    if _CURES & set(words) or (words[0] == "eating" and "DISEASE" in sentence.present and not _HEDGE & set(words)):
        return False
    # "Eating" begins "eating disorders", and is then no way of life.
    if any("LIFESTYLE" in tag and "DISEASE" not in tag for tag in sentence.tags[:start]):
        return True
    after = sentence.words(end, len(sentence.tokens))
    return bool(after) and after[0] in ("by", "through", "with", "via") and sentence.has("LIFESTYLE", end)


def debunked(sentence: Sentence, start: int, end: int) -> bool:
    """The sentence warns of such a claim, and does not turn round behind the warning ("there is no cure, but …")."""
    if situation(sentence, "turned_round"):
        return False
    if sentence.denied or situation(sentence, "no_such", "refusal", "answered_no", "warned", *DENIALS):
        return True
    if "DEBUNK" not in sentence.present or sentence.tokens[0].text in ("while", "although", "though"):
        return False
    last = max(n for n, tag in enumerate(sentence.tags) if "DEBUNK" in tag)
    return not _TURN & set(sentence.words(last, len(sentence.tokens)))


def authorised(sentence: Sentence, start: int, end: int) -> bool:
    """The wording of a list of authorised claims: upkeep of what is normal, or a diet that may lower a risk."""
    words = set(sentence.words(0, len(sentence.tokens)))
    if situation(sentence, "monograph"):
        return True
    if words & (_SELF | _CURES | {"our", "we"}):
        return False
    if sentence.has("UNLISTED") and "formation" not in words:
        return False
    if (
        _risk_claim(sentence, words)
        or {"lactose", "digesting"} <= words
        or {"creatine", "successive"} <= words
        or {"iron", "absorption"} <= words
    ):
        return True
    listed = "AUTHORISED" in sentence.present and bool(_UPKEEP & words) and "DISEASE" not in sentence.present
    return listed and (not sentence.has("STRONG") or "flatulence" in words)


def _risk_claim(sentence: Sentence, words: set[str]) -> bool:
    """A reduced risk as a list words it: of a diet, hedged; with the research called what it is; or beside its risk factor."""
    text = " ".join(sentence.words(0, len(sentence.tokens)))
    if "bone mineral" in text and words & {"calcium", "vitamin"}:
        return True
    if "risk factor" in text or ("depends" in words and "factors" in words):
        return not sentence.has("PRODUCT")
    if {"may", "risk"} <= words and not words & {"pill", "pills", "capsule", "capsules", "cures"}:
        hedged = words & {"conclusive", "preliminary", "limited", "inconsistent", "inconclusive", "prove"}
        # "The sugar alcohol in this food may …" is the one list's wording that speaks of a food as "this".
        if (
            words & {"diet", "diets", "lifestyle", "adequate"}
            or hedged
            or sentence.weighed
            or {"dental", "caries", "decay"} & words
        ):
            return True
    if sentence.weighed and not sentence.has("STRONG") | sentence.has("PRODUCT"):
        return "shown to" in text or bool({"helps", "help", "may", "increases", "reducing"} & words)
    return False


def physiology(sentence: Sentence, start: int, end: int) -> bool:
    """What a healthy body does by itself: told of the body, with nothing that helps it and nobody addressed."""
    words = sentence.words(0, len(sentence.tokens))
    if words[0] not in ("the", "healthy", "human", "a") or not {"BODY", "ORGAN"} & {
        name for tag in sentence.tags[1:3] for name in tag
    }:
        return False
    if not {
        "automatically",
        "naturally",
        "makes",
        "filters",
        "filter",
        "pumps",
        "removes",
        "carries",
        "produces",
    } & set(words):
        return False
    told = any(sentence.has(name) for name in ("PRODUCT", "BENEFIT", "DISEASE", "AILMENT", "ENERGYTECH"))
    return not told and not {"you", "your", "when", "with", "if", "can", "heal", "heals", "helps", "help"} & set(words)


def everyday(sentence: Sentence, start: int, end: int) -> bool:
    """Relaxing and everyday tension, which may be spoken of."""
    return sentence.has("EVERYDAY") and not any(sentence.has(name) for name in ("DISEASE", "AILMENT", "SIGN"))


def effect(sentence: Sentence, start: int, end: int) -> bool:
    """Something is done to the body: relieved, changed or gone."""
    return any(sentence.has(name) for name in ("EFFECT", "GONE", "CHANGE", "BENEFIT", "LOSE"))


def guidance(sentence: Sentence, start: int, end: int) -> bool:
    """What a health authority advises everybody to do, with no product in it."""
    words = set(sentence.words(0, len(sentence.tokens)))
    told = {"recommends", "recommend", "advises", "says", "publishes", "guidance"} & words
    people = {"adults", "people", "everyone", "children", "physical", "activity", "washing", "minutes", "hours"} & words
    return bool(told and people) and not words & {"our", "my", "product", "supplement"}


def history(sentence: Sentence, start: int, end: int) -> bool:
    """Something of the past is told: a year before 1990 or a century, and no product, reader or writer in it."""
    words = set(sentence.words(0, len(sentence.tokens)))
    if sentence.has("PRODUCT") or words & (_SELF | _WE | {"you", "your"}):
        return False
    return bool({"century", "centuries"} & words and {"in", "the"} & words and "for" not in words) or any(
        len(word) == 4 and word.isdigit() and "1000" <= word < "1990" for word in words
    )


def structure(sentence: Sentence, start: int, end: int) -> bool:
    """Upkeep of a part of the body, as structure/function claims are worded; or the part is food."""
    words = set(sentence.words(0, len(sentence.tokens)))
    if words & {"pate", "stew", "recipe", "fried", "beans", "chicken", "beef", "goose"}:
        return True
    if any(sentence.has(name) for name in ("STRONG", "AILMENT", "DISEASE")):
        return False
    upkeep = {
        "support",
        "supports",
        "supporting",
        "maintain",
        "maintains",
        "maintaining",
        "maintenance",
        "promote",
        "promotes",
        "promoting",
        "healthy",
        "health",
        "normal",
        "function",
        "functions",
    }
    return bool(upkeep & words)


def rules(sentence: Sentence, start: int, end: int) -> bool:
    """House rules or a policy: what is not allowed on the premises, not what a product does without."""
    return bool(
        {"allowed", "permitted", "stored", "policy", "policies", "bring", "site", "premises"}
        & set(sentence.words(0, len(sentence.tokens)))
    )


def sourced(sentence: Sentence, start: int, end: int) -> bool:
    """A source stands beside the claim."""
    return "source:" in sentence.folded.text or "according to" in sentence.folded.text


def normal(sentence: Sentence, start: int, end: int) -> bool:
    """What is kept is normal already, and nothing in the match lowers or raises it."""
    if not sentence.has("NORMAL_RANGE"):
        return False
    lowering = {
        "lower",
        "lowers",
        "lowering",
        "reduce",
        "reduces",
        "reducing",
        "reverse",
        "reverses",
        "restore",
        "restores",
        "cut",
        "cuts",
        "treat",
        "treats",
    }
    return not lowering & set(sentence.words(start, end))


def natural(sentence: Sentence, start: int, end: int) -> bool:
    """A natural state or an occasional everyday complaint."""
    # "Simple" makes a backache an everyday one, and a tool only handy.
    kept = any(
        "NATURAL" in tag and (token.text != "simple" or "AILMENT" in (*sentence.tags[n + 1 : n + 2], {})[0])
        for n, (token, tag) in enumerate(zip(sentence.tokens, sentence.tags, strict=True))
    )
    return kept and not sentence.has("DISEASE")


def awareness(sentence: Sentence, start: int, end: int) -> bool:
    """A charity, an awareness month, a remembrance: nothing is sold."""
    sold = any(
        "PRODUCT" in tag and token.text not in _GIVING
        for tag, token in zip(sentence.tags, sentence.tokens, strict=True)
    )
    if {"helps", "survivors"} <= {token.text for token in sentence.tokens}:
        return False
    if situation(sentence, *KINDLY):
        return True
    return sentence.has("AWARENESS") and not sold and not sentence.has("STRONG", 0, start)


def typical(sentence: Sentence, start: int, end: int) -> bool:
    """What most people get is told, here or in the next sentence: the disclosure that a story of unusual results needs."""
    return sentence.typical or situation(sentence, "modest", "typical_told")


def unqualified(sentence: Sentence, start: int, end: int) -> bool:
    """A claim about the environment stands without its share, its part, its place or its comparison beside it."""
    number = any(word.isdigit() and word != "100" for word in sentence.words(0, start)) or any(
        word.isdigit() and word != "100" for word in sentence.words(end, len(sentence.tokens))
    )
    return not number and not sentence.has("QUALIFIES") and not situation(sentence, "waste_told", "programme")


def health(sentence: Sentence, start: int, end: int) -> bool:
    """The sentence is about health at all."""
    return any(
        sentence.has(name)
        for name in ("HEALTH", "DISEASE", "AILMENT", "SIGN", "FUNCTION", "STRONG", "DRUG", "BODY", "MEDADJ", "EXPERT")
    )


GUARDS: dict[str, Guard] = {
    "typical": typical,
    "unqualified": unqualified,
    "negated": negated,
    "advice": advice,
    "lifestyle": lifestyle,
    "normal": normal,
    "natural": natural,
    "awareness": awareness,
    "health": health,
    "debunked": debunked,
    "authorised": authorised,
    "everyday": everyday,
    "effect": effect,
    "guidance": guidance,
    "history": history,
    "structure": structure,
    "rules": rules,
    "sourced": sourced,
    **SUBJECTS,
    **SITUATIONS,
}
