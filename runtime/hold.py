"""Taking a piece's lease for something that is not an advance: publishing, and what humans do to a piece.

Every row has one writer, the holder of its thread's lease. The lease of a piece is the lease of its advance task, so whoever
wants to write the piece enqueues that task and claims it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from config.errors import Busy, LeaseLost
from graphs.context import advance_piece_task
from memory.queue.protocol import GENERATION_QUEUE
from runtime.compose import Runtime
from runtime.guard import Heartbeat, TaskGuard


@asynccontextmanager
async def hold_piece(
    runtime: Runtime,
    brand: str,
    piece_id: str,
    *,
    heartbeat: Heartbeat | None = None,
    wait: timedelta = timedelta(0),
    look_again: bool = False,
) -> AsyncIterator[TaskGuard]:
    """Hold the piece's lease. With `look_again` the piece is advanced afterwards, else the task goes as it came.

    Raises Busy when somebody else holds it for longer than `wait`.
    """
    task = advance_piece_task(brand, piece_id, runtime.clock)
    ttl = runtime.settings.lease
    known = await runtime.queue.find(task.id) is not None
    deadline = runtime.clock.boottime() + wait.total_seconds()
    while True:
        await runtime.queue.enqueue(task)
        claimed = await runtime.queue.claim([GENERATION_QUEUE], owner=runtime.owner, ttl=ttl, limit=1, only=[task.id])
        if not claimed:  # a task that killed workers is given out alone only
            claimed = await runtime.queue.claim(
                [GENERATION_QUEUE], owner=runtime.owner, ttl=ttl, limit=1, only=[task.id], solo=True
            )
        if claimed:
            break
        if runtime.clock.boottime() >= deadline:
            raise Busy(f"piece {piece_id} is being worked on: try again in a moment")
        known = True
        await runtime.clock.sleep(timedelta(milliseconds=100))
    guard = TaskGuard(claimed[0], runtime.queue, runtime.clock, ttl)
    if heartbeat is not None:
        heartbeat.add(guard)
    try:
        yield guard
    finally:
        if heartbeat is not None:
            heartbeat.drop(guard)
        with suppress(LeaseLost):
            # Given back rather than completed when there may be work: a look too many costs nothing, a look too few a minute.
            await (runtime.queue.release(guard.lease) if look_again or known else runtime.queue.complete(guard.lease))
