"""One piece from its draft to its seal: checks that cannot be skipped, revisions that end, a gate that waits."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agents.answers import CheckAnswer, Concern, PostAnswer
from config.errors import Conflict, ModelRefused, Unavailable
from config.vocabulary import CHECK_TYPES, CheckResult, Decision, PieceState, Severity
from graphs import piece as piece_graph
from graphs.context import advance_piece_task
from graphs.ids import check_id, review_id
from graphs.piece import RULE_CHECKS
from graphs.verdicts import worst
from memory.rows.checks import ComplianceCheck, Finding, Review
from memory.rows.content import ContentEmbedding, Piece, Post, Revision
from memory.rows.sessions import Assignment
from runtime.hold import hold_piece
from runtime.publish_due import publish_piece
from runtime.reviews import decide, edit
from tests.fakes.newsroom import BRAND, Newsroom, Script, open_newsroom, words

ONE = (("monday", "facebook", "quote", "08:00"),)
TWO = (("monday", "facebook", "quote", "08:00"), ("tuesday", "facebook", "quote", "08:00"))
CALM = "Morning light helps set the body clock."
CRITICAL = "Light cures cancer."
ALL_CHECKS = {*CHECK_TYPES, *RULE_CHECKS}


def quote(caption: str, **fields: Any) -> PostAnswer:
    """A post that the platform takes."""
    return words(caption, **{"slides": [caption], "alt_text": ["A card"], "media_prompts": ["A card"], **fields})


def writer(*captions: str) -> Script:
    """A model that writes these captions, one a call, the last one for ever."""
    left = list(captions)
    return Script(write=lambda _: quote(left.pop(0) if len(left) > 1 else left[0]))


async def only_piece(room: Newsroom) -> Piece:
    (piece,) = await room.pieces(await room.drafted())
    return piece


async def checks(room: Newsroom, piece: Piece, content_hash: str = "") -> dict[str, ComplianceCheck]:
    rows = await room.records.list_rows(ComplianceCheck, content_id=piece.id)
    wanted = content_hash or piece.content_hash
    return {row.check_type: row for row in rows if row.content_hash == wanted}


async def approve(room: Newsroom, piece: Piece, *, by: str = "ann") -> Piece:
    await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.APPROVED, by=by)
    await room.work()
    return await room.piece(piece)


async def test_a_piece_that_passes_waits_at_the_gate_and_an_approval_seals_and_schedules_it(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE, script=writer(CALM)) as room:
        piece = await only_piece(room)
        assert (piece.state, piece.sealed_hash, piece.reason) == (
            PieceState.WAITING, "", "this brand approves every piece by hand",
        )  # fmt: skip
        (review,) = await room.asked_reviews()
        assert (review.piece_id, review.content_hash, review.result) == (
            piece.id,
            piece.content_hash,
            CheckResult.PASSED,
        )
        slot = await room.slot(piece)
        assert (slot.state, slot.status, slot.sealed_hash) == (PieceState.WAITING, "scheduled", "")

        done = await approve(room, piece)
        assert (done.state, done.status, done.sealed_hash) == (PieceState.APPROVED, "approved", piece.content_hash)
        slot = await room.slot(piece)
        assert (slot.state, slot.sealed_hash, slot.arranged_at) == (
            PieceState.APPROVED, piece.content_hash, slot.scheduled_at,
        )  # fmt: skip
        closed = await room.records.get(Review, id=review.id)
        assert (closed.decision, closed.reviewer, closed.decided_at) == (Decision.APPROVED, "ann", room.clock.now())
        embedding = await room.records.get(ContentEmbedding, id=piece.id)
        assert embedding.compliance_status == "approved"
        assert CALM in embedding.content_text
        names = {event.name for event in await room.events() if event.piece_id == piece.id}
        assert names - {"tools.used"} == {
            "piece.drafting",
            "piece.checking",
            "piece.waiting",
            "review.approved",
            "piece.approved",
        }


async def test_every_check_is_recorded_for_exactly_these_bytes(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE, script=writer(CALM)) as room:
        piece = await only_piece(room)
        found = await checks(room, piece)
        assert set(found) == ALL_CHECKS
        for kind, row in found.items():
            assert row.id == check_id(piece.id, 1, piece.content_hash, kind)
            assert (row.check_result, row.run) == (CheckResult.PASSED, 1)


UNSURE = "Screens are one source of evening light, and zebras are another."
REFUSED = ModelRefused("no")


@pytest.mark.parametrize(
    ("answers", "most", "state"),
    [
        ([CRITICAL, REFUSED], 2, PieceState.REJECTED),
        ([UNSURE, REFUSED], 2, PieceState.WAITING),
        ([UNSURE, CRITICAL, UNSURE], 3, PieceState.WAITING),
        ([CRITICAL, UNSURE, CRITICAL, CALM], 3, PieceState.REJECTED),
        ([CRITICAL, "", CRITICAL, CALM], 3, PieceState.REJECTED),
        ([UNSURE, CRITICAL, CALM], 3, PieceState.WAITING),
        (["", UNSURE, CRITICAL], 3, PieceState.REJECTED),
    ],
)
async def test_whatever_the_models_answer_in_whatever_order_two_revisions_are_the_most(
    tmp_path: Path, answers: list[Any], most: int, state: PieceState
) -> None:
    calls = 0

    def write(_: Mapping[str, Any]) -> PostAnswer:
        nonlocal calls
        calls += 1
        said = answers[min(calls, len(answers)) - 1]
        if isinstance(said, Exception):
            raise said
        return quote(said)

    def read(material: Mapping[str, Any]) -> CheckAnswer:
        doubts = any("zebras" in field["text"] for field in material["fields"])
        concern = Concern(field="caption", quote="zebras", severity="important", why="w", suggestion="s")
        return CheckAnswer(concerns=[concern] if doubts else [], confidence=0.9)

    async with open_newsroom(tmp_path, grid=ONE, script=Script(write=write, read=read), approval='"flagged"') as room:
        session = await room.drafted()
        await room.work(patience=timedelta(minutes=5))
        (piece,) = await room.pieces(session)
        # The last text passed both the rules and the model: only then it goes out unseen.
        passed = answers[most - 1] == CALM
        assert (piece.state, calls) == (PieceState.APPROVED if passed else state, most)
        for row in await room.records.list_rows(Revision, content_id=piece.id):
            found = await checks(room, piece, row.content_hash)
            assert set(found) == ALL_CHECKS
            assert all(check.recommendations for check in found.values() if check.check_result != "passed")


@pytest.mark.parametrize("decision", [Decision.APPROVED, Decision.REJECTED, Decision.EDITED])
async def test_who_decided_and_when_stands_in_the_checks_of_these_bytes(tmp_path: Path, decision: Decision) -> None:
    async with open_newsroom(tmp_path, grid=ONE, script=writer(CALM)) as room:
        piece = await only_piece(room)
        assert {row.reviewer_id for row in (await checks(room, piece)).values()} == {""}
        room.clock.advance(timedelta(minutes=5))
        decided_at = room.clock.now()
        if decision is Decision.EDITED:
            post = (await room.post(piece)).model_copy(update={"caption": "Curtains keep out street light."})
            await edit(room.runtime, BRAND, piece.id, post, by="ann")
        else:
            await decide(room.runtime, BRAND, piece.id, piece.content_hash, decision, by="ann")
        room.clock.advance(timedelta(minutes=5))
        await room.work()
        signed = {
            (row.reviewer_id, row.reviewed_at) for row in (await checks(room, piece, piece.content_hash)).values()
        }
        assert signed == {("ann", decided_at)}
        rows = await room.records.list_rows(ComplianceCheck, content_id=piece.id)
        assert {row.reviewer_id for row in rows if row.content_hash != piece.content_hash} <= {""}


async def test_a_rejection_ends_the_piece_and_names_who_and_why(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE, script=writer(CALM)) as room:
        piece = await only_piece(room)
        await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.REJECTED, by="ann", reason="off topic")
        await room.work()
        piece = await room.piece(piece)
        assert (piece.state, piece.sealed_hash) == (PieceState.REJECTED, "")
        assert piece.reason == "rejected by ann: off topic"
        assert (await room.slot(piece)).status == "cancelled"
        assert (await room.records.get(ContentEmbedding, id=piece.id)).compliance_status == "rejected"


async def test_a_finding_is_revised_away_with_the_finding_in_hand(tmp_path: Path) -> None:
    script = writer(CRITICAL, CALM)
    async with open_newsroom(tmp_path, grid=ONE, script=script) as room:
        piece = await only_piece(room)
        assert piece.state is PieceState.WAITING
        assert piece.content_version == 2
        drafts = [asked for asked in script.asked if asked.get("task") == "draft"]
        assert len(drafts) == 2
        assert "cures cancer" in " ".join(drafts[1]["avoid"])
        assert drafts[1]["findings"]
        revisions = await room.records.list_rows(Revision, content_id=piece.id)
        assert sorted((row.revision, row.post.caption) for row in revisions) == [(0, CRITICAL), (1, CALM)]


async def test_what_stays_critical_after_two_revisions_is_rejected_and_nobody_is_asked(tmp_path: Path) -> None:
    script = writer(
        "Light cures cancer.", "Light cures cancer today.", "Light cures cancer now.", "Light cures cancer!"
    )
    async with open_newsroom(tmp_path, grid=ONE, script=script) as room:
        piece = await only_piece(room)
        assert piece.state is PieceState.REJECTED
        assert "medical_claim" in piece.reason
        assert len(await room.records.list_rows(Revision, content_id=piece.id)) == 3
        assert await room.asked_reviews() == []


async def test_the_same_bytes_again_end_the_revising(tmp_path: Path) -> None:
    script = writer(CRITICAL)
    async with open_newsroom(tmp_path, grid=ONE, script=script) as room:
        piece = await only_piece(room)
        assert piece.state is PieceState.REJECTED
        assert len([asked for asked in script.asked if asked.get("task") == "draft"]) == 2


async def test_a_check_that_breaks_asks_a_human_and_never_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> ComplianceCheck:
        raise Unavailable("the linter is away")

    monkeypatch.setattr(piece_graph.compliance, "check", broken)
    async with open_newsroom(
        tmp_path, grid=ONE, script=writer(CALM), approval='"flagged"', rules_only_ok="true"
    ) as room:
        piece = await only_piece(room)
        assert piece.state is PieceState.WAITING
        found = await checks(room, piece)
        assert {found[kind].check_result for kind in CHECK_TYPES} == {CheckResult.MANUAL_REVIEW}
        assert "the linter is away" in found["medical_claim"].recommendations


async def test_a_check_that_breaks_with_words_that_no_row_takes_asks_a_human_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> ComplianceCheck:
        raise ValueError("a\x00b \ud800\n" + "x" * 100_000)

    monkeypatch.setattr(piece_graph.compliance, "check", broken)
    async with open_newsroom(tmp_path, grid=ONE, script=writer(CALM)) as room:
        piece = await only_piece(room)
        assert piece.state is PieceState.WAITING
        note = (await checks(room, piece))["medical_claim"].recommendations
        assert note.startswith("the check did not finish: a\\x00b \\ud800\\x0ax")
        assert len(note) <= 500


async def test_what_could_not_be_checked_is_asked_about_before_what_only_might_be_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = piece_graph.check_limits
    mild = Finding(rule="R", check_type="limits", severity="preferred", field="caption", start=0, end=1, quote="M")
    posts: list[str] = []

    def broken(post: Post) -> list[Finding]:
        posts.append(post.caption) if post.caption not in posts else None
        if post.caption == posts[0]:
            return [*real(post), mild]
        raise Unavailable("away")

    monkeypatch.setattr(piece_graph, "check_limits", broken)
    other = "Curtains keep out street light, and a lamp with a warm colour suits the evening."
    async with open_newsroom(tmp_path, grid=TWO, script=writer(CALM, other, other)) as room:
        await room.drafted()
        reviews = await room.asked_reviews()
        assert [str(review.result) for review in reviews] == ["manual_review", "warning"]
        assert [str(review.severity) for review in reviews] == ["important", "preferred"]


async def test_when_every_check_breaks_a_human_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No branch is left that leads on by itself."""

    def broken(*_: Any, **__: Any) -> Any:
        raise Unavailable("away")

    for target, name in (
        (piece_graph.compliance, "check"),
        (piece_graph, "check_limits"),
        (piece_graph, "near_duplicates"),
    ):
        monkeypatch.setattr(target, name, broken)
    async with open_newsroom(
        tmp_path, grid=ONE, script=writer(CALM), approval='"flagged"', rules_only_ok="true"
    ) as room:
        piece = await only_piece(room)
        assert piece.state is PieceState.WAITING
        assert {row.check_result for row in (await checks(room, piece)).values()} == {CheckResult.MANUAL_REVIEW}
        assert piece.reason == "not everything could be checked: " + ", ".join(sorted(ALL_CHECKS))


