"""The model that ships with the product: no key, no server, deterministic, and honest about what it cannot do.

It answers the tasks of the agents from their fenced material (`agents/compose.py`, `agents/extract.py`, `agents/days.py`), calls tools
whose arguments it can read off the conversation, and answers anything else with sentences copied from what it saw.
It never writes a sentence of its own; when it cannot answer it refuses, as a hosted model does.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from agents.compose import compose
from agents.days import plan_week
from agents.extract import choose_facts
from agents.fence import read_fence
from agents.sentences import overlap, split_sentences, stems
from config.ids import name_id

NAME = "offline"
REFUSAL = "the offline model cannot answer this from the material it was shown"
TASKS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "draft": compose,
    "brief": choose_facts,
    "week": plan_week,
}


class OfflineChatModel(BaseChatModel):
    """A chat model by rules. The same messages and tools always give the same answer."""

    @property
    def _llm_type(self) -> str:
        return NAME

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": NAME}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = _answer(
            messages,
            tools=kwargs.get("tools") or [],
            choice=kwargs.get("tool_choice"),
            form=kwargs.get("response_format"),
        )
        return ChatResult(generations=[ChatGeneration(message=_finish(message, messages, kwargs, stop))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # No thread: composing takes a millisecond or two, a hand-over to a thread costs more than it frees.
        return self._generate(messages, stop, None, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages, stop, **kwargs):
            if run_manager:
                run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages, stop, **kwargs):
            if run_manager:
                await run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
            yield chunk

    def _chunks(
        self, messages: list[BaseMessage], stop: list[str] | None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        """Word by word, then one last chunk with tool calls, usage and the finish reason."""
        whole = self._generate(messages, stop, None, **kwargs).generations[0].message
        assert isinstance(whole, AIMessage)  # _answer makes nothing else; tells the type checker
        for token in re.findall(r"\s*\S+|\s+$", str(whole.content)):
            yield ChatGenerationChunk(message=AIMessageChunk(content=token, id=whole.id))
        calls = [
            {
                "name": call["name"],
                "args": json.dumps(call["args"], ensure_ascii=False),
                "id": call["id"],
                "index": n,
                "type": "tool_call_chunk",
            }
            for n, call in enumerate(whole.tool_calls)
        ]
        last = AIMessageChunk(
            content="",
            id=whole.id,
            tool_call_chunks=calls,
            usage_metadata=whole.usage_metadata,
            additional_kwargs=whole.additional_kwargs,
            response_metadata=whole.response_metadata,
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the model call `tools`; `tool_choice` is a name, `any`, `auto` or `none`, as for hosted models."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type[BaseModel] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Answer as `schema`; `method` is function_calling (default), json_schema or json_mode, as for hosted models."""
        method = kwargs.pop("method", "function_calling")
        kwargs.pop("strict", None)
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        if kwargs:
            raise ValueError(f"unsupported arguments: {', '.join(sorted(kwargs))}")
        function = convert_to_openai_tool(schema)["function"]
        form = {"type": "json_schema", "json_schema": {"name": function["name"], "schema": function["parameters"]}}
        bound = self.bind(response_format=form)
        typed = isinstance(schema, type) and issubclass(schema, BaseModel)
        parser: Any = PydanticOutputParser(pydantic_object=schema) if typed else JsonOutputParser()
        if not include_raw:
            return bound | parser
        parsed = RunnablePassthrough.assign(
            parsed=lambda answer: parser.invoke(answer["raw"]), parsing_error=lambda _: None
        )
        failed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=bound) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _answer(messages: Sequence[BaseMessage], *, tools: Sequence[dict[str, Any]], choice: Any, form: Any) -> AIMessage:
    """The answer to the last message: a task of ours, a tool call, structured output, or copied sentences."""
    functions = [tool["function"] for tool in tools if "function" in tool]
    if isinstance(choice, Mapping):
        choice = choice.get("function", {}).get("name") or choice.get("name")
    forced = choice in ("any", "required", True) or choice in {function["name"] for function in functions}
    material = _material(messages)
    if material is not None and material.get("task") in TASKS:
        answer = TASKS[material["task"]](material)
        if functions:
            return _call(_named(functions, choice, messages)[0], answer, messages)
        return AIMessage(content=json.dumps(answer, ensure_ascii=False))
    if functions and choice != "none":
        asked = bool(messages) and isinstance(messages[-1], HumanMessage)
        free = _likely(functions, _question(messages)) if asked else []
        for function in _named(functions, choice, messages) if forced else free:
            arguments = _arguments(function.get("parameters", {}), messages)
            if arguments is not None:
                return _call(function, arguments, messages)
        if forced:
            return _refuse()
    if form is not None:
        schema = (form.get("json_schema") or {}).get("schema") if isinstance(form, Mapping) else None
        filled = _arguments(schema, messages) if schema else None
        return _refuse() if filled is None else AIMessage(content=json.dumps(filled, ensure_ascii=False))
    found = _sentences(messages)
    return AIMessage(content=" ".join(found)) if found else _refuse(spoken=True)


