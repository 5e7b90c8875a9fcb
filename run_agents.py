"""What an operator types: `run_agents.py VERB`. Parses and dispatches; imports nothing heavy at the top."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def _prepare_path() -> None:
    """Put the packages first on sys.path: beside this file in the repository, in `_copydesk/` when installed as a wheel."""
    here = Path(__file__).resolve().parent
    private = here / "_copydesk"
    # Other distributions own top-level names such as `agents` and `config`: ours must be found first.
    sys.path.insert(0, str(private if private.is_dir() else here))


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code (design: 0 ok, 1 findings, 2 bad input, 3 waiting for a human, 74, 75, 130)."""
    try:
        _prepare_path()
        from runtime.commands.common import dispatch

        return dispatch(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:  # while still starting
        sys.stderr.write("stopped: interrupted before anything was done\n")
        return 130


if __name__ == "__main__":
    code = main()
    # Daemon threads of SDKs must not delay or crash the exit after everything was closed.
    sys.stdout.flush() if not sys.stdout.closed else None
    os._exit(code) if code == 141 else sys.exit(code)
