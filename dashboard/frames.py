"""A study as data frames: what tables and charts show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from dashboard.words import contender_name, state_name
from selector.full_finetuning import proposed
from selector.leaderboard import config_text, curves, leaderboard
from selector.study import Study

SPLITS = ("validation", "test")


def board(study: Study) -> pd.DataFrame:
    """Baselines first, then the trials of the search, the best first; one row each.

    `trial` is missing for a baseline. `seconds` is the trial's share of its device.
    """
    metric = study.task["metric"]
    rows: list[dict[str, Any]] = [
        {
            "trial": None,
            "kind": "baseline",
            "method": baseline.name,
            "configuration": config_text(baseline.config),
            "state": "complete",
            "epochs": None,
            "score": finite(baseline.validation.get(metric)),
            "bytes": baseline.stored_bytes,
            "latency": None if baseline.latency is None else baseline.latency["ratio"],
            "parameters": baseline.trainable_parameters,
            "seconds": baseline.seconds,
            "origin": None,
        }
        for baseline in study.baselines
    ]
    rows += [
        {
            "trial": row.number,
            "kind": "trial",
            "method": row.method,
            "configuration": row.config,
            "state": state_name(row.state),
            "epochs": row.epochs,
            "score": finite(row.validation),
            "bytes": row.stored_bytes,
            "latency": row.latency,
            "memory": row.training_bytes,
            "parameters": row.trainable_parameters,
            "seconds": row.seconds,
            "origin": row.origin or None,
        }
        for row in leaderboard(study)
    ]
    columns = [
        "trial",
        "kind",
        "method",
        "configuration",
        "state",
        "epochs",
        "score",
        "bytes",
        "latency",
        "memory",
        "parameters",
        "seconds",
        "origin",
    ]
    whole = dict.fromkeys(("trial", "parameters", "bytes", "memory"), "Int64")
    real = dict.fromkeys(("epochs", "score", "seconds", "latency"), "float64")
    return pd.DataFrame(rows, columns=columns).astype({**whole, **real})


def curve_points(study: Study) -> pd.DataFrame:
    """Every rung of every trial of the search: trial, method, epochs, score."""
    methods = {trial.number: trial.method for trial in study.trials}
    rows = [
        {"trial": number, "method": methods[number], "epochs": epochs, "score": score}
        for number, points in curves(study).items()
        for epochs, score in points
        if finite(score) is not None
    ]
    return pd.DataFrame(rows, columns=["trial", "method", "epochs", "score"])


def finished(study: Study) -> dict[str, int]:
    """State in everyday words -> number of configurations of the search in it."""
    counts: dict[str, int] = {}
    for trial in study.trials:
        if proposed(trial, study.spec.get("methods")):
            counts[state_name(trial.state)] = counts.get(state_name(trial.state), 0) + 1
    return counts


def finite(value: float | None) -> float | None:
    """The value, or None where training diverged."""
    return value if value is not None and math.isfinite(value) else None


def contenders(study: Study) -> pd.DataFrame:
    """Finalists and baselines on validation and test, the best on validation first."""
    found = study.recommendation
    if found is None:
        return _estimates([], "")
    rows = [(contender_name(one["method"], one["trial"]), one) for one in found["compared"]]
    return _estimates(rows, contender_name(found["method"], found["trial"]))


def _estimates(rows: Sequence[tuple[str, dict[str, Any]]], recommended: str) -> pd.DataFrame:
    frame = [
        {"name": name, "split": split, **estimates[split], "recommended": name == recommended}
        for name, estimates in rows
        for split in SPLITS
    ]
    columns = ["name", "split", "mean", "low", "high", "seeds", "recommended"]
    return pd.DataFrame(frame, columns=columns).astype(
        {"mean": "float64", "low": "float64", "high": "float64", "recommended": "bool"}
    )
