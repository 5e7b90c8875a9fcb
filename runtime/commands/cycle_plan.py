"""`cycle plan`: the week on a page before anything is spent, and the command that runs it as shown."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from config.errors import BadInput
from runtime.commands.common import FINDINGS, OK, emit, next_command, opened, plain, printable

if TYPE_CHECKING:
    from rich.console import Console

    from graphs.grid import GridChange
    from runtime.plan_week import WeekPlan


def add_week_options(verb: argparse.ArgumentParser) -> None:
    """What names a week, for `cycle plan` and `cycle run` alike."""
    verb.add_argument("--theme", required=True, help="name or title of a theme of the brand, or free text")
    verb.add_argument("--week", metavar="2026-W50", help="ISO week (default: next week in the brand's zone)")
    verb.add_argument(
        "--platform", action="append", default=[], metavar="NAME", help="only this platform (may be repeated)"
    )
    verb.add_argument(
        "--type", action="append", default=[], metavar="NAME", help="only this content type (may be repeated)"
    )
    cell = "DAY/PLATFORM/TYPE@HH:MM"
    verb.add_argument("--drop", action="append", default=[], metavar="CELL", help=f"leave out this cell ({cell})")
    verb.add_argument("--add", action="append", default=[], metavar="CELL", help=f"one more cell ({cell})")
    verb.add_argument(
        "--change", action="append", default=[], metavar="CELL=CELL", help="another cell in the place of one"
    )


def week_changes(args: argparse.Namespace) -> list[GridChange]:
    """The grid changes of the command line, drops first. Raises BadInput for what cannot be read."""
    from graphs.grid import GridChange, parse_change

    for flag, texts in (("drop", args.drop), ("add", args.add)):
        if not all(text.strip() for text in texts):  # a shell variable that is not set
            raise BadInput(f"--{flag} is empty: write a cell, as tue/instagram/quote@19:00, or leave it out")
    return [
        *(GridChange(drop=text) for text in args.drop),
        *(parse_change(text) for text in args.change),
        *(GridChange(add=text) for text in args.add),
    ]


async def cycle_plan(args: argparse.Namespace) -> int:
    """Print the page; 1 when something keeps the week from starting. Nothing is written and no model is asked."""
    from graphs.week import next_cycle_key
    from runtime.commands.cycle import check_week
    from runtime.plan_week import plan_week

    check_week(args)
    changes = week_changes(args)
    async with opened(args) as (runtime, brand):
        week = args.week or next_cycle_key(runtime.clock.now(), runtime.profile(brand).zone)
        plan = await plan_week(
            runtime,
            brand,
            theme=args.theme,
            cycle_key=week,
            platforms=args.platform,
            types=args.type,
            changes=changes,
        )
    # No command starts a week of which nothing is left, or that is too far ahead: --replan only answers another plan.
    command = next_command(args, _run_words(args, week, replan=plan.replans)) if plan.can_start else ""

    def draw() -> None:
        from rich.console import Console

        _draw(Console(highlight=False), plan)
        if command:
            print(printable(f"\nNext: {command}"))

    emit(args, as_json(plan, command), draw)
    return FINDINGS if plan.conflicts else OK


def _run_words(args: argparse.Namespace, week: str, *, replan: bool) -> str:
    words = ["cycle", "run", "--theme", args.theme, "--week", week]
    for flag in ("platform", "type", "drop", "change", "add"):
        for value in getattr(args, flag):
            words += [f"--{flag}", value]
    return shlex.join([*words, *(["--replan"] if replan else [])])


def as_json(plan: WeekPlan, command: str) -> dict[str, Any]:
    """The shape of `cycle plan --json`."""
    return {
        "cycle_key": plan.cycle_key,
        "theme": plan.theme.title,
        "zone": plan.zone,
        "days": [asdict(day) for day in plan.days],
        "slots": [
            {
                "day": planned.slot.day,
                "platform": planned.slot.platform,
                "content_type": planned.slot.content_type,
                "account": planned.slot.account,
                "local": planned.slot.local,
                "at": planned.slot.at.isoformat(),
                "resolution": planned.slot.resolution,
                "skipped": planned.skipped,
            }
            for planned in plan.slots
        ],
        "changes": list(plan.changes),
        "forecast": {
            "expected_usd": plan.expected_usd,
            "at_most_usd": plan.at_most_usd,
            "session_limit_usd": plan.session_limit_usd,
            "day_left_usd": plan.day_left_usd,
            "lines": [asdict(line) for line in plan.forecast],
        },
        "gaps": list(plan.gaps),
        "conflicts": list(plan.conflicts),
        "warnings": list(plan.warnings),
        "session_id": plan.exists,
        "run": command,
    }


def _draw(console: Console, plan: WeekPlan) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from config.calendar import DAYS
    from tools.text import many

    platforms = list(dict.fromkeys(planned.slot.platform for planned in plan.slots))
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("day", no_wrap=True)
    for platform in platforms:
        table.add_column(platform, no_wrap=True)
    for number in sorted({planned.slot.day for planned in plan.slots}):
        row: list[Any] = [DAYS[number - 1][:3].capitalize()]
        for platform in platforms:
            cells = [
                Text(
                    f"{planned.slot.content_type} {planned.slot.local[11:]}",
                    style="dim strike" if planned.skipped else "",
                )
                for planned in plan.slots
                if (planned.slot.day, planned.slot.platform) == (number, platform)
            ]
            row.append(Text("\n").join(cells))
        table.add_row(*row)
    # A line of its own: as a title it would be as narrow as the table.
    console.print(plain(f"{plan.cycle_key}  {plan.theme.title}  (times in {plan.zone})", "bold"), soft_wrap=True)
    console.print(table)
    for day in plan.days:
        about = printable(day.title) or "(the agents derive it)"
        name, known = DAYS[day.day - 1][:3].capitalize(), f"{many(day.sentences, 'sentence')} known{day.unusable}"
        print(f"{name}  {about}: {many(day.pieces, 'piece')}, {known}")
    made = sum(not planned.skipped for planned in plan.slots)
    print(f"{many(made, 'piece')} of {many(len(plan.slots), 'slot')}.")
    for line in _notes(plan):
        print(printable(line))


def _notes(plan: WeekPlan) -> list[str]:
    """The lines below the grid: what is left out, the money, the gaps, what stands in the way."""
    notes = [
        f"left out: {planned.slot.platform} {planned.slot.content_type} {planned.slot.local.replace('T', ' ')}: {planned.skipped}"
        for planned in plan.slots
        if planned.skipped
    ]
    notes += [
        f"clock change: {planned.slot.platform} {planned.slot.local.replace('T', ' ')} is {planned.slot.resolution}"
        for planned in plan.slots
        if planned.slot.resolution != "ok" and not planned.skipped
    ]
    free = not any(line.at_most_usd for line in plan.forecast)
    if plan.changes:
        notes.append(f"changed: {', '.join(plan.changes)}")
    notes += [
        f"cost: {line.agent}: {line.calls} to {line.most_calls} calls of {line.model}, {line.expected_usd:.2f} to"
        f" {line.at_most_usd:.2f} USD ({line.basis})"
        for line in plan.forecast
        if not free
    ]
    notes.append(
        "cost: nothing: no model is asked that costs money"
        if free
        else f"cost: {plan.expected_usd:.2f} USD expected, {plan.at_most_usd:.2f} at most"
        f" (a session may spend {plan.session_limit_usd:.2f}; {plan.day_left_usd:.2f} are left of the brand's day)"
    )
    if plan.expected_usd > min(plan.session_limit_usd, plan.day_left_usd):
        notes.append("cost: that is more than is left: the session will stop early and say what it skipped")
    notes += [f"gap: {gap}" for gap in plan.gaps]
    notes += [f"note: {warning}" for warning in plan.warnings]
    if plan.exists:
        notes.append(f"note: session {plan.exists} is this very week: running it again changes nothing")
    return notes + [f"conflict: {conflict}" for conflict in plan.conflicts]
