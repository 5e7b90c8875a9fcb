"""The AstraDB engine of Records beside raw astrapy: the same calls on the same rows of one server, in turn.

    .venv/bin/python benchmarks/astra_records.py [--n 200]

The server is the fake Data API of the tests, in a process of its own, so what is compared is the price of our side: retries,
timeouts, error mapping, the brand, leases, and frozen rows instead of dictionaries. A real AstraDB answers in milliseconds, not in
fractions of one, so there the same price is a smaller share. Prints the median over five rounds of wall and CPU time a call, and
the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from astrapy import DataAPIClient
from astrapy.api_options import APIOptions, SerdesOptions
from astrapy.authentication import UsernamePasswordTokenProvider
from astrapy.constants import Environment

from benchmarks._report import result
from config.clock import SystemClock
from config.ids import new_id
from memory.astra_schema import create_schema
from memory.records import open_records
from memory.records.astra_rows import encode
from memory.rows.sessions import Session

ROUNDS = 5
PAGE = 40
CLOCK = SystemClock()
Call = Callable[[], Awaitable[Any]]


def serve() -> None:
    """Run the fake server until standard input ends; its port is the first line of the output."""
    from tests.fakes.data_api import DataApi, Keyspace

    api = DataApi().start()
    api.keyspaces["bench"] = Keyspace()
    print(api.port, flush=True)
    sys.stdin.read()
    api.stop()


def a_session(brand: str) -> Session:
    return Session(
        id=new_id(CLOCK.now()),
        brand=brand,
        kind="cycle",
        goal="a quiet week",
        created_at=CLOCK.now(),
        updated_at=CLOCK.now(),
    )


async def timed(call: Call, n: int) -> tuple[float, float]:
    """Wall and CPU time of one call in microseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(n):
        await call()
    return (time.perf_counter() - wall) / n * 1e6, (time.process_time() - cpu) / n * 1e6


async def compare(port: int, n: int) -> None:
    url = f"astra+http://user:secret@127.0.0.1:{port}/bench"
    await create_schema(url, clock=CLOCK)
    client = DataAPIClient(
        environment=Environment.OTHER,
        api_options=APIOptions(serdes_options=SerdesOptions(custom_datatypes_in_reading=False)),
    )
    database = client.get_async_database(
        f"http://127.0.0.1:{port}", token=UsernamePasswordTokenProvider("user", "secret"), keyspace="bench"
    )
    async with open_records(url, clock=CLOCK) as store, database, database.get_table(Session.table) as table:
        records = store.for_brand("acme")
        sessions = [a_session("acme") for _ in range(PAGE)]
        await records.put(*sessions)
        one = sessions[0]
        columns = {name: value for name, value in encode(one).items() if value is not None}
        key = {"brand": "acme", "id": columns["id"]}

        async def raw_list() -> list[Any]:
            return await table.find({"brand": "acme"}).to_list()

        assert len(await raw_list()) == len(await records.list_rows(Session)) == PAGE
        pairs: dict[str, tuple[Call, Call]] = {
            "one row by its key": (lambda: records.get(Session, id=one.id), lambda: table.find_one(key)),
            "one row written": (lambda: records.put(one), lambda: table.insert_one(columns)),
            f"a partition of {PAGE} rows": (lambda: records.list_rows(Session), raw_list),
        }
        print(
            f"Fake Data API in another process, one call after the other; us a call, median of {ROUNDS} rounds of {n}"
        )
        for what, calls in pairs.items():
            found: list[tuple[list[float], list[float]]] = [([], []), ([], [])]
            for round_ in range(ROUNDS * 2):
                for which in (0, 1) if round_ % 2 else (1, 0):
                    for into, took in zip(found[which], await timed(calls[which], n // 2), strict=True):
                        into.append(took)
            (our_wall, our_cpu), (raw_wall, raw_cpu) = [[statistics.median(one) for one in both] for both in found]
            result(what, f"{our_wall:.0f}", f"astrapy {raw_wall:.0f}", our_wall / raw_wall, 1.15)
            result("  its CPU on our side", f"{our_cpu:.0f}", f"astrapy {raw_cpu:.0f}", our_cpu / raw_cpu, 1.15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200, help="calls a round")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve()
        return
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        asyncio.run(compare(int(server.stdout.readline()), asked.n))
    finally:
        server.stdin.close()
        server.wait()


if __name__ == "__main__":
    main()
