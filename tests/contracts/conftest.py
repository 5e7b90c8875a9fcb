"""Fixtures that every contract suite shares. No contract test names an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from config.clock import ManualClock
from memory.records import RecordsStore, open_records


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "austere"])
def records_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh place of each engine; open it twice for two processes' views of it."""
    return f"{request.param}:///{tmp_path}"


@pytest.fixture
async def records_store(records_url: str, clock: ManualClock) -> AsyncIterator[RecordsStore]:
    async with open_records(records_url, clock=clock) as opened:
        yield opened
