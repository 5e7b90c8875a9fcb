"""What platforms take, and how each of them counts."""

import json
from pathlib import Path

import pytest

from config import platforms
from config.errors import BadInput, DuplicateName
from config.platforms import (
    Limits,
    find_urls,
    length,
    limits,
    possible,
    possible_types,
    register_limits,
    weighted_length,
)
from config.vocabulary import CONTENT_TYPES, PLATFORMS, Severity
from memory.rows.content import Post
from tools.checks.limits import check_limits, missing_fields

DATA = Path(__file__).parent / "data" / "twitter_weighted_length.json"
CONFORMANCE = json.loads(DATA.read_text("utf-8"))["cases"]


@pytest.mark.parametrize("case", CONFORMANCE, ids=lambda case: case["description"][:50])
def test_weighted_length_agrees_with_the_conformance_suite_of_twitter_text(case: dict) -> None:
    assert weighted_length(case["text"]) == case["weighted_length"]


def test_the_impossible_cells_are_refused_and_the_refusal_names_the_possible_ones() -> None:
    impossible = {(p, t) for p in PLATFORMS for t in CONTENT_TYPES if not possible(p, t)}
    assert impossible == {
        *(("youtube", t) for t in ("story", "carousel", "quote", "thread")),
        *(("tiktok", t) for t in ("story", "thread")),
        ("instagram", "thread"),
        ("facebook", "thread"),
        ("twitter", "story"),
    }
    with pytest.raises(BadInput, match="youtube has no thread: it takes reel"):
        limits("youtube", "thread")
    with pytest.raises(BadInput, match="did you mean 'tiktok'"):
        limits("tiktik", "reel")


def test_every_limit_is_dated_and_sourced() -> None:
    for platform in PLATFORMS:
        for content_type in possible_types(platform):
            cell = limits(platform, content_type)
            assert cell.source
            assert cell.checked.year >= 2026


def test_each_platform_counts_its_own_way() -> None:
    text = "né 👩‍🚀"
    assert length(text, "chars") == 6
    assert length(text, "bytes") == len(text.encode())
    assert length(text, "utf16") == 8  # two surrogate pairs and a joiner
    assert length(text, "weighted") == 5


def test_an_address_weighs_23_however_long_and_a_full_stop_behind_it_is_not_part_of_it() -> None:
    assert weighted_length("https://example.com/" + "x" * 200) == 23
    assert weighted_length("see example.com/a.") == len("see ") + 23 + 1
    assert find_urls("see https://example.com/a, or example.org.") == ["https://example.com/a", "example.org"]


def rules(post: Post) -> list[str]:
    assert all(
        finding.severity is Severity.CRITICAL and finding.check_type == "limits" for finding in check_limits(post)
    )
    return [finding.rule for finding in check_limits(post)]


def a_post(**fields: object) -> Post:
    return Post.model_validate(
        {"platform": "instagram", "content_type": "reel", "caption": "A caption.", "script": "A scene.", **fields}
    )


def test_a_post_at_the_limit_passes_and_one_over_it_does_not() -> None:
    assert rules(a_post(caption="x" * 2200)) == []
    assert rules(a_post(caption="x" * 2201)) == ["LIMIT-CAPTION"]


def test_hashtags_count_against_the_caption_because_they_go_out_with_it() -> None:
    assert rules(a_post(caption="x" * 2195, hashtags=("#one",))) == ["LIMIT-CAPTION"]
    assert rules(a_post(caption="x" * 2190 + " #one", hashtags=("#one",))) == []


def test_x_counts_each_part_of_a_thread_by_weight() -> None:
    parts = ("1/2 " + "字" * 138, "2/2 " + "字" * 139)
    found = check_limits(a_post(platform="twitter", content_type="thread", caption="", parts=parts))
    assert [(finding.rule, finding.field) for finding in found] == [("LIMIT-PART", "parts[1]")]
    assert "282 weighted characters" in found[0].suggestion


