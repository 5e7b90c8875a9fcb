"""`budget`: what was spent and set aside, against the two envelopes. The limits are COPYDESK_SESSION_USD and COPYDESK_BRAND_DAY_USD."""

from __future__ import annotations

import argparse
from typing import Any

from config.errors import BadInput
from runtime.commands.common import OK, add_parts, add_verb, emit, opened, run_async


def register(verbs: Any) -> None:
    parts = add_parts(
        add_verb(verbs, "budget", "money: spent, set aside and left, for the brand's day and its sessions")
    )
    show = add_verb(parts, "show", "the brand's day, and each session that spent or may spend")
    show.add_argument("--session", metavar="S", help="only this session")
    show.add_argument("--day", metavar="2026-12-07", help="which UTC day (default: today)")
    show.set_defaults(run=lambda args: run_async(lambda: budget_show(args)))


async def budget_show(args: argparse.Namespace) -> int:
    """Print the envelopes, counted from usage rows: a call under way counts at its worst case."""
    from datetime import date

    from agents.spending import counted, day_of, session_spent
    from memory.rows.sessions import Session, Usage
    from runtime.commands.lookup import find_session, parse_ref, table

    if args.day:
        try:
            date.fromisoformat(args.day)
        except ValueError as error:
            raise BadInput(f"--day {args.day[:40]!r}: {error}: write 2026-12-07") from None
    ref = parse_ref(args.session, what="--session") if args.session else ""
    async with opened(args) as (runtime, brand):
        records, settings = runtime.records.for_brand(brand), runtime.settings
        day = args.day or day_of(runtime.clock.now())
        rows = await records.list_rows(Usage, day=day)
        sessions = [await find_session(records, ref)] if ref else await records.list_rows(Session)
        shown = []
        for session in sessions:
            spent = await session_spent(records, session)
            if not ref and not spent.cost_usd and session.status not in ("running", "waiting"):
                continue
            limit = settings.session_usd + session.added_usd
            shown.append(
                {
                    "session_id": session.id,
                    "goal": session.goal,
                    "status": str(session.status),
                    "limit_usd": round(limit, 6),
                    "added_usd": session.added_usd,
                    "spent_usd": spent.cost_usd,
                    "left_usd": round(max(0.0, limit - spent.cost_usd), 6),
                    "tokens": spent.tokens,
                }
            )
    reserved = sum(row.reserved_usd for row in rows if row.status == "reserved")
    total = sum(counted(row) for row in rows)
    models: dict[str, dict[str, float]] = {}
    for row in rows:
        of = models.setdefault(row.model, {"calls": 0, "tokens": 0, "cost_usd": 0.0})
        of["calls"] += 1
        of["tokens"] += row.input_tokens + row.output_tokens
        of["cost_usd"] = round(of["cost_usd"] + counted(row), 6)
    shape = {
        "day": day,
        "limit_usd": settings.brand_day_usd,
        "spent_usd": round(total - reserved, 6),
        "reserved_usd": round(reserved, 6),
        "left_usd": round(max(0.0, settings.brand_day_usd - total), 6),
        "assumed_calls": sum(row.status == "assumed" for row in rows),
        "models": models,
        "sessions": shown,
    }
    lines = [
        f"{brand}, {day} UTC: {total - reserved:.4f} USD spent, {reserved:.4f} set aside, {shape['left_usd']:.4f} of"
        f" {settings.brand_day_usd:.2f} left (COPYDESK_BRAND_DAY_USD)"
    ]
    lines += [
        f"  {m} {of['calls']:.0f} calls, {of['tokens']:.0f} tokens, {of['cost_usd']:.4f} USD"
        for m, of in models.items()
    ]
    cells = [[s["session_id"], s["status"], f"{s['spent_usd']:.4f}", f"{s['limit_usd']:.2f}", s["goal"]] for s in shown]
    lines += ["", table(["session", "status", "spent", "limit", "goal"], cells)] if cells else []
    lines.append("more for one session: `session resume ID --add-usd X`; for all: COPYDESK_SESSION_USD")
    emit(args, shape, "\n".join(lines))
    return OK
