"""The rules that are code and not data: what `lint --explain` tells of them."""

from __future__ import annotations

from config.vocabulary import Severity
from tools.checks.rules import Rule

_OURS = "docs/linter.md"


def _rule(rule_id: str, check_type: str, severity: Severity, title: str, suggestion: str) -> Rule:
    return Rule(rule_id, check_type, severity, "", title, suggestion, _OURS)


BUILT_IN = {
    rule.id: rule
    for rule in (
        _rule(
            "BRAND-BLOCKED-CLAIM",
            "brand_voice",
            Severity.CRITICAL,
            "Holds a claim that the brand has blocked",
            "Remove it.",
        ),
        _rule(
            "ALT-OLD",
            "limits",
            Severity.PREFERRED,
            "A slide was changed after its alt text was written",
            "Read the alt text again.",
        ),
        _rule(
            "BRAND-UNDECIDED-CLAIM",
            "brand_voice",
            Severity.IMPORTANT,
            "Holds a claim that the brand has not decided on (needs_review)",
            "Remove it, or decide the claim in claims.toml.",
        ),
        _rule(
            "BRAND-RESTRICTED",
            "brand_voice",
            Severity.PREFERRED,
            "Holds a phrase that a voice or messaging guideline forbids, at the guideline's severity",
            "Say it otherwise.",
        ),
        _rule(
            "BRAND-REQUIRED",
            "brand_voice",
            Severity.PREFERRED,
            "Lacks a phrase that a guideline demands word for word, at the guideline's severity",
            "Say it.",
        ),
        _rule(
            "BRAND-CONTRADICTION",
            "brand_voice",
            Severity.IMPORTANT,
            "Is judged by guidelines that demand and forbid the same phrase",
            "Mend the guidelines.",
        ),
        _rule(
            "BRAND-READING-GRADE",
            "brand_voice",
            Severity.PREFERRED,
            "Reads harder than a guideline allows, at the guideline's severity",
            "Shorten sentences and words.",
        ),
        _rule("BRAND-EXCLAMATION", "brand_voice", Severity.PREFERRED, "Has too many exclamation marks", "Use fewer."),
        _rule(
            "BRAND-CAPITALS",
            "brand_voice",
            Severity.PREFERRED,
            "Shouts in capitals",
            "Write words in ordinary letters.",
        ),
        _rule("BRAND-EMOJI", "brand_voice", Severity.PREFERRED, "Has too many emoji", "Use fewer."),
        _rule("TEXT-HIDDEN", "legal_review", Severity.IMPORTANT, "Holds a character that nobody sees", "Remove it."),
        _rule(
            "TEXT-MIXED-ALPHABETS",
            "legal_review",
            Severity.IMPORTANT,
            "Mixes the letters of two alphabets in one word",
            "Write it in one.",
        ),
        _rule(
            "TEXT-MARKUP",
            "legal_review",
            Severity.IMPORTANT,
            "Holds markup, an entity or a place that was never filled in",
            "Remove it or fill it in.",
        ),
        _rule(
            "TEXT-MARKDOWN",
            "legal_review",
            Severity.IMPORTANT,
            "Holds Markdown, which platforms show as it is",
            "Write it plainly.",
        ),
        _rule("TEXT-LOOP", "legal_review", Severity.IMPORTANT, "Says one sentence over and over", "Say it once."),
        _rule(
            "NEAR-DUPLICATE",
            "near_duplicate",
            Severity.CRITICAL,
            "Says nearly what another post of the week or of the last 30 days says",
            "Say something else.",
        ),
        _rule(
            "MODEL-MEDICAL-CLAIM",
            "medical_claim",
            Severity.IMPORTANT,
            "A model objects to the quoted words, at the severity it gives",
            "See its suggestion.",
        ),
        _rule(
            "MODEL-BRAND-VOICE",
            "brand_voice",
            Severity.IMPORTANT,
            "A model objects to the quoted words, at the severity it gives",
            "See its suggestion.",
        ),
        _rule(
            "MODEL-LEGAL-REVIEW",
            "legal_review",
            Severity.IMPORTANT,
            "A model objects to the quoted words, at the severity it gives",
            "See its suggestion.",
        ),
    )
}
