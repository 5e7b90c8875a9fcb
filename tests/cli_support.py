"""The command line as its tests type it: in this process where that is enough, in a process of its own where it is not."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import structlog

from config.calendar import week_key as week_of
from config.clock import SystemClock
from runtime.commands.common import dispatch

ROOT = Path(__file__).parent.parent
GRID = """
[[grid]]
day = "monday"
platform = "instagram"
content_type = "quote"
time = "08:00"

[[grid]]
day = "monday"
platform = "facebook"
content_type = "quote"
time = "18:00"

[[grid]]
day = "tuesday"
platform = "instagram"
content_type = "carousel"
time = "08:00"
"""
SHIPPED_ZONE = ZoneInfo("America/New_York")
MONDAY = (SystemClock().now() + timedelta(days=21)).astimezone(SHIPPED_ZONE).date()
MONDAY -= timedelta(days=MONDAY.weekday())
"""Of a week that is far enough ahead, whenever the tests run."""


def utc_of(day: date, hour: int) -> str:
    """The UTC instant of a full hour of that day where the shipped brand lives, as the commands print it."""
    at = datetime.combine(day, time(hour), tzinfo=SHIPPED_ZONE)
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


WEEK = week_of(MONDAY)
RUN = ("cycle", "run", "--theme", "water-and-pause", "--week", WEEK)


@dataclass(frozen=True)
class Result:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line on stderr."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"one line on stderr, not {self.err!r}"
        return lines[0]


class Cli:
    """Types commands at one data directory."""

    def __init__(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data_dir = data_dir
        self._capsys = capsys

    def __call__(self, *argv: str) -> Result:
        self._capsys.readouterr()
        code = dispatch(["--data-dir", str(self.data_dir), *argv])
        captured = self._capsys.readouterr()
        return Result(code, captured.out, captured.err)

    def ok(self, *argv: str) -> Any:
        """The JSON of a command that must succeed (or wait for a human)."""
        result = self(*argv, "--json")
        assert result.code in (0, 3), result
        return result.json


def small_brand(cli: Cli, name: str = "acme") -> None:
    """A brand of the operator's own with three slots a week."""
    assert cli("brand", "new", name).code == 0
    shorten_week(cli.data_dir, name)


def shorten_week(data_dir: Path, name: str) -> None:
    """Give the new brand a week of three slots."""
    file = data_dir / "brands" / name / "brand.toml"
    head, _, rest = file.read_text().partition("[[grid]]")
    accounts = rest[rest.index("[accounts]") :] if "[accounts]" in rest else ""
    file.write_text(head + accounts + GRID)


def forbid_zebras(cli: Cli, name: str = "acme") -> None:
    """A rule of the brand's own that is important, so that a human has to look whatever the packs say."""
    with (cli.data_dir / "brands" / name / "guidelines.toml").open("a") as file:
        file.write(
            '\n[[guideline]]\ntype = "voice"\ntitle = "No zebras"\nrestrictions = ["zebra"]\nseverity = "important"\n'
        )


def environment(**more: str) -> dict[str, str]:
    """A clean environment for a process of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COPYDESK_", "OPENAI_"))}
    return {**kept, **more}


def run(*argv: str | bytes, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    """`run_agents.py ARGV` in a process of its own."""
    command: list[str | bytes] = [sys.executable, str(ROOT / "run_agents.py"), *argv]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, env=environment(**env), check=False)


@pytest.fixture(autouse=True)
def quiet_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands configure logging and read the environment: start clean, and leave this process as it was."""
    for name in list(os.environ):
        if name.startswith(("COPYDESK_", "OPENAI_")):
            monkeypatch.delenv(name)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """An empty data directory that does not exist yet."""
    return Cli(tmp_path / "data", capsys)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with one week of the small brand, its three pieces waiting for their human; copied, never used."""
    folder = tmp_path_factory.mktemp("planned") / "data"
    for argv in (("brand", "new", "acme"), RUN):
        done = run("--data-dir", str(folder), *argv)
        assert done.returncode in (0, 3), done.stderr
        if argv is not RUN:
            shorten_week(folder, "acme")
    return folder


@pytest.fixture
def week(planned: Path, cli: Cli) -> Cli:
    """A copy of the planned week."""
    shutil.copytree(planned, cli.data_dir)
    return cli
