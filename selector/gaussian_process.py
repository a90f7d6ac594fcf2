"""Proposals of Optuna's Gaussian process: one process for each method, the method chosen by TPE.

A Gaussian process needs a space without branches. Inside one method there is one: all
of its fields that can count, with the default where a field does not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import GPSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from selector.knowledge import Knowledge, diverged, measured
from selector.objectives import directions
from selector.parameters import distribution, is_fixed
from selector.space import Space, countable, start_of
from selector.tpe import quiet, tpe
from storage.records import State, Trial
from trainers.domains import Domain, Int
from trainers.method import MethodConfig

FIRST_FIT = 4
"""Trials of a method that its process is first fitted to; with fewer it draws at random. On eight tabulated
landscapes 8 ended as close to the best and 2 further away."""


def gaussian_process(knowledge: Knowledge) -> Iterator[MethodConfig]:
    """Expected improvement inside a method; which method comes next, TPE says.

    The process knows no order among trials that were cut, so each stands there with an estimate of its
    final score (`estimates`); one that diverged stands with the worst.
    """
    studies: dict[str, optuna.Study] = {}
    for chosen in tpe(knowledge):
        method = type(chosen)
        with quiet():
            if method.name not in studies:
                studies[method.name] = _study(method, knowledge)
            trial = studies[method.name].ask(_distributions(method, knowledge.space))
        yield _configured(method, trial.params, knowledge.space)


def _configured(method: type[MethodConfig], params: Mapping[str, Any], space: Space) -> MethodConfig:
    allowed = space.domains[method.name]
    whole = {name: round(value) for name, value in params.items() if isinstance(allowed[name], Int)}
    return method.from_values({**start_of(method, space), **params, **whole})


def _distributions(method: type[MethodConfig], space: Space) -> dict[str, BaseDistribution]:
    """Whole numbers as real ones, to be rounded: the search among whole ones takes many times as long."""
    allowed = space.domains[method.name]
    searched = [name for name in countable(method, allowed) if not is_fixed(allowed[name])]
    return {name: _real(allowed[name]) for name in searched}


def _real(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Int):
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    return distribution(domain)


def _study(method: type[MethodConfig], knowledge: Knowledge) -> optuna.Study:
    sampler = GPSampler(seed=knowledge.seed, n_startup_trials=FIRST_FIT, warn_independent_sampling=False)
    study = optuna.create_study(directions=directions(knowledge.objectives), sampler=sampler)
    distributions = _distributions(method, knowledge.space)

    def frozen(config: MethodConfig, values: Sequence[float] | None) -> FrozenTrial:
        known: dict[str, Any] = {**start_of(method, knowledge.space), **config.values()}
        state = TrialState.RUNNING if values is None else TrialState.COMPLETE
        params = {name: known[name] for name in distributions}
        return create_trial(state=state, values=values, params=params, distributions=distributions)

    estimated = estimates(knowledge)
    for known in knowledge.known:
        if type(known.config) is method and known.trial.number in estimated:
            study.add_trial(frozen(known.config, estimated[known.trial.number]))
    for config in knowledge.waiting():
        if type(config) is method:
            study.add_trial(frozen(config, None))
    return study


def estimates(knowledge: Knowledge) -> dict[int, list[float]]:
    """Number of a finished trial -> its values of the objectives, the metric estimated where it was cut.

    A trial that was cut is given its last score and what whole trainings gained from there to the end
    (their median), but no more than the best of them has; one that diverged is given the least of all.
    Where no whole training was scored at the same rung, the trial is left out.
    """
    whole = knowledge.whole()
    curves = [
        {report.epochs: report.metrics[knowledge.metric] for report in k.trial.reports} for k, _ in whole
    ]
    scores = {k.trial.number: knowledge.last_score(k.trial) for k, _ in whole}
    best = max(scores.values(), default=math.nan)
    for one in knowledge.known:
        gains = [curve[max(curve)] - curve[one.trial.epochs] for curve in curves if one.trial.epochs in curve]
        if one.trial.state is State.PRUNED and gains:
            scores[one.trial.number] = min(best, knowledge.last_score(one.trial) + median(gains))
    worst = min(scores.values(), default=math.nan)
    scores |= {k.trial.number: worst for k in knowledge.known if diverged(k.trial)}
    trials = {k.trial.number: k.trial for k in knowledge.known}
    found = {
        number: measured(
            _scored(trials[number], score, knowledge.metric), knowledge.metric, knowledge.objectives
        )
        for number, score in scores.items()
    }
    return {number: values for number, values in found.items() if values is not None}


def _scored(trial: Trial, score: float, metric: str) -> Trial:
    last = replace(trial.reports[-1], metrics={metric: score})
    return replace(trial, reports=(*trial.reports[:-1], last))
