"""Check type `brand_voice`: the brand's own words, forbidden and required, and how loud a text is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from config.brand_profile import BrandProfile, Claim, Guideline
from config.vocabulary import Severity
from memory.rows.checks import Finding
from memory.rows.content import Post
from tools.checks.context import FieldText, Judge
from tools.checks.normalise import fold, words_with_spans

_PROSE = ("title", "caption", "script", "first_comment", "text", "slides", "parts", "on_screen_text")
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf\U0001f1e6-\U0001f1ff]")
_DEMAND = re.compile(
    r"^(?:please )?(?:you )?(?:must|should|always|do|we)?\s*(?:say|write|use|include|mention|name|call it)\s+",
    re.IGNORECASE,
)
_BAN = re.compile(
    r"^(?:please )?(?:you )?(?:must not|should not|must never|do not|don't|never|avoid|no)\s+", re.IGNORECASE
)
_BARE_MUST = re.compile(r"^(?:please )?(?:you )?(?:must|should|always)\s+", re.IGNORECASE)
_QUOTED = re.compile(r"[\"“‘']([^\"”’']{2,80})[\"”’']")
_GRADE = re.compile(r"reading grade (?:at most|up to|<=) ?(\d+)", re.IGNORECASE)
_VOWELS = re.compile(r"[aeiouy]+")


@lru_cache(maxsize=4096)
def needle_of(phrase: str) -> tuple[str, ...]:
    """The folded words of a brand's phrase; the same few hundred are looked for in every field of every post."""
    return words_with_spans(fold(phrase))[0]


def occurrences(needle: Sequence[str], words: Sequence[str]) -> list[int]:
    """Where the whole run `needle` begins in `words`."""
    wanted = tuple(needle)
    if not wanted or wanted[0] not in words:
        return []
    last = len(words) - len(wanted) + 1
    return [n for n in range(last) if words[n] == wanted[0] and tuple(words[n : n + len(wanted)]) == wanted]


def phrase_spans(phrase: str, text: FieldText) -> list[tuple[int, int]]:
    """The spans, in the original text, at which all the words of `phrase` stand side by side."""
    words, spans = text.words
    needle = needle_of(phrase)
    return [text.folded.span(spans[n][0], spans[n + len(needle) - 1][1]) for n in occurrences(needle, words)]


def reading_grade(text: str) -> float:
    """Flesch-Kincaid grade of English text, by counting groups of vowels; 0.0 for text without words."""
    words = re.findall(r"[A-Za-z']+", text)
    if not words:
        return 0.0
    sentences = max(1, len(re.findall(r"[.!?]+(?:\s|$)|\n+", text.strip() + "\n")))
    syllables = sum(max(1, len(_VOWELS.findall(w.lower().removesuffix("e")))) for w in words)
    return round(0.39 * len(words) / sentences + 11.8 * syllables / len(words) - 15.59, 1)


def demanded(requirement: str) -> tuple[str, ...]:
    """The phrases that a requirement wants to read, as in `Say "a quiet hour"`; () for one that names none word for word."""
    return tuple(_QUOTED.findall(requirement)) if _DEMAND.match(requirement) else ()


def contradictions(profile: BrandProfile) -> list[str]:
    """Where a brand's voice and messaging guidelines, or its claims, demand and forbid the same phrase; one line each."""
    return list(_contradictions(profile.guidelines, profile.claims))


@lru_cache(maxsize=64)
def _contradictions(guidelines: tuple[Guideline, ...], claims: tuple[Claim, ...]) -> tuple[str, ...]:
    spoken = [guideline for guideline in guidelines if guideline.type in ("voice", "messaging")]
    banned = [(guideline, phrase) for guideline in spoken for phrase in guideline.restrictions]
    banned += [(g, _DEMAND.sub("", _BAN.sub("", r))) for g in spoken for r in g.requirements if _BAN.match(r)]
    found = []
    for guideline in spoken:
        for requirement in guideline.requirements:
            if _BAN.match(requirement):
                continue
            wanted = demanded(requirement) or (_DEMAND.sub("", _BARE_MUST.sub("", requirement)),)
            for other, phrase in banned:
                apart = guideline.platforms and other.platforms and not set(guideline.platforms) & set(other.platforms)
                if not apart and any(
                    needle_of(phrase) and occurrences(needle_of(phrase), needle_of(want)) for want in wanted
                ):
                    found.append(f"{guideline.title!r} demands {requirement!r}, {other.title!r} forbids {phrase!r}")
    blocked = [claim.text for claim in claims if claim.status == "blocked"]
    for claim in claims:
        if claim.status == "approved":
            found += [
                f"the claim {claim.text!r} is approved, and {text!r} is blocked"
                for text in blocked
                if occurrences(needle_of(text), needle_of(claim.text))
            ]
    return tuple(found)


