"""What tests of graphs and of human decisions are built from: an open Runtime on a folder, a small brand, a scripted model,
and a worker that runs in the test's own process, one task at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from agents.agent import Brief, Fact
from agents.answers import BriefAnswer, CheckAnswer, PostAnswer
from agents.chat_models import Answer, Models
from agents.spending import Spending, Tokens
from config.calendar import DAYS
from config.clock import ManualClock
from config.settings import Settings
from config.vocabulary import AgentType, PieceState
from graphs.sessions import session_piece_ids
from memory.queue.protocol import GENERATION_QUEUE
from memory.records.protocol import Records
from memory.rows.checks import Review
from memory.rows.content import Piece, Post, Revision
from memory.rows.publication import ScheduledPublication
from memory.rows.sessions import Event, Session
from runtime.compose import Runtime, open_runtime
from runtime.guard import TaskGuard
from runtime.reviews import pending_reviews
from runtime.start import start_cycle
from runtime.worker import Worker

BRAND = "acme"
WEEK = "2026-W51"
"""The week after the one in which the ManualClock starts."""
GRID = (("monday", "facebook", "quote", "08:00"), ("tuesday", "facebook", "quote", "08:00"))
NOTES = """# Light and the body clock

Morning light helps set the body clock. A short walk outside is enough for most days. Dr. Lee keeps the curtains open.
Bright light late in the evening can delay sleep. Screens are one source of evening light. Daylight is much brighter than
indoor light. Windows let through most visible light. A desk near a window gets more daylight. Curtains keep out street
light. A lamp with a warm colour suits the evening. Many people read before bed. The sky is brightest around noon.
"""


def write_brand(
    folder: Path, *, grid: tuple[tuple[str, ...], ...] = GRID, zone: str = "Europe/Berlin", **fields: Any
) -> None:
    """Write the folder of a small brand; `fields` go into brand.toml as they are spelled in TOML."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"name": f'"{folder.name}"', "title": '"Acme"', "zone": f'"{zone}"'} | fields
    lines = [f"{name} = {value}" for name, value in given.items()]
    for day, platform, content_type, at in grid:
        lines += ["", "[[grid]]", f'day = "{day}"', f'platform = "{platform}"', f'content_type = "{content_type}"']
        lines.append(f'time = "{at}"')
    (folder / "brand.toml").write_text("\n".join(lines) + "\n")
    theme = '[[theme]]\nname = "light"\ntitle = "A week of light"\nkeywords = ["light", "sleep"]\n'
    for day in DAYS:
        theme += f'\n[[theme.days]]\nday = "{day}"\ntitle = "Light on {day}"\nkeywords = ["light"]\n'
    (folder / "themes.toml").write_text(theme + '\n[[theme]]\nname = "sleep"\ntitle = "A week of sleep"\n')
    (folder / "documents").mkdir(exist_ok=True)
    (folder / "documents" / "light.md").write_text(NOTES)


def words(caption: str, **fields: Any) -> PostAnswer:
    """What a writing model answers: a post of these words and nothing else."""
    empty: dict[str, Any] = {name: "" for name in ("title", "script", "first_comment", "template")}
    empty |= {
        name: []
        for name in (
            "slides", "parts", "on_screen_text", "hashtags", "alt_text", "media_prompts", "citations", "gaps",
        )
    }  # fmt: skip
    return PostAnswer(**{**empty, "caption": caption, **fields})


@dataclass
class Script:
    """What the model answers. A task that is not scripted is answered by the offline model."""

    write: Callable[[Mapping[str, Any]], PostAnswer] | None = None
    """Given the material of a draft; may raise."""
    research: Callable[[Mapping[str, Any]], BriefAnswer | None] | None = None
    """Given the material of a brief; None leaves it to the offline model; may raise."""
    read: Callable[[Mapping[str, Any]], CheckAnswer] | None = None
    """Given the material of a check; without it nothing but the rules reads."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The material of every question, in order."""


class ScriptedModels(Models):
    """The model layer, answering by the script where there is one."""

    def __init__(self, script: Script, settings: Settings, spending: Spending, clock: Any) -> None:
        super().__init__(settings, spending, clock)
        self.script = script

    def is_offline(self, agent: AgentType) -> bool:
        return self.script.read is None

    async def structured(self, schema: Any, *, material: Mapping[str, Any], **rest: Any) -> Answer[Any]:
        self.script.asked.append(dict(material))
        nothing = Tokens(0, 0)
        if schema is PostAnswer and self.script.write is not None:
            return Answer(self.script.write(material), "template", "scripted", nothing)
        if schema is BriefAnswer and self.script.research is not None:
            found = self.script.research(material)
            if found is not None:
                return Answer(found, "template", "scripted", nothing)
        if schema is CheckAnswer and self.script.read is not None:
            return Answer(self.script.read(material), "model", "scripted", nothing)
        return await super().structured(schema, material=material, **rest)


