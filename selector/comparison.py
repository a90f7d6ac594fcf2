"""What a choice is made from: everyone who was compared, on the same validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selector.bootstrap import Classes, Predictions, Sample
from selector.contenders import Compared, Finalist
from selector.statistics import Difference, Tied, paired_difference


@dataclass(frozen=True)
class Asked:
    """What the search was to be, and what its budget let it become."""

    trials: int
    """Configurations that were to be tried."""
    searched: int
    """Configurations that were tried."""
    seeds: int
    """Seeds with which finalists were to be repeated."""


@dataclass(frozen=True)
class Comparison:
    """The contenders and who of them was chosen."""

    contenders: Sequence[Compared]
    """The cheapest first."""
    samples: Sequence[Sample]
    """Their scores under the same resampled rows."""
    tied: Tied
    chosen: int
    """Position among the contenders."""
    metric: str
    labels: Predictions
    classes: Classes
    seed: int
    drop: float
    """What the highest score is expected to lose on new examples (`selector.optimism`)."""
    asked: Asked | None = None
    left_out: str = ""
    """Why full fine-tuning is not among the contenders."""
    beyond: Sequence[Compared] = ()
    """Those that the request's limits rule out."""

    @property
    def choice(self) -> Compared:
        return self.contenders[self.chosen]

    def finalists(self) -> list[int]:
        """Positions of what was trained, full fine-tuning included, the highest mean first."""
        found = [i for i, one in enumerate(self.contenders) if isinstance(one, Finalist)]
        return sorted(found, key=lambda one: self.tied.differences[one].mean)

    def less_choice(self, position: int) -> Difference:
        """A contender's score less that of the choice."""
        a, b = self.contenders[position].validation, self.choice.validation
        return paired_difference(self.metric, a, b, self.labels, self.classes, seed=self.seed)

    def rivals(self) -> tuple[int, int] | None:
        """Positions of the highest score and of one tied with it: the choice, else the next of the tied."""
        best, differences = self.tied.best, self.tied.differences
        others = [one for one in sorted(self.tied.members) if one != best]
        if not others:
            return None
        nearest = min(others, key=lambda one: differences[one].mean)
        return best, nearest if self.chosen == best else self.chosen
