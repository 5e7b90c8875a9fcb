"""A week on a page before anything is spent: its slots, what it will cost, what is missing, what stands in the way.

Reads only. `runtime/start.py` starts the week that this shows, from the same inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches

from agents.chat_models import model_chain
from agents.forecast import Line, forecast
from agents.spending import counted, day_of
from config.brand_profile import BrandProfile, Theme
from config.calendar import DAYS
from config.platforms import possible
from config.vocabulary import TERMINAL_PIECE, AgentType, SessionStatus
from graphs.grid import GridChange, edit_grid
from graphs.sessions import session_piece_ids
from graphs.state import MAX_REVISIONS
from graphs.week import Slot, monday, week_slots
from memory.records.protocol import Records
from memory.rows.publication import ScheduledPublication
from memory.rows.sessions import Session, Usage
from runtime.compose import Runtime
from runtime.known import embeds_free, known_about, said_lately
from runtime.start import FURTHEST, find_plans, week_inputs
from tools.text import many

SENTENCES = {"quote": 1, "story": 1, "reel": 2, "thread": 2, "carousel": 3}
"""Fewest sentences of knowledge that a piece of the type needs for itself: no other says them."""
SENTENCES_A_PIECE = 2
"""Of a type that is not among them."""
_AGAIN = timedelta(weeks=8)
"""A theme that ran within this is named: readers remember."""


@dataclass(frozen=True)
class PlannedSlot:
    """A slot of the week, and why nothing will be made for it; '' when something will."""

    slot: Slot
    skipped: str = ""


@dataclass(frozen=True)
class PlannedDay:
    """What one day is about, and how many sentences of the brand's knowledge speak of it and can be used."""

    day: int
    title: str
    """'' when the agents will derive it."""
    pieces: int
    sentences: int
    """Those that a post can use: not said lately, and nothing critical in them."""
    wanted: int
    """Fewest that its pieces need."""
    said: int = 0
    refused: int = 0

    @property
    def unusable(self) -> str:
        """What is known besides and cannot be used: ' (4 more were said lately or wait to be, 1 more a rule refuses)'; often ''."""
        said = "more was said lately or waits to be" if self.said == 1 else "more were said lately or wait to be"
        counts = ((self.said, said), (self.refused, "more a rule refuses"))
        lacking = ", ".join(f"{count} {why}" for count, why in counts if count)
        return f" ({lacking})" if lacking else ""


@dataclass(frozen=True)
class WeekPlan:
    """Everything about a week that is known before it runs."""

    cycle_key: str
    theme: Theme
    zone: str
    slots: tuple[PlannedSlot, ...]
    days: tuple[PlannedDay, ...]
    changes: tuple[str, ...]
    forecast: tuple[Line, ...]
    session_limit_usd: float
    day_left_usd: float
    gaps: tuple[str, ...]
    conflicts: tuple[str, ...]
    """What keeps `cycle run` from starting this week."""
    warnings: tuple[str, ...]
    exists: str = ""
    """The session that these very inputs name already."""
    replans: bool = False
    """Whether the week is planned or cancelled already, so that it starts with --replan alone."""
    can_start: bool = True
    """Whether `cycle run`, with --replan where it is needed, would start or find the week."""

    @property
    def expected_usd(self) -> float:
        return round(sum(line.expected_usd for line in self.forecast), 6)

    @property
    def at_most_usd(self) -> float:
        """The dearest that it can come to: the calls at their worst, or the session's limit if that is less."""
        return round(min(sum(line.at_most_usd for line in self.forecast), self.session_limit_usd), 6)