class _NoHeartbeat:
    """Leases of a ManualClock run out only when the test says so."""

    def add(self, guard: TaskGuard) -> None: ...

    def drop(self, guard: TaskGuard) -> None: ...


@dataclass
class Newsroom:
    """An open Runtime with one small brand, and the verbs that tests need."""

    runtime: Runtime
    clock: ManualClock
    script: Script

    @property
    def records(self) -> Records:
        return self.runtime.records.for_brand(BRAND)

    async def week(self, **inputs: Any) -> Session:
        """Start the themed week."""
        return await start_cycle(self.runtime, BRAND, **{"theme": "light", "cycle_key": WEEK, **inputs})

    async def work(self, *, patience: timedelta = timedelta(0), most: int = 1000) -> int:
        """Do every task of the agents that is due, and those that fall due within `patience`; how many were done."""
        worker = Worker(self.runtime, upkeep=False)
        done = 0
        while done < most:
            claimed = await self.runtime.queue.claim(
                [GENERATION_QUEUE], owner=self.runtime.owner, ttl=self.runtime.settings.lease, limit=1
            )
            if not claimed:
                if patience <= timedelta(0):
                    break
                self.clock.advance(timedelta(seconds=1))
                patience -= timedelta(seconds=1)
                continue
            guard = TaskGuard(claimed[0], self.runtime.queue, self.clock, self.runtime.settings.lease)
            await worker._one(claimed[0], guard, _NoHeartbeat())  # type: ignore[arg-type]
            done += 1
        return done

    async def drafted(self, **inputs: Any) -> Session:
        """A week whose pieces have settled."""
        session = await self.week(**inputs)
        await self.work()
        return await self.records.get(Session, id=session.id)

    async def session(self, session: Session) -> Session:
        """The session's row as it is now."""
        return await self.records.get(Session, id=session.id)

    async def pieces(self, session: Session) -> list[Piece]:
        """The session's pieces in slot order."""
        return await self.records.find_many(Piece, [{"id": id} for id in session_piece_ids(session)])

    async def piece(self, piece: Piece | str) -> Piece:
        """The piece's row as it is now."""
        return await self.records.get(Piece, id=piece if isinstance(piece, str) else piece.id)

    async def states(self, session: Session) -> list[PieceState]:
        """The states of the session's pieces in slot order."""
        return [piece.state for piece in await self.pieces(session)]

    async def slot(self, piece: Piece) -> ScheduledPublication:
        """The piece's row in publication_schedule."""
        from graphs.pieces import schedule_id

        return await self.records.get(ScheduledPublication, cycle_key=piece.cycle_key, id=schedule_id(piece.id))

    async def post(self, piece: Piece) -> Post:
        """The piece's present bytes."""
        piece = await self.piece(piece)
        return (await self.records.get(Revision, content_id=piece.id, content_hash=piece.content_hash)).post

    async def events(self) -> list[Event]:
        """Everything that happened on the clock's day and the days before it, in order."""
        rows: list[Event] = []
        for back in range(30, -1, -1):
            day = (self.clock.now() - timedelta(days=back)).date().isoformat()
            rows += await self.records.list_rows(Event, day=day)
        return rows

    async def asked_reviews(self) -> list[Review]:
        """The reviews that wait for a human."""
        return await pending_reviews(self.records)


@asynccontextmanager
async def open_newsroom(
    folder: Path,
    *,
    engine: str = "sqlite",
    clock: ManualClock | None = None,
    script: Script | None = None,
    settings: Mapping[str, Any] | None = None,
    **brand: Any,
) -> AsyncIterator[Newsroom]:
    """Open a newsroom in `folder`, making its brand if it has none yet; `brand` as for `write_brand`."""
    clock, script = clock or ManualClock(), script or Script()
    if not (folder / "brands" / BRAND / "brand.toml").exists():
        write_brand(folder / "brands" / BRAND, **brand)
    records = "" if engine == "sqlite" else f"{engine}:///{folder}"
    chosen = Settings.model_validate({"data_dir": folder, "records": records, **(settings or {})})
    async with open_runtime(chosen, clock=clock) as runtime:

        def models(rows: Records) -> Models:
            spending = Spending(rows, runtime.cache.for_brand(rows.brand), runtime.settings, clock)
            return ScriptedModels(script, runtime.settings, spending, clock)

        runtime.models = models  # type: ignore[method-assign,assignment]
        yield Newsroom(runtime, clock, script)


def a_brief(*facts: str, gaps: tuple[str, ...] = ()) -> Brief:
    """A Brief of these facts."""
    return Brief(
        id="b", session_id="s", cycle_key=WEEK, day=1, theme="light", title="Light",
        facts=tuple(Fact(text=text, source_id=f"k{n}", source_title="notes") for n, text in enumerate(facts)), gaps=gaps,
    )  # fmt: skip
