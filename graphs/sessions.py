"""A session read from its rows, for code that must not load langgraph."""

from __future__ import annotations

from collections import Counter

from config.vocabulary import PieceState
from graphs.week import Slot
from memory.records.protocol import Records
from memory.rows.content import Piece
from memory.rows.sessions import Session


def session_slots(session: Session) -> list[Slot]:
    """The slots that were planned when the session was named; the week never changes under it."""
    return [Slot.model_validate(slot) for slot in session.request["slots"]]


def session_piece_ids(session: Session) -> list[str]:
    """The ids of the pieces that this session may make, in slot order; known before any of them exists."""
    return [
        slot.piece_id(plan=session.plan, copy=int(session.request.get("copy", 0))) for slot in session_slots(session)
    ]


async def count_pieces(records: Records, ids: list[str]) -> Counter[str]:
    """How many of the pieces are in each state, by reading their rows; `planned` counts those not written yet."""
    rows = await records.find_many(Piece, [{"id": id} for id in ids])
    counts = Counter(str(row.state) for row in rows)
    counts[str(PieceState.PLANNED)] += len(ids) - len(rows)
    return counts
