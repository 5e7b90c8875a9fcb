"""What the linter promises: where findings point, how they fold, what clears them, what hides nothing."""

from __future__ import annotations

import json
import time

import pytest

from config.brand_profile import BrandProfile, Claim, Guideline
from config.errors import BadInput, DuplicateName, NotFound
from config.vocabulary import CHECK_TYPES, CheckResult, Severity
from memory.rows.checks import Finding
from memory.rows.content import Post
from tools.checks import engine
from tools.checks.engine import PACKS, explain, fold, lint_bytes, lint_file, lint_post, lint_text, register_check
from tools.checks.near_duplicate import near_duplicates, similarity

US = ("us", "platform")


def a_profile(**values: object) -> BrandProfile:
    return BrandProfile.model_validate({"name": "ours", "title": "Ours", **values})


def result(text: str, **options: object) -> CheckResult:
    return fold(lint_text(text, packs=US, **options))  # type: ignore[arg-type]


def a_finding(severity: Severity) -> Finding:
    return Finding(rule="R", check_type="medical_claim", severity=severity, field="text", start=0, end=1, quote="x")


@pytest.mark.parametrize(
    ("severities", "expected"),
    [
        ((), CheckResult.PASSED),
        ((Severity.PREFERRED,), CheckResult.WARNING),
        ((Severity.PREFERRED, Severity.IMPORTANT), CheckResult.MANUAL_REVIEW),
        ((Severity.IMPORTANT, Severity.CRITICAL, Severity.PREFERRED), CheckResult.FAILED),
    ],
)
def test_the_gravest_finding_decides_the_result(severities: tuple[Severity, ...], expected: CheckResult) -> None:
    assert fold([a_finding(severity) for severity in severities]) is expected


@pytest.mark.parametrize(
    "text",
    [
        "Try this: it treats arthritis.",
        "“Try this”… it treats arthritis.",
        "😀🏽 café — it treats arthritis",
        "it tr\u200beats arth\u00adritis",
        "it ｔｒｅａｔｓ ａｒｔｈｒｉｔｉｓ",
        "it trеats аrthritis",
        "it t.r.e.a.t.s arthr1tis",
        "ﬁnally it 𝐭𝐫𝐞𝐚𝐭𝐬 𝒂𝒓𝒕𝒉𝒓𝒊𝒕𝒊𝒔",
        "it treats @rthritis",
        "it treats arthr*tis",
    ],
)
def test_a_finding_points_at_the_written_characters_whatever_disguises_them(text: str) -> None:
    finding = next(f for f in lint_text(text, packs=US) if f.rule == "US-DISEASE-EFFECT")
    assert finding.quote == text[finding.start : finding.end]
    assert finding.start >= text.index("it") + 3
    assert finding.end >= len(text) - 1


@pytest.mark.parametrize(
    "text",
    [
        "This is not intended to diagnose, treat, cure, or prevent arthritis.",
        "Our sessions never treat arthritis.",
        "We don't cure cancer.",
        "It treats no arthritis at all.",
        "If you have arthritis, ask your doctor first.",
        "Regular exercise lowers blood pressure.",
        "Helps maintain cholesterol that is in a normal range.",
        "Relieves occasional heartburn.",
        "Join the arthritis awareness walk.",
        "We procured a secure, obscure manicure.",
        "cold brew and a window treatment",
    ],
)
def test_what_stands_around_a_word_can_make_it_harmless(text: str) -> None:
    assert result(text) in (CheckResult.PASSED, CheckResult.WARNING)


@pytest.mark.parametrize(
    "text",
    [
        "This is not intended to treat any disease. It cures arthritis.",
        "Not only treats arthritis.",
        "Nothing treats arthritis better.",
        "No more arthritis!",
        "Never suffer from arthritis again.",
        "There was no cure for arthritis until now.",
        "No needles, no pills, it simply cures arthritis",
        "Our diet tea prevents diabetes.",
        "Lowers blood pressure into the normal range.",
        "Occasional use cures arthritis.",
        "May help prevent arthritis, studies say.",
        "#arthritisrelief",
        "#NoMoreArthritis #calm",
        "calm evening #BeatCancer",
        "ARTHRITIS CURED",
        "Arthritis\nrelief for all",
    ],
)
def test_what_only_looks_harmless_is_flagged(text: str) -> None:
    assert result(text) in (CheckResult.MANUAL_REVIEW, CheckResult.FAILED)


