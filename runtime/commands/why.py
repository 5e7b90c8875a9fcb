"""`why`: the story of a session, piece, task or publication, in the order in which it happened, from what was recorded."""

from __future__ import annotations

import argparse
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from config.errors import BadInput, NotFound
from runtime.commands.common import OK, add_verb, emit, opened, run_async

if TYPE_CHECKING:
    from memory.records.protocol import Records
    from memory.rows.content import Piece
    from memory.rows.publication import Schedule
    from memory.rows.sessions import Session
    from runtime.compose import Runtime

Entry = dict[str, Any]
_EVERY: Entry = {"piece_id": "", "content_hash": "", "model": "", "sources": []}
"""What --json says of every entry, beside when, what, by whom and why."""
_TASK = re.compile(r"(advance|publish|reconcile|upkeep|fire):([0-9a-z-]{1,80})")
_HASH = re.compile(r"\b[0-9a-f]{64}\b")
_AFTER = timedelta(days=31)
"""How long after its rows' last write a thing's events are looked for: publications and late decisions come later."""
_NAMED = 5
"""Ids that are named where several begin alike."""


def register(verbs: Any) -> None:
    why = add_verb(
        verbs, "why", "the story of a session, piece, task or publication: who did what, with which model, and why"
    )
    why.add_argument(
        "id", metavar="ID", help="an id, the first 8 or more characters of it, or a task such as advance:ID"
    )
    why.set_defaults(run=lambda args: run_async(lambda: run_why(args)))


async def run_why(args: argparse.Namespace) -> int:
    """Print the story. Raises NotFound for what this brand has not."""
    ref, task_id = _parse(args.id)
    async with opened(args) as (runtime, brand):
        records = runtime.records.for_brand(brand)
        story, about, zone = await _find(runtime, records, ref, task_id)
    story.sort(key=lambda entry: entry["at"])
    shape = [{**_EVERY, **entry, "at": entry["at"].isoformat()} for entry in story]
    from runtime.commands.lookup import when

    lines = [
        f"{about} (times in {zone})",
        *(f"{when(e['at'], zone)}  {e['what']}" + (f" by {e['by']}" if e["by"] else "") + _detail(e) for e in story),
    ]
    emit(args, {"about": about, "story": shape}, "\n".join(lines))
    return OK


def _parse(text: str) -> tuple[str, str]:
    """The id asked about, and the task's id if it is one. Raises BadInput before anything is opened."""
    found = _TASK.fullmatch(text)
    if found and (found[1] == "upkeep" or re.fullmatch(r"[0-9a-f-]{8,64}", found[2])):
        return found[2], text
    if re.fullmatch(r"[0-9a-fA-F][0-9a-fA-F-]{7,63}", text):
        return text.lower(), ""
    raise BadInput(
        f"ID {text[:80]!r} is not an id: give one as the list commands print it, or 8 or more characters of it"
    )


def _detail(entry: Entry) -> str:
    text = " ".join(str(entry["detail"]).split())
    return f": {_HASH.sub(lambda found: found[0][:12], text)}" if text else ""


def _entry(at: datetime, kind: str, what: str, *, by: str = "", detail: str = "", **more: Any) -> Entry:
    return {"at": at, "kind": kind, "what": what, "by": by, "detail": detail, **more}


async def _find(runtime: Runtime, records: Records, ref: str, task_id: str) -> tuple[list[Entry], str, str]:
    from memory.rows.sessions import Session
    from runtime.commands.lookup import match_pieces, when

    zone = runtime.profile(records.brand).zone
    task = await runtime.queue.find(task_id) if task_id else None
    queued = (
        await _task_story(runtime, task_id) if task is not None and task.brand in (records.brand, "copydesk") else []
    )
    if task_id.startswith("upkeep:"):
        if task is None:
            raise NotFound(f"task {task_id!r} is not queued: `worker` starts it")
        return queued, f"task {task_id}: upkeep that every worker starts", zone
    if task_id.startswith("fire:") and (schedule := await _scheduled(records, task_id)) is not None:
        told = f"schedule {schedule.name}: fires at {when(schedule.next_at, zone)} or as soon as it can"
        return await _fires(records, schedule) + queued, told, zone
    sessions = [row for row in await records.list_rows(Session) if row.id.startswith(ref)]
    pieces = await match_pieces(records, ref) if len(ref) <= 36 else []
    if not sessions and not pieces:
        pieces = await _by_publication(records, ref)
    if len(found := [*(("session", row.id) for row in sessions), *(("piece", row.id) for row in pieces)]) > 1:
        named = ", ".join(f"{kind} {id}" for kind, id in found[:_NAMED])
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise BadInput(f"ID {ref!r} begins {len(found)} ids: {named}{more}: give more of it")
    if sessions:
        session = sessions[0]
        about = f"session {session.id}: {session.goal}: {session.status}" + (
            f": {session.reason}" if session.reason else ""
        )
        return await session_story(runtime, records, session) + queued, about, zone
    if pieces:
        piece = pieces[0]
        about = f"piece {piece.id}: {piece.content_type} for {piece.platform}: {piece.state}"
        about += f": {piece.reason}" if piece.reason else ""
        return await piece_story(runtime, records, piece) + queued, about, zone
    if queued:
        return queued, f"task {task_id}: its row is not there (any more)", zone
    raise NotFound(
        f"nothing of brand {records.brand!r} has the id {ref!r}: `session list`, `piece list` and `publish status` print ids"
    )


