"""`schedule`: what starts a themed week every week, and what became of it so far. The scheduler of any `worker` does the firing."""

from __future__ import annotations

import argparse
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from config.errors import BadInput, Conflict, NotFound
from runtime.commands.common import (
    FINDINGS,
    OK,
    actor,
    add_parts,
    add_verb,
    brand_of,
    emit,
    fail,
    load,
    next_command,
    opened,
    preferred,
    run_async,
)
from runtime.commands.schedule_view import fire_shape, remarks, schedule_shape, sentence, told

if TYPE_CHECKING:
    from datetime import time

    from config.brand_profile import BrandProfile
    from memory.records.protocol import Records
    from memory.rows.publication import Schedule
    from runtime.scheduler import Rule

LATE = timedelta(minutes=10)
"""How long after its slot a schedule that nobody has fired is a finding of `doctor`; workers look within a minute."""
REPORTED = timedelta(days=14)
"""How long `doctor` speaks of a missed slot."""


def register(verbs: Any) -> None:
    parts = add_parts(add_verb(verbs, "schedule", "start a themed week every week, at a time of the brand's zone"))
    add = add_verb(parts, "add", "every week at this time, make the ISO week after it; `worker` does it")
    add.add_argument("name", metavar="NAME", help="what to call it: a-z, 0-9 and '-'")
    add.add_argument("--day", required=True, metavar="DAY", help="monday to sunday, or mon to sun")
    add.add_argument("--at", required=True, metavar="HH:MM", help="wall clock in the zone")
    add.add_argument(
        "--theme", action="extend", nargs="+", default=[], metavar="T",
        help="themes of the brand, taken in turn (default: all of the brand's, passing over what ran lately)",
    )  # fmt: skip
    add.add_argument("--zone", metavar="ZONE", help="IANA name such as Europe/Berlin (default: the brand's)")
    for flag, what in (("platform", "platforms"), ("type", "content types")):
        add.add_argument(
            f"--{flag}", f"--{flag}s", dest=flag, action="extend", nargs="+", default=[], metavar="NAME",
            help=f"only these {what}",
        )  # fmt: skip
    add.set_defaults(run=lambda args: run_async(lambda: schedule_add(args)))
    listing = add_verb(parts, "list", "every schedule, when it fires next, and what became of its last slots")
    listing.set_defaults(run=lambda args: run_async(lambda: schedule_list(args)))
    for name, help in (
        ("pause", "fire nothing until it is resumed"),
        ("resume", "go on: what was due meanwhile becomes one fire"),
    ):
        hold = add_verb(parts, name, help)
        hold.add_argument("name", metavar="NAME")
        hold.add_argument("--by", metavar="WHO", help="who says so")
        hold.add_argument("--reason", default="", help="shown to whoever wonders")
        hold.set_defaults(run=lambda args, name=name: run_async(lambda: schedule_hold(args, name)))
    remove = add_verb(parts, "remove", "forget a schedule; the weeks that it started stay")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=lambda args: run_async(lambda: schedule_remove(args)))
    trigger = add_verb(parts, "trigger", "fire now, once, whatever the rule says; its own slots stay as they are")
    trigger.add_argument("name", metavar="NAME")
    trigger.set_defaults(run=lambda args: run_async(lambda: schedule_trigger(args)))


def parse_day(text: str) -> int:
    """1 for Monday to 7 for Sunday, of a day's name or its first three or more letters. Raises BadInput."""
    from config.calendar import DAYS
    from config.vocabulary import nearest

    found = [n for n, day in enumerate(DAYS, 1) if len(text) >= 3 and day.startswith(text.lower())]
    if not found:
        known = [*DAYS, *(day[:3] for day in DAYS)]
        raise BadInput(
            f"--day {text[:40]!r} is not a day of the week{nearest(text.lower(), known)}: write monday or mon"
        )
    return found[0]


def parse_clock(text: str) -> time:
    """The time of day of `06:00`. Raises BadInput."""
    from datetime import time

    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text, re.ASCII):
        raise BadInput(f"--at {text[:40]!r} is not a time of day: write it as 06:00, from 00:00 to 23:59")
    return time.fromisoformat(text)


def parse_zone(text: str) -> str:
    """`text` if it is a zone. Raises BadInput with the nearest name."""
    from zoneinfo import available_timezones

    from config.vocabulary import nearest

    known = available_timezones()
    if text not in known:
        by_lower = {name.lower(): name for name in sorted(known)}
        same = by_lower.get(text.lower())
        hint = f" (did you mean {same!r}?)" if same else nearest(text, sorted(known))
        raise BadInput(f"--zone {text[:80]!r} is not a time zone{hint}: use an IANA name such as Europe/Berlin")
    return text


