"""What a worker does with a job: train a bracket rung by rung, or score the baselines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from selector.allowance import Meter
from selector.calibrating import calibrated
from selector.candidate_latency import time_entries
from selector.candidate_memory import weighed
from selector.halving import Standing, keep, keep_best
from selector.jobs import Bench, Bracket, Entry, Job, Outcome, Result, Rung
from selector.objectives import costs_of
from selector.phrases import count
from selector.stack_group import StackGroup, stacks, stopped
from storage.records import State
from trainers.backbone import Backbone
from trainers.backbone import load as load_backbone
from trainers.data import Data, prepare
from trainers.fidelity import Report


class Worker:
    """A resident backbone with the tokenised task; it works off one job after another."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.backbone: Backbone = load_backbone(
            bench.backbone, dtype=bench.dtype, device=bench.device, head=bench.head
        )
        self.data: Data = prepare(bench.task, self.backbone, bench.truncation)

    def perform(self, job: Job) -> Iterator[Result]:
        """The results of a job, each as soon as it is there."""
        if isinstance(job, Bracket):
            yield from _train(job, self.backbone, self.data)
        else:
            yield from calibrated(job.rungs, self.backbone, self.data) if job.rungs else ()
            # Loads scikit-learn, which takes a second: a worker that trains brackets only goes without.
            from selector.baseline_work import score_baselines

            yield from score_baselines(job, self.bench, self.backbone, self.data)


# ------------------------------------------------------------------------------------ brackets


def _train(bracket: Bracket, backbone: Backbone, data: Data) -> Iterator[Rung]:
    bracket = weighed(bracket, backbone, data)
    entries, latencies, slow = time_entries(bracket, backbone, data)
    if not entries:
        yield Rung(bracket=bracket.number, rung=0, outcomes=tuple(_with(bracket, latencies, slow)))
        return
    groups = [StackGroup(part, bracket, backbone, data) for part in stacks(entries, backbone, bracket.left)]
    meter = Meter(bracket.allowance)
    for rung in range(bracket.begun, len(bracket.rungs)):
        epochs, last = bracket.rungs[rung], rung == len(bracket.rungs) - 1
        meter.start()
        candidate_epochs = sum(group.candidate_epochs(epochs) for group in groups)
        groups = [part for group in groups for part in group.advance(epochs)]
        meter.stop(candidate_epochs)
        reports = {number: report for group in groups for number, report in group.reports.items()}
        failed = {number: text for group in groups for number, text in group.failures.items()}
        failed |= {n: _diverged(r) for n, r in reports.items() if not _healthy(r, bracket.metric)}
        healthy = {n: r for n, r in reports.items() if n not in failed}
        kept = _kept(bracket, rung, healthy, latencies)
        late = not last and not meter.pays_for(len(kept) * (bracket.rungs[rung + 1] - epochs))
        outcomes = [
            Outcome(number=n, state=State.FAIL, report=reports.get(n), message=m) for n, m in failed.items()
        ]
        for group in groups:
            alive = [n for n in group.numbers if n not in failed]
            if last:
                outcomes += group.complete(alive, test=bracket.final)
            else:
                outcomes += [_ongoing(n, reports[n], going_on=n in kept, late=late) for n in alive]
            group.retain([] if last or late else [n for n in alive if n in kept])
        groups = [group for group in groups if group.numbers]
        stand = {number: one for group in groups for number, one in group.checkpoints.items()}
        outcomes = [replace(one, checkpoint=stand.get(one.number)) for one in outcomes]
        first = _with(bracket, latencies, [*slow, *outcomes]) if rung == 0 else outcomes
        yield Rung(bracket=bracket.number, rung=rung, outcomes=tuple(first))
        if not groups:
            return


def _with(
    bracket: Bracket, latencies: Mapping[int, Mapping[str, Any]], outcomes: Sequence[Outcome]
) -> list[Outcome]:
    sizes = {entry.number: entry.training_bytes for entry in bracket.entries}
    return [
        replace(one, latency=latencies.get(one.number, one.latency), training_bytes=sizes[one.number])
        for one in outcomes
    ]


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
            training_bytes=entry.training_bytes,
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
    messages = ["stopped when the budget ended" if late else "", stopped(report)]
    return Outcome(
        number=number, state=State.PRUNED, report=report, message="; ".join(filter(None, messages))
    )


def _healthy(report: Report, metric: str) -> bool:
    return math.isfinite(report.train_loss) and math.isfinite(report.metrics[metric])


def _diverged(report: Report) -> str:
    return f"training diverged: the loss is {report.train_loss} after {count(report.epochs, 'epoch')}"
