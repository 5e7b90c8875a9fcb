"""The piece graph: draft -> checks -> decide -> (revise | ask a human | settle), a thread of its own for each run of a piece.

Nodes run at least once. Each writes rows whose keys name themselves, so that running again changes nothing; nothing is
published from here.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from langgraph.errors import NodeError
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, Send, interrupt

from agents import compliance, creation
from config.errors import LeaseLost, ModelRefused, NotFound
from config.log import escape
from config.vocabulary import CHECK_TYPES, AgentType, CheckResult, Decision, PieceState
from graphs.arrange import arrange
from graphs.context import PASS_THROUGH, GraphContext, advance_session_task
from graphs.drafts import AUTHOR, find_old_alt_text, find_written, load_brief, store_draft
from graphs.ids import check_id, review_id
from graphs.near import lost_to, near_duplicates
from graphs.pieces import find_schedule, get_revision, move, write_embedding, written
from graphs.state import MAX_REVISIONS, CheckOne, HumanDecision, PieceGraphState
from graphs.used import remember_used
from graphs.verdicts import GRAVITY, checks_of, close_review, grounds, record_twin, rule_row, who_asks, worst
from memory.rows.checks import Review
from memory.rows.content import Piece, Revision
from tools.checks.limits import check_limits

GRAPH = "piece"
VERSION = 1
RULE_CHECKS = ("limits", "near_duplicate")


async def _start(runtime: Runtime[GraphContext]) -> tuple[GraphContext, Piece]:
    context = runtime.context
    await context.enter()
    return context, await context.records.get(Piece, id=context.piece_id)


async def draft(state: PieceGraphState, runtime: Runtime[GraphContext]) -> PieceGraphState:
    """Write the first revision, unless this run has one already."""
    context, piece = await _start(runtime)
    await context.show("draft.started", actor=AgentType.CREATION)
    if piece.content_hash and state.get("start_at") == "checks":
        return {"content_hash": piece.content_hash, "revision": 0}
    revision = await find_written(context, piece, 0)
    if revision is None:
        piece = await move(context.records, context.clock, piece, PieceState.DRAFTING)
        brief = await load_brief(context.records, piece)
        revision = await store_draft(
            context, piece, await creation.draft(context.agent, piece, brief, used=()), revision=0
        )
    await move(
        context.records,
        context.clock,
        piece,
        PieceState.CHECKING,
        content_hash=revision.content_hash,
        mode=revision.mode,
        content_version=1,
        **written(piece, revision),
    )
    return {"content_hash": revision.content_hash, "revision": 0}


def to_checks(state: PieceGraphState) -> list[Send]:
    """One branch a check type, plus the platform's limits and the search for near-duplicates."""
    payload = {"piece_id": state["piece_id"], "run": state["run"], "content_hash": state["content_hash"]}
    return [Send("check", {**payload, "check_type": kind}) for kind in (*CHECK_TYPES, *RULE_CHECKS)]


async def check(state: CheckOne, runtime: Runtime[GraphContext]) -> PieceGraphState:
    """Run one check over the exact bytes and record it."""
    context, piece = await _start(runtime)
    revision = await get_revision(context.records, piece, state["content_hash"])
    kind = state["check_type"]
    await context.show(f"check.{kind}", actor=AgentType.COMPLIANCE)
    if kind == "limits":
        found = check_limits(revision.post) + await find_old_alt_text(context, piece, revision)
        row = rule_row(context, piece, revision, kind, found)
    elif kind == "near_duplicate":
        row = rule_row(context, piece, revision, kind, await near_duplicates(context, piece, revision))
    else:
        row = await compliance.check(context.agent, piece, revision, kind, packs=context.profile.packs)
    row = row.model_copy(
        update={"id": check_id(piece.id, state["run"], revision.content_hash, kind), "run": state["run"]}
    )
    await context.records.put(row)
    return {"results": {f"{revision.content_hash}|{kind}": str(row.check_result)}}


async def check_failed(state: CheckOne, runtime: Runtime[GraphContext], error: NodeError) -> Command[Literal["decide"]]:
    """A check that broke is a question to a human, never a pass."""
    if isinstance(error.error, PASS_THROUGH):
        raise error.error
    context, piece = await _start(runtime)
    revision = await get_revision(context.records, piece, state["content_hash"])
    kind = state["check_type"]
    row = rule_row(
        context,
        piece,
        revision,
        kind,
        [],
        result=CheckResult.MANUAL_REVIEW,
        notes=escape(f"the check did not finish: {error.error}")[:500],
    )
    row = row.model_copy(
        update={"id": check_id(piece.id, state["run"], revision.content_hash, kind), "run": state["run"]}
    )
    await context.records.put(row)
    # Said where to go: the edges of a step that broke are not followed, and when every check breaks nothing else leads on.
    return Command(update={"results": {f"{revision.content_hash}|{kind}": str(row.check_result)}}, goto="decide")


