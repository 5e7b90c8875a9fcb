"""`review` alone: one waiting piece after another, critical first, decided with a key each.

Each decision is durable when its line is printed; stopping anywhere loses none of them. The steps that a decision sets free
run when the pass ends (an edit's checks at once, since the new bytes are asked about again).
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from config.errors import BadInput, Conflict, CopydeskError
from runtime.commands.common import (
    INTERRUPTED,
    OK,
    WAITING_FOR_HUMAN,
    actor,
    fail,
    live_tasks,
    next_command,
    opened,
    printable,
    run_threads,
)

if TYPE_CHECKING:
    from memory.records.protocol import Records
    from memory.rows.checks import Review
    from runtime.commands.review_view import View
    from runtime.compose import Runtime

_KEYS = "[a]pprove  [e]dit  [r]eject  [s]kip  [q]uit"
_HELP = """\
a  approve exactly these bytes
e  change the text in $VISUAL or $EDITOR; it is checked again and shown again
r  reject it, with the reason that you type
s  leave it waiting and go on
q  stop here; what you decided stays decided"""


class _Stop(Exception):
    """The human has had enough, or there is no more input."""


async def review_pass(args: argparse.Namespace) -> int:
    """Show every piece that waits and ask what to do with it; 3 if some still wait, 0 if none does."""
    from runtime.commands.lookup import find_session, parse_ref
    from runtime.reviews import in_slot_order, pending_reviews

    if args.json:
        raise BadInput("--json: an interactive pass has no JSON: use `review list --json` and `review approve`")
    ref = parse_ref(args.session, what="--session") if args.session else ""
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        session = (await find_session(records, ref)).id if ref else ""
        waiting, _ = await in_slot_order(records, await pending_reviews(records, session_id=session))
        if not waiting:
            print("Nothing waits for you.")
            return OK
        desk = Desk(runtime, records, brand, by=actor(args, runtime.settings), editor=args.preferred.get("editor", ""))
        try:
            for n, row in enumerate(waiting, start=1):
                await desk.ask(row, f"{n} of {len(waiting)}")
        except _Stop:
            print()
        finished = await desk.apply()
        await desk.tell_in_vain()
        left = await pending_reviews(records, session_id=session)
        said = [f"{count} {word}" for word, count in desk.counts.items() if count]
        print(f"{', '.join(said) or 'nothing decided'}; {len(left)} still wait.")
        if desk.counts["approved"]:
            print(f"Next: {next_command(args, 'publish due')}")
    if not finished:
        return INTERRUPTED
    return WAITING_FOR_HUMAN if left else OK


class Desk:
    """One pass: what was decided in it, and the questions."""

    def __init__(self, runtime: Runtime, records: Records, brand: str, *, by: str, editor: str) -> None:
        self._runtime, self._records, self._brand, self._by, self._editor = runtime, records, brand, by, editor
        self._decided: list[str] = []
        self._approved: list[str] = []
        self._edited: set[str] = set()
        self.counts = {"approved": 0, "edited": 0, "rejected": 0, "skipped": 0}

    async def ask(self, review: Review, place: str) -> None:
        """Show the piece as it stands and ask until it is decided or skipped. Raises _Stop."""
        from rich.console import Console

        from runtime.commands.review_view import draw_view, load_view

        while True:
            view = await load_view(self._records, review.piece_id)
            mine = view.piece.id in self._edited and view.piece.state in ("failed", "rejected")
            if view.piece.state != "waiting" and not mine:  # what I made of it is shown with what the rules found in it
                print(f"{view.piece.id} became {view.piece.state} meanwhile.")
                return
            console = Console(highlight=False)
            console.rule(place, characters="-")
            draw_view(console, view)
            if await self._one(view):
                return

    async def _one(self, view: View) -> bool:
        """Ask about these bytes until there is an answer; False when the piece has to be shown again."""
        while True:
            try:
                key = (_line(f"\n{_KEYS}  [?] > ")).strip().lower()
                if key in ("a", "approve") and not view.can_pass:
                    fail("the rules refuse this text, so that nobody can approve it as it is: [e]dit it again")
                elif key in ("a", "approve"):
                    return await self._decide(view, "approved")
                elif key in ("r", "reject"):
                    reason = (_line("reason (empty: back) > ")).strip()
                    if reason:
                        return await self._decide(view, "rejected", reason[:2000])
                elif key in ("e", "edit"):
                    if await self._edit(view):
                        return False
                elif key in ("s", "skip"):
                    self.counts["skipped"] += 1
                    return True
                elif key in ("q", "quit"):
                    raise _Stop
                else:
                    print(_HELP)
            except Conflict as error:  # somebody else was faster, or these bytes may not pass: said, and asked again
                fail(str(error))
                if await self._moved(view):
                    return False
            except CopydeskError as error:
                fail(str(error))

    async def _moved(self, view: View) -> bool:
        from memory.rows.content import Piece

        now = await self._records.get(Piece, id=view.piece.id)
        return (now.state, now.content_hash) != (view.piece.state, view.piece.content_hash)

    async def _decide(self, view: View, word: str, reason: str = "") -> bool:
        from config.vocabulary import Decision
        from runtime.reviews import decide

        piece = view.piece
        await decide(
            self._runtime, self._brand, piece.id, piece.content_hash, Decision(word), by=self._by, reason=reason
        )
        self._decided.append(piece.id)
        if word == "approved":
            self._approved.append(piece.id)
        self.counts[word] += 1
        print(f"{word} {piece.id}@{piece.content_hash[:12]}")
        return True

    async def _edit(self, view: View) -> bool:
        """Let the human change the text; True if it was changed, is checked and must be shown again."""
        from config.vocabulary import UNSETTLED
        from memory.rows.content import Piece
        from runtime.commands.post_text import from_text, to_text
        from runtime.commands.review_edit import followed_line
        from runtime.reviews import edit
        from tools.alt_text import follow

        before = to_text(view.revision.post)
        text = before
        while True:
            text = _in_editor(text, view.piece.id, self._editor)
            if text == before:
                print("nothing was changed")
                return False
            try:
                post = from_text(text, view.revision.post)
                break
            except BadInput as error:
                fail(str(error))
                if (_line("[e]dit it again, or anything else to leave it as it was > ")).strip().lower() != "e":
                    return False
        if post == view.revision.post:  # other line ends, or blank lines: an editor's, not a human's
            print("nothing was changed")
            return False
        post, followed = follow(view.revision.post, post)
        try:
            await edit(self._runtime, self._brand, view.piece.id, post, by=self._by, seen=view.piece)
        except CopydeskError:
            print(f"what you wrote is kept in {_kept(text, view.piece.id)}")
            raise
        for line in followed_line(followed):
            print(line)
        self.counts["edited"] += 1
        self._edited.add(view.piece.id)

        async def checked() -> bool:
            return (await self._records.get(Piece, id=view.piece.id)).state not in UNSETTLED

        if not await run_threads(self._runtime, lambda: [f"advance:{view.piece.id}"], until=checked):
            raise _Stop
        return True

    async def tell_in_vain(self) -> None:
        """Name the pieces that will not go out all the same: edited into what the rules refuse, or approved, and something stood in
        the way when they were arranged.
        """
        from memory.rows.content import Piece

        for row in await self._records.find_many(Piece, [{"id": id} for id in sorted(self._edited)]):
            if row.state in ("rejected", "failed") and row.id not in self._decided:
                fail(f"piece {row.id} waits no more: your text is {row.state} ({row.reason}): `review edit {row.id}`")
        for row in await self._records.find_many(Piece, [{"id": id} for id in self._approved]):
            if row.state in ("rejected", "failed", "missed"):
                fail(f"piece {row.id} was approved, and will not go out all the same: it is {row.state} ({row.reason})")

    async def apply(self) -> bool:
        """Run what the decisions set free, here; False if it was interrupted. Workers would do it too."""
        from memory.rows.content import Piece

        if not self._decided:
            return True
        rows = await self._records.find_many(Piece, [{"id": id} for id in self._decided])
        ids = [f"advance:{id}" for id in (*self._decided, *{row.session_id for row in rows})]

        async def applied() -> bool:
            return not await live_tasks(self._runtime, ids)

        return await run_threads(self._runtime, lambda: ids, until=applied)


def _line(prompt: str) -> str:
    """One line of input. Raises _Stop at its end, and at Ctrl-C, since every decision so far is kept.

    It blocks the event loop, which has nothing else to do: a thread that reads could not be interrupted.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.stdout.write(prompt)
        sys.stdout.flush()
        line = sys.stdin.readline()
        # Where the locale is C, whatever is not ASCII comes through as lone surrogates, a byte each.
        line = line.encode("utf-8", "surrogateescape").decode("utf-8")
    except KeyboardInterrupt:
        raise _Stop from None
    except UnicodeError:
        raise BadInput("what you typed is not UTF-8: type it again") from None
    finally:
        signal.signal(signal.SIGINT, before)
    if not line:
        raise _Stop
    return line


def _in_editor(text: str, name: str, preferred: str) -> str:
    """`text` after the human's editor had it. Raises BadInput naming the editor, if it cannot run or says that it failed."""
    editor = preferred or os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="copydesk-") as folder:
        file = Path(folder) / f"{name}.txt"
        file.write_text(text, encoding="utf-8")
        before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is the editor's, which would inherit SIG_IGN
        try:
            code = subprocess.run([*shlex.split(editor), str(file)], check=False).returncode
        except (OSError, ValueError) as error:
            raise BadInput(f"EDITOR {editor[:80]!r} cannot run ({error}): set VISUAL or EDITOR") from None
        finally:
            signal.signal(signal.SIGINT, before)
        if code:
            raise BadInput(f"EDITOR {editor[:80]!r} ended with {code}: nothing was changed")
        try:
            return file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"what {printable(editor[:80])} left cannot be read ({error}): save it as UTF-8") from None


def _kept(text: str, name: str) -> str:
    """The path of a file of the human's own that holds `text`: work of an hour is not thrown away because somebody was faster."""
    handle, path = tempfile.mkstemp(prefix=f"copydesk-{name}-", suffix=".txt")
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return path
