"""The seed's `generation_queue`, made from pieces and their tasks when somebody looks.

Truth is the piece's row and the queue holds a copy, so a third copy would only disagree. It cannot be an SQL view
either: pieces and tasks are in other files, or on other machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from config.vocabulary import PieceState
from memory.queue.protocol import Task
from memory.rows.content import Piece
from memory.rows.user_sessions import GenerationRow

_GENERATION_STATUS = {
    PieceState.PLANNED: "pending",
    PieceState.DRAFTING: "processing",
    PieceState.CHECKING: "processing",
    PieceState.FAILED: "failed",
}


def generation_queue(pieces: Iterable[Piece], tasks: Mapping[str, Task], *, max_attempts: int) -> list[GenerationRow]:
    """The seed's `generation_queue` for these pieces: higher priority first, then earlier made.

    `tasks` maps thread ids to the tasks that the queue holds now; a piece without one has the default priority. A piece
    that ended before anything was written counts as failed, for the seed has no fifth status.
    """
    rows = []
    for piece in pieces:
        task = tasks.get(piece.thread_id)
        status = "failed" if piece.dead_letter else _GENERATION_STATUS.get(piece.state, "completed")
        if status == "completed" and not piece.content_hash:
            status = "failed"
        reason = piece.dead_letter or piece.reason or (task.reason if task else "")
        rows.append(
            GenerationRow(
                id=piece.id,
                content_type=piece.content_type,
                platform=piece.platform,
                prompt_data={
                    "session_id": piece.session_id,
                    "cycle_key": piece.cycle_key,
                    "cycle_day": piece.cycle_day,
                    "theme": piece.theme,
                    "brief_id": piece.brief_id,
                },
                priority=task.priority if task else 5,
                status=status,
                attempts=piece.attempts,
                max_attempts=max_attempts,
                error_message=reason or None,
                result_data={"content_hash": piece.content_hash, "mode": piece.mode} if status == "completed" else None,
                created_at=piece.created_at,
                updated_at=piece.updated_at,
                processed_at=piece.updated_at if status in ("completed", "failed") else None,
            )
        )
    return sorted(rows, key=lambda row: (-row.priority, row.created_at, row.id))
