"""What finished studies have taught of configurations, in numbers that are comparable between datasets."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from selector.full_finetuning import proposed
from selector.likeness import alike, config_inside
from selector.space import Space
from storage.records import State, Study, Trial
from trainers.method import MethodConfig

PER_METHOD = 2
"""So many configurations of each method are taken over from a study at most."""
LEAST_RANK = 0.5
"""A configuration that did not beat this share of its study is not taken over."""
DOUBT = 1.0
"""The weight of having no opinion, in studies of an equal task: one study's best is partly luck."""


@dataclass(frozen=True)
class Experience:
    """How one configuration did in a finished study."""

    config: MethodConfig
    study: str
    closeness: float
    """Of the study's task to the one at hand, in (0, 1]."""
    rank: float
    complete: bool
    """Whether it was trained to the end."""


def experiences(study: Study, closeness: float, space: Space) -> list[Experience]:
    """What a study has taught of the configurations that lie in a space, the best first."""
    searched = [trial for trial in study.trials if proposed(trial, study.spec.get("methods"))]
    ranks = rank(searched, study.task["metric"])
    found = []
    for trial in sorted(study.trials, key=lambda trial: -ranks.get(trial.number, 0.0)):
        config = config_inside(trial.method, trial.config, space)
        if trial.number in ranks and config is not None:
            complete = trial.state is State.COMPLETE
            found.append(Experience(config, study.name, closeness, ranks[trial.number], complete))
    return found


def rank(trials: Sequence[Trial], metric: str) -> dict[int, float]:
    """Number of a trial of the search -> the share of the others that it beat; 0.5 where there is no other.

    Whole trainings by their score, above those that were cut by how far they came, above those that
    diverged. A trial that failed otherwise says nothing of its configuration, and repeats none of the search.
    """
    searched = [trial for trial in trials if trial.repeat_of is None]
    standings = {trial.number: _standing(trial, metric) for trial in searched}
    merits = {number: standing for number, standing in standings.items() if standing is not None}
    if len(merits) == 1:
        return dict.fromkeys(merits, 0.5)
    values = list(merits.values())
    beaten = {own: sum(other < own for other in values) for own in set(values)}
    ties = Counter(values)
    return {n: (beaten[own] + (ties[own] - 1) / 2) / (len(values) - 1) for n, own in merits.items()}


def _standing(trial: Trial, metric: str) -> tuple[float, ...] | None:
    if not trial.reports or trial.state in (State.WAITING, State.RUNNING):
        return None
    last = trial.reports[-1]
    score = last.metrics.get(metric, math.nan)
    if not (math.isfinite(score) and math.isfinite(last.train_loss)):
        return (0.0,)
    if trial.state is State.FAIL:
        return None
    return (2.0, score) if trial.state is State.COMPLETE else (1.0, last.epochs, score)


def candidates(seen: Iterable[Experience], known: Sequence[MethodConfig], space: Space) -> list[Experience]:
    """The best unlike ones of each method in each study, all trained to the end, none like what is known."""
    found: dict[tuple[str, str], list[Experience]] = defaultdict(list)
    for one in seen:
        mates = found[one.study, one.config.name]
        if one.complete and one.rank >= LEAST_RANK and len(mates) < PER_METHOD:
            if not is_known(one.config, [*known, *(mate.config for mate in mates)], space):
                mates.append(one)
    return [one for mates in found.values() for one in mates]


def expected_rank(config: MethodConfig, seen: Iterable[Experience], space: Space) -> float:
    """The mean rank of its like in the studies that tried it, weighted by closeness, drawn to one half."""
    told: dict[tuple[str, float], list[float]] = defaultdict(list)
    for one in seen:
        if alike(one.config, config, space):
            told[one.study, one.closeness].append(one.rank)
    weight = sum(close for _, close in told)
    return (sum(close * fmean(ranks) for (_, close), ranks in told.items()) + DOUBT / 2) / (weight + DOUBT)


def is_known(config: MethodConfig, known: Iterable[MethodConfig], space: Space) -> bool:
    """Whether one of the known configurations is like it."""
    return any(alike(config, other, space) for other in known)
