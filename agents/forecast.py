"""What a week will cost, before anything is spent: calls by kind, and US dollars expected and at most.

Expected rests on what the brand's last calls of the same model and agent used, where there are any; else on typical sizes. At
most is every call at its worst: every revision of every piece, every look-up of research, the longest answer each time, without
retries. The session's envelope ends it at its limit, whatever this says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from agents.spending import Tokens, day_of, price_of
from agents.tool_loop import ROUNDS
from config.clock import Clock
from config.vocabulary import CHECK_TYPES, AgentType
from memory.records.protocol import Records
from memory.rows.sessions import Usage

LOOK_BACK = timedelta(days=28)
_LONGEST: Mapping[AgentType, Tokens] = {
    AgentType.COORDINATION: Tokens(12_000, 2_000),
    AgentType.RESEARCH: Tokens(24_000, 4_000),
    AgentType.CREATION: Tokens(12_000, 3_000),
    AgentType.COMPLIANCE: Tokens(8_000, 1_500),
}
"""The longest question that our own limits let through (tokens), and the longest answer that is asked for."""
_TYPICAL: Mapping[AgentType, Tokens] = {
    AgentType.COORDINATION: Tokens(3_000, 700),
    AgentType.RESEARCH: Tokens(7_000, 1_600),
    AgentType.CREATION: Tokens(3_500, 700),
    AgentType.COMPLIANCE: Tokens(1_800, 250),
}


@dataclass(frozen=True)
class Line:
    """The calls of one agent."""

    agent: str
    model: str
    calls: int
    """Without a single revision."""
    most_calls: int
    expected_usd: float
    at_most_usd: float
    basis: str
    """`N calls of the last 28 days`, or `typical sizes`."""


async def forecast(
    records: Records,
    clock: Clock,
    *,
    models: Mapping[AgentType, str],
    pieces: int,
    revisions: int,
    days: int,
    derived: bool,
) -> list[Line]:
    """A line for each agent that will ask its model for a week of `pieces`, each rewritten at most `revisions` times, on `days`;
    `derived`: the day themes too.

    The offline model costs nothing, and compliance does not ask it. Reads usage rows of the last 28 days; writes nothing.
    """
    offline = all(name.startswith("offline") for name in models.values())
    used = {} if offline else await _used(records, clock)
    checks = 0 if models[AgentType.COMPLIANCE].startswith("offline") else len([*CHECK_TYPES])
    wanted = {
        AgentType.COORDINATION: (int(derived), int(derived)),
        AgentType.RESEARCH: (days, days * (1 + ROUNDS)),
        AgentType.CREATION: (pieces, pieces * (1 + revisions)),
        AgentType.COMPLIANCE: (pieces * checks, pieces * checks * (1 + revisions)),
    }
    lines = []
    for agent, (calls, most) in wanted.items():
        if not most:
            continue
        price, known = price_of(models[agent]), used.get((str(agent), models[agent]), [])
        mean = _mean(known) if known else _TYPICAL[agent]
        lines.append(
            Line(
                agent=str(agent),
                model=models[agent],
                calls=calls,
                most_calls=most,
                expected_usd=round(calls * price.cost(mean), 6),
                at_most_usd=round(most * price.cost(_LONGEST[agent]), 6),
                basis=f"{len(known)} calls of the last {LOOK_BACK.days} days" if known else "typical sizes",
            )
        )
    return lines


async def _used(records: Records, clock: Clock) -> dict[tuple[str, str], list[Usage]]:
    """(agent, model) -> its settled calls."""
    used: dict[tuple[str, str], list[Usage]] = {}
    for n in range(LOOK_BACK.days + 1):
        for row in await records.list_rows(Usage, day=day_of(clock.now() - timedelta(days=n))):
            if row.status == "settled" and row.output_tokens:
                used.setdefault((row.agent_type, row.model), []).append(row)
    return used


def _mean(rows: Sequence[Usage]) -> Tokens:
    return Tokens(
        sum(row.input_tokens for row in rows) // len(rows), sum(row.output_tokens for row in rows) // len(rows)
    )
