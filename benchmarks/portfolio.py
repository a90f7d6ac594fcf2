"""Build the shipped portfolio from learning curves, and say whether a memory of other datasets saves trials.

    python benchmarks/portfolio.py CURVES [--features FEATURES] [--out selector/portfolio.json]

CURVES is what benchmarks/curves.py wrote: the same configurations on every dataset, one line for each
dataset and seed. The score is that on validation at the end of a whole training, as a search sees it.

The portfolio starts from the strong defaults, which every search tries anyway. Each next configuration is the
one that most improves the mean, over datasets and their seeds, of the best score so far as a share of the way
from the median of the pool to its best; it ends where a search has no more places for it, or where nothing
improves the mean any more. It is shipped only if it is shown to save trials on datasets that it was not made
on: if the interval of the difference to the defaults, told below, excludes 0. Otherwise the list is empty.

Then each dataset in turn is left out, and its pool is tried in several orders: at random; the strong
defaults, then the rest at random; and with what the memory suggests between these two, from the curves of the
other datasets, by the product's own code (selector/prior.py) and its share of the trials. Told are the trials
until 99 % of the pool's best score is reached, with 95 % intervals that resample datasets, then seeds.
FEATURES is what benchmarks/meta_features.py wrote; without it datasets are compared by rows and classes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from left_out import PORTFOLIO, left_out, places, saved, told
from numpy.typing import NDArray
from pools import Pool, greedy, read

from trainers.kinds import single


def portfolio(pools: Sequence[Pool], found: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    """The file that is shipped; `found` says what leaving datasets out has shown."""
    mean, low, high = saved(found, PORTFOLIO, pools)
    chosen = greedy(pools, places(pools[0])) if high < 0 else []
    tried = [[*pool.first, *(position for position, _ in chosen)] for pool in pools]
    facts = [pool.facts for pool in pools]
    return {
        "kinds": sorted({single(one["kind"]) for one in facts}),
        "configurations": [
            {"method": config.name, "values": config.values(), "mean_share": round(share, 4)}
            for config, share in ((pools[0].configs[position], share) for position, share in chosen)
        ],
        "provenance": {
            "script": "benchmarks/portfolio.py, from the curves of benchmarks/curves.py",
            "made": datetime.now(UTC).date().isoformat(),
            "datasets": sorted({pool.dataset for pool in pools}),
            "seeds": sorted({one["seed"] for one in facts}),
            "trainings": len(pools) * len(pools[0].configs),
            "configurations_tried": len(pools[0].configs),
            "rows": facts[0]["rows"],
            "epochs": facts[0]["epochs"],
            "batch_size": facts[0]["batch_size"],
            "backbone": facts[0]["backbone"],
            "score": "the task's metric on validation at the end",
            "trials_less_than_the_defaults_on_datasets_left_out": {
                "mean": round(mean, 2),
                "95 % interval": [round(low, 2), round(high, 2)],
            },
            "regret_in_points": {
                "defaults": _regrets(pools, [pool.first for pool in pools]),
                "defaults_and_portfolio": _regrets(pools, tried),
            },
            "versions": {name: version(name) for name in ("peltier", "torch", "transformers")},
        },
    }


def _regrets(pools: Sequence[Pool], tried: Sequence[Sequence[int]]) -> dict[str, float]:
    """Dataset -> points of validation score from the best tried to the pool's best, mean over seeds."""
    found: dict[str, list[float]] = {}
    for pool, some in zip(pools, tried, strict=True):
        gap = 100 * float(pool.scores.max() - pool.scores[some].max())
        found.setdefault(pool.dataset, []).append(gap)
    return {name: round(float(np.mean(gaps)), 2) for name, gaps in sorted(found.items())}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("curves", type=Path)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    pools = read(options.curves, options.features)
    if len({pool.dataset for pool in pools}) < 2:
        sys.exit(f"{options.curves} has one dataset; leaving one out needs at least two")
    found = left_out(pools)
    text = json.dumps(portfolio(pools, found), indent=1, ensure_ascii=False)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(told(found, pools))


if __name__ == "__main__":
    main()
