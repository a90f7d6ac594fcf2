"""Weights of classes, the focal loss, and warm-up: fields that candidates of one stack may differ in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from tiny import CLASSES, data_of, rows_of, task_of, task_of_kind
from torch.nn.functional import cross_entropy

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.batches import batches, training_order
from trainers.building import build_stack, method_named
from trainers.data import Data
from trainers.fidelity import Fidelity
from trainers.heads import losses
from trainers.imbalance import Weighting, choices_for, class_weights, unbalanced, weighting
from trainers.method import METHODS
from trainers.splits import Split
from trainers.stack import Candidate
from trainers.task import Task
from trainers.train import start

LORA = METHODS["lora"]
CPU = torch.device("cpu")
EPOCHS = 3


def skewed(kind: str = "classification", count: int = 40) -> Task:
    """A task in whose training split class 0 is most frequent and class 2 rare."""
    task = task_of_kind(kind, count, 12, 12)
    items = len(task.train.labels)
    labels = np.repeat(np.arange(CLASSES), [items - items // 4 - 3, items // 4, 3])
    shuffled = np.random.default_rng(0).permutation(labels)
    return replace(task, train=replace(task.train, labels=shuffled))


def logits_and_labels() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 10, CLASSES, generator=generator)
    return logits.requires_grad_(), torch.randint(CLASSES, (10,), generator=generator)


# ----------------------------------------------------------------------------------- the losses


@pytest.mark.parametrize("kind", ["classification", "pair-classification", "token-classification"])
def test_balanced_weights_are_scikit_learns(kind: str) -> None:
    task = skewed(kind)
    labels = task.train.labels
    found = class_weights(task)
    assert found == pytest.approx(compute_class_weight("balanced", classes=np.arange(CLASSES), y=labels))
    assert found[labels].mean() == pytest.approx(1)


def test_a_tag_that_no_word_of_training_has_changes_no_other_weight() -> None:
    task = skewed("token-classification")
    more = replace(task, labels=(*task.labels, "unseen"))
    assert class_weights(more)[:CLASSES].tolist() == class_weights(task).tolist()


def test_weighted_loss_is_torchs_divided_by_the_items_instead_of_their_weights() -> None:
    task, (logits, labels) = skewed(), logits_and_labels()
    configs = [LORA(class_weights="balanced"), LORA()]
    found = losses(logits, labels, weighting(task, configs, CPU))
    weight = torch.from_numpy(class_weights(task))
    expected = cross_entropy(logits[0], labels, weight=weight, reduction="sum") / len(labels)
    assert torch.allclose(found[0], expected)
    # torch's own mean divides by the weights in the batch, so that a batch of rare rows counts no more
    assert torch.allclose(
        expected * len(labels) / weight[labels].sum(), cross_entropy(logits[0], labels, weight=weight)
    )
    assert torch.allclose(found[1], cross_entropy(logits[1], labels))


def test_focal_loss_is_the_published_formula_and_weights_come_on_top() -> None:
    task, (logits, labels) = skewed(), logits_and_labels()
    configs = [LORA(focal=2.0, class_weights="balanced"), LORA(focal=0.5)]
    found = losses(logits, labels, weighting(task, configs, CPU))
    right = logits.softmax(-1)[:, torch.arange(len(labels)), labels]
    alpha = torch.from_numpy(class_weights(task))[labels]
    assert torch.allclose(found[0], (alpha * -((1 - right[0]) ** 2) * right[0].log()).mean(), rtol=1e-5)
    assert torch.allclose(found[1], (-((1 - right[1]) ** 0.5) * right[1].log()).mean(), rtol=1e-5)


def test_focal_loss_of_several_labels_is_that_of_each_label() -> None:
    task = task_of_kind("multi-label", 20, 10, 10)
    logits, _ = logits_and_labels()
    labels = torch.from_numpy(task.validation.labels)
    found = losses(logits, labels, weighting(task, [LORA(focal=2.0), LORA()], CPU))
    chance = logits[0].sigmoid()
    right = torch.where(labels > 0, chance, 1 - chance)
    assert torch.allclose(found[0], (-((1 - right) ** 2) * right.log()).mean(), rtol=1e-5)
    assert torch.allclose(found[1], losses(logits, labels)[1])


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 5.0])
def test_focal_loss_has_a_slope_where_a_prediction_is_certain(gamma: float) -> None:
    logits = torch.tensor([[[60.0, -60.0, 0.0], [-60.0, 60.0, 0.0]]], requires_grad=True)
    loss = losses(logits, torch.tensor([0, 0]), Weighting(None, torch.tensor([gamma])))
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.isfinite().all() and slope.isfinite().all()
    assert slope[0, 0].abs().max() < 1e-20 and slope[0, 1].abs().max() > 0.4


def test_where_nothing_is_weighed_nothing_is_computed() -> None:
    assert weighting(skewed(), [LORA(), LORA(warmup=0.2)], CPU) is None


# ---------------------------------------------------------------------------- stacked and alone


UNLIKE = {
    "classification": [
        LORA(rank=2, learning_rate=1e-2, warmup=0.2, class_weights="balanced"),
        LORA(rank=3, learning_rate=2e-2, warmup=0.0, focal=2.0),
        LORA(rank=4, learning_rate=1e-2),
    ],
    "token-classification": [
        LORA(learning_rate=1e-2, focal=0.5, class_weights="balanced"),
        LORA(learning_rate=1e-2, warmup=0.2),
    ],
    "multi-label": [LORA(learning_rate=1e-2, focal=2.0), LORA(learning_rate=1e-2, warmup=0.0)],
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_unlike_candidates_of_a_stack_train_to_what_they_train_to_alone(
    kind: str, backbone: Backbone
) -> None:
    task = task_of_kind(kind, 40, 12, 12) if kind == "multi-label" else skewed(kind)
    data = data_of(backbone, task)
    candidates = [Candidate(config, seed) for seed, config in enumerate(UNLIKE[kind])]
    together, reports = trained(backbone, data, candidates)
    for i, candidate in enumerate(candidates):
        (alone,), (report,) = trained(backbone, data, [candidate])
        for name, tensor in alone.items():
            assert torch.allclose(together[i][name], tensor, atol=1e-4), name
        assert reports[i] == pytest.approx(report, abs=1e-4)


def trained(
    backbone: Backbone, data: Data, candidates: list[Candidate]
) -> tuple[list[dict[str, torch.Tensor]], list[float]]:
    """The tensors and the training losses of a whole training, after a halt on the way."""
    training = start(backbone, data, candidates, epochs=EPOCHS, seed=0, batch_size=8)
    for epochs in (1, EPOCHS):
        reports = training.advance(Fidelity(epochs=epochs))
    return training.stack.states(), [report.train_loss for report in reports]


def test_candidates_that_stay_keep_their_own_weights_and_warm_up(backbone: Backbone) -> None:
    data = data_of(backbone, skewed())
    candidates = [Candidate(config, seed) for seed, config in enumerate(UNLIKE["classification"])]
    whole, _ = trained(backbone, data, candidates)
    training = start(backbone, data, candidates, epochs=EPOCHS, seed=0, batch_size=8)
    training.advance(Fidelity(epochs=1))
    training.select([1])
    training.advance(Fidelity(epochs=EPOCHS))
    for name, tensor in training.stack.states()[0].items():
        assert torch.allclose(tensor, whole[1][name], atol=1e-4), name


@pytest.mark.parametrize("method", ["adapter", "unipelt", "peft:LORA"])
def test_a_training_equals_torchs_own_loop(method: str, backbone: Backbone) -> None:
    data = data_of(backbone, skewed())
    config = method_named(method)(learning_rate=5e-3, warmup=0.2, class_weights="balanced", focal=1.5)
    ((state,), _) = trained(backbone, data, [Candidate(config, 0)])
    stack = build_stack(backbone, [Candidate(config, 0)], CLASSES)
    optimizer = torch.optim.AdamW([stack.parameters], lr=config.learning_rate, weight_decay=0.0)
    steps = EPOCHS * 5
    rise = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (step + 1) / 3 if step < 3 else (steps - step) / (steps - 3)
    )
    weight = torch.from_numpy(class_weights(data.task))
    for epoch in range(EPOCHS):
        for batch in batches(data.train, training_order(data.train.lengths, 8, epoch), 0, CPU):
            with stack.attached():
                logs = stack.logits(batch, training=True)[0].log_softmax(-1)
                right = logs[torch.arange(len(batch)), batch.labels]
                loss = -(weight[batch.labels] * (1 - right.exp()) ** 1.5 * right).mean()
                optimizer.zero_grad()
                (loss if stack.penalty is None else loss + stack.penalty.sum()).backward()
            torch.nn.utils.clip_grad_norm_([stack.parameters], 1.0)
            optimizer.step()
            rise.step()
    for name, tensor in stack.states()[0].items():
        assert torch.allclose(state[name], tensor, atol=1e-4), name


# ------------------------------------------------------------------------------ what is searched


def of_sizes(*sizes: int) -> Task:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rows = rows_of("classification", len(labels))
    split = Split(rows.texts, None, labels)
    return task_of(split, split, split, labels=len(sizes))


def test_classes_are_unbalanced_from_half_as_many_again() -> None:
    assert unbalanced(of_sizes(15, 10)) and unbalanced(of_sizes(12, 10, 18))
    assert not unbalanced(of_sizes(14, 10)) and not unbalanced(of_sizes(10))


def test_balanced_classes_are_weighed_only_where_it_is_asked_for() -> None:
    choice = choices_for(of_sizes(11, 10))["class_weights"]
    assert choice.options == ("none",) and choice.contains("balanced")
    assert choices_for(of_sizes(30, 10)) == {}
    assert weighting(of_sizes(11, 10), [LORA(class_weights="balanced")], CPU) is not None


@pytest.mark.parametrize("kind", ["regression", "pair-regression", "multi-label"])
def test_kinds_without_classes_refuse_their_weights(kind: str) -> None:
    task = task_of_kind(kind, 20, 10, 10)
    with pytest.raises(ValueError, match=f"kind {kind} it must be one of none"):
        weighting(task, [LORA(), LORA(class_weights="balanced")], CPU)


def test_numbers_have_no_focal_loss() -> None:
    task = task_of_kind("regression", 20, 10, 10)
    with pytest.raises(ValueError, match=r"lora.focal is 2.0; for a task of kind regression"):
        weighting(task, [LORA(focal=2.0)], CPU)


def test_fields_outside_their_domains_are_refused() -> None:
    with pytest.raises(ValueError, match=r"focal is 6.0; it must be one of 0.0, or a number up to 5"):
        LORA(focal=6.0)
    with pytest.raises(ValueError, match=r"warmup is 0.7; .* or another share up to 0.5"):
        LORA(warmup=0.7)
    assert LORA(focal=2, warmup=0.1).values()["focal"] == 2
