"""What a worker does with a job: train a bracket rung by rung, or score the baselines."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from selector.full_finetuning import METHOD as FULL
from selector.halving import Standing, keep, keep_best
from selector.jobs import BaselineResult, Baselines, Bench, Bracket, Entry, Job, Outcome, Result, Rung
from storage.records import State
from trainers.backbone import Backbone
from trainers.backbone import load as load_backbone
from trainers.baselines import BaselineScores, text_baselines
from trainers.building import method_named
from trainers.cost import cost_of
from trainers.export import Module
from trainers.fidelity import Fidelity, Report
from trainers.free_memory import check_memory
from trainers.method import MethodConfig
from trainers.methods.linear_probe import LinearProbeConfig
from trainers.probe import linear_probe
from trainers.stack import Candidate
from trainers.train import Data, Training, prepare
from trainers.train import start as start_training

MAX_STACK = 8
"""Candidates in one stack. On a CPU larger ones gain nothing and leave its cache (docs/performance.md)."""


class Worker:
    """A resident backbone with the tokenised task; it works off one job after another."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.backbone: Backbone = load_backbone(bench.backbone, dtype=bench.dtype, device=bench.device)
        self.data: Data = prepare(bench.task, self.backbone)

    def perform(self, job: Job) -> Iterator[Result]:
        """The results of a job, each as soon as it is there."""
        if isinstance(job, Bracket):
            yield from _train(job, self.backbone, self.data)
        else:
            yield from _score_baselines(job, self.bench, self.backbone, self.data)


# ------------------------------------------------------------------------------------ brackets


def _train(bracket: Bracket, backbone: Backbone, data: Data) -> Iterator[Rung]:
    groups = [_Group(entries, bracket, backbone, data) for entries in _stacks(bracket.entries)]
    for rung, epochs in enumerate(bracket.rungs):
        reports = {number: report for group in groups for number, report in group.advance(epochs).items()}
        failed = {number: text for group in groups for number, text in group.take_failures().items()}
        failed |= {n: _diverged(r) for n, r in reports.items() if not _healthy(r, bracket.metric)}
        last = rung == len(bracket.rungs) - 1
        kept = _kept(bracket, rung, {n: r for n, r in reports.items() if n not in failed})
        late = bracket.deadline is not None and time.time() > bracket.deadline
        outcomes = [
            Outcome(number=n, state=State.FAIL, report=reports.get(n), message=m) for n, m in failed.items()
        ]
        for group in groups:
            alive = [n for n in group.numbers if n not in failed]
            if last:
                outcomes += group.complete(alive, reports, test=bracket.final)
            else:
                outcomes += [_ongoing(n, reports[n], going_on=n in kept, late=late) for n in alive]
            group.retain([] if last or late else [n for n in alive if n in kept])
        groups = [group for group in groups if group.numbers]
        yield Rung(bracket=bracket.number, rung=rung, outcomes=tuple(outcomes))
        if not groups:
            return


