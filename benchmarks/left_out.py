"""Whether a memory of other datasets saves trials: each dataset in turn is left out and searched anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pools import Pool, greedy, weights

from selector.experience import expected_rank, experiences
from selector.prior import MEMORY, closeness, nearest, open_places, suggest
from storage.records import Study

ORDERS = 400
"""Random orders for each dataset and seed."""
DRAWS = 4000
ENOUGH = 0.99
"""Of the pool's best score."""
AFTER = (12, 14, 16, 20)
"""Trials after which the gap to the pool's best is told."""

Prefix = Callable[[Pool, Sequence[Pool]], list[int]]
"""Of a pool and those of other datasets: what is tried first; the rest follows at random."""


def nothing(pool: Pool, others: Sequence[Pool]) -> list[int]:
    return []


def static(pool: Pool, others: Sequence[Pool]) -> list[int]:
    return pool.first


def remembering(pool: Pool, others: Sequence[Pool]) -> list[int]:
    """The defaults, then what the studies of similar datasets suggest, as a search does it."""
    study, finished = pool.study(0), nearest(pool.study(0), _studies(pool, others))
    new = Study(**{**vars(study), "trials": ()})
    # the shipped portfolio may know the dataset that is left out
    told = suggest(new, finished, pool.space, len(pool.configs))
    own = [pool.configs.index(one.config) for one in told if one.origin.startswith(MEMORY)]
    return [*pool.first, *own[: places(pool)]]


def with_portfolio(pool: Pool, others: Sequence[Pool]) -> list[int]:
    """The defaults, then the portfolio that the other datasets make."""
    return [*pool.first, *(position for position, _ in greedy(others, places(pool)))]


def unguarded(pool: Pool, others: Sequence[Pool]) -> list[int]:
    """Everything by the rank that similar datasets expect, defaults or not."""
    new = pool.study(0)
    near = nearest(new, _studies(pool, others))
    seen = [one for other in near for one in experiences(other, closeness(new, other), pool.space)]
    ranks = [expected_rank(config, seen, pool.space) for config in pool.configs]
    return sorted(range(len(ranks)), key=lambda position: -ranks[position])


def places(pool: Pool) -> int:
    """How many trials may come from the memory where the whole pool is tried."""
    return open_places([], len(pool.configs))


def _studies(pool: Pool, others: Sequence[Pool]) -> list[Study]:
    """One study of each other dataset, of the seed of this one."""
    same = [other for other in others if other.facts["seed"] == pool.facts["seed"]]
    return [other.study(number) for number, other in enumerate(same, start=1)]


STATIC, PORTFOLIO = "defaults, then random", "defaults, portfolio, then random"

ORDERS_OF: dict[str, Prefix] = {
    "at random": nothing,
    STATIC: static,
    "defaults, memory, then random": remembering,
    PORTFOLIO: with_portfolio,
    "by memory alone, no guard": unguarded,
}


def left_out(pools: Sequence[Pool]) -> dict[str, NDArray[np.float64]]:
    """Order -> [pools, 1 + AFTER]: mean trials until enough, then gaps in points after so many trials."""
    found = {name: np.zeros((len(pools), 1 + len(AFTER))) for name in ORDERS_OF}
    for row, pool in enumerate(pools):
        others = [other for other in pools if other.dataset != pool.dataset]
        for name, order in ORDERS_OF.items():
            found[name][row] = _tried(pool, order(pool, others))
    return found


def _tried(pool: Pool, prefix: Sequence[int]) -> NDArray[np.float64]:
    chance = np.random.default_rng(0)
    rest = [position for position in range(len(pool.configs)) if position not in prefix]
    total = np.zeros(1 + len(AFTER))
    for _ in range(ORDERS):
        order = [*prefix, *chance.permutation(rest).tolist()]
        so_far = np.maximum.accumulate(pool.scores[order])
        needed = 1 + int((so_far >= ENOUGH * pool.scores.max()).argmax())
        gaps = [100 * (pool.scores.max() - so_far[min(count, len(so_far)) - 1]) for count in AFTER]
        total += np.array([needed, *gaps]) / ORDERS
    return total


def interval(values: NDArray[np.float64], pools: Sequence[Pool]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over datasets: datasets are drawn, then seeds of each."""
    chance = np.random.default_rng(0)
    names = sorted({pool.dataset for pool in pools})
    rows = {name: [i for i, pool in enumerate(pools) if pool.dataset == name] for name in names}
    means = []
    for _ in range(DRAWS):
        drawn = (rows[name] for name in chance.choice(names, len(names)))
        means.append(np.mean([values[chance.choice(some, len(some))].mean() for some in drawn]))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def saved(
    found: dict[str, NDArray[np.float64]], name: str, pools: Sequence[Pool]
) -> tuple[float, float, float]:
    """Trials until enough in an order less those of the static one (below 0: saved), with its interval."""
    less = found[name][:, 0] - found[STATIC][:, 0]
    return (float(less @ weights(pools)), *interval(less, pools))


def told(found: dict[str, NDArray[np.float64]], pools: Sequence[Pool]) -> str:
    """The comparison as lines for people."""
    datasets = len({pool.dataset for pool in pools})
    lines = [
        f"{datasets} datasets, {len(pools)} pools of {len(pools[0].configs)} configurations, each dataset "
        f"left out in turn; the memory may fill {places(pools[0])} places",
        f"trials until {ENOUGH:.0%} of the pool's best; gap in points after " + ", ".join(map(str, AFTER)),
    ]
    for name, values in found.items():
        low, high = interval(values[:, 0], pools)
        means = values.T @ weights(pools)
        line = f"{name:34} {means[0]:5.1f} [{low:.1f} {high:.1f}]   "
        line += "  ".join(f"{gap:.2f}" for gap in means[1:])
        if name != STATIC:
            mean, low, high = saved(found, name, pools)
            line += f"   less the defaults': {mean:+.1f} [{low:+.1f} {high:+.1f}]"
        lines.append(line)
    return "\n".join(lines)
