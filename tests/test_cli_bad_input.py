"""Bad input gets one clear line: what, where, how to mend it. Never a traceback, and nothing is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cli_support import GRID, MONDAY, ROOT, WEEK, Cli, cli, environment, quiet_process, run, small_brand, utc_of

__all__ = ["cli", "quiet_process"]  # fixtures

REFUSED = [
    # 1: unknown command, option or missing argument
    ("unknown command", ["frobnicate"], "'frobnicate' is not a command"),
    ("nearest command", ["sesion", "list"], "did you mean 'session'"),
    ("nearest part", ["queue", "lst"], "did you mean 'list'"),
    ("unknown option", ["queue", "list", "--jsn"], "did you mean '--json'"),
    ("no abbreviation", ["queue", "list", "--js"], "unknown option --js"),
    ("missing argument", ["session", "show"], "required: ID"),
    ("missing option", ["create", "--platform", "twitter", "--type", "quote"], "--topic"),
    ("no verb", [], "VERB"),
    ("lint of nothing", ["lint"], "name at least one PATH"),
    ("requeue of nothing", ["queue", "requeue"], "--all"),
    ("unknown state", ["piece", "list", "--state", "wating"], "did you mean 'waiting'"),
    ("unknown status", ["session", "list", "--status", "dun"], "--status"),
    ("unknown agent", ["memory", "list", "--agent", "creaton"], "did you mean 'creation'"),
    (
        "unknown platform",
        ["create", "--platform", "twiter", "--type", "quote", "--topic", "tea"],
        "did you mean 'twitter'",
    ),
    ("impossible cell", ["create", "--platform", "youtube", "--type", "thread", "--topic", "tea"], "--type"),
    ("unknown pack", ["lint", "-", "--jurisdiction", "usa"], "did you mean 'us'"),
    ("unknown check", ["lint", "-", "--check", "medical"], "medical_claim"),
    ("unknown log level", ["queue", "list", "--log-level", "loud"], "choose debug"),
    ("limit too large", ["knowledge", "search", "tea", "--limit", "101"], "1 to 100"),
    ("limit zero", ["knowledge", "search", "tea", "--limit", "0"], "1 to 100"),
    ("money in words", ["session", "resume", "0" * 8, "--add-usd", "1e3"], "2.50"),
    ("missing file", ["lint", "no-such-file.txt"], "no-such-file.txt"),
    ("missing document", ["knowledge", "add", "no-such-file.md"], "no-such-file.md"),
    ("brand with a slash", ["--brand", "../x", "piece", "list"], "--brand"),
    ("brand with capitals", ["brand", "new", "Acme"], "NAME"),
    ("brand that is not there", ["brand", "show", "eesytem"], "did you mean 'eesystem'"),
    # 2: instants that do not exist
    (
        "30 February",
        ["create", "--platform", "twitter", "--type", "quote", "--topic", "tea", "--at", "2026-02-30T10:00"],
        "--at",
    ),
    (
        "year 10000",
        ["create", "--platform", "twitter", "--type", "quote", "--topic", "tea", "--at", "10000-01-01T10:00"],
        "--at",
    ),
    (
        "hour 25",
        ["create", "--platform", "twitter", "--type", "quote", "--topic", "tea", "--at", "2026-12-07T25:00"],
        "--at",
    ),
    ("a day without its hour", ["piece", "copy", "0" * 8, "--at", "2026-12-07"], "--at"),
    ("week 60", ["cycle", "run", "--theme", "tea", "--week", "2026-W60"], "--week"),
    ("week in words", ["piece", "list", "--week", "next"], "--week"),
    ("day of spending", ["budget", "show", "--day", "2026-02-30"], "--day"),
    # 4: ids
    ("path as id", ["session", "show", "../../x"], "is not an id"),
    ("NUL in an id", ["session", "show", "abc\x00def"], "NUL"),
    ("an id of 10 kB", ["piece", "show", "a" * 10_000], "is not an id"),
    ("right-to-left id", ["piece", "show", "\u202e12345678"], "is not an id"),
    ("urn id", ["session", "show", "{urn:uuid:0192f0c1-7c1a-7b7e-8c11-2f5d9d1f0a01}"], "is not an id"),
    ("id too short", ["piece", "show", "0192"], "is not an id"),
    ("not a hex id", ["why", "zzzzzzzz"], "is not an id"),
    ("task with a path", ["why", "advance:../../x"], "is not an id"),
    # 5: bytes that are not UTF-8
    ("bytes that are not UTF-8", ["knowledge", "search", "te\udcff"], "not valid UTF-8"),
]


@pytest.mark.parametrize(("argv", "says"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused_in_one_line_with_nothing_written(cli: Cli, argv: list[str], says: str) -> None:
    result = cli(*argv)
    assert result.code == 2
    assert says in result.complaint
    assert len(result.complaint) < 500
    assert "Traceback" not in result.err
    assert not any(ord(char) < 32 or ord(char) in range(0x202A, 0x202F) for char in result.complaint)
    assert result.out == ""
    assert not cli.data_dir.exists()


UNKNOWN = [
    ["session", "show", "0192f0c1-7c1a-7b7e-8c11-2f5d9d1f0a01"],
    ["session", "resume", "0192f0c1"],
    ["session", "cancel", "0192f0c1-7c1a-7b7e-8c11-2f5d9d1f0a01"],
    ["piece", "show", "0192f0c1-7c1a-7b7e-8c11-2f5d9d1f0a01"],
    ["piece", "diff", "0192f0c1"],
    ["piece", "history", "0192f0c1"],
    ["piece", "copy", "0192f0c1"],
    ["memory", "show", "0192f0c1"],
    ["why", "0192f0c1"],
    ["why", "advance:0192f0c1-7c1a-7b7e-8c11-2f5d9d1f0a01"],
    ["queue", "requeue", "advance:0192f0c1"],
    ["queue", "bury", "advance:0192f0c1"],
    ["queue", "show", "no_such_queue"],
    ["knowledge", "revoke", "no-such.md"],
    ["lint", "--explain", "US-NO-SUCH-RULE"],
    ["budget", "show", "--session", "0192f0c1"],
]


@pytest.mark.parametrize("argv", UNKNOWN, ids=" ".join)
def test_what_is_not_known_is_a_usage_error_in_one_line(cli: Cli, argv: list[str]) -> None:
    result = cli(*argv)
    assert result.code == 2
    assert result.complaint.startswith("error: ")
    assert result.out == ""


def test_an_id_of_another_brand_is_not_known(cli: Cli) -> None:
    small_brand(cli)
    started = cli.ok("--brand", "acme", "cycle", "run", "--theme", "water-and-pause", "--week", WEEK, "--detach")
    assert cli("--brand", "acme", "session", "show", started["session_id"]).code == 0
    result = cli("--brand", "eesystem", "session", "show", started["session_id"])
    assert (result.code, "is not known" in result.complaint) == (2, True)


GAP = next(
    day
    for day in (MONDAY + timedelta(days=n) for n in range(370))
    if (day.month, day.weekday()) == (3, 6) and 8 <= day.day <= 14
)
"""The next night on which New York's clocks skip an hour."""
CREATE = ["create", "--platform", "twitter", "--type", "quote", "--topic", "evening light", "--detach"]


