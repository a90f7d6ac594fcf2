"""A whole study against training as many configurations one after another with Trainer and peft.

    python benchmarks/study.py --data FOLDER --datasets sst2,trec6,cola,subj --seeds 0,1,2 [--json]

Each FOLDER/NAME holds train and test files as jsonl; the seed draws rows to train, validate and test on.
Three contenders (`--without-whole` leaves out the second) get the same rows, each in a process of its own
with one thread:

- Peltier: `peltier search --runner local` over all its methods, with halving, its finalists repeated with
  fresh seeds, its baselines and the export;
- Peltier with --no-halving, which tells the engine's share of the difference from that of early exit;
- Trainer + peft: as many LoRA configurations drawn at random (rank, alpha, learning rate), each trained to
  the end and scored on validation; the best one is scored on test. Nothing is repeated.

Seconds are the process's CPU seconds where it has one thread and no GPU, else the wall clock's. Test scores
are those of what each contender would hand over; where that is a baseline, the baseline's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from curves import task_of

from trainers.task import Split, Task

PELTIER, WHOLE, TRAINER = "Peltier", "Peltier, --no-halving", "Trainer + peft"
CONTENDERS = (PELTIER, WHOLE, TRAINER)


@dataclass(frozen=True)
class Run:
    """What one contender took and reached."""

    contender: str
    dataset: str
    seed: int
    seconds: float
    score: float
    """Of the task's metric, on test."""
    chosen: str
    module: float
    """The same of the trained module that was best on validation."""


def main() -> None:
    options = _options()
    if options.peer is not None:
        print(json.dumps(trainer(options.peer, options)))
        return
    runs = []
    for seed in map(int, options.seeds.split(",")):
        for dataset in options.datasets.split(","):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                source = options.data / dataset
                draw(task_of(source, options.rows, options.scored, options.tested, seed), folder)
                for contender in CONTENDERS:
                    if contender == WHOLE and options.without_whole:
                        continue
                    runs.append(timed(contender, folder, dataset, options, seed))
                    print(told(runs[-1]), file=sys.stderr, flush=True)
    print(json.dumps([asdict(run) for run in runs]) if options.json else table(runs))


def draw(task: Task, folder: Path) -> None:
    """Files with the rows of a task."""
    for name in ("train", "validation", "test"):
        split: Split = getattr(task, name)
        columns: dict[str, Sequence[str]] = {"sentence1" if split.pairs else "text": split.texts}
        if split.pairs:
            columns["sentence2"] = split.pairs
        columns["label"] = [task.labels[label] for label in split.labels.tolist()]
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


def timed(contender: str, folder: Path, dataset: str, options: argparse.Namespace, seed: int) -> Run:
    """Run a contender in a process of its own."""
    ours = {PELTIER: ["--halving"], WHOLE: ["--no-halving"]}
    command = (
        _search(folder, options, seed, ours[contender]) if contender in ours else _peer(folder, options, seed)
    )
    began, before = time.perf_counter(), _cpu_seconds()
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": str(options.threads)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{contender} on {dataset} failed:\n{done.stderr}")
    by_cpu = options.threads == 1 and options.device == "cpu"
    seconds = _cpu_seconds() - before if by_cpu else time.perf_counter() - began
    printed = json.loads(done.stdout)
    score, chosen, module = handed_over(printed) if contender in ours else (*printed, printed[0])
    return Run(contender, dataset, seed, seconds, score, chosen, module)


def _search(folder: Path, options: argparse.Namespace, seed: int, halving: list[str]) -> list[str]:
    name = f"sqlite:///{folder / 'peltier'}{len(halving[0])}.db"  # a database for each, so none has a memory
    files = ["train.jsonl", "--validation", "validation.jsonl", "--test", "test.jsonl"]
    counts = ["--trials", str(options.trials), "--epochs", str(options.epochs), "--seed", str(seed)]
    backbone = [] if options.backbone is None else ["--backbone", options.backbone]
    fixed = "--finalists 3 --seeds 3 --no-full-finetuning --runner local --force --json".split()
    program = [sys.executable, "-m", "selector", "search"]
    return [*program, *files, *counts, *backbone, *fixed, *halving, "--database", name]


