"""What holds for every kind of task: its loss, stacked as alone, solved heads, exports and predictions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny import LABELS, data_of, task_of_kind
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.batches import Batch, batches
from trainers.data import Data
from trainers.export import Exported, ExportError, Module, load_export, write_export
from trainers.fidelity import Fidelity
from trainers.heads import losses
from trainers.kinds import KINDS, single
from trainers.method import METHODS
from trainers.probe import features, linear_probe
from trainers.splits import Split
from trainers.stack import Candidate, Stack
from trainers.task import Task
from trainers.train import Training, logits_of, start

LORA = METHODS["lora"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def candidates(count: int = 3) -> list[Candidate]:
    return [Candidate(LORA(rank=2 + i, learning_rate=1e-2), seed=i) for i in range(count)]


def first_batch(data: Data) -> Batch:
    return next(batches(data.train, [np.arange(6)], 0, torch.device("cpu")))


def mean_loss(kind: str, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss of one candidate by torch's own functions."""
    if single(kind) == "regression":
        return mse_loss(logits[:, 0], labels)
    if kind == "multi-label":
        return binary_cross_entropy_with_logits(logits, labels)
    return cross_entropy(logits, labels)


@every_kind
def test_loss_is_torchs_and_gradients_in_a_stack_are_those_alone(kind: str, backbone: Backbone) -> None:
    data = data_of(backbone, task_of_kind(kind, 12, 6, 6))
    batch = first_batch(data)
    together = Stack(backbone, candidates(), data.task.outputs)
    with together.attached():
        found = losses(together.logits(batch), batch.labels)
        (stacked,) = torch.autograd.grad(found.sum(), together.parameters)
    for i, candidate in enumerate(candidates()):
        alone = Stack(backbone, [candidate], data.task.outputs)
        with alone.attached():
            loss = mean_loss(kind, alone.logits(batch)[0], batch.labels)
            (rows,) = torch.autograd.grad(loss, alone.parameters)
        assert torch.allclose(found[i], loss, rtol=1e-5)
        (own,), gradients = alone.unpack(rows), together.unpack(stacked)[i]
        for name, gradient in own.items():
            assert torch.allclose(gradients[name], gradient, rtol=1e-4, atol=1e-7), name


@every_kind
def test_candidate_in_a_stack_trains_to_what_it_trains_to_alone(kind: str, backbone: Backbone) -> None:
    data = data_of(backbone, task_of_kind(kind, 20, 10, 10))
    together = trained(backbone, data, candidates())
    for i, candidate in enumerate(candidates()):
        alone = trained(backbone, data, [candidate])
        assert np.allclose(together.logits[i], alone.logits[0], rtol=1e-3, atol=1e-3)
        for name, tensor in alone.stack.states()[0].items():
            assert torch.allclose(together.stack.states()[i][name], tensor, atol=1e-4), name


def trained(backbone: Backbone, data: Data, of: list[Candidate], epochs: int = 2) -> Training:
    training = start(backbone, data, of, epochs=epochs, seed=0, batch_size=8)
    training.advance(Fidelity(epochs=epochs))
    return training


@every_kind
def test_report_has_the_metrics_of_the_kind(kind: str, backbone: Backbone) -> None:
    task = task_of_kind(kind, 20, 10, 10)
    training = start(backbone, data_of(backbone, task), candidates(1), epochs=1, seed=0)
    (report,) = training.advance(Fidelity(epochs=1))
    assert report.metrics == task.metrics(task.validation, training.logits[0])
    assert task.metric in report.metrics and np.isfinite(report.train_loss)
    assert training.test_logits().shape == (1, len(task.test.labels), task.outputs)


def test_numbers_are_predicted_in_their_own_unit(backbone: Backbone) -> None:
    task = task_of_kind("regression", 40, 20, 20)
    dearer = replace(task, **{n: in_cents(getattr(task, n)) for n in ("train", "validation", "test")})
    plain, other = (trained(backbone, data_of(backbone, each), candidates(2)) for each in (task, dearer))
    assert np.allclose(other.logits, 100 * plain.logits + 7, rtol=1e-4)
    assert abs(plain.logits.mean() - 20) < 3  # the labels are around 20
    # the stored head gives that unit by itself
    for i, (config, state) in enumerate(other.deployed()):
        alone = Stack(backbone, [Candidate(config, 0)], 1, [state])
        assert np.allclose(logits_of(alone, other.data.validation)[0], other.logits[i], rtol=1e-4)


def test_a_loss_counts_numbers_in_deviations_and_several_labels_from_their_odds(backbone: Backbone) -> None:
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    task = task_of_kind("multi-label", 40, 5, 5)
    shares = (task.train.labels.sum(0) + 0.5) / 41
    labels = torch.from_numpy(task.validation.labels)
    shifted = logits + torch.tensor(np.log(shares / (1 - shares)))
    found = data_of(backbone, task).scale.losses(logits, labels)
    assert torch.allclose(found[1], binary_cross_entropy_with_logits(shifted[1], labels), rtol=1e-5)
    task = task_of_kind("regression", 40, 5, 5)
    numbers = torch.from_numpy(task.validation.labels)
    standard = (numbers - task.train.labels.mean()) / task.train.labels.std()
    found = data_of(backbone, task).scale.losses(logits[..., :1], numbers)
    assert torch.allclose(found[1], mse_loss(logits[1, :, 0], standard), rtol=1e-4)


