"""What every checkpoint engine promises. No test here names an engine; the fixture does."""

from __future__ import annotations

import asyncio
import copy
import operator
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypedDict

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from config.clock import ManualClock
from config.errors import BadInput, Conflict, LeaseLost, Unsupported
from memory.checkpoints.protocol import Checkpoints, open_checkpoints
from memory.checkpoints.saver import LeasedSaver
from memory.checkpoints.stored import Claim
from memory.lease import Unleased
from tests.fakes.astra_keyspaces import a_place, live_engines
from tests.fakes.data_api import DataApi

BRAND = "acme"


class SwitchableLease(Unleased):
    """A lease that the test can take away."""

    def __init__(self) -> None:
        self.held = True
        self.extensions = 0

    def ensure_held(self) -> None:
        if not self.held:
            raise LeaseLost("the lease is gone")

    async def extend(self) -> None:
        self.ensure_held()
        self.extensions += 1


@pytest.fixture(params=["sqlite", "astra", *live_engines()])
async def url(request: pytest.FixtureRequest, tmp_path: Path, data_api: DataApi) -> AsyncIterator[str]:
    async with a_place(request.param, data_api, tmp_path / "checkpoints.db") as url:
        yield url


@pytest.fixture
async def checkpoints(url: str) -> AsyncIterator[Checkpoints]:
    async with open_checkpoints(url, clock=ManualClock()) as engine:
        yield engine


def config(thread: str, ns: str = "", **more: Any) -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ns, **more}}


async def put(
    saver: BaseCheckpointSaver[str], thread: str = "t", ns: str = "", *, meta: Any = None, **values: Any
) -> Any:
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = values
    checkpoint["channel_versions"] = dict.fromkeys(values, "1")
    return await saver.aput(config(thread, ns), checkpoint, {"source": "loop", "step": 1, **(meta or {})}, {})


async def newest(saver: BaseCheckpointSaver[str], thread: str = "t", ns: str = "") -> Any:
    found = await saver.aget_tuple(config(thread, ns))
    return None if found is None else found.checkpoint["channel_values"]


def count_of(saver: BaseCheckpointSaver[str]) -> int:
    assert isinstance(saver, LeasedSaver)
    assert saver.claim is not None
    return saver.claim.n


async def owned(checkpoints: Checkpoints, thread: str) -> Claim:
    saver = await checkpoints.claim(BRAND, thread, Unleased())
    assert isinstance(saver, LeasedSaver)
    return await saver.claim_for(thread)


async def test_the_conformance_suite_of_langgraph_detects_and_passes_all_eight_capabilities(
    checkpoints: Checkpoints,
) -> None:
    class Auto(LeasedSaver):
        """Claims a thread at its first write, as the suite knows of no claims."""

        claims: ClassVar[dict[str, Claim]] = {}

        async def claim_for(self, thread_id: str) -> Claim:
            if thread_id not in self.claims:
                self.claims[thread_id] = await (await checkpoints.claim(BRAND, thread_id, Unleased())).claim_for(
                    thread_id
                )
            return self.claims[thread_id]

    @checkpointer_test(name="ours")
    async def ours() -> AsyncIterator[BaseCheckpointSaver[str]]:
        yield Auto(checkpoints, BRAND)  # type: ignore[arg-type]

    report = await validate(ours)
    failures = [failure for result in report.results.values() for failure in result.failures or ()]
    assert failures == []
    assert len(report.results) == 8
    assert all(result.detected and result.passed for result in report.results.values())
    assert sum(result.tests_passed for result in report.results.values()) >= 81
    assert report.conformance_level() == "FULL"


async def test_a_claim_sees_every_acknowledged_checkpoint_and_its_writes(checkpoints: Checkpoints) -> None:
    first = await checkpoints.claim(BRAND, "t", Unleased())
    stored = await put(first, value=1)
    await first.aput_writes(stored, [("a", 1), ("b", {"x": [2]})], "task", task_path="~p")
    second = await checkpoints.claim(BRAND, "t", Unleased())
    found = await second.aget_tuple(config("t"))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"value": 1}
    assert found.pending_writes == [("task", "a", 1), ("task", "b", {"x": [2]})]


async def test_after_a_claim_no_earlier_one_writes_and_its_worker_is_told_once(checkpoints: Checkpoints) -> None:
    lost: list[str] = []
    first = await checkpoints.claim(BRAND, "t", Unleased(), on_lost=lambda: lost.append("first"))
    kept = await put(first, value="kept")
    second = await checkpoints.claim(BRAND, "t", Unleased())
    for write in (
        lambda: put(first, value="late"),
        lambda: first.aput_writes(kept, [("late", 1)], "task"),
        lambda: first.adelete_thread("t"),
        lambda: first.aprune(["t"]),
        lambda: first.acopy_thread("t", "t"),
    ):
        with pytest.raises(LeaseLost):
            await write()
    assert lost == ["first"]
    assert await newest(second) == {"value": "kept"}
    found = await second.aget_tuple(config("t"))
    assert found is not None
    assert found.pending_writes == []
    await put(second, value="next")
    assert await newest(checkpoints.reader(BRAND)) == {"value": "next"}


