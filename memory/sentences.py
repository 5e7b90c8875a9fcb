"""Sentences of prose, word for word: what chunks are made of, so that none is ever cut in two."""

from __future__ import annotations

import re

_ABBREVIATION = re.compile(
    r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|approx|No|Nos|Fig|al|Inc|Ltd|Co|cf|ca|Vol|pp|ed|Gen|Gov|U\.S|U\.K|Ph\.D|M\.D)|\b[A-Z]|\ba\.m|\bp\.m)\.$"
)
_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|$)")
_NEXT = re.compile(r"\s*[\"'“‘(\[]*([A-Z0-9À-ÖØ-Þ]|[^\x00-\x7f])")
_ITEM = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+")
_HEADING = re.compile(r"^\s*#{1,6}\s+|^\s*(?:={3,}|-{3,}|\*{3,}|_{3,})\s*$")
_TIME = re.compile(r"\b[ap]\.m\.$", re.IGNORECASE)


def sentences(text: str) -> list[str]:
    """The sentences of Markdown or plain text in their order, without headings and list marks; runs of white space become one space.

    A list item is at least one sentence. Abbreviations, initials, decimals and closing quotes do not end a sentence early.
    """
    return [sentence for paragraph in paragraphs(text) for sentence in paragraph]


def paragraphs(text: str) -> list[list[str]]:
    """The same sentences, those of one paragraph or list item together."""
    return [_split(block) for block in _blocks(text)]


def _blocks(text: str) -> list[str]:
    """Paragraphs and list items, each on one line."""
    blocks: list[str] = []
    open_block: list[str] = []
    for line in [*text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""]:
        item = _ITEM.match(line)
        if item or not line.strip() or _HEADING.match(line):
            if open_block:
                blocks.append(" ".join(open_block))
            open_block = []
            if item:
                open_block = [line[item.end() :].strip()]
        else:
            open_block.append(line.strip())
    return [re.sub(r"\s+", " ", block) for block in blocks if block.strip()]


def _split(block: str) -> list[str]:
    out: list[str] = []
    start = 0
    for match in _END.finditer(block):
        head, tail = block[start : match.end()], block[match.end() :]
        following = _NEXT.match(tail)
        if tail.strip() and not following:
            continue
        # "at 9 a.m. The room opens" ends; "9 a.m. Monday" cannot be told from it and ends too.
        abbreviated = match.group().startswith(".") and tail.strip() and _ABBREVIATION.search(head)
        if abbreviated and not (_TIME.search(head) and following and following.group(1).isupper()):
            continue
        out.append(head.strip())
        start = match.end()
    if block[start:].strip():
        out.append(block[start:].strip())
    return out
