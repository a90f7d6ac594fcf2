"""What to try next: strong defaults first, then Optuna's TPE on what our trials have taught.

Our store is the only truth. At each round an Optuna study is rebuilt in memory
from the trials, asked, and thrown away.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from selector.space import Space, defaults, parameters, suggest
from storage.records import State, Trial
from trainers.method import MethodConfig

FAILURES = 3
"""So many failed trials of a method without one success, and it is not proposed again."""
ATTEMPTS = 20
"""Draws for one proposal before a configuration that was tried already is accepted."""


def propose(
    trials: Sequence[Trial],
    count: int,
    space: Space,
    metric: str,
    seed: int,
    suggested: Sequence[MethodConfig] = (),
) -> list[MethodConfig]:
    """`count` configurations to try next; the same trials and seed give the same ones.

    Strong defaults go first, then what the memory suggests, then the sampler's.
    Finalists' repeats teach nothing. A trial that diverged counts as worse than all
    that were cut; one that failed otherwise is only kept from being tried again.

    Raises:
        ValueError: if every method keeps failing.
    """
    searched = [trial for trial in trials if trial.repeat_of is None]
    working = _working(searched, space)
    tried = {_key(trial.method, trial.config) for trial in searched}
    left = {method.name for method in working.methods}
    first = defaults(working) + [config for config in suggested if config.name in left]
    fresh = [config for config in first if _key(config.name, config.values()) not in tried]
    proposals = fresh[:count]
    if len(proposals) < count:
        known = _known(searched, working, metric)
        proposals += _sample(known, proposals, count - len(proposals), working, tried, [seed, len(trials)])
    return proposals


def _working(trials: Sequence[Trial], space: Space) -> Space:
    failed = Counter(trial.method for trial in trials if trial.state is State.FAIL)
    succeeded = {trial.method for trial in trials if trial.state in (State.COMPLETE, State.PRUNED)}
    names = [method.name for method in space.methods]
    working = [name for name in names if name in succeeded or failed[name] < FAILURES]
    if not working:
        last = next((trial.message for trial in reversed(trials) if trial.state is State.FAIL), "")
        raise ValueError(
            f"no method is left to try ({', '.join(names) or 'none was given'}): "
            f"each failed {FAILURES} times without a success; the last failure says: {last}"
        )
    return space.only(working)


def _key(method: str, values: Mapping[str, Any]) -> tuple[object, ...]:
    return method, *sorted(values.items())


# ------------------------------------------------------------------------------- Optuna's side


def _known(trials: Sequence[Trial], space: Space, metric: str) -> list[FrozenTrial]:
    by_name = {method.name: method for method in space.methods}
    known = []
    for trial in trials:
        if trial.method in by_name and (trial.state is not State.FAIL or _diverged(trial)):
            config = by_name[trial.method].from_values(trial.config)
            known.append(_frozen(trial, config, space, metric))
    return known


def _diverged(trial: Trial) -> bool:
    # Optuna leaves failed trials out. Left out, divergence draws the search over the edge: on a
    # curve that rises up to it, 20 of 20 proposals lay beyond, and 6 of 20 when it is counted as bad.
    return bool(trial.reports) and not math.isfinite(trial.reports[-1].train_loss)


def _frozen(trial: Trial, config: MethodConfig, space: Space, metric: str) -> FrozenTrial:
    values, distributions = parameters(config, space)
    curve = {report.epochs: report.metrics[metric] for report in trial.reports}
    score = trial.reports[-1].metrics[metric] if trial.reports else math.nan
    state, value = TrialState.RUNNING, None
    if trial.state is State.COMPLETE and math.isfinite(score):
        state, value = TrialState.COMPLETE, score
    elif trial.state not in (State.RUNNING, State.WAITING):
        # TPE ranks a cut trial without any value behind all others.
        state, curve = TrialState.PRUNED, curve if math.isfinite(score) else {}
    return create_trial(
        state=state, value=value, params=values, distributions=distributions, intermediate_values=curve
    )


def _sample(
    known: Sequence[FrozenTrial],
    beside: Sequence[MethodConfig],
    count: int,
    space: Space,
    tried: set[tuple[object, ...]],
    entropy: Sequence[int],
) -> list[MethodConfig]:
    seen = tried | {_key(config.name, config.values()) for config in beside}
    found: list[MethodConfig] = []
    with _quiet():
        study = optuna.create_study(direction="maximize", sampler=_tpe(entropy))
        study.add_trials(known)
        for config in beside:
            values, distributions = parameters(config, space)
            study.add_trial(
                create_trial(state=TrialState.RUNNING, params=values, distributions=distributions)
            )
        for _ in range(count):
            found.append(_ask(study, space, seen))
            seen.add(_key(found[-1].name, found[-1].values()))
    return found


def _ask(study: optuna.Study, space: Space, seen: set[tuple[object, ...]]) -> MethodConfig:
    for _ in range(ATTEMPTS):
        trial = study.ask()
        config = suggest(trial, space)
        if _key(config.name, config.values()) not in seen:
            break
        study.tell(trial, state=TrialState.FAIL)
    return config


def _tpe(entropy: Sequence[int]) -> TPESampler:
    # The space is a tree: `group` models each method's fields together, apart from the others'.
    # A constant liar counts running trials as bad, so that one round's proposals differ.
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    return TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log lines and its warning that `group` is experimental."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*group.*", category=ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
