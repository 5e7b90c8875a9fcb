"""The simulator: a platform that does not exist, with the faults that real ones have, for rehearsals and tests."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from config.clock import Clock, from_millis, to_millis
from config.errors import Unavailable
from config.ids import name_id
from config.settings import Settings
from memory.rows.content import Post
from tools.publish.protocol import Parcel, Receipt, Rejection


class Fault(StrEnum):
    """What a platform may do with the one irreversible call."""

    REPLY_LOST = "reply_lost"
    """It posts, and the connection breaks before the answer."""
    LOST = "lost"
    """The connection breaks and nothing was posted; the caller cannot tell this from `reply_lost`."""
    LIMITED_BUT_LIVE = "limited_but_live"
    """It posts, and answers with a rate-limit error."""
    GARBLED = "garbled"
    """It posts, and answers something that is no receipt."""
    HANGS = "hangs"
    """It posts, and does not answer within the caller's timeout."""
    REJECTED = "rejected"
    """It refuses, with a code that is listed as definite."""
    REFUSED = "refused"
    """Nobody listens: not one byte was sent."""


NO_FAULTS: Mapping[Fault, float] = {}
REHEARSAL: Mapping[Fault, float] = {
    Fault.REPLY_LOST: 0.04,
    Fault.LOST: 0.02,
    Fault.LIMITED_BUT_LIVE: 0.03,
    Fault.GARBLED: 0.02,
    Fault.REJECTED: 0.02,
    Fault.REFUSED: 0.05,
}
"""Shares of calls, chosen to show every ending in a week of posts."""


@dataclass(frozen=True)
class SimulatedPost:
    """One post as the simulated platform keeps it."""

    pub_key: str
    part: int
    external_id: str
    url: str
    content_hash: str
    visible_at_ms: int


class SimulatorPublisher:
    """Posts go to `FOLDER/posts.jsonl`, one line each, appended and never looked at by `finalize`: a second call posts
    again.

    The same seed does the same to the same attempt of the same part, in any order and in any process. Reading back
    shows a post only `lag` after it went live.
    """

    name = "simulator"
    ready_ahead = False

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        seed: int = 0,
        faults: Mapping[Fault, float] = NO_FAULTS,
        lag: timedelta = timedelta(seconds=2),
    ) -> None:
        self._file = folder / "posts.jsonl"
        self._clock = clock
        self._seed = seed
        self._faults = faults
        self._lag = lag

    def parts(self, post: Post) -> int:
        return post.part_count()

    async def prepare(self, parcel: Parcel, *, attempt: int) -> str:
        """A container that names its attempt."""
        return json.dumps({"container": f"{parcel.pub_key[:12]}-{attempt}"})

    async def finalize(self, parcel: Parcel, *, part: int, handle: str, reply_to: str, timeout: timedelta) -> Receipt:
        """Post, and answer as the seed says. Raises what a real client would: see `Fault`."""
        fault = self.fault(parcel.pub_key, part, handle)
        if fault is Fault.REFUSED:
            raise ConnectionRefusedError("the simulated platform does not listen")
        if fault is Fault.REJECTED:
            raise Rejection("simulated_policy", "the simulated platform refuses this post for good")
        if fault is Fault.LOST:
            raise ConnectionResetError("the simulated connection broke")
        post = await asyncio.to_thread(self._post, parcel, part, handle)
        if fault is Fault.REPLY_LOST:
            raise ConnectionResetError("the simulated connection broke after the request")
        if fault is Fault.LIMITED_BUT_LIVE:
            raise Unavailable("the simulated platform answered 429", retry_after=timedelta(seconds=30))
        if fault is Fault.GARBLED:
            return Receipt("", "")
        if fault is Fault.HANGS:
            await asyncio.sleep(timeout.total_seconds() + 1)
        return Receipt(post.external_id, post.url)

    async def check(self, parcel: Parcel, *, part: int, handle: str) -> Receipt | None:
        """The receipt of a post that is visible by now."""
        now = self._clock.now()
        for post in await asyncio.to_thread(self.posts):
            if (post.pub_key, post.part) == (parcel.pub_key, part) and from_millis(post.visible_at_ms) <= now:
                return Receipt(post.external_id, post.url)
        return None

    def fault(self, pub_key: str, part: int, handle: str) -> Fault | None:
        """What happens to this call; None for a good answer."""
        digest = hashlib.sha256(f"{self._seed}|{pub_key}|{part}|{handle}".encode()).digest()
        roll = int.from_bytes(digest[:8]) / 2**64
        for fault, share in self._faults.items():
            if roll < share:
                return fault
            roll -= share
        return None

    def posts(self) -> list[SimulatedPost]:
        """Everything that is live, in the order in which it went live."""
        if not self._file.exists():
            return []
        # A line without its end was being written when its process died: it never went live.
        lines = self._file.read_text(encoding="utf-8").splitlines(keepends=True)
        return [SimulatedPost(**json.loads(line)) for line in lines if line.strip() and line.endswith("\n")]

    def _post(self, parcel: Parcel, part: int, handle: str) -> SimulatedPost:
        external_id = name_id("simulated", parcel.pub_key, part, handle)
        post = SimulatedPost(
            pub_key=parcel.pub_key,
            part=part,
            external_id=external_id,
            url=f"https://simulator.invalid/{parcel.post.platform}/{external_id}",
            content_hash=parcel.content_hash,
            visible_at_ms=to_millis(self._clock.now() + self._lag),
        )
        self._file.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(vars(post)) + "\n"
        opened = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # One write of one short line in append mode: two processes cannot interleave.
            os.write(opened, line.encode())
            os.fsync(opened)
        finally:
            os.close(opened)
        return post


@asynccontextmanager
async def open_simulator_publisher(settings: Settings, *, clock: Clock) -> AsyncIterator[SimulatorPublisher]:
    """The simulator of the data directory, with the faults of a rehearsal."""
    yield SimulatorPublisher(settings.data_dir.absolute() / "simulator", clock=clock, faults=REHEARSAL)