def test_a_hashtag_field_is_read_without_its_hash_sign() -> None:
    findings = lint_text("anxietyrelief", field="hashtags[0]", packs=US)
    assert [(f.rule, f.quote) for f in findings] == [("US-DISEASE-EFFECT", "anxietyrelief")]


@pytest.mark.parametrize(
    "text",
    [
        "Heilt Krebs und Diabetes, die Ärzte sind nicht froh mit der Kur",
        "Лечит рак и диабет без лекарств",
        "Unsere Werkstatt heilt Schlaflosigkeit und Depressionen.",
        "Töpfern heilt Rückenschmerzen.",
        "Guérit le cancer",
        "Un té que cura la diabetes",
    ],
)
def test_text_in_another_language_goes_to_a_human(text: str) -> None:
    assert any(f.rule == "US-LANGUAGE" for f in lint_text(text, packs=US))


@pytest.mark.parametrize(
    "text",
    [
        "Crème brûlée at noon",
        "La La Land tonight",
        "Friends met, plants die",
        "Naïve café décor",
        "Las Vegas, Los Angeles",
    ],
)
def test_names_and_borrowed_words_are_no_other_language(text: str) -> None:
    assert not any(f.rule == "US-LANGUAGE" for f in lint_text(text, packs=US))


def test_every_outgoing_field_is_scanned() -> None:
    post = Post(
        platform="instagram",
        content_type="carousel",
        **{name: "cures asthma" for name in ("title", "caption", "script", "first_comment")},
        **{
            name: ("calm", "cures asthma")
            for name in ("slides", "parts", "on_screen_text", "hashtags", "alt_text", "media_prompts")
        },
    )
    hit = {f.field for f in lint_post(post, profile=None, packs=US)}
    assert hit == {name for name, text in post.fields() if text != "calm"}
    assert len(hit) == 10


def test_a_disclosure_that_comes_too_late_does_not_count() -> None:
    early = "#ad thanks @matco for sending me the mat. " + "We like it a lot. " * 9
    late = "thanks @matco for sending me the mat. " + "We like it a lot. " * 9 + "#ad"
    assert result(early) is CheckResult.PASSED
    assert result(late) is CheckResult.MANUAL_REVIEW


def test_a_disclosure_in_the_caption_counts_for_the_hashtags_and_one_among_many_hashtags_does_not() -> None:
    for caption, expected in (
        ("#ad A lamp that we like.", []),
        ("A lamp that we like. " * 8, ["US-ENDORSEMENT-VAGUE"]),
    ):
        post = Post(platform="instagram", content_type="quote", caption=caption, hashtags=("#lamp", "#partner", "#ad"))
        assert [f.rule for f in lint_post(post, profile=None, packs=US)] == expected


def test_an_approved_claim_clears_what_lies_inside_its_whole_text() -> None:
    claim = Claim(text="A natural anti-inflammatory diet plan.", markets=("us",))
    ours = a_profile(claims=[claim])
    assert result("Try it: a natural  anti‑inflammatory diet plan!", profile=ours) is CheckResult.PASSED
    assert result("A natural anti-inflammatory diet.", profile=ours) is CheckResult.MANUAL_REVIEW
    assert result("A natural anti-inflammatory diet plan, also antiviral.", profile=ours) is CheckResult.MANUAL_REVIEW


def test_an_approved_claim_holds_in_its_markets_alone() -> None:
    ours = a_profile(claims=[Claim(text="anti-inflammatory diet plan", markets=("uk",))])
    assert result("anti-inflammatory diet plan", profile=ours) is CheckResult.MANUAL_REVIEW


def test_an_approved_claim_never_clears_a_critical_finding() -> None:
    ours = a_profile(claims=[Claim(text="our tea cures arthritis", markets=("us",))])
    assert result("our tea cures arthritis", profile=ours) is CheckResult.FAILED


def test_a_claim_that_is_not_approved_clears_nothing() -> None:
    ours = a_profile(claims=[Claim(text="anti-inflammatory diet plan", status="needs_review")])
    assert result("anti-inflammatory diet plan", profile=ours) is CheckResult.MANUAL_REVIEW


