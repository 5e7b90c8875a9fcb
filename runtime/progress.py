"""How far a session is, as the seed's batch_operations row: recomputed from the pieces, and needed by nothing."""

from __future__ import annotations

from contextlib import suppress

from config.errors import Damaged, DiskFull, Unavailable
from config.vocabulary import TERMINAL_SESSION, UNSETTLED, PieceState, SessionStatus
from graphs.sessions import count_pieces, session_piece_ids
from memory.records.protocol import Records
from memory.rows.sessions import Session
from memory.rows.user_sessions import BatchOperation
from runtime.compose import Runtime

_STATUS = {SessionStatus.RUNNING: "processing", SessionStatus.WAITING: "processing", SessionStatus.DONE: "completed"}


async def write_progress(runtime: Runtime, records: Records, session: Session) -> None:
    """Rewrite the session's progress from its rows. A session database that cannot be written costs nothing but the view."""
    ids = session.outcome.get("pieces") or session_piece_ids(session)
    counts = await count_pieces(records, ids)
    failed = counts[str(PieceState.FAILED)]
    open_ones = sum(counts[str(state)] for state in UNSETTLED)
    finished = session.status in TERMINAL_SESSION
    with suppress(Unavailable, Damaged, DiskFull):
        await runtime.user_sessions.for_brand(records.brand).put_batch(
            BatchOperation(
                id=session.id,
                operation_type=session.kind,
                total_items=len(ids),
                completed_items=len(ids) - failed - open_ones,
                failed_items=failed,
                status=_STATUS.get(session.status, "failed"),
                operation_data={"goal": session.goal},
                results={name: n for name, n in sorted(counts.items()) if n},
                created_at=session.created_at,
                updated_at=runtime.clock.now(),
                completed_at=session.finished_at if finished else None,
            )
        )
