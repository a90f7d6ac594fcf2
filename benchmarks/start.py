"""How long the commands take to start: help, show, space, and a search until its first training step.

    python benchmarks/start.py [--repeats 3] [--json] [--quick]

Each command runs in a fresh process, by the wall clock and in CPU time; the median of the repeats counts.
A search trains BitFit on the rows of the example with the packaged backbone, in this process (local) and
on a Ray of its own. Its first training step is where `trainers.train.Training` begins its first one, in
whatever process, the calibration's included; a module that Python imports at its start waits for it there.
Compiled files of a first start stay for the next ones unless PYTHONDONTWRITEBYTECODE is set.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measuring import machine

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "support_tickets.csv"
LONGEST = 300.0
"""Seconds after which a search is given up."""
SMALL = "--methods bitfit --trials 1 --epochs 1 --finalists 1 --seeds 1 --no-full-finetuning --train-rows 64"

# Python imports a module of this name at its start, in Ray's workers as well.
HOOK = """
import importlib.abc, importlib.util, os, sys, time

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "trainers.train":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            step = module.Training._step
            def first(*args, **options):
                module.Training._step = step
                with open(os.environ["FIRST_STEP"], "a") as file:
                    file.write(f"{time.time()}\\n")
                return step(*args, **options)
            module.Training._step = first
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


@dataclass(frozen=True)
class Start:
    """One command."""

    command: str
    target: float | None
    """Seconds within which it ought to be there."""
    seconds: float
    """By the wall clock."""
    cpu_seconds: float | None
    """None where the command was ended before its end."""


def command(*words: str, folder: Path) -> tuple[float, float]:
    """Seconds by the wall clock and of CPU time of a whole command."""
    before, start = _children(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "selector", *words],
        cwd=folder,
        env=_environment(),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - start, _children() - before


def first_step(runner: str, folder: Path) -> float:
    """Seconds from a search's begin to its first training step; the search is then left."""
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "sitecustomize.py").write_text(HOOK)
        mark = Path(place) / "first"
        words = [str(EXAMPLE), *SMALL.split(), "--runner", runner, "--database", f"sqlite:///{place}/s.db"]
        start = time.time()
        child = subprocess.Popen(
            [sys.executable, "-m", "selector", "search", *words],
            cwd=folder,
            env={**_environment(place), "FIRST_STEP": str(mark)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not mark.exists() or not mark.read_text().endswith("\n"):
                if child.poll() is not None or time.time() - start > LONGEST:
                    raise RuntimeError(f"no training step in {time.time() - start:.0f} s (runner {runner})")
                time.sleep(0.02)
            return float(mark.read_text().splitlines()[0]) - start
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait()


def a_study(folder: Path) -> str:
    """The name of a small finished study in the default database of a folder."""
    command("search", str(EXAMPLE), *SMALL.split(), "--runner", "local", "--name", "small", folder=folder)
    return "small"


def _environment(*first: str) -> dict[str, str]:
    path = os.pathsep.join([*first, str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(repeats: int, runners: Sequence[str]) -> list[Start]:
    """All starts, each the median of the repeats, which take turns."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        commands: Mapping[tuple[str, ...], float | None] = {
            ("--help",): 0.3,
            ("show", a_study(folder)): 1.0,
            ("studies",): 1.0,
            ("space",): None,
        }
        turns = [{words: command(*words, folder=folder) for words in commands} for _ in range(repeats)]
        found = [
            Start(
                f"peltier {' '.join(words)}",
                target,
                median(turn[words][0] for turn in turns),
                median(turn[words][1] for turn in turns),
            )
            for words, target in commands.items()
        ]
        for runner in runners:
            seconds = median(first_step(runner, folder) for _ in range(repeats))
            target = 6.0 if runner == "local" else 15.0
            found.append(
                Start(f"peltier search --runner {runner}, first training step", target, seconds, None)
            )
        return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one repeat, without Ray")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    repeats, runners = (1, ("local",)) if options.quick else (options.repeats, ("local", "ray"))
    found = measured(repeats, runners)
    facts = {**machine(torch.device("cpu")), "repeats": repeats}
    if options.json:
        print(json.dumps({"facts": facts, "starts": [asdict(start) for start in found]}))
    else:
        print(told(found, facts))


def told(found: Sequence[Start], facts: Mapping[str, Any]) -> str:
    """A Markdown table."""
    lines = [", ".join(f"{name} {value}" for name, value in facts.items()), ""]
    lines += ["| | seconds | of CPU time | ought to be below |", "|---|---|---|---|"]
    for start in found:
        cpu = "" if start.cpu_seconds is None else f"{start.cpu_seconds:.2f}"
        target = "" if start.target is None else f"{start.target:g}"
        lines.append(f"| `{start.command}` | {start.seconds:.2f} | {cpu} | {target} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
