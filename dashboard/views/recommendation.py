"""Recommendation: what to use, why, how sure that is, and the module to take away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.charts import intervals
from dashboard.frames import contenders
from dashboard.studies import choose, facts, is_active, load
from dashboard.words import contender_name, estimate, method_name, metric_name, plain, when
from selector.archive import zip_folder
from selector.errors import USER_ERRORS
from selector.leaderboard import config_text
from selector.phrases import size
from selector.study import Study


def show_choice(study: Study, found: dict[str, Any], metric: str) -> None:
    """The choice in one sentence, its reason and its expected quality."""
    name = f"**{method_name(found['method'])}**"
    if found["trial"] is not None:
        config = plain(config_text(found["config"]))
        st.markdown(f"### Use {name}\nTrial {found['trial']}: {config}.")
    else:
        st.markdown(f"### Use a baseline: {name}")
    st.info(plain(found["reason"]), icon=":material/lightbulb:")
    columns = st.columns([3, 3, 2, 2])
    for column, split in zip(columns, ("test", "validation"), strict=False):
        estimated = found[split]
        seeds = f"{estimated['seeds']} seed{'s' if estimated['seeds'] != 1 else ''}"
        column.metric(f"{split.capitalize()} {metric}", f"{estimated['mean']:.3f}")
        column.caption(f"95 % interval {estimated['low']:.3f} to {estimated['high']:.3f}, {seeds}")
    columns[2].metric("Trainable parameters", f"{found['trainable_parameters']:,}")
    columns[3].metric("Stored size", size(found["stored_bytes"]))
    latency = found.get("latency")
    if latency is not None:
        st.caption(
            f"One text of {latency['tokens']} tokens takes {latency['ms']:.1f} ms on {latency['device']}, "
            f"{latency['ratio']:.2f} times what the plain backbone takes; 32 at once take "
            f"{latency['batch_ms']:.1f} ms, {latency['batch_ratio']:.2f} times. Measured with hooks, as the "
            "export runs."
        )


def show_doubts(found: dict[str, Any], metric: str) -> None:
    """What the highest score hides, and what would change the choice; earlier versions' studies lack both."""
    curse = found.get("winners_curse")
    if curse is not None:
        change = round(-100 * curse["expected_drop"], 1)
        st.metric(
            f"Highest validation {metric}, as expected on new data",
            f"{curse['highest'] - curse['expected_drop']:.3f}",
            f"{change:.1f} points" if change else None,
            delta_color="off",
            help=f"Winner's curse: the highest of {curse['contenders']} scores is {curse['highest']:.3f}, "
            "but partly by luck. Random halves of the validation rows, of which one chooses and the other "
            "scores, tell by how much.",
        )
    if found.get("would_change"):
        st.markdown("What would change the choice:")
        st.markdown("\n".join(f"- {plain(line)}" for line in found["would_change"]))


def show_alternatives(found: dict[str, Any], metric: str) -> None:
    methods = {one["trial"]: one["method"] for one in found["compared"]}
    tied = [contender_name(methods[trial], trial) for trial in found["tied"]]
    tied += [method_name(name) for name in found["tied_baselines"]]
    names = plain("; ".join(tied))
    st.markdown(f"Tied with the best on validation (no significant difference, itself included): {names}.")
    if not found["alternatives"]:
        return
    st.subheader("Alternatives")
    rows = [
        {
            "why": other["why"],
            "module": contender_name(other["method"], other["trial"]),
            f"validation {metric}": estimate(other["validation"]),
            f"test {metric}": estimate(other["test"]),
            "trainable parameters": other["trainable_parameters"],
            "stored size": size(other["stored_bytes"]),
            "latency": "" if not other.get("latency") else f"{other['latency']['ratio']:.2f}x",
            "configuration": config_text(other["config"]),
        }
        for other in found["alternatives"]
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="alternatives")


def _parity(difference: float) -> str:
    if difference == 0:
        return "are exactly the trained ones"
    return f"differ from the trained ones by at most {difference:.0e}"


def show_export(study: Study, found: dict[str, Any]) -> None:
    """The download of the recommended module, or why there is none."""
    st.subheader("Take it away")
    if found["trial"] is None and found["method"] != "linear_probe":
        st.markdown(
            f"The recommended baseline, {method_name(found['method'])}, is no module of the backbone: "
            "there is nothing to download."
        )
        trained = [other["trial"] for other in found["alternatives"] if other["trial"] is not None]
        if trained:
            st.markdown("The best trained module can still be written with:")
            st.code(f"peltier export {study.name} FOLDER --trial {trained[0]}", language="bash")
        return
    released = [
        export for export in study.exports if export.trial == found["trial"] and export.format == "native"
    ]
    if not released:
        st.markdown("The recommended module is not exported yet. Write it with:")
        st.code(f"peltier export {study.name} FOLDER", language="bash")
        return
    export, name = released[-1], f"{study.name}-export"
    try:
        content = zip_folder(Path(export.folder), name)
    except USER_ERRORS as error:
        st.error(plain(error))
        return
    st.download_button(
        "Download export",
        content,
        file_name=f"{name}.zip",
        mime="application/zip",
        key="download",
        icon=":material/download:",
        type="primary",
        on_click="ignore",
    )
    st.caption(
        f"{size(len(content))} as a zip. It was reloaded before release: its logits "
        f"{_parity(export.difference)}. Unzip it, and predict with:"
    )
    st.code(f"peltier predict {name} INPUT.csv", language="bash")


st.title("Recommendation")
study = load(choose())
st.caption(facts(study))
if study.recommendation is None:
    if is_active(study):
        st.info("The search is still going on; the recommendation comes at its end.")
    else:
        st.error(f"There is no recommendation: {plain(study.message or 'the study did not finish')}")
    st.page_link("views/progress.py", label="See the progress", query_params={"study": study.name})
    st.stop()
found = dict(study.recommendation)
metric = metric_name(study.task["metric"])
show_choice(study, found, metric)
show_doubts(found, metric)
show_export(study, found)
st.subheader("Compared with the alternatives")
opened = "" if "test_opened" not in found else f" It was opened once, at {when(found['test_opened'])}."
st.caption(
    "Mean and 95 % interval over examples and seeds. Validation decided; "
    f"the test split was never used to choose.{opened}"
)
st.plotly_chart(intervals(contenders(study), metric), key="intervals", config={"displayModeBar": False})
show_alternatives(found, metric)
