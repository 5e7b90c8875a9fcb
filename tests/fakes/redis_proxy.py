"""A relay in front of a Redis server, which can lose answers after the server has done what was asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


class Relay:
    """What the relay saw, and what it is to do."""

    def __init__(self) -> None:
        self.lose = 0
        """So many of the coming answers to scripts are read, dropped, and their connection closed."""
        self.lost = 0

    async def _serve(self, target: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_server = await asyncio.open_unix_connection(str(target))
        script = False

        async def ask() -> None:
            nonlocal script
            while data := await reader.read(1 << 20):
                script = script or b"EVAL" in data
                to_server.write(data)
                await to_server.drain()
            to_server.close()

        asking = asyncio.create_task(ask())
        with suppress(OSError):
            while data := await upstream.read(1 << 20):
                if script and self.lose and not data.startswith(b"-NOSCRIPT"):
                    self.lose -= 1
                    self.lost += 1
                    break
                script = script and data.startswith(b"-NOSCRIPT")
                writer.write(data)
                await writer.drain()
        asking.cancel()
        for end in (writer, to_server):
            end.close()
            with suppress(OSError):
                await end.wait_closed()


@asynccontextmanager
async def open_relay(target: Path, socket: Path) -> AsyncIterator[Relay]:
    """Relay the unix socket `socket` to the one at `target`."""
    relay = Relay()
    server = await asyncio.start_unix_server(lambda r, w: relay._serve(target, r, w), str(socket))
    try:
        yield relay
    finally:
        server.close()


@asynccontextmanager
async def open_tls_relay(target: Path, certificate: Path, key: Path) -> AsyncIterator[int]:
    """Relay a port of 127.0.0.1, with TLS, to the socket at `target`; the port."""
    relay = Relay()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(lambda r, w: relay._serve(target, r, w), "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
