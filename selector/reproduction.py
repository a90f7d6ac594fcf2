"""Train one trial again and compare: is what is written down what the data and the seed give?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from selector.data import read_kept
from selector.jobs import Bracket, Entry
from selector.phrases import as_whole, count
from selector.provenance import differences, provenance
from selector.stack_group import StackGroup, stacks
from selector.study import RequestError, StudySpec
from storage.files import Files
from storage.records import Study, Trial
from trainers.backbone import load as load_backbone
from trainers.data import Data, prepare
from trainers.export import module_from_bytes

SCORE_TOLERANCE = 0.02
ROWS_TOLERANCE = 2
"""A score may differ by so much, or by so many rows of the validation split where these are more: alone and
in a stack sums are rounded in another order, and training makes more of it."""
LOSS_TOLERANCE = 0.05
"""The same for the loss, as a share of it."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number of a report, as it is written down and as it came out now."""

    epochs: float
    name: str
    then: float
    now: float
    tolerance: float

    @property
    def matches(self) -> bool:
        """Whether rounding explains the difference; what is no number matches itself."""
        if math.isnan(self.then) or math.isnan(self.now):
            return math.isnan(self.then) and math.isnan(self.now)
        return self.then == self.now or abs(self.then - self.now) <= self.tolerance


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What came of training a trial again."""

    trial: int
    scores: tuple[Score, ...]
    module_difference: float | None
    """Largest difference of a trained number, as a share of the largest trained number; None where no module
    was kept."""
    changed: tuple[str, ...]
    """What is not as it was when the study ran: versions, commit, machine."""

    @property
    def exact(self) -> bool:
        """Whether all numbers are the same, bit for bit."""
        same = all(s.then == s.now or (math.isnan(s.then) and math.isnan(s.now)) for s in self.scores)
        return same and self.module_difference in (None, 0.0)

    @property
    def matches(self) -> bool:
        """Whether the scores are the same within their tolerance."""
        return all(score.matches for score in self.scores)

    def lines(self) -> list[str]:
        """What is to be said, line by line."""
        told = [
            f"after {count(score.epochs, 'epoch')}: {score.name} {score.then:.4f} then, {score.now:.4f} now"
            for score in self.scores
        ]
        if self.module_difference is not None:
            told.append(
                f"largest difference of a trained number: {self.module_difference:.1e} of the largest"
            )
        told += [f"not as it was: {one}" for one in self.changed]
        verdict = "the same, bit for bit" if self.exact else "the same within the tolerance"
        return [*told, f"trial {self.trial} is {verdict if self.matches else 'NOT reproduced'}"]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "trial": self.trial,
            "matches": self.matches,
            "exact": self.exact,
            "scores": [{**asdict(score), "epochs": as_whole(score.epochs)} for score in self.scores],
            "module_difference": self.module_difference,
            "changed": list(self.changed),
        }


def reproduce(files: Files, study: Study, number: int, *, stack: bool = False) -> Reproduction:
    """Train a trial again, with its seed, on the study's data, for as long as it was trained.

    Alone; with `stack` beside the trials that stood beside it until they left, which costs their training,
    too, and gives the same bits on the same machine in fp32.

    Raises:
        RequestError: if there is no such trial, or it was never scored.
    """
    trial = _scored(study, number)
    spec = StudySpec.from_json(study.spec)
    backbone = load_backbone(spec.backbone, dtype=spec.dtype, head=spec.head)
    data = prepare(read_kept(files, spec), backbone, spec.truncation)
    beside = [t for t in study.trials if t.bracket == trial.bracket and t.reports] if stack else [trial]
    (part,) = (
        part
        for part in stacks([Entry.of(t) for t in beside], backbone)
        if number in [entry.number for entry in part]
    )
    group = StackGroup(part, _bracket(trial, spec, study, part), backbone, data)
    scores, state = _trained(group, trial, study, data)
    kept = None if trial.module_file is None else files.path(trial.module_file).read_bytes()
    return Reproduction(
        trial=number,
        scores=tuple(scores),
        module_difference=None if kept is None else _difference(module_from_bytes(kept).state, state),
        changed=tuple(differences(study.runs[-1] if study.runs else {}, provenance())),
    )


def _scored(study: Study, number: int) -> Trial:
    trial = next((trial for trial in study.trials if trial.number == number), None)
    scored = [str(t.number) for t in study.trials if t.reports]
    possible = f"trials that were scored: {', '.join(scored)}" if scored else "no trial was scored yet"
    if trial is None:
        raise RequestError(f"study {study.name} has no trial {number}; {possible}")
    if not trial.reports:
        raise RequestError(f"trial {number} of study {study.name} was never scored; {possible}")
    return trial


def _bracket(trial: Trial, spec: StudySpec, study: Study, entries: Sequence[Entry]) -> Bracket:
    epochs = [report.epochs for report in trial.reports]
    return Bracket(
        number=trial.bracket or 0,
        entries=tuple(entries),
        rungs=tuple(sorted({*epochs, spec.epochs})),
        metric=study.task["metric"],
        order_seed=trial.seed,
        final=trial.repeat_of is not None,
        patience=spec.patience,
    )


def _trained(
    group: StackGroup, trial: Trial, study: Study, data: Data
) -> tuple[list[Score], Mapping[str, Tensor]]:
    """The scores at each report's epochs, and the module as it is then."""
    reports = {t.number: len(t.reports) for t in study.trials}
    metric, scores = study.task["metric"], []
    for rung, then in enumerate(trial.reports):
        (group,) = (part for part in group.advance(then.epochs) if trial.number in part.numbers)
        if group.failures:
            raise RequestError(f"trial {trial.number} cannot be trained: {group.failures[trial.number]}")
        now = group.reports[trial.number]
        rows = max(SCORE_TOLERANCE, ROWS_TOLERANCE / len(data.task.validation.labels))
        scores += [
            Score(
                epochs=then.epochs,
                name=name,
                then=then.metrics[name],
                now=now.metrics[name],
                tolerance=abs(LOSS_TOLERANCE * then.metrics[name]) if name == "loss" else rows,
            )
            for name in dict.fromkeys((metric, "loss"))
        ]
        if rung + 1 < len(trial.reports):
            group.retain([n for n in group.numbers if reports[n] > rung + 1])
    return scores, group.module(trial.number)


def _difference(then: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> float:
    if then.keys() != now.keys() or any(then[name].shape != now[name].shape for name in then):
        return math.inf
    largest = max(float(tensor.abs().max()) for tensor in then.values())
    apart = max(float(torch.max(torch.abs(then[name] - now[name].cpu()))) for name in then)
    return apart / largest if largest else apart