def _refuse(*, spoken: bool = False) -> AIMessage:
    return AIMessage(content=REFUSAL.capitalize() + "." if spoken else "", additional_kwargs={"refusal": REFUSAL})


def _call(function: Mapping[str, Any], arguments: dict[str, Any], messages: Sequence[BaseMessage]) -> AIMessage:
    call_id = (
        "call_" + name_id(function["name"], json.dumps(arguments, sort_keys=True), len(messages)).replace("-", "")[:24]
    )
    return AIMessage(
        content="", tool_calls=[{"name": function["name"], "args": arguments, "id": call_id, "type": "tool_call"}]
    )


def _named(functions: Sequence[dict[str, Any]], choice: Any, messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """The tools that a forced choice may mean, the best first.

    Of several, agents put the schema of their answer last: it is filled once a tool has said something.
    """
    exact = [function for function in functions if function["name"] == choice]
    if exact:
        return exact
    last_first = list(reversed(functions))
    if any(isinstance(message, ToolMessage) for message in messages):
        return last_first
    return [*_likely(functions[:-1], _question(messages)), *last_first]


def _likely(functions: Sequence[dict[str, Any]], question: str) -> list[dict[str, Any]]:
    """The tools whose name or description shares words with the question, the closest first."""
    wanted = stems(question)
    scored = [
        (len(wanted & stems(f"{function['name'].replace('_', ' ')} {function.get('description', '')}")), -n, function)
        for n, function in enumerate(functions)
    ]
    return [function for score, _, function in sorted(scored, key=lambda item: item[:2], reverse=True) if score]


def _arguments(schema: Mapping[str, Any], messages: Sequence[BaseMessage]) -> dict[str, Any] | None:
    """Values for the required properties of `schema`, read off the conversation; None when one of them is not in it."""
    question, seen = _question(messages), _sentences(messages)
    material = _material(messages) or {}
    values: dict[str, Any] = {}
    for name, field in schema.get("properties", {}).items():
        if name in material:
            values[name] = material[name]
        elif name in schema.get("required", ()):
            value = _value(field, question, seen)
            if value is None:
                return None
            values[name] = value
    return values


def _value(field: Mapping[str, Any], question: str, seen: Sequence[str]) -> Any:
    kind = field.get("type")
    if "enum" in field:
        return next((value for value in field["enum"] if str(value).lower() in question.lower()), None)
    if kind == "string":
        return " ".join(seen) if seen else question or None
    if kind in ("integer", "number"):
        number = re.search(r"-?\d+(?:\.\d+)?", question)
        return None if number is None else (int(float(number.group())) if kind == "integer" else float(number.group()))
    if kind == "array" and field.get("items", {}).get("type") == "string":
        return list(seen) or None
    return None


def _question(messages: Sequence[BaseMessage]) -> str:
    return next((message.text for message in reversed(messages) if isinstance(message, HumanMessage)), "")


def _material(messages: Sequence[BaseMessage]) -> dict[str, Any] | None:
    return next((read_fence(message.text) for message in reversed(messages) if isinstance(message, HumanMessage)), None)


def _sentences(messages: Sequence[BaseMessage], most: int = 3) -> list[str]:
    """The sentences of tool results, and of the question's own material, that come closest to the question; as they stand."""
    asked = stems(_question(messages))
    texts = [message.text for message in messages if isinstance(message, ToolMessage)]
    found = dict.fromkeys(sentence for text in texts for sentence in split_sentences(text))
    ranked = sorted(found, key=lambda sentence: -overlap(asked, stems(sentence)))
    return ranked[:most]


def _finish(
    message: AIMessage, messages: Sequence[BaseMessage], kwargs: Mapping[str, Any], stop: list[str] | None
) -> AIMessage:
    """With usage counted, at four bytes a token, and the reason why it ended."""
    content = str(message.content)
    for mark in stop or ():
        content = content.partition(mark)[0]
    shown = sum(len(m.text.encode()) for m in messages) + (
        len(json.dumps(kwargs["tools"])) if kwargs.get("tools") else 0
    )
    said = len(content.encode()) + sum(len(json.dumps(call["args"])) for call in message.tool_calls)
    used_in, used_out = -(-shown // 4), -(-said // 4)
    usage = UsageMetadata(input_tokens=used_in, output_tokens=used_out, total_tokens=used_in + used_out)
    reason = "tool_calls" if message.tool_calls else "stop"
    metadata = {"model_name": NAME, "finish_reason": reason}
    return message.model_copy(update={"content": content, "usage_metadata": usage, "response_metadata": metadata})
