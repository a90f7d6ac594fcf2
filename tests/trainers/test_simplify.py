"""A mixture without gates computes what it would with every gate held at its training mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CLASSES, make_backbone, sentences, task_of, train
from torch import Tensor

import trainers.methods  # noqa: F401
from trainers import gating
from trainers.backbone import Backbone, load
from trainers.export import ExportError, Module, module_from_bytes
from trainers.methods.lora import LoRAConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.pruning import prune
from trainers.rows import Rows
from trainers.simplify import simplify
from trainers.stack import Candidate, Stack
from trainers.task import Task
from trainers.tokenising import tokenise
from trainers.train import Logits, logits_of
from trainers.trained import Tensors


@pytest.fixture
def task() -> Task:
    return task_of(sentences(24, 5), sentences(20, 6), sentences(8, 7))


def mixture(backbone: Backbone, config: UniPELTConfig) -> Module:
    """A mixture whose gates differ from text to text."""
    (state,) = train(Stack(backbone, [Candidate(config, 0)], CLASSES), 4, "adamw")
    generator = torch.Generator().manual_seed(2)
    for name, tensor in state.items():
        tensor += (0.5 if ".gate." in name else 0.1) * torch.randn(tensor.shape, generator=generator)
    return Module(config, 0, state)


def logits_of_module(backbone: Backbone, module: Module, task: Task) -> Logits:
    stack = Stack(backbone, [Candidate(module.config, 0)], CLASSES, [module.state])
    logits: Logits = logits_of(stack, tokenise(task.validation, backbone.tokenizer, 32))[0]
    return logits


@contextmanager
def held_gates(monkeypatch: pytest.MonkeyPatch, means: dict[bytes, float]) -> Iterator[None]:
    """Every gate gives one number, found by its weight, for all texts."""

    def held(tensors: Tensors, x: Tensor, rows: Rows, pooling: str) -> Tensor:
        mean = means[tensors["gate.weight"].detach().numpy().tobytes()]
        return torch.full((1, len(rows.mask)), mean)

    with monkeypatch.context() as patch:
        patch.setattr(gating, "gate", held)
        yield


def with_held_gates(
    backbone: Backbone, module: Module, task: Task, monkeypatch: pytest.MonkeyPatch
) -> Logits:
    """The oracle: the gated mixture itself, its gates held at their means over the training rows."""
    stack = Stack(backbone, [Candidate(module.config, 0)], CLASSES, [module.state])
    with stack.watching() as watch:
        logits_of(stack, tokenise(task.train, backbone.tokenizer, 32))
    means = {
        module.state[place.names["gate.weight"]].numpy().tobytes(): float(value.mean())
        for place, value in watch.values(0)
    }
    with held_gates(monkeypatch, means):
        logits: Logits = logits_of(stack, tokenise(task.validation, backbone.tokenizer, 32))[0]
    return logits


@pytest.mark.parametrize(
    "config",
    [
        UniPELTConfig(modules="APL"),
        UniPELTConfig(modules="APL", pooling="first token", rank=4),
        UniPELTConfig(modules="APLBI", gates="APLBI"),
        UniPELTConfig(modules="AL", gates="A", layers="top 1"),
    ],
    ids=lambda config: f"{config.modules} {config.gates} {config.pooling}",
)
def test_simplified_is_the_mixture_with_every_gate_at_its_training_mean(
    config: UniPELTConfig, backbone: Backbone, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = mixture(backbone, config)
    found = simplify(module, backbone, task, 32)
    expected = with_held_gates(backbone, module, task, monkeypatch)
    assert np.allclose(found.logits, expected, atol=1e-5)
    assert not np.allclose(found.logits, logits_of_module(backbone, module, task), atol=1e-3)


@pytest.mark.parametrize("family", ["gpt2", "albert", "t5"])
def test_fused_projections_and_shared_layers_are_simplified_too(
    family: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load(str(make_backbone(tmp_path, family)), dtype="fp32")
    module = mixture(backbone, UniPELTConfig(modules="APL"))
    expected = with_held_gates(backbone, module, task, monkeypatch)
    assert np.allclose(simplify(module, backbone, task, 32).logits, expected, atol=1e-5)


def test_what_is_left_is_an_ungated_mixture_that_says_what_it_lost(backbone: Backbone, task: Task) -> None:
    module = mixture(backbone, UniPELTConfig(modules="APL"))
    found = simplify(module, backbone, task, 32)
    assert found.module.config == UniPELTConfig(modules="APL", gates="none")
    assert not [name for name in found.module.state if "gate" in name]
    assert found.before == task.metrics(task.validation, logits_of_module(backbone, module, task))
    assert found.after == task.metrics(task.validation, found.logits)
    # Two layers, each with an adapter, a prefix, and LoRA at query and value.
    assert len(found.gates) == len(found.facts()["gates"]) == 8
    assert found.split == "validation"
    again = module_from_bytes(found.module.to_bytes())
    assert np.array_equal(logits_of_module(backbone, again, task), found.logits)


def test_gates_that_never_move_lose_nothing(backbone: Backbone, task: Task) -> None:
    module = mixture(backbone, UniPELTConfig(modules="APL"))
    for name, tensor in module.state.items():
        if name.endswith("gate.weight"):
            tensor.zero_()
    found = simplify(module, backbone, task, 32)
    assert np.allclose(found.logits, logits_of_module(backbone, module, task), atol=1e-5)


def test_a_pruned_mixture_can_be_simplified(backbone: Backbone, task: Task) -> None:
    module = mixture(backbone, UniPELTConfig(modules="APL"))
    for name, tensor in module.state.items():
        if "layer.0.attention.self.query.gated_lora.gate" in name:
            tensor.fill_(-20.0 if name.endswith("bias") else 0.0)
    pruned = prune(module, backbone, task, 32, 0.1)
    assert "lora at query of layer 0" in pruned.dropped
    found = simplify(pruned.module, backbone, task, 32)
    assert not [name for name in found.module.state if "layer.0.attention.self.query" in name]


def test_a_module_without_gates_is_refused(backbone: Backbone, task: Task) -> None:
    for config in (LoRAConfig(), UniPELTConfig(modules="AL", gates="none")):
        (state,) = Stack(backbone, [Candidate(config, 0)], CLASSES).states()
        with pytest.raises(ExportError, match=f"this {config.name} has no gates to simplify"):
            simplify(Module(config, 0, state), backbone, task, 32)
