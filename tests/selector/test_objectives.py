"""Several objectives: what they are for a trial, how a bracket is cut by them, and the front that is left."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from selector.halving import Standing, keep
from selector.objectives import check_objectives, directions, front_of, values_of
from selector.study import DataFile, RequestError, StudySpec
from storage.records import Baseline, Report, State, Study, Trial


def trial(
    number: int, score: float, ratio: float | None, state: State = State.COMPLETE, **more: int
) -> Trial:
    report = Report(rung=0, epochs=4, metrics={"accuracy": score}, train_loss=0.1, seconds=12.0)
    return Trial(
        number=number,
        method="lora",
        config={},
        seed=0,
        state=state,
        reports=(report,),
        trainable_parameters=100 * (number + 1),
        stored_bytes=400 * (number + 1),
        latency=None if ratio is None else {"ratio": ratio, "ms": 3.0},
        **more,
    )


def study(*trials: Trial) -> Study:
    return Study(
        id=1,
        name="films",
        state=State.COMPLETE,
        spec={},
        task={"metric": "accuracy"},
        created=datetime(2026, 1, 1, tzinfo=UTC),
        trials=trials,
        baselines=(Baseline(name="majority", validation={"accuracy": 0.5}, test={"accuracy": 0.5}),),
    )


def test_objectives_of_a_trial_come_in_the_order_they_were_asked_for() -> None:
    objectives = ("latency", "metric", "seconds")
    assert values_of(trial(2, 0.9, 1.25), objectives, "accuracy") == (1.25, 0.9, 12.0)
    assert values_of(trial(2, 0.9, 1.25), ("metric", "bytes", "parameters"), "accuracy") == (0.9, 1200, 300)
    assert directions(objectives) == ["minimize", "maximize", "minimize"]
    assert values_of(trial(2, 0.9, None), ("metric", "latency"), "accuracy") == (0.9, math.inf)
    assert values_of(trial(2, 0.9, 1.0, training_bytes=70), ("metric", "memory"), "accuracy") == (0.9, 70.0)
    assert values_of(trial(2, 0.9, 1.0), ("metric", "memory"), "accuracy") == (0.9, math.inf)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("latency",), "objectives are latency; name metric, alone or with one or two of"),
        (("metric", "speed"), "objective 'speed' is unknown; name metric"),
        (("metric", "bytes", "latency", "seconds"), "name metric, alone or with one or two of"),
        (("metric", "bytes", "bytes"), "name metric, alone or with"),
        (("metric", "energy"), "objective 'energy' is unknown"),
    ],
)
def test_impossible_objectives_are_refused(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_objectives(names)
    with pytest.raises(RequestError):
        StudySpec(train=DataFile(name="t.csv"), backbone="none", objectives=names)


def test_a_cut_keeps_the_ends_of_the_front_and_drops_what_is_dominated() -> None:
    found = [(0.9, 2.0), (0.89, 1.9), (0.8, 1.1), (0.7, 1.0), (0.6, 1.5), (0.5, 1.9)]
    standings = [Standing(i, "lora", score, 1.0, costs=(cost,)) for i, (score, cost) in enumerate(found)]
    assert keep(0, standings, 3) == {0, 2, 3}  # both ends and the least crowded between them
    alone = [Standing(i, "lora", score, 1.0) for i, (score, _) in enumerate(found)]
    assert keep(0, alone, 3) == {0, 1, 2}


def test_the_best_score_always_goes_on() -> None:
    found = [
        (0.9, 9.0, 9.0),
        (0.5, 1.0, 5.0),
        (0.5, 5.0, 1.0),
        (0.6, 2.0, 4.0),
        (0.4, 0.5, 9.0),
        (0.4, 9, 0.5),
    ]
    standings = [
        Standing(i, "lora", score, 1.0, costs=tuple(costs)) for i, (score, *costs) in enumerate(found)
    ]
    assert 0 in keep(1, standings, 3)


def test_front_and_hypervolume_of_a_study_by_hand() -> None:
    found = front_of(
        study(
            trial(0, 0.7, 1.0),
            trial(1, 0.9, 1.5),
            trial(2, 0.8, 2.0),  # slower and worse than trial 1
            trial(3, 0.95, 1.0, State.PRUNED),  # not trained to the end
            trial(4, 0.99, None),  # not timed
            trial(5, 0.99, 1.0, repeat_of=1),
        ),
        ("metric", "latency"),
    )
    assert found.trials == (1, 0)
    assert found.values == ((0.9, 1.5), (0.7, 1.0))
    assert found.reference == (0.5, pytest.approx(2.2))
    # Of the box 0.5 x 2.2: trial 1 covers 0.4 x 0.7, and trial 0 adds 0.2 x 0.5.
    assert found.hypervolume == pytest.approx((0.4 * 0.7 + 0.2 * 0.5) / (0.5 * 2.2))


def test_a_study_without_a_whole_training_has_an_empty_front() -> None:
    found = front_of(study(trial(0, 0.7, 1.0, State.PRUNED)), ("metric", "latency", "bytes"))
    assert (found.trials, found.hypervolume) == ((), 0.0)
