"""What every verb shares: the parser, the global options, exit codes, output. Imports nothing heavy."""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, redirect_stdout
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from config.errors import BadInput, CopydeskError, NotFound, Unavailable
from config.vocabulary import nearest
from runtime.commands import VERBS
from runtime.commands.which import DEFAULT_BRAND as DEFAULT_BRAND
from runtime.commands.which import brand_of as brand_of
from runtime.commands.which import default_brand as default_brand
from runtime.commands.which import next_command as next_command
from runtime.commands.which import own_brand as own_brand
from runtime.commands.which import program as program

if TYPE_CHECKING:
    from rich.text import Text

    from config.settings import Settings
    from memory.queue.protocol import Task
    from memory.rows.sessions import Session
    from memory.user_sessions import UserSessionsStore
    from runtime.compose import Runtime

OK, FINDINGS, USAGE, WAITING_FOR_HUMAN, INTERRUPTED = 0, 1, 2, 3, 130
PREFERENCES = {
    "brand": "the brand of a command without --brand",
    "reviewer": "who decides without --by and without COPYDESK_REVIEWER",
    "editor": "what `review` edits with, before VISUAL and EDITOR",
}
"""What an operator may prefer (`preferences set`), and what it is for."""
_PATIENCE = timedelta(seconds=20)
"""How long a command waits for the next look at something that is away; workers wait for a day."""
_STOPPED = "interrupted; everything acknowledged is kept, the same command goes on"
_NAMING = ("brand", "data_dir", "session", "week", "zone", "by", "agent", "until", "file")
"""Options that say which thing is meant: empty, they would mean another one than the operator thinks."""
_ASKING = ("review", "publish", "why", "report", "memory", "list", "show", "search", "history", "diff")
"""Verbs and parts that ask for what is there already: where nothing was ever made, somebody stands in the wrong folder."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Parser(argparse.ArgumentParser):
    """argparse with one clear line for a mistake: what, and the nearest thing that exists."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        found = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if found:
            known = re.findall(r"[\w-]+", found[2])
            message = f"{found[1]!r} is not a command{nearest(found[1], known)}; there are: {', '.join(known)}"
        unknown = re.search(r"unrecognized arguments: (--[\w-]+)", message)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            message = f"unknown option {unknown[1]}{nearest(unknown[1], flags)}"
        fail(f"{message}; see `{self.prog} --help`")
        raise SystemExit(USAGE)


def add_global_options(parser: argparse.ArgumentParser, *, top: bool) -> None:
    """The options that stand before or after the verb."""
    default: Any = None if top else argparse.SUPPRESS
    parser.add_argument(
        "--data-dir", metavar="DIR", default=default, help="folder of the embedded databases (default ./.copydesk)"
    )
    parser.add_argument(
        "--brand",
        metavar="NAME",
        default=default,
        help=f"which brand (default: your only one, or {DEFAULT_BRAND} while you have none)",
    )
    parser.add_argument(
        "--json", action="store_true", default=False if top else argparse.SUPPRESS, help="print JSON for programs"
    )
    parser.add_argument("--log-level", metavar="LEVEL", default=default, help="debug, info, warning (default) or error")


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="copydesk" if Path(sys.argv[0]).name == "copydesk" else "run_agents.py",
        description="A newsroom of agents for brand teams: plans a week, writes it, checks every claim, waits for you, posts at most once.",
        epilog="Exit codes: 0 ok, 1 findings or failed, 2 bad input, 3 waiting for a human, 74 disk full, 75 try again, 130 interrupted.",
    )
    add_global_options(parser, top=True)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser, required=True)
    for name in VERBS:
        import_module(f"runtime.commands.{name}").register(verbs)
    return parser


def add_verb(verbs: Any, name: str, help: str, **kwargs: Any) -> Parser:
    """A verb (or a verb's part) that takes the global options too."""
    parser: Parser = verbs.add_parser(name, help=help, description=help, **kwargs)
    add_global_options(parser, top=False)
    parser.set_defaults(parser=parser)
    return parser


def add_parts(verb: Parser, *, required: bool = True) -> Any:
    """The parts of a verb such as `queue list`; one of them is required unless the verb means something alone."""
    return verb.add_subparsers(dest="part", metavar="PART", parser_class=Parser, required=required)


