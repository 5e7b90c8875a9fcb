"""What is made: the outgoing post and the rows around it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from config.vocabulary import PieceState
from memory.rows.row import Instant, Key, Row, Text, Vector


class Post(BaseModel):
    """Everything that goes out, and nothing else. Its hash is what a human approves and what publishing sends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    platform: Text
    content_type: Text
    title: Text = ""
    caption: Text = ""
    script: Text = ""
    slides: tuple[Text, ...] = ()
    parts: tuple[Text, ...] = ()
    """The posts of a thread, in order; each is sent by a call of its own."""
    on_screen_text: tuple[Text, ...] = ()
    hashtags: tuple[Text, ...] = ()
    alt_text: tuple[Text, ...] = ()
    first_comment: Text = ""
    media_prompts: tuple[Text, ...] = ()
    media: tuple[Text, ...] = ()
    """sha256 of each attached file, in order."""

    def fields(self) -> Iterator[tuple[str, str]]:
        """Every outgoing text with its name: ('caption', ...), ('slides[0]', ...). What compliance scans."""
        for name in ("title", "caption", "script", "first_comment"):
            if text := getattr(self, name):
                yield name, text
        for name in ("slides", "parts", "on_screen_text", "hashtags", "alt_text", "media_prompts"):
            for n, text in enumerate(getattr(self, name)):
                yield f"{name}[{n}]", text

    def canonical(self) -> bytes:
        """The bytes that are hashed: JSON with sorted keys and no spaces, UTF-8."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":")
        ).encode()

    @property
    def content_hash(self) -> str:
        """sha256 of `canonical`, as hex."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def part_count(self) -> int:
        """How many irreversible calls publishing needs: one, or one a part of a thread."""
        return max(1, len(self.parts))

    def bare_parts(self) -> list[str]:
        """The parts without their own number ("2/5 ") in front; "1/2 cup of water" in a thread of five stays as it is."""
        total = len(self.parts)
        return [re.sub(rf"^\s*{n}/{total}[.:)]?\s+", "", part) for n, part in enumerate(self.parts, 1)]


class Piece(Row):
    """One piece of content: a projection over its revisions, checks and ledger. `id` is the uuid5 of slot, plan and copy."""

    table = "content_library"
    key = Key(("id",))
    indexes = ("brand", "state", "content_type")
    id: Text
    title: Text = ""
    description: Text = ""
    content_type: Text
    platform: Text
    platform_specs: dict[str, str] = Field(default_factory=dict)
    script_content: Text = ""
    media_prompts: Text = ""
    compliance_notes: Text = ""
    performance_metrics: dict[str, float] = Field(default_factory=dict)
    status: Text = "draft"
    state: PieceState = PieceState.PLANNED
    reason: Text = ""
    """Why it is in this state, when that is not the good case: one line for a human."""
    session_id: Text
    cycle_key: Text = ""
    cycle_day: int = Field(default=0, ge=0, le=7)
    theme: Text = ""
    plan: int = 1
    copy_n: int = 0
    """0, or which deliberate copy this is (`piece copy`)."""
    brief_id: Text = ""
    run: int = 1
    """Which run of the piece graph this is; each edit starts the next. Thread id = piece id + run."""
    content_hash: Text = ""
    """Hash of the present revision."""
    content_version: int = 0
    """Counts edits of outgoing bytes."""
    sealed_hash: Text = ""
    """The content hash a decision approved; empty until then."""
    media: tuple[Text, ...] = ()
    mode: Text = ""
    """`template` or `model`: who wrote it."""
    retry_at: Instant | None = None
    attempts: int = 0
    deaths: int = 0
    dead_letter: Text = ""
    """Why its work was given up; empty while it was not."""
    created_at: Instant
    updated_at: Instant
    published_at: Instant | None = None

    @property
    def thread_id(self) -> str:
        """The thread of its graph in the checkpoint store."""
        return f"{self.id}.{self.run}"


class Revision(Row):
    """One version of a piece's outgoing bytes, never overwritten."""

    table = "content_revisions"
    key = Key(("content_id",), ("content_hash",))
    content_id: Text
    content_hash: Text
    post: Post
    sources: tuple[Text, ...] = ()
    """brand_knowledge ids whose text the post rests on."""
    citations: dict[str, str] = Field(default_factory=dict)
    """Sentence -> the id of the source that holds it."""
    gaps: tuple[Text, ...] = ()
    """What knowledge was missing, named; never filled with invention."""
    mode: Text = ""
    author: Text
    """`creation`, or the name of the human who edited it."""
    run: int = 1
    revision: int = 0
    """0 for the draft, then one for each compliance revision."""
    template_id: Text = ""
    created_at: Instant


class ContentEmbedding(Row):
    """The vector of a settled piece, for near-duplicate search. `id` is the piece id."""

    table = "content_embeddings"
    key = Key(("id",))
    indexes = ("brand", "content_type", "platform", "compliance_status")
    vector: ClassVar[str | None] = "embedding"
    id: Text
    content_type: Text
    platform: Text
    content_text: Text
    embedding: Vector = ()
    embedder_id: Text = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    brand_alignment_score: float = Field(default=0.0, ge=0, le=1)
    compliance_status: Text = "pending"
    created_at: Instant
    updated_at: Instant


class ContentTemplate(Row):
    """A template of the brand, loaded from its folder."""

    table = "content_templates"
    key = Key(("id",))
    indexes = ("brand", "content_type", "platform")
    id: Text
    template_name: Text
    content_type: Text
    platform: Text
    """A platform, or `any`."""
    template_structure: Text
    """JSON: the post's fields as lists of lines with {placeholders}."""
    script_template: Text = ""
    media_template: Text = ""
    compliance_requirements: tuple[Text, ...] = ()
    usage_count: int = 0
    performance_score: float = 0.0
    created_at: Instant
    updated_at: Instant


class Metric(Row):
    """One reading of a published piece's numbers."""

    table = "metrics"
    key = Key(("content_id",), ("id",), descending=True)
    content_id: Text
    id: Text
    platform: Text
    values: dict[str, float] = Field(default_factory=dict)
    created_at: Instant
