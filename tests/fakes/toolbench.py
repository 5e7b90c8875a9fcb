"""What tests of tools are built from: the rows of one brand, and a toolbox of the tools that the test wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from config.brand_profile import BrandProfile, Claim, Guideline
from config.clock import ManualClock
from config.vocabulary import AgentType
from memory.embedding.protocol import Embedder, open_embedder
from memory.records.protocol import Records, open_records
from memory.rows.sessions import Event
from tools.calls import Toolbox
from tools.context import CallLimits
from tools.plugin_api import ToolSpec, tool
from tools.registry import ToolSet, shipped_tools

PROFILE = BrandProfile(
    name="acme",
    title="Acme",
    guidelines=(
        Guideline(type="voice", title="Plain words", restrictions=("game-changer",)),
        Guideline(type="visual", title="Daylight", requirements=("soft light",), platforms=("instagram",)),
    ),
    claims=(
        Claim(text="Our rooms are quiet.", status="approved"),
        Claim(text="Light cures insomnia.", status="blocked", markets=("us", "eu")),
    ),
)
QUICK = CallLimits(grace_s=0.01)
SECRET = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass
class Bench:
    """One brand's rows, and toolboxes on them."""

    records: Records
    embedder: Embedder
    clock: ManualClock

    def box(self, *specs: ToolSpec, agent: str = "research", **options: Any) -> Toolbox:
        """A step of `agent` that knows `specs`, or what comes with the product."""
        return Toolbox(
            ToolSet().with_tools(*specs) if specs else shipped_tools(),
            agent=AgentType(agent),
            records=self.records,
            embedder=self.embedder,
            profile=PROFILE,
            clock=self.clock,
            **{"session_id": "s1", "limits": QUICK, **options},
        )

    async def events(self) -> list[Event]:
        """What happened on the clock's day."""
        return await self.records.list_rows(Event, day=self.clock.now().date().isoformat())


@asynccontextmanager
async def open_bench(folder: Path, *, engine: str = "sqlite") -> AsyncIterator[Bench]:
    """Rows in `folder`."""
    clock = ManualClock()
    async with open_records(f"{engine}:///{folder}", clock=clock) as store:
        yield Bench(store.for_brand("acme"), open_embedder("hash-v1"), clock)


# Tools, and a value, that several tests need


@tool(agents={"research"}, timeout_s=5)
async def weather(
    place: str, days: int = 3, unit: Literal["c", "f"] = "c", near: list[str] | None = None
) -> dict[str, Any]:
    """Say what the weather will be.

    Somewhere on earth.

    Args:
        place: A town, and its country
            where there are several.
        days: How many days, 1 to 10.
        unit: Celsius or Fahrenheit.
        near: Other towns.

    Returns:
        A day each.
    """
    return {"place": place, "days": days, "unit": unit, "near": near}


def counting(log: list[str], effect: Any = "read", **options: Any) -> ToolSpec:
    @tool(agents={"research", "coordination", "creation"}, effect=effect, **options)
    async def count(word: str) -> str:
        """Count.

        Args:
            word: What to write down.
        """
        log.append(word)
        return word

    return count


def cyclic() -> list[Any]:
    inside: list[Any] = []
    inside.append({"again": inside})
    return inside


async def add(log: list[str], word: str) -> str:
    """Write `word` down, and return it."""
    log.append(word)
    return word
