"""A post as text that a human changes in an editor, and back: a line `=== field ===` before each of its texts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from config.errors import BadInput

if TYPE_CHECKING:
    from memory.rows.content import Post

_HEAD = re.compile(r"=== ([a-z_]+)(?:\[(\d{1,3})\])? ===")
FIXED = ("platform", "content_type", "media")
"""What an edit of the words leaves alone."""
_HELP = """\
# Change the text below the === lines and save. Lines that begin with # up to the first === line are not part of it.
# A list (slides, parts, hashtags...) takes one more item by one more === line, and loses one with its === line.
# Leave everything as it is to change nothing."""


def to_text(post: Post) -> str:
    """`post` for an editor: the fields that it lacks, then every one that holds something, in the order in which it is read."""
    from tools.checks.limits import missing_fields

    blocks = [_block(name, text) for name, text in post.fields()]
    wanted = missing_fields(post)
    if not post.caption and not post.parts and "caption" not in wanted:
        wanted.append("caption")
    blocks[:0] = [f"=== {name} ===\n" for name in wanted if not getattr(post, name)]
    return "\n".join([_HELP, *blocks]) + "\n"


def from_text(text: str, post: Post) -> Post:
    """`post` with the texts that `text` holds: what stands there is what the post says, what is gone is gone.

    Numbers only give an order: items are numbered anew. Spaces at the end of a field and blank lines around it are dropped.
    A text that was not changed stays as it was, whichever line ends it has and whatever the editor made of them.
    Raises BadInput naming the line or the field.
    """
    from pydantic import ValidationError

    from memory.rows.content import Post

    values: dict[str, Any] = {name: getattr(post, name) for name in FIXED}
    lists: dict[str, list[tuple[int, int, str]]] = {}
    shown = {(head, said): whole for field, whole in post.fields() for head, _, said in _blocks(_block(field, whole))}
    for count, (name, n, said) in enumerate(_blocks(text)):
        if name not in Post.model_fields or name in FIXED:
            known = ", ".join(field for field in Post.model_fields if field not in FIXED)
            raise BadInput(f"=== {name} ===: a post has no such field: there are {known}")
        said = shown.get((name, said), said) if said else ""
        if isinstance(getattr(post, name), tuple):
            if said:
                lists.setdefault(name, []).append((int(n) if n else count, count, said))
        elif n or name in values:
            raise BadInput(f"=== {name}{f'[{n}]' if n else ''} ===: {name} is one text: give it once, without a number")
        else:
            values[name] = said
    for name, items in lists.items():
        values[name] = [said for _, _, said in sorted(items)]
    try:
        return Post.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}") from None


def _block(name: str, text: str) -> str:
    return f"=== {name} ===\n{_guarded(text)}"


def _guarded(text: str) -> str:
    """A text line that looks like one of ours gets a backslash, which reading takes away."""
    return "\n".join(
        f"\\{line}" if _HEAD.fullmatch(line.lstrip("\\")) else line for line in re.split(r"\r\n?|\n", text)
    )


def _blocks(text: str) -> list[tuple[str, str, str]]:
    """(field, number or '', text) of each block."""
    found: list[tuple[str, str, list[str]]] = []
    for number, line in enumerate(re.split(r"\r\n?|\n", text.removeprefix("\ufeff")), start=1):
        head = _HEAD.fullmatch(line.strip())
        if head and not line.startswith("\\"):
            found.append((head[1], head[2] or "", []))
        elif found:
            plain = line.removeprefix("\\") if _HEAD.fullmatch(line.lstrip("\\")) else line
            found[-1][2].append(plain)
        elif line.strip() and not line.startswith("#"):
            raise BadInput(f"line {number}: {line[:60]!r} stands before the first === line: put it under one")
    if not found:
        raise BadInput("no === line is left: nothing was changed")
    return [(name, n, "\n".join(lines).strip("\n").rstrip()) for name, n, lines in found]
