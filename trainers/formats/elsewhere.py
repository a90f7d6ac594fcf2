"""The Python of another environment, for formats whose libraries cannot stand beside Peltier."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from trainers.errors import ExportError
from trainers.formats import ELSEWHERE

VARIABLE = "PELTIER_ADAPTERS_PYTHON"
NEEDED = ("adapters", "torch", "safetensors")
ASKED = "import importlib.util as u, sys; print(*(n for n in sys.argv[1:] if u.find_spec(n) is None))"


def python_of(format: str, given: Path | None = None) -> str:
    """The Python that loads a format: this one, or for one of `ELSEWHERE` that of the other environment.

    It is `given`, or else named by the variable `VARIABLE`.

    Raises:
        ExportError: if none is named, or it lacks the library, saying how to make one that has it.
    """
    if format not in ELSEWHERE:
        return sys.executable
    python = str(given or os.environ.get(VARIABLE) or "")
    make = "make one with: python -m venv hub && hub/bin/pip install adapters torch"
    if not python:
        raise ExportError(
            f"format {format} is loaded by the library adapters, which needs an environment of its own with "
            f"an older transformers; {make}, and name it with --adapters-python hub/bin/python"
        )
    try:
        asked = [python, "-c", ASKED, *NEEDED]
        done = subprocess.run(asked, capture_output=True, encoding="utf-8", errors="replace")
    except OSError as error:
        raise ExportError(f"{python!r} cannot be run ({error.strerror}); {make}") from None
    lacking = done.stdout.split()
    if done.returncode or lacking:
        what = f"lacks {', '.join(lacking)}" if lacking else "is no Python"
        raise ExportError(f"{python!r} {what}; {make}")
    return python
