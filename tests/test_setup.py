"""Setting up on a bare machine: what is missing is said in one line or installed; locks pin content and name no place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.checkout import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-bench.lock")
TOOLS = ("bash", "make", "cmp", "cp", "rm", "dirname")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout's set-up files on a machine whose PATH holds a shell and make, and no Python."""
    for name in ("Makefile", *LOCKS):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def run(bare: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": str(bare / "bin"), "HOME": str(bare)}
    return subprocess.run(command, cwd=bare, env=environ, capture_output=True, text=True, timeout=60)


def program(path: Path, text: str) -> None:
    path.write_text(f"#!{shutil.which('bash')}\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def test_without_python_one_line_says_what_to_install(bare: Path) -> None:
    done = run(bare, "make", "demo")
    assert done.returncode != 0
    assert "error: no Python 3.11 or newer on PATH: install one, e.g. apt-get install python3.11" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_older_python_does_not_count(bare: Path) -> None:
    program(bare / "bin" / "python3", "exit 1  # every question about its version is answered with no")
    assert "error: no Python 3.11 or newer on PATH" in run(bare, "make", "test").stderr


def test_a_python_without_ensurepip_is_named_with_the_package_to_install(bare: Path) -> None:
    program(bare / "bin" / "python3", f'case "$*" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"')
    done = run(bare, "make", "demo")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert done.returncode != 0
    assert (
        f"cannot make a virtual environment: install its venv module, e.g. apt-get install python{version}-venv"
        in done.stderr
    )
    assert not (bare / ".venv").exists()


def test_ci_installs_what_is_missing_and_then_runs_make_test(bare: Path) -> None:
    (bare / "bin" / "make").unlink()
    program(bare / "bin" / "redis-server", "exit 0")
    program(bare / "bin" / "openssl", "exit 0")
    program(
        bare / "bin" / "apt-get", f'echo "$*" >> {bare}/asked\n[[ $1 == update ]] || cp {bare}/made {bare}/bin/make'
    )
    program(bare / "made", f'echo "make $*" >> {bare}/asked; exit 7')
    done = run(bare, "bash", ".ci/run")
    assert done.returncode == 7, done.stderr
    update, install, made = (bare / "asked").read_text(encoding="utf-8").splitlines()
    assert update.startswith("update")
    assert install.split()[-3:] == ["make", "python3", "python3-venv"]
    assert made == "make test"


def test_ci_installs_nothing_that_is_there(bare: Path) -> None:
    program(bare / "bin" / "apt-get", f"touch {bare}/asked")
    program(bare / "bin" / "python3", f'exec {sys.executable} "$@"')
    program(bare / "bin" / "redis-server", "exit 0")
    program(bare / "bin" / "openssl", "exit 0")
    (bare / "bin" / "make").unlink()
    program(bare / "bin" / "make", "exit 0")
    assert run(bare, "bash", ".ci/run").returncode == 0
    assert not (bare / "asked").exists()


def test_ci_installs_a_redis_server_where_no_wheel_brings_one(bare: Path) -> None:
    program(bare / "bin" / "apt-get", f'echo "$*" >> {bare}/asked')
    program(bare / "bin" / "python3", f'exec {sys.executable} "$@"')
    program(bare / "bin" / "uname", "echo riscv64")
    program(bare / "bin" / "openssl", "exit 0")
    (bare / "bin" / "make").unlink()
    program(bare / "bin" / "make", "exit 0")
    assert run(bare, "bash", ".ci/run").returncode == 0
    assert (bare / "asked").read_text(encoding="utf-8").split()[-1] == "redis-server"


def test_ci_can_be_executed() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def pins(lock: str) -> dict[str, set[str]]:
    """The pinned versions of a lock, by distribution."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE
    ):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_has_a_hash(lock: str) -> None:
    entries = re.split(r"\n(?=[a-z])", (ROOT / lock).read_text(encoding="utf-8").strip())
    assert entries
    for entry in entries:
        assert "==" in entry.splitlines()[0], entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_place_to_load_from(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert "index" not in {line.strip().partition(" ")[0].strip("-") for line in text.splitlines()}


def test_the_development_lock_holds_the_running_one() -> None:
    """`make demo` relies on it: where the development lock is installed, nothing else is."""
    development = pins("requirements-dev.lock")
    for name, versions in pins("requirements.lock").items():
        assert versions <= development.get(name, set()), name


def test_the_locks_satisfy_what_the_project_asks_for() -> None:
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {
        "requirements.lock": project["project"]["dependencies"],
        "requirements-dev.lock": project["dependency-groups"]["dev"],
        "requirements-bench.lock": project["dependency-groups"]["bench"],
    }
    for lock, requirements in wanted.items():
        for requirement in map(Requirement, requirements):
            assert all(requirement.specifier.contains(version) for version in pins(lock)[requirement.name]), requirement
            assert pins(lock)[requirement.name], requirement
