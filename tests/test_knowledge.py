"""Documents become chunks of whole sentences, once; what is not a document is refused with a reason."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from config.clock import ManualClock
from config.errors import BadInput, NotFound
from memory.embedding.protocol import Embedder, open_embedder
from memory.knowledge import MAX_BYTES, add_documents, chunks, list_documents, read_document, revoke, search
from memory.records import Records, RecordsStore, open_records
from memory.rows import BrandKnowledge, KnowledgeSource
from memory.sentences import sentences

DATA = Path(__file__).parent / "data" / "knowledge"
CLOCK = ManualClock()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RecordsStore]:
    async with open_records(f"sqlite:///{tmp_path / 'db'}", clock=CLOCK) as opened:
        yield opened


@pytest.fixture
def records(store: RecordsStore) -> Records:
    return store.for_brand("ours")


@pytest.fixture
def embedder() -> Embedder:
    return open_embedder("hash-v1")


async def chunk_rows(records: Records) -> list[BrandKnowledge]:
    return await records.find_by(BrandKnowledge, knowledge_type="document")


def a_document(tmp_path: Path, text: str, name: str = "tea.md") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Lee sat down at 9 a.m. The room was quiet.", ["Dr. Lee sat down at 9 a.m.", "The room was quiet."]),
        ("It costs 3.50 or so, e.g. Tuesdays. Fine.", ["It costs 3.50 or so, e.g. Tuesdays.", "Fine."]),
        ("She said “Sit down.” Then she left.", ["She said “Sit down.”", "Then she left."]),
        (
            "# Title\n\nBody goes\non here.\n- first item\n- second. Item two.\n\n1. third",
            ["Body goes on here.", "first item", "second.", "Item two.", "third"],
        ),
        ("Wait... what? No, vs. Yes.", ["Wait... what?", "No, vs. Yes."]),
        ("J. R. Smith wrote it. iPhones ring.", ["J. R. Smith wrote it. iPhones ring."]),
        ("no end mark", ["no end mark"]),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_a_chunk_never_cuts_a_sentence_and_none_is_lost() -> None:
    for path in sorted(DATA.glob("*.md")):
        text = read_document(path).text
        parts = chunks(text)
        assert [s for part in parts for s in sentences(part)] == sentences(text)
        assert all(len(part.split()) <= 150 or len(sentences(part)) == 1 for part in parts)


async def test_every_public_document_is_learnt_with_its_attribution(records: Records, embedder: Embedder) -> None:
    result = await add_documents(records, embedder, CLOCK, [DATA])
    assert len(result.added) == 24
    assert result.rejected == []
    sources = {row.name: row for row in await list_documents(records)}
    assert "CC BY 4.0" in sources["stress.md"].attribution
    assert sources["stress.md"].title == "Stress"
    rows = await chunk_rows(records)
    assert len(rows) == sum(row.chunks for row in sources.values())
    assert not any("Source:" in row.content for row in rows)
    assert all(row.embedding and row.embedder_id == "hash-v1" for row in rows)


async def test_the_document_that_answers_is_found_first(records: Records, embedder: Embedder) -> None:
    await add_documents(records, embedder, CLOCK, [DATA])
    hits = await search(records, embedder, "how much water should I drink each day", 3)
    assert hits[0].source == "drinking-water.md"
    assert 0 < hits[-1].score <= hits[0].score <= 1
    assert (await records.get(BrandKnowledge, id=hits[0].chunk_id)).content == hits[0].text
    assert len(hits) == 3
    assert await search(records, embedder, "zzzz qqqq", 3) == []


async def test_adding_the_same_bytes_again_writes_nothing(records: Records, embedder: Embedder, tmp_path: Path) -> None:
    path = a_document(tmp_path, "# Tea\nPour the tea slowly.")
    assert (await add_documents(records, embedder, CLOCK, [path])).added == ["tea.md"]
    before = await chunk_rows(records)
    result = await add_documents(records, embedder, CLOCK, [path])
    assert (result.added, result.unchanged) == ([], ["tea.md"])
    assert await chunk_rows(records) == before


async def test_a_changed_document_is_a_new_version_and_its_old_chunks_are_gone(
    records: Records, embedder: Embedder, tmp_path: Path
) -> None:
    await add_documents(records, embedder, CLOCK, [a_document(tmp_path, "Old words about marmalade. " * 100)])
    assert len(await chunk_rows(records)) > 2
    await add_documents(records, embedder, CLOCK, [a_document(tmp_path, "New words about honey.")])
    assert [(row.content, row.version) for row in await chunk_rows(records)] == [("New words about honey.", 2)]
    assert await search(records, embedder, "marmalade", 5) == []
    assert (await records.get(KnowledgeSource, name="tea.md")).version == 2


async def test_a_revoked_document_is_never_found_again_and_can_be_added_anew(
    records: Records, embedder: Embedder, tmp_path: Path
) -> None:
    path = a_document(tmp_path, "Pour the tea slowly.")
    await add_documents(records, embedder, CLOCK, [path])
    assert (await revoke(records, "tea.md", clock=CLOCK)).status == "revoked"
    await revoke(records, "tea.md", clock=CLOCK)
    assert await search(records, embedder, "tea", 5) == []
    assert (await add_documents(records, embedder, CLOCK, [path])).added == ["tea.md"]
    assert [hit.source for hit in await search(records, embedder, "tea", 5)] == ["tea.md"]
    with pytest.raises(NotFound, match=r"'coffee.md'.*there are tea.md"):
        await revoke(records, "coffee.md", clock=CLOCK)


async def test_one_brand_never_finds_the_other_s_documents(
    store: RecordsStore, embedder: Embedder, tmp_path: Path
) -> None:
    path = a_document(tmp_path, "Pour the tea slowly.")
    await add_documents(store.for_brand("ours"), embedder, CLOCK, [path])
    theirs = store.for_brand("theirs")
    assert await search(theirs, embedder, "tea", 5) == []
    assert (await add_documents(theirs, embedder, CLOCK, [path])).added == ["tea.md"]
    assert len(await search(theirs, embedder, "tea", 5)) == 1


async def test_a_crash_before_the_source_row_is_mended_by_adding_again(
    records: Records, embedder: Embedder, tmp_path: Path
) -> None:
    path = a_document(tmp_path, "Pour the tea slowly. " * 60)

    class Dies:
        def __init__(self) -> None:
            self.puts = 0

        def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
            return getattr(records, name)

        async def put(self, *rows) -> None:  # type: ignore[no-untyped-def]
            if any(isinstance(row, KnowledgeSource) for row in rows):
                raise ConnectionError("killed here")
            await records.put(*rows)

    with pytest.raises(ConnectionError):
        await add_documents(Dies(), embedder, CLOCK, [path])  # type: ignore[arg-type]
    assert (await add_documents(records, embedder, CLOCK, [path])).added == ["tea.md"]
    assert len(await chunk_rows(records)) == (await records.get(KnowledgeSource, name="tea.md")).chunks


BAD = [
    ("empty.md", b"", "0 bytes"),
    ("big.md", b"a. " * (MAX_BYTES // 3 + 2), f"the limit is {MAX_BYTES}"),
    ("binary.md", b"\x89PNG\r\n\x1a\n\x00\x01", "binary"),
    ("nul.txt", b"a\x00b", "binary"),
    ("wide.md", "Hello there.".encode("utf-16"), "UTF-16"),
    ("mixed.txt", b"caf\xc3\xa9 and caf\xe9", "not UTF-8"),
    ("report.pdf", b"%PDF-1.7", "'.pdf' is not one of .md, .markdown, .txt"),
    ("noending", b"Hello.", "(none)"),
    ("title.md", b"# Only a title\n\nSource: somewhere\n", "no sentence"),
    ("invisible.md", "\u200b\u202e\U000e0041".encode(), "no sentence"),
]


@pytest.mark.parametrize(("name", "data", "says"), BAD, ids=[name for name, _, _ in BAD])
async def test_what_is_not_a_document_is_refused_and_the_others_are_learnt(
    records: Records, embedder: Embedder, tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    good = a_document(tmp_path, "Pour the tea slowly.")
    (tmp_path / name).write_bytes(data)
    result = await add_documents(records, embedder, CLOCK, [tmp_path / name, good])
    assert result.added == ["tea.md"]
    [(path, reason)] = result.rejected
    assert path == str(tmp_path / name)
    assert says in reason
    assert "\n" not in reason
    assert {row.source_id for row in await chunk_rows(records)} == {"tea.md"}


def test_links_folders_pipes_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real.md").write_text("Pour the tea slowly.")
    (tmp_path / "link.md").symlink_to(tmp_path / "real.md")
    (tmp_path / "folder.md").mkdir()
    os.mkfifo(tmp_path / "pipe.md")
    for name, says in (
        ("link.md", "symbolic link"),
        ("folder.md", "not a file"),
        ("pipe.md", "not a file"),
        ("gone.md", "cannot be read"),
    ):
        with pytest.raises(BadInput, match=says):
            read_document(tmp_path / name)


def test_a_byte_order_mark_is_read_and_what_nobody_sees_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "tea.md"
    path.write_bytes(
        "\ufeff# Tea\r\n\r\nPour \u202ethe\u202c t\u200bea\x07 slowly.\r\nSource: our kitchen\r\n".encode()
    )
    document = read_document(path)
    assert (document.title, document.attribution, document.text) == ("Tea", "our kitchen", "Pour the tea slowly.")


def test_a_document_is_read_as_its_page_is_seen_and_not_as_it_is_written(tmp_path: Path) -> None:
    written = (
        '---\ntitle: "Ton & Masse"\ntags: [clay]\nsource: Workshop notes, 2026.\n---\n\n'
        "Wedge the clay,\nand look for **bubbles** in the _cut_.<br/>\n<!-- internal: do not publish -->\n"
        "Read [our list](https://example.com/x) first. ![a jug](jug.png)\n\n> Two hands are enough.\n\n"
        "```python\nprint('not prose')\n```\n\nWrite to <anna@example.com>, or set `snake_case_name` to 2 * 3 * 4 < 30.\n"
    )
    document = read_document(a_document(tmp_path, written, "clay.md"))
    assert (document.title, document.attribution) == ("Ton & Masse", "Workshop notes, 2026.")
    assert sentences(document.text) == [
        "Wedge the clay, and look for bubbles in the cut.",
        "Read our list first.",
        "Two hands are enough.",
        "Write to <anna@example.com>, or set snake_case_name to 2 * 3 * 4 < 30.",
    ]


def test_a_rule_at_the_top_is_no_front_matter_and_an_underlined_first_line_is_the_title(tmp_path: Path) -> None:
    ruled = read_document(a_document(tmp_path, "---\n\nThe kiln is warm.\n\n---\n\nOpen it late.\n", "kiln-notes.md"))
    assert (ruled.title, sentences(ruled.text)) == ("kiln notes", ["The kiln is warm.", "Open it late."])
    underlined = read_document(a_document(tmp_path, "Throwing\n========\n\nKeep your hands wet.\n", "t.txt"))
    assert (underlined.title, sentences(underlined.text)) == ("Throwing", ["Keep your hands wet."])
