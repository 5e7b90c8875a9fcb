"""Who holds a lease, and whether that process still lives on this host."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from config.ids import new_token
from memory.queue.protocol import Owner

_PROC = Path("/proc")


def current_owner(worker: str | None = None) -> Owner:
    """This process as an Owner; `worker` names the worker in it (a random name when None).

    Where the system has no /proc, boot id, pid namespace and start time are empty: such an owner is told dead by its
    pid alone.
    """
    return Owner(
        host=_host(),
        boot_id=_boot_id(),
        pid_namespace=_pid_namespace(),
        pid=os.getpid(),
        started=_started(os.getpid()) or "",
        worker=worker or new_token(),
    )


@lru_cache(maxsize=64)
def owner_text(owner: Owner) -> str:
    """The owner as stored: equal owners give equal text."""
    return json.dumps(asdict(owner), sort_keys=True)


def is_alive(owner: Owner) -> bool | None:
    """True if the process of `owner` runs, False if it certainly does not, None if it cannot be told from here.

    It can be told for this host alone: after a reboot it is dead, in another pid namespace of the same boot it is
    unknown. A zombie is dead: it can no longer complete anything.
    """
    if owner.host != _host():
        return None
    if owner.boot_id != _boot_id():
        return False if owner.boot_id and _boot_id() else None
    if owner.pid_namespace != _pid_namespace():
        return None
    try:
        os.kill(owner.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it runs, as somebody else
    started = _started(owner.pid)
    if started is None or not owner.started:
        return True  # a process of that pid runs and cannot be looked at: the lease itself will run out
    return started == owner.started


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return None


def _host() -> str:
    # The machine id as well: two machines called "localhost" on one Redis must not judge each other's processes.
    machine = _read(Path("/etc/machine-id")) or ""
    return f"{socket.gethostname()}@{machine[:12]}" if machine else socket.gethostname()


def _boot_id() -> str:
    return _read(_PROC / "sys/kernel/random/boot_id") or ""


def _pid_namespace() -> str:
    try:
        return os.readlink(_PROC / "self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat (clock ticks after boot); None if it cannot be read; "gone" for a zombie."""
    try:
        if os.readlink(_PROC / "self") != str(os.getpid()):
            return None  # /proc shows another pid namespace: its numbers are not ours
    except OSError:
        return None
    stat = _read(_PROC / str(pid) / "stat")
    if stat is None:
        return None
    fields = stat.rpartition(")")[2].split()  # the name in parentheses before it may hold spaces and parentheses
    if len(fields) < 20:
        return None
    return "gone" if fields[0] in ("Z", "X") else fields[19]
