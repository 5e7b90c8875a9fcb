"""A hosted model that looks things up: a bounded number of answers, each with a bounded number of tool calls.

The model asks; `Toolbox` decides. What the model is offered, what runs and what it is told come from there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from agents.fence import fence
from config.errors import ModelRefused, Unavailable
from config.ids import new_token
from config.vocabulary import AgentType
from tools.calls import ToolAnswer, Toolbox, ToolCall
from tools.plugin_api import ToolSpec
from tools.results import ToolResult, to_result

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage
    from langchain_core.tools import StructuredTool

    from agents.chat_models import Models

ROUNDS = 4
"""Answers of the model that may call tools."""
TOLD_BYTES = 16 * 1024
"""Of one result, as a model is told it: four rounds of eight still fit a context."""


def as_langchain(spec: ToolSpec, tools: Toolbox) -> StructuredTool:
    """The tool as LangChain knows tools; calling it goes through `tools`, as every call does."""
    from langchain_core.tools import StructuredTool

    async def run(**arguments: Any) -> str:
        (answer,) = await tools.answer([ToolCall(new_token(), spec.name, arguments)])
        return told(answer)

    return StructuredTool(name=spec.name, description=spec.description, args_schema=spec.schema(), coroutine=run)


def told(answer: ToolAnswer) -> str:
    """What a model reads as the answer to its call: fenced, because tools return what strangers wrote."""
    if answer.said:  # what the tool says is wrong may be a stranger's text as well
        ours = answer.error.removeprefix(answer.said).removeprefix(": ")
        return f"error: {ours}\n{fence({'tool': answer.call.name, 'error': answer.said}, nonce=new_token())}"
    if answer.result is None:
        return f"error: {answer.error}"
    result = answer.result
    shown = to_result(result.tool, result.value, trust=result.trust, limit=TOLD_BYTES)
    return fence({**shown.as_material(), **({"truncated": True} if result.truncated else {})}, nonce=new_token())


async def look_up(
    models: Models,
    tools: Toolbox,
    *,
    agent: AgentType,
    system: str,
    material: Mapping[str, Any],
    session_id: str,
    piece_id: str = "",
    max_output_tokens: int = 600,
) -> list[ToolResult]:
    """Let the hosted model call tools about `material`; what they returned, in order. What the model says is thrown away.

    Ends when it calls nothing, after four answers, and when it refuses or cannot be reached: whoever asks it next is told.
    Without a hosted model nothing is asked. Raises OverBudget, SettingsError, and what a tool raises that fails the step.
    """
    from langchain_core.messages import HumanMessage, SystemMessage

    from agents.chat_models import model_chain

    name = next((name for name in model_chain(models.settings, agent) if not name.startswith("offline")), "")
    offered = [as_langchain(spec, tools) for spec in tools.offered()]
    if not name or not offered:
        return []
    bound = models.open(name).bind_tools(offered, max_completion_tokens=max_output_tokens)
    forms = sum(len(json.dumps(spec.schema())) + len(spec.description) + 100 for spec in tools.offered())
    messages: list[Any] = [SystemMessage(system), HumanMessage(fence(material, nonce=new_token()))]
    found: list[ToolResult] = []
    for _ in range(ROUNDS):
        try:
            reply: AIMessage = await models.charged(
                name,
                partial(bound.ainvoke, [*messages]),
                size=forms + sum(map(_size, messages)),
                max_output_tokens=max_output_tokens,
                agent=agent,
                session_id=session_id,
                piece_id=piece_id,
            )
        except (Unavailable, ModelRefused):
            break
        calls = _calls(reply)
        # An answer that was cut off may hold half a call.
        if not calls or reply.response_metadata.get("finish_reason") in ("length", "content_filter"):
            break
        answers = await tools.answer(calls)
        found += [answer.result for answer in answers if answer.result is not None]
        messages += _history(reply, answers)
    return found


def _size(message: Any) -> int:
    return len(message.text.encode()) + len(json.dumps(getattr(message, "tool_calls", [])))


def _calls(reply: AIMessage) -> list[ToolCall]:
    """What the answer asks for. Ids are ours: a model may give none, or one twice."""
    asked = [*reply.tool_calls, *reply.invalid_tool_calls]
    return [ToolCall(f"call_{new_token()[:12]}", str(c["name"] or ""), c["args"] or {}) for c in asked]


def _history(reply: AIMessage, answers: list[ToolAnswer]) -> list[Any]:
    """The exchange as the next question shows it: the calls that were made, each with its answer; the others counted."""
    from langchain_core.messages import AIMessage, ToolMessage

    kept = [answer for answer in answers if not answer.over]
    left = len(answers) - len(kept)
    calls: list[Any] = [
        {
            "type": "tool_call",
            "id": answer.call.id,
            # The wire takes no other characters in a name, and a model invents them.
            "name": re.sub(r"[^a-zA-Z0-9_-]", "_", answer.call.name)[:64] or "nameless",
            "args": answer.call.arguments if isinstance(answer.call.arguments, dict) else {},
        }
        for answer in kept
    ]
    results = [ToolMessage(told(answer), tool_call_id=answer.call.id) for answer in kept]
    if left and results:
        results[-1] = ToolMessage(
            f"{results[-1].text}\n{left} more calls were not made: ask for fewer", tool_call_id=kept[-1].call.id
        )
    return [AIMessage(reply.text[:2000], tool_calls=calls), *results]
