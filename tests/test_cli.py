"""The command line as an operator uses it: shapes that scripts rely on, exit codes, and going on after trouble."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.errors import CopydeskError
from runtime.commands import VERBS
from runtime.commands.common import build_parser
from tests.cli_support import (
    MONDAY,
    ROOT,
    RUN,
    WEEK,
    Cli,
    cli,
    environment,
    planned,
    quiet_process,
    small_brand,
    utc_of,
    week,
    week_of,
)

__all__ = ["cli", "planned", "quiet_process", "week"]  # fixtures

HEAVY = ("pydantic", "langgraph", "langchain_core", "structlog", "rich", "openai", "numpy", "redis", "astrapy")


def loaded_by(code: str) -> set[str]:
    """The modules of HEAVY that a fresh process loads by running `code`."""
    script = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nsys.argv = ['run_agents.py']\n{code}\n"
    script += "print('\\n' + ' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=True)
    return set(done.stdout.splitlines()[-1].split()) & set(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    code = "from run_agents import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert loaded_by(code) == set()


def test_queue_list_loads_settings_and_the_queue_alone(tmp_path: Path) -> None:
    code = f"from run_agents import main\nassert main(['--data-dir', {str(tmp_path / 'd')!r}, 'queue', 'list']) == 0"
    assert loaded_by(code) == {"pydantic"}


def test_every_verb_and_part_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    verbs = next(action for action in build_parser()._actions if action.dest == "verb").choices
    assert verbs is not None
    assert list(verbs) == list(VERBS)
    todo = [([name], parser) for name, parser in dict(verbs).items()]
    seen = 0
    while todo:
        path, parser = todo.pop()
        assert parser.description, path
        for action in parser._actions:
            if action.dest == "part":
                todo += [([*path, name], part) for name, part in action.choices.items()]
            elif action.option_strings and action.dest not in ("help",):
                assert action.help, (path, action.option_strings)
        seen += 1
    assert seen > len(VERBS)


def test_queue_list_on_a_fresh_directory_counts_nothing(cli: Cli) -> None:
    none = {"ready": 0, "delayed": 0, "leased": 0, "dead": 0}
    assert cli.ok("queue", "list") == {"content_generation_queue": none, "publication_queue": none}


def test_a_detached_week_waits_in_the_queue(cli: Cli) -> None:
    small_brand(cli)
    started = cli.ok(*RUN, "--detach")
    assert started["status"] == "running"
    assert cli.ok("queue", "list")["content_generation_queue"]["ready"] == 1
    assert cli.ok("session", "list")[0]["session_id"] == started["session_id"]


def test_session_list_and_show_tell_the_week(week: Cli) -> None:
    [listed] = week.ok("session", "list")
    assert (listed["status"], listed["cycle_key"]) == ("waiting", WEEK)
    assert week.ok("session", "list", "--status", "done") == []
    shown = week.ok("session", "show", listed["session_id"])
    assert shown["pieces"] == {"planned": 3, "approved": 0, "waiting": 3, "rejected": 0, "failed": 0}
    assert {row["agent"] for row in shown["assignments"]} == {"coordination", "research", "creation", "compliance"}
    names = [event["name"] for event in shown["events"]]
    assert names[0] == "session.started"
    assert names[-1] == "session.waiting"
    assert week.ok("session", "show", listed["session_id"][:18])["session_id"] == listed["session_id"]


def test_session_show_draws_the_grid_for_people(week: Cli) -> None:
    [listed] = week.ok("session", "list")
    result = week("session", "show", listed["session_id"])
    assert result.code == 0
    for part in ("instagram", "facebook", "Mon", "Tue", "research", "3 waiting", listed["session_id"]):
        assert part in result.out


def test_piece_verbs_tell_what_was_made(week: Cli) -> None:
    pieces = week.ok("piece", "list")
    assert [(p["platform"], p["content_type"], p["state"]) for p in pieces] == [
        ("instagram", "quote", "waiting"),
        ("facebook", "quote", "waiting"),
        ("instagram", "carousel", "waiting"),
    ]
    assert week.ok("piece", "list", "--week", week_of(MONDAY + timedelta(days=7))) == []
    assert len(week.ok("piece", "list", "--state", "waiting")) == 3
    first = pieces[0]
    shown = week.ok("piece", "show", first["piece_id"][:8])
    assert shown["content_hash"] == first["content_hash"]
    assert {check["check_type"] for check in shown["checks"]} >= {
        "medical_claim",
        "brand_voice",
        "legal_review",
        "limits",
    }
    assert shown["review"]["decision"] == "pending"
    history = week.ok("piece", "history", first["piece_id"])
    assert history["revisions"][-1]["present"] is True
    assert history["revisions"][-1]["decision"] == "pending"
    diff = week.ok("piece", "diff", first["piece_id"])
    assert diff["to"] == first["content_hash"]
    assert any(line.startswith("+") for line in diff["diff"])


def test_piece_diff_names_the_revisions_when_the_hash_is_wrong(week: Cli) -> None:
    piece = week.ok("piece", "list")[0]
    result = week("piece", "diff", piece["piece_id"], "--to", "ffff")
    assert result.code == 2
    assert piece["content_hash"][:12] in result.complaint


def test_create_makes_one_piece_once(week: Cli) -> None:
    argv = (
        "create",
        "--platform",
        "facebook",
        "--type",
        "quote",
        "--topic",
        "evening light",
        "--at",
        f"{MONDAY + timedelta(days=2)}T10:00",
    )
    first = week.ok(*argv)
    assert (first["state"], first["scheduled_at"], first["zone"]) == (
        "waiting",
        utc_of(MONDAY + timedelta(days=2), 10),
        "America/New_York",
    )
    again = week.ok(*argv)
    assert (again["session_id"], again["piece_id"]) == (first["session_id"], first["piece_id"])
    other = week(*argv[:-3], "morning walks", *argv[-2:])
    assert other.code == 1
    assert first["piece_id"] in other.complaint


def test_create_without_an_instant_takes_the_next_free_hour(week: Cli) -> None:
    argv = ("create", "--platform", "facebook", "--type", "quote", "--topic", "evening light", "--detach")
    # Two that are not made yet hold no place in the plan; once one is, the next takes another hour.
    first = week.ok(*argv)
    assert week.ok("session", "resume", first["session_id"])["status"] == "waiting"
    second = week.ok(*argv)
    assert first["scheduled_at"].endswith(":00:00Z")
    assert second["scheduled_at"] > first["scheduled_at"]


def test_a_copy_is_a_new_piece_a_week_later(week: Cli) -> None:
    piece = week.ok("piece", "list")[0]
    copied = week.ok("piece", "copy", piece["piece_id"], "--detach")
    assert copied["scheduled_at"] == utc_of(MONDAY + timedelta(days=7), 8)
    resumed = week.ok("session", "resume", copied["session_id"])
    assert resumed["status"] == "waiting"
    [made] = week.ok("piece", "list", "--session", copied["session_id"])
    assert made["piece_id"] != piece["piece_id"]
    assert (made["platform"], made["content_type"]) == (piece["platform"], piece["content_type"])
    second = week.ok("piece", "copy", piece["piece_id"], "--detach")
    assert second["session_id"] != copied["session_id"]


def test_a_copy_of_an_approved_piece_is_not_refused_for_saying_what_its_original_says(week: Cli) -> None:
    piece = week.ok("piece", "list")[0]
    week.ok("review", "approve", piece["piece_id"])
    original = week.ok("review", "show", piece["piece_id"])
    copied = week.ok("piece", "copy", piece["piece_id"], "--detach")
    week.ok("session", "resume", copied["session_id"])
    [made] = week.ok("piece", "list", "--session", copied["session_id"])
    post = json.dumps({**original["post"], "first_comment": "Once more, because many asked."})
    (week.data_dir / "post.json").write_text(post)
    week.ok("review", "edit", made["piece_id"], "--file", str(week.data_dir / "post.json"))
    week.ok("review", "approve", made["piece_id"])
    assert week.ok("piece", "list", "--session", copied["session_id"])[0]["state"] == "approved"


def test_session_cancel_ends_what_is_not_approved(week: Cli) -> None:
    [listed] = week.ok("session", "list")
    first, *_ = week.ok("piece", "list")
    assert week("review", "approve", first["piece_id"]).code in (0, 3)
    cancelled = week.ok("session", "cancel", listed["session_id"], "--by", "ana")
    assert cancelled["status"] == "cancelled"
    assert cancelled["still_approved"] == [first["piece_id"]]
    states = {p["piece_id"]: p["state"] for p in week.ok("piece", "list")}
    assert states.pop(first["piece_id"]) == "approved"
    assert set(states.values()) == {"cancelled"}
    refused = week("session", "resume", listed["session_id"], "--add-usd", "1")
    assert (refused.code, "was cancelled" in refused.complaint) == (1, True)
    assert week.ok("session", "cancel", listed["session_id"])["status"] == "cancelled"


def breaking(monkeypatch: pytest.MonkeyPatch, name: str, *, platform: str) -> Callable[[], None]:
    """Make the step `name` of the piece graph fail for one platform, at its first try; calling the answer mends it."""
    from graphs import piece as module

    inner = getattr(module, name)
    broken = [True]

    async def step(context: Any, piece: Any, *rest: Any, **more: Any) -> Any:
        if broken[0] and piece.platform == platform:
            raise CopydeskError(f"no {name} today")
        return await inner(context, piece, *rest, **more)

    monkeypatch.setattr(module, name, step)
    monkeypatch.setenv("COPYDESK_MAX_ATTEMPTS", "1")
    return lambda: broken.__setitem__(0, False)


@pytest.fixture
def broken_draft(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> tuple[Cli, Callable[[], None]]:
    """A week whose facebook piece was dead-lettered before its draft was stored."""
    small_brand(cli)
    mend = breaking(monkeypatch, "store_draft", platform="facebook")
    run = cli.ok(*RUN)
    assert run["pieces"]["failed"] == 1
    return cli, mend


def failed_piece(cli: Cli) -> dict[str, Any]:
    [piece] = cli.ok("piece", "list", "--state", "failed")
    return dict(piece)


def test_dead_letters_are_shown_with_their_reason_and_the_command_that_requeues(
    broken_draft: tuple[Cli, Callable[[], None]],
) -> None:
    cli, mend = broken_draft
    piece = failed_piece(cli)
    shown = cli("queue", "show", "--json")
    assert shown.code == 1
    [letter] = shown.json
    assert letter["id"] == f"advance:{piece['piece_id']}"
    assert "no store_draft today" in letter["reason"]
    assert cli.ok("queue", "list")["content_generation_queue"]["dead"] == 1
    mend()
    argv = letter["requeue"].split()[1:]
    assert cli(*argv).code == 0
    assert cli("queue", "show").code == 0
    assert cli("worker", "--until-idle").code == 0
    shown_piece = cli.ok("piece", "show", piece["piece_id"])
    assert (shown_piece["state"], shown_piece["dead_letter"]) == ("waiting", "")
    assert cli.ok("session", "list")[0]["status"] == "waiting"


def test_session_resume_makes_what_was_given_up(broken_draft: tuple[Cli, Callable[[], None]]) -> None:
    cli, mend = broken_draft
    piece = failed_piece(cli)
    [session] = cli.ok("session", "list")
    mend()
    resumed = cli.ok("session", "resume", session["session_id"], "--by", "ana")
    assert resumed["pieces"] == {"planned": 3, "approved": 0, "waiting": 3, "rejected": 0, "failed": 0}
    shown = cli.ok("piece", "show", piece["piece_id"])
    assert (shown["state"], shown["reason"]) == ("waiting", "this brand approves every piece by hand")
    assert cli("queue", "show").out.strip() == "nothing is dead"
    again = cli("session", "resume", session["session_id"])
    assert again.code == 3
    assert "nothing in it was given up" in again.err


def test_a_piece_that_fails_again_stays_failed_and_says_why(broken_draft: tuple[Cli, Callable[[], None]]) -> None:
    cli, _ = broken_draft
    [session] = cli.ok("session", "list")
    resumed = cli("session", "resume", session["session_id"], "--json")
    assert resumed.json["pieces"]["failed"] == 1
    assert "no store_draft today" in cli.ok("piece", "show", failed_piece(cli)["piece_id"])["reason"]


@pytest.fixture
def broken_check(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> tuple[Cli, Callable[[], None]]:
    """A week whose facebook piece has a draft and was dead-lettered while its checks were folded."""
    from graphs import piece as module

    small_brand(cli)
    inner, broken = module.decide, [True]

    async def decide(state: Any, runtime: Any) -> Any:
        row = await runtime.context.records.get(module.Piece, id=state["piece_id"])
        if broken[0] and row.platform == "facebook":
            raise CopydeskError("no decision today")
        return await inner(state, runtime)

    monkeypatch.setattr(module, "decide", decide)
    monkeypatch.setenv("COPYDESK_MAX_ATTEMPTS", "1")
    assert cli.ok(*RUN)["pieces"]["failed"] == 1
    return cli, lambda: broken.__setitem__(0, False)


@pytest.mark.parametrize(("flags", "run"), [((), 1), (("--from-draft",), 2)], ids=["goes on", "from the draft"])
def test_a_failed_piece_keeps_its_draft(
    broken_check: tuple[Cli, Callable[[], None]], flags: tuple[str, ...], run: int
) -> None:
    cli, mend = broken_check
    before = cli.ok("piece", "show", failed_piece(cli)["piece_id"])
    [session] = cli.ok("session", "list")
    mend()
    cli.ok("session", "resume", session["session_id"], *flags)
    after = cli.ok("piece", "show", before["piece_id"])
    assert (after["state"], after["run"], after["content_hash"]) == ("waiting", run, before["content_hash"])
    history = cli.ok("piece", "history", before["piece_id"])
    assert [row["run"] for row in history["revisions"]] == [1]


def test_added_money_is_counted_and_shown(week: Cli) -> None:
    [session] = week.ok("session", "list")
    week.ok("session", "resume", session["session_id"], "--add-usd", "2.50")
    week.ok("session", "resume", session["session_id"], "--add-usd", "1")
    assert week.ok("session", "show", session["session_id"])["envelope_usd"] == 8.5
    [row] = week.ok("budget", "show")["sessions"]
    assert (row["limit_usd"], row["added_usd"], row["left_usd"]) == (8.5, 3.5, 8.5)
    assert week.ok("session", "list")[0]["status"] == "waiting"


def test_burying_a_session_fails_it_and_resuming_makes_it(cli: Cli) -> None:
    small_brand(cli)
    id = cli.ok(*RUN, "--detach")["session_id"]
    assert cli("queue", "bury", f"advance:{id}", "--reason", "wrong week", "--by", "ana").code == 0
    [session] = cli.ok("session", "list")
    assert (session["status"], session["reason"]) == ("failed", "buried by ana: wrong week")
    assert cli.ok("session", "resume", id)["pieces"]["waiting"] == 3


def test_budget_counts_usage_by_model(week: Cli) -> None:
    day = week.ok("session", "list")[0]["created_at"][:10]
    shown = week.ok("budget", "show", "--day", day)
    assert shown["limit_usd"] == 20.0
    assert (shown["spent_usd"], shown["reserved_usd"], shown["left_usd"]) == (0.0, 0.0, 20.0)
    assert shown["models"]["offline:"]["calls"] > 3
    assert shown["models"]["offline:"]["tokens"] > 0


def test_lint_has_the_shape_that_scripts_rely_on(cli: Cli, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.txt", tmp_path / "good.md"
    bad.write_text("This room cures cancer.")
    good.write_text("Sit down for a quiet hour.")
    result = cli("lint", str(bad), str(good), "--json")
    assert result.code == 1
    first, second = result.json["files"]
    assert (first["path"], first["result"]) == (str(bad), "failed")
    assert (second["path"], second["result"], second["findings"]) == (str(good), "passed", [])
    [finding] = first["findings"]
    assert list(finding) == [
        "rule", "check_type", "severity", "field", "start", "end", "quote", "suggestion", "source", "jurisdiction",
    ]  # fmt: skip
    assert bad.read_text()[finding["start"] : finding["end"]] == finding["quote"]
    assert cli("lint", str(good)).code == 0
    assert "no rule fired" in cli("lint", str(good)).out
    assert "compliant" not in cli("lint", str(good)).out
    explained = cli.ok("lint", "--explain", finding["rule"])
    assert explained["source"].startswith("https://")
    assert not cli.data_dir.exists()


def test_lint_takes_packs_and_checks(cli: Cli, tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("This room cures cancer.")
    only = cli("lint", str(text), "--check", "brand_voice", "--json")
    assert (only.code, only.json["files"][0]["findings"]) == (0, [])
    us = cli("lint", str(text), "--jurisdiction", "us", "--json")
    assert {f["jurisdiction"] for f in us.json["files"][0]["findings"]} == {"us"}


def test_lint_with_a_brand_applies_its_own_words(cli: Cli, tmp_path: Path) -> None:
    small_brand(cli)
    guidelines = cli.data_dir / "brands" / "acme" / "guidelines.toml"
    more = '\n[[guideline]]\ntype = "voice"\ntitle = "No gadgets"\nrestrictions = ["flux capacitor"]\nseverity = "important"\n'
    guidelines.write_text(guidelines.read_text() + more)
    text = tmp_path / "t.txt"
    text.write_text("Sit beside the flux capacitor.")
    assert cli("lint", str(text), "--brand", "eesystem").code == 0
    flagged = cli("lint", str(text), "--brand", "acme", "--json")
    assert (flagged.code, flagged.json["files"][0]["result"]) == (1, "manual_review")


def test_knowledge_is_added_found_and_revoked(cli: Cli, tmp_path: Path) -> None:
    small_brand(cli)
    folder = tmp_path / "docs" / "deeper"
    folder.mkdir(parents=True)
    (folder / "marmalade.md").write_text("# Marmalade\n\nSeville oranges make the best marmalade. It keeps for a year.")
    (folder / "empty.md").write_text("")
    (tmp_path / "docs" / ".hidden.md").write_text("# Hidden\n\nNobody sees this sentence.")
    added = cli("knowledge", "add", str(tmp_path / "docs"), "--json")
    assert added.code == 1
    assert (added.json["added"], added.json["unchanged"]) == (["marmalade.md"], [])
    assert [row["path"] for row in added.json["rejected"]] == [str(folder / "empty.md")]
    assert cli.ok("knowledge", "add", str(folder / "marmalade.md")) == {
        "added": [],
        "unchanged": ["marmalade.md"],
        "rejected": [],
    }
    hits = cli.ok("knowledge", "search", "oranges marmalade", "--limit", "1")
    assert [(hit["source"], sorted(hit)) for hit in hits] == [("marmalade.md", ["score", "source", "text"])]
    assert "marmalade.md" in {row["source"] for row in cli.ok("knowledge", "list")}
    assert cli.ok("knowledge", "revoke", "marmalade.md") == {"source": "marmalade.md", "status": "revoked"}
    assert "marmalade.md" not in {hit["source"] for hit in cli.ok("knowledge", "search", "oranges marmalade")}


def test_memories_are_listed_found_and_shown(week: Cli) -> None:
    rows = week.ok("memory", "list")
    assert {row["agent"] for row in rows} >= {"research", "creation"}
    assert {row["agent"] for row in week.ok("memory", "list", "--agent", "research")} == {"research"}
    hits = week.ok("memory", "search", "quote", "--limit", "2")
    assert 1 <= len(hits) <= 2
    shown = week.ok("memory", "show", rows[0]["id"])
    assert shown["content"] == rows[0]["content"]
    assert shown["provenance"]["session"] == week.ok("session", "list")[0]["session_id"]


def test_why_tells_a_piece_from_its_first_event_to_its_publication(week: Cli) -> None:
    piece = week.ok("piece", "list")[0]
    assert week("review", "approve", piece["piece_id"], "--by", "ana", "--reason", "kind words").code in (0, 3)
    week("publish", "due", "--until", str(MONDAY + timedelta(days=6)))
    told = week.ok("why", piece["piece_id"])
    kinds = [entry["kind"] for entry in told["story"]]
    assert set(kinds) >= {"event", "revision", "check", "review", "ledger", "usage", "memory"}
    assert [entry["at"] for entry in told["story"]] == sorted(entry["at"] for entry in told["story"])
    assert any(entry["by"] == "ana" and entry["detail"] == "kind words" for entry in told["story"])
    assert any(entry["kind"] == "usage" and entry["model"] == "offline:" for entry in told["story"])
    [sent] = [row for row in week.ok("publish", "status") if row["piece_id"] == piece["piece_id"]]
    by_key = week.ok("why", sent["pub_key"][:12])
    assert by_key["about"] == told["about"]
    assert week.ok("why", f"advance:{piece['piece_id']}")["about"] == told["about"]
    session = week.ok("why", piece["session_id"])
    assert {"assignment", "event", "usage"} <= {entry["kind"] for entry in session["story"]}


def test_why_tells_of_a_dead_letter(broken_draft: tuple[Cli, Callable[[], None]]) -> None:
    cli, _ = broken_draft
    told = cli("why", failed_piece(cli)["piece_id"])
    assert told.code == 0
    assert "dead-lettered" in told.out
    assert "no store_draft today" in told.out


def test_doctor_finds_nothing_wrong_with_a_planned_week(week: Cli) -> None:
    report = week("doctor", "--json")
    assert (report.code, report.json["findings"]) == (0, [])
    assert {row["integrity"] for row in report.json["files"].values()} == {"ok"}
    model = next(row for row in report.json["settings"] if row["setting"] == "COPYDESK_MODEL")
    assert (model["value"], model["source"]) == ("offline:", "default")
    assert report.json["embedders"]["acme"]["stored"].keys() == {"hash-v1"}


def test_doctor_makes_nothing_where_nothing_is(cli: Cli) -> None:
    assert cli("doctor").code == 0
    assert not cli.data_dir.exists()


def edit(cli: Cli, name: str, statement: str) -> None:
    """Damage a row behind the program's back."""
    connection = sqlite3.connect(cli.data_dir / name, isolation_level=None)
    connection.execute(statement)
    connection.close()


