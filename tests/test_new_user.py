"""What somebody new to the program types in the first hour, and what it answers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli_support import RUN, WEEK, Cli, cli, forbid_zebras, planned, quiet_process, small_brand, week

__all__ = ["cli", "planned", "quiet_process", "week"]  # fixtures


def test_lint_means_the_only_own_brand_or_the_preferred_one_and_says_which(cli: Cli, tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("A zebra came in.")
    plain = cli("lint", str(text))
    assert (plain.code, "brand" in plain.out) == (0, False), "the shipped example is nobody's own"
    small_brand(cli, "acme")
    forbid_zebras(cli, "acme")
    only = cli("lint", str(text))
    assert (only.code, "brand acme" in only.out) == (1, True)
    small_brand(cli, "bolt")
    assert cli("lint", str(text)).code == 0, "of two, neither is meant"
    cli.ok("preferences", "set", "brand", "acme")
    assert cli("lint", str(text), "--json").json["brand"] == "acme"
    assert cli("lint", str(text), "--brand", "bolt").code == 0


def test_nothing_to_lint_has_not_passed(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    refused = cli("lint", str(empty))
    assert (refused.code, "there is nothing to check" in refused.complaint) == (2, True)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    refused = cli("lint", "-")
    assert (refused.code, "standard input is empty" in refused.complaint) == (2, True)


@pytest.mark.parametrize(
    ("field", "name", "meant"), [("platform", "instagramm", "instagram"), ("content_type", "reels", "reel")]
)
def test_a_piece_for_a_platform_that_does_not_exist_is_bad_input(
    tmp_path: Path, cli: Cli, field: str, name: str, meant: str
) -> None:
    piece = tmp_path / "piece.json"
    piece.write_text(json.dumps({field: name, "caption": "Sit down."}))
    refused = cli("lint", str(piece))
    assert (refused.code, f"did you mean {meant!r}" in refused.complaint) == (2, True)


def test_the_next_command_names_the_brand_that_it_would_not_mean_by_itself(cli: Cli) -> None:
    small_brand(cli, "acme")
    week_of_the_example = cli("cycle", "plan", "--theme", "x", "--week", WEEK, "--brand", "eesystem").out
    assert "--brand eesystem" in week_of_the_example, "acme is the only own brand"
    small_brand(cli, "bolt")
    cli.ok("preferences", "set", "brand", "bolt")
    assert "--brand eesystem" in cli("cycle", "plan", "--theme", "x", "--week", WEEK, "--brand", "eesystem").out
    assert "--brand bolt" not in cli("cycle", "plan", "--theme", "x", "--week", WEEK, "--brand", "bolt").out
    assert "--brand" not in cli("cycle", "plan", "--theme", "x", "--week", WEEK).out


def test_a_broken_brand_parks_its_work_and_counts_no_attempt(cli: Cli) -> None:
    small_brand(cli)
    started = cli.ok(*RUN, "--detach")["session_id"]
    file = cli.data_dir / "brands" / "acme" / "brand.toml"
    sound = file.read_text()
    file.write_text(sound + "\n[[grid\n")
    assert cli("worker", "--until-idle").code == 0
    shown = cli.ok("session", "show", started)
    assert (shown["status"], str(file) in shown["reason"], "goes on by itself" in shown["reason"]) == (
        "running",
        True,
        True,
    )
    assert {depth["dead"] for depth in cli.ok("queue", "list").values()} == {0}
    assert "attempt" not in cli("why", f"advance:{started}").out
    file.write_text(sound)
    assert cli("session", "resume", started).code == 3, "mended, it goes on to the human"


def test_a_cancelled_session_names_who_asked_and_why(cli: Cli) -> None:
    small_brand(cli)
    started = cli.ok(*RUN, "--detach")["session_id"]
    cli.ok("preferences", "set", "reviewer", "ana")
    text = cli("session", "cancel", started, "--reason", "wrong week").out
    assert "cancelled by ana: wrong week" in text
    assert "cancelled by ana: wrong week" in cli.ok("session", "show", started)["reason"]


def test_the_pieces_of_a_cancelled_session_name_who_asked(week: Cli) -> None:
    [session] = week.ok("session", "list")
    week("session", "cancel", session["session_id"], "--by", "ben")
    assert {row["reason"] for row in week.ok("piece", "list")} == {"cancelled by ben"}
