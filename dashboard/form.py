"""The fields of a request: files, columns, and how to search."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard.submission import methods_on
from dashboard.words import method_name, metric_name, plain
from selector.choices import KINDS, backbone_named, default_backbone, metrics_for
from selector.errors import USER_ERRORS
from selector.study import HEADS, RUNNERS, TRUNCATIONS
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
        more, below = st.columns(3), st.columns(4)
        asked["train_rows"] = more[0].number_input(
            "Training rows to draw", 1, None, None, key="rows", placeholder="all", persist_state="session"
        )
        asked["seed"] = more[1].number_input("Seed", 0, None, 0, key="seed", persist_state="session")
        asked["runner"] = more[2].selectbox(
            "Runner",
            RUNNERS,
            key="runner",
            help="ray: all devices; local: one process.",
            persist_state="session",
        )
        asked["truncation"] = below[0].selectbox(
            "Of long texts keep",
            TRUNCATIONS,
            key="truncation",
            help="head: the first tokens that the backbone reads; head+tail: the first and the last ones.",
            persist_state="session",
        )
        asked["finalists"] = whole(below[1], "Finalists", 5, "finalists")
        asked["full_finetuning"] = below[2].checkbox(
            "Full fine-tuning",
            True,
            key="full_finetuning",
            help="Train all weights at three learning rates, too, as a baseline; it takes longest.",
            persist_state="session",
        )
        asked["head"] = below[3].selectbox(
            "Head",
            HEADS,
            key="head",
            help="mean: reads the mean of the tokens; native: as the family's own classifier.",
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
