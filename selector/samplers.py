"""What to try next: strong defaults first, then what a sampler makes of our trials.

Our store is the only truth. At each round a sampler is given the trials, asked, and thrown away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

import numpy as np
from numpy.random import default_rng

from selector.finite import configurations, is_finite, is_used_up
from selector.fitting import Fit, unlimited
from selector.gaussian_process import gaussian_process
from selector.genetic import genetic
from selector.knowledge import Knowledge, Known, Sampler, diverged
from selector.space import Space, defaults, key_of
from selector.tpe import tpe
from selector.uniform import draw, uniform
from storage.records import State, Trial
from trainers.method import MethodConfig

SAMPLERS: Mapping[str, Sampler] = {
    "tpe": tpe,
    "random": uniform,
    "gp": gaussian_process,
    "nsga2": genetic,
}
USUAL_OBJECTIVES: Mapping[str, tuple[str, ...]] = {"nsga2": ("metric", "bytes")}
"""What a sampler aims at in a search; those that are not here at the metric."""
FAILURES = 3
"""So many failed trials of a method without one success, and it is not proposed again."""
ATTEMPTS = 20
"""Proposals that were tried already before random draws take a sampler's place, and so many of those."""


Seen = set[tuple[object, ...]]


def propose(
    trials: Sequence[Trial],
    count: int,
    space: Space,
    metric: str,
    seed: int,
    *,
    suggested: Sequence[MethodConfig] = (),
    fit: Fit = unlimited,
    sampler: str = "tpe",
    objectives: Sequence[str] = ("metric",),
) -> list[MethodConfig]:
    """`count` configurations to try next, or fewer where the space holds no more that were not tried.

    Strong defaults go first, then what the memory suggests, then the sampler's. The same trials and
    seed give the same ones. Finalists' repeats teach nothing. A trial that diverged counts as bad; one
    that failed otherwise is only kept from being tried again. A default or suggestion that `fit` changes
    is proposed as changed; other configurations are then drawn again.

    Raises:
        ValueError: if every method keeps failing, or for an unknown sampler or objective.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler {sampler!r} is unknown; samplers: {', '.join(SAMPLERS)}")
    searched = [trial for trial in trials if trial.repeat_of is None]
    seen: Seen = {(trial.method, *sorted(trial.config.items())) for trial in searched}
    working = _not_used_up(_working(searched, space), seen)
    if not working.methods:
        return []
    left = {method.name for method in working.methods}
    known = [*defaults(working), *(config for config in suggested if config.name in left)]
    first = list(islice(_fresh(map(fit, known), seen), count))
    knowledge = Knowledge(
        known=_known(searched, working),
        beside=first,
        space=working,
        metric=metric,
        objectives=objectives,
        seed=int(np.random.SeedSequence([seed, len(trials)]).generate_state(1)[0]),
    )
    return first + _sampled(SAMPLERS[sampler](knowledge), count - len(first), knowledge, seen, fit)


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


def _not_used_up(space: Space, seen: Seen) -> Space:
    return space.only(m.name for m in space.methods if not is_used_up(m, space, seen))


def _known(trials: Sequence[Trial], space: Space) -> tuple[Known, ...]:
    by_name = {method.name: method for method in space.methods}
    usable = [
        trial
        for trial in trials
        if trial.method in by_name and (trial.state is not State.FAIL or diverged(trial))
    ]
    found = ((trial, space.find(by_name[trial.method], trial.config)) for trial in usable)
    return tuple(Known(trial, config) for trial, config in found if config is not None)


def _sampled(
    candidates: Iterator[MethodConfig], count: int, knowledge: Knowledge, seen: Seen, fit: Fit
) -> list[MethodConfig]:
    space, generator = knowledge.space, default_rng([knowledge.seed, 1])
    found: list[MethodConfig] = []
    while len(found) < count:
        draws = (draw(space, generator) for _ in range(ATTEMPTS))
        rest = (configurations(method, space) for method in space.methods if is_finite(method, space))
        fitting = (config for config in islice(candidates, ATTEMPTS) if fit(config) == config)
        attempts = chain(fitting, map(fit, draws), map(fit, chain.from_iterable(rest)))
        config = next(_fresh(attempts, seen), None)
        if config is None:
            break
        found.append(config)
    return found


def _fresh(configs: Iterable[MethodConfig], seen: Seen) -> Iterator[MethodConfig]:
    """Those that were not seen, each from then on seen."""
    for config in configs:
        if key_of(config) not in seen:
            seen.add(key_of(config))
            yield config
