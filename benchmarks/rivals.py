"""Peltier's search against three rivals at equal cost, all of them trained.

    python benchmarks/rivals.py CURVES --data FOLDER --datasets sst2,trec6 --seeds 0,1,2 --out rivals.jsonl

CURVES is what benchmarks/curves.py wrote of the same datasets and seeds; rows, epochs and backbone are
those of it, and its configurations are most of the reference pool. On the same rows search

- Peltier: the product's own `Search` on a store, with its defaults (strong defaults first, then TPE,
  halving in brackets of eight) and no memory;
- Ray Tune, Optuna and ASHA, used plainly: Tune's `OptunaSearch` over the same space and Tune's
  `ASHAScheduler`, both with their defaults, four trials side by side, without Tune's processes; as Tune
  does, it chooses among the last scores of all trials, of those that were cut, too;
- random search: configurations drawn from the whole space, each trained to the end;
- the defaults of each method in turn, trained to the end (from CURVES).

What Peltier's trials cost in candidate-epochs is what the others may spend. Each chooses the best on
validation, of what it has trained to the end where nothing else is said. Regret is the test score of the
best of the reference pool (all
that anybody trained to the end) less that of the choice, in points. Finalists' fresh seeds are left out.
Device-seconds, by the clock, stand beside it. A run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from curves import BATCH_SIZE, task_of
from numpy.typing import NDArray
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from regrets import DEFAULTS, PELTIER, RANDOM, TUNE, Ended, read, summary, told
from search import SIDE_BY_SIDE, trial_named

from selector.budget import Clock
from selector.jobs import Bench, Bracket, Entry, Wait
from selector.parameters import suggest
from selector.search import Search
from selector.searched_space import space_for
from selector.space import Space
from selector.stack_group import stacks
from selector.study import DataFile, StudySpec
from selector.uniform import draw
from selector.work import Worker
from storage.database import open_database
from storage.files import Files
from storage.records import State
from trainers.building import build_stack, costs_on
from trainers.export import module_from_bytes
from trainers.fidelity import Fidelity
from trainers.method import MethodConfig
from trainers.stack import Candidate
from trainers.train import Training, logits_of, start


class Trainer:
    """Trains configurations of one task; the test split is scored for the record only."""

    def __init__(self, worker: Worker, facts: dict[str, Any]) -> None:
        self.worker, self.epochs, self.seed = worker, int(facts["epochs"]), int(facts["seed"])
        self.metric = str(facts["metric"])
        self.cost = costs_on(worker.backbone.reference, worker.data.task.outputs)

    def begin(self, configs: Sequence[MethodConfig]) -> Training:
        """Configurations that can share a stack, from the study's seed."""
        return start(
            self.worker.backbone,
            self.worker.data,
            [Candidate(config, self.seed) for config in configs],
            epochs=self.epochs,
            seed=self.seed,
            batch_size=BATCH_SIZE,
        )

    def bytes(self, config: MethodConfig) -> int:
        """What is stored of a configuration."""
        cost = self.cost(config)
        return 0 if cost is None else cost.stored_bytes

    def tested(self, logits: NDArray[np.float32]) -> float:
        """The metric on test."""
        task = self.worker.data.task
        return float(task.metrics(task.test, logits)[self.metric])