def parse_themes(profile: BrandProfile, texts: list[str]) -> tuple[str, ...]:
    """The names of the brand's themes that are meant, by name or title. Raises BadInput with the nearest one."""
    from config.vocabulary import nearest

    if not profile.themes:
        raise BadInput(f"brand {profile.name!r} has no themes to take in turn: add [[theme]] to its themes.toml")
    by_text = {text: theme.name for theme in profile.themes for text in (theme.name, theme.title.lower())}
    names = []
    for text in texts:
        name = by_text.get(text.strip().lower())
        if name is None:
            known = [theme.name for theme in profile.themes]
            hint = nearest(text.strip().lower(), list(by_text))
            raise BadInput(
                f"--theme {text[:80]!r} is not a theme of {profile.name}{hint}; there are: {', '.join(known)}"
            )
        if name in names:
            raise BadInput(f"--theme {text[:80]!r} is named twice: name each theme once, they are taken in turn")
        names.append(name)
    return tuple(names)


def parse_rule(args: argparse.Namespace, profile: BrandProfile, now: datetime) -> Rule:
    """The rule that the command line asks for. Raises BadInput for the first mistake."""
    from config.vocabulary import CONTENT_TYPES, PLATFORMS
    from graphs.week import next_cycle_key, week_slots
    from graphs.weekly import Weekly
    from runtime.scheduler import Rule

    platforms = tuple(dict.fromkeys(PLATFORMS.parse(name) for name in args.platform))
    types = tuple(dict.fromkeys(CONTENT_TYPES.parse(name) for name in args.type))
    weekly = Weekly(parse_day(args.day), parse_clock(args.at), parse_zone(args.zone) if args.zone else profile.zone)
    themes = parse_themes(profile, args.theme)
    if not week_slots(profile, next_cycle_key(now, profile.zone), platforms=platforms, types=types):
        raise BadInput(
            f"brand {profile.name!r} has no cell in its grid for that: add [[grid]] entries or drop the filter"
        )
    return Rule(weekly, themes, platforms, types)


async def schedule_add(args: argparse.Namespace) -> int:
    """Write the schedule, unless it is there and says the same."""
    from config.brand_profile import find_brand_folder, load_brand
    from config.clock import SystemClock
    from config.ids import parse_slug
    from memory.rows.publication import Schedule
    from runtime.scheduler import fire_task, new_schedule

    # All of it before anything is opened, so that a typing mistake leaves no data directory behind.
    name = parse_slug(args.name, what="NAME")
    settings = load(args)
    brand = brand_of(args, settings, await preferred(settings))
    profile = load_brand(find_brand_folder(brand, settings.data_dir.absolute() / "brands"))
    rule = parse_rule(args, profile, SystemClock().now())
    async with opened(args) as (runtime, brand):
        await runtime.ensure_brand(brand)
        records = runtime.records.for_brand(brand)
        found = await records.find(Schedule, name=name)
        if found is not None and (found.rule, found.zone) != (rule.stored(), rule.weekly.zone):
            raise Conflict(
                f"schedule {name!r} is there already and says otherwise: to change it, `schedule remove {name}` and add it again"
            )
        if found is None:
            found = new_schedule(brand, name, rule, runtime.clock.now())
            await records.put(found)
        await runtime.queue.enqueue(fire_task(found))
        shape = await schedule_shape(runtime, records, found, [])
        others = [row.name for row in await records.list_rows(Schedule) if row.name != name]
    if others:
        fail(
            f"there are other schedules ({', '.join(others)}): a week is made once, by whichever fires first",
            label="note",
        )
    emit(args, shape, f"{sentence(shape)}\nfired by any `worker`; start one: {next_command(args, 'worker')}")
    return OK


async def schedule_list(args: argparse.Namespace) -> int:
    """Print every schedule of the brand with its next instants and its last fires."""
    from memory.rows.publication import Schedule
    from runtime.commands.lookup import table
    from runtime.scheduler import list_fires

    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        rows = await records.list_rows(Schedule)
        fires = await list_fires(records, since=runtime.clock.now() - timedelta(days=366)) if rows else []
        shapes = [await schedule_shape(runtime, records, row, fires) for row in rows]
    cells = [
        [s["schedule"], "due" if s["due"] else s["status"], f"{s['day']} {s['at']}", s["next_local"] or "-", s["next_utc"] or "-",
         s["next_week"] or "-", s["next_theme"] or "-", s["zone"]]
        for s in shapes
    ]  # fmt: skip
    headers = ["schedule", "status", "every", "next, local", "next, UTC", "makes", "theme", "zone"]
    lines = [table(headers, cells), *(line for shape in shapes for line in remarks(shape))]
    for shape in shapes:
        for fire in shape["fires"]:
            lines.append(f"{shape['schedule']}  {fire['local_slot']}  {fire['week']}  {told(fire)}")
    if not shapes:
        lines.append(f"add one: {next_command(args, 'schedule add weekly --day mon --at 06:00')}")
    emit(args, shapes, "\n".join(lines))
    return OK


