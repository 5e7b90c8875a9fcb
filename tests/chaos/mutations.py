"""Guarantees taken out, one at a time: each must make the loop's checker, or the named test, find something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MUTATIONS: dict[str, Callable[[], None]] = {}


def mutation(function: Callable[[], None]) -> Callable[[], None]:
    MUTATIONS[function.__name__] = function
    return function


def apply_mutation(name: str) -> None:
    """Take the named guarantee out of this process; '' takes out nothing."""
    if name:
        MUTATIONS[name]()


@mutation
def unknown_is_sent_again() -> None:
    """A permit whose time is over without an outcome is taken for a post that did not go out."""
    from dataclasses import replace

    from tools.publish.fold import Status
    from tools.publish.steps import Steps

    read = Steps.read

    async def hopeful(self: Any, pub_key: str, part_count: int) -> Any:
        found = await read(self, pub_key, part_count)
        if found.unresolved:
            return replace(found, status=Status.NOT_SENT, next_permit=(found.attempt + 1, found.part))
        return found

    Steps.read = hopeful  # type: ignore[method-assign]


@mutation
def unanswered_means_not_sent() -> None:
    """An answer that never came is taken for a refusal, and the post is sent again."""
    from tests.fakes.platform import FakePlatformPublisher

    finalize = FakePlatformPublisher.finalize

    async def hopeful(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return await finalize(self, *args, **kwargs)
        except Exception as error:
            raise ConnectionRefusedError(str(error)) from error

    FakePlatformPublisher.finalize = hopeful  # type: ignore[method-assign]


@mutation
def decisions_are_not_durable() -> None:
    """An approval is acknowledged before it is stored."""
    from config.vocabulary import Decision
    from runtime import reviews

    async def forgetful(
        runtime: Any, records: Any, piece: Any, content_hash: str, decision: Decision, *, by: str, **_: Any
    ) -> Any:
        return reviews.Decided(piece.id, content_hash, str(decision), by, True)

    reviews._decide = forgetful  # type: ignore[assignment]


@mutation
def leases_do_not_bind() -> None:
    """Nobody asks whether the lease is held, and the queue does not ask for the token."""
    from memory.checkpoints import sqlite as checkpoints
    from runtime.guard import TaskGuard

    TaskGuard.ensure_held = lambda self: None  # type: ignore[method-assign]
    TaskGuard.lose = lambda self, why: None  # type: ignore[method-assign]
    checkpoints._guard = lambda connection, claim: None  # type: ignore[assignment]


@mutation
def nothing_is_reconciled() -> None:
    """Tasks that were never enqueued stay that way."""
    from runtime import worker

    async def idle(runtime: Any) -> int:
        return 0

    worker.reconcile = idle  # type: ignore[assignment]


@mutation
def drafts_name_themselves_anew() -> None:
    """A draft is different each time it is written, as with a model: what was stored must be used again."""
    from agents import creation

    write = creation.draft

    async def different(*args: Any, **kwargs: Any) -> Any:
        import uuid

        draft = await write(*args, **kwargs)
        return draft.model_copy(
            update={"post": draft.post.model_copy(update={"first_comment": f"note {uuid.uuid4()}"})}
        )

    creation.draft = different  # type: ignore[assignment]
