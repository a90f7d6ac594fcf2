"""How cost grows with candidates, rows and trials, and how time shrinks with devices.

    python benchmarks/scaling.py [--data FOLDER] [--backbone NAME] [--device cuda] [--quick] [--json]

Candidates: seconds of a training step for each of N in a stack. Rows: seconds to read a file, to check it
and to tokenise it, and seconds of a training step out of an epoch of that many rows; texts are drawn from
the example's words, none twice. Trials: the driver alone, in a process of its own for each number: a whole
search in a real SQLite database whose workers look scores up (tests/table_worker.py), CPU seconds a trial
and the most memory that the process ever had. Devices: whole studies on simulated ones, whose time passes
only in training, with the product's own scheduling (tests/simulation.py): how much faster so many are than
one, finalists included. With --quick the largest sizes are left out.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).parent.parent / "tests"))

import numpy as np
import optuna
import torch
from peers import Setting
from simulation import simulate
from table_worker import TableWorker, make_task
from tabulated import TREE
from training import EXAMPLE, facts_of, setting_of, stack

from selector.budget import Clock as Budget
from selector.checking import check_data
from selector.jobs import Baselines, Bracket
from selector.search import Search
from selector.study import DataFile, StudySpec
from storage.database import open_database
from storage.files import Files
from trainers.batches import training_order
from trainers.data import prepare
from trainers.methods.lora import LoRAConfig
from trainers.task import read_task

CANDIDATES = (1, 2, 4, 8, 16, 32, 64)
ROWS = "1000,10000,100000"
TRIALS = "10,100,1000"
DEVICES = (1, 2, 4, 8, 16)
STUDIES = (16, 64, 256)
"""Trials of the studies on simulated devices."""
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Table:
    """One curve."""

    what: str
    head: tuple[str, ...]
    rows: list[tuple[float, ...]]

    def markdown(self) -> str:
        lines = [f"| {' | '.join(self.head)} |", "|" + "---|" * len(self.head)]
        lines += [f"| {' | '.join(f'{value:.4g}' for value in row)} |" for row in self.rows]
        return "\n".join([f"{self.what}:", "", *lines, ""])


# ---------------------------------------------------------------------------------- candidates


def candidates(setting: Setting, sizes: Sequence[int], repeats: int) -> Table:
    """Seconds of a step for each candidate, the stacks taking turns; memory on a GPU."""
    stacks = {size: stack(setting, LoRAConfig(), size) for size in sizes}
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    peak = dict.fromkeys(sizes, 0)
    for repeat in range(-1, repeats):
        for size, run in stacks.items():
            found = _with_peak(run, max(repeat, 0), peak, size, setting.device)
            if repeat >= 0:
                seconds[size].append(found)
    middle = {size: median(values) for size, values in seconds.items()}
    rows = [(size, 1e3 * s, middle[sizes[0]] / s, peak[size] / MEBIBYTE) for size, s in middle.items()]
    head = ("candidates", "ms a step for each", "times alone", "MiB on the GPU")
    on_gpu = setting.device.type == "cuda"
    return Table("Candidates in a stack (LoRA)", head if on_gpu else head[:3], rows if on_gpu else _cut(rows))


def _with_peak(
    run: Callable[[int], float], repeat: int, peak: dict[int, int], size: int, device: torch.device
) -> float:
    if device.type != "cuda":
        return run(repeat)
    torch.cuda.reset_peak_memory_stats(device)
    found = run(repeat)
    peak[size] = max(peak[size], torch.cuda.max_memory_allocated(device))
    return found


def _cut(rows: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
    return [row[:3] for row in rows]


# ---------------------------------------------------------------------------------------- rows


def many_rows(folder: Path, count: int) -> Path:
    """A file of so many different texts, as long as the example's and of its words, with random labels."""
    texts = [row.split() for row in read_task(EXAMPLE).train.texts if isinstance(row, str)]
    words = sorted({word for text in texts for word in text})
    chance = np.random.default_rng(0)
    path = folder / f"rows{count}.jsonl"
    with path.open("w") as file:
        for i in range(count):
            drawn = chance.choice(words, len(texts[i % len(texts)]))
            file.write(json.dumps({"text": " ".join([*drawn, str(i)]), "label": f"l{i % 3}"}) + "\n")
    return path