async def decide(state: PieceGraphState, runtime: Runtime[GraphContext]) -> PieceGraphState:
    """Fold the checks of the present bytes into what happens next: revise, ask, approve or reject."""
    context, piece = await _start(runtime)
    present = {
        key.split("|")[1]: result
        for key, result in state["results"].items()
        if key.startswith(state["content_hash"] + "|")
    }
    missing = [kind for kind in (*CHECK_TYPES, *RULE_CHECKS) if kind not in present]
    result = worst([*present.values(), *([CheckResult.MANUAL_REVIEW] if missing else [])])
    revision = await get_revision(context.records, piece, state["content_hash"])
    if (
        result in (CheckResult.FAILED, CheckResult.MANUAL_REVIEW)
        and state["revision"] < MAX_REVISIONS
        and revision.author == AUTHOR
    ):
        return {"verdict": "revise", "why": str(result)}
    failed = {kind for kind, r in present.items() if r == CheckResult.FAILED}
    if revision.gaps and failed <= {"limits"}:  # what is missing cannot pass the platform's limits: a human fills it in
        return {"verdict": "ask", "why": f"a brief with gaps, not yet a post: {'; '.join(revision.gaps)[:300]}"}
    if result is CheckResult.FAILED:
        rows = [
            row
            for row in await checks_of(context.records, piece.id, state["content_hash"], run=state["run"])
            if row.check_type in failed
        ]
        return {"verdict": "reject", "why": "; ".join(sorted(grounds(row) for row in rows))[:500]}
    if result is CheckResult.MANUAL_REVIEW:
        asking = await checks_of(context.records, piece.id, state["content_hash"], run=state["run"])
        return {"verdict": "ask", "why": who_asks(asking)}
    if context.profile.approval == "all":
        return {"verdict": "ask", "why": "this brand approves every piece by hand"}
    checked_by = {
        row.checked_by
        for row in await checks_of(context.records, piece.id, state["content_hash"], run=state["run"])
        if row.check_type in CHECK_TYPES
    }
    if checked_by <= {"rules"} and not context.profile.rules_only_ok:
        return {"verdict": "ask", "why": "only rules have read it"}
    return {"verdict": "approve", "why": "no rule fired" if result is CheckResult.PASSED else "warnings only"}


def after_decide(state: PieceGraphState) -> str:
    """Where the verdict leads."""
    return {"revise": "revise", "ask": "ask", "approve": "settle", "reject": "settle"}[state["verdict"]]


async def revise(state: PieceGraphState, runtime: Runtime[GraphContext]) -> PieceGraphState:
    """Write the next revision with the findings in hand. With the same bytes again, or none, what was found decides: ask or reject."""
    context, piece = await _start(runtime)
    old = await get_revision(context.records, piece, state["content_hash"])
    findings = [
        f
        for row in await checks_of(context.records, piece.id, old.content_hash, run=state["run"])
        for f in row.findings
    ]
    number = state["revision"] + 1
    new = await find_written(context, piece, number)
    if new is None:
        brief = await load_brief(context.records, piece)
        try:
            proposed = await creation.revise(context.agent, piece, old, brief, findings)
        except ModelRefused:  # the text that there is, and what was found in it, is still worth a human's look
            return {"revision": MAX_REVISIONS, "content_hash": old.content_hash}
        if proposed.post.content_hash == old.content_hash:
            return {"revision": MAX_REVISIONS, "content_hash": old.content_hash}
        new = await store_draft(context, piece, proposed, revision=number)
    await context.keep_variant(piece, old)
    await move(
        context.records,
        context.clock,
        piece,
        PieceState.CHECKING,
        content_hash=new.content_hash,
        content_version=number + 1,
        **written(piece, new),
    )
    return {"content_hash": new.content_hash, "revision": number}


async def ask(state: PieceGraphState, runtime: Runtime[GraphContext]) -> PieceGraphState:
    """Put the question to a human: the review row of exactly these bytes, and the state `waiting`."""
    context, piece = await _start(runtime)
    rows = await checks_of(context.records, piece.id, state["content_hash"], run=state["run"])
    findings = [f for row in rows for f in row.findings]
    result = worst([row.check_result for row in rows])
    now = context.clock.now()
    key = review_id(piece.id, state["content_hash"])
    if await context.records.find(Review, id=key) is None:
        await context.records.put(
            Review(
                brand=context.records.brand,
                id=key,
                piece_id=piece.id,
                session_id=piece.session_id,
                content_hash=state["content_hash"],
                platform=piece.platform,
                content_type=piece.content_type,
                result=result,
                findings=len(findings),
                severity=GRAVITY[result],
                why=state["why"],
                created_at=now,
                updated_at=now,
            )
        )
    piece = await move(
        context.records,
        context.clock,
        piece,
        PieceState.WAITING,
        content_hash=state["content_hash"],
        reason=state["why"],
    )
    revision = await get_revision(context.records, piece, state["content_hash"])
    await write_embedding(context.records, context.embedder, context.clock, piece, revision.post)
    await context.enqueue(advance_session_task(context.records.brand, piece.session_id, context.clock))
    return {}


