"""The reliability facts about bad input, a case a row, each at the surface where the bad thing comes in.

A case says in its docstring where the product answers otherwise than the row asks, and why. Row 8 (two starts of one session) is
no bad input here: the same week is the same session, and a lease decides who works on it.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
from datetime import UTC, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from config.clock import SystemClock
from tests.cli_support import ROOT, Cli, environment, quiet_process, run
from tests.reliability_brands import BRANDS
from tests.reliability_rows import (
    Case,
    Table,
    World,
    check_refusal,
    coming_week,
    contents,
    copy_planted,
    plant,
)
from tests.reliability_stores import STORES
from tests.test_cli_bad_input import _running_week
from tests.test_worker import quick

__all__ = ["quick", "quiet_process"]  # fixtures
TABLE = Table()
row = TABLE.row
DEMANDED = {*range(1, 8), *range(9, 20), 23, *range(24, 35), *range(59, 63)}
CREATE = ("create", "--platform", "twitter", "--type", "quote", "--topic", "tea")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a week in it, made once."""
    return tmp_path_factory.mktemp("planted") / "data"


@pytest.fixture
def world(planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> World:
    if not planted.exists():
        plant(Cli(planted, capsys))
    copy_planted(planted, tmp_path / "planted")
    (tmp_path / "own").mkdir()
    return World(Cli(tmp_path / "planted", capsys), Cli(tmp_path / "absent", capsys), monkeypatch, tmp_path / "own")


# The command line


@row(1, "unknown-command-option-or-argument")
def _(world: World) -> None:
    world.refused("frobnicate", says=("'frobnicate'", "not a command"))
    world.refused("sesion", "list", says=("did you mean 'session'",))
    world.refused("queue", "list", "--jsn", says=("did you mean '--json'",))
    world.refused("session", "show", says=("required", "ID"))
    world.refused("create", "--platform", "twiter", "--type", "quote", "--topic", "t", says=("did you mean 'twitter'",))


@row(2, "a-date-that-does-not-exist")
def _(world: World) -> None:
    for date in ("2026-02-30", "10000-01-01"):
        world.refused(*CREATE, "--at", f"{date}T10:00", says=("--at", f"{date}T10:00"))
        world.refused("budget", "show", "--day", date, says=("--day", date))
    world.refused("cycle", "run", "--theme", "tea", "--week", "2026-W60", says=("--week", "2026-W60"))


@row(3, "an-instant-without-a-zone")
def _(world: World) -> None:
    """The documented default is the brand's own zone; what it comes to in UTC is echoed."""
    local = (SystemClock().now() + timedelta(days=30)).replace(hour=10, minute=0, second=0, microsecond=0, tzinfo=None)
    utc = local.replace(tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
    result = world.fresh(*CREATE, "--at", local.isoformat(timespec="minutes"), "--detach")
    assert result.code == 0, result
    assert utc.isoformat().replace("+00:00", "Z") in result.out


@row(4, "ids-that-are-paths-bytes-or-tricks")
def _(world: World) -> None:
    for bad in ("../../x", "a" * 10_240, "\u202e12345678", "{urn:uuid:0192f0c1-7c1a-7b7e-8c11-2f5d9d1f0a01}"):
        world.refused("session", "show", bad, says=("is not an id", ascii(bad[:6])[1:-1]))
    world.refused("session", "show", "abc\x00def", says=("NUL",))
    world.refused("--brand", "../x", "piece", "list", says=("--brand", "../x"))
    [session] = world.cli("--brand", "acme", "session", "list", "--json").json
    shouted = world.cli("--brand", "acme", "session", "show", session["session_id"].upper(), "--json")
    assert (shouted.code, shouted.json["session_id"]) == (0, session["session_id"]), "an id has one spelling inside"


@row(5, "argv-that-is-not-utf-8")
def _(world: World) -> None:
    world.refused("knowledge", "search", "te\udcff", says=("not valid UTF-8", "te"))
    done = run(b"--data-dir", os.fsencode(world.fresh.data_dir), b"why", b"\xff\xfe")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert b"not valid UTF-8" in done.stderr
    assert not world.fresh.data_dir.exists()


@row(6, "stdout-closed-or-without-unicode")
def _(world: World) -> None:
    before = contents(world.cli.data_dir)
    reading, writing = os.pipe()
    os.close(reading)
    argv = [sys.executable, str(ROOT / "run_agents.py"), "--data-dir", str(world.cli.data_dir), "session", "list"]
    with os.fdopen(writing, "wb", closefd=True) as closed:
        done = subprocess.run(argv, stdout=closed, stderr=subprocess.PIPE, timeout=60, env=environment(), check=False)
    assert (done.returncode in (0, 141), done.stderr) == (True, b"")
    plain = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    sparkles = "\u2728 cures cancer \u4f60".encode()
    done = run("--data-dir", str(world.cli.data_dir), "lint", "-", stdin=sparkles, **plain)
    assert (done.returncode, done.stderr, done.stdout.isascii()) == (1, b"", True)
    assert contents(world.cli.data_dir) == before


@row(7, "ctrl-c-once-and-twice")
def _(world: World) -> None:
    once, twice = world.fresh.data_dir, world.folder / "twice"
    for data_dir, times in ((once, 1), (twice, 2)):
        process = _running_week(data_dir)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert (process.returncode, b"Traceback" in stderr) == (130, False), stderr
    drained, stopped = (Cli(data_dir, world.fresh._capsys) for data_dir in (once, twice))
    for cli in (drained, stopped):
        [session] = cli("session", "list", "--json").json
        assert session["status"] == "running"
    # That the drained one goes on too is shown where the same command is typed again (tests/test_cli_bad_input.py).
    resumed = stopped("session", "resume", session["session_id"], "--json")
    assert (resumed.code, resumed.json["status"]) == (3, "waiting"), "it went on to where a human is needed"
    assert resumed.json["pieces"]["planned"] == 21


# Settings and the brand's folder


@row(9, "addresses-with-a-password")
def _(world: World) -> None:
    for name, url in (
        ("QUEUE", "http://user:hunter2hunter2@host/0"),
        ("CACHE", "redis//user:hunter2hunter2@host"),
        ("RECORDS", "mongodb://user:hunter2hunter2@host/0"),
    ):
        world.patch.setenv(f"COPYDESK_{name}", url)
        result = world.fresh("queue", "list")
        check_refusal(result, says=(f"COPYDESK_{name}", "***", "://"))
        assert "hunter2" not in result.err
        world.refused("session", "list", says=("***",))
        world.patch.delenv(f"COPYDESK_{name}")


@row(10, "a-model-without-its-key")
def _(world: World) -> None:
    world.patch.setenv("COPYDESK_MODEL", "openai:gpt-4o-mini")
    start = ("--brand", "eesystem", "cycle", "run", "--theme", "water-and-pause", "--week", coming_week())
    world.refused(*start, says=("OPENAI_API_KEY", "offline:"))


@row(11, "numbers-that-are-not-quite")
def _(world: World) -> None:
    for value in ("5abc", "1e3", " 5 "):
        world.refused_setting("COPYDESK_CONCURRENCY", value, "COPYDESK_CONCURRENCY", repr(value), "whole number")
    world.patch.setenv("COPYDESK_CONCURRENCY", "")
    assert world.cli("queue", "list").code == 0, "empty is unset"


def _brand_file(world: World, data: bytes, *says: str) -> None:
    """brand.toml with these bytes is refused by the check and by what would use it; nothing else changes."""
    file = world.cli.data_dir / "brands" / "acme" / "brand.toml"
    kept = file.read_bytes()
    file.write_bytes(data)
    before = contents(world.cli.data_dir)
    start = ("cycle", "run", "--theme", "water-and-pause", "--week", "2031-W20")
    for argv in (("brand", "check", "acme"), ("--brand", "acme", *start), ("--brand", "acme", *CREATE)):
        check_refusal(world.cli(*argv), says=("brand.toml", *says))
    assert contents(world.cli.data_dir) == before
    file.write_bytes(kept)


@row(12, "toml-that-cannot-be-read")
def _(world: World) -> None:
    _brand_file(world, b'name = "acme"\nname = "acme"\n', "line 2")
    _brand_file(world, b'name = "ac\x00me"\n', "line 1", "column")
    _brand_file(world, b'name = "\xff"\n', "not UTF-8")
    file = world.cli.data_dir / "brands" / "acme" / "brand.toml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert world.cli("brand", "check", "acme").code == 0, "a byte order mark is no mistake"


@row(13, "unknown-keys")
def _(world: World) -> None:
    _brand_file(world, b'name = "acme"\ntitle = "Acme"\naproval = "all"\n', "aproval", "did you mean 'approval'")
    world.refused_setting("COPYDESK_CONCURENCY", "5", "COPYDESK_CONCURENCY", "did you mean 'COPYDESK_CONCURRENCY'")


@row(14, "settings-that-contradict-each-other")
def _(world: World) -> None:
    """A lease may be shorter than a call, because a heartbeat extends it: what must hold is heartbeat <= lease / 3, a step that
    outlasts its calls, and a send that ends within its permit. No setting holds dimensions: each embedder dictates its own.
    """
    for value in ("0", "-1", "1000000000"):
        world.refused_setting("COPYDESK_CONCURRENCY", value, "COPYDESK_CONCURRENCY", value)
    world.refused_setting("COPYDESK_LEASE", "20", "COPYDESK_LEASE (20 s)", "a third")
    world.refused_setting(
        "COPYDESK_MODEL_TIMEOUT", "100", "COPYDESK_NODE_TIMEOUT (240 s)", "COPYDESK_MODEL_TIMEOUT (100 s)"
    )
    world.refused_setting("COPYDESK_SEND_TIMEOUT", "30", "COPYDESK_SEND_TIMEOUT (30 s)", "COPYDESK_PERMIT (20 s)")
    world.patch.setenv("COPYDESK_EMBEDDER", "hash-v2")
    world.refused("--brand", "acme", "session", "list", says=("COPYDESK_EMBEDDER", "'hash-v2'", "hash-v1"))


@pytest.mark.parametrize("case", [*TABLE, *STORES, *BRANDS], ids=lambda case: case.id)
def test_each_row_is_answered_as_it_demands(case: Case, world: World) -> None:
    answer = case.run(world)
    if inspect.iscoroutine(answer):
        asyncio.run(answer)


def test_the_table_has_every_row_once() -> None:
    assert sorted(case.row for case in [*TABLE, *STORES, *BRANDS]) == sorted(DEMANDED)
