"""Write the parts of docs/ that the code knows best: the settings, the pictures of the graphs, the command line's help.

`make docs` runs it; tests/test_docs.py fails when a page no longer says what the code says.
"""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[1]


def configuration() -> str:
    """The table of every setting, from config/settings.py."""
    from config.settings import Settings, variable

    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        meaning = " ".join((field.description or "").split()) + _bounds(field)
        rows.append(f"| `{variable(name)}` | {_shown(field.default)} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr) or value == "":
        return "–"
    if isinstance(value, bool):
        return f"`{int(value)}`"
    if isinstance(value, timedelta):
        return f"`{value.total_seconds():.0f}`"
    return f"`{value:.2f}`" if isinstance(value, float) else f"`{value}`"


def _bounds(field: FieldInfo) -> str:
    lowest = next((item.ge for item in field.metadata if hasattr(item, "ge")), None)
    highest = next((item.le for item in field.metadata if hasattr(item, "le")), None)
    return "" if lowest is None or highest is None else f" From {lowest:,} to {highest:,}."


def cycle_graph() -> str:
    """The cycle graph as mermaid, drawn by the compiled graph itself."""
    from graphs.cycle import build_cycle_graph

    return _mermaid(build_cycle_graph(node_timeout=timedelta(seconds=1)))


def piece_graph() -> str:
    """The piece graph as mermaid, drawn by the compiled graph itself."""
    from graphs.piece import build_piece_graph

    return _mermaid(build_piece_graph(node_timeout=timedelta(seconds=1)))


def _mermaid(graph: Any) -> str:
    drawn = graph.compile().get_graph().draw_mermaid(with_styles=False)
    return f"```mermaid\n{drawn.strip()}\n```"


def agents() -> str:
    """The four roles and the graph steps that each one's calls stand in, read from the source of the graphs."""
    from config.vocabulary import AgentType

    source = {name: (ROOT / "graphs" / f"{name}.py").read_text(encoding="utf-8") for name in ("cycle", "piece")}
    lines = ["```mermaid", "graph LR"]
    for role in AgentType:
        lines.append(f'    {role}(["{role}"])')
    seen: list[str] = []
    for graph, text in source.items():
        for step in re.finditer(r"^async def (\w+)\(.*?(?=^(?:async )?def |\Z)", text, re.DOTALL | re.MULTILINE):
            for role in AgentType:
                if not step[1].startswith("_") and re.search(rf"\b{role}\.\w+\(", step[0]):
                    seen.append(f'    {role} --> {graph}_{step[1]}["{graph}: {step[1]}"]')
    return "\n".join([*lines, *seen, "```"])


def commands() -> str:
    """Every verb with its one line of help, from the parser."""
    from runtime.commands.common import build_parser

    parser = build_parser()
    verbs = next(action for action in parser._actions if action.dest == "verb")
    rows = ["| verb | does | parts |", "|---|---|---|"]
    for choice in verbs._choices_actions:  # type: ignore[attr-defined]
        verb = verbs.choices[choice.dest]  # type: ignore[index]
        parts = next((list(action.choices) for action in verb._actions if isinstance(action, type(verbs))), [])
        rows.append(f"| `{choice.dest}` | {choice.help} | {', '.join(parts)} |")
    return "\n".join(rows)


GENERATED = {
    ("docs/configuration.md", "settings"): configuration,
    ("docs/configuration.md", "commands"): commands,
    ("docs/architecture.md", "cycle"): cycle_graph,
    ("docs/architecture.md", "piece"): piece_graph,
    ("README.md", "agents"): agents,
}
"""Each (page, name of its marked part) and the function that writes it."""


def render(page: str, text: str) -> str:
    """`text` of `page` with every generated part written anew. Raises ValueError when a marker is missing."""
    for (where, name), write in GENERATED.items():
        if where != page:
            continue
        start, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
            raise ValueError(f"{page}: markers {start} and {end} must stand there once each, in this order")
        head, _, rest = text.partition(start)
        text = f"{head}{start}\n{write()}\n{end}{rest.partition(end)[2]}"
    return text


def main() -> int:
    """Write every page; says which changed."""
    sys.path.insert(0, str(ROOT))
    for page in dict.fromkeys(where for where, _ in GENERATED):
        path = ROOT / page
        old = path.read_text(encoding="utf-8")
        new = render(page, old)
        if new != old:
            path.write_text(new, encoding="utf-8")
            sys.stdout.write(f"wrote {page}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