def test_a_claim_that_nobody_decided_on_goes_to_a_human_who_reads_which_one() -> None:
    ours = a_profile(claims=[Claim(text="recharge your cells", status="needs_review")])
    [found] = lint_text("Come and recharge your cells.", profile=ours, packs=())
    assert (found.rule, found.severity, found.quote) == (
        "BRAND-UNDECIDED-CLAIM", Severity.IMPORTANT, "recharge your cells",
    )  # fmt: skip
    assert "'recharge your cells'" in found.suggestion
    assert explain(found.rule).severity is Severity.IMPORTANT


def test_a_blocked_claim_is_critical_however_it_is_written() -> None:
    ours = a_profile(claims=[Claim(text="recharge your cells", status="blocked")])
    findings = lint_text("Come and Recharge  YOUR cells.", profile=ours, packs=US, check_types=["brand_voice"])
    assert [(f.rule, f.severity, f.quote) for f in findings] == [
        ("BRAND-BLOCKED-CLAIM", Severity.CRITICAL, "Recharge  YOUR cells")
    ]


def test_restricted_words_are_found_whole_at_the_guideline_s_severity() -> None:
    ours = a_profile(guidelines=[Guideline(type="voice", title="Plain", restrictions=("grind",), severity="important")])
    assert result("The daily grind.", profile=ours) is CheckResult.MANUAL_REVIEW
    assert result("The miller is grinding flour.", profile=ours) is CheckResult.PASSED
    visual = a_profile(guidelines=[Guideline(type="visual", title="Plain", restrictions=("grind",))])
    assert result("The daily grind.", profile=visual) is CheckResult.PASSED


def test_a_guideline_for_one_platform_leaves_the_others_alone() -> None:
    ours = a_profile(
        guidelines=[Guideline(type="messaging", title="Plain", restrictions=("grind",), platforms=("tiktok",))]
    )
    for platform, count in (("tiktok", 1), ("instagram", 0)):
        post = Post(platform=platform, content_type="reel", caption="The daily grind.")
        assert len(lint_post(post, profile=ours, packs=US)) == count


def test_loudness_is_a_warning() -> None:
    ours = a_profile()
    for text in ("Come in!!!", "COME INTO THIS CALM ROOM WITH FRIENDS", "calm 😀😀😀😀😀"):
        assert result(text, profile=ours) is CheckResult.WARNING


def test_the_reading_grade_that_a_guideline_names_is_measured() -> None:
    ours = a_profile(guidelines=[Guideline(type="voice", title="Plain", requirements=("Reading grade at most 9",))])
    hard = " ".join(["Institutional considerations necessitate comprehensive organisational deliberation"] * 6) + "."
    easy = "Sit down. Let it go. Look at the sky. " * 5
    assert [f.rule for f in lint_text(hard, profile=ours, packs=US)] == ["BRAND-READING-GRADE"]
    assert lint_text(easy, profile=ours, packs=US) == []


def test_only_the_named_check_types_run() -> None:
    text = "cures asthma, FDA approved"
    assert {f.check_type for f in lint_text(text, packs=US)} == {"medical_claim", "legal_review"}
    assert {f.check_type for f in lint_text(text, packs=US, check_types=["legal_review"])} == {"legal_review"}


def test_an_unknown_pack_check_or_rule_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(NotFound, match="did you mean 'us'"):
        lint_text("x", packs=("usa",))
    with pytest.raises(BadInput, match="did you mean 'medical_claim'"):
        lint_text("x", check_types=["medical_claims"])
    with pytest.raises(NotFound, match="did you mean 'US-DRUG'"):
        explain("US-DRUGS")
    assert explain("US-DRUG").source.startswith("https://")


def test_a_plug_in_adds_a_check_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_CHECKS", dict(engine._CHECKS))
    monkeypatch.setattr(CHECK_TYPES, "_names", dict(CHECK_TYPES._names))

    def no_bananas(text, judge):  # type: ignore[no-untyped-def]
        at = text.text.find("banana")
        if at >= 0:
            yield text.finding(
                at, at + 6, rule="X-BANANA", check_type="fruit", severity=Severity.CRITICAL, suggestion="No bananas."
            )

    register_check("fruit", no_bananas)
    assert [f.rule for f in lint_text("a banana", packs=US)] == ["X-BANANA"]
    with pytest.raises(DuplicateName):
        register_check("fruit", no_bananas)


