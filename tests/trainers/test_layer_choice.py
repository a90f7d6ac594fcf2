"""Which layers carry modules: exactly those that were asked for."""

from __future__ import annotations

import re

import pytest
import torch
from tiny import CLASSES, batch_of, make_backbone

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.method import METHODS, MethodConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.prompt import PromptConfig
from trainers.stack import Candidate, Stack

CHOSEN = {
    "all": {0, 1, 2, 3, 4},
    "top half": {2, 3, 4},
    "bottom half": {0, 1, 2},
    "top third": {3, 4},
    "every second": {0, 2, 4},
    "top 1": {4},
    "bottom 2": {0, 1},
    "0 1": {0, 1},
    "3": {3},
}
"""Of five layers; halves and thirds are rounded up, and every second counts from the last."""
LAYERED = [m for m in METHODS.values() if m not in (PromptConfig, METHODS["linear_probe"])]


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """Five layers."""
    return load(
        str(make_backbone(tmp_path_factory.mktemp("deep"), "bert", num_hidden_layers=5)), dtype="fp32"
    )


@pytest.mark.parametrize("layers", CHOSEN)
@pytest.mark.parametrize("method", LAYERED, ids=lambda m: m.name)
def test_modules_stand_in_the_chosen_layers_and_nowhere_else(
    method: type[MethodConfig], layers: str, deep: Backbone
) -> None:
    (state,) = Stack(deep, [Candidate(method(layers=layers), 0)], CLASSES).states()
    modules = [name for name in state if not name.startswith("head.")]
    found = {int(layer[1]) for name in modules if (layer := re.search(r"layer\.(\d+)\.", name))}
    assert found == CHOSEN[layers]
    # What Compacter's layers share belongs to none of them.
    outside = [
        n for n in modules if n.startswith(("embeddings", "encoder")) and not re.search(r"layer\.\d", n)
    ]
    assert layers == "all" or outside == []


def test_layers_below_the_lowest_module_compute_what_the_frozen_model_computes(deep: Backbone) -> None:
    config = LoRAConfig(layers="3", learning_rate=2e-2)
    stack = Stack(deep, [Candidate(config, 0)], CLASSES)
    with torch.no_grad():
        stack.parameters += 0.1
    seen: list[list[torch.Tensor]] = [[], []]
    for outputs, candidate in zip(seen, (None, stack), strict=True):
        hooks = [
            layer.register_forward_hook(lambda _, __, y, outputs=outputs: outputs.append(y))
            for layer in deep.model.encoder.layer
        ]
        plain = candidate or Stack(deep, [Candidate(METHODS["linear_probe"](), 0)], CLASSES)
        with plain.attached(), torch.no_grad():
            plain.logits(batch_of(deep))
        for hook in hooks:
            hook.remove()
    same = [torch.equal(a, b) for a, b in zip(*seen, strict=True)]
    assert same == [True, True, True, False, False]


def test_layer_that_the_backbone_lacks_is_refused_with_those_that_it_has(deep: Backbone) -> None:
    with pytest.raises(ValueError, match="layers is '2 7'; the backbone has layers 0 to 4"):
        Stack(deep, [Candidate(LoRAConfig(layers="2 7"), 0)], CLASSES)


@pytest.mark.parametrize("layers", ["", "top", "top 0", "middle", "1,2", "-1", "top 1 2"])
def test_words_that_name_no_layers_are_refused_with_examples(layers: str) -> None:
    with pytest.raises(ValueError, match="lora.layers is .* 'top 3', 'bottom 3', or numbers from 0"):
        LoRAConfig(layers=layers)
