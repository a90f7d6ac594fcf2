"""Train the same configurations to the end on several datasets, and keep the learning curve of each.

    python benchmarks/curves.py --data FOLDER --datasets sst2,trec6 --seeds 0,1,2 --out curves.jsonl

Each FOLDER/NAME holds train and test files as jsonl. Of each dataset `--rows` training rows are drawn,
and the next ones are its validation split. The configurations are the strong defaults of every method and
random ones from the whole space, the same on every dataset and for every seed; the seed draws the rows,
orders them and initialises modules and heads. The task's metric is taken on validation after every epoch,
or with `--parts 2` after every half, and on test at the end, so that any plan of early exits can be
replayed afterwards (benchmarks/search.py). A run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

from selector.jobs import Entry
from selector.parameters import suggest
from selector.space import Space, choose_methods, defaults, space_of
from selector.stack_group import stacks
from trainers.backbone import Backbone, load
from trainers.building import costs_on
from trainers.checkpoint import default_reference
from trainers.data import Data, prepare
from trainers.fidelity import Fidelity
from trainers.method import MethodConfig
from trainers.stack import Candidate
from trainers.task import Split, Task, read_task
from trainers.train import start

BATCH_SIZE = 16
SAMPLING_SEED = 7
"""Draws the random configurations."""


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    reference = options.backbone or default_reference()
    if reference is None:
        sys.exit("no backbone: install peltier[demo] or pass --backbone")
    backbone = load(reference, dtype=options.dtype, device=options.device)
    methods, _ = choose_methods(None, backbone.sites)
    space = space_of(methods, backbone.sites)
    configs = configurations(space, options.configurations)
    done = _done(options.out)
    for seed in map(int, options.seeds.split(",")):
        for name in options.datasets.split(","):
            if (name, seed) in done:
                continue
            began = time.perf_counter()
            task = task_of(options.data / name, options.rows, options.scored, options.tested, seed)
            data = prepare(task, backbone)
            rows = list(curves(data, backbone, configs, seed, options.epochs, options.parts))
            _append(options.out, name, seed, options, data.task, reference, rows)
            print(
                f"{name} seed {seed}: {len(rows)} curves in {time.perf_counter() - began:.0f} s", flush=True
            )


def configurations(space: Space, count: int) -> list[MethodConfig]:
    """The strong defaults, then random ones: methods evenly, fields independently."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = defaults(space)
    sampler = optuna.samplers.RandomSampler(seed=SAMPLING_SEED)
    studies = {method.name: optuna.create_study(sampler=sampler) for method in space.methods}
    drawn = (suggest(studies[m.name].ask(), space.only([m.name])) for m in _in_turns(space))
    while len(found) < count:
        config = next(drawn)
        if config not in found:
            found.append(config)
    return found[:count]


def _in_turns(space: Space) -> Iterator[type[MethodConfig]]:
    while True:
        yield from space.methods


def task_of(folder: Path, rows: int, scored: int, tested: int, seed: int) -> Task:
    """Few training rows, and at most so many rows to validate and to test on."""
    task = read_task(folder / "train.jsonl", test=folder / "test.jsonl", train_rows=rows, seed=seed)
    return replace(task, validation=_first(task.validation, scored), test=_drawn(task.test, tested, seed))


def _first(split: Split, count: int) -> Split:
    return split.take(np.arange(min(count, len(split))))


def _drawn(split: Split, count: int, seed: int) -> Split:
    order = np.random.default_rng(seed).permutation(len(split))
    return split.take(np.sort(order[:count]))


def curves(
    data: Data, backbone: Backbone, configs: Sequence[MethodConfig], seed: int, epochs: int, parts: int
) -> Iterator[dict[str, Any]]:
    """A record of each configuration: validation after each part of an epoch, test at the end."""
    cost = costs_on(backbone.reference, data.task.outputs)
    entries = [
        Entry(number=i, method=c.name, values=c.values(), seed=seed, stored_bytes=0)
        for i, c in enumerate(configs)
    ]
    for group in stacks(entries, backbone):
        chosen = [configs[entry.number] for entry in group]
        training = start(backbone, data, [Candidate(c, seed) for c in chosen], epochs=epochs, seed=seed)
        found: list[dict[str, Any]] = [
            {
                "number": entry.number,
                "method": config.name,
                "config": config.values(),
                "parameters": getattr(cost(config), "trainable_parameters", None),
                "bytes": getattr(cost(config), "stored_bytes", None),
                "validation": [],
                "validation_loss": [],
                "train_loss": [],
                "seconds": [],
            }
            for entry, config in zip(group, chosen, strict=True)
        ]
        for point in range(1, parts * epochs + 1):
            reports = training.advance(Fidelity(epochs=point / parts))
            for record, report in zip(found, reports, strict=True):
                record["validation"].append(_short(report.metrics[data.task.metric]))
                record["validation_loss"].append(_short(report.metrics["loss"]))
                record["train_loss"].append(_short(report.train_loss))
                record["seconds"].append(round(report.seconds, 3))
        for record, logits in zip(found, training.test_logits(), strict=True):
            record["test"] = _short(data.task.metrics(data.task.test, logits)[data.task.metric])
        yield from found


def _short(number: float) -> float | None:
    return round(number, 5) if np.isfinite(number) else None


def _append(
    out: Path,
    name: str,
    seed: int,
    options: argparse.Namespace,
    task: Task,
    reference: str,
    rows: list[dict[str, Any]],
) -> None:
    facts = {
        "dataset": name,
        "seed": seed,
        "kind": task.kind,
        "metric": task.metric,
        "classes": len(task.labels),
        "rows": {"train": len(task.train), "validation": len(task.validation), "test": len(task.test)},
        "epochs": options.epochs,
        "parts": options.parts,
        "dtype": options.dtype,
        "batch_size": BATCH_SIZE,
        "backbone": reference,
        "data_hash": task.data_hash,
        "curves": sorted(rows, key=lambda row: row["number"]),
    }
    with out.open("a") as file:
        file.write(json.dumps(facts) + "\n")


def _done(out: Path) -> set[tuple[str, int]]:
    if not out.exists():
        return set()
    return {(one["dataset"], one["seed"]) for one in map(json.loads, out.read_text().splitlines())}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--datasets", default="sst2,trec6,cola,subj,sms_spam,mrpc")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--configurations", type=int, default=20)
    parser.add_argument("--rows", type=int, default=200, help="to train on")
    parser.add_argument("--scored", type=int, default=200, help="rows to validate on, at most")
    parser.add_argument("--tested", type=int, default=500, help="rows to test on, at most")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--parts", type=int, default=1, help="of an epoch, after each of which is scored")
    parser.add_argument("--backbone")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", help="of the frozen weights: bf16 or fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
