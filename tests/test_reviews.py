"""What humans decide: once for exactly these bytes, by one of them; edits that start the checks again; nothing half done."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import FOREVER
from config.errors import AlreadyPublished, Busy, Conflict, NotFound
from config.vocabulary import CHECK_TYPES, Decision, PieceState
from graphs.context import advance_piece_task
from graphs.ids import review_id
from graphs.piece import RULE_CHECKS
from graphs.pieces import rests_on
from memory.rows.checks import ComplianceCheck, Review
from memory.rows.content import ContentEmbedding, Piece, Post, Revision
from memory.rows.sessions import Session
from runtime import reviews
from runtime.commands.piece_texts import as_used
from runtime.commands.review_view import load_view
from runtime.hold import hold_piece
from runtime.publish_due import publish_piece, subject_of
from runtime.reviews import Decided, decide, edit
from tests.fakes.newsroom import BRAND, Newsroom, Script, open_newsroom, words
from tools.publish.ledger import Status

ONE = (("monday", "facebook", "quote", "08:00"),)
CALM = "Morning light helps set the body clock."
MENDED = "A short walk outside is enough for most days."


def room_of(folder: Path, caption: str = CALM, **more: Any) -> Any:
    post = words(caption, slides=[caption], alt_text=["A card"], media_prompts=["A card"])
    return open_newsroom(folder, grid=ONE, script=Script(write=lambda _: post), **more)


async def only_piece(room: Newsroom) -> Piece:
    (piece,) = await room.pieces(await room.drafted())
    return piece


async def say(room: Newsroom, piece: Piece, decision: Decision, *, by: str = "ann", work: bool = True) -> Decided:
    decided = await decide(room.runtime, BRAND, piece.id, piece.content_hash, decision, by=by)
    if work:
        await room.work()
    return decided


async def with_caption(room: Newsroom, piece: Piece, caption: str = MENDED) -> Post:
    return (await room.post(piece)).model_copy(update={"caption": caption, "slides": (caption,)})


async def mend(room: Newsroom, piece: Piece, caption: str = MENDED, *, by: str = "bob", work: bool = True) -> Revision:
    revision = await edit(room.runtime, BRAND, piece.id, await with_caption(room, piece, caption), by=by)
    if work:
        await room.work()
    return revision


async def kinds_checked(room: Newsroom, content_hash: str, piece: Piece) -> set[str]:
    rows = await room.records.list_rows(ComplianceCheck, content_id=piece.id)
    return {row.check_type for row in rows if row.content_hash == content_hash}


async def test_a_decision_on_other_bytes_is_refused_and_names_what_is_pending(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        with pytest.raises(Conflict, match=f"{'0' * 12} is not pending, {piece.content_hash[:12]} is"):
            await decide(room.runtime, BRAND, piece.id, "0" * 64, Decision.APPROVED, by="ann")
        assert (await room.piece(piece)).state is PieceState.WAITING


async def test_an_unknown_piece_is_not_found(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        await only_piece(room)
        with pytest.raises(NotFound):
            await decide(room.runtime, BRAND, "nobody", "0" * 64, Decision.APPROVED, by="ann")


async def test_of_two_deciders_one_wins_and_the_other_is_told_who_won(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        told = await asyncio.gather(
            say(room, piece, Decision.APPROVED, by="ann", work=False),
            say(room, piece, Decision.REJECTED, by="bob", work=False),
            return_exceptions=True,
        )
        (won,) = [t for t in told if isinstance(t, Decided)]
        (lost,) = [t for t in told if isinstance(t, Conflict)]
        assert won.won
        assert f"{won.by} decided first: {won.decision}" in str(lost)
        await room.work()
        wanted = PieceState.APPROVED if won.decision == "approved" else PieceState.REJECTED
        assert (await room.piece(piece)).state is wanted


async def test_saying_the_same_twice_is_harmless_and_names_the_first(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        assert (await say(room, piece, Decision.APPROVED, by="ann")).won
        again = await say(room, piece, Decision.APPROVED, by="bob")
        assert (again.won, again.by) == (False, "ann")
        with pytest.raises(Conflict, match="ann decided first: approved"):
            await say(room, piece, Decision.REJECTED, by="bob")


async def test_a_piece_that_failed_its_checks_cannot_be_approved(tmp_path: Path) -> None:
    async with room_of(tmp_path, "") as room:
        room.script.write = lambda _: words("", gaps=["nothing is known of light"])
        piece = await only_piece(room)
        assert (await room.records.get(Review, id=review_id(piece.id, piece.content_hash))).result == "failed"
        with pytest.raises(Conflict, match="cannot be approved as it is"):
            await say(room, piece, Decision.APPROVED)
        await say(room, piece, Decision.REJECTED)
        assert (await room.piece(piece)).state is PieceState.REJECTED


async def test_nobody_decides_what_no_human_was_asked_about(tmp_path: Path) -> None:
    async with room_of(tmp_path, approval='"flagged"', rules_only_ok="true") as room:
        piece = await only_piece(room)
        assert piece.state is PieceState.APPROVED
        with pytest.raises(Conflict, match="no human is asked"):
            await say(room, piece, Decision.REJECTED)


async def test_a_decided_review_is_not_listed_as_open_before_it_is_applied(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        assert len(await room.asked_reviews()) == 1
        await say(room, piece, Decision.APPROVED, work=False)
        assert await room.asked_reviews() == []
        await room.work()
        assert await room.records.find_by(Review, decision=Decision.PENDING) == []


@pytest.mark.parametrize("before", [PieceState.WAITING, PieceState.APPROVED, PieceState.REJECTED])
async def test_an_edit_starts_the_next_run_at_the_checks_and_the_new_bytes_wait_for_a_human(
    tmp_path: Path, before: PieceState
) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        if before is not PieceState.WAITING:
            await say(room, piece, Decision.APPROVED if before is PieceState.APPROVED else Decision.REJECTED)
        assert (await room.piece(piece)).state is before
        asked = len(room.script.asked)
        revision = await mend(room, piece)
        after = await room.piece(piece)
        assert (after.state, after.run, after.content_hash, after.sealed_hash, after.content_version) == (
            PieceState.WAITING, 2, revision.content_hash, "", piece.content_version + 1,
        )  # fmt: skip
        assert not [a for a in room.script.asked[asked:] if a.get("task") == "draft"], "no model rewrites a human"
        every = {*CHECK_TYPES, *RULE_CHECKS}
        assert await kinds_checked(room, piece.content_hash, piece) == every
        assert await kinds_checked(room, revision.content_hash, piece) == every
        slot = await room.slot(after)
        assert (slot.state, slot.sealed_hash) == (PieceState.WAITING, "")
        (open_review,) = await room.asked_reviews()
        assert open_review.content_hash == revision.content_hash
        old = await room.records.get(Review, id=review_id(piece.id, piece.content_hash))
        assert old.decision == {"waiting": "edited", "approved": "approved", "rejected": "rejected"}[before]
        await say(room, after, Decision.APPROVED, by="cid")
        sealed = await room.piece(piece)
        assert (sealed.state, sealed.sealed_hash) == (PieceState.APPROVED, revision.content_hash)


async def test_an_edit_that_says_something_forbidden_is_rejected_and_not_rewritten(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        await mend(room, piece, "Light cures cancer.")
        after = await room.piece(piece)
        assert (after.state, after.sealed_hash) == (PieceState.REJECTED, "")
        assert "medical_claim" in after.reason


async def test_an_edit_of_gaps_by_a_human_becomes_a_post(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        room.script.write = lambda _: words("", gaps=["nothing is known of light"])
        piece = await only_piece(room)
        post = (await room.post(piece)).model_copy(
            update={"caption": CALM, "slides": (CALM,), "alt_text": ("A card",), "media_prompts": ("A card",)}
        )
        await edit(room.runtime, BRAND, piece.id, post, by="bob")
        await room.work()
        after = await room.piece(piece)
        assert after.state is PieceState.WAITING
        await say(room, after, Decision.APPROVED)
        assert (await room.piece(piece)).state is PieceState.APPROVED


async def test_an_edit_that_changes_nothing_or_the_kind_of_post_is_refused(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        post = await room.post(piece)
        with pytest.raises(Conflict, match="unchanged"):
            await edit(room.runtime, BRAND, piece.id, post, by="bob")
        with pytest.raises(Conflict, match="cannot change that"):
            await edit(room.runtime, BRAND, piece.id, post.model_copy(update={"platform": "twitter"}), by="bob")
        assert (await room.piece(piece)).run == 1


async def test_a_piece_under_way_cannot_be_edited(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        session = await room.week()
        await room.work(most=1)
        (piece,) = await room.pieces(session)
        post = Post(platform="facebook", content_type="quote", caption=CALM)
        with pytest.raises(Conflict, match="once it is settled"):
            await edit(room.runtime, BRAND, piece.id, post, by="bob")


async def test_an_edit_waits_for_the_lease_and_gives_up_in_time(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        post = await with_caption(room, piece)
        async with hold_piece(room.runtime, BRAND, piece.id):
            with pytest.raises(Busy):
                await edit(room.runtime, BRAND, piece.id, post, by="bob", wait=timedelta(seconds=2))
        assert (await room.piece(piece)).run == 1


async def test_an_edit_and_an_approval_at_the_same_moment_leave_one_winner(tmp_path: Path) -> None:
    for n in range(3):
        async with room_of(tmp_path / str(n)) as room:
            piece = await only_piece(room)
            told = await asyncio.gather(
                say(room, piece, Decision.APPROVED, by="ann", work=False),
                mend(room, piece, by="bob", work=False),
                return_exceptions=True,
            )
            await room.work()
            after = await room.piece(piece)
            lost = [t for t in told if isinstance(t, BaseException)]
            assert len(lost) == 1
            assert isinstance(lost[0], Conflict)
            if isinstance(told[0], Decided):
                assert (after.state, after.sealed_hash, after.run) == (PieceState.APPROVED, piece.content_hash, 1)
                assert "ann decided first" in str(lost[0])
            else:
                assert (after.state, after.sealed_hash, after.run) == (PieceState.WAITING, "", 2)


async def test_an_edit_after_an_approval_that_is_not_applied_yet_is_refused(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        await say(room, piece, Decision.APPROVED, work=False)
        with pytest.raises(Conflict, match="ann decided first: approved"):
            await mend(room, piece)
        await room.work()
        assert (await room.piece(piece)).sealed_hash == piece.content_hash


async def test_the_edit_of_a_dead_editor_is_finished_by_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its decision is recorded and nothing is applied yet."""

    class Died(BaseException):
        pass

    async def dies(*_: Any, **__: Any) -> Piece:
        raise Died

    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        with monkeypatch.context() as patched:
            patched.setattr(reviews, "apply_edit", dies)
            with pytest.raises(Died):
                await mend(room, piece)
        found = await room.records.find_once("decision", f"{piece.id}|{piece.content_hash}", Review)
        assert found is not None
        assert (found.row.decision, (await room.piece(piece)).run) == (Decision.EDITED, 1)
        with pytest.raises(Conflict, match="bob decided first: edited"):
            await say(room, piece, Decision.APPROVED)
        await room.runtime.queue.enqueue(advance_piece_task(BRAND, piece.id, room.clock))
        await room.work()
        after = await room.piece(piece)
        assert (after.state, after.run, after.content_hash) == (PieceState.WAITING, 2, found.row.edited_to)
        old = await room.records.get(Review, id=review_id(piece.id, piece.content_hash))
        assert (old.decision, old.reviewer, old.edited_to) == (Decision.EDITED, "bob", after.content_hash)
        await say(room, after, Decision.APPROVED)
        assert (await room.piece(piece)).sealed_hash == after.content_hash


