"""One seeded loop: a real week, run by real worker processes that are killed and paused at random moments, approved by real
commands that are killed too, published to a simulated platform that loses answers, on stores that break as well (engines.py).
`run_loop` returns the broken promises.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from config.clock import SystemClock
from config.errors import CopydeskError
from config.settings import load_settings
from config.vocabulary import UNSETTLED, PieceState
from graphs.sessions import session_piece_ids
from graphs.week import next_cycle_key
from memory.queue.protocol import TaskQueue, open_queue
from memory.records.protocol import Records, open_records
from memory.rows.content import Piece
from memory.rows.publication import ScheduledPublication
from memory.rows.sessions import Session
from runtime.publish_due import publish_task
from runtime.reviews import pending_reviews
from tests.chaos.checker import History, check, read_log
from tests.chaos.engines import Stores, end_process, open_stores
from tests.fakes.platform import CHAOS, FakePlatform, run_platform

ROOT = Path(__file__).resolve().parents[2]
BRAND = "eesystem"
LEASE_S = 1.5
LEAST_BROKEN = 6
"""Kills and pauses of workers in a loop, at least."""


def lease_of(engine: str) -> float:
    """Seconds; behind the fake API every row costs a request, and a lease must outlive the ones that meet a fault."""
    return 4.0 if engine == "many" else LEASE_S


@dataclass
class Report:
    """What one loop did and found."""

    seed: int
    violations: list[str]
    kills: int = 0
    pauses: int = 0
    killed_commands: int = 0
    requeued: int = 0
    """Tasks that our kills met three times while they ran alone: taken for poison, and put back by the operator."""
    faults: dict[str, int] = field(default_factory=dict)
    """What the stores went through."""
    states: dict[str, int] = field(default_factory=dict)
    posts: int = 0
    seconds: float = 0.0
    settle_s: float = 0.0
    """From the last fault to the last settled piece."""

    def line(self) -> str:
        found = "ok" if not self.violations else f"{len(self.violations)} VIOLATIONS"
        states = " ".join(f"{n} {state}" for state, n in sorted(self.states.items()))
        stores = "".join(f", {n} {what}" for what, n in sorted(self.faults.items()))
        stores += f", {self.requeued} requeued" if self.requeued else ""
        return (
            f"seed {self.seed:>4}: {found}; {self.kills} kills, {self.pauses} pauses, {self.killed_commands} killed commands{stores}; "
            f"{states}; {self.posts} posts; {self.seconds:.0f} s, settled {self.settle_s:.1f} s after the last fault"
        )


class Zygote:
    """Forks workers and commands."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lock = asyncio.Lock()

    async def _ask(self, request: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._lock:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
            return int(await self._process.stdout.readline())

    async def fork(self, **request: Any) -> int:
        return await self._ask(request)

    async def wait(self, pid: int) -> int:
        """The exit code of a child, negative for a signal."""
        while True:
            try:
                stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]  # noqa: ASYNC240 - procfs
            except OSError:
                stat = "Z"
            if stat == "Z":
                return await self._ask({"kind": "wait", "pid": pid})
            await asyncio.sleep(0.02)


def environment(folder: Path, engine: str) -> dict[str, str]:
    """Settings of every process of the loop: short leases, so that recovery is seen."""
    lease_s = lease_of(engine)
    return {
        "COPYDESK_DATA_DIR": str(folder),
        **({"COPYDESK_RECORDS": f"austere:///{folder}"} if engine == "austere" else {}),
        "COPYDESK_LEASE": str(lease_s),
        "COPYDESK_HEARTBEAT": str(0.27 * lease_s),
        "COPYDESK_PERMIT": "1.2",
        "COPYDESK_SEND_TIMEOUT": "0.6",
        "COPYDESK_SETTLE": "1",
        "COPYDESK_RECONCILE_EVERY": "2",
        "COPYDESK_DRAIN": "2",
        "COPYDESK_REVIEWER": "chaos",
    }


