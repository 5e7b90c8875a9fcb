"""Structured logs on stderr: `noun.verb_past`, ids as fields, secrets masked, control characters escaped.

Order of processors matters: context -> exception text -> redaction -> escaping -> rendering, so that a secret inside a
traceback is masked and a newline inside a value cannot forge a second line. The same chain runs over stdlib loggers, because
HTTP clients log whole URLs.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Iterable, MutableMapping
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import quote

import structlog

_SECRET_PATTERNS = (
    re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{8,}"),
    re.compile(r"AstraCS:[A-Za-z0-9:_-]+"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(r"(?i)(?<=basic )[A-Za-z0-9+/=]{8,}"),
    re.compile(r"(?i)(?<=[?&])((?:access_|api_|client_)?(?:key|token|secret|password))=[^&\s\"']+"),
    re.compile(
        r"(?i)\b(api[_-]?key|client[_-]?secret|(?:access|refresh|astra)[_-]?token|password)(\\*[\"']?\s*[:=]\s*\\*[\"']?)[^\s\"'\\,;&}]+"
    ),
    # To the last @ before the path: a password may hold one.
    re.compile(r"(?<=://)[^\s/?#]+(?=@)"),
)
_SECRET_KEYS = re.compile(
    r"(?i)(password|secret|api[_-]?key|private[_-]?key|credential|authorization|cookie|(?:^|[_-])token$)"
)
# Control characters, line and paragraph separators, every character that changes the direction of text or is invisible.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")
_DEEPEST = 12
"""Values nested deeper, or in themselves, are cut here."""
_known_secrets: set[str] = set()
MASK = "***"


def register_secrets(values: Iterable[str]) -> None:
    """Mask these exact values, and their URL-quoted forms, wherever they appear; shorter than six characters are ignored."""
    for value in values:
        if len(value) >= 6:
            _known_secrets.update((value, quote(value, safe="")))


def redact(text: str) -> str:
    """`text` with registered secrets and everything that looks like a credential masked."""
    # The longest first: one secret may begin with another.
    for secret in sorted(_known_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    for pattern in _SECRET_PATTERNS:
        text = pattern.sub(_masked, text)
    return text


def _masked(match: re.Match[str]) -> str:
    named = match.groups()
    return MASK if not named else f"{named[0]}{named[1] if len(named) > 1 else '='}{MASK}"


def escape(text: str) -> str:
    """`text` with control, line-breaking and direction-changing characters and lone surrogates written as escapes."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return _CONTROL.sub(lambda m: _escaped(ord(m.group())), text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _deep(value: Any, function: Any, key: str = "", depth: int = 0) -> Any:
    if key and _SECRET_KEYS.search(key) and function is redact:
        return MASK
    if isinstance(value, str):
        return function(value)
    if depth > _DEEPEST:
        return "..."
    if isinstance(value, dict):
        return {_deep(k, function): _deep(v, function, str(k), depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_deep(item, function, depth=depth + 1) for item in value]
    if isinstance(value, int | float | bool) or value is None:
        return value
    try:
        return function(str(value))
    except Exception as error:  # a value that cannot be shown must cost neither the line nor what is safe in it
        return f"<{type(value).__name__}: str() raised {type(error).__name__}>"


def redact_processor(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: mask secrets by key, by registered value and by pattern, at any depth."""
    return {key: _deep(value, redact, key) for key, value in event.items()}


def escape_processor(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: no value can start a new line, move the cursor or fail to encode."""
    return {key: _deep(value, escape) for key, value in event.items()}


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to stderr; a record that cannot be formatted is named, never dumped with its arguments as logging would."""

    def format(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except (TypeError, ValueError, KeyError) as error:  # "%d" with a text, and its like
            where = f"{record.name} {record.pathname}:{record.lineno}"
            return escape(
                redact(f"log.unreadable where={where!r} template={record.msg!r} error={type(error).__name__}")
            )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 the name is logging's
        """Say nothing: stderr itself is gone."""


def configure_logging(*, level: str = "WARNING") -> None:
    """Send structured logs at `level` and above to stderr, as key=value lines. Safe to call again.

    Warnings and exceptions that nobody caught, in any thread, go the same way: masked and escaped.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact_processor,
        escape_processor,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact_processor,
                escape_processor,
                structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    # Hooks that somebody else put in (a test runner, an embedding program) stay.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _log_uncaught
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = lambda it: _log_uncaught(it.exc_type, it.exc_value, it.exc_traceback)
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda it: _log_uncaught(it.exc_type, it.exc_value, it.exc_traceback)
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """In place of Python's own hooks, which print a traceback as it is."""
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("uncaught").critical("exception.uncaught", exc_info=(kind, error or kind(), trace))