async def _scheduled(records: Records, task_id: str) -> Schedule | None:
    """The schedule that the task fires."""
    from memory.rows.publication import Schedule
    from runtime.scheduler import fire_task

    rows = await records.list_rows(Schedule)
    return next((row for row in rows if fire_task(row).id == task_id), None)


async def _fires(records: Records, schedule: Schedule) -> list[Entry]:
    """Its slots that were decided, and the pause that holds it."""
    from memory.rows.brand import Control
    from runtime.scheduler import list_fires, pause_control

    story = [_entry(schedule.created_at, "schedule", f"schedule {schedule.name} was added")]
    for fire in await list_fires(records, since=schedule.created_at - _AFTER):
        if fire.schedule == schedule.name:
            made = f"session {fire.session_id}" if fire.session_id else ""
            story.append(_entry(fire.fired_at, "schedule", f"slot {fire.local_slot}: {fire.outcome}", detail=made))
    flag = await records.find(Control, name=pause_control(schedule.name))
    if flag is not None:
        what = "paused" if flag.value == "on" else "resumed"
        story.append(_entry(flag.updated_at, "schedule", f"it was {what}", by=flag.by, detail=flag.reason))
    return story


async def _by_publication(records: Records, prefix: str) -> list[Piece]:
    """The pieces whose publication's key begins with `prefix`."""
    from config.vocabulary import PieceState
    from memory.rows.content import Piece
    from memory.rows.publication import ScheduledPublication
    from tools.publish.fold import pub_key

    found = [
        row.content_id
        for state in PieceState
        for row in await records.find_by(ScheduledPublication, state=state)
        if pub_key(row.brand, row.platform, row.account, row.content_id).startswith(prefix)
    ]
    return await records.find_many(Piece, [{"id": id} for id in found])


async def _task_story(runtime: Runtime, task_id: str) -> list[Entry]:
    dead = [letter for letter in await runtime.queue.list_dead() if letter.task.id == task_id]
    if dead:
        died = f"task {task_id} was dead-lettered after {dead[0].task.attempts} failures and {dead[0].task.deaths} dead workers"
        return [_entry(dead[0].died_at, "task", died, detail=f"{dead[0].reason}; `queue requeue {task_id}`")]
    task = await runtime.queue.find(task_id)
    if task is None:
        return []
    detail = f"priority {task.priority}, {task.attempts} failures" + (f", last: {task.reason}" if task.reason else "")
    return [_entry(task.run_at, "task", f"task {task_id} is queued, not before this instant", detail=detail)]


async def _days(first: datetime, last: datetime, now: datetime) -> list[str]:
    # A clock that was set back since does not make what was written then unheard of.
    day, end, days = first.date(), min(last + _AFTER, max(last, now)).date(), []
    while day <= end:
        days.append(day.isoformat())
        day += timedelta(days=1)
    return days or [first.date().isoformat()]


async def session_story(runtime: Runtime, records: Records, session: Session) -> list[Entry]:
    """What happened in a session: its events, assignments and what the models cost."""
    from memory.rows.sessions import Assignment

    days = await _days(session.created_at, session.finished_at or session.updated_at, runtime.clock.now())
    story = await _events(records, days, session_id=session.id)
    story += await _usage(records, days, session_id=session.id)
    for row in await records.list_rows(Assignment, session_id=session.id):
        told = ", ".join(f"{key} {value}" for key, value in row.coordination_data.items())
        story.append(_entry(row.created_at, "assignment", f"{row.agent_type} was given: {row.task_description}"))
        if row.completed_at:
            detail = told if row.status == "completed" else row.results
            story.append(
                _entry(
                    row.completed_at,
                    "assignment",
                    f"{row.agent_type} {row.status}: {row.task_description}",
                    detail=detail,
                )
            )
    return story + await _task_story(runtime, f"advance:{session.id}") + await _memories(records, session.id, "")


