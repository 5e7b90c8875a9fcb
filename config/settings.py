"""Every setting of Copydesk: one field a line, its unit and default, its environment variable.

Read once, in `runtime/compose.py`. Strict: `1e3`, ` 5 ` and `5abc` are refused, an empty variable counts as unset, and an
unknown `COPYDESK_*` name is refused with the nearest known one. docs/configuration.md is generated from this file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from config.errors import SettingsError
from config.vocabulary import AgentType, nearest

PREFIX = "COPYDESK_"
_LONGEST = timedelta(days=3650)
"""Longer durations would overflow the calendar when they are added to an instant."""


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        if not re.fullmatch(r"-?[0-9]{1,12}", value):
            raise ValueError("must be a whole number, such as 5")
        return int(value)
    return value


def _number(value: Any) -> Any:
    if isinstance(value, str):
        if not re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,6})?", value):
            raise ValueError("must be a number, such as 2.50")
        return float(value)
    return value


def _seconds(value: Any) -> Any:
    if isinstance(value, str):
        value = timedelta(seconds=_number(value))
    if isinstance(value, timedelta) and not timedelta(0) <= value <= _LONGEST:
        raise ValueError("must be from 0 to 315360000 seconds (ten years)")
    return value


def _switch(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("0", "1"):
            raise ValueError("must be 0 or 1")
        return value == "1"
    return value


def _is_open_to_others(url: str) -> bool:
    """Whether a Redis address leaves this machine with neither a password nor TLS."""
    try:
        parts = urlsplit(url)
        hosts = [one.strip() for one in parts.netloc.rpartition("@")[2].split(",")]
        names = [urlsplit(f"//{host}").hostname or "" for host in hosts]
        return (
            parts.scheme.startswith("redis")
            and not (parts.scheme.startswith("rediss") or parts.scheme == "redis+unix" or parts.password)
            and not all(map(_is_loopback, names))
        )
    except ValueError:
        return True


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


REDIS_SCHEMES = (
    "redis",
    "rediss",
    "redis+unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
Switch = Annotated[bool, BeforeValidator(_switch)]
Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_number)]
Seconds = Annotated[timedelta, BeforeValidator(_seconds)]
PositiveSeconds = Annotated[Seconds, Field(gt=timedelta(0))]


_FORMS = {
    "openai_structured_method": "use json_schema, function_calling or json_mode",
    "media_base_url": "write an address that begins with http:// or https://, without blanks, ? and #",
}
"""What to write, for settings whose form is an expression."""


class Settings(BaseModel):
    """What an operator may change. Durations are given in seconds, money in US dollars."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data_dir: Path = Path(".copydesk")
    """Folder of the embedded databases and the outbox; created with mode 0700."""
    records: str = ""
    """Where long-term rows live: `sqlite:///DIR`, `astra://HOST/KEYSPACE` or `astra+http://USER:PASSWORD@HOST:PORT/KEYSPACE`
    (a Data API of your own). Graph checkpoints live there too when it is AstraDB. Empty: SQLite in the data directory."""
    queue: str = ""
    """Where tasks wait: `sqlite:///FILE` or `redis://HOST:PORT/DB` (also `rediss://`, `redis+unix://`, `redis+sentinel://`,
    `redis+cluster://`). Empty: SQLite in the data directory."""
    cache: str = ""
    """Where forgettable values live: `sqlite:///FILE` or `redis://HOST:PORT/DB`, as for the queue. Empty: SQLite in the data
    directory."""
    allow_insecure_redis: Switch = False
    """`1` allows a Redis on another machine to be used with neither a password nor TLS."""
    model: str = "offline:"
    """Which model writes: `offline:` (templates, no key) or `openai:NAME`."""
    agent_models: str = ""
    """Another first model for single agents: comma-separated, as in `compliance=openai:gpt-4o,research=openai:gpt-4o-mini`."""
    embedder: str = "hash-v1"
    """What turns text into vectors: `hash-v1` (lexical, offline) or `openai:text-embedding-3-large`."""
    openai_base_url: str = ""
    """Base URL of an OpenAI-compatible server. Empty: OpenAI's own."""
    openai_api_key: SecretStr = SecretStr("")
    """Key for `openai:` models. Read from OPENAI_API_KEY."""
    openai_structured_method: str = Field(default="json_schema", pattern="^(json_schema|function_calling|json_mode)$")
    """How structured output is asked for: `json_schema`, `function_calling` or `json_mode`; servers differ."""
    model_fallbacks: str = ""
    """Models to try, in order, when the first one is away: comma-separated, as in `openai:gpt-4o-mini,offline:`."""
    astra_token: SecretStr = SecretStr("")
    """Token of the AstraDB database."""
    reviewer: str = ""
    """Name recorded with decisions when `--by` is not given. Empty: the login name."""
    media_base_url: str = Field(default="", pattern="^(https?://[^\\s?#]+)?$")
    """Public address under which attached media lie by their hash, such as https://media.example/posts. Empty: named by hash alone."""
    model_timeout: Seconds = timedelta(seconds=60)
    """Longest wait for one model call, in seconds."""
    lease: Seconds = timedelta(seconds=30)
    """How long a task stays with a worker that has gone silent, in seconds."""
    heartbeat: Seconds = timedelta(seconds=10)
    """How often a worker extends its leases, in seconds; at most a third of the lease."""
    task_timeout: PositiveSeconds = timedelta(seconds=900)
    """Longest run of one task before its heartbeat stops and it is handed on, in seconds."""
    node_timeout: Seconds = timedelta(seconds=240)
    """Longest run of one graph step, in seconds; over three model timeouts."""
    drain: Seconds = timedelta(seconds=25)
    """Grace period after SIGTERM, in seconds: what is not finished by then is handed back."""
    reconcile_every: PositiveSeconds = timedelta(seconds=60)
    """How often the queues are compared with the rows, in seconds."""
    concurrency: Whole = Field(default=8, ge=1, le=1000)
    """Tasks that one worker runs at a time."""
    max_queue: Whole = Field(default=10000, ge=1, le=10_000_000)
    """Tasks that one queue holds before producers are told to wait."""
    recycle_sessions: Whole = Field(default=0, ge=0, le=10_000_000)
    """Tasks after which a worker drains and exits 0, for its supervisor to start a fresh one; 0: never."""
    recycle_rss_mb: Whole = Field(default=0, ge=0, le=10_000_000)
    """Memory in MiB (resident set) above which a worker drains and exits 0; 0: never."""
    max_attempts: Whole = Field(default=3, ge=1, le=20)
    """Failed runs of a task before it is dead-lettered."""
    away_limit: PositiveSeconds = timedelta(hours=24)
    """How long work waits for a model or platform that is away, uncounted, before it is given up, in seconds."""
    session_usd: Number = Field(default=5.0, ge=0, le=100_000)
    """Money that one session may spend on models, in US dollars."""
    brand_day_usd: Number = Field(default=20.0, ge=0, le=1_000_000)
    """Money that one brand may spend on models in a UTC day, in US dollars."""
    permit: Seconds = timedelta(seconds=20)
    """How long a permit to send is valid, in seconds. The request must end before it."""
    send_timeout: Seconds = timedelta(seconds=15)
    """Longest wait for a platform's answer to the one irreversible call, in seconds."""
    settle: Seconds = timedelta(seconds=90)
    """How long after a permit's deadline a platform may still show the post, in seconds."""
    late_horizon: Seconds = timedelta(days=14)
    """A post that cannot be arranged within this time of its slot is missed, in seconds."""

    @field_validator("agent_models")
    @classmethod
    def _agent_models(cls, value: str) -> str:
        for entry in filter(None, map(str.strip, value.split(","))):
            agent, _, model = entry.partition("=")
            known = [str(name) for name in AgentType]
            if agent not in known:
                raise ValueError(f"names the agent {agent!r}{nearest(agent, known)}; there are: {', '.join(known)}")
            if not model.strip():
                raise ValueError(f"gives {agent} no model: write {agent}=openai:NAME")
        return value

    @field_validator("embedder")
    @classmethod
    def _embedder(cls, value: str) -> str:
        if value != "hash-v1" and not re.fullmatch(r"openai:\S+", value):
            raise ValueError("is unknown: use hash-v1 or openai:MODEL")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.heartbeat * 3 > self.lease:
            raise ValueError(
                f"COPYDESK_HEARTBEAT ({_s(self.heartbeat)} s) must be at most a third of COPYDESK_LEASE ({_s(self.lease)} s)"
            )
        if self.heartbeat <= timedelta(0):
            raise ValueError("COPYDESK_HEARTBEAT must be more than 0 s")
        if self.model_timeout <= timedelta(0) or self.node_timeout <= 3 * self.model_timeout:
            raise ValueError(
                f"COPYDESK_NODE_TIMEOUT ({_s(self.node_timeout)} s) must be over three times "
                f"COPYDESK_MODEL_TIMEOUT ({_s(self.model_timeout)} s)"
            )
        if self.send_timeout <= timedelta(0) or self.send_timeout >= self.permit:
            raise ValueError(
                f"COPYDESK_SEND_TIMEOUT ({_s(self.send_timeout)} s) must be more than 0 s and shorter than "
                f"COPYDESK_PERMIT ({_s(self.permit)} s)"
            )
        for name, schemes in (
            ("records", ("sqlite", "austere", "astra", "astra+http")),
            ("queue", ("sqlite", *REDIS_SCHEMES)),
            ("cache", ("sqlite", *REDIS_SCHEMES)),
        ):
            url = getattr(self, name)
            if url and ("://" not in url or url.partition("://")[0] not in schemes):
                raise ValueError(
                    f"{variable(name)} {mask_url(url)!r} must start with one of: {', '.join(s + '://' for s in schemes if s != 'austere')}"
                )
            if name != "records" and not self.allow_insecure_redis and _is_open_to_others(url):
                raise ValueError(
                    f"{variable(name)} {mask_url(url)!r} would be reached without password or TLS: add a password, use rediss://, "
                    "or set COPYDESK_ALLOW_INSECURE_REDIS=1 for a network that nobody else can reach"
                )
        return self

    @property
    def records_url(self) -> str:
        """Where rows are, by name also when it is the data directory."""
        return self.records or f"sqlite:///{self.data_dir.absolute()}"

    @property
    def queue_url(self) -> str:
        """Where tasks are, by name also when it is a file of the data directory."""
        return self.queue or f"sqlite:///{self.data_dir.absolute() / 'queue.db'}"

    @property
    def cache_url(self) -> str:
        """Where values that may vanish are, by name also when it is the session database."""
        return self.cache or f"sqlite:///{self.session_db}"

    @property
    def checkpoints_url(self) -> str:
        """Where graph checkpoints are: beside the rows, so that a session goes on on any machine that sees those."""
        if self.records.startswith(("astra://", "astra+http://")):
            return self.records
        return f"sqlite:///{self.data_dir.absolute() / 'checkpoints.db'}"

    @property
    def session_db(self) -> Path:
        """The session database, which is always a file of this machine."""
        return self.data_dir.absolute() / "session.db"

    @property
    def outbox(self) -> Path:
        """The folder in which posts lie that a person publishes."""
        return self.data_dir.absolute() / "outbox"

    def sources(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Where each field's value came from: `environment` or `default`; for `doctor`."""
        return {name: "environment" if environ.get(variable(name)) else "default" for name in type(self).model_fields}


def _s(duration: timedelta) -> str:
    return f"{duration.total_seconds():g}"


def variable(field: str) -> str:
    """The environment variable of a field."""
    return "OPENAI_API_KEY" if field == "openai_api_key" else PREFIX + field.upper()


def mask_url(url: str) -> str:
    """`url` with any password replaced by ***; one that cannot be parsed loses all that may be a user and a password."""
    try:
        password = urlsplit(url).password
    except ValueError:
        password = None
    return url.replace(f":{password}@", ":***@") if password else re.sub(r"[^/\s]*:\S*@", "***@", url)


def load_settings(environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """Settings from the environment, `overrides` (from the command line) winning.

    Raises:
        SettingsError: a variable is unknown or its value is refused; one line says which, and how to mend it.
    """
    known = {variable(name): name for name in Settings.model_fields}
    values: dict[str, Any] = {}
    for name, value in environ.items():
        if name.startswith("COPYDESK_TEST_") or value == "":
            continue
        if name in known:
            values[known[name]] = value
        elif name.startswith(PREFIX):
            raise SettingsError(
                f"unknown setting {name}{nearest(name, list(known))}: unset it, or see docs/configuration.md"
            )
    values.update({key: value for key, value in overrides.items() if value is not None})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise SettingsError(message) from None
        field = str(first["loc"][0])
        if first["type"] == "string_pattern_mismatch":  # an expression is no remedy
            message = _FORMS[field]
        shown = "***" if "key" in field or "token" in field else repr(mask_url(str(first["input"])))
        raise SettingsError(f"{variable(field)}={shown}: {message}; see docs/configuration.md") from None
