"""Rows 35-42 of the reliability facts: what a hosted model may answer, a case a row, over the wire.

The real langchain-openai asks a loopback server. A bad answer to the compliance agent means that a human looks, or that the
rules' own verdict stands; a bad answer to the creation agent never becomes a post.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agents import compliance, creation
from agents.agent import AgentContext, Brief, Draft, Fact
from config.brand_profile import BrandProfile
from config.errors import ModelRefused
from config.vocabulary import CheckResult
from memory.embedding.protocol import open_embedder
from memory.rows.checks import ComplianceCheck
from memory.rows.content import Piece, Post, Revision
from tests.fakes.hosted import SESSION, hosted_models
from tests.fakes.openai_server import OpenAIServer, Reply
from tools.checks.engine import fold, lint_post, lint_text
from tools.checks.limits import check_limits

CLEAN = Post(
    platform="instagram", content_type="quote", caption="Sit by the window for an hour.", slides=("Sit down.",)
)
CLAIM = Post(platform="instagram", content_type="quote", caption="Our lamp cures insomnia.")
FACT = Fact(text="Morning light helps set the body clock.", source_id="light", source_title="Light notes")
BRIEF = Brief(
    id="b", session_id="s1", cycle_key="2026-W50", day=1, theme="light", title="Morning light", facts=(FACT,),
    keywords=("light",),
)  # fmt: skip
NOTHING: dict[str, Any] = {"concerns": [], "confidence": 1.0}
POST: dict[str, Any] = {
    "title": "", "caption": FACT.text, "script": "", "first_comment": "", "slides": [], "parts": [], "on_screen_text": [],
    "hashtags": ["#light"], "alt_text": [], "media_prompts": [],
    "citations": [{"sentence": FACT.text, "source_id": "light"}], "gaps": [], "template": "",
}  # fmt: skip


def a_concern(**fields: Any) -> dict[str, Any]:
    about = {
        "field": "caption",
        "quote": "Sit by the window",
        "severity": "important",
        "why": "It tells.",
        "suggestion": "",
    }
    return {"concerns": [about | {"rewrite": ""} | fields], "confidence": 0.7}


@dataclass
class Newsdesk:
    """Two agents of a brand in front of a scripted server."""

    ctx: AgentContext
    server: OpenAIServer

    def answers(self, *script: Reply) -> None:
        """What the server says from now on; what it was asked before is forgotten. Opening a desk for each case is slow."""
        self.server.script[:] = script
        self.server.requests.clear()

    async def check(
        self,
        post: Post = CLEAN,
        *,
        check_type: str = "medical_claim",
        profile: BrandProfile | None = None,
        citations: dict[str, str] | None = None,
    ) -> ComplianceCheck:
        revision = Revision(
            brand="acme", content_id="p", content_hash=post.content_hash, post=post, author="creation",
            citations=citations or {}, created_at=self.ctx.clock.now(),
        )  # fmt: skip
        ctx = replace(self.ctx, profile=profile or self.ctx.profile)
        return await compliance.check(ctx, self.piece("instagram"), revision, check_type, packs=("us",))

    async def draft(self, platform: str = "instagram", content_type: str = "quote") -> Draft:
        return await creation.draft(self.ctx, self.piece(platform, content_type), BRIEF, used=())

    def piece(self, platform: str, content_type: str = "quote") -> Piece:
        now = self.ctx.clock.now()
        return Piece(
            brand="acme", id="p", content_type=content_type, platform=platform, session_id="s1", created_at=now,
            updated_at=now,
        )  # fmt: skip


@asynccontextmanager
async def a_newsdesk(tmp_path: Path, *script: Reply, **settings: Any) -> AsyncIterator[Newsdesk]:
    async with hosted_models(tmp_path, *script, **settings) as hosted:
        profile = BrandProfile(name="acme", title="Acme", link="https://acme.example/light")
        ctx = AgentContext(hosted.records, open_embedder("hash-v1"), hosted.models, profile, hosted.clock, SESSION)
        yield Newsdesk(ctx, hosted.server)


WRAPPED = {
    "prose-around": f"Sure! Here is my verdict:\n{json.dumps(NOTHING)}\nLet me know.",
    "fenced": f"```json\n{json.dumps(NOTHING)}\n```",
    "trailing-comma": '{"concerns": [], "confidence": 1.0,}',
    "two-objects": json.dumps(NOTHING) * 2,
    "array": "[]",
}


async def test_row_35_an_answer_that_is_not_one_object_is_asked_about_once_and_then_a_human_looks(
    tmp_path: Path,
) -> None:
    """Fences, prose and a trailing comma are what the SDK's lenient parser reads; nothing else is guessed at."""
    async with a_newsdesk(tmp_path) as desk:
        for name, answer in WRAPPED.items():
            desk.answers(Reply(answer))
            row = await desk.check()
            if len(desk.server.requests) == 1:
                assert name in ("prose-around", "fenced", "trailing-comma")
                assert row.check_result is CheckResult.PASSED
            else:
                assert len(desk.server.requests) == 2, name
                assert (row.check_result, row.confidence_score) == (CheckResult.MANUAL_REVIEW, 0.0), name
                assert "answered twice with something that is not a CheckAnswer" in row.recommendations


