"""Taking a piece's lease for something that is not an advance: publishing, and what humans do to a piece.

Every row has one writer, the holder of its thread's lease. The lease of a piece is the lease of its advance task, so whoever
wants to write the piece enqueues that task and claims it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial

from config.errors import Busy, LeaseLost, NotFound
from graphs.context import advance_piece_task, advance_session_task
from memory.queue.protocol import Enqueued, Lease, Task
from runtime.compose import Runtime
from runtime.guard import Heartbeat, TaskGuard


def hold_piece(
    runtime: Runtime,
    brand: str,
    piece_id: str,
    *,
    heartbeat: Heartbeat | None = None,
    wait: timedelta = timedelta(0),
    look_again: bool = False,
) -> AbstractAsyncContextManager[TaskGuard]:
    """Hold the piece's lease. With `look_again` the piece is advanced afterwards, else the task goes as it came.

    Raises Busy when somebody else holds it for longer than `wait`.
    """
    task = advance_piece_task(brand, piece_id, runtime.clock)
    return hold_task(runtime, task, f"piece {piece_id}", heartbeat=heartbeat, wait=wait, look_again=look_again)


def hold_session(
    runtime: Runtime, brand: str, session_id: str, *, wait: timedelta = timedelta(0), look_again: bool = False
) -> AbstractAsyncContextManager[TaskGuard]:
    """Hold the session's lease; as `hold_piece`."""
    task = advance_session_task(brand, session_id, runtime.clock)
    return hold_task(runtime, task, f"session {session_id}", wait=wait, look_again=look_again)


@asynccontextmanager
async def hold_task(
    runtime: Runtime,
    task: Task,
    what: str,
    *,
    heartbeat: Heartbeat | None = None,
    wait: timedelta = timedelta(0),
    look_again: bool = False,
) -> AsyncIterator[TaskGuard]:
    """Hold the lease of `task`, enqueueing it if it is absent and reviving it if it is dead; `what` names it in errors."""
    ttl = runtime.settings.lease
    known = await runtime.queue.find(task.id) is not None
    deadline = runtime.clock.boottime() + wait.total_seconds()
    while True:
        if claimed := await _enqueue_and_claim(runtime, task):
            break
        if runtime.clock.boottime() >= deadline:
            raise Busy(f"{what} is being worked on: try again in a moment")
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


async def _enqueue_and_claim(runtime: Runtime, task: Task) -> list[Lease]:
    """The lease of `task`, which is enqueued if it is absent and revived if it is dead; none while somebody else holds it."""
    queue = runtime.queue
    claim = partial(queue.claim, [task.queue], owner=runtime.owner, ttl=runtime.settings.lease, limit=1, only=[task.id])
    # Asked for in one turn of the loop, both are done in one go: between two calls, a worker that looks for work (in this process
    # too) would take the task that was enqueued for us, and what is due at its minute would come late.
    added, claimed = await asyncio.gather(queue.enqueue(task), claim(), return_exceptions=True)
    if isinstance(added, BaseException):
        for lease in () if isinstance(claimed, BaseException) else claimed:
            await queue.release(lease)
        raise added
    if isinstance(claimed, BaseException):
        raise claimed
    if added == [Enqueued.DEAD]:
        # Nobody can lease a dead task, and a human who mends its piece must: the row keeps why it died.
        with suppress(NotFound):
            await queue.requeue(task.id)
        claimed = await claim()
    return claimed or await claim(solo=True)  # a task that killed workers is given out alone only
