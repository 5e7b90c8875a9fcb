"""What every cache engine holds to: amounts that are money, lifetimes that are ones."""

from __future__ import annotations

import math
from datetime import timedelta

from config.errors import BadInput

NANO = 10**9
"""US dollars are counted in billionths, as whole numbers: their sums are exact."""
UNCLAIMED_HOLDS = timedelta(days=2)
"""How long `set_hold` on an unknown envelope waits for a rebuild: longer than any day's envelope is asked for."""


def nano_of(amount: float, *, what: str) -> int:
    """`amount` US dollars in billionths. Raises BadInput unless it is from 0 to 1e9."""
    if not math.isfinite(amount) or amount < 0 or amount > 1e9:
        raise BadInput(f"{what} {amount!r} is not an amount of money: give 0 to 1e9 US dollars")
    return round(amount * NANO)


def lifetime_millis(ttl: timedelta, *, what: str) -> int:
    """`ttl` in milliseconds, at least one. Raises BadInput unless it is positive."""
    if ttl <= timedelta(0):
        raise BadInput(f"{what}: ttl {ttl} is not positive: use delete to forget a key")
    return max(1, ttl // timedelta(milliseconds=1))
