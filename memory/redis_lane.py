"""A lane: one connection to Redis whose calls go one after the other, so that a lost answer is no doubt.

Operations that are asked for while a call is under way travel together in the next one. Each call has a number, and the script
keeps the lane's last number with its answer: a call that is sent again, because its answer was lost, gets the first answer and
changes nothing, and one that the network held back and delivers late is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from types import TracebackType
from typing import Any

from config.errors import Unavailable
from config.ids import new_token
from memory.redis_client import RedisServer

_BATCH = 128  # operations a call: a script holds up every other client of the server

Operation = tuple[str, Sequence[Any], bool, "asyncio.Future[list[bytes]]"]


class RedisLane:
    """Runs operations of `script` on `server`, in order."""

    def __init__(
        self, server: RedisServer, script: str, *, key: str, now: Callable[[], int | str], extra: int | str
    ) -> None:
        self._server = server
        self._script = script
        self._key = key
        self._now = now
        self._extra = extra
        self._name = new_token()
        self._number = 0
        self._asked: list[Operation] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._pump: asyncio.Task[None] | None = None

    async def __aenter__(self) -> RedisLane:
        self._pump = asyncio.create_task(self._run(), name="redis-lane")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._wake.set()
        assert self._pump is not None
        await self._pump

    def ask_soon(self, verb: str, arguments: Sequence[Any], *, reads: bool = False) -> asyncio.Future[list[bytes]]:
        """The coming answer. `reads`: the operation changes nothing, so that its answer need not be kept."""
        if self._closing:
            raise Unavailable(f"Redis {self._server.address.shown}: this lane is closed: open it again")
        future: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self._asked.append((verb, arguments, reads, future))
        self._wake.set()
        return future

    async def ask(self, verb: str, arguments: Sequence[Any], *, reads: bool = False) -> list[bytes]:
        """The answer. Raises our errors; after Unavailable it may or may not have been done."""
        return await self.ask_soon(verb, arguments, reads=reads)

    async def _run(self) -> None:
        while True:
            if not self._asked:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch, self._asked = self._asked[:_BATCH], self._asked[_BATCH:]
            try:
                answers = await self._call(batch)
            except Exception as error:  # whatever it is, those who wait must hear of it, or they would wait for ever
                for *_, future in batch:
                    if not future.done():
                        future.set_exception(error)
                        future.exception()  # a caller that was cancelled does not ask for it
                continue
            for (*_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    async def _call(self, batch: list[Operation]) -> list[list[bytes]]:
        number = 0
        if not all(reads for _, _, reads, _ in batch):
            self._number += 1
            number = self._number
        arguments: list[Any] = [self._now(), self._name, number, self._extra]
        for verb, given, _, _ in batch:
            arguments += (verb, len(given), *given)
        answer = await self._server.repeat_script(self._script, [self._key], arguments, pinned=self._name)
        return _taken_apart(answer)


def _taken_apart(answer: bytes) -> list[list[bytes]]:
    """The answers to each operation: how many they are and how long each is stands in the first line."""
    line, _, texts = answer.partition(b"\n")
    lengths = map(int, line.split())
    answers, start = [], 0
    for count in lengths:
        said = []
        for length in islice(lengths, count):
            said.append(texts[start : start + length])
            start += length
        answers.append(said)
    return answers
