"""What somebody new to the program types in the first hour, and what it answers."""

from __future__ import annotations

import io
import json
import re
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


def test_a_week_that_has_passed_has_no_next_command(cli: Cli) -> None:
    small_brand(cli)
    page = cli("cycle", "plan", "--theme", "x", "--week", "2024-W10")
    assert (page.code, "Next:" in page.out) == (1, False)
    assert cli("cycle", "plan", "--theme", "x", "--week", "2024-W10", "--json").json["run"] == ""
    assert cli("cycle", "plan", "--theme", "x", "--week", WEEK).out.count("Next:") == 1


def test_free_text_that_is_nearly_a_theme_is_asked_about_and_used(cli: Cli) -> None:
    small_brand(cli)
    page = cli("cycle", "plan", "--theme", "water-and-puase", "--week", WEEK)
    assert "did you mean water-and-pause? Free text is used as it stands" in " ".join(page.out.split())
    run = cli("cycle", "run", "--theme", "water-and-puase", "--week", WEEK, "--detach")
    assert "did you mean water-and-pause" in run.complaint
    assert cli.ok("session", "list")[0]["goal"].count("water-and-puase") == 1
    assert "did you mean" not in cli("cycle", "plan", "--theme", "marmalade", "--week", WEEK).out


def test_the_list_of_reviews_says_when_and_what_in_the_order_of_the_slots(week: Cli) -> None:
    listed = week.ok("review", "list")
    assert [row["scheduled_at"] for row in listed] == sorted(row["scheduled_at"] for row in listed)
    assert [row["platform"] for row in listed] == ["instagram", "facebook", "instagram"]
    page = week("review", "list").out
    for row in listed:
        assert {row["piece_id"], "08:00", "18:00"} <= set(page.split())
        assert row["title"][:12] in page


def test_detached_work_names_the_worker_that_does_it_and_doctor_misses_one(cli: Cli) -> None:
    small_brand(cli)
    assert "A worker does it: " in cli(*RUN, "--detach").out
    create = ("create", "--platform", "facebook", "--type", "quote", "--topic", "water", "--detach")
    assert "run_agents.py worker --data-dir" in cli(*create).out
    said = cli("doctor")
    typed = f" run_agents.py --data-dir {cli.data_dir} worker\n1 finding\n"
    assert "2 tasks are ready, and no worker takes them\n   mend: " in said.out
    assert said.out.endswith(typed), "it can be typed as it stands"
    worker = cli("worker", "--until-idle")
    assert "tasks at a time" in worker.complaint
    assert "no worker takes them" not in cli("doctor").out
    assert cli("worker", "--until-idle", "--log-level", "error").err == ""


def test_doctor_says_that_publishing_is_paused(week: Cli) -> None:
    week.ok("publish", "pause", "--by", "ana", "--reason", "fire drill")
    said = week("doctor")
    assert (said.code, "publishing of brand acme is paused by ana (fire drill)" in said.out) == (1, True)
    week.ok("publish", "resume")
    assert "is paused" not in week("doctor").out


def test_an_edit_that_the_rules_refuse_fails_and_says_what_fired_and_what_to_type(week: Cli) -> None:
    id = week.ok("review", "list")[0]["piece_id"]
    refused = week("review", "edit", id, "--set", "caption=This room cures cancer.")
    assert refused.code == 1
    assert "'cures cancer'" in refused.out.lower()
    assert f"review edit {id} --set caption=TEXT" in refused.out
    mended = week("review", "edit", id, "--set", "caption=Sit down for a quiet hour.")
    assert (mended.code, "Next:" in mended.out) == (0, False)


