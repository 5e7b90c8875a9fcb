"""Write the parts of docs/ that the code knows best: the settings, the pictures of the graphs, the command line's help.

`make docs` runs it; tests/test_docs.py fails when a page no longer says what the code says.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from memory.rows.checks import ComplianceCheck
    from memory.rows.content import Piece, Post, Revision

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
        parts = next((list(action.choices or ()) for action in verb._actions if isinstance(action, type(verbs))), [])
        rows.append(f"| `{choice.dest}` | {choice.help} | {', '.join(parts)} |")
    return "\n".join(rows)


SAMPLE_THEME = "Moving more"


def sample_week() -> str:
    """A week of the shipped brand, made now in a folder of its own, with public pages added to its documents: grid, texts,
    sources and verdicts. Nothing in it depends on when or where it is made."""
    with tempfile.TemporaryDirectory() as folder:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("COPYDESK_", "OPENAI_"))}
        ahead = (datetime.now(UTC) + timedelta(days=21)).isocalendar()
        for argv in (
            ("knowledge", "add", str(ROOT / "tests" / "data" / "knowledge")),
            ("cycle", "run", "--theme", SAMPLE_THEME, "--week", f"{ahead.year}-W{ahead.week:02d}"),
        ):
            command = [sys.executable, str(ROOT / "run_agents.py"), "--data-dir", f"{folder}/data", *argv]
            done = subprocess.run(command, check=False, capture_output=True, env=clean, cwd=ROOT)
            if done.returncode not in (0, 3):  # 3: a human is waited for
                raise RuntimeError(f"{' '.join(argv)}: {done.stderr.decode(errors='replace')[-300:]}")
        return asyncio.run(_read_week(Path(folder) / "data"))


async def _read_week(data_dir: Path) -> str:
    from agents.extract import WEEKDAYS
    from config.clock import SystemClock
    from memory.records.protocol import open_records
    from memory.rows.brand import BrandKnowledge
    from memory.rows.checks import ComplianceCheck
    from memory.rows.content import Piece, Revision

    async with open_records(f"sqlite:///{data_dir}", clock=SystemClock()) as store:
        records = store.for_brand("eesystem")
        pieces = sorted(
            await records.find_by(Piece, brand="eesystem"), key=lambda piece: piece.platform_specs.get("local", "")
        )
        columns = list(dict.fromkeys(piece.platform for piece in pieces))
        grid = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for day in range(1, 8):
            of_day = [piece for piece in pieces if piece.cycle_day == day]
            cells = [", ".join(p.content_type for p in of_day if p.platform == column) for column in columns]
            grid.append(f"| **{WEEKDAYS[day - 1]}**: {of_day[0].theme} | {' | '.join(cells)} |")
        texts: list[str] = []
        for piece in pieces:
            revisions = await records.list_rows(Revision, content_id=piece.id)
            checks = await records.list_rows(ComplianceCheck, content_id=piece.id)
            last = next(row for row in revisions if row.content_hash == piece.content_hash)
            ids = [{"id": key} for key in last.sources]
            named = {row.source_id: row.title for row in await records.find_many(BrandKnowledge, ids)}
            at = piece.platform_specs["local"][-5:]
            texts += [
                f"### {WEEKDAYS[piece.cycle_day - 1]} {at}, {piece.platform} {piece.content_type}",
                "",
                *_quoted(last.post),
                "",
                f"Rests on: {', '.join(f'{title} (`{name}`)' for name, title in sorted(named.items())) or 'nothing'}.",
                f"{_verdict(piece, last, checks)}",
                "",
            ]
    return "\n".join([*grid, "", *texts]).rstrip()


def _quoted(post: Post) -> list[str]:
    """The texts of a post as a quotation, a field a paragraph."""
    fields: list[tuple[str, str]] = [("Title", post.title), ("Script", post.script), ("Caption", post.caption)]
    fields += [(f"Slide {n}", text) for n, text in enumerate(post.slides, 1)]
    fields += [(f"Part {n}", text) for n, text in enumerate(post.parts, 1)]
    fields += [
        ("On screen", " / ".join(post.on_screen_text)),
        ("Hashtags", " ".join(post.hashtags).replace("#", "\\#")),
    ]
    fields += [("Picture 1", post.media_prompts[0] if post.media_prompts else "")]
    lines: list[str] = []
    for name, text in fields:
        if text:
            said = [line.replace("_", "\\_") for line in text.split("\n") if line]
            lines += [">", f"> **{name}:** " + "  \n> ".join(said)]
    return lines[1:] or ["> (nothing that could go out)"]


def _verdict(piece: Piece, last: Revision, checks: Sequence[ComplianceCheck]) -> str:
    """What the linter found, also in drafts that were given up, and what the piece waits for."""
    present = [check for check in checks if check.content_hash == last.content_hash]
    found = sorted({f"{f.rule} at {f.quote[:60]!r}" for check in present for f in check.findings if f.quote})
    before = sorted(
        {f"{f.rule} at {f.quote[:60]!r}" for check in checks if check not in present for f in check.findings if f.quote}
    )
    said = f"Verdict: {'; '.join(found) if found else 'no rule fired'}."
    if before:
        said += f" An earlier draft was given up for {'; '.join(before)}."
    return f"{said} {piece.state}: {piece.reason}.".replace("_", "\\_")


GENERATED = {
    ("docs/configuration.md", "settings"): configuration,
    ("docs/configuration.md", "commands"): commands,
    ("docs/architecture.md", "cycle"): cycle_graph,
    ("docs/architecture.md", "piece"): piece_graph,
    ("README.md", "agents"): agents,
    ("docs/sample-week.md", "week"): sample_week,
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