def whole_post(post: Post, profile: BrandProfile) -> Iterable[Finding]:
    """What is wrong with a post as a whole: its guidelines contradict each other, or a phrase that they demand is nowhere."""
    field, text = next(((name, text) for name, text in post.fields() if text.strip()), ("", ""))
    if not field:
        return
    first = FieldText(field, text, post.platform)
    for line in contradictions(profile):
        yield first.finding(
            0,
            len(text),
            rule="BRAND-CONTRADICTION",
            check_type="brand_voice",
            severity=Severity.IMPORTANT,
            suggestion=f"No text can satisfy both: {line}. Mend the guidelines.",
        )
    said = [words_with_spans(fold(text))[0] for _, text in post.fields()]
    for guideline in profile.guidelines:
        if guideline.type not in ("voice", "messaging") or (
            post.platform and guideline.platforms and post.platform not in guideline.platforms
        ):
            continue
        for phrase in (phrase for requirement in guideline.requirements for phrase in demanded(requirement)):
            if not any(occurrences(needle_of(phrase), words) for words in said):
                yield first.finding(
                    0,
                    len(text),
                    rule="BRAND-REQUIRED",
                    check_type="brand_voice",
                    severity=guideline.severity,
                    suggestion=f"{guideline.title}: say {phrase!r}.",
                )


def check(text: FieldText, judge: Judge) -> Iterable[Finding]:
    """Blocked and undecided claims, restrictions of voice and messaging guidelines, and loudness."""
    if judge.profile is None:
        return
    for claim in judge.profile.claims:
        if claim.status == "blocked":
            for start, end in phrase_spans(claim.text, text):
                yield text.finding(
                    start,
                    end,
                    rule="BRAND-BLOCKED-CLAIM",
                    check_type="brand_voice",
                    severity=Severity.CRITICAL,
                    suggestion="The brand has blocked this claim: remove it.",
                )
        elif claim.status == "needs_review":
            for start, end in phrase_spans(claim.text, text):
                yield text.finding(
                    start,
                    end,
                    rule="BRAND-UNDECIDED-CLAIM",
                    check_type="brand_voice",
                    severity=Severity.IMPORTANT,
                    suggestion=f"The brand has not decided on the claim {claim.text!r}: remove it, or decide it in claims.toml.",
                )
    for guideline in judge.profile.guidelines:
        if guideline.type not in ("voice", "messaging") or (
            text.platform and guideline.platforms and text.platform not in guideline.platforms
        ):
            continue
        for phrase in guideline.restrictions:
            for start, end in phrase_spans(phrase, text):
                yield text.finding(
                    start,
                    end,
                    rule="BRAND-RESTRICTED",
                    check_type="brand_voice",
                    severity=guideline.severity,
                    suggestion=f"{guideline.title}: do not write {phrase!r}.",
                )
        for requirement in guideline.requirements:
            if (
                (limit := _GRADE.search(requirement))
                and text.field in ("caption", "script", "text")
                and len(text.text.split()) >= 30
            ):
                grade = reading_grade(text.text)
                if grade > int(limit.group(1)):
                    yield text.finding(
                        0,
                        len(text.text),
                        rule="BRAND-READING-GRADE",
                        check_type="brand_voice",
                        severity=guideline.severity,
                        suggestion=f"{guideline.title}: reads at grade {grade}, the limit is {limit.group(1)}: shorten it.",
                    )
    if text.field.split("[")[0] in _PROSE:
        yield from _loudness(text)


def _loudness(text: FieldText) -> Iterable[Finding]:
    found = [
        (m.start(), m.end(), "BRAND-EXCLAMATION", "One exclamation mark at a time, and few of them.")
        for m in re.finditer(r"[!?]{2,}", text.text)
        if "!" in m.group()[:-1]
    ]
    marks = [n for n, c in enumerate(text.text) if c == "!"]
    if not found and len(marks) > max(2, len(text.text) / 150):
        found.append((marks[0], marks[-1] + 1, "BRAND-EXCLAMATION", "Fewer exclamation marks."))
    capitals = [m for m in re.finditer(r"(?<![#@\w])[A-Z][A-Z']{3,}\b", text.text)]
    if len(capitals) >= 3 and len(capitals) > 0.15 * max(1, len(text.text.split())):
        found.append((capitals[0].start(), capitals[-1].end(), "BRAND-CAPITALS", "Write words in ordinary letters."))
    emoji = list(_EMOJI.finditer(text.text))
    if len(emoji) > max(3, len(text.text.split()) / 8):
        found.append((emoji[0].start(), emoji[-1].end(), "BRAND-EMOJI", "Fewer emoji."))
    for start, end, rule, suggestion in found:
        yield text.finding(
            start, end, rule=rule, check_type="brand_voice", severity=Severity.PREFERRED, suggestion=suggestion
        )
