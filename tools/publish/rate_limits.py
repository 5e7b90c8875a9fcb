"""The burst guard: an account never publishes more than a few posts in a short time, whatever the queue does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from config.clock import from_millis, to_millis
from memory.records.protocol import Records
from memory.rows.publication import LedgerStep


@dataclass(frozen=True)
class BurstLimit:
    """At most `most` posts of one account in each window; windows are aligned to the epoch.

    So at most twice `most` in any span as long as a window.
    """

    most: int = 4
    window: timedelta = timedelta(minutes=10)

    def window_start(self, now: datetime) -> datetime:
        """The start of the window that `now` lies in."""
        width = self.window // timedelta(milliseconds=1)
        return from_millis(to_millis(now) // width * width)

    def next_window(self, now: datetime) -> datetime:
        """When tokens are available again."""
        return self.window_start(now) + self.window

    async def admit(self, records: Records, permit: LedgerStep, *, now: datetime) -> bool:
        """Take a token of the permit's account; False when this window has none left.

        A publication has one token a window, however many parts and attempts it has. Two racing callers never share a
        token.
        """
        start = to_millis(self.window_start(now))
        for i in range(self.most):
            key = f"{permit.platform}|{permit.account}|{start}|{i}"
            if (await records.create_once("burst", key, permit, token=permit.pub_key)).won:
                return True
        return False
