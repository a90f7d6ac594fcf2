"""A virtual environment that has some of the installed distributions, and no others."""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path
from subprocess import run

from packaging.requirements import Requirement


def bare_environment(folder: Path, *names: str) -> Path:
    """Make one with these distributions and what they need, as links; returns its Python. No network."""
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    for needed in closure(names):
        tops = {file.parts[0] for file in needed.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            link = packages / top
            if not link.exists():
                link.symlink_to(Path(str(needed.locate_file(top))).resolve())
    return folder / "bin" / "python"


def closure(names: tuple[str, ...]) -> list[Distribution]:
    """The distributions of these names and all that they require, extras left out."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = distribution(name)
        requirements = [Requirement(line) for line in found[name].requires or ()]
        waiting += [
            one.name for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    return list(found.values())
