"""`/health` and `/metrics` of a worker, on loopback alone: a small HTTP server of the standard library.

It runs in the worker's own event loop, so a worker that is stuck does not answer. `/health` is 200 while the worker takes tasks
and 503, with the reason, while it does not. `/metrics` is Prometheus text; what is counted starts at 0 with the process.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from config.errors import CopydeskError, UsageError

if TYPE_CHECKING:
    from runtime.worker import Worker

log = structlog.get_logger(__name__)
HOST = "127.0.0.1"
_REQUEST_S = 5.0
_REQUEST_BYTES = 8192
_DEPTHS_S = 2.0
"""Longest wait for the queue's depths: without them the rest is told all the same."""


def rss_bytes() -> int:
    """Memory of this process, resident set, in bytes; its peak where there is no procfs."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def health(worker: Worker) -> tuple[int, dict[str, object]]:
    """HTTP status, and what it says: `ok`, `draining`, `records away` or `queue away`."""
    status = "ok"
    if worker.draining:
        status = "draining"
    elif worker.breaker.is_open:
        status = "records away"
    elif worker.queue_away:
        status = "queue away"
    said: dict[str, object] = {"status": status, "running": worker.running, "finished": worker.finished}
    return (200 if status == "ok" else 503), said


async def metrics_text(worker: Worker) -> str:
    """Prometheus text, version 0.0.4. Queue depths are left out while the queue is away."""
    up = 0 if worker.breaker.is_open else 1
    lines: list[str] = []

    def tell(name: str, kind: str, about: str, *values: tuple[str, float]) -> None:
        lines.append(f"# HELP copydesk_{name} {about}")
        lines.append(f"# TYPE copydesk_{name} {kind}")
        lines.extend(f"copydesk_{name}{labels} {value:g}" for labels, value in values)

    tell("tasks_finished_total", "counter", "Tasks that came to an end here.", ("", worker.finished))
    tell("tasks_failed_total", "counter", "Runs that counted as a failed attempt.", ("", worker.failed))
    tell("tasks_running", "gauge", "Tasks that run here now.", ("", worker.running))
    tell("leases_lost_total", "counter", "Leases that were lost while their task ran.", ("", worker.leases_lost))
    tell("records_up", "gauge", "0 while the worker claims nothing because Records are away.", ("", up))
    age = worker.runtime.clock.boottime() - worker.started_at
    tell("uptime_seconds", "gauge", "Seconds since the worker started.", ("", round(age, 3)))
    tell("resident_memory_bytes", "gauge", "Memory of the worker's process.", ("", float(rss_bytes())))
    try:
        depths = await asyncio.wait_for(worker.runtime.queue.depths(), _DEPTHS_S)
    except (CopydeskError, TimeoutError):
        depths = None
    tell("queue_up", "gauge", "1 while the queue answers.", ("", 0 if depths is None else 1))
    values = []
    for name, depth in sorted((depths or {}).items()):
        for state in ("ready", "delayed", "leased", "dead"):
            values.append((f'{{queue="{_label(name)}",state="{state}"}}', float(getattr(depth, state))))
    tell("queue_tasks", "gauge", "Tasks of a queue, over all workers.", *values)
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@asynccontextmanager
async def serve_metrics(worker: Worker, port: int) -> AsyncIterator[int]:
    """Serve on 127.0.0.1:`port` (0: any free one); gives the port. Raises UsageError when it is taken or not allowed."""
    open_now: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            with suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await asyncio.wait_for(_answer(worker, reader, writer), _REQUEST_S)
        except asyncio.CancelledError:
            pass  # the server ends; asyncio would print a traceback for each connection
        finally:
            open_now.discard(task)
            writer.close()

    try:
        server = await asyncio.start_server(accept, HOST, port, limit=_REQUEST_BYTES)
    except OSError as error:
        raise UsageError(
            f"--metrics-port {port} cannot be opened on {HOST} ({error.strerror}): choose another"
        ) from None
    bound = int(server.sockets[0].getsockname()[1])
    log.info("metrics.serving", port=bound)
    try:
        yield bound
    finally:
        server.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)
        await server.wait_closed()


async def _answer(worker: Worker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    method, _, rest = head.partition("\r\n")[0].partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    kind = "text/plain; charset=utf-8"
    if method not in ("GET", "HEAD"):
        status, body = 405, "only GET\n"
    elif path == "/health":
        status, said = health(worker)
        kind, body = "application/json", json.dumps(said) + "\n"
    elif path == "/metrics":
        status, kind, body = 200, "text/plain; version=0.0.4; charset=utf-8", await metrics_text(worker)
    else:
        status, body = 404, "there are /health and /metrics\n"
    encoded = body.encode()
    reason = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}[status]
    start = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(encoded)}\r\n"
    writer.write(f"{start}Connection: close\r\n\r\n".encode() + (b"" if method == "HEAD" else encoded))
    await writer.drain()
