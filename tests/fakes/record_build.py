"""Records what the present build leaves behind in the middle of a week, for tests that another build goes on with it.

`.venv/bin/python -m tests.fakes.record_build` rewrites tests/data/earlier_build/. Do it only when that folder is to stand for a newer
earlier build: what is there was written by a build that is out, and must stay readable.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from agents.answers import PostAnswer
from config.clock import ManualClock
from config.vocabulary import Decision, PieceState
from graphs import cycle, piece
from graphs.pieces import find_schedule
from memory.queue.protocol import GENERATION_QUEUE
from memory.rows.content import Piece
from runtime.guard import TaskGuard
from runtime.publish_due import publish_task, reconcile_task
from runtime.reconcile import upkeep_task
from runtime.reviews import decide
from runtime.worker import Worker
from tests.fakes.newsroom import BRAND, Newsroom, Script, _NoHeartbeat, open_newsroom, words

EARLIER = Path(__file__).resolve().parent.parent / "data" / "earlier_build"
STORES = ("records.db", "ledger.db", "checkpoints.db")
DAYS = {
    "monday": "Morning light helps set the body clock.",
    "tuesday": "Curtains keep out street light.",
    "wednesday": "Many people read before bed.",
}
GRID = tuple((day, "facebook", "quote", "08:00") for day in DAYS)


def a_script() -> Script:
    """Other words for each day, so that no piece is a near duplicate of another."""

    def write(material: Mapping[str, Any]) -> PostAnswer:
        (text,) = {text for day, text in DAYS.items() if f"Light on {day}" in str(material)}
        return words(text, slides=[text], alt_text=["A card with the sentence"], media_prompts=["A plain card"])

    return Script(write=write)


def record(to: Path) -> None:
    """Write the files of a week with one piece approved, one waiting at its gate and one not begun, into the folder `to`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = asyncio.run(_half_a_week(folder))
        to.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder / "brands", to / "brands", dirs_exist_ok=True)
        for store in STORES:
            (to / store).unlink(missing_ok=True)
            with closing(sqlite3.connect(folder / store)) as db:
                if store == "records.db":  # where this machine keeps its files is nobody's affair
                    db.execute("UPDATE knowledge_sources SET path = replace(path, ?, '/srv/desk')", (name,))
                    db.commit()
                db.execute("VACUUM INTO ?", (str(to / store),))
        with closing(sqlite3.connect(folder / "queue.db")) as db:
            db.row_factory = sqlite3.Row
            tasks = [dict(row) for row in db.execute("SELECT * FROM tasks ORDER BY seq")]
    _write(to / "queue.json", tasks)
    _write(to / "build.json", build)


async def _half_a_week(folder: Path) -> dict[str, Any]:
    async with open_newsroom(folder, clock=ManualClock(), script=a_script(), grid=GRID) as room:
        return {**await _left_behind(room), "left_at": room.clock.now().isoformat()}


async def _left_behind(room: Newsroom) -> dict[str, Any]:
    session = await room.week()
    await _run(room, session.id)
    sealed, gated, unbegun = await room.pieces(session)
    for one in (sealed, gated):
        await _run(room, one.id, until=lambda row: row.state is PieceState.WAITING)
    shown = await room.piece(sealed)
    await decide(room.runtime, BRAND, shown.id, shown.content_hash, Decision.APPROVED, by="ann")
    await _run(room, sealed.id, until=lambda row: row.state is PieceState.APPROVED)
    schedule = await find_schedule(room.records, sealed)
    assert schedule is not None
    upkeep = [upkeep_task(kind, room.runtime) for kind in ("reconcile", "sweep")]
    await room.runtime.queue.enqueue(publish_task(schedule), reconcile_task(schedule, run_at=room.clock.now()), *upkeep)
    hashes = {one.id: (await room.piece(one)).content_hash for one in (sealed, gated)}
    return {
        "session": session.id,
        "sealed": sealed.id,
        "gated": gated.id,
        "unbegun": unbegun.id,
        "content_hashes": hashes,
        "graph_versions": {"cycle": cycle.VERSION, "piece": piece.VERSION},
    }


async def _run(room: Newsroom, thread_id: str, *, until: Callable[[Piece], bool] | None = None) -> None:
    """Run the thread's own task, again and again until its piece is so."""
    queue, settings = room.runtime.queue, room.runtime.settings
    worker = Worker(room.runtime, upkeep=False)
    for _ in range(9):
        [lease] = await queue.claim(
            [GENERATION_QUEUE], owner=room.runtime.owner, ttl=settings.lease, limit=1, only=[f"advance:{thread_id}"]
        )
        guard = TaskGuard(lease, queue, room.clock, settings.lease)
        await worker._one(lease, guard, _NoHeartbeat())  # type: ignore[arg-type]
        if until is None or until(await room.piece(thread_id)):
            return
    raise AssertionError(f"{thread_id} did not get there")


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record(EARLIER)