def _peer(folder: Path, options: argparse.Namespace, seed: int) -> list[str]:
    command = [sys.executable, __file__, "--peer", str(folder), "--seeds", str(seed)]
    for name in ("trials", "epochs", "threads", "device"):
        command += [f"--{name}", str(getattr(options, name))]
    return command if options.backbone is None else [*command, "--backbone", options.backbone]


def _cpu_seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def handed_over(study: dict[str, Any]) -> tuple[float, str, float]:
    """Test score and name of what a study recommends, and the test score of its best module."""
    chosen = study["recommendation"]
    modules = [one for one in chosen["compared"] if one["trial"] is not None]
    best = max(modules, key=lambda one: float(one["validation"]["mean"]))
    return chosen["test"]["mean"], chosen["method"], best["test"]["mean"]


def trainer(folder: Path, options: argparse.Namespace) -> tuple[float, str]:
    """Train configurations one after another; test score and numbers of the best on validation."""
    import torch
    from peers import Fitted, fit

    from trainers.backbone import load
    from trainers.checkpoint import default_reference
    from trainers.data import prepare
    from trainers.task import read_task

    torch.set_num_threads(options.threads)
    seed = int(options.seeds)
    backbone = load(options.backbone or default_reference() or "", device=options.device, dtype="fp32")
    files = {name: folder / f"{name}.jsonl" for name in ("validation", "test")}
    data = prepare(read_task(folder / "train.jsonl", **files, seed=seed), backbone)
    chance = np.random.default_rng(seed)
    best: tuple[float, Fitted] | None = None
    for _ in range(options.trials):
        rank = int(2 ** chance.integers(1, 6))
        fitted = fit(backbone, data, rank, 10 ** chance.uniform(-4, -2), options.epochs, seed)
        score = data.task.metrics(data.task.validation, fitted.logits(data.validation))[data.task.metric]
        if best is None or score > best[0]:
            best = score, fitted
    assert best is not None
    logits = best[1].logits(data.test)
    return data.task.metrics(data.task.test, logits)[data.task.metric], best[1].name


def told(run: Run) -> str:
    """A run as a line."""
    beside = "" if run.module == run.score else f", best module {run.module:.3f}"
    return (
        f"{run.dataset}, seed {run.seed}: {run.contender} {run.seconds:.0f} s, {run.score:.3f} "
        f"({run.chosen}){beside}"
    )


def table(runs: list[Run]) -> str:
    """Ratios of time and differences of score to Trainer, over datasets and seeds."""
    peers = {(run.dataset, run.seed): run for run in runs if run.contender == TRAINER}
    lines = [
        "| contender | median seconds | of Trainer's time | mean test score less Trainer's, points | "
        "its best module's |",
        "|---|---|---|---|---|",
    ]
    for contender in dict.fromkeys(run.contender for run in runs):
        mine = [run for run in runs if run.contender == contender]
        shares = [run.seconds / peers[run.dataset, run.seed].seconds for run in mine]
        points, modules = (
            [100 * (getattr(run, what) - peers[run.dataset, run.seed].score) for run in mine]
            for what in ("score", "module")
        )
        lines.append(
            f"| {contender} | {median(run.seconds for run in mine):.0f} | "
            f"{median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%}) | "
            f"{_spread(points)} | {_spread(modules)} |"
        )
    return "\n".join(lines)


def _spread(points: list[float]) -> str:
    return f"{mean(points):+.1f} ({min(points):+.1f} to {max(points):+.1f})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required="--peer" not in sys.argv)
    parser.add_argument("--datasets", default="sst2,trec6,cola,subj")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int, default=200, help="to train on")
    parser.add_argument("--scored", type=int, default=200, help="rows to validate on")
    parser.add_argument("--tested", type=int, default=500, help="rows to test on, at most")
    parser.add_argument("--backbone")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--without-whole", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
