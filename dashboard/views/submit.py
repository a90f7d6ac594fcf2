"""Submit: from a file to a queued search."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.studies import load, service, waits_for_a_worker
from dashboard.submission import Understood, data_files, methods_on, preview, queue, understand
from dashboard.words import method_name, metric_name, plain
from selector.choices import KINDS, METRICS, backbone_named, default_backbone
from selector.errors import USER_ERRORS
from selector.study import RUNNERS, StudySpec
from selector.uploads import ENDINGS, MAX_UPLOAD_BYTES, Upload

SPLITS = {
    "train": "Training rows",
    "validation": "Validation rows (optional)",
    "test": "Test rows (optional)",
}


def ask_files() -> tuple[dict[str, Upload], tuple[str, ...]]:
    """Split -> uploaded file, and ids that stand for their content."""
    files = {}
    for column, (split, label) in zip(st.columns(3), SPLITS.items(), strict=True):
        files[split] = column.file_uploader(
            label, type=list(ENDINGS), max_upload_size=MAX_UPLOAD_BYTES >> 20, key=f"file_{split}"
        )
    given = {split: file for split, file in files.items() if file is not None}
    uploads = {split: Upload(file.name, file.getvalue()) for split, file in given.items()}
    return uploads, tuple(f"{split} {file.file_id}" for split, file in given.items())


def ask_columns(columns: list[str]) -> dict[str, Any]:
    """Column roles, task and metric; None where Peltier finds out by itself."""
    names = {"text": "Text column", "text_pair": "Second text column", "label": "Label column"}
    places = st.columns(5)
    asked: dict[str, Any] = {}
    for place, (field, label) in zip(places, names.items(), strict=False):
        asked[field] = place.selectbox(
            label,
            columns,
            index=None,
            key=f"column_{field}",
            placeholder="found by name" if field != "text_pair" else "if there is one",
            help=f"On the command line: --{field.replace('_', '-')}",
            persist_state="session",
        )
    asked["task"] = places[3].selectbox(
        "Task", KINDS, index=None, key="task", placeholder="automatic", persist_state="session"
    )
    asked["metric"] = places[4].selectbox(
        "Metric", METRICS, format_func=metric_name, key="metric", persist_state="session"
    )
    return asked


def ask_search() -> dict[str, Any]:
    """How to search and how much to spend; the backbone is empty where it cannot be used."""
    left, right = st.columns(2)
    backbone = left.text_input(
        "Backbone",
        default_backbone(),
        key="backbone",
        placeholder="a folder or a hub id",
        help="A folder written by save_pretrained, or a hub id.",
        persist_state="session",
    )
    backbone = backbone_named(backbone.strip()) if backbone.strip() else ""
    names, reasons = known_methods(backbone)
    methods = right.multiselect(
        "Methods",
        names,
        format_func=method_name,
        key="methods",
        placeholder="all of them",
        persist_state="session",
    )
    if reasons:
        right.caption(plain("; ".join(reasons)))
    places = st.columns(4)
    asked: dict[str, Any] = {
        "backbone": backbone if names else "",
        "methods": tuple(methods) or None,
        "trials": whole(places[0], "Configurations to try", 16, "trials"),
        "epochs": whole(places[1], "Epochs of a whole training", 10, "epochs"),
        "seeds": whole(places[2], "Seeds for each finalist", 3, "seeds"),
    }
    minutes = places[3].number_input(
        "Budget in minutes", 1, None, None, key="minutes", placeholder="no limit", persist_state="session"
    )
    asked["budget_seconds"] = None if minutes is None else 60.0 * minutes
    with st.expander("More settings"):
        places = st.columns(4)
        asked["train_rows"] = places[0].number_input(
            "Training rows to draw", 1, None, None, key="rows", placeholder="all", persist_state="session"
        )
        asked["seed"] = places[1].number_input("Seed", 0, None, 0, key="seed", persist_state="session")
        asked["runner"] = places[2].selectbox(
            "Runner",
            RUNNERS,
            key="runner",
            help="ray: all devices; local: one process.",
            persist_state="session",
        )
    return asked


def whole(place: Any, label: str, default: int, key: str) -> int:
    """A number of at least one."""
    return int(place.number_input(label, 1, None, default, key=key, persist_state="session"))


def known_methods(backbone: str) -> tuple[list[str], list[str]]:
    try:
        return methods_on(backbone) if backbone else ([], [])
    except USER_ERRORS as error:
        st.error(plain(error))
        return [], []


def show_understood(found: Understood) -> None:
    """The task as it will be searched."""
    task = found.task
    columns = task["columns"]
    pair = "" if columns["text_pair"] is None else f" and {plain(columns['text_pair'])}"
    st.markdown(
        f"**{plain(task['kind'])}** of column **{plain(columns['text'])}{pair}** into "
        f"{len(task['labels'])} labels of column **{plain(columns['label'])}**, "
        f"scored by **{metric_name(task['metric'])}**."
    )
    splits = ("train", "validation", "test")
    st.dataframe(
        pd.DataFrame(
            {
                "split": splits,
                "rows": [task["rows"][split] for split in splits],
                "where it comes from": [task["origin"][split] for split in splits],
            }
        ),
        hide_index=True,
        key="splits",
    )
    counts = pd.DataFrame(found.counts).rename_axis("label").reset_index()
    st.dataframe(
        counts, hide_index=True, key="labels", width="content", height=min(38 + 35 * len(counts), 260)
    )


def start(uploads: dict[str, Upload], spec: StudySpec, name: str) -> None:
    try:
        st.session_state["submitted"] = queue(service(), uploads, spec, name.strip() or None)
    except USER_ERRORS as error:
        st.error(plain(error))


@st.fragment(run_every=1.0)
def show_queued(name: str) -> None:
    """Where the search that was started last stands, until a worker has it."""
    study = load(name)
    st.session_state["last_study"] = name
    st.success(
        f"Study {plain(name)} is queued." if study.state == "WAITING" else f"Study {plain(name)} has started."
    )
    st.page_link(
        "views/progress.py",
        label="Watch its progress",
        icon=":material/monitoring:",
        query_params={"study": name},
    )
    if waits_for_a_worker(study):
        st.warning("No worker has taken it yet; if none is running, start a worker with: `peltier work`")


st.title("Submit a search")
st.markdown(
    "Upload labelled text; Peltier finds the fine-tuning method that fits it, and says how sure that is."
)
uploads, file_ids = ask_files()
columns: list[str] = []
if "train" in uploads:
    try:
        rows = preview(file_ids[0], uploads["train"])
        columns = list(rows)
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="preview")
    except USER_ERRORS as error:
        st.error(plain(error))
else:
    st.caption(f"One example in each row, with a text and a label: {', '.join(ENDINGS)}.")

st.subheader("Task")
asked_columns = ask_columns(columns)
understanding = st.container()
st.subheader("Search")
asked_search = ask_search()
study_name = st.text_input(
    "Name of the study", key="name", placeholder="after the training file", persist_state="session"
)

ready = False
if columns and asked_search["backbone"]:
    with understanding:
        try:
            spec = StudySpec(**{**data_files(uploads), **asked_columns, **asked_search})
            show_understood(understand(file_ids, uploads, spec))
            ready = True
        except USER_ERRORS as error:
            st.error(plain(error))
if st.button("Start search", type="primary", key="start", disabled=not ready):
    start(uploads, spec, study_name)
if "submitted" in st.session_state:
    show_queued(st.session_state["submitted"])
