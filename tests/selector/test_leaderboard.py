"""The order of trials, and what a row says."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import trainers.methods  # noqa: F401
from selector.leaderboard import SHARED, USUAL, Repeats, config_text, curves, leaderboard
from storage.records import Report, State, Study, Trial
from trainers.method import METHODS, MethodConfig, domains


def trial(number: int, state: State, *curve: tuple[int, float], **more: Any) -> Trial:
    reports = tuple(
        Report(rung=rung, epochs=epochs, metrics={"accuracy": score}, train_loss=0.5, seconds=epochs * 2.0)
        for rung, (epochs, score) in enumerate(curve)
    )
    return Trial(
        number=number, method="lora", config={"rank": 8}, seed=0, state=state, reports=reports, **more
    )


def study_of(*trials: Trial) -> Study:
    return Study(
        id=1,
        name="tickets-1",
        state=State.RUNNING,
        spec={},
        task={"metric": "accuracy"},
        created=datetime(2026, 1, 1, tzinfo=UTC),
        trials=trials,
    )


def test_whole_trainings_come_first_then_cut_ones_by_how_far_they_came() -> None:
    study = study_of(
        trial(0, State.FAIL, (2, 0.99)),
        trial(1, State.WAITING),
        trial(2, State.PRUNED, (2, 0.95)),
        trial(3, State.PRUNED, (2, 0.5), (4, 0.6)),
        trial(4, State.PRUNED, (2, 0.5), (4, 0.7)),
        trial(5, State.COMPLETE, (8, math.nan)),
        trial(6, State.COMPLETE, (8, 0.8)),
        trial(7, State.RUNNING, (2, 0.4)),
        trial(8, State.COMPLETE, (8, 0.9)),
        trial(9, State.COMPLETE, (8, 0.9)),
    )
    assert [row.number for row in leaderboard(study)] == [8, 9, 6, 5, 4, 3, 2, 7, 1, 0]


def test_a_row_tells_score_cost_and_what_the_repeats_gave() -> None:
    study = study_of(
        trial(0, State.COMPLETE, (2, 0.6), (8, 0.8), trainable_parameters=1200, stored_bytes=4800),
        trial(1, State.WAITING),
        trial(2, State.COMPLETE, (8, 0.7), repeat_of=0),
        trial(3, State.COMPLETE, (8, 0.8), repeat_of=0),
        trial(4, State.RUNNING, (2, 0.1), repeat_of=0),
    )
    best, waiting = leaderboard(study)
    assert (best.validation, best.epochs, best.seconds) == (0.8, 8, 16.0)
    assert (best.trainable_parameters, best.stored_bytes) == (1200, 4800)
    assert best.repeats == Repeats(mean=0.75, seeds=2)
    assert (waiting.validation, waiting.repeats, waiting.seconds) == (None, None, 0.0)


def test_curves_hold_each_rung_of_the_search_but_no_repeats() -> None:
    study = study_of(
        trial(0, State.COMPLETE, (2, 0.6), (8, 0.8)), trial(1, State.COMPLETE, (8, 0.7), repeat_of=0)
    )
    assert curves(study) == {0: [(2, 0.6), (8, 0.8)]}


def test_a_configuration_reads_as_one_line_with_its_own_fields_first() -> None:
    config = METHODS["lora"](learning_rate=1e-3, weight_decay=0.01)
    written = "rank 8, alpha 16, targets query value, learning_rate 1e-3, weight_decay 0.01"
    assert config_text(config.values()) == written
    shown = {"rank": 3, "alpha": 57.1425, "learning_rate": 2.9560346e-3, "gated": True, "dora": False}
    assert config_text(shown) == "rank 3, alpha 57.1, gated yes, learning_rate 2.96e-3"


def test_the_fields_that_all_methods_share_are_those_of_a_method_config() -> None:
    assert set(SHARED) == set(domains(MethodConfig))
    usual = METHODS["lora"]()
    assert all(getattr(usual, name) == value for name, value in USUAL.items())
    assert config_text({"rank": 8, "warmup": 0.0, "class_weights": "balanced", "focal": 2.0}) == (
        "rank 8, warmup 0, class_weights balanced, focal 2"
    )
