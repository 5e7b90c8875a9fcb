"""What hostile or unlucky operators, terminals, folders and texts do to the newest commands."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli_support import ROOT, WEEK, Cli, cli, environment, planned, quiet_process, small_brand, week

__all__ = ["cli", "planned", "quiet_process", "week"]  # fixtures
HOSTILE = "[/b] \x1b]0;owned\x07\x1b[31m \\[/i] [red]x"
"""Closes what was never opened for rich, and sets the title and the colour of a terminal."""


def process(cli: Cli, *argv: str, shell: str = "") -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own, with the redirections `shell` of a shell."""
    words = [sys.executable, str(ROOT / "run_agents.py"), "--data-dir", str(cli.data_dir), *argv]
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {shell}', "sh", *words], capture_output=True, env=environment(), timeout=120
    )


def test_a_theme_that_is_markup_and_escapes_is_shown_as_it_is_on_every_page(cli: Cli) -> None:
    small_brand(cli)
    words = ("--theme", HOSTILE, "--week", WEEK)
    pages: tuple[tuple[str, ...], ...] = (
        ("cycle", "plan", *words),
        ("cycle", "run", *words),
        ("report", "week", "--week", WEEK),
    )
    for argv in pages:
        result = cli(*argv)
        assert result.code in (0, 3), result
        assert "\x1b" not in result.out + result.err
        assert "[/b]" in result.out
    [session] = cli.ok("session", "list")
    follow: tuple[tuple[str, ...], ...] = (
        ("session", "show", session["session_id"]),
        ("watch", session["session_id"]),
        ("session", "list"),
    )
    for argv in follow:
        result = cli(*argv)
        assert result.code in (0, 3), result
        assert "\x1b" not in result.out


def test_what_humans_and_models_wrote_about_a_piece_does_not_steer_the_terminal(week: Cli) -> None:
    first, second, _ = week.ok("review", "list")
    assert week("review", "edit", first["piece_id"], "--set", f"caption={HOSTILE}").code in (0, 1, 3)
    assert week("review", "reject", second["piece_id"], "--reason", HOSTILE).code == 0
    pages = [
        ("review", "show", first["piece_id"]),
        ("review", "show", second["piece_id"]),
        ("report", "week", "--week", WEEK),
    ]
    for argv in pages:
        result = week(*argv)
        assert result.code == 0, result
        assert "\x1b" not in result.out
        assert "owned" in result.out


def test_closed_streams_are_empty_and_no_traceback(cli: Cli) -> None:
    assert (done := process(cli, "queue", "list", shell=">&-")).returncode == 0, done.stderr
    assert done.stderr == b""
    assert (done := process(cli, "lint", "-", shell="<&-")).returncode == 2, done.stderr
    assert b"standard input is empty" in done.stderr
    assert process(cli, "lint", "nowhere", shell="2>&-").returncode == 2


