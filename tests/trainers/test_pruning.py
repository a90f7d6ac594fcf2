"""Modules behind shut gates can be dropped; what that costs is measured."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import CLASSES, sentences, task_of, train

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone
from trainers.export import ExportError, Module, module_from_bytes
from trainers.methods.lora import LoRAConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.pruning import prune
from trainers.stack import Candidate, Stack
from trainers.task import Task
from trainers.tokenising import tokenise
from trainers.tokens import Tokens
from trainers.train import logits_of


@pytest.fixture
def task() -> Task:
    rows = sentences(24, 5)
    return task_of(rows, rows, rows)


@pytest.fixture
def validation(backbone: Backbone, task: Task) -> Tokens:
    return tokenise(task.validation, backbone.tokenizer, 32)


def mixture(backbone: Backbone, shut: tuple[str, ...]) -> Module:
    """A trained mixture in which the gates of some places are shut for every text."""
    config = UniPELTConfig(modules="APL")
    stack = Stack(backbone, [Candidate(config, 0)], CLASSES)
    (state,) = train(stack, 4, "adamw")
    for name, tensor in state.items():
        if any(place in name for place in shut) and ".gate." in name:
            tensor.fill_(-20.0 if name.endswith("bias") else 0.0)
    return Module(config, 0, state)


def test_modules_behind_shut_gates_go_and_nothing_else(
    backbone: Backbone, task: Task, validation: Tokens
) -> None:
    module = mixture(backbone, ("layer.0.attention.self.query.gated_lora", "layer.1.output.LayerNorm.input"))
    pruned = prune(module, backbone, task, 32, 0.1)
    assert pruned.dropped == ("lora at query of layer 0", "adapter at ffn_residual of layer 1")
    gone = set(module.state) - set(pruned.module.state)
    assert all("layer.0.attention.self.query" in n or "layer.1.output.LayerNorm.input" in n for n in gone)
    assert len(gone) == 4 + 6  # a, b and the gate; two weights, two biases and the gate
    # A gate of e-20 lets next to nothing through, so next to nothing changes.
    whole = Stack(backbone, [Candidate(module.config, 0)], CLASSES, [module.state])
    expected = logits_of(whole, validation)[0]
    assert np.allclose(pruned.logits, expected, atol=1e-5)
    assert pruned.before == task.metrics(task.validation, expected)
    assert pruned.after == task.metrics(task.validation, pruned.logits)


def test_a_pruned_module_reloads_to_the_same_logits(
    backbone: Backbone, task: Task, validation: Tokens
) -> None:
    # A dropped prefix no longer dilutes the attention, so the logits do change here.
    pruned = prune(mixture(backbone, ("gated_prefix",)), backbone, task, 32, 0.1)
    assert pruned.dropped == ("prefix at attention of layer 0", "prefix at attention of layer 1")
    again = module_from_bytes(pruned.module.to_bytes())
    stack = Stack(backbone, [Candidate(again.config, 0)], CLASSES, [again.state])
    assert np.array_equal(logits_of(stack, validation)[0], pruned.logits)


def test_open_gates_keep_every_module(backbone: Backbone, task: Task) -> None:
    module = mixture(backbone, ())
    pruned = prune(module, backbone, task, 32, 0.1)
    assert pruned.dropped == ()
    assert pruned.module.state.keys() == module.state.keys()


def test_a_method_without_gates_and_a_senseless_threshold_are_refused(backbone: Backbone, task: Task) -> None:
    (state,) = Stack(backbone, [Candidate(LoRAConfig(), 0)], CLASSES).states()
    with pytest.raises(ExportError, match="this lora has no gates to prune"):
        prune(Module(LoRAConfig(), 0, state), backbone, task, 32, 0.1)
    with pytest.raises(ExportError, match="--prune-gates is 2; give a number between 0 and 1"):
        prune(mixture(backbone, ()), backbone, task, 32, 2.0)
