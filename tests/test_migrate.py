"""Moving an installation: every row arrives, a kill loses nothing, and never do two installations publish."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from config.clock import ManualClock
from config.errors import BadInput, Conflict
from config.settings import Settings
from config.vocabulary import Decision, PieceState, SessionStatus
from graphs.context import advance_session_task
from memory.lease import Unleased
from memory.queue.protocol import GENERATION_QUEUE
from memory.records.protocol import open_records
from memory.rows import ROW_TYPES, AgentMemory, Brand, Control, Event, Session
from memory.sqlite_file import SqliteFile
from memory.user_sessions import UserSessions
from runtime.migrate import Moved, _State, migrate, target_settings
from runtime.migrate_copy import Step
from runtime.publish_due import PAUSE, paused
from runtime.reconcile import reconcile
from runtime.reviews import decide
from runtime.whole_tables import rows_of
from tests.cli_support import ROOT, Cli, environment
from tests.cli_support import cli as cli
from tests.fakes.newsroom import BRAND, Newsroom, open_newsroom
from tests.fakes.publishing import ScriptedPublisher
from tests.test_publish_due import SLOT, Desk

NOW = datetime(2026, 12, 7, 9, 0, tzinfo=UTC)


EVENTS = 250
"""More than what is written at once."""


def quiet(_: Step) -> None: ...


async def fill(room: Newsroom) -> None:
    """A week that waits for its reviews, a memory with a vector, a publication, and rows by the hundred."""
    await room.drafted()
    await Desk(room.runtime, room.clock, room.script).approved()
    when: dict[str, Any] = {"brand": BRAND, "created_at": NOW, "updated_at": NOW}
    vector = await room.runtime.embedder.embed_query("a memory")
    await room.records.put(
        AgentMemory(
            id="m1", agent_type="research", memory_type="long_term", memory_key="k", memory_content="a memory",
            embedding=vector, embedder_id=room.runtime.embedder.id, **when,
        )
    )  # fmt: skip
    await room.records.put(
        *(Event(brand=BRAND, day="2026-12-07", id=f"e{n:04}", name="test", created_at=NOW) for n in range(EVENTS))
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "data"

    async def filled() -> None:
        async with open_newsroom(folder) as room:
            await fill(room)

    asyncio.run(filled())
    return folder


@pytest.fixture
def home(tmp_path: Path, template: Path) -> Path:
    """An installation of a test's own."""
    return Path(shutil.copytree(template, tmp_path / "data"))


async def move(source: Settings, to: str, *, live: bool = False) -> Moved:
    return await migrate(source, target_settings(source, to), live=live, clock=ManualClock(), report=quiet)


async def contents(url: str) -> dict[str, list[Any]]:
    """Every row and decision of a store, but for who is paused."""
    async with open_records(url, clock=ManualClock()) as store:
        records = store.for_brand(BRAND)
        found: dict[str, list[Any]] = {
            row_type.table: sorted(
                (row for row in await rows_of(records, row_type, until=NOW.date()) if not isinstance(row, Control)),
                key=lambda row: row.key_values(),
            )
            for row_type in ROW_TYPES
        }
        decisions = [one async for one in store.list_once()]
        found["decisions"] = sorted(decisions, key=lambda one: (one.row.brand, one.kind, one.key))
        return found


async def flag(url: str) -> Control | None:
    async with open_records(url, clock=ManualClock()) as store:
        return await store.for_brand(BRAND).find(Control, name=PAUSE)


async def may_publish(home: Path) -> bool:
    """Whether the brand is there, and nothing holds it back."""
    async with open_records(f"sqlite:///{home}", clock=ManualClock()) as store:
        records = store.for_brand(BRAND)
        there = await records.find(Brand, realm="all", name=BRAND)
        return there is not None and await records.find(Control, name=PAUSE) is None


async def threads(home: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(home / "checkpoints.db")) as db:
        return {
            table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4, 5, 6, 7").fetchall()
            for table in ("checkpoints", "writes")
        }


