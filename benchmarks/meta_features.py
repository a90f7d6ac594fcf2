"""Measure the meta-features of datasets and how far they spread: the units in `selector.meta_features`.

    python benchmarks/meta_features.py --data FOLDER --datasets sst2,trec6 --out features.jsonl

Each FOLDER/NAME holds train and test files as jsonl. Of each dataset as many training rows are drawn as
`--rows` says, once for each number; the next rows, at most `--scored`, are its validation split. One line is
written for each dataset and number of rows, and the standard deviation of each feature over all is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selector.meta_features import of_baselines, of_task
from storage.records import Baseline
from trainers.backbone import Backbone, load
from trainers.baselines import text_baselines
from trainers.checkpoint import default_reference
from trainers.checks import token_lengths
from trainers.data import prepare
from trainers.probe import linear_probe
from trainers.task import Split, Task, read_task


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    reference = options.backbone or default_reference()
    if reference is None:
        sys.exit("no backbone: install peltier[demo] or pass --backbone")
    backbone = load(reference, device=options.device)
    lines = []
    with options.out.open("w") as file:
        for name in options.datasets.split(","):
            for rows in map(int, options.rows.split(",")):
                task = task_of(options.data / name, rows, options.scored, options.seed)
                line = {
                    "dataset": name,
                    "rows": rows,
                    "kind": task.kind,
                    "features": measured(task, backbone),
                }
                file.write(json.dumps(line) + "\n")
                file.flush()
                lines.append(line)
                print(json.dumps(line), flush=True)
    print("standard deviations:", json.dumps(spread([line["features"] for line in lines]), indent=4))


def task_of(folder: Path, rows: int, scored: int, seed: int) -> Task:
    task = read_task(folder / "train.jsonl", test=folder / "test.jsonl", train_rows=rows, seed=seed)
    # the test split is not looked at; a few rows of it keep the shapes
    return replace(task, validation=_first(task.validation, scored), test=_first(task.test, 8))


def _first(split: Split, count: int) -> Split:
    return split.take(np.arange(min(count, len(split))))


def measured(task: Task, backbone: Backbone) -> dict[str, float]:
    """All meta-features of a task, as a study finds them."""
    lengths = token_lengths(task, backbone.tokenizer, backbone.max_length)
    with torch.no_grad():
        probe = linear_probe(backbone, prepare(task, backbone))
    logits = {scores.name: scores.validation_logits for scores in text_baselines(task)}
    logits["linear_probe"] = np.asarray(probe.validation_logits)
    baselines = [
        Baseline(name=name, validation=task.metrics(task.validation, found), test={})
        for name, found in logits.items()
    ]
    separation = {"separation": round(probe.separation, 4)}
    return of_task(task, lengths.tokens) | of_baselines(baselines, task.metric) | separation


def spread(found: list[dict[str, float]]) -> dict[str, float]:
    """The standard deviation of each feature over the tasks that have it."""
    values: dict[str, list[Any]] = defaultdict(list)
    for features in found:
        for name, value in features.items():
            values[name].append(value)
    return {name: round(float(np.std(several)), 3) for name, several in values.items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--datasets", required=True)
    parser.add_argument("--rows", default="100,300,1000")
    parser.add_argument("--scored", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backbone")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
