"""Calling tools for one step of one agent: what it may call, how long and how much, and what became of each call.

Our own code and a model go through the same door: `Toolbox.call` and `Toolbox.answer`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import structlog

from config.brand_profile import BrandProfile
from config.clock import Clock
from config.errors import CopydeskError, LeaseLost, UnknownTool
from config.ids import new_id
from config.log import escape
from config.vocabulary import AgentType, Step, Trust
from memory.embedding.protocol import Embedder
from memory.records.protocol import Records
from memory.rows.publication import LedgerStep
from memory.rows.sessions import Event
from tools.context import Call, CallLimits, ToolContext, ToolRecords
from tools.plugin_api import Effect, ToolFailed, ToolRetry, ToolSpec
from tools.registry import ToolSet, may
from tools.results import ToolResult, to_result
from tools.running import ToolBroke, abandoned, give_up, one_line, returned, start

log = structlog.get_logger(__name__)
READ_ONLY: frozenset[Effect] = frozenset({"read"})
UNTRUSTED = (Trust.WEB, Trust.MODEL)
MOST_ABANDONED = 8
"""Calls of one tool that were given up and still run; with so many it is not called again in this process."""
MOST_NOTED = 40
"""Calls that the record of one step names; the others are counted."""
SAID = "these are the words of the tool"
"""A note on an error that a tool raised for its caller: a model reads it fenced, as it reads what a tool returns."""


class ToolRefused(ToolFailed):
    """This role may not make this call here. Nothing happened."""

    exit_code = 2


@dataclass(frozen=True)
class ToolCall:
    """What a model asked for. Nothing of it is checked yet."""

    id: str
    name: str
    arguments: str | dict[str, Any]


@dataclass(frozen=True)
class ToolAnswer:
    """What a model is told: a result, or one line about why there is none."""

    call: ToolCall
    result: ToolResult | None = None
    error: str = ""
    said: str = ""
    """What of `error` the tool said itself, in words that may be a stranger's."""
    over: bool = False
    """It was beyond what one answer may ask for, and was not looked at."""


@dataclass(frozen=True)
class NotedCall:
    """One call as it is recorded: by our code or by a model, of what, and what became of it."""

    tool: str
    by: Literal["code", "model"]
    arguments: str
    outcome: Literal["ok", "retry", "failed", "refused", "broke"]
    note: str = ""
    """What came back, counted; or why nothing did."""


