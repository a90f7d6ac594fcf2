"""Processes of a Ray under test, as /proc shows them."""

from __future__ import annotations

import os
from pathlib import Path


def descendants(root: int | None = None) -> set[int]:
    """Pids of all processes below this one, or below another."""
    root = os.getpid() if root is None else root
    parents = {pid: parent_of(pid) for pid in running()}
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def running() -> set[int]:
    """All processes but those that have ended and that nobody has asked for."""
    pids = {int(process.name) for process in Path("/proc").iterdir() if process.name.isdigit()}
    return {
        pid for pid in pids if not read_text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].startswith(" Z")
    }


def parent_of(pid: int) -> int:
    """0 once it has ended."""
    text = read_text(Path(f"/proc/{pid}/stat"))
    return int(text.rpartition(")")[2].split()[1]) if text else 0


def command_of(pid: int) -> str:
    return read_text(Path(f"/proc/{pid}/cmdline"))


def trial_actors(pids: set[int]) -> list[int]:
    """The processes in which Tune's trials run; Ray names them after the trainable."""
    return [pid for pid in pids if command_of(pid).startswith("ray::ImplicitFunc")]


def listening_addresses(pids: set[int]) -> set[tuple[str, int]]:
    """Addresses, as /proc/net writes them, and ports on which these processes accept connections."""
    inodes = set()
    for pid in pids:
        try:
            links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue  # it has ended
        inodes |= {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in read_text(Path(f"/proc/net/{name}")).splitlines()
    ]
    found = (line[1].partition(":") for line in lines if line[3] == "0A" and line[9] in inodes)
    return {(address, int(port, 16)) for address, _, port in found}


def read_text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
