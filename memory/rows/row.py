"""What every row is: frozen, strict about text and time, and told where it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from config.clock import as_utc_millis


def clean_text(text: str) -> str:
    """`text` unchanged if every engine can store it; ValueError for NUL and lone surrogates, which some stores change silently."""
    if "\x00" in text:
        raise ValueError("text holds a NUL character: remove it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("text holds a lone surrogate: it is not valid Unicode") from None
    return text


Text = Annotated[str, AfterValidator(clean_text)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Instant = Annotated[AwareDatetime, AfterValidator(as_utc_millis)]
Vector = Annotated[tuple[float, ...], Field(repr=False)]
"""A unit-length embedding; stored as float32. Empty: the row has none and no vector search finds it."""


@dataclass(frozen=True)
class Key:
    """A primary key: `partition` columns, then `cluster` columns in their stored order."""

    partition: tuple[str, ...]
    cluster: tuple[str, ...] = ()
    descending: bool = False
    """True when the partition is read from the greatest cluster key down."""

    @property
    def columns(self) -> tuple[str, ...]:
        return self.partition + self.cluster


class Row(BaseModel):
    """One row of one table. Every row belongs to a brand; `row_version` counts its writes, for people and caches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: ClassVar[str]
    key: ClassVar[Key]
    indexes: ClassVar[tuple[str, ...]] = ()
    """Columns that `find_by` may filter on, one index each."""
    vector: ClassVar[str | None] = None
    """The column that `search` compares."""
    searched_text: ClassVar[tuple[str, ...]] = ()
    """The columns that `search_text` reads, where the engine can."""

    brand: Slug
    row_version: int = 0

    def key_values(self) -> tuple[Any, ...]:
        """The values of the primary key, in its order."""
        return tuple(getattr(self, column) for column in self.key.columns)
