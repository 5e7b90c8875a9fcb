"""`watch`: a session is followed to its end from any machine, each event told once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config.clock import ManualClock, SystemClock
from config.errors import Unavailable
from config.settings import Settings
from config.vocabulary import PieceState, SessionStatus
from graphs.context import note
from graphs.week import Slot
from memory.records.protocol import Records
from memory.rows.content import Piece
from memory.rows.sessions import Session
from runtime.commands.watch import JsonView, View, follow
from runtime.compose import open_runtime
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
    events = [line["id"] for line in lines if line["type"] == "event"]
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


class Counted:
    """Records that count what is asked of them."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self._records, name)


class Heard(View):
    """What a view was told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.shown: set[str] = set()
        """Events after which it was told how the session stands."""
        self.states: list[dict[str, PieceState]] = []
        self.heard = asyncio.Event()

    def happened(self, events: Sequence[dict[str, str]]) -> None:
        self.events += [event["event"] for event in events]

    def stands(self, session: Session, pieces: list[Piece]) -> None:
        self.states.append({piece.id: piece.state for piece in pieces})
        self.shown = set(self.events)
        self.heard.set()

    async def until(self, event: str) -> None:
        while event not in self.shown:
            await self.again()

    async def again(self) -> None:
        self.heard.clear()
        await asyncio.wait_for(self.heard.wait(), 20)


async def test_watching_a_busy_session_costs_the_records_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory.events.follower.ROWS_EVERY", timedelta(hours=1))  # so often the rows are asked anyway
    clock = SystemClock()
    data_dir, redis = tmp_path / "data", redis_url(tmp_path)
    async with (
        open_runtime(Settings(data_dir=data_dir, cache=redis), clock=clock) as here,
        open_runtime(Settings(data_dir=data_dir, cache=redis), clock=clock) as elsewhere,
    ):
        records = elsewhere.records.for_brand("acme")
        session, piece = a_session(clock), a_planned_piece(clock)
        await records.put(session, piece)
        await note(records, clock, "cycle.dispatched", session_id=session.id)
        counted = Counted(here.records.for_brand("acme"))
        here.records = SimpleNamespace(for_brand=lambda brand: counted)
        view = Heard()
        following = asyncio.create_task(follow(here, session, view))
        await view.until("cycle.dispatched")
        before = counted.calls.copy()
        for state in (PieceState.DRAFTING, PieceState.CHECKING, PieceState.WAITING):
            await note(records, clock, f"piece.{state}", session_id=session.id, piece_id=piece.id)
            await view.until(f"piece.{state}")
            assert view.states[-1] == {piece.id: state}, "counted by the event, not by its row"
        assert counted.calls == before
        looks = counted.calls["get"]
        await note(records, clock, "session.waiting", session_id=session.id)  # told a moment before its row says so
        while counted.calls["get"] == looks:
            await view.again()
        await view.again()
        assert not following.done()
        await records.put(session.model_copy(update={"status": SessionStatus.WAITING}))
        assert (await asyncio.wait_for(following, 20)).status is SessionStatus.WAITING


def a_slot(clock: SystemClock) -> Slot:
    return Slot(
        id="slot", cycle_key="2026-W51", day=1, platform="facebook", content_type="quote", account="default",
        at=clock.now(), local="2026-12-14T08:00",
    )  # fmt: skip


def a_session(clock: SystemClock) -> Session:
    now, request = clock.now(), {"slots": [a_slot(clock).model_dump(mode="json")]}
    return Session(brand="acme", id="s1", kind="cycle", goal="w", request=request, created_at=now, updated_at=now)


def a_planned_piece(clock: SystemClock) -> Piece:
    now, id = clock.now() - timedelta(hours=1), a_slot(clock).piece_id(plan=1)
    return Piece(
        brand="acme", id=id, content_type="quote", platform="facebook", session_id="s1", created_at=now, updated_at=now
    )


def test_the_id_of_a_piece_is_told_its_session(cli: Cli) -> None:
    small_brand(cli)
    made = cli.ok("create", "--platform", "instagram", "--type", "quote", "--topic", "light")
    [piece] = cli.ok("piece", "list")
    for id in (piece["piece_id"], piece["piece_id"][:8]):
        result = cli("watch", id)
        assert result.code == 2
        assert result.complaint.endswith(f"it is a piece of session {made['session_id']}: watch that")