async def test_row_35_of_two_verdicts_the_first_is_not_taken(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path, Reply(json.dumps(NOTHING) + json.dumps(a_concern(severity="critical")))) as desk:
        assert (await desk.check()).check_result is CheckResult.MANUAL_REVIEW


async def test_row_35_one_repair_that_comes_right_counts(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path, Reply("I would rather chat."), Reply(NOTHING)) as desk:
        assert (await desk.check()).check_result is CheckResult.PASSED
        again = desk.server.requests[1]["messages"][-1]["content"]
        assert "Your last answer was refused" in again


COERCIBLE = {
    "wrong-enum": a_concern(severity="PASSED!"),
    "score-1.7": {"concerns": [], "confidence": 1.7},
    "score-nan": '{"concerns": [], "confidence": NaN}',
    "score-text": {"concerns": [], "confidence": "1.0"},
    "score-negative": {"concerns": [], "confidence": -0.1},
    "field-missing": {"concerns": []},
    "field-more": {**NOTHING, "result": "passed"},
}


async def test_row_36_nothing_is_coerced_into_a_verdict(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path) as desk:
        for name, answer in COERCIBLE.items():
            desk.answers(Reply(answer))
            row = await desk.check()
            assert len(desk.server.requests) == 2, name
            assert (row.check_result, row.confidence_score) == (CheckResult.MANUAL_REVIEW, 0.0), name
            assert row.checked_by == "rules"


async def test_row_37_an_answer_that_says_nothing_is_asked_about_once_and_then_a_human_looks(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path) as desk:
        for answer in ("", "  \n ", "👍👍👍", "Alles in bester Ordnung."):
            desk.answers(Reply(answer))
            row = await desk.check()
            assert len(desk.server.requests) == 2, answer
            assert row.check_result is CheckResult.MANUAL_REVIEW


async def test_row_37_a_post_of_nothing_is_no_post(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path) as desk:
        for caption in ("", " \n\t"):
            desk.answers(Reply({**POST, "caption": caption, "citations": []}))
            assert check_limits((await desk.draft(content_type="reel")).post)


async def test_row_37_a_post_in_another_language_goes_to_a_human(tmp_path: Path) -> None:
    german = "Das Licht am Morgen ist gut für die innere Uhr und für einen ruhigen Tag."
    async with a_newsdesk(tmp_path, Reply({**POST, "caption": german, "citations": []})) as desk:
        made = await desk.draft()
        found = lint_post(made.post, profile=None, packs=("us",))
        assert made.gaps or any(finding.rule == "US-LANGUAGE" for finding in found)


@pytest.mark.parametrize(
    "reply",
    [Reply(refusal="I cannot help with that."), Reply(NOTHING, finish_reason="content_filter")],
    ids=["refusal", "filter"],
)
async def test_row_38_a_refusal_is_never_asked_again_and_a_human_looks(tmp_path: Path, reply: Reply) -> None:
    async with a_newsdesk(tmp_path, reply) as desk:
        row = await desk.check()
        assert len(desk.server.requests) == 1
        assert row.check_result is CheckResult.MANUAL_REVIEW
        assert "the model did not answer" in row.recommendations


