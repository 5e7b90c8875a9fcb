"""`report week`, `preferences` and `completion`."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from config.clock import SystemClock
from config.vocabulary import PieceState, SessionStatus
from memory.records.protocol import open_records
from memory.rows.content import Piece
from memory.rows.sessions import Session
from runtime.commands.completion import SHELLS
from tests.cli_support import RUN, WEEK, Cli, cli, forbid_zebras, planned, quiet_process, small_brand, week

__all__ = ["cli", "planned", "quiet_process", "week"]  # fixtures


def test_the_report_of_a_week_says_what_was_sent_decided_found_cited_and_missing(week: Cli) -> None:
    quote, other, carousel = week.ok("piece", "list")
    forbid_zebras(week)
    week.ok("review", "approve", quote["piece_id"], "--by", "ana")
    week.ok("review", "reject", other["piece_id"], "--by", "ben", "--reason", "not our tone")
    week.ok("review", "edit", carousel["piece_id"], "--set", "caption=A zebra came in.", "--by", "ana")
    week.ok("publish", "due", "--until", WEEK)
    report = week.ok("report", "week", "--week", WEEK)
    assert report["states"] == {"published": 1, "rejected": 1, "waiting": 1}
    assert report["published"] == {"on_time": 1, "late": 0}
    assert {(row["by"], row["decision"], row["count"]) for row in report["decisions"]} == {
        ("ana", "approved", 1),
        ("ana", "edited", 1),
        ("ben", "rejected", 1),
    }
    assert report["median_wait_s"] >= 0
    assert report["rules"], "the rule that an edit broke is counted"
    assert [(row["state"], row["revisions"]) for row in report["pieces"]] == [
        ("published", 1),
        ("rejected", 1),
        ("waiting", 2),
    ]
    assert report["pieces"][0]["url"].startswith("outbox/")
    cited = {id for row in report["pieces"] for id in row["sources"]}
    assert {row["id"] for row in report["sources"]} == cited != set()
    page = week("report", "week").out
    for part in ("rejected: facebook quote", "1 approved by ana", "Rests most on: ", "Spent 0.00 USD"):
        assert part in page
    assert week.ok("report", "week", "--week", WEEK) == report, "the same rows, the same report"


def test_a_week_in_which_nothing_was_planned_says_so(week: Cli) -> None:
    assert week("report", "week", "--week", "2024-W01").out == "2024-W01: nothing was planned in this week.\n"
    assert week.ok("report", "week")["cycle_key"] == WEEK, "the latest planned one"
    assert week("report", "week", "--week", "2024-W77").code == 2


def test_a_preferred_brand_is_meant_without_the_flag_and_the_flag_wins(cli: Cli) -> None:
    small_brand(cli, "acme")
    small_brand(cli, "bolt")
    assert cli.ok("preferences", "list")["preferences"] == {}
    cli.ok("preferences", "set", "brand", "bolt")
    assert cli.ok("preferences", "list")["preferences"] == {"brand": "bolt"}
    assert cli.ok("brand", "show")["name"] == "bolt"
    assert cli.ok("brand", "show", "acme")["name"] == "acme"
    started = cli.ok("cycle", "run", "--theme", "x", "--week", WEEK, "--detach")
    assert [row["session_id"] for row in cli.ok("session", "list")] == [started["session_id"]]
    assert cli.ok("session", "list", "--brand", "acme") == []
    cli.ok("preferences", "unset", "brand")
    assert cli.ok("session", "list", "--brand", "bolt")[0]["session_id"] == started["session_id"]
    assert "which brand? There are acme, bolt" in cli("session", "list").complaint


def test_preferences_are_read_where_the_command_has_them_open_already(
    week: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    inner = aiosqlite.connect

    def counted(path: Path, **options: Any) -> aiosqlite.Connection:
        opened.append(path)
        return inner(path, **options)

    monkeypatch.setattr(aiosqlite, "connect", counted)
    week.ok("preferences", "set", "brand", "acme")
    opened.clear()
    assert week.ok("session", "list"), "those of the preferred brand"
    assert opened == [week.data_dir / "session.db"]


def test_a_preferred_reviewer_decides_unless_another_is_named(week: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    week.ok("preferences", "set", "reviewer", "ana")
    first, second, third = week.ok("piece", "list")
    [answer] = week.ok("review", "approve", first["piece_id"])
    assert answer["by"] == "ana"
    [answer] = week.ok("review", "approve", second["piece_id"], "--by", "ben")
    assert answer["by"] == "ben"
    monkeypatch.setenv("COPYDESK_REVIEWER", "cy")
    [answer] = week.ok("review", "approve", third["piece_id"])
    assert answer["by"] == "cy"


def test_the_preferred_editor_is_the_one_that_review_opens(
    week: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "my editor"
    script.write_text('#!/bin/sh\necho opened > "$(dirname "$0")/seen"\n')
    script.chmod(0o755)
    monkeypatch.setenv("VISUAL", "false")
    week.ok("preferences", "set", "editor", f"'{script}'")
    monkeypatch.setattr("sys.stdin", io.StringIO("e\nq\n"))
    assert "nothing was changed" in week("review").out
    assert (tmp_path / "seen").read_text() == "opened\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("set", "brnad", "x"), "'brnad' is unknown (did you mean 'brand'?)"),
        (("set", "brand", "nobody"), "brand 'nobody' is not known"),
        (("set", "reviewer", "  "), "says something"),
        (("set", "editor", "vi 'x"), "No closing quotation"),
        (("unset", "reviewer"), "is not set"),
    ],
)
def test_a_preference_that_cannot_be_meant_is_one_line_and_keeps_nothing(
    cli: Cli, argv: tuple[str, ...], said: str
) -> None:
    result = cli("preferences", *argv)
    assert (result.code, said in result.complaint) == (2, True), result
    assert not (cli.data_dir / "session.db").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_a_script_that_knows_the_verbs(cli: Cli, shell: str) -> None:
    script = cli("completion", shell)
    assert script.code == 0
    for word in ("cycle", "preferences", "--platform"):
        assert word.removeprefix("--") in script.out


def test_bash_completes_verbs_parts_and_options(cli: Cli, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash, "the Makefile runs on it"
    (tmp_path / "script").write_text(cli("completion", "bash").out)
    ask = (
        'source "$1"; shift; f=$(complete -p | sed -n "s/.*-F \\(_shtab[^ ]*\\) .*/\\1/p" | head -1); '
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "$f"; echo "${COMPREPLY[@]}"'
    )
    for typed, wanted in (
        ("cyc", "cycle"),
        ("cycle pl", "plan"),
        ("cycle run --thm", ""),
        ("cycle run --the", "--theme"),
    ):
        done = subprocess.run(
            [bash, "-c", ask, "bash", str(tmp_path / "script"), "copydesk", *typed.split()],
            capture_output=True,
            text=True,
        )
        assert (done.stdout.strip(), done.stderr) == (wanted, ""), typed


def test_an_approval_that_ends_in_a_rejection_says_so_and_fails(week: Cli) -> None:
    one, other = (row for row in week.ok("review", "list") if row["content_type"] == "quote")
    post = week.ok("review", "show", one["piece_id"])["post"] | {"platform": other["platform"]}
    file = week.data_dir / "same.json"
    file.write_text(json.dumps(post))
    week.ok("review", "edit", other["piece_id"], "--file", str(file))
    assert week("review", "approve", one["piece_id"]).code == 0
    result = week("review", "approve", other["piece_id"])
    assert (result.code, result.out) == (1, "")
    for part in (other["piece_id"], "will not go out", "it is rejected (near-duplicate", one["piece_id"]):
        assert part in result.complaint


async def fail_all_but(data_dir: Path, kept: int) -> None:
    """As after a week whose model never gave an answer that could be used: over, with so many pieces still waiting."""
    async with open_records(f"sqlite:///{data_dir}", clock=SystemClock()) as store:
        records = store.for_brand("acme")
        [session] = await records.list_rows(Session)
        await records.put(session.model_copy(update={"status": SessionStatus.DONE}))
        pieces = await records.find_by(Piece, brand="acme")
        await records.put(*(one.model_copy(update={"state": PieceState.FAILED}) for one in pieces[kept:]))


def test_a_week_of_which_nothing_was_made_is_a_failure_to_scripts(week: Cli) -> None:
    asyncio.run(fail_all_but(week.data_dir, 1))
    assert week(*RUN).code == 3, "one waits"
    asyncio.run(fail_all_but(week.data_dir, 0))
    assert week(*RUN).code == 1
