"""Replay plans of early exit over learning curves that were trained to the end, at equal cost.

    python benchmarks/search.py CURVES [--json]

CURVES is what benchmarks/curves.py wrote, all with the same epochs and parts of them; a rung ends at the next
point that was scored. A plan sees configurations in random order, or the strong default
of each method first and the others in random order, spends a budget of so many whole trainings, and chooses
the best on validation of those that it trained to the end. Its regret is the test score of the best
configuration of the pool less that of the chosen one, in points. Every plan sees the same orders;
differences to random search in full are paired, and their 95 % intervals resample datasets, then seeds.
Told are also how early a ranking tells the last one, and whether mixtures win.
Nothing is trained here. The cutting rules are the product's own (selector/halving.py) and Ray Tune's own
(ASHA with its defaults, four trials side by side; in the few trials of these budgets Optuna's TPE draws at
random, as its first ten trials are). Finalists' seeds and halving's lead over several devices are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.tune.schedulers import AsyncHyperBandScheduler
from scipy.stats import spearmanr

from selector.halving import RUNG_SHARES, Standing, keep, plan

ORDERS = 100
"""Random orders of the pool for each dataset and seed."""
BUDGETS = (4, 6, 8, 10, 12)
"""In whole trainings."""
DRAWS = 4000
MIXTURE = "unipelt"
SIDE_BY_SIDE = 4
"""Trials that ASHA sees at once."""


@dataclass(frozen=True)
class Pool:
    """The curves of one dataset and seed."""

    dataset: str
    seed: int
    methods: tuple[str, ...]
    sizes: tuple[int, ...]
    defaults: int
    """So many configurations at the begin are strong defaults, one of each method first."""
    validation: NDArray[np.float64]
    """[configurations, points]; NaN where training diverged."""
    losses: NDArray[np.float64]
    """[configurations, points]: on validation."""
    test: NDArray[np.float64]
    """[configurations]: at the end."""
    parts: int
    """Points in an epoch."""

    @property
    def points(self) -> int:
        """How often a whole training was scored."""
        return int(self.validation.shape[1])


@dataclass(frozen=True)
class Spent:
    """What a plan reached."""

    chosen: int | None
    """None where no training was finished."""
    points: int
    """Of all configurations together."""


Strategy = Callable[[Pool, Sequence[int]], Spent]


def in_full(pool: Pool, order: Sequence[int]) -> Spent:
    """Every configuration is trained to the end."""
    return Spent(_best(pool, order), pool.points * len(order))


def halved(shares: Sequence[float], size: int, least: int | None = None) -> Strategy:
    """Brackets of `size`, cut after these shares of the epochs by the product's rule.

    With `least`, by a rule that keeps so many of each bracket and no method for its own sake.
    """

    def run(pool: Pool, order: Sequence[int]) -> Spent:
        rungs = sorted({int(np.ceil(share * pool.points)) for share in shares})
        finished: list[int] = []
        spent = 0
        for start in range(0, len(order), size):
            alive, before = list(order[start : start + size]), 0
            for rung, epoch in enumerate(rungs):
                spent += (epoch - before) * len(alive)
                before = epoch
                alive = _kept(pool, alive, rung, rungs, least)
            finished += alive
        return Spent(_best(pool, finished), spent)

    return run


def hyperband(size: int) -> Strategy:
    """The product's brackets in turn: cut from 25 % on, cut at 50 % only, never cut."""

    def run(pool: Pool, order: Sequence[int]) -> Spent:
        parts: list[Spent] = []
        start = 0
        while start < len(order):
            turn = plan(pool.points, size, "hyperband", len(parts))
            shares = [rung / pool.points for rung in turn.rungs]
            parts.append(halved(shares, turn.size)(pool, order[start : start + turn.size]))
            start += turn.size
        chosen = [part.chosen for part in parts if part.chosen is not None]
        return Spent(_best(pool, chosen), sum(part.points for part in parts))

    return run


