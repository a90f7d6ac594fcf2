"""Gates as frames and charts: layer by layer, module by module, over training."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from dashboard.charts import colour_of
from dashboard.gate_charts import gate_curves, gate_maps
from dashboard.gate_frames import gate_points, gated_trials, module_means
from storage.records import Gate, Report, State, Study, Trial


def with_trials(study: Study, *trials: Trial) -> Study:
    return replace(study, trials=(*study.trials, *trials))


def with_gates(trial: Trial, *reports: tuple[Gate, ...]) -> Trial:
    """The trial with a report of these gates after 1, 2, 3 ... epochs."""
    made = [
        Report(rung=i, epochs=i + 1, metrics={"accuracy": 0.5}, train_loss=0.5, seconds=1.0, gates=gates)
        for i, gates in enumerate(reports)
    ]
    return replace(trial, reports=tuple(made))


def gate(layer: int, module: str, role: str, mean: float = 0.5) -> Gate:
    return Gate(layer=layer, module=module, role=role, mean=mean, deviation=0.25)


def test_trials_with_gates_are_listed_the_best_complete_one_first(study: Study, mixture: Trial) -> None:
    cut = replace(mixture, number=9, state=State.PRUNED, reports=mixture.reports[:1])
    worse = replace(mixture, number=10, reports=mixture.reports[:2])
    ungated = with_gates(replace(mixture, number=11), ())
    repeat = replace(mixture, number=12, repeat_of=8)
    rows = gated_trials(with_trials(study, cut, worse, ungated, mixture, repeat))
    assert rows["trial"].tolist() == [8, 10, 9]
    assert gated_trials(study).empty


def test_every_gate_of_every_report_is_a_point(study: Study, mixture: Trial) -> None:
    points = gate_points(with_trials(study, mixture), 8)
    assert len(points) == 3 * 3 * 4  # reports, layers, places
    last = points[(points["epochs"] == 4) & (points["layer"] == 2) & (points["role"] == "value")]
    assert last[["module", "mean", "deviation"]].values.tolist() == [["lora", 0.5 + 2 * 4 / 20, 0.04]]


def test_module_means_are_over_layers_and_roles_and_leave_out_what_diverged(
    study: Study, mixture: Trial
) -> None:
    first = (gate(0, "lora", "query", 0.1), gate(0, "lora", "value", 0.2), gate(1, "lora", "query", 0.9))
    trial = with_gates(
        mixture, (*first, gate(0, "prefix", "attention", 0.3)), (gate(0, "lora", "query", math.nan),)
    )
    means = module_means(gate_points(with_trials(study, trial), 8)).set_index("module")
    assert np.allclose(means.loc["lora", ["epochs", "mean", "low", "high"]].astype(float), [1, 0.4, 0.1, 0.9])
    assert means.loc["prefix", "mean"] == 0.3
    assert len(means) == 2


def test_each_report_is_a_map_whose_cells_hold_mean_and_deviation(study: Study, mixture: Trial) -> None:
    figure = gate_maps(gate_points(with_trials(study, mixture), 8))
    assert [title.text for title in figure.layout.annotations] == [
        "after 1 epoch",
        "after 2 epochs",
        "after 4 epochs",
    ]
    last = figure.data[2]
    assert list(last.x) == ["adapter", "LoRA<br>query", "LoRA<br>value", "prefix"]
    assert np.allclose(last.z, [[0.5] * 4, [0.7] * 4, [0.9] * 4])  # 0.5 + layer * epochs / 20
    assert np.allclose(last.customdata, 0.04)
    assert "%{z:.2f}" in last.texttemplate and "%{customdata:.3f}" in last.hovertemplate
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)


def test_layer_without_a_gate_and_a_diverged_gate_are_blank(study: Study, mixture: Trial) -> None:
    gates = (
        gate(-1, "bitfit", "embedding_norm", 0.5),
        gate(1, "lora", "query", 0.25),
        gate(1, "bitfit", "query", math.nan),
    )
    figure = gate_maps(gate_points(with_trials(study, with_gates(mixture, gates)), 8))
    (map_,) = figure.data
    assert list(figure.layout.yaxis.ticktext) == ["embeddings", "0", "1"]
    assert list(map_.x) == ["BitFit<br>embedding<br>norm", "BitFit<br>query", "LoRA"]
    blank = math.nan
    expected = [[0.5, blank, blank], [blank, blank, blank], [blank, blank, 0.25]]
    np.testing.assert_equal(np.array(map_.z, dtype=float), expected)
    assert gate_curves(module_means(gate_points(study, 0))).data == ()


def test_wide_mixtures_have_their_maps_below_each_other(study: Study, mixture: Trial) -> None:
    roles = ("query", "key", "value", "attention_output", "ffn_in", "ffn_out", "ffn_residual")
    wide = with_gates(mixture, *[tuple(gate(0, "lora", role) for role in roles)] * 3)
    side_by_side = gate_maps(gate_points(with_trials(study, mixture), 8))
    below = gate_maps(gate_points(with_trials(study, wide), 8))
    assert [trace.yaxis for trace in side_by_side.data] == ["y", "y2", "y3"]
    assert side_by_side.layout.yaxis.domain == side_by_side.layout.yaxis3.domain
    tops = [below.layout[axis].domain[1] for axis in ("yaxis", "yaxis2", "yaxis3")]
    assert tops == sorted(tops, reverse=True) and len(set(tops)) == 3


def test_each_module_is_one_line_in_the_colour_of_its_method(study: Study, mixture: Trial) -> None:
    figure = gate_curves(module_means(gate_points(with_trials(study, mixture), 8)))
    lines = {trace.name: trace for trace in figure.data}
    assert list(lines) == ["adapter", "LoRA", "prefix"]
    assert lines["LoRA"].line.color == colour_of("lora")
    assert list(lines["LoRA"].x) == [1, 2, 4]
    assert np.allclose(lines["LoRA"].y, [0.55, 0.6, 0.7])  # of layer 1, the middle one
    assert tuple(figure.layout.yaxis.range) == (0, 1)
