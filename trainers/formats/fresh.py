"""A written export, loaded and asked in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from trainers import timing
from trainers.errors import ExportError
from trainers.predictions import Logits
from trainers.splits import Split

ROWS, LOGITS, LATENCY = "rows.json", "logits.npy", "latency.json"


def write_rows(path: Path, split: Split) -> None:
    """The rows of a split as a format's `CHECK` reads them."""
    words = split.offsets is not None
    texts = [list(text) if words else str(text) for text in split.texts]
    pairs = None if split.pairs is None else [str(text) for text in split.pairs]
    path.write_text(json.dumps({"texts": texts, "pairs": pairs}), encoding="utf-8")


def timed(check: str) -> str:
    """A format's `CHECK` that takes the time, too, and writes it into one file more."""
    source = Path(timing.__file__).read_text(encoding="utf-8")
    names = "{'__name__': '__main__', 'loaded': dict(globals())}"
    return f"{check}\nexec(compile({source!r}, 'timing.py', 'exec'), {names})\n"


def ask(
    check: str, folder: Path, split: Split, room: Path, python: str = sys.executable
) -> tuple[Logits, dict[str, Any] | None]:
    """The logits of an export for a split and its latency (None if `check` has no `logits`).

    `room` is a folder for the files between the two processes; `python` runs the program.

    Raises:
        ExportError: if the program fails, with its last line.
    """
    write_rows(room / ROWS, split)
    files = [folder, *(room / name for name in (ROWS, LOGITS, LATENCY))]
    # Started in `room`, where nothing can be imported by accident.
    done = subprocess.run(
        [python, "-c", timed(check), *map(str, files)],
        cwd=room,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ExportError(f"the export could not be loaded in a fresh process ({last}); nothing was written")
    logits: Logits = np.load(room / LOGITS, allow_pickle=False)
    written = room / LATENCY
    return logits, json.loads(written.read_text(encoding="utf-8")) if written.is_file() else None
