"""Logs: no secret through any path, and no value that can forge a line or move the cursor (facts: redaction, log injection)."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import httpx2
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from config import log as log_module
from config.log import configure_logging, escape, redact, register_secrets

ROOT = Path(__file__).resolve().parents[1]
REGISTERED = "the/registered+canary=1"
SECRETS = (
    REGISTERED,
    "the%2Fregistered%2Bcanary%3D1",
    "sk-canary-0123456789abc",
    "AstraCS:canary:0123456789abcdef",
    "Authorization: Bearer canary.0123456789",
    "authorization: basic Y2FuYXJ5OmNhbmFyeQ==",
    "https://api.example/v1?x=1&api_key=canary123&y=2",
    "https://api.example/v1?token=canary123",
    "redis://:canary@host:6379/0",
    "rediss://user:can@ry-canary@host:6379/0",
    "https://canary@git.example/x",
    "password=canary",
    "{'client_secret': 'canary'}",
    '{"refresh_token": "canary"}',
    '{\\"access_token\\": \\"canary\\"}',
)
TEXT = " and ".join(SECRETS)
LEAK = re.compile(r"canary|Y2FuYXJ5", re.IGNORECASE)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, set(log_module._known_secrets))
    levels = {
        name: logging.getLogger(name).level
        for name in ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "asyncio")
    }
    yield
    root.handlers[:], root.level = before[0], before[1]
    log_module._known_secrets.clear()
    log_module._known_secrets.update(before[2])
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def raised(text: str, cause: bool = False) -> None:
    secret_in_a_local = text
    if cause:
        try:
            raise KeyError(secret_in_a_local)
        except KeyError as error:
            raise RuntimeError("outer") from error
    raise RuntimeError(secret_in_a_local)


def with_traceback(write: Callable[[], None], text: str, **kwargs: Any) -> None:
    try:
        raised(text, **kwargs)
    except RuntimeError:
        write()


def request(client_of: Any, text: str) -> None:
    """What an HTTP client logs by itself at INFO: the whole URL."""
    logging.getLogger("httpx").setLevel(logging.INFO)
    logging.getLogger("httpx2").setLevel(logging.INFO)
    with client_of.Client(transport=client_of.MockTransport(lambda _: client_of.Response(200))) as client:
        client.get(f"https://api.example/v1?api_key={SECRETS[2]}", params={"token": "canary-777"})


def failed_request(text: str) -> None:
    error = httpx.HTTPStatusError(
        text, request=httpx.Request("GET", "https://api.example"), response=httpx.Response(500)
    )
    try:
        raise error
    except httpx.HTTPStatusError:
        logging.getLogger("anything").exception("request failed")


class Shown:
    """An object of somebody else's, whose repr tells all."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Shown({self.text})"


def ours() -> Any:
    return structlog.get_logger("copydesk.test")


def theirs() -> logging.Logger:
    return logging.getLogger("somebody.else")


def bound(text: str) -> None:
    with structlog.contextvars.bound_contextvars(session=text):
        ours().warning("session.started")


