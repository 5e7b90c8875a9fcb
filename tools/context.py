"""What a running tool is given: the brand it works for, rows it may see, and `once` for effects that must not be repeated."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from config.brand_profile import BrandProfile
from config.clock import Clock
from config.errors import BadInput, Conflict, LeaseLost, Uncertain, Unsupported
from config.ids import new_id, new_token
from config.vocabulary import AgentType, Trust
from memory.embedding.protocol import Embedder
from memory.records.protocol import Decision, Once, Records, Scored
from memory.rows.agents import AgentMemory
from memory.rows.row import Row
from memory.rows.sessions import Event
from tools.text import HIDDEN

if TYPE_CHECKING:
    from memory.graph_store import MemoryStore

R = TypeVar("R", bound=Row)
WRITABLE: tuple[type[Row], ...] = (AgentMemory,)
"""The rows that a tool may write. Everything else has one writer already: an agent, a human, or the ledger."""
ONCE = "tool.once"
"""The kind of `create_once` that starts an effect; with `.end` behind it, the kind that ends it."""
MOST_ATTEMPTS = 100


@dataclass(frozen=True)
class CallLimits:
    """What one call, and one answer of a model, may use."""

    result_bytes: int = 64 * 1024
    parallel: int = 8
    """Calls of one answer of a model that are made; the others are refused."""
    grace_s: float = 2.0
    """Seconds that a cancelled tool has for leaving; then it is abandoned."""


@dataclass
class Call:
    """One call while it runs. Once it is over, nothing that the tool still does is written."""

    tool: str
    effect: Literal["read", "write", "publish"]
    over: str = ""
    """Why nothing may be read or written any more; empty while the call runs."""


@dataclass(frozen=True)
class ToolContext:
    """Everything that a tool may touch, for one call, of one brand, under the lease of the task that made the call."""

    brand: str
    profile: BrandProfile
    records: Records
    """The brand's rows: readable; a tool with the effect `write` may write `AgentMemory`, any other tool nothing."""
    embedder: Embedder
    clock: Clock
    agent: AgentType
    session_id: str
    limits: CallLimits
    call: Call = field(repr=False)
    _all: Records = field(repr=False)

    @cached_property
    def store(self) -> MemoryStore:
        """What the agents remember, as the LangGraph store; writes as `records` allows."""
        from memory.graph_store import MemoryStore  # langgraph: only whoever asks for memories pays for it

        return MemoryStore(self.records, self.embedder, clock=self.clock)

    async def once(self, key: str, effect: Callable[[], Awaitable[Any] | Any]) -> Any:
        """Do `effect`, async or not, and return what it returned, as plain JSON; with the same `key` again, only return it again.

        `key` names the effect among all of this tool's for this brand, for ever. An effect that raises ToolRetry or ToolFailed
        says that nothing happened, and may be tried again. After anything else, a crash, a timeout or another error, nobody
        can know: from then on it raises Uncertain, until a human has looked. It never skips, and never repeats silently.

        Raises:
            Uncertain: it was started and nobody recorded how it ended; or somebody does it right now.
            BadInput: the tool reads only, the key is empty or over 200 characters, or the effect is no function.
            LeaseLost: the call is over, or its task is somebody else's. Nothing was started.
        """
        if self.call.effect == "read":
            raise BadInput(f"tool {self.call.tool!r} has the effect `read`: declare `write` to have effects")
        if not isinstance(key, str) or not 1 <= len(key) <= 200 or HIDDEN.search(key):
            raise BadInput(
                f"tool {self.call.tool!r}: once key {key!r:.60} must have 1 to 200 characters that can be seen"
            )
        if not callable(effect):  # found out only after the start is recorded, it would be uncertain for ever
            if inspect.iscoroutine(effect):
                effect.close()
            raise BadInput(f"tool {self.call.tool!r}: once {key[:60]!r} needs a function: give `send`, not `send()`")
        for attempt in range(1, MOST_ATTEMPTS + 1):
            name = f"{self.call.tool}|{key}|{attempt}"
            ended = await self._all.find_once(f"{ONCE}.end", name, Event)
            if ended is None:
                return await self._start(name, key, effect)
            await self._show(ended.row)
            if ended.row.detail["outcome"] == "done":
                return ended.row.detail["result"]
        raise Conflict(
            f"tool {self.call.tool!r}: {key!r} was refused {MOST_ATTEMPTS} times: look why, and use another key"
        )

    async def _start(self, name: str, key: str, effect: Callable[[], Awaitable[Any]]) -> Any:
        from tools.plugin_api import ToolFailed, ToolRetry
        from tools.results import to_result

        self._open()
        started = await self._all.create_once(
            ONCE, name, self._event("tool.effect_started", key=key), token=new_token()
        )
        if not started.won:
            at = started.row.created_at.isoformat(timespec="seconds")
            raise Uncertain(
                f"tool {self.call.tool!r}: {key!r} was started at {at} and nobody recorded how it ended: look whether it happened"
            )
        await self._show(started.row)
        if self.call.over:  # given up while it was being started: this is the last moment at which we know
            await self._end(name, key, "not_done", self.call.over)
            self._open()
        try:
            returned = effect()
            if inspect.isawaitable(returned):
                returned = await returned
        except (ToolRetry, ToolFailed) as refusal:
            await self._end(name, key, "not_done", str(refusal)[:300])
            raise
        try:
            result: Any = to_result(self.call.tool, returned, trust=Trust.WEB, limit=self.limits.result_bytes).value
        except ToolFailed:
            result = None  # it happened, whatever it returned: that is what must be remembered
        return await self._end(name, key, "done", result)

    async def _end(self, name: str, key: str, outcome: str, result: Any) -> Any:
        row = self._event("tool.effect_ended", key=key, outcome=outcome, result=result)
        ended = await self._all.create_once(f"{ONCE}.end", name, row, token=new_token())
        await self._show(ended.row)
        return ended.row.detail["result"]

    def _event(self, name: str, **detail: Any) -> Event:
        now = self.clock.now()
        return Event(
            brand=self.brand,
            day=now.date().isoformat(),
            id=new_id(now),
            name=name,
            session_id=self.session_id,
            actor=self.agent,
            detail={"tool": self.call.tool, **detail},
            created_at=now,
        )

    async def _show(self, row: Event) -> None:
        if await self._all.find(Event, day=row.day, id=row.id) is None:
            await self._all.put(row)

    def _open(self) -> None:
        if self.call.over:
            raise LeaseLost(f"tool {self.call.tool!r}: {self.call.over}")


