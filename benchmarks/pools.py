"""Configurations that were trained on several datasets: what benchmarks/curves.py wrote, read again."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import trainers.methods  # noqa: F401  (registers the methods)
from selector.likeness import config_inside
from selector.space import Space, defaults, space_of
from storage.records import Report, State, Study, Trial
from trainers.method import METHODS, MethodConfig


@dataclass(frozen=True)
class Pool:
    """The configurations of one dataset and seed, with their final scores."""

    facts: dict[str, Any]
    features: dict[str, float]
    space: Space
    configs: tuple[MethodConfig, ...]
    scores: NDArray[np.float64]
    """[configurations], on validation; the worst of the pool where training diverged."""

    @property
    def dataset(self) -> str:
        return str(self.facts["dataset"])

    @cached_property
    def first(self) -> list[int]:
        """Positions of the strong defaults, in the order of a search."""
        return [self.configs.index(config) for config in defaults(self.space) if config in self.configs]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Each score as a share of the way from the median to the best, from 0 on."""
        middle, best = float(np.median(self.scores)), float(self.scores.max())
        return np.clip((self.scores - middle) / (best - middle), 0, 1) if best > middle else self.scores * 0

    def study(self, number: int) -> Study:
        """The pool as a finished study in a store."""
        trials = tuple(
            Trial(
                number=row["number"],
                method=row["method"],
                config=row["config"],
                seed=self.facts["seed"],
                state=State.FAIL if row["validation"][-1] is None else State.COMPLETE,
                reports=(_report(row, self.facts),),
            )
            for row in self.facts["curves"]
        )
        task = {"kind": self.facts["kind"], "metric": self.facts["metric"], "meta_features": self.features}
        return Study(
            id=number,
            name=self.dataset,
            state=State.COMPLETE,
            spec={},
            task=task,
            created=datetime.now(UTC),
            trials=trials,
        )


def _report(row: dict[str, Any], facts: dict[str, Any]) -> Report:
    score, loss = (
        math.nan if row[name][-1] is None else row[name][-1] for name in ("validation", "train_loss")
    )
    metrics = {facts["metric"]: score}
    return Report(
        rung=0, epochs=facts["epochs"], metrics=metrics, train_loss=loss, seconds=row["seconds"][-1]
    )


def read(path: Path, features: Path | None) -> list[Pool]:
    """The pools of a file of curves; all have the same configurations."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    names = dict.fromkeys(row["method"] for row in lines[0]["curves"])
    space = space_of([METHODS[name] for name in names])
    described = {} if features is None else _described(features)
    return [_pool(facts, space, described) for facts in lines]


def _described(path: Path) -> dict[tuple[str, int], dict[str, float]]:
    lines = map(json.loads, path.read_text().splitlines())
    return {(line["dataset"], line["rows"]): line["features"] for line in lines}


def _pool(facts: dict[str, Any], space: Space, described: dict[tuple[str, int], dict[str, float]]) -> Pool:
    rows = facts["rows"]["train"]
    plain = {"rows": math.log10(rows), "classes": math.log10(facts["classes"] or 1)}
    configs = [config_inside(row["method"], row["config"], space) for row in facts["curves"]]
    assert all(config is not None for config in configs), "curves of another version's methods"
    final = np.array([row["validation"][-1] for row in facts["curves"]], dtype=np.float64)  # None becomes NaN
    return Pool(
        facts=facts,
        features=described.get((facts["dataset"], rows), plain),
        space=space,
        configs=tuple(config for config in configs if config is not None),
        scores=np.where(np.isfinite(final), final, np.nanmin(final)),
    )


def greedy(pools: Sequence[Pool], size: int) -> list[tuple[int, float]]:
    """Positions of the configurations to add to the strong defaults, each with the mean share after it."""
    best = np.array([pool.shares[pool.first].max() for pool in pools])
    shares = weights(pools)
    chosen: list[tuple[int, float]] = []
    while len(chosen) < size:
        after = np.maximum(best, np.stack([pool.shares for pool in pools], axis=1))  # [configurations, pools]
        means = after @ shares
        top = int(means.argmax())
        if means[top] <= best @ shares + 1e-9:
            break
        chosen.append((top, float(means[top])))
        best = after[top]
    return chosen


def weights(pools: Sequence[Pool]) -> NDArray[np.float64]:
    """Every dataset weighs the same, however many seeds it has."""
    names = [pool.dataset for pool in pools]
    return np.array([1 / names.count(name) for name in names]) / len(set(names))
