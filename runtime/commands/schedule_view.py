"""A schedule as `schedule` shows it: one shape for programs, lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from config.errors import NotFound, UsageError

if TYPE_CHECKING:
    from memory.records.protocol import Records
    from memory.rows.publication import Schedule, ScheduleFire
    from runtime.compose import Runtime

SHOWN = 5
"""Fires of each schedule that `list` shows."""


async def schedule_shape(
    runtime: Runtime, records: Records, schedule: Schedule, fires: list[ScheduleFire]
) -> dict[str, Any]:
    """What --json prints of a schedule. What a paused one would fire next is not known."""
    from config.calendar import DAYS
    from graphs.weekly import week_after
    from memory.rows.brand import Control
    from runtime.scheduler import next_theme, pause_control, rule_of
    from runtime.start import find_plans

    rule = rule_of(schedule)
    flag = await records.find(Control, name=pause_control(schedule.name))
    held = flag is not None and flag.value == "on"
    slot = rule.weekly.nearest(schedule.next_at)
    week = week_after(slot.local)
    problem = theme = ""
    try:
        theme = (await next_theme(records, runtime.profile(schedule.brand), schedule, week)).name
    except (UsageError, NotFound) as error:
        problem = str(error)  # the folder is broken or has lost its themes: listing goes on
    plans = await find_plans(records, week)
    return {
        "schedule": schedule.name,
        "status": "paused" if held else schedule.status,
        "day": DAYS[rule.weekly.weekday - 1],
        "at": rule.weekly.at.isoformat(timespec="minutes"),
        "zone": schedule.zone,
        "themes": list(rule.themes),
        "platforms": list(rule.platforms),
        "types": list(rule.types),
        "due": not held and slot.at <= runtime.clock.now(),
        "next_local": "" if held else slot.local,
        "next_utc": "" if held else slot.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "resolution": "" if held else slot.resolution,
        "next_week": "" if held else week,
        "next_theme": "" if held else theme,
        "next_planned_by": plans[-1].id if plans and not held else "",
        "problem": problem,
        "paused_by": flag.by if held and flag else "",
        "reason": flag.reason if held and flag else "",
        "fires": [fire_shape(fire) for fire in fires if fire.schedule == schedule.name][:SHOWN],
    }


def fire_shape(fire: ScheduleFire) -> dict[str, Any]:
    """What --json prints of a slot that was decided."""
    from graphs.weekly import week_after

    return {
        "local_slot": fire.local_slot,
        "week": week_after(fire.local_slot),
        "outcome": str(fire.outcome),
        "session_id": fire.session_id,
        "decided_at": fire.fired_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def told(fire: dict[str, Any]) -> str:
    """What became of a fire, in words."""
    return {
        "fired": f"fired: session {fire['session_id']}"
        if fire["session_id"]
        else "fired: its session is about to start",
        "planned": f"planned already by session {fire['session_id']}",
        "missed": "missed: the week was over",
        "coalesced": "coalesced: a later slot was due as well, and fired",
    }[fire["outcome"]]


def sentence(shape: dict[str, Any]) -> str:
    """The schedule in one line: when it fires next, and what it makes."""
    when = f"{shape['schedule']}: {shape['day']} {shape['at']} {shape['zone']}"
    if shape["status"] == "paused":
        return f"{when}, {_held(shape)}"
    shifted = "" if shape["resolution"] == "ok" else f", {shape['resolution']}"
    theme = f" with {shape['next_theme']}" if shape["next_theme"] else ""
    soon = f"{'due' if shape['due'] else 'next'} {shape['next_local']} ({shape['next_utc']}{shifted})"
    return f"{when}, {soon}, makes {shape['next_week']}{theme}"


def remarks(shape: dict[str, Any]) -> list[str]:
    """What a table has no column for: who holds it, what keeps it from firing, that its week is there already."""
    name, found = shape["schedule"], []
    if shape["status"] == "paused":
        found.append(f"{name}  {_held(shape)}")
    if shape["problem"]:
        found.append(f"{name}  cannot fire: {shape['problem']}")
    if shape["next_planned_by"]:
        found.append(
            f"{name}  {shape['next_week']} is planned already by session {shape['next_planned_by']}: it stays as it is"
        )
    return found


def _held(shape: dict[str, Any]) -> str:
    by = f" by {shape['paused_by']}" if shape["paused_by"] else ""
    reason = f": {' '.join(shape['reason'].split())}" if shape["reason"] else ""
    return f"paused{by}{reason}"
