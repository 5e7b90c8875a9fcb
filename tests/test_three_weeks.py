"""Three weeks in a row on pages that nobody here wrote: what the pieces say, where it stands, and what the linter makes of it.

The brand approves what no rule objects to, so that anything flagged that got through would be seen here as approved.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from config.brand_profile import BrandProfile, load_brand
from config.clock import SystemClock
from config.vocabulary import CheckResult, PieceState
from memory.knowledge import read_document
from memory.records.protocol import open_records
from memory.rows.agents import AgentMemory
from memory.rows.brand import BrandKnowledge, KnowledgeSource
from memory.rows.checks import ComplianceCheck
from memory.rows.content import ContentEmbedding, ContentTemplate, Piece, Post, Revision
from memory.rows.sessions import Assignment
from memory.sentences import sentences
from runtime.commands.common import dispatch
from tests.cli_support import MONDAY, week_of
from tools.checks.engine import fold, lint_post
from tools.checks.limits import check_limits

PAGES = Path(__file__).parent / "data" / "knowledge"
THEMES = ("Better sleep", "water-and-pause", "Moving more")
"""Two that the brand never heard of, and one of its own."""
ON_THEME = 0.8
MADE = 0.8
"""The share of pieces that must be posts and not briefs with gaps: the pages suffice for that."""


@dataclass(frozen=True)
class Written:
    """A piece with all that was stored about it."""

    piece: Piece
    revisions: tuple[Revision, ...]
    checks: tuple[ComplianceCheck, ...]
    keywords: tuple[str, ...]

    @property
    def last(self) -> Revision:
        return next(r for r in self.revisions if r.content_hash == self.piece.content_hash)

    @property
    def post(self) -> Post:
        return self.last.post

    def lines(self) -> Iterator[tuple[str, str]]:
        """Each line that the audience reads or hears, without the numbers and labels in front."""
        post = self.post
        texts = [
            ("title", post.title),
            ("caption", post.caption),
            ("script", post.script),
            ("first_comment", post.first_comment),
        ]
        texts += [("slides", text) for text in post.slides] + [("parts", text) for text in post.parts]
        for name, text in texts:
            for line in text.split("\n"):
                bare = re.sub(r"^(?:\d+/\d+ |Hook: |Scene \d+: |Close: )", "", line.strip())
                if bare:
                    yield name, bare.strip("“”") if bare.startswith("“") else bare


@dataclass(frozen=True)
class Month:
    """What three weeks left behind."""

    weeks: dict[str, list[Written]]
    chunks: dict[str, BrandKnowledge]
    sources: dict[str, KnowledgeSource]
    profile: BrandProfile
    templates: dict[str, ContentTemplate]
    embeddings: dict[str, ContentEmbedding]
    memories: list[AgentMemory]
    themes: tuple[str, ...]

    @property
    def pieces(self) -> list[Written]:
        return [one for week in self.weeks.values() for one in week]

    @property
    def posts(self) -> list[Written]:
        return [one for one in self.pieces if not one.last.gaps]


def command(data_dir: Path, *argv: str) -> str:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = dispatch(["--data-dir", str(data_dir), *argv])
    assert code in (0, 3), err.getvalue()
    return out.getvalue()


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Month:
    data_dir = tmp_path_factory.mktemp("month") / "data"
    command(data_dir, "brand", "new", "calm")
    file = data_dir / "brands" / "calm" / "brand.toml"
    text = file.read_text().replace('approval = "all"', 'approval = "flagged"')
    file.write_text(text.replace("rules_only_ok = false", "rules_only_ok = true"))
    command(data_dir, "knowledge", "add", "--brand", "calm", str(PAGES))
    weeks = [week_of(MONDAY + timedelta(days=7 * n)) for n in range(len(THEMES))]
    for week, theme in zip(weeks, THEMES, strict=True):
        assert json.loads(
            command(data_dir, "cycle", "run", "--brand", "calm", "--theme", theme, "--week", week, "--json")
        )
    return asyncio.run(_read(data_dir, weeks))


async def _read(data_dir: Path, weeks: list[str], *, brand: str = "calm", themes: tuple[str, ...] = THEMES) -> Month:
    async with open_records(f"sqlite:///{data_dir}", clock=SystemClock()) as store:
        records = store.for_brand(brand)
        found: dict[str, list[Written]] = {week: [] for week in weeks}
        for piece in await records.find_by(Piece, brand=brand):
            brief = await records.get(Assignment, session_id=piece.session_id, id=piece.brief_id)
            found[piece.cycle_key].append(
                Written(
                    piece,
                    tuple(await records.list_rows(Revision, content_id=piece.id)),
                    tuple(await records.list_rows(ComplianceCheck, content_id=piece.id)),
                    tuple(json.loads(brief.results)["keywords"]),
                )
            )
        chunks = {row.id: row for row in await records.find_by(BrandKnowledge, knowledge_type="document")}
        sources = {row.name: row for row in await records.list_rows(KnowledgeSource)}
        templates = {row.template_name: row for row in await records.find_by(ContentTemplate, brand=brand)}
        embeddings = {row.id: row for row in await records.find_by(ContentEmbedding, brand=brand)}
        memories = await records.find_by(AgentMemory, agent_type="research")
    return Month(
        found, chunks, sources, load_brand(data_dir / "brands" / brand), templates, embeddings, memories, themes
    )


def theme_of(month: Month, one: Written) -> str:
    return month.profile.find_theme(month.themes[list(month.weeks).index(one.piece.cycle_key)]).title


def hooks_of(one: Written) -> set[str]:
    """What each field opens with: the first line of the caption, the script, the first slide and part, and the title."""
    first: dict[str, str] = {}
    for name, line in one.lines():
        first.setdefault(name, line)
    return set(first.values())


def own_lines(month: Month, one: Written) -> set[str]:
    """What the brand itself says in a post and claims nothing: title, theme, openings with them, its calls, address, tags."""
    return {theme_of(month, one), one.piece.theme, month.profile.link, *month.profile.call_to_action}


def is_own(month: Month, one: Written, line: str) -> bool:
    if line in own_lines(month, one) or line.startswith(("Source: ", "Sources: ", "— ", "#", month.profile.link)):
        return True
    # The day's title, or its part before what the day shows of it, and a few words that open the post.
    name = re.split(r": | \(|, (?:continued|once more)$| on [A-Z][a-z]+day$", one.piece.theme, maxsplit=1)[0]
    if line.startswith((f"{name}: ", f"{name}, ")):
        return len(line.removeprefix(name).split()) <= 6
    opening, colon, title = line.partition(": ")
    return bool(colon) and title == one.piece.theme and len(opening.split()) <= 5


def squeeze(text: str) -> str:
    return " ".join(text.split())


def test_each_week_is_there_and_most_of_it_is_written(month: Month) -> None:
    assert [len(week) for week in month.weeks.values()] == [21, 21, 21]
    assert all(
        one.piece.state in (PieceState.APPROVED, PieceState.WAITING, PieceState.REJECTED) for one in month.pieces
    )
    assert len(month.posts) >= MADE * len(month.pieces)
    for one in month.pieces:
        if one.last.gaps:
            assert one.piece.state is PieceState.WAITING
            assert one.piece.reason.startswith("a brief with gaps")
            assert "review edit" in one.piece.reason
            assert not one.last.citations


def test_no_place_stays_unfilled_and_every_post_fits_its_platform(month: Month) -> None:
    for one in month.posts:
        assert not [text for _, text in one.post.fields() if re.search(r"[{}]|\bNone\b|\[\]|TODO|lorem", text)]
        assert check_limits(one.post) == []


def test_no_sentence_is_cut_short(month: Month) -> None:
    known = {squeeze(sentence) for row in month.chunks.values() for sentence in sentences(row.content)}
    openings: dict[tuple[str, ...], list[str]] = {}
    for sentence in known:
        if len(sentence.split()) > 5:
            openings.setdefault(tuple(sentence.split()[:5]), []).append(sentence)
    for one in month.posts:
        for name, line in one.lines():
            assert not re.search(r"(?:\.\.\.|…)[\"”]?$", line), (name, line)
            if not is_own(month, one, line):
                whole = openings.get(tuple(line.split()[:5]), [])
                assert not whole or any(sentence in line for sentence in whole), (name, line)
                assert re.search(r"[.!?][\"'”’)]*$", line), (name, line)
        if one.post.script:
            said = " ".join(line for name, line in one.lines() if name == "script")
            for text in one.post.on_screen_text:
                assert squeeze(text) in squeeze(said), "what is on screen is heard"


def test_no_sentence_and_no_hook_comes_twice_in_a_week(month: Month) -> None:
    for week in month.weeks.values():
        said: Counter[str] = Counter()
        opened: Counter[str] = Counter()
        for one in week:
            if one.last.gaps:
                continue
            read = [line for _, line in one.lines() if not line.startswith(("Source: ", "Sources: ", "— "))]
            said.update({re.sub(r"\W+", " ", line.lower()) for line in read if re.search(r"[.!?][\"'”’)]*$", line)})
            opened.update(hooks_of(one))
        assert [line for line, times in said.items() if times > 1] == []
        assert [line for line, times in opened.items() if times > 1] == []


def test_no_sentence_that_rests_on_a_page_comes_again_in_the_next_weeks(month: Month) -> None:
    cited = Counter(sentence for one in month.posts for sentence in one.last.citations)
    assert [sentence for sentence, times in cited.items() if times > 1] == []


def test_every_claim_names_a_source_that_holds_it_word_for_word(month: Month) -> None:
    for one in month.posts:
        assert one.last.citations
        assert set(one.last.citations.values()) == set(one.last.sources)
        for sentence, source in one.last.citations.items():
            assert sentence in squeeze(month.chunks[source].content)
        for name, line in one.lines():
            if is_own(month, one, line):
                continue
            rest = line
            for sentence in one.last.citations:
                rest = rest.replace(sentence, "")
            assert not re.search(r"\w", rest), (name, line)


def test_what_another_wrote_is_credited_where_it_is_shown(month: Month) -> None:
    for one in month.posts:
        shown = squeeze(" ".join(text for _, text in one.post.fields()))
        for source in one.last.sources:
            row = month.chunks[source]
            if "CC BY" in month.sources[row.source_id].attribution:
                assert f"{row.title} (MedlinePlus, CC BY 4.0)" in shown


def words_of(text: str) -> set[str]:
    """The first five letters of each longer word: a measure of its own, not the composer's stems."""
    return {word[:5] for word in re.findall(r"[a-z]{4,}", text.lower())} - {
        "with", "that", "this", "your", "from", "what", "have", "will", "they", "when", "more", "than", "some", "there",
        "them", "every", "which", "make", "part", "one", "into", "bette", "show", "three", "first",
    }  # fmt: skip


