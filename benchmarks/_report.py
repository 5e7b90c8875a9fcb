"""How every benchmark prints what it found, and what several of them set up.

A benchmark informs: it ends with exit code 0 also where a target is missed.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from config.brand_profile import shipped_brands
from config.calendar import DAYS

BRAND = "acme"
CELLS = (
    ("instagram", "quote"),
    ("twitter", "quote"),
    ("facebook", "quote"),
    ("tiktok", "carousel"),
    ("youtube", "reel"),
)


def result(what: str, ours: str, other: str, ratio: float, target: float, *, most: bool = True) -> None:
    """One line: what, ours, the peer or floor, the ratio, and whether it is at most (else at least) the target."""
    met = ratio <= target if most else ratio >= target
    sign = "<=" if most else ">="
    print(
        f"  {what:48} {ours:>16}  {other:>34}  {ratio:6.2f} {sign} {target:g}: {'met' if met else 'MISSED'}", flush=True
    )


def write_week_brand(data_dir: Path, *, a_day: int) -> None:
    """The shipped brand under another name, with `a_day` cells on each of the seven days; no human is asked."""
    folder = data_dir / "brands" / BRAND
    shutil.copytree(shipped_brands() / "eesystem", folder)
    profile = (folder / "brand.toml").read_text().replace('name = "eesystem"', f'name = "{BRAND}"')
    profile = profile.replace('approval = "all"', 'approval = "flagged"').replace(
        "rules_only_ok = false", "rules_only_ok = true"
    )
    profile = re.sub(r"(?m)^\[\[grid\]\]\n(?:\w+ = .*\n?)+\n?", "", profile)
    for day in DAYS:
        for n in range(a_day):
            platform, kind = CELLS[n % len(CELLS)]
            profile += (
                f'\n[[grid]]\nday = "{day}"\nplatform = "{platform}"\ncontent_type = "{kind}"\n'
                f'time = "{8 + n // len(CELLS) * 3:02}:{n % len(CELLS)}0"\n'
            )
    (folder / "brand.toml").write_text(profile)


class SlowModel:
    """Makes every answer of the offline model take `seconds`, and remembers by task when each was asked for and given."""

    def __init__(self, seconds: float) -> None:
        import structlog

        from agents.offline import OfflineChatModel

        self.calls: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._waiting = self.most_waiting = 0
        """Answers that are being waited for, and the most that were at once."""
        quick: Any = OfflineChatModel._agenerate

        async def slow(model: Any, *args: Any, **kwargs: Any) -> Any:
            loop = asyncio.get_running_loop()
            began = loop.time()
            self._waiting += 1
            self.most_waiting = max(self.most_waiting, self._waiting)
            await asyncio.sleep(seconds)
            self._waiting -= 1
            answer = await quick(model, *args, **kwargs)
            self.calls[structlog.contextvars.get_contextvars().get("task_id", "")].append((began, loop.time()))
            return answer

        self._put_back = lambda: setattr(OfflineChatModel, "_agenerate", quick)
        OfflineChatModel._agenerate = slow  # type: ignore[method-assign,assignment]

    def stop(self) -> None:
        """Quick answers again."""
        self._put_back()

    @property
    def count(self) -> int:
        """How often it was asked."""
        return sum(map(len, self.calls.values()))

    def longest_chain(self, task_id: str) -> int:
        """How many answers of one task followed one another."""
        chain, free_at = 0, float("-inf")
        for began, ended in sorted(self.calls.get(task_id, []), key=lambda call: call[1]):
            if began >= free_at:
                chain, free_at = chain + 1, ended
        return chain


async def run_product_week(runtime: Any, *, concurrency: int) -> Any:
    """Start the week of BRAND and work on it until its session has settled; the session's row."""
    from config.vocabulary import SessionStatus
    from graphs.week import next_cycle_key
    from memory.rows.sessions import Session
    from runtime.start import start_cycle
    from runtime.worker import Worker

    week = next_cycle_key(runtime.clock.now(), runtime.profile(BRAND).zone)
    session = await start_cycle(runtime, BRAND, theme="quiet", cycle_key=week)
    records = runtime.records.for_brand(BRAND)

    async def settled() -> bool:
        return bool((await records.get(Session, id=session.id)).status is not SessionStatus.RUNNING)

    await Worker(runtime, concurrency=concurrency, upkeep=False).run(until=settled)
    return await records.get(Session, id=session.id)