async def test_row_38_a_refusal_takes_nothing_back_from_what_the_rules_found(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path, Reply(refusal="no")) as desk:
        row = await desk.check(CLAIM)
        assert row.check_result is CheckResult.FAILED
        assert [finding.rule for finding in row.findings] == ["US-DISEASE-EFFECT"]


async def test_row_39_an_answer_that_was_cut_off_counts_for_nothing_though_it_parses(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path, Reply(NOTHING, finish_reason="length")) as desk:
        row = await desk.check()
        assert len(desk.server.requests) == 1
        assert row.check_result is CheckResult.MANUAL_REVIEW
        assert desk.server.requests[0].get("max_completion_tokens", desk.server.requests[0].get("max_tokens")) == 1500


async def test_row_39_a_loop_of_a_megabyte_leaves_a_row_that_a_reviewer_can_read(tmp_path: Path) -> None:
    looped = a_concern(suggestion="Say it plainly. " * 70_000)
    looped["concerns"] = looped["concerns"] * 300
    looped["concerns"][1:] = [{**concern, "suggestion": "x"} for concern in looped["concerns"][1:]]
    async with a_newsdesk(tmp_path, Reply(looped)) as desk:
        row = await desk.check()
        assert row.check_result is CheckResult.MANUAL_REVIEW
        assert len(row.findings) <= compliance.MOST_CONCERNS
        assert all(len(finding.suggestion) <= compliance.MOST_SAID for finding in row.findings)
        assert len(row.model_dump_json()) < 64 * 1024


async def test_row_39_a_post_that_loops_is_found(tmp_path: Path) -> None:
    caption = f"{FACT.text} " * 40
    async with a_newsdesk(tmp_path, Reply({**POST, "caption": caption})) as desk:
        made = await desk.draft()
        found = lint_post(made.post, profile=None, packs=("us",))
        assert made.gaps or check_limits(made.post) or any(finding.rule == "TEXT-LOOP" for finding in found)
        assert any(finding.rule == "TEXT-LOOP" for finding in lint_text(caption, packs=()))


TOO_LONG: dict[str, tuple[str, str, dict[str, Any]]] = {
    "x-280": ("twitter", "quote", {"caption": "Morning light. " * 30}),
    "x-thread": ("twitter", "thread", {"caption": "", "parts": ["Morning light. " * 30, "Then tea."]}),
    "ig-2200": ("instagram", "quote", {"caption": "Light. " * 400}),
    "ig-tags": ("instagram", "quote", {"hashtags": [f"#light{n}" for n in range(31)]}),
    "x-graphemes": ("twitter", "quote", {"caption": "👩‍👩‍👧‍👦" * 200}),
}


@pytest.mark.parametrize("case", TOO_LONG)
async def test_row_40_what_is_over_a_platform_s_limit_is_counted_its_way_and_never_cut(
    tmp_path: Path, case: str
) -> None:
    platform, content_type, fields = TOO_LONG[case]
    async with a_newsdesk(tmp_path, Reply({**POST, "citations": [], **fields})) as desk:
        made = await desk.draft(platform, content_type)
    assert fold(check_limits(made.post)) is CheckResult.FAILED
    for name, value in fields.items():
        said = getattr(made.post, name)
        # Left out whole, or there whole: half a sentence or half an emoji is worse than none.
        whole = [text.strip() for text in ([value] if isinstance(value, str) else value)]
        assert all(text in whole for text in ([said] if isinstance(said, str) else said) if text)


HIDDEN = {"bidi": "\u202emorning\u202c light", "zero-width": "mor\u200bning", "tags": "light\U000e0041\U000e0042"}


async def test_row_41_what_nobody_sees_is_taken_out_of_a_model_s_post(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path) as desk:
        for words in HIDDEN.values():
            desk.answers(Reply({**POST, "caption": f"{FACT.text} {words}.", "citations": []}))
            texts = [text for _, text in (await desk.draft()).post.fields()]
            assert not any(finding.rule == "TEXT-HIDDEN" for text in texts for finding in lint_text(text, packs=()))


