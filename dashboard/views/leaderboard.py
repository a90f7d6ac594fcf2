"""Leaderboard: every configuration that was tried, beside the baselines."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.charts import learning_curves, score_against_cost
from dashboard.frames import board, curve_points
from dashboard.studies import choose, facts, is_active, load
from dashboard.words import COST_NAMES, method_name, metric_name, number, plain, state_name
from selector.phrases import size
from selector.study import Study


def show_table(rows: pd.DataFrame, metric: str, study: Study) -> int | None:
    """The table; returns the position of the selected row."""
    shown = rows.assign(
        method=[method_name(method) for method in rows["method"]],
        kind=[
            "baseline" if kind == "baseline" else f"trial {trial}"
            for kind, trial in rows[["kind", "trial"]].values
        ],
    )
    event = st.dataframe(
        shown[
            ["kind", "method", "score", "state", "epochs", "parameters", "seconds", "configuration", "origin"]
        ],
        hide_index=True,
        placeholder="",
        key=f"board_{study.name}",
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "kind": st.column_config.TextColumn("trial", width="small"),
            "configuration": st.column_config.TextColumn(width="large"),
            "score": st.column_config.NumberColumn(f"validation {metric}", format="%.3f"),
            "epochs": st.column_config.NumberColumn(format="%g"),
            "parameters": st.column_config.NumberColumn(
                "parameters", help="trainable parameters, the head included", format="localized"
            ),
            "seconds": st.column_config.NumberColumn(
                "seconds", help="this trial's share of its device", format="%.1f"
            ),
            "origin": st.column_config.TextColumn(
                help="who proposed it: the method's default, the sampler, or the memory (a finished study, "
                "or the portfolio that comes with Peltier)"
            ),
        },
    )
    selected = event["selection"]["rows"]
    return selected[0] if selected and selected[0] < len(rows) else None


def show_trial(study: Study, trial_number: int, metric: str) -> None:
    """One trial: its whole configuration and its curve."""
    trial = next(trial for trial in study.trials if trial.number == trial_number)
    st.subheader(f"Trial {trial.number}: {method_name(trial.method)}, {state_name(trial.state)}")
    if trial.message:
        st.warning(plain(trial.message))
    left, right = st.columns([1, 2])
    values = {**trial.config, "seed": trial.seed}
    if trial.latency is not None:
        values["latency, times the plain backbone"] = trial.latency["ratio"]
    if trial.training_bytes is not None:
        values["memory to train it, beside the backbone"] = size(trial.training_bytes)
    left.table(
        pd.DataFrame(
            {"value": [number(value) for value in values.values()]},
            index=[key.replace("_", " ") for key in values],
        )
    )
    points = curve_points(study)
    points = points[points["trial"] == trial.number]
    if points.empty:
        right.caption("No score was measured.")
    else:
        right.plotly_chart(
            learning_curves(points, metric), key="trial_curve", config={"displayModeBar": False}
        )


def show_baseline(study: Study, name: str, metric: str) -> None:
    baseline = next(baseline for baseline in study.baselines if baseline.name == name)
    st.subheader(f"Baseline: {method_name(name)}")
    asked = study.task["metric"]
    # The test split is opened after the choice.
    test = f", test {metric} {baseline.test[asked]:.3f}" if baseline.test else ""
    st.markdown(f"Validation {metric} {baseline.validation[asked]:.3f}{test}; one training.")


def costs_shown(study: Study) -> list[str]:
    """The costs that a chart is drawn for: the objectives, else the parameters."""
    return [name for name in study.spec.get("objectives", ()) if name != "metric"] or ["parameters"]


def reference(front: dict[str, Any]) -> str:
    """The reference point of a hypervolume in words."""
    named = zip(front["objectives"], front["reference"], strict=True)
    return ", ".join(f"{COST_NAMES.get(name, name)} {number(value)}" for name, value in named)


st.title("Leaderboard")
study = load(choose())
st.caption(facts(study))
if is_active(study):
    st.button("Refresh", key="refresh", icon=":material/refresh:", help="The study is not finished yet.")
metric = metric_name(study.task["metric"])
rows = board(study)
if rows.empty:
    st.info("Nothing has been measured yet.")
    st.stop()
scored = rows[(rows["kind"] == "trial") & rows["score"].notna() & rows["parameters"].notna()]
baselines = rows[rows["kind"] == "baseline"].assign(name=lambda frame: frame["method"].map(method_name))

st.caption("Select a row to see its whole configuration and its learning curve.")
position = show_table(rows, metric, study)
if position is not None:
    row = rows.iloc[position]
    if row["kind"] == "trial":
        show_trial(study, int(row["trial"]), metric)
    else:
        show_baseline(study, row["method"], metric)
for cost in costs_shown(study):
    known = scored[scored[cost].notna()]
    if cost != "parameters" and known.empty:
        continue
    st.subheader(f"Validation {metric} against {COST_NAMES[cost]}")
    st.caption(
        "Ringed trials form the Pareto front: no cheaper module scores as high. One seed each; trials that "
        "were stopped early stand where they were stopped."
    )
    figure = score_against_cost(known, baselines, metric, cost)
    st.plotly_chart(figure, key=f"cost_{cost}", config={"displayModeBar": False})
front = (study.recommendation or {}).get("front")
if front and not front["trials"]:
    st.caption(
        "No configuration of the search was trained to the end, so the front of all objectives is unknown."
    )
elif front:
    st.caption(
        f"Hypervolume of the front of all {len(front['objectives'])} objectives, trained to the end: "
        f"{front['hypervolume']:.3f} of what is between {reference(front)} and perfection."
    )
