"""What asked for a study and what ran it: the command, the versions, the commit."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from storage.urls import masked

PACKAGES = ("peltier", "torch", "transformers", "ray", "optuna")
"""Those that decide what a training gives, or who is trained."""
GIT_SECONDS = 5.0


def provenance() -> dict[str, Any]:
    """Of this process, now; JSON values only."""
    return {
        "command": told(sys.argv),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": f"{platform.node()} ({platform.machine()})",
        "versions": versions(),
    }


def of_module(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What asked for and ran a study, and what exports its module now; without the names of the machines."""
    every = [{key: run[key] for key in run if key != "machine"} for run in (*runs, provenance())]
    return {"trained_by": every[:-1], "exported_by": every[-1]}


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide what a training gives."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def told(arguments: Sequence[str]) -> str:
    """A command line as one would type it, without the password of a database."""
    program, *rest = arguments
    name = Path(program).name
    shown = "peltier" if name in ("__main__.py", "peltier") else name
    return " ".join([shown, *map(_word, rest)])


def _word(argument: str) -> str:
    """One argument as a shell reads it; URLs without their secrets."""
    if "://" not in argument:
        return shlex.quote(argument)
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return f"{option}{equals}{masked(value)}"


@cache
def commit() -> str | None:
    """The git commit of the checkout that this package lies in, marked where files differ; else None."""
    folder = Path(__file__).resolve().parent
    found = _git(folder, "rev-parse", "HEAD")
    # A package that is installed into some other checkout is not under version control there.
    if found is None or _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", ":/")
    return f"{found} with changes" if changed else found


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not as it was, in words: versions, commit, machine."""
    before, after = then.get("versions", {}), now["versions"]
    names = [name for name in after if before.get(name) not in (None, after[name])]
    found = [f"{name} {before[name]} then, {after[name]} now" for name in names]
    for fact in ("commit", "machine"):
        if then.get(fact) is not None and then[fact] != now[fact]:
            found.append(f"{fact} {then[fact]} then, {now[fact]} now")
    return found