async def test_a_worker_with_many_writes_under_way_is_told_once(checkpoints: Checkpoints) -> None:
    lost: list[int] = []
    saver = await checkpoints.claim(BRAND, "t", Unleased(), on_lost=lambda: lost.append(1))
    await checkpoints.claim(BRAND, "t", Unleased())
    refused = await asyncio.gather(*(put(saver, value=n) for n in range(10)), return_exceptions=True)
    assert all(isinstance(error, LeaseLost) for error in refused)
    assert lost == [1]


async def test_each_kind_of_late_write_is_refused_by_the_store_itself(checkpoints: Checkpoints) -> None:
    """A saver that does not know yet that it lost: every write must ask the store, not the saver's memory."""

    async def late() -> tuple[BaseCheckpointSaver[str], Any]:
        saver = await checkpoints.claim(BRAND, "t", Unleased())
        kept = await put(saver, value="kept", meta={"run_id": "r"})
        await checkpoints.claim(BRAND, "t", Unleased())
        return saver, kept

    saver, _ = await late()
    with pytest.raises(LeaseLost):
        await put(saver, value="late")
    saver, kept = await late()
    with pytest.raises(LeaseLost):
        await saver.aput_writes(kept, [("late", 1)], "task")
    for name, arguments in (
        ("adelete_thread", ["t"]),
        ("aprune", [["t"]]),
        ("adelete_for_runs", [["r"]]),
        ("acopy_thread", ["s", "t"]),
    ):
        saver, _ = await late()
        with pytest.raises(LeaseLost):
            await getattr(saver, name)(*arguments)
    assert await newest(checkpoints.reader(BRAND)) == {"value": "kept"}


async def test_two_claims_under_one_lease_are_two_owners(checkpoints: Checkpoints) -> None:
    lease = SwitchableLease()
    first = await checkpoints.claim(BRAND, "t", lease)
    await checkpoints.claim(BRAND, "t", lease)
    assert lease.extensions == 2
    with pytest.raises(LeaseLost):
        await put(first, value=1)


async def test_a_worker_whose_lease_is_gone_neither_claims_nor_writes(checkpoints: Checkpoints) -> None:
    lease, lost = SwitchableLease(), []
    saver = await checkpoints.claim(BRAND, "t", lease, on_lost=lambda: lost.append(1))
    stored = await put(saver, value=1)
    lease.held = False
    with pytest.raises(LeaseLost):
        await put(saver, value=2)
    with pytest.raises(LeaseLost):
        await saver.aput_writes(stored, [("a", 1)], "task")
    with pytest.raises(LeaseLost):
        await checkpoints.claim(BRAND, "t", lease)
    assert lost == [1]
    assert await newest(checkpoints.reader(BRAND)) == {"value": 1}
    # The claim that failed to extend displaced nobody: its attempt left the count alone.
    other = await checkpoints.claim(BRAND, "t", Unleased())
    assert count_of(other) == 2


async def test_a_claim_that_was_overtaken_while_extending_is_a_conflict(checkpoints: Checkpoints) -> None:
    class Slow(Unleased):
        async def extend(self) -> None:
            self.winner = await checkpoints.claim(BRAND, "t", Unleased())

    slow = Slow()
    with pytest.raises(Conflict, match="look again"):
        await checkpoints.claim(BRAND, "t", slow)
    await put(slow.winner, value="winner")
    assert await newest(checkpoints.reader(BRAND)) == {"value": "winner"}


async def test_of_many_claims_at_once_exactly_one_may_write(checkpoints: Checkpoints) -> None:
    claims = await asyncio.gather(
        *(checkpoints.claim(BRAND, "t", Unleased()) for _ in range(20)), return_exceptions=True
    )
    savers = [claim for claim in claims if isinstance(claim, BaseCheckpointSaver)]
    assert all(isinstance(claim, BaseCheckpointSaver | Conflict) for claim in claims)
    outcomes = await asyncio.gather(*(put(saver, value=1) for saver in savers), return_exceptions=True)
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1


async def test_a_copy_of_a_saver_shares_its_claim(checkpoints: Checkpoints) -> None:
    lost: list[int] = []
    saver = await checkpoints.claim(BRAND, "t", Unleased(), on_lost=lambda: lost.append(1))
    clone = copy.copy(saver)
    await put(clone, value=1)
    assert await newest(saver) == {"value": 1}
    await checkpoints.claim(BRAND, "t", Unleased())
    for each in (clone, saver):
        with pytest.raises(LeaseLost):
            await put(each, value=2)
    assert lost == [1]


