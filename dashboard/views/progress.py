"""Progress: what a study is doing now."""

from __future__ import annotations

import streamlit as st

from dashboard.charts import learning_curves
from dashboard.control import show_controls
from dashboard.findings import show_tally
from dashboard.frames import curve_points, finished
from dashboard.studies import choose, elapsed, facts, is_active, load, waits_for_a_worker
from dashboard.words import duration, metric_name, plain, state_name
from selector.control import CANCELLED, is_paused
from selector.study import Study

REFRESH_SECONDS = 1.0
DONE = ("complete", "stopped early", "failed")
ASKED = {"pause": "; to be paused after the rung in flight", "cancel": "; to end after the rung in flight"}
"""What a running study was asked to do."""


def show(name: str, was_active: bool) -> None:
    """Everything on the page that changes while the study runs."""
    study = load(name)
    if was_active != is_active(study):
        st.rerun()  # the whole page, so that it stops refreshing itself, or begins to
    show_state(study)
    show_controls(study)
    show_counts(study)
    points = curve_points(study)
    metric = metric_name(study.task["metric"])
    st.subheader(f"Validation {metric} over epochs")
    if points.empty:
        first = "The first scores appear at the end of the first rung, at a quarter of the epochs."
        st.caption(first if is_active(study) else "Nothing was scored.")
        return
    st.plotly_chart(learning_curves(points, metric), key="curves", config={"displayModeBar": False})


def show_state(study: Study) -> None:
    if study.state == "FAIL" and study.message == CANCELLED:
        st.warning(f"{plain(CANCELLED.capitalize())}.")
    elif study.state == "FAIL":
        st.error(f"The study failed: {plain(study.message)}")
    elif study.state == "COMPLETE":
        st.success(f"Complete after {duration(study.seconds)}.")
        link = {"study": study.name}
        st.page_link("views/recommendation.py", label="See the recommendation", query_params=link)
    elif is_paused(study):
        st.info(
            "Paused; everything is kept. Resume puts it back into the queue for a worker (`peltier work`); "
            f"to run it in a terminal: `peltier resume {study.name}`"
        )
    elif study.state == "WAITING":
        st.info("Waiting in the queue.")
        if waits_for_a_worker(study):
            st.warning("No worker has taken this study yet; if none is running, start a worker with:")
            st.code("peltier work", language="bash")
    else:
        asked = ASKED.get(study.request or "", "")
        st.info(f"Running: {plain(study.message or 'searching')}{asked}")


def show_counts(study: Study) -> None:
    total = study.spec["trials"]
    counts = finished(study)
    done = sum(counts.get(state, 0) for state in DONE)
    # A budget may end the search before all configurations were tried.
    share = 1.0 if study.state == "COMPLETE" else min(done / total, 1.0)
    st.progress(share, text=f"{done} of {total} configurations finished")
    repeats = [trial for trial in study.trials if trial.repeat_of is not None]
    repeated = sum(state_name(trial.state) in DONE for trial in repeats)
    values: dict[str, str | int] = {
        "Elapsed": duration(elapsed(study)),
        "Running": counts.get("running", 0),
        "Trained to the end": counts.get("complete", 0),
        "Stopped early": counts.get("stopped early", 0),
        "Failed": counts.get("failed", 0),
        "Repeats of finalists": f"{repeated} of {len(repeats)}" if repeats else "none",
    }
    widths = [3, 2, 3, 2, 2, 3]  # a duration takes more room than a number
    for column, (label, value) in zip(st.columns(widths), values.items(), strict=True):
        column.metric(label, value)


st.title("Progress")
chosen = choose()
first = load(chosen)
st.caption(facts(first))
if "findings" in first.task:  # a study of an earlier version was not checked
    show_tally(first.task["findings"])
active = is_active(first)
st.fragment(show, run_every=REFRESH_SECONDS if active else None)(chosen, active)