def dispatch(argv: list[str]) -> int:
    """Parse, run, and turn every expected error into one line and its exit code."""
    args = argparse.Namespace()
    try:
        _prepare_streams()
        for value in argv:
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise BadInput(
                    f"argument {value.encode('utf-8', 'backslashreplace').decode()!r} is not valid UTF-8: type it anew"
                ) from None
            if "\x00" in value:
                raise BadInput("an argument holds a NUL character: remove it")
        args, unknown = build_parser().parse_known_args(argv)
        if unknown:  # refused by the verb that was typed, which knows its own options and help
            args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        for flag in _NAMING:
            if getattr(args, flag, None) == "":  # a shell variable that is not set: nothing else is meant by it
                raise BadInput(f"--{flag.replace('_', '-')} is empty: give it a value, or leave it out")
        code = int(args.run(args))
        sys.stdout.flush()
        if code == INTERRUPTED:
            fail(_STOPPED, label="stopped")
        elif hint := getattr(args, "hint", ""):
            fail(hint, label="note")
        return code
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        fail(_STOPPED, label="stopped")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except CopydeskError as error:
        hint = getattr(args, "hint", "") if isinstance(error, NotFound) else ""
        fail(f"{error}; {hint}" if hint else str(error))
        return error.exit_code
    except OSError as error:
        if error.filename is None:
            raise
        full = error.errno == errno.ENOSPC
        remedy = "free space on this disk" if full else "check owner and mode, or choose another folder"
        fail(f"{error.filename}: {error.strerror}: {remedy}")
        return 74 if full else USAGE


def _prepare_streams() -> None:
    """Streams that take any text; one that our caller closed (`>&-`) is empty, and what is written to it goes nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the process
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def fail(message: str, *, label: str = "error") -> None:
    """One line on stderr: control characters escaped, secrets masked."""
    from config.log import escape, redact

    print(f"{label}: {escape(redact(message))}", file=sys.stderr)


def printable(text: str) -> str:
    """`text` for a terminal: no control or direction-changing character but tab and newline."""
    return _CONTROL.sub(lambda m: f"\\x{ord(m.group()):02x}", text)


def plain(text: str, style: str = "") -> Text:
    """`text` for rich as it is: printable, and brackets are brackets. What others wrote is never given to rich as a string."""
    from rich.text import Text

    return Text(printable(text), style=style)


def emit(args: argparse.Namespace, value: Any, text: str | Callable[[], None]) -> None:
    """Print `value` as JSON with --json; else `text`, or call it to draw."""
    if args.json:
        print(json.dumps(value, ensure_ascii=False, indent=2))
    elif callable(text):
        text()
    elif text:
        print(printable(text))


def load(args: argparse.Namespace, **overrides: Any) -> Settings:
    """The settings, with the command line's winning; logging configured."""
    from config.settings import load_settings

    settings = load_settings(data_dir=args.data_dir, **overrides)
    level = (args.log_level or "warning").lower()
    if level not in ("debug", "info", "warning", "error"):
        raise BadInput(f"--log-level {level!r}: choose debug, info, warning or error")
    if getattr(args, "needs_logging", True):
        from config.log import configure_logging

        configure_logging(level=level)
    return settings


async def preferred(settings: Settings) -> dict[str, str]:
    """The preferences of whoever is logged in, where no Runtime is open; none before the first `preferences set`."""
    if not settings.session_db.exists():
        return {}
    from config.clock import SystemClock
    from memory.user_sessions import open_user_sessions

    async with open_user_sessions(settings.session_db, clock=SystemClock()) as store:
        return await preferences_in(store)


async def preferences_in(store: UserSessionsStore) -> dict[str, str]:
    """The preferences that `store` holds of whoever is logged in."""
    from memory.user_sessions import EVERY_BRAND

    return await store.for_brand(EVERY_BRAND).list_preferences(login())


def actor(args: argparse.Namespace, settings: Settings) -> str:
    """Who decides: --by, COPYDESK_REVIEWER, the preferred reviewer, else the login name."""
    said = getattr(args, "by", None) or settings.reviewer or getattr(args, "preferred", {}).get("reviewer")
    # One line: a name is printed behind "approved by", and must not write a line of its own.
    return " ".join(str(said or "").split())[:64] or login()


def login() -> str:
    """The name of whoever runs this process."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def run_async(main: Callable[[], Awaitable[int]]) -> int:
    """Run a command's coroutine."""
    return asyncio.run(main())  # type: ignore[arg-type]


