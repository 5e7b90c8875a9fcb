"""What an agent is given, and what agents hand to each other. All hand-overs are frozen and plain JSON."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from config.brand_profile import BrandProfile
from config.clock import Clock
from config.errors import Unavailable
from config.ids import name_id
from config.vocabulary import AgentType
from memory.embedding.protocol import Embedder
from memory.records.protocol import Records
from memory.rows.agents import AgentMemory
from memory.rows.content import Post
from tools.calls import READ_ONLY, Toolbox
from tools.plugin_api import Effect
from tools.registry import ToolSet, shipped_tools

if TYPE_CHECKING:
    from agents.chat_models import Models


@dataclass(frozen=True)
class AgentContext:
    """Everything an agent may touch, for one session and, where it works on one, one piece."""

    records: Records
    embedder: Embedder
    models: Models
    profile: BrandProfile
    clock: Clock
    session_id: str
    piece_id: str = ""
    tools: ToolSet | None = None
    """What may be called; None: what comes with the product and its plug-ins."""

    def toolbox(self, agent: AgentType, *, effects: Collection[Effect] = READ_ONLY) -> Toolbox:
        """The tools of one step of `agent`, opened for `effects` at most; `async with` records what was called."""
        return Toolbox(
            shipped_tools() if self.tools is None else self.tools,
            agent=agent,
            records=self.records,
            embedder=self.embedder,
            profile=self.profile,
            clock=self.clock,
            session_id=self.session_id,
            piece_id=self.piece_id,
            effects=effects,
        )


class _HandOver(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fact(_HandOver):
    """One sentence of the brand's knowledge, word for word, and where it stands."""

    text: str
    source_id: str
    """The brand_knowledge id of the chunk that holds it."""
    source_title: str


class DayPlan(_HandOver):
    """What one day of the week is about; 1 is Monday."""

    day: int = Field(ge=1, le=7)
    title: str
    angle: str = ""
    keywords: tuple[str, ...] = ()


class Brief(_HandOver):
    """What research hands to creation for one day."""

    id: str
    session_id: str
    cycle_key: str
    day: int
    theme: str
    title: str
    angle: str = ""
    facts: tuple[Fact, ...] = ()
    keywords: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    """What the brand's knowledge lacks for this day, named."""
    avoided: tuple[str, ...] = ()
    """Sentences that were left out on purpose, each with its reason behind a colon."""
    turn: int = 0
    """Of a piece's share: which piece of the week it is for, from 0, so that no two take the same line of the brand's."""


class Draft(_HandOver):
    """What creation proposes. Gaps and a bare post: knowledge was missing, and nothing was invented."""

    post: Post
    sources: tuple[str, ...] = ()
    citations: dict[str, str] = Field(default_factory=dict)
    """Sentence -> id of the source that holds it."""
    gaps: tuple[str, ...] = ()
    mode: str = "template"
    """`template` or `model`."""
    template_id: str = ""


async def remember(ctx: AgentContext, agent: AgentType, key: str, content: str, *, sources: Sequence[str] = ()) -> None:
    """Write what `agent` used and made as an episodic memory. The same `key` rewrites it, so a step may run twice.

    An embedder that is away costs the note its vector, not the step its work: it is found by words then.
    """
    now, content = ctx.clock.now(), content[:2000]
    memory_id = name_id(ctx.records.brand, agent, "episodic", key)
    before = await ctx.records.find(AgentMemory, id=memory_id)
    if before is not None and (before.memory_content, before.embedder_id) == (content, ctx.embedder.id):
        embedding = before.embedding
    else:
        try:
            [embedding] = map(tuple, await ctx.embedder.embed_documents([content]))
        except Unavailable:
            embedding = ()
    await ctx.records.put(
        AgentMemory(
            brand=ctx.records.brand,
            id=memory_id,
            agent_type=agent,
            memory_type="episodic",
            memory_key=key,
            memory_content=content,
            embedding=embedding,
            embedder_id=ctx.embedder.id if embedding else "",
            context_data={"session": ctx.session_id, "trust": "brand", "source": " ".join(sources)[:1000]},
            created_at=before.created_at if before else now,
            updated_at=now,
            row_version=before.row_version if before else 0,
        )
    )