def asha(pool: Pool, order: Sequence[int]) -> Spent:
    """Ray Tune's ASHA as it is when nothing is said: first cut after one epoch, a quarter goes on.

    Trials run side by side, an epoch of each in turn; one that ends makes room for the next.
    """
    scheduler = AsyncHyperBandScheduler("epoch", "score", "max", max_t=pool.points)
    waiting, running, finished = list(order), dict[int, int](), list[int]()
    spent = 0
    while waiting or running:
        while waiting and len(running) < SIDE_BY_SIDE:
            running[waiting[0]] = 0
            scheduler.on_trial_add(None, trial_named(waiting.pop(0)))  # type: ignore[arg-type]
        for one in list(running):
            running[one] = epoch = running[one] + 1
            spent += 1
            score = pool.validation[one, epoch - 1]
            result = {"epoch": epoch, "score": score}
            cut = scheduler.on_trial_result(None, trial_named(one), result) == scheduler.STOP  # type: ignore[arg-type]
            if cut or np.isnan(score):
                del running[one]
                finished += [one] * (epoch == pool.points)
    return Spent(_best(pool, finished), spent)


def trial_named(number: int) -> Any:
    return SimpleNamespace(trial_id=str(number))


def _kept(pool: Pool, alive: list[int], rung: int, rungs: Sequence[int], least: int | None) -> list[int]:
    scores = pool.validation[:, rungs[rung] - 1]
    if least is not None:
        if rung == len(rungs) - 1:
            return [one for one in alive if np.isfinite(scores[one])]
        return sorted((one for one in alive if np.isfinite(scores[one])), key=lambda one: -scores[one])[
            :least
        ]
    standings = [Standing(one, pool.methods[one], float(scores[one]), pool.sizes[one]) for one in alive]
    kept = keep(rung, standings, len(rungs))
    return [one for one in alive if one in kept]


def _best(pool: Pool, numbers: Sequence[int]) -> int | None:
    scores = pool.validation[:, -1]
    finite = [one for one in numbers if np.isfinite(scores[one])]
    return min(finite, key=lambda one: (-scores[one], pool.losses[one, -1], pool.sizes[one]), default=None)


@dataclass(frozen=True)
class Plan:
    """What is tried first, and how it is cut."""

    strategy: Strategy
    defaults_first: bool = False

    def order(self, pool: Pool, chance: Sequence[int]) -> list[int]:
        """The configurations as it sees them, from a random order."""
        first = range(pool.defaults) if self.defaults_first else ()
        return [*first, *(one for one in chance if one not in first)]


RANDOM = "random search in full"
WHOLE = "defaults first, in full"
LATE = "defaults first, halving 50 % in eights"
PRODUCT = "defaults first, halving 25 %, 50 % in eights (the product's)"
PLANS: dict[str, Plan] = {
    RANDOM: Plan(in_full),
    "random, Ray Tune's ASHA": Plan(asha),
    "random, halving 25 %, 50 % in eights": Plan(halved(RUNG_SHARES, 8)),
    "random, halving 50 % in eights": Plan(halved((0.5, 1.0), 8)),
    "random, halving 12.5 %, 25 %, 50 % in eights": Plan(halved((0.125, 0.25, 0.5, 1.0), 8)),
    "random, halving 25 % in eights, best 2 go on": Plan(halved((0.25, 1.0), 8, least=2)),
    "random, hyperband of eights": Plan(hyperband(8)),
    WHOLE: Plan(in_full, defaults_first=True),
    LATE: Plan(halved((0.5, 1.0), 8), defaults_first=True),
    PRODUCT: Plan(halved(RUNG_SHARES, 8), defaults_first=True),
}


def affordable(strategy: Strategy, pool: Pool, order: Sequence[int]) -> list[Spent]:
    """For each budget the plan on as many configurations as it pays for."""
    runs = [strategy(pool, order[:count]) for count in range(1, len(order) + 1)]
    paid = [[run for run in runs if run.points <= budget * pool.points] for budget in BUDGETS]
    return [some[-1] if some else Spent(None, 0) for some in paid]