@pytest.mark.parametrize(
    ("at", "utc"),
    [
        (f"{MONDAY}T10:00", utc_of(MONDAY, 10)),  # the shipped brand lives in America/New_York
        (f"{MONDAY}T10:00Z", f"{MONDAY}T10:00:00Z"),
        (f"{MONDAY}T10:00+02:00", f"{MONDAY}T08:00:00Z"),
        (f"{GAP}T02:30", f"{GAP}T07:30:00Z"),  # skipped by the clocks: shifted forward by the gap
    ],
)
def test_an_instant_without_an_offset_is_the_brands_and_its_utc_is_echoed(cli: Cli, at: str, utc: str) -> None:
    result = cli(*CREATE, "--at", at)
    assert result.code == 0
    assert utc in result.out
    assert ("gap-shifted" in result.out) == (at == f"{GAP}T02:30")


def test_an_instant_that_has_passed_is_refused(cli: Cli) -> None:
    result = cli(*CREATE, "--at", "2020-01-01T10:00")
    assert (result.code, "has passed" in result.complaint) == (2, True)
    assert cli.ok("session", "list") == []


def test_argv_that_is_not_utf8_is_refused_by_a_real_process(tmp_path: Path) -> None:
    done = run(b"--data-dir", os.fsencode(tmp_path / "data"), b"why", b"\xff\xfe")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert b"not valid UTF-8" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_closed_stdout_ends_quietly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    argv = [sys.executable, str(ROOT / "run_agents.py"), "--data-dir", str(tmp_path / "data"), "brand", "show"]
    try:
        done = subprocess.run(argv, stdout=writing, stderr=subprocess.PIPE, timeout=60, env=environment(), check=False)
    finally:
        os.close(writing)
    assert done.returncode in (0, 141)
    assert done.stderr == b""


