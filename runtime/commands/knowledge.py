"""`knowledge`: the documents that the brand knows, and finding something in them."""

from __future__ import annotations

import argparse
from pathlib import Path
from shlex import quote
from typing import Any

from config.errors import BadInput
from runtime.commands.common import FINDINGS, OK, add_parts, add_verb, emit, next_command, opened, run_async


def register(verbs: Any) -> None:
    parts = add_parts(add_verb(verbs, "knowledge", "what the brand knows: add, list, search and revoke documents"))
    add = add_verb(parts, "add", "learn Markdown and text files; the same bytes again change nothing")
    add.add_argument("paths", nargs="+", metavar="PATH", help="a file, or a folder that is walked")
    add.set_defaults(run=lambda args: run_async(lambda: knowledge_add(args)))
    listing = add_verb(parts, "list", "the documents by name")
    listing.set_defaults(run=lambda args: run_async(lambda: knowledge_list(args)))
    search = add_verb(parts, "search", "the passages that match best")
    search.add_argument("query", metavar="QUERY")
    search.add_argument("--limit", type=whole, default=5, metavar="N", help="at most so many, 1 to 100 (default 5)")
    search.set_defaults(run=lambda args: run_async(lambda: knowledge_search(args)))
    revoke = add_verb(parts, "revoke", "forget a document: no search and no agent finds it again")
    revoke.add_argument("name", metavar="NAME", help="as `knowledge list` prints it")
    revoke.set_defaults(run=lambda args: run_async(lambda: knowledge_revoke(args)))


def whole(text: str) -> int:
    """A whole number from 1 to 100, for argparse."""
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 100):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} must be a whole number from 1 to 100")
    return int(text)


def expand(paths: list[str]) -> list[Path]:
    """The files that `paths` stand for; folders are walked in order, hidden entries and links to folders left out.

    Raises BadInput for a path that is not there.
    """
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        if not path.exists() and not path.is_symlink():
            raise BadInput(f"{text[:200]}: there is no such file or folder")
        if path.is_dir() and not path.is_symlink():
            inside = sorted(entry for entry in path.rglob("*") if not entry.is_dir())
            found += [p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts)]
        else:
            found.append(path)
    return found


async def knowledge_add(args: argparse.Namespace) -> int:
    """Learn the documents; 1 when some were rejected."""
    from memory.knowledge import add_documents, list_documents

    first: dict[str, Path] = {}
    rejected = []
    for path in expand(args.paths):
        if first.setdefault(path.name, path) != path:
            reason = f"has the name of {first[path.name]}, and documents are known by it: rename one"
            rejected.append({"path": str(path), "reason": reason})
    async with opened(args) as (runtime, brand):
        await runtime.ensure_brand(brand)
        records = runtime.records.for_brand(brand)
        before = {row.name: row for row in await list_documents(records) if row.status == "active"}
        result = await add_documents(records, runtime.embedder, runtime.clock, list(first.values()))
        after = [row for row in await list_documents(records) if row.status == "active"]
    rejected += [{"path": path, "reason": reason} for path, reason in result.rejected]
    lines = [f"added {name}" + (" in the place of what it said" if name in before else "") for name in result.added]
    lines += [f"rejected {row['path']}: {row['reason']}" for row in rejected]
    said = {row.name: row.sha256 for row in after}
    saying = {sha: name for name, sha in said.items() if name not in result.added}
    for name in result.added:
        twin = saying.setdefault(said[name], name)
        if twin != name:
            lines.append(
                f"{name} says exactly what {twin} says: {next_command(args, f'knowledge revoke {quote(name)}')}"
            )
    counts = f"{len(result.added)} added, {len(result.unchanged)} unchanged, {len(rejected)} rejected"
    lines.append(f"{counts}; {brand} knows {len(after)} documents")
    emit(args, {"added": result.added, "unchanged": result.unchanged, "rejected": rejected}, "\n".join(lines))
    return FINDINGS if rejected else OK


async def knowledge_list(args: argparse.Namespace) -> int:
    """Print the documents, revoked and removed ones included."""
    from memory.knowledge import list_documents
    from runtime.commands.lookup import table

    async with opened(args) as (runtime, brand):
        await runtime.ensure_brand(brand)
        rows = await list_documents(runtime.records.for_brand(brand))
    shape = [
        {
            "source": row.name,
            "title": row.title,
            "status": row.status,
            "version": row.version,
            "chunks": row.chunks,
            "attribution": row.attribution,
            "sha256": row.sha256,
            "updated_at": row.updated_at.isoformat(),
        }
        for row in rows
    ]
    lines = [[row.name, row.status, row.version, row.chunks, row.title] for row in rows]
    emit(args, shape, table(["source", "status", "version", "chunks", "title"], lines))
    return OK


async def knowledge_search(args: argparse.Namespace) -> int:
    """Print the passages that match best, best first."""
    from memory.knowledge import search

    if not args.query.strip():
        raise BadInput("QUERY is empty: give the words to look for")
    async with opened(args) as (runtime, brand):
        await runtime.ensure_brand(brand)
        hits = await search(runtime.records.for_brand(brand), runtime.embedder, args.query, args.limit)
    shape = [{"source": hit.source, "text": hit.text, "score": hit.score} for hit in hits]
    emit(args, shape, "\n\n".join(f"{h.score:.2f}  {h.source}\n{h.text}" for h in hits) or "nothing matches")
    return OK


async def knowledge_revoke(args: argparse.Namespace) -> int:
    """Forget a document."""
    from memory.knowledge import revoke

    async with opened(args) as (runtime, brand):
        row = await revoke(runtime.records.for_brand(brand), args.name, clock=runtime.clock)
    emit(args, {"source": row.name, "status": row.status}, f"{row.name} is revoked: no search finds it again")
    return OK