def rows(setting: Setting, counts: Sequence[int]) -> Table:
    """Microseconds a row of everything that happens once, and of a training step out of a whole epoch."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            path = many_rows(Path(folder), count)
            marks = [setting.clock.now()]
            task = read_task(path, folds=1)
            marks.append(setting.clock.now())
            check_data(task, path, setting.backbone.reader)
            marks.append(setting.clock.now())
            data = prepare(task, setting.backbone)
            marks.append(setting.clock.now())
            training_order(data.train.lengths, setting.batch, 0)
            marks.append(setting.clock.now())
            step = stack(replace(setting, data=data), LoRAConfig(), 1)
            step(0)
            parts = np.diff(marks) / count * 1e6
            found.append((count, *parts.tolist(), step(1) / setting.batch * 1e6))
    head = ("rows", "read", "check", "tokenise", "order of an epoch", "train, a row of an epoch")
    return Table("Rows (microseconds a row)", head, found)


# -------------------------------------------------------------------------------------- trials


def trials(counts: Sequence[int], sampler: str) -> Table:
    """What the driver spends on a trial, and its memory."""
    found = []
    for count in counts:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as fresh:
            before, seconds, memory = fresh.submit(driven, count, sampler).result()
        found.append((count, 1e3 * seconds / count, before, memory))
    head = ("trials", "CPU ms a trial", "MiB before", "MiB at most")
    return Table(f"Trials (driver, sampler {sampler})", head, found)


def driven(count: int, sampler: str) -> tuple[float, float, float]:
    """A search of so many trials whose training costs nothing: MiB before, CPU seconds, MiB at most."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = StudySpec(
        train=DataFile(name="table.csv"),
        backbone="none",
        trials=count,
        sampler=sampler,
        memory=False,
        full_finetuning=False,
    )
    task = make_task(200)
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(f"sqlite:///{folder}/study.db")
        study = database.create_study("table", spec.to_json(), task.summary())
        before, start = _most_memory(), time.process_time()
        search = Search(
            database, Files(folder), study.id, task, TREE.space, TREE.cost, Budget(budget_seconds=None)
        )
        worker = TableWorker(TREE, task, lambda: 0.0, sampled=False)
        while isinstance(job := search.next_job(1), Bracket | Baselines):
            for _, result in worker.perform(job):
                search.record(job, result)
            search.ended(job)
        return before, time.process_time() - start, _most_memory()


def devices(studies: Sequence[int]) -> Table:
    """How many times as fast so many simulated devices finish a study as one does."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = []
    for count in studies:
        taken = [simulate(TREE, trials=count, epochs=8, slots=slots).clock.seconds for slots in DEVICES]
        rows.append((count, *(taken[0] / seconds for seconds in taken)))
    return Table("Times one device (simulated)", ("trials", *(f"{n} devices" for n in DEVICES)), rows)


def _most_memory() -> float:
    # Not by getrusage: a child begins with its parent's highest.
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


# ---------------------------------------------------------------------------------------- main


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    setting = setting_of(options)
    small = -1 if options.quick else None
    sizes = CANDIDATES[:4] if options.quick else CANDIDATES
    tables = {
        "candidates": lambda: candidates(setting, sizes, options.repeats),
        "rows": lambda: rows(setting, _counts(options.row_counts)[:small]),
        "trials": lambda: trials(_counts(options.trial_counts)[:small], "tpe"),
        "trials at random": lambda: trials(_counts(options.trial_counts)[:small], "random"),
        "devices": lambda: devices(STUDIES[:small]),
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PELTIER_CACHE"] = folder  # tokens are to be made, not looked up
        names = options.only.split(",") if options.only else list(tables)
        found = {name: tables[name]() for name in names}
    facts = facts_of(setting, options)
    if options.json:
        curves = {name: {"head": one.head, "rows": one.rows} for name, one in found.items()}
        print(json.dumps({"facts": facts, **curves}))
        return
    print(", ".join(f"{name} {value}" for name, value in facts.items()) + "\n")
    for table in found.values():
        print(table.markdown())


def _counts(text: str) -> list[int]:
    return [int(count) for count in text.split(",")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="for the candidates; as of benchmarks/training.py")
    parser.add_argument("--rows", type=int, default=2000, help="training rows that are drawn from it")
    parser.add_argument("--backbone")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--row-counts", default=ROWS, help="such as 1000000")
    parser.add_argument("--trial-counts", default=TRIALS)
    parser.add_argument(
        "--only", default="", help="some of: candidates, rows, trials, trials at random, devices"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
