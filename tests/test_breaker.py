"""The breaker of a worker: when it opens, when it asks again, what closes it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from config.clock import ManualClock
from config.errors import DiskFull, Unavailable
from runtime.breaker import FIRST_PROBE_S, OPENS_AFTER, Breaker

AWAY = Unavailable("no answer")


class Store:
    """Records that answer by `error`; `asked` counts."""

    def __init__(self, error: Exception | None = AWAY) -> None:
        self.error = error
        self.asked = 0

    def all_brands(self) -> Store:
        return self

    async def list_rows(self, *_: Any, **__: Any) -> list[Any]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return []


async def opened(store: Store, clock: ManualClock, *, failures: int = OPENS_AFTER) -> Breaker:
    breaker = Breaker(store, clock)  # type: ignore[arg-type]
    for n in range(failures):
        assert await breaker.caused(AWAY)
        assert breaker.is_open is (n + 1 >= OPENS_AFTER)
    store.asked = 0
    return breaker


async def probes(breaker: Breaker, store: Store) -> int:
    """How often a look asks the store now."""
    before = store.asked
    breaker.look()
    await asyncio.sleep(0.01)
    return store.asked - before


async def test_it_opens_at_the_third_task_in_a_row_and_asks_when_its_wait_is_over() -> None:
    store, clock = Store(), ManualClock()
    breaker = await opened(store, clock)
    assert await probes(breaker, store) == 0, "not yet"
    clock.advance(timedelta(seconds=FIRST_PROBE_S))
    assert await probes(breaker, store) == 1
    assert await probes(breaker, store) == 0, "the next wait has begun"
    assert breaker.is_open


async def test_tasks_that_still_fail_while_it_is_open_do_not_put_its_look_off() -> None:
    store, clock = Store(), ManualClock()
    breaker = await opened(store, clock, failures=OPENS_AFTER + 8)
    clock.advance(timedelta(seconds=FIRST_PROBE_S))
    assert await probes(breaker, store) == 1


async def test_an_answer_closes_it_also_one_that_says_the_disk_is_full() -> None:
    for error in (None, DiskFull("no room")):
        store, clock = Store(), ManualClock()
        breaker = await opened(store, clock)
        store.error = error
        clock.advance(timedelta(seconds=FIRST_PROBE_S))
        assert await probes(breaker, store) == 1
        assert not breaker.is_open


async def test_an_error_that_records_did_not_cause_is_the_tasks_own() -> None:
    store = Store(error=None)
    breaker = Breaker(store, ManualClock())  # type: ignore[arg-type]
    for _ in range(OPENS_AFTER):
        assert not await breaker.caused(AWAY), "a model is away, Records answer"
        assert not await breaker.caused(ValueError("a bug"))
    assert not breaker.is_open
    assert store.asked == OPENS_AFTER