async def plan_week(
    runtime: Runtime,
    brand: str,
    *,
    theme: str,
    cycle_key: str,
    platforms: Sequence[str] = (),
    types: Sequence[str] = (),
    changes: Sequence[GridChange] = (),
) -> WeekPlan:
    """The page of that week. Asks no model, and writes nothing but the brand's own folder, if that costs nothing.

    Raises BadInput for what `cycle run` would refuse to parse.
    """
    if embeds_free(runtime):
        await runtime.ensure_brand(brand)  # else the shipped documents would seem to be missing on the first day
    records = runtime.records.for_brand(brand)
    profile, said = edit_grid(runtime.profile(brand), changes)
    chosen = profile.find_theme(theme)
    plans = await find_plans(records, cycle_key)
    slots = await _slots(runtime, records, profile, cycle_key, platforms, types, plans)
    made = [planned.slot for planned in slots if not planned.skipped]
    said_before = await said_lately(runtime, records, cycle_key=cycle_key, session_id=plans[-1].id if plans else "")
    days, usable = await _days(runtime, records, chosen, made, profile, said_before)
    inputs = week_inputs(chosen, platforms, types, said)
    exists, conflicts = _standing(plans, inputs, cycle_key)
    replans = bool(conflicts)
    if not slots:
        conflicts.append(
            f"brand {brand!r} has no cell in its grid for that: add [[grid]] entries to brand.toml or drop the filter"
        )
    elif not made:
        conflicts.append(f"nothing of week {cycle_key} is left to plan: choose a later week or other cells")
    if slots and max(planned.slot.at for planned in slots) > runtime.clock.now() + FURTHEST:
        conflicts.append(f"week {cycle_key} is more than {FURTHEST.days} days ahead: choose an earlier week")
    titles = {day.day for day in days if day.title}
    lines = await forecast(
        records,
        runtime.clock,
        models={agent: model_chain(runtime.settings, agent)[0] for agent in AgentType},
        pieces=len(made),
        revisions=MAX_REVISIONS,
        days=len(days),
        derived=len(titles) < len(days),
    )
    rows = await records.list_rows(Usage, day=day_of(runtime.clock.now()))
    return WeekPlan(
        cycle_key=cycle_key,
        theme=chosen,
        zone=profile.zone,
        slots=tuple(slots),
        days=tuple(days),
        changes=tuple(said),
        forecast=tuple(lines),
        session_limit_usd=runtime.settings.session_usd,
        day_left_usd=round(max(0.0, runtime.settings.brand_day_usd - sum(map(counted, rows))), 6),
        gaps=(*_gaps(days), *_shared_gap(days, usable)),
        conflicts=tuple(conflicts),
        warnings=(*near_theme(profile, theme), *await _ran_lately(records, chosen, cycle_key)),
        exists=exists,
        replans=replans,
        can_start=bool(exists) or len(conflicts) == int(replans),
    )


def near_theme(profile: BrandProfile, text: str) -> list[str]:
    """A line when `text` is no theme of the brand and nearly the name of one; what was typed is used all the same."""
    wanted = text.strip().lower()
    by_text = {name: theme.name for theme in profile.themes for name in (theme.name, theme.title.lower())}
    close = get_close_matches(wanted, list(by_text), n=1, cutoff=0.75)
    if wanted in by_text or not close:
        return []
    return [f"theme {text.strip()!r}: did you mean {by_text[close[0]]}? Free text is used as it stands"]


async def _slots(
    runtime: Runtime,
    records: Records,
    profile: BrandProfile,
    cycle_key: str,
    platforms: Sequence[str],
    types: Sequence[str],
    plans: Sequence[Session],
) -> list[PlannedSlot]:
    now = runtime.clock.now()
    ours = {id for plan in plans for id in session_piece_ids(plan)}  # a replan cancels them first
    taken = {
        (row.platform, row.account, row.scheduled_at): row.content_id
        for row in await records.list_rows(ScheduledPublication, cycle_key=cycle_key)
        if row.state == "published" or row.state not in TERMINAL_PIECE
        if row.content_id not in ours or row.sealed_hash
    }
    slots = []
    ours_at: dict[tuple[str, str, datetime], Slot] = {}
    for slot in week_slots(profile, cycle_key, platforms=platforms, types=types):
        place = (slot.platform, slot.account, slot.at)
        holder, before, why = taken.get(place), ours_at.get(place), ""
        if slot.at <= now:
            why = "has passed"
        elif not possible(slot.platform, slot.content_type):
            why = f"{slot.platform} has no {slot.content_type}"
        elif holder:
            why = f"taken by piece {holder}"
        elif before:  # two wall clocks may be one instant, where the clocks change
            why = f"taken by the {before.content_type} of {before.local[11:]}"
        else:
            ours_at[place] = slot
        slots.append(PlannedSlot(slot, why))
    return slots