def regret(pool: Pool, chosen: int | None) -> float:
    """In points; of nothing chosen that of the worst configuration."""
    scores = np.nan_to_num(pool.test, nan=float(np.nanmin(pool.test)))
    return 100 * float(scores.max() - (scores.min() if chosen is None else scores[chosen]))


def replay(pools: Sequence[Pool]) -> dict[str, NDArray[np.float64]]:
    """Plan -> mean regret `[pools, budgets]` over the same random orders."""
    found = {name: np.zeros((len(pools), len(BUDGETS))) for name in PLANS}
    for row, pool in enumerate(pools):
        chance = np.random.default_rng(0)
        for _ in range(ORDERS):
            order = chance.permutation(len(pool.methods)).tolist()
            for name, one in PLANS.items():
                spent = affordable(one.strategy, pool, one.order(pool, order))
                found[name][row] += [regret(pool, run.chosen) / ORDERS for run in spent]
    return found


def interval(values: NDArray[np.float64], pools: Sequence[Pool]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean: datasets are drawn, then seeds of each."""
    chance = np.random.default_rng(0)
    rows = {
        name: [i for i, pool in enumerate(pools) if pool.dataset == name]
        for name in {p.dataset for p in pools}
    }
    names = sorted(rows)
    means = [
        np.mean(
            [
                values[chance.choice(rows[name], len(rows[name]))].mean()
                for name in chance.choice(names, len(names))
            ]
        )
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def stopping(pools: Sequence[Pool]) -> dict[str, dict[str, float]]:
    """Patience in epochs -> share of the epochs saved, and points of validation lost at the best epoch."""
    found = {}
    for patience in (1, 2, 3):
        saved, lost = [], []
        for pool in pools:
            for curve in pool.validation:
                if np.isfinite(curve).all():
                    end = _stops(curve, patience)
                    saved.append(1 - end / len(curve))
                    lost.append(100 * (curve.max() - curve[:end].max()))
        found[str(patience)] = {"epochs_saved": float(np.mean(saved)), "points_lost": float(np.mean(lost))}
    return found


def early(pools: Sequence[Pool]) -> dict[str, float]:
    """Epoch -> rank correlation of the scores then with those at the end, mean over pools."""
    found = {}
    for epoch in range(1, pools[0].points):
        values = []
        for pool in pools:
            finite = pool.validation[np.isfinite(pool.validation).all(axis=1)]
            values.append(spearmanr(finite[:, epoch - 1], finite[:, -1]).statistic)
        found[f"{epoch / pools[0].parts:g}"] = float(np.nanmean(values))
    return found


def mixtures(pools: Sequence[Pool]) -> dict[str, Any]:
    """Test points of the best mixture less those of the best of as many others, both chosen on validation.

    The others are drawn at random, many times.
    """
    differences = []
    for pool in pools:
        mixed = [i for i, method in enumerate(pool.methods) if method == MIXTURE]
        others = [i for i, method in enumerate(pool.methods) if method != MIXTURE]
        chance = np.random.default_rng(0)
        draws = [chance.choice(others, len(mixed), replace=False).tolist() for _ in range(ORDERS)]
        behind = float(np.mean([regret(pool, _best(pool, some)) for some in draws]))
        differences.append(behind - regret(pool, _best(pool, mixed)))
    values = np.array(differences)
    return {"mixtures": len(mixed), "points": float(values.mean()), "interval": interval(values, pools)}


def _stops(curve: NDArray[np.float64], patience: int) -> int:
    best, since = -np.inf, 0
    for epoch, score in enumerate(curve, start=1):
        best, since = (score, 0) if score > best else (best, since + 1)
        if since == patience:
            return epoch
    return len(curve)


def read(path: Path) -> list[Pool]:
    """The pools of a file of curves."""
    return [_pool(json.loads(line)) for line in path.read_text().splitlines()]


def _pool(facts: dict[str, Any]) -> Pool:
    rows = facts["curves"]

    def table(name: str) -> NDArray[np.float64]:
        return np.array([row[name] for row in rows], dtype=float)  # None: training diverged

    methods = tuple(row["method"] for row in rows)
    return Pool(
        dataset=facts["dataset"],
        seed=facts["seed"],
        methods=methods,
        sizes=tuple(row["bytes"] for row in rows),
        defaults=len(set(methods)),
        validation=table("validation"),
        losses=table("validation_loss"),
        test=table("test"),
        parts=facts.get("parts", 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("curves", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pools = read(options.curves)
    found = replay(pools)
    defaults = np.array([regret(pool, _best(pool, range(pool.defaults))) for pool in pools])
    result = {
        "pools": sorted({(pool.dataset, pool.seed) for pool in pools}),
        "configurations": len(pools[0].methods),
        "epochs": pools[0].points / pools[0].parts,
        "budgets": BUDGETS,
        "regret": {name: values.mean(axis=0).round(3).tolist() for name, values in found.items()},
        "less_random": {
            name: [interval(values[:, i] - found[RANDOM][:, i], pools) for i in range(len(BUDGETS))]
            for name, values in found.items()
            if name != RANDOM
        },
        "halving_less_whole": [
            {
                "points": float((found[PRODUCT] - found[WHOLE])[:, i].mean()),
                "interval": interval((found[PRODUCT] - found[WHOLE])[:, i], pools),
            }
            for i in range(len(BUDGETS))
        ],
        "early": early(pools),
        "mixtures": mixtures(pools),
        "defaults": {"trainings": pools[0].defaults, "regret": float(defaults.mean())},
        "patience": stopping(pools),
    }
    print(json.dumps(result) if options.json else told(result))


def told(result: dict[str, Any]) -> str:
    """The result as lines for people."""
    lines = [
        f"{len(result['pools'])} pools of {result['configurations']} configurations; "
        f"mean regret in points of test score",
        "budget in whole trainings:" + "".join(f"{budget:>20}" for budget in result["budgets"]),
    ]
    for name, regrets in result["regret"].items():
        intervals = result["less_random"].get(name)
        cells = [
            f"{value:.2f}" + (f" [{intervals[i][0]:+.2f} {intervals[i][1]:+.2f}]" if intervals else "")
            for i, value in enumerate(regrets)
        ]
        lines.append(f"{name}\n" + " " * 26 + "".join(f"{cell:>20}" for cell in cells))
    first = result["defaults"]
    lines.append(
        f"the first default of each method ({first['trainings']} whole trainings): {first['regret']:.2f}"
    )
    for patience, values in result["patience"].items():
        lines.append(
            f"patience of {patience}: {values['epochs_saved']:.0%} of the epochs saved, "
            f"{values['points_lost']:.2f} points of validation lost"
        )
    cells = [
        f"{one['points']:+.2f} [{one['interval'][0]:+.2f} {one['interval'][1]:+.2f}]"
        for one in result["halving_less_whole"]
    ]
    lines.append("the product's halving less the same in full, with its interval:")
    lines.append(" " * 26 + "".join(f"{cell:>20}" for cell in cells))
    curve = ", ".join(f"{value:.2f} after {epoch}" for epoch, value in result["early"].items())
    lines.append(f"rank correlation with the end: {curve} epochs")
    mixed = result["mixtures"]
    lines.append(
        f"the best of {mixed['mixtures']} mixtures less the best of as many others: {mixed['points']:+.2f} "
        f"points of test score, 95 % interval {mixed['interval'][0]:+.2f} to {mixed['interval'][1]:+.2f}"
    )
    lines.append("in brackets: 95 % interval of the difference to random search in full; below 0 is better")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