async def piece_story(runtime: Runtime, records: Records, piece: Piece) -> list[Entry]:
    """What happened to a piece: events, revisions, checks with their rules, decisions, ledger steps, models, memories."""
    from graphs.ids import review_id
    from graphs.pieces import find_schedule
    from memory.rows.checks import ComplianceCheck, Review
    from memory.rows.content import Revision
    from memory.rows.publication import LedgerStep
    from tools.publish.fold import pub_key

    days = await _days(piece.created_at, piece.updated_at, runtime.clock.now())
    story = await _events(records, days, piece_id=piece.id)
    story += await _usage(records, days, piece_id=piece.id)
    revisions = await records.list_rows(Revision, content_id=piece.id)
    for row in revisions:
        rests = f"rests on {len(row.sources)} passages" + (f"; gaps: {'; '.join(row.gaps)}" if row.gaps else "")
        what = f"revision {row.content_hash[:12]} of run {row.run} was written ({row.mode})"
        story.append(_entry(row.created_at, "revision", what, by=row.author, detail=rests, sources=list(row.sources)))
    for check in await records.list_rows(ComplianceCheck, content_id=piece.id):
        fired = "; ".join(f"{f.rule} ({f.severity}) {f.field}: {f.quote!r}" for f in check.findings)
        what = f"check {check.check_type} of {check.content_hash[:12]}: {check.check_result}"
        story.append(
            _entry(check.created_at, "check", what, by=check.checked_by, detail=fired or check.recommendations)
        )
    for review in await records.find_many(Review, [{"id": review_id(piece.id, row.content_hash)} for row in revisions]):
        story.append(
            _entry(review.created_at, "review", f"a human is asked about {review.content_hash[:12]}", detail=review.why)
        )
        if review.decided_at:
            what = f"{review.content_hash[:12]} was {review.decision}"
            story.append(_entry(review.decided_at, "review", what, by=review.reviewer, detail=review.reason))
    schedule = await find_schedule(records, piece)
    if schedule is not None:
        key = pub_key(piece.brand, piece.platform, schedule.account, piece.id)
        for step in await records.list_rows(LedgerStep, pub_key=key):
            what = f"publication {key[:12]} attempt {step.attempt} part {step.part}: {step.step}"
            detail = " ".join(part for part in (step.code, step.reason, step.url or step.external_id) if part)
            story.append(_entry(step.created_at, "ledger", what, detail=detail, content_hash=step.content_hash))
        story += await _task_story(runtime, f"publish:{key}") + await _task_story(runtime, f"reconcile:{key}")
    return (
        story + await _task_story(runtime, f"advance:{piece.id}") + await _memories(records, piece.session_id, piece.id)
    )


async def _events(records: Records, days: list[str], **of: str) -> list[Entry]:
    from memory.rows.sessions import Event

    [(field, id)] = of.items()
    rows = [row for day in days for row in await records.list_rows(Event, day=day) if getattr(row, field) == id]
    story = []
    for row in rows:
        about = f" {row.piece_id[:8]}" if field == "session_id" and row.piece_id else ""
        detail = "; ".join(
            f"{key} {_told(value)}" for key, value in row.detail.items() if value not in ("", [], {}, None)
        )
        story.append(
            _entry(row.created_at, "event", row.name + about, by=row.actor, detail=detail, piece_id=row.piece_id)
        )
    return story


def _told(value: Any) -> str:
    """A value of an event's detail; the calls of tools as calls, each with what came of it."""
    if not isinstance(value, list) or not all(isinstance(call, dict) and "tool" in call for call in value):
        return str(value)
    lines = []
    for call in value:
        asked = "" if call["by"] == "code" else "the model asked: "
        lines.append(f"{asked}{call['tool']}({call['with']}) -> {call['outcome']} {call['note']}".rstrip())
    return ", ".join(lines)


async def _usage(records: Records, days: list[str], **of: str) -> list[Entry]:
    from agents.spending import counted
    from memory.rows.sessions import Usage

    [(field, id)] = of.items()
    return [
        _entry(
            row.created_at,
            "usage",
            f"{row.agent_type or 'an agent'} called {row.model.removesuffix(':')}",
            detail=f"{row.input_tokens} + {row.output_tokens} tokens, {counted(row):.4f} USD, {row.status}",
            model=row.model,
        )
        for day in days
        for row in await records.list_rows(Usage, day=day)
        if getattr(row, field) == id
    ]


async def _memories(records: Records, session_id: str, piece_id: str) -> list[Entry]:
    """What was remembered from the session, or from this piece of it."""
    from memory.rows.agents import AgentMemory

    rows = await records.find_by(AgentMemory, brand=records.brand)
    return [
        _entry(row.created_at, "memory", f"{row.agent_type} remembered {row.memory_key}", detail=row.memory_content)
        for row in rows
        if row.context_data.get("session") == session_id and (not piece_id or piece_id in row.memory_key)
    ]
