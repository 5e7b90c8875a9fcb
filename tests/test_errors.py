"""The error tree: one root, exit codes that scripts rely on, and what a caller may catch."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta

import pytest

from config import errors
from config.errors import (
    AlreadyPublished,
    Backpressure,
    BadInput,
    BrokenBrand,
    Busy,
    ComplianceBlocked,
    Conflict,
    CopydeskError,
    Damaged,
    DiskFull,
    DuplicateName,
    LeaseLost,
    ModelRefused,
    NotFound,
    OverBudget,
    SettingsError,
    Unavailable,
    Uncertain,
    UnknownTool,
    Unsupported,
    UsageError,
)

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
EXIT_CODES = {
    BadInput: 2,
    BrokenBrand: 2,
    SettingsError: 2,
    UnknownTool: 2,
    DuplicateName: 2,
    UsageError: 2,
    NotFound: 2,
    Damaged: 2,
    Conflict: 1,
    LeaseLost: 1,
    AlreadyPublished: 1,
    Unavailable: 75,
    Backpressure: 75,
    Busy: 75,
    DiskFull: 74,
    Uncertain: 1,
    Unsupported: 1,
    ComplianceBlocked: 1,
    OverBudget: 1,
    ModelRefused: 1,
    CopydeskError: 1,
}


def test_every_error_has_the_one_root() -> None:
    assert all(issubclass(kind, CopydeskError) for kind in ALL)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_the_exit_code_of_each_error_is_fixed(kind: type[CopydeskError]) -> None:
    assert kind.exit_code == EXIT_CODES[kind]


def test_the_drawing_at_the_top_names_every_error_under_its_parent() -> None:
    drawing = re.search(r"```\n(.*?)```", errors.__doc__ or "", re.DOTALL)
    assert drawing
    parents: list[tuple[int, str]] = []
    drawn: dict[str, str] = {}
    for line in drawing[1].splitlines():
        names = re.match(r"( *)((?:[A-Z]\w+ *)+?)(?=  +[^A-Z ]|$| \()", line)
        assert names, line
        depth = len(names[1])
        parents = [(at, name) for at, name in parents if at < depth]
        for name in names[2].split():
            drawn[name] = parents[-1][1] if parents else ""
        parents.append((depth, names[2].split()[0]))
    assert set(drawn) == {kind.__name__ for kind in ALL}
    for name, parent in drawn.items():
        bases = [base.__name__ for base in getattr(errors, name).__bases__]
        assert parent in bases or (parent == "" and name == "CopydeskError"), (name, parent, bases)


def test_only_what_did_not_answer_may_be_tried_again() -> None:
    """The retry policy reads the class: an error that may have had an effect must not be of that family."""
    again = {kind for kind in ALL if issubclass(kind, Unavailable)}
    assert again == {Unavailable, Backpressure, Busy}


def test_a_caller_may_catch_what_python_would_raise_for_a_missing_thing() -> None:
    with pytest.raises(LookupError):
        raise NotFound("piece 'x' does not exist")


def test_a_lookup_error_prints_its_sentence_without_quotes() -> None:
    assert str(NotFound("piece 'x' does not exist")) == "piece 'x' does not exist"


def test_unavailable_carries_what_the_other_side_asked_for() -> None:
    assert Unavailable("busy", retry_after=timedelta(seconds=7)).retry_after == timedelta(seconds=7)
    assert Unavailable("busy").retry_after is None


def test_over_budget_says_what_was_asked_and_what_is_left() -> None:
    error = OverBudget("too dear", asked_usd=2.0, left_usd=0.5, blocked_by_reservations=True)
    assert (error.asked_usd, error.left_usd, error.blocked_by_reservations) == (2.0, 0.5, True)
    assert not OverBudget("too dear", asked_usd=2.0, left_usd=0.5).blocked_by_reservations


def test_compliance_blocked_carries_its_verdict() -> None:
    verdict = object()
    assert ComplianceBlocked("may not go out", verdict=verdict).verdict is verdict
