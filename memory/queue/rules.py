"""What every task queue engine holds to: which tasks and which calls are refused, and in which words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from config.clock import to_millis
from config.errors import Backpressure, BadInput, Conflict, LeaseLost, NotFound
from memory.queue.protocol import Lease, Task

MAX_AHEAD = timedelta(days=400)
MAX_REASON = 4_000  # characters: a reason is read by people in a list, the whole story is in the log
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._@|#+/=-]{0,255}")
_NAME = re.compile(r"[A-Za-z0-9_*][A-Za-z0-9:._*-]{0,127}")


def check_task(task: Task, *, now: datetime) -> None:
    """Refuse what must not be queued; the payload is checked where it is encoded. Raises BadInput naming the field."""
    if not isinstance(task.id, str) or not _ID.fullmatch(task.id) or ".." in task.id:
        raise BadInput(f"task id {str(task.id)[:80]!r} must be 1-256 of A-Z a-z 0-9 : . _ @ | # + / = -, without '..'")
    for field, value in (("kind", task.kind), ("queue", task.queue), ("brand", task.brand)):
        check_name(value, what=f"task {task.id!r}: {field}")
    if (
        type(task.priority) is not int or not 1 <= task.priority <= 10
    ):  # type(): True is an int too, and means nothing here
        raise BadInput(
            f"task {task.id!r}: priority {task.priority!r} must be a whole number from 1 to 10 (10 is soonest)"
        )
    check_run_at(task.run_at, task_id=task.id, now=now)


def check_name(value: object, *, what: str) -> None:
    """Raises BadInput unless `value` is 1-128 plain characters."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise BadInput(f"{what} {str(value)[:80]!r} must be 1-128 of A-Z a-z 0-9 : . _ * -")


def check_run_at(run_at: datetime, *, task_id: str, now: datetime) -> int:
    """`run_at` in epoch milliseconds. Raises BadInput when it is naive or more than 400 days after `now`."""
    if not isinstance(run_at, datetime) or run_at.tzinfo is None:
        raise BadInput(f"task {task_id!r}: run_at {run_at!r} has no time zone: give an aware datetime")
    if run_at - now > MAX_AHEAD:
        raise BadInput(
            f"task {task_id!r}: run_at {run_at.isoformat()} is more than {MAX_AHEAD.days} days ahead: enqueue it later"
        )
    return to_millis(run_at)


def check_ttl(ttl: timedelta) -> int:
    """`ttl` in milliseconds. Raises BadInput unless it is at least one."""
    millis = ttl // timedelta(milliseconds=1)
    if millis < 1:
        raise BadInput(f"lease ttl {ttl!r} must be at least one millisecond")
    return millis


def check_claim(queues: Sequence[str], *, ttl: timedelta, limit: int, solo: bool) -> tuple[list[str], int, int]:
    """The queues, each once, the ttl in milliseconds, and how many tasks may be claimed at most. Raises BadInput for the ttl."""
    names = list(dict.fromkeys(queues))
    return names, check_ttl(ttl), min(limit, 1) if solo else limit if names else 0


def check_concurrency(queue: str, limit: int | None) -> None:
    """Raises BadInput for a bound that lets nothing run, or is no number."""
    if limit is not None and (type(limit) is not int or limit < 1):
        raise BadInput(
            f"queue {queue!r}: concurrency {limit!r} must be a whole number from 1, or None: to stop it, pause it"
        )


def refuse_lost(lost: Iterable[Lease]) -> None:
    """Raises LeaseLost naming the tasks of `lost`, if there are any."""
    ids = [lease.task.id for lease in lost]
    if ids:
        raise LeaseLost(f"task {', '.join(map(repr, ids))}: the lease ran out or was taken over: drop this result")


def other_work(task_id: str, field: str, old: str, new: str) -> Conflict:
    """The error for an id under which something else is queued."""
    return Conflict(
        f"task {task_id!r} exists with another {field} ({old[:80]!r}, not {new[:80]!r}): "
        "the same id must be the same work, so give other work another id"
    )


def full(queue: str, max_length: int) -> Backpressure:
    """The error for a queue at its bound."""
    return Backpressure(f"queue {queue!r} is full ({max_length} tasks wait): start workers, or try again later")


def not_dead(task_id: str) -> NotFound:
    """The error for an id that no dead task has."""
    return NotFound(f"no dead task {task_id!r}: `queue show` lists them; nothing was requeued")


def clean_reason(reason: str) -> str:
    """`reason` as text that every engine can store: no NUL, no lone surrogate, at most 4,000 characters.

    Reasons are made of other people's exceptions; giving a task back must not fail because of one.
    """
    return reason.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")[:MAX_REASON]
