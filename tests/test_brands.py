"""The shipped brand is whole, careful and enough for weeks of work; a brand's folder becomes rows once."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.brand_profile import BrandProfile, load_brand, shipped_brands
from config.clock import ManualClock
from config.platforms import possible
from config.vocabulary import CONTENT_TYPES, PLATFORMS
from memory.brands import add_shipped_documents, load_brand_rows
from memory.embedding.protocol import open_embedder
from memory.knowledge import add_documents, read_document, revoke
from memory.records import Records, open_records
from memory.rows import Brand, BrandGuideline, BrandKnowledge, ContentTemplate, KnowledgeSource
from memory.rows.content import Post
from memory.sentences import sentences
from tools.checks.engine import lint_text

FOLDER = shipped_brands() / "eesystem"
DOCUMENTS = sorted((FOLDER / "documents").glob("*.md"))
PLACES = {
    "hook",
    "opener",
    "fact1",
    "fact2",
    "fact3",
    "fact4",
    "takeaway",
    "theme",
    "day_theme",
    "cta",
    "brand",
    "source",
    "link",
}
PLACES |= {"hashtags", "source1"}


@pytest.fixture(scope="module")
def profile() -> BrandProfile:
    return load_brand(FOLDER)


class Counting:
    """Records that count what is written."""

    def __init__(self, inner: Records) -> None:
        self.inner = inner
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        if name in ("put", "delete"):
            self.writes += 1
        return getattr(self.inner, name)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def records(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Counting]:
    async with open_records(f"sqlite:///{tmp_path}", clock=clock) as store:
        yield Counting(store.for_brand("eesystem"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "eesystem"))


async def load(records: Counting, folder: Path, clock: ManualClock) -> Brand:
    embedder = open_embedder("hash-v1")
    return await load_brand_rows(records, load_brand(folder), folder, embedder=embedder, clock=clock)  # type: ignore[arg-type]


def outgoing(profile: BrandProfile) -> list[tuple[str, str]]:
    """Every text of the folder that may go out word for word, with where it stands."""
    out = [("cta", text) for text in profile.call_to_action]
    out += [("hashtag", text) for text in profile.hashtags] + [("visual", profile.visual_style)]
    for theme in profile.themes:
        out += [(theme.name, theme.title)]
        out += [(theme.name, text) for day in theme.days for text in (day.title, day.angle, *day.keywords)]
    for template in profile.templates:
        out += [(template.name, line) for lines in template.structure.values() for line in lines]
    out += [("claim", claim.text) for claim in profile.claims if claim.status == "approved"]
    for path in DOCUMENTS:
        document = read_document(path)
        out += [(path.name, document.title)]
        out += [(path.name, sentence) for sentence in sentences(document.text)]
    return out


def test_nothing_that_the_brand_may_say_fires_a_rule(profile: BrandProfile) -> None:
    found = {
        (where, text): [finding.rule for finding in findings]
        for where, text in outgoing(profile)
        if (findings := lint_text(text, profile=profile, packs=profile.packs))
    }
    assert found == {}


def test_no_call_to_action_need_come_twice_in_a_week(profile: BrandProfile) -> None:
    assert len(set(profile.call_to_action)) >= len(profile.grid)


def test_the_keywords_make_hashtags_that_fire_no_rule(profile: BrandProfile) -> None:
    words = {word for theme in profile.themes for day in theme.days for word in (*theme.keywords, *day.keywords)}
    for word in words:
        tag = "#" + word.title().replace(" ", "")
        assert lint_text(tag, field="hashtags[0]", profile=profile, packs=profile.packs) == [], tag


def test_the_grid_holds_three_cells_a_day_none_of_them_impossible(profile: BrandProfile) -> None:
    assert len(profile.grid) == 21
    assert all(possible(cell.platform, cell.content_type) for cell in profile.grid)
    assert {cell.platform for cell in profile.grid} == set(PLATFORMS)
    assert {cell.content_type for cell in profile.grid} == set(CONTENT_TYPES)
    assert len({(cell.day, cell.platform, cell.content_type) for cell in profile.grid}) == 21
    assert all(sum(cell.weekday == day for cell in profile.grid) == 3 for day in range(1, 8))


def test_there_are_eight_weeks_of_seven_days_that_the_documents_cover(profile: BrandProfile) -> None:
    known = " ".join(read_document(path).text.lower() for path in DOCUMENTS)
    assert len(profile.themes) == 8
    for theme in profile.themes:
        assert len({day.day for day in theme.days}) == 7
        for day in theme.days:
            assert day.title
            assert day.angle
            assert len(day.keywords) >= 3
            assert [word for word in day.keywords if word not in known] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_a_document_is_short_and_full_of_sentences_that_can_be_quoted(path: Path) -> None:
    document = read_document(path)
    found = sentences(document.text)
    assert 150 <= len(document.text.split()) <= 355
    assert len([s for s in found if 8 <= len(s.split()) <= 28]) >= 25
    assert len([s for s in found if len(s) <= 140]) >= 20
    assert document.attribution
    assert len(set(found)) == len(found)


def test_no_sentence_stands_in_two_documents() -> None:
    assert len(DOCUMENTS) == 10
    every = [sentence for path in DOCUMENTS for sentence in sentences(read_document(path).text)]
    assert len(set(every)) == len(every) >= 250


def test_each_content_type_has_templates_of_known_fields_and_places(profile: BrandProfile) -> None:
    for content_type in CONTENT_TYPES:
        mine = [t for t in profile.templates if t.content_type == content_type]
        assert len(mine) >= 3
        assert len({json.dumps(t.structure) for t in mine}) == len(mine)
    for template in profile.templates:
        assert set(template.structure) <= set(Post.model_fields)
        lines = [line for lines in template.structure.values() for line in lines]
        used = {part.split("}")[0] for line in lines for part in line.split("{")[1:]}
        assert used <= PLACES
        assert used & {"fact1", "fact2", "fact3"}
        opening = next(iter(lines for name, lines in template.structure.items() if name != "title"))[0]
        assert "{hook}" in opening or "{opener}" in opening or template.content_type == "quote", "else it repeats"


async def test_a_folder_becomes_rows(
    records: Counting, folder: Path, clock: ManualClock, profile: BrandProfile
) -> None:
    brand = await load(records, folder, clock)
    assert (brand.name, brand.zone, brand.title) == ("eesystem", "America/New_York", "EESystem")
    assert len(await records.find_by(BrandGuideline, brand="eesystem")) == len(profile.guidelines)
    assert len(await records.find_by(ContentTemplate, brand="eesystem")) == len(profile.templates)
    claims = await records.find_by(BrandKnowledge, knowledge_type="claim")
    assert sorted(c.content for c in claims) == sorted(c.text for c in profile.claims)
    assert {c.status for c in claims} == {"active", "blocked", "draft"}
    assert all(c.embedding and c.embedder_id == "hash-v1" for c in claims)


async def test_loading_an_unchanged_folder_writes_nothing(records: Counting, folder: Path, clock: ManualClock) -> None:
    first = await load(records, folder, clock)
    written = records.writes
    clock.advance(timedelta(days=1))
    assert await load(records, folder, clock) == first
    assert records.writes == written


async def test_only_what_changed_is_written_again(records: Counting, folder: Path, clock: ManualClock) -> None:
    await load(records, folder, clock)
    before = {row.id: row for row in await records.find_by(BrandGuideline, brand="eesystem")}
    guidelines = folder / "guidelines.toml"
    guidelines.write_text(guidelines.read_text().replace('"hustle"', '"bustle"'))
    clock.advance(timedelta(days=1))
    written = records.writes
    await load(records, folder, clock)
    after = {row.id: row for row in await records.find_by(BrandGuideline, brand="eesystem")}
    changed = [row for row in after.values() if row != before[row.id]]
    assert [row.title for row in changed] == ["Calm and plain"]
    assert "bustle" in changed[0].restrictions
    assert changed[0].created_at == before[changed[0].id].created_at < changed[0].updated_at
    assert records.writes == written + 2  # the guideline and the brand


async def test_what_left_the_folder_is_deprecated_or_gone(records: Counting, folder: Path, clock: ManualClock) -> None:
    await load(records, folder, clock)
    (folder / "claims.toml").write_text('[[claim]]\ntext = "Sit down."\n')
    (folder / "templates.toml").write_text("")
    brand = await load(records, folder, clock)
    claims = await records.find_by(BrandKnowledge, knowledge_type="claim")
    assert [c.content for c in claims if c.status == "active"] == ["Sit down."]
    assert {c.status for c in claims if c.content != "Sit down."} == {"deprecated"}
    assert await records.find_by(ContentTemplate, brand="eesystem") == []
    assert brand.profile_hash != ""


async def test_the_first_cycle_and_the_use_of_a_template_survive_a_reload(
    records: Counting, folder: Path, clock: ManualClock
) -> None:
    brand = await load(records, folder, clock)
    await records.put(brand.model_copy(update={"first_cycle_key": "2026-W50"}))
    template = (await records.find_by(ContentTemplate, content_type="reel"))[0]
    await records.put(template.model_copy(update={"usage_count": 4}))
    for name, old, new in (
        ("brand.toml", 'title = "EESystem"', 'title = "EES"'),
        ("templates.toml", "Last one.", "One more."),
    ):
        (folder / name).write_text((folder / name).read_text().replace(old, new))
    brand = await load(records, folder, clock)
    assert (brand.title, brand.first_cycle_key) == ("EES", "2026-W50")
    assert (await records.get(ContentTemplate, id=template.id)).usage_count == 4


async def test_shipped_documents_are_learnt_once_and_stay_revoked(
    records: Counting, folder: Path, clock: ManualClock
) -> None:
    embedder = open_embedder("hash-v1")
    result = await add_shipped_documents(records, embedder, clock, folder)  # type: ignore[arg-type]
    assert sorted(result.added) == [path.name for path in DOCUMENTS]
    assert result.rejected == []
    await revoke(records, DOCUMENTS[0].name, clock=clock)  # type: ignore[arg-type]
    written = records.writes
    again = await add_shipped_documents(records, embedder, clock, folder)  # type: ignore[arg-type]
    assert (again.added, records.writes) == ([], written)
    assert (await records.get(KnowledgeSource, name=DOCUMENTS[0].name)).status == "revoked"


async def told(records: Counting, folder: Path, clock: ManualClock) -> dict[str, tuple[str, int]]:
    """What the brand knows after its folder was read: status and version by name."""
    await add_shipped_documents(records, open_embedder("hash-v1"), clock, folder)  # type: ignore[arg-type]
    return {row.name: (row.status, row.version) for row in await records.list_rows(KnowledgeSource)}


async def passages(records: Counting) -> str:
    return " ".join(row.content for row in await records.find_by(BrandKnowledge, knowledge_type="document"))


async def test_a_document_that_is_taken_out_of_the_folder_is_forgotten_until_it_is_back(
    records: Counting, folder: Path, clock: ManualClock
) -> None:
    gone = folder / "documents" / DOCUMENTS[0].name
    await told(records, folder, clock)
    said = sentences(read_document(gone).text)[0]
    assert said in await passages(records)
    text = gone.read_text()
    gone.unlink()
    assert (await told(records, folder, clock))[gone.name] == ("removed", 1)
    assert said not in await passages(records)
    gone.write_text(text)
    assert (await told(records, folder, clock))[gone.name] == ("active", 2)
    assert said in await passages(records)


async def test_the_folder_s_documents_are_what_its_files_say_now_whatever_their_ending(
    records: Counting, folder: Path, clock: ManualClock
) -> None:
    (folder / "documents" / "kiln.txt").write_text("The kiln is cold on Mondays.")
    assert (await told(records, folder, clock))["kiln.txt"] == ("active", 1)
    (folder / "documents" / "kiln.txt").write_text("The kiln is warm on Mondays.")
    assert (await told(records, folder, clock))["kiln.txt"] == ("active", 2)
    assert "warm on Mondays" in await passages(records)
    assert "cold on Mondays" not in await passages(records)
    (folder / "documents" / "kiln.txt").write_text("")
    assert (await told(records, folder, clock))["kiln.txt"] == ("removed", 2), "an empty file says nothing any more"
    assert "on Mondays" not in await passages(records)


async def test_what_the_operator_added_from_elsewhere_outlives_the_folder(
    records: Counting, folder: Path, clock: ManualClock, tmp_path: Path
) -> None:
    embedder = open_embedder("hash-v1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "shelf.md").write_text("A shelf wants to be dry.")
    (elsewhere / DOCUMENTS[1].name).write_text("The operator's own page stands.")
    await told(records, folder, clock)
    await add_documents(records, embedder, clock, [elsewhere])  # type: ignore[arg-type]
    (folder / "documents" / DOCUMENTS[1].name).unlink()
    known = await told(records, folder, clock)
    assert (known["shelf.md"], known[DOCUMENTS[1].name]) == (("active", 1), ("active", 2))
    assert "own page stands" in await passages(records)