def peltier(trainer: Trainer, trials: int, folder: Path) -> tuple[list[Ended], float]:
    """The product's search, without its finalists; and the candidate-epochs that it spent."""
    worker, task = trainer.worker, trainer.worker.data.task
    spec = StudySpec(
        train=DataFile(name="rows.jsonl"),
        backbone=worker.bench.backbone,
        trials=trials,
        epochs=trainer.epochs,
        seed=trainer.seed,
        full_finetuning=False,
        memory=False,
    )
    database = open_database(f"sqlite:///{folder / 'study.db'}")
    number = database.create_study("study", spec.to_json(), task.summary(), "here").id
    files = Files(folder / "files")
    space = space_for(spec, task)[0]
    search = Search(database, files, number, task, space, trainer.cost, Clock(None))
    spent = 0.0
    while (job := search.next_job(slots=1)) is not None:
        assert not isinstance(job, Wait), "nothing runs beside this loop"
        if isinstance(job, Bracket) and job.final:
            break
        for result in worker.perform(job):
            search.record(job, result)
        search.ended(job)
    found: list[Ended] = []
    study = database.study(number)
    searched = [trial for trial in study.trials if trial.repeat_of is None]
    seconds = 0.0
    for bracket in sorted({trial.bracket or 0 for trial in searched}):  # one after another
        group = [trial for trial in searched if (trial.bracket or 0) == bracket]
        spent += sum(trial.epochs for trial in group)
        seconds += sum(trial.reports[-1].seconds for trial in group if trial.reports)
        for trial in group:
            if trial.state is State.COMPLETE and trial.module_file is not None:
                module = module_from_bytes(files.path(trial.module_file).read_bytes())
                stack = build_stack(
                    worker.backbone, [Candidate(module.config, module.seed)], task.outputs, [module.state]
                )
                metrics = trial.reports[-1].metrics
                found.append(
                    Ended(
                        epochs=spent,
                        seconds=seconds,
                        validation=metrics[trainer.metric],
                        loss=metrics["loss"],
                        bytes=trial.stored_bytes or 0,
                        test=trainer.tested(logits_of(stack, worker.data.test)[0]),
                        method=trial.method,
                    )
                )
    return found, spent


