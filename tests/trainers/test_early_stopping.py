"""Early stopping: who stops, what remains of it, and that the others do not notice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import data_of, make_backbone, sentences, task_of
from torch.nn.functional import softmax

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.building import method_named
from trainers.data import Data
from trainers.early_stopping import EarlyStopping
from trainers.export import Module, load_export, write_export
from trainers.fidelity import Fidelity, Report
from trainers.method import METHODS
from trainers.stack import Candidate
from trainers.task import Split
from trainers.train import Training, start

EPOCHS = 8
SLOW, FAST = Candidate(METHODS["lora"](rank=2, learning_rate=5e-4), 0), 1
"""The slow one gets better in every epoch; the place of the one that soon overfits."""
CANDIDATES = [
    SLOW,
    Candidate(METHODS["lora"](rank=4, learning_rate=8e-3), 2),
    Candidate(METHODS["lora"](rank=3, learning_rate=1e-3), 1),
]


@pytest.fixture(scope="module")
def data(backbone: Backbone) -> Data:
    return skewed(backbone)


def skewed(backbone: Backbone) -> Data:
    """Labels that no text tells, a quarter of them 1: after the share there is nothing to learn."""
    splits = [
        Split(sentences(count, seed).texts, None, (np.arange(count) % 4 == 0).astype(np.int64))
        for seed, count in enumerate((40, 24, 24))
    ]
    return data_of(backbone, task_of(*splits, labels=2))


def begun(backbone: Backbone, data: Data, candidates: list[Candidate] = CANDIDATES) -> Training:
    return start(backbone, data, candidates, epochs=EPOCHS, seed=0)


def epoch_by_epoch(
    backbone: Backbone, data: Data, candidates: list[Candidate]
) -> list[tuple[list[Report], np.ndarray]]:
    """Reports and validation logits after each epoch of a training in which nobody stops."""
    training = begun(backbone, data, candidates)
    return [
        (training.advance(Fidelity(epochs=epoch)), training.logits.copy()) for epoch in range(1, EPOCHS + 1)
    ]


def test_who_overfits_stops_and_its_module_is_that_of_its_best_epoch(
    backbone: Backbone, data: Data, tmp_path: Path
) -> None:
    stopping = EarlyStopping(begun(backbone, data), patience=2)
    report = stopping.advance(Fidelity(epochs=EPOCHS))[FAST]
    history = epoch_by_epoch(backbone, data, [CANDIDATES[FAST]])
    losses = [reports[0].metrics["loss"] for reports, _ in history]
    best = int(np.argmin(losses[: report.epochs]))
    assert best + 1 == report.best_epoch == report.epochs - 2 < EPOCHS - 2
    (expected,), logits = history[best]
    assert report.metrics == pytest.approx(expected.metrics, abs=1e-4)
    assert report.train_loss == pytest.approx(expected.train_loss, abs=1e-4)
    assert np.allclose(stopping.logits[FAST], logits[0], atol=1e-4)

    config, state = stopping.deployed()[FAST]
    module = Module(config, 2, state)
    write_export(tmp_path / "module", module, backbone, data.task, 32, stopping.logits[FAST], {})
    told = list(load_export(tmp_path / "module").predict(data.task.validation.texts))
    chances = [[*answer["probabilities"].values()] for answer in told]
    assert np.allclose(chances, softmax(torch.from_numpy(logits[0]), -1), atol=1e-4)


def test_the_others_go_on_as_if_nobody_had_stopped(backbone: Backbone, data: Data) -> None:
    plain = begun(backbone, data)
    expected = plain.advance(Fidelity(epochs=EPOCHS))
    stopping = EarlyStopping(begun(backbone, data), patience=2)
    found = stopping.advance(Fidelity(epochs=EPOCHS))
    assert len(stopping.stack) == len(CANDIDATES)
    assert list(stopping.stack.candidates) == CANDIDATES
    for i in (0, 2):
        assert found[i].best_epoch is None and found[i].epochs == EPOCHS
        assert found[i].metrics == pytest.approx(expected[i].metrics, abs=1e-5)
        assert found[i].train_loss == pytest.approx(expected[i].train_loss, abs=1e-5)
        assert np.allclose(stopping.logits[i], plain.logits[i], atol=1e-5)
        for name, tensor in plain.stack.states()[i].items():
            assert torch.allclose(stopping.stack.states()[i][name], tensor, atol=1e-4), name
    assert found[FAST].seconds < found[0].seconds
    assert np.allclose(stopping.test_logits()[0], plain.test_logits()[0], atol=1e-5)


def test_stopped_candidates_leave_the_stack_and_keep_their_standing(backbone: Backbone, data: Data) -> None:
    training = begun(backbone, data)
    stopping = EarlyStopping(training, patience=2)
    stopping.advance(Fidelity(epochs=4))
    assert len(training.stack) == 3
    sixth = stopping.advance(Fidelity(epochs=6))
    assert [candidate.seed for candidate in training.stack.candidates] == [0, 1]
    assert sixth[FAST].epochs == 6 and sixth[FAST].best_epoch == 4
    seventh = stopping.advance(Fidelity(epochs=7))
    assert seventh[FAST] == sixth[FAST] and seventh[0].epochs == 7
    stopping.select([FAST, 2])  # cut by a rung
    assert [candidate.seed for candidate in training.stack.candidates] == [1]
    last = stopping.advance(Fidelity(epochs=EPOCHS))
    assert [report.epochs for report in last] == [6, EPOCHS]
    assert last[0].metrics == pytest.approx(sixth[FAST].metrics)
    assert [candidate.seed for candidate in stopping.stack.candidates] == [2, 1]
    assert stopping.logits.shape == stopping.test_logits().shape == (2, 24, 2)


def test_a_rung_inside_an_epoch_is_scored_and_may_be_the_best(backbone: Backbone, data: Data) -> None:
    plain = begun(backbone, data, CANDIDATES[:1])
    (expected,) = plain.advance(Fidelity(epochs=0.25))
    training = begun(backbone, data, CANDIDATES[:1])
    stopping = EarlyStopping(training, patience=1)
    (first,) = stopping.advance(Fidelity(epochs=0.25))
    assert first.metrics == expected.metrics and (first.epochs, first.best_epoch) == (0.25, None)
    with torch.no_grad():
        training.stack.parameters[0, 100] = float("nan")  # from here on it gets worse
    (last,) = stopping.advance(Fidelity(epochs=EPOCHS))
    assert (last.epochs, last.best_epoch) == (2, 0.25), (
        "after the first epoch it had waited for less than one"
    )
    assert np.allclose(stopping.logits, plain.logits, atol=1e-4)


def test_when_all_have_stopped_nothing_is_trained_any_more(
    backbone: Backbone, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = EarlyStopping(begun(backbone, data, CANDIDATES[1:2]), patience=1)
    (report,) = stopping.advance(Fidelity(epochs=EPOCHS - 1))
    assert report.epochs < EPOCHS - 1
    monkeypatch.setattr(Training, "train_until", None)
    (last,) = stopping.advance(Fidelity(epochs=EPOCHS))
    assert (last.epochs, last.best_epoch) == (report.epochs, report.best_epoch)


def test_with_patience_nobody_is_left_behind_its_best_epoch(backbone: Backbone, data: Data) -> None:
    stopping = EarlyStopping(begun(backbone, data), patience=EPOCHS)
    report = stopping.advance(Fidelity(epochs=EPOCHS))[FAST]
    assert report.epochs == EPOCHS and report.best_epoch == 4
    assert report.metrics == data.task.metrics(data.task.validation, stopping.logits[FAST])


def test_a_candidate_that_diverges_is_left_at_its_best_epoch(backbone: Backbone, data: Data) -> None:
    training = begun(backbone, data, CANDIDATES[:2])
    stopping = EarlyStopping(training, patience=3)
    stopping.advance(Fidelity(epochs=1))
    with torch.no_grad():
        training.stack.parameters[0, 100] = float("nan")
    broken, healthy = stopping.advance(Fidelity(epochs=EPOCHS))
    assert (broken.epochs, broken.best_epoch) == (4, 1)
    assert np.isfinite(broken.train_loss) and np.isfinite(stopping.logits).all()
    assert healthy.best_epoch == 4


def test_a_candidate_that_never_had_a_finite_score_says_so(backbone: Backbone, data: Data) -> None:
    training = begun(backbone, data, CANDIDATES[:1])
    with torch.no_grad():
        training.stack.parameters[0, 100] = float("nan")
    (report,) = EarlyStopping(training, patience=1).advance(Fidelity(epochs=2))
    assert np.isnan(report.train_loss) and np.isnan(report.metrics["accuracy"])


@pytest.mark.parametrize("method", ["unipelt", "prefix", "peft:VERA"])
def test_what_else_a_method_stores_comes_back_with_its_best_epoch(method: str, backbone: Backbone) -> None:
    data = skewed(backbone)
    highest = {"unipelt": 5e-3, "prefix": 3e-2, "peft:VERA": 0.1}[method]
    candidates = [Candidate(method_named(method)(learning_rate=highest), 0)]
    stopping = EarlyStopping(begun(backbone, data, candidates), patience=1)
    (report,) = stopping.advance(Fidelity(epochs=EPOCHS))
    best = report.best_epoch or report.epochs
    (expected,), logits = epoch_by_epoch(backbone, data, candidates)[best - 1]
    assert np.allclose(stopping.logits, logits, atol=1e-4)
    assert len(report.gates) == len(expected.gates)
    for gate, other in zip(report.gates, expected.gates, strict=True):
        assert gate.mean == pytest.approx(other.mean, abs=1e-5)


def test_final_scores_are_taken_in_fp32_wherever_the_best_epoch_was(tmp_path: Path) -> None:
    backbone = load(str(make_backbone(tmp_path / "bert", "bert")), dtype="bf16")
    data = skewed(backbone)
    stopping = EarlyStopping(begun(backbone, data), patience=2)
    reports = stopping.advance(Fidelity(epochs=EPOCHS))
    assert any(report.best_epoch for report in reports)
    for i, (config, state) in enumerate(stopping.deployed()):
        # the export compares with an fp32 copy
        module, folder = Module(config, 0, state), tmp_path / str(i)
        write_export(folder, module, backbone.in_fp32, data.task, 32, stopping.logits[i], {})
        assert reports[i].metrics == data.task.metrics(data.task.validation, stopping.logits[i])


def test_impatience_is_refused(backbone: Backbone, data: Data) -> None:
    with pytest.raises(ValueError, match="patience is 0; it must be at least 1 epoch"):
        EarlyStopping(begun(backbone, data, [SLOW]), patience=0)