async def test_a_check_that_was_never_recorded_is_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = piece_graph.to_checks
    monkeypatch.setattr(
        piece_graph, "to_checks", lambda state: [s for s in real(state) if s.arg["check_type"] != "legal_review"]
    )
    async with open_newsroom(
        tmp_path, grid=ONE, script=writer(CALM), approval='"flagged"', rules_only_ok="true"
    ) as room:
        piece = await only_piece(room)
        assert piece.state is PieceState.WAITING


def test_the_fold_of_no_result_is_a_question() -> None:
    assert worst([]) is CheckResult.MANUAL_REVIEW
    assert worst(["passed", "failed", "warning"]) is CheckResult.FAILED


@pytest.mark.parametrize(("approval", "rules_only", "state"), [
    ('"flagged"', "true", PieceState.APPROVED), ('"flagged"', "false", PieceState.WAITING),
    ('"all"', "true", PieceState.WAITING),
])  # fmt: skip
async def test_text_that_only_rules_have_read_goes_out_unseen_only_when_the_brand_says_so(
    tmp_path: Path, approval: str, rules_only: str, state: PieceState
) -> None:
    async with open_newsroom(
        tmp_path, grid=ONE, script=writer(CALM), approval=approval, rules_only_ok=rules_only
    ) as room:
        piece = await only_piece(room)
        assert piece.state is state
        assert (await room.session(await room.week())).status == ("done" if state is PieceState.APPROVED else "waiting")
        assert piece.sealed_hash == (piece.content_hash if state is PieceState.APPROVED else "")


