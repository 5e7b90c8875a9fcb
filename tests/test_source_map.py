"""docs/source-map.md against the core source document: every item of it is there, and what the page says of it is true."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

import pytest

from memory.rows import ROW_TYPES
from memory.rows.user_sessions import GenerationRow
from memory.session_schema import MIGRATIONS
from tests.fakes.checkout import ROOT

DOCUMENT = (ROOT / "tests" / "data" / "core_schema.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "source-map.md").read_text(encoding="utf-8")
TABLES = {row_type.table: row_type for row_type in ROW_TYPES}


@dataclass(frozen=True)
class Item:
    """One row of the page."""

    section: str
    what: str
    where: str
    test: str


def sections(text: str) -> dict[str, str]:
    """Heading with its marks (`#### sessions`) -> the lines below it, up to the next heading."""
    found: dict[str, str] = {}
    for heading, body in re.findall(r"^(#{2,4} .+)\n((?:(?!#{2,4} ).*\n?)*)", text, re.MULTILINE):
        assert heading not in found, heading
        found[heading] = body
    return found


def items() -> list[Item]:
    found = []
    for section, body in sections(PAGE).items():
        for what, where, test in re.findall(r"^\| (?!item \|)(.+?) \| (.+?) \| (.+?) \|$", body, re.MULTILINE):
            found.append(Item(section, what, where, test))
    return found


ITEMS = items()


def of(section: str) -> list[Item]:
    return [item for item in ITEMS if item.section == section]


def document_tables() -> dict[str, list[str]]:
    """Each table of the document with its columns."""
    found = {}
    for table, body in re.findall(r"CREATE TABLE (\w+) \(\n(.*?)\n\);", DOCUMENT, re.DOTALL):
        names = [line.split()[0] for line in body.splitlines()]
        found[table] = [name for name in names if not name.startswith("UNIQUE(")]
    return found


def document_indexes() -> list[tuple[str, str, str]]:
    """(name or empty, table, columns) of each index of the document."""
    return re.findall(r"CREATE INDEX (?:(\w+) )?ON (\w+) ?\(([\w, ]+)\);", DOCUMENT)


def flow_steps(body: str) -> list[str]:
    return [step.strip() for step in re.split(r"→|\n", body.replace("```", "")) if step.strip()]


def test_the_document_is_read_whole() -> None:
    """So that a change of its form is no silent pass."""
    assert len(document_tables()) == 15
    assert len(document_indexes()) == len(re.findall("CREATE INDEX", DOCUMENT)) == 41
    assert len(re.findall(r"^(?:Key Pattern|Queue): ", DOCUMENT, re.MULTILINE)) == 8


def test_every_heading_of_the_document_is_a_heading_of_the_page_in_its_order() -> None:
    assert list(sections(PAGE)) == list(sections(DOCUMENT))


@pytest.mark.parametrize("table", document_tables())
def test_every_column_of_a_table_stands_in_its_section_once(table: str) -> None:
    named = [
        name
        for item in of(f"#### {table}")
        if not item.what.startswith("`INDEX")
        for name in re.findall(r"`(\w+)`", item.what.partition(":")[0])
    ]
    assert sorted(named) == sorted(document_tables()[table])


@pytest.mark.parametrize("table", document_tables())
def test_every_column_of_the_document_is_a_column_of_ours(table: str) -> None:
    if table == "generation_queue":
        ours = set(GenerationRow.model_fields)
    elif table in TABLES:
        ours = set(TABLES[table].model_fields)
    else:
        ours = {row[1] for row in session_database(f"PRAGMA table_info({table})")}
    assert set(document_tables()[table]) <= ours


def test_every_index_of_the_document_stands_in_its_tables_section_once() -> None:
    wanted = [
        (f"#### {table}", f"`INDEX {name + ' ' if name else ''}ON {table} ({columns})`")
        for name, table, columns in document_indexes()
    ]
    assert sorted(wanted) == sorted((item.section, item.what) for item in ITEMS if item.what.startswith("`INDEX"))


def test_an_index_that_the_page_calls_one_is_one() -> None:
    for item in ITEMS:
        found = re.fullmatch(r"`INDEX (?:(\w+) )?ON (\w+) \(([\w, ]+)\)`", item.what)
        if found and found[2] in TABLES:
            assert item.where.startswith("index: ") == (found[3] in TABLES[found[2]].indexes), item.what


def test_every_sqlite_index_of_the_document_is_one_of_ours() -> None:
    ours = {name for (name,) in session_database("SELECT name FROM sqlite_master WHERE type = 'index'")}
    for name, table, _ in document_indexes():
        if name and table != "generation_queue":
            assert name in ours, name


def session_database(query: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as db:
        for migrate in MIGRATIONS:
            migrate(db)
        return db.execute(query).fetchall()


@pytest.mark.parametrize(
    ("heading", "body"),
    [
        (heading, body)
        for heading, body in sections(DOCUMENT).items()
        if re.search("^(?:Key Pattern|Queue): ", body, re.M)
    ],
)
def test_every_key_and_queue_stands_in_its_section_with_all_that_is_said_of_it(heading: str, body: str) -> None:
    said = re.findall(r"^([A-Z][\w ]+): (.+)$", body, re.MULTILINE)
    wanted = [
        f"`{text}`" if word in ("Key Pattern", "Queue") else f"{word}: {text}"
        for word, text in said
        if word != "Example"
    ]
    assert [item.what for item in of(heading)] == wanted


def test_the_lifetimes_are_those_of_the_document() -> None:
    from memory.cache import protocol

    ours = {
        "session:": protocol.SESSION_TTL,
        "content_gen:": protocol.CONTENT_TTL,
        "brand:": protocol.BRAND_TTL,
        "agent:": protocol.AGENT_TTL,
        "coord:": protocol.COORD_TTL,
    }
    said = re.findall(r"^Key Pattern: (\w+:).*?^TTL: (\d+) (minutes?|hours?)$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert {key: timedelta(**{unit.rstrip("s") + "s": int(number)}) for key, number, unit in said} == ours


@pytest.mark.parametrize(
    ("heading", "body"), [(heading, body) for heading, body in sections(DOCUMENT).items() if "→" in body]
)
def test_every_step_of_a_flow_stands_in_its_section_in_order(heading: str, body: str) -> None:
    assert [item.what for item in of(heading)] == flow_steps(body)


@pytest.mark.parametrize(
    ("heading", "body"),
    [
        (heading, body)
        for heading, body in sections(DOCUMENT).items()
        if re.search(r"^(?:-|\d+\.) \*\*", body, re.MULTILINE)
    ],
)
def test_every_point_of_a_list_stands_in_its_section_in_order(heading: str, body: str) -> None:
    assert [item.what for item in of(heading)] == re.findall(r"^(?:-|\d+\.) \*\*(.+?)\*\*", body, re.MULTILINE)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: f"{item.section.strip('# ')}: {item.what}"[:60])
def test_an_item_names_a_module_a_vendor_feature_or_the_word_missing(item: Item) -> None:
    files = re.findall(r"`((?:config|memory|tools|agents|graphs|runtime)/[\w/]+\.(?:py|lua))`", item.where)
    assert all((ROOT / file).is_file() for file in files), item.where
    pages = re.findall(r"\(operate\.md#([\w-]+)\)", item.where)
    assert "vendor feature" not in item.where or pages
    assert set(pages) <= anchors(), item.where
    assert files or pages or "missing: " in item.where, item.what
    # A module without a test is a claim.
    tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", item.test)
    if files and "missing: " not in item.where:
        assert tests, item.what
    for file, name in tests:
        assert not name or re.search(rf"def {name}\b", (ROOT / file).read_text(encoding="utf-8")), item.test


def anchors() -> set[str]:
    text = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_what_is_missing_here_is_missing_on_the_status_page_too() -> None:
    status = (ROOT / "docs" / "status.md").read_text(encoding="utf-8")
    rows = [line for line in status.splitlines() if line.startswith("| ") and "missing" in line]
    labels = {label for item in ITEMS for label in re.findall(r"missing: (.+?)(?=;|$)", item.where)}
    assert labels
    for label in labels:
        assert any(line.startswith(f"| {label} |") for line in rows), label


def test_the_status_page_calls_nothing_of_the_document_missing_that_the_page_does_not() -> None:
    status = (ROOT / "docs" / "status.md").read_text(encoding="utf-8")
    body = status.partition("## From the core document\n")[2].partition("\n## ")[0]
    labels = re.findall(r"^\| (?!what \|)(.+?) \| missing", body, re.MULTILINE)
    assert labels
    for label in labels:
        assert f"missing: {label}" in PAGE, label