def on_theme(month: Month, one: Written) -> bool:
    """Whether most of what it says shares a word with the day's title and keywords or the week's theme, or stands on a page
    of that name. What opens the post is left out: it carries the day's title anyhow."""
    theme = month.profile.find_theme(theme_of(month, one))
    about = words_of(" ".join((one.piece.theme, *one.keywords, theme.title, *theme.keywords)))
    named = words_of(one.piece.theme)
    hits = [
        bool(words_of(sentence) & about) or bool(words_of(month.chunks[source].title) & named)
        for sentence, source in one.last.citations.items()
    ]
    return bool(hits) and 2 * sum(hits) > len(hits)


def test_at_least_four_fifths_of_the_pieces_are_on_their_days_theme(month: Month) -> None:
    for week in month.weeks.values():
        posts = [one for one in week if not one.last.gaps]
        assert sum(on_theme(month, one) for one in posts) >= ON_THEME * len(posts)


def test_the_measure_of_the_theme_sees_a_post_of_another_day(month: Month) -> None:
    """The same posts, each held against the title and keywords of a week that it was not made for."""
    weeks = list(month.weeks.values())
    strange = [
        Written(one.piece.model_copy(update={"theme": other.piece.theme, "cycle_key": other.piece.cycle_key}),
                one.revisions, one.checks, other.keywords)
        for one, other in zip(weeks[0], weeks[1], strict=True)
        if not one.last.gaps
    ]  # fmt: skip
    assert sum(on_theme(month, one) for one in strange) < ON_THEME * len(strange)


