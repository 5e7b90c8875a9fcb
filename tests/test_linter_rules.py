"""The rules as data: measured on labelled sentences, sourced, and not copied from what they are measured on."""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict
from importlib import resources
from typing import Any

import pytest

from config.brand_profile import BrandProfile, Claim
from config.vocabulary import CheckResult
from tests.claims_report import DATA, MEASURED, PAGE, files, groups, labelled, measure, page, score
from tools.checks.context import read
from tools.checks.engine import PACKS, confidence, explain, fold, lint_text
from tools.checks.guards import GUARDS
from tools.checks.lexicon import lexicon
from tools.checks.rules import load_pack, own_rules

LEAST_RECALL = {"round2": 0.8}
"""Evasions that name neither an illness nor an effect are for the model and the human: rules are a floor."""
HALVES = sorted({(name, half) for name, half, _ in groups() if name != "claims-ordinary"})


@pytest.mark.parametrize(("name", "half"), HALVES)
def test_flagged_is_right_and_nearly_complete_on_labelled_sentences(name: str, half: str) -> None:
    found = score(groups()[name, half, "all"], named=True)
    assert found.precision >= 0.95, found.wrong
    assert found.recall >= LEAST_RECALL.get(half, 0.9), found.missed


@pytest.mark.parametrize(("name", "half"), HALVES)
def test_with_no_market_named_what_one_market_allows_is_a_warning_and_the_rest_is_still_flagged(
    name: str, half: str
) -> None:
    found = score(groups()[name, half, "all"], named=False)
    assert found.precision >= 0.95, found.wrong
    assert found.recall >= (0.9 if name in ("claims-dev", "claims-own") else LEAST_RECALL.get(half, 0.85)), found.missed


@pytest.mark.parametrize("named", [True, False])
def test_at_most_one_in_a_hundred_ordinary_sentences_is_flagged(named: bool) -> None:
    rows = labelled(DATA / "claims-ordinary.jsonl")
    assert len(rows) >= 900
    assert len(score(rows, named=named).wrong) <= len(rows) // 100, score(rows, named=named).wrong


@pytest.mark.parametrize("market", ["us", "uk", "eu", "platform"])
def test_the_sentences_of_each_market_s_sources_are_told_apart(market: str) -> None:
    rows = [
        row for (name, _, kind), part in groups().items() if name == "claims-sources" and kind == market for row in part
    ]
    found = score(rows, named=True)
    assert found.count >= 10
    assert found.precision >= 0.95, found.wrong
    assert found.recall >= 0.85, found.missed


def test_the_sentences_from_sources_are_many_and_no_page_is_in_two_halves() -> None:
    rows = labelled(DATA / "claims-sources.jsonl")
    assert len(rows) >= 150
    assert len({row["page"] for row in rows}) >= 90
    halves = defaultdict(set)
    for row in rows:
        halves[row["page"]].add(row["half"])
        assert row["page"].startswith(("https://", "http://"))
        assert isinstance(row["page_opened"], bool)
        assert row["kind"] in ("quote", "paraphrase")
    assert all(len(found) == 1 for found in halves.values())
    assert {row["half"] for row in rows} >= {"build", "test"}


def test_labelled_sentences_say_why_and_stand_in_one_file_alone() -> None:
    seen: set[str] = set()
    for path in files():
        rows = labelled(path)
        texts = {row["text"] for row in rows}
        assert len(texts) == len(rows)
        assert not texts & seen
        seen |= texts
        both = {"violating", "compliant"}
        assert {row["label"] for row in rows} == ({"compliant"} if path.stem == "claims-ordinary" else both)
        assert all(row["why"] for row in rows)
    assert len(seen) >= 1000


