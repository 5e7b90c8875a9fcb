"""What the brand has said lately."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated, Any

from pydantic import Field

from config.calendar import week_key
from config.vocabulary import PieceState
from memory.rows.content import Piece, Revision
from memory.rows.publication import ScheduledPublication
from tools.context import ToolContext
from tools.plugin_api import ToolRetry, tool

SAID = (PieceState.WAITING, PieceState.APPROVED, PieceState.PUBLISHING, PieceState.PUBLISHED, PieceState.UNKNOWN)
"""What went out, goes out, may have, or waits for a human: what was turned down or withdrawn was never said."""


@tool(agents={"research", "creation", "compliance", "coordination"}, effect="read", timeout_s=30, trust="brand")
async def past_content(
    ctx: ToolContext, before: str = "", weeks: Annotated[int, Field(ge=1, le=12)] = 4
) -> list[dict[str, Any]]:
    """List the posts of the weeks before one, latest week first: their theme, day theme, platform, opening and sources.

    Args:
        before: The ISO week that is being planned, such as 2026-W50; empty for the present one.
        weeks: How many weeks to look back, 1 to 12.
    """
    last = _monday(before or week_key(ctx.clock.now().date()))
    rows: list[ScheduledPublication] = []
    for back in range(1, weeks + 1):
        key = week_key(last - timedelta(weeks=back))
        rows += [row for row in await ctx.records.list_rows(ScheduledPublication, cycle_key=key) if row.state in SAID]
    pieces = {p.id: p for p in await ctx.records.find_many(Piece, [{"id": row.content_id} for row in rows])}
    keys = [
        {"content_id": p.id, "content_hash": p.sealed_hash or p.content_hash} for p in pieces.values() if p.content_hash
    ]
    said = {row.content_id: row for row in await ctx.records.find_many(Revision, keys)}
    out = []
    for row in sorted(rows, key=lambda row: (row.cycle_key, row.cycle_day, row.scheduled_at), reverse=True):
        piece, revision = pieces.get(row.content_id), said.get(row.content_id)
        if piece is None or revision is None or revision.gaps:  # a brief with gaps says nothing yet
            continue
        out.append(
            {
                "id": piece.id,
                "week": row.cycle_key,
                "theme": row.theme,
                "day_theme": piece.theme,
                "platform": piece.platform,
                "content_type": piece.content_type,
                "opening": _opening(revision),
                "sentences": list(revision.citations),
                "sources": list(revision.sources),
            }
        )
    return out


def _opening(revision: Revision) -> str:
    return next((text.split("\n")[0][:200] for _, text in revision.post.fields()), "")


def _monday(week: str) -> date:
    found = re.fullmatch(r"(2[01][0-9]{2})-W([0-9]{2})", week)
    try:
        if found is None:
            raise ValueError
        return date.fromisocalendar(int(found[1]), int(found[2]), 1)
    except ValueError:
        raise ToolRetry(f"before = {week[:40]!r} is not an ISO week: write it as 2026-W50") from None
