"""The command line under test: in a process of its own, or in this one, which is faster."""

from __future__ import annotations

import csv
import os
import string
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from selector.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PELTIER_DATABASE_URL"},
    "PYTHONPATH": str(ROOT),
    "PYTHONWARNINGS": "default",
}
COMMAND = (sys.executable, "-m", "selector")


ROWS = 240
"""Enough for TF-IDF to be significantly worse on the validation rows, so that a module is recommended."""


def write_rows(path: Path, rows: int = ROWS) -> Path:
    """Long and short rows of unseen words: hard for TF-IDF, easy for a transformer with its positions."""
    chance = np.random.default_rng(0)
    letters = list(string.ascii_lowercase)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(rows):
            words = ["".join(chance.choice(letters, 6)) for _ in range((12, 2)[row % 2])]
            writer.writerow([" ".join(words), ("long", "short")[row % 2]])
    return path


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    status: int
    out: str
    err: str


def peltier(*arguments: str, folder: Path, stdin: str = "", **environment: str) -> Said:
    """Run `peltier` in a process of its own, in a folder."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=ENVIRONMENT | environment,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    return Said(done.returncode, done.stdout, done.stderr)


class Shell:
    """Runs `peltier` in this process, without waiting for torch each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.delenv("PELTIER_DATABASE_URL", raising=False)

    def __call__(self, *arguments: str) -> Said:
        self._monkeypatch.setattr(sys, "argv", ["peltier", *arguments])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)