def test_youtube_counts_bytes_wants_a_title_and_refuses_angle_brackets() -> None:
    assert rules(a_post(platform="youtube", title="T", caption="é" * 2500)) == []
    assert rules(a_post(platform="youtube", title="T", caption="é" * 2501)) == ["LIMIT-CAPTION"]
    assert rules(a_post(platform="youtube")) == ["LIMIT-TITLE"]
    found = check_limits(a_post(platform="youtube", title="a > b"))
    assert [(f.rule, f.field, f.start, f.end, f.quote) for f in found] == [("LIMIT-CHARS", "title", 2, 3, ">")]


def test_tiktok_counts_utf16_units() -> None:
    assert rules(a_post(platform="tiktok", caption="😀" * 1100)) == []
    assert rules(a_post(platform="tiktok", caption="😀" * 1101)) == ["LIMIT-CAPTION"]


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"content_type": "thread", "caption": "", "parts": ("a", "b")}, "LIMIT-CELL"),
        ({"script": ""}, "LIMIT-EMPTY"),
        ({"content_type": "story"}, "LIMIT-EMPTY"),
        ({"content_type": "quote"}, "LIMIT-EMPTY"),
        ({"content_type": "quote", "slides": (" ",)}, "LIMIT-EMPTY"),
        ({"platform": "twitter", "content_type": "quote", "caption": ""}, "LIMIT-EMPTY"),
        ({"platform": "twitter", "content_type": "thread", "caption": "Words."}, "LIMIT-EMPTY"),
        ({"content_type": "carousel"}, "LIMIT-EMPTY"),
        ({"content_type": "carousel", "slides": ("one",)}, "LIMIT-SLIDES"),
        ({"content_type": "carousel", "slides": ("s",) * 11}, "LIMIT-SLIDES"),
        ({"hashtags": tuple(f"#t{n}" for n in range(6))}, "LIMIT-HASHTAGS"),
        ({"hashtags": ("#two words",)}, "LIMIT-HASHTAG-FORM"),
        ({"hashtags": ("#2026",)}, "LIMIT-HASHTAG-FORM"),
        ({"caption": " ".join(f"@user{n}" for n in range(21))}, "LIMIT-MENTIONS"),
        ({"alt_text": ("x" * 1001,)}, "LIMIT-ALT"),
        ({"parts": ("a reel has no parts",)}, "LIMIT-PARTS"),
        ({"platform": "twitter", "content_type": "thread", "caption": "", "parts": ("1/2 a", " ")}, "LIMIT-PART"),
    ],
)
def test_what_a_platform_would_refuse_is_found(fields: dict, rule: str) -> None:
    assert rules(a_post(**fields)) == [rule]


def test_media_stand_for_what_was_never_written_and_text_alone_goes_where_it_can() -> None:
    media = ("ab" * 32,)
    for content_type in ("reel", "story", "carousel", "quote"):
        assert rules(a_post(content_type=content_type, script="", media=media)) == []
    assert rules(a_post(platform="facebook", content_type="quote")) == []


def test_what_a_human_must_fill_in_is_named() -> None:
    assert missing_fields(a_post()) == []
    assert missing_fields(a_post(script="", caption="")) == ["script", "caption"]
    assert missing_fields(a_post(platform="youtube", script="")) == ["script", "title"]
    assert missing_fields(a_post(platform="twitter", content_type="thread", caption="")) == ["parts"]
    [found] = check_limits(a_post(script="", caption=""))
    assert (found.field, "script or media" in found.suggestion) == ("script", True)


def test_a_plug_in_adds_a_platform_and_cannot_replace_one_of_ours() -> None:
    cell = Limits(form="text", source="test", checked="2026-11-20", caption=10, unit="chars")
    try:
        register_limits("test-platform", {"quote": cell})
        assert possible("test-platform", "quote")
        assert not possible("test-platform", "reel")
        with pytest.raises(DuplicateName, match="'instagram'"):
            register_limits("instagram", {"quote": cell})
    finally:
        platforms._tables.cache_clear()
