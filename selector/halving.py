"""A bracket's plan: when candidates that started together are compared, and who goes on.

The numbers come from replaying plans over learning curves that were trained to
the end. After 10 % of the steps the ranking on SST-2 was noise (rank
correlation with the final score -.05 and .03), after 25 % it was .52 and .53;
over 600 curves of six datasets it was 0.46 after 12.5 % and 0.58 after 25 %. So
the first cut waits for 25 %. At equal cost no plan was clearly better or
worse than training everything in full (docs/search.md,
docs/decisions/0005-halving-stays-the-default.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from selector.pareto import in_order

EarlyExit = Literal["halving", "hyperband", "none"]
"""halving: every bracket is cut at all rungs; hyperband: brackets take turns in how early they are cut
(Li et al., arXiv 1603.06560); none: every configuration is trained to the end."""
EARLY_EXITS: tuple[EarlyExit, ...] = get_args(EarlyExit)

RUNG_SHARES = (0.25, 0.5, 1.0)
"""Share of the epochs, and so of the rows seen, at which each rung ends."""
HYPERBAND_SIZES = (1.0, 2 / 3, 1 / 2)
"""Share of a bracket's size with which hyperband starts one that skips so many cuts."""
ONE_IN = 3
"""At least one candidate in so many survives a cut."""
KEPT_LEAST = 3
"""Least number of candidates that survives a cut, if so many entered."""


@dataclass(frozen=True)
class Standing:
    """How one candidate stands at the end of a rung."""

    number: int
    method: str
    score: float
    """On the validation split, larger is better; NaN when training diverged."""
    cost: float
    """Decides between equal scores and losses, smaller is better; any unit that the candidates share."""
    loss: float = 0.0
    """On the validation split; decides between equal scores, smaller is better."""
    costs: tuple[float, ...] = ()
    """Of further objectives, smaller is better; empty where the score is the only one."""


@dataclass(frozen=True)
class Plan:
    """When a bracket is compared, and how many candidates start it."""

    rungs: tuple[float, ...]
    """Epochs after which each rung ends, in parts of one; the last is a whole training."""
    size: int


def plan(epochs: int, size: int, early_exit: EarlyExit = "halving", turn: int = 0, *, parts: int = 1) -> Plan:
    """The plan of bracket number `turn` (from 0): rungs at 25 %, 50 % and all of the epochs.

    They are rounded up to parts of an epoch, of which it has `parts` (`trainers.epochs`).

    With hyperband the next bracket skips the first cut and the one after it both. Fewer start there, so that
    every bracket costs about as much: of n that are cut twice about n / 2 trainings remain.

    Raises:
        ValueError: if there is no epoch to plan.
    """
    if epochs < 1:
        raise ValueError(f"a bracket needs at least 1 epoch, not {epochs}")
    skipped = {"halving": 0, "hyperband": turn % len(RUNG_SHARES), "none": len(RUNG_SHARES) - 1}[early_exit]
    starting = math.ceil(size * HYPERBAND_SIZES[skipped]) if early_exit == "hyperband" else size
    ends = {math.ceil(share * epochs * parts) / parts for share in RUNG_SHARES[skipped:]}
    return Plan(tuple(sorted(ends)), starting)


def keep(rung: int, candidates: Sequence[Standing], rungs: int) -> set[int]:
    """Numbers of the candidates that go on after `rung` (from 0) of `rungs`.

    Every cut keeps at least a third and at least three. The first also keeps the
    best of each method, because learning curves of different methods cross.
    After the last rung nobody is cut. A score that is not finite never goes on. With further objectives
    the order is that of `pareto.in_order`: non-dominated rank, then crowding, so the ends of a front go on.

    Raises:
        ValueError: if the plan has no such rung.
    """
    if not 0 <= rung < rungs:
        raise ValueError(f"there is no rung {rung} in a plan of {rungs}; the first is 0")
    ranked = sorted((one for one in candidates if math.isfinite(one.score)), key=_rank)
    if any(one.costs for one in ranked):
        ranked = [ranked[i] for i in in_order([(-one.score, *one.costs) for one in ranked])]
    if rung == rungs - 1:
        return {one.number for one in ranked}
    places = max(KEPT_LEAST, math.ceil(len(candidates) / ONE_IN))
    kept = {one.number for one in ranked[:places]}
    return kept | _best_of_each_method(ranked) if rung == 0 else kept


def keep_best(candidates: Sequence[Standing]) -> set[int]:
    """Number of the best candidate alone; a score that is not finite is never the best."""
    finite = (one for one in candidates if math.isfinite(one.score))
    return {one.number for one in sorted(finite, key=_rank)[:1]}


def _rank(standing: Standing) -> tuple[float, float, float, int]:
    # After a very short training many scores are equal: an F1 of several labels is then 0 for most.
    loss = math.inf if math.isnan(standing.loss) else standing.loss
    return -standing.score, loss, standing.cost, standing.number


def _best_of_each_method(ranked: Sequence[Standing]) -> set[int]:
    best: dict[str, int] = {}
    for one in ranked:
        best.setdefault(one.method, one.number)
    return set(best.values())
