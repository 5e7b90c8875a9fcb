"""What a message tells people to type is there: a remedy that is refused helps nobody."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.commands.common import build_parser

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("config", "memory", "tools", "agents", "graphs", "runtime")
PROGRAM = ("copydesk", "run_agents.py")
Choices = dict[str, argparse.ArgumentParser]


def choices(parser: argparse.ArgumentParser) -> Choices:
    """The verbs of the parser, or the parts of a verb."""
    return next((dict(action.choices) for action in parser._actions if isinstance(action.choices, dict)), {})


def mistake(verbs: Choices, typed: str) -> str:
    """What is wrong with a command as a message spells it; '' for a right one, and for what is no command of ours."""
    words = typed.split()
    ours = words[0] in PROGRAM
    words = words[1:] if ours else words
    while words and words[0].startswith("--"):  # --brand NAME, --data-dir DIR
        words = words[2:]
    if not words or words[0] not in verbs:
        return f"{words[0]!r} is no verb" if ours and words else ""
    parser, rest = verbs[words[0]], words[1:]
    parts = choices(parser)
    if parts and rest and re.fullmatch(r"[a-z-]+", rest[0]) and not rest[0].startswith("-"):
        if rest[0] not in parts:
            return f"{words[0]} has no part {rest[0]!r}"
        parser, rest = parts[rest[0]], rest[1:]
    known = {flag for action in parser._actions for flag in action.option_strings}
    return next((f"{word} is no option of it" for word in rest if word.startswith("--") and word not in known), "")


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Every text of a module but docstrings, with its line; what is put into it reads X."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    passed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            passed.add(id(node.value))
        if id(node) in passed:
            continue
        if isinstance(node, ast.JoinedStr):
            passed.update(map(id, node.values))
            parts = (str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def test_every_command_that_a_message_names_exists() -> None:
    verbs = choices(build_parser())
    wrong, seen = [], 0
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for line, text in messages(path):
                for typed in re.findall(r"`([^`\s][^`]*)`", text):
                    seen += 1
                    if what := mistake(verbs, typed):
                        wrong.append(f"{path.relative_to(ROOT)}:{line}: `{typed}`: {what}")
    assert wrong == []
    assert seen > 100, "messages name commands in backticks"


@pytest.mark.parametrize(
    ("typed", "what"),
    [
        ("queue list --dead", "--dead is no option of it"),
        ("copydesk queu list", "'queu' is no verb"),
        ("review aprove X", "review has no part 'aprove'"),
        ("queue show", ""),
        ("run_agents.py --brand X session resume X --add-usd AMOUNT", ""),
        ("fuser X", ""),
    ],
)
def test_a_command_that_does_not_exist_is_seen(typed: str, what: str) -> None:
    assert mistake(choices(build_parser()), typed) == what
