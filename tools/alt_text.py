"""Alt text and media prompts quote what a post shows: kept in step with a human's edit, or said to be old."""

from __future__ import annotations

import re
from collections.abc import Sequence

from config.vocabulary import Severity
from memory.rows.checks import Finding
from memory.rows.content import Post

_LABEL = re.compile(r"^(?:Hook|Open|Scene [0-9]+|Close):\s*")
_SHOWN = ("slides", "parts", "on_screen_text")
_QUOTING = ("alt_text", "media_prompts")


def follow(old: Post, new: Post) -> tuple[Post, list[str]]:
    """`new` with the alt text and media prompts, as far as nobody touched them, quoting its words instead of those of `old`.

    Also the names of the entries that were changed: ['alt_text[0]', ...]. What does not hold the old words verbatim is left.
    """
    pairs = _replaced(old, new)
    if not pairs:
        return new, []
    ranked = sorted(pairs, key=len, reverse=True)
    pattern = re.compile("|".join(_quoted(text) for text in ranked))
    changed: dict[str, tuple[str, ...]] = {}
    said = []
    for name in _QUOTING:
        before, given = getattr(old, name), list(getattr(new, name))
        for n, text in enumerate(given):
            if n < len(before) and text == before[n]:
                given[n] = pattern.sub(lambda match: pairs[match.group(0)], text)
                said += [f"{name}[{n}]"] if given[n] != text else []
        changed[name] = tuple(given)
    return new.model_copy(update=changed), said


def old_alt_text(post: Post, earlier: Sequence[Post]) -> list[Finding]:
    """A preferred finding for each slide that was changed since its alt text was written; `earlier` is oldest first."""
    base = next((one for one in earlier if one.alt_text == post.alt_text), None)
    if base is None or not post.alt_text or base.slides == post.slides:
        return []
    if len(base.slides) != len(post.slides):
        return [_may_be_old(post, 0)]
    return [
        _may_be_old(post, n)
        for n, (was, now) in enumerate(zip(base.slides, post.slides, strict=True))
        if was != now and n < len(post.alt_text) and _flat(now) not in post.alt_text[n]
    ]


def _may_be_old(post: Post, n: int) -> Finding:
    text = post.alt_text[n]
    return Finding(
        rule="ALT-OLD",
        check_type="limits",
        severity=Severity.PREFERRED,
        field=f"alt_text[{n}]",
        start=0,
        end=len(text),
        quote=text[:160],
        suggestion="the alt text may be old: the slide was changed after it was written; read it again",
        source="docs/linter.md",
    )


def _flat(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _replaced(old: Post, new: Post) -> dict[str, str]:
    """Old words -> new words, of each place that both posts have and that says something else now."""
    places = [(getattr(old, name), getattr(new, name)) for name in _SHOWN]
    places.append(
        ([_LABEL.sub("", x) for x in old.script.split("\n")], [_LABEL.sub("", x) for x in new.script.split("\n")])
    )
    return {
        _flat(was): _flat(now)
        for before, after in places
        if len(before) == len(after)
        for was, now in zip(before, after, strict=True)
        if _flat(was) != _flat(now) and _flat(was) and _flat(now)
    }


def _quoted(text: str) -> str:
    """A pattern for `text` as whole words; a word or two count only where they stand behind a colon, as a quotation does."""
    behind = r"(?<=: )" if len(text.split()) < 3 else r"(?<!\w)"
    return rf"{behind}{re.escape(text)}(?!\w)"
