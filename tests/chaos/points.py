"""T6, T7 and T8: a piece's whole life, from its plan to the platform, with a fault at every single call that leaves the process.

The calls are not listed here: they are met where they leave, in the one function through which Redis is asked, the one through
which the Data API is asked, the model and the platform. So a new step of the code is a new point by itself.

- T6: the process dies before or after call k; another machine, with nothing of the first one's disk, goes on.
- T7: call k fails: the store is away for a moment, the answer is lost once or for good, the task is cancelled.
- T8: one answer in twenty is lost, of Redis by a relay in front of the real server, of the Data API at the call.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from config.clock import ManualClock
from config.errors import CopydeskError, Unavailable
from config.vocabulary import UNSETTLED, Decision, PieceState, SessionStatus
from memory import redis_client
from memory.astra_client import AstraDatabase
from memory.astra_schema import create_schema
from memory.queue.protocol import PUBLICATION_QUEUE
from memory.redis_client import RedisServer
from memory.rows.content import Revision
from runtime.guard import TaskGuard
from runtime.reconcile import reconcile
from runtime.reviews import decide
from runtime.worker import Worker
from tests.fakes import redis_server
from tests.fakes.data_api import DataApi, Keyspace
from tests.fakes.newsroom import BRAND, Newsroom, Script, _NoHeartbeat, open_newsroom, words
from tests.fakes.publishing import ScriptedPublisher
from tests.fakes.redis_proxy import open_relay

DEATHS = ("dies before", "dies after")
FAILURES = ("away", "lost once", "lost for good", "cancelled")
OUTAGE = 6
"""Calls in a row that fail when a store is away: more than any retry layer tries."""
ONE = (("monday", "facebook", "quote", "08:00"),)
CAPTION = "Morning light helps set the body clock."


class Meter:
    """Counts the calls that leave the process, and breaks the one it was told to."""

    def __init__(self, at: int = 0, fault: str = "", *, loss: float = 0.0, seed: int = 0) -> None:
        self.at, self.fault, self.loss = at, fault, loss
        self.calls: list[str] = []
        self.struck = ""
        self.lost = 0
        self.died = asyncio.Event()
        self._rng = random.Random(seed)
        self._away = 0

    def mend(self) -> None:
        """From here on nothing breaks: another process goes on."""
        self.at, self._away, self.loss = 0, 0, 0.0
        self.died.clear()

    def touch(self, name: str) -> bool:
        """Count a call before it is made; whether its answer is to be lost. Raises what it meets."""
        if self.died.is_set():
            raise Unavailable("this process is dead")
        self.calls.append(name)
        if self._away > 0:
            self._away -= 1
            raise Unavailable(f"{name} is away")
        if self.loss and self._rng.random() < self.loss:
            self.lost += 1
            return True
        if len(self.calls) != self.at:
            return False
        self.struck = name
        if self.fault == "dies before":
            self.died.set()
            raise Unavailable("this process is dead")
        if self.fault == "away":
            self._away = OUTAGE - 1
            raise Unavailable(f"{name} is away")
        if self.fault == "cancelled":
            if name.startswith("redis"):
                # Made for several callers by a task of the lane's own, which nobody cancels: one of them would.
                raise Unavailable(f"{name} is away")
            raise asyncio.CancelledError
        return True

    def answered(self, name: str) -> None:
        """The call was made, and its answer is lost."""
        if self.fault == "dies after":
            self.died.set()
        elif self.fault == "lost for good":
            self._away = OUTAGE - 1
        raise Unavailable(f"the answer of {name} was lost")

    async def met(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make the call, or break it."""
        lost = self.touch(name)
        answer = await call()
        if lost:
            self.answered(name)
        return answer


@contextmanager
def instrumented(meter: Meter, *, redis: bool = True) -> Iterator[None]:
    """Every call to Redis and to the Data API goes past the meter."""
    ask_astra, run_script, send, pauses = (
        AstraDatabase._call,
        RedisServer.script,
        RedisServer.call,
        redis_client.PAUSES_S,
    )

    async def astra(self: Any, what: str, call: Callable[[], Awaitable[Any]]) -> Any:
        return await ask_astra(self, what, lambda: meter.met(f"astra: {what}", call))

    async def script(self: Any, *args: Any, **named: Any) -> Any:
        return await meter.met("redis: a script", lambda: run_script(self, *args, **named))

    async def command(self: Any, *args: Any, **named: Any) -> Any:
        return await meter.met(f"redis: {args[0]}", lambda: send(self, *args, **named))

    AstraDatabase._call = astra  # type: ignore[method-assign]
    if redis:
        RedisServer.script, RedisServer.call = script, command  # type: ignore[method-assign]
        redis_client.PAUSES_S = tuple(0.0 for _ in pauses)  # type: ignore[assignment]
    try:
        yield
    finally:
        AstraDatabase._call, RedisServer.script, RedisServer.call = ask_astra, run_script, send  # type: ignore[method-assign]
        redis_client.PAUSES_S = pauses