def test_bytes_that_are_no_text_are_asked_for_again_where_the_locale_is_c(week: Cli) -> None:
    words = [sys.executable, str(ROOT / "run_agents.py"), "--data-dir", str(week.data_dir), "review"]
    done = subprocess.run(
        words, input=b"r\n\xff\xfe\nq\n", capture_output=True, env=environment(LC_ALL="C"), timeout=120, check=False
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.decode() == "error: what you typed is not UTF-8: type it again\n"
    assert {piece["state"] for piece in week.ok("piece", "list")} == {"waiting"}


@pytest.mark.parametrize(
    "argv", [("review", "--session", ""), ("report", "week", "--week", ""), ("queue", "list", "--brand", "")]
)
def test_an_empty_name_does_not_mean_another_thing(cli: Cli, argv: tuple[str, ...]) -> None:
    result = cli(*argv)
    assert (result.code, "is empty" in result.complaint) == (2, True)
    assert not cli.data_dir.exists()


def test_a_cell_that_came_and_left_again_is_a_change(cli: Cli) -> None:
    small_brand(cli)
    words = ("cycle", "plan", "--theme", "light", "--week", WEEK)
    quote, moved = "mon/instagram/quote", "mon/facebook/quote"
    there_and_on = (
        "--drop",
        f"{quote}@08:00",
        "--change",
        f"{moved}={quote}@08:00",
        "--change",
        f"{quote}=sun/instagram/quote@09:00",
    )
    changes = cli.ok(*words, *there_and_on)["changes"]
    assert changes == ["+sun/instagram/quote@09:00", f"-{moved}@18:00", f"-{quote}@08:00"]


def test_a_week_that_run_refuses_as_too_far_is_a_conflict_of_the_plan(cli: Cli) -> None:
    small_brand(cli)
    week = ("--theme", "light", "--week", "2199-W10")
    planned = cli("cycle", "plan", *week, "--json")
    assert (planned.code, "days ahead" in planned.json["conflicts"][0]) == (1, True)
    assert cli("cycle", "run", *week).code == 2


@pytest.mark.parametrize("name", ["guidelines.toml", "claims.toml"])
def test_rules_that_are_a_folder_or_a_broken_link_are_not_passed_over(cli: Cli, name: str) -> None:
    small_brand(cli)
    file = cli.data_dir / "brands" / "acme" / name
    file.unlink(missing_ok=True)
    file.symlink_to("nowhere.toml")
    assert name in cli("brand", "check", "acme").complaint
    file.unlink()
    file.mkdir()
    assert name in cli("lint", "--brand", "acme", str(ROOT / "README.md")).complaint


def test_the_editor_can_be_interrupted_as_it_would_be_alone(
    week: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    script = tmp_path / "editor"
    script.write_text(
        f"#!{sys.executable}\nimport signal\nopen({str(seen)!r}, 'w').write(str(signal.getsignal(signal.SIGINT)))\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(script))
    monkeypatch.setattr("sys.stdin", io.StringIO("e\nq\n"))
    assert "nothing was changed" in week("review").out
    assert "default_int_handler" in seen.read_text()


@pytest.mark.parametrize(
    "text",
    [
        '{"caption": "It cures cancer.", "caption": "Hello."}',
        f'{{"caption": "x", "n": {"9" * 5000}}}',
        "[" * 100_000 + "{",
    ],
)
def test_a_piece_that_is_read_differently_by_others_is_refused(tmp_path: Path, cli: Cli, text: str) -> None:
    file = tmp_path / "piece.json"
    file.write_text(text)
    result = cli("lint", str(file))
    assert (result.code, result.complaint.startswith(f"error: {file}: is not JSON")) == (2, True)


@pytest.mark.parametrize("unit", ["a", "(", "<"])
def test_a_large_file_of_one_character_is_linted_and_words_after_it_are_read(
    tmp_path: Path, cli: Cli, unit: str
) -> None:
    # Quadratic in the length of a run, this took minutes.
    file = tmp_path / "large.txt"
    file.write_text(unit * 200_000 + "\nIt cures cancer.")
    result = cli("lint", str(file), "--json")
    assert (result.code, result.json["files"][0]["result"]) == (1, "failed")


def test_a_misspelt_field_beside_known_ones_is_refused(cli: Cli, tmp_path: Path) -> None:
    piece = tmp_path / "piece.json"
    piece.write_text('{"caption": "ok", "hashtag": ["cures cancer"]}')
    result = process(cli, "lint", str(piece))
    assert result.returncode == 2
    assert b"'hashtag' is no field of a post (did you mean 'hashtags'?)" in result.stderr
    assert result.stderr.count(b"\n") == 1


def test_closed_standard_input_has_not_passed(cli: Cli) -> None:
    result = process(cli, "lint", "-", shell="<&-")
    assert result.returncode == 2
    assert b"passed" not in result.stdout + result.stderr
