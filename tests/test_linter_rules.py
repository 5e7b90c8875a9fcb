"""The rules as data: measured on labelled sentences, sourced, and not copied from what they are measured on."""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from config.vocabulary import CheckResult
from tools.checks.engine import PACKS, explain, fold, lint_text
from tools.checks.guards import GUARDS
from tools.checks.lexicon import lexicon
from tools.checks.rules import load_pack

DATA = Path(__file__).parent / "data"
FLAGGED = (CheckResult.MANUAL_REVIEW, CheckResult.FAILED)
FILES = ("claims-dev.jsonl", "claims-own.jsonl")


def labelled(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines() if line.strip()]


def score(rows: list[dict[str, Any]]) -> tuple[float, float, list[str]]:
    """Precision and recall of "flagged", and the texts that went wrong."""
    right = wrong = missed = 0
    odd = []
    for row in rows:
        flagged = fold(lint_text(row["text"])) in FLAGGED
        bad = row["label"] == "violating"
        right, wrong, missed = right + (flagged and bad), wrong + (flagged and not bad), missed + (bad and not flagged)
        if flagged != bad:
            odd.append(row["text"])
    # Where nothing was flagged nothing was flagged wrongly, and where nothing is violating nothing was missed.
    precision = right / (right + wrong) if right + wrong else 1.0
    return precision, right / (right + missed) if right + missed else 1.0, odd


@pytest.mark.parametrize("name", FILES)
def test_flagged_is_right_and_nearly_complete_on_labelled_sentences(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = labelled(name)
    by_source = defaultdict(list)
    for row in rows:
        by_source[row["source"].split(" (")[0]].append(row)
    precision, recall, odd = score(rows)
    with capsys.disabled():
        print(f"\n{name}: {len(rows)} sentences, precision {precision:.3f}, recall {recall:.3f}")
        for source, part in sorted(by_source.items()):
            p, r, _ = score(part)
            print(f"  {source}: {len(part)}, precision {p:.3f}, recall {r:.3f}")
    assert precision >= 0.95, odd
    assert recall >= 0.9, odd


def test_the_own_sentences_are_many_and_say_why() -> None:
    rows = labelled("claims-own.jsonl")
    assert len(rows) >= 120
    assert len({row["text"] for row in rows}) == len(rows)
    assert {row["label"] for row in rows} == {"violating", "compliant"}
    assert all(row["why"] and row["page"].startswith("https://") for row in rows)
    assert not {row["text"] for row in rows} & {row["text"] for row in labelled("claims-dev.jsonl")}


def fours(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9']+", text.lower())
    return {tuple(words[n : n + 4]) for n in range(len(words) - 3)}


def test_no_rule_holds_four_consecutive_words_of_a_labelled_text() -> None:
    known = {four: row["text"] for name in FILES for row in labelled(name) for four in fours(row["text"])}
    for pack in (*PACKS, "lexicon"):
        source = (resources.files("tools.checks") / "rule_packs" / f"{pack}.toml").read_text(encoding="utf-8")
        for line in _strings(tomllib.loads(source)):
            # An expression's escapes and brackets fall away, so that `\bno (?:more) x` is read as its words.
            for phrase in re.split(r"[,\n|]", re.sub(r"\\[bBwWdDsS]|\(\?[:!=<]*", " ", line)):
                copied = fours(phrase) & known.keys()
                assert not copied, f"{pack}: {phrase!r} is taken from {known[next(iter(copied))]!r}"


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        # Single words of a class stand in a row without being a phrase.
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    out = []
    for key, part in value.items() if isinstance(value, dict) else enumerate(parts):
        out += [] if key in ("words", "nouns", "verbs", "upper", "source", "id") else _strings(part)
    return out


@pytest.mark.parametrize("pack", PACKS)
def test_every_rule_is_whole_and_sourced(pack: str) -> None:
    classes = {name for entries in lexicon().by_first.values() for _, name in entries} | {"ANTI"}
    rules = load_pack(pack)
    assert rules
    for rule in rules:
        assert rule.id.startswith(f"{pack.upper()}-")
        assert rule.source.startswith("https://")
        assert rule.title
        assert rule.suggestion.endswith(".")
        assert rule.patterns or rule.regexes
        assert set(rule.unless) <= set(GUARDS)
        assert set(rule.only) <= set(GUARDS) | {"undisclosed", "foreign"}
        for element in (element for pattern in rule.patterns for element in pattern):
            assert element.classes <= classes, rule.id
            assert not any(word != word.lower() for word in element.words), rule.id
        assert explain(rule.id) is rule


def test_rule_ids_are_unique() -> None:
    ids = [rule.id for pack in PACKS for rule in load_pack(pack)]
    assert len(ids) == len(set(ids))
