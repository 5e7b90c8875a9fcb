"""Every exception of the openai SDK and of httpx, in our words: the one place where they are translated."""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime

import httpx2 as httpx  # the openai SDK's own fork: its exceptions, not those of httpx, come out of it
import openai

from config.clock import Clock
from config.errors import CopydeskError, ModelRefused, SettingsError, Unavailable

KNOWN: tuple[type[BaseException], ...] = (
    openai.OpenAIError,
    openai.InvalidWebhookSignatureError,
    httpx.HTTPError,
    httpx.StreamError,
    httpx.InvalidURL,
    httpx.CookieConflict,
    json.JSONDecodeError,
)
"""What may come out of the SDK; anything else is a mistake of ours and is not translated."""
_REFUSALS = ("content_filter", "content_policy_violation", "context_length_exceeded", "string_above_max_length")


def to_error(error: BaseException, *, what: str, clock: Clock) -> CopydeskError:
    """What `error` means to us; `what` names the model.

    Unavailable: no answer, 408, 409, 429, 5xx, or a body that is no answer; with `retry_after` where the server gave one.
    SettingsError: key, rights, name, address or request are not accepted: trying again cannot help.
    ModelRefused: filtered, cut off, too long, or not the shape of an answer.
    """
    if isinstance(error, openai.LengthFinishReasonError):
        return ModelRefused(f"{what} was cut off at its longest answer: choose a model that may say more")
    if isinstance(error, openai.ContentFilterFinishReasonError):
        return ModelRefused(f"{what} was stopped by its content filter: reword the material, or choose another model")
    if isinstance(error, openai.APIResponseValidationError):
        return ModelRefused(f"{what} answered with something that is no answer: check COPYDESK_OPENAI_BASE_URL")
    if isinstance(error, openai.APITimeoutError | httpx.TimeoutException):
        return Unavailable(f"{what} did not answer in time: try again")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL | httpx.TooManyRedirects | httpx.CookieConflict):
        return SettingsError(f"{what}: {error}: check COPYDESK_OPENAI_BASE_URL")
    if isinstance(error, openai.APIConnectionError | httpx.HTTPError | httpx.StreamError | json.JSONDecodeError):
        inner = _causes(error)[-1]
        if isinstance(inner, httpx.UnsupportedProtocol | httpx.InvalidURL):
            return SettingsError(f"{what}: {inner}: check COPYDESK_OPENAI_BASE_URL")
        return Unavailable(f"{what} gave no whole answer ({type(inner).__name__}): try again")
    if isinstance(error, openai.APIStatusError):
        return _status(error, what, clock)
    if isinstance(error, openai.APIError | openai.WebSocketConnectionClosedError | openai.WebSocketQueueFullError):
        return Unavailable(f"{what} broke off ({str(error)[:200]}): try again")
    return SettingsError(
        f"{what} cannot be used ({str(error)[:200]}): check the model settings in docs/configuration.md"
    )


def _status(error: openai.APIStatusError, what: str, clock: Clock) -> CopydeskError:
    status, code = error.status_code, str(error.code or "")
    said = f"HTTP {status}{f' {code}' if code else ''}"
    if code == "insufficient_quota":
        return SettingsError(f"{what} has no quota left ({said}): raise it with the provider")
    if status in (408, 409, 429) or status >= 500:
        return Unavailable(
            f"{what} is not available ({said}): try again", retry_after=_retry_after(error.response, clock)
        )
    if status == 401:
        return SettingsError(f"{what} does not accept the key ({said}): check OPENAI_API_KEY")
    if status == 403:
        return SettingsError(f"{what} may not be used with this key ({said}): check the rights of OPENAI_API_KEY")
    if status == 404:
        return SettingsError(
            f"{what} is not known to the server ({said}): check COPYDESK_MODEL and COPYDESK_OPENAI_BASE_URL"
        )
    if code in _REFUSALS or status == 413 or "context" in type(error).__name__.lower():
        return ModelRefused(f"{what} refused ({said}): shorten or reword the material, or choose another model")
    return SettingsError(
        f"{what} does not take this request ({said}: {error.message[:160]}): try another COPYDESK_OPENAI_STRUCTURED_METHOD"
    )


def _retry_after(response: httpx.Response, clock: Clock) -> timedelta | None:
    """What the server asked for, seconds or a date; None for nothing, nonsense, or a number that is no time."""
    value = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        return (when if when.tzinfo else when.replace(tzinfo=UTC)) - clock.now()
    return timedelta(seconds=max(-1.0, min(seconds, 1e9))) if seconds == seconds else None


def may_be_billed(error: BaseException) -> bool:
    """Whether the server may have worked for this failure: the request went out and no definite answer came back."""
    if isinstance(error, openai.APIStatusError):
        return False
    never_sent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
    return not any(isinstance(cause, never_sent) for cause in _causes(error))


def _causes(error: BaseException) -> list[BaseException]:
    """`error` and what it was raised from, as far down as the HTTP client's own exceptions; langchain wraps the SDK's."""
    found, cause = [error], error.__cause__
    while isinstance(cause, openai.OpenAIError | httpx.HTTPError | httpx.InvalidURL):
        found.append(cause)
        cause = cause.__cause__
    return found


def refuse_pages(response: httpx.Response) -> None:
    """Raise httpx.DecodingError for a 200 that is a page and no answer, as portals and proxies send it."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.is_success and not (kind.endswith("json") or kind == "text/event-stream"):
        raise httpx.DecodingError(f"a 200 of type {kind or 'none'!r}, not JSON", request=response.request)


def open_http_client(timeout: timedelta) -> httpx.AsyncClient:
    """The HTTP client for a hosted model.

    It keeps no connection open between calls: a handshake is small beside a model's answer, and nothing is left to close
    when the event loop ends.
    """

    async def check(response: httpx.Response) -> None:
        refuse_pages(response)

    return httpx.AsyncClient(
        timeout=timeout.total_seconds(),
        limits=httpx.Limits(max_keepalive_connections=0),
        event_hooks={"response": [check]},
    )
