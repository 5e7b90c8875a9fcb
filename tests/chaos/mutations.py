"""Guarantees taken out, one at a time. Each names what must notice: the loop, or a test that must then fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mutation:
    """A guarantee to take out, and who must notice."""

    apply: Callable[[], None]
    caught_by: tuple[str, ...]
    """pytest node ids of which at least one must fail; empty: the crash loop."""


MUTATIONS: dict[str, Mutation] = {}


def mutation(*caught_by: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a function that takes a guarantee out."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        MUTATIONS[function.__name__] = Mutation(function, caught_by)
        return function

    return register


def apply_mutation(name: str) -> None:
    """Take the named guarantee out of this process; '' takes out nothing."""
    if name:
        MUTATIONS[name].apply()


@mutation()
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


@mutation()
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


@mutation()
def decisions_are_not_durable() -> None:
    """An approval is acknowledged before it is stored."""
    from config.vocabulary import Decision
    from runtime import reviews

    async def forgetful(
        runtime: Any, records: Any, piece: Any, content_hash: str, decision: Decision, *, by: str, **_: Any
    ) -> Any:
        return reviews.Decided(piece.id, content_hash, str(decision), by, True)

    reviews._decide = forgetful  # type: ignore[assignment]


@mutation("tests/test_guard.py", "tests/test_worker.py::test_a_write_under_a_lost_lease_is_refused")
def leases_do_not_bind() -> None:
    """A worker does not notice that its lease is gone."""
    from runtime.guard import TaskGuard

    TaskGuard.ensure_held = lambda self: None  # type: ignore[method-assign]
    TaskGuard.lose = lambda self, why: None  # type: ignore[method-assign]


@mutation("tests/test_reconcile.py")
def nothing_is_reconciled() -> None:
    """Tasks that were never enqueued stay that way."""
    from runtime import worker
    from runtime.reconcile import Turn

    async def idle(runtime: Any) -> Turn:
        return Turn(derived=0, brands=0, ended=True)

    worker.reconcile_turn = idle  # type: ignore[assignment]


@mutation("tests/test_piece_crashes.py")
def what_was_written_is_written_again() -> None:
    """A step that died after storing its revision writes another; a model never says the same twice."""
    import uuid

    from agents import creation
    from graphs import piece

    write = creation.draft

    async def different(*args: Any, **kwargs: Any) -> Any:
        draft = await write(*args, **kwargs)
        post = draft.post.model_copy(update={"first_comment": f"note {uuid.uuid4()}"})
        return draft.model_copy(update={"post": post})

    async def nothing(*args: Any) -> None:
        return None

    creation.draft = different  # type: ignore[assignment]
    piece.find_written = nothing  # type: ignore[assignment]


@mutation("tests/contracts/test_checkpoints.py", "tests/test_checkpoint_takeover.py")
def late_checkpoints_are_taken() -> None:
    """A worker that was displaced may go on writing its thread."""
    from memory.checkpoints import sqlite

    sqlite._guard = lambda connection, claim: None  # type: ignore[assignment]


@mutation("tests/contracts/test_records.py")
def the_last_decider_wins() -> None:
    """`create_once` answers every caller that it won."""
    from memory.records.protocol import Once
    from memory.records.sqlite import SqliteRecords

    async def always(self: Any, kind: str, key: str, row: Any, *, token: str) -> Any:
        return Once(True, row, token)

    SqliteRecords.create_once = always  # type: ignore[method-assign]


@mutation("tests/test_ledger.py::test_what_was_paused_or_unsealed_meanwhile_is_not_sent_and_says_why")
def the_seal_is_not_read_again() -> None:
    """Nobody looks at seal and pause between the permit and the first byte."""
    from tools.publish.ledger import Ledger

    async def fine(self: Any, *args: Any, **kwargs: Any) -> tuple[str, str]:
        return "", ""

    Ledger._objection = fine  # type: ignore[method-assign]


@mutation("tests/test_piece_graph.py::test_a_check_that_was_never_recorded_is_no_pass")
def what_was_not_checked_passes() -> None:
    """Checks without a record count as passed."""
    from config.vocabulary import CheckResult
    from graphs import piece

    kind = piece.worst

    def hopeful(results: list[str]) -> CheckResult:
        known = [result for result in results if result != CheckResult.MANUAL_REVIEW]
        return kind(known) if known else CheckResult.PASSED

    piece.worst = hopeful  # type: ignore[assignment]


@mutation("tests/test_spending.py", "tests/contracts/test_cache.py")
def money_has_no_ceiling() -> None:
    """An envelope grants whatever is asked for."""
    from memory.cache.protocol import Held
    from memory.cache.sqlite import SqliteCache

    async def grant(self: Any, key: str, item: str, amount: float, *, ceiling: float) -> Held:
        await self.set_hold(key, item, amount)
        return Held.GRANTED

    SqliteCache.hold = grant  # type: ignore[method-assign]


@mutation("tests/test_brand_isolation.py")
def brands_share_a_cache() -> None:
    """Every brand opens the same cache."""
    from memory.cache.sqlite import SqliteCacheStore

    one = SqliteCacheStore.for_brand
    SqliteCacheStore.for_brand = lambda self, brand: one(self, "acme")  # type: ignore[method-assign]


@mutation("tests/test_sqlite_locks.py")
def database_files_are_opened_by_hand() -> None:
    """Each opening reads the header, also of a file that this process has open."""
    from collections import Counter

    from memory import sqlite_file

    class Forgetful(Counter[Any]):
        def __getitem__(self, key: Any) -> int:
            return 0

    sqlite_file._open_here = Forgetful()


@mutation("tests/test_linter.py", "tests/test_linter_rules.py")
def nothing_is_critical() -> None:
    """Critical findings only ask for a look."""
    from config.vocabulary import CheckResult
    from tools.checks import engine

    def soft(findings: Any) -> CheckResult:
        return CheckResult.MANUAL_REVIEW if findings else CheckResult.PASSED

    engine.fold = soft


@mutation("tests/test_many_machines.py::test_upkeep_comes_back_by_itself_after_the_queue_was_wiped")
def wiped_upkeep_stays_away() -> None:
    """Upkeep is enqueued when a worker starts, and never looked for again."""
    from datetime import timedelta

    from runtime import worker

    worker._LOOK_FOR_UPKEEP = timedelta(days=1000)
    wait = worker.Worker._look_after_queue

    async def once(self: Any, now: float) -> None:
        if self._looked_for_upkeep == worker._NEVER:
            await wait(self, now)

    worker.Worker._look_after_queue = once  # type: ignore[method-assign]


@mutation("tests/test_many_machines.py")
def absence_of_records_is_the_tasks_fault() -> None:
    """Nobody asks whether Records are away: every run that finds them so is a failed attempt."""
    from runtime.breaker import Breaker

    async def never(self: Any, error: Exception) -> bool:
        return False

    Breaker.caused = never  # type: ignore[method-assign]


@mutation(
    "tests/test_tools_matrix.py::test_every_role_effect_and_tool_runs_or_is_refused_alike_for_our_code_and_for_a_model"
)
def any_role_may_have_any_effect() -> None:
    """The matrix of roles and effects allows everything."""
    from tools import calls

    calls.may = lambda role, effect: True


@mutation("tests/test_tools_effects.py::test_after_any_other_end_it_is_uncertain_for_ever_and_never_repeated")
def an_effect_that_was_started_is_started_again() -> None:
    """A tool's effect that somebody started and nobody ended is taken for one that never began."""
    from dataclasses import replace

    from tools.context import ToolContext

    start = ToolContext._start

    async def hopeful(self: Any, name: str, key: str, effect: Any) -> Any:
        class Winning:
            def __init__(self, records: Any) -> None:
                self._records = records

            def __getattr__(self, name: str) -> Any:
                return getattr(self._records, name)

            async def create_once(self, *args: Any, **kwargs: Any) -> Any:
                return replace(await self._records.create_once(*args, **kwargs), won=True)

        return await start(replace(self, _all=Winning(self._all)), name, key, effect)

    ToolContext._start = hopeful  # type: ignore[method-assign]
