"""Money, set aside before each model call and settled after it.

A call is one usage row. Its life, and what a crash between any two steps leaves behind:

1. row `reserved` at the worst case        -> swept to `assumed` later: counted as spent, though nothing was
2. session envelope, then day envelope     -> the same
3. the call                                -> the same, and right: it may have been billed
4. row `settled` at what it really cost    -> the envelopes still hold the worst case until swept or rebuilt
5. envelopes set to what it really cost

Rows are the truth; the envelopes are caches that are rebuilt from rows. The row is written before its hold, so a
rebuild that starts after any hold was granted sees that hold's row. Nothing is ever counted too low.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from importlib import resources

from config.clock import Clock
from config.errors import ModelRefused, OverBudget, Unavailable
from config.ids import new_id
from config.settings import Settings
from config.vocabulary import AgentType
from memory.cache.protocol import Cache, Held
from memory.records.protocol import Records
from memory.rows.sessions import Session, Usage

MARGIN = timedelta(seconds=30)
"""Time beyond the call's timeout in which its owner may still settle it."""
ENVELOPE_TTL = timedelta(days=2)
SWEEP_BACK = timedelta(days=8)
"""How far back unsettled reservations are looked for: longer than any outage that we plan for."""


class Unanswered(Unavailable):
    """No answer came, or not a whole one: the call may have been billed."""


class Unusable(ModelRefused):
    """An answer came that cannot be used; what it used is known, None when the server did not say."""

    def __init__(self, message: str, *, tokens: Tokens | None = None) -> None:
        super().__init__(message)
        self.tokens = tokens


@dataclass(frozen=True)
class Tokens:
    """What one call used."""

    input: int
    output: int


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float

    def cost(self, tokens: Tokens) -> float:
        """US dollars."""
        return (tokens.input * self.input + tokens.output * self.output) / 1_000_000


@dataclass(frozen=True)
class Spent:
    """What was used so far; reservations under way count at their worst case."""

    tokens: int
    cost_usd: float


@cache
def _prices() -> tuple[dict[str, Price], Price]:
    raw = tomllib.loads((resources.files("config") / "prices.toml").read_text("utf-8"))
    known = {name: Price(value["input"], value["output"]) for name, value in raw["models"].items()}
    return known, Price(raw["unknown"]["input"], raw["unknown"]["output"])


def price_of(model: str) -> Price:
    """The price of `offline:` or `openai:NAME`; a dated name has its family's price, an unlisted one the dear one."""
    scheme, _, name = model.partition(":")
    known, unknown = _prices()
    if scheme == "offline":
        return known["offline"]
    families = [family for family in known if name == family or _is_dated(name, family)]
    return known[max(families, key=len)] if families else unknown


def _is_dated(name: str, family: str) -> bool:
    """`gpt-4o-2024-08-06` is gpt-4o of a day; `gpt-4o-audio` is another model, which may cost more."""
    rest = name.removeprefix(family + "-")
    return rest != name and rest.replace("-", "").isdigit()


def day_of(instant: datetime) -> str:
    """The UTC day that an instant's spending belongs to, 2026-12-07."""
    return instant.date().isoformat()


def counted(row: Usage) -> float:
    """What a row takes out of its envelopes, in US dollars."""
    return row.reserved_usd if row.status == "reserved" else row.cost_usd


def session_key(session_id: str) -> str:
    """The envelope of one session, as the cache names it."""
    return f"budget:{session_id}"


def day_key(day: str) -> str:
    """The envelope of a brand's day, as the cache names it."""
    return f"budget:day:{day}"


@dataclass(frozen=True)
class _Envelope:
    """One limit, and the rows that count against it."""

    key: str
    name: str
    ceiling: float
    days: tuple[str, ...]
    session_id: str = ""
    """Empty: all rows of the days."""

    def remedy(self, session_id: str) -> str:
        """How the session that it stopped goes on."""
        if self.session_id:
            return f"go on with `session resume {self.session_id} --add-usd AMOUNT`"
        go_on = f", then `session resume {session_id}`" if session_id else ""
        return f"raise COPYDESK_BRAND_DAY_USD, or wait for the next day (UTC){go_on}"


