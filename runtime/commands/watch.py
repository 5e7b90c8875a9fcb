"""`watch`: follows a session from any machine that reaches its stores, until it is over or waits for a human."""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from config.errors import NotFound
from runtime.commands.common import (
    FINDINGS,
    OK,
    WAITING_FOR_HUMAN,
    add_verb,
    brand_of,
    load,
    next_command,
    preferences_in,
    printable,
    run_async,
)

if TYPE_CHECKING:
    from memory.records.protocol import Records
    from memory.rows.content import Piece
    from memory.rows.sessions import Event, Session
    from runtime.compose import Runtime

WAIT = timedelta(seconds=4)
"""How long one call waits at the stream."""
LOOK_AGAIN = timedelta(milliseconds=500)
LOOKS = 6
"""What a session became may be told a moment before its row says it: so often the row is read then, `LOOK_AGAIN` apart."""
AWAY_EVERY = timedelta(seconds=2)
SHOWN_EVENTS = 8


def register(verbs: Any) -> None:
    watch = add_verb(verbs, "watch", "follow a session live, on any machine; 3 = it waits for a human")
    watch.add_argument("id", metavar="SESSION", help="session id, or its first 8 or more characters")
    watch.set_defaults(run=lambda args: run_async(lambda: run_watch(args)))


async def run_watch(args: argparse.Namespace) -> int:
    """Show what happens until the session ends or waits; 0 done, 1 failed or cancelled, 3 waiting for a human."""
    from config.vocabulary import SessionStatus
    from runtime.commands.lookup import find_session, match_pieces, parse_ref
    from runtime.compose import open_runtime

    ref = parse_ref(args.id, what="session")
    settings = load(args)
    # Not `opened`: this machine needs to have no folder of the brand, only the stores.
    async with open_runtime(settings) as runtime:
        records = runtime.records.for_brand(brand_of(args, settings, await preferences_in(runtime.user_sessions)))
        try:
            session = await find_session(records, ref)
        except NotFound as error:
            pieces = await match_pieces(records, ref)
            if len(pieces) != 1:
                raise
            raise NotFound(f"{error}; it is a piece of session {pieces[0].session_id}: watch that") from None
        with _view(args, session) as view:
            session = await follow(runtime, session, view)
        view.ended(session, next_command(args, "review list") if session.status == "waiting" else "")
    if session.status is SessionStatus.WAITING:
        return WAITING_FOR_HUMAN
    return OK if session.status is SessionStatus.DONE else FINDINGS


async def follow(runtime: Runtime, session: Session, view: View) -> Session:
    """Tell `view` what changes until the session is terminal or waits; its last row. A store that is away is waited for.

    Waits at the event stream and moves the pieces by what it says. The rows are read at the start, when an event is about the
    session itself, and every `ROWS_EVERY` in case the stream has lost something.
    """
    from config.errors import Unavailable
    from config.vocabulary import SessionStatus
    from memory.events.follower import Follower

    clock, records = runtime.clock, runtime.records.for_brand(session.brand)
    stream = runtime.events.for_brand(session.brand)
    follower = Follower(records, stream, clock, session.id, since=session.created_at)
    pieces: dict[str, Piece] = {}
    looks, looked = 1, float("-inf")
    while True:
        try:
            fresh = await follower.new(wait=LOOK_AGAIN if looks else WAIT)
            view.happened([_shown(event) for event in fresh])
            looks = max(looks, int(follower.read_rows), *map(_looks, fresh))
            read = looks > 0 and clock.boottime() - looked >= LOOK_AGAIN.total_seconds()
            if read:
                session, rows = await _rows(records, session)
                pieces = {row.id: row for row in rows}
                looks, looked = looks - 1, clock.boottime()
            for event in fresh:
                _apply(event, pieces)
        except Unavailable as error:
            view.away(str(error))
            looks = max(looks, 1)
            await clock.sleep(AWAY_EVERY)
            continue
        if fresh or read:
            view.stands(session, list(pieces.values()))
        if session.status is not SessionStatus.RUNNING:
            return session


def _looks(event: Event) -> int:
    """How often the rows are to be read because of it: not at all for what a piece becomes, which the event tells whole."""
    if event.name.startswith("session."):
        return LOOKS
    return int(not event.piece_id)


def _apply(event: Event, pieces: dict[str, Piece]) -> None:
    """What a piece became, as its event tells it; an event that is older than the row says nothing new."""
    from config.vocabulary import PieceState

    what, _, state = event.name.partition(".")
    piece = pieces.get(event.piece_id)
    if what == "piece" and state in set(PieceState) and piece is not None and event.created_at >= piece.updated_at:
        pieces[piece.id] = piece.model_copy(update={"state": PieceState(state), "updated_at": event.created_at})