def nothing_found(_: Mapping[str, Any]) -> CheckAnswer:
    return CheckAnswer(concerns=[], confidence=0.9)


async def test_text_that_a_model_has_read_too_goes_out_unseen_under_flagged(tmp_path: Path) -> None:
    script = writer(CALM)
    script.read = nothing_found
    async with open_newsroom(tmp_path, grid=ONE, script=script, approval='"flagged"') as room:
        piece = await only_piece(room)
        assert piece.state is PieceState.APPROVED
        assert {row.checked_by for kind, row in (await checks(room, piece)).items() if kind in CHECK_TYPES} == {
            "scripted"
        }


async def test_one_check_that_only_rules_have_read_is_enough_to_ask(tmp_path: Path) -> None:
    """The model answered two checks of three; for the third the rules alone spoke."""
    script = writer(CALM)

    def read(material: Mapping[str, Any]) -> CheckAnswer:
        if material["check_type"] == "legal_review":
            raise Unavailable("the model is away")
        return nothing_found(material)

    script.read = read
    async with open_newsroom(tmp_path, grid=ONE, script=script, approval='"flagged"') as room:
        piece = await only_piece(room)
        assert piece.state is PieceState.WAITING


async def test_the_model_only_makes_it_worse_and_its_concern_is_asked_about(tmp_path: Path) -> None:
    script = writer(CALM)
    script.read = lambda _: CheckAnswer(
        concerns=[Concern(field="caption", quote="body clock", severity="important", why="w", suggestion="s")],
        confidence=0.5,
    )
    async with open_newsroom(tmp_path, grid=ONE, script=script, approval='"flagged"', rules_only_ok="true") as room:
        piece = await only_piece(room)
        assert piece.state is PieceState.WAITING
        assert (await room.asked_reviews())[0].severity is Severity.IMPORTANT
        assert piece.reason == "the model asks for a human eye"


