"""What a study tries next: strong defaults, what the memory suggests, then the sampler's."""

from __future__ import annotations

from collections.abc import Sequence

from selector.fitting import Fit
from selector.prior import Suggestion, open_places, origin_of, similar_studies, suggest
from selector.samplers import USUAL_OBJECTIVES, propose
from selector.space import Space
from selector.study import StudySpec
from storage.database import Database
from storage.records import Trial
from trainers.method import MethodConfig


class Proposals:
    """Asks the memory and the sampler; the same trials give the same answers."""

    def __init__(
        self, database: Database, study_id: int, spec: StudySpec, space: Space, fit: Fit, metric: str
    ) -> None:
        self._database = database
        self._id = study_id
        self._spec = spec
        self._space = space
        self._fit = fit
        self._metric = metric

    def next(
        self, count: int, searched: Sequence[Trial], everything: Sequence[Trial]
    ) -> list[tuple[MethodConfig, str]]:
        """At most `count` configurations, each with who proposed it; fewer once the space is used up.

        `everything` holds trials that count for nothing, too: they are tried again only where nothing
        else is left.
        """
        suggested = self._suggested(searched)
        configs = self._ask(everything, count, suggested) or self._ask(searched, count, suggested)
        return [(config, origin_of(config, self._space, suggested)) for config in configs]

    def _ask(
        self, trials: Sequence[Trial], count: int, suggested: Sequence[Suggestion]
    ) -> list[MethodConfig]:
        objectives = self._spec.objectives
        if len(objectives) == 1:
            objectives = USUAL_OBJECTIVES.get(self._spec.sampler, objectives)
        return propose(
            trials,
            count,
            self._space,
            self._metric,
            self._spec.seed,
            suggested=[suggestion.config for suggestion in suggested],
            fit=self._fit,
            sampler=self._spec.sampler,
            objectives=objectives,
        )

    def _suggested(self, searched: Sequence[Trial]) -> list[Suggestion]:
        """What the memory may add: nothing once its places are taken."""
        places = open_places(searched, self._spec.trials) if self._spec.memory else 0
        if not places:
            return []
        study = self._database.study(self._id)
        return suggest(study, similar_studies(self._database, study), self._space, places)