def test_the_report_of_a_week_shows_the_planned_slot_and_when_it_went_out(
    week: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = week.ok("review", "list")[0]["piece_id"]
    week.ok("review", "approve", id)
    week.ok("publish", "due", "--until", WEEK)
    page = week("report", "week", "--week", WEEK).out
    assert re.search(r"08:00 .*\n\s+sent \d\d-\d\d ", page), "it went out weeks before its slot"
    monkeypatch.setenv("COLUMNS", "120")
    page = week("report", "week", "--week", WEEK).out
    assert page.count("08:00, sent ") == 1, "there is room for both on one line"
    assert page.count("18:00") == 1


def test_brand_check_names_what_leads_nowhere(cli: Cli) -> None:
    small_brand(cli, "kettle")
    folder = cli.data_dir / "brands" / "kettle"
    assert not any(
        word in cli("brand", "check").out for word in ("is no place", "accounts:", "hashtags:", "call_to_action is")
    )
    brand = folder / "brand.toml"
    head, _, rest = brand.read_text().partition("[accounts]")
    head = re.sub(r"(?ms)^(hashtags|call_to_action) = \[.*?\]\n", "", head)
    kept = head.splitlines()
    kept.append('hashtags = ["Kettle Leaf", "#Loose-Leaf", "#Tea", "leaf"]')
    cells = rest[rest.index("[[grid]]") :]
    brand.write_text("\n".join([*kept, "[accounts]", 'instagram = "kettle"', 'instagarm = "k"', "", cells]))
    templates = folder / "templates.toml"
    templates.write_text(templates.read_text().replace('"{takeaway}"', '"{takeway}"', 1))
    with (folder / "themes.toml").open("a") as file:
        file.write('\n[[theme]]\nname = "odd"\ntitle = "Odd"\n[[theme.days]]\nday = "monday"\ntitle = "Zugzwang"\n')
    said = cli("brand", "check", "--json")
    assert said.code == 1
    warnings = said.json["warnings"]
    for part in (
        "{takeway} is no place that is filled (did you mean 'takeaway'?)",
        "'instagarm' is not a platform (did you mean 'instagram'?)",
        "the grid posts on facebook, which has no account",
        "'Kettle Leaf' is dropped",
        "'#Loose-Leaf' is dropped",
        'write "#LooseLeaf"',
        "call_to_action is empty",
        "no document speaks of 'Zugzwang', and it has no keywords",
    ):
        assert [line for line in warnings if part in line], (part, warnings)
    assert len([line for line in warnings if "is dropped" in line]) == 2


def test_of_two_brands_none_is_meant_until_one_is_named_or_kept(cli: Cli, tmp_path: Path) -> None:
    assert "brands now" not in cli("brand", "new", "acme").out
    second = cli("brand", "new", "bolt").out
    assert "you have 2 brands now (acme, bolt): give --brand NAME with each command, or keep one: " in second
    assert "preferences set brand bolt" in second
    (tmp_path / "clay.md").write_text("Clay rests.")
    for argv in (("knowledge", "add", str(tmp_path / "clay.md")), RUN, ("review", "list"), ("brand", "show")):
        refused = cli(*argv)
        assert (refused.code, "which brand? There are acme, bolt: give --brand NAME" in refused.complaint) == (2, True)
    assert not (cli.data_dir / "records.db").exists(), "nothing was opened"
    assert cli("queue", "list").code == 0, "a queue is no brand's"
    assert cli("doctor").code == 0
    added = cli("knowledge", "add", str(tmp_path / "clay.md"), "--brand", "bolt")
    assert (added.code, "; bolt knows 11 documents" in added.out) == (0, True)
    cli.ok("preferences", "set", "brand", "bolt")
    assert "clay.md" in {row["source"] for row in cli.ok("knowledge", "list")}
    assert cli.ok("db", "init")


def test_brand_new_says_what_may_be_typed_instead(cli: Cli) -> None:
    for typed, meant in {"Töpferei Köhler": "toepferei-koehler", "Café Größe 3!": "cafe-groesse-3"}.items():
        assert re.search(rf"brand new {meant} --data-dir \S+, and its title", cli("brand", "new", typed).complaint)
    assert cli("brand", "new", "…").complaint.endswith("start with a letter or digit")
    shipped = cli("brand", "new", "eesystem").complaint
    assert ("choose another name" in shipped, "edit" in shipped) == (True, False), "there is no folder to edit"
    made = cli("brand", "new", "acme")
    assert re.search(rf"edit them, then: \S+ run_agents.py brand check acme --data-dir {cli.data_dir}$", made.out, re.M)


def test_brand_check_notes_the_pages_of_the_example_until_they_are_gone_or_changed(cli: Cli) -> None:
    small_brand(cli)
    pages = sorted((cli.data_dir / "brands" / "acme" / "documents").glob("*.md"))
    noted = cli("brand", "check")
    assert noted.code == 0
    assert f"note: documents/{pages[0].name} and {len(pages) - 1} more: pages of the shipped example" in noted.out
    words = (
        "note: brand.toml (description, audience, call_to_action, visual_style), guidelines.toml, claims.toml: still"
    )
    assert words in noted.out
    assert len(cli.ok("brand", "check")["notes"]) == 2
    for page in pages[1:]:
        page.unlink()
    pages[0].write_text("# Bowls\n\nA bowl is round.\n")
    folder = cli.data_dir / "brands" / "acme"
    (folder / "claims.toml").write_text("")
    (folder / "brand.toml").write_text(
        re.sub(r"(?m)^(audience|description) = .*", "", (folder / "brand.toml").read_text())
    )
    assert [note.partition(": ")[0] for note in cli.ok("brand", "check")["notes"]] == [
        "brand.toml (call_to_action, visual_style), guidelines.toml"
    ]
    assert cli.ok("brand", "check", "eesystem")["notes"] == []


def test_doctor_says_what_is_wrong_with_a_brand_and_counts_what_was_added_from_elsewhere(
    cli: Cli, tmp_path: Path
) -> None:
    small_brand(cli)
    for page in (cli.data_dir / "brands" / "acme" / "documents").glob("*.md"):
        page.unlink()
    cli.ok("knowledge", "list")
    report = cli("doctor")
    assert report.code == 1
    assert "finding: brand acme: documents holds nothing to learn from" in report.out
    (tmp_path / "clay.md").write_text("Clay rests.")
    cli.ok("knowledge", "add", str(tmp_path / "clay.md"))
    assert cli("doctor").code == 0


def test_a_schedule_is_removed_and_may_be_added_anew_at_another_time(cli: Cli) -> None:
    small_brand(cli)
    cli.ok("schedule", "add", "weekly", "--day", "mon", "--at", "06:00")
    cli.ok("schedule", "pause", "weekly")
    refused = cli("schedule", "add", "weekly", "--day", "tue", "--at", "07:00")
    assert (refused.code, "`schedule remove weekly`" in refused.complaint) == (1, True)
    assert cli.ok("schedule", "remove", "weekly")["removed"] is True
    assert cli.ok("schedule", "list") == []
    assert cli("schedule", "remove", "weekly").code == 2
    cli.ok("schedule", "add", "weekly", "--day", "tue", "--at", "07:00")
    [one] = cli.ok("schedule", "list")
    assert (one["day"], one["at"], one["status"]) == ("tuesday", "07:00", "active"), (
        "the old pause is gone with the old one"
    )


def test_session_show_names_the_tasks_that_why_and_bury_take(cli: Cli) -> None:
    small_brand(cli)
    started = cli.ok(*RUN, "--detach")["session_id"]
    [task] = cli.ok("session", "show", started)["tasks"]
    assert task["id"] == f"advance:{started}"
    assert f"task advance:{started}" in cli("session", "show", started).out
    assert cli("why", task["id"]).code == 0
    assert cli("queue", "bury", task["id"]).code == 0
    assert cli.ok("session", "show", started)["tasks"][0]["dead"] is True


def test_completion_says_for_which_program_it_works(cli: Cli) -> None:
    assert "works for the installed `copydesk`" in " ".join(cli("completion", "--help").out.split())


def test_knowledge_names_twins_namesakes_and_what_was_meant(cli: Cli, tmp_path: Path) -> None:
    small_brand(cli)
    for path, text in {"clay.md": "Clay rests.", "copy of clay.md": "Clay rests.", "deep/clay.md": "Another."}.items():
        (tmp_path / "docs" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / path).write_text(text)
    added = cli("knowledge", "add", str(tmp_path / "docs"))
    assert added.code == 1
    assert re.search(
        r"copy of clay.md says exactly what clay.md says: .* knowledge revoke 'copy of clay.md'", added.out
    )
    assert f"rejected {tmp_path}/docs/deep/clay.md: has the name of {tmp_path}/docs/clay.md" in added.out
    assert "2 added, 0 unchanged, 1 rejected; acme knows 12 documents" in added.out
    (tmp_path / "docs" / "clay.md").write_text("Clay is tired.")
    assert (
        "added clay.md in the place of what it said" in cli("knowledge", "add", str(tmp_path / "docs" / "clay.md")).out
    )
    assert "did you mean 'clay.md'?" in cli("knowledge", "revoke", "clay").complaint
    assert "QUERY is empty" in cli("knowledge", "search", " ").complaint


def test_what_is_taken_out_of_a_brand_s_folder_is_neither_listed_as_known_nor_found(cli: Cli) -> None:
    small_brand(cli)
    pages = sorted((cli.data_dir / "brands" / "acme" / "documents").glob("*.md"))
    assert {row["status"] for row in cli.ok("knowledge", "list")} == {"active"}
    for page in pages[1:]:
        page.unlink()
    statuses = {row["source"]: row["status"] for row in cli.ok("knowledge", "list")}
    assert statuses == {page.name: "removed" for page in pages} | {pages[0].name: "active"}
    assert {hit["source"] for hit in cli.ok("knowledge", "search", "evening light room breath")} <= {pages[0].name}


def test_asking_in_the_wrong_folder_is_told_that_nothing_was_ever_made_there(cli: Cli) -> None:
    asked = cli("review", "list")
    assert (asked.code, asked.out) == (0, "Nothing waits for you.\n")
    assert f"note: nothing was here: {cli.data_dir} is new" in asked.complaint
    assert cli("review", "list").err == "", "now it is where they work"
    wrong = cli("session", "list", "--brand", "acme").complaint
    assert f"--data-dir (now {cli.data_dir})" in wrong


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (("cycle", "plan", "--them", "x", "--theme", "y"), "unknown option --them (did you mean '--theme'?)"),
        (("piece", "diff", "x", "1"), "unrecognized arguments: 1; see `run_agents.py piece diff --help`"),
        (("backup", "there"), "unrecognized arguments: there; see `run_agents.py backup --help`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_a_verb_does_not_know_names_the_help_of_that_verb(cli: Cli, typed: tuple[str, ...], answer: str) -> None:
    refused = cli(*typed)
    assert (refused.code, answer in refused.complaint) == (2, True), refused.complaint


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("brand.toml", 'title = "', 'titel = "', "title is missing: rename 'titel'"),
        ("brand.toml", 'day = "tuesday"', 'day = "dienstag"', "[[grid]] 3: day = 'dienstag': write 'monday', "),
        ("brand.toml", 'language = "en"', 'language = "deutsch"', "language = 'deutsch': write it like en or pt-BR"),
        ("brand.toml", 'hashtags = ["', 'hashtags = [5, "', "hashtags 1 = 5: write a text in quotes: "),
        (
            "brand.toml",
            "hashtags = [",
            'hashtags = "#Clay" # ',
            """hashtags = '#Clay': write a list: hashtags = ["..."]""",
        ),
        (
            "themes.toml",
            'title = "Dim the lights"',
            "",
            "[[theme]] 1: [[theme.days]] 1: title is missing: add title = ",
        ),
        ("claims.toml", 'text = "drug', 'txt = "drug', "text is missing: rename 'txt'"),
    ],
)
def test_a_slip_in_a_brand_s_file_is_named_as_its_author_finds_it(
    cli: Cli, file: str, old: str, new: str, said: str
) -> None:
    small_brand(cli)
    path = cli.data_dir / "brands" / "acme" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    refused = cli("brand", "check")
    assert (refused.code, said in refused.complaint) == (2, True), refused.complaint


