"""The outbox: a publisher that lays each post into a folder of its own, ready for a person to post by hand."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shutil
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from config.clock import Clock
from config.ids import parse_slug
from config.settings import Settings
from memory.rows.content import Post
from tools.publish.outbox_files import render
from tools.publish.protocol import NothingSent, Parcel, Receipt, Rejection

_LOCK_POLL = timedelta(milliseconds=20)
_SHORT = 12


class OutboxPublisher:
    """Writes `FOLDER/BRAND/CYCLE/DAY-PLATFORM-TYPE-TITLE-ID/`, whole or not at all, one folder a publication for ever.

    A thread is one folder. The receipt's `url` is the path from the folder that holds the outbox, never that of a
    machine. Files are on the disk before the folder appears under its name, and its name is on the disk before
    `finalize` returns.
    """

    name = "outbox"
    ready_ahead = True

    def __init__(self, folder: Path, *, media_base_url: str = "") -> None:
        self._folder = folder
        self._media_base_url = media_base_url

    def parts(self, post: Post) -> int:
        return 1

    async def prepare(self, parcel: Parcel, *, attempt: int) -> str:
        """Nothing to prepare: always ''."""
        return ""

    async def finalize(self, parcel: Parcel, *, part: int, handle: str, reply_to: str, timeout: timedelta) -> Receipt:
        """Write the folder; if it is there, its receipt.

        Raises Rejection when it is there with other content (a person has those bytes already), and NothingSent when
        it could not be written: disk full, no permission, or another process holds the brand's outbox for longer than
        `timeout`.
        """
        brand = self._folder / parse_slug(parcel.brand, what="brand")
        try:
            brand.mkdir(parents=True, exist_ok=True)
            lock = os.open(brand / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise NothingSent(f"the outbox cannot be written: {error.strerror}") from error
        try:
            await _locked(lock, timeout)
        except BaseException:
            os.close(lock)
            raise
        # From here the thread owns the lock, and lets go of it even when nobody waits for the answer any more.
        return await asyncio.to_thread(self._write, brand, lock, parcel)

    async def check(self, parcel: Parcel, *, part: int, handle: str) -> Receipt | None:
        """The receipt if the publication's folder is there."""
        brand = self._folder / parse_slug(parcel.brand, what="brand")
        found = await asyncio.to_thread(_find, brand, parcel.pub_key)
        return self._receipt(found, parcel) if found else None

    def _write(self, brand: Path, lock: int, parcel: Parcel) -> Receipt:
        try:
            there = _find(brand, parcel.pub_key)
            if there is not None:
                if _manifest(there).get("content_hash") != parcel.content_hash:
                    where = self._receipt(there, parcel).url
                    raise Rejection(
                        "already_there", f"{where} holds another version of this post: `piece copy` makes a new one"
                    )
                return self._receipt(there, parcel)
            place = brand / _week(parcel) / folder_name(parcel)
            building = brand / f".building-{parcel.pub_key}"
            try:
                self._build(building, place, render(parcel, media_base_url=self._media_base_url))
            except OSError as error:
                raise NothingSent(f"the outbox cannot be written: {error.strerror}") from error
            os.rename(building, place)
            _sync_folder(place.parent)
            return self._receipt(place, parcel)
        finally:
            os.close(lock)

    def _build(self, building: Path, place: Path, files: dict[str, bytes]) -> None:
        # What a killed process left behind; the lock says that nobody is at it now.
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        for name, content in files.items():
            with (building / name).open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _sync_folder(building)
        place.parent.mkdir(exist_ok=True)
        for folder in (place.parent.parent, self._folder, self._folder.parent):
            _sync_folder(folder)

    def _receipt(self, place: Path, parcel: Parcel) -> Receipt:
        return Receipt(f"outbox-{parcel.pub_key[:_SHORT]}", place.relative_to(self._folder.parent).as_posix())


def folder_name(parcel: Parcel) -> str:
    """`day1-instagram-reel-calm-mornings-3f2a90c1d5e7`: sorts by day, reads by title, ends in the start of the
    pub_key.
    """
    day = f"day{parcel.cycle_day}" if parcel.cycle_day else f"{local_time(parcel):%H%M}"
    title = slug(parcel.title or parcel.post.title) or "untitled"
    return "-".join((day, slug(parcel.post.platform), slug(parcel.post.content_type), title, parcel.pub_key[:_SHORT]))


def local_time(parcel: Parcel) -> datetime:
    """When it is to be posted, on the brand's wall clock."""
    return parcel.scheduled_at.astimezone(ZoneInfo(parcel.zone))


def slug(text: str, *, limit: int = 40) -> str:
    """`text` as a-z, 0-9 and '-', at most `limit` characters, cut between words where it can be; may be empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if len(words) > limit:
        words = words[: limit + 1].rpartition("-")[0] or words[:limit]
    return words


@asynccontextmanager
async def open_outbox_publisher(settings: Settings, *, clock: Clock) -> AsyncIterator[OutboxPublisher]:
    """The outbox of the data directory; its folder is made when the first post is written."""
    yield OutboxPublisher(settings.outbox, media_base_url=settings.media_base_url)


def _week(parcel: Parcel) -> str:
    key = parcel.cycle_key
    return key if re.fullmatch(r"[0-9]{4}-W[0-9]{2}", key) else slug(key) or f"{local_time(parcel):%Y-%m-%d}"


def _find(brand: Path, pub_key: str) -> Path | None:
    for place in brand.glob(f"[!.]*/*-{pub_key[:_SHORT]}"):
        # A folder whose manifest a person took away still tells by its name whose it is.
        if _manifest(place).get("pub_key", pub_key) == pub_key:
            return place
    return None


def _manifest(place: Path) -> dict[str, object]:
    try:
        manifest = json.loads((place / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


async def _locked(lock: int, timeout: timedelta) -> None:
    for _ in range(max(1, timeout // _LOCK_POLL)):
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(_LOCK_POLL.total_seconds())
    raise NothingSent("another process holds this brand's outbox")


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
