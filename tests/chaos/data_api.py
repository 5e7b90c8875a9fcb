"""The fake Data API as a process: prints the URL of a keyspace with every table, then takes one fault a line from stdin."""

from __future__ import annotations

import asyncio
import json
import sys

from config.clock import SystemClock
from memory.astra_schema import create_schema
from tests.fakes.data_api import DataApi, Keyspace


def main() -> None:
    """Serve until stdin closes."""
    api = DataApi().start()
    api.keyspaces["chaos"] = Keyspace()
    asyncio.run(create_schema(api.url("chaos"), clock=SystemClock()))
    print(api.url("chaos"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order.pop("clear", False):
            api.faults.clear()
        else:
            api.fail(order.pop("kind"), **order)
        print("ok", flush=True)
    api.stop()


if __name__ == "__main__":
    main()
