"""What a command costs before it does anything: CPU time (user + system) of `--help` and `queue list`, each a process of its own.

    .venv/bin/python benchmarks/startup.py [--rounds 5]

Beside `python -c pass`, which is the floor: the interpreter alone. Taken in turn, median of the rounds, in milliseconds.
`queue list` runs on a data directory with a queue in it. The `.pyc` files are there, as after any first run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._report import result

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {"--help": 200.0, "queue list": 450.0}
"""CPU milliseconds at most."""


def spent(arguments: list[str], folder: Path) -> tuple[float, float]:
    """CPU and wall time of one process in milliseconds."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=environment, cwd=folder)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{arguments} ended with {child.returncode}"
    return (usage.ru_utime + usage.ru_stime) * 1000, (time.perf_counter() - began) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    program = str(ROOT / "run_agents.py")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = {
            "python -c pass": ["-c", "pass"],
            "--help": [program, "--help"],
            "queue list": [program, "queue", "list", "--data-dir", str(folder / "data")],
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for turn in range(rounds + 1):  # the first makes the data directory and warms the page cache
            for name, command in commands.items():
                found = spent(command, folder)
                if turn:
                    taken[name].append(found)
    cpu = {name: statistics.median(one for one, _ in found) for name, found in taken.items()}
    wall = {name: statistics.median(one for _, one in found) for name, found in taken.items()}
    floor = cpu["python -c pass"]
    print(f"Start-up, CPU ms (wall ms) of a process, median of {rounds}; the ratio is to the target in ms")
    for name, target in TARGETS.items():
        result(
            f"{name}, at most {target:.0f} ms",
            f"{cpu[name]:.0f} ({wall[name]:.0f})",
            f"bare python {floor:.0f} ({wall['python -c pass']:.0f})",
            cpu[name] / target,
            1,
        )


if __name__ == "__main__":
    main()