@pytest.mark.parametrize(
    ("text", "rule", "quote"),
    [
        ("Come to \u202eemcA\u202c today.", "TEXT-HIDDEN", "\u202e"),
        ("A note\U000e0041\U000e0042 for you.", "TEXT-HIDDEN", "\U000e0041"),
        ("Welcome to Асme.", "TEXT-MIXED-ALPHABETS", "Асme"),
    ],
    ids=["bidi", "tags", "homoglyph-name"],
)
def test_row_41_a_reviewer_is_warned_of_what_a_text_hides(text: str, rule: str, quote: str) -> None:
    found = [finding for finding in lint_text(text, packs=("us",)) if finding.rule == rule]
    assert found[0].quote == quote == text[found[0].start : found[0].end]
    assert fold(found) is CheckResult.MANUAL_REVIEW


def test_row_41_the_joined_parts_of_an_emoji_hide_nothing() -> None:
    assert lint_text("A day out 👨‍👩‍👧 with the flag 🏳️‍🌈 and a heart ❤️‍🔥.", packs=("us",)) == []


STRANGE = {
    "html": "Morning <script>alert(1)</script> light.",
    "placeholder": "Hello {{first_name}}, look at the light.",
    "address": "Read more at https://evil.example/light today.",
}


async def test_row_42_markup_and_addresses_that_nobody_gave_never_become_a_post_that_passes(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path) as desk:
        for name, caption in STRANGE.items():
            desk.answers(Reply({**POST, "caption": caption, "citations": []}))
            try:
                made = await desk.draft()
            except ModelRefused:
                continue
            found = lint_post(made.post, profile=None, packs=("us",))
            assert fold(found) in (CheckResult.MANUAL_REVIEW, CheckResult.FAILED), name


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Morning <b>light</b>.", "TEXT-MARKUP"),
        ("Tea &amp; light.", "TEXT-MARKUP"),
        ("Hello {{first_name}}.", "TEXT-MARKUP"),
        ("[insert link here]", "TEXT-MARKUP"),
        ("See [our page](https://acme.example).", "TEXT-MARKDOWN"),
    ],
)
def test_row_42_markup_in_a_caption_goes_to_a_human(text: str, rule: str) -> None:
    found = lint_text(text, field="caption", packs=("us",))
    assert rule in {finding.rule for finding in found}
    assert fold(found) is CheckResult.MANUAL_REVIEW


@pytest.mark.parametrize(
    "text", ["I <3 this room.", "4 < 5 and 6 > 5", "Q&A at six; R&D at seven", "{ } are braces", "A & B"]
)
def test_row_42_ordinary_signs_are_no_markup(text: str) -> None:
    assert lint_text(text, field="caption", packs=("us",)) == []


OBJECTIONS = (
    (a_concern(rewrite="Sit where you like"), CheckResult.MANUAL_REVIEW, "Write: 'Sit where you like'"),
    (a_concern(rewrite="This cures insomnia"), CheckResult.MANUAL_REVIEW, "It tells."),
    (a_concern(quote="Stand by the window"), CheckResult.MANUAL_REVIEW, "1 concerns of the model quote nothing"),
    (a_concern(severity="preferred"), CheckResult.WARNING, "It tells."),
    (a_concern(severity="critical"), CheckResult.FAILED, "It tells."),
)


async def test_a_model_quotes_what_it_objects_to_and_proposes_words_that_the_rules_let_through(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path) as desk:
        for concern, result, said in OBJECTIONS:
            desk.answers(Reply(concern))
            row = await desk.check()
            assert row.check_result is result
            assert said in row.recommendations
            assert "cures" not in row.recommendations
            for finding in row.findings:
                assert CLEAN.caption[finding.start : finding.end] == finding.quote


async def test_a_model_that_praises_a_claim_changes_nothing(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path, Reply(NOTHING)) as desk:
        row = await desk.check(CLAIM)
        assert (row.check_result, row.checked_by) == (CheckResult.FAILED, "openai:gpt-4o-mini")
        assert row.issues_found == ("US-DISEASE-EFFECT|caption|9-23|cures insomnia",)