async def test_a_draft_with_gaps_is_a_brief_for_a_human_and_cannot_be_approved_as_it_is(tmp_path: Path) -> None:
    script = Script(write=lambda _: words("", gaps=["no document speaks of light"]))
    async with open_newsroom(tmp_path, grid=ONE, script=script, approval='"flagged"', rules_only_ok="true") as room:
        piece = await only_piece(room)
        assert piece.state is PieceState.WAITING
        assert "no document speaks of light" in piece.reason
        with pytest.raises(Conflict, match="review edit"):
            await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.APPROVED, by="ann")


async def test_gaps_never_hide_what_a_rule_found(tmp_path: Path) -> None:
    script = Script(write=lambda _: quote(CRITICAL, gaps=["no source"]))
    async with open_newsroom(tmp_path, grid=ONE, script=script) as room:
        assert (await only_piece(room)).state is PieceState.REJECTED


async def test_a_draft_with_gaps_that_passes_still_waits_under_flagged(tmp_path: Path) -> None:
    script = Script(write=lambda _: quote(CALM, gaps=["no document names an hour"]))
    async with open_newsroom(tmp_path, grid=ONE, script=script, approval='"flagged"', rules_only_ok="true") as room:
        assert (await only_piece(room)).state is PieceState.WAITING


async def test_two_pieces_of_one_text_are_not_both_approved(tmp_path: Path) -> None:
    """Neither was approved when the other was checked: arranging looks again."""
    async with open_newsroom(tmp_path, grid=TWO, script=writer(CALM)) as room:
        first, second = await room.pieces(await room.drafted())
        assert (await approve(room, first)).state is PieceState.APPROVED
        second = await approve(room, second)
        assert second.state is PieceState.REJECTED
        assert second.reason.startswith("near-duplicate")
        assert first.id in second.reason
        assert second.sealed_hash == ""
        row = (await checks(room, second))["near_duplicate"]
        assert (row.check_result, row.reviewer_id) == (CheckResult.FAILED, "ann")
        assert [finding.rule for finding in row.findings] == ["NEAR-DUPLICATE"]
        assert first.id in row.recommendations