def random_search(trainer: Trainer, space: Space, budget: float) -> list[Ended]:
    """As many as the budget pays for, each trained to the end, in stacks like the product's."""
    chance = np.random.default_rng(trainer.seed)
    configs = [draw(space, chance) for _ in range(int(budget // trainer.epochs))]
    entries = [
        Entry(number=i, method=c.name, values=c.values(), seed=trainer.seed, stored_bytes=0)
        for i, c in enumerate(configs)
    ]
    ended: dict[int, Ended] = {}
    for group in stacks(entries, trainer.worker.backbone):
        chosen = [configs[entry.number] for entry in group]
        training = trainer.begin(chosen)
        reports = training.advance(Fidelity(epochs=trainer.epochs))
        for entry, config, report, logits in zip(group, chosen, reports, training.test_logits(), strict=True):
            ended[entry.number] = Ended(
                epochs=trainer.epochs,
                seconds=report.seconds,
                validation=report.metrics[trainer.metric],
                loss=report.metrics["loss"],
                bytes=trainer.bytes(config),
                test=trainer.tested(logits),
                method=config.name,
            )
    return added_up([ended[number] for number in sorted(ended)])


def tune(trainer: Trainer, space: Space, budget: float) -> list[Ended]:
    """Ray Tune's own searcher and scheduler with their defaults, until the budget is spent."""
    searcher = OptunaSearch(
        space=lambda trial: {"config": _kept(trial, space, configs)},  # type: ignore[arg-type, return-value]
        metric="score",
        mode="max",
        seed=trainer.seed,
    )
    scheduler = ASHAScheduler("training_iteration", "score", "max", max_t=trainer.epochs)
    configs: list[MethodConfig] = []
    running: dict[int, Training] = {}
    found: list[Ended] = []
    spent = seconds = 0.0
    while spent < budget:
        while len(running) < SIDE_BY_SIDE:
            number = len(configs)
            searcher.suggest(str(number))
            running[number] = trainer.begin([configs[number]])
            scheduler.on_trial_add(None, trial_named(number))  # type: ignore[arg-type]
        last_turn = spent + len(running) >= budget
        for number, training in list(running.items()):
            before = training.seconds
            epoch = round(training.done) + 1
            report = training.advance(Fidelity(epochs=epoch))[0]
            spent, seconds = spent + 1, seconds + training.seconds - before
            score, whole = report.metrics[trainer.metric], epoch == trainer.epochs
            result = {"training_iteration": epoch, "score": score}
            decision = scheduler.on_trial_result(None, trial_named(number), result)  # type: ignore[arg-type]
            diverged = not np.isfinite(report.train_loss)
            if whole or diverged or decision == scheduler.STOP:
                searcher.on_trial_complete(str(number), result, error=diverged)
                del running[number]
            else:
                searcher.on_trial_result(str(number), result)
                if not last_turn:
                    continue
            if diverged or not (whole or score > max((one.validation for one in found), default=-np.inf)):
                continue  # a trial that is no better than another one before is never chosen
            found.append(
                Ended(
                    epochs=min(spent, budget),
                    seconds=seconds,
                    validation=score,
                    loss=report.metrics["loss"],
                    bytes=trainer.bytes(configs[number]),
                    test=trainer.tested(training.test_logits()[0]),
                    method=configs[number].name,
                    whole=whole,
                )
            )
    return found


def _kept(trial: Any, space: Space, configs: list[MethodConfig]) -> int:
    configs.append(suggest(trial, space))
    return len(configs) - 1


def of_curves(curves: Iterable[dict[str, Any]], epochs: int) -> list[Ended]:
    """What curves.py trained, in its order."""
    return added_up(
        Ended(
            epochs=epochs,
            seconds=curve["seconds"][-1],
            validation=_number(curve["validation"][-1]),
            loss=_number(curve["validation_loss"][-1]),
            bytes=curve["bytes"],
            test=_number(curve["test"]),
            method=curve["method"],
        )
        for curve in curves
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def added_up(ended: Iterable[Ended]) -> list[Ended]:
    """One after another: each with what was spent until its end."""
    found: list[Ended] = []
    epochs = seconds = 0.0
    for one in ended:
        epochs, seconds = epochs + one.epochs, seconds + one.seconds
        found.append(Ended(**{**asdict(one), "epochs": epochs, "seconds": seconds}))
    return found


def unit(facts: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """One dataset and seed, searched by everybody."""
    rows = facts["rows"]
    source = options.data / facts["dataset"]
    task = task_of(source, rows["train"], rows["validation"], rows["test"], facts["seed"])
    if task.data_hash != facts["data_hash"]:
        sys.exit(f"{source} does not hold the rows of {options.curves}")
    reference = options.backbone or facts["backbone"]
    worker = Worker(Bench(study=1, task=task, backbone=reference, device=options.device))
    trainer = Trainer(worker, facts)
    spec = StudySpec(train=DataFile(name="rows.jsonl"), backbone=reference)
    space = space_for(spec, task)[0]
    with tempfile.TemporaryDirectory() as folder:
        ours, budget = peltier(trainer, options.trials, Path(folder))
    count = len({curve["method"] for curve in facts["curves"]})
    rivals: dict[str, Callable[[], list[Ended]]] = {
        PELTIER: lambda: ours,
        TUNE: lambda: tune(trainer, space, budget),
        RANDOM: lambda: random_search(trainer, space, budget),
        DEFAULTS: lambda: of_curves(facts["curves"][:count], trainer.epochs),
    }
    return {
        "dataset": facts["dataset"],
        "seed": facts["seed"],
        "epochs": trainer.epochs,
        "budget": budget,
        "rivals": {name: [asdict(one) for one in run()] for name, run in rivals.items()},
        "pool": [one.test for one in of_curves(facts["curves"], trainer.epochs) if np.isfinite(one.test)],
    }


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    done = {(u.dataset, u.seed) for u in read(options.out)} if options.out.exists() else set()
    wanted = {
        (name, seed) for name in options.datasets.split(",") for seed in map(int, options.seeds.split(","))
    }
    for facts in map(json.loads, options.curves.read_text().splitlines()):
        if (facts["dataset"], facts["seed"]) in wanted - done:
            began = time.process_time()
            line = json.dumps(unit(facts, options))
            with options.out.open("a") as file:
                file.write(line + "\n")
            taken = time.process_time() - began
            print(f"{facts['dataset']} seed {facts['seed']}: {taken:.0f} s", file=sys.stderr, flush=True)
    result = summary(read(options.out))
    print(json.dumps(result) if options.json else told(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("curves", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--datasets", default="sst2,trec6,cola,snips_intent")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--trials", type=int, default=16, help="of Peltier; the others spend what they cost")
    parser.add_argument("--backbone", help="in place of the one of CURVES")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