async def _days(
    runtime: Runtime,
    records: Records,
    theme: Theme,
    slots: Sequence[Slot],
    profile: BrandProfile,
    said: Collection[str],
) -> tuple[list[PlannedDay], list[frozenset[str]]]:
    named = {DAYS.index(day.day) + 1: day for day in theme.days}
    pieces = Counter(slot.day for slot in slots)
    wanted = Counter[int]()
    for slot in slots:
        wanted[slot.day] += SENTENCES.get(slot.content_type, SENTENCES_A_PIECE)
    days, usable = [], []
    for number in sorted(pieces):
        day = named.get(number)
        known = await known_about(runtime, records, theme, day, profile=profile, said=said)
        title = day.title if day else ""
        days.append(
            PlannedDay(number, title, pieces[number], len(known.usable), wanted[number], known.said, known.refused)
        )
        usable.append(known.usable)
    return days, usable


def _gaps(days: Sequence[PlannedDay]) -> list[str]:
    return [
        f"{DAYS[day.day - 1]}: {many(day.sentences, 'sentence')} of knowledge for {many(day.pieces, 'piece')}{day.unusable}"
        f"{f' about {day.title!r}' if day.title else ''}: add a document that covers it, or drop cells"
        for day in days
        if day.sentences < day.wanted
    ]


def _shared_gap(days: Sequence[PlannedDay], usable: Sequence[Collection[str]]) -> list[str]:
    """A line when each day knows enough for itself and all of them together do not: no sentence is said twice in a week."""
    wanted = [min(day.wanted, len(known)) for day, known in zip(days, usable, strict=True)]
    lacking = sum(wanted) - _most_served(wanted, usable)
    if not lacking:
        return []
    known = len(frozenset().union(*usable))
    pieces = sum(day.pieces for day in days)
    return [
        f"the week: its days share {many(known, 'sentence')} of knowledge, and no post says what another says: {lacking} too few"
        f" for {many(pieces, 'piece')}: add a document that covers it, or drop cells"
    ]


def _most_served(wanted: Sequence[int], usable: Sequence[Collection[str]]) -> int:
    """How many of the sentences that the days want they can get, each sentence on one day (augmenting paths)."""
    days_of: dict[str, list[int]] = {}
    for n, known in enumerate(usable):
        for sentence in known:
            days_of.setdefault(sentence, []).append(n)
    held: list[set[str]] = [set() for _ in usable]

    def place(sentence: str, tried: set[int]) -> bool:
        for n in days_of[sentence]:
            if n in tried:
                continue
            tried.add(n)
            if len(held[n]) < wanted[n]:
                held[n].add(sentence)
                return True
            for other in held[n]:
                if place(other, tried):
                    held[n].remove(other)
                    held[n].add(sentence)
                    return True
        return False

    return sum(place(sentence, set()) for sentence in days_of)


def _standing(plans: Sequence[Session], inputs: dict[str, object], cycle_key: str) -> tuple[str, list[str]]:
    if not plans:
        return "", []
    last = plans[-1]
    gone = last.status is SessionStatus.CANCELLED
    if last.request.get("inputs") == inputs and not gone:
        return last.id, []
    what = "cancelled" if gone else "planned already"
    return "", [f"week {cycle_key} is {what} (session {last.id}, theme {last.theme!r}): run it with --replan"]


async def _ran_lately(records: Records, theme: Theme, cycle_key: str) -> list[str]:
    sessions = [row for row in await records.list_rows(Session) if row.kind == "cycle" and row.cycle_key]
    lately = sorted(
        row.cycle_key
        for row in sessions
        if row.theme == theme.title
        and row.cycle_key != cycle_key
        and row.status is not SessionStatus.CANCELLED
        and timedelta(0) <= monday(cycle_key) - monday(row.cycle_key) <= _AGAIN
    )
    return (
        [f"theme {theme.title!r} ran in {', '.join(lately)}: its sentences of the last weeks are avoided"]
        if lately
        else []
    )
