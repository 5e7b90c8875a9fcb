"""`why`: the story of whatever has an id, by any name that it goes by."""

from __future__ import annotations

import asyncio

import pytest

from config.clock import SystemClock
from config.ids import name_id
from memory.records.protocol import open_records
from memory.rows.sessions import Session
from tests.cli_support import Cli, cli, planned, quiet_process, small_brand, week

__all__ = ["cli", "planned", "quiet_process", "week"]  # fixtures
EVERY = {"at", "kind", "what", "by", "detail", "piece_id", "content_hash", "model", "sources"}


def test_every_entry_of_every_story_has_the_same_keys_and_comes_in_order(week: Cli) -> None:
    [session] = week.ok("session", "list")
    pieces = week.ok("piece", "list")
    week.ok("review", "approve", pieces[0]["piece_id"], "--by", "Ada", "--reason", "fine")
    for id in (session["session_id"], pieces[0]["piece_id"]):
        story = week.ok("why", id)["story"]
        assert {frozenset(entry) for entry in story} == {frozenset(EVERY)}
        assert [entry["at"] for entry in story] == sorted(entry["at"] for entry in story)
        assert {entry["model"] for entry in story} == {"", "offline:"}


def test_an_id_its_beginning_its_task_and_its_publication_tell_the_same_story(week: Cli) -> None:
    piece = week.ok("piece", "list")[0]["piece_id"]
    week.ok("review", "approve", piece)
    [publication] = week.ok("publish", "status")
    key = publication["pub_key"]
    told = week.ok("why", piece)
    for name in (piece.upper(), piece[:13], f"advance:{piece}", key, key[:12], f"publish:{key}", f"reconcile:{key}"):
        assert week.ok("why", name)["about"] == told["about"], name


@pytest.mark.parametrize(("count", "named"), [(2, 2), (7, 5)])
async def test_a_beginning_of_several_ids_names_them(week: Cli, count: int, named: int) -> None:
    ids = [f"abcdef01-0000-7000-8000-00000000000{n}" for n in range(count)]
    async with open_records(f"sqlite:///{week.data_dir}", clock=SystemClock()) as store:
        records = store.for_brand("acme")
        [session] = await records.list_rows(Session)
        await records.put(*(session.model_copy(update={"id": id}) for id in ids))
    result = await asyncio.to_thread(week, "why", "abcdef01")
    assert result.code == 2
    assert f"'abcdef01' begins {count} ids: session abcdef01-" in result.complaint
    assert sum(id in result.complaint for id in ids) == named
    assert ("and 2 more: give more of it" in result.complaint) == (count > named)


def test_a_schedules_task_tells_what_became_of_its_slots(cli: Cli) -> None:
    small_brand(cli)
    cli.ok("schedule", "add", "weekly", "--day", "mon", "--at", "06:00")
    fired = cli.ok("schedule", "trigger", "weekly")
    cli.ok("schedule", "pause", "weekly", "--by", "Ada", "--reason", "holidays")
    task = f"fire:{name_id('acme', 'weekly')}"
    told = cli.ok("why", task)
    assert told["about"].startswith("schedule weekly: ")
    assert [
        (entry["what"], entry["by"], entry["detail"]) for entry in told["story"] if entry["kind"] == "schedule"
    ] == [
        ("schedule weekly was added", "", ""),
        (f"slot {fired['local_slot']}: fired", "", f"session {fired['session_id']}"),
        ("it was paused", "Ada", "holidays"),
    ]
    unknown = cli("why", f"fire:{name_id('acme', 'other')}")
    assert (unknown.code, "nothing of brand 'acme' has the id" in unknown.complaint) == (2, True)


def test_people_are_told_which_zone_the_times_are_of(week: Cli) -> None:
    [session] = week.ok("session", "list")
    page = week("why", session["session_id"]).out
    assert "(times in America/New_York)" in page.splitlines()[0]
    assert "called offline: " in page
    assert "offline::" not in page
