"""`lint`: what the rules say about text, before anybody else reads it. A passed file means that no rule fired."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.errors import BadInput
from runtime.commands.common import FINDINGS, OK, add_verb, brand_of, emit, load, own_brand, preferred, printable

if TYPE_CHECKING:
    from config.brand_profile import BrandProfile
    from memory.rows.checks import Finding

_FIELDS = (
    "rule", "check_type", "severity", "field", "start", "end", "quote", "suggestion", "source", "jurisdiction",
)  # fmt: skip


def register(verbs: Any) -> None:
    lint = add_verb(verbs, "lint", "what the rules say about a text or a piece; 1 = flagged for a human or refused")
    lint.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="text, Markdown, piece JSON, or .jsonl with a text on each line; - is standard input",
    )
    lint.add_argument("--check", action="append", metavar="T", help="only this check type (may be repeated)")
    lint.add_argument(
        "--jurisdiction", action="append", metavar="J", help="only this pack: us, uk, eu, platform; UK-ASA is uk"
    )
    lint.add_argument("--explain", metavar="RULE", help="what a rule looks for and which source it rests on")
    lint.set_defaults(run=run_lint)


def run_lint(args: argparse.Namespace) -> int:
    """Lint each path; 1 when one is flagged (failed or manual_review)."""
    from config.vocabulary import CHECK_TYPES, CheckResult, nearest
    from tools.checks.engine import (
        MAX_FILE_BYTES,
        PACKS,
        asked_for,
        fold,
        lint_bytes,
        lint_file,
        lint_text,
        texts_of_lines,
    )

    args.needs_logging = False
    if args.explain:
        return _explain(args)
    if not args.paths:
        raise BadInput("lint: name at least one PATH, or - for standard input")
    checks = [CHECK_TYPES.parse(name) for name in args.check] if args.check else None
    named = [_pack(name) for name in args.jurisdiction or ()]
    for name, pack in zip(args.jurisdiction or (), named, strict=True):
        if pack not in PACKS:
            raise BadInput(f"--jurisdiction {name[:40]!r} is not one of {', '.join(PACKS)}{nearest(pack, list(PACKS))}")
    profile = _profile(args)
    packs = tuple(dict.fromkeys(named) or (profile.packs if profile else PACKS))
    files: list[dict[str, Any]] = []
    results: list[CheckResult] = []

    def add(path: str, findings: list[Finding]) -> None:
        if checks is not None:
            findings = asked_for(findings, checks)
        results.append(fold(findings))
        shown = [{name: row[name] for name in _FIELDS} for row in (f.model_dump(mode="json") for f in findings)]
        files.append({"path": path, "result": str(results[-1]), "findings": shown})

    for path in args.paths:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
            _refuse_nothing(data, "standard input")
            add(path, lint_bytes(data, name="-", profile=profile, packs=packs))
            continue
        small = Path(path).is_file() and Path(path).stat().st_size <= MAX_FILE_BYTES
        if small:
            _refuse_nothing(Path(path).read_bytes(), path)
        if small and path.endswith(".jsonl"):
            for number, text in texts_of_lines(Path(path).read_bytes(), path):
                add(f"{path}:{number}", lint_text(text, profile=profile, packs=packs))
            continue
        add(path, lint_file(Path(path), profile=profile, packs=packs))
    brand = profile.name if profile else ""
    emit(args, {"files": files, "brand": brand}, "\n".join(_lines(file, brand) for file in files))
    return FINDINGS if any(r in (CheckResult.FAILED, CheckResult.MANUAL_REVIEW) for r in results) else OK


def _pack(name: str) -> str:
    """The pack that is meant: a market in any case, with or without its authority (`UK-ASA`, `US-FDA`, `PLATFORM-META`)."""
    market = name.strip().lower().split("-")[0]
    return {"gb": "uk"}.get(market, market)


def _refuse_nothing(data: bytes, name: str) -> None:
    """A pipe that broke, or a file that was not saved, has not passed anything."""
    if not data.removeprefix(b"\xef\xbb\xbf").strip():
        raise BadInput(f"{name} is empty: there is nothing to check; give a text, Markdown or the JSON of a piece")


def _profile(args: argparse.Namespace) -> BrandProfile | None:
    """The brand of --brand, else the preferred or the operator's only one; None, and every pack, where none is meant.

    Never the shipped example by default: its rules are nobody's own.
    """
    settings = load(args)
    chosen = {} if args.brand else asyncio.run(preferred(settings))
    if not (args.brand or chosen.get("brand") or own_brand(settings.data_dir)):
        return None
    from config.brand_profile import find_brand_folder, load_brand

    return load_brand(find_brand_folder(brand_of(args, settings, chosen), settings.data_dir.absolute() / "brands"))


def _lines(file: dict[str, Any], brand: str) -> str:
    said = "no rule fired" if not file["findings"] else f"{len(file['findings'])} findings"
    said += f"; brand {brand}" if brand else ""
    lines = [f"{file['path']}: {file['result']} ({said})"]
    for row in file["findings"]:
        where = f"{row['field']} {row['start']}-{row['end']}"
        quote = printable(" ".join(row["quote"].split()))
        lines.append(f"  {row['severity']:9} {row['rule']}  {where}  {quote!r}")
        if row["suggestion"]:
            lines.append(f"            {row['suggestion']}")
    return "\n".join(lines)


def _explain(args: argparse.Namespace) -> int:
    from tools.checks.engine import explain

    rule = explain(args.explain)
    names = ("id", "title", "check_type", "severity", "jurisdiction", "suggestion", "source", "precision")
    shape: dict[str, Any] = {name: getattr(rule, name) for name in names}
    shape |= {"unless": list(rule.unless), "only": list(rule.only)}
    shape |= {"severity_where_the_market_is_named": str(rule.named or rule.severity)}
    text = "\n".join(
        f"{k}: {', '.join(v) if isinstance(v, list) else v}" for k, v in shape.items() if v not in ("", [], None)
    )
    emit(args, shape, text)
    return OK
