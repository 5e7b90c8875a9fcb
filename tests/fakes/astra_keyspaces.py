"""Keyspaces for tests: fresh ones of the fake server, or the one of a real endpoint, emptied.

A server warning outside the two harmless ones fails the test that caused it. `api` and `keyspace` are fixtures of a module: import them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from config.clock import SystemClock
from memory.astra_client import parse_astra_url
from memory.astra_schema import create_schema
from tests.fakes.data_api import HARMLESS, DataApi, Keyspace

_numbers = count()
LIVE = "COPYDESK_TEST_ASTRA_ENDPOINT"


@cache
def _template() -> Keyspace:
    """A keyspace as `db init` makes it; made once, by the real thing, and copied."""
    api = DataApi().start()
    api.keyspaces["template"] = Keyspace()
    asyncio.run(create_schema(api.url("template"), clock=SystemClock()))
    api.stop()
    return api.keyspaces["template"]


@contextmanager
def a_server() -> Iterator[DataApi]:
    """A running fake."""
    _template()  # here, where no event loop runs yet
    api = DataApi().start()
    try:
        yield api
    finally:
        api.stop()


@contextmanager
def a_keyspace(api: DataApi) -> Iterator[str]:
    """The name of a fresh keyspace with every table; afterwards, its warnings are judged."""
    name = f"ks{next(_numbers)}"
    space = api.keyspaces[name] = _template().like()
    api.faults.clear()
    yield name
    del api.keyspaces[name]
    unexpected = [told for told in space.warned if told.split()[0] not in HARMLESS]
    assert unexpected == [], f"the server warned: {unexpected[:3]}"


@pytest.fixture(scope="module")
def api() -> Iterator[DataApi]:
    """A fake for the tests of one module."""
    with a_server() as running:
        yield running


@pytest.fixture
def keyspace(api: DataApi) -> Iterator[str]:
    """A fresh keyspace of it."""
    with a_keyspace(api) as name:
        yield name


def live_engines() -> list[str]:
    """`astra-live` when a real endpoint is named by COPYDESK_TEST_ASTRA_ENDPOINT, _TOKEN and _KEYSPACE."""
    return ["astra-live"] if os.environ.get(LIVE) else []


def live_url() -> str:
    """The real endpoint as Copydesk names it, the token in it."""
    endpoint, keyspace = urlsplit(os.environ[LIVE]), os.environ["COPYDESK_TEST_ASTRA_KEYSPACE"]
    if endpoint.scheme == "http":
        return f"astra+http://{endpoint.netloc}/{keyspace}"
    return f"astra://token:{quote(os.environ['COPYDESK_TEST_ASTRA_TOKEN'], safe='')}@{endpoint.netloc}/{keyspace}"


@asynccontextmanager
async def live_keyspace() -> AsyncIterator[str]:
    """The URL of the real keyspace, with every table, emptied. Its contents are lost: name one for tests alone."""
    from astrapy import DataAPIClient
    from astrapy.constants import Environment

    url = live_url()
    await create_schema(url, clock=SystemClock())
    endpoint, keyspace, provider = parse_astra_url(url, "")
    environment = Environment.PROD if url.startswith("astra://") else Environment.OTHER
    client = DataAPIClient(environment=environment)
    async with client.get_async_database(endpoint, token=provider, keyspace=keyspace) as database:
        for name in await database.list_table_names():
            async with database.get_table(name) as table:
                await table.delete_many({}, general_method_timeout_ms=90_000)
        for name in await database.list_collection_names():
            async with database.get_collection(name) as collection:
                await collection.delete_many({}, general_method_timeout_ms=90_000)
    yield url


@asynccontextmanager
async def a_place(engine: str, api: DataApi, path: Path) -> AsyncIterator[str]:
    """The URL of a fresh place of `engine`: a keyspace of `api` (astra) or of the real endpoint (astra-live), else at `path`."""
    if engine == "astra":
        with a_keyspace(api) as keyspace:
            yield api.url(keyspace)
    elif engine == "astra-live":
        async with live_keyspace() as url:
            yield url
    else:
        yield f"{engine}:///{path}"
