"""`review` as a human meets it: a real terminal, narrow, resized, interrupted, hung up."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_support import ROOT, Cli, cli, environment, planned, quiet_process, week

__all__ = ["cli", "planned", "quiet_process", "week"]  # fixtures
QUESTION = b"[?] > "


class Terminal:
    """A terminal with `review` in it."""

    def __init__(self, data_dir: Path, *, columns: int, editor: str) -> None:
        argv = [sys.executable, str(ROOT / "run_agents.py"), "--data-dir", str(data_dir), "review", "--by", "ana"]
        self.pid, self._end = pty.fork()
        if self.pid == 0:  # the child: nothing of pytest may run here any more
            self._sized(0, columns)  # here, not by the parent, which may be slower than the first page
            # What a caller of the tests says of its own width counts for more than the terminal's: it is not said.
            told = {
                k: v
                for k, v in environment(VISUAL=editor, TERM="xterm-256color").items()
                if k not in ("COLUMNS", "LINES")
            }
            os.execve(sys.executable, argv, told)
        self.seen, self._read_to = b"", 0
        self.code: int | None = None

    def resize(self, columns: int) -> None:
        self._sized(self._end, columns)

    @staticmethod
    def _sized(terminal: int, columns: int) -> None:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def until(self, mark: bytes) -> bytes:
        """What is shown from the last mark to this one."""
        while (at := self.seen.find(mark, self._read_to)) < 0:
            self.seen += self._more() or pytest.fail(f"{mark!r} never came: {self.seen[-2000:].decode()}")
        shown, self._read_to = self.seen[self._read_to : at], at + len(mark)
        return shown

    def types(self, keys: bytes) -> None:
        os.write(self._end, keys)

    def hang_up(self) -> None:
        os.close(self._end)
        self._end = -1

    def ended(self) -> int:
        """The exit code, after everything that was still to be shown."""
        while self._end >= 0 and (more := self._more()):
            self.seen += more
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.code = code
        return code

    def close(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self._end >= 0:
            os.close(self._end)

    def _more(self) -> bytes:
        try:
            return os.read(self._end, 65536)
        except OSError:  # its other end is closed: the process has ended
            return b""


@pytest.fixture
def terminal(week: Cli, tmp_path: Path) -> Iterator[Terminal]:
    editor = tmp_path / "editor"
    # It asks on the terminal, so that the keys meant for it can be told from those meant for us.
    editor.write_text(
        '#!/bin/sh\nprintf \'in the editor: \'\nread word\nsed -i "s/^=== caption ===$/&\\n$word/" "$1"\n'
    )
    editor.chmod(0o755)
    opened = Terminal(week.data_dir, columns=40, editor=str(editor))
    yield opened
    opened.close()


def states(week: Cli) -> list[str]:
    return sorted(piece["state"] for piece in week.ok("piece", "list"))


def drawn_lines(page: bytes) -> list[str]:
    """The lines of the preview's cards, without colours."""
    return [line for line in re.sub(r"\x1b\[[0-9;]*m", "", page.decode()).splitlines() if line.strip()[:1] in "╭│╰"]


def test_a_pass_on_a_narrow_terminal_that_is_resized_decides_what_was_typed(terminal: Terminal, week: Cli) -> None:
    page = terminal.until(QUESTION)
    assert all(len(line.strip()) <= 40 for line in drawn_lines(page))
    captions = {week.ok("review", "show", row["piece_id"])["post"]["caption"] for row in week.ok("review", "list")}
    terminal.resize(20)
    os.kill(terminal.pid, signal.SIGWINCH)
    terminal.types(b"no such key\n")
    assert b"approve exactly these bytes" in terminal.until(QUESTION)
    terminal.types(b"e\n")
    terminal.until(b"in the editor: ")
    terminal.types("Grüße_👩‍👩‍👧‍👦_שלום\n".encode())
    assert "+caption: Grüße_👩‍👩‍👧‍👦_שלום" in terminal.until(QUESTION).decode()
    terminal.types(b"A\n")
    terminal.until(QUESTION)
    terminal.types(b"r\n")
    terminal.until(b"back) > ")
    terminal.types(b"\n")
    terminal.until(QUESTION)
    terminal.types(b"r\n")
    terminal.until(b"back) > ")
    terminal.types(b"zu steif\n")
    terminal.until(QUESTION)
    terminal.types(b"q\n")
    assert terminal.ended() == 3
    assert b"1 approved, 1 edited, 1 rejected; 1 still wait." in terminal.seen
    assert b"Traceback" not in terminal.seen
    assert states(week) == ["approved", "rejected", "waiting"]
    [approved] = week.ok("piece", "list", "--state", "approved")
    post = week.ok("review", "show", approved["piece_id"])["post"]
    assert post["caption"].startswith("Grüße_👩‍👩‍👧‍👦_שלום\n")
    assert post["caption"].partition("\n")[2] in captions


@pytest.mark.parametrize("key", [b"\x03", b"\x04", b"\x04\x04"], ids=["ctrl-c", "ctrl-d", "ctrl-d-twice"])
def test_leaving_at_any_question_keeps_what_was_decided(terminal: Terminal, week: Cli, key: bytes) -> None:
    terminal.until(QUESTION)
    terminal.types(b"a\n")
    terminal.until(QUESTION)
    terminal.types(b"r\n")
    terminal.until(b"back) > ")
    terminal.types(key)
    assert terminal.ended() == 3
    assert b"Traceback" not in terminal.seen
    assert b"1 approved; 2 still wait." in terminal.seen
    assert states(week) == ["approved", "waiting", "waiting"]


def test_ctrl_c_in_the_editor_is_the_editors(terminal: Terminal, week: Cli) -> None:
    terminal.until(QUESTION)
    terminal.types(b"e\n")
    terminal.until(b"in the editor: ")
    terminal.types(b"\x03")
    assert b"nothing was changed" in terminal.until(QUESTION)
    terminal.types(b"q\n")
    assert terminal.ended() == 3
    assert states(week) == ["waiting"] * 3


def test_a_terminal_that_hangs_up_leaves_what_was_decided(terminal: Terminal, week: Cli) -> None:
    terminal.until(QUESTION)
    terminal.types(b"a\n")
    terminal.until(QUESTION)
    terminal.hang_up()
    assert terminal.ended() != 0
    # Killed before it could apply it, perhaps; the decision is durable, and any worker applies it.
    assert len(week.ok("review", "list")) == 2
