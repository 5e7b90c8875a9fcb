"""One call while it runs: in the event loop or in a thread of its own, and what becomes of one that does not end.

A tool is anybody's code. Whatever it raises, its caller hears of it as an error of that tool, and nothing of ours stops.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from config.errors import CopydeskError
from config.log import escape, redact
from tools.plugin_api import ToolFailed, ToolSpec

log = structlog.get_logger(__name__)
LONGEST_LINE = 300
_READ = 20_000
"""Characters of an error that are looked at: masking secrets in ten megabytes would hold up everybody."""
abandoned: defaultdict[str, set[asyncio.Future[Any]]] = defaultdict(set)
"""Tool -> the calls of it that were given up and still run."""


class ToolBroke(CopydeskError):
    """The tool raised something that it did not mean for its caller: the step fails."""


def start(spec: ToolSpec, arguments: dict[str, Any]) -> asyncio.Future[Any]:
    """The call as something that can be waited for; cancelling an async tool is asking it to leave.

    It ends with what the tool returned, or with a CopydeskError.
    """
    running = _in_loop(spec, arguments) if inspect.iscoroutinefunction(spec.function) else _in_thread(spec, arguments)
    running.add_done_callback(_looked_at)
    return running


def returned(spec: ToolSpec, running: asyncio.Future[Any]) -> Any:
    """What the ended call returned. Raises what the tool meant for its caller, ToolFailed when it cancelled itself, else ToolBroke."""
    if running.cancelled():
        raise ToolFailed(f"tool {spec.name!r} cancelled itself")
    try:
        return running.result()
    except BaseException as error:  # whatever it is, it fails the step under our name, its text masked
        if (told := _told(spec, error)) is error:
            raise
        raise told from error


async def give_up(spec: ToolSpec, running: asyncio.Future[Any], grace_s: float) -> None:
    """Ask the call to leave; one that stays is left to itself: its slot is free, and what it still does is not written."""
    try:
        if isinstance(running, asyncio.Task):
            running.cancel()
            await asyncio.wait({running}, timeout=grace_s)
    finally:  # also when the caller is cancelled once more, meanwhile
        if not running.done():
            abandoned[spec.name].add(running)
            log.warning("tool.abandoned", tool=spec.name, running=len(abandoned[spec.name]))
            running.add_done_callback(abandoned[spec.name].discard)


def one_line(text: object) -> str:
    """One line without secrets, short enough for a prompt and a row; of an error without words, its kind."""
    try:
        words = str(text)[:_READ]
    except Exception:  # an error of the tool's own making may fail to say what it is
        words = f"{type(text).__name__} without words"
    return escape(redact(" ".join(words.split())))[:LONGEST_LINE]


def _in_loop(spec: ToolSpec, arguments: dict[str, Any]) -> asyncio.Future[Any]:
    async def work() -> Any:
        pid = os.getpid()
        try:
            return await spec.function(**arguments)
        except (SystemExit, KeyboardInterrupt) as error:
            # In a task they would end the event loop, and with it every other task of the worker.
            raise _told(spec, error) from None
        finally:
            _one_process(pid)

    return asyncio.ensure_future(work())


def _in_thread(spec: ToolSpec, arguments: dict[str, Any]) -> asyncio.Future[Any]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(set_it: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            set_it(value)

    def work() -> None:
        pid = os.getpid()
        try:
            outcome, value = future.set_result, context.run(spec.function, **arguments)
        except BaseException as error:  # whatever is not carried to whoever awaits the call ends in the thread, unheard
            outcome, value = future.set_exception, _told(spec, error)  # no future takes a StopIteration
        _one_process(pid)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, outcome, value)

    # A thread of its own: one that never ends would hold a place of the loop's pool for ever, and the exit of the process.
    threading.Thread(target=work, name=f"tool-{spec.name}", daemon=True).start()
    return future


def _told(spec: ToolSpec, error: BaseException) -> CopydeskError:
    """What whoever made the call hears: what was meant for it as it is, anything else under our name, its text masked."""
    if isinstance(error, CopydeskError):
        return error
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return ToolBroke(f"tool {spec.name!r} tried to end the process")
    if isinstance(error, asyncio.CancelledError):
        return ToolFailed(f"tool {spec.name!r} cancelled itself")
    what = f"{type(error).__name__}: {one_line(error)}".rstrip(": ")
    broke = ToolBroke(f"tool {spec.name!r} raised {what}"[:LONGEST_LINE])
    broke.__cause__ = error
    return broke


def _one_process(pid: int) -> None:
    """End the copy of this process that a tool made with `fork` and forgot: it would go on with our step, beside us."""
    if os.getpid() != pid:
        os._exit(70)


def _looked_at(running: asyncio.Future[Any]) -> None:
    """Its caller may have been cancelled in the moment in which it failed: nobody is to report its error as forgotten."""
    if not running.cancelled():
        running.exception()
