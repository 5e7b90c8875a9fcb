"""What every checkpoint engine promises. No test here names an engine; the fixture does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate

from config.clock import ManualClock
from config.errors import LeaseLost
from memory.checkpoints.protocol import Checkpoints, open_checkpoints
from memory.checkpoints.saver import LeasedSaver
from memory.checkpoints.stored import Claim
from memory.lease import Unleased

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


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:///{tmp_path / 'checkpoints.db'}"


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
