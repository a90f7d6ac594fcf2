"""What each of several searches chose and when, and the table of their regrets (benchmarks/rivals.py)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from search import interval

PELTIER, TUNE, RANDOM, DEFAULTS = (
    "Peltier",
    "Ray Tune, Optuna, ASHA",
    "random search",
    "defaults of each method",
)
RIVALS = (PELTIER, TUNE, RANDOM, DEFAULTS)
PARTS = (0.6, 0.8, 1.0)
"""Of what Peltier spent: where the choices are compared."""


@dataclass(frozen=True)
class Ended:
    """A configuration whose training is over."""

    epochs: float
    """Candidate-epochs that its searcher had spent by then."""
    seconds: float
    """Device-seconds, likewise."""
    validation: float
    loss: float
    """On validation."""
    bytes: int
    test: float
    method: str
    whole: bool = True
    """Whether it was trained to the end."""


def chosen(ended: Iterable[Ended], epochs: float) -> Ended | None:
    """The best on validation of what was over within so many candidate-epochs."""
    there = [one for one in ended if one.epochs <= epochs + 1e-6 and np.isfinite(one.validation)]
    return min(there, key=lambda one: (-one.validation, one.loss, one.bytes), default=None)


@dataclass(frozen=True)
class Unit:
    """What everybody reached on one dataset and seed."""

    dataset: str
    seed: int
    epochs: int
    budget: float
    rivals: dict[str, list[Ended]]
    best: float
    """Test score of the best of the reference pool."""

    def regret(self, name: str, part: float) -> float:
        """In points, after this part of the budget; where no training was over by then, of the worst."""
        one = chosen(self.rivals[name], part * self.budget)
        worst = min(f.test for some in self.rivals.values() for f in some)
        return 100 * (self.best - (worst if one is None else one.test))


def read(path: Path) -> list[Unit]:
    """The units of a file of this script's."""
    found = []
    for line in path.read_text().splitlines():
        one = json.loads(line)
        rivals = {name: [Ended(**f) for f in some] for name, some in one["rivals"].items()}
        best = max([*one["pool"], *(f.test for some in rivals.values() for f in some)])
        found.append(Unit(one["dataset"], one["seed"], one["epochs"], one["budget"], rivals, best))
    return found


def summary(units: Sequence[Unit]) -> dict[str, Any]:
    """Mean regret of each rival, and its paired difference to Peltier's with a 95 % interval."""
    regrets = {
        name: np.array([[unit.regret(name, part) for part in PARTS] for unit in units]) for name in RIVALS
    }
    return {
        "units": [(unit.dataset, unit.seed) for unit in units],
        "budget": float(np.mean([unit.budget / unit.epochs for unit in units])),
        "parts": PARTS,
        "regret": {name: values.mean(axis=0).tolist() for name, values in regrets.items()},
        "less_peltier": {
            name: [interval(values[:, i] - regrets[PELTIER][:, i], units) for i in range(len(PARTS))]
            for name, values in regrets.items()
            if name != PELTIER
        },
        "whole": {
            name: float(np.mean([sum(f.whole for f in u.rivals[name]) for u in units])) for name in RIVALS
        },
        "seconds": {
            name: float(np.mean([u.rivals[name][-1].seconds for u in units if u.rivals[name]]))
            for name in RIVALS
        },
    }


def told(result: dict[str, Any]) -> str:
    """A Markdown table."""
    wholes = [f"{part * result['budget']:.1f}" for part in result["parts"]]
    lines = [
        f"{len(result['units'])} datasets and seeds; budgets in whole trainings; regret in points of test",
        "",
        f"| | {' | '.join(wholes)} | trained to the end | device-seconds |",
        f"|---|{'---|' * len(wholes)}---|---|",
    ]
    for name, regrets in result["regret"].items():
        intervals = result["less_peltier"].get(name)
        cells = [
            f"{value:.2f}" + (f" ({intervals[i][0]:+.2f} to {intervals[i][1]:+.2f})" if intervals else "")
            for i, value in enumerate(regrets)
        ]
        count, seconds = result["whole"][name], result["seconds"][name]
        lines.append(f"| {name} | {' | '.join(cells)} | {count:.1f} | {seconds:.0f} |")
    lines.append("")
    lines.append(
        "In brackets: 95 % interval of the difference to Peltier's regret; above 0 Peltier is better."
    )
    return "\n".join(lines)
