"""Reads the history that a loop leaves behind and names every broken promise."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.clock import SystemClock
from config.settings import load_settings
from config.vocabulary import UNSETTLED, Decision, PieceState, SessionStatus, Step
from graphs.pieces import find_schedule
from graphs.sessions import session_piece_ids
from memory.checkpoints.protocol import open_checkpoints
from memory.queue.protocol import open_queue
from memory.records.protocol import open_records
from memory.rows.checks import Review
from memory.rows.content import Piece, Revision
from memory.rows.publication import LedgerStep
from memory.rows.sessions import Session
from tools.publish.fold import pub_key


@dataclass
class History:
    """What happened, as the loop saw it from outside."""

    session_id: str
    posts: list[dict[str, Any]]
    """Everything that ever went live on the platform, in order."""
    acknowledged: dict[str, str] = field(default_factory=dict)
    """piece -> content hash of the approval that a command answered with success."""


async def check(environ: dict[str, str], brand: str, history: History) -> list[str]:
    """Every violation, one line each; an empty list when every promise held."""
    settings = load_settings(environ)
    clock = SystemClock()
    wrong: list[str] = []
    async with (
        open_records(settings.records_url, clock=clock) as store,
        open_queue(settings.queue_url, clock=clock) as queue,
        open_checkpoints(settings.checkpoints_url, clock=clock) as checkpoints,
    ):
        records = store.for_brand(brand)
        session = await records.get(Session, id=history.session_id)
        ids = session_piece_ids(session)
        pieces = {piece.id: piece for piece in await records.find_many(Piece, [{"id": id} for id in ids])}
        live = Counter((post["pub_key"], post["part"]) for post in history.posts)
        wrong += [f"published {n} times: part {key[1]} of {key[0][:12]}" for key, n in live.items() if n > 1]
        if set(pieces) != set(ids):
            wrong.append(f"lost: {len(set(ids) - set(pieces))} planned pieces have no row")
        extra = [
            piece.id
            for state in PieceState
            for piece in await records.find_by(Piece, state=state)
            if piece.id not in ids
        ]
        wrong += [f"made without a plan: piece {id}" for id in extra]
        if session.status not in (SessionStatus.DONE, SessionStatus.WAITING):
            wrong.append(f"session is {session.status}: {session.reason}")
        known: set[str] = set()
        for piece in pieces.values():
            wrong += await _check_piece(records, piece, history, live, known)
        wrong += [f"from nowhere: a post of {key[0][:12]}" for key in live if key[0] not in known]
        dead = await queue.list_dead()
        wrong += [f"dead-lettered: {item.task.id}: {item.reason}" for item in dead]
        size = await checkpoints.size_bytes(brand, [session.id, *(piece.thread_id for piece in pieces.values())])
        if session.status is SessionStatus.DONE and size > 400_000:
            wrong.append(f"checkpoints of a finished week hold {size} bytes")
    return wrong


async def _check_piece(
    records: Any, piece: Piece, history: History, live: Counter[tuple[str, int]], known: set[str]
) -> list[str]:
    wrong: list[str] = []
    name = f"piece {piece.id[:8]} ({piece.state})"
    if piece.state in UNSETTLED:
        wrong.append(f"stuck: {name} {piece.reason}")
    revisions = await records.list_rows(Revision, content_id=piece.id)
    drafts = [row for row in revisions if row.author == "creation" and row.revision == 0]
    if len(drafts) > 1:
        wrong.append(f"written twice: {name} has {len(drafts)} drafts")
    schedule = await find_schedule(records, piece)
    if schedule is None:
        return [*wrong, f"no schedule row: {name}"]
    if schedule.state is not piece.state:
        wrong.append(f"rows disagree: {name}, its schedule row says {schedule.state}")
    key = pub_key(piece.brand, piece.platform, schedule.account, piece.id)
    known.add(key)
    out = {part: n for (k, part), n in live.items() if k == key}
    once = await records.find_once("decision", f"{piece.id}|{piece.sealed_hash}", Review) if piece.sealed_hash else None
    if out:
        if once is None or once.row.decision is not Decision.APPROVED:
            wrong.append(f"published unapproved: {name}")
        sealed = next((row for row in revisions if row.content_hash == piece.sealed_hash), None)
        texts = {post["part"]: post["text"] for post in history.posts if post["pub_key"] == key}
        if sealed is None or any(
            text != (sealed.post.parts[p] if sealed.post.parts else sealed.post.caption) for p, text in texts.items()
        ):
            wrong.append(f"published other bytes: {name}")
    steps = await records.list_rows(LedgerStep, pub_key=key)
    permits = {(step.attempt, step.part) for step in steps if step.step is Step.PERMIT}
    if out and not permits:
        wrong.append(f"sent without a permit: {name}")
    if piece.state is PieceState.PUBLISHED and not out:
        wrong.append(f"said to be published and is not: {name}")
    if (
        out
        and len(out) == max(1, len(_parts(revisions, piece)))
        and piece.state not in (PieceState.PUBLISHED, PieceState.UNKNOWN)
    ):
        wrong.append(f"is out, and the row says otherwise: {name} {piece.reason}")
    wanted = history.acknowledged.get(piece.id)
    if wanted and piece.sealed_hash != wanted:
        wrong.append(f"approval lost: {name} was approved at {wanted[:8]}, sealed at {piece.sealed_hash[:8]!r}")
    return wrong


def _parts(revisions: list[Revision], piece: Piece) -> tuple[str, ...]:
    return next((row.post.parts for row in revisions if row.content_hash == piece.sealed_hash), ())


def read_log(folder: Path) -> str:
    """The last lines of every child's log, for a failing run."""
    return "\n".join(
        f"== {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
        for path in sorted(folder.glob("*.log"))
    )
