"""Check type `medical_claim`: what a text says about diseases, their signs, drugs and therapies."""

from __future__ import annotations

from collections.abc import Iterable

from memory.rows.checks import Finding
from tools.checks.context import FieldText, Judge, apply_rules


def check(text: FieldText, judge: Judge) -> Iterable[Finding]:
    """The findings of the packs' medical rules in one field."""
    return apply_rules(text, judge.rules("medical_claim"))