async def test_going_back_to_text_that_was_turned_down_is_refused(tmp_path: Path) -> None:
    """The old decision is about these bytes and would answer by itself."""
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        await say(room, piece, Decision.REJECTED)
        await mend(room, piece)
        with pytest.raises(Conflict, match="ann has rejected exactly this text before"):
            await mend(room, piece, CALM)
        after = await room.piece(piece)
        assert (after.state, after.run) == (PieceState.WAITING, 2)


async def test_two_texts_that_replace_each_other_are_refused(tmp_path: Path) -> None:
    """Each edit would undo the other at every look."""
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        await mend(room, piece)
        with pytest.raises(Conflict, match="bob has edited exactly this text before"):
            await mend(room, piece, CALM)
        assert (await room.piece(piece)).run == 2


async def test_going_back_to_text_that_was_approved_checks_it_again_and_keeps_the_approval(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        await say(room, piece, Decision.APPROVED)
        await mend(room, piece)
        await mend(room, piece, CALM)
        after = await room.piece(piece)
        assert (after.state, after.sealed_hash, after.run) == (PieceState.APPROVED, piece.content_hash, 3)
        rows = await room.records.list_rows(ComplianceCheck, content_id=piece.id)
        assert {row.check_type for row in rows if row.run == 3} == {*CHECK_TYPES, *RULE_CHECKS}


async def go(room: Newsroom, piece: Piece) -> Piece:
    """Publish what is due."""
    async with hold_piece(room.runtime, BRAND, piece.id) as guard:
        await publish_piece(room.runtime, BRAND, piece.id, guard)
    return await room.piece(piece)


async def test_an_edited_approved_piece_goes_out_as_the_next_attempt_with_the_new_bytes(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        await say(room, piece, Decision.APPROVED)
        revision = await mend(room, piece)
        held = await room.runtime.ledger(BRAND).read(
            subject_of(room.runtime, await room.piece(piece), await room.slot(piece)).pub_key, 1
        )
        assert (held.status, held.attempt) == (Status.NOT_SENT, 1)
        assert (await go(room, piece)).state is PieceState.WAITING, "nothing goes out while it waits again"
        await say(room, await room.piece(piece), Decision.APPROVED, by="cid")
        slot = await room.slot(piece)
        room.clock.advance(slot.scheduled_at - room.clock.now())
        out = await go(room, piece)
        assert (out.state, out.sealed_hash) == (PieceState.PUBLISHED, revision.content_hash)
        slot = await room.slot(piece)
        assert slot.result_data["attempt"] == "2"
        files = [f for f in (tmp_path / "outbox").rglob("*") if f.is_file()]
        written = "".join(f.read_text() for f in files if f.suffix in (".json", ".md", ".txt"))
        assert MENDED in written
        assert CALM not in written
        assert (await room.records.get(ContentEmbedding, id=piece.id)).compliance_status == "approved"


async def test_what_is_out_cannot_be_edited(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        await say(room, piece, Decision.APPROVED)
        room.clock.advance((await room.slot(piece)).scheduled_at - room.clock.now())
        assert (await go(room, piece)).state is PieceState.PUBLISHED
        with pytest.raises(AlreadyPublished, match="piece copy"):
            await mend(room, piece)


async def test_an_edit_starts_an_ended_session_again_until_the_new_bytes_are_decided(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        session: Session = await room.week()
        await room.work()
        (piece,) = await room.pieces(session)
        assert (await room.session(session)).status == "waiting"
        await mend(room, piece)
        assert (await room.session(session)).status == "waiting"
        await say(room, await room.piece(piece), Decision.APPROVED)
        done = await room.session(session)
        assert (done.status, done.finished_at) == ("done", room.clock.now())
        assert done.finished_at is not None
        assert done.finished_at < FOREVER


async def test_an_edit_of_what_somebody_else_edited_meanwhile_is_refused_and_undoes_nothing(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        seen = await only_piece(room)
        post = await with_caption(room, seen, "Screens are one source of evening light.")
        await mend(room, seen)
        before = await room.piece(seen)
        with pytest.raises(Conflict, match="was changed while you edited: it is waiting with"):
            await edit(room.runtime, BRAND, seen.id, post, by="ann", seen=seen)
        assert await room.piece(seen) == before


async def test_an_edit_of_what_somebody_else_approved_meanwhile_leaves_the_approval(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        seen = await only_piece(room)
        await say(room, seen, Decision.APPROVED)
        with pytest.raises(Conflict, match="it is approved with"):
            await edit(room.runtime, BRAND, seen.id, await with_caption(room, seen), by="bob", seen=seen)
        after = await room.piece(seen)
        assert (after.state, after.sealed_hash) == (PieceState.APPROVED, seen.content_hash)


async def test_who_edited_and_why_stands_in_the_review_of_the_old_text(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        post = await with_caption(room, piece)
        await edit(room.runtime, BRAND, piece.id, post, by="bob", reason="too stiff")
        row = await room.records.get(Review, id=review_id(piece.id, piece.content_hash))
        assert (row.decision, row.reviewer, row.reason) == (Decision.EDITED, "bob", "too stiff")
        assert row.edited_to == post.content_hash


async def test_words_of_an_agent_that_a_human_goes_back_to_are_the_humans_and_not_rewritten(tmp_path: Path) -> None:
    """The agent had written them, and revised them away because a rule objected."""
    left = ["Light cures cancer.", CALM]
    script = Script(write=lambda _: words(said := left.pop(0), slides=[said], alt_text=["A card"]))
    async with open_newsroom(tmp_path, grid=ONE, script=script) as room:
        piece = await only_piece(room)
        assert (piece.state, left) == (PieceState.WAITING, [])
        rows = await room.records.list_rows(Revision, content_id=piece.id)
        (first,) = [row for row in rows if row.content_hash != piece.content_hash]
        await edit(room.runtime, BRAND, piece.id, first.post, by="bob")
        await room.work()
        after = await room.piece(piece)
        assert (after.state, after.content_hash) == (PieceState.REJECTED, first.content_hash)
        assert "medical_claim" in after.reason
        review = await room.records.get(Review, id=review_id(piece.id, piece.content_hash))
        assert review.reviewer == "bob"


async def test_what_changed_is_told_of_the_text_that_was_replaced_also_after_going_back(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        await say(room, piece, Decision.APPROVED)
        await mend(room, piece)
        assert (await load_view(room.records, piece.id)).changes()[:2] == [f"-caption: {CALM}", f"-slides[0]: {CALM}"]
        await mend(room, piece, CALM)
        view = await load_view(room.records, piece.id)
        assert view.changes()[:2] == [f"-caption: {MENDED}", f"-slides[0]: {MENDED}"]
        assert len(view.checks) == len({*CHECK_TYPES, *RULE_CHECKS}), "those of the last round alone"
        third = "Screens are one source of evening light."
        await mend(room, piece, third)
        assert (await load_view(room.records, piece.id)).changes()[:2] == [f"-caption: {CALM}", f"-slides[0]: {CALM}"]
        await mend(room, piece, CALM, work=False)
        rows, checks = [await room.records.list_rows(of, content_id=piece.id) for of in (Revision, ComplianceCheck)]
        order = as_used(rows, checks, await room.piece(piece))
        assert [row.post.caption for row in order] == [MENDED, third, CALM], "also before it is checked"


async def test_what_a_rule_found_before_it_was_changed_does_not_stand_in_the_way(tmp_path: Path) -> None:
    zebra = "A zebra walks in the evening light."
    rule = '[[guideline]]\ntype = "voice"\ntitle = "No zebras"\nrestrictions = ["zebra"]\nseverity = "critical"\n'
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        guidelines = tmp_path / "brands" / BRAND / "guidelines.toml"
        guidelines.write_text(rule)
        await mend(room, piece, zebra)
        assert (await room.piece(piece)).state is PieceState.REJECTED
        await mend(room, piece)
        guidelines.write_text("")
        await mend(room, piece, zebra)
        view = await load_view(room.records, piece.id)
        assert (view.piece.state, view.can_pass) == (PieceState.WAITING, True)
        assert [finding.rule for finding in view.findings] == ["ALT-OLD"]
        (review,) = await room.asked_reviews()
        assert (str(review.result), review.findings, review.severity) == ("warning", 1, "preferred")


async def test_an_edit_keeps_the_sources_of_the_sentences_that_still_stand_and_no_others(tmp_path: Path) -> None:
    """The sentence of a screen may be broken over its lines; who removes a sentence removes its source."""
    first, second = "A short walk outside is enough.", "Curtains keep out street light."
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        row = await room.records.get(Revision, content_id=piece.id, content_hash=piece.content_hash)
        post = row.post.model_copy(
            update={
                "caption": f"{CALM} {second}",
                "slides": (),
                "on_screen_text": ("A short walk", "outside is enough."),
            }
        )
        cites = {"sources": ("k1", "k2", "k3"), "citations": {CALM: "k1", first: "k2", second: "k1", "Nowhere.": "k3"}}
        old = row.model_copy(update={"post": post, **cites})
        both = rests_on(old, post.model_copy(update={"caption": f"{second} New words."}))
        assert both == {"sources": ("k1", "k2", "k3"), "citations": {first: "k2", second: "k1", "Nowhere.": "k3"}}
        none = rests_on(old, post.model_copy(update={"caption": "New.", "slides": (), "on_screen_text": ()}))
        assert none == {"sources": ("k3",), "citations": {"Nowhere.": "k3"}}


async def test_the_loser_of_two_deciders_is_told_what_can_still_be_done(tmp_path: Path) -> None:
    async with room_of(tmp_path) as room:
        piece = await only_piece(room)
        await say(room, piece, Decision.REJECTED)
        with pytest.raises(Conflict, match=f"ann decided first: rejected; .*`review edit {piece.id}`"):
            await say(room, piece, Decision.APPROVED, by="bob")
