"""Asking several things at the same time, and no more of them than a store bears."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
A = TypeVar("A")


async def together(items: Sequence[T], act: Callable[[T], Awaitable[A]], *, at_once: int) -> list[A]:
    """The answer of `act` for each item, in their order, at most `at_once` under way.

    The first error is raised when the others have been stopped: nothing goes on behind the caller's back.
    """
    gate = asyncio.Semaphore(at_once)

    async def one(item: T) -> A:
        async with gate:
            return await act(item)

    tasks = [asyncio.create_task(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