async def test_every_row_decision_vector_and_open_thread_arrives(home: Path, tmp_path: Path) -> None:
    before = await contents(f"sqlite:///{home}")
    filled = {table for table, rows in before.items() if rows}
    assert {"agent_memory", "publication_schedule", "content_library", "reviews", "events", "decisions"} <= filled
    done = await move(Settings(data_dir=home), str(tmp_path / "new"))
    assert done.finished
    assert await contents(f"sqlite:///{tmp_path / 'new'}") == before
    assert done.tables["events"] == len(before["events"]) >= EVENTS
    assert done.decisions == len(before["decisions"]) > 0
    assert done.threads > 0
    assert await threads(tmp_path / "new") == await threads(home)
    assert (tmp_path / "new" / "brands" / BRAND / "brand.toml").is_file()


async def test_work_goes_on_where_it_stood(home: Path, tmp_path: Path) -> None:
    await move(Settings(data_dir=home), str(tmp_path / "new"))
    async with open_newsroom(tmp_path / "new") as room:
        await reconcile(room.runtime)
        review = (await room.asked_reviews())[0]
        by: dict[str, Any] = {"by": "ann", "reason": "read"}
        await decide(room.runtime, BRAND, review.piece_id, review.content_hash, Decision.APPROVED, **by)
        await room.work()
        piece = await room.piece(review.piece_id)
        assert (piece.state, piece.sealed_hash) == (PieceState.APPROVED, review.content_hash)
        assert room.script.asked == [], "its thread went on behind the gate: nothing was written or checked again"


async def test_there_and_back_through_the_poorest_store_nothing_changes(home: Path, tmp_path: Path) -> None:
    before = await contents(f"sqlite:///{home}")
    poor = Settings(data_dir=home, records=f"austere:///{tmp_path / 'poor'}")
    there = await migrate(Settings(data_dir=home), poor, live=False, clock=ManualClock(), report=quiet)
    assert there.finished
    back = await move(poor, str(tmp_path / "new"))
    assert back.finished
    assert await contents(f"sqlite:///{tmp_path / 'new'}") == before