@asynccontextmanager
async def opened(args: argparse.Namespace, *, any_brand: bool = False) -> AsyncIterator[tuple[Runtime, str]]:
    """An open Runtime and the brand of the command, which has a folder; `args.preferred` is set. Raises NotFound.

    With `any_brand` the command is about no brand in particular, and the shipped one stands for it where several could be meant.
    """
    from config.brand_profile import find_brand_folder
    from runtime.compose import open_runtime

    settings = load(args)
    fallback = {"brand": DEFAULT_BRAND} if any_brand and not default_brand(settings.data_dir) else {}
    made = not settings.data_dir.exists()
    if args.brand or not settings.session_db.exists():
        # Before anything is opened: a misspelt brand leaves no data directory behind.
        find_brand_folder(brand_of(args, settings, fallback), settings.data_dir.absolute() / "brands")
    async with open_runtime(settings) as runtime:
        args.preferred = await preferences_in(runtime.user_sessions)
        brand = brand_of(args, settings, fallback | args.preferred)
        runtime.brand_folder(brand)
        if made and (args.verb in _ASKING or getattr(args, "part", "") in _ASKING):
            where = settings.data_dir.absolute()
            args.hint = f"nothing was here: {where} is new; go where you made it, or give --data-dir DIR"
        yield runtime, brand


async def run_threads(
    runtime: Runtime,
    ids: Callable[[], list[str]],
    *,
    until: Callable[[], Awaitable[bool]],
    on_tick: Callable[[], Awaitable[None]] | None = None,
) -> bool:
    """Run only these tasks in this process until `until` answers True; False when a signal stopped it first.

    Other workers may take some of them meanwhile; it waits for those too. SIGINT or SIGTERM once: finish the step and stop,
    resumable. Twice: stop at once, still resumable.

    Raises Unavailable when all that is left is put off, because a model or platform is away for longer than people wait.
    """
    from runtime.worker import Worker

    worker = Worker(runtime, only=ids)
    loop = asyncio.get_running_loop()
    main_task = asyncio.current_task()
    stopped, put_off = False, ""

    def stop() -> None:
        nonlocal stopped
        if stopped and main_task is not None:
            main_task.cancel()
        stopped = True
        worker.drain()

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)

    async def finished() -> bool:
        nonlocal put_off
        if await until():
            return True
        put_off = await _put_off(runtime, ids())
        return bool(put_off)

    async def ticking() -> None:
        while on_tick is not None:
            await on_tick()
            await asyncio.sleep(0.1)

    ticker = asyncio.create_task(ticking())
    try:
        with redirect_stdout(sys.stderr):  # what a plug-in prints is not our answer
            await worker.run(until=finished)
        if on_tick is not None:
            await on_tick()
    except asyncio.CancelledError:
        if not stopped:
            raise
    finally:
        ticker.cancel()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)
    if put_off and not stopped:
        raise Unavailable(put_off)
    return not stopped


async def _put_off(runtime: Runtime, ids: list[str]) -> str:
    """Until when all that waits of these tasks is put off, when that is longer than people wait; else ''."""
    tasks = sorted((await live_tasks(runtime, ids)).values(), key=lambda task: task.run_at)
    if not tasks or tasks[0].run_at <= runtime.clock.now() + _PATIENCE:
        return ""
    first = tasks[0]
    return f"{first.id} is put off until {first.run_at:%H:%M:%S} UTC and goes on by itself where a worker runs: `why {first.id}`"


async def live_tasks(runtime: Runtime, ids: list[str]) -> dict[str, Task]:
    """Those of the tasks `ids` that wait or are leased; dead-lettered ones will not move by themselves."""
    dead = {item.task.id for item in await runtime.queue.list_dead()}
    found = [await runtime.queue.find(id) for id in ids]
    return {task.id: task for task in found if task is not None and task.id not in dead}


async def run_session(runtime: Runtime, session: Session, *, show: bool = True) -> bool:
    """Run a session's threads here until it is terminal or waits for a human, drawing progress on stderr; False if stopped."""
    from config.vocabulary import SessionStatus
    from graphs.sessions import session_piece_ids
    from memory.rows.sessions import Session as SessionRow
    from runtime.commands.week_view import WeekProgress
    from runtime.parking import what_it_waits_for
    from runtime.resume import wake

    records = runtime.records.for_brand(session.brand)
    ids = [f"advance:{id}" for id in (session.id, *session_piece_ids(session))]

    async def settled() -> bool:
        return (await records.get(SessionRow, id=session.id)).status is not SessionStatus.RUNNING

    await wake(runtime, await records.get(SessionRow, id=session.id))
    progress = WeekProgress(records, session, quiet=not show)
    with progress:
        try:
            return await run_threads(runtime, lambda: ids, until=settled, on_tick=progress.refresh)
        except Unavailable as error:
            why = await what_it_waits_for(records, await records.get(SessionRow, id=session.id))
            raise Unavailable(f"session {session.id}: {why or error}; or `session resume {session.id}`") from None
