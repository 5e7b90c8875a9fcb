"""The model layer of one brand with a session, on real stores, in front of a scripted server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from agents.chat_models import Models
from agents.spending import Spending
from config.clock import ManualClock
from config.settings import Settings
from memory.cache.protocol import Cache, open_cache
from memory.records.protocol import Records, open_records
from memory.rows.sessions import Session
from tests.fakes.openai_server import OpenAIServer, Reply, serve_openai

BRAND, SESSION = "acme", "s1"


@dataclass
class Hosted:
    """What the model layer stands on, open."""

    models: Models
    server: OpenAIServer
    records: Records
    cache: Cache
    clock: ManualClock


@asynccontextmanager
async def hosted_models(tmp_path: Path, *script: Reply, **settings: Any) -> AsyncIterator[Hosted]:
    """Models that ask a server which answers by `script`; the session that their spending is booked on is there."""
    clock = ManualClock()
    async with serve_openai(*script) as server:
        made = Settings(
            data_dir=tmp_path,
            model="openai:gpt-4o-mini",
            openai_base_url=server.base_url,
            openai_api_key=SecretStr("sk-test"),
            **settings,
        )
        async with (
            open_records(made.records_url, clock=clock) as store,
            open_cache(f"sqlite:///{tmp_path}/cache.db", clock=clock) as caches,
        ):
            records, cache, now = store.for_brand(BRAND), caches.for_brand(BRAND), clock.now()
            await records.put(Session(brand=BRAND, id=SESSION, kind="cycle", goal="g", created_at=now, updated_at=now))
            yield Hosted(Models(made, Spending(records, cache, made, clock), clock), server, records, cache, clock)