def _shown(event: Event) -> dict[str, str]:
    at = event.created_at.isoformat()
    return {"id": event.id, "at": at, "event": event.name, "piece_id": event.piece_id, "actor": event.actor}


async def _rows(records: Records, session: Session) -> tuple[Session, list[Piece]]:
    from memory.rows.sessions import Session as SessionRow
    from runtime.commands.week_view import session_pieces

    session = await records.get(SessionRow, id=session.id)
    return session, await session_pieces(records, session)


class View:
    """Lines of text: an event a line, and the counts whenever they change."""

    def __init__(self, session: Session) -> None:
        self._zone = session.zone
        self._last = ""
        self._away = False

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to take down."""

    def happened(self, events: Sequence[dict[str, str]]) -> None:
        """Show what agents did."""
        for event in events:
            self._say(_line(event, self._zone))

    def stands(self, session: Session, pieces: list[Piece]) -> None:
        """Show how far the session is, if that changed."""
        from runtime.commands.week_view import legend

        self._away = False
        line = legend(pieces)
        if line != self._last:
            self._say(line)
        self._last = line

    def away(self, why: str) -> None:
        """Say once that the rows cannot be read just now."""
        if not self._away:
            self._say(f"waiting: {why}")
        self._away = True

    def ended(self, session: Session, step: str) -> None:
        """Say how it stands, and why, and what to type next."""
        what = "waits for you" if session.status == "waiting" else f"is {session.status}"
        self._say(f"session {session.id} {what}" + (f": {session.reason}" if session.reason else ""))
        if step:
            self._say(f"Next: {step}")

    def _say(self, line: str) -> None:
        print(printable(line), flush=True)


class JsonView(View):
    """One JSON object a line: `event`, `counts`, `away`, and at last `session`."""

    def happened(self, events: Sequence[dict[str, str]]) -> None:
        for event in events:
            self._tell("event", **event)

    def stands(self, session: Session, pieces: list[Piece]) -> None:
        from collections import Counter

        self._away = False
        counts = dict(sorted(Counter(str(piece.state) for piece in pieces).items()))
        line = json.dumps([session.status, counts])
        if line != self._last:
            self._tell("counts", status=str(session.status), pieces=counts)
        self._last = line

    def away(self, why: str) -> None:
        if not self._away:
            self._tell("away", reason=why)
        self._away = True

    def ended(self, session: Session, step: str) -> None:
        self._tell(
            "session",
            session_id=session.id,
            status=str(session.status),
            reason=session.reason,
            cost_usd=session.cost_usd,
            tokens=session.tokens,
        )

    def _tell(self, kind: str, **fields: Any) -> None:
        print(json.dumps({"type": kind, **fields}, ensure_ascii=False), flush=True)


class LiveView(View):
    """The week's grid with the last events under it, redrawn in place; the last state stays on the screen."""

    def __enter__(self) -> View:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(highlight=False), refresh_per_second=4)
        self._live.start()
        self._events: deque[str] = deque(maxlen=SHOWN_EVENTS)
        self._drawn: tuple[Session, list[Piece]] | None = None
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def happened(self, events: Sequence[dict[str, str]]) -> None:
        self._events.extend(_line(event, self._zone) for event in events)

    def stands(self, session: Session, pieces: list[Piece]) -> None:
        self._away = False
        self._drawn = (session, pieces)
        self._draw("")

    def away(self, why: str) -> None:
        self._draw(f"waiting: {why}")

    def _draw(self, note: str) -> None:
        from rich.console import Group
        from rich.text import Text

        from runtime.commands.week_view import legend, week_table

        parts: list[Any] = []
        if self._drawn is not None:
            session, pieces = self._drawn
            parts = [week_table(session, pieces, width=self._live.console.width), Text(legend(pieces))]
        parts += [Text(printable(line), style="dim", no_wrap=True, overflow="ellipsis") for line in self._events]
        if note:
            parts.append(Text(printable(note), style="yellow"))
        self._live.update(Group(*parts))


def _view(args: argparse.Namespace, session: Session) -> View:
    if args.json:
        return JsonView(session)
    return LiveView(session) if sys.stdout.isatty() else View(session)


def _line(event: dict[str, str], zone: str) -> str:
    """14:03:11  piece.drafted 5e1a0c22 by creation"""
    from datetime import datetime
    from zoneinfo import ZoneInfo

    try:
        at = datetime.fromisoformat(event["at"]).astimezone(ZoneInfo(zone)).strftime("%H:%M:%S")
    except ValueError:
        at = "--:--:--"
    about = f" {event['piece_id'][:8]}" if event["piece_id"] else ""
    return f"{at}  {event['event']}{about}" + (f" by {event['actor']}" if event["actor"] else "")
