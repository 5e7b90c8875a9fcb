"""astrapy's and httpx's errors as ours, in one place.

A message names the table and the server's error code, never the payload: astrapy's own texts can hold a row's content.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from astrapy import exceptions as astra

from config.errors import BadInput, CopydeskError, SettingsError, Unavailable, Unsupported, UsageError

_LONGEST_WAIT = timedelta(minutes=10)
AWAY = frozenset(
    [
        "TIMEOUT_READING_DATA",
        "TIMEOUT_WRITING_DATA",
        "UNAVAILABLE_DATABASE",
        "FAILED_READ_REQUEST",
        "FAILED_WRITE_REQUEST",
        "FAILED_TO_CONNECT_TO_DATABASE",
        "FAILED_TO_READ_METADATA",
        "FAILED_TRUNCATION",
        "FAILED_COMPARE_AND_SET",
        "FAILED_CONCURRENT_OPERATIONS",
        "UNEXPECTED_DRIVER_ERROR",
        "INTERNAL_SERVER_ERROR",
        "UNEXPECTED_SERVER_ERROR",
        "SERVER_DRIVER_TIMEOUT",
        "SERVER_READ_TIMEOUT",
        "SERVER_NO_NODE_AVAILABLE",
        "SERVER_COORDINATOR_FAILURE",
    ]
)
"""Server codes after which the same call may succeed: everything we send is an upsert, a delete or a conditional insert."""
_REFUSED = frozenset(
    ["MISSING_AUTHENTICATION_TOKEN", "UNAUTHORIZED_ACCESS", "UNAUTHENTICATED_REQUEST", "UNSUPPORTED_AUTHENTICATION"]
)
_NO_SCHEMA = frozenset(
    [
        "COLLECTION_NOT_EXIST",
        "UNKNOWN_COLLECTION_OR_TABLE",
        "UNKNOWN_TABLE",
        "UNKNOWN_TABLE_COLUMNS",
        "UNKNOWN_INDEX",
        "CANNOT_VECTOR_SORT_NON_INDEXED_VECTOR_COLUMNS",
    ]
)
_NO_KEYSPACE = frozenset(["UNKNOWN_KEYSPACE", "KEYSPACE_DOES_NOT_EXIST"])
_BAD_ROW = frozenset(
    [
        "INVALID_COLUMN_VALUES",
        "MISSING_PRIMARY_KEY_COLUMNS",
        "SHRED_DOC_LIMIT_VIOLATION",
        "CANNOT_VECTOR_SORT_ON_MISMATCHED_VECTOR_DIMENSIONS",
    ]
)
GUARDRAIL = "guardrail"


def translate_error(error: Exception, what: str) -> CopydeskError:
    """Our error for any error of astrapy or httpx. `what` names the operation and its table."""
    if isinstance(error, astra.TableInsertManyException | astra.CollectionInsertManyException):
        return translate_error(error.exceptions[0], what) if error.exceptions else CopydeskError(f"{what} failed")
    if isinstance(error, httpx.HTTPStatusError):  # the HTTP exceptions of astrapy's two APIs are its subclasses
        return _by_status(error, what)
    if isinstance(error, astra.DataAPITimeoutException | astra.DevOpsAPITimeoutException):
        return Unavailable(f"{what}: AstraDB did not answer in time: look at its status page, work goes on by itself")
    if isinstance(error, astra.DataAPIResponseException):
        return _by_code(error, what)
    if isinstance(error, astra.UnexpectedDataAPIResponseException | astra.UnexpectedDevOpsAPIResponseException):
        return Unavailable(f"{what}: the answer was not the Data API's: see whether a proxy stands in between")
    if isinstance(error, astra.InvalidEnvironmentException | httpx.InvalidURL | httpx.UnsupportedProtocol):
        return SettingsError(f"COPYDESK_RECORDS does not name a Data API ({type(error).__name__}): see docs/operate.md")
    if isinstance(error, httpx.LocalProtocolError):
        return SettingsError(f"{what}: the request could not be sent: is COPYDESK_ASTRA_TOKEN free of line breaks?")
    if isinstance(error, httpx.TooManyRedirects):
        return SettingsError(f"{what}: the address of COPYDESK_RECORDS redirects without end: name the Data API itself")
    if isinstance(error, httpx.TransportError | httpx.DecodingError | httpx.RequestError):
        return Unavailable(f"{what}: AstraDB cannot be reached ({type(error).__name__}): check network and host name")
    # What is left says that we used the driver wrongly: cursors, counts, streams, cookies, DevOps commands.
    return CopydeskError(f"{what}: {type(error).__name__}: this is a fault of Copydesk, please report it")


def error_code(error: Exception) -> str:
    """The server's code of an answered refusal, or ''."""
    return str((_descriptor(error) or _NOTHING).error_code or "")


