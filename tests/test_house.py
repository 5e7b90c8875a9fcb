"""The house: imports point one way, engines are opened by name, files stay small, promises are written down."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("config", "memory", "tools", "agents", "graphs", "runtime", "run_agents")
PUBLIC = "copydesk"
"""The module for plug-ins stands beside run_agents.py: it may import every layer, and no layer imports it."""

PRODUCT = [
    *sorted(path for layer in LAYERS[:-1] for path in (ROOT / layer).rglob("*.py")),
    ROOT / "run_agents.py",
    ROOT / "copydesk.py",
]
TESTS = sorted((ROOT / "tests").rglob("*.py"))

SDK_HOMES = {
    "astrapy": r"memory/(\w+/)?astra\w*\.py",
    "redis": r"memory/(\w+/)?redis\w*\.py",
    "langchain_openai": r"agents/openai_models\.py",
    "openai": r"agents/openai_models\.py|memory/embedding/openai_\w+\.py",
    "aiosqlite": r"memory/\w*\.py",
}
"""Which files may import an SDK, at any depth."""

HEAVY = (
    "langgraph",
    "langchain",
    "langchain_core",
    "langchain_openai",
    "openai",
    "astrapy",
    "redis",
    "numpy",
    "rich",
    "httpx",
)


def name_of(path: Path) -> str:
    """The dotted name of the module at `path`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that `path` imports, inside functions and TYPE_CHECKING too, as (line, dotted name)."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = path.relative_to(ROOT).parent.parts
                module = ".".join([*package[: len(package) - node.level + 1], *([module] if module else [])])
            yield node.lineno, module
            # `from memory.queue import sqlite` imports a module, too.
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def opened_by_name() -> dict[str, str]:
    """The modules that product code names in a string `package.module:function`, and who names each."""
    found: dict[str, str] = {}
    for path in PRODUCT:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                match = re.fullmatch(rf"((?:{'|'.join(LAYERS)})(?:\.\w+)+):\w+", node.value)
                if match:
                    found[match[1]] = name_of(path)
    return found


def where(path: Path, line: int, what: str) -> str:
    return f"{path.relative_to(ROOT)}:{line}: {what}"


def test_imports_point_one_way() -> None:
    wrong = []
    for path in PRODUCT:
        layer = name_of(path).partition(".")[0]
        allowed = LAYERS if layer == PUBLIC else LAYERS[: LAYERS.index(layer) + 1]
        for line, module in imports_of(path):
            top = module.partition(".")[0]
            if (top in LAYERS and top not in allowed) or top == PUBLIC or top == "tests":
                wrong.append(where(path, line, f"{layer} imports {module}"))
    assert not wrong, "\n".join(sorted(set(wrong)))


def test_dynamic_imports_point_one_way_too() -> None:
    """A string `a.b:open_x` is an import: it may name its own layer and what is below it."""
    wrong = [
        f"{user} opens {module}"
        for module, user in opened_by_name().items()
        if LAYERS.index(module.partition(".")[0]) > LAYERS.index(user.partition(".")[0])
    ]
    assert not wrong, wrong


def test_every_engine_that_is_named_exists() -> None:
    missing = [
        f"{user} names {module}"
        for module, user in opened_by_name().items()
        if not (ROOT / (module.replace(".", "/") + ".py")).is_file()
    ]
    assert not missing


def test_nobody_imports_an_engine() -> None:
    engines = opened_by_name()
    assert {"memory.records.sqlite", "memory.queue.sqlite", "memory.cache.sqlite", "memory.checkpoints.sqlite"} <= set(
        engines
    )
    wrong = [
        where(path, line, f"imports {module}, which {engines[module]} opens by name")
        for path in PRODUCT
        for line, module in imports_of(path)
        if module in engines and name_of(path) not in engines
    ]
    assert not wrong, "\n".join(wrong)


