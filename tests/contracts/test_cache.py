"""What every cache engine promises. No test here names an engine; the fixture does."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.clock import ManualClock
from config.errors import BadInput
from memory.cache import Cache, CacheStore, Held, content_key, open_cache
from tests.fakes.redis_server import redis_url

ROOT = Path(__file__).parents[2]
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


ENGINES = {"sqlite": lambda folder: f"sqlite:///{folder / 'session.db'}", "redis": redis_url}


@pytest.fixture(params=sorted(ENGINES))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ENGINES[request.param](tmp_path)


@pytest.fixture
async def store(url: str, clock: ManualClock) -> AsyncIterator[CacheStore]:
    async with open_cache(url, clock=clock) as opened:
        yield opened


@pytest.fixture
def cache(store: CacheStore) -> Cache:
    return store.for_brand("acme")


async def test_a_value_reads_back_until_its_ttl_and_not_at_it(cache: Cache, clock: ManualClock) -> None:
    await cache.put("brand:voice:tone", {"tone": ["calm", "clear"], "n": 1.5, "ok": None}, ttl=MINUTE)
    assert await cache.get("brand:voice:tone") == {"tone": ["calm", "clear"], "n": 1.5, "ok": None}
    clock.advance(MINUTE - timedelta(milliseconds=1))
    assert await cache.get("brand:voice:tone") is not None
    clock.advance(timedelta(milliseconds=1))
    assert await cache.get("brand:voice:tone") is None


async def test_putting_again_replaces_the_value_and_its_ttl(cache: Cache, clock: ManualClock) -> None:
    await cache.put("k", 1, ttl=MINUTE)
    await cache.put("k", 2, ttl=3 * MINUTE)
    clock.advance(2 * MINUTE)
    assert await cache.get("k") == 2


async def test_a_deleted_key_is_absent_and_deleting_it_again_is_no_error(cache: Cache) -> None:
    await cache.put("k", 1, ttl=MINUTE)
    await cache.delete("k")
    await cache.delete("k")
    assert await cache.get("k") is None


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, {1: "a"}, {"a": {2: 3}}, b"x", "nul\x00", ["a", {"k\x00": 1}], "\ud800", object(), {"s": {1}}],
)
async def test_a_value_that_is_not_plain_json_is_refused_and_nothing_is_stored(cache: Cache, value: Any) -> None:
    with pytest.raises(BadInput, match="cache value 'k'"):
        await cache.put("k", value, ttl=MINUTE)
    assert await cache.get("k") is None


async def test_text_that_only_looks_like_an_escaped_nul_is_kept(cache: Cache) -> None:
    await cache.put("k", "\\u0000 🜁", ttl=MINUTE)
    assert await cache.get("k") == "\\u0000 🜁"


@pytest.mark.parametrize("ttl", [timedelta(0), -MINUTE])
async def test_a_ttl_that_is_not_positive_is_refused(cache: Cache, ttl: timedelta) -> None:
    with pytest.raises(BadInput, match="not positive"):
        await cache.put("k", 1, ttl=ttl)


async def test_brands_do_not_see_each_others_values_or_envelopes(store: CacheStore) -> None:
    ours, theirs = store.for_brand("acme"), store.for_brand("other")
    await ours.put("k", "ours", ttl=MINUTE)
    await ours.rebuild_holds("e", {"a": 1.0}, ttl=MINUTE)
    assert (await theirs.get("k"), await theirs.held("e")) == (None, None)
    await theirs.put("k", "theirs", ttl=MINUTE)
    await theirs.delete("k")
    await theirs.delete("e")
    assert (await ours.get("k"), await ours.held("e")) == ("ours", 1.0)
    with pytest.raises(BadInput):
        store.for_brand("No Slug")


async def test_an_unknown_envelope_is_missing_until_it_is_rebuilt(cache: Cache) -> None:
    assert await cache.held("usd") is None
    assert await cache.hold("usd", "call-1", 0.5, ceiling=1.0) is Held.MISSING
    await cache.rebuild_holds("usd", {}, ttl=MINUTE)
    assert await cache.held("usd") == 0.0
    assert await cache.hold("usd", "call-1", 0.5, ceiling=1.0) is Held.GRANTED
    assert await cache.held("usd") == 0.5


async def test_a_hold_is_granted_up_to_the_ceiling_exactly_and_refused_above_it(cache: Cache) -> None:
    await cache.rebuild_holds("usd", {}, ttl=MINUTE)
    for n in range(10):
        assert await cache.hold("usd", f"call-{n}", 0.1, ceiling=1.0) is Held.GRANTED
    assert await cache.held("usd") == 1.0
    assert await cache.hold("usd", "one more", 0.000001, ceiling=1.0) is Held.REFUSED
    assert await cache.held("usd") == 1.0


async def test_holding_an_item_again_sets_it_rather_than_adding(cache: Cache) -> None:
    await cache.rebuild_holds("usd", {}, ttl=MINUTE)
    await cache.hold("usd", "call", 0.6, ceiling=1.0)
    assert await cache.hold("usd", "call", 0.6, ceiling=1.0) is Held.GRANTED
    assert await cache.hold("usd", "call", 0.9, ceiling=1.0) is Held.GRANTED
    assert await cache.held("usd") == 0.9
    assert await cache.hold("usd", "call", 1.1, ceiling=1.0) is Held.REFUSED
    assert await cache.held("usd") == 0.9


async def test_what_a_call_really_cost_is_set_without_a_ceiling(cache: Cache) -> None:
    await cache.rebuild_holds("usd", {}, ttl=MINUTE)
    await cache.hold("usd", "call", 0.6, ceiling=1.0)
    await cache.set_hold("usd", "call", 1.7)
    assert await cache.held("usd") == 1.7
    assert await cache.hold("usd", "next", 0.0001, ceiling=1.0) is Held.REFUSED


async def test_a_cost_set_while_the_envelope_is_unknown_outlives_the_rebuild(cache: Cache) -> None:
    await cache.set_hold("usd", "call", 0.2)
    assert await cache.held("usd") is None
    await cache.rebuild_holds("usd", {"call": 0.6, "older": 0.1}, ttl=MINUTE)
    assert await cache.held("usd") == 0.3


async def test_rebuilding_twice_changes_no_item(cache: Cache) -> None:
    await cache.rebuild_holds("usd", {"a": 0.5}, ttl=MINUTE)
    await cache.set_hold("usd", "a", 0.1)
    await cache.rebuild_holds("usd", {"a": 0.5, "b": 0.2}, ttl=MINUTE)
    assert await cache.held("usd") == 0.3


async def test_an_expired_envelope_is_unknown_and_rebuilt_from_nothing_but_what_was_set_since(
    cache: Cache, clock: ManualClock
) -> None:
    await cache.rebuild_holds("usd", {"a": 0.5}, ttl=MINUTE)
    clock.advance(MINUTE)
    assert await cache.held("usd") is None
    assert await cache.hold("usd", "b", 0.1, ceiling=1.0) is Held.MISSING
    await cache.set_hold("usd", "b", 0.2)
    await cache.rebuild_holds("usd", {"b": 0.9, "c": 0.3}, ttl=MINUTE)
    assert await cache.held("usd") == 0.5


@pytest.mark.parametrize("amount", [-0.1, math.nan, math.inf])
async def test_an_amount_that_is_no_money_is_refused(cache: Cache, amount: float) -> None:
    await cache.rebuild_holds("usd", {}, ttl=MINUTE)
    with pytest.raises(BadInput):
        await cache.hold("usd", "call", amount, ceiling=1.0)
    with pytest.raises(BadInput):
        await cache.set_hold("usd", "call", amount)
    assert await cache.held("usd") == 0.0


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 2)), max_size=30))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_sum_of_holds_never_passes_its_ceiling(store: CacheStore, calls: list[tuple[int, float]]) -> None:
    cache = store.for_brand("acme")
    await cache.delete("usd")
    await cache.rebuild_holds("usd", {}, ttl=MINUTE)
    model: dict[str, float] = {}
    for item, amount in calls:
        if await cache.hold("usd", str(item), amount, ceiling=3.0) is Held.GRANTED:
            model[str(item)] = amount
        held = await cache.held("usd")
        assert held is not None
        assert held <= 3.0
        assert held == pytest.approx(sum(model.values()), abs=1e-7)


_SPENDER = """
import asyncio, sys
from datetime import timedelta
from config.clock import SystemClock
from memory.cache import Held, open_cache

