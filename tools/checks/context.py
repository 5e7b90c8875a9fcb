"""What a check is given: one outgoing field cut into sentences, and the brand and packs that judge it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache

from config.brand_profile import BrandProfile
from config.vocabulary import Severity
from memory.rows.checks import Finding
from tools.checks.guards import GUARDS
from tools.checks.lexicon import lexicon
from tools.checks.normalise import Folded, fold, sentence_ranges, tokens_of, words_with_spans
from tools.checks.rules import PACKS, Rule, RuleSet, Sentence, load_pack, matches

QUOTE_LIMIT = 160


@dataclass
class FieldText:
    """One field of a post. Folding and tagging happen once, when a check first asks."""

    field: str
    text: str
    platform: str = ""
    lead: str = ""
    """What a reader of the post sees first, hashtags behind it; empty: this field stands alone."""

    @property
    def folded(self) -> Folded:
        return read(self.text, self.field.startswith("hashtags"))[0]

    @cached_property
    def words(self) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
        """The folded words and their spans in the folded text."""
        return words_with_spans(self.folded)

    def finding(
        self,
        start: int,
        end: int,
        *,
        rule: str,
        check_type: str,
        severity: Severity,
        suggestion: str,
        source: str = "",
        jurisdiction: str = "",
    ) -> Finding:
        """A finding on the half-open span of the ORIGINAL text."""
        quote = self.text[start:end]
        return Finding(
            rule=rule,
            check_type=check_type,
            severity=severity,
            field=self.field,
            start=start,
            end=end,
            suggestion=suggestion,
            source=source,
            jurisdiction=jurisdiction,
            quote=quote if len(quote) <= QUOTE_LIMIT else quote[: QUOTE_LIMIT - 1] + "…",
        )


_NOT_SO = r"(?:do(?:es)? not|do(?:es)?n't|can ?not|can't|is not|isn't|is false|is not true|won't)"
_DENIAL = re.compile(
    rf"\s*(?:no, it|it|that|they|this|we|he|she)? ?{_NOT_SO}(?: true| so)?[.;,!]|\s*(?:false|not true|wrong|nonsense)[.!]"
)
_NO = re.compile(r"\s*(?:no|nope|not at all)[.!]")
_BETTER = re.compile(r"\b(?:better|faster|other|another|like|anything|nothing|more|how|what|who|why)\b")
_MOST = r"\s*(?:most|typical(?:ly)?|the average|on average|generally)\b"
_TYPICAL = re.compile(
    rf"(?!{_MOST}[^.!?\n]*\b(?:weeks?|days?|overnight|fast|quickly|without|each month|a month|per month|hours?)\b){_MOST}(?:"
    r"[^.!?\n]{0,60}\b(?:lose|loses|lost|weight loss)\b[^.!?\n]{0,25}\b\d+ ?(?:pounds|lbs?|kg|kilos)"
    r"|[^.!?\n]{0,40}\b(?:earns?|makes?|made|earned)\b[^.!?\n]{0,12}\b(?:less than|under|no more than|nothing|no money|little)\b)"
)
_WEIGHED = re.compile(
    r"[^.!?\n]*\b(?:is|are) (?:a |one )?risk factors?\b"
    r"|\s*(?:however,? )?(?:the )?fda (?:concludes|(?:has )?determined|does not endorse)\b[^.!?]*(?:evidence|endorse|claim)"
)

_EMOJI = r"[\u2190-\u21ff\u2600-\u26ff\u2728-\u27bf\u2b00-\u2bff\U0001f300-\U0001faff](?<![▪✅✔🔹➡])"
_APART = re.compile(rf"(?<=[^\W_])(?:[ ]?{_EMOJI}[\ufe0f\u200d]?)+[ ]?(?=[^\W_])|(?<=[a-z,]) ?\n ?(?=[a-z])")


def _rejoined(text: str) -> str:
    """The same number of characters, with an emoji or one line break inside a sentence as a single blank."""
    return _APART.sub(lambda match: " " + "\u200b" * (len(match.group()) - 1), text)


@lru_cache(maxsize=1024)
def read(text: str, tagged: bool) -> tuple[Folded, tuple[Sentence, ...]]:
    """A text folded, and its sentences tagged. Every check type of a post asks for the same. `tagged`: hashtags, '#' or not."""
    words = lexicon()
    folded = fold(_rejoined(text), words.knows)
    out = []
    for start, end in sentence_ranges(folded):
        denied = _DENIAL.match(folded.text, end) is not None or (
            folded.text[:end].rstrip().endswith("?")
            and _NO.match(folded.text, end) is not None
            and not _BETTER.search(folded.text, start, end)
        )
        typical = any(_TYPICAL.match(folded.text, place) for place in (start, end))
        weighed = _WEIGHED.match(folded.text, end) is not None
        for tokens in tokens_of(folded, start, end, words.segment, whole_tag=tagged):
            tags = words.tag(tokens, folded)
            present = frozenset(name for tag in tags for name in tag)
            out.append(Sentence(folded, tokens, tags, present, start, end, denied, weighed, typical))
    return folded, tuple(out)


@dataclass(frozen=True)
class Judge:
    """Under what a text is judged."""

    profile: BrandProfile | None = None
    packs: Sequence[str] = ()

    def rules(self, check_type: str) -> RuleSet:
        """The rules of the packs for one check type, each once, as the first pack that holds it has it."""
        known = self.profile is not None or set(self.packs) != set(PACKS)
        return _rules(tuple(self.packs), check_type, known)

    def markets(self, rule_id: str) -> set[str]:
        """The packs here that hold the rule of that id: an approval must cover them all.

        A platform's policy that says what a law says is no market of its own where that law's pack is here too.
        """
        found = {pack for pack in self.packs if any(rule.id == rule_id for rule in load_pack(pack))}
        return found - {"platform"} or found


@cache
def _rules(packs: tuple[str, ...], check_type: str, known_market: bool) -> RuleSet:
    """With no market named, a text is held against what every market forbids: what one allows by name is a warning there."""
    found: dict[str, Rule] = {}
    for pack in packs:
        for rule in load_pack(pack):
            if rule.check_type == check_type:
                severe = rule.named if known_market and rule.named else rule.severity
                found.setdefault(rule.id, replace(rule, severity=severe))
    return RuleSet(list(found.values()))


Check = Callable[[FieldText, Judge], Iterable[Finding]]
"""A check type: the findings in one field. Must be pure and fast; it runs for every field of every post."""


def apply_rules(
    text: FieldText, rules: RuleSet, extra: dict[str, Callable[[FieldText], bool]] | None = None
) -> Iterable[Finding]:
    """The findings of `rules`. `extra` holds conditions on the whole field, by the names that rules use in `only`."""
    named = {name for rule in rules.rules for name in rule.only}
    met = frozenset(name for name, condition in (extra or {}).items() if name in named and condition(text))
    for rule, start, end in _spans(text.text, text.field.startswith("hashtags"), rules, met, frozenset(extra or ())):
        yield _found(text, rule, start, end)


@lru_cache(maxsize=1024)
def _spans(
    text: str, tagged: bool, rules: RuleSet, met: frozenset[str], conditions: frozenset[str]
) -> tuple[tuple[Rule, int, int], ...]:
    """What fires where in a text. Kept, because a week says its hashtags and its calls to action over and over."""
    folded, sentences = read(text, tagged)
    found = []
    for sentence in sentences:
        for rule, pattern in rules.candidates(sentence):
            if not _holds(rule, met, conditions):
                continue
            for a, b in matches(pattern, sentence):
                if _fires(sentence, a, b, rule, conditions):
                    found.append((rule, *folded.span(sentence.tokens[a].start, sentence.tokens[b - 1].end)))
    places = sorted(
        (t.start, t.end, s, n) for s, sentence in enumerate(sentences) for n, t in enumerate(sentence.tokens)
    )
    for rule, regex in rules.expressions(folded.text):
        if _holds(rule, met, conditions):
            for match in regex.finditer(folded.text):
                if match.end() > match.start() and _regex_fires(sentences, places, match.span(), rule, conditions):
                    found.append((rule, *folded.span(match.start(), match.end())))
    return tuple(found)


def _holds(rule: Rule, met: frozenset[str], conditions: frozenset[str]) -> bool:
    return all(name in met for name in rule.only if name in conditions)


def _found(text: FieldText, rule: Rule, start: int, end: int) -> Finding:
    return text.finding(
        start,
        end,
        rule=rule.id,
        check_type=rule.check_type,
        severity=rule.severity,
        suggestion=rule.suggestion,
        source=rule.source,
        jurisdiction=rule.jurisdiction,
    )


def _fires(sentence: Sentence, start: int, end: int, rule: Rule, conditions: frozenset[str]) -> bool:
    sentence, first = sentence.around(start)
    start, end = start - first, min(end - first, len(sentence.tokens))
    return all(GUARDS[name](sentence, start, end) for name in rule.only if name not in conditions) and not any(
        GUARDS[name](sentence, start, end) for name in rule.unless
    )


def _regex_fires(
    sentences: Sequence[Sentence],
    places: Sequence[tuple[int, int, int, int]],
    span: tuple[int, int],
    rule: Rule,
    conditions: frozenset[str],
) -> bool:
    """Whether no guard speaks against `span`. `places`: start, end, sentence and index of every word, by where it begins."""
    if not rule.unless and all(name in conditions for name in rule.only):
        return True
    start, end = span
    # Words do not overlap, so that only the one before the first that begins in the span can reach into it.
    first = max(0, bisect_left(places, (start,)) - 1)
    inside = [(s, n) for _, stop, s, n in places[first : bisect_left(places, (end,))] if stop > start]
    if inside:
        sentence = min(inside)[0]
        words = [n for s, n in inside if s == sentence]
        return _fires(sentences[sentence], words[0], words[-1] + 1, rule, conditions)
    return all(name in conditions for name in rule.only)
