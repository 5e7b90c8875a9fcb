"""The week as a grid of days and platforms: live on stderr while it runs, once on stdout when it is done."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from typing import Any

from config.calendar import DAYS
from config.vocabulary import PieceState
from graphs.sessions import session_piece_ids, session_slots
from memory.records.protocol import Records
from memory.rows.content import Piece
from memory.rows.sessions import Session

MARKS = {
    PieceState.PLANNED: ("·", "dim"),
    PieceState.DRAFTING: ("✎", "cyan"),
    PieceState.CHECKING: ("?", "cyan"),
    PieceState.WAITING: ("⧗", "yellow"),
    PieceState.APPROVED: ("✓", "green"),
    PieceState.REJECTED: ("✗", "red"),
    PieceState.FAILED: ("!", "red"),
    PieceState.PUBLISHING: ("→", "green"),
    PieceState.PUBLISHED: ("●", "bold green"),
    PieceState.UNKNOWN: ("??", "bold red"),
    PieceState.MISSED: ("∅", "red"),
    PieceState.CANCELLED: ("–", "dim"),
    PieceState.ARCHIVED: ("▫", "dim"),
}
"""State -> its mark and style; the words are printed in the legend."""


async def session_pieces(records: Records, session: Session) -> list[Piece]:
    """The pieces that exist, in slot order."""
    return await records.find_many(Piece, [{"id": id} for id in session_piece_ids(session)])


def week_table(session: Session, pieces: list[Piece], *, width: int = 80) -> Any:
    """Its title, and a row a day, a column a platform, a mark and the content type for each piece; the time where `width` allows."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from runtime.commands.common import plain

    slots = session_slots(session)
    by_id = {piece.id: piece for piece in pieces}
    platforms = list(dict.fromkeys(slot.platform for slot in slots))
    cells: dict[tuple[int, str], list[tuple[str, str]]] = defaultdict(list)
    for slot, piece_id in zip(slots, session_piece_ids(session), strict=True):
        state = by_id[piece_id].state if piece_id in by_id else PieceState.PLANNED
        mark, style = MARKS[state]
        cells[slot.day, slot.platform].append(
            (f"{mark} {slot.content_type}" + (f" {slot.local[11:]}" if width >= 110 else ""), style)
        )
    title = f"{session.cycle_key}  {session.theme}" if session.kind == "cycle" else session.goal
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("day", no_wrap=True)
    for platform in platforms:
        table.add_column(platform, no_wrap=True)
    for day in sorted({slot.day for slot in slots}):
        row: list[Any] = [DAYS[day - 1][:3].capitalize()]
        for platform in platforms:
            row.append(Text("\n").join(Text(text, style=style) for text, style in cells[day, platform]))
        table.add_row(*row)
    # A line of its own: as a title it would be as narrow as the table.
    return Group(plain(title, "bold"), table)


def legend(pieces: list[Piece]) -> str:
    """The states that occur, with their marks and counts: '⧗ 19 waiting'."""
    counts = Counter(piece.state for piece in pieces)
    return "   ".join(f"{MARKS[state][0]} {counts[state]} {state}" for state in PieceState if counts[state])


class WeekProgress:
    """Draws the running week on stderr: a live grid on a terminal, a line for each change elsewhere."""

    def __init__(self, records: Records, session: Session, *, quiet: bool = False) -> None:
        self._records = records
        self._session = session
        self._quiet = quiet
        self._live: Any = None
        self._last = ""

    def __enter__(self) -> WeekProgress:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=10, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    async def refresh(self) -> None:
        """Read the rows and draw them, if anything changed."""
        if self._quiet:
            return
        pieces = await session_pieces(self._records, self._session)
        line = legend(pieces)
        if self._live is not None:
            from rich.console import Group
            from rich.text import Text

            self._live.update(Group(week_table(self._session, pieces, width=self._live.console.width), Text(line)))
        elif line != self._last and line:
            print(line, file=sys.stderr, flush=True)
        self._last = line
