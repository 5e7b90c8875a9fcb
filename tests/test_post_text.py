"""A post as text for an editor, and back."""

from __future__ import annotations

from memory.rows.content import Post
from runtime.commands.post_text import from_text, to_text


def test_line_ends_of_a_post_survive_an_editor_that_changes_them() -> None:
    post = Post(
        platform="instagram", content_type="carousel", caption="one\r\ntwo\rthree\n", slides=("a\r=== title ===", "b")
    )
    shown = to_text(post)
    for text in (shown, shown.replace("\r\n", "\n").replace("\r", "\n"), shown.replace("\n", "\r\n")):
        assert from_text(text, post) == post
    edited = from_text(shown.replace("b\n", "c\n"), post)
    assert edited.caption == post.caption
    assert edited.slides == ("a\r=== title ===", "c")