def test_inside_a_protocol_folder_rows_come_first_then_the_protocol_then_engines() -> None:
    engines = opened_by_name()
    wrong = []
    for path in PRODUCT:
        name = name_of(path)
        for line, module in imports_of(path):
            if name.endswith(".protocol") and module in engines:
                wrong.append(where(path, line, f"a protocol imports the engine {module}"))
            if name.startswith("memory.rows") and module.startswith("memory.") and not module.startswith("memory.rows"):
                wrong.append(where(path, line, f"rows import {module}"))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("sdk", SDK_HOMES)
def test_an_sdk_is_imported_by_its_own_engines_alone(sdk: str) -> None:
    wrong = [
        where(path, line, f"imports {module}")
        for path in PRODUCT
        for line, module in imports_of(path)
        if module.partition(".")[0] == sdk and not re.fullmatch(SDK_HOMES[sdk], path.relative_to(ROOT).as_posix())
    ]
    assert not wrong, "\n".join(sorted(set(wrong)))


def test_no_module_is_over_400_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in PRODUCT
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long, long


def test_there_is_no_utils_module() -> None:
    vague = {"utils", "util", "helpers", "misc", "common_utils"}
    assert not [str(path) for path in [*PRODUCT, *TESTS] if path.stem in vague or path.parent.name in vague]


TIME_NAMES = "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns clock_gettime localtime gmtime sleep"
CLOCK_CALLS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    *(("time", name) for name in TIME_NAMES.split()),
}
ELAPSED_ONLY = {
    # Measures how long its own thread waited or idled, where no row and no decision depends on the answer.
    "memory/sqlite_file.py": {("time", "monotonic")},
    "memory/sqlite_lane.py": {("time", "monotonic"), ("time", "sleep")},
}