def test_a_terminal_without_unicode_gets_escapes_and_no_crash(tmp_path: Path) -> None:
    text = "A quiet hour \u2728 helps \u4f60".encode()
    env = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = run("--data-dir", str(tmp_path / "data"), "lint", "-", "--json", stdin=text + b" cures cancer\n", **env)
    assert done.returncode == 1
    assert done.stderr == b""
    assert done.stdout.isascii()


def _running_week(data: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, str(ROOT / "run_agents.py"), "--data-dir", str(data), "demo", "--week", WEEK]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert process.stderr is not None
    assert process.stderr.readline()  # the first line of progress: the week is under way
    return process


def test_ctrl_c_drains_and_the_same_command_goes_on(tmp_path: Path) -> None:
    process = _running_week(tmp_path / "data")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    done = run("--data-dir", str(tmp_path / "data"), "demo", "--week", WEEK, "--json")
    assert done.returncode == 0
    assert b'"planned": 21' in done.stdout
    assert b'"status": "waiting"' in done.stdout


def test_work_that_somebody_else_holds_is_refused_for_now(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    small_brand(cli)
    session = cli.ok("cycle", "run", "--theme", "water-and-pause", "--week", WEEK, "--detach")["session_id"]
    monkeypatch.setattr("runtime.resume.WAIT", timedelta(0))
    import asyncio

    from config.clock import SystemClock
    from memory.queue.owner import current_owner
    from memory.queue.protocol import GENERATION_QUEUE, open_queue

    async def hold() -> None:
        async with open_queue(f"sqlite:///{cli.data_dir / 'queue.db'}", clock=SystemClock()) as queue:
            leases = await queue.claim([GENERATION_QUEUE], owner=current_owner(), ttl=timedelta(minutes=1), limit=1)
            assert [lease.task.id for lease in leases] == [f"advance:{session}"]

    asyncio.run(hold())
    result = cli("session", "resume", session, "--add-usd", "1")
    assert (result.code, "is being worked on" in result.complaint) == (75, True)
    result = cli("queue", "bury", f"advance:{session}")
    assert (result.code, "is being worked on" in result.complaint) == (75, True)


SETTINGS = [
    # 9: addresses of stores
    ("wrong scheme", {"COPYDESK_QUEUE": "http://user:hunter2hunter2@host/0"}, "redis://"),
    ("malformed", {"COPYDESK_CACHE": "redis//user:hunter2hunter2@host"}, "redis://"),
    ("records nowhere", {"COPYDESK_RECORDS": "mongodb://user:hunter2hunter2@host/0"}, "astra://"),
    # 11: numbers
    ("a number with a tail", {"COPYDESK_CONCURRENCY": "5abc"}, "whole number"),
    ("scientific", {"COPYDESK_CONCURRENCY": "1e3"}, "whole number"),
    ("spaces", {"COPYDESK_CONCURRENCY": " 5 "}, "whole number"),
    ("money in words", {"COPYDESK_SESSION_USD": "five"}, "2.50"),
    # 13: unknown names
    ("unknown setting", {"COPYDESK_CONCURENCY": "5"}, "did you mean 'COPYDESK_CONCURRENCY'"),
    # 14: values that contradict each other
    ("no worker", {"COPYDESK_CONCURRENCY": "0"}, "COPYDESK_CONCURRENCY"),
    ("minus one", {"COPYDESK_CONCURRENCY": "-1"}, "COPYDESK_CONCURRENCY"),
    ("a billion", {"COPYDESK_CONCURRENCY": "1000000000"}, "COPYDESK_CONCURRENCY"),
    ("heartbeat over lease", {"COPYDESK_LEASE": "20", "COPYDESK_HEARTBEAT": "10"}, "a third of COPYDESK_LEASE"),
    ("step shorter than its calls", {"COPYDESK_MODEL_TIMEOUT": "100"}, "COPYDESK_NODE_TIMEOUT"),
    ("send longer than its permit", {"COPYDESK_SEND_TIMEOUT": "30"}, "COPYDESK_PERMIT"),
]


@pytest.mark.parametrize(("env", "says"), [case[1:] for case in SETTINGS], ids=[case[0] for case in SETTINGS])
@pytest.mark.parametrize("verb", [["queue", "list"], ["session", "list"], ["doctor"]], ids=" ".join)
def test_a_bad_setting_is_refused_by_every_verb(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, verb: list[str], env: dict[str, str], says: str
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    result = cli(*verb)
    assert result.code == 2
    assert says in result.complaint
    assert "hunter2" not in result.err
    assert not cli.data_dir.exists()


def test_an_empty_setting_counts_as_unset(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPYDESK_CONCURRENCY", "")
    assert cli("queue", "list").code == 0


def test_a_model_without_its_key_is_refused_before_anything_runs(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPYDESK_MODEL", "openai:gpt-4o-mini")
    result = cli("cycle", "run", "--theme", "water-and-pause", "--week", WEEK)
    assert result.code == 2
    assert "OPENAI_API_KEY" in result.complaint
    assert "offline:" in result.complaint
    assert not cli.data_dir.exists()
    result = cli("doctor")
    assert result.code == 1
    assert "OPENAI_API_KEY" in result.out


FILES = [
    # 12: TOML that cannot be read
    ("twice the same key", "brand.toml", b'name = "acme"\nname = "acme"\n', "brand.toml"),
    ("a NUL", "brand.toml", b'name = "ac\x00me"\n', "brand.toml"),
    ("not UTF-8", "brand.toml", b'name = "\xff"\n', "not UTF-8"),
    ("no title", "brand.toml", b'name = "acme"\n', "title is missing: add title = "),
    ("too large", "claims.toml", b"#" * (1024 * 1024 + 1), "limit"),
    # 13: unknown keys
    ("unknown key", "brand.toml", b'name = "acme"\ntitle = "Acme"\naproval = "all"\n', "did you mean 'approval'"),
    ("unknown table", "claims.toml", b'[[claims]]\ntext = "x"\n', "did you mean 'claim'"),
    ("unknown zone", "brand.toml", b'name = "acme"\ntitle = "Acme"\nzone = "Mars/Base"\n', "Europe/Berlin"),
    (
        "unknown day",
        "brand.toml",
        b'name = "acme"\ntitle = "A"\n' + GRID.replace("tuesday", "tuseday").encode(),
        "grid",
    ),
]


@pytest.mark.parametrize(("file", "data", "says"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_a_brands_folder_that_is_wrong_is_refused_with_its_file(cli: Cli, file: str, data: bytes, says: str) -> None:
    small_brand(cli)
    (cli.data_dir / "brands" / "acme" / file).write_bytes(data)
    checked = cli("brand", "check", "acme")
    assert (checked.code, checked.out) == (2, "")
    assert says in checked.complaint
    assert file in checked.complaint
    started = cli("--brand", "acme", "cycle", "run", "--theme", "water-and-pause", "--week", WEEK)
    assert started.code == 2
    assert says in started.complaint
    assert cli("--brand", "acme", "session", "list", "--json").json == []


def test_a_byte_order_mark_is_not_a_mistake(cli: Cli) -> None:
    small_brand(cli)
    file = cli.data_dir / "brands" / "acme" / "brand.toml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert cli("brand", "check", "acme").code == 0
