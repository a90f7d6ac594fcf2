"""How many validation rows would tell two contenders apart, if their difference is what it looks like."""

from __future__ import annotations

import math

import numpy as np
import scipy  # loads `stats` when it is first asked for

from selector.bootstrap import Numbers, Sample

POWER = 0.8
"""Share of the studies in which a true difference of that size is to be found; Cohen's convention."""
MOST_TIMES = 1_000_000
"""So many times the present rows are looked at; beyond, more rows do not help."""
STUDIES = 2000


def rows_to_tell(a: Sample, b: Sample, rows: int, comparisons: int, level: float) -> int | None:
    """Validation rows with which a true difference as large as this one is significant in 80 % of studies.

    Studies with n rows are simulated: what the rows leave to chance shrinks with `rows / n`, what the seeds
    leave does not, and each study estimates both as `selector.bootstrap` does. Significant is what Holm's
    step-down accepts at `level` as the first of so many `comparisons`.

    None when no number of rows suffices: there is no difference, or the seeds alone differ too much.
    """
    lead, by_rows = abs(a.mean - b.mean), float((a.changes - b.changes).var(ddof=1))
    quantile = 1 - (1 - level) / 2 / comparisons

    def found(times: float) -> bool:
        return _power(times, a, b, lead, by_rows, quantile) >= POWER

    if lead == 0 or not found(MOST_TIMES):
        return None
    # Power rises with the rows, so the logarithm of the least factor is found by halving.
    low, high = -math.log(MOST_TIMES), math.log(MOST_TIMES)
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if found(math.exp(middle)) else (middle, high)
    return math.ceil(rows * math.exp(high))


def _power(times: float, a: Sample, b: Sample, lead: float, by_rows: float, quantile: float) -> float:
    """Share of simulated studies, with so many times the rows, that find the lead."""
    generator = np.random.default_rng(0)
    variance, guessed = np.full(STUDIES, by_rows / times), np.zeros(STUDIES)
    true = by_rows / times
    for one in (a, b):
        true += one.between / one.seeds
        if one.seeds > 1:
            explained = one.explained / times
            spread = (one.between + explained) * _chance(generator, one.seeds - 1)
            variance += np.maximum(0, spread - explained) / one.seeds
            guessed += (spread / one.seeds) ** 2 / (one.seeds - 1)
    freedom = np.maximum(1, variance**2 / np.maximum(guessed, 1e-300))
    seen = lead + generator.standard_normal(STUDIES) * math.sqrt(true)
    return float(np.mean(seen >= np.sqrt(variance) * scipy.stats.t.ppf(quantile, freedom)))


def _chance(generator: np.random.Generator, freedom: int) -> Numbers:
    return generator.chisquare(freedom, STUDIES) / freedom