async def test_progress_is_reported_after_each_acknowledged_checkpoint_and_finished_step_only(
    checkpoints: Checkpoints,
) -> None:
    progress: list[str] = []
    now = ["one"]
    saver = await checkpoints.claim(BRAND, "t", Unleased(), on_progress=lambda: progress.append(now[0]))
    stored = await put(saver, value=1)
    for now[0], writes in (("step", [("a", 1)]), ("error", [("__error__", "x")]), ("asks", [("__interrupt__", "x")])):
        await saver.aput_writes(stored, writes, now[0])
    now[0] = "two"
    await put(saver, value=2)
    await checkpoints.claim(BRAND, "t", Unleased())
    for write in (put(saver, value=3), saver.aput_writes(stored, [("a", 1)], "late")):
        with pytest.raises(LeaseLost):
            await write
    assert progress == ["one", "step", "two"]


async def test_a_reader_and_a_saver_of_another_thread_write_nothing(checkpoints: Checkpoints) -> None:
    saver = await checkpoints.claim(BRAND, "t", Unleased())
    stored = await put(saver, value=1)
    reader = checkpoints.reader(BRAND)
    for each, thread in ((reader, "t"), (saver, "u")):
        with pytest.raises(LeaseLost):
            await put(each, thread, value=2)
        with pytest.raises(LeaseLost):
            await each.adelete_thread(thread)
    with pytest.raises(LeaseLost):
        await reader.aput_writes(stored, [("a", 1)], "task")
    assert await newest(reader) == {"value": 1}
    assert await newest(reader, "u") is None


async def test_a_thread_of_one_brand_is_invisible_and_unharmed_by_another(checkpoints: Checkpoints) -> None:
    ours = await checkpoints.claim(BRAND, "t", Unleased())
    await put(ours, value="ours", meta={"run_id": "r"})
    reader = checkpoints.reader("other")
    assert await reader.aget_tuple(config("t")) is None
    assert [item async for item in reader.alist(None)] == []
    theirs = await checkpoints.claim("other", "t", Unleased())
    await put(theirs, value="theirs", meta={"run_id": "r"})
    await theirs.adelete_for_runs(["r"])
    await theirs.acopy_thread("t", "t")
    await theirs.adelete_thread("t")
    await checkpoints.prune("other", "t")
    await checkpoints.delete("other", "t")
    assert await checkpoints.size_bytes("other", ["t"]) == 0
    assert await newest(ours) == {"value": "ours"}
    await put(ours, value="still mine")
    with pytest.raises(BadInput):
        checkpoints.reader("Not A Brand")
    with pytest.raises(BadInput):
        await checkpoints.claim("Not A Brand", "t", Unleased())


async def test_pruning_keeps_the_last_checkpoint_of_each_namespace_and_the_owner_count(
    checkpoints: Checkpoints,
) -> None:
    saver = await checkpoints.claim(BRAND, "t", Unleased())
    for n in range(4):
        stored = await put(saver, value=n)
        await saver.aput_writes(stored, [("w", n)], "task")
        await put(saver, ns="child:1", value=10 + n)
    before = await checkpoints.size_bytes(BRAND, ["t"])
    await checkpoints.prune(BRAND, "t")
    assert 0 < await checkpoints.size_bytes(BRAND, ["t"]) < before
    reader = checkpoints.reader(BRAND)
    left = [item async for item in reader.alist(config("t"))]
    assert [item.checkpoint["channel_values"] for item in left] == [{"value": 3}]
    assert left[0].pending_writes == [("task", "w", 3)]
    assert await newest(reader, ns="child:1") == {"value": 13}
    again = await checkpoints.claim(BRAND, "t", Unleased())
    assert count_of(again) == 2


async def test_deleting_removes_everything_but_the_owner_count_and_no_late_write_brings_it_back(
    checkpoints: Checkpoints,
) -> None:
    saver = await checkpoints.claim(BRAND, "t", Unleased())
    stored = await put(saver, value=1)
    await saver.aput_writes(stored, [("w", 1)], "task")
    await checkpoints.delete(BRAND, "t")
    assert await checkpoints.size_bytes(BRAND, ["t"]) == 0
    with pytest.raises(LeaseLost):
        await put(saver, value=2)
    with pytest.raises(LeaseLost):
        await saver.aput_writes(stored, [("w", 2)], "task")
    assert [item async for item in checkpoints.reader(BRAND).alist(None)] == []
    again = await checkpoints.claim(BRAND, "t", Unleased())
    assert count_of(again) == 2


