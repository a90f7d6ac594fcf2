"""A study as data frames: what tables and charts show."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from dashboard.words import contender_name, method_name, state_name
from selector.leaderboard import config_text, curves, leaderboard
from selector.study import Study


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
            "configuration": config_text(baseline.name, baseline.config),
            "state": "complete",
            "epochs": None,
            "score": finite(baseline.validation.get(metric)),
            "parameters": baseline.trainable_parameters,
            "seconds": baseline.seconds,
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
            "parameters": row.trainable_parameters,
            "seconds": row.seconds,
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
        "parameters",
        "seconds",
    ]
    numbers = {"trial": "Int64", "epochs": "Int64", "parameters": "Int64", "score": float, "seconds": float}
    return pd.DataFrame(rows, columns=columns).astype(numbers)


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
        if trial.repeat_of is None:
            counts[state_name(trial.state)] = counts.get(state_name(trial.state), 0) + 1
    return counts


def finite(value: float | None) -> float | None:
    """The value, or None where training diverged."""
    return value if value is not None and math.isfinite(value) else None


def contenders(study: Study) -> pd.DataFrame:
    """The recommended one, its alternatives and the baselines on validation and test, the best first.

    Baselines that are no alternative were scored once: they have no interval.
    """
    recommendation = study.recommendation or {}
    compared = [recommendation, *recommendation.get("alternatives", [])] if recommendation else []
    rows: dict[str, dict[str, Any]] = {}
    for found in compared:
        name = contender_name(found["method"], found["trial"])
        rows.setdefault(name, {split: found[split] for split in ("validation", "test")})
    metric = study.task["metric"]
    for baseline in study.baselines:
        scores = {"validation": baseline.validation, "test": baseline.test}
        rows.setdefault(
            method_name(baseline.name), {split: {"mean": scores[split].get(metric)} for split in scores}
        )
    chosen = contender_name(recommendation["method"], recommendation["trial"]) if recommendation else ""
    ordered = sorted(rows, key=lambda name: -(finite(rows[name]["validation"]["mean"]) or 0))
    frame = [
        {
            "name": name,
            "split": split,
            **{key: rows[name][split].get(key) for key in ("mean", "low", "high")},
            "seeds": rows[name][split].get("seeds", 1),
            "recommended": name == chosen,
        }
        for name in ordered
        for split in ("validation", "test")
    ]
    columns = ["name", "split", "mean", "low", "high", "seeds", "recommended"]
    numbers = {"mean": float, "low": float, "high": float, "recommended": bool}
    return pd.DataFrame(frame, columns=columns).astype(numbers)
