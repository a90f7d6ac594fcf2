"""Charts are pure: a frame in, a figure out."""

from __future__ import annotations

import numpy as np
import pandas as pd

import trainers.methods  # noqa: F401
from dashboard.charts import colour_of, intervals, learning_curves, pareto_front, score_against_cost
from dashboard.frames import board, contenders, curve_points
from storage.records import Study
from trainers.method import METHODS


def sizes(*rows: tuple[int, int, float]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["trial", "parameters", "score"])
    return frame.assign(method="lora", configuration="rank 8")


def test_pareto_front_equals_its_definition_on_random_trials() -> None:
    chance = np.random.default_rng(0)
    for _ in range(50):
        rows = zip(range(12), chance.integers(1, 9, 12).tolist(), chance.integers(0, 6, 12) / 6, strict=True)
        trials = sizes(*rows)
        front = pareto_front(trials)
        values = list(trials[["parameters", "score"]].itertuples(index=False, name=None))
        undominated = {
            one
            for one in values
            if not any(other[0] <= one[0] and other[1] >= one[1] and other != one for other in values)
        }
        assert set(front[["parameters", "score"]].itertuples(index=False, name=None)) == undominated
        assert len(front) == len(undominated)  # equal trials stand on it once


def test_each_trial_is_one_curve_and_each_method_one_colour(study: Study) -> None:
    figure = learning_curves(curve_points(study), "accuracy")
    assert len(figure.data) == 4  # trial 4 failed before it was scored; repeats are not drawn
    (lora,) = (trace for trace in figure.data if trace.name == "LoRA")
    assert list(lora.x) == [1, 2, 4] and list(lora.y) == [0.5, 0.7, 0.9]
    assert len({trace.line.color for trace in figure.data}) == 4
    assert figure.layout.yaxis.title.text == "validation accuracy"


def test_whole_epochs_are_named_as_whole_numbers() -> None:
    points = pd.DataFrame({"trial": 0, "method": "lora", "epochs": [0.25, 0.5, 1.0, 2.0], "score": 0.5})
    assert learning_curves(points, "accuracy").layout.xaxis.ticktext == ("0.25", "0.5", "1", "2")


def test_methods_keep_their_colour_whatever_else_is_drawn(study: Study) -> None:
    assert len({colour_of(method) for method in ("lora", "adapter", "prefix", "bitfit", "unipelt")}) == 5
    points = curve_points(study)
    alone = learning_curves(points[points["method"] == "lora"], "accuracy")
    assert alone.data[0].line.color == colour_of("lora")
    assert colour_of("a_method_of_tomorrow") == colour_of("a_method_of_tomorrow")


def test_size_chart_marks_the_front_and_draws_baselines_across(study: Study) -> None:
    rows = board(study)
    trials = rows[(rows["kind"] == "trial") & rows["score"].notna()]
    baselines = rows[rows["kind"] == "baseline"].assign(name=lambda frame: frame["method"])
    figure = score_against_cost(trials, baselines, "accuracy")
    traces = {trace.name: trace for trace in figure.data}
    assert figure.layout.xaxis.type == "log"
    assert list(traces["Pareto front"].x) == [9_000, 40_000]
    assert traces["Pareto front"].marker.symbol == "circle-open"
    assert list(traces["bottleneck adapter"].x) == [90_000]  # drawn, though not on the front
    probe = traces["baseline: linear_probe"]
    assert list(probe.y) == [0.75, 0.75] and probe.line.dash != "solid"
    assert min(probe.x) < 9_000 and max(probe.x) > 90_000


def test_no_two_methods_of_our_own_have_the_same_colour() -> None:
    searched = [name for name, method in METHODS.items() if method.searched != "never" and name != "full"]
    assert len({colour_of(name) for name in searched}) == len(searched) > 10


def test_any_cost_is_charted_with_its_own_front() -> None:
    trials = sizes((0, 10, 0.7), (1, 20, 0.9), (2, 30, 0.95)).assign(latency=[1.5, 1.1, 1.2])
    figure = score_against_cost(trials, pd.DataFrame(columns=["name", "score"]), "accuracy", "latency")
    front, points = figure.data
    assert list(front.x) == [1.1, 1.2]  # trial 0 is slower and worse than both
    assert list(points.x) == [1.5, 1.1, 1.2]
    assert figure.layout.xaxis.type != "log"
    low, high = figure.layout.xaxis.range
    assert low < 1.1 and high > 1.5


def test_charts_of_a_study_that_has_measured_nothing_are_empty_but_drawn() -> None:
    nothing = pd.DataFrame(
        columns=["trial", "method", "epochs", "score", "parameters", "configuration", "name"]
    )
    assert learning_curves(nothing, "accuracy").data == ()
    assert len(score_against_cost(nothing, nothing, "accuracy").data) == 1


def test_intervals_reach_from_low_to_high_on_each_split(study: Study) -> None:
    figure = intervals(contenders(study), "accuracy")
    validation, test = figure.data
    assert (validation.name, test.name) == ("validation", "test")
    best = list(validation.y).index(max(validation.y))
    assert validation.x[best] == 0.85
    assert np.isclose(validation.x[best] - validation.error_x.arrayminus[best], 0.80)
    assert np.isclose(validation.x[best] + validation.error_x.array[best], 0.89)
    assert figure.layout.yaxis.ticktext[0] == "<b>LoRA, trial 0</b>"
