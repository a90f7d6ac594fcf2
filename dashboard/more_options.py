"""The fields of a request that are rarely changed."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard.fields import count, help_of, line, lines, one_of, ticked, whole
from dashboard.words import COST_NAMES
from selector import options
from selector.halving import EARLY_EXITS
from selector.objectives import COSTS
from selector.study import HEADS, PRECISIONS, RUNNERS, SAMPLERS, TRUNCATIONS, StudySpec

MOST_COSTS = 2
EXITS = (
    "halving: poor configurations stop early; hyperband: brackets take turns in how early they are cut; "
    "none: every configuration is trained to the end."
)
MEMORY = "Take over configurations from finished studies or the portfolio."


def ask_more() -> dict[str, Any]:
    """What was given, by the names of a request's fields; `fix`, `range` and budgets are still to be read."""
    with st.expander("More options"):
        return {**_ask_space(), **_ask_limits(), **_ask_training(), **_ask_place()}


def _ask_space() -> dict[str, Any]:
    st.markdown("**What is searched, and how**")
    left, right = st.columns(2)
    asked: dict[str, Any] = {
        "fix": lines(left, "Fixed fields, one a line", "fix", "such as lora.rank=8", options.Fix),
        "range": lines(
            right, "Narrowed fields, one a line", "range", "such as lora.rank=4:16", options.Range
        ),
    }
    places = st.columns(4, vertical_alignment="bottom")
    asked["sampler"] = one_of(places[0], "Sampler", "sampler", SAMPLERS, options.Sampler)
    asked["early_exit"] = one_of(places[1], "Early exit", "early_exit", EARLY_EXITS, EXITS)
    costs = places[2].multiselect(
        "Further objectives",
        COSTS,
        format_func=lambda cost: COST_NAMES[cost],
        max_selections=MOST_COSTS,
        key="costs",
        placeholder="the metric only",
        help=help_of(options.Objective),
        persist_state="session",
    )
    asked["objectives"] = (*StudySpec.objectives, *costs)
    asked["full_finetuning"] = ticked(
        places[3], "Full fine-tuning", "full_finetuning", options.FullFinetuning
    )
    asked["memory"] = ticked(places[3], "Memory", "memory", MEMORY)
    return asked


def _ask_limits() -> dict[str, Any]:
    st.markdown("**Limits**")
    places = st.columns(4)
    return {
        "max_parameters": line(
            places[0], "Trained parameters", "max_parameters", "such as 0.5%", options.MaxParameters
        ),
        "max_bytes": line(places[1], "Stored bytes", "max_bytes", "such as 2MB", options.MaxBytes),
        "max_latency": line(
            places[2], "Time for one text", "max_latency", "such as 1.2x", options.MaxLatency
        ),
        "device_budget": line(
            places[3], "Device time in all", "device_budget", "such as 30m", options.DeviceBudget
        ),
    }


def _ask_training() -> dict[str, Any]:
    st.markdown("**Data and training**")
    first, second = st.columns(4), st.columns(4)
    seed = first[3].number_input(
        "Seed", 0, None, StudySpec.seed, key="seed", help=help_of(options.Seed), persist_state="session"
    )
    return {
        "train_rows": count(first[0], "Training rows to draw", "train_rows", "all", options.TrainRows),
        "folds": count(first[1], "Folds", "folds", "automatic", options.Folds),
        "truncation": one_of(first[2], "Of long texts keep", "truncation", TRUNCATIONS, options.Truncation),
        "seed": int(seed),
        "head": one_of(second[0], "Head", "head", HEADS, options.Head),
        "dtype": one_of(second[1], "Precision", "dtype", PRECISIONS, options.Precision),
        "patience": count(second[2], "Patience in epochs", "patience", "none", options.Patience),
        "finalists": whole(second[3], "Finalists", "finalists", options.Finalists),
    }


def _ask_place() -> dict[str, Any]:
    st.markdown("**Where it runs**")
    places = st.columns([2, 3, 2, 2, 2])
    return {
        "runner": one_of(places[0], "Runner", "runner", RUNNERS, options.RunnerKind),
        "address": line(places[1], "Ray cluster", "address", "HOST:PORT or auto", options.Address),
        "workers": count(places[2], "Workers", "workers", "auto", options.Workers),
        "cpus_per_worker": count(places[3], "Cores for each", "cpus_per_worker", "1", options.CpusPerWorker),
        "gpus_per_worker": places[4].number_input(
            "GPUs for each",
            0.0,
            1.0,
            None,
            0.25,
            key="gpus_per_worker",
            placeholder="auto",
            help=help_of(options.GpusPerWorker),
            persist_state="session",
        ),
    }
