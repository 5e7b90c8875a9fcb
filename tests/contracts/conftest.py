"""Fixtures that every contract suite shares. No contract test names an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from config.clock import ManualClock
from memory.records import RecordsStore, open_records
from tests.fakes.astra_keyspaces import a_place, a_server, live_engines
from tests.fakes.data_api import DataApi


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def data_api() -> Iterator[DataApi]:
    with a_server() as api:
        yield api


@pytest.fixture(params=["sqlite", "austere", "astra", *live_engines()])
async def records_url(request: pytest.FixtureRequest, tmp_path: Path, data_api: DataApi) -> AsyncIterator[str]:
    """A fresh place of each engine; open it twice for two processes' views of it."""
    async with a_place(request.param, data_api, tmp_path) as url:
        yield url


@pytest.fixture
async def records_store(records_url: str, clock: ManualClock) -> AsyncIterator[RecordsStore]:
    async with open_records(records_url, clock=clock) as opened:
        yield opened