def test_the_weeks_cite_the_pages(month: Month) -> None:
    names = {path.name for path in PAGES.glob("*.md")}
    for week in month.weeks.values():
        cited = {month.chunks[source].source_id for one in week for source in one.last.sources}
        assert cited & names
    assert len({month.chunks[s].source_id for one in month.pieces for s in one.last.sources} & names) >= 6


def test_the_linter_catches_what_the_pages_say_about_illness(month: Month) -> None:
    flagged = (CheckResult.FAILED, CheckResult.MANUAL_REVIEW)
    caught = [
        check
        for one in month.pieces
        for check in one.checks
        if check.check_type == "medical_claim" and check.check_result in flagged
    ]
    assert len({check.content_id for check in caught}) >= 2
    for one in month.pieces:
        found = lint_post(one.post, profile=month.profile, packs=month.profile.packs)
        if fold(found) in flagged:
            assert one.piece.state in (PieceState.WAITING, PieceState.REJECTED), "flagged, and approved all the same"
        if one.piece.state is PieceState.APPROVED:
            assert fold(found) not in flagged


def test_every_page_that_was_added_is_named_with_its_licence() -> None:
    for path in PAGES.glob("*.md"):
        assert "CC BY 4.0" in read_document(path).attribution
        assert "MedlinePlus" in read_document(path).attribution


