"""What a worker does with a job: train a bracket rung by rung, or score the baselines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from selector.allowance import Meter
from selector.candidate_latency import time_entries
from selector.full_finetuning import METHOD as FULL
from selector.halving import Standing, keep, keep_best
from selector.jobs import (
    EARLY_STOPPING,
    BaselineResult,
    Baselines,
    Bench,
    Bracket,
    Calibration,
    Entry,
    Job,
    Outcome,
    Result,
    Rung,
)
from selector.objectives import costs_of
from storage.records import State
from trainers.backbone import Backbone
from trainers.backbone import load as load_backbone
from trainers.baselines import BaselineScores, text_baselines
from trainers.building import method_named
from trainers.calibration import can_calibrate, seconds_per_epoch
from trainers.cost import cost_of
from trainers.data import Data, prepare
from trainers.export import Module
from trainers.fidelity import Fidelity, Report
from trainers.folds import AnyTraining, FoldedTraining, begin
from trainers.free_memory import check_memory
from trainers.latency import measure_latency
from trainers.method import MethodConfig
from trainers.methods.linear_probe import LinearProbeConfig
from trainers.probe import linear_probe
from trainers.stack import Candidate
from trainers.stack import State as Tensors

MAX_STACK = 8
"""Candidates in one stack. On a CPU larger ones gain nothing and leave its cache (docs/performance.md)."""


class Worker:
    """A resident backbone with the tokenised task; it works off one job after another."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.backbone: Backbone = load_backbone(bench.backbone, dtype=bench.dtype, device=bench.device)
        self.data: Data = prepare(bench.task, self.backbone, bench.truncation)

    def perform(self, job: Job) -> Iterator[Result]:
        """The results of a job, each as soon as it is there."""
        if isinstance(job, Bracket):
            yield from _train(job, self.backbone, self.data)
        else:
            yield from _score_baselines(job, self.bench, self.backbone, self.data)


# ------------------------------------------------------------------------------------ brackets


def _train(bracket: Bracket, backbone: Backbone, data: Data) -> Iterator[Rung]:
    entries, latencies, slow = time_entries(bracket, backbone, data)
    if not entries:
        yield Rung(bracket=bracket.number, rung=0, outcomes=tuple(_with(latencies, slow)))
        return
    groups = [_Group(entries, bracket, backbone, data) for entries in stacks(entries)]
    meter = Meter(bracket.allowance)
    for rung, (before, epochs) in enumerate(pairwise((0, *bracket.rungs))):
        meter.start()
        candidates = sum(len(group.numbers) for group in groups)
        reports = {number: report for group in groups for number, report in group.advance(epochs).items()}
        meter.stop(candidates * (epochs - before))
        failed = {number: text for group in groups for number, text in group.take_failures().items()}
        failed |= {n: _diverged(r) for n, r in reports.items() if not _healthy(r, bracket.metric)}
        last = rung == len(bracket.rungs) - 1
        healthy = {n: r for n, r in reports.items() if n not in failed}
        kept = _kept(bracket, rung, healthy, latencies)
        late = not last and not meter.pays_for(len(kept) * (bracket.rungs[rung + 1] - epochs))
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
        first = _with(latencies, [*slow, *outcomes]) if rung == 0 else outcomes
        yield Rung(bracket=bracket.number, rung=rung, outcomes=tuple(first))
        if not groups:
            return


def _with(latencies: Mapping[int, Mapping[str, Any]], outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [replace(one, latency=latencies.get(one.number, one.latency)) for one in outcomes]


def stacks(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries that may share a stack, at most `MAX_STACK` together, the largest side by side."""
    alike: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        config = _config(entry)
        alike.setdefault((config.stack_key, entry.number if config.alone else None), []).append(entry)
    return [group[i : i + MAX_STACK] for group in alike.values() for i in range(0, len(group), MAX_STACK)]


def _config(entry: Entry) -> MethodConfig:
    return method_named(entry.method).from_values(entry.values)


def _kept(
    bracket: Bracket, rung: int, reports: dict[int, Report], latencies: Mapping[int, Mapping[str, Any]]
) -> set[int]:
    if bracket.final:
        return set(reports)

    def costs(entry: Entry) -> tuple[float, ...]:
        return costs_of(
            bracket.objectives,
            parameters=entry.parameters,
            stored_bytes=entry.stored_bytes,
            latency=latencies.get(entry.number),
            seconds=reports[entry.number].seconds,
        )

    standings = [
        Standing(
            entry.number,
            entry.method,
            reports[entry.number].metrics[bracket.metric],
            cost=entry.stored_bytes,
            loss=reports[entry.number].metrics["loss"],
            costs=costs(entry),
        )
        for entry in bracket.entries
        if entry.number in reports
    ]
    return keep_best(standings) if bracket.best_only else keep(rung, standings, len(bracket.rungs))


def _ongoing(number: int, report: Report, *, going_on: bool, late: bool) -> Outcome:
    if going_on and not late:
        return Outcome(number=number, state=State.RUNNING, report=report)
    messages = ["stopped when the budget ended" if late else "", _stopped(report)]
    return Outcome(
        number=number, state=State.PRUNED, report=report, message="; ".join(filter(None, messages))
    )


def _stopped(report: Report) -> str:
    """What early stopping did, for the message of a trial; empty when it did nothing."""
    if report.best_epoch is None:
        return ""
    return f"{EARLY_STOPPING}trained for {report.epochs} epochs, scored as it was after {report.best_epoch}"


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
        self._backbone, self._data = backbone, data
        self._keeps = {entry.number for entry in entries if entry.keep_module}
        self._failures: dict[int, str] = {}
        self._training: AnyTraining | None = None
        candidates = [Candidate(_config(entry), entry.seed) for entry in entries]
        try:
            if candidates[0].config.name == FULL:
                check_memory(backbone, 1 if data.task.folds is None else data.task.fold_count + 1)
            self._training = begin(
                backbone,
                data,
                candidates,
                epochs=bracket.rungs[-1],
                seed=bracket.order_seed,
                patience=bracket.patience,
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
        own = training.module_logits if isinstance(training, FoldedTraining) else None
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
                    module_logits=None if own is None else own[i],
                    latency=self._latency((config, state)) if test else None,
                    message=_stopped(reports[number]),
                )
            )
        return outcomes

    def _latency(self, module: tuple[MethodConfig, Tensors]) -> Mapping[str, Any]:
        return measure_latency(self._backbone, self._data, module).to_json()


# ----------------------------------------------------------------------------------- baselines


def _score_baselines(job: Baselines, bench: Bench, backbone: Backbone, data: Data) -> Iterator[Result]:
    if job.rungs and can_calibrate(backbone):
        # Without it there is only no estimate: what fails here will fail again where its trial can say so.
        with suppress(RuntimeError):
            yield _calibration(job.rungs, backbone, data)
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
        module_logits=probe.module_logits,
        latency=measure_latency(backbone, data).to_json(),
        features={"separation": round(probe.separation, 4)},
    )


def _calibration(rungs: Sequence[int], backbone: Backbone, data: Data) -> Calibration:
    scores = len(rungs) / rungs[-1]
    # K folds train on all rows but their own, and one more training on all rows: K times all rows.
    times = data.task.fold_count
    alone = times * seconds_per_epoch(backbone, data, 1, scores)
    if backbone.device.type == "cpu":
        return Calibration(stacked=alone, alone=alone)  # there a stack gains nothing (docs/performance.md)
    return Calibration(stacked=times * seconds_per_epoch(backbone, data, MAX_STACK, scores), alone=alone)


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
