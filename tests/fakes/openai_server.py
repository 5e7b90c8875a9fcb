"""A loopback HTTP server that speaks OpenAI's wire format, with faults on demand.

It answers `/v1/chat/completions` (plain, json_schema, json_mode, tool calls, streaming) and `/v1/embeddings` from a script:
one `Reply` a request, the last one for ever. It records every request body, so that a test can look at what was sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

PAGE = b"<!doctype html><title>Sign in to the network</title>"


@dataclass(frozen=True)
class Reply:
    """What the server does with one request."""

    value: Any = None
    """The structured answer; put into content or a tool call, as the request asks. A str is sent as it is."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    code: str | None = None
    fault: str = ""
    """hang, reset, html, or not_json."""
    refusal: str = ""
    finish_reason: str = ""
    tool_calls: tuple[tuple[str, str], ...] = ()
    """Tools that the model asks for, as (name, arguments as it wrote them), whether or not it was offered them."""
    input_tokens: int = 100
    output_tokens: int = 50
    usage: bool = True


@dataclass
class OpenAIServer:
    """The running server: where it is, what it was asked."""

    base_url: str
    script: list[Reply]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def next(self) -> Reply:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@asynccontextmanager
async def serve_openai(*script: Reply) -> AsyncIterator[OpenAIServer]:
    """Serve `script` on a free loopback port."""
    state = OpenAIServer("", list(script) or [Reply({})])
    open_tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_tasks.add(task)
        try:
            await _handle(state, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            open_tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    state.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield state
    finally:
        server.close()
        tasks = list(open_tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _handle(state: OpenAIServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request_line, *lines = head.split("\r\n")
    headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines if line)}
    body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
    state.requests.append(body)
    state.headers.append(headers)
    reply, path = state.next(), request_line.split()[1]
    if reply.fault == "hang":
        await asyncio.sleep(3600)
    elif reply.fault == "html":
        await _send(writer, 200, PAGE, {"content-type": "text/html"})
    elif reply.fault == "not_json":
        await _send(writer, 200, b'{"choices": [', {})
    elif reply.fault == "reset":
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{"id": "x"')
        await writer.drain()
        writer.transport.abort()
    elif reply.status != 200:
        error = {"error": {"message": f"scripted {reply.status}", "type": "test", "code": reply.code}}
        await _send(writer, reply.status, json.dumps(error).encode(), reply.headers)
    elif path.endswith("/embeddings"):
        await _send(writer, 200, json.dumps(_embeddings(body)).encode(), {})
    elif body.get("stream"):
        await _stream(writer, body, reply)
    else:
        await _send(writer, 200, json.dumps(_completion(body, reply)).encode(), reply.headers)


async def _send(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str]) -> None:
    fields = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close", **headers}
    head = f"HTTP/1.1 {status} Scripted\r\n" + "".join(f"{key}: {value}\r\n" for key, value in fields.items())
    writer.write(head.encode() + b"\r\n" + body)
    await writer.drain()


def _usage(reply: Reply) -> dict[str, int]:
    total = reply.input_tokens + reply.output_tokens
    return {"prompt_tokens": reply.input_tokens, "completion_tokens": reply.output_tokens, "total_tokens": total}


def _message(body: dict[str, Any], reply: Reply) -> tuple[dict[str, Any], str]:
    """The assistant's message in the shape that the request asked for, and why it ended."""
    text = reply.value if isinstance(reply.value, str) else json.dumps(reply.value)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if reply.refusal:
        return {"role": "assistant", "content": None, "refusal": reply.refusal}, "stop"
    if reply.tool_calls:
        calls = [
            {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for n, (name, arguments) in enumerate(reply.tool_calls)
        ]
        return {
            **message,
            "content": reply.value if isinstance(reply.value, str) else None,
            "tool_calls": calls,
        }, "tool_calls"
    tools = body.get("tools") or []
    if tools and not isinstance(reply.value, str):
        call = {
            "id": "call_1",
            "type": "function",
            "function": {"name": tools[-1]["function"]["name"], "arguments": text},
        }
        return {**message, "content": None, "tool_calls": [call]}, "tool_calls"
    return message, "stop"


def _completion(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    message, reason = _message(body, reply)
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason or reason, "logprobs": None}
    made: dict[str, Any] = {
        "id": "cmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
    }
    return {**made, "usage": _usage(reply)} if reply.usage else made


async def _stream(writer: asyncio.StreamWriter, body: dict[str, Any], reply: Reply) -> None:
    message, reason = _message(body, reply)
    base = {"id": "cmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    pieces: Sequence[str] = [word + " " for word in (message["content"] or "").split()]
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": piece}, None) for piece in pieces]
    deltas += [({"tool_calls": [{"index": 0, **call}]}, None) for call in message.get("tool_calls", [])]
    deltas.append(({}, reason))
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    events = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in deltas]
    for event in [*events, {**base, "choices": [], "usage": _usage(reply)}]:
        writer.write(b"data: " + json.dumps(event).encode() + b"\n\n")
    writer.write(b"data: [DONE]\n\n")
    await writer.drain()


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """Vectors that depend on the text, of the length that was asked for, not of unit length."""
    data = []
    for n, text in enumerate(body["input"]):
        seed = hashlib.sha256(text.encode()).digest()
        vector = [1.0 + seed[i % 32] for i in range(body.get("dimensions", 3072))]
        data.append({"object": "embedding", "index": n, "embedding": vector})
    # Out of order on purpose: the index says which is which.
    return {
        "object": "list",
        "data": data[::-1],
        "model": body["model"],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