PATHS: dict[str, Callable[[str], object]] = {
    "the event itself": lambda text: ours().warning(text),
    "a field": lambda text: ours().warning("x.done", url=text),
    "a field named like a secret": lambda text: ours().warning(
        "x.done", password="canary", api_key="canary", token="canary"
    ),
    "a header": lambda text: ours().warning(
        "x.done", headers={"Authorization": "canary", "X-Api-Key": "canary", "Cookie": "canary"}
    ),
    "a nested dict": lambda text: ours().warning("x.done", request={"a": [{"b": {"c": (text,)}}]}),
    "a key of a dict": lambda text: ours().warning("x.done", seen={text: 1}),
    "a set and a tuple": lambda text: ours().warning("x.done", seen={text}, order=(text, [text])),
    "bytes": lambda text: ours().warning("x.done", body=text.encode()),
    "an object": lambda text: ours().warning("x.done", thing=Shown(text)),
    "an object in a list": lambda text: ours().warning("x.done", things=[Shown(text), SimpleNamespace(key=text)]),
    "an exception as a field": lambda text: ours().warning("x.failed", error=ValueError(text)),
    "a wrapped secret": lambda text: ours().warning("x.done", secret=SecretStr(text), note=text),
    "bound context": bound,
    "a bound logger": lambda text: ours().bind(url=text).warning("x.done"),
    "a traceback": lambda text: with_traceback(lambda: ours().exception("x.failed"), text),
    "a traceback's cause": lambda text: with_traceback(
        lambda: ours().error("x.failed", exc_info=True), text, cause=True
    ),
    "a library's message": lambda text: theirs().warning(text),
    "a library's arguments": lambda text: theirs().warning("calling %s with %r", "x", text),
    "a library's mapping": lambda text: theirs().warning("calling %(url)s", {"url": text}),
    "a library's object": lambda text: theirs().warning("calling %s", Shown(text)),
    "a library's extra fields": lambda text: theirs().warning("calling", extra={"url": text, "api_key": "canary"}),
    "a library's traceback": lambda text: with_traceback(lambda: theirs().exception("calling"), text),
    "a library's traceback with a cause": lambda text: with_traceback(
        lambda: theirs().exception("calling"), text, cause=True
    ),
    "a library's stack": lambda text: theirs().warning(text, stack_info=True),
    "a library's broken call": lambda text: theirs().warning("%d api_key=canary", text),
    "httpx at info": lambda text: request(httpx, text),
    "the openai sdk's client at info": lambda text: request(httpx2, text),
    "an http error": failed_request,
    "a warning": lambda text: warnings.warn(text, UserWarning, stacklevel=1),
}
assert len(PATHS) >= 20


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.filterwarnings("always::UserWarning")  # one path is a warning, and must be printed rather than raised
def test_no_secret_passes_through(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    register_secrets([REGISTERED])
    configure_logging(level="info")
    PATHS[path](TEXT)
    written = capsys.readouterr().err
    assert "***" in written or "log.unreadable" in written, written
    assert not LEAK.search(written), written
    assert "Logging error" not in written


UNCAUGHT = {
    "an exception that nobody caught": "raise RuntimeError(TEXT)",
    "an exception in a thread": "import threading; t = threading.Thread(target=boom); t.start(); t.join()",
    "an exception in a finaliser": "class A:\n    def __del__(self): boom()\nA()",
    "a task whose exception was never retrieved": (
        "import asyncio, gc\n"
        "async def main():\n"
        "    task = asyncio.ensure_future(aboom()); await asyncio.sleep(0); del task; gc.collect(); await asyncio.sleep(0)\n"
        "asyncio.run(main())"
    ),
    "a callback of the loop": (
        "import asyncio\n"
        "async def main():\n"
        "    asyncio.get_running_loop().call_soon(boom); await asyncio.sleep(0.01)\n"
        "asyncio.run(main())"
    ),
    "a warning outside of any test": "import warnings; warnings.simplefilter('always'); warnings.warn(TEXT)",
}


@pytest.mark.parametrize("path", UNCAUGHT)
def test_no_secret_passes_through_what_python_prints_by_itself(path: str) -> None:
    program = (
        "import sys\n"
        "from config.log import configure_logging, register_secrets\n"
        f"TEXT = {TEXT!r}\n"
        f"register_secrets([{REGISTERED!r}])\n"
        "configure_logging()\n"
        "def boom(): raise RuntimeError(TEXT)\n"
        "async def aboom(): boom()\n"
        f"{UNCAUGHT[path]}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "***" in done.stderr, done.stderr
    assert not LEAK.search(done.stderr), done.stderr
    assert done.returncode == (1 if path == "an exception that nobody caught" else 0)


def test_http_clients_do_not_log_addresses_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info")
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        client.get("https://api.example/v1")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "text",
    [
        "task-0123456789",
        "disk-full-since-monday",
        "tokens=120",
        "max_tokens: 4096",
        "the key: patience",
        "a@b.example",
        "https://h/p?q=a@b",
    ],
)
def test_what_only_resembles_a_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text


def test_counts_of_tokens_are_not_masked(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info")
    ours().info("model.called", input_tokens=12, tokens=40, primary_key="id")
    assert "input_tokens=12" in (line := capsys.readouterr().err)
    assert "tokens=40" in line
    assert "primary_key=id" in line


def test_a_masked_url_still_says_where_it_went() -> None:
    assert redact("redis://user:pw@cache.example:6379/0?db=1") == "redis://***@cache.example:6379/0?db=1"
    assert redact("https://x/y?api_key=secret&page=2") == "https://x/y?api_key=***&page=2"


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    register_secrets(["hunter", "hunter22-and-more"])
    assert redact("it is hunter22-and-more") == "it is ***"


def test_a_short_word_is_not_taken_for_a_secret() -> None:
    register_secrets(["", "a", "abc"])
    assert redact("an abc of a cat") == "an abc of a cat"


FORGERIES = {
    "newline": "a\nlevel=critical event=forged",
    "carriage return": "a\rforged",
    "crlf": "a\r\nforged",
    "escape sequence": "\x1b[2J\x1b[31mred",
    "c1 control": "\x9b31m",
    "nul": "a\x00b",
    "backspace": "good\x08\x08bad",
    "delete": "\x7f",
    "next line": "a\x85forged",
    "line separator": "a\u2028forged",
    "paragraph separator": "a\u2029forged",
    "right to left override": "\u202eevil",
    "isolate": "\u2067evil\u2069",
    "right to left mark": "\u200fevil",
    "arabic letter mark": "\u061cevil",
    "zero width space": "a\u200bb",
    "byte order mark": "\ufeffa",
    "tag characters": "a\U000e0041\U000e0042",
    "lone high surrogate": "\ud800",
    "lone low surrogate": "\udfff",
}


def one_line(written: str) -> str:
    assert written.endswith("\n")
    line = written[:-1]
    assert not re.search(
        r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]",
        line,
    ), line
    line.encode("utf-8")
    return line


@pytest.mark.parametrize("name", FORGERIES)
def test_no_value_can_forge_a_line_or_move_the_cursor(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info")
    text = FORGERIES[name]
    for write in (
        lambda: ours().warning(text),
        lambda: ours().warning("x.done", title=text, deep={"a": [text]}),
        lambda: ours().warning("x.done", deep={text: 1}),
        lambda: theirs().warning("got %s", text),
        lambda: theirs().warning("got", extra={"title": text}),
    ):
        write()
        assert "level=warning" in one_line(capsys.readouterr().err)


def test_a_traceback_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    with_traceback(lambda: ours().exception("x.failed"), "first\nsecond")
    assert "RuntimeError: first" in one_line(capsys.readouterr().err)


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_any_text_escapes_to_one_encodable_line(text: str) -> None:
    escaped = escape(text)
    assert len(escaped.encode("utf-8").splitlines()) <= 1
    assert escape(escaped) == escaped


def test_plain_text_in_any_script_is_left_alone() -> None:
    text = "Grüße, 你好, שלום, 🌿 – “calm”"
    assert escape(text) == text


def test_an_event_is_a_noun_and_a_past_verb_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info")
    ours().info("task.leased", task_id="t1", attempt=2)
    line = one_line(capsys.readouterr().err)
    assert re.fullmatch(r"timestamp=\S+Z level=info event=task\.leased task_id=t1 attempt=2", line)


def test_levels_below_the_chosen_one_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="warning")
    ours().info("x.done")
    theirs().info("calling")
    assert capsys.readouterr().err == ""


def test_configuring_again_does_not_double_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    configure_logging()
    theirs().warning("once")
    assert capsys.readouterr().err.count("once") == 1


def test_a_value_that_cannot_be_shown_does_not_cost_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def __str__(self) -> str:
            raise ValueError("no")

    configure_logging()
    ours().warning("x.done", thing=Broken(), id="t1")
    line = one_line(capsys.readouterr().err)
    assert "id=t1" in line
    assert "str() raised ValueError" in line


def test_a_value_that_holds_itself_does_not_cost_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    loop: dict[str, Any] = {"name": "loop"}
    loop["self"] = loop
    configure_logging()
    ours().warning("x.done", loop=loop, id="t1")
    assert "id=t1" in one_line(capsys.readouterr().err)