def says_the_column_is_there(error: Exception) -> bool:
    """Whether adding a column was refused because there is one of its name.

    The Data API looks at the schema that it knows; where that is a moment old, it is Cassandra that refuses.
    """
    message = str((_descriptor(error) or _NOTHING).message or "")
    return error_code(error) == "CANNOT_ADD_EXISTING_COLUMNS" or (
        error_code(error) == "INVALID_DATABASE_QUERY" and "Column with name" in message and "already exists" in message
    )


class _Nothing:
    error_code = title = id = message = None


_NOTHING = _Nothing()


def _descriptor(error: Any) -> Any:
    descriptors = getattr(error, "error_descriptors", None)
    return descriptors[0] if descriptors else None


def _by_code(error: astra.DataAPIResponseException, what: str) -> CopydeskError:
    found = _descriptor(error) or _NOTHING
    code = found.error_code or "an error without a code"
    told = f"{what}: AstraDB says {code}" + (f" (error id {found.id})" if found.id else "")
    if code in AWAY:
        return Unavailable(f"{told}: work goes on by itself once it answers")
    if code in _REFUSED:
        return SettingsError(f"{told}: check COPYDESK_ASTRA_TOKEN and the role it was given")
    if code in _NO_SCHEMA:
        return UsageError(f"{told}: make what is missing with `copydesk db init`")
    if code in _NO_KEYSPACE:
        # `db init` makes tables in a keyspace: to send its user to `db init` would lead in a circle.
        return UsageError(
            f"{told}: the database has no keyspace of the name behind the last / of COPYDESK_RECORDS: "
            "create it in the database (Astra's console, or createKeyspace), or name one that exists, then `copydesk db init`"
        )
    if code in _BAD_ROW:
        return BadInput(
            f"{told}: a value does not fit its column: `doctor` compares the tables with what they should be"
        )
    if code == "OVERLOADED_SORT_ROW_LIMIT":
        return Unsupported(f"{told}: too many rows to sort: name a partition")
    if GUARDRAIL in str(found.message).lower() or code == "TOO_MANY_INDEXES":
        return UsageError(
            f"{told}: a limit of the database is reached: drop indexes that nothing uses, or use a new one"
        )
    return CopydeskError(f"{told}: this is a fault of Copydesk, please report it")


def _by_status(error: httpx.HTTPStatusError, what: str) -> CopydeskError:
    status = error.response.status_code
    told = f"{what}: AstraDB answered HTTP {status}"
    if status in (401, 403):
        return SettingsError(f"{told}: check COPYDESK_ASTRA_TOKEN and the role it was given")
    if status == 413:
        return BadInput(f"{told}: a row is too big to send: shorten its texts")
    if status in (408, 425, 429) or status >= 500:
        return Unavailable(f"{told}: work goes on by itself once it answers", retry_after=_retry_after(error.response))
    return SettingsError(f"{told}: COPYDESK_RECORDS does not name a Data API: see docs/operate.md")


def _retry_after(response: httpx.Response) -> timedelta | None:
    value = response.headers.get("Retry-After", "").strip()
    try:
        if value.isdigit():
            wait = timedelta(seconds=min(int(value), 10**6))
        else:
            wait = parsedate_to_datetime(value) - parsedate_to_datetime(response.headers["Date"])
    except (KeyError, ValueError, TypeError):
        return None
    return min(max(wait, timedelta(0)), _LONGEST_WAIT)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise our errors instead of astrapy's and httpx's."""
    try:
        yield
    except (
        astra.DataAPIException,
        astra.DevOpsAPIException,
        astra.InvalidEnvironmentException,
        httpx.HTTPError,
        httpx.InvalidURL,
        httpx.StreamError,
        httpx.CookieConflict,
    ) as error:
        raise translate_error(error, what) from error