async def test_two_pieces_of_one_text_approved_at_the_same_moment_are_not_both_sealed(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=TWO, script=writer(CALM)) as room:
        pieces = await room.pieces(await room.drafted())
        for piece in pieces:
            await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.APPROVED, by="ann")
        await asyncio.gather(*(room.work(patience=timedelta(seconds=5)) for _ in pieces))
        states = sorted([(await room.piece(piece)).state for piece in pieces])
        assert states == [PieceState.APPROVED, PieceState.REJECTED]


async def published(room: Newsroom, piece: Piece, *, at: datetime) -> Piece:
    """The approved piece, gone out at that instant."""
    room.clock.advance(at - room.clock.now())
    async with hold_piece(room.runtime, BRAND, piece.id) as guard:
        await publish_piece(room.runtime, BRAND, piece.id, guard)
    piece = await room.piece(piece)
    assert (piece.state, piece.published_at) == (PieceState.PUBLISHED, at)
    return piece


@pytest.mark.parametrize(
    ("since", "state"),
    [(7.0, PieceState.REJECTED), (29.9, PieceState.REJECTED), (30.1, PieceState.WAITING)],
)
@pytest.mark.parametrize("sent", [True, False])
async def test_what_was_posted_in_the_last_thirty_days_is_not_said_again(
    tmp_path: Path, since: float, state: PieceState, sent: bool
) -> None:
    """Counted from when the audience read it, not from when it was approved a week before."""
    async with open_newsroom(tmp_path, grid=ONE, script=writer(CALM)) as room:
        piece = await approve(room, await only_piece(room))
        out_at = (await room.slot(piece)).scheduled_at
        if sent:
            out_at += timedelta(minutes=20)
            await published(room, piece, at=out_at)
        room.clock.advance(out_at + timedelta(days=since) - room.clock.now())
        session = await room.drafted(cycle_key="2027-W05")
        assert await room.states(session) == [state]


async def test_what_was_approved_long_before_its_slot_is_not_said_by_another_week_either(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE, script=writer(CALM)) as room:
        (far,) = await room.pieces(await room.drafted(cycle_key="2027-W05"))
        await approve(room, far)
        room.clock.advance(timedelta(days=33))
        assert await room.states(await room.drafted(cycle_key="2027-W03")) == [PieceState.REJECTED]


async def test_what_was_said_again_and_again_in_the_past_does_not_hide_what_was_said_last_week(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE, script=writer(CALM)) as room:
        piece = await approve(room, await only_piece(room))
        recent = await published(room, piece, at=(await room.slot(piece)).scheduled_at)
        vector = await room.records.get(ContentEmbedding, id=piece.id)
        for n in range(25):
            id, long_ago = f"00000000-0000-4000-8000-{n:012}", room.clock.now() - timedelta(days=40 + 31 * n)
            await room.records.put(recent.model_copy(update={"id": id, "session_id": "old", "published_at": long_ago}))
            await room.records.put(vector.model_copy(update={"id": id}))
        (again,) = await room.pieces(await room.drafted(cycle_key="2027-W01"))
        assert again.state is PieceState.REJECTED
        assert recent.id in again.reason