def fours(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9']+", text.lower())
    return {tuple(words[n : n + 4]) for n in range(len(words) - 3)}


def test_no_rule_holds_four_consecutive_words_of_a_labelled_text() -> None:
    known = {four: row["text"] for path in files() for row in labelled(path) for four in fours(row["text"])}
    packs = [file for file in (resources.files("tools.checks") / "rule_packs").iterdir() if file.name.endswith(".toml")]
    assert len(packs) >= 6
    for pack in packs:
        for line in _strings(tomllib.loads(pack.read_text(encoding="utf-8"))):
            # An expression's escapes and brackets fall away, so that `\bno (?:more) x` is read as its words.
            for phrase in re.split(r"[,\n|]", re.sub(r"\\[bBwWdDsS]|\(\?[:!=<]*", " ", line)):
                copied = fours(phrase) & known.keys()
                assert not copied, f"{pack.name}: {phrase!r} is taken from {known[next(iter(copied))]!r}"


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
    classes = {name for entries in lexicon().by_first.values() for _, name in entries} | {"ANTI", "CURENAME"}
    rules = own_rules(pack)
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
    ids = [rule.id for pack in PACKS for rule in own_rules(pack)]
    assert len(ids) == len(set(ids))


def test_a_market_finds_what_another_finds_and_names_its_own_source() -> None:
    for pack, source in (("uk", "asa.org.uk"), ("eu", "eur-lex.europa.eu")):
        found = lint_text("Our lamp cures insomnia.", packs=(pack,))
        assert [(f.rule, f.jurisdiction) for f in found] == [("US-DISEASE-EFFECT", pack)]
        assert source in found[0].source


@pytest.mark.parametrize(
    "text",
    [
        "This root cures leukaemia.",
        "Throw away your insulin and drink this.",
        "A miracle cure, bottled.",
        "Slim down by eight pounds without exercise.",
        "Drop 9 kg overnight.",
        "Put on 6 kg of muscle by Sunday, build muscle overnight.",
        "Slimming jabs by post",
        "Hunger-blocking patches",
        "THC chocolates, delivered",
    ],
)
def test_the_platforms_policies_on_misleading_health_are_known_without_any_market(text: str) -> None:
    found = lint_text(text, packs=("platform",))
    assert fold(found) in (CheckResult.MANUAL_REVIEW, CheckResult.FAILED)
    assert {finding.jurisdiction for finding in found} == {"platform"}
    assert not any("ftc.gov" in finding.source or "fda.gov" in finding.source for finding in found)


def test_a_platform_s_policy_asks_for_no_approval_beside_that_of_the_market() -> None:
    claim = Claim(text="tones and trims your waist", markets=("us",))
    ours = BrandProfile.model_validate({"name": "ours", "title": "Ours", "claims": [claim]})
    bare = lint_text("It tones and trims your waist.", packs=("us", "platform"))
    assert [f.rule for f in bare] == ["US-WEIGHT-EASE"]
    assert lint_text("It tones and trims your waist.", profile=ours, packs=("us", "platform")) == []


@pytest.mark.parametrize(
    ("text", "flagged"),
    [
        ("I lost 30 pounds. Most members lose about 6 pounds in all.", False),
        ("I lost 30 pounds. Most members lose 20 pounds a week.", True),
        ("Most sellers earn under $300 a year.", False),
        ("Most sellers earn $3,000 a week.", True),
        ("Such results are unusual: most users do not lose that much.", True),
        ("Can honey cure asthma? No.", False),
        ("Can honey cure asthma? Yes.", True),
        ("Is there a faster cure for asthma? No.", True),
    ],
)
def test_a_typical_result_and_a_plain_no_take_the_claim_back_and_what_only_sounds_like_it_does_not(
    text: str, flagged: bool
) -> None:
    assert (fold(lint_text(text, packs=("us",))) in (CheckResult.MANUAL_REVIEW, CheckResult.FAILED)) is flagged


def test_a_benefit_without_an_authorised_wording_is_flagged_where_the_market_is_named_and_a_warning_where_not() -> None:
    text = "Supports your concentration."
    assert fold(lint_text(text, packs=("uk",))) is CheckResult.MANUAL_REVIEW
    assert fold(lint_text(text, packs=PACKS)) is CheckResult.WARNING
    assert fold(lint_text("Iron contributes to normal cognitive function.", packs=("uk", "eu"))) is CheckResult.PASSED


def test_rules_that_two_packs_share_are_found_once() -> None:
    found = lint_text("Our lamp cures insomnia.", packs=("uk", "us"))
    assert len([f for f in found if f.rule == "US-DISEASE-EFFECT"]) == 1


def test_every_pack_loads_with_its_rules_once() -> None:
    for pack in PACKS:
        ids = [rule.id for rule in load_pack(pack)]
        assert len(ids) == len(set(ids))


def test_the_measured_precision_of_each_rule_is_what_the_sentences_say_today() -> None:
    """After a change of rules or sentences: `python -m tests.claims_report --write`."""
    assert json.loads(MEASURED.read_text(encoding="utf-8")) == measure()


def test_the_page_of_the_linter_shows_today_s_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text)


def test_a_rule_tells_how_often_it_was_right() -> None:
    assert (explain("US-DISEASE-EFFECT").precision or 0) > 0.9
    assert confidence(lint_text("Our lamp cures insomnia.")) == explain("US-DISEASE-EFFECT").precision
    assert confidence([]) == measure()["UNFLAGGED"]


def test_an_expression_is_passed_over_only_where_it_cannot_match() -> None:
    texts = [read(row["text"], False)[0].text for path in files() for row in labelled(path)]
    tried = 0
    for rule in (rule for pack in PACKS for rule in own_rules(pack)):
        for regex, pieces in zip(rule.regexes, rule.needs, strict=True):
            for text in texts:
                if pieces and not any(piece in text for piece in pieces):
                    tried += 1
                    assert not regex.search(text), (rule.id, regex.pattern, text)
    assert tried > 100_000
