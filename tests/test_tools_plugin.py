"""The page that tells how to add a tool, followed to the letter: as a plug-in, and as a file dropped in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import replace
from functools import wraps
from pathlib import Path

import pytest

from tests.cli_support import Cli, cli, environment, quiet_process, small_brand
from tests.fakes.checkout import ROOT, copy_checkout
from tools.registry import ToolSet, shipped_tools

__all__ = ["cli", "quiet_process"]  # fixtures
PAGE = (ROOT / "docs" / "add-a-tool.md").read_text(encoding="utf-8")
HOURS, DESK = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PROJECT = tomllib.loads(re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[0])


def install(site: Path, project: dict[str, object], **modules: str) -> None:
    """What pip leaves in site-packages of a distribution of these modules."""
    about = project["project"]
    assert isinstance(about, dict)
    info = site / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    points = about["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in named.items()) for group, named in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    for name, text in modules.items():
        (site / f"{name}.py").write_text(text)


def a_project(name: str, module: str) -> dict[str, object]:
    return {"project": {"name": name, "version": "1.0", "entry-points": {"copydesk.tools": {"it": module}}}}


def run(*argv: str, site: Path | None = None, home: Path = ROOT, data: Path) -> subprocess.CompletedProcess[str]:
    env = environment(PYTHONPATH=str(site)) if site else environment()
    command = [sys.executable, str(home / "run_agents.py"), "--data-dir", str(data), *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, cwd=home, check=False)


def shown(page: str) -> dict[str, str]:
    """The commands of the page's console blocks, each with the output that it shows."""
    found: dict[str, str] = {}
    for block in re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        for part in block.split("$ ")[1:]:
            command, _, out = part.partition("\n")
            found[command.removeprefix(".venv/bin/python run_agents.py ")] = out
    return found


def test_the_example_is_ten_lines_and_does_what_the_page_shows_as_an_installed_plug_in(tmp_path: Path) -> None:
    assert len([line for line in HOURS.splitlines() if line.strip()]) <= 10
    install(tmp_path / "site", PROJECT, acme_hours=HOURS)
    commands = shown(PAGE)
    assert list(commands) == [
        "tools list", "tools show opening_hours", "tools run opening_hours --arg day=Monday",
    ]  # fmt: skip
    for command, out in commands.items():
        done = run(*command.split(), site=tmp_path / "site", data=tmp_path / "data")
        assert (done.returncode, done.stderr) == (0, ""), command
        assert "opening_hours" in done.stdout or done.stdout == out
        assert out in done.stdout
    listed = run("tools", "list", "--json", site=tmp_path / "site", data=tmp_path / "data").stdout
    assert '"from": "acme-hours 1.0"' in listed
    assert '"description": "A day of the week, in English."' in listed
    assert '"broken": []' in listed