def clock_reads(tree: ast.Module) -> Iterator[tuple[int, tuple[str, str]]]:
    """Where a module asks the machine for the time: `time.time`, `datetime.datetime.now`, `from time import time`, ..."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from ((node.lineno, ("time", alias.name)) for alias in node.names)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if (owner, node.attr) in CLOCK_CALLS:
                yield node.lineno, (owner, node.attr)


def test_only_the_clock_reads_the_time() -> None:
    wrong = []
    for path in PRODUCT:
        relative = path.relative_to(ROOT).as_posix()
        for line, call in clock_reads(tree_of(path)):
            if relative != "config/clock.py" and call not in ELAPSED_ONLY.get(relative, set()):
                wrong.append(where(path, line, ".".join(call)))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "from time import time",
        "from datetime import datetime\ndatetime.now(UTC)",
        "import datetime\ndatetime.datetime.utcnow()",
        "from datetime import date\ndate.today()",
        "import time\nnow = time.time_ns",
    ],
)
def test_the_clock_rule_sees_each_way_to_read_the_time(source: str) -> None:
    assert list(clock_reads(ast.parse(source)))


def test_time_zones_stay_at_the_edge() -> None:
    """Only the week resolves wall clocks; the brand names its zone; commands and the outbox show instants to a person."""
    edge = r"graphs\.week|config\.brand_profile|runtime\.commands\.\w+|tools\.publish\.outbox\w*"
    wrong = [
        where(path, line, module)
        for path in PRODUCT
        for line, module in imports_of(path)
        if module.partition(".")[0] == "zoneinfo" and not re.fullmatch(edge, name_of(path))
    ]
    assert not wrong, "\n".join(wrong)


def missing_docstrings(path: Path) -> Iterator[str]:
    """The rule: a module says what it is; a public class or function, and each method of a Protocol, says what it promises.

    Exempt: empty `__init__.py` files; methods elsewhere, because they keep the promise of their protocol or class; enums
    whose names say all; functions that are one `return`; a Protocol's properties; numbered migrations; `register(verbs)` of
    a command file, whose promise stands once in runtime/commands/__init__.py.
    """
    tree = tree_of(path)
    if tree.body and not ast.get_docstring(tree):
        yield where(path, 1, "the module has no docstring")
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        bases = {ast.unparse(base) for base in node.bases} if isinstance(node, ast.ClassDef) else set()
        command = node.name == "register" and path.parent.name == "commands"
        plain = len(node.body) == 1 and isinstance(node.body[0], ast.Return)
        exempt = command or plain or "StrEnum" in bases or re.fullmatch(r"m\d{3}_\w+", node.name)
        if not ast.get_docstring(node) and not exempt:
            yield where(path, node.lineno, f"{node.name} has no docstring")
        if "Protocol" in bases and isinstance(node, ast.ClassDef):
            for method in node.body:
                if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) or ast.get_docstring(method):
                    continue
                if "property" not in {ast.unparse(decorator) for decorator in method.decorator_list}:
                    yield where(path, method.lineno, f"{node.name}.{method.name} has no docstring")


def test_every_public_name_says_what_it_promises() -> None:
    wrong = [line for path in PRODUCT for line in missing_docstrings(path)]
    assert not wrong, "\n".join(wrong)


def test_a_wide_except_raises_again_or_is_justified_by_a_comment() -> None:
    wrong = []
    for path in PRODUCT:
        with path.open("rb") as file:
            comments = {token.start[0] for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT}
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ExceptHandler):
                caught = "" if node.type is None else ast.unparse(node.type)
                near = set(range(node.lineno - 1, node.body[0].lineno + 1))
                again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
                if re.fullmatch(r"|.*\b(Base)?Exception\b.*", caught) and not again and not near & comments:
                    wrong.append(where(path, node.lineno, f"except {caught}".strip()))
    assert not wrong, "\n".join(wrong)


def test_no_contract_test_names_an_engine() -> None:
    """The fixtures know the engines; a test that knew one would hold for that one only."""
    wrong = []
    for path in sorted((ROOT / "tests" / "contracts").glob("test_*.py")):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                body = " ".join(ast.unparse(part) for part in node.body)
                wrong += [
                    where(path, node.lineno, engine)
                    for engine in ("sqlite", "austere", "astra", "redis")
                    if engine in body.lower()
                ]
    assert not wrong, "\n".join(wrong)


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    banned = re.compile(r"\b(?:pytest\.)?(?:mark\.)?(skip|skipif|xfail|importorskip)\s*\(|@pytest\.mark\.(skip|xfail)")
    this = Path(__file__).resolve()
    wrong = [
        where(path, number, line.strip())
        for path in TESTS
        if path != this
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if banned.search(line)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("arguments", [["--help"], ["queue", "--help"], ["queue", "list"]])
def test_help_and_queue_list_load_neither_langgraph_nor_an_sdk(arguments: list[str], tmp_path: Path) -> None:
    program = (
        "import sys, contextlib, io, run_agents\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        f"    code = run_agents.main({['--data-dir', str(tmp_path / 'data'), *arguments]!r})\n"
        "assert code == 0, out.getvalue()\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "runtime" in loaded
    assert not loaded & {*HEAVY, "structlog"}


def test_a_plugin_that_registers_a_platform_loads_no_sdk(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.append({str(ROOT)!r})\n"
        "import copydesk\n"
        "copydesk.register_platform('linkedin')\n"
        "copydesk.register_check('house_rules')\n"
        "from config.vocabulary import CHECK_TYPES, PLATFORMS\n"
        "assert 'linkedin' in PLATFORMS and 'house_rules' in CHECK_TYPES\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & {*HEAVY, "structlog"}


def test_the_public_module_refuses_a_foreign_package_of_our_names(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("", encoding="utf-8")
    program = f"import config, sys; sys.path.append({str(ROOT)!r})\nimport copydesk\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "ImportError: copydesk: another package named 'config' is loaded" in done.stderr


def test_every_public_name_of_the_plugin_module_is_there() -> None:
    import copydesk

    for name in copydesk.__all__:
        assert callable(getattr(copydesk, name))
