"""A relay in front of a Redis server, which can lose answers after the server has done what was asked."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


class Relay:
    """What the relay saw, and what it is to do."""

    def __init__(self, target: Path) -> None:
        self.lose = 0
        """So many of the coming answers to scripts are read, dropped, and their connection closed."""
        self.lost = 0
        self._share, self._rng = 0.0, random.Random()
        self._target = target
        self._serving: set[asyncio.Task[None]] = set()

    def lose_share(self, share: float, *, seed: int) -> None:
        """From now on lose that share of the answers to scripts."""
        self._share, self._rng = share, random.Random(seed)

    def _loses(self) -> bool:
        if self.lose:
            self.lose -= 1
            return True
        return self._share > 0 and self._rng.random() < self._share

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client that has come."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def close(self) -> None:
        """End every connection."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_server = await asyncio.open_unix_connection(str(self._target))
        script = False

        async def ask() -> None:
            nonlocal script
            while data := await reader.read(1 << 20):
                script = script or b"EVAL" in data
                to_server.write(data)
                await to_server.drain()
            to_server.close()

        asking = asyncio.create_task(ask())
        try:
            while data := await upstream.read(1 << 20):
                if script and not data.startswith(b"-NOSCRIPT") and self._loses():
                    self.lost += 1
                    break
                script = script and data.startswith(b"-NOSCRIPT")
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # one end went away: so does the other
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            for end in (writer, to_server):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()


@asynccontextmanager
async def open_relay(target: Path, socket: Path) -> AsyncIterator[Relay]:
    """Relay the unix socket `socket` to the one at `target`."""
    relay = Relay(target)
    server = await asyncio.start_unix_server(relay.connected, str(socket))
    try:
        yield relay
    finally:
        server.close()
        await relay.close()


@asynccontextmanager
async def open_tls_relay(target: Path, certificate: Path) -> AsyncIterator[int]:
    """Relay a port of 127.0.0.1, with TLS, to the socket at `target`; the port. `certificate` holds the key as well."""
    relay = Relay(target)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(relay.connected, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await relay.close()
