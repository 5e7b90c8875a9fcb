"""What operators copy: the list of settings, the systemd unit, the compose file. They name what exists, and fit together."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest

from config.settings import Settings, load_settings, variable
from runtime.commands.common import build_parser
from tests.fakes.checkout import ROOT
from tests.fakes.redis_server import RedisServer

PASSWORD = "not-a-real-one"


def env_lines() -> list[tuple[str, str]]:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    return re.findall(r"^# ([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE)


def compose() -> dict[str, Any]:
    text = (ROOT / "examples" / "compose.yaml").read_text(encoding="utf-8")
    loaded = import_module("yaml").safe_load(text)
    assert isinstance(loaded, dict)
    return loaded


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((ROOT / "examples" / "copydesk-worker.service").read_text(encoding="utf-8"))
    return parser


def test_every_setting_stands_in_the_example_once() -> None:
    assert sorted(name for name, _ in env_lines()) == sorted(variable(name) for name in Settings.model_fields)


def test_the_example_as_it_stands_changes_nothing() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert all(line.startswith("#") or not line for line in text.splitlines())
    assert load_settings(dict(env_lines())) == Settings()


def test_the_example_holds_no_secret() -> None:
    for name, value in env_lines():
        if (
            type(getattr(Settings(), next(f for f in Settings.model_fields if variable(f) == name))).__name__
            == "SecretStr"
        ):
            assert value == "", name


def test_the_workers_of_the_compose_file_have_settings_that_load() -> None:
    workers = {name: service for name, service in compose()["services"].items() if name != "redis"}
    assert len(workers) == 2
    for service in workers.values():
        environ = {name: re.sub(r"\$\{[^}]*\}", PASSWORD, value) for name, value in service["environment"].items()}
        settings = load_settings(environ)
        assert settings.queue_url.startswith("redis://")
        assert f":{PASSWORD}@redis:" in settings.cache_url
        assert build_parser().parse_args(service["command"][1:]).verb == "worker"
        assert timedelta(seconds=int(service["stop_grace_period"].removesuffix("s"))) > settings.drain


@pytest.fixture
def composed_redis() -> Iterator[RedisServer]:
    """A real server started with the options of the compose file."""
    options = compose()["services"]["redis"]["command"][1:]
    # The test's own server listens on a socket; what the file says of durability, memory and passwords is kept.
    server = RedisServer(*(PASSWORD if option == "${REDIS_PASSWORD}" else option for option in options))
    yield server
    server.close()


async def test_the_redis_of_the_compose_file_keeps_what_it_acknowledged_and_evicts_nothing(
    composed_redis: RedisServer,
) -> None:
    from memory.redis_client import open_redis

    assert composed_redis.options[-1] == PASSWORD
    composed_redis.start()
    async with open_redis(composed_redis.url.replace("://", f"://:{PASSWORD}@")) as redis:
        found = {
            name: await redis.call("CONFIG", "GET", name) for name in ("appendonly", "maxmemory-policy", "maxmemory")
        }
    said = {name: answer[1].decode() for name, answer in found.items()}
    assert said == {"appendonly": "yes", "maxmemory-policy": "noeviction", "maxmemory": str(256 * 2**20)}


def test_the_unit_starts_a_worker_and_waits_longer_than_it_drains() -> None:
    service = unit()["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/copydesk")
    assert build_parser().parse_args(arguments).verb == "worker"
    name, _, folder = service["Environment"].partition("=")
    settings = load_settings({name: folder})
    assert str(settings.data_dir) == f"/var/lib/{service['StateDirectory']}"
    assert timedelta(seconds=int(service["TimeoutStopSec"])) > settings.drain
    assert service["KillMode"] == "mixed"


def test_the_exit_code_after_which_the_unit_is_not_started_again_is_that_of_bad_settings() -> None:
    from config.errors import Damaged, DiskFull, SettingsError, Unavailable

    stops = {int(code) for code in unit()["Service"]["RestartPreventExitStatus"].split()}
    assert stops == {SettingsError.exit_code, Damaged.exit_code}
    assert not stops & {DiskFull.exit_code, Unavailable.exit_code}


def commands_of_the_page() -> list[str]:
    text = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^copydesk (.+?)(?: +#.*)?$", text, re.MULTILINE)
    return [*blocks, *re.findall(r"`copydesk ([^`…]+)`", text)]


def test_every_command_of_the_operators_page_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    found = commands_of_the_page()
    assert len(found) > 25
    for command in found:
        words = shlex.split(command)
        if words[0] == "restore" and words == ["restore"]:
            continue  # named in prose, without the folder that it needs
        try:
            build_parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"copydesk {command}: {capsys.readouterr().err}")


def test_every_setting_that_the_operators_page_names_is_one() -> None:
    text = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    known = {variable(name) for name in Settings.model_fields}
    named = {name for name in re.findall(r"COPYDESK_[A-Z_]+", text) if not name.startswith("COPYDESK_TEST_")}
    assert named
    assert named <= known


def words_of_the_program() -> list[str]:
    """What the failure table says that an operator sees, cut where the program puts in a name, a number or an error."""
    text = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    table = text.partition("## When something fails")[2].partition("\n## ")[0]
    seen = [row.split(" | ")[1] for row in table.splitlines() if row.count(" | ") == 2]
    quoted = [quote for cell in seen for quote in re.findall(r"`([^`]+)`", cell) if " " in quote]
    cuts = r"…|PATH|NAME|\bN\b|\d+|\([^)]*\)|'[^']*'|copydesk \w+|publish resolve|fuser|redis://|agent_sessions|[:;,] "
    return [part.strip() for quote in quoted for part in re.split(cuts, quote) if len(part.split()) > 2]


def test_what_the_operators_page_quotes_is_what_the_program_says() -> None:
    folders = ("memory", "runtime", "tools", "agents", "graphs")
    source = "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py"))
    source = re.sub(r"\"\n\s*f?\"", "", source)
    found = words_of_the_program()
    assert len(found) > 20
    for words in found:
        assert words in source, words
