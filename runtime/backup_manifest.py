"""What a backup says it holds, and proving that it does."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from config.errors import Damaged, NotFound
from memory.sqlite_errors import translated

MANIFEST = "manifest.json"
FORMAT = 1
Report = Callable[[str], None]
NAMES = ("queue.db", "checkpoints.db", "session.db", "records.db", "ledger.db")
"""In the order in which they are frozen and copied."""


class StoredFile(BaseModel):
    """What the manifest says of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    linked: bool = False
    """Whether it was the same, byte for byte, in the backup before and is a hard link to that one."""


class StoredDatabase(StoredFile):
    """... of a database: its schema version, and the rows of each table."""

    schema_version: int
    rows: dict[str, int]


class Manifest(BaseModel):
    """What a backup holds. Written last; a folder without it is not a backup."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    made_at: AwareDatetime
    """The instant whose state the databases hold."""
    databases: dict[str, StoredDatabase]
    brands: dict[str, StoredFile]
    """The operator's own brands, by path below `brands/`."""
    outbox: dict[str, str]
    """The posts that lay in the outbox, each folder with the sha256 of its manifest. Listed, not copied."""
    elsewhere: dict[str, str]
    """Stores that are no file of this machine, with their addresses: not in this backup."""
    skipped: list[str]
    """What lay in `brands/` and was not copied, because it is a link or no regular file."""

    def files(self) -> Iterator[tuple[str, StoredFile]]:
        """Every file of the backup with its path in it, the databases first; the manifest itself is not among them."""
        yield from self.databases.items()
        for name, stored in self.brands.items():
            yield f"brands/{name}", stored

    @field_validator("format")
    @classmethod
    def _known(cls, value: int) -> int:
        if value != FORMAT:
            raise ValueError(f"format {value} is not known to this Copydesk, which reads {FORMAT}")
        return value

    @field_validator("databases")
    @classmethod
    def _ours(cls, value: dict[str, StoredDatabase]) -> dict[str, StoredDatabase]:
        if unknown := sorted(set(value) - set(NAMES)):
            raise ValueError(f"it names a database {unknown[0]!r}")
        return value

    @field_validator("brands")
    @classmethod
    def _below(cls, value: dict[str, StoredFile]) -> dict[str, StoredFile]:
        for name in value:
            if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\x00" in name:
                raise ValueError(f"it names a file {name!r} outside of brands/")
        return value


def folder_name(instant: datetime) -> str:
    """The name of a folder for what was put there at `instant`; those made later sort later, to the millisecond."""
    return f"{instant:%Y%m%dT%H%M%S}.{instant.microsecond // 1000:03d}Z"


def sha256_of(path: Path) -> str:
    """The sha256 of a file that no database connection of this process has open."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def examine(path: Path) -> tuple[int, dict[str, int]]:
    """The schema version and rows of each table of a database that nobody writes. Raises Damaged unless it is whole."""
    with translated(path), closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as db:
        db.execute("PRAGMA trusted_schema = OFF")
        found = [text for (text,) in db.execute("PRAGMA integrity_check(1)")]
        if found != ["ok"]:
            raise Damaged(f"{path}: damaged ({' '.join(found[0].split())[:200]}): use another backup")
        names = db.execute(
            # Virtual tables are counted by the ordinary ones that they keep their rows in.
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
        ).fetchall()
        rows = {name: db.execute('SELECT count(*) FROM "{}"'.format(name)).fetchone()[0] for (name,) in names}  # noqa: UP032
        return db.execute("PRAGMA user_version").fetchone()[0], rows


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup. Raises NotFound where there is none, Damaged when it cannot be read."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{folder} is not a backup: it has no {MANIFEST}; `backup` makes one and prints where") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Damaged(f"{folder / MANIFEST} cannot be read ({error}): use another backup") from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise Damaged(f"{folder / MANIFEST} cannot be read ({place}: {first['msg']}): use another backup") from None


def verify(folder: Path, *, report: Report) -> Manifest:
    """Read every file of a backup and compare it with its manifest, which is returned.

    Raises NotFound, and Damaged naming the first file that is missing, changed or not whole.
    """
    manifest = read_manifest(folder)
    for name, stored in manifest.files():
        path = folder / name
        check_copy(path, stored)
        if isinstance(stored, StoredDatabase):
            found = examine(path)
            if found != (stored.schema_version, stored.rows):
                raise Damaged(f"{path} does not hold the rows that its manifest counts: use another backup")
            report(f"{name}: whole, {sum(stored.rows.values()):,} rows")
    return manifest


def check_copy(path: Path, stored: StoredFile) -> None:
    """Raises Damaged unless the file at `path` is, byte for byte, the one that was stored."""
    try:
        size, digest = path.lstat().st_size, "" if path.is_symlink() else sha256_of(path)
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror}): use another backup") from error
    if (size, digest) != (stored.size, stored.sha256):
        raise Damaged(f"{path} is not what was backed up (size or sha256 differs): use another backup")
