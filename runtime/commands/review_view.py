"""What a human decides about, on one page: the post as it is seen, its exact bytes with the findings marked, its sources, its changes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from config.errors import Conflict
from runtime.commands.common import OK, emit, next_command, opened, printable
from runtime.commands.piece_texts import as_used, changed_lines, last_checks, revisions, with_words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from config.platforms import Limits
    from memory.records.protocol import Records
    from memory.rows.brand import BrandKnowledge
    from memory.rows.checks import ComplianceCheck, Finding
    from memory.rows.content import Piece, Post, Revision

_CARD = 34
"""Columns of one card of the preview."""


@dataclass(frozen=True)
class View:
    """One piece as it stands: its present revision, what was found in exactly these bytes, what it rests on, what came before."""

    piece: Piece
    revision: Revision
    checks: list[ComplianceCheck]
    sources: dict[str, BrandKnowledge]
    titles: dict[str, str]
    """Of every source, also of one that is no longer there."""
    before: Revision | None
    """The text that this one replaced; None for the first."""

    @property
    def findings(self) -> list[Finding]:
        """Every finding, in the order of the checks."""
        return [finding for check in self.checks for finding in check.findings]

    @property
    def can_pass(self) -> bool:
        """Whether a human may approve these bytes: nothing critical was found in them."""
        return bool(self.checks) and not any(check.check_result == "failed" for check in self.checks)

    def changes(self) -> list[str]:
        """The lines that left (-) and came (+) since the revision before, by field; empty for the first."""
        return changed_lines(self.before.post, self.revision.post) if self.before is not None else []


async def load_view(records: Records, ref: str) -> View:
    """The piece that `ref` names. Raises NotFound, and Conflict before anything is written."""
    from graphs.pieces import get_revision
    from graphs.sources import titles_of
    from memory.rows.brand import BrandKnowledge
    from memory.rows.checks import ComplianceCheck
    from runtime.commands.lookup import find_piece

    piece = await find_piece(records, ref)
    if not piece.content_hash:
        raise Conflict(f"piece {piece.id} is {piece.state}: nothing is written yet")
    revision = await get_revision(records, piece)
    rows = await records.list_rows(ComplianceCheck, content_id=piece.id)
    texts = as_used(await revisions(records, piece), rows, piece)
    known = await records.find_many(BrandKnowledge, [{"id": id} for id in revision.sources])
    return View(
        piece,
        revision,
        last_checks(rows, piece.content_hash),
        {row.id: row for row in known},
        await titles_of(records, [piece.session_id], revision.sources),
        next((row for row in reversed(texts) if row.content_hash != piece.content_hash), None),
    )


async def review_show(args: argparse.Namespace) -> int:
    """Print the post as it would go out, field by field, and every finding with its place."""
    from runtime.commands.lookup import parse_ref

    ref = parse_ref(args.id, what="piece")
    async with opened(args) as (runtime, brand):
        view = await load_view(runtime.records.for_brand(brand), ref)

    def draw() -> None:
        from rich.console import Console

        draw_view(Console(highlight=False), view)
        print(f"\nNext: {next_command(args, _next_step(view))}")

    emit(args, as_json(view), draw)
    return OK


def _next_step(view: View) -> str:
    piece = view.piece
    if piece.state == "waiting" and view.can_pass:
        return f"review approve {piece.id}@{piece.content_hash[:12]}"
    if piece.state in ("waiting", "rejected", "failed", "missed", "approved"):
        return edit_words(piece.id, view.revision.post)
    return f"why {piece.id}"


def edit_words(piece_id: str, post: Post) -> str:
    """The `review edit` that mends this post: it names the fields that are missing, else the caption."""
    from tools.checks.limits import missing_fields

    fields = missing_fields(post) or ["caption"]
    return " ".join([f"review edit {piece_id}", *(f"--set {name}=TEXT" for name in fields)])


def as_json(view: View) -> dict[str, Any]:
    """The shape of `review show --json`."""
    piece, revision = view.piece, view.revision
    return {
        "piece_id": piece.id,
        "state": str(piece.state),
        "reason": piece.reason,
        "content_hash": piece.content_hash,
        "post": revision.post.model_dump(mode="json"),
        "counts": counts(revision.post),
        "checks": [
            {
                "check_type": row.check_type,
                "result": str(row.check_result),
                "by": row.checked_by,
                "notes": row.recommendations,
            }
            for row in view.checks
        ],
        "findings": [finding.model_dump(mode="json") for finding in view.findings],
        "sources": list(revision.sources),
        "source_titles": view.titles,
        "revoked_sources": [id for id in revision.sources if not _active(view, id)],
        "citations": revision.citations,
        "changed": view.changes(),
        "gaps": list(revision.gaps),
        "mode": revision.mode,
        "author": revision.author,
    }


def _active(view: View, source_id: str) -> bool:
    row = view.sources.get(source_id)
    return row is not None and row.status == "active"


def counts(post: Post) -> list[str]:
    """What the platform counts, beside what it takes: 'caption with hashtags 231 of 280 weighted characters'."""
    from config.errors import BadInput
    from config.platforms import UNIT_WORDS, length, limits, outgoing_caption

    try:
        cell = limits(post.platform, post.content_type)
    except BadInput as error:
        return [str(error)]
    words = UNIT_WORDS[cell.unit]
    said = []
    if post.parts:
        sizes = [length(part, cell.unit) for part in post.parts]
        said.append(f"{len(sizes)} parts, the longest {max(sizes)} of {cell.caption} {words}")
    else:
        size = length(outgoing_caption(post.caption, post.hashtags), cell.unit)
        said.append(f"caption with hashtags {size} of {cell.caption} {words}")
    if cell.title and post.title:
        said.append(f"title {length(post.title, cell.title_unit)} of {cell.title} {UNIT_WORDS[cell.title_unit]}")
    if post.slides and cell.slides:
        said.append(f"{len(post.slides)} of {cell.slides[1]} slides")
    if post.hashtags:
        said.append(f"{len(post.hashtags)} of {cell.hashtags} hashtags")
    return said


def draw_view(console: Console, view: View) -> None:
    """Draw everything that a decision needs, on `console`."""
    piece, revision = view.piece, view.revision
    # No `:fire:` becomes a picture here: what is printed is what there is.
    plain: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False}
    console.print(
        f"{piece.platform} {piece.content_type}, day {piece.cycle_day} of {piece.cycle_key}: {piece.state}",
        style="bold",
        **plain,
    )
    console.print(
        f"{printable(piece.reason)}\nhash {piece.content_hash}  written by {revision.author} ({revision.mode})\n",
        soft_wrap=True,
        **plain,
    )
    _draw_preview(console, view)
    console.print("The exact bytes:", style="bold")
    from rich.text import Text

    for name, _ in revision.post.fields():
        # Not folded by us: a line that is broken to fit loses its last space, and is copied with line ends of ours.
        console.print(Text().append(f"{name}: ", "dim").append_text(marked(view, name)), soft_wrap=True)
    for finding in view.findings:
        console.print(
            f"\n{finding.severity} {printable(finding.rule)} in {finding.field}[{finding.start}:{finding.end}] {finding.quote!r}\n"
            f"  {printable(finding.suggestion)}\n  {printable(finding.source)}",
            **plain,
        )
    console.print("\nChecks:", style="bold")
    for row in view.checks:
        console.print(printable(f"  {row.check_type}: {row.check_result}{_said(row)}"), **plain)
    _draw_sources(console, view, plain)
    if revision.gaps:
        console.print("Gaps:", style="bold")
        for gap in revision.gaps:
            console.print(f"  {printable(gap)}", **plain)
    if changes := view.changes():
        console.print("Changed since the revision before:", style="bold")
        for line, spans in with_words(changes):
            console.print(_change(line, spans), soft_wrap=True)


def _change(line: str, spans: Sequence[tuple[int, int]]) -> Text:
    from rich.text import Text

    colour = "red" if line.startswith("-") else "green"
    shown, at = Text("  "), 0
    for start, end in [*spans, (len(line), len(line))]:
        shown.append(_exact(line[at:start]), colour).append(_exact(line[start:end]), f"{colour} reverse")
        at = end
    return shown


def _said(row: ComplianceCheck) -> str:
    if row.findings:
        beside = row.recommendations
        for advice in {finding.suggestion for finding in row.findings if finding.suggestion}:
            beside = beside.replace(advice, "")
        return f" ({'; '.join([f'{len(row.findings)} found', *([rest] if (rest := beside.strip('; ')) else [])])})"
    return " (no rule fired)" if row.check_result == "passed" else f" ({row.recommendations or 'it did not finish'})"


def _exact(text: str) -> str:
    """Printable, and a tab is told from the spaces that a terminal would draw for it."""
    return printable(text).replace("\t", "\\x09")


def marked(view: View, field: str, *, start: int = 0, end: int | None = None) -> Text:
    """The text of `field`, or its characters `start` to `end`, with its findings marked; what would steer a terminal is shown as
    escapes.
    """
    from rich.text import Text

    text = dict(view.revision.post.fields()).get(field, "")
    worst = {
        at: finding.severity
        for severity in ("preferred", "important", "critical")  # the worst last, so that it stays
        for finding in view.findings
        if finding.field == field and finding.severity == severity
        for at in range(finding.start, min(finding.end, len(text)))
    }
    shown = Text()
    # A run at a time: an emoji of several characters, or a letter with its accent, is torn by a style a character.
    for severity, run in groupby(range(len(text))[start:end], key=worst.get):
        style = "" if severity is None else "reverse red" if severity == "critical" else "reverse yellow"
        shown.append(_exact("".join(text[at] for at in run)), style)
    return shown


def _draw_preview(console: Console, view: View) -> None:
    from rich.columns import Columns
    from rich.panel import Panel
    from rich.text import Text

    from tools.publish.outbox_files import shows_title

    post, cell = view.revision.post, _cell(view.revision.post)
    console.print(f"As {post.platform} shows it ({'; '.join(counts(post))}):", style="bold", markup=False)
    cards = [(f"{n + 1}/{len(post.slides)}", marked(view, f"slides[{n}]")) for n in range(len(post.slides))]
    cards += [(f"screen {n + 1}", marked(view, f"on_screen_text[{n}]")) for n in range(len(post.on_screen_text))]
    if cards:
        console.print(Columns([Panel(text, title=name, width=_CARD) for name, text in cards]))
    body = Text()
    if shows_title(post) or (post.title and cell is not None and cell.title):
        body.append_text(marked(view, "title")).append("\n\n")
    for n, bare in enumerate(post.bare_parts()):
        number = f"{n + 1}/{len(post.parts)} " if bare == post.parts[n] else ""  # else it holds its number already
        body.append(number, "dim").append_text(marked(view, f"parts[{n}]")).append("\n\n")
    if not post.parts:  # the parts of a thread are all that is sent of it
        body.append_text(_caption(view, cell))
    body.rstrip()
    if body.plain:
        console.print(Panel(body, title=f"{view.piece.platform} {view.piece.content_type}", title_align="left"))
    if post.first_comment:
        console.print(Panel(marked(view, "first_comment"), title="first comment", title_align="left"))


def _caption(view: View, cell: Limits | None) -> Text:
    """The caption as it is sent, hashtags behind it; dimmed from where a feed says `more`."""
    from config.platforms import before_fold, outgoing_caption

    post = view.revision.post
    sent = outgoing_caption(post.caption, post.hashtags)
    tags, shown = sent[len(post.caption) :], before_fold(sent, cell) if cell is not None else len(sent)
    of_tags = max(0, shown - len(post.caption))
    head = marked(view, "caption", end=shown).append(_exact(tags[:of_tags]), "blue")
    rest = marked(view, "caption", start=shown).append(_exact(tags[of_tags:]), "blue")
    if not rest.plain:
        return head
    head.rstrip()
    rest.stylize("dim")
    blank = len(rest.plain) - len(rest.plain.lstrip("\n"))
    return head.append(" … more\n", "bold").append_text(rest[blank:])


def _cell(post: Post) -> Limits | None:
    from config.errors import BadInput
    from config.platforms import limits

    try:
        return limits(post.platform, post.content_type)
    except BadInput:
        return None


def _draw_sources(console: Console, view: View, plain: dict[str, Any]) -> None:
    if not view.revision.sources:
        return
    console.print("Sources:", style="bold")
    for id in view.revision.sources:
        title = printable(view.titles.get(id, "no longer there"))
        away = "" if _active(view, id) else "  REVOKED since this was written: read the sentences below again"
        console.print(f"  {title} ({id[:8]}){away}", style="" if not away else "red", **plain)
        for sentence, source in view.revision.citations.items():
            if source == id:
                console.print(f'    "{printable(sentence)}"', style="dim", **plain)
