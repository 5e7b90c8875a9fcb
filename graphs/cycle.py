"""The cycle graph: plan -> research (one Brief a day) -> dispatch -> wait until every piece is settled -> report.

Fan-in is derived from rows, never counted: the wait is answered only when Records says that every piece is settled.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any, Literal

from langgraph.errors import NodeError
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, Send, interrupt

from agents import coordination, research
from agents.agent import DayPlan
from config.brand_profile import Theme
from config.errors import SettingsError, Unavailable
from config.ids import name_id
from config.platforms import possible
from config.vocabulary import UNSETTLED, AgentType, PieceState
from graphs.arrange import take_slot
from graphs.context import PASS_THROUGH, GraphContext, advance_piece_task
from graphs.ids import brief_id
from graphs.pieces import move, schedule_id
from graphs.sessions import count_pieces, session_slots
from graphs.shares import needs
from graphs.sources import count_sources
from graphs.state import CycleState, ResearchDay, Settled
from graphs.templates import refresh_templates
from graphs.used import coming, remember_week, used_lately, without_used
from graphs.week import Slot, weeks_between
from memory.rows.brand import REALM, Brand
from memory.rows.content import Piece
from memory.rows.publication import ScheduledPublication
from memory.rows.sessions import Assignment, Session

GRAPH = "cycle"
VERSION = 1
RESEARCH_ROUNDS = 3
"""How often a day whose research failed is tried before its pieces fail with the reason."""


async def _assign(
    context: GraphContext,
    agent: AgentType,
    part: str,
    description: str,
    *,
    id: str = "",
    status: str = "active",
    results: str = "",
    dependencies: tuple[str, ...] = (),
    **data: str,
) -> Assignment:
    key = id or name_id("assignment", context.session_id, agent, part)
    old = await context.records.find(Assignment, session_id=context.session_id, id=key)
    now = context.clock.now()
    row = Assignment(
        brand=context.records.brand,
        session_id=context.session_id,
        id=key,
        agent_type=agent,
        task_description=description,
        status=status,
        dependencies=dependencies or (old.dependencies if old else ()),
        results=results or (old.results if old else ""),
        coordination_data={**(old.coordination_data if old else {}), **data},
        started_at=old.started_at if old else now,
        completed_at=now if status in ("completed", "failed") else None,
        created_at=old.created_at if old else now,
    )
    await context.records.put(row)
    return row


async def _session(context: GraphContext) -> Session:
    return await context.records.get(Session, id=context.session_id)


async def plan(state: CycleState, runtime: Runtime[GraphContext]) -> CycleState:
    """Give every day its theme; refuse impossible cells; reserve the slots."""
    context = runtime.context
    await context.enter()
    session = await _session(context)
    await _assign(context, AgentType.COORDINATION, "plan", f"plan {session.goal}")
    slots = session_slots(session)
    await refresh_templates(context.records, context.clock)
    theme = Theme.model_validate(session.request["theme"])
    # A piece that is made on its own is about what was asked for, whatever ran lately.
    week = session.cycle_key if session.kind == "cycle" else ""
    days = await coordination.plan_days(
        context.agent, theme, sorted({slot.day for slot in slots}), cycle_key=week, needs=needs(slots)
    )
    skipped: dict[str, str] = {}
    brand = await context.records.get(Brand, realm=REALM, name=context.records.brand)
    for slot in slots:
        if not possible(slot.platform, slot.content_type):
            skipped[slot.id] = f"{slot.platform} has no {slot.content_type}"
            continue
        row = _schedule_row(context, session, brand, slot)
        if not await take_slot(context.records, row, slot.at):
            skipped[slot.id] = f"{slot.platform} {slot.local} is taken by another piece"
    await _assign(
        context,
        AgentType.COORDINATION,
        "plan",
        f"plan {session.goal}",
        status="completed",
        results=f"{len(slots) - len(skipped)} slots",
    )
    await context.note("cycle.planned", actor=AgentType.COORDINATION, slots=len(slots), skipped=len(skipped))
    return {"days": {str(day.day): day.model_dump(mode="json") for day in days}, "skipped": skipped, "rounds": 0}


def _schedule_row(context: GraphContext, session: Session, brand: Brand, slot: Slot) -> ScheduledPublication:
    piece_id = slot.piece_id(plan=session.plan, copy=int(session.request.get("copy", 0)))
    now = context.clock.now()
    return ScheduledPublication(
        brand=context.records.brand,
        cycle_key=slot.cycle_key,
        id=schedule_id(piece_id),
        content_id=piece_id,
        platform=slot.platform,
        content_type=slot.content_type,
        account=slot.account,
        scheduled_at=slot.at,
        cycle_week=max(0, weeks_between(brand.first_cycle_key or slot.cycle_key, slot.cycle_key)),
        cycle_day=slot.day,
        theme=session.theme,
        session_id=session.id,
        plan=session.plan,
        created_at=now,
        updated_at=now,
        result_data={} if slot.resolution == "ok" else {"resolution": slot.resolution},
    )


def to_research(state: CycleState) -> list[Send] | str:
    """A branch for each day that has no Brief; straight on when there is nothing (left) to research."""
    open_days = [day for day in state["days"] if day not in state.get("briefs", {})]
    if not open_days or state["rounds"] >= RESEARCH_ROUNDS:
        return "dispatch"
    return [
        Send("research_day", {"session_id": state["session_id"], "day": int(day), "theme": state["days"][day]})
        for day in open_days
    ]


async def research_day(state: ResearchDay, runtime: Runtime[GraphContext]) -> CycleState:
    """Make one day's Brief and store it as the research agent's result."""
    context = runtime.context
    await context.enter()
    session = await _session(context)
    day = DayPlan.model_validate(state["theme"])
    key = brief_id(session.id, day.day)
    found = await context.records.find(Assignment, session_id=session.id, id=key)
    if found is None or found.status != "completed":
        depends = (name_id("assignment", session.id, AgentType.COORDINATION, "plan"),)
        await _assign(context, AgentType.RESEARCH, "", f"day {day.day}: {day.title}", id=key, dependencies=depends)
        brief = await research.make_brief(
            context.agent, Theme.model_validate(session.request["theme"]), day, session.cycle_key
        )
        wanted = sum(slot.day == day.day for slot in session_slots(session))
        brief = brief.model_copy(update={"id": key})
        if not session.request.get("copy"):  # a copy says again, on purpose, what its piece says
            used = await used_lately(runtime.store, context.clock.now())
            used |= await coming(context.records, cycle_key=session.cycle_key, session_id=session.id)
            brief = without_used(brief, used, pieces=wanted)
        await _assign(
            context,
            AgentType.RESEARCH,
            "",
            f"day {day.day}: {day.title}",
            id=key,
            status="completed",
            results=brief.model_dump_json(),
            day=str(day.day),
            facts=str(len(brief.facts)),
            gaps=str(len(brief.gaps)),
        )
        await context.note(
            "brief.made", actor=AgentType.RESEARCH, day=day.day, facts=len(brief.facts), gaps=list(brief.gaps)
        )
    return {"briefs": {str(day.day): key}}


async def research_failed(
    state: ResearchDay, runtime: Runtime[GraphContext], error: NodeError
) -> Command[Literal["regroup"]]:
    """One day's failure cancels no other day's paid work."""
    if isinstance(error.error, (*PASS_THROUGH, SettingsError)):
        raise error.error
    context = runtime.context
    reason = f"{type(error.error).__name__}: {error.error}"[:300]
    away = isinstance(error.error, Unavailable)
    asked_for = error.error.retry_after if isinstance(error.error, Unavailable) else None
    await _assign(
        context,
        AgentType.RESEARCH,
        "",
        f"day {state['day']}",
        id=brief_id(context.session_id, state["day"]),
        status="failed",
        results=reason,
        away=context.guard.token if away else "",
        again_after_s=f"{asked_for.total_seconds():g}" if asked_for else "",
    )
    # Said where to go: the edges of a step that broke are not followed, and without another branch the graph would end here.
    return Command(update={"failures": {str(state["day"]): reason}}, goto="regroup")


async def regroup(state: CycleState, runtime: Runtime[GraphContext]) -> CycleState:
    """Count the round; days without a Brief get another one.

    A round in which something was away is not counted. Here, where every other day has come to its end, the thread is parked:
    Unavailable, until another lease takes it up.
    """
    context = runtime.context
    await context.enter()
    days = [int(day) for day in state.get("failures", {}) if day not in state.get("briefs", {})]
    keys = [{"session_id": context.session_id, "id": brief_id(context.session_id, day)} for day in days]
    rows = await context.records.find_many(Assignment, keys)
    away = [row for row in rows if row.status == "failed" and row.coordination_data.get("away")]
    for row in away:
        if row.coordination_data["away"] == context.guard.token:
            seconds = row.coordination_data.get("again_after_s")
            raise Unavailable(row.results, retry_after=timedelta(seconds=float(seconds)) if seconds else None)
    return {"rounds": state["rounds"] + (not away)}


async def dispatch(state: CycleState, runtime: Runtime[GraphContext]) -> CycleState:
    """Write the piece rows, then their schedule rows, then their tasks."""
    context = runtime.context
    await context.enter()
    session = await _session(context)
    brand = await context.records.get(Brand, realm=REALM, name=context.records.brand)
    now = context.clock.now()
    by_day: dict[int, list[Slot]] = defaultdict(list)
    for slot in session_slots(session):
        if slot.id not in state.get("skipped", {}):
            by_day[slot.day].append(slot)
    made: list[str] = []
    for day, slots in sorted(by_day.items()):
        for n, slot in enumerate(slots):
            row = _schedule_row(context, session, brand, slot)
            made.append(row.content_id)
            piece = await context.records.find(Piece, id=row.content_id)
            if piece is None:
                piece = Piece(
                    brand=context.records.brand,
                    id=row.content_id,
                    content_type=slot.content_type,
                    platform=slot.platform,
                    platform_specs={
                        "slot": slot.id,
                        "local": slot.local,
                        "account": slot.account,
                        "ordinal": str(n),
                        "of": str(len(slots)),
                    },
                    session_id=session.id,
                    cycle_key=slot.cycle_key,
                    cycle_day=day,
                    theme=state["days"][str(day)]["title"],
                    plan=session.plan,
                    copy_n=int(session.request.get("copy", 0)),
                    brief_id=state.get("briefs", {}).get(str(day), ""),
                    created_at=now,
                    updated_at=now,
                )
                await context.records.put(piece)
            if await context.records.find(ScheduledPublication, cycle_key=row.cycle_key, id=row.id) is None:
                await context.records.put(row)
            if not piece.brief_id and piece.state is PieceState.PLANNED:
                why = state.get("failures", {}).get(str(day), "no brief was made")
                await move(context.records, context.clock, piece, PieceState.FAILED, reason=f"research: {why}")
                continue
            if piece.state in UNSETTLED:
                await context.enqueue(advance_piece_task(context.records.brand, piece.id, context.clock))
    await _assign(
        context,
        AgentType.CREATION,
        "write",
        f"write {len(made)} pieces",
        dependencies=tuple(state.get("briefs", {}).values()),
    )
    await _assign(
        context,
        AgentType.COMPLIANCE,
        "check",
        f"check {len(made)} pieces",
        dependencies=(name_id("assignment", session.id, AgentType.CREATION, "write"),),
    )
    await _assign(context, AgentType.COORDINATION, "wait", "wait until every piece is settled", status="waiting")
    await context.note("cycle.dispatched", actor=AgentType.COORDINATION, pieces=len(made))
    return {"pieces": made}


def after_dispatch(state: CycleState) -> str:
    """An empty week has nothing to wait for: it goes to the join by itself."""
    return "wait" if state["pieces"] else "report"


async def wait(state: CycleState) -> CycleState:
    """Wait for the pieces. Nothing else may stand here: the node runs again from its top when it is answered."""
    interrupt({"waiting_for": "pieces", "session_id": state["session_id"]}, response_schema=Settled)
    return {}


async def report(state: CycleState, runtime: Runtime[GraphContext]) -> CycleState:
    """Close the assignments and write the outcome: the only writer of it."""
    context = runtime.context
    await context.enter()
    await refresh_templates(context.records, context.clock)
    await remember_week(runtime.store, context.records, await _session(context), state["pieces"])
    counts = await count_pieces(context.records, state["pieces"])
    total = len(state["pieces"])
    await _assign(
        context,
        AgentType.CREATION,
        "write",
        f"write {total} pieces",
        status="completed",
        results=f"{total - counts['failed']} written",
    )
    await _assign(
        context,
        AgentType.COMPLIANCE,
        "check",
        f"check {total} pieces",
        status="completed",
        results=", ".join(f"{n} {name}" for name, n in sorted(counts.items()) if n),
    )
    await _assign(context, AgentType.COORDINATION, "wait", "wait until every piece is settled", status="completed")
    await context.note("cycle.reported", actor=AgentType.COORDINATION, **{k: v for k, v in counts.items() if v})
    return {
        "outcome": {
            "pieces": state["pieces"],
            "skipped": state.get("skipped", {}),
            "sources": await count_sources(context.records, context.session_id, state["pieces"]),
            "failures": {
                day: why for day, why in state.get("failures", {}).items() if day not in state.get("briefs", {})
            },
        }
    }


def build_cycle_graph(*, node_timeout: timedelta) -> StateGraph[Any, Any, Any, Any]:
    """The graph, not yet compiled; each node may run for `node_timeout`."""
    seconds = node_timeout.total_seconds()
    graph = StateGraph(CycleState, context_schema=GraphContext)
    for node in (plan, regroup, dispatch, report):
        graph.add_node(node.__name__, node, timeout=seconds)
    graph.add_node(
        "research_day", research_day, input_schema=ResearchDay, error_handler=research_failed, timeout=seconds
    )
    graph.add_node("wait", wait)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", to_research, ["research_day", "dispatch"])
    graph.add_edge("research_day", "regroup")
    graph.add_conditional_edges("regroup", to_research, ["research_day", "dispatch"])
    graph.add_conditional_edges("dispatch", after_dispatch, ["wait", "report"])
    graph.add_edge("wait", "report")
    graph.add_edge("report", END)
    return graph