class ToolRecords:
    """The rows of one brand as a tool sees them: a `Records` that writes what the call's effect allows, and nothing after it."""

    def __init__(self, records: Records, call: Call) -> None:
        self._records, self._call = records, call

    @property
    def brand(self) -> str:
        return self._records.brand

    def _running(self) -> Records:
        if self._call.over:
            raise LeaseLost(f"tool {self._call.tool!r}: {self._call.over}")
        return self._records

    def _writing(self, row_types: Sequence[type[Row]]) -> Records:
        if self._call.effect == "read":
            raise Unsupported(f"tool {self._call.tool!r} has the effect `read`: it writes nothing")
        for row_type in row_types:
            if row_type not in WRITABLE:
                may = ", ".join(known.__name__ for known in WRITABLE)
                raise Unsupported(
                    f"tool {self._call.tool!r} may not write {row_type.__name__}: tools write {may} alone"
                )
        return self._running()

    async def get(self, row_type: type[R], **key: Any) -> R:
        return await self._running().get(row_type, **key)

    async def find(self, row_type: type[R], **key: Any) -> R | None:
        return await self._running().find(row_type, **key)

    async def find_many(self, row_type: type[R], keys: Sequence[Mapping[str, Any]]) -> list[R]:
        return await self._running().find_many(row_type, keys)

    async def list_rows(
        self, row_type: type[R], *, limit: int | None = None, after: Mapping[str, Any] | None = None, **partition: Any
    ) -> list[R]:
        return await self._running().list_rows(row_type, limit=limit, after=after, **partition)

    async def find_by(self, row_type: type[R], *, limit: int | None = None, **equals: Any) -> list[R]:
        return await self._running().find_by(row_type, limit=limit, **equals)

    async def put(self, *rows: Row) -> None:
        await self._writing([type(row) for row in rows]).put(*rows)

    async def delete(self, row_type: type[R], **key: Any) -> None:
        await self._writing([row_type]).delete(row_type, **key)

    async def search(
        self,
        row_type: type[R],
        vector: Sequence[float],
        *,
        embedder_id: str,
        limit: int,
        min_score: float = 0.0,
        **equals: Any,
    ) -> list[Scored[R]]:
        return await self._running().search(
            row_type, vector, embedder_id=embedder_id, limit=limit, min_score=min_score, **equals
        )

    async def search_text(self, row_type: type[R], query: str, *, limit: int, **equals: Any) -> list[Scored[R]]:
        return await self._running().search_text(row_type, query, limit=limit, **equals)

    async def create_once(self, kind: str, key: str, row: R, *, token: str) -> Once[R]:
        raise Unsupported(f"tool {self._call.tool!r} decides no race of ours: use `ctx.once(key, effect)`")

    async def find_once(self, kind: str, key: str, row_type: type[R]) -> Once[R] | None:
        return await self._running().find_once(kind, key, row_type)

    async def find_many_once(self, kind: str, keys: Sequence[str], row_type: type[R]) -> dict[str, Once[R]]:
        return await self._running().find_many_once(kind, keys, row_type)

    async def list_once(self, *, limit: int, after: tuple[str, str] | None = None) -> list[Decision]:
        raise Unsupported(f"tool {self._call.tool!r} lists no decisions: that is for `migrate` alone")
