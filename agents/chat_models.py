"""How an agent asks a model: fenced material in, a validated object out, money set aside first, one retry layer.

Retrying is done here and nowhere below: `Unavailable` alone, three attempts, full jitter, Retry-After honoured; then
the next model of the fallback chain. Each attempt is a usage row of its own.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from importlib import resources
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from pydantic import BaseModel, ValidationError

from agents.fence import fence
from agents.spending import Spending, Tokens, Unanswered, Unusable, price_of
from config.clock import Clock
from config.errors import ModelRefused, SettingsError, Unavailable, UsageError
from config.ids import new_token
from config.settings import Settings
from config.vocabulary import AgentType
from memory.cache.protocol import CONTENT_TTL, content_key

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from tools.calls import Toolbox
    from tools.results import ToolResult

V = TypeVar("V", bound=BaseModel)
ATTEMPTS = 3
LEAST_WAIT, MOST_WAIT = timedelta(seconds=1), timedelta(seconds=300)
PROMPT_OVERHEAD = 512
"""Tokens that a server may add around messages and schema."""


@dataclass(frozen=True)
class Answer(Generic[V]):
    """What a model answered."""

    value: V
    mode: Literal["template", "model"]
    """`template`: the offline model composed it by rules."""
    model: str
    usage: Tokens


def model_chain(settings: Settings, agent: AgentType | None = None) -> tuple[str, ...]:
    """The model of `agent` (else of all), then the fallbacks, in the order in which they are tried."""
    own = dict(entry.strip().split("=", 1) for entry in settings.agent_models.split(",") if entry.strip())
    names = [own.get(str(agent), settings.model), *settings.model_fallbacks.split(",")]
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def check_model(settings: Settings) -> None:
    """Refuse at the start what could only fail at the first call.

    Raises:
        SettingsError: a model's name is malformed.
        UsageError: a hosted model has no key.
    """
    for name in dict.fromkeys(name for agent in AgentType for name in model_chain(settings, agent)):
        scheme, _, rest = name.partition(":")
        if scheme == "offline" and not rest:
            continue
        if scheme != "openai" or not rest:
            raise SettingsError(f"COPYDESK_MODEL={name!r} is unknown: use `offline:` or `openai:NAME`")
        # A server of one's own often wants no key; OpenAI's always does.
        if not settings.openai_api_key.get_secret_value() and not settings.openai_base_url:
            raise UsageError(f"model {name!r} needs a key: set OPENAI_API_KEY, or use COPYDESK_MODEL=offline:")


@cache
def prompt(name: str) -> str:
    """The text of agents/prompts/NAME.md."""
    return (resources.files("agents") / "prompts" / f"{name}.md").read_text("utf-8").strip()


class Models:
    """The models of one brand's work, behind one call."""

    def __init__(self, settings: Settings, spending: Spending, clock: Clock) -> None:
        self.settings, self.spending, self.clock = settings, spending, clock
        self._open: dict[str, BaseChatModel] = {}
        self._random = random.Random()  # jitter only; nothing that is stored depends on it

    def is_offline(self, agent: AgentType) -> bool:
        """Whether `agent` asks no hosted model."""
        return model_chain(self.settings, agent) == ("offline:",)

    async def structured(
        self,
        schema: type[V],
        *,
        agent: AgentType,
        system: str,
        material: Mapping[str, Any],
        session_id: str,
        piece_id: str = "",
        max_output_tokens: int = 2000,
        kept: str = "",
    ) -> Answer[V]:
        """Ask for a `schema` about `material`, which is untrusted and fenced; `system` says what to do with it.

        `kept` names the step that asks: what a hosted model answered it is kept for a day, and the same step that asks the same
        again, because it died before it was done, is not billed twice. Compliance keeps nothing: a verdict is always fresh.

        Raises:
            Unavailable: no model of the chain answered in three attempts each; `retry_after` says when to try again.
            OverBudget: a call does not fit its envelope; nothing was asked.
            ModelRefused: refused, cut off, empty, or twice not the schema. Never retried elsewhere.
            SettingsError: the server does not accept the key or know the model.
        """
        failed: Unavailable | None = None
        for name in model_chain(self.settings, agent):
            asked = _Asked(self, name, schema, agent, system, material, session_id, piece_id, max_output_tokens)
            try:
                return cast(Answer[V], await self._retried(partial(asked.once_a_day, kept) if kept else asked.answer))
            except Unavailable as error:
                if error.retry_after is not None:
                    error.retry_after = _clamped(error.retry_after)
                failed = error
        assert failed is not None  # the chain holds the model itself
        raise failed

    async def _retried(self, call: Callable[[], Any]) -> Any:
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

        budget = self.settings.node_timeout - ATTEMPTS * self.settings.model_timeout

        def again(error: BaseException) -> bool:
            # A wait that the graph step's own timeout would cut short is the queue's to keep: it reads `retry_after`.
            return isinstance(error, Unavailable) and (
                error.retry_after is None or _clamped(error.retry_after) <= budget / 2
            )

        def wait(state: Any) -> float:
            error = state.outcome.exception()
            if error.retry_after is not None:
                return _clamped(error.retry_after).total_seconds()
            return self._random.uniform(0, min(budget.total_seconds() / 4, 2.0 ** (state.attempt_number - 1)))

        retrying = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS),
            retry=retry_if_exception(again),
            wait=wait,
            sleep=lambda seconds: self.clock.sleep(timedelta(seconds=seconds)),
            reraise=True,
        )

        async def once() -> Any:
            return await call()  # awaited here: tenacity does not await what a lambda returns

        return await retrying(once)

    async def look_up(
        self,
        tools: Toolbox,
        *,
        agent: AgentType,
        system: str,
        material: Mapping[str, Any],
        session_id: str,
        piece_id: str = "",
    ) -> list[ToolResult]:
        """What a hosted model found by calling `tools` about `material`: see `agents/tool_loop.py`."""
        from agents.tool_loop import look_up

        return await look_up(
            self, tools, agent=agent, system=system, material=material, session_id=session_id, piece_id=piece_id
        )

    async def charged(self, name: str, ask: Callable[[], Any], **about: Any) -> Any:
        """As `spend`, tried again as `structured` does."""
        return await self._retried(lambda: self.spend(name, ask, **about))

    async def spend(
        self,
        name: str,
        ask: Callable[[], Any],
        *,
        size: int,
        max_output_tokens: int,
        agent: AgentType,
        session_id: str,
        piece_id: str = "",
    ) -> Any:
        """Ask the hosted model once, its worst case set aside first and settled after; `size` is the question in bytes.

        Raises what `structured` raises of one attempt.
        """
        spending, price = self.spending, price_of(name)
        # No tokenizer makes more tokens than there are bytes, so this is a bound and not an estimate.
        worst = price.cost(Tokens(size + PROMPT_OVERHEAD, max_output_tokens))
        row = await spending.reserve(model=name, worst_usd=worst, agent=agent, session_id=session_id, piece_id=piece_id)
        try:
            reply = await self._answered(name, ask)
        except Unanswered:
            await spending.settle(row, cost_usd=worst, tokens=Tokens(0, 0), assumed=True)
            raise
        except Unusable as error:
            known = error.tokens
            cost = price.cost(known) if known else worst
            await spending.settle(row, cost_usd=cost, tokens=known or Tokens(0, 0), assumed=known is None)
            raise
        except (Unavailable, UsageError):
            # The server said no before any work: nothing is billed.
            await spending.settle(row, cost_usd=0.0, tokens=Tokens(0, 0))
            raise
        used = _tokens(reply["raw"] if isinstance(reply, Mapping) else reply)
        tokens = used or Tokens(0, 0)
        await spending.settle(row, cost_usd=price.cost(used) if used else worst, tokens=tokens, assumed=used is None)
        return reply

    async def _answered(self, name: str, ask: Callable[[], Any]) -> Any:
        from agents.openai_models import translated

        limit = self.settings.model_timeout.total_seconds()
        try:
            async with asyncio.timeout(limit):
                with translated(name, self.clock):
                    return await ask()
        except TimeoutError:
            raise Unanswered(f"model {name!r} did not answer in {limit:g} s: try again") from None

    def open(self, name: str) -> BaseChatModel:
        """The chat model of that name, opened once."""
        if name not in self._open:
            if name.startswith("offline"):
                from agents.offline import OfflineChatModel

                self._open[name] = OfflineChatModel()
            else:
                from agents.openai_models import open_openai_model

                self._open[name] = open_openai_model(name.partition(":")[2], self.settings)
        return self._open[name]


