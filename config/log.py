"""Structured logs on stderr: `noun.verb_past`, ids as fields, secrets masked, control characters escaped.

Order of processors matters: context -> exception text -> redaction -> escaping -> rendering, so that a secret inside a
traceback is masked and a newline inside a value cannot forge a second line. The same chain runs over stdlib loggers, because
HTTP clients log whole URLs.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any

import structlog

_SECRET_PATTERNS = (
    re.compile(r"sk-[A-Za-z0-9_-]{8,}"),
    re.compile(r"AstraCS:[A-Za-z0-9:_-]+"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/=-]{6,}"),
    re.compile(r"(?i)(?<=[?&])((?:access_|api_|client_)?(?:key|token|secret|password))=[^&\s\"']+"),
    re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"),
)
_SECRET_KEYS = re.compile(r"(?i)(password|secret|api_?key|authorization|access_?token|refresh_?token|astra_?token)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_known_secrets: set[str] = set()
MASK = "***"


def register_secrets(values: Iterable[str]) -> None:
    """Mask these exact values wherever they appear; values shorter than six characters are ignored."""
    _known_secrets.update(value for value in values if len(value) >= 6)


def redact(text: str) -> str:
    """`text` with registered secrets and everything that looks like a credential masked."""
    for secret in _known_secrets:
        text = text.replace(secret, MASK)
    for pattern in _SECRET_PATTERNS:
        text = pattern.sub(lambda m: f"{m.group(1)}={MASK}" if m.groups() else MASK, text)
    return text


def escape(text: str) -> str:
    """`text` with control, line-breaking and direction-changing characters and lone surrogates written as escapes."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return _CONTROL.sub(lambda m: f"\\x{ord(m.group()):02x}" if ord(m.group()) < 256 else f"\\u{ord(m.group()):04x}", text)


def _deep(value: Any, function: Any, key: str = "") -> Any:
    if key and _SECRET_KEYS.search(key) and function is redact:
        return MASK
    if isinstance(value, str):
        return function(value)
    if isinstance(value, dict):
        return {_deep(k, function): _deep(v, function, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_deep(item, function) for item in value]
    if isinstance(value, int | float | bool) or value is None:
        return value
    return function(str(value))


def redact_processor(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: mask secrets by key, by registered value and by pattern, at any depth."""
    return {key: _deep(value, redact, key) for key, value in event.items()}


def escape_processor(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: no value can start a new line, move the cursor or fail to encode."""
    return {key: _deep(value, escape) for key, value in event.items()}


def configure_logging(*, level: str = "WARNING", json: bool = False) -> None:
    """Send structured logs at `level` and above to stderr, as key=value lines or JSON. Safe to call again."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact_processor,
        escape_processor,
    ]
    render: Any = structlog.processors.JSONRenderer() if json else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact_processor, escape_processor, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "openai", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
