"""Several brackets side by side on one machine, each on a device of its own; a core stands for a device.

    python benchmarks/workers.py [--workers 1,2] [--trials 16] [--epochs 2] [--rows 200] [--json]

For each number of workers `peltier search` runs on a Ray of its own: brackets of eight, trained to the end,
on rows of the example with the packaged backbone. Timed is by the wall clock from the first trial that
trains to the last one of the search that ends; starting Ray and the finalist are left out. A single worker
scores the baselines before, so they are left out, too; of several one does it while others train already.
Beside it stands which share of the workers' time in between is device time of trials: the rest is Ray, SQL,
proposals, baselines, and workers that wait for others. The machine needs a free core for each worker, and
enough trials that the baselines weigh little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from measuring import machine

from storage.database import open_database
from storage.errors import StorageError
from storage.records import State, Trial

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "support_tickets.csv"
FIXED = "--methods lora,adapter,bitfit --no-halving --no-full-finetuning --no-memory --finalists 1 --seeds 1"
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Run:
    """One search."""

    workers: int
    seconds: float
    """By the wall clock, of its brackets."""
    busy: float
    """Share of the workers' time that was device time of trials."""


def run(workers: int, options: argparse.Namespace) -> Run:
    """A search with so many workers, watched from outside."""
    with tempfile.TemporaryDirectory() as place:
        url = f"sqlite:///{place}/study.db"
        counts = {"trials": options.trials, "epochs": options.epochs, "train-rows": options.rows}
        words = [word for name, value in counts.items() for word in (f"--{name}", str(value))]
        own = ["--workers", str(workers), "--cpus-per-worker", "1", "--runner", "ray"]
        child = subprocess.Popen(
            [sys.executable, "-m", "selector", "search", str(EXAMPLE), *FIXED.split(), *words, *own]
            + ["--name", "timed", "--database", url],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        begin = end = None
        while end is None:
            if child.poll() not in (None, 0):
                sys.exit(f"the search with {workers} workers failed:\n{child.communicate()[1]}")
            time.sleep(POLL_SECONDS)
            trials = _searched(url, Path(place))
            if begin is None and any(trial.state is not State.WAITING for trial in trials):
                begin = time.perf_counter()
            if len(trials) == options.trials and all(trial.state is State.COMPLETE for trial in trials):
                end = time.perf_counter()
        assert begin is not None
        child.communicate()
        trained = sum(trial.reports[-1].seconds for trial in trials)
        return Run(workers, end - begin, trained / (workers * (end - begin)))


def _searched(url: str, place: Path) -> Sequence[Trial]:
    if not (place / "study.db").exists():
        return ()
    database = open_database(url)
    try:
        return [trial for trial in database.find_study("timed").trials if trial.repeat_of is None]
    except StorageError:  # it is not there yet
        return ()
    finally:
        database.close()


def told(runs: Sequence[Run]) -> str:
    """A Markdown table."""
    lines = ["| workers | seconds | times one worker | of their time trials trained |", "|---|---|---|---|"]
    for one in runs:
        lines.append(
            f"| {one.workers} | {one.seconds:.0f} | {runs[0].seconds / one.seconds:.2f} | {one.busy:.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rows", type=int, default=200, help="to train on")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    facts = machine(torch.device("cpu"))
    runs = [run(int(count), options) for count in options.workers.split(",")]
    if options.json:
        print(json.dumps({"facts": facts, "runs": [asdict(one) for one in runs]}))
    else:
        print(", ".join(f"{name} {value}" for name, value in facts.items()) + "\n\n" + told(runs))


if __name__ == "__main__":
    main()
