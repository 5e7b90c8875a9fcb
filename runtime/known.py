"""What the brand knows about a day, before a week is spent on it: sentences that its posts could still use."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from agents.extract import GENERIC, OWN_KEYWORDS, quotable, strays
from agents.sentences import stems
from config.brand_profile import BrandProfile, DayTheme, Theme
from config.errors import Unsupported
from config.vocabulary import Severity
from graphs.used import coming, used_lately
from memory.graph_store import MemoryStore
from memory.knowledge import search
from memory.records.protocol import Records
from memory.rows.brand import BrandKnowledge
from runtime.compose import Runtime
from tools.checks.engine import lint_text


@dataclass(frozen=True)
class Known:
    """Sentences about a day: those that a post can use, and those that it cannot."""

    usable: frozenset[str]
    said: int
    """Of the last four weeks, or of posts that wait."""
    refused: int
    """A rule finds something critical in them."""


def embeds_free(runtime: Runtime) -> bool:
    """Whether searching by meaning costs nothing."""
    return not runtime.settings.embedder.startswith("openai:")


async def said_lately(runtime: Runtime, records: Records, *, cycle_key: str, session_id: str) -> frozenset[str]:
    """The sentences that research will leave out of that week; those of the session itself are not among what waits."""
    store = MemoryStore(records, runtime.embedder, clock=runtime.clock)
    used = await used_lately(store, runtime.clock.now())
    return used | await coming(records, cycle_key=cycle_key, session_id=session_id)


async def known_about(
    runtime: Runtime,
    records: Records,
    theme: Theme,
    day: DayTheme | None,
    *,
    profile: BrandProfile,
    said: Collection[str],
) -> Known:
    """The sentences about `day`, or about the theme where it names no day, that can be quoted.

    An embedder that costs money is not asked.
    """
    # What research itself finds is judged when it runs, this only warns before: by the words that it goes by.
    asked = " ".join((day.title, day.angle, *day.keywords) if day else (theme.title, *theme.keywords))
    week = stems(" ".join((theme.title, *theme.keywords))) - GENERIC
    own = stems(" ".join((day.keywords or (day.title,))[:OWN_KEYWORDS])) - GENERIC if day else week or stems(asked)
    only = {"knowledge_type": "document", "status": "active"}
    if embeds_free(runtime):
        texts = [(hit.source, hit.text) for hit in await search(records, runtime.embedder, asked, 12)]
    else:
        try:
            found = await records.search_text(BrandKnowledge, asked, limit=12, **only)
            rows = [scored.row for scored in found]
        except Unsupported:
            rows = [row for row in await records.find_by(BrandKnowledge, brand=records.brand) if row.chunk]
        texts = [(row.source_id, row.content) for row in rows]
    sentences = quotable({"id": "", "source": page, "text": text} for page, text in texts)
    about = {one.text for one in set(sentences) - strays(sentences, own, week)}
    again = {sentence for sentence in about if sentence in said}
    refused = {sentence for sentence in about - again if _refused(sentence, profile)}
    return Known(frozenset(about - again - refused), len(again), len(refused))


def _refused(sentence: str, profile: BrandProfile) -> bool:
    found = lint_text(sentence, profile=profile, packs=profile.packs)
    return any(finding.severity is Severity.CRITICAL for finding in found)
