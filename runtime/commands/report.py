"""`report week`: what a week came to, on a page."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from runtime.commands.common import OK, add_parts, add_verb, emit, opened, plain, printable, run_async

if TYPE_CHECKING:
    from runtime.report_week import WeekReport

WIDE = 110
"""Columns from which a line has room for both its instants, and a title."""


def register(verbs: Any) -> None:
    parts = add_parts(add_verb(verbs, "report", "what a week came to: sent, decided, found, cited, spent"))
    week = add_verb(parts, "week", "one ISO week of the brand; the present or else the latest planned one by default")
    week.add_argument("--week", metavar="2026-W50", help="which ISO week")
    week.set_defaults(run=lambda args: run_async(lambda: report(args)))


async def report(args: argparse.Namespace) -> int:
    """Print the report; 0 also when the week held nothing."""
    from runtime.commands.cycle import check_iso_week
    from runtime.report_week import as_json, latest_week, report_week

    check_iso_week(args.week)
    async with opened(args) as (runtime, brand):
        records, zone = runtime.records.for_brand(brand), runtime.profile(brand).zone
        found = await report_week(runtime, brand, args.week or await latest_week(runtime, records, zone))
    emit(args, as_json(found), lambda: _draw(found))
    return OK


def _draw(report: WeekReport) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from runtime.commands.lookup import when
    from runtime.commands.week_view import MARKS, legend

    console = Console(highlight=False)
    if not report.lines:
        print(f"{report.cycle_key}: nothing was planned in this week.")
        return
    title = plain(f"{report.cycle_key}  {', '.join(report.themes)}  (times in {report.zone})", "bold")
    console.print(title, soft_wrap=True)  # a line of its own: as a title it would be as narrow as the table
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("when", "what", "state", "cites", "title"):
        table.add_column(name, no_wrap=name != "title")
    for line in report.lines:
        mark, style = MARKS[line.piece.state]
        state = f"{mark} {line.piece.state}" + (" late" if line.on_time is False else "")
        planned, sent = (when(at, report.zone) for at in (line.row.scheduled_at, line.piece.published_at))
        apart = ", " if console.width >= WIDE else "\n"
        sent = "" if sent == planned else f"{apart}sent {sent[11:] if sent[:10] == planned[:10] else sent[5:]}"
        table.add_row(
            planned[5:] + (sent if line.piece.published_at else ""),
            f"{line.piece.platform} {line.piece.content_type}",
            f"[{style}]{state}[/]",
            str(len(line.present.sources) if line.present else 0),
            plain(line.piece.title),
        )
    console.print(table)
    print(legend([line.piece for line in report.lines]))
    for text in _notes(report):
        print(printable(text))


def _notes(report: WeekReport) -> list[str]:
    from tools.text import many

    notes = []
    for line in report.troubles():
        notes.append(
            f"{line.piece.state}: {line.piece.platform} {line.piece.content_type}: {line.piece.reason or 'no reason'}"
        )
    decided = [f"{count} {what} by {who or 'nobody'}" for (who, what), count in sorted(report.decisions().items())]
    if decided:
        wait = report.wait_s()
        notes.append(f"Decided: {', '.join(decided)}" + (f"; half of the answers within {_span(wait)}" if wait else ""))
    if rules := report.rules():
        notes.append("Rules that fired: " + ", ".join(f"{rule} {count}" for rule, count in rules.most_common(8)))
    if documents := report.documents():
        top = documents.most_common(5)
        notes.append("Rests most on: " + ", ".join(f"{title} ({many(count, 'piece')})" for title, count in top))
    notes += [f"Gap: {gap}" for gap in report.gaps()]
    notes.append(f"Spent {report.cost_usd:.2f} USD, {report.tokens} tokens.")
    return notes


def _span(seconds: float) -> str:
    """`seconds` in the unit that people would use."""
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
