"""Docs that cannot lie: every command of the README runs, generated pages are current, links and named tests exist."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests.fakes.checkout import ROOT, copy_checkout

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
NOT_RUN = ("make test",)
"""This very suite: the README may show it, and running it here would never end."""


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands_of(text: str) -> list[tuple[str, list[str]]]:
    """Every command of the `console` and `sh` blocks, in order, with the output lines that the page shows under it.

    In `console` a command follows `$ ` (its continuation lines follow `> `) and the rest is output; in `sh` all is one command.
    """
    found: list[tuple[str, list[str]]] = []
    for language, body in re.findall(r"^```(console|sh)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language == "sh":
            found.append((body.strip(), []))
            continue
        for line in body.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.startswith("> ") and found:
                found[-1] = (f"{found[-1][0]}\n{line[2:]}", found[-1][1])
            elif line.strip() and found:
                found[-1][1].append(line)
    return found


def comparable(text: str) -> str:
    """`text` without what differs from run to run: ids, hashes, dates, weeks, widths."""
    text = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID", text)
    text = re.sub(r"\b[0-9a-f]{12,64}\b", "HASH", text)
    text = re.sub(r"\b\d+ tokens\b", "N tokens", text)
    text = re.sub(r"\b\d{4}-(W\d\d|\d\d-\d\d)\b(T[\d:.]+Z?)?", "DATE", text)
    return " ".join(text.split())


def test_the_parser_of_blocks_sees_commands_continuations_and_output() -> None:
    page = "```console\n$ a \\\n> b\nout\n$ c\n```\n```sh\nd\ne\n```\n```json\nf\n```\n"
    assert commands_of(page) == [("a \\\nb", ["out"]), ("c", []), ("d\ne", [])]


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/brand.md"])
def test_every_command_of_the_page_runs_and_shows_what_the_page_shows(tmp_path: Path, page: str) -> None:
    """One shell, in order, in a copy of the checkout: what one block makes, the next one uses.

    A command ends with 0, or 3 (something waits for a human). Each line of output that the page shows must come, in order;
    `...` stands for any lines. A command in NOT_RUN is skipped.
    """
    checkout = copy_checkout(tmp_path / "checkout")
    (checkout / ".venv").symlink_to(sys.prefix)
    commands = [pair for pair in commands_of((ROOT / page).read_text(encoding="utf-8")) if pair[0] not in NOT_RUN]
    assert len(commands) > 10
    script = "".join(f"{command}\nprintf '\\n@@%d@@\\n' $?\n" for command, _ in commands)
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("COPYDESK_", "PYTEST_", "OPENAI_"))
    }
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=checkout,
        env={**clean, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    parts = re.split(r"\n@@(\d+)@@\n", done.stdout)
    assert len(parts) == 2 * len(commands) + 1, done.stdout + done.stderr
    for (command, shown), output, code in zip(commands, parts[0::2], parts[1::2], strict=False):
        assert code in ("0", "3"), f"{command}: exit {code}\n{output}\n{done.stderr}"
        rest = iter(comparable(line) for line in output.splitlines())
        for line in shown:
            if line.strip() != "...":
                assert comparable(line) in rest, f"{command}: the page shows {line!r}; it printed\n{output}"


def test_generated_parts_say_what_the_code_says() -> None:
    generator = load_generator()
    stale = []
    for page in {where for where, _ in generator.GENERATED}:
        text = (ROOT / page).read_text(encoding="utf-8")
        if generator.render(page, text) != text:
            stale.append(page)
    assert not stale, f"{stale}: run `make docs`"


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="markers"):
        load_generator().render("docs/architecture.md", "no markers here")


def test_the_graph_pictures_show_every_step() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for step in (
        "plan",
        "research_day",
        "dispatch",
        "wait",
        "report",
        "draft",
        "check",
        "decide",
        "revise",
        "ask",
        "gate",
        "settle",
    ):
        assert re.search(rf"\b{step}\b;", text), step


def test_the_picture_of_the_agents_gives_every_role_a_step() -> None:
    from config.vocabulary import AgentType

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for role in AgentType:
        assert f"    {role} --> " in text, role


def test_every_setting_is_on_the_configuration_page() -> None:
    from config.settings import Settings, variable

    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert f"| `{variable(name)}` |" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_and_tests_exist(page: Path) -> None:
    """`tests/test_x.py::test_y` in a page is a promise that this test is there."""
    text = page.read_text(encoding="utf-8")
    for path, test in re.findall(
        r"(?<![\w/])((?:tests|config|memory|tools|agents|graphs|runtime|docs)/[\w/]+\.(?:py|md|toml))(?:::(\w+))?", text
    ):
        file = ROOT / path
        assert file.is_file(), path
        if test:
            assert re.search(rf"def {test}\b", file.read_text(encoding="utf-8")), f"{path}::{test}"


def test_decisions_are_numbered_and_say_context_choice_and_what_was_tried() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings[:3] == ["Context", "Choice", "What was tried"], page.name


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"].values()
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for requirement in [*project["project"]["dependencies"], *(line for group in groups for line in group)]:
        assert f"| {re.match(r'[a-z0-9-]+', requirement)[0]} |" in text, requirement  # type: ignore[index]


def test_the_changelog_knows_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_status_row_has_a_command_or_the_word_missing() -> None:
    rows = re.findall(
        r"^\| (?!what |-)(.+?) \| (.+?) \|$", (ROOT / "docs" / "status.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) > 40
    for behaviour, shown in rows:
        assert "`" in shown or "missing" in shown, behaviour


def test_no_page_names_a_place_of_one_machine() -> None:
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(?:home|root|work|tmp)/", page.read_text(encoding="utf-8")), page.name