def _clamped(retry_after: timedelta) -> timedelta:
    return min(MOST_WAIT, max(LEAST_WAIT, retry_after))


@dataclass
class _Asked:
    """One question to one model."""

    models: Models
    name: str
    schema: type[BaseModel]
    agent: AgentType
    system: str
    material: Mapping[str, Any]
    session_id: str
    piece_id: str
    max_output_tokens: int

    async def once_a_day(self, step: str) -> Answer[Any]:
        """The answer that this step has been given already, else a new one, which is kept. Offline ones cost nothing."""
        if self.name.startswith("offline"):
            return await self.answer()
        known = self.models.spending.cache
        material = json.dumps(self.material, sort_keys=True, ensure_ascii=False)
        form = json.dumps(self.schema.model_json_schema(), sort_keys=True)
        key = content_key(self.name, self.system, form, material, step)
        try:
            return Answer(self.schema.model_validate(await known.get(key)), "model", self.name, Tokens(0, 0))
        except ValidationError:  # nothing is kept, or not what we would accept today
            answer = await self.answer()
        if answer.mode == "model":
            await known.put(key, answer.value.model_dump(mode="json"), ttl=CONTENT_TTL)
        return answer

    async def answer(self) -> Answer[Any]:
        """The answer, or one more try with the mistake named when it was not the schema."""
        try:
            return await self._once()
        except _NotTheSchema as mistake:
            try:
                return await self._once(mistake=str(mistake))
            except _NotTheSchema as again:
                raise ModelRefused(
                    f"model {self.name!r} answered twice with something that is not a {self.schema.__name__} ({again}): "
                    "choose another model or COPYDESK_OPENAI_STRUCTURED_METHOD"
                ) from None

    async def _once(self, mistake: str = "") -> Answer[Any]:
        from langchain_core.messages import HumanMessage, SystemMessage

        human = fence(self.material, nonce=new_token())
        if mistake:
            human += f"\n\nYour last answer was refused: {mistake}. Answer again, with the schema alone."
        form = self.schema.model_json_schema()
        system = self.system
        if self.models.settings.openai_structured_method == "json_mode":
            # The one method that does not carry the schema by itself.
            system += f"\n\nAnswer with one JSON object that fits this JSON Schema: {json.dumps(form)}"
        messages = [SystemMessage(system), HumanMessage(human)]
        return await (self._free if self.name.startswith("offline") else self._paid)(messages, form)

    async def _free(self, messages: list[Any], form: dict[str, Any]) -> Answer[Any]:
        bound = self.models.open(self.name).with_structured_output(form, include_raw=True)
        reply = cast(Mapping[str, Any], await bound.ainvoke(messages))
        tokens = _tokens(reply["raw"]) or Tokens(0, 0)
        await self.models.spending.record_free(
            model=self.name, agent=self.agent, session_id=self.session_id, piece_id=self.piece_id, tokens=tokens
        )
        return Answer(_usable(self.name, reply, self.schema), "template", self.name, tokens)

    async def _paid(self, messages: list[Any], form: dict[str, Any]) -> Answer[Any]:
        bound = self._bound(form)
        reply = await self.models.spend(
            self.name,
            lambda: bound.ainvoke(messages),
            size=sum(len(message.text.encode()) for message in messages) + len(json.dumps(form).encode()),
            max_output_tokens=self.max_output_tokens,
            agent=self.agent,
            session_id=self.session_id,
            piece_id=self.piece_id,
        )
        tokens = _tokens(reply["raw"]) or Tokens(0, 0)
        return Answer(_usable(self.name, reply, self.schema), "model", self.name, tokens)

    def _bound(self, form: dict[str, Any]) -> Any:
        method = self.models.settings.openai_structured_method
        # As plain JSON Schema: given the class, the SDK would validate inside the call and lose the answer's usage.
        return self.models.open(self.name).with_structured_output(
            form, method=method, include_raw=True, max_completion_tokens=self.max_output_tokens
        )


