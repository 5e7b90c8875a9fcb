"""What `review show` draws of a post."""

from __future__ import annotations

import io

from rich.console import Console

from config.clock import ManualClock
from memory.rows.content import Piece, Post, Revision
from runtime.commands.review_view import View, draw_view, edit_words


def drawn(post: Post) -> str:
    """The page about a piece that holds this post."""
    now = ManualClock().now()
    shared = {"brand": "acme", "content_hash": post.content_hash, "created_at": now}
    piece = Piece(
        id="p1", platform=post.platform, content_type=post.content_type, session_id="s1", updated_at=now, **shared
    )
    revision = Revision(content_id="p1", post=post, author="creation", **shared)
    out = io.StringIO()
    draw_view(Console(file=out, width=100), View(piece, revision, [], {}, {}, None))
    return out.getvalue()


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
