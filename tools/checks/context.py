"""What a check is given: one outgoing field cut into sentences, and the brand and packs that judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

from config.brand_profile import BrandProfile
from config.vocabulary import Severity
from memory.rows.checks import Finding
from tools.checks.guards import GUARDS, Guard
from tools.checks.lexicon import lexicon
from tools.checks.normalise import Folded, fold, sentence_ranges, tokens_of, words_with_spans
from tools.checks.rules import PACKS, Rule, Sentence, load_pack, matches

QUOTE_LIMIT = 160


@dataclass
class FieldText:
    """One field of a post. Folding and tagging happen once, when a check first asks."""

    field: str
    text: str
    platform: str = ""
    lead: str = ""
    """What a reader of the post sees first, hashtags behind it; empty: this field stands alone."""

    @cached_property
    def folded(self) -> Folded:
        return fold(self.text, lexicon().knows)

    @cached_property
    def words(self) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
        """The folded words and their spans in the folded text."""
        return words_with_spans(self.folded)

    @cached_property
    def sentences(self) -> list[Sentence]:
        words = lexicon()
        out = []
        for start, end in sentence_ranges(self.folded):
            groups = tokens_of(self.folded, start, end, words.segment, whole_tag=self.field.startswith("hashtags"))
            for tokens in groups:
                tags = words.tag(tokens, self.folded)
                present = frozenset(name for tag in tags for name in tag)
                out.append(Sentence(self.folded, tokens, tags, present, start, end))
        return out

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


@dataclass(frozen=True)
class Judge:
    """Under what a text is judged."""

    profile: BrandProfile | None = None
    packs: Sequence[str] = ()

    def rules(self, check_type: str) -> tuple[Rule, ...]:
        """The rules of the packs for one check type, each once, as the first pack that holds it has it."""
        known = self.profile is not None or set(self.packs) != set(PACKS)
        return _rules(tuple(self.packs), check_type, known)

    def markets(self, rule_id: str) -> set[str]:
        """The packs here that hold the rule of that id: an approval must cover them all."""
        return {pack for pack in self.packs if any(rule.id == rule_id for rule in load_pack(pack))}


@cache
def _rules(packs: tuple[str, ...], check_type: str, known_market: bool) -> tuple[Rule, ...]:
    """With no market named, a text is held against what every market forbids: what one allows by name is a warning there."""
    found: dict[str, Rule] = {}
    for pack in packs:
        for rule in load_pack(pack):
            if rule.check_type == check_type:
                severe = rule.named if known_market and rule.named else rule.severity
                found.setdefault(rule.id, replace(rule, severity=severe))
    return tuple(found.values())


Check = Callable[[FieldText, Judge], Iterable[Finding]]
"""A check type: the findings in one field. Must be pure and fast; it runs for every field of every post."""


def apply_rules(
    text: FieldText, rules: Sequence[Rule], extra: dict[str, Callable[[FieldText], bool]] | None = None
) -> Iterable[Finding]:
    """The findings of `rules`. `extra` holds conditions on the whole field, by the names that rules use in `only`."""
    conditions = {name: condition(text) for name, condition in (extra or {}).items()}
    for rule in rules:
        if not all(conditions[name] for name in rule.only if name in conditions):
            continue
        needed = [GUARDS[name] for name in rule.only if name not in conditions]
        spared = [GUARDS[name] for name in rule.unless]
        for sentence in text.sentences:
            for pattern in rule.patterns:
                for a, b in matches(pattern, sentence):
                    if _fires(sentence, a, b, needed, spared):
                        start, end = text.folded.span(sentence.tokens[a].start, sentence.tokens[b - 1].end)
                        yield _found(text, rule, start, end)
        for regex in rule.regexes:
            for match in regex.finditer(text.folded.text):
                if match.end() > match.start() and _regex_fires(text, match.start(), match.end(), needed, spared):
                    start, end = text.folded.span(match.start(), match.end())
                    yield _found(text, rule, start, end)


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


def _fires(sentence: Sentence, start: int, end: int, needed: Sequence[Guard], spared: Sequence[Guard]) -> bool:
    return all(guard(sentence, start, end) for guard in needed) and not any(
        guard(sentence, start, end) for guard in spared
    )


def _regex_fires(text: FieldText, start: int, end: int, needed: Sequence[Guard], spared: Sequence[Guard]) -> bool:
    if not needed and not spared:
        return True
    for sentence in text.sentences:
        inside = [n for n, token in enumerate(sentence.tokens) if token.start < end and token.end > start]
        if inside:
            return _fires(sentence, inside[0], inside[-1] + 1, needed, spared)
    return not needed
