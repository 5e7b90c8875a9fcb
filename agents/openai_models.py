"""OpenAI, and every server that speaks its wire format. The only file that imports langchain_openai.

The SDK retries nothing (`max_retries=0`): `agents/chat_models.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import openai
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from agents.spending import Tokens, Unanswered, Unusable
from config.clock import Clock
from config.errors import ModelRefused, Unavailable
from config.settings import Settings
from memory.embedding.openai_errors import KNOWN, may_be_billed, open_http_client, to_error


def open_openai_model(name: str, settings: Settings) -> ChatOpenAI:
    """The chat model `name` at OpenAI or at `settings.openai_base_url`."""
    return ChatOpenAI(
        model=name,
        base_url=settings.openai_base_url or None,
        # A server of one's own often wants no key, but the SDK wants a word.
        api_key=SecretStr(settings.openai_api_key.get_secret_value() or "none"),
        timeout=settings.model_timeout.total_seconds(),
        max_retries=0,
        use_responses_api=False,
        http_async_client=open_http_client(settings.model_timeout),
    )


@contextmanager
def translated(name: str, clock: Clock) -> Iterator[None]:
    """Turn what the SDK raises inside into our errors: Unanswered where the call may be billed, Unusable with its tokens."""
    try:
        yield
    except KNOWN as error:
        mapped = to_error(error, what=f"model {name!r}", clock=clock)
        if isinstance(mapped, ModelRefused):
            raise Unusable(str(mapped), tokens=_tokens(error)) from error
        if isinstance(mapped, Unavailable) and may_be_billed(error):
            raise Unanswered(str(mapped), retry_after=mapped.retry_after) from error
        raise mapped from error


def _tokens(error: BaseException) -> Tokens | None:
    """What a cut-off answer used; a request refused by its status used nothing."""
    if isinstance(error, openai.APIStatusError):
        return Tokens(0, 0)
    usage = getattr(getattr(error, "completion", None), "usage", None)
    return Tokens(usage.prompt_tokens, usage.completion_tokens) if usage else None