def in_cents(split: Split) -> Split:
    return Split(split.texts, split.pairs, 100 * split.labels + 7)


# --------------------------------------------------------------------------------- linear probe


def oracle(kind: str, strength: float) -> Any:
    """scikit-learn's model on scaled features."""
    classes = LogisticRegression(C=strength, max_iter=1000)
    models = {"regression": Ridge(alpha=1 / strength), "multi-label": OneVsRestClassifier(classes)}
    return make_pipeline(StandardScaler(), models.get(single(kind), classes))


@every_kind
def test_probe_is_scikit_learns_model_of_the_kind(kind: str, backbone: Backbone) -> None:
    task = task_of_kind(kind, 60, 30, 30)
    data = data_of(backbone, task)
    probe = linear_probe(backbone, data)
    model = oracle(kind, probe.strength).fit(features(backbone, data.train), task.train.labels)
    given = features(backbone, data.test)
    if single(kind) == "regression":
        found, expected = probe.test_logits[:, 0], model.predict(given)
    elif kind == "multi-label":
        found, expected = 1 / (1 + np.exp(-probe.test_logits)), model.predict_proba(given)
    else:
        chances = np.exp(probe.test_logits)
        found, expected = chances / chances.sum(1, keepdims=True), model.predict_proba(given)
    assert np.allclose(found, expected, atol=1e-2)  # solvers stop within a tolerance
    stack = Stack(backbone, [Candidate(METHODS["linear_probe"](), 0)], task.outputs, [probe.state])
    assert np.allclose(logits_of(stack, data.test)[0], probe.test_logits, atol=1e-3)


def test_a_label_that_no_row_or_every_row_has_keeps_its_odds(backbone: Backbone) -> None:
    task = task_of_kind("multi-label", 30, 10, 10)
    task.train.labels[:, 0], task.train.labels[:, 2] = 0, 1
    probe = linear_probe(backbone, data_of(backbone, task))
    assert np.allclose(probe.test_logits[:, 0], np.log(0.5 / 30.5), atol=1e-5)
    assert np.allclose(probe.test_logits[:, 2], np.log(30.5 / 0.5), atol=1e-5)


def test_many_words_are_solved_for_in_part(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(backbone, task_of_kind("token-classification", 60, 30, 30))
    first = replace(data, train=data.train.take(np.arange(12)))
    most = len(first.train.labels)
    monkeypatch.setattr("trainers.probe.MOST_WORDS", most)
    assert np.array_equal(linear_probe(backbone, data).test_logits, linear_probe(backbone, first).test_logits)


# ------------------------------------------------------------------------------------- exports


def exported(folder: Path, backbone: Backbone, task: Task) -> tuple[Exported, Training]:
    training = trained(backbone, data_of(backbone, task), candidates(1))
    ((config, state),) = training.deployed()
    write_export(folder, Module(config, 0, state), backbone, task, 32, training.logits[0], {})
    return load_export(folder), training


@every_kind
def test_export_predicts_what_was_trained(kind: str, backbone: Backbone, tmp_path: Path) -> None:
    task = task_of_kind(kind, 20, 10, 10)
    export, training = exported(tmp_path / "export", backbone, task)
    logits, test = training.test_logits()[0], task.test
    rows = list(export.predict(test.texts, test.pairs))
    assert len(rows) == 10
    if single(kind) == "regression":
        assert [row["value"] for row in rows] == pytest.approx(logits[:, 0].tolist(), rel=1e-4)
        return
    names = np.array(LABELS)
    if kind == "multi-label":
        expected = [names[row > 0].tolist() for row in logits]
        assert [row["labels"] for row in rows] == expected
        assert rows[0]["probabilities"]["bad"] == pytest.approx(1 / (1 + np.exp(-logits[0, 0])), abs=1e-4)
    elif kind == "token-classification":
        assert [tag for row in rows for tag in row["tags"]] == names[logits.argmax(1)].tolist()
        assert [tuple(row["words"]) for row in rows] == list(test.texts)
    else:
        assert [row["label"] for row in rows] == names[logits.argmax(1)].tolist()


def test_an_export_of_large_numbers_is_checked_in_their_own_measure(
    backbone: Backbone, tmp_path: Path
) -> None:
    task = task_of_kind("regression", 40, 20, 20)
    far = {
        name: Split(split.texts, None, (1e6 + 1e4 * split.labels).astype(np.float32))
        for name, split in (("train", task.train), ("validation", task.validation), ("test", task.test))
    }
    large = replace(task, **far)
    export, training = exported(tmp_path / "export", backbone, large)
    assert export.manifest["parity"]["tolerance"] > 1 and "same_label" not in export.manifest["parity"]
    module = Module(LORA(rank=2, learning_rate=1e-2), 0, training.stack.states()[0])  # the head is not folded
    with pytest.raises(ExportError, match="differs from the trained one"):
        write_export(tmp_path / "other", module, backbone, large, 32, training.logits[0], {})


def test_words_are_asked_for_where_words_are_tagged(backbone: Backbone, tmp_path: Path) -> None:
    export, _ = exported(tmp_path / "export", backbone, task_of_kind("token-classification", 20, 10, 10))
    with pytest.raises(ExportError, match="give each row as a list of words"):
        list(export.predict(["good film"]))
    assert list(export.predict([(), ("good",)]))[0] == {"words": [], "tags": []}
