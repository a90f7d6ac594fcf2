"""A finished study, once as a record and once in a database, as a search would leave it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from browser import opened_browser
from playwright.sync_api import Browser

from storage.database import Database, open_database
from storage.records import Baseline, Export, Gate, Report, State, Study, Trial

TASK = {
    "name": "tickets",
    "kind": "classification",
    "metric": "accuracy",
    "columns": {"text": "text", "text_pair": None, "label": "label"},
    "labels": ["[no](http://example.invalid)", "yes"],
    "rows": {"train": 40, "validation": 10, "test": 10},
    "origin": {"train": "given", "validation": "given", "test": "given"},
}

LORA = {"rank": 8, "alpha": 16.0, "learning_rate": 0.002}


def estimate(mean: float, seeds: int = 3) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.05, "high": mean + 0.04, "seeds": seeds}


def trial(
    number: int, method: str, scores: list[float], parameters: int, state: State = State.COMPLETE, **more: Any
) -> Trial:
    reports = [
        Report(rung=i, epochs=2**i, metrics={"accuracy": score}, train_loss=0.5, seconds=1.5 * (i + 1))
        for i, score in enumerate(scores)
    ]
    return Trial(
        number=number,
        method=method,
        config=LORA if method == "lora" else {"learning_rate": 0.01},
        seed=number,
        state=state,
        trainable_parameters=parameters,
        stored_bytes=4 * parameters,
        reports=tuple(reports),
        **more,
    )


TRIALS = (
    trial(0, "lora", [0.5, 0.7, 0.9], 40_000),
    trial(1, "bitfit", [0.4, 0.6, 0.8], 9_000),
    trial(2, "adapter", [0.5, 0.6, 0.7], 90_000),
    trial(3, "prefix", [0.2], 20_000, State.PRUNED),
    trial(4, "lora", [], 80_000, State.FAIL, message="training diverged: the loss is nan after 1 epoch"),
    trial(5, "lora", [0.9], 40_000, repeat_of=0, test={"accuracy": 0.8}),
    trial(6, "lora", [0.8], 40_000, repeat_of=0, test={"accuracy": 0.9}),
    trial(7, "adapter", [0.6], 90_000, repeat_of=2, test={"accuracy": 0.5}),
)
PLACES = (("prefix", "attention"), ("lora", "query"), ("lora", "value"), ("adapter", "ffn_residual"))


def gates(epochs: int, layers: int = 3) -> tuple[Gate, ...]:
    """The higher the layer, the wider its gates open with the epochs; all start at one half."""
    return tuple(
        Gate(layer=layer, module=module, role=role, mean=0.5 + layer * epochs / 20, deviation=epochs / 100)
        for layer in range(layers)
        for module, role in PLACES
    )


PLAIN_MIXTURE = trial(8, "unipelt", [0.3, 0.5, 0.6], 150_000)
MIXTURE = replace(
    PLAIN_MIXTURE, reports=tuple(replace(one, gates=gates(one.epochs)) for one in PLAIN_MIXTURE.reports)
)
BASELINES = (
    Baseline(name="majority", validation={"accuracy": 0.5}, test={"accuracy": 0.4}),
    Baseline(
        name="linear_probe", validation={"accuracy": 0.75}, test={"accuracy": 0.7}, trainable_parameters=770
    ),
)


def compared(
    number: int | None, method: str, config: dict[str, Any], mean: float, size: int
) -> dict[str, Any]:
    seeds = 1 if number is None else 3
    return {
        "trial": number,
        "method": method,
        "config": config,
        "validation": estimate(mean, seeds),
        "test": estimate(mean, seeds),
        "trainable_parameters": size,
        "stored_bytes": 4 * size,
    }


CONTENDERS = [
    compared(0, "lora", LORA, 0.85, 40_000),
    compared(None, "linear_probe", {}, 0.75, 770),
    compared(2, "adapter", {"learning_rate": 0.01}, 0.5, 90_000),
    compared(None, "majority", {}, 0.4, 0),
]
RECOMMENDATION = {
    **CONTENDERS[0],
    "reason": "5 configurations were compared. LoRA is the best on validation.",
    "tied": [0],
    "tied_baselines": [],
    "alternatives": [{"why": "best baseline", **CONTENDERS[1]}],
    "compared": CONTENDERS,
}
STUDY = Study(
    id=1,
    name="tickets-1",
    state=State.COMPLETE,
    spec={"trials": 5, "backbone": "tiny"},
    task=TASK,
    created=datetime.now(UTC),
    seconds=83.0,
    trials=TRIALS,
    baselines=BASELINES,
    recommendation=RECOMMENDATION,
)


@pytest.fixture
def study() -> Study:
    """A finished study that recommends its LoRA trial 0."""
    return STUDY


@pytest.fixture
def mixture() -> Trial:
    """A complete mixture of prefix, LoRA and adapter over three layers, measured after 1, 2 and 4 epochs."""
    return MIXTURE


# Not for the whole session: an open playwright lets no other test start an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    with opened_browser() as opened:
        yield opened


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """An empty store that the dashboard opens."""
    url = f"sqlite:///{tmp_path}/peltier.db"
    monkeypatch.setenv("PELTIER_DATABASE_URL", url)
    opened = open_database(url)
    yield opened
    opened.close()
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture
def stored(database: Database, tmp_path: Path) -> Callable[..., Study]:
    """Writes the study, with changes, as a search would."""

    def store(export: bool = True, **changes: Any) -> Study:
        wanted = replace(STUDY, **changes)
        worker = None if wanted.state is State.WAITING else "worker"
        study_id = database.create_study(wanted.name, wanted.spec, wanted.task, worker).id
        database.add_trials(study_id, wanted.trials)
        for baseline in wanted.baselines:
            database.add_baseline(study_id, baseline)
        if wanted.recommendation is not None:
            database.set_recommendation(study_id, wanted.recommendation)
        if export:
            folder = tmp_path / "export"
            folder.mkdir()
            (folder / "manifest.json").write_text("{}")
            released = Export(
                trial=0,
                baseline=None,
                format="native",
                folder=str(folder),
                difference=1e-6,
                created=wanted.created,
            )
            database.add_export(study_id, released)
        if worker is not None:
            database.set_study_state(study_id, wanted.state, message=wanted.message, seconds=wanted.seconds)
        return database.study(study_id)

    return store
