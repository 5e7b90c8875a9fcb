"""`/health` and `/metrics` of a worker, and a worker that makes room for a fresh process."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import SystemClock
from config.errors import UsageError
from config.settings import Settings
from graphs.context import advance_piece_task
from memory.queue.protocol import open_queue
from runtime import worker as worker_module
from runtime.compose import Runtime, open_runtime
from runtime.metrics import metrics_text, rss_bytes, serve_metrics
from runtime.worker import Worker
from tests.cli_support import ROOT, environment
from tests.fakes.newsroom import BRAND, write_brand

LINE = re.compile(r'copydesk_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+]+')


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    write_brand(tmp_path / "brands" / BRAND)
    async with open_runtime(Settings(data_dir=tmp_path), clock=SystemClock()) as opened:
        yield opened


async def ask(port: int, path: str, *, method: str = "GET") -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split(" ")[1]), body


async def test_health_says_whether_the_worker_takes_tasks(runtime: Runtime) -> None:
    worker = Worker(runtime, upkeep=False)
    async with serve_metrics(worker, 0) as port:
        assert await ask(port, "/health") == (200, '{"status": "ok", "running": 0, "finished": 0}\n')
        worker.queue_away = True
        status, body = await ask(port, "/health")
        assert (status, json.loads(body)["status"]) == (503, "queue away")
        worker.drain()
        status, body = await ask(port, "/health?x=1")
        assert (status, json.loads(body)["status"]) == (503, "draining")
        assert (await ask(port, "/secrets"))[0] == 404
        assert (await ask(port, "/health", method="POST"))[0] == 405
        assert await ask(port, "/health", method="HEAD") == (503, "")


async def test_metrics_are_prometheus_text_of_what_happened(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    async def advance(runtime: Runtime, brand: str, piece_id: str, guard: Any) -> Any:
        if piece_id == "bad":
            raise RuntimeError("no")
        return worker_module.Done()

    monkeypatch.setattr(worker_module, "advance_piece", advance)
    monkeypatch.setattr(worker_module, "POLL_IDLE", 0.02)
    for name in ("good", "bad"):
        await runtime.queue.enqueue(advance_piece_task(BRAND, name, runtime.clock))
    worker = Worker(runtime, upkeep=False)

    async def both() -> bool:
        return worker.finished == 2

    await worker.run(until=both)
    async with serve_metrics(worker, 0) as port:
        status, text = await ask(port, "/metrics")
    assert status == 200
    told = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(LINE.fullmatch(line) for line in told), text
    values = dict(line.rsplit(" ", 1) for line in told)
    assert values["copydesk_tasks_finished_total"] == "2"
    assert values["copydesk_tasks_failed_total"] == "1"
    assert values["copydesk_tasks_running"] == "0"
    assert values["copydesk_leases_lost_total"] == "0"
    assert values['copydesk_queue_tasks{queue="content_generation_queue",state="delayed"}'] == "1", "the retry"
    assert float(values["copydesk_resident_memory_bytes"]) > 10 * 2**20
    assert values["copydesk_queue_up"] == values["copydesk_records_up"] == "1"


async def test_metrics_are_told_without_depths_while_the_queue_is_away(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    from config.errors import Unavailable

    async def away() -> Any:
        raise Unavailable("gone")

    monkeypatch.setattr(runtime.queue, "depths", away)
    text = await metrics_text(Worker(runtime, upkeep=False))
    assert "copydesk_queue_up 0\n" in text
    assert "copydesk_queue_tasks{" not in text


async def test_it_listens_on_loopback_alone_and_a_client_that_says_nothing_holds_nobody_up(runtime: Runtime) -> None:
    worker = Worker(runtime, upkeep=False)
    async with serve_metrics(worker, 0) as port:
        async with asyncio.timeout(5):
            _, silent = await asyncio.open_connection("127.0.0.1", port)
            assert (await ask(port, "/health"))[0] == 200
            reader, flood = await asyncio.open_connection("127.0.0.1", port)
            flood.write(b"GET /" + b"x" * 20_000)
            with suppress(ConnectionError):
                await flood.drain()
                assert await reader.read() == b""
            with pytest.raises(UsageError, match="choose another"):
                async with serve_metrics(worker, port):
                    pass
        addresses = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None)} - {"127.0.0.1", "::1"}
        for address in sorted(addresses):
            with pytest.raises(OSError):  # noqa: PT011  refused, unreachable: whatever this machine says
                await asyncio.open_connection(address, port)
        silent.close()
        flood.close()


def test_memory_is_what_the_kernel_says() -> None:
    before = rss_bytes()
    block = bytearray(64 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    assert 48 * 2**20 < rss_bytes() - before < 96 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["COPYDESK_RECYCLE_SESSIONS=2", "COPYDESK_RECYCLE_RSS_MB=10"])
async def test_a_worker_that_has_done_enough_drains_and_exits_0(tmp_path: Path, bound: str) -> None:
    folder = tmp_path / "data"
    async with open_queue(f"sqlite:///{folder / 'queue.db'}", clock=SystemClock()) as queue:
        names = ["a", "b", "sleep-1-c", "d", "e", "f"]
        await queue.enqueue(*(advance_piece_task(BRAND, name, SystemClock()) for name in names))
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fakes.worker_process", str(folder), "FOREVER=1", bound),
            *("COPYDESK_CONCURRENCY=3",),
            cwd=ROOT, env=environment(), stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(30):
                assert await worker.wait() == 0, "nobody asked it to stop"
        finally:
            with suppress(ProcessLookupError):
                worker.send_signal(signal.SIGKILL)
        ran = (
            [line.split()[0] for line in (folder / "ran").read_text().splitlines()] if (folder / "ran").exists() else []
        )
        ended = [line.split()[0] for line in (folder / "ended").read_text().splitlines()] if ran else []
        assert sorted(ran) == sorted(ended), "what it had begun it finished"
        depths = await queue.depths()
        assert all(depth.leased == 0 for depth in depths.values())
        left = sum(depth.ready for depth in depths.values())
        assert left + len(ran) >= len(names), "nothing is lost"
        assert left, "and something is left for the next process"
        dead = await queue.list_dead()
        assert dead == []
        found = [await queue.find(f"advance:{name}") for name in names if name not in ran]
        assert all(task is not None and (task.attempts, task.deaths) == (0, 0) for task in found)


async def test_a_worker_of_a_short_command_is_never_recycled(tmp_path: Path) -> None:
    write_brand(tmp_path / "brands" / BRAND)
    settings = Settings(data_dir=tmp_path, recycle_sessions=1, recycle_rss_mb=1, lease=timedelta(seconds=30))
    async with open_runtime(settings, clock=SystemClock()) as runtime:
        worker = Worker(runtime, only=list)
        worker.finished = 5
        turns = 0

        async def thrice() -> bool:
            nonlocal turns
            turns += 1
            return turns > 2

        await worker.run(until=thrice)
        assert worker.recycled == ""
