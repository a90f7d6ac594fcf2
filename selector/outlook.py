"""What would change the choice: more rows, seeds, time or epochs, wider ranges; only what was measured."""

from __future__ import annotations

import math

from selector.comparison import Comparison
from selector.contenders import Finalist
from selector.phrases import count, label
from selector.power import rows_to_tell
from selector.statistics import LEVEL, Interval

STANDARD_ERRORS = 3.92
"""Width of a 95 % interval, in standard errors."""


def would_change(comparison: Comparison, validation: Interval) -> tuple[str, ...]:
    """One sentence for each; none where nothing speaks for it. `validation` is the interval of the choice."""
    found = [_rows(comparison), _budget(comparison)]
    if isinstance(comparison.choice, Finalist):
        found += [_epochs(comparison.choice, validation), _ranges(comparison.choice)]
    return tuple(one for one in found if one)


def _rows(comparison: Comparison) -> str:
    rivals = comparison.rivals()
    if rivals is None:
        return ""
    best, other = (comparison.contenders[one] for one in rivals)
    lead = 100 * comparison.tied.differences[rivals[1]].mean
    if round(lead, 1) == 0:
        return ""
    rows, comparisons = len(comparison.labels), len(comparison.tied.members) - 1
    a, b = (comparison.samples[one] for one in rivals)
    needed = rows_to_tell(a, b, rows, comparisons, LEVEL)
    said = f"{label(best)} leads {label(other)} by {lead:.1f} points on {count(rows, 'validation row')}"
    if needed is None:
        each = count(a.seeds, "seed")
        seeds = f"{each} each" if a.seeds == b.seeds else f"{each} and {b.seeds}"
        return f"More seeds: {said}, which no number of rows could tell apart with {seeds}."
    return f"More validation rows: {said}; about {_rounded(needed):,} would tell such a lead from chance."


def _rounded(rows: int) -> int:
    """Two digits: the lead that the number follows from is a guess itself."""
    unit: int = 10 ** max(0, len(str(rows)) - 2)
    return int(math.ceil(rows / unit) * unit)


def _budget(comparison: Comparison) -> str:
    asked = comparison.asked
    if asked is None:
        return ""
    short = []
    if asked.searched < asked.trials:
        short.append(f"{asked.searched} of {count(asked.trials, 'configuration')} were tried")
    seeds = [len(comparison.contenders[one].validation) for one in comparison.finalists()]
    if seeds and min(seeds) < asked.seeds:
        short.append(f"finalists had {min(seeds)} of {count(asked.seeds, 'seed')}")
    return f"More time: {' and '.join(short)}." if short else ""


def _epochs(choice: Finalist, validation: Interval) -> str:
    """Whether the score still rose from the last rung but one to the end, by more than its standard error."""
    if len(choice.curve) < 2 or choice.stopped:
        return ""
    (before, low), (after, high) = choice.curve[-2:]
    if high - low <= (validation.high - validation.low) / STANDARD_ERRORS:
        return ""
    return (
        f"More epochs: from epoch {before:g} to {after:g} the score in the search still rose "
        f"from {low:.3f} to {high:.3f}, by more than its standard error."
    )


def _ranges(choice: Finalist) -> str:
    return f"Wider ranges: the choice has {', '.join(choice.at_edge)}." if choice.at_edge else ""
