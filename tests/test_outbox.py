"""The outbox: a folder a post, whole or not at all, one for ever, and everything in it that a person needs."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock
from config.errors import BadInput, DuplicateName
from config.settings import Settings
from memory.lease import Unleased
from tests.fakes.outbox_writers import parcels
from tests.fakes.publishing import MemoryRecords, Times, a_parcel, a_post, a_thread, allowed
from tools.publish.ledger import Ledger, Status
from tools.publish.outbox import OutboxPublisher, folder_name, slug
from tools.publish.outbox_files import pasted
from tools.publish.protocol import NothingSent, Parcel, Receipt, Rejection
from tools.publish.publishers import Publishers

ROOT = Path(__file__).parents[1]
FILES = {"post.txt", "post.md", "media-prompts.txt", "alt-text.txt", "manifest.json"}


@pytest.fixture
def outbox(tmp_path: Path) -> OutboxPublisher:
    return OutboxPublisher(tmp_path / "outbox")


async def write(outbox: OutboxPublisher, parcel: Parcel, *, timeout: timedelta = timedelta(seconds=5)) -> Receipt:
    return await outbox.finalize(parcel, part=0, handle="", reply_to="", timeout=timeout)


def folders(root: Path) -> list[Path]:
    """The post folders that a person sees."""
    return sorted(place for place in root.glob("*/[!.]*/*") if place.is_dir())


def assert_whole(place: Path) -> dict[str, Any]:
    """Every file of `place` is there with the content that its manifest promises; the manifest."""
    manifest: dict[str, Any] = json.loads((place / "manifest.json").read_bytes())
    assert {file.name for file in place.iterdir()} == FILES
    assert set(manifest["files"]) == FILES - {"manifest.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((place / name).read_bytes()).hexdigest() == digest
    return manifest


async def test_a_post_becomes_a_folder_that_sorts_by_week_and_day_and_reads_by_title(
    outbox: OutboxPublisher, tmp_path: Path
) -> None:
    parcel = a_parcel()
    receipt = await write(outbox, parcel)
    where = f"outbox/eesystem/2026-W50/day1-instagram-reel-calm-mornings-{parcel.pub_key[:12]}"
    assert receipt == Receipt(f"outbox-{parcel.pub_key[:12]}", where)
    assert folders(tmp_path / "outbox") == [tmp_path / where]
    assert_whole(tmp_path / where)


async def test_a_receipt_names_no_folder_of_this_machine(outbox: OutboxPublisher, tmp_path: Path) -> None:
    receipt = await write(outbox, a_parcel())
    assert str(tmp_path) not in receipt.url
    assert not receipt.url.startswith("/")
    assert (tmp_path / receipt.url).is_dir()


async def test_the_manifest_says_what_where_and_when_with_zone_and_hashes(
    outbox: OutboxPublisher, tmp_path: Path
) -> None:
    parcel = a_parcel(a_post(hashtags=("calm",)), sources=("doc-1",))
    manifest = assert_whole(tmp_path / (await write(outbox, parcel)).url)
    expected = {
        "pub_key": parcel.pub_key,
        "piece_id": parcel.piece_id,
        "content_hash": parcel.content_hash,
        "scheduled_at": "2026-12-07T18:30:00+01:00",
        "zone": "Europe/Berlin",
        "platform": "instagram",
        "account": "default",
        "sources": ["doc-1"],
    }
    assert {name: manifest[name] for name in expected} == expected
    assert manifest["fields"] == parcel.post.model_dump(mode="json")


async def test_everything_a_person_needs_is_on_the_page(outbox: OutboxPublisher, tmp_path: Path) -> None:
    post = a_post(
        script="Open on the sea.",
        slides=("One", "Two"),
        on_screen_text=("Breathe",),
        hashtags=("#calm",),
        first_comment="More in the link.",
        alt_text=("A wave",),
        media_prompts=("A slow wave at dawn",),
        media=("ab" * 32,),
    )
    place = tmp_path / (await write(outbox, a_parcel(post, sources=("handbook.md",)))).url
    page = (place / "post.md").read_text()
    for _, text in post.fields():
        assert f"> {text}" in page
    assert "Monday 2026-12-07 18:30 Europe/Berlin" in page
    assert "handbook.md" in page
    assert (place / "media-prompts.txt").read_text() == "1. A slow wave at dawn\n"
    assert (place / "alt-text.txt").read_text() == "1. A wave\n"


async def test_attached_media_are_named_by_where_they_are_when_the_operator_said_where(tmp_path: Path) -> None:
    post = a_post(media=("ab" * 32, "cd" * 32))
    places = [f"https://media.example/posts/{name}" for name in post.media]
    for base, urls in (("https://media.example/posts/", places), ("", [])):
        outbox = OutboxPublisher(tmp_path / f"outbox{len(base)}", media_base_url=base)
        place = tmp_path / (await write(outbox, a_parcel(post))).url
        assert json.loads((place / "manifest.json").read_text())["media_urls"] == urls
        assert ("> " + places[1] in (place / "post.md").read_text()) is bool(base)


async def test_text_cannot_forge_a_heading_on_the_page(outbox: OutboxPublisher, tmp_path: Path) -> None:
    post = a_post(title="A\n## Approved by Ana", caption="Hello\n## First comment\nBuy now")
    page = (tmp_path / (await write(outbox, a_parcel(post))).url / "post.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## Title", "## Caption"]


def test_the_text_file_holds_what_is_pasted() -> None:
    assert pasted(a_post(hashtags=("calm", "#sea"))) == "Breathe in.\n\n#calm #sea"
    assert pasted(a_thread(2)) == "1/2\npost 0\n\n2/2\npost 1"
    assert pasted(a_post(parts=("1/2 Hot?", "2/2 Warm."))) == "1/2 Hot?\n\n2/2 Warm."
    assert pasted(a_post(platform="youtube", title="T", caption="C")) == "T\n\nC"


async def test_a_thread_is_one_folder_and_one_part(outbox: OutboxPublisher, tmp_path: Path) -> None:
    parcel, clock = a_parcel(a_thread(6)), ManualClock()
    ledger = Ledger(MemoryRecords(), clock, Times(), boot_id="here")  # type: ignore[arg-type]
    done = await ledger.publish(parcel, outbox, guard=Unleased(), still_allowed=allowed)
    assert (outbox.parts(parcel.post), done.status, done.part_count) == (1, Status.PUBLISHED, 1)
    assert len(folders(tmp_path / "outbox")) == 1


async def test_writing_again_gives_the_first_receipt_even_when_title_and_time_moved(
    outbox: OutboxPublisher, tmp_path: Path
) -> None:
    parcel = a_parcel()
    first = await write(outbox, parcel)
    moved = replace(parcel, title="Other", cycle_key="2026-W51", cycle_day=3)
    assert await write(outbox, moved) == first
    assert len(folders(tmp_path / "outbox")) == 1


async def test_another_version_of_a_post_that_is_there_is_refused(outbox: OutboxPublisher, tmp_path: Path) -> None:
    receipt = await write(outbox, a_parcel())
    with pytest.raises(Rejection, match="another version"):
        await write(outbox, a_parcel(a_post(caption="Breathe out.")))
    assert (tmp_path / receipt.url / "post.txt").read_text() == "Breathe in.\n"


async def test_check_shows_what_is_there_and_nothing_else(outbox: OutboxPublisher, tmp_path: Path) -> None:
    parcel = a_parcel()
    assert await outbox.check(parcel, part=0, handle="") is None
    receipt = await write(outbox, parcel)
    assert await outbox.check(parcel, part=0, handle="") == receipt
    (tmp_path / receipt.url / "manifest.json").unlink()
    assert await outbox.check(parcel, part=0, handle="") == receipt


async def test_writers_at_the_same_time_make_one_folder(tmp_path: Path) -> None:
    versions = [a_parcel(title=title) for title in ("A", "B", "C", "D")]
    got = await asyncio.gather(*(write(OutboxPublisher(tmp_path / "outbox"), parcel) for parcel in versions))
    assert len(set(got)) == 1
    assert len(folders(tmp_path / "outbox")) == 1


async def test_an_outbox_that_somebody_holds_is_nothing_sent(outbox: OutboxPublisher, tmp_path: Path) -> None:
    brand = tmp_path / "outbox" / "eesystem"
    brand.mkdir(parents=True)
    held = os.open(brand / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(NothingSent):
        await write(outbox, a_parcel(), timeout=timedelta(milliseconds=50))
    os.close(held)
    assert folders(tmp_path / "outbox") == []
    await write(outbox, a_parcel())


async def test_a_disk_that_is_full_is_nothing_sent_and_leaves_no_folder(
    outbox: OutboxPublisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NothingSent, match="No space left"):
        await write(outbox, a_parcel())
    assert folders(tmp_path / "outbox") == []
    monkeypatch.setattr(os, "fsync", real)
    assert_whole(tmp_path / (await write(outbox, a_parcel())).url)


async def test_files_are_on_the_disk_before_the_folder_has_its_name(
    outbox: OutboxPublisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real_sync, real_rename = os.fsync, os.rename

    def sync(fd: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real_sync(fd)

    def rename(source: Any, target: Any) -> None:
        done.append("rename")
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", rename)
    parcel = a_parcel()
    await write(outbox, parcel)
    before, after = done[: done.index("rename")], done[done.index("rename") + 1 :]
    assert FILES | {f".building-{parcel.pub_key}"} <= set(before)
    assert after == ["2026-W50"]


@pytest.mark.parametrize("brand", ["../up", "A", "", "a/b"])
async def test_a_brand_cannot_lead_out_of_the_outbox(outbox: OutboxPublisher, tmp_path: Path, brand: str) -> None:
    with pytest.raises(BadInput):
        await write(outbox, a_parcel(brand=brand))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("odd", ["../../etc", "a/b", "\u202eevil", "日本語", "x" * 500, "..", ""])
async def test_odd_titles_weeks_and_platforms_stay_inside(outbox: OutboxPublisher, tmp_path: Path, odd: str) -> None:
    parcel = a_parcel(a_post(title=odd, platform=odd, content_type=odd), cycle_key=odd)
    place = (tmp_path / (await write(outbox, parcel)).url).resolve()
    assert place.parent.parent == tmp_path / "outbox" / "eesystem"
    assert len(folder_name(parcel)) < 200


def test_a_slug_is_cut_between_words() -> None:
    assert slug("Émile's  Morning — Ritual!") == "emile-s-morning-ritual"
    assert slug("one two three", limit=9) == "one-two"
    assert slug("日本") == ""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_and_racing_writers_leave_each_post_once_and_whole(tmp_path: Path, seed: int) -> None:
    posts = 25
    root = tmp_path / "outbox"
    command = [sys.executable, "-m", "tests.fakes.outbox_writers", str(root), str(posts), "20", str(seed)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    while process.returncode is None:
        for place in folders(root):
            assert_whole(place)
        await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=0.05)
    assert process.stdout is not None
    assert int(await process.stdout.read()) >= 4, "too few were killed at work"
    assert process.returncode == 0
    keys = [assert_whole(place)["pub_key"] for place in folders(root)]
    assert sorted(keys) == sorted(parcel.pub_key for parcel in parcels(posts))


async def test_publishers_are_found_by_name_and_plug_ins_add_theirs(tmp_path: Path) -> None:
    publishers, settings = Publishers(), Settings(data_dir=tmp_path / "data")
    async with publishers.open("outbox", settings, clock=ManualClock()) as outbox:
        assert (outbox.name, outbox.ready_ahead) == ("outbox", True)
    with pytest.raises(BadInput, match="did you mean 'outbox'"):
        publishers.open("outbx", settings, clock=ManualClock())
    with pytest.raises(DuplicateName):
        publishers.register("outbox", "x:y")
    publishers.register("linkedin", "tools.publish.simulator:open_simulator_publisher")
    async with publishers.open("linkedin", settings, clock=ManualClock()) as opened:
        assert opened.name == "simulator"