class Toolbox:
    """The tools of one step of one agent. `async with` writes what was called as one event, `tools.used`, at its end."""

    def __init__(
        self,
        tools: ToolSet,
        *,
        agent: AgentType,
        records: Records,
        embedder: Embedder,
        profile: BrandProfile,
        clock: Clock,
        session_id: str = "",
        piece_id: str = "",
        effects: Collection[Effect] = READ_ONLY,
        permit: LedgerStep | None = None,
        limits: CallLimits | None = None,
    ) -> None:
        """`effects`: what this step was opened for, at most. `permit`: the ledger's, for one call of a tool that publishes."""
        self.agent, self.made = agent, list[NotedCall]()
        self._tools, self._effects, self._permit = tools, frozenset(effects), permit
        self._records, self._embedder, self._profile, self._clock = records, embedder, profile, clock
        self._session_id, self._piece_id = session_id, piece_id
        self._limits = limits or CallLimits()
        self._read_from: Trust | None = None
        self._mistakes: defaultdict[str, int] = defaultdict(int)

    def offered(self) -> list[ToolSpec]:
        """What a model of this step may call, by name. Never a tool that publishes: that is no model's to ask for."""
        return [spec for spec in self._tools if spec.effect != "publish" and not self._objection(spec)]

    async def call(self, name: str, /, **arguments: Any) -> ToolResult:
        """Call a tool from our own code.

        Raises ToolRetry for wrong arguments, ToolRefused, ToolFailed, ToolBroke, UnknownTool, and what the stores raise.
        """
        return await self._make("code", name, arguments)

    async def answer(self, calls: Sequence[ToolCall]) -> list[ToolAnswer]:
        """What a model is told about the calls of one answer, in their order; all run at once, those beyond the limit never.

        A wrong call may be mended once a tool; after that the tool is closed to this step. A tool that does not exist and one
        that this role may not call are told in the same words. Raises what fails the step, after every call has ended.
        """
        most = self._limits.parallel
        told = await asyncio.gather(*(self._told(call) for call in calls[:most]), return_exceptions=True)
        for one in told:
            if isinstance(one, BaseException):
                raise one
        if left := calls[most:]:
            self._note("model", left[0].name, f"{len(left)} calls", "refused", f"over {most} calls in one answer")
        late = f"not called: at most {most} calls in one answer"
        return [
            *(one for one in told if isinstance(one, ToolAnswer)),
            *(ToolAnswer(call, error=late, over=True) for call in left),
        ]

    async def _told(self, call: ToolCall) -> ToolAnswer:
        unknown = (
            f"there is no tool {call.name[:64]!r}; there are: {', '.join(s.name for s in self.offered()) or 'none'}"
        )
        try:
            if self._mistakes[call.name] > 1:
                raise ToolRefused(f"{call.name}: called wrongly twice: it is closed, go on without it")
            if self._tools.get(call.name).effect == "publish":
                raise UnknownTool(unknown)
            return ToolAnswer(call, result=await self._make("model", call.name, call.arguments))
        except ToolRetry as error:
            self._mistakes[call.name] += 1
            again = "mend it and call again" if self._mistakes[call.name] == 1 else "do not call it again"
            return ToolAnswer(call, error=f"{one_line(error)}: {again}", said=_said(error))
        except (ToolRefused, UnknownTool) as error:
            if self._mistakes[call.name] > 1:
                return ToolAnswer(call, error=one_line(error))
            self._note("model", call.name, call.arguments, "refused", one_line(error))
            return ToolAnswer(call, error=one_line(unknown))
        except ToolFailed as error:
            return ToolAnswer(call, error=f"{one_line(error)}: do not call it again", said=_said(error))

    async def _make(self, by: Literal["code", "model"], name: str, arguments: str | Mapping[str, Any]) -> ToolResult:
        try:
            spec = self._tools.get(name)
            if objection := self._objection(spec):
                raise ToolRefused(objection)
            checked = _parsed(spec, arguments)
            if spec.effect == "publish":
                self._permit = None  # one permit, one call: whatever becomes of it
            result = await self._run(spec, checked)
        except ToolRetry as error:
            self._note(by, name, arguments, "retry", one_line(error))
            raise
        except (ToolRefused, UnknownTool) as error:
            if by == "code":
                self._note(by, name, arguments, "refused", one_line(error))
            raise
        except ToolFailed as error:
            self._note(by, name, arguments, "failed", one_line(error))
            raise
        except CopydeskError as error:
            self._note(by, name, arguments, "broke", one_line(error))
            raise
        self._note(by, name, arguments, "ok", _counted(result))
        return result

    def _objection(self, spec: ToolSpec) -> str:
        """Why this step may not call it; '' when it may."""
        if self.agent not in spec.agents:
            return f"tool {spec.name!r} is not for {self.agent}"
        if not may(self.agent, spec.effect):
            return f"tool {spec.name!r}: {self.agent} may not {spec.effect}"
        if spec.effect not in self._effects:
            return f"tool {spec.name!r}: this step of {self.agent} may not {spec.effect}"
        if spec.effect != "read" and self._read_from is not None:
            return f"tool {spec.name!r}: this step has read text of the {self._read_from}: it may not {spec.effect} any more"
        if spec.effect == "publish" and not self._permitted():
            return f"tool {spec.name!r}: publishing needs a permit of the ledger that is still good"
        return ""

    def _permitted(self) -> bool:
        permit = self._permit
        return (
            permit is not None
            and permit.step is Step.PERMIT
            and permit.brand == self._records.brand
            and permit.deadline is not None
            and self._clock.now() < permit.deadline
        )

    async def _run(self, spec: ToolSpec, arguments: dict[str, Any]) -> ToolResult:
        if len(abandoned[spec.name]) >= MOST_ABANDONED:
            raise ToolFailed(
                f"tool {spec.name!r} does not end when it is told to: {MOST_ABANDONED} calls of it still run"
            )
        call = Call(spec.name, spec.effect)
        if spec.context_parameter:
            arguments = {**arguments, spec.context_parameter: self._context(call)}
        begun, running = self._clock.boottime(), start(spec, arguments)
        try:
            await asyncio.wait({running}, timeout=spec.timeout_s)
            took = self._clock.boottime() - begun
            if running.done():
                if took > spec.timeout_s + self._limits.grace_s:
                    # It would have been cancelled in time, had the loop been free to do it.
                    log.warning("tool.blocked_loop", tool=spec.name, seconds=round(took, 1))
                return self._heard(spec, running)
            raise ToolFailed(f"tool {spec.name!r} did not answer in {spec.timeout_s:g} s")
        finally:
            call.over = "its call is over"
            if not running.done():
                await give_up(spec, running, self._limits.grace_s)

    def _heard(self, spec: ToolSpec, running: asyncio.Future[Any]) -> ToolResult:
        """What the call came to, noting whose words this step has read: those of a failure are the tool's words too."""
        try:
            value = returned(spec, running)
        except (ToolRetry, ToolFailed) as error:
            error.add_note(SAID)
            if spec.effect == "read" and spec.trust in UNTRUSTED:
                self._read_from = spec.trust
            raise
        try:
            result = to_result(spec.name, value, trust=spec.trust, limit=self._limits.result_bytes)
        except ToolFailed:
            raise
        except Exception as error:  # a value of the tool's own making runs its code as it is read
            raise ToolBroke(f"tool {spec.name!r} returned what cannot be read: {one_line(error)}") from error
        # A tool that acts is trusted to name its result; one that hands on what others wrote says so.
        if result.trust in UNTRUSTED and (spec.effect == "read" or result.trust is not spec.trust):
            self._read_from = result.trust
        return result

    def _context(self, call: Call) -> ToolContext:
        return ToolContext(
            brand=self._records.brand,
            profile=self._profile,
            records=ToolRecords(self._records, call),
            embedder=self._embedder,
            clock=self._clock,
            agent=self.agent,
            session_id=self._session_id,
            limits=self._limits,
            call=call,
            _all=self._records,
        )

    def _note(self, by: Literal["code", "model"], tool: str, arguments: Any, outcome: Any, note: str) -> None:
        told = arguments if isinstance(arguments, str) else ", ".join(f"{k}={_short(v)}" for k, v in arguments.items())
        self.made.append(NotedCall(escape(tool)[:64], by, one_line(told), outcome, note))

    async def record(self) -> None:
        """Append the event that says what this step called; nothing when it called nothing."""
        if not self.made:
            return
        now, made = self._clock.now(), self.made
        self.made = []
        calls = [
            {"tool": m.tool, "by": m.by, "with": m.arguments, "outcome": m.outcome, "note": m.note}
            for m in made[:MOST_NOTED]
        ]
        more = {"more": len(made) - MOST_NOTED} if len(made) > MOST_NOTED else {}
        event = Event(
            brand=self._records.brand,
            day=now.date().isoformat(),
            id=new_id(now),
            name="tools.used",
            session_id=self._session_id,
            piece_id=self._piece_id,
            actor=self.agent,
            detail={"calls": calls, **more},
            created_at=now,
        )
        await self._records.put(event)

    async def __aenter__(self) -> Toolbox:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None:
            await self.record()
        elif isinstance(error, CopydeskError) and not isinstance(error, LeaseLost):
            with suppress(CopydeskError):  # what went wrong first is what must be told
                await self.record()


def _counted(result: ToolResult) -> str:
    value, cut = result.value, ", cut short" if result.truncated else ""
    size = f"{len(value)} entries" if isinstance(value, list | dict) else type(value).__name__
    return f"{size} ({result.trust}){cut}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _said(error: CopydeskError) -> str:
    return one_line(error) if SAID in getattr(error, "__notes__", ()) else ""


def _parsed(spec: ToolSpec, arguments: str | Mapping[str, Any]) -> dict[str, Any]:
    try:
        return spec.parse(arguments if isinstance(arguments, str) else dict(arguments))
    except CopydeskError:
        raise
    except Exception as error:  # a type of the tool's own may check itself, with code that is the tool's
        raise ToolBroke(f"tool {spec.name!r} cannot check its arguments: {one_line(error)}") from error
