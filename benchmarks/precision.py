"""The same trainings with frozen weights in bf16 and in fp32: scores and losses side by side.

    python benchmarks/curves.py --data FOLDER --datasets sst2,trec6 --dtype bf16 --out bf16.jsonl
    python benchmarks/curves.py --data FOLDER --datasets sst2,trec6 --dtype fp32 --out fp32.jsonl
    python benchmarks/precision.py bf16.jsonl fp32.jsonl [--json]

Compared are the configurations, datasets and seeds that both files hold, first less second: the test score
at the end, the validation loss after each epoch, and whether a search would choose another configuration.
What another seed changes stands beside it, for a difference means little that chance makes as well.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from search import interval
from search import read as read_pools

Key = tuple[str, int]


def curves(path: Path) -> dict[Key, dict[str, dict[str, Any]]]:
    """Dataset and seed -> configuration -> curve."""
    found = {}
    for facts in map(json.loads, path.read_text().splitlines()):
        named = {json.dumps([c["method"], c["config"]], sort_keys=True): c for c in facts["curves"]}
        found[facts["dataset"], facts["seed"]] = named
    return found


def compared(first: Path, second: Path) -> dict[str, Any]:
    """Differences over all trainings that both files hold."""
    one, other = curves(first), curves(second)
    keys = [key for key in one if key in other]
    pools = [pool for pool in read_pools(second) if (pool.dataset, pool.seed) in keys]
    tests, losses, ranks, chosen = [], [], [], []
    for pool in pools:
        a, b = one[pool.dataset, pool.seed], other[pool.dataset, pool.seed]
        names = [name for name in b if name in a and _finite(a[name]) and _finite(b[name])]
        tests.append([100 * (a[n]["test"] - b[n]["test"]) for n in names])
        losses.append([_apart(a[n]["validation_loss"], b[n]["validation_loss"]) for n in names])
        scores = [[curve[n]["validation"][-1] for n in names] for curve in (a, b)]
        ranks.append(float(spearmanr(*scores).statistic))
        best = names[int(np.argmax(scores[0]))]
        chosen.append(100 * (b[best]["test"] - b[names[int(np.argmax(scores[1]))]]["test"]))
    means = np.array([np.mean(values) for values in tests])
    return {
        "pools": len(pools),
        "trainings": sum(map(len, tests)),
        "test_points": float(means.mean()),
        "interval": interval(means, pools),
        "test_points_each": float(np.mean(np.abs(np.concatenate(tests)))),
        "test_points_of_a_seed": _of_seeds(other, keys),
        "loss": float(np.median(np.concatenate(losses))),
        "rank_correlation": float(np.mean(ranks)),
        "choice_points": float(np.mean(chosen)),
    }


def _finite(curve: Mapping[str, Any]) -> bool:
    return curve["test"] is not None and None not in curve["validation_loss"]


def _apart(first: list[float], second: list[float]) -> float:
    """The largest difference of two curves, as a share of the second's value there."""
    return float(np.max(np.abs(np.array(first) - second) / np.array(second)))


def _of_seeds(pools: Mapping[Key, Mapping[str, Mapping[str, Any]]], keys: list[Key]) -> float:
    """How far the same configuration's test scores of one seed and the next lie apart, mean over all."""
    found = []
    for dataset in dict.fromkeys(name for name, _ in keys):
        for before, after in pairwise(sorted(seed for name, seed in keys if name == dataset)):
            a, b = pools[dataset, before], pools[dataset, after]
            pairs = [(a[n], b[n]) for n in a if n in b and _finite(a[n]) and _finite(b[n])]
            found += [100 * abs(x["test"] - y["test"]) for x, y in pairs]
    return float(np.mean(found)) if found else float("nan")


def told(result: Mapping[str, Any]) -> str:
    """The result as lines for people."""
    low, high = result["interval"]
    return "\n".join(
        [
            f"{result['trainings']} trainings on {result['pools']} datasets and seeds, first less second",
            f"test score: {result['test_points']:+.2f} points on average, "
            f"95 % interval {low:+.2f} to {high:+.2f}",
            f"each training's test score: {result['test_points_each']:.2f} points apart on average; "
            f"the same with another seed and other rows: {result['test_points_of_a_seed']:.2f}",
            f"validation loss: {result['loss']:.1%} apart where a curve differs most (median of trainings)",
            f"rank correlation of the configurations on validation: {result['rank_correlation']:.2f}; "
            f"what the first would choose scores {result['choice_points']:+.2f} points in the second",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = compared(options.first, options.second)
    print(json.dumps(result) if options.json else told(result))


if __name__ == "__main__":
    main()
