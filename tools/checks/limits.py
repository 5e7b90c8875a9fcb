"""What a platform would refuse: lengths, counts, forbidden characters, empty posts. Needs no rule pack."""

from __future__ import annotations

import re

from config.errors import BadInput
from config.platforms import UNIT_WORDS, Limits, find_hashtags, length, limits, outgoing_caption
from config.vocabulary import Severity
from memory.rows.checks import Finding
from memory.rows.content import Post

CHECK_TYPE = "limits"


def check_limits(post: Post) -> list[Finding]:
    """Every reason why the platform of `post` would refuse it, in the order of its fields; empty if it fits.

    Rule ids: LIMIT-CELL (the platform has no such content type), LIMIT-EMPTY, LIMIT-CAPTION, LIMIT-TITLE, LIMIT-CHARS,
    LIMIT-HASHTAGS, LIMIT-HASHTAG-FORM, LIMIT-MENTIONS, LIMIT-SLIDES, LIMIT-PARTS, LIMIT-PART, LIMIT-ALT. All critical.
    """
    try:
        cell = limits(post.platform, post.content_type)
    except BadInput as error:
        return [_finding("LIMIT-CELL", "content_type", post.content_type, str(error), "")]
    return [*_empty(post, cell), *_text(post, cell), *_counts(post, cell)]


def _finding(
    rule: str, field: str, text: str, suggestion: str, source: str, *, start: int = 0, quote: str | None = None
) -> Finding:
    shown = text[start:] if quote is None else quote
    return Finding(
        rule=rule,
        check_type=CHECK_TYPE,
        severity=Severity.CRITICAL,
        field=field,
        start=start,
        end=start + len(shown),
        quote=shown,
        suggestion=suggestion,
        source=source,
    )


_HOLDS = {"reel": "script", "thread": "parts", "carousel": "slides", "story": "slides", "quote": "slides"}
"""The field that carries a content type; its media may stand for all but a thread's."""


def missing_fields(post: Post) -> list[str]:
    """The fields that a human has to fill before anything of `post` can go out, what carries it first; empty if it has all."""
    try:
        cell = limits(post.platform, post.content_type)
    except BadInput:
        return []
    lacking = [name] if (name := _lacking(post, cell)) else []
    if (
        lacking
        and post.content_type not in ("thread", "story")
        and not post.caption.strip()
        and "caption" not in lacking
    ):
        lacking.append("caption")
    return [*lacking, *(["title"] if cell.title_required and not post.title.strip() else [])]


def _lacking(post: Post, cell: Limits) -> str:
    wanted = _HOLDS.get(post.content_type, "caption")
    given = getattr(post, wanted)
    if any(text.strip() for text in ((given,) if isinstance(given, str) else given)):
        return ""
    if post.media and wanted in ("script", "slides"):
        return ""
    if post.content_type == "quote" and cell.text_alone and post.caption.strip():
        return ""
    return wanted


def _empty(post: Post, cell: Limits) -> list[Finding]:
    wanted = _lacking(post, cell)
    if not wanted:
        return []
    media = " or media" if wanted in ("script", "slides") else ""
    advice = (
        f"a {post.content_type} for {post.platform} needs {wanted}{media}: write `review edit ID --set {wanted}=TEXT`"
    )
    return [_finding("LIMIT-EMPTY", wanted, "", advice, cell.source)]


def _text(post: Post, cell: Limits) -> list[Finding]:
    found = []
    words = UNIT_WORDS[cell.unit]
    if post.content_type != "thread":
        size = length(outgoing_caption(post.caption, post.hashtags), cell.unit)
        if size > cell.caption:
            over = f"caption with hashtags is {size} {words}, {post.platform} takes {cell.caption}: shorten it"
            found.append(_finding("LIMIT-CAPTION", "caption", post.caption, over, cell.source))
    if cell.title_required and not post.title.strip():
        found.append(_finding("LIMIT-TITLE", "title", "", f"{post.platform} needs a title: write one", cell.source))
    if cell.title and (size := length(post.title, cell.title_unit)) > cell.title:
        over = f"title is {size} {UNIT_WORDS[cell.title_unit]}, {post.platform} takes {cell.title}: shorten it"
        found.append(_finding("LIMIT-TITLE", "title", post.title, over, cell.source))
    for field, text in (("title", post.title), ("caption", post.caption)):
        for at, char in enumerate(text):
            if char in cell.forbidden:
                advice = f"{post.platform} refuses {char!r} in the {field}: remove it"
                found.append(_finding("LIMIT-CHARS", field, text, advice, cell.source, start=at, quote=char))
    for n, part in enumerate(post.parts):
        if (size := length(part, cell.unit)) > cell.caption:
            over = f"part {n + 1} is {size} {words}, {post.platform} takes {cell.caption}: shorten it"
            found.append(_finding("LIMIT-PART", f"parts[{n}]", part, over, cell.source))
        elif not part.strip():
            found.append(
                _finding("LIMIT-PART", f"parts[{n}]", part, f"part {n + 1} is empty: write or remove it", cell.source)
            )
    for n, text in enumerate(post.alt_text):
        if len(text) > cell.alt_text:
            over = f"alt text {n + 1} is {len(text)} characters, {post.platform} takes {cell.alt_text}: shorten it"
            found.append(_finding("LIMIT-ALT", f"alt_text[{n}]", text, over, cell.source))
    return found


def _counts(post: Post, cell: Limits) -> list[Finding]:
    found = []
    for n, tag in enumerate(post.hashtags):
        if find_hashtags(tag) != [tag] or tag[1:].isdigit():
            advice = "a hashtag is # and letters, digits or _, not digits alone: mend it"
            found.append(_finding("LIMIT-HASHTAG-FORM", f"hashtags[{n}]", tag, advice, cell.source))
    texts = " ".join((post.caption, *post.parts))
    tags = {tag.lower() for tag in (*post.hashtags, *find_hashtags(texts))}
    if len(tags) > cell.hashtags:
        extra = post.hashtags[-1] if post.hashtags else ""
        field = f"hashtags[{len(post.hashtags) - 1}]" if post.hashtags else "caption"
        over = f"{len(tags)} hashtags, {post.platform} takes {cell.hashtags}: remove {len(tags) - cell.hashtags}"
        found.append(_finding("LIMIT-HASHTAGS", field, extra, over, cell.source))
    mentions = set(re.findall(r"(?<![\w.])@\w+", post.caption))
    if cell.mentions and len(mentions) > cell.mentions:
        over = f"{len(mentions)} mentions, {post.platform} takes {cell.mentions}: remove some"
        found.append(_finding("LIMIT-MENTIONS", "caption", post.caption, over, cell.source))
    for name, span, rule in (("slides", cell.slides, "LIMIT-SLIDES"), ("parts", cell.parts, "LIMIT-PARTS")):
        items = getattr(post, name)
        if items and span is None and name == "parts":
            found.append(
                _finding(
                    rule,
                    "parts[0]",
                    items[0],
                    f"a {post.content_type} has no parts: move them to the caption",
                    cell.source,
                )
            )
        if items and span is not None and not span[0] <= len(items) <= span[1]:
            over = f"{len(items)} {name}, {post.platform} takes {span[0]} to {span[1]}: add or remove some"
            found.append(_finding(rule, f"{name}[{len(items) - 1}]", items[-1], over, cell.source))
    return found
