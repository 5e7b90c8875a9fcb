"""What an author marks up and a reader never sees: front matter, comments, tags, links and emphasis, taken off a document."""

from __future__ import annotations

import re

_FRONT = re.compile(r"\A\s*---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_KEY = re.compile(r"^[A-Za-z][\w -]*:(?:\s|$)")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_BREAK = re.compile(r"<br\s*/?>|</?(?:p|div|li|ul|ol|td|tr|th|h[1-6])(?:\s[^<>]*)?/?>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9-]*(?:\s[^<>]*)?/?>")
_IMAGE = re.compile(r"!\[[^\]\n]*\]\([^)\n]*\)")
_LINK = re.compile(r"\[([^\]\n]+)\](?:\([^)\n]*\)|\[[^\]\n]*\])")
_QUOTED = re.compile(r"^[ \t]*(?:>[ \t]?)+", re.MULTILINE)
_REFERENCE = re.compile(r"^[ \t]*\[[^\]\n]+\]:[ \t]+\S.*$", re.MULTILINE)
_STRONG = re.compile(r"(\*\*|__)(?=\S)([^\n]+?)(?<=\S)\1")
_EMPHASIS = re.compile(r"(?<![\w*])([*_])(?=[^\s*_])([^\n*_]+?)(?<=[^\s*_])\1(?![\w*])")
_CODE = re.compile(r"`([^`\n]+)`")
_UNDERLINED = re.compile(r"\A\s*(\S[^\n]*)\n={3,}[ \t]*(?:\n|\Z)")


def front_matter(text: str) -> tuple[dict[str, str], str]:
    """The one-line values of the block between `---` lines that `text` begins with, keys in lower case, and the text after it.

    A `---` that opens no such block is a rule, and stays.
    """
    found = _FRONT.match(text)
    lines = [line for line in found[1].splitlines() if line.strip()] if found else []
    if found is None or not all(_KEY.match(line) or line[0] in " \t-#" for line in lines):
        return {}, text
    pairs = (line.split(":", 1) for line in lines if _KEY.match(line))
    return {key.strip().lower(): value.strip().strip("\"'").strip() for key, value in pairs}, text[found.end() :]


def underlined_title(text: str) -> tuple[str, str]:
    """The first line when it is underlined with `===`, and the text after it; else '' and `text`."""
    found = _UNDERLINED.match(text)
    return (found[1].strip(), text[found.end() :]) if found else ("", text)


def unmarked(text: str) -> str:
    """`text` as a reader of the rendered page sees it: no comment, code block, image or tag, and the words of links and emphasis."""
    text = _COMMENT.sub("", text)
    text = _FENCE.sub("", text)
    text = _REFERENCE.sub("", text)
    text = _IMAGE.sub("", text)
    text = _LINK.sub(r"\1", text)
    text = _TAG.sub("", _BREAK.sub("\n\n", text))
    text = _QUOTED.sub("", text)
    text = _STRONG.sub(r"\2", text)
    text = _EMPHASIS.sub(r"\2", text)
    return _CODE.sub(r"\1", text)