async def test_it_moves_back_with_what_happened_meanwhile_and_forth_again(home: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    await move(Settings(data_dir=home), str(new))
    async with open_records(f"sqlite:///{new}", clock=ManualClock()) as store:
        records = store.for_brand(BRAND)
        await records.put(Event(brand=BRAND, day="2026-12-07", id="later", name="test", created_at=NOW))
        await records.delete(Event, day="2026-12-07", id="e0001")
    for source, target in ((new, home), (home, new)):
        before = await contents(f"sqlite:///{source}")
        assert (await move(Settings(data_dir=source), str(target))).finished
        assert await contents(f"sqlite:///{target}") == before
        assert await flag(f"sqlite:///{target}") is None
        gone = await flag(f"sqlite:///{source}")
        assert gone is not None
        assert (gone.value, gone.by) == ("on", "migrate")


async def test_a_pause_of_the_operators_own_moves_along(home: Path, tmp_path: Path) -> None:
    async with open_records(f"sqlite:///{home}", clock=ManualClock()) as store:
        own = Control(brand=BRAND, name=PAUSE, value="on", by="ann", reason="a recall", updated_at=NOW)
        await store.for_brand(BRAND).put(own)
    await move(Settings(data_dir=home), str(tmp_path / "new"))
    there = await flag(f"sqlite:///{tmp_path / 'new'}")
    assert there is not None
    assert (there.value, there.by, there.reason) == ("on", "ann", "a recall")


async def test_only_the_installation_that_was_moved_to_publishes(home: Path, tmp_path: Path) -> None:
    platform = ScriptedPublisher()
    await move(Settings(data_dir=home), str(tmp_path / "new"))
    for folder in (home, tmp_path / "new", home):
        async with open_newsroom(folder) as room:
            desk = Desk(room.runtime, room.clock, room.script)
            room.runtime.publishers["outbox"] = platform
            desk.at(SLOT)
            await reconcile(room.runtime)
            await desk.run_due()
    assert len(platform.live) == 1


# Killed


PROCESS = """
import asyncio, sys
from config.clock import ManualClock
from config.settings import Settings
from runtime.migrate import migrate, target_settings

def report(text):
    print(text, flush=True)
    sys.stdin.readline()

source = Settings(data_dir=sys.argv[1])
to = target_settings(source, sys.argv[2], queue=sys.argv[3])
asyncio.run(migrate(source, to, live=False, clock=ManualClock(), report=report))
print("done", flush=True)
"""


def killed_after(home: Path, new: Path | str, lines: int, queue: str = "") -> bool:
    """Run a move in a process of its own and kill it at that line of its progress; whether it lived that long."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(home), str(new), queue],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for _ in range(lines):
            if process.stdout.readline() in (b"done\n", b""):
                return False
            process.stdin.write(b"\n")
            process.stdin.flush()
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        return True
    finally:
        process.communicate()


async def test_a_move_that_is_killed_goes_on_and_never_lets_two_publish(home: Path, tmp_path: Path) -> None:
    before, new = await contents(f"sqlite:///{home}"), tmp_path / "new"
    deaths = 0
    for lines in (0, 4, 9):
        deaths += killed_after(home, new, lines)
        flags = [await flag(f"sqlite:///{home}"), await flag(f"sqlite:///{new}")]
        assert [one is not None and one.value == "on" for one in flags] == [True, True], "both wait until it is over"
    assert deaths == 3
    assert (await move(Settings(data_dir=home), str(new))).finished
    assert await contents(f"sqlite:///{new}") == before
    assert await threads(new) == await threads(home)
    assert await flag(f"sqlite:///{new}") is None


class Dead(BaseException):
    """The process ends here."""


class Deaths:
    """Lets a process live for so many writes, to whatever file, and end before the next."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = 10**9
        for owner, name in ((SqliteFile, "write"), (_State, "_write"), (UserSessions, "_run")):
            self._count(patch, owner, name, getattr(owner, name))
        self._count(patch, os, "rename", os.rename)

    def _count(self, patch: pytest.MonkeyPatch, owner: Any, name: str, real: Any) -> None:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if not (name == "_run" and args[1].lstrip().startswith("SELECT")):
                self.left -= 1
            if self.left < 0:
                raise Dead
            return real(*args, **kwargs)

        patch.setattr(owner, name, counted)


async def small(home: Path) -> None:
    """A brand with two rows, a preference, a decision, a thread under way, a dead letter and a post in the outbox."""
    when: dict[str, Any] = {"brand": BRAND, "created_at": NOW, "updated_at": NOW}
    async with open_newsroom(home) as room:
        records, runtime = room.records, room.runtime
        await records.put(Brand(name=BRAND, title="Acme", zone="UTC", **when))
        session = Session(id="s", kind="cycle", goal="g", status=SessionStatus.RUNNING, **when)
        await records.put(session)
        await records.create_once("plan", "w", session, token="t")
        await runtime.user_sessions.for_brand(BRAND).set_preference("ann", "theme", "light")
        claimed: Any = await runtime.checkpoints.claim(BRAND, "s", Unleased())
        place: Any = {"configurable": {"thread_id": "s", "checkpoint_ns": ""}}
        for n in range(2):
            checkpoint: Any = {**empty_checkpoint(), "id": f"{n}"}
            place = await claimed.aput(place, checkpoint, {"step": n}, {})
            await claimed.aput_writes(place, [("draft", "words")], "task")
        await runtime.queue.enqueue(advance_session_task(BRAND, "s", room.clock))
        [lease] = await runtime.queue.claim([GENERATION_QUEUE], owner=runtime.owner, ttl=timedelta(seconds=30), limit=1)
        await runtime.queue.bury(lease, reason="broken")
    post = home / "outbox" / BRAND / "2026-W50" / "day1-facebook-quote-words-0123456789ab"
    post.mkdir(parents=True)
    (post / "manifest.json").write_text("{}")


async def test_killed_again_and_again_it_goes_on_and_ends_with_everything_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th run dies before its n-th write, so that the deaths are spread over the whole move."""
    home, new = tmp_path / "home", tmp_path / "new"
    await small(home)
    before = await contents(f"sqlite:///{home}")
    deaths, lived, done = Deaths(monkeypatch), 0, None
    while done is None:
        deaths.left = lived
        try:
            done = await move(Settings(data_dir=home), str(new))
        except Dead:
            lived += 1
        deaths.left = 10**9
        assert [await may_publish(home), await may_publish(new)] != [True, True], f"after {lived} deaths"
    assert lived >= 5
    assert done.finished
    assert await contents(f"sqlite:///{new}") == before
    assert await threads(new) == await threads(home)
    assert [await may_publish(home), await may_publish(new)] == [False, True]
    async with open_newsroom(new) as room:
        assert await room.runtime.user_sessions.for_brand(BRAND).list_preferences("ann") == {"theme": "light"}
        assert [one.reason for one in await room.runtime.queue.list_dead()] == ["broken"]
        assert not any(depth.paused for depth in (await room.runtime.queue.depths()).values())
    assert len(list((new / "outbox").rglob("manifest.json"))) == 1


async def test_one_that_is_over_writes_nothing_over_what_happened_at_its_end(home: Path, tmp_path: Path) -> None:
    new = f"sqlite:///{tmp_path / 'new'}"
    await move(Settings(data_dir=home), str(tmp_path / "new"))
    async with open_records(new, clock=ManualClock()) as store:
        await store.for_brand(BRAND).delete(Event, day="2026-12-07", id="e0001")
    before = await contents(new)
    assert (await move(Settings(data_dir=home), str(tmp_path / "new"))).finished
    assert await contents(new) == before


# While workers run


async def test_running_workers_are_refused_unless_live_and_then_a_last_pass_ends_it(home: Path, tmp_path: Path) -> None:
    new = f"sqlite:///{tmp_path / 'new'}"
    async with open_newsroom(home) as room:
        with pytest.raises(Conflict, match="is open in a running Copydesk"):
            await move(Settings(data_dir=home), str(tmp_path / "new"))
        assert not (tmp_path / "new").exists()
        done = await move(Settings(data_dir=home), str(tmp_path / "new"), live=True)
        assert not done.finished
        assert await paused(room.records, "facebook") == ""
        await room.records.put(Event(brand=BRAND, day="2026-12-07", id="meanwhile", name="test", created_at=NOW))
    held = await flag(new)
    assert held is not None
    assert held.value == "on"
    last = await move(Settings(data_dir=home), str(tmp_path / "new"))
    assert last.finished
    assert last.copied == 1
    assert await contents(new) == await contents(f"sqlite:///{home}")


# Refused


async def test_a_place_with_a_brand_of_its_own_is_left_alone(home: Path, tmp_path: Path) -> None:
    async with open_newsroom(tmp_path / "other") as room:
        await room.runtime.ensure_brand(BRAND)
    before = await contents(f"sqlite:///{tmp_path / 'other'}")
    with pytest.raises(Conflict, match="of its own"):
        await move(Settings(data_dir=home), str(tmp_path / "other"))
    assert await contents(f"sqlite:///{tmp_path / 'other'}") == before
    assert await flag(f"sqlite:///{tmp_path / 'other'}") is None
    assert await flag(f"sqlite:///{home}") is None


async def test_what_moved_away_is_not_moved_elsewhere(home: Path, tmp_path: Path) -> None:
    await move(Settings(data_dir=home), str(tmp_path / "new"))
    with pytest.raises(Conflict, match="is not here any more"):
        await move(Settings(data_dir=home), str(tmp_path / "third"))


@pytest.mark.parametrize("to", ["", "sqlite:///", "mysql://host/db", "astra://"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, to: str) -> None:
    with pytest.raises(BadInput, match="--to"):
        target_settings(Settings(data_dir=tmp_path), to)


async def test_the_same_place_is_refused(home: Path) -> None:
    with pytest.raises(BadInput, match="already"):
        await move(Settings(data_dir=home), str(home))


def test_migrate_on_the_command_line(cli: Cli, tmp_path: Path) -> None:
    assert cli("brand", "new", "acme").code == 0
    assert cli("--brand", "acme", "knowledge", "add", str(ROOT / "README.md")).code == 0
    first = cli("migrate", "--to", str(tmp_path / "new"), "--live")
    assert first.code == 3
    assert "brand_knowledge" in first.err
    assert cli.ok("migrate", "--to", str(tmp_path / "new"), "--abandon") == {"abandoned": True, "brands": ["acme"]}
    done = cli.ok("migrate", "--to", str(tmp_path / "new"))
    assert done["finished"] is True
    assert done["brands"] == ["acme"]
    assert done["use"] == [f"--data-dir {tmp_path / 'new'}"]
    assert done["hashes"]["brand_knowledge"]
    refused = cli("migrate", "--to", str(tmp_path / "third"), "--queue", "kafka://h")
    assert refused.code == 2
    assert "kafka" in refused.err
    status = cli("--brand", "acme", "publish", "status")
    assert status.code == 0
