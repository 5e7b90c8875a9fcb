"""How the SQLite queue reads its rows: the order of them, and a Task from one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from config.clock import from_millis
from memory.queue.payload import decode_payload
from memory.queue.protocol import Task

# The payload as bytes: the driver would refuse a whole result for one text that is not UTF-8.
COLUMNS = """
    t.seq, t.id, t.kind, t.queue, t.brand, t.run_at, t.priority, t.attempts, t.deaths, t.solo_deaths, t.reason,
    CAST(t.payload AS BLOB)
"""


def order_of(row: Sequence[Any]) -> tuple[int, int, int]:
    """The sort key that puts the best row first: highest priority, earliest `run_at`, first enqueued."""
    return (-row[6], row[5], row[0])


def task_of(row: Sequence[Any]) -> Task:
    """The task in a row of COLUMNS. Raises ValueError for a payload that does not decode."""
    _, task_id, kind, queue, brand, run_at, priority, attempts, deaths, solo_deaths, reason, payload = row[:12]
    return Task(
        id=task_id,
        kind=kind,
        queue=queue,
        brand=brand,
        run_at=from_millis(run_at),
        payload=decode_payload(payload),
        priority=priority,
        attempts=attempts,
        deaths=deaths,
        solo_deaths=solo_deaths,
        reason=reason,
    )


def readable_task_of(row: Sequence[Any]) -> Task:
    """For people: as `task_of`, but a payload that does not decode reads as empty, with a reason that says so."""
    try:
        return task_of(row)
    except ValueError as error:
        return task_of((*row[:10], row[10] or f"payload does not decode: {error}", b"{}"))