def test_files_of_text_markdown_and_piece_json_are_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbfIt cures asthma.")
    post = Post(platform="instagram", content_type="quote", caption="It cures asthma.")
    (tmp_path / "b.json").write_text(json.dumps({"id": "x", "post": post.model_dump(mode="json")}))
    assert [f.field for f in lint_file(tmp_path / "a.md")] == ["text"]
    assert [f.field for f in lint_file(tmp_path / "b.json")] == ["caption"]
    assert [f.field for f in lint_bytes(b'{"caption": "It cures asthma."}')] == ["caption"]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"[1]", "JSON object"),
        ("a.json", b'{"colour": "red"}', "no outgoing field"),
        ("a.json", b'{"caption": 5}', "caption"),
        ("a.json", b'{"caption": "\\ud800"}', "caption"),
        ("a.json", b"[" * 200_000, "is not JSON"),
        ("a.txt", b"\xff\xfe\x00", "is not UTF-8"),
        ("a.txt", b"a\x00b", "NUL"),
        ("a.txt", b"a" * (1024 * 1024 + 1), "the limit is"),
    ],
)
def test_bad_files_are_refused_in_one_line(name: str, data: bytes, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        lint_bytes(data, name=name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(name)


def test_any_text_can_be_linted_and_every_span_is_its_quote() -> None:
    strange = [
        "",
        " ",
        "#",
        "###",
        "# #",
        "\n\n",
        "\r\n",
        "'",
        "a'b'c",
        "\u202ecures asthma",
        "İstanbul cures asthma",
        "٣",
        "a" * 5000,
        "!?!" * 50,
        "#" + "a" * 3000,
    ]
    for text in [*strange, "".join(strange)]:
        for finding in lint_text(text, profile=a_profile()):
            assert 0 <= finding.start < finding.end <= len(text)
            assert finding.quote in (text[finding.start : finding.end], text[finding.start : finding.start + 159] + "…")


def test_two_hundred_words_take_a_few_milliseconds() -> None:
    text = "You can sit in the quiet room and let the day settle before you walk home in the soft light. " * 10
    lint_text(text, packs=PACKS)
    best = min(_timed(text) for _ in range(5))
    assert best < 0.05  # a few ms when idle; the machine may be busy


def _timed(text: str) -> float:
    start = time.perf_counter()
    lint_text(text, packs=PACKS)
    return time.perf_counter() - start


def test_near_duplicates_are_found_whatever_the_case_and_hashtags() -> None:
    others = {"a": "Sit down and breathe slowly for a minute.", "b": "Walk to the corner and look at the sky."}
    found = near_duplicates("SIT down, and breathe slowly for a minute! #calm", others)
    assert [(hit.name, hit.score) for hit in found] == [("a", 100.0)]
    assert near_duplicates("Sit down", others) == []
    assert similarity(others["a"], others["a"]) == 1.0
    assert similarity(others["a"], others["b"]) < 0.7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Our room cures cancer. It does not.", CheckResult.PASSED),
        ("Our room cures cancer. It does not cost much.", CheckResult.FAILED),
        ("There is no cure for asthma, the clinic says.", CheckResult.PASSED),
        ("There is no cure for asthma, but our tea ends asthma.", CheckResult.FAILED),
        ("In 1918 influenza closed every theatre.", CheckResult.PASSED),
        ("In 1918 influenza closed every theatre, and our tea stops influenza.", CheckResult.FAILED),
    ],
)
def test_a_warning_a_denial_and_history_are_spared_until_they_turn_into_a_claim(
    text: str, expected: CheckResult
) -> None:
    assert result(text) is expected


def test_an_approved_claim_must_be_approved_for_every_market_whose_rule_it_meets() -> None:
    text = "anti-inflammatory diet plan"
    for markets, expected in ((("us",), CheckResult.MANUAL_REVIEW), (("us", "uk"), CheckResult.PASSED)):
        ours = a_profile(claims=[Claim(text=text, markets=markets)])
        assert fold(lint_text(text, profile=ours, packs=("us", "uk"))) is expected


def test_a_rule_that_is_code_is_explained_too() -> None:
    assert explain("BRAND-BLOCKED-CLAIM").severity is Severity.CRITICAL
    assert explain("TEXT-HIDDEN").title