async def gate(state: PieceGraphState) -> PieceGraphState:
    """Wait for the human. Nothing else may stand here: the node runs again from its top when it is answered."""
    answer = interrupt(
        {"piece_id": state["piece_id"], "content_hash": state["content_hash"]}, response_schema=HumanDecision
    )
    return {"decision": answer.model_dump()}


async def settle(state: PieceGraphState, runtime: Runtime[GraphContext]) -> PieceGraphState:
    """Apply the verdict or the human's decision: seal and arrange, or reject; then embed."""
    context, piece = await _start(runtime)
    decision = state.get("decision")
    revision = await get_revision(context.records, piece, state["content_hash"])
    if decision:
        await close_review(context.records, context.clock, piece, decision)
        if decision["decision"] != Decision.APPROVED:
            piece = await move(
                context.records,
                context.clock,
                piece,
                PieceState.REJECTED,
                actor=decision["reviewer"],
                reason=f"rejected by {decision['reviewer']}: {decision['reason'] or 'no reason given'}",
            )
        elif (
            decision["content_hash"] != state["content_hash"]
        ):  # the worker never hands this over; a wrong seal must not pass
            raise LeaseLost(f"piece {piece.id}: the decision is about other bytes")
        else:
            piece = await _approve(context, piece, revision, by=decision["reviewer"])
    elif state["verdict"] == "approve":
        piece = await _approve(context, piece, revision, by="policy")
    else:
        piece = await move(
            context.records, context.clock, piece, PieceState.REJECTED, reason=f"compliance: {state['why']}"
        )
    if piece.state is PieceState.APPROVED:
        await remember_used(runtime.store, piece, revision)
    await context.status(f"piece.{piece.state}", actor=AgentType.COORDINATION)
    await write_embedding(context.records, context.embedder, context.clock, piece, revision.post)
    return {}


async def _approve(context: GraphContext, piece: Piece, revision: Revision, *, by: str) -> Piece:
    if piece.state is PieceState.APPROVED and piece.sealed_hash == revision.content_hash:
        return piece
    if twin := await lost_to(context, piece, revision):
        await record_twin(context, piece, revision, twin)
        return await move(
            context.records,
            context.clock,
            piece,
            PieceState.REJECTED,
            actor=by,
            reason=f"near-duplicate: {twin.suggestion}",
        )
    row = await find_schedule(context.records, piece)
    if row is None:
        raise NotFound(f"piece {piece.id} has no place in publication_schedule {piece.cycle_key}")
    at = await arrange(
        context.records, context.clock, row, zone=context.profile.zone, horizon=context.settings.late_horizon
    )
    if at is None:
        return await move(
            context.records,
            context.clock,
            piece,
            PieceState.MISSED,
            actor=by,
            reason=f"approved after its slot, and no free slot until {(row.scheduled_at + context.settings.late_horizon).date()}",
        )
    return await move(
        context.records,
        context.clock,
        piece,
        PieceState.APPROVED,
        actor=by,
        sealed_hash=revision.content_hash,
        reason="",
        schedule={"scheduled_at": at, "arranged_at": at},
    )


async def finish(state: PieceGraphState, runtime: Runtime[GraphContext]) -> PieceGraphState:
    """The only writer of `outcome`: without it a thread that ended has failed."""
    context, piece = await _start(runtime)
    await context.enqueue(advance_session_task(context.records.brand, piece.session_id, context.clock))
    return {"outcome": {"state": str(piece.state), "content_hash": piece.content_hash}}


def build_piece_graph(*, node_timeout: timedelta) -> StateGraph[Any, Any, Any, Any]:
    """The graph, not yet compiled; each node may run for `node_timeout`."""
    seconds = node_timeout.total_seconds()
    graph = StateGraph(PieceGraphState, context_schema=GraphContext)
    for node in (draft, decide, revise, ask, settle, finish):
        graph.add_node(node.__name__, node, timeout=seconds)
    graph.add_node("check", check, input_schema=CheckOne, error_handler=check_failed, timeout=seconds)
    graph.add_node("gate", gate)
    graph.add_edge(START, "draft")
    graph.add_conditional_edges("draft", to_checks, ["check"])
    graph.add_edge("check", "decide")
    graph.add_conditional_edges("decide", after_decide, ["revise", "ask", "settle"])
    graph.add_conditional_edges("revise", to_checks, ["check"])
    graph.add_edge("ask", "gate")
    graph.add_edge("gate", "settle")
    graph.add_edge("settle", "finish")
    graph.add_edge("finish", END)
    return graph
