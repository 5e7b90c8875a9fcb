"""Opens clients of Redis: one place for addresses, time limits, and what each error of the driver means to us.

Addresses, each with `?prefix=NAME` (default `copydesk`) for the keys:

    redis[s]://[USER:PASSWORD@]HOST[:PORT][/DB]          one server; `s`: TLS; an ACL user where USER is given
    redis+unix://[USER:PASSWORD@]/PATH[?db=N]            a socket of this machine
    redis[s]+sentinel://[...@]HOST[:PORT],…/SERVICE[/DB] the master that these Sentinels name
    redis[s]+cluster://[...@]HOST[:PORT]                 a Cluster; all keys of one hash tag live on one node

redis-py would repeat a write whose answer was lost, up to ten times. That is turned off: only `memory/redis_lane.py` and
scripts that are harmless to repeat are sent again.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import redis.exceptions as driver
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from config.errors import Backpressure, BadInput, CopydeskError, Damaged, SettingsError, Unavailable
from config.settings import mask_url

_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TIMEOUT_S = 5.0
HEALTH_CHECK_S = 30
PAUSES_S = (0.0, 0.1, 0.4, 1.0)
"""Waits before a script is sent again, each stretched by chance up to double."""

UNAVAILABLE = (
    driver.ConnectionError,
    driver.TimeoutError,
    driver.ReadOnlyError,
    driver.MasterDownError,
    driver.ClusterDownError,
    driver.TryAgainError,
    driver.AskError,
    driver.SlotNotCoveredError,
    driver.RedisClusterException,
    driver.ClusterError,
    driver.NoScriptError,
    driver.InvalidResponse,
    driver.ChildDeadlockedError,
)
"""Away for now: sending an idempotent call again is right. Refused passwords are below, and are looked for first."""
REFUSED = (
    driver.AuthenticationError,
    driver.AuthorizationError,
    driver.AuthenticationWrongNumberOfArgsError,
    driver.NoPermissionError,
    driver.ExternalAuthProviderError,
    driver.IncorrectPolicyType,
)
_PASSING = ("LOADING", "BUSY", "MISCONF", "NOREPLICAS", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "STALE")
"""First words of answers that have no class of their own, or lose it inside a script, and that pass by themselves."""
_PASSES = re.compile(rf"-(?:{'|'.join(_PASSING)})\b")
"""The same words behind "Error running script", as Redis 6.2 puts them."""
_NO_ACCESS = re.compile(r"\b(NOAUTH|WRONGPASS|NOPERM)\b|invalid username-password pair|invalid password")
"""A refused password comes as a plain ConnectionError where the connection itself logs in."""


@dataclass(frozen=True)
class Address:
    """A Redis address, taken apart."""

    url: str
    """For the driver: without what is ours."""
    kind: str
    """`single`, `sentinel` or `cluster`."""
    prefix: str
    shown: str
    """For messages: without the password."""


def parse_address(url: str) -> Address:
    """Take `url` apart. Raises SettingsError, with the password masked, for one that names no server."""
    shown = mask_url(url)
    try:
        parts = urlsplit(url)
        hosts = parts.netloc.rpartition("@")[2]
        if "," not in hosts:
            _ = parts.port
    except ValueError as error:
        raise SettingsError(f"Redis address {shown!r} is malformed ({error}): write redis://HOST:PORT/DB") from None
    query = dict(parse_qsl(parts.query))
    prefix = query.pop("prefix", "copydesk")
    if not _PREFIX.fullmatch(prefix):
        raise SettingsError(f"Redis address {shown!r}: prefix {prefix[:80]!r} must be 1-64 of A-Z a-z 0-9 . _ -")
    scheme, _, kind = parts.scheme.partition("+")
    if kind == "unix":
        scheme, kind = "unix", ""
    if scheme != "unix" and not hosts.partition(":")[0]:
        raise SettingsError(f"Redis address {shown!r} names no host: write redis://HOST:PORT/DB")
    clean = urlunsplit((scheme, parts.netloc, parts.path, urlencode(query), ""))
    return Address(url=clean, kind=kind or "single", prefix=prefix, shown=shown)


def translate_error(error: Exception, shown: str) -> CopydeskError:
    """Our error for one of the driver's; `shown` is the address without its password."""
    said = f"{type(error).__name__}: {str(error)[:200]}"
    first = str(error).partition(" ")[0]
    if isinstance(error, REFUSED) or _NO_ACCESS.search(said):
        return SettingsError(f"Redis {shown} refuses this user ({said}): mend the user and password of its address")
    if isinstance(error, driver.OutOfMemoryError) or "OOM command not allowed" in said:
        return Backpressure(f"Redis {shown} is out of memory ({said}): start workers, or raise its maxmemory")
    if isinstance(error, (*UNAVAILABLE, OSError)) or first in _PASSING or _PASSES.search(said):
        return Unavailable(f"Redis {shown} does not answer ({said}): see that it runs and can be reached")
    if isinstance(error, driver.DataError):
        return BadInput(f"Redis {shown} cannot take a value ({said}): this is a fault of Copydesk, please report it")
    if re.search("unknown (redis )?command", said, re.IGNORECASE):
        return SettingsError(f"Redis {shown} lacks a command ({said}): use Redis 6.2 or later")
    return Damaged(
        f"Redis {shown} holds what Copydesk did not write ({said}): give it another ?prefix=, or delete the keys of this one"
    )


