"""What `--json` tells of a study."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from selector.report import result
from storage.records import Gate, Report, State, Study, Trial

TASK = {"kind": "classification", "metric": "accuracy", "rows": {}, "labels": ["no", "yes"], "origin": {}}


def gate(mean: float, deviation: float = 0.125) -> Gate:
    return Gate(layer=0, module="lora", role="query", mean=mean, deviation=deviation)


def trial(number: int, method: str, *gates: tuple[Gate, ...], **more: Any) -> Trial:
    """A trial with one report for each tuple of gates."""
    reports = tuple(
        Report(rung=i, epochs=i + 1, metrics={"accuracy": 0.5}, train_loss=0.5, seconds=1.0, gates=found)
        for i, found in enumerate(gates)
    )
    return Trial(
        number=number, method=method, config={}, seed=0, state=State.COMPLETE, reports=reports, **more
    )


def told(*trials: Trial) -> dict[str, Any]:
    """The study as a program reads it: strict JSON, without NaN."""
    study = Study(
        id=1,
        name="tickets-1",
        state=State.COMPLETE,
        spec={"backbone": "tiny"},
        task=TASK,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        trials=trials,
    )
    read: dict[str, Any] = json.loads(json.dumps(result(study), allow_nan=False))
    return read


def test_last_gates_of_a_mixture_are_told_and_others_have_none() -> None:
    found = told(
        trial(0, "unipelt", (gate(0.5),), (gate(0.25),)),
        trial(1, "lora", ()),
        trial(2, "unipelt"),
        trial(3, "unipelt", (gate(0.75),), repeat_of=0, test={"accuracy": 0.5}),
    )
    expected = {"layer": 0, "module": "lora", "role": "query", "mean": 0.25, "deviation": 0.125}
    assert [one["gates"] for one in found["trials"]] == [[expected], [], []]
    assert [one["gates"] for one in found["finalists"]] == [[{**expected, "mean": 0.75}]]


def test_gates_of_a_diverged_trial_are_null() -> None:
    (diverged,) = told(trial(0, "unipelt", (gate(math.nan, math.nan),)))["trials"]
    assert (diverged["gates"][0]["mean"], diverged["gates"][0]["deviation"]) == (None, None)