class Spending:
    """The money of one brand."""

    def __init__(self, records: Records, cache: Cache, settings: Settings, clock: Clock) -> None:
        self._records, self._cache, self._settings, self._clock = records, cache, settings, clock

    @property
    def cache(self) -> Cache:
        """The brand's cache, where the envelopes are counted."""
        return self._cache

    async def reserve(
        self, *, model: str, worst_usd: float, agent: AgentType, session_id: str, piece_id: str = ""
    ) -> Usage:
        """Set `worst_usd` aside in the session's and the day's envelope; the row to settle.

        Raises OverBudget when it fits one of them no more: nothing is held then. NotFound for an unknown session.
        """
        row = self._row(
            model, agent, session_id, piece_id, lasts=self._settings.model_timeout + MARGIN, reserved_usd=worst_usd
        )
        envelopes = await self._envelopes(row)
        await self._records.put(row)
        for envelope in envelopes:
            if await self._hold(envelope, row) is Held.REFUSED:
                # Whether waiting may help is read before our own row is settled: it must not count itself.
                refusal = await self._refusal(envelope, row)
                await self.settle(row, cost_usd=0.0, tokens=Tokens(0, 0))
                raise refusal
        return row

    async def settle(self, row: Usage, *, cost_usd: float, tokens: Tokens, assumed: bool = False) -> Usage:
        """Put down what the call really cost, on the row first; doing it again changes nothing."""
        settled = row.model_copy(
            update={
                "status": "assumed" if assumed else "settled",
                "cost_usd": cost_usd,
                "input_tokens": tokens.input,
                "output_tokens": tokens.output,
                "updated_at": self._clock.now(),
            }
        )
        await self._records.put(settled)
        await _release(self._cache, settled)
        return settled

    async def record_free(
        self, *, model: str, agent: AgentType, session_id: str, piece_id: str, tokens: Tokens
    ) -> Usage:
        """The row of a call that costs nothing: written once, settled, and no envelope is asked."""
        row = self._row(
            model,
            agent,
            session_id,
            piece_id,
            status="settled",
            input_tokens=tokens.input,
            output_tokens=tokens.output,
        )
        await self._records.put(row)
        return row

    def _row(
        self,
        model: str,
        agent: AgentType,
        session_id: str,
        piece_id: str,
        *,
        lasts: timedelta = timedelta(0),
        status: str = "reserved",
        **amounts: float,
    ) -> Usage:
        now = self._clock.now()
        return Usage(
            brand=self._records.brand,
            day=day_of(now),
            id=new_id(now),
            session_id=session_id,
            piece_id=piece_id,
            agent_type=agent,
            model=model,
            status=status,
            expires_after=now + lasts,
            created_at=now,
            updated_at=now,
            **amounts,
        )

    async def _envelopes(self, row: Usage) -> list[_Envelope]:
        found = [_Envelope(day_key(row.day), f"the brand's day {row.day}", self._settings.brand_day_usd, (row.day,))]
        if row.session_id:
            session: Session = await self._records.get(Session, id=row.session_id)
            ceiling = self._settings.session_usd + session.added_usd
            days = tuple(_days(session.created_at.date(), date.fromisoformat(row.day)))
            found.insert(0, _Envelope(session_key(session.id), f"session {session.id}", ceiling, days, session.id))
        return found

    async def _hold(self, envelope: _Envelope, row: Usage) -> Held:
        held = await self._cache.hold(envelope.key, row.id, row.reserved_usd, ceiling=envelope.ceiling)
        if held is Held.MISSING:
            # Our own row stays out: `hold` must decide on it, not find it there already.
            items = {other.id: counted(other) for other in await self._rows(envelope) if other.id != row.id}
            await self._cache.rebuild_holds(envelope.key, items, ttl=ENVELOPE_TTL)
            held = await self._cache.hold(envelope.key, row.id, row.reserved_usd, ceiling=envelope.ceiling)
        if held is Held.MISSING:
            raise Unavailable(f"envelope {envelope.key!r} vanished while it was rebuilt: try again")
        return held

    async def _rows(self, envelope: _Envelope) -> list[Usage]:
        rows = [row for day in envelope.days for row in await self._records.list_rows(Usage, day=day)]
        return [row for row in rows if not envelope.session_id or row.session_id == envelope.session_id]

    async def _refusal(self, envelope: _Envelope, row: Usage) -> OverBudget:
        others = [other for other in await self._rows(envelope) if other.id != row.id]
        gone = sum(other.cost_usd for other in others if other.status != "reserved")
        left = max(0.0, envelope.ceiling - sum(counted(other) for other in others))
        waiting = gone + row.reserved_usd <= envelope.ceiling
        why = "calls under way hold the rest: try again" if waiting else envelope.remedy(row.session_id)
        return OverBudget(
            f"{envelope.name} has {left:.4f} of {envelope.ceiling:.2f} USD left, this call may cost {row.reserved_usd:.4f}: {why}",
            asked_usd=row.reserved_usd,
            left_usd=left,
            blocked_by_reservations=waiting,
        )


async def _release(cache: Cache, row: Usage) -> None:
    if row.session_id:
        await cache.set_hold(session_key(row.session_id), row.id, row.cost_usd)
    await cache.set_hold(day_key(row.day), row.id, row.cost_usd)


def _days(first: date, last: date) -> Iterable[str]:
    # A session row whose clock was ahead must not empty the list: the day of the call always counts.
    day = min(first, last)
    while day <= last:
        yield day.isoformat()
        day += timedelta(days=1)


async def settle_stale(records: Records, cache: Cache, clock: Clock) -> int:
    """Settle every reservation of this brand whose owner must be gone at its worst case, marked `assumed`; how many.

    Also repeats the envelopes' part of settlements of the last hour, which a crash may have cut off.
    """
    now = clock.now()
    found = 0
    for day in _days((now - SWEEP_BACK).date(), now.date()):
        for row in await records.list_rows(Usage, day=day):
            if row.status == "reserved" and row.expires_after < now:
                row = row.model_copy(update={"status": "assumed", "cost_usd": row.reserved_usd, "updated_at": now})
                await records.put(row)
                await _release(cache, row)
                found += 1
            elif row.status != "reserved" and row.reserved_usd and row.updated_at > now - timedelta(hours=1):
                await _release(cache, row)
    return found


async def session_spent(records: Records, session: Session) -> Spent:
    """Tokens and money of a session so far, from its usage rows."""
    last = session.finished_at or max(session.updated_at, session.created_at)
    tokens, cost = 0, 0.0
    # One day beyond: a call may end after midnight of the row's last write.
    for day in _days(session.created_at.date(), last.date() + timedelta(days=1)):
        for row in await records.list_rows(Usage, day=day):
            if row.session_id == session.id:
                tokens += row.input_tokens + row.output_tokens
                cost += counted(row)
    return Spent(tokens, round(cost, 6))
