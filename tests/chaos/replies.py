"""T8 on the queue alone: thousands of tasks through a relay that loses one answer in twenty after the server did what was asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta

from config.clock import SystemClock
from config.errors import Unavailable
from memory.queue.owner import current_owner
from memory.queue.protocol import GENERATION_QUEUE, Enqueued, Task, TaskQueue, open_queue
from tests.fakes.redis_proxy import open_relay
from tests.fakes.redis_server import RedisServer

_AT_ONCE = 8
_LEASE = timedelta(minutes=10)  # longer than the run: nothing is given out twice but by mistake


@dataclass
class Replies:
    """What came of it."""

    lost: int = 0
    """Answers that were dropped."""
    ran: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


async def _insist(call: object) -> object:
    """What a caller does that was told Unavailable: ask again, which must be harmless."""
    while True:
        try:
            return await call()  # type: ignore[operator]
        except Unavailable:
            await asyncio.sleep(0)


async def lossy_queue(count: int, *, seed: int, rate: float = 0.05) -> Replies:
    """Enqueue `count` tasks, each twice, and run them all; every broken promise."""
    found, clock = Replies(), SystemClock()
    async with AsyncExitStack() as stack:
        server = RedisServer()
        stack.callback(server.close)
        await asyncio.to_thread(server.start)
        relay = await stack.enter_async_context(open_relay(server.socket, server.folder / "r"))
        url = f"redis+unix://{server.folder / 'r'}"
        relay.lose_share(rate, seed=seed)
        queues = [
            await stack.enter_async_context(open_queue(url, clock=clock, max_length=count)) for _ in range(_AT_ONCE)
        ]
        tasks = [Task(f"t{n}", "advance_piece", GENERATION_QUEUE, "acme", clock.now(), {"n": n}) for n in range(count)]
        said: Counter[Enqueued] = Counter()

        async def produce(queue: TaskQueue, mine: list[Task]) -> None:
            for task in mine:
                said.update(await _insist(lambda task=task: queue.enqueue(task)))  # type: ignore[call-overload]

        await asyncio.gather(*(produce(queue, tasks[n::_AT_ONCE]) for n, queue in enumerate(queues)))
        await asyncio.gather(*(produce(queue, tasks[n::_AT_ONCE]) for n, queue in enumerate(reversed(queues))))
        if said[Enqueued.CREATED] > count:
            found.violations.append(f"{said[Enqueued.CREATED]} created of {count}")
        depth = (await queues[0].depths())[GENERATION_QUEUE]
        if depth.ready != count:
            found.violations.append(f"{depth.ready} wait of {count}")

        async def consume(queue: TaskQueue) -> None:
            while True:
                leases = await _insist(
                    lambda: queue.claim([GENERATION_QUEUE], owner=current_owner(), ttl=_LEASE, limit=3)
                )
                if not leases:
                    return
                for lease in leases:  # type: ignore[attr-defined]
                    found.ran[lease.task.id] += 1
                    await _insist(lambda lease=lease: queue.complete(lease))

        await asyncio.gather(*(consume(queue) for queue in queues))
        found.lost = relay.lost
        twice = [name for name, n in found.ran.items() if n > 1]
        missing = {task.id for task in tasks} - set(found.ran)
        left = await _insist(queues[0].depths)
        found.violations += [f"{len(twice)} ran twice"] * bool(twice) + [f"{len(missing)} never ran"] * bool(missing)
        found.violations += [f"left behind: {left}"] * bool(left)
    return found