async def main(url, name):
    async with open_cache(url, clock=SystemClock()) as store:
        cache = store.for_brand("acme")
        granted = 0
        for n in range(0, 60, 3):
            # Several at once, so that processes and coroutines both compete.
            calls = (cache.hold("usd", f"{name}-{n + i}", 1.0, ceiling=100.0) for i in range(3))
            answers = await asyncio.gather(*calls)
            if Held.MISSING in answers:
                await cache.rebuild_holds("usd", {"spent before": 10.0}, ttl=timedelta(hours=1))
            granted += answers.count(Held.GRANTED)
        print(granted, await cache.held("usd"))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
async def test_processes_that_spend_at_once_never_pass_the_ceiling(url: str) -> None:
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _SPENDER, url, f"p{n}", cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        for n in range(4)
    ]
    outputs = [(await process.communicate())[0].decode().split() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0, 0]
    assert sum(int(granted) for granted, _ in outputs) == 90
    assert max(float(held) for _, held in outputs) == 100.0


async def test_sweeping_removes_what_expired_and_nothing_else(
    cache: Cache, store: CacheStore, clock: ManualClock
) -> None:
    await cache.put("old", 1, ttl=MINUTE)
    await cache.rebuild_holds("old usd", {"a": 1.0}, ttl=MINUTE)
    await cache.put("new", 1, ttl=3 * MINUTE)
    await cache.rebuild_holds("new usd", {"a": 1.0}, ttl=3 * MINUTE)
    await cache.set_hold("unknown usd", "a", 0.5)
    clock.advance(2 * MINUTE)
    assert await store.sweep() == 2
    assert await store.sweep() == 0
    assert (await cache.get("new"), await cache.held("new usd")) == (1, 1.0)
    await cache.rebuild_holds("unknown usd", {"a": 9.0}, ttl=MINUTE)
    assert await cache.held("unknown usd") == 0.5


async def test_a_cost_set_on_an_envelope_that_nobody_rebuilds_is_swept_in_the_end(
    cache: Cache, store: CacheStore, clock: ManualClock
) -> None:
    await cache.set_hold("unknown usd", "a", 0.5)
    clock.advance(timedelta(days=3))
    assert await store.sweep() == 1


async def test_values_outlive_closing_and_opening(url: str, clock: ManualClock) -> None:
    async with open_cache(url, clock=clock) as store:
        await store.for_brand("acme").put("k", 1, ttl=MINUTE)
    async with open_cache(url, clock=clock) as store:
        assert await store.for_brand("acme").get("k") == 1


def test_a_content_key_tells_its_parts_apart() -> None:
    assert content_key("ab", "c") != content_key("a", "bc")
    assert content_key("a", "b") == content_key("a", "b")
    assert content_key("a").startswith("content_gen:")