def _stacks(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries that may share a stack, at most `MAX_STACK` together, the largest side by side."""
    alike: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        config = _config(entry)
        alike.setdefault((config.stack_key, entry.number if config.alone else None), []).append(entry)
    return [group[i : i + MAX_STACK] for group in alike.values() for i in range(0, len(group), MAX_STACK)]


def _config(entry: Entry) -> MethodConfig:
    return method_named(entry.method).from_values(entry.values)


def _kept(bracket: Bracket, rung: int, reports: dict[int, Report]) -> set[int]:
    if bracket.final:
        return set(reports)
    standings = [
        Standing(e.number, e.method, reports[e.number].metrics[bracket.metric], e.stored_bytes)
        for e in bracket.entries
        if e.number in reports
    ]
    return keep_best(standings) if bracket.best_only else keep(rung, standings, len(bracket.rungs))


def _ongoing(number: int, report: Report, *, going_on: bool, late: bool) -> Outcome:
    if going_on and not late:
        return Outcome(number=number, state=State.RUNNING, report=report)
    message = "stopped when the budget ended" if late else ""
    return Outcome(number=number, state=State.PRUNED, report=report, message=message)


def _healthy(report: Report, metric: str) -> bool:
    return math.isfinite(report.train_loss) and math.isfinite(report.metrics[metric])


def _diverged(report: Report) -> str:
    return f"training diverged: the loss is {report.train_loss} after {report.epochs} epochs"


def one_line(error: BaseException) -> str:
    """An error as the message of a trial."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


class _Group:
    """One stack of a bracket; when it raises, its trials fail and the others go on."""

    def __init__(self, entries: Sequence[Entry], bracket: Bracket, backbone: Backbone, data: Data) -> None:
        self.numbers = [entry.number for entry in entries]
        self._keeps = {entry.number for entry in entries if entry.keep_module}
        self._failures: dict[int, str] = {}
        self._training: Training | None = None
        candidates = [Candidate(_config(entry), entry.seed) for entry in entries]
        try:
            if candidates[0].config.name == FULL:
                check_memory(backbone)
            epochs = bracket.rungs[-1]
            self._training = start_training(
                backbone, data, candidates, epochs=epochs, seed=bracket.order_seed
            )
        except Exception as error:  # whatever a method raises is the failure of its trials only
            self._failures = dict.fromkeys(self.numbers, one_line(error))

    def advance(self, epochs: int) -> dict[int, Report]:
        if self._training is None:
            return {}
        try:
            reports = self._training.advance(Fidelity(epochs=epochs))
        except Exception as error:
            self._failures = dict.fromkeys(self.numbers, one_line(error))
            return {}
        return dict(zip(self.numbers, reports, strict=True))

    def take_failures(self) -> dict[int, str]:
        failures, self._failures = self._failures, {}
        return failures

    def retain(self, numbers: Sequence[int]) -> None:
        if self._training is not None and numbers and list(numbers) != self.numbers:
            self._training.select([self.numbers.index(n) for n in numbers])
        self.numbers = list(numbers)

    def complete(self, numbers: Sequence[int], reports: Mapping[int, Report], *, test: bool) -> list[Outcome]:
        training = self._training
        if training is None or not numbers:
            return []
        modules = training.deployed()
        scored = training.test_logits() if test else None
        outcomes = []
        for number in numbers:
            i = self.numbers.index(number)
            candidate = training.stack.candidates[i]
            config, state = modules[i]
            outcomes.append(
                Outcome(
                    number=number,
                    state=State.COMPLETE,
                    report=reports[number],
                    module=Module(config, candidate.seed, state).to_bytes()
                    if number in self._keeps
                    else None,
                    validation_logits=training.logits[i],
                    test_logits=None if scored is None else scored[i],
                )
            )
        return outcomes


# ----------------------------------------------------------------------------------- baselines


def _score_baselines(
    job: Baselines, bench: Bench, backbone: Backbone, data: Data
) -> Iterator[BaselineResult]:
    yield from map(_text_baseline, text_baselines(bench.task))
    with torch.no_grad():
        probe = linear_probe(backbone, data)
    config = LinearProbeConfig()
    cost = cost_of(config, backbone.sites, bench.task.outputs, backbone.hidden_size)
    yield BaselineResult(
        name=config.name,
        config={"strength": probe.strength},
        validation_logits=np.asarray(probe.validation_logits),
        test_logits=np.asarray(probe.test_logits),
        trainable_parameters=cost.trainable_parameters,
        stored_bytes=cost.stored_bytes,
        seconds=probe.seconds,
        module=Module(config, job.seed, probe.state).to_bytes(),
    )


def _text_baseline(scores: BaselineScores) -> BaselineResult:
    return BaselineResult(
        name=scores.name,
        config=scores.config,
        validation_logits=scores.validation_logits,
        test_logits=scores.test_logits,
        trainable_parameters=scores.trainable_parameters,
        stored_bytes=scores.stored_bytes,
        seconds=scores.seconds,
    )