_OTHER_VECTORS = "UPDATE brand_knowledge SET embedder_id = 'hash-v0'"
DAMAGE: list[tuple[str, Callable[[Cli], object], str, str]] = [
    ("an empty file", lambda c: (c.data_dir / "queue.db").write_bytes(b""), "is empty", "rm -f "),
    ("not a database", lambda c: (c.data_dir / "queue.db").write_bytes(b"x" * 4096), "cannot be read", "rm -f "),
    ("a lost file", lambda c: (c.data_dir / "ledger.db").unlink(), "is gone", "restore"),
    ("a newer file", lambda c: edit(c, "session.db", "PRAGMA user_version = 99"), "newer Copydesk", "pip install"),
    ("an open folder", lambda c: c.data_dir.chmod(0o755), "other users", "chmod 700"),
    ("no schedule row", lambda c: edit(c, "records.db", "DELETE FROM publication_schedule"), "no place in the plan", "session resume"),
    ("other vectors", lambda c: edit(c, "records.db", _OTHER_VECTORS), "made by hash-v0", "COPYDESK_EMBEDDER=hash-v0"),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "says", "mend"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_doctor_names_what_is_wrong_and_the_command_that_mends_it(
    week: Cli, harm: Callable[[Cli], object], says: str, mend: str
) -> None:
    harm(week)
    report = week("doctor", "--json")
    assert report.code == 1
    assert any(says in row["finding"] and mend in row["mend"] for row in report.json["findings"]), report.out[-2000:]
    assert week("doctor").code == 1


def test_doctor_finds_a_running_session_that_nobody_works_on_and_its_remedy_works(cli: Cli) -> None:
    small_brand(cli)
    id = cli.ok(*RUN, "--detach")["session_id"]
    edit(cli, "queue.db", "DELETE FROM tasks")
    report = cli("doctor", "--json")
    [finding] = report.json["findings"]
    assert "nothing of it is queued" in finding["finding"]
    mended = cli(*finding["mend"].split()[1:])
    assert mended.code == 3
    assert cli.ok("session", "show", id)["status"] == "waiting"
    assert cli("doctor").code == 0


def test_doctor_tells_dead_letters(broken_draft: tuple[Cli, Callable[[], None]]) -> None:
    cli, _ = broken_draft
    report = cli("doctor", "--json")
    assert report.code == 1
    [finding] = report.json["findings"]
    assert finding["mend"] == f"run_agents.py queue requeue advance:{failed_piece(cli)['piece_id']}"


def test_brand_new_is_complete_and_approves_nothing(cli: Cli) -> None:
    made = cli.ok("brand", "new", "river-house")
    assert set(made["files"]) >= {"brand.toml", "guidelines.toml", "claims.toml", "themes.toml", "templates.toml"}
    assert cli("brand", "check", "river-house").code == 0
    shown = cli.ok("brand", "show", "river-house")
    assert shown["title"] == "River House"
    assert "approved" not in {claim["status"] for claim in shown["claims"]}
    assert "eesystem" not in json.dumps(shown).lower().replace(str(cli.data_dir).lower(), "")
    again = cli("brand", "new", "river-house")
    assert (again.code, "exists already" in again.complaint) == (1, True)
    assert cli("brand", "new", "eesystem").code == 1
    listed = {row["name"]: row["origin"] for row in cli.ok("brand", "list")}
    assert listed == {"river-house": "own", "eesystem": "shipped"}
    assert [path.name for path in (cli.data_dir / "brands").iterdir()] == ["river-house"]


def test_brand_check_warns_of_an_empty_grid(cli: Cli) -> None:
    small_brand(cli)
    file = cli.data_dir / "brands" / "acme" / "brand.toml"
    file.write_text(file.read_text().partition("[[grid]]")[0])
    checked = cli("brand", "check", "acme")
    assert (checked.code, "grid is empty" in checked.out) == (1, True)


def test_db_init_makes_every_file_and_migrate_changes_nothing(cli: Cli) -> None:
    made = cli.ok("db", "init")
    assert set(made["files"]) == {"records.db", "ledger.db", "queue.db", "checkpoints.db", "session.db"}
    assert {row["before"] for row in made["files"].values()} == {0}
    again = cli.ok("db", "migrate")
    assert all(row["before"] == row["schema"] for row in again["files"].values())
