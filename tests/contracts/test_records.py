"""What every engine of Records promises: memory/records/protocol.py, sentence by sentence."""

from __future__ import annotations

from datetime import timedelta

import pytest

from config.clock import ManualClock
from config.errors import NotFound
from config.ids import new_id
from memory.records import RecordsStore
from memory.rows import Piece


def a_piece(clock: ManualClock, **fields: object) -> Piece:
    values = {
        "brand": "acme",
        "id": new_id(clock.now()),
        "content_type": "quote",
        "platform": "instagram",
        "session_id": "s",
    }
    return Piece(**{**values, "created_at": clock.now(), "updated_at": clock.now(), **fields})  # type: ignore[arg-type]


async def test_a_row_is_read_back_with_its_version_raised(records_store: RecordsStore, clock: ManualClock) -> None:
    records = records_store.for_brand("acme")
    piece = a_piece(
        clock, title="Schlaf 😴", retry_at=clock.now() + timedelta(hours=1), performance_metrics={"likes": 0.1}
    )
    await records.put(piece)
    assert await records.get(Piece, id=piece.id) == piece.model_copy(update={"row_version": 1})


async def test_an_absent_row_raises_not_found(records_store: RecordsStore) -> None:
    records = records_store.for_brand("acme")
    with pytest.raises(NotFound, match="nowhere"):
        await records.get(Piece, id="nowhere")
    assert await records.find(Piece, id="nowhere") is None
