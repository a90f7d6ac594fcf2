"""Full fine-tuning against transformers and torch.optim on a plain copy of the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from tiny import CLASSES, batch_of, make_backbone, train
from torch.nn.functional import cross_entropy, linear
from torch.nn.utils import clip_grad_norm_
from transformers import AutoModel, T5EncoderModel

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.methods.full import FullConfig
from trainers.stack import Candidate, Stack


@pytest.fixture(scope="module")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Backbone]:
    @cache
    def made(family: str) -> Backbone:
        return load(str(make_backbone(tmp_path_factory.mktemp(family), family)), dtype="fp32")

    return made


# One with a shared layer, a fused projection, a wrapped attention and shared embeddings each.
@pytest.mark.parametrize("family", ["bert", "albert", "gpt2", "deberta-v2", "t5"])
def test_three_steps_equal_those_of_a_plain_copy_under_torchs_adamw(
    family: str, tiny_backbone: Callable[[str], Backbone]
) -> None:
    backbone = tiny_backbone(family)
    stack = Stack(backbone, [Candidate(FullConfig(learning_rate=5e-4), 0)], CLASSES)
    (start,) = stack.states()
    kind = T5EncoderModel if family == "t5" else AutoModel
    copy = kind.from_pretrained(backbone.folder, dtype=torch.float32, attn_implementation="eager").eval()
    head = [start[name].clone().requires_grad_() for name in ("head.weight", "head.bias")]
    everything = [p for name, p in copy.named_parameters() if not name.startswith("pooler")] + head
    optimizer = torch.optim.AdamW(everything, lr=5e-4, weight_decay=0.0)
    for step in range(3):
        batch = batch_of(backbone, slice(6 * (step % 2), 6 * (step % 2) + 6))
        hidden = copy(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        logits = linear(backbone.features(hidden, batch.attention_mask), *head)
        optimizer.zero_grad()
        cross_entropy(logits, batch.labels).backward()
        clip_grad_norm_(everything, 1.0)
        optimizer.step()
    (end,) = train(stack, 3, "adamw")
    frozen = dict(backbone.model.named_parameters())
    moved = {name: p for name, p in copy.named_parameters() if f"{name}.full.change" in end}
    assert len(moved) == len(end) - 2 == len(everything) - 2
    for name, parameter in moved.items():
        # Adam makes whole steps of gradients that are rounding errors, as those of a bias of all keys.
        square = optimizer.state[parameter]["exp_avg_sq"]
        meant = (square == 0) | (square > 1e-16)
        assert meant.float().mean() > 0.95 or "key.bias" in name or "c_attn.bias" in name
        ours = frozen[name] + end[f"{name}.full.change"]
        assert torch.allclose(ours[meant], parameter[meant], atol=1e-5), name
    assert torch.allclose(end["head.weight"], head[0], atol=1e-5)


def test_frozen_copy_keeps_its_memory(backbone: Backbone) -> None:
    before = {name: (p.data_ptr(), p.clone()) for name, p in backbone.model.named_parameters()}
    stack = Stack(backbone, [Candidate(FullConfig(learning_rate=5e-4), 0)], CLASSES)
    train(stack, 3, "adamw")
    for name, parameter in backbone.model.named_parameters():
        address, value = before[name]
        assert parameter.data_ptr() == address and torch.equal(parameter, value), name
        assert not parameter.requires_grad and parameter.grad is None, name


def test_weight_decay_pulls_back_to_the_pre_trained_weights(backbone: Backbone) -> None:
    configs = [FullConfig(learning_rate=5e-4, weight_decay=decay) for decay in (0.0, 0.1)]
    (start,) = Stack(backbone, [Candidate(configs[0], 0)], CLASSES).states()
    moved = {name: tensor + 1.0 for name, tensor in start.items()}
    plain, pulled = (
        train(Stack(backbone, [Candidate(config, 0)], CLASSES, [moved]), 1, "adamw")[0] for config in configs
    )
    for name in (name for name in start if name.endswith(".change")):
        assert torch.allclose(plain[name] - pulled[name], torch.full_like(plain[name], 5e-5), atol=1e-6), name
