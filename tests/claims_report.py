"""Precision and recall of "flagged" on the labelled sentences of tests/data: `python -m tests.claims_report [--wrong] [--write]`.

`--wrong` lists the sentences that went wrong; `--write` writes each rule's measured precision beside the packs,
and the table into docs/linter.md.
A sentence is flagged when its result is failed or manual_review. Each is judged twice: with the packs of the market that its
label comes from, and with every pack, as `lint` does when no market is named.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from config.vocabulary import CheckResult, Severity
from memory.rows.checks import Finding
from tools.checks.engine import PACKS, fold, lint_text

DATA = Path(__file__).parent / "data"
PAGE = Path(__file__).parent.parent / "docs" / "linter.md"
BEGIN, END = "<!-- measured: python -m tests.claims_report --write -->", "<!-- end of measured -->"
MEASURED = Path(__file__).parent.parent / "tools" / "checks" / "rule_packs" / "measured.json"
FLAGGED = (CheckResult.MANUAL_REVIEW, CheckResult.FAILED)
NAMED = {"us": ("us",), "uk": ("uk",), "eu": ("eu",), "platform": ("us", "platform")}
"""The packs of a sentence's market. A platform's policy comes on top of a law."""


@dataclass
class Score:
    """How often flagged was right."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    left: int = 0

    @property
    def count(self) -> int:
        return self.right + self.left + len(self.wrong) + len(self.missed)

    @property
    def precision(self) -> float:
        # Where nothing was flagged nothing was flagged wrongly, and where nothing is violating nothing was missed.
        flagged = self.right + len(self.wrong)
        return self.right / flagged if flagged else 1.0

    @property
    def recall(self) -> float:
        bad = self.right + len(self.missed)
        return self.right / bad if bad else 1.0


def files() -> list[Path]:
    """Every file of labelled sentences."""
    return sorted(DATA.glob("claims-*.jsonl"))


def labelled(path: Path) -> list[dict[str, Any]]:
    """The rows of one file. `market` is added: us, uk, eu or platform."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [row | {"market": row["jurisdiction"].lower().split("-")[0]} for row in rows]


@cache
def found(text: str, packs: tuple[str, ...]) -> tuple[Finding, ...]:
    """What the rules of `packs` find in one sentence; each is asked for in several groups."""
    return tuple(lint_text(text, packs=packs))


def score(rows: Iterable[dict[str, Any]], *, named: bool) -> Score:
    """The score of `rows`, with their own market named or with every pack."""
    out = Score()
    for row in rows:
        packs = NAMED[row["market"]] if named else PACKS
        flagged, bad = fold(found(row["text"], packs)) in FLAGGED, row["label"] == "violating"
        if flagged and bad:
            out.right += 1
        elif flagged or bad:
            (out.wrong if flagged else out.missed).append(row["text"])
        else:
            out.left += 1
    return out


def groups() -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """The rows by file, half and market; the half is `all` where a file has none, the market `all` for the sum."""
    out: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for path in files():
        for row in labelled(path):
            half = row.get("half", "all")
            out[path.stem, half, "all"].append(row)
            out[path.stem, half, row["market"]].append(row)
    return out


def table() -> str:
    """One line a file, half and market."""
    lines = [
        "| sentences | half | market | count | precision, market named | recall | precision, every pack | recall |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, half, market), rows in groups().items():
        own, every = score(rows, named=True), score(rows, named=False)
        cells = (own.precision, own.recall, every.precision, every.recall)
        lines.append(f"| {name} | {half} | {market} | {own.count} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")
    return "\n".join(lines)


LEAST = 5
"""Sentences that a rule must have flagged to be measured."""


def measure() -> dict[str, float]:
    """The precision of each rule over all sentences, their markets named, and that of flagging nothing (`UNFLAGGED`)."""
    right: dict[str, int] = defaultdict(int)
    fired: dict[str, int] = defaultdict(int)
    for path in files():
        for row in labelled(path):
            told = found(row["text"], NAMED[row["market"]])
            rules = {finding.rule for finding in told if finding.severity is not Severity.PREFERRED} or {"UNFLAGGED"}
            for rule in rules:
                fired[rule] += 1
                right[rule] += (row["label"] == "compliant") == (rule == "UNFLAGGED")
    return {rule: round(right[rule] / times, 3) for rule, times in sorted(fired.items()) if times >= LEAST}


def page(text: str) -> str:
    """The page with the table of today between its two marks."""
    head, rest = text.split(BEGIN, 1)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        MEASURED.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(table())
    if "--wrong" in sys.argv[1:]:
        for (name, half, market), rows in groups().items():
            if market != "all":
                told = score(rows, named=True)
                for kind, texts in (("flagged wrongly", told.wrong), ("missed", told.missed)):
                    for text in texts:
                        print(f"{name} {half} {market} {kind}: {text}")
