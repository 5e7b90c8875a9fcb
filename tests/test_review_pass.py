"""`review` alone, and the page that a human decides on."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import BadInput
from config.settings import load_settings
from memory.rows.content import Piece, Post
from memory.rows.sessions import Session
from runtime.commands.post_text import from_text, to_text
from runtime.compose import open_runtime
from tests.cli_support import (
    ROOT,
    RUN,
    WEEK,
    Cli,
    Result,
    cli,
    environment,
    forbid_zebras,
    planned,
    quiet_process,
    week,
)

__all__ = ["cli", "planned", "quiet_process", "week"]  # fixtures


class Human:
    """Types keys at `review`, with an editor that runs a given command."""

    def __init__(self, week: Cli, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.week, self._monkeypatch, self._folder = week, monkeypatch, folder

    def types(self, *lines: str, editor: str = "false") -> Result:
        script = self._folder / "editor"
        script.write_text(f"#!/bin/sh\n{editor}\n")
        script.chmod(0o755)
        self._monkeypatch.setenv("VISUAL", str(script))
        self._monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return self.week("review", "--by", "ana")

    def states(self) -> list[str]:
        return [piece["state"] for piece in self.week.ok("piece", "list")]


@pytest.fixture
def human(week: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Human:
    return Human(week, monkeypatch, tmp_path)


def typed(week: Cli) -> list[str]:
    return [sys.executable, "-u", str(ROOT / "run_agents.py"), "--data-dir", str(week.data_dir)]


def flag(week: Cli, piece: dict[str, Any], caption: str) -> None:
    week("review", "edit", piece["piece_id"], "--set", f"caption={caption}")


def test_each_piece_is_asked_about_and_every_answer_is_kept(human: Human) -> None:
    result = human.types("a", "r", "not our tone", "s")
    assert result.code == 3, "one still waits"
    assert "1 approved, 1 rejected, 1 skipped; 1 still wait." in result.out
    assert sorted(human.states()) == ["approved", "rejected", "waiting"]
    [rejected] = human.week.ok("piece", "list", "--state", "rejected")
    [entry] = human.week.ok("piece", "history", rejected["piece_id"])["revisions"]
    assert (entry["reviewer"], entry["decision_reason"]) == ("ana", "not our tone")


def test_the_end_of_input_ends_the_pass_and_keeps_what_was_decided(human: Human) -> None:
    result = human.types("a")
    assert (result.code, sorted(human.states())) == (3, ["approved", "waiting", "waiting"])
    assert human.types("a", "a").code == 0
    assert human.types().out == "Nothing waits for you.\n"


def test_what_the_rules_found_most_in_is_asked_first(human: Human) -> None:
    last = human.week.ok("piece", "list")[-1]
    forbid_zebras(human.week)
    flag(human.week, last, "A zebra came in.")
    result = human.types("s", "s", "q")
    shown = [line for line in result.out.splitlines() if line.startswith("hash ")]
    [found] = [row for row in human.week.ok("review", "list") if row["result"] == "manual_review"]
    assert found["piece_id"] == last["piece_id"]
    assert shown[0].split()[1] == found["content_hash"]
    assert len(shown) == 3


def test_an_edit_that_fails_the_checks_is_shown_with_what_was_found_and_cannot_pass(human: Human) -> None:
    result = human.types("e", "a", "s", "q", editor="sed -i 's/^=== caption ===$/&\\nThis room cures cancer./' \"$1\"")
    assert result.out.count("1 of 3") == 2
    assert "critical" in result.out
    assert "nobody can approve it as it is: [e]dit it again" in result.err
    assert "waits no more: your text is rejected" in result.err.splitlines()[-1]
    assert sorted(human.states()) == ["rejected", "waiting", "waiting"]


def test_an_edit_is_checked_and_the_new_bytes_are_asked_about(human: Human) -> None:
    result = human.types("e", "a", "q", editor="sed -i 's/^=== caption ===$/&\\nA calm line of ours./' \"$1\"")
    assert result.out.count("1 of 3") == 2, "shown, edited, shown again"
    assert "+caption: A calm line of ours." in result.out
    assert "1 approved, 1 edited" in result.out
    [approved] = human.week.ok("piece", "list", "--state", "approved")
    assert human.week.ok("review", "show", approved["piece_id"])["post"]["caption"].startswith("A calm line of ours.")


@pytest.mark.parametrize(
    ("editor", "said"),
    [
        ("false", "ended with 1: nothing was changed"),
        (': > "$1"', "no === line is left"),
        ("sed -i 's/=== caption ===/=== captoin ===/' \"$1\"", "a post has no such field"),
        ("printf '\\377\\376' > \"$1\"", "save it as UTF-8"),
        ("true", "nothing was changed"),
    ],
)
def test_an_editor_that_leaves_nothing_usable_changes_nothing(human: Human, editor: str, said: str) -> None:
    before = human.week.ok("review", "list")
    result = human.types("e", "x", "q", editor=editor)
    assert said in result.err + result.out
    assert "Traceback" not in result.err
    assert human.week.ok("review", "list") == before


def test_after_an_edit_that_changed_nothing_the_same_piece_is_asked_about(human: Human) -> None:
    first, second, _ = [row["piece_id"] for row in human.week.ok("review", "list")]
    result = human.types("e", "r", "no", "q", editor="true")
    assert f"rejected {first}" in result.out
    assert human.week.ok("piece", "show", second)["state"] == "waiting"


def test_an_editor_that_is_not_there_is_named(human: Human, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("e\nq\n"))
    monkeypatch.setenv("VISUAL", "/no/such/editor")
    assert "/no/such/editor' cannot run" in human.week("review").complaint


def test_what_somebody_else_decided_meanwhile_is_told_and_the_pass_goes_on(
    human: Human, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = human.week.ok("review", "list")[0]["piece_id"]

    class Slow(io.StringIO):
        asked = False

        def readline(self, *_: Any) -> str:  # type: ignore[override]
            if not self.asked:
                self.asked = True
                done = subprocess.run(
                    [*typed(human.week), "review", "reject", first, "--by", "ben"],
                    env=environment(),
                    capture_output=True,
                )
                assert done.returncode in (0, 3), done.stderr
            return super().readline()

    monkeypatch.setattr("sys.stdin", Slow("a\na\nq\n"))
    result = human.week("review", "--by", "ana")
    assert "ben decided first" in result.err
    assert "1 approved" in result.out
    assert sorted(human.states()) == ["approved", "rejected", "waiting"]


@pytest.mark.parametrize(
    ("ben", "state"),
    [
        ("review edit {} --set caption=Bens_words. --by ben", "waiting"),
        ("review approve {} --by ben", "approved"),
        ("review reject {} --by ben", "rejected"),
    ],
)
def test_what_others_did_while_the_editor_was_open_stays_and_what_was_written_is_kept(
    human: Human, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ben: str, state: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    first = human.week.ok("review", "list")[0]["piece_id"]
    other = shlex.join([*typed(human.week), *ben.format(first).split()])
    ours = "sed -i 's/^=== caption ===$/&\\nAnas words./' \"$1\""
    result = human.types("e", "q", editor=f"{other} >&2\n{ours}")
    assert "changed while you edited" in result.err or "decided first" in result.err
    assert "nothing decided" in result.out or "0 approved" in result.out
    shown = human.week.ok("review", "show", first)
    assert shown["state"] == state
    assert (shown["post"]["caption"] == "Bens_words.") is (state == "waiting")
    [kept] = tmp_path.glob(f"copydesk-{first}-*.txt")
    assert str(kept) in result.out
    assert "Anas words." in kept.read_text()


def test_an_editor_that_takes_arguments_is_given_them(human: Human, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("e\nq\n"))
    monkeypatch.setenv("VISUAL", "sed -i 's/^=== caption ===$/&\\nOf an argument./'")
    result = human.week("review", "--by", "ana")
    assert "+caption: Of an argument." in result.out


def test_an_editor_that_is_killed_or_changes_line_ends_alone_changes_nothing(human: Human) -> None:
    before = human.week.ok("review", "list")
    assert "ended with -9: nothing was changed" in human.types("e", "q", editor='echo x >> "$1"; kill -9 $$').err
    assert "nothing was changed" in human.types("e", "q", editor='sed -i \'s/$/\\r/\' "$1"; echo >> "$1"').out
    assert human.week.ok("review", "list") == before


def test_a_file_that_was_made_from_other_bytes_does_not_replace_these(human: Human, tmp_path: Path) -> None:
    week = human.week
    first = week.ok("review", "list")[0]["piece_id"]
    old = week.ok("review", "show", first)
    flag(week, {"piece_id": first}, "Bens words.")
    file = tmp_path / "post.json"
    file.write_text(json.dumps({**old, "post": {**old["post"], "caption": "Anas words."}}))
    refused = week("review", "edit", first, "--file", str(file))
    assert (refused.code, "was made from" in refused.complaint) == (1, True)
    assert week.ok("review", "show", first)["post"]["caption"] == "Bens words."
    file.write_text(json.dumps({**old["post"], "caption": "Anas words."}))
    assert week("review", "edit", first, "--file", str(file)).code == 0


def test_a_list_is_emptied_by_an_empty_text(human: Human) -> None:
    first = human.week.ok("review", "list")[0]["piece_id"]
    assert human.week("review", "edit", first, "--set", "hashtags=").code == 0
    assert human.week.ok("review", "show", first)["post"]["hashtags"] == []


def test_the_reason_of_an_edit_stands_in_the_history(human: Human) -> None:
    first = human.week.ok("review", "list")[0]["piece_id"]
    argv = ("review", "edit", first, "--set", "caption=Shorter.", "--by", "ana", "--reason", "too long")
    assert human.week(*argv).code == 0
    old, new = human.week.ok("piece", "history", first)["revisions"]
    assert (old["decision"], old["reviewer"], old["decision_reason"]) == ("edited", "ana", "too long")
    assert (new["present"], new["decision"]) == (True, "pending")


def test_an_edit_takes_what_no_longer_stands_from_the_sources(human: Human) -> None:
    first = human.week.ok("review", "list")[0]["piece_id"]
    before = human.week.ok("review", "show", first)
    assert before["sources"]
    gone = ["--set", "caption=Sit down for a moment.", "--set", "slides[0]=Sit down.", "--set", "alt_text=", "--set"]
    assert human.week("review", "edit", first, *gone, "media_prompts=").code == 0
    after = human.week.ok("review", "show", first)
    assert (after["sources"], after["citations"]) == ([], {})
    assert "Sources:" not in human.week("review", "show", first).out


def test_the_list_is_cut_in_its_titles_and_nowhere_else(human: Human) -> None:
    rows = human.week.ok("review", "list")
    for row in rows:
        human.week("review", "edit", row["piece_id"], "--set", f"title={'A very long title of a post ' * 8}")
    lines = human.week("review", "list").out
    for row in human.week.ok("review", "list"):
        whole = (
            row["piece_id"],
            f"{row['platform']} {row['content_type']}",
            row["content_hash"][:8],
            f"{row['result']} ",
        )
        assert any(all(part in line for part in whole) for line in lines.splitlines())
    assert "…" in lines


def test_when_nothing_is_due_it_is_said_when_something_is(human: Human) -> None:
    assert "Nothing is approved and unsent. Next:" in human.week("publish", "due").out
    human.types("a", "q")
    result = human.week("publish", "due")
    assert "Nothing is due now; 1 approved, the next at " in result.out
    assert (
        human.week("publish", "due", "--until", result.out.split("--until ")[1].split()[0]).out.count("published ") == 1
    )


def test_a_name_or_a_reason_of_several_lines_forges_no_line(human: Human) -> None:
    first, second, _ = [row["piece_id"] for row in human.week.ok("review", "list")]
    forged = "fine\nrejected 1234@5678 by ben"
    lines = human.week("review", "approve", first, "--by", f"ana {forged}").out
    lines += human.week("review", "reject", second, "--reason", forged).out
    for piece in (first, second):
        lines += human.week("piece", "history", piece).out
    assert not [line for line in lines.splitlines() if line.startswith("rejected 1234")]
    assert human.week.ok("piece", "history", first)["revisions"][0]["reviewer"] == "ana fine rejected 1234@5678 by ben"


def test_an_edit_of_words_leaves_platform_kind_and_media_alone(human: Human, tmp_path: Path) -> None:
    week = human.week
    first = week.ok("review", "list")[0]["piece_id"]
    before = week.ok("review", "show", first)
    for name in ("media", "platform", "content_type"):
        refused = week("review", "edit", first, "--set", f"{name}=other")
        assert (refused.code, "write FIELD=TEXT" in refused.complaint) == (2, True)
    file = tmp_path / "post.json"
    file.write_text(json.dumps({**before["post"], "media": ["ab" * 32]}))
    assert "an edit changes the words" in week("review", "edit", first, "--file", str(file)).complaint
    file.write_text(json.dumps(before["post"])[:-1] + ', "caption": "Another."}')
    assert "'caption' stands twice" in week("review", "edit", first, "--file", str(file)).complaint
    assert week.ok("review", "show", first) == before


def test_one_piece_that_is_named_twice_is_decided_once(human: Human) -> None:
    first = human.week.ok("review", "list")[0]
    twice = human.week("review", "approve", first["piece_id"], f"{first['piece_id']}@{first['content_hash'][:12]}")
    assert (twice.code, twice.out.count("approved"), twice.err) == (0, 2, ""), twice.out


def test_two_texts_are_compared_by_hash_or_by_run_in_either_direction(human: Human) -> None:
    first = human.week.ok("review", "list")[0]["piece_id"]
    for caption in ("One.", "Two."):
        human.week("review", "edit", first, "--set", f"caption={caption}")
    hashes = [row["content_hash"] for row in human.week.ok("piece", "history", first)["revisions"]]
    assert len(hashes) == 3

    def pair(*argv: str) -> tuple[str, str]:
        shown = human.week.ok("piece", "diff", first, *argv)
        return shown["from"], shown["to"]

    assert pair() == (hashes[1], hashes[2])
    assert pair("--from", "1") == pair("--from", hashes[0][:12]) == (hashes[0], hashes[2])
    assert pair("--to", "2") == (hashes[0], hashes[1])
    assert pair("--to", hashes[0]) == ("", hashes[0])
    for old in hashes:
        for new in hashes:
            shown = human.week.ok("piece", "diff", first, "--from", old[:8], "--to", new.upper())
            assert (shown["from"], shown["to"], bool(shown["diff"])) == (old, new, old != new)
    assert human.week("piece", "diff", first, "--to", "9").code == 2


def test_keys_of_publications_are_never_cut_and_the_outbox_is_named(
    human: Human, monkeypatch: pytest.MonkeyPatch
) -> None:
    human.types("a", "a", "a")
    monkeypatch.setenv("COLUMNS", "40")
    out = human.week("publish", "due", "--until", WEEK).out
    assert f"outbox/ is in {human.week.data_dir}" in out
    status = human.week("publish", "status").out
    for row in human.week.ok("publish", "status"):
        assert any(row["pub_key"][:12] in line and row["status"] in line for line in status.splitlines())


def test_a_reason_in_any_script_is_taken_where_the_locale_is_c(week: Cli) -> None:
    done = subprocess.run(
        [*typed(week), "review"],
        input="r\ntöö steif שלום\n".encode() + b"r\n\xff\xfe\nq\n",
        capture_output=True,
        env=environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
    )
    assert (done.returncode, b"1 rejected; 2 still wait." in done.stdout) == (3, True), done.stdout
    assert done.stderr.count(b"is not UTF-8") == 1
    [rejected] = week.ok("piece", "list", "--state", "rejected")
    assert rejected["reason"].endswith(": töö steif שלום")


def test_what_was_shown_is_what_goes_out_byte_for_byte(human: Human) -> None:
    week = human.week
    odd = "Zeile  \n\n:fire: [b] e\u0301 👩‍👩‍👧‍👦 שלום Ｆ\u00a0x\n=== caption ===\nEnd"
    first = week.ok("review", "list")[0]["piece_id"]
    assert week("review", "edit", first, "--set", f"caption={odd}").code == 0
    shown = {row["piece_id"]: week.ok("review", "show", row["piece_id"]) for row in week.ok("review", "list")}
    assert shown[first]["post"]["caption"] == odd
    human.types("a", "a", "a")
    for sent in week.ok("publish", "due", "--until", WEEK):
        folder = week.data_dir / sent["url"]
        manifest = json.loads((folder / "manifest.json").read_bytes())
        seen = shown[sent["piece_id"]]
        assert (manifest["fields"], manifest["content_hash"]) == (seen["post"], seen["content_hash"])
        assert hashlib.sha256(Post.model_validate(seen["post"]).canonical()).hexdigest() == seen["content_hash"]
        assert seen["post"]["caption"].encode() in (folder / "post.txt").read_bytes()


def test_a_piece_that_a_new_plan_replaced_cannot_be_approved_any_more(human: Human) -> None:
    week = human.week
    old = week.ok("review", "list")
    assert week(*RUN, "--replan", "--platform", "facebook").code == 3
    for row in old:
        refused = week("review", "approve", f"{row['piece_id']}@{row['content_hash'][:12]}")
        assert (refused.code, "is cancelled: no human is asked" in refused.complaint) == (1, True)
    [new] = week.ok("review", "list")
    assert new["piece_id"] not in {row["piece_id"] for row in old}


def test_two_who_copy_a_piece_at_the_same_moment_make_two_pieces(human: Human) -> None:
    """The second found no copy either, and then lost the race for the number."""
    week = human.week
    first = week.ok("review", "list")[0]["piece_id"]

    async def taken() -> None:
        async with open_runtime(load_settings(data_dir=week.data_dir)) as runtime:
            records = runtime.records.for_brand("acme")
            piece = await records.get(Piece, id=first)
            key = f"{piece.platform_specs['slot']}|1"
            await records.create_once("copy", key, piece, token="somebody else's")

    asyncio.run(taken())
    before = {row["piece_id"] for row in week.ok("piece", "list", "--state", "waiting")}
    assert week("piece", "copy", first, "--detach").code in (0, 3)

    async def copies() -> list[int]:
        async with open_runtime(load_settings(data_dir=week.data_dir)) as runtime:
            sessions = await runtime.records.for_brand("acme").list_rows(Session)
            return sorted(int(row.request.get("copy", 0)) for row in sessions)

    assert before
    assert asyncio.run(copies()) == [0, 2]


def test_ctrl_c_at_the_question_keeps_what_was_decided(week: Cli) -> None:
    process = subprocess.Popen(
        [*typed(week), "review"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"a\n")
    process.stdin.flush()
    seen = b""
    while seen.count(b"[?] >") < 2:
        seen += process.stdout.read1()  # type: ignore[attr-defined]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (3, b"")
    assert b"1 approved; 2 still wait." in out
    assert [piece["state"] for piece in week.ok("piece", "list", "--state", "approved")] == ["approved"]


def test_an_interactive_pass_prints_no_json(week: Cli) -> None:
    result = week("review", "--json")
    assert (result.code, "review list --json" in result.complaint) == (2, True)


def test_the_page_shows_counts_sources_findings_and_what_changed(week: Cli) -> None:
    first = week.ok("piece", "list")[0]
    before = week.ok("review", "show", first["piece_id"])
    assert before["changed"] == []
    assert before["counts"][0].startswith("caption with hashtags")
    assert set(before["source_titles"]) == set(before["sources"]) != set()
    flag(week, first, "This room cures cancer.")
    after = week.ok("review", "show", first["piece_id"])
    assert "+caption: This room cures cancer." in after["changed"]
    assert f"-caption: {before['post']['caption'].splitlines()[0]}" in after["changed"]
    page = week("review", "show", first["piece_id"]).out
    for part in (
        "As instagram shows it",
        "The exact bytes:",
        "Sources:",
        "Changed since the revision before:",
        "cures",
    ):
        assert part in page


def test_a_source_that_was_revoked_since_is_named(week: Cli) -> None:
    first = week.ok("piece", "list")[0]
    assert week.ok("review", "show", first["piece_id"])["revoked_sources"] == []
    for source in week.ok("knowledge", "list"):
        week.ok("knowledge", "revoke", source["source"])
    shown = week.ok("review", "show", first["piece_id"])
    assert shown["revoked_sources"] == shown["sources"]
    assert "REVOKED" in week("review", "show", first["piece_id"]).out


LINES = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=30) | st.sampled_from(
    ["=== caption ===", "\\=== slides[0] ===", "# not a comment", "=== x", ""]
)
TEXTS = st.lists(LINES, max_size=4).map(lambda lines: "\n".join(lines).strip("\n").rstrip())
ITEMS = st.lists(TEXTS.filter(bool), max_size=3).map(tuple)


@given(TEXTS, TEXTS, ITEMS, ITEMS, ITEMS)
def test_a_post_comes_back_from_the_editor_as_it_went(
    title: str, caption: str, slides: tuple[str, ...], parts: tuple[str, ...], tags: tuple[str, ...]
) -> None:
    post = Post(
        platform="twitter",
        content_type="thread",
        title=title,
        caption=caption,
        slides=slides,
        parts=parts,
        hashtags=tags,
        media=("0" * 64,),
    )
    assert from_text(to_text(post), post) == post


def test_items_are_added_and_taken_with_their_lines() -> None:
    post = Post(platform="instagram", content_type="carousel", caption="c", slides=("one", "two"))
    text = to_text(post).replace("=== slides[0] ===\none\n", "") + "=== slides[9] ===\nnine\n"
    assert from_text(text, post).slides == ("two", "nine")
    with pytest.raises(BadInput, match="give it once"):
        from_text(to_text(post) + "=== caption ===\nagain", post)
    with pytest.raises(BadInput, match="stands before the first"):
        from_text("hello\n" + to_text(post), post)
    assert json.loads(from_text(to_text(post), post).canonical())["slides"] == ["one", "two"]
