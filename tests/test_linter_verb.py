"""The `lint` verb: markets by any of their names, a file of lines, and a rule that counts under two check types."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.commands.lint import _pack
from tests.cli_support import Cli, cli

__all__ = ["cli"]  # a fixture


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("US-FDA", "us"),
        ("US-FTC", "us"),
        ("UK-ASA", "uk"),
        ("GB", "uk"),
        ("EU", "eu"),
        ("Platform-Meta", "platform"),
        ("us", "us"),
    ],
)
def test_a_market_is_known_by_the_part_before_the_dash_in_any_case(name: str, pack: str) -> None:
    assert _pack(name) == pack


def test_lint_takes_the_name_of_an_authority_for_its_market(cli: Cli, tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("This room cures cancer.")
    found = cli("lint", str(text), "--jurisdiction", "UK-ASA", "--json").json["files"][0]["findings"]
    assert {finding["jurisdiction"] for finding in found} == {"uk"}
    refused = cli("lint", str(text), "--jurisdiction", "FR-DGCCRF")
    assert refused.code == 2
    assert "'FR-DGCCRF' is not one of us, uk, eu, platform" in refused.err


def test_each_line_of_a_file_of_lines_is_linted_by_itself(cli: Cli, tmp_path: Path) -> None:
    lines = tmp_path / "posts.jsonl"
    lines.write_text('{"text": "Tea at four.", "id": 1}\n\n{"text": "Our tea cures asthma."}\n')
    got = cli("lint", str(lines), "--json")
    assert got.code == 1
    assert [(file["path"], file["result"]) for file in got.json["files"]] == [
        (f"{lines}:1", "passed"),
        (f"{lines}:3", "failed"),
    ]
    finding = got.json["files"][1]["findings"][0]
    assert "Our tea cures asthma."[finding["start"] : finding["end"]] == finding["quote"]


@pytest.mark.parametrize(
    "line", ['{"text": "Tea"', "Tea at four.", '{"caption": "Tea"}', '{"text": 4}', '["text"]', '{"text": ""}']
)
def test_a_line_without_a_text_is_bad_input_and_named(cli: Cli, tmp_path: Path, line: str) -> None:
    lines = tmp_path / "posts.jsonl"
    lines.write_text('{"text": "Tea at four."}\n' + line + "\n")
    got = cli("lint", str(lines))
    assert got.code == 2
    assert "posts.jsonl:2: " in got.err


@pytest.mark.parametrize("check", ["medical_claim", "legal_review"])
def test_a_promise_of_lost_weight_is_told_under_whichever_check_is_asked_for_and_once_under_both(
    cli: Cli, tmp_path: Path, check: str
) -> None:
    text = tmp_path / "t.txt"
    text.write_text("You drop 9 kg overnight.")
    alone = cli("lint", str(text), "--check", check, "--json").json["files"][0]["findings"]
    assert "US-WEIGHT" in [finding["rule"] for finding in alone]
    assert {finding["check_type"] for finding in alone} == {check}
    whole = cli("lint", str(text), "--json").json["files"][0]["findings"]
    spans = [(finding["rule"], finding["start"]) for finding in whole]
    assert len(spans) == len(set(spans))
    assert cli("lint", str(text), "--check", "brand_voice", "--json").json["files"][0]["findings"] == []
