"""A process may die at any call to Records, in any step of a piece's life: going on ends in the same rows."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock
from config.vocabulary import Decision, PieceState
from memory.lease import LeaseGuard
from memory.records.protocol import Records
from memory.rows.agents import AgentMemory
from memory.rows.checks import ComplianceCheck, Review
from memory.rows.content import ContentEmbedding, Revision
from memory.rows.publication import ScheduledPublication
from memory.rows.row import Row
from memory.rows.sessions import Assignment, Session
from runtime.reconcile import reconcile
from runtime.reviews import decide
from tests.fakes.newsroom import BRAND, WEEK, Newsroom, Script, open_newsroom, words

ONE = (("monday", "facebook", "quote", "08:00"),)
TIMES = {
    "created_at",
    "updated_at",
    "decided_at",
    "reviewed_at",
    "started_at",
    "completed_at",
    "finished_at",
    "arranged_at",
    "row_version",
}
WRITES = ("put", "delete", "create_once")


class Mortal:
    """A store whose process dies at its nth call, before or after it took effect, and is dead from then on."""

    def __init__(self, store: Any, at: int, *, after: bool, counts: Callable[[str], bool]) -> None:
        self._store, self._at, self._after, self._counts = store, at, after, counts
        self.calls = 0
        self.died = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def for_brand(self, brand: str, *, lease: LeaseGuard | None = None) -> Any:
        return _MortalRecords(self, self._store.for_brand(brand, lease=lease))

    async def met(self, name: str, call: Callable[[], Any]) -> Any:
        if self.died.is_set():
            await asyncio.Future()  # whatever else was under way stops where it stands
        self.calls += self._counts(name)
        dies = self._counts(name) and self.calls == self._at
        if dies and not self._after:
            await self._die()
        result = await call()
        if dies:
            await self._die()
        return result

    async def _die(self) -> None:
        self.died.set()
        await asyncio.Future()

    async def run(self, life: Coroutine[Any, Any, None]) -> bool:
        """Whether `life` was lived to its end."""
        living, dying = asyncio.create_task(life), asyncio.create_task(self.died.wait())
        await asyncio.wait({living, dying}, return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if not self.died.is_set():
            await living
            return True
        living.cancel()
        await asyncio.wait({living})
        return False


class _MortalRecords:
    def __init__(self, mortal: Mortal, records: Records) -> None:
        self._mortal, self._records, self.brand = mortal, records, records.brand

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._records, name)

        async def call(*args: Any, **named: Any) -> Any:
            return await self._mortal.met(name, lambda: real(*args, **named))

        return call


def a_script() -> Script:
    """A critical draft first, then one that passes: the life has a revision in it."""

    def write(material: Any) -> Any:
        text = "Light lets you sleep." if material.get("findings") else "Light cures cancer."
        return words(text, slides=[text], alt_text=["A card"], media_prompts=["A card"])

    return Script(write=write)


@asynccontextmanager
async def opened(folder: Path, engine: str, clock: ManualClock) -> AsyncIterator[Newsroom]:
    async with open_newsroom(folder, engine=engine, clock=clock, script=a_script(), grid=ONE) as room:
        yield room


async def live(room: Newsroom) -> None:
    """From the plan to the seal. Doing it again goes on where it stopped."""
    session = await room.week()
    await room.work(patience=timedelta(seconds=3))
    (piece,) = await room.pieces(session)
    if piece.state is PieceState.WAITING:
        await decide(room.runtime, BRAND, piece.id, piece.content_hash, Decision.APPROVED, by="ann", reason="good")
    await room.work(patience=timedelta(seconds=3))


async def rows_of(room: Newsroom) -> dict[str, dict[str, Any]]:
    """Every row that says what became of the piece, without the times."""
    session = await room.week()
    (piece,) = await room.pieces(session)
    found: list[Row] = [session, piece]
    found += await room.records.list_rows(ScheduledPublication, cycle_key=WEEK)
    found += await room.records.list_rows(Revision, content_id=piece.id)
    found += await room.records.list_rows(ComplianceCheck, content_id=piece.id)
    found += await room.records.list_rows(Review)
    found += await room.records.find_by(ContentEmbedding, brand=BRAND)
    found += await room.records.list_rows(Assignment, session_id=session.id)
    found += await room.records.find_by(AgentMemory, brand=BRAND)
    plain = {}
    for row in found:
        ours = {name: value for name, value in row.model_dump(mode="json").items() if name not in TIMES}
        plain[f"{row.table} {row.key_values()}"] = ours
    (plain_session,) = [row for name, row in plain.items() if name.startswith(Session.table)]
    del plain_session["tokens"]  # a step that runs twice asks the model twice, and both are paid for
    return plain


async def told(room: Newsroom) -> list[str]:
    """What the piece became, by its events."""
    return sorted(event.name for event in await room.events() if event.name.startswith("piece."))


async def planned(folder: Path, engine: str, clock: ManualClock) -> None:
    """A folder with a named session and nothing done yet."""
    async with opened(folder, engine, clock) as room:
        await room.week()


@pytest.mark.parametrize(("engine", "step"), [("sqlite", 4), ("austere", 6)])
async def test_a_death_right_after_any_write_of_a_pieces_life_changes_nothing_of_its_end(
    tmp_path: Path, engine: str, step: int
) -> None:
    """After a write is before the next one, so with step 1 these are all the states that a death can leave in Records."""
    await every_death(tmp_path, engine, after=True, counts=lambda name: name in WRITES, step=step)


async def test_a_death_at_calls_that_only_read_changes_nothing_either(tmp_path: Path) -> None:
    """Between two writes to Records stand those to the queue and to the checkpoints."""
    await every_death(tmp_path, "sqlite", after=False, counts=lambda name: name not in WRITES, step=19)


async def every_death(
    tmp_path: Path, engine: str, *, after: bool, counts: Callable[[str], bool], step: int = 1
) -> None:
    start = ManualClock()
    await planned(tmp_path / "start", engine, start)
    expected: dict[str, dict[str, Any]] = {}
    story: list[str] = []
    at, total = 0, 1
    while at <= total:
        folder = tmp_path / str(at)
        shutil.copytree(tmp_path / "start", folder)
        clock = ManualClock(start.now())
        async with opened(folder, engine, clock) as room:
            mortal = Mortal(room.runtime.records, at, after=after, counts=counts)
            room.runtime.records = mortal
            lived = await mortal.run(live(room))
            assert lived is (at == 0), f"death {at} of {total} did not come"
            if lived:
                total = mortal.calls
                expected, story = await rows_of(room), await told(room)
                (piece,) = await room.pieces(await room.week())
                assert piece.state is PieceState.APPROVED
        if at:
            clock.advance(timedelta(seconds=31))  # its leases have run out
            async with opened(folder, engine, clock) as room:
                await reconcile(room.runtime)
                await live(room)
                assert await rows_of(room) == expected, f"died at write {at} of {total}"
                assert await told(room) == story, f"died at write {at} of {total}: each state is told once"
                assert "session.done" in {event.name for event in await room.events()}, f"died at write {at} of {total}"
        shutil.rmtree(folder)
        at += step
    assert total > 30