class Platform(ScriptedPublisher):
    """The platform, which outlives the processes that ask it."""

    meter: Meter

    async def prepare(self, *args: Any, **named: Any) -> Any:
        return await self.meter.met("platform: prepare", lambda: ScriptedPublisher.prepare(self, *args, **named))

    async def finalize(self, *args: Any, **named: Any) -> Any:
        return await self.meter.met("platform: finalize", lambda: ScriptedPublisher.finalize(self, *args, **named))

    async def check(self, *args: Any, **named: Any) -> Any:
        return await self.meter.met("platform: check", lambda: ScriptedPublisher.check(self, *args, **named))


@dataclass
class World:
    """One life's stores and platform, its clock, and where its fault falls."""

    folder: Path
    stores: dict[str, str]
    meter: Meter
    clock: ManualClock = field(default_factory=ManualClock)
    platform: Platform = field(default_factory=Platform)
    machines: int = 0

    @asynccontextmanager
    async def machine(self) -> AsyncIterator[Newsroom]:
        """A fresh machine: nothing on its disk but the brand's folder."""
        self.machines += 1
        self.platform.meter = self.meter

        def write(material: Any) -> Any:
            if self.meter.touch("model: write"):
                self.meter.answered("model: write")
            return words(CAPTION, slides=[CAPTION], alt_text=["A card"], media_prompts=["A card"])

        folder = self.folder / f"machine-{self.machines}"
        async with open_newsroom(
            folder, clock=self.clock, script=Script(write=write), settings=self.stores, grid=ONE
        ) as room:
            room.runtime.publishers["outbox"] = self.platform
            yield room


async def live(room: Newsroom, platform: Platform) -> None:
    """From the plan to the platform. Doing it again goes on where it stopped."""
    session = await room.week()
    for _ in range(30):
        await reconcile(room.runtime)
        await room.work(patience=timedelta(seconds=2))
        pieces = await room.pieces(session)
        if pieces and pieces[0].state is PieceState.WAITING:
            await decide(room.runtime, BRAND, pieces[0].id, pieces[0].content_hash, Decision.APPROVED, by="ann")
        elif pieces and pieces[0].state not in UNSETTLED and (await room.session(session)).status != "running":
            break
        else:
            room.clock.advance(timedelta(seconds=30))
    [piece] = await room.pieces(session)
    slot = await room.slot(piece)
    room.clock.advance(max(timedelta(0), slot.scheduled_at - room.clock.now()))
    for _ in range(30):
        await reconcile(room.runtime)
        await _publications(room)
        await room.work()
        piece = await room.piece(piece)
        if _ended(piece):
            return
        room.clock.advance(timedelta(seconds=20))


def _ended(piece: Any) -> bool:
    moving = (*UNSETTLED, PieceState.WAITING, PieceState.APPROVED, PieceState.PUBLISHING, PieceState.UNKNOWN)
    return piece.state not in moving or "publish resolve" in piece.reason


async def _publications(room: Newsroom) -> None:
    worker = Worker(room.runtime, upkeep=False)
    leases = await room.runtime.queue.claim(
        [PUBLICATION_QUEUE], owner=room.runtime.owner, ttl=room.runtime.settings.lease, limit=9
    )
    for lease in leases:
        guard = TaskGuard(lease, room.runtime.queue, room.clock, room.runtime.settings.lease)
        await worker._work(lease, guard, _NoHeartbeat())  # type: ignore[arg-type]


async def broken_promises(room: Newsroom, platform: Platform) -> list[str]:
    """What must hold at the end of every life."""
    wrong = []
    session = await room.week()
    [piece] = await room.pieces(session)
    row = await room.slot(piece)
    posts = Counter(platform.live)
    if max(posts.values(), default=0) > 1:
        wrong.append(f"published {max(posts.values())} times")
    if not _ended(piece):
        wrong.append(f"stuck: {piece.state} {piece.reason!r}")
    if piece.state not in (PieceState.PUBLISHED, PieceState.UNKNOWN):
        wrong.append(f"lost: {piece.state} {piece.reason!r}")
    if piece.state is PieceState.PUBLISHED and not posts:
        wrong.append("said to be published and is not")
    if row.state is not piece.state:
        wrong.append(f"rows disagree: {piece.state}, {row.state}")
    drafts = await room.records.list_rows(Revision, content_id=piece.id)
    if len(drafts) != 1:
        wrong.append(f"{len(drafts)} drafts")
    if (status := (await room.session(session)).status) is not SessionStatus.DONE:
        wrong.append(f"session {status}")
    return wrong + [f"dead: {letter.task.id} {letter.reason}" for letter in await room.runtime.queue.list_dead()]


async def _until_death(meter: Meter, life: Coroutine[Any, Any, None]) -> bool:
    """Whether `life` came to its end; else its process died and nothing of it goes on."""
    living, dying = asyncio.create_task(life), asyncio.create_task(meter.died.wait())
    await asyncio.wait({living, dying}, return_when=asyncio.FIRST_COMPLETED)
    dying.cancel()
    if meter.died.is_set():
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        return False
    await living
    return True


