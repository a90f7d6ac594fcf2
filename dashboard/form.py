"""The fields of a request: files, columns, and how to search."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard.fields import help_of, line, whole
from dashboard.more_options import ask_more
from dashboard.submission import methods_on
from dashboard.words import method_name, metric_name, plain
from selector import options
from selector.choices import KINDS, backbone_named, default_backbone, metrics_for
from selector.errors import USER_ERRORS
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
        "Metric",
        metrics_for(asked["task"]),
        index=None,
        format_func=metric_name,
        key="metric",
        placeholder="automatic",
        accept_new_options=True,
        help="Type f1: and a label for the F1 score of that label, such as f1:spam.",
        persist_state="session",
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
        placeholder="the usual ones",
        accept_new_options=True,
        help=f"{help_of(options.Methods)} Others can be typed in.",
        persist_state="session",
    )
    if reasons:
        right.caption(plain("; ".join(reasons)))
    places = st.columns(4)
    return {
        "backbone": backbone if names else "",
        "methods": tuple(methods) or None,
        "trials": whole(places[0], "Configurations to try", "trials", options.Trials),
        "epochs": whole(places[1], "Epochs of a whole training", "epochs", options.Epochs),
        "seeds": whole(places[2], "Seeds for each finalist", "seeds", options.Seeds),
        "budget": line(places[3], "Time in all", "budget", "no limit", options.Budget),
        **ask_more(),
    }


def known_methods(backbone: str) -> tuple[list[str], list[str]]:
    try:
        return methods_on(backbone) if backbone else ([], [])
    except USER_ERRORS as error:
        st.error(plain(error))
        return [], []
