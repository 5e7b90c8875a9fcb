"""The wheel: nothing but ours in it, and it works alone, from any folder, beside others that own our package names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.fakes.checkout import ROOT, copy_checkout

pytestmark = pytest.mark.slow

LAYERS = ("config", "memory", "tools", "agents", "graphs", "runtime")


def run(*command: str | Path, cwd: Path, timeout_s: int = 180) -> subprocess.CompletedProcess[str]:
    """Run `command` as a stranger would: none of our variables, nothing of the checkout on the path."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("COPYDESK_", "PYTHON", "OPENAI_"))
    }
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean, capture_output=True, text=True, timeout=timeout_s
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("wheel")
    source = copy_checkout(work / "source")
    built = run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", work / "dist", cwd=source)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (work / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh virtual environment that holds the wheel; its dependencies are lent by the running one."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    done = run(
        sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=home
    )
    assert done.returncode == 0, done.stderr
    # What another distribution may bring: it must not be taken for ours.
    for name in LAYERS:
        (site / f"{name}.py").write_text("raise ImportError('somebody else owns this name')\n", encoding="utf-8")
    return home / "bin"


def test_the_wheel_holds_ours_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        f"_copydesk/{path.relative_to(ROOT).as_posix()}"
        for layer in LAYERS
        for path in (ROOT / layer).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    (info,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
    meta = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    assert names == ours | meta | {"run_agents.py", "copydesk.py"}
    assert {"_copydesk/config/platforms.toml", "_copydesk/config/prices.toml"} <= names


def test_the_wheel_names_its_licence_and_its_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    texts = {
        name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name
    }
    assert "License-Expression: Apache-2.0" in texts["METADATA"]
    assert "copydesk = run_agents:main" in texts["entry_points.txt"]
    assert "Apache License" in texts["LICENSE"]


def test_the_installed_command_shows_its_help_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "copydesk", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "usage: copydesk" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_installed_command_runs_the_demo_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "copydesk", "demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0.00 USD" in done.stdout
    assert re.search(r"copydesk review approve --session \S+ --all", done.stdout)
    assert [path.name for path in tmp_path.iterdir()] == [".copydesk"]


def test_an_installed_plugin_imports_the_public_module_alone(installed: Path, tmp_path: Path) -> None:
    program = (
        "import copydesk; copydesk.register_platform('linkedin'); print(copydesk.open_runtime.__module__);"
        "import config; print(config.__file__); from copydesk import tool, ToolContext, ToolRetry, ToolFailed"
    )
    done = run(installed / "python", "-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    module, config = done.stdout.split()
    assert module == "runtime.compose"
    assert "_copydesk" in Path(config).parts
    listed = run(installed / "copydesk", "tools", "list", cwd=tmp_path)
    assert "search_knowledge" in listed.stdout, listed.stderr