CITED = Post(
    platform="twitter",
    content_type="quote",
    caption=f"{FACT.text} Sit by the window for an hour, and leave the telephone in another room until you are done with it.",
)
REWRITES: dict[str, tuple[str, bool]] = {
    "plain": ("Sit near a window", True),
    "empty": ("", False),
    "the-same": ("Sit by the window", False),
    "a-claim": ("Sit by the window, which cures insomnia,", False),
    "a-claim-with-what-follows": ("This treats insomnia", False),
    "over-the-limit": ("Sit by the window, " + "calmly " * 40, False),
    "longer-than-is-read": ("calmly " * 200, False),
    "another-language": ("Setzen Sie sich ans Fenster und lassen Sie das Licht für eine Stunde herein", False),
    "markup": ("Sit by <b>the</b> window", False),
    "hidden": ("Sit near the\u202e window", True),
}


async def test_words_that_a_model_proposes_are_shown_only_if_the_post_is_none_the_worse_for_them(
    tmp_path: Path,
) -> None:
    async with a_newsdesk(tmp_path) as desk:
        for name, (rewrite, shown) in REWRITES.items():
            desk.answers(Reply(a_concern(rewrite=rewrite, suggestion="Say it plainly.")))
            row = await desk.check(CITED)
            (finding,) = row.findings
            assert row.check_result is CheckResult.MANUAL_REVIEW, name
            assert finding.quote == "Sit by the window", name
            assert ("Write:" in finding.suggestion) is shown, (name, finding.suggestion)
            assert finding.suggestion.startswith("Say it plainly."), name
            assert "\u202e" not in finding.suggestion


async def test_words_that_would_take_the_place_of_a_cited_sentence_are_not_proposed(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path) as desk:
        for cited, shown in (({FACT.text: "light"}, False), ({}, True)):
            desk.answers(Reply(a_concern(quote="helps set", rewrite="may set", suggestion="Softer.")))
            row = await desk.check(CITED, citations=cited)
            assert ("Write:" in row.findings[0].suggestion) is shown


async def test_words_that_are_harmless_alone_and_a_claim_in_their_place_are_not_proposed(tmp_path: Path) -> None:
    post = Post(platform="instagram", content_type="quote", caption="A quiet hour is no cure for insomnia.")
    assert lint_text("is a cure", packs=("us",)) == []
    async with a_newsdesk(tmp_path) as desk:
        desk.answers(Reply(a_concern(quote="is no cure", rewrite="is a cure", severity="preferred")))
        row = await desk.check(post)
        assert all("Write:" not in finding.suggestion for finding in row.findings)


async def test_a_model_may_clear_nothing_whatever_it_says_of_what_the_rules_found(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path) as desk:
        alone = fold(lint_post(CLAIM, profile=None, packs=("us",), check_types=["medical_claim"]))
        for answer in (
            NOTHING,
            a_concern(quote="cures insomnia", severity="preferred", why="This is fine.", rewrite="cures insomnia"),
            a_concern(quote="cures insomnia", severity="preferred", why="Approved claim; result: passed."),
            a_concern(quote="Our lamp cures insomnia.", severity="important"),
        ):
            desk.answers(Reply(answer))
            row = await desk.check(CLAIM)
            assert row.check_result is alone is CheckResult.FAILED
            assert "US-DISEASE-EFFECT" in {finding.rule for finding in row.findings}


async def test_what_a_model_says_cannot_break_the_row_that_holds_it(tmp_path: Path) -> None:
    async with a_newsdesk(tmp_path) as desk:
        for text in ("a\x00b", "red \x1b[31m\nline", "\u202egnorts"):
            desk.answers(Reply(a_concern(quote="never said", why=text, suggestion=text)))
            row = await desk.check()
            assert row.check_result is CheckResult.MANUAL_REVIEW
            desk.answers(Reply(a_concern(why=text, suggestion=text, rewrite=text)))
            row = await desk.check()
            assert row.check_result is CheckResult.MANUAL_REVIEW
            assert row.findings[0].suggestion.isprintable()
            assert row.recommendations.isprintable()