async def test_what_was_edited_is_compared_as_it_reads_now_on_any_platform(tmp_path: Path) -> None:
    other = "Curtains keep out street light, and a lamp with a warm colour suits the evening."
    grid = (*ONE, ("tuesday", "instagram", "quote", "08:00"))
    async with open_newsroom(tmp_path, grid=grid, script=writer(CALM, other)) as room:
        first, second = await room.pieces(await room.drafted())
        assert CALM in {(await room.post(piece)).caption for piece in (first, second)}
        calm, changed = (first, second) if (await room.post(first)).caption == CALM else (second, first)
        await approve(room, calm)
        post = await room.post(calm)
        same = (await room.post(changed)).model_copy(update={"caption": CALM, "slides": post.slides})
        await edit(room.runtime, BRAND, changed.id, same, by="ann")
        await room.work()
        changed = await room.piece(changed)
        assert (changed.state, "near_duplicate" in changed.reason) == (PieceState.REJECTED, True)
        moved_on = post.model_copy(
            update={"caption": "Screens are one source of evening light.", "slides": ("Screens.",)}
        )
        await edit(room.runtime, BRAND, calm.id, moved_on, by="ann")
        await room.work()
        again = same.model_copy(update={"caption": CALM + " "})
        await edit(room.runtime, BRAND, changed.id, again, by="ann")
        await room.work()
        assert (await room.piece(changed)).state is PieceState.WAITING


async def test_what_waits_in_another_week_is_not_said_again_until_it_is_turned_down(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE, script=writer(CALM)) as room:
        first = await only_piece(room)
        assert first.state is PieceState.WAITING
        second = await room.drafted(cycle_key="2026-W52")
        assert await room.states(second) == [PieceState.REJECTED]
        (piece,) = await room.pieces(second)
        assert (
            f"near_duplicate (NEAR-DUPLICATE in caption: says nearly the same (1.00) as piece {first.id}"
            in piece.reason
        )
        await decide(room.runtime, BRAND, first.id, first.content_hash, Decision.REJECTED, by="ann")
        await room.work()
        assert await room.states(await room.drafted(cycle_key="2026-W53")) == [PieceState.WAITING]


async def test_pieces_of_one_week_that_wait_together_are_told_apart_by_their_human(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=TWO, script=writer(CALM)) as room:
        assert await room.states(await room.drafted()) == [PieceState.WAITING] * 2


async def test_a_model_that_says_something_else_after_a_near_duplicate_may_go_on(tmp_path: Path) -> None:
    script = writer(CALM, CALM, "Windows let through most visible light, and a desk near one is bright.")
    async with open_newsroom(tmp_path, grid=ONE, script=script) as room:
        await approve(room, await only_piece(room))
        session = await room.drafted(cycle_key="2027-W05")
        assert await room.states(session) == [PieceState.WAITING]


async def test_the_review_row_of_a_question_is_written_once_however_often_the_step_runs(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE, script=writer(CALM)) as room:
        piece = await only_piece(room)
        review = await room.records.get(Review, id=review_id(piece.id, piece.content_hash))
        for _ in range(3):
            await room.runtime.queue.enqueue(advance_piece_task(BRAND, piece.id, room.clock))
            await room.work()
        assert await room.records.get(Review, id=review.id) == review
        assert (await room.piece(piece)).model_copy(update={"row_version": piece.row_version}) == piece


async def test_a_piece_without_a_brief_fails_with_the_reason(tmp_path: Path) -> None:
    async with open_newsroom(tmp_path, grid=ONE, script=writer(CALM)) as room:
        session = await room.week()
        await room.work(most=1)
        (piece,) = await room.pieces(session)
        await room.records.delete(Assignment, session_id=session.id, id=piece.brief_id)
        await room.work(patience=timedelta(minutes=10))
        piece = await room.piece(piece)
        assert piece.state is PieceState.FAILED
        assert "NotFound" in piece.reason
        assert (await room.session(session)).status == "done"