async def test_size_is_the_bytes_of_checkpoints_and_writes(checkpoints: Checkpoints) -> None:
    saver = await checkpoints.claim(BRAND, "t", Unleased())
    stored = await put(saver, value="x" * 10_000)
    one = await checkpoints.size_bytes(BRAND, ["t"])
    assert 10_000 < one < 12_000
    await saver.aput_writes(stored, [("w", b"y" * 5_000)], "task")
    assert await checkpoints.size_bytes(BRAND, ["t", "unknown"]) == one + 5_000
    assert await checkpoints.size_bytes(BRAND, []) == 0


async def test_a_long_history_is_listed_page_by_page_while_the_thread_is_being_read_and_written(
    checkpoints: Checkpoints,
) -> None:
    saver = await checkpoints.claim(BRAND, "t", Unleased())
    await asyncio.gather(*(put(saver, value=n) for n in range(230)))
    seen = []
    async for item in saver.alist(config("t")):
        seen.append(item.config["configurable"]["checkpoint_id"])
        if len(seen) % 50 == 0:
            assert await saver.aget_tuple(item.config) is not None
            await put(saver, value="new")
    assert len(seen) == 230
    assert seen == sorted(set(seen), reverse=True)
    assert len([item async for item in saver.alist(config("t"), limit=150)]) == 150


async def test_metadata_is_filtered_by_any_json_value_and_a_quote_is_no_way_out(checkpoints: Checkpoints) -> None:
    saver = await checkpoints.claim(BRAND, "t", Unleased())
    await put(saver, value=1, meta={"ok": True, "tags": ["a"], "deep.er": {"x": 1}})
    await put(saver, value=2, meta={"ok": False})

    async def hits(**wanted: Any) -> int:
        return len([item async for item in saver.alist(config("t"), filter=wanted)])

    assert await hits(ok=True) == 1
    assert await hits(tags=["a"]) == 1
    assert await hits(tags=["b"]) == 0
    assert await hits(**{"deep.er": {"x": 1}}) == 1
    assert await hits(missing=None) == 2
    assert await hits(ok="' OR 1=1 --") == 0
    with pytest.raises(BadInput):
        await hits(**{'x") OR (1=1': 1})


async def test_state_that_cannot_be_stored_is_refused_and_nothing_is_stored(checkpoints: Checkpoints) -> None:
    saver = await checkpoints.claim(BRAND, "t", Unleased())
    with pytest.raises(BadInput, match="graph state"):
        await put(saver, value=object())
    with pytest.raises(BadInput, match="metadata"):
        await put(saver, value=1, meta={"bad": object()})
    stored = await put(saver, value=1)
    with pytest.raises(BadInput, match="graph state"):
        await saver.aput_writes(stored, [("fine", 1), ("bad", object())], "task")
    found = await saver.aget_tuple(config("t"))
    assert found is not None
    assert found.pending_writes == []


async def test_a_graph_with_a_delta_channel_is_refused(checkpoints: Checkpoints) -> None:
    saver = await checkpoints.claim(BRAND, "t", Unleased())
    with pytest.raises(Unsupported, match="DeltaChannel"):
        await put(saver, value=1, meta={"counters_since_delta_snapshot": {"value": (1, 1)}})
    assert await newest(saver) is None


async def test_a_real_graph_is_interrupted_taken_over_and_finished_under_another_claim(
    checkpoints: Checkpoints,
) -> None:
    class State(TypedDict):
        done: Annotated[list[str], operator.add]

    async def before(state: State) -> dict[str, Any]:
        ran.append("before")
        return {"done": ["before"]}

    async def gate(state: State) -> dict[str, Any]:
        return {"done": [interrupt({"ask": "ok?"})]}

    ran: list[str] = []
    builder = StateGraph(State)
    builder.add_node("before", before)
    builder.add_node("gate", gate)
    builder.add_edge(START, "before")
    builder.add_edge("before", "gate")
    graph = builder.compile()

    def bound(saver: BaseCheckpointSaver[str]) -> Any:
        return graph.copy(update={"checkpointer": saver})

    first = bound(await checkpoints.claim(BRAND, "t", Unleased()))
    await first.ainvoke({"done": []}, config("t"), durability="sync")
    second = bound(await checkpoints.claim(BRAND, "t", Unleased()))
    state = await second.aget_state(config("t"))
    assert [item.value for item in state.interrupts] == [{"ask": "ok?"}]
    with pytest.raises(LeaseLost):
        await first.ainvoke(Command(resume="stale"), config("t"), durability="sync")
    answer = Command(resume={state.interrupts[0].id: "yes"})
    assert await second.ainvoke(answer, config("t"), durability="sync") == {"done": ["before", "yes"]}
    assert ran == ["before"]
    finished = await bound(checkpoints.reader(BRAND)).aget_state(config("t"))
    assert (finished.next, finished.tasks, finished.values) == ((), (), {"done": ["before", "yes"]})