async def schedule_hold(args: argparse.Namespace, verb: str) -> int:
    """Set or clear the control that every look at the schedule reads."""
    from memory.rows.brand import Control
    from runtime.scheduler import fire_task, pause_control

    if len(args.reason) > 500:
        raise BadInput("--reason is longer than 500 characters: shorten it")
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        schedule = await _find(records, args.name)
        await records.put(
            Control(
                brand=brand,
                name=pause_control(schedule.name),
                value="on" if verb == "pause" else "off",
                by=actor(args, runtime.settings),
                reason=args.reason,
                updated_at=runtime.clock.now(),
            )
        )
        if verb == "resume":
            await runtime.queue.enqueue(fire_task(schedule))
        shape = await schedule_shape(runtime, records, schedule, [])
    emit(args, shape, sentence(shape))
    return OK


async def schedule_remove(args: argparse.Namespace) -> int:
    """Delete the schedule and what holds it. Raises Conflict while a worker is firing it."""
    from memory.rows.brand import Control
    from memory.rows.publication import Schedule
    from runtime.hold import hold_task
    from runtime.scheduler import fire_task, pause_control

    async with opened(args) as (runtime, brand):
        schedule = await _find(runtime.records.for_brand(brand), args.name)
        task = fire_task(schedule, run_at=runtime.clock.now())
        # Under its lease: a worker that is firing it would write the row again.
        async with hold_task(runtime, task, f"schedule {schedule.name}", wait=timedelta(seconds=10)) as guard:
            records = runtime.records.for_brand(brand, lease=guard)
            # A schedule of the same name that is added later starts unpaused.
            await records.delete(Control, name=pause_control(schedule.name))
            await records.delete(Schedule, name=schedule.name)
        await runtime.queue.remove(task.id)
    emit(args, {"schedule": args.name, "removed": True}, f"schedule {args.name} is removed; its weeks stay")
    return OK


async def schedule_trigger(args: argparse.Namespace) -> int:
    """Fire now; 1 when that made no session because the week has one."""
    from config.vocabulary import FireOutcome
    from graphs.week import next_cycle_key
    from runtime.scheduler import Scheduler, cycle_starter, next_theme

    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        schedule = await _find(records, args.name)
        # Refused before it is decided: what a person has to mend first would leave the fire open until it is mended.
        week = next_cycle_key(runtime.clock.now(), schedule.zone)
        await next_theme(records, runtime.profile(brand), schedule, week)
        fire = await Scheduler(records, runtime.clock, cycle_starter(runtime, records)).trigger(schedule)
        shape = {"schedule": schedule.name, **fire_shape(fire)}
    text = f"{schedule.name}  {shape['local_slot']}  {shape['week']}  {told(shape)}"
    if fire.outcome is FireOutcome.PLANNED:
        again = next_command(args, f"cycle run --theme THEME --week {shape['week']} --replan")
        text += f"\nto plan it anew: {again}"
    if fire.outcome is FireOutcome.FIRED:
        text += (
            f"\nany `worker` does the work, or here and now: {next_command(args, f'session resume {fire.session_id}')}"
        )
    emit(args, shape, text)
    return OK if fire.outcome is FireOutcome.FIRED else FINDINGS


async def look_at_schedules(records: Records, now: datetime) -> list[tuple[str, str]]:
    """What `doctor` says about the brand's schedules: what is wrong, and the command that mends it."""
    from memory.rows.publication import Schedule
    from runtime.scheduler import is_open, is_paused, list_fires

    rows = await records.list_rows(Schedule)
    found = []
    for row in rows:
        if now - row.next_at > LATE and not await is_paused(records, row.name):
            due = row.next_at.strftime("%Y-%m-%dT%H:%M:%SZ")
            found.append((f"schedule {row.name} was due at {due} and no worker has fired it", "worker --until-idle"))
    fires = await list_fires(records, since=now - REPORTED) if rows else []
    for fire in fires:
        if fire.schedule not in {row.name for row in rows}:
            continue  # removed: what it left undone is meant to stay so
        told = fire_shape(fire)
        what = f"schedule {fire.schedule}: the slot {fire.local_slot} ({told['week']})"
        if fire.outcome == "missed":
            found.append((f"{what} was missed", f"--brand {fire.brand} schedule trigger {fire.schedule}"))
        elif is_open(fire) and now - fire.fired_at > LATE:
            found.append((f"{what} is fired and has no session yet", "worker --until-idle"))
    return found


async def _find(records: Records, name: str) -> Schedule:
    from config.vocabulary import nearest
    from memory.rows.publication import Schedule

    rows = {row.name: row for row in await records.list_rows(Schedule)}
    if name not in rows:
        there = ", ".join(rows) or "none: add one with `schedule add`"
        raise NotFound(f"schedule {name[:80]!r} is not known{nearest(name, list(rows))}; there are: {there}")
    return rows[name]
