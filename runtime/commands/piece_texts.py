"""The texts that a piece has had, in the order in which they were its text, and what was found in each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memory.records.protocol import Records
    from memory.rows.checks import ComplianceCheck
    from memory.rows.content import Piece, Post, Revision

_WORDS = re.compile(r"\w+|[^\w\s]")


async def revisions(records: Records, piece: Piece) -> list[Revision]:
    """The piece's revisions in the order in which they were written."""
    from memory.rows.content import Revision

    rows = await records.list_rows(Revision, content_id=piece.id)
    return sorted(rows, key=lambda row: (row.created_at, row.run, row.revision))


def as_used(rows: Sequence[Revision], checks: Sequence[ComplianceCheck], piece: Piece) -> list[Revision]:
    """The revisions by the last time when each was the piece's text, the present one last.

    Somebody who goes back to an earlier text makes no new revision, so when it was written says nothing of what it replaced:
    when it was last checked does.
    """
    used = {row.content_hash: (row.run, row.created_at) for row in rows}
    for check in checks:
        if check.content_hash in used:
            used[check.content_hash] = max(used[check.content_hash], (check.run, check.created_at))
    return sorted(
        rows, key=lambda row: (row.content_hash == piece.content_hash, used[row.content_hash], row.run, row.revision)
    )


def last_checks(checks: Sequence[ComplianceCheck], content_hash: str) -> list[ComplianceCheck]:
    """What was found when these bytes were last checked, by check type; older rounds are history."""
    own = [check for check in checks if check.content_hash == content_hash]
    run = max((check.run for check in own), default=0)
    return sorted((check for check in own if check.run == run), key=lambda check: check.check_type)


def post_lines(post: Post) -> list[str]:
    """Every outgoing text with its field's name before it, a line each."""
    return [f"{name}: {line}" for name, text in post.fields() for line in text.split("\n")]


def changed_lines(before: Post, after: Post) -> list[str]:
    """The lines that left (-) and came (+), by field."""
    diff = difflib.unified_diff(post_lines(before), post_lines(after), lineterm="", n=0)
    # The two file names come first; a text may begin with dashes of its own.
    return [line for line in list(diff)[2:] if not line.startswith("@@ ")]


def with_words(lines: Sequence[str]) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Each line of a diff with the spans of its words that differ from the line in whose place it stands; none where it has none.

    A line that left and one that came belong together when they say much the same.
    """
    at = 0
    while at < len(lines):
        left = at
        while at < len(lines) and lines[at].startswith("-"):
            at += 1
        came = at
        while at < len(lines) and lines[at].startswith("+"):
            at += 1
        if at == left:
            yield lines[at], []
            at += 1
            continue
        gone, new = lines[left:came], lines[came:at]
        spans: dict[int, list[tuple[int, int]]] = {}
        for n, (was, now) in enumerate(zip(gone, new, strict=False)):
            spans[left + n], spans[came + n] = _differing(was, now)
        for n in range(left, at):
            yield lines[n], spans.get(n, [])


def _differing(was: str, now: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    # Behind the sign and the field's name, which is mostly the same and says nothing of the text.
    ours, theirs = (
        [(m.group(), m.start(), m.end()) for m in _WORDS.finditer(line, line.index(": ") + 2)] for line in (was, now)
    )
    matcher = difflib.SequenceMatcher(None, [word for word, _, _ in ours], [word for word, _, _ in theirs], False)
    if matcher.ratio() < 0.4:
        return [], []
    left, right = [], []
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            continue
        if b > a:
            left.append((ours[a][1], ours[b - 1][2]))
        if d > c:
            right.append((theirs[c][1], theirs[d - 1][2]))
    return left, right