class _NotTheSchema(Exception):
    """The answer does not parse: worth one more try that names the mistake."""


def _tokens(message: Any) -> Tokens | None:
    usage = getattr(message, "usage_metadata", None)
    return Tokens(usage["input_tokens"], usage["output_tokens"]) if usage else None


def _usable(name: str, reply: Mapping[str, Any], schema: type[BaseModel]) -> BaseModel:
    """The parsed value. Raises ModelRefused for refusals and answers that were cut off, _NotTheSchema for the rest."""
    raw = reply["raw"]
    refusal = raw.additional_kwargs.get("refusal")
    reason = raw.response_metadata.get("finish_reason")
    if refusal:
        raise ModelRefused(
            f"model {name!r} refused ({str(refusal)[:200]}): reword the material, or choose another model"
        )
    if reason in ("length", "content_filter"):
        raise ModelRefused(f"model {name!r} was cut off ({reason}): choose a model that may say more")
    if _says_more(raw.content):
        # The parser takes the first of two objects: of two verdicts, that would be the model's choice of what we read.
        raise _NotTheSchema("more than one JSON object")
    if reply["parsed"] is None:
        raise _NotTheSchema(str(reply.get("parsing_error") or "no answer in the schema asked for")[:200])
    try:
        # Strict: "7" is not 7 and "PASSED!" is not a result; nothing is coerced into an answer.
        return schema.model_validate_json(json.dumps(reply["parsed"]), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise _NotTheSchema(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _says_more(content: Any) -> bool:
    """Whether another object follows the first one in a textual answer."""
    if not isinstance(content, str) or "{" not in content:
        return False
    try:
        _, end = json.JSONDecoder().raw_decode(content, content.index("{"))
    except (json.JSONDecodeError, RecursionError):
        return False
    return "{" in content[end:]
