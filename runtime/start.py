"""Naming a session: what starts a themed week or a single piece, once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from config.brand_profile import BrandProfile, Theme
from config.errors import BadInput, Conflict
from config.ids import new_id, new_token
from config.vocabulary import TERMINAL_PIECE, SessionStatus
from graphs.context import advance_session_task, note
from graphs.grid import GridChange, edit_grid
from graphs.sessions import session_piece_ids
from graphs.week import Slot, week_slots
from memory.records.protocol import Records
from memory.rows.brand import REALM, Brand, Control
from memory.rows.content import Piece
from memory.rows.sessions import Session
from runtime.compose import Runtime

FURTHEST = timedelta(days=370)
"""How far ahead a week may be planned: queues refuse tasks beyond 400 days."""


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


async def find_plans(records: Records, cycle_key: str) -> list[Session]:
    """The sessions that planned this week, plan 1 first."""
    plans: list[Session] = []
    while (once := await records.find_once("cycle", f"{cycle_key}|{len(plans) + 1}", Session)) is not None:
        plans.append(await records.find(Session, id=once.row.id) or once.row)
    return plans


def week_inputs(
    theme: Theme, platforms: Sequence[str], types: Sequence[str], changes: Sequence[str] = ()
) -> dict[str, Any]:
    """What makes two requests for a week the same one."""
    inputs: dict[str, Any] = {"theme": theme.name, "platforms": sorted({*platforms}), "types": sorted({*types})}
    return {**inputs, "changes": list(changes)} if changes else inputs


async def start_cycle(
    runtime: Runtime,
    brand: str,
    *,
    theme: str,
    cycle_key: str,
    platforms: Sequence[str] = (),
    types: Sequence[str] = (),
    changes: Sequence[GridChange] = (),
    replan: bool = False,
    by: str = "",
    session_id: str = "",
) -> Session:
    """The session of this brand's week: a new one (`session_id` if given), or the one that was started with the same inputs.

    Days that have passed are not planned. Raises Conflict when the week was started with other inputs (and `replan` is not
    given, or plan n's unsealed pieces are not terminal yet), BadInput when nothing of the week is left to plan.
    """
    await runtime.ensure_brand(brand)
    records = runtime.records.for_brand(brand)
    profile, said = edit_grid(runtime.profile(brand), changes)
    chosen = profile.find_theme(theme)
    inputs = week_inputs(chosen, platforms, types, said)
    plans = await find_plans(records, cycle_key)
    if (
        plans
        and plans[-1].request_hash == _hash(inputs)
        and not (replan and plans[-1].status is SessionStatus.CANCELLED)
    ):
        return await materialise(runtime, records, plans[-1])
    if plans and not replan:
        raise Conflict(
            f"week {cycle_key} is planned already by session {plans[-1].id} with theme {plans[-1].theme!r}: "
            "run it with the same inputs, or plan it anew with --replan"
        )
    slots = week_slots(profile, cycle_key, platforms=platforms, types=types)
    left = [slot for slot in slots if slot.at > runtime.clock.now()]
    if slots and slots[-1].at > runtime.clock.now() + FURTHEST:
        raise BadInput(f"--week {cycle_key} is more than {FURTHEST.days} days ahead: choose an earlier week")
    if not slots:
        raise BadInput(
            f"brand {brand!r} has no cell in its grid for that: add [[grid]] entries to brand.toml or drop the filter"
        )
    if not left:
        raise BadInput(f"--week {cycle_key}: all of its {len(slots)} slots have passed: choose a later week")
    if plans:  # only when there is something to put in its place
        await _withdraw(runtime, records, plans[-1], by)
    request = {
        "theme": chosen.model_dump(mode="json"),
        "slots": [slot.model_dump(mode="json") for slot in left],
        "passed": len(slots) - len(left),
        "inputs": inputs,
    }
    session = _session(
        runtime,
        profile,
        kind="cycle",
        goal=f"week {cycle_key}: {chosen.title}",
        theme=chosen,
        cycle_key=cycle_key,
        plan=len(plans) + 1,
        request=request,
        inputs=inputs,
        session_id=session_id,
    )
    once = await records.create_once("cycle", f"{cycle_key}|{len(plans) + 1}", session, token=new_token())
    if once.row.request_hash != session.request_hash:
        raise Conflict(
            f"week {cycle_key} was planned just now by session {once.row.id} with theme {once.row.theme!r}: use --replan"
        )
    return await materialise(runtime, records, once.row)


async def start_piece(runtime: Runtime, brand: str, *, topic: str, slot: Slot, copy: int = 0) -> Session:
    """A session that makes one piece for `slot`, outside any themed week."""
    await runtime.ensure_brand(brand)
    records = runtime.records.for_brand(brand)
    profile = runtime.profile(brand)
    theme = profile.find_theme(topic)
    inputs = {"topic": topic, "slot": slot.id, "copy": copy}
    request = {
        "theme": theme.model_dump(mode="json"),
        "slots": [slot.model_dump(mode="json")],
        "passed": 0,
        "inputs": inputs,
        "copy": copy,
    }
    session = _session(
        runtime,
        profile,
        kind="create",
        goal=f"{slot.content_type} for {slot.platform}: {topic}",
        theme=theme,
        cycle_key=slot.cycle_key,
        plan=1,
        request=request,
        inputs=inputs,
    )
    return await materialise(runtime, records, session)


def _session(
    runtime: Runtime,
    profile: BrandProfile,
    *,
    kind: str,
    goal: str,
    theme: Theme,
    cycle_key: str,
    plan: int,
    request: dict[str, Any],
    inputs: dict[str, Any],
    session_id: str = "",
) -> Session:
    from graphs.cycle import VERSION

    now = runtime.clock.now()
    return Session(
        brand=profile.name,
        id=session_id or new_id(now),
        kind=kind,
        goal=goal,
        cycle_key=cycle_key,
        theme=theme.title,
        zone=profile.zone,
        plan=plan,
        request=request,
        request_hash=_hash(inputs),
        graph_version=str(VERSION),
        envelope_usd=runtime.settings.session_usd,
        created_at=now,
        updated_at=now,
    )


async def materialise(runtime: Runtime, records: Records, session: Session) -> Session:
    """Put the row of a named session if it is absent, and wake it if it is not finished."""
    found = await records.find(Session, id=session.id)
    if found is None:
        brand = await records.get(Brand, realm=REALM, name=records.brand)
        if not brand.first_cycle_key or session.cycle_key < brand.first_cycle_key:
            await records.put(
                brand.model_copy(update={"first_cycle_key": session.cycle_key, "updated_at": runtime.clock.now()})
            )
        await records.put(session)
        await note(records, runtime.clock, "session.started", session_id=session.id, goal=session.goal)
        found = session
    if found.status is SessionStatus.RUNNING:
        await runtime.queue.enqueue(advance_session_task(records.brand, session.id, runtime.clock))
    return found


async def _withdraw(runtime: Runtime, records: Records, session: Session, by: str) -> None:
    """Before a replan: cancel what the plan has not sealed, and wait for nobody."""
    if session.status not in (SessionStatus.CANCELLED,):
        await request_cancel(runtime, records, session, by=by, reason="replanned")
    pieces = await records.find_many(Piece, [{"id": id} for id in session_piece_ids(session)])
    open_pieces = [piece for piece in pieces if not piece.sealed_hash and piece.state not in TERMINAL_PIECE]
    if open_pieces or session.status is SessionStatus.RUNNING:
        raise Conflict(
            f"{len(open_pieces)} unsealed pieces of plan {session.plan} are being cancelled: run the same command again when "
            f"`session show {session.id}` says cancelled"
        )


async def request_cancel(runtime: Runtime, records: Records, session: Session, *, by: str, reason: str = "") -> None:
    """Set the session's cancel flag and wake it; every step looks at the flag."""
    await records.put(
        Control(
            brand=records.brand,
            name=f"cancel:{session.id}",
            value="on",
            by=by,
            reason=reason,
            updated_at=runtime.clock.now(),
        )
    )
    await note(records, runtime.clock, "session.cancel_requested", session_id=session.id, actor=by, reason=reason)
    await runtime.queue.enqueue(advance_session_task(records.brand, session.id, runtime.clock))
