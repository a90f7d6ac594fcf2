"""A study as the JSON object that `--json` prints: stable for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from selector.leaderboard import baselines, device_seconds
from selector.phrases import as_whole
from storage.records import Study, Trial


def result(study: Study) -> dict[str, Any]:
    """The whole study; `recommendation` is null until there is one."""
    metric = study.task["metric"]
    task = {key: study.task[key] for key in ("kind", "metric", "rows", "labels", "origin")}
    return {
        "study": study.name,
        "state": str(study.state),
        "message": study.message,
        "task": task,
        "backbone": study.spec["backbone"],
        "head": study.spec.get("head", "mean"),
        "narrowing": study.spec.get("narrowing", {}),
        "sampler": study.spec.get("sampler", "tpe"),
        "baselines": [asdict(baseline) for baseline in baselines(study)],
        "trials": [_trial(trial, metric) for trial in study.trials if trial.repeat_of is None],
        "finalists": [_finalist(trial, metric) for trial in study.trials if trial.repeat_of is not None],
        "recommendation": study.recommendation,
        "exports": [{"trial": e.trial, "format": e.format, "folder": e.folder} for e in study.exports],
        "seconds": round(study.seconds, 1),
        "device_seconds": round(device_seconds(study), 1),
    }


def summary(study: Study) -> dict[str, Any]:
    """A study in one line of a list."""
    return {
        "id": study.id,
        "study": study.name,
        "state": str(study.state),
        "created": study.created.isoformat(timespec="seconds"),
        "seconds": round(study.seconds, 1),
        "message": study.message,
    }


def _trial(trial: Trial, metric: str) -> dict[str, Any]:
    return {
        "number": trial.number,
        "method": trial.method,
        "config": dict(trial.config),
        "origin": trial.origin,
        "state": str(trial.state),
        "epochs": as_whole(trial.epochs),
        "validation": _score(trial, metric),
        "trainable_parameters": trial.trainable_parameters,
        "stored_bytes": trial.stored_bytes,
        "latency": trial.latency,
        "training_bytes": trial.training_bytes,
        "gates": _gates(trial),
        "message": trial.message,
    }


def _finalist(trial: Trial, metric: str) -> dict[str, Any]:
    return {
        "repeats": trial.repeat_of,
        "seed": trial.seed,
        "state": str(trial.state),
        "validation": _score(trial, metric),
        "test": None if trial.test is None else trial.test[metric],
        "latency": trial.latency,
        "gates": _gates(trial),
    }


def _score(trial: Trial, metric: str) -> float | None:
    scores: Mapping[str, float] = trial.reports[-1].metrics if trial.reports else {}
    return _number(scores.get(metric))


def _gates(trial: Trial) -> list[dict[str, Any]]:
    """The gates of the last report; an empty list for a trial without gates."""
    gates = trial.reports[-1].gates if trial.reports else ()
    return [
        {**asdict(gate), "mean": _number(gate.mean), "deviation": _number(gate.deviation)} for gate in gates
    ]


def _number(value: float | None) -> float | None:
    return value if value is not None and value == value else None  # NaN is not JSON
