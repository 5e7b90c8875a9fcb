"""What `review show` draws of a post."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from config.clock import ManualClock
from config.platforms import outgoing_caption, possible_types
from config.vocabulary import PLATFORMS
from memory.rows.checks import ComplianceCheck, Finding
from memory.rows.content import Piece, Post, Revision
from runtime.commands.piece_texts import with_words
from runtime.commands.review_view import View, as_json, draw_view, edit_words, marked
from tests.fakes.publishing import a_parcel
from tools.publish.outbox_files import pasted, render


def a_view(
    post: Post, *, found: Sequence[tuple[str, int, int, str]] = (), before: Post | None = None, **of: Any
) -> View:
    """A piece that holds this post; `found` as (field, start, end, severity)."""
    now = ManualClock().now()
    shared: dict[str, Any] = {"brand": "acme", "content_hash": post.content_hash, "created_at": now}
    piece = Piece(
        id="p1", platform=post.platform, content_type=post.content_type, session_id="s1", updated_at=now, **shared
    )
    texts = dict(post.fields())
    findings = tuple(
        Finding(rule="R", check_type="c", severity=severity, field=field, start=a, end=b, quote=texts[field][a:b])
        for field, a, b, severity in found
    )
    check = ComplianceCheck(
        content_id="p1", id="c", check_type="c", check_result="warning", findings=findings, **shared
    )
    old = {**shared, "content_hash": before.content_hash} if before else {}
    revision = Revision(content_id="p1", post=post, author="creation", **{**shared, **of})
    was = Revision(content_id="p1", post=before, author="creation", **old) if before else None
    return View(piece, revision, [check], {}, {}, was)


def drawn(post: Post, *, width: int = 100, **more: Any) -> str:
    """The page about a piece that holds this post."""
    out = io.StringIO()
    draw_view(Console(file=out, width=width), a_view(post, **more))
    return out.getvalue()


def a_quote(caption: str, **fields: Any) -> Post:
    return Post(platform="instagram", content_type="quote", caption=caption, **fields)


def test_a_part_that_holds_its_number_is_shown_with_one_number() -> None:
    preview = drawn(Post(platform="twitter", content_type="thread", parts=("1/2 Hot?", "2/2 Warm.")))
    preview = preview.partition("The exact bytes")[0]
    assert preview.count("1/2") == preview.count("2/2") == 1


def test_the_next_step_of_a_gap_names_the_fields_that_are_missing() -> None:
    reel = Post(platform="instagram", content_type="reel")
    assert edit_words("p1", reel) == "review edit p1 --set script=TEXT --set caption=TEXT"
    assert edit_words("p1", reel.model_copy(update={"script": "A scene."})) == "review edit p1 --set caption=TEXT"


def test_a_part_without_a_number_is_shown_under_its_own() -> None:
    preview = drawn(Post(platform="twitter", content_type="thread", parts=("Hot?", "Warm."))).partition("The exact")[0]
    assert "1/2 Hot?" in preview
    assert "2/2 Warm." in preview


@pytest.mark.parametrize(
    "caption",
    [
        "a line that ends in spaces   \nand one that is far longer than the terminal is wide " + "word " * 30 + ".",
        "字" * 90 + " Ａ full-width 👩‍👩‍👧‍👦 family, " * 4 + "e\u0301",
        ":fire: [bold]not bold[/bold] [red] \\[x] :smiley:",
        "שלום עולם and مرحبا " * 6,
    ],
)
def test_exact_bytes_are_not_folded_drawn_or_dressed(caption: str) -> None:
    page = drawn(a_quote(caption), width=40)
    assert f"\ncaption: {caption}\n" in page.partition("The exact bytes:")[2]


def test_what_would_steer_a_terminal_is_shown_and_not_obeyed() -> None:
    page = drawn(a_quote("red \x1b[31m, back \u202e, line\r, tab\t."))
    assert "red \\x1b[31m, back \\x202e, line\\x0d, tab\\x09." in page


def test_findings_are_marked_where_they_stand_the_worst_on_top() -> None:
    """By character, also behind emoji, letters with accents and full-width ones; where two lie over each other both are told."""
    text = "👩‍👩‍👧‍👦 Ｆｕｌｌ e\u0301t cures cancer fast"
    at = text.index("cures")
    found = [
        ("caption", at, at + 12, "important"),
        ("caption", at + 6, at + 17, "critical"),
        ("caption", 0, 7, "preferred"),
        ("hashtags[0]", 0, 5, "preferred"),
        ("alt_text[0]", 2, 6, "important"),
    ]
    view = a_view(a_quote(text, hashtags=("#heal",), alt_text=("A cure",)), found=found)

    def spans(field: str) -> list[tuple[str, str]]:
        shown = marked(view, field)
        return [(shown.plain[span.start : span.end], str(span.style)) for span in shown.spans]

    assert spans("caption") == [
        ("👩‍👩‍👧‍👦", "reverse yellow"), ("cures ", "reverse yellow"), ("cancer fast", "reverse red"),
    ]  # fmt: skip
    assert spans("hashtags[0]") == [("#heal", "reverse yellow")]
    assert spans("alt_text[0]") == [("cure", "reverse yellow")]
    page = drawn(view.revision.post, found=found)
    assert f"critical R in caption[{at + 6}:{at + 17}] 'cancer fast'" in page
    assert page.count(" R in ") == len(found)


def test_what_changed_is_the_words_themselves() -> None:
    before = a_quote("Meet at ten :fire: today.\n--- a line of dashes", slides=("One.",))
    after = a_quote("Meet at noon :fire: today.\n+++ a line of dashes", slides=("One.", "Two."))
    view = a_view(after, before=before)
    assert view.changes() == [
        "-caption: Meet at ten :fire: today.",
        "-caption: --- a line of dashes",
        "+caption: Meet at noon :fire: today.",
        "+caption: +++ a line of dashes",
        "+slides[1]: Two.",
    ]
    told = {line: [line[a:b] for a, b in spans] for line, spans in with_words(view.changes())}
    assert told["-caption: Meet at ten :fire: today."] == ["ten"]
    assert told["+caption: Meet at noon :fire: today."] == ["noon"]
    assert told["+slides[1]: Two."] == []
    page = drawn(after, before=before, width=30)
    assert all(f"\n  {line}\n" in page for line in view.changes())


def test_sources_and_reasons_are_printed_as_they_are() -> None:
    page = drawn(a_quote("A."), sources=("k1",), citations={"Tea :tea: is [hot].": "k1"})
    assert '"Tea :tea: is [hot]."' in page


def test_of_a_text_that_says_something_else_no_word_is_singled_out() -> None:
    lines = ["-caption: Morning light helps.", "+caption: Nobody knows what came over them, really."]
    assert [spans for _, spans in with_words(lines)] == [[], []]


NASTY = "Zeile eins  \n\n=== caption ===\n# 1/2 :fire: [b]é e\u0301 👩‍👩‍👧‍👦 שלום Ｆｕｌｌ\u00a0x < > & \\n"
CELLS = [(platform, kind) for platform in PLATFORMS for kind in possible_types(platform)]


@pytest.mark.parametrize(("platform", "content_type"), CELLS)
def test_what_a_human_is_shown_is_what_the_outbox_lays_out_byte_for_byte(platform: str, content_type: str) -> None:
    texts = tuple(f"{n} {NASTY}{n}" for n in range(3))
    post = Post(
        platform=platform,
        content_type=content_type,
        title=f"T {NASTY}t",
        caption="" if content_type == "thread" else f"{NASTY} #Calm c",
        script=f"S {NASTY}s",
        first_comment=f"F {NASTY}f",
        slides=texts,
        parts=texts if content_type == "thread" else (),
        on_screen_text=texts,
        hashtags=("#calm", "#हिन्दी", "#sea"),
        alt_text=texts,
        media_prompts=texts,
        media=("ab" * 32,),
    )
    files = render(a_parcel(post))
    manifest = json.loads(files["manifest.json"])
    shown = as_json(a_view(post))
    assert shown["post"] == manifest["fields"]
    assert Post.model_validate(manifest["fields"]).canonical() == post.canonical()
    assert shown["content_hash"] == Post.model_validate(manifest["fields"]).content_hash
    page = drawn(post, width=50).partition("The exact bytes:")[2]
    for field, text in post.fields():
        assert f"\n{field}: {text}\n" in page
    pasted_file = files["post.txt"].decode()
    for text in post.parts or (outgoing_caption(post.caption, post.hashtags),):
        assert text in pasted_file
    assert pasted_file.count("#Calm") + pasted_file.count("#calm") == (0 if post.parts else 1)


@pytest.mark.parametrize(("platform", "content_type"), CELLS)
def test_the_preview_shows_the_words_that_are_pasted_and_no_others(platform: str, content_type: str) -> None:
    thread = content_type == "thread"
    post = Post(
        platform=platform,
        content_type=content_type,
        title="A title",
        caption="" if thread else "One #calm line.",
        parts=("1/2 One.", "2/2 Two.") if thread else (),
        hashtags=("#calm", "#sea"),
    )
    panel = drawn(post, width=300).partition("The exact bytes")[0].partition("╭")[2]
    seen = " ".join("".join(char if char not in "│╭╮╰╯─" else " " for char in panel).split())
    said = " ".join(pasted(post).split())
    own_title = platform == "tiktok" and content_type != "reel"  # a field of its own there, beside what is pasted
    assert seen == f"{platform} {content_type} {'A title ' if own_title else ''}{said}"


def test_a_caption_is_dimmed_from_where_the_feed_says_more() -> None:
    def before(caption: str, *tags: str) -> str:
        """What stands before `more`; all of it where nothing says so."""
        page = drawn(a_quote(caption, hashtags=tags), width=400).partition("The exact bytes")[0].partition("╮")[2]
        return " ".join(page.partition("╰")[0].partition("… more")[0].replace("│", " ").split())

    assert before("x" * 125) == "x" * 125
    assert before("x" * 125 + "y" * 50) == "x" * 125
    assert before("one\ntwo\nthree\nfour") == "one two three"
    assert before("one", "#sea") == "one #sea"
    assert before("x" * 120, "#sea", "#calm") == "x" * 120 + " #se"
    assert before("👩‍👩‍👧‍👦" * 30, "#sea") == "👩‍👩‍👧‍👦" * 17
    assert before("e\u0301" * 80) == "e\u0301" * 62
    assert (
        "more"
        not in drawn(Post(platform="facebook", content_type="quote", caption="x" * 900)).partition("The exact")[0]
    )


def test_what_a_check_says_beside_its_findings_is_shown_too() -> None:
    view = a_view(a_quote("One two."), found=[("caption", 0, 3, "important")])
    [check] = view.checks
    finding = check.findings[0].model_copy(update={"suggestion": "Say it; plainly."})
    lost = "1 concerns of the model quote nothing that stands in the post: no disclosure"
    told = check.model_copy(update={"findings": (finding,), "recommendations": f"Say it; plainly.; {lost}"})
    out = io.StringIO()
    draw_view(Console(file=out, width=300), View(view.piece, view.revision, [told], {}, {}, None))
    assert f"c: warning (1 found; {lost})" in out.getvalue()
    alone = told.model_copy(update={"recommendations": "Say it; plainly."})
    out = io.StringIO()
    draw_view(Console(file=out, width=300), View(view.piece, view.revision, [alone], {}, {}, None))
    assert "c: warning (1 found)\n" in out.getvalue()