async def one_life(world: World) -> list[str]:
    """Live through the fault and go on after it; every broken promise."""
    meter = world.meter
    try:
        async with world.machine() as room:
            whole = await _until_death(meter, _as_often_as_it_takes(room, world.platform))
            if whole:
                return await broken_promises(room, world.platform)
    except CopydeskError as error:
        if not meter.died.is_set():
            return [f"{type(error).__name__}: {error}"]
    meter.mend()
    world.clock.advance(timedelta(seconds=31))  # the dead one's leases have run out
    async with world.machine() as room:
        await live(room, world.platform)
        return await broken_promises(room, world.platform)


async def _as_often_as_it_takes(room: Newsroom, platform: Platform) -> None:
    for _ in range(6):
        try:
            await live(room, platform)
        except Unavailable:
            room.clock.advance(
                timedelta(seconds=31)
            )  # a human was told so, and tries again; a lease may be left behind
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            room.clock.advance(timedelta(seconds=31))  # of the task that was cancelled
        else:
            return


@dataclass
class Houses:
    """The servers that all lives of a run share; each life gets its own keyspace and key prefix."""

    api: DataApi
    redis: redis_server.RedisServer
    template: Keyspace
    folder: Path
    opened: int = 0

    def world(self, meter: Meter, *, redis_url: str = "") -> World:
        """A world in which nothing has happened yet."""
        self.opened += 1
        name = f"life{self.opened}"
        self.api.keyspaces.pop(f"life{self.opened - 1}", None)
        self.api.keyspaces[name] = self.template.like()
        url = f"{redis_url or self.redis.url}?prefix={name}"
        folder = self.folder / name
        shutil.rmtree(self.folder / f"life{self.opened - 1}", ignore_errors=True)
        return World(folder, {"records": self.api.url(name), "queue": url, "cache": url}, meter)


@asynccontextmanager
async def open_houses(folder: Path) -> AsyncIterator[Houses]:
    """A Redis and a Data API."""
    async with AsyncExitStack() as stack:
        api = DataApi().start()
        stack.callback(api.stop)
        template = api.keyspaces["template"] = Keyspace()
        await create_schema(api.url("template"), clock=ManualClock())
        redis = redis_server.RedisServer()
        stack.callback(redis.close)
        await asyncio.to_thread(redis.start)
        yield Houses(api, redis, template, folder)


@dataclass
class Points:
    """What a run over the points did and found."""

    points: int = 0
    """Calls that an undisturbed life makes."""
    tried: int = 0
    met: Counter[str] = field(default_factory=Counter)
    """Kinds of calls that were broken."""
    violations: list[str] = field(default_factory=list)

    def line(self, name: str) -> str:
        found = f"{len(self.violations)} VIOLATIONS" if self.violations else "ok"
        return f"{name}: {found}; {self.tried} faults at {self.points} points, {len(self.met)} kinds of calls"


async def count_points(houses: Houses) -> list[str]:
    """The calls of an undisturbed life, in order."""
    meter = Meter()
    with instrumented(meter):
        wrong = await one_life(houses.world(meter))
    assert not wrong, wrong
    return meter.calls


async def every_point(folder: Path, faults: tuple[str, ...], *, first: int = 1, step: int = 1, of: str = "") -> Points:
    """Break call `first`, `first + step` … of a life, by one of `faults` in turns; or every call whose name starts with `of`,
    by each of them.
    """
    done = Points()
    async with open_houses(folder) as houses:
        calls = await count_points(houses)
        done.points = len(calls)
        chosen = [at for at, name in enumerate(calls, 1) if of and name.startswith(of)]
        for turn, at in enumerate(chosen or range(first, done.points + 1, step)):
            for fault in faults if of else (faults[turn % len(faults)],):
                meter = Meter(at, fault)
                with instrumented(meter):
                    wrong = await one_life(houses.world(meter))
                done.tried += 1
                done.met[meter.struck] += 1
                done.violations += [f"call {at} ({meter.struck}) {fault}: {one}" for one in wrong]
    return done


async def lossy_lives(folder: Path, *, seeds: range, rate: float = 0.05) -> Points:
    """Lives in which that share of answers is lost, each after what was asked was done."""
    done = Points()
    async with open_houses(folder) as houses:
        for seed in seeds:
            meter = Meter(loss=rate, seed=seed)
            async with open_relay(houses.redis.socket, houses.redis.folder / f"r{seed}") as relay:
                relay.lose_share(rate, seed=seed)
                with instrumented(meter, redis=False):
                    wrong = await one_life(
                        houses.world(meter, redis_url=f"redis+unix://{houses.redis.folder / f'r{seed}'}")
                    )
                done.tried += meter.lost + relay.lost
                done.points += len(meter.calls)
                done.met.update({"data api": meter.lost, "redis": relay.lost})
            done.violations += [f"seed {seed}: {one}" for one in wrong]
    return done
