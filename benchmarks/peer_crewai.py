"""The benchmark week on CrewAI: run by `week.py` with an interpreter that has it (COPYDESK_TEST_CREWAI_PYTHON), never by itself.

    PYTHON benchmarks/peer_crewai.py [--pieces 35]

One research crew, then a crew a piece, all at the same time: a task that writes and three that check what it wrote, these
three beside one another. The model answers at once, without a network; nothing is made durable, telemetry
and tracing are off. Prints one line of JSON: wall and CPU in milliseconds, and how often the model was asked.
"""

from __future__ import annotations

import os

os.environ |= {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
    "CREWAI_TESTING": "true",
}

import argparse
import asyncio
import importlib.metadata
import json
import sys
import time
from importlib import import_module
from typing import Any

try:
    crewai: Any = import_module("crewai")
    BaseLLM: Any = import_module("crewai.llms.base_llm").BaseLLM
except ImportError:
    crewai = None

CHECKS = ("claims", "voice", "legal")


def crews(pieces: int, model: Any) -> tuple[Any, list[Any]]:
    """The research crew, and a crew for each piece."""

    def agent(role: str) -> Any:
        return crewai.Agent(role=role, goal=f"{role} the week", backstory="none", llm=model, verbose=False, max_iter=2)

    def crew(agents: list[Any], tasks: list[Any]) -> Any:
        return crewai.Crew(agents=agents, tasks=tasks, process=crewai.Process.sequential, verbose=False)

    def piece(n: int) -> Any:
        # An agent does one thing at a time: three checks beside one another need three.
        writer, checkers = agent("write"), [agent("check") for _ in CHECKS]
        draft = crewai.Task(description=f"Write piece {n}.", expected_output="a post", agent=writer)
        checks = [
            crewai.Task(
                description=f"Check piece {n}: {kind}.",
                expected_output="a verdict",
                agent=checker,
                context=[draft],
                async_execution=kind != CHECKS[-1],  # CrewAI wants the last one to be waited for
            )
            for kind, checker in zip(CHECKS, checkers, strict=True)
        ]
        return crew([writer, *checkers], [draft, *checks])

    researcher = agent("research")
    task = crewai.Task(description="Research the week.", expected_output="a brief", agent=researcher)
    return crew([researcher], [task]), [piece(n) for n in range(pieces)]


async def week(pieces: int) -> dict[str, Any]:
    """Run it once; what it took."""
    asked = 0

    class Ready(BaseLLM):
        """A model with its answer ready."""

        def call(self, *args: Any, **kwargs: Any) -> str:
            nonlocal asked
            asked += 1
            return "Thought: I now can give a great answer\nFinal Answer: done"

        async def acall(self, *args: Any, **kwargs: Any) -> str:
            return self.call()

    research, written = crews(pieces, Ready(model="ready"))
    wall, cpu = time.perf_counter(), time.process_time()
    await research.kickoff_async()
    await asyncio.gather(*(crew.kickoff_async() for crew in written))
    return {
        "crewai": importlib.metadata.version("crewai"),
        "wall_ms": (time.perf_counter() - wall) * 1000,
        "cpu_ms": (time.process_time() - cpu) * 1000,
        "calls": asked,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pieces", type=int, default=35)
    pieces = parser.parse_args().pieces
    if crewai is None:
        print("CrewAI is not installed here: `week.py` runs this with COPYDESK_TEST_CREWAI_PYTHON", file=sys.stderr)
        return
    asyncio.run(week(2))  # imports and caches
    print(json.dumps(asyncio.run(week(pieces))))


if __name__ == "__main__":
    main()
