"""Alt text and media prompts say what a post shows, also after a human has changed it."""

from __future__ import annotations

from memory.rows.content import Post
from tests.cli_support import Cli, cli, planned, quiet_process, week
from tools.alt_text import follow, old_alt_text

__all__ = ["cli", "planned", "quiet_process", "week"]  # fixtures

CARDS = Post(
    platform="instagram",
    content_type="carousel",
    slides=("Hot?", "Water at 80 degrees suits a green tea.", "Tea waits for nobody."),
    alt_text=(
        "Text card 1 of 3: Hot?",
        "Text card 2 of 3: Water at 80 degrees suits a green tea.",
        "A cup on a table. Hot? Perhaps.",
    ),
    media_prompts=(
        "Card 1 of 3, square. Words on it: Hot?.",
        "Card 2. Words on it: Water at 80 degrees suits a green tea.",
    ),
)


def changed(*slides: str, **fields: object) -> Post:
    return CARDS.model_copy(update={"slides": slides or CARDS.slides, **fields})


def test_what_quotes_the_old_words_quotes_the_new_ones_and_is_named() -> None:
    new, said = follow(CARDS, changed("How hot?", "Water at 70 degrees suits a green tea.", CARDS.slides[2]))
    assert said == ["alt_text[0]", "alt_text[1]", "media_prompts[0]", "media_prompts[1]"]
    assert new.alt_text[:2] == (
        "Text card 1 of 3: How hot?",
        "Text card 2 of 3: Water at 70 degrees suits a green tea.",
    )
    assert new.media_prompts[1] == "Card 2. Words on it: Water at 70 degrees suits a green tea."
    assert new.alt_text[2] == CARDS.alt_text[2], "a single word is only a quotation behind a colon"


def test_what_the_human_wrote_anew_is_left_alone() -> None:
    given = changed("How hot?", *CARDS.slides[1:], alt_text=("Hot? says the kettle", *CARDS.alt_text[1:]))
    assert follow(CARDS, given)[0].alt_text == given.alt_text
    assert follow(CARDS, changed(caption="New.")) == (changed(caption="New."), [])


def test_the_scenes_of_a_reel_are_followed_too() -> None:
    reel = Post(
        platform="instagram", content_type="reel", script="Hook: Hot, but how hot?\nScene 1: Wait.",
        alt_text=("Video cover: Hot, but how hot?",),
    )  # fmt: skip
    new, said = follow(reel, reel.model_copy(update={"script": "Hook: How warm is warm?\nScene 1: Wait."}))
    assert (new.alt_text, said) == (("Video cover: How warm is warm?",), ["alt_text[0]"])


def test_alt_text_that_cannot_follow_may_be_old_until_somebody_writes_it_again() -> None:
    third = changed(*CARDS.slides[:2], "Tea waits.")
    assert [(f.rule, f.field, f.severity) for f in old_alt_text(third, [CARDS])] == [
        ("ALT-OLD", "alt_text[2]", "preferred")
    ]
    later = third.model_copy(update={"caption": "Another caption."})
    assert len(old_alt_text(later, [CARDS, third])) == 1, "another edit does not make it newer"
    mended = third.model_copy(update={"alt_text": (*CARDS.alt_text[:2], "A cup alone.")})
    assert old_alt_text(mended, [CARDS, third]) == []
    assert old_alt_text(CARDS, [CARDS]) == []
    assert [f.field for f in old_alt_text(changed("One", "Two"), [CARDS])] == ["alt_text[0]"]


def test_an_edit_tells_which_entries_it_changed_along_and_warns_of_those_that_may_be_old(week: Cli) -> None:
    piece = next(row for row in week.ok("review", "list") if row["content_type"] == "carousel")["piece_id"]
    post = week.ok("review", "show", piece)["post"]
    result = week("review", "edit", piece, "--set", "slides[1]=A glass of water stands on the desk.")
    assert "alt_text[1], media_prompts[1]: the old words were replaced by the new ones" in result.out
    shown = week.ok("review", "show", piece)
    assert shown["post"]["alt_text"][1] == f"Text card 2 of {len(post['slides'])}: A glass of water stands on the desk."
    assert not any(finding["rule"] == "ALT-OLD" for finding in shown["findings"])
    week.ok("review", "edit", piece, "--set", "alt_text[1]=A glass.")
    answer = week.ok("review", "edit", piece, "--set", "slides[1]=A jug of water stands on the desk.")
    assert answer["followed"] == ["media_prompts[1]"]
    shown = week.ok("review", "show", piece)
    assert [finding["field"] for finding in shown["findings"] if finding["rule"] == "ALT-OLD"] == ["alt_text[1]"]
