"""How the linter's work grows with a text: counted in steps, so that no machine is too slow for it."""

from __future__ import annotations

import re
import sys
from types import FrameType
from typing import Any

import pytest

from tools.checks import context, rules
from tools.checks.engine import lint_text
from tools.checks.normalise import _BLANK_SIDE, _MASKED_WORD, fold


def steps(text: str) -> int:
    """Lines of Python that linting `text` runs."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        return trace

    context.read.cache_clear()
    context._spans.cache_clear()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        lint_text(text)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("unit", ["cur3s canc3r ", "c*nc*r ", "a/", "a-", " \n", "*", "!", "cure-all. ", "#tumorfix "])
def test_twice_the_text_takes_about_twice_the_steps(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_STRETCH", 5)  # short stretches, so that a short text is long
    lint_text(unit)
    small = 40 if "c" in unit or "#" in unit else 600
    assert steps(unit * (2 * small)) < 3 * steps(unit * small)


def test_a_run_of_signs_is_one_match() -> None:
    assert len(_MASKED_WORD.findall("*!" * 500)) == 1


def test_a_long_run_of_blanks_keeps_its_sides_and_a_line_break() -> None:
    folded = fold("a" + " " * 5000 + "\n" + " " * 5000 + "b")
    assert re.fullmatch(r"a +\n +b", folded.text)
    assert len(folded.text) == 2 * _BLANK_SIDE + 3
    assert folded.span(len(folded.text) - 1, len(folded.text)) == (10002, 10003)
