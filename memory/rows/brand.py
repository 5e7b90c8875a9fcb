"""What a brand is, knows and demands."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from config.vocabulary import Severity, Trust
from memory.rows.row import Instant, Key, Row, Slug, Text, Vector

REALM = "all"
"""The one partition of the list over brands."""


class Brand(Row):
    """The one list over brands. `brand` equals `name`."""

    table = "brands"
    key = Key(("realm",), ("name",))
    realm: Text = REALM
    name: Slug
    title: Text
    zone: Text
    first_cycle_key: Text = ""
    """ISO week (2026-W50) from which `cycle_week` counts; empty until the first cycle."""
    profile_hash: Text = ""
    """Content hash of the brand's folder as last loaded."""
    created_at: Instant
    updated_at: Instant


class BrandKnowledge(Row):
    """One thing the brand knows: an approved claim, or a chunk of a document (knowledge_type 'document')."""

    table = "brand_knowledge"
    key = Key(("id",))
    indexes = ("brand", "knowledge_type", "category", "status")
    vector: ClassVar[str | None] = "embedding"
    searched_text = ("title", "content")
    id: Text
    knowledge_type: Text
    """guideline, voice, visual, claim, compliance, or document."""
    title: Text
    content: Text
    embedding: Vector = ()
    embedder_id: Text = ""
    relevance_score: float = Field(default=1.0, ge=0, le=1)
    category: Text = ""
    status: Text = "active"
    version: int = 1
    source_id: Text = ""
    """Name of the knowledge source that this chunk was cut from; empty for claims."""
    chunk: int = 0
    trust: Trust = Trust.BRAND
    created_at: Instant
    updated_at: Instant


class KnowledgeSource(Row):
    """A document that was added: its name within the brand, its bytes' hash, its present version and chunk count."""

    table = "knowledge_sources"
    key = Key(("brand",), ("name",))
    name: Text
    id: Text
    title: Text
    path: Text
    """As the operator gave it, or that it came out of the brand's folder; for people, never opened again."""
    sha256: Text
    version: int
    chunks: int
    status: Text
    """active, revoked by the operator, or removed from the brand's folder."""
    attribution: Text = ""
    """The source line found in the document, if any."""
    created_at: Instant
    updated_at: Instant


class BrandGuideline(Row):
    """One demand of the brand, loaded from its folder."""

    table = "brand_guidelines"
    key = Key(("id",))
    indexes = ("brand", "guideline_type")
    id: Text
    guideline_type: Text
    """voice, visual, messaging or claims."""
    category: Text = ""
    title: Text
    description: Text = ""
    requirements: tuple[Text, ...] = ()
    restrictions: tuple[Text, ...] = ()
    examples: Text = ""
    severity_level: Severity = Severity.PREFERRED
    platforms: tuple[Text, ...] = ()
    """Empty: all platforms."""
    created_at: Instant
    updated_at: Instant


class Control(Row):
    """A flag that humans alone write: 'pause' of publishing, 'cancel:SESSION', 'budget'."""

    table = "controls"
    key = Key(("brand",), ("name",))
    name: Text
    value: Text
    by: Text = ""
    reason: Text = ""
    updated_at: Instant