def test_what_the_page_types_installs_the_plug_in_beside_a_checkout(tmp_path: Path) -> None:
    typed = re.findall(r"^\.venv/bin/pip (install .*)$", PAGE, re.MULTILINE)
    home = copy_checkout(tmp_path / "checkout")
    beside = tmp_path / "acme-hours"
    beside.mkdir()
    (beside / "acme_hours.py").write_text(HOURS)
    (beside / "pyproject.toml").write_text(re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[0])
    prefix = tmp_path / "prefix"
    site = site_of(prefix)

    def pip(words: str) -> subprocess.CompletedProcess[str]:
        # Into a folder of the test's own, and from no index: what the first command installs is all that the second finds.
        argv = [*words.replace(" -e", "").split(), "--prefix", str(prefix), "--no-index", "--no-build-isolation", "-q"]
        env = environment(PYTHONPATH=str(site), PIP_CONFIG_FILE=os.devnull, PIP_FIND_LINKS="")
        return subprocess.run(
            [sys.executable, "-m", "pip", *argv],
            cwd=home,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert len(typed) == 2
    assert "No matching distribution found for copydesk" in pip(typed[1]).stderr, "why the page has the first command"
    for words in typed:
        done = pip(words)
        assert done.returncode == 0, (words, done.stderr)
    told = run("tools", "run", "opening_hours", "--arg", "day=Monday", site=site, home=home, data=tmp_path / "data")
    assert (told.returncode, told.stdout) == (0, "closed\n"), told.stderr


def site_of(prefix: Path) -> Path:
    """Where pip puts modules under `prefix`."""
    return Path(sysconfig.get_path("purelib", vars={"base": str(prefix), "platbase": str(prefix)}))


def test_the_example_is_a_tool_too_when_its_file_is_dropped_in(tmp_path: Path) -> None:
    home = copy_checkout(tmp_path / "checkout")
    (home / "tools" / "builtin" / "hours.py").write_text(HOURS)
    done = run("tools", "run", "opening_hours", "--arg", "day=Friday", home=home, data=tmp_path / "data")
    assert (done.returncode, done.stdout) == (0, "9:00 to 18:00\n"), done.stderr


def test_an_effect_of_the_page_needs_leave_happens_once_and_answers_the_same_again(tmp_path: Path) -> None:
    site, data = tmp_path / "site", tmp_path / "data"
    install(site, a_project("desk", "desk"), desk=DESK)

    def tell(text: str, *flags: str) -> subprocess.CompletedProcess[str]:
        argv = ["tools", "run", "tell_the_desk", "--arg", "week=2026-W50", "--arg", f"text={text}", *flags]
        return run(*argv, site=site, data=data)

    refused = tell("hello")
    assert (refused.returncode, refused.stderr) == (
        2,
        "error: tool 'tell_the_desk' writes: give --allow-write to let it\n",
    )
    empty = tell(" ", "--allow-write")
    assert (empty.returncode, empty.stderr) == (1, "error: there is nothing to tell\n")
    assert tell("hello", "--allow-write").stdout == "told: hello\n"
    assert tell("something else", "--allow-write").stdout == "told: hello\n"


BROKEN = {
    "raises": ("raise RuntimeError('no key sk-abcdefghijklmnopqrstuvwx in sight')", "RuntimeError: no key"),
    "leaves": ("import sys\nsys.exit(3)", "SystemExit: 3"),
    "missing": ("import something_that_is_not_there", "No module named 'something_that_is_not_there'"),
    "silent": (
        "from copydesk import tool\n@tool(agents={'research'})\nasync def quiet(a: str) -> str:\n    return a\n",
        "tool silent:quiet has no docstring",
    ),
    "empty": ("x = 1\n", "has no tool in it"),
    "bare": (
        "from copydesk import tool\n@tool\nasync def undressed() -> str:\n    'Do.'\n    return ''\n",
        "tool bare:undressed: write @tool(agents=",
    ),
    "stopped": ("class Stop(BaseException): pass\nraise Stop('here')", "Stop: here"),
    "odd:x": ("x = (n for n in [1])", "odd:x holds something that is no tool"),
    "two words:": ("", "names nothing: write it as module, or module:tool"),
    "greedy": (
        "from copydesk import tool\n@tool(agents={'research'}, effect='publish')\n"
        "async def post_it() -> None:\n    'Post it.'\n",
        "research may not publish; of the roles, coordination may",
    ),
    "copycat": (
        "from copydesk import tool\n@tool(agents={'research'})\nasync def claims() -> str:\n    'Mine.'\n    return 'approved'\n",
        "tools.builtin.claims has a tool of that name too",
    ),
}


def test_every_broken_plug_in_is_named_with_its_reason_and_takes_nothing_down(tmp_path: Path) -> None:
    site = tmp_path / "site"
    for name, (text, _) in BROKEN.items():
        module = name.partition(":")[0]
        install(site, a_project(module.replace(" ", "-"), name), **{module: text})
    install(site, PROJECT, acme_hours=HOURS)
    done = run("tools", "list", site=site, data=tmp_path / "data")
    assert done.returncode == 0, done.stderr
    broken = [line for line in done.stdout.splitlines() if line.startswith("broken: ")]
    assert len(broken) == len(BROKEN)
    for name, (_, reason) in BROKEN.items():
        dist = name.partition(":")[0].replace(" ", "-")
        assert any(f"{dist} 1.0: " in line and reason in line for line in broken), (name, broken)
    assert "sk-abcdef" not in done.stdout
    assert (
        run("tools", "run", "opening_hours", "--arg", "day=Monday", site=site, data=tmp_path / "data").returncode == 0
    )
    ours = run("tools", "run", "claims", "--json", site=site, data=tmp_path / "data")
    assert '"trust": "operator"' in ours.stdout, "ours stays"


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
def test_of_two_plug_ins_with_one_name_neither_is_used(tmp_path: Path, order: tuple[str, str]) -> None:
    site = tmp_path / "site"
    for name in order:
        install(site, a_project(name, name), **{name: HOURS})
    done = run("tools", "run", "opening_hours", "--arg", "day=Monday", site=site, data=tmp_path / "data")
    assert done.returncode == 2
    assert "opening_hours" in done.stderr
    assert "rename one" in done.stderr or "neither is used" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert os.linesep not in done.stdout


NOISY = HOURS.replace(
    "from copydesk import tool\n", "from copydesk import tool\n\nprint('hello from an import')\n"
).replace('    return "closed"', '    print("hello from a call")\n    return "closed"')


def test_what_a_plug_in_prints_is_not_in_the_json_of_a_command(tmp_path: Path) -> None:
    site, data = tmp_path / "site", tmp_path / "data"
    install(site, PROJECT, acme_hours=NOISY)
    listed = run("tools", "list", "--json", site=site, data=data)
    assert "opening_hours" in [one["name"] for one in json.loads(listed.stdout)["tools"]]
    ran = run("tools", "run", "opening_hours", "--arg", "day=Monday", "--json", site=site, data=data)
    assert json.loads(ran.stdout)["result"] == "closed"
    assert (listed.stderr, ran.stderr) == (
        "hello from an import\n",
        "hello from an import\nhello from a call\n",
    )


def test_a_package_offers_the_tools_of_its_parts_and_a_part_named_besides_is_no_second_one(tmp_path: Path) -> None:
    site = tmp_path / "site"
    project = a_project("acme", "acme")
    project["project"]["entry-points"]["copydesk.tools"]["part"] = "acme.hours"  # type: ignore[index]
    install(site, project)
    (site / "acme").mkdir()
    (site / "acme" / "__init__.py").write_text(
        "from acme.hours import opening_hours\nfrom tools.builtin.claims import claims\n"
    )
    (site / "acme" / "hours.py").write_text(HOURS)
    found = json.loads(run("tools", "list", "--json", site=site, data=tmp_path / "data").stdout)
    assert [one["from"] for one in found["tools"] if one["name"] == "opening_hours"] == ["acme 1.0"]
    assert found["broken"] == []


ARGUMENTS = """
from enum import IntEnum
from dataclasses import dataclass
from copydesk import tool

class Size(IntEnum):
    SMALL = 1

@dataclass
class Box:
    width: int

@tool(agents={"research"})
async def measure(
    many: int | None = None, size: Size = Size.SMALL, box: Box | None = None, name: str | None = None,
    both: int | str = 0, tags: list[str] | None = None,
) -> list[str]:
    \"\"\"Measure.

    Args:
        many: How many.
        size: Which size.
        box: Which box.
        name: Whose.
        both: A number or a text.
        tags: Words.
    \"\"\"
    return [repr(many), repr(size), repr(box), repr(name), repr(both), repr(tags)]
"""


def test_an_argument_is_typed_as_what_the_tool_takes_is_written(tmp_path: Path) -> None:
    site, data = tmp_path / "site", tmp_path / "data"
    install(site, a_project("sizes", "sizes"), sizes=ARGUMENTS)

    def measured(*argv: str) -> subprocess.CompletedProcess[str]:
        words = [word for text in argv for word in ("--arg", text)]
        return run("tools", "run", "measure", *words, "--json", site=site, data=data)

    given = ("many=3", "size=1", 'box={"width": 2}', "name=5", "both=7", 'tags=["a"]')
    assert json.loads(measured(*given).stdout)["result"] == [
        "3", "<Size.SMALL: 1>", "Box(width=2)", "'5'", "'7'", "['a']",
    ]  # fmt: skip
    wrong = measured("many=three")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--arg many=three: write the value as JSON" in wrong.stderr
    twice = run("tools", "run", "measure", "--json-args", '{"many": 1, "many": 2}', site=site, data=data)
    assert (twice.returncode, "'many' twice" in twice.stderr) == (2, True)
    shown = run("tools", "show", "measure", site=site, data=data).stdout
    assert "many (integer or null, default null): How many." in shown
    assert "size (one of 1, default 1): Which size." in shown
    assert "box (object or null, default null): Which box." in shown


def test_what_a_tool_prints_while_a_post_is_made_is_not_in_the_json(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = shipped_tools()
    spec = tools.get("search_knowledge")

    @wraps(spec.function)
    async def noisy(*args: object, **kwargs: object) -> object:
        print("hello from a call")
        return await spec.function(*args, **kwargs)

    loud = ToolSet({**tools.tools, spec.name: replace(spec, function=noisy)})
    monkeypatch.setattr("agents.agent.shipped_tools", lambda: loud)
    small_brand(cli)
    made = cli("create", "--platform", "instagram", "--type", "quote", "--topic", "light", "--json")
    assert made.json["session_id"]
    assert "hello from a call" in made.err


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("text=light",), "'text=light' is not an option: write --arg text=light"),
        (("a b=c",), "write --arg 'a b=c'"),
        (("--arg", "Text=light"), "no argument 'Text'; there are: text, platform (did you mean 'text'?)"),
        (("--arg", "text=light"), "platform: Field required: give --arg NAME=VALUE for each argument; see `tools show"),
    ],
)
def test_a_call_that_is_typed_wrongly_is_told_how_it_is_typed(cli: Cli, typed: tuple[str, ...], says: str) -> None:
    result = cli("tools", "run", "text_length", *typed)
    assert (result.code, says in result.complaint) == (2, True), result.complaint
    assert not cli.data_dir.exists()


def test_a_long_description_is_cut_between_words_and_says_so(cli: Cli) -> None:
    rows = [line for line in cli("tools", "list").out.splitlines() if " read " in line]
    assert any(line.endswith(" …") for line in rows)
    full = {one["name"]: one["description"] for one in cli.ok("tools", "list")["tools"]}
    for line in rows:
        shown = line.split("  ")[-1].strip()
        assert full[line.split()[0]].startswith(f"{shown.removesuffix(' …')}" + (" " if shown.endswith("…") else ""))
