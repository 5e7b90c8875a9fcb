"""What platforms take, and how each of them counts."""

import json
from pathlib import Path

import pytest

from config import platforms
from config.addresses import find_addresses
from config.errors import BadInput, DuplicateName
from config.platforms import (
    Limits,
    find_hashtags,
    find_urls,
    length,
    limits,
    outgoing_caption,
    possible,
    possible_types,
    register_limits,
    weighted_length,
)
from config.vocabulary import CONTENT_TYPES, PLATFORMS, Severity
from memory.rows.content import Post
from tools.checks.limits import check_limits, missing_fields

DATA = Path(__file__).parent / "data" / "twitter_weighted_length.json"
ADDRESSES = json.loads((DATA.parent / "twitter_addresses.json").read_text("utf-8"))["cases"]
CONFORMANCE = json.loads(DATA.read_text("utf-8"))["cases"]


@pytest.mark.parametrize("case", CONFORMANCE, ids=lambda case: case["description"][:50])
def test_weighted_length_agrees_with_the_conformance_suite_of_twitter_text(case: dict) -> None:
    assert weighted_length(case["text"]) == case["weighted_length"]


def test_addresses_are_those_that_the_conformance_suite_of_twitter_text_finds() -> None:
    assert len(ADDRESSES) > 90
    for case in ADDRESSES:
        found = [case["text"][start:end] for start, end in find_addresses(case["text"])]
        assert found == case["addresses"], case["description"]


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("https://example.com/aです", 23 + 4),
        ("example.comです", 23 + 4),
        ("see example.clinic and t.yoga", 4 + 23 + 5 + 23),
        ("no space.Twice and none.zz", 26),
        ("write to me@example.com", 23),
        ("© 2026 Acme®", 12),
        ("©️ 2026", 7),
        ("🇩🇪👩‍👩‍👧‍👦👍🏽1️⃣", 8),
        ("e\u0301", 1),
        ("Ａ", 2),
        ("https://example.com/" + "ü" * 300, 23),
    ],
)
def test_x_weighs_what_it_makes_an_address_of_and_no_more(text: str, weight: int) -> None:
    assert weighted_length(text) == weight


def test_the_caption_holds_each_hashtag_once_in_any_script() -> None:
    for tag in ("#हिन्दी", "#สวัสดี", "#Grüße", "#GRU\u0308N", "#日本", "#2ndDay", "#a_b"):
        assert find_hashtags(f"Now {tag}, and on.") == [tag]
        assert outgoing_caption(f"Now {tag}.", [tag]) == f"Now {tag}."
    assert outgoing_caption("In #Straße.", ["#STRASSE", "#light"]) == "In #Straße.\n\n#light"
    assert outgoing_caption("In #lightroom.", ["#light"]) == "In #lightroom.\n\n#light"
    assert outgoing_caption("In.", ["#sea", "#light", "#Sea", "calm"]) == "In.\n\n#sea #light #calm"
    assert find_hashtags("a#b c ##d") == ["#d"]


EDGES = [
    ("instagram", "quote", "x", 2200),
    ("tiktok", "reel", "😀", 1100),
    ("tiktok", "carousel", "😀", 2000),
    ("youtube", "reel", "字", 1666),
    ("facebook", "quote", "字", 63206),
    ("twitter", "quote", "字", 140),
    ("twitter", "quote", "👩‍👩‍👧‍👦", 140),
    ("twitter", "quote", "🇩🇪", 140),
    ("twitter", "quote", "x", 280),
]


@pytest.mark.parametrize(("platform", "content_type", "char", "most"), EDGES)
def test_each_platform_takes_its_last_character_and_not_one_more(
    platform: str, content_type: str, char: str, most: int
) -> None:
    def found(text: str) -> list[str]:
        script = "A scene." if content_type == "reel" else ""
        slides = ("One.", "Two.") if content_type == "carousel" else ("One.",)
        post = Post(platform=platform, content_type=content_type, caption=text, title="T", script=script, slides=slides)
        return [finding.rule for finding in check_limits(post) if finding.rule != "LIMIT-SLIDES"]

    assert found(char * most) == []
    assert found(char * (most + 1)) == ["LIMIT-CAPTION"]


def test_x_takes_a_post_whose_address_ends_it_exactly() -> None:
    for address in ("https://example.com/" + "x" * 300, "example.com", "example.clinic/x"):
        head = "x" * (280 - 23 - 1)
        post = a_post(platform="twitter", content_type="quote", script="", caption=f"{head} {address}")
        assert rules(post) == []
        assert rules(post.model_copy(update={"caption": f"y{post.caption}"})) == ["LIMIT-CAPTION"]


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


@pytest.mark.parametrize("tag", ["#शांति", "#ความสงบ", "#Ruhezeit", "#größe"])
def test_a_hashtag_may_be_in_any_script(tag: str) -> None:
    assert rules(a_post(hashtags=(tag,))) == []


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
