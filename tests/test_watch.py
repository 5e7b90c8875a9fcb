"""`watch`: a session is followed to its end from any machine, each event told once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock
from config.errors import Unavailable
from config.vocabulary import SessionStatus
from memory.records.protocol import Records
from memory.rows.sessions import Session
from runtime.commands.watch import JsonView, follow
from tests.cli_support import MONDAY, ROOT, WEEK, Cli, cli, environment, quiet_process, small_brand
from tests.fakes.data_api import DataApi, Keyspace
from tests.fakes.newsroom import open_newsroom
from tests.fakes.redis_server import redis_url

__all__ = ["MONDAY", "cli", "quiet_process"]
RUN = ("cycle", "run", "--week", WEEK, "--theme", "quiet evenings", "--detach")


@contextmanager
def a_worker(data_dir: Path, **env: str) -> Iterator[None]:
    """A worker process that ends when nothing is left."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run_agents.py"), "--data-dir", str(data_dir), "worker", "--until-idle"],
        env=environment(**env),
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def told(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def check_story(lines: list[dict[str, Any]], session_id: str) -> None:
    assert lines[-1]["type"] == "session"
    assert (lines[-1]["session_id"], lines[-1]["status"]) == (session_id, "waiting")
    events = [json.dumps(line) for line in lines if line["type"] == "event"]
    assert len(events) == len(set(events)), "each event is told once"
    names = {line["event"] for line in lines if line["type"] == "event"}
    assert {name.partition(".")[0] for name in names} >= {"piece"}, names
    [*_, counts] = [line for line in lines if line["type"] == "counts"]
    assert sum(counts["pieces"].values()) == 3
    assert counts["status"] == "waiting"


def test_it_follows_a_session_until_it_waits_for_a_human(cli: Cli) -> None:
    small_brand(cli)
    id = cli.ok(*RUN)["session_id"]
    with a_worker(cli.data_dir):
        seen = cli("watch", id[:13], "--json")
    assert seen.code == 3, seen.err
    check_story(told(seen.out), id)
    text = cli("watch", id)
    assert text.code == 3
    assert f"session {id} waits for you" in text.out
    assert "review list" in text.out.splitlines()[-1]
    assert "by creation" in text.out, "what had happened before is told as well"


def test_it_follows_from_another_machine(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = DataApi().start()
    try:
        api.keyspaces["desk"] = Keyspace()
        redis = redis_url(tmp_path)
        stores = {"COPYDESK_RECORDS": api.url("desk"), "COPYDESK_QUEUE": redis, "COPYDESK_CACHE": redis}
        for name, value in stores.items():
            monkeypatch.setenv(name, value)
        assert cli("db", "init").code == 0
        small_brand(cli)
        id = cli.ok(*RUN)["session_id"]
        elsewhere = Cli(tmp_path / "elsewhere", capsys)  # has no folder of the brand
        with a_worker(cli.data_dir, **stores):
            seen = elsewhere("--brand", "acme", "watch", id, "--json")
        assert seen.code == 3, seen.err
        check_story(told(seen.out), id)
    finally:
        api.stop()


def test_a_session_that_is_over_is_told_at_once(cli: Cli) -> None:
    small_brand(cli)
    id = cli.ok(*RUN)["session_id"]
    assert cli("session", "cancel", id).code == 0
    seen = cli("watch", id, "--json")
    assert seen.code == 1
    assert told(seen.out)[-1]["status"] == "cancelled"


def test_an_unknown_session_is_one_line(cli: Cli) -> None:
    small_brand(cli)
    seen = cli("watch", "0" * 8)
    assert seen.code == 2
    assert "session list" in seen.complaint
    assert cli("watch", "no such").code == 2


async def test_a_store_that_is_away_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_newsroom(tmp_path, clock=ManualClock()) as room:
        session = await room.drafted()
        assert session.status is SessionStatus.WAITING
        missing = [3]
        store = room.runtime.records

        class Away:
            """Records that do not answer at first."""

            def __init__(self, records: Records) -> None:
                self._records = records

            def __getattr__(self, name: str) -> Any:
                return getattr(self._records, name)

            async def get(self, row_type: Any, **key: Any) -> Any:
                if row_type is Session and missing[0]:
                    missing[0] -= 1
                    raise Unavailable("nobody answers")
                return await self._records.get(row_type, **key)

        monkeypatch.setattr(store, "for_brand", lambda brand, inner=store.for_brand: Away(inner(brand)))
        ended = await follow(room.runtime, session, JsonView(session))
    assert ended.status is SessionStatus.WAITING
    kinds = [line["type"] for line in told(capsys.readouterr().out)]
    assert kinds.count("away") == 1, "said once, however long it lasts"
    assert kinds[-1] == "counts"
