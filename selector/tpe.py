"""Proposals of Optuna's TPE, from a study that is rebuilt in memory from our trials and thrown away."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from selector.knowledge import Knowledge, Known, measured
from selector.objectives import directions
from selector.parameters import parameters, suggest
from selector.space import Space
from storage.records import State
from trainers.method import MethodConfig

LEARNT_FROM = 400
"""TPE's time for one proposal grows with the trials that it knows; it is given so many at most."""
BEST = 100
"""Of these so many are the best of the older ones. TPE calls at most 25 trials good."""


def tpe(knowledge: Knowledge) -> Iterator[MethodConfig]:
    """Optuna's multivariate TPE, which models the fields of each method together and apart from others'.

    A trial that was cut ranks behind every whole training, by how far it came and then by its
    last score; with several objectives behind them without further order. One that
    diverged ranks behind all that were cut. Of very many trials it learns from the newest and the best.
    """
    with quiet():
        study = optuna.create_study(
            directions=directions(knowledge.objectives), sampler=_sampler(knowledge.seed)
        )
        study.add_trials([_frozen(known, knowledge) for known in learnt_from(knowledge)])
        study.add_trials([_running(config, knowledge.space) for config in knowledge.beside])
    while True:
        with quiet():
            config = suggest(study.ask(), knowledge.space)
        yield config


def learnt_from(knowledge: Knowledge) -> list[Known]:
    """All trials, or of very many the newest and, by the metric, the best of the others, in their order."""

    def worth(one: Known) -> float:
        score = knowledge.last_score(one.trial)
        return score if one.trial.state is State.COMPLETE and math.isfinite(score) else -math.inf

    known = list(knowledge.known)
    if len(known) <= LEARNT_FROM:
        return known
    older, newest = known[: BEST - LEARNT_FROM], known[BEST - LEARNT_FROM :]
    best = sorted(range(len(older)), key=lambda i: worth(older[i]), reverse=True)[:BEST]
    return [older[i] for i in sorted(best)] + newest


def _sampler(seed: int) -> TPESampler:
    # A constant liar counts running trials as bad, so that one round's proposals differ.
    return TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)


def _frozen(known: Known, knowledge: Knowledge) -> FrozenTrial:
    """A trial as Optuna would have recorded it; a value only where it was trained to the end."""
    trial = known.trial
    if trial.state in (State.RUNNING, State.WAITING):
        return _running(known.config, knowledge.space)
    values, distributions = parameters(known.config, knowledge.space)
    whole = measured(trial, knowledge.metric, knowledge.objectives)
    if trial.state is State.COMPLETE and whole is not None:
        return create_trial(values=whole, params=values, distributions=distributions)
    curve = {report.epochs: report.metrics[knowledge.metric] for report in trial.reports}
    # Without any value it ranks behind all others; of several objectives Optuna knows no curve.
    ranked = tuple(knowledge.objectives) == ("metric",) and math.isfinite(knowledge.last_score(trial))
    return create_trial(
        state=TrialState.PRUNED,
        params=values,
        distributions=distributions,
        intermediate_values=curve if ranked else {},
    )


def _running(config: MethodConfig, space: Space) -> FrozenTrial:
    values, distributions = parameters(config, space)
    return create_trial(state=TrialState.RUNNING, params=values, distributions=distributions)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's log lines and its warning that `group` is experimental."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*group.*", category=ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