def _packed(command: tuple[Any, ...]) -> bytes:
    # What the driver's pack_command gives, in a fifth of its time: scripts have many short arguments, most of them plain ASCII.
    words = [f"${len(word) if word.isascii() else len(word.encode())}\r\n{word}\r\n" for word in map(str, command)]
    return f"*{len(words)}\r\n{''.join(words)}".encode()


class RedisServer:
    """An open client; `call` is the one way to it."""

    def __init__(self, client: Redis | RedisCluster, address: Address) -> None:
        self.client: Any = client
        self.address = address
        self._shas: dict[str, str] = {}
        self._pinned: dict[str, Any] = {}

    async def call(self, *command: Any, pinned: str = "") -> Any:
        """Send one command once. Raises our errors. `pinned`: as for `script`."""
        try:
            return await self._sender(pinned)(*command)
        except (driver.RedisError, *UNAVAILABLE, *REFUSED, OSError) as error:
            raise translate_error(error, self.address.shown) from error

    async def script(self, text: str, keys: list[str], arguments: list[Any], *, pinned: str = "") -> Any:
        """Run a script once. Raises our errors.

        `pinned`: on a connection of that name, kept for one caller, who waits for each answer.
        """
        sha = self._shas.get(text) or self._shas.setdefault(text, hashlib.sha1(text.encode()).hexdigest())
        send = self._sender(pinned)
        try:
            try:
                return await send("EVALSHA", sha, len(keys), *keys, *arguments)
            except driver.NoScriptError:
                return await send("EVAL", text, len(keys), *keys, *arguments)
        except (driver.RedisError, *UNAVAILABLE, *REFUSED, OSError) as error:
            raise translate_error(error, self.address.shown) from error

    def _sender(self, pinned: str) -> Callable[..., Awaitable[Any]]:
        if pinned and self.address.kind != "cluster":
            return partial(self._send_pinned, pinned)
        return cast(Callable[..., Awaitable[Any]], self.client.execute_command)

    async def _send_pinned(self, name: str, *command: Any) -> Any:
        # Past the client, whose bookkeeping costs as much as the command; one time limit for sending and reading, because the
        # driver's own makes a task for each.
        async with asyncio.timeout(TIMEOUT_S):
            if name not in self._pinned:
                connection = await self.client.connection_pool.get_connection()
                connection.socket_timeout = None
                self._pinned[name] = connection
            connection = self._pinned[name]
            if not connection.is_connected:
                await connection.connect()
            await connection.send_packed_command(_packed(command))
            return await connection.read_response()

    async def unpin(self) -> None:
        """Close the pinned connections."""
        while self._pinned:
            _, connection = self._pinned.popitem()
            await connection.disconnect()
            await self.client.connection_pool.release(connection)

    async def repeat_script(self, text: str, keys: list[str], arguments: list[Any], *, pinned: str = "") -> Any:
        """Run a script that is harmless to repeat, again while the server is away for a moment. Raises our errors."""
        for pause in PAUSES_S:
            try:
                return await self.script(text, keys, arguments, pinned=pinned)
            except Backpressure:
                raise  # it answered, and a second asking would only add to its load
            except Unavailable:
                await asyncio.sleep(pause * (1 + random.random()))
        return await self.script(text, keys, arguments, pinned=pinned)


def _clients(address: Address) -> list[Redis | RedisCluster]:
    # The one to use, and those that it asks where the master is.
    options: dict[str, Any] = {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": HEALTH_CHECK_S,
        "protocol": 2,
        "driver_info": None,  # it would be announced with a command that Redis 6.2 does not know
    }
    parts = urlsplit(address.url)
    if address.kind == "cluster":
        return [RedisCluster.from_url(address.url, **options)]
    if address.kind == "sentinel":
        user, _, hosts = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        service, _, db = parts.path.strip("/").partition("/")
        if not service:
            raise SettingsError(
                f"Redis address {address.shown!r} names no service: write …://HOST:PORT,HOST:PORT/SERVICE"
            )
        if parts.scheme == "rediss":
            options["ssl"] = True
        found = [(host, int(port or 26379)) for host, _, port in (one.partition(":") for one in hosts.split(","))]
        sentinel = Sentinel(found, sentinel_kwargs=dict(options), **options)
        access: dict[str, Any] = {"username": unquote(name) or None, "password": unquote(password) or None}
        return [sentinel.master_for(service, db=int(db or 0), **access), *sentinel.sentinels]
    return [Redis.from_url(address.url, **options)]


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[RedisServer]:
    """A client of the server at `url`, not connected yet. Raises SettingsError for an address that cannot be one."""
    address = parse_address(url)
    try:
        clients = _clients(address)
    except (ValueError, TypeError, driver.RedisError) as error:
        raise SettingsError(
            f"Redis address {address.shown!r} is malformed ({error}): docs/operate.md lists its forms"
        ) from None
    try:
        server = RedisServer(clients[0], address)
        try:
            yield server
        finally:
            await server.unpin()
    finally:
        for client in clients:
            await client.aclose()
