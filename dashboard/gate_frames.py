"""The gates of mixtures as data frames."""

from __future__ import annotations

import pandas as pd

from dashboard.frames import board
from selector.study import Study


def gated_trials(study: Study) -> pd.DataFrame:
    """The rows of `board` for trials of the search that measured gates: the best complete one first."""
    measured = {trial.number for trial in study.trials if any(report.gates for report in trial.reports)}
    rows = board(study)
    return rows[rows["trial"].isin(measured)].reset_index(drop=True)


def gate_points(study: Study, number: int) -> pd.DataFrame:
    """Every gate in every report of a trial: epochs, layer, module, role, mean, deviation."""
    (trial,) = (trial for trial in study.trials if trial.number == number)
    rows = [
        {
            "epochs": report.epochs,
            "layer": gate.layer,
            "module": gate.module,
            "role": gate.role,
            "mean": gate.mean,
            "deviation": gate.deviation,
        }
        for report in trial.reports
        for gate in report.gates
    ]
    return pd.DataFrame(rows, columns=["epochs", "layer", "module", "role", "mean", "deviation"])


def module_means(points: pd.DataFrame) -> pd.DataFrame:
    """Gates averaged over the layers and roles of each module: epochs, module, mean, low, high.

    `low` and `high` are the least and the most open gate of the module; a diverged report is left out.
    """
    groups = points.dropna(subset=["mean"]).groupby(["epochs", "module"], sort=False)["mean"]
    return groups.agg(mean="mean", low="min", high="max").reset_index()
