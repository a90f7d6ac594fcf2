"""The memory: what did well in finished studies of similar tasks is tried early in the next one.

Only configurations and numbers are reused, never a text. The strong defaults of every method
stay and go first, so that a misleading memory costs a stated share of the trials at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selector.experience import Experience, candidates, expected_rank, experiences, is_known
from selector.likeness import alike, config_inside
from selector.meta_features import distance
from selector.portfolio import portfolio
from selector.space import Space, defaults
from storage.database import Database
from storage.records import State, Study, Trial
from trainers.kinds import single
from trainers.method import MethodConfig

ONE_IN = 4
"""One trial in so many may come from the memory."""
NEIGHBOURS = 5
"""So many finished studies are asked, those of the most similar tasks."""
REPEATED = 0.5
"""The second suggestion of a method counts this share of its expected rank, the third this share of that."""

DEFAULT, SAMPLER, PORTFOLIO, MEMORY = "default", "sampler", "portfolio", "memory: "
"""Origins of trials; after `MEMORY` stands the name of a study."""


@dataclass(frozen=True)
class Suggestion:
    """A configuration that is worth an early try."""

    config: MethodConfig
    origin: str


def open_places(trials: Iterable[Trial], planned: int) -> int:
    """How many of a study's trials may still come from the memory, or from the portfolio in its place."""
    taken = sum((trial.origin or "").startswith((MEMORY, PORTFOLIO)) for trial in trials)
    return max(0, planned // ONE_IN - taken)


def origin_of(config: MethodConfig, space: Space, suggested: Iterable[Suggestion]) -> str:
    """Who proposed a configuration of a study."""
    if config in defaults(space):
        return DEFAULT
    return next((one.origin for one in suggested if one.config == config), SAMPLER)


def similar_studies(database: Database, study: Study) -> list[Study]:
    """The finished studies of the most similar tasks, the most similar first, with their trials."""
    others = [one for one in database.studies() if one.state is State.COMPLETE and one.id != study.id]
    return [database.study(other.id) for other in nearest(study, others)]


def nearest(study: Study, others: Iterable[Study]) -> list[Study]:
    """At most `NEIGHBOURS` of other studies, the most similar first.

    A task of the same kind (with or without a second text) is always more similar than one of another.
    """
    ordered = sorted(others, key=lambda other: (not same_kind(study, other), -closeness(study, other)))
    return ordered[:NEIGHBOURS]


def same_kind(one: Study, other: Study) -> bool:
    """Whether the tasks predict the same kind of thing, of one text or of two."""
    return single(one.task["kind"]) == single(other.task["kind"])


def closeness(one: Study, other: Study) -> float:
    """1 / (1 + distance); another family of backbone, or another width, counts half a standard deviation."""
    apart = distance(one.task.get("meta_features", {}), other.task.get("meta_features", {}))
    backbone, another = (study.task.get("backbone", {}) for study in (one, other))
    facts = ("model_type", "hidden_size")
    unlike = [fact for fact in facts if backbone.get(fact) != another.get(fact)]
    return 1 / (1 + apart + len(unlike) / 2)


def suggest(study: Study, finished: Sequence[Study], space: Space, count: int) -> list[Suggestion]:
    """At most `count` configurations, none like a strong default or what the study has tried.

    They come from studies of the same kind of task first, then from the portfolio if it was made on this
    kind, then from studies of other kinds. The same input gives the same suggestions.
    """
    tried = [config_inside(trial.method, trial.config, space) for trial in study.trials]
    known = defaults(space) + [config for config in tried if config is not None]
    near = [other for other in finished if same_kind(study, other)]
    far = [other for other in finished if not same_kind(study, other)]
    shipped = [Suggestion(config, PORTFOLIO) for config in portfolio(study.task["kind"], space)]
    chosen: list[Suggestion] = []
    for one in (*_remembered(study, near, space, known), *shipped, *_remembered(study, far, space, known)):
        if not is_known(one.config, known, space):
            chosen.append(one)
            known.append(one.config)
    return chosen[:count]


def _remembered(
    study: Study, finished: Sequence[Study], space: Space, known: Sequence[MethodConfig]
) -> list[Suggestion]:
    """What these studies suggest, the best first, spread over methods."""
    seen = [one for other in finished for one in experiences(other, closeness(study, other), space)]
    merit = {one: expected_rank(one.config, seen, space) for one in candidates(seen, known, space)}
    chosen: list[Experience] = []
    methods: Counter[str] = Counter()
    while merit:
        best = max(merit, key=lambda one: merit[one] * REPEATED ** methods[one.config.name])
        chosen.append(best)
        methods[best.config.name] += 1
        merit = {one: value for one, value in merit.items() if not alike(one.config, best.config, space)}
    return [Suggestion(one.config, MEMORY + one.study) for one in chosen]
