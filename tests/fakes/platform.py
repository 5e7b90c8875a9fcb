"""A platform in a process of its own, reached over loopback HTTP, and the publisher that talks to it.

It outlives the workers that are killed around it. Every post that it accepts is one line of an append-only file, on
the disk before any answer; a second call posts a second time. `python -m tests.fakes.platform` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from config.errors import Unavailable, Uncertain
from memory.rows.content import Post
from tools.publish.protocol import Parcel, Receipt, Rejection

FAULTS = ("reply_lost", "lost", "limited_but_live", "error_but_live", "error", "delay", "garbled", "rejected")
"""What may happen to a call that arrives. `lost` and `error` post nothing; `rejected` is listed as definite; the rest
post.
"""
CHAOS: dict[str, float] = dict.fromkeys(FAULTS, 0.03)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, file: Path, *, port: int, seed: int, faults: Mapping[str, float], lag_s: float, delay_s: float):
        super().__init__(("127.0.0.1", port), _Handler)
        self.file = file
        self.seed, self.faults, self.lag_s, self.delay_s = seed, faults, lag_s, delay_s
        self.lock = threading.Lock()
        self.calls: Counter[str] = Counter()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: workers are killed in the middle of their requests. What arrives broken posts nothing."""

    def fault(self, name: str) -> str:
        with self.lock:
            self.calls[name] += 1
            nth = self.calls[name]
        roll = int.from_bytes(hashlib.sha256(f"{self.seed}|{name}|{nth}".encode()).digest()[:8]) / 2**64
        for fault, share in self.faults.items():
            if roll < share:
                return fault
            roll -= share
        return ""

    def execute(self, request: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            number = len(read_posts(self.file)) + 1
            post = request | {"id": f"post-{number}", "url": f"https://platform.test/{number}", "at": time.time()}
            opened = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(opened, (json.dumps(post) + "\n").encode())
            os.fsync(opened)
            os.close(opened)
        return post


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the file of posts is the log."""

    def do_GET(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        shown = [
            post
            for post in read_posts(self.server.file)
            if (post["pub_key"], str(post["part"])) == (asked["pub_key"], asked["part"])
            and post["at"] + self.server.lag_s <= time.time()
        ]
        self._answer(200, shown[0]) if shown else self._answer(404, {"error": "no such post"})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/containers":
            return self._answer(201, {"container": f"{request['pub_key'][:12]}-{request['attempt']}"})
        fault = self.server.fault(f"{request['pub_key']}|{request['part']}")
        if fault == "rejected":
            return self._answer(422, {"code": "policy", "error": "this platform refuses the post for good"})
        if fault == "error":
            return self._answer(503, {"error": "try later"})
        if fault == "lost":
            return self._hang_up()
        post = self.server.execute(request)
        if fault == "reply_lost":
            return self._hang_up()
        if fault == "limited_but_live":
            return self._answer(429, {"error": "rate limit"})
        if fault == "error_but_live":
            return self._answer(502, {"error": "bad gateway"})
        if fault == "garbled":
            return self._answer(201, {"surprise": True})
        if fault == "delay":
            time.sleep(self.server.delay_s)
        self._answer(201, {"id": post["id"], "url": post["url"]})

    def _hang_up(self) -> None:
        self.close_connection = True

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            self.close_connection = True  # the worker that asked was killed


def read_posts(file: Path) -> list[dict[str, Any]]:
    """Every post that ever went live, in order, from the platform's file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@dataclass
class FakePlatform:
    """A running platform. `file` is what it keeps; it may be stopped and started again on the same port."""

    file: Path
    arguments: list[str]
    port: int = 0
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        command = [sys.executable, "-m", "tests.fakes.platform", "--file", str(self.file), "--port", str(self.port)]
        root = Path(__file__).parents[2]
        self.process = await asyncio.create_subprocess_exec(
            *command, *self.arguments, stdout=asyncio.subprocess.PIPE, cwd=root
        )
        assert self.process.stdout is not None
        self.port = int(await self.process.stdout.readline())

    async def stop(self) -> None:
        """Stop listening: connections are refused from now on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()
            self.process = None

    def posts(self) -> list[dict[str, Any]]:
        return read_posts(self.file)

    def duplicates(self) -> dict[tuple[str, int], int]:
        """(pub_key, part) -> how often it went live, of those that did more than once."""
        counts = Counter((post["pub_key"], post["part"]) for post in self.posts())
        return {key: count for key, count in counts.items() if count > 1}


@asynccontextmanager
async def run_platform(
    folder: Path, *, seed: int = 0, faults: Mapping[str, float] | None = None, lag_s: float = 0.0, delay_s: float = 1.0
) -> AsyncIterator[FakePlatform]:
    """A platform process keeping its posts in `folder`; `faults` are shares of calls, by the names in FAULTS."""
    options = ["--seed", str(seed), "--lag", str(lag_s), "--delay", str(delay_s), "--faults", json.dumps(faults or {})]
    platform = FakePlatform(folder / "platform.jsonl", options)
    await platform.start()
    try:
        yield platform
    finally:
        await platform.stop()


class FakePlatformPublisher:
    """Speaks to the platform as the real publishers do: httpx, no retries, a fresh connection a call."""

    name = "fake_platform"
    ready_ahead = False

    def __init__(self, url: str) -> None:
        self._url = url

    def parts(self, post: Post) -> int:
        return post.part_count()

    async def prepare(self, parcel: Parcel, *, attempt: int) -> str:
        try:
            reply = await self._post(
                "/containers", {"pub_key": parcel.pub_key, "attempt": attempt}, timedelta(seconds=5)
            )
        except httpx.HTTPError as error:
            raise Unavailable(f"fake platform: {error!r}") from error
        return reply.text

    async def finalize(self, parcel: Parcel, *, part: int, handle: str, reply_to: str, timeout: timedelta) -> Receipt:
        text = parcel.post.parts[part] if parcel.post.parts else parcel.post.caption
        body = {"pub_key": parcel.pub_key, "part": part, "text": text, "handle": handle, "reply_to": reply_to}
        body["sent_at"] = time.time()  # the sender's word: when a busy platform gets to it is no affair of the permit
        try:
            reply = await self._post("/posts", body, timeout)
        except httpx.ConnectError as error:
            raise ConnectionRefusedError(str(error)) from error
        if reply.status_code == 422 and reply.json().get("code") == "policy":
            raise Rejection("policy", reply.json()["error"])
        if reply.status_code != 201:
            raise Uncertain(f"fake platform answered {reply.status_code}")
        return Receipt(reply.json()["id"], reply.json()["url"])

    async def check(self, parcel: Parcel, *, part: int, handle: str) -> Receipt | None:
        try:
            async with self._client(timedelta(seconds=5)) as client:
                reply = await client.get("/posts", params={"pub_key": parcel.pub_key, "part": part})
        except httpx.HTTPError as error:
            raise Unavailable(f"fake platform: {error!r}") from error
        return Receipt(reply.json()["id"], reply.json()["url"]) if reply.status_code == 200 else None

    async def _post(self, path: str, body: dict[str, Any], timeout: timedelta) -> httpx.Response:
        async with self._client(timeout) as client:
            return await client.post(path, json=body)

    def _client(self, timeout: timedelta) -> httpx.AsyncClient:
        # No certificates for loopback: loading them would take longer than the call.
        return httpx.AsyncClient(base_url=self._url, timeout=timeout.total_seconds(), trust_env=False, verify=False)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lag", type=float, default=0.0)
    parser.add_argument("--delay", type=float, default=1.0)
    parser.add_argument("--faults", type=json.loads, default={})
    given = parser.parse_args()
    server = _Server(
        given.file, port=given.port, seed=given.seed, faults=given.faults, lag_s=given.lag, delay_s=given.delay
    )
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
