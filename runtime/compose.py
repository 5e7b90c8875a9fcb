"""The only composition root: settings in, an open Runtime out."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.agent import AgentContext
from agents.chat_models import Models, check_model
from agents.spending import Spending
from config.brand_profile import BrandProfile, find_brand_folder, load_brand
from config.clock import Clock, SystemClock
from config.errors import BadInput, BrokenBrand
from config.ids import new_token
from config.log import register_secrets
from config.settings import Settings
from graphs.context import GraphContext, Live
from memory.brands import add_shipped_documents, load_brand_rows
from memory.cache.protocol import CacheStore, open_cache
from memory.checkpoints.protocol import Checkpoints, open_checkpoints
from memory.embedding.protocol import Embedder, open_embedder
from memory.events.protocol import EventStore, open_events
from memory.lease import LeaseGuard
from memory.live import Teller, live_records
from memory.queue.owner import current_owner
from memory.queue.protocol import Owner, TaskQueue, open_queue
from memory.records.protocol import Records, RecordsStore, open_records
from memory.rows.brand import Brand
from memory.user_sessions import UserSessionsStore, open_user_sessions
from tools.publish.ledger import Ledger
from tools.publish.protocol import Publisher
from tools.publish.publishers import Publishers

if TYPE_CHECKING:
    from langgraph.pregel import Pregel


@dataclass
class Runtime:
    """Everything that a worker or a command needs, open."""

    settings: Settings
    clock: Clock
    records: RecordsStore
    queue: TaskQueue
    cache: CacheStore
    events: EventStore
    teller: Teller
    checkpoints: Checkpoints
    user_sessions: UserSessionsStore
    embedder: Embedder
    owner: Owner
    publishers: dict[str, Publisher] = field(default_factory=dict)
    _older: dict[tuple[str, int], Pregel[Any, Any, Any, Any]] = field(default_factory=dict)
    _profiles: dict[Path, tuple[Any, BrandProfile]] = field(default_factory=dict)

    @cached_property
    def graphs(self) -> dict[str, Pregel[Any, Any, Any, Any]]:
        """The compiled graphs, by name; the saver is put in for each task."""
        from graphs.cycle import build_cycle_graph
        from graphs.piece import build_piece_graph

        timeout = self.settings.node_timeout
        return {
            "cycle": build_cycle_graph(node_timeout=timeout).compile(name="cycle"),
            "piece": build_piece_graph(node_timeout=timeout).compile(name="piece"),
        }

    def older_graph(self, name: str, version: int) -> Pregel[Any, Any, Any, Any] | None:
        """The compiled alias that goes on with threads of an older version; None when this build has none."""
        from graphs.versions import ALIASES

        build = ALIASES[name].get(version)
        if build is None:
            return None
        if (name, version) not in self._older:
            self._older[name, version] = build(node_timeout=self.settings.node_timeout).compile(name=name)
        return self._older[name, version]

    @property
    def brands_dir(self) -> Path:
        """Where the operator's own brands live: beside the data directory."""
        return self.settings.data_dir.absolute() / "brands"

    def brand_folder(self, brand: str) -> Path:
        """The folder of a brand. Raises NotFound."""
        return find_brand_folder(brand, self.brands_dir)

    def profile(self, brand: str) -> BrandProfile:
        """The brand's profile as its folder says now; parsed again only when a file changed. Raises BrokenBrand."""
        folder = self.brand_folder(brand)
        stamp = sorted((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in folder.glob("*.toml"))
        cached = self._profiles.get(folder)
        if cached is None or cached[0] != stamp:
            try:
                cached = self._profiles[folder] = (stamp, load_brand(folder))
            except BadInput as error:
                raise BrokenBrand(str(error)) from None
        return cached[1]

    async def ensure_brand(self, brand: str) -> Brand:
        """The brand's row, its guideline, claim and template rows and its shipped documents, loaded by content hash."""
        records = self.records.for_brand(brand)
        folder = self.brand_folder(brand)
        row = await load_brand_rows(records, self.profile(brand), folder, embedder=self.embedder, clock=self.clock)
        # Every time: idempotent by content hash, and a process that died in between must not leave a brand that knows nothing.
        await add_shipped_documents(records, self.embedder, self.clock, folder)
        return row

    def models(self, records: Records) -> Models:
        """The model layer whose spending is booked on this brand."""
        cache = self.cache.for_brand(records.brand)
        return Models(self.settings, Spending(records, cache, self.settings, self.clock), self.clock)

    def graph_context(self, brand: str, *, guard: LeaseGuard, session_id: str, piece_id: str = "") -> GraphContext:
        """The services of one task, every write bound to its lease."""
        records = self.records.for_brand(brand, lease=guard)
        profile = self.profile(brand)
        agent = AgentContext(
            records=records,
            embedder=self.embedder,
            models=self.models(records),
            profile=profile,
            clock=self.clock,
            session_id=session_id,
            piece_id=piece_id,
        )
        return GraphContext(
            records=records,
            agent=agent,
            embedder=self.embedder,
            profile=profile,
            settings=self.settings,
            clock=self.clock,
            guard=guard,
            enqueue=self.queue.enqueue,
            session_id=session_id,
            piece_id=piece_id,
            live=Live(self.cache.for_brand(brand), self.events.for_brand(brand), self.teller),
            variants=self.user_sessions.for_brand(brand),
        )

    def ledger(self, brand: str) -> Ledger:
        """The brand's publication ledger. Bound to no lease: the outcome of a call that was made must be written anyway."""
        return Ledger(self.records.for_brand(brand), self.clock, self.settings, boot_id=self.owner.boot_id)

    def publisher(self, platform: str) -> Publisher:
        """Who sends for this platform: the outbox, unless another publisher was put in."""
        return self.publishers.get(platform) or self.publishers["outbox"]


@asynccontextmanager
async def open_runtime(
    settings: Settings, *, clock: Clock | None = None, publishers: dict[str, Publisher] | None = None
) -> AsyncIterator[Runtime]:
    """Open every store that `settings` name and close them in reverse.

    Raises UsageError or Damaged before anything runs when a store or the model cannot be used.
    """
    clock = clock or SystemClock()
    register_secrets(
        v for v in (settings.openai_api_key.get_secret_value(), settings.astra_token.get_secret_value()) if v
    )
    check_model(settings)
    # Tracing would send prompts to a third party: it is on only when the operator says so.
    os.environ.setdefault("LANGSMITH_TRACING", "false")
    async with AsyncExitStack() as stack:
        outbox = await stack.enter_async_context(Publishers().open("outbox", settings, clock=clock))
        embedder = open_embedder(settings.embedder, settings=settings, clock=clock)
        records = await stack.enter_async_context(
            open_records(settings.records_url, clock=clock, astra_token=settings.astra_token.get_secret_value())
        )
        cache = await stack.enter_async_context(open_cache(settings.cache_url, clock=clock))
        events = await stack.enter_async_context(open_events(settings.cache_url, clock=clock))
        teller = Teller(clock)
        yield Runtime(
            settings=settings,
            clock=clock,
            records=live_records(records, teller=teller, events=events, cache=cache),
            queue=await stack.enter_async_context(
                open_queue(settings.queue_url, clock=clock, max_length=settings.max_queue)
            ),
            cache=cache,
            events=events,
            teller=teller,
            checkpoints=await stack.enter_async_context(
                open_checkpoints(
                    settings.checkpoints_url, clock=clock, astra_token=settings.astra_token.get_secret_value()
                )
            ),
            user_sessions=await stack.enter_async_context(open_user_sessions(settings.session_db, clock=clock)),
            embedder=embedder,
            owner=current_owner(f"{os.path.basename(sys.argv[0])[:20]}-{new_token()[:8]}"),
            publishers={"outbox": outbox, **(publishers or {})},
        )