class Loop:
    """The state of one run."""

    def __init__(self, folder: Path, seed: int, engine: str, mutation: str, faults_s: float, settle_s: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.seed, self.mutation, self.faults_s, self.settle_s = folder, seed, mutation, faults_s, settle_s
        self.rng = random.Random(seed)
        self.engine = engine
        self.lease_s = lease_of(engine)
        self.environ = environment(folder, engine)
        self.report = Report(seed, [])
        self.history = History("", [])
        self.workers: list[int] = []
        self.paused: set[int] = set()
        self.background: set[asyncio.Task[Any]] = set()
        self.children = 0
        self.week = next_cycle_key(SystemClock().now() + timedelta(days=21), "UTC")

    async def run(self) -> Report:
        started = time.monotonic()
        async with AsyncExitStack() as stack:
            self.stores: Stores = await stack.enter_async_context(open_stores(self.engine))
            self.environ.update(self.stores.environ)
            self.platform: FakePlatform = await stack.enter_async_context(
                run_platform(self.folder, seed=self.seed, faults=CHAOS, lag_s=0.3, delay_s=0.8)
            )
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.chaos.zygote", cwd=ROOT, env={**os.environ, **self.environ},
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            stack.push_async_callback(end_process, process)
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
            self.zygote = Zygote(process)
            self.settings = load_settings(self.environ)
            clock = SystemClock()
            store = await stack.enter_async_context(open_records(self.settings.records_url, clock=clock))
            self.queue: TaskQueue = await stack.enter_async_context(open_queue(self.settings.queue_url, clock=clock))
            self.records: Records = store.for_brand(BRAND)
            await self._start_week()
            for _ in range(3):
                await self._spawn()
            await self._break_things()
            quiet = time.monotonic()
            await self._settle()
            self.report.settle_s = time.monotonic() - quiet
            for pid in self.workers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for task in self.background:
                task.cancel()
            pieces = await self._pieces()
            for piece in pieces:
                self.report.states[str(piece.state)] = self.report.states.get(str(piece.state), 0) + 1
            self.history.posts = self.platform.posts()
            self.report.posts = len(self.history.posts)
            self.report.faults = dict(self.stores.faults)
            self.report.violations += await check(self.environ, BRAND, self.history)
        self.report.seconds = time.monotonic() - started
        if self.report.violations:
            (self.folder / "violations.txt").write_text(read_log(self.folder))
        return self.report

    async def _cli(self, *argv: str, kill_after: float | None = None) -> tuple[int, str]:
        self.children += 1
        log = self.folder / f"cli{self.children}.log"
        pid = await self.zygote.fork(
            kind="cli", argv=list(argv), log=str(log), seed=self.children, mutation=self.mutation
        )
        if kill_after is not None:
            await asyncio.sleep(kill_after)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        else:
            timer = asyncio.get_running_loop().call_later(30, _kill, pid)
        code = await self.zygote.wait(pid)
        if kill_after is None:
            timer.cancel()
        return code, log.read_text(errors="replace") if log.exists() else ""

    async def _start_week(self) -> None:
        argv = ("cycle", "run", "--theme", "quiet evenings", "--week", self.week, "--detach", "--json")
        for kill_after in (self.rng.uniform(0.05, 0.6), self.rng.uniform(0.05, 1.2), None):
            code, text = await self._cli(*argv, kill_after=kill_after)
            if code < 0:
                self.report.killed_commands += 1
        assert code in (0, 3), text
        self.history.session_id = json.loads(text[text.index("{") :])["session_id"]

    async def _spawn(self) -> None:
        self.children += 1
        pid = await self.zygote.fork(
            kind="worker", log=str(self.folder / f"worker{self.children}.log"), seed=self.seed * 1000 + self.children,
            platform_url=self.platform.url, mutation=self.mutation,
        )  # fmt: skip
        self.workers.append(pid)

    async def _pieces(self) -> list[Piece]:
        session = await self.records.find(Session, id=self.history.session_id)
        if session is None:
            return []
        return await self.records.find_many(Piece, [{"id": id} for id in session_piece_ids(session)])

    async def _break_things(self) -> None:
        started, due = time.monotonic(), [0.15, 0.4, 0.65, 0.85] if self.stores.breakable else []
        # However slow the machine is, something is broken, and every kind of store has its fault.
        while (passed := time.monotonic() - started) < self.faults_s or due or self._broken < LEAST_BROKEN:
            await asyncio.sleep(self.rng.uniform(0.15, 0.7))
            if due and passed > due[0] * self.faults_s:
                del due[0]
                self._background(self.stores.fault(self.rng))
            action = self.rng.random()
            if action < 0.45:
                await self._kill()
            elif action < 0.65:
                self._background(self._pause())
            elif action < 0.85:
                self._background(self._approve_some())
            else:
                with suppress(CopydeskError):  # a store is away just now
                    await self._pull_publications()

    @property
    def _broken(self) -> int:
        return self.report.kills + self.report.pauses

    def _background(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    async def _kill(self) -> None:
        pid = self.rng.choice(self.workers)
        self.workers.remove(pid)
        self.paused.discard(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._background(self.zygote.wait(pid))
        self.report.kills += 1
        await self._spawn()

    async def _pause(self) -> None:
        pid = self.rng.choice(self.workers)
        if pid in self.paused:
            return
        self.paused.add(pid)
        self.report.pauses += 1
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(self.lease_s * self.rng.uniform(1.1, 1.8))
            os.kill(pid, signal.SIGCONT)
        self.paused.discard(pid)

    async def _approve_some(self, *, all_of_them: bool = False) -> None:
        pending = await pending_reviews(self.records, session_id=self.history.session_id)
        chosen = pending if all_of_them else self.rng.sample(pending, min(len(pending), self.rng.randint(1, 6)))
        if not chosen:
            return
        kill_after = None if all_of_them or self.rng.random() < 0.5 else self.rng.uniform(0.02, 0.8)
        ids = [f"{row.piece_id}@{row.content_hash}" for row in chosen]
        code, text = await self._cli("review", "approve", *ids, "--json", kill_after=kill_after)
        if code < 0:
            self.report.killed_commands += 1
        elif code == 0:
            for item in json.loads(text[text.index("[") :]):
                self.history.acknowledged[item["piece_id"]] = item["content_hash"]

    async def _pull_publications(self) -> None:
        rows = await self.records.find_by(ScheduledPublication, state=PieceState.APPROVED)
        rows += await self.records.find_by(
            ScheduledPublication, state=PieceState.PUBLISHING
        )  # the next parts of threads
        now = SystemClock().now()
        for row in rows:
            await self.queue.enqueue(replace(publish_task(row), run_at=now))

    async def _settle(self) -> None:
        """No more faults: approve what is left, publish it, wait until nothing more can happen."""
        for _ in range(3 - len(self.workers)):
            await self._spawn()
        end = time.monotonic() + self.settle_s
        while time.monotonic() < end:
            await asyncio.gather(*[task for task in self.background if not task.done()], return_exceptions=True)
            await self.stores.calm()
            await self._requeue_victims()
            await self._approve_some(all_of_them=True)
            await self._pull_publications()
            pieces = await self._pieces()
            session = await self.records.get(Session, id=self.history.session_id)
            moving = {*UNSETTLED, PieceState.WAITING, PieceState.APPROVED, PieceState.PUBLISHING}
            open_unknown = [p for p in pieces if p.state is PieceState.UNKNOWN and "publish resolve" not in p.reason]
            if (
                pieces
                and session.outcome
                and not open_unknown
                and not any(p.state in moving for p in pieces)
                and session.status == "done"
            ):
                return
            await asyncio.sleep(0.3)

    async def _requeue_victims(self) -> None:
        """What an operator does who knows that the task was innocent. Each has cost three deaths, and none of them was its own."""
        ids = [item.task.id for item in await self.queue.list_dead() if "died while running it alone" in item.reason]
        if not ids:
            return
        code, text = await self._cli("queue", "requeue", *ids, "--json")
        assert code == 0, text
        self.report.requeued += len(ids)
        if 3 * self.report.requeued > self._broken + self.report.killed_commands:
            self.report.violations.append(
                f"{self.report.requeued} tasks were taken for poison after {self._broken} faults"
            )


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def run_loop(
    folder: Path,
    *,
    seed: int,
    engine: str = "sqlite",
    mutation: str = "",
    faults_s: float = 10.0,
    settle_s: float = 45.0,
) -> Report:
    """Run one loop in `folder`; its report holds the violations found."""
    return await Loop(folder, seed, engine, mutation, faults_s, settle_s).run()
