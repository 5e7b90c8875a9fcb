"""`demo`: the main job on the shipped brand, with no account, server or key."""

from __future__ import annotations

import argparse
from typing import Any

from runtime.commands.common import INTERRUPTED, OK, WAITING_FOR_HUMAN, add_verb, opened, run_async, run_session


def register(verbs: Any) -> None:
    demo = add_verb(verbs, "demo", "plan, research, write and check a week of the shipped brand, offline")
    demo.add_argument("--week", metavar="2026-W50", help="ISO week (default: next week)")
    demo.set_defaults(run=lambda args: run_async(lambda: run_demo(args)))


async def run_demo(args: argparse.Namespace) -> int:
    """Run next week's first theme; 0 when the week waits for its human, as it should."""
    from graphs.week import next_cycle_key, parse_week
    from runtime.commands.cycle import print_session
    from runtime.start import find_plans, materialise, start_cycle

    args.brand = args.brand or "eesystem"
    async with opened(args) as (runtime, brand):
        profile = runtime.profile(brand)
        week = args.week or next_cycle_key(runtime.clock.now(), profile.zone)
        parse_week(week)
        records = runtime.records.for_brand(brand)
        plans = await find_plans(records, week)
        if plans:  # whoever named the week may have died before it wrote anything else
            await runtime.ensure_brand(brand)
            session = await materialise(runtime, records, plans[-1])
        else:
            session = await start_cycle(runtime, brand, theme=profile.themes[0].name, cycle_key=week)
        if not await run_session(runtime, session, show=not args.json):
            return INTERRUPTED
        code = await print_session(args, runtime, brand, session.id)
        return OK if code == WAITING_FOR_HUMAN else code