def test_each_template_counts_its_pieces(month: Month) -> None:
    made = Counter(one.last.template_id for one in month.pieces if one.last.template_id)
    assert {name: row.usage_count for name, row in month.templates.items() if row.usage_count} == dict(made)
    assert len(made) >= 10


def test_each_post_says_how_far_it_keeps_to_the_brands_rules(month: Month) -> None:
    weight = {"critical": 1.0, "important": 0.5, "preferred": 0.1}
    for one in month.posts:
        found = lint_post(one.post, profile=month.profile, packs=month.profile.packs)
        own = sum(weight[f.severity] for f in found if f.check_type == "brand_voice")
        assert month.embeddings[one.piece.id].brand_alignment_score == pytest.approx(max(0.0, 1 - own))


def test_each_week_leaves_a_lesson_that_the_next_ones_research_finds(month: Month) -> None:
    lessons = [row for row in month.memories if row.memory_type == "semantic"]
    assert len(lessons) == len(month.weeks)
    for week, posts in month.weeks.items():
        (lesson,) = [row for row in lessons if row.memory_content.startswith(week)]
        cited = Counter(month.chunks[source].title for one in posts for source in one.last.citations.values())
        for title, count in cited.most_common(3):
            assert f"{title} ({count})" in lesson.memory_content
        for one in posts:
            if one.last.gaps:
                assert repr(one.piece.theme) in lesson.memory_content
        assert set(lesson.context_data["source"].split()) <= set(month.chunks)
    told = [row.memory_content for row in month.memories if row.memory_key.startswith("brief:")]
    assert any("remembered: " in text and "week:" in text for text in told)


TEA = """# Notes on our tea room

We open the tea room at nine and close it at six. A pot of tea takes four minutes, and nobody counts them.
Guests may bring a book, a letter or a friend. Our cups are made by a potter two streets away.
On Thursdays we bake lemon cake. The window seat looks out on the canal. But it closes when it rains.
"""


def test_one_short_document_gives_a_small_week_and_names_what_is_missing(tmp_path: Path) -> None:
    """Six sentences that can be quoted, twenty-one places: no sentence comes twice to fill them."""
    data_dir = tmp_path / "data"
    command(data_dir, "brand", "new", "tea")
    for file in (data_dir / "brands" / "tea" / "documents").iterdir():
        file.unlink()
    (tmp_path / "tea.md").write_text(TEA)
    command(data_dir, "knowledge", "add", str(tmp_path / "tea.md"))
    week = week_of(MONDAY)
    said = json.loads(command(data_dir, "cycle", "run", "--theme", "The tea room", "--week", week, "--json"))
    assert said["pieces"]["waiting"] == said["pieces"]["planned"] == 21
    month = asyncio.run(_read(data_dir, [week], brand="tea"))
    cited = Counter(sentence for one in month.posts for sentence in one.last.citations)
    assert 4 <= len(month.posts) <= 6
    assert set(cited.values()) == {1}
    assert len(cited) == 6
    assert "But it closes when it rains." not in cited
    for one in month.pieces:
        if one.last.gaps:
            assert not one.last.post.caption
            assert one.piece.theme in one.last.gaps[0]
            assert "add a document" in one.piece.reason
            assert CheckResult.FAILED in {check.check_result for check in one.checks}
    gap = next(one.piece.id for one in month.pieces if one.last.gaps)
    with pytest.raises(AssertionError, match="failed its checks"):
        command(data_dir, "review", "approve", gap)
