"""Gates: which modules of a mixture are used, layer by layer and over training."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.gate_charts import gate_curves, gate_maps
from dashboard.gate_frames import gate_points, gated_trials, module_means
from dashboard.studies import choose, facts, is_active, load
from dashboard.words import contender_name, metric_name, plain
from selector.study import Study


def choose_trial(rows: pd.DataFrame, study: Study) -> int:
    """The trial to show, the best complete one at first; its configuration stands below."""
    metric = metric_name(study.task["metric"])
    labels = {row["trial"]: trial_label(row, metric) for row in rows.to_dict("records")}
    number = int(
        st.selectbox(
            "Trial",
            list(labels),
            format_func=lambda number: labels[number],
            key=f"gated_{study.name}",
            help="Trials with gates, the best first.",
        )
    )
    st.caption(plain(rows.loc[rows["trial"] == number, "configuration"].item()))
    return number


def trial_label(row: Mapping[Hashable, Any], metric: str) -> str:
    """Method, number, score and state in one line."""
    score = "no score" if pd.isna(row["score"]) else f"validation {metric} {row['score']:.3f}"
    return f"{contender_name(row['method'], row['trial'])}: {score}, {row['state']}"


def show_way_to_gates(study: Study) -> None:
    """Why there is nothing to draw, and what would change that."""
    if is_active(study):
        st.info("No gates have been measured yet. A UniPELT trial has them from its first rung on.")
        return
    st.info(
        "No trial of this study has gates. UniPELT trains several methods at once, each behind a gate: "
        "submit a search with UniPELT among its methods, or search with:"
    )
    st.code("peltier search DATA --methods unipelt", language="bash")
    st.page_link("views/submit.py", label="Submit a search", icon=":material/upload_file:")


st.title("Gates")
left, right = st.columns(2)
with left:
    study = load(choose())
    st.caption(facts(study))
if is_active(study):
    st.button("Refresh", key="refresh", icon=":material/refresh:", help="The study is not finished yet.")
rows = gated_trials(study)
if rows.empty:
    show_way_to_gates(study)
    st.stop()
with right:
    number = choose_trial(rows, study)
points = gate_points(study, number)
st.markdown(
    "A gate is a number from 0 to 1 that the mixture computes for each example: it scales what a module adds "
    "to a layer. **Near 0 the module is not used there, near 1 it is used in full.**"
)
st.subheader("Mean gate by layer and module")
st.caption("Mean over the validation rows. Point at a cell to see how much the gate differs between them.")
st.plotly_chart(gate_maps(points), key="maps", config={"displayModeBar": False})
st.subheader("Mean gate of each module over epochs")
st.caption("Averaged over all gates of a module, in all layers.")
st.plotly_chart(gate_curves(module_means(points)), key="gate_curves", config={"displayModeBar": False})
