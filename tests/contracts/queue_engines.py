"""The task queue engines that the contract suites run on; adding one here runs everything on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from config.clock import Clock
from memory.queue import Owner, Task
from tests.fakes.redis_server import redis_url, shared_server


@dataclass(frozen=True)
class QueueEngine:
    """What a contract test must know of an engine besides its protocol."""

    url: Callable[[Path], str]
    """The address of a fresh queue in a folder."""
    spoil: Callable[[str, str, bytes], None]
    """Overwrite the stored payload of (url, task id) behind the engine's back."""


def _spoil_sqlite(url: str, task_id: str, stored: bytes) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE tasks SET payload = CAST(? AS TEXT) WHERE id = ?", (stored, task_id))


def _spoil_redis(url: str, task_id: str, stored: bytes) -> None:
    prefix = url.partition("prefix=")[2]
    shared_server().command("HSET", f"{{{prefix}}}:queue:|task|{task_id}", "payload", stored)


ENGINES = {
    "sqlite": QueueEngine(url=lambda folder: f"sqlite:///{folder / 'queue.db'}", spoil=_spoil_sqlite),
    "redis": QueueEngine(url=redis_url, spoil=_spoil_redis),
}


def a_task(
    clock: Clock, task_id: str = "advance:1", *, queue: str = "work", priority: int = 5, **fields: object
) -> Task:
    """A task due now, unless `run_at` says otherwise."""
    given = {"kind": "advance", "brand": "acme", "run_at": clock.now(), "payload": {"n": 1}, **fields}
    return Task(id=task_id, queue=queue, priority=priority, **given)  # type: ignore[arg-type]


def an_owner(worker: str = "w1", *, host: str = "test-host", pid: int = 1) -> Owner:
    """A holder on a host that does not exist, so that nothing about this machine decides a test."""
    return Owner(host=host, boot_id="boot", pid_namespace="pid:[1]", pid=pid, started="1", worker=worker)