def test_a_template_that_is_never_used_and_a_language_that_no_rule_reads_are_said_once(cli: Cli) -> None:
    small_brand(cli)
    folder = cli.data_dir / "brands" / "acme"
    templates = (folder / "templates.toml").read_text().replace("{hook}", "{hoook}")
    templates = templates.replace('content_type = "story"', 'content_type = "stroy"', 1)
    (folder / "templates.toml").write_text(templates.replace('platform = "any"', 'platform = "instgram"', 1))
    (folder / "brand.toml").write_text((folder / "brand.toml").read_text().replace('"en"', '"de"', 1))
    checked = cli("brand", "check", "--json").json
    assert len([line for line in checked["warnings"] if "{hoook} is no place" in line]) == 1
    assert any("content_type 'stroy' is not known (did you mean 'story'?)" in line for line in checked["warnings"])
    assert any("platform 'instgram' is not known (did you mean 'instagram'?)" in line for line in checked["warnings"])
    assert any("the rules look for English words" in line for line in checked["notes"])


def test_an_editor_that_is_not_there_is_refused_when_it_is_preferred_and_not_at_the_first_edit(cli: Cli) -> None:
    refused = cli("preferences", "set", "editor", "nosuchprogram --wait")
    assert (refused.code, "there is no such program here" in refused.complaint) == (2, True)
    assert cli("preferences", "set", "editor", "sh -c true").code == 0


def test_brand_show_says_whom_it_speaks_to_and_how_many_pages_it_has(cli: Cli) -> None:
    small_brand(cli)
    (cli.data_dir / "brands" / "acme" / "documents" / "kiln.txt").write_text("The kiln is warm.")
    shown = cli("brand", "show").out
    assert re.search(r"^audience: Adults with full days", shown, re.M)
    assert re.search(r"^hashtags: #Acme .*; calls to action: 24; documents: 11$", shown, re.M)
