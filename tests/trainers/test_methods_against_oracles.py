"""Methods against the paper's equations in plain torch, published counts and closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny import CLASSES, batch_of, train
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear
from transformers import AutoModel, BertConfig, T5EncoderModel

import trainers.methods  # noqa: F401
from trainers.attention import Prefix, attention, leave_prefix
from trainers.backbone import Backbone, mean_of_tokens
from trainers.batches import Batch
from trainers.cost import cost_of
from trainers.families import FAMILIES
from trainers.heads import losses
from trainers.method import METHODS, MethodConfig
from trainers.methods.adapter import AdapterConfig
from trainers.methods.bitfit import BitFitConfig
from trainers.methods.full import FullConfig
from trainers.methods.ia3 import IA3Config
from trainers.methods.layernorm import LayerNormConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.methods.prompt import PromptConfig
from trainers.methods.unipelt import UniPELTConfig
from trainers.methods.vera import VeRAConfig
from trainers.sites import Site, sites_of
from trainers.stack import Candidate, Stack, State

# Trained numbers of BERT-base without the head (UniPELT, Table 4, and the closed formulas behind it).
BERT_BASE = [
    (LoRAConfig(rank=8), 294_912),
    (AdapterConfig(bottleneck=48), 894_528),
    (PrefixConfig(prefix_length=10), 184_320),
    (BitFitConfig(), 102_912 - 768),  # without the pooler's bias, which the mean of the tokens does not see
    (UniPELTConfig(modules="AP"), 1_097_304),
    (UniPELTConfig(modules="APL"), 1_410_672),
    (UniPELTConfig(modules="APL", gates="none"), 294_912 + 894_528 + 184_320),
    (LoRAConfig(rank=8, dora=True), 313_344),
    (IA3Config(), 55_296),
    (LayerNormConfig(), 38_400),
    (PromptConfig(prompt_length=20), 15_360),
    (VeRAConfig(rank=256), 24_576),
    (AdapterConfig(placement="houlsby", bottleneck=48), 1_789_056),
    (AdapterConfig(placement="parallel", bottleneck=256), 12 * (2 * 768 * 256 + 256 + 768)),
    (FullConfig(), 109_482_240 - 768 * 769),  # without the pooler
]
# What training itself needs more: the network that makes the prefix.
WHILE_TRAINING = [
    (PrefixConfig(prefix_length=10, reparametrised=True), 9_857_024),
    (UniPELTConfig(modules="AP", reparametrised=True), 10_770_008),
    (UniPELTConfig(modules="APL", reparametrised=True), 11_083_376),
]


def bert_base() -> tuple[Site, ...]:
    with torch.device("meta"):
        return sites_of(AutoModel.from_config(BertConfig()), FAMILIES["bert"], 768)


@pytest.mark.parametrize(("config", "count"), BERT_BASE, ids=lambda value: str(value)[:40])
def test_parameter_counts_for_bert_base_equal_the_published_ones(config: MethodConfig, count: int) -> None:
    cost = cost_of(config, bert_base(), 2, 768)
    assert cost.module_parameters == count
    assert cost.deployed_parameters == count
    assert cost.head_parameters == 1_538


@pytest.mark.parametrize(("config", "count"), WHILE_TRAINING, ids=lambda value: str(value)[:40])
def test_reparametrised_prefix_is_counted_while_training_and_dropped_after(
    config: MethodConfig, count: int
) -> None:
    cost = cost_of(config, bert_base(), 2, 768)
    plain = cost_of(config.deployed(), bert_base(), 2, 768)
    assert cost.module_parameters == count
    assert cost.deployed_parameters == plain.module_parameters < count
    assert cost.stored_bytes == plain.stored_bytes


def logits_and_state(stack: Stack, batch: Batch) -> tuple[Tensor, State]:
    with stack.attached(), torch.no_grad():
        logits = stack.logits(batch)[0]
    return logits, stack.states()[0]


def head(state: State, hidden: Tensor, batch: Batch) -> Tensor:
    return linear(mean_of_tokens(hidden, batch.attention_mask), state["head.weight"], state["head.bias"])


def trained(backbone: Backbone, config: MethodConfig) -> Stack:
    """A candidate away from its start, so that no product is zero."""
    stack = Stack(backbone, [Candidate(replace(config, learning_rate=1e-2), 0)], CLASSES)
    train(stack, 5, "adamw")
    return stack


def test_methods_that_start_at_zero_leave_the_backbone_as_it_is(any_backbone: Backbone) -> None:
    batch = batch_of(any_backbone)
    plain = Stack(any_backbone, [Candidate(METHODS["linear_probe"](), 0)], CLASSES)
    expected, _ = logits_and_state(plain, batch)
    silent = [LoRAConfig(targets="all linear"), LoRAConfig(dora=True), BitFitConfig(), IA3Config()]
    for config in [*silent, LayerNormConfig(), VeRAConfig(), FullConfig()]:
        logits, _ = logits_and_state(Stack(any_backbone, [Candidate(config, 0)], CLASSES), batch)
        assert torch.allclose(logits, expected, atol=1e-6)


def test_our_attention_leaves_the_backbone_as_transformers_computes_it(any_backbone: Backbone) -> None:
    batch = batch_of(any_backbone)
    plain = T5EncoderModel if any_backbone.model_type == "t5" else AutoModel
    stock = plain.from_pretrained(
        any_backbone.folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    with torch.no_grad():
        ours = any_backbone.model(**inputs).last_hidden_state
        theirs = stock(**inputs).last_hidden_state
    real = batch.attention_mask.bool()
    assert torch.allclose(ours[real], theirs[real], atol=1e-5)


def test_bitfit_equals_a_model_whose_biases_were_moved(backbone: Backbone) -> None:
    stack, batch = trained(backbone, BitFitConfig()), batch_of(backbone)
    logits, state = logits_and_state(stack, batch)
    copy = AutoModel.from_pretrained(backbone.folder, dtype=torch.float32).eval()
    biases = {name: value for name, value in copy.named_parameters() if name.endswith("bias")}
    moved = {name.removesuffix(".bitfit.bias") + ".bias" for name in state if not name.startswith("head.")}
    assert moved == {name for name in biases if not name.startswith("pooler")}
    with torch.no_grad():
        for name in moved:
            biases[name] += state[name.removesuffix(".bias") + ".bitfit.bias"]
        hidden = copy(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    assert torch.allclose(logits, head(state, hidden, batch), atol=1e-5)


# ------------------------------------------------------- the paper's equations, one example at a time


def bert_by_hand(model: torch.nn.Module, ids: Tensor, state: State, gated: bool) -> Tensor:
    """A BERT encoder with adapter, prefix and LoRA in every layer, for one example without padding.

    Written from UniPELT's equations: q and v get g * B A x, keys and values get
    g * P in front, and the feed-forward output f becomes
    LN(g * up(relu(down(LN(f + a)))) + f + a).
    """
    weights = dict(model.named_parameters())
    prefix_word = "gated_" if gated else ""

    def frozen(path: str, x: Tensor) -> Tensor:
        return linear(x, weights[f"{path}.weight"], weights[f"{path}.bias"])

    def norm(path: str, x: Tensor) -> Tensor:
        return layer_norm(x, x.shape[-1:], weights[f"{path}.weight"], weights[f"{path}.bias"], 1e-12)

    def part(path: str, kind: str, name: str) -> Tensor:
        return state[f"{path}.{prefix_word}{kind}.{name}"]

    def gate(path: str, kind: str, x: Tensor) -> Tensor | float:
        if not gated:
            return 1.0
        return torch.sigmoid(x @ part(path, kind, "gate.weight") + part(path, kind, "gate.bias")).mean()

    scale = 1.0 if gated else 2.0
    positions = weights["embeddings.position_embeddings.weight"][: len(ids)]
    types = weights["embeddings.token_type_embeddings.weight"][0]
    x = norm("embeddings.LayerNorm", weights["embeddings.word_embeddings.weight"][ids] + positions + types)
    for layer in range(2):
        path = f"encoder.layer.{layer}"
        attention = f"{path}.attention.self"

        def low_rank(role: str, x: Tensor, attention: str = attention) -> Tensor:
            module = f"{attention}.{role}"
            change = x @ part(module, "lora", "a").T @ part(module, "lora", "b").T
            return frozen(module, x) + scale * gate(module, "lora", x) * change

        q, k, v = low_rank("query", x), frozen(f"{attention}.key", x), low_rank("value", x)
        g = gate(attention, "prefix", x)
        k = torch.cat([g * part(attention, "prefix", "keys"), k])
        v = torch.cat([g * part(attention, "prefix", "values"), v])
        heads = []
        for h in range(4):
            of_head = slice(8 * h, 8 * h + 8)
            chances = torch.softmax(q[:, of_head] @ k[:, of_head].T / math.sqrt(8), -1)
            heads.append(chances @ v[:, of_head])
        a = norm(
            f"{path}.attention.output.LayerNorm",
            frozen(f"{path}.attention.output.dense", torch.cat(heads, -1)) + x,
        )
        f = frozen(f"{path}.output.dense", gelu(frozen(f"{path}.intermediate.dense", a)))
        last = f"{path}.output.LayerNorm"
        z = norm(last, f + a)
        reads = f"{last}.input"
        down = torch.relu(z @ part(reads, "adapter", "down.weight").T + part(reads, "adapter", "down.bias"))
        up = down @ part(reads, "adapter", "up.weight").T + part(reads, "adapter", "up.bias")
        x = norm(last, gate(reads, "adapter", z) * up + f + a)
    return linear(x.mean(0), state["head.weight"], state["head.bias"])


@pytest.mark.parametrize("gated", [True, False])
def test_unipelt_equals_the_papers_equations_in_output_and_gradient(gated: bool, backbone: Backbone) -> None:
    config = UniPELTConfig(
        modules="APL", gates="APL" if gated else "none", rank=3, bottleneck=5, prefix_length=4
    )
    stack, batch = trained(backbone, config), batch_of(backbone)
    logits, state = logits_and_state(stack, batch)
    state = {name: tensor.requires_grad_() for name, tensor in state.items()}
    examples = [ids[mask.bool()] for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
    by_hand = torch.stack([bert_by_hand(backbone.model, ids, state, gated) for ids in examples])
    assert torch.allclose(logits, by_hand, atol=1e-5)
    expected = torch.autograd.grad(
        torch.nn.functional.cross_entropy(by_hand, batch.labels), list(state.values())
    )
    with stack.attached():
        (rows,) = torch.autograd.grad(losses(stack.logits(batch), batch.labels).sum(), stack.parameters)
    for (name, found), gradient in zip(stack.unpack(rows)[0].items(), expected, strict=True):
        assert torch.allclose(found, gradient, atol=1e-5), name


def constant_gates(stack: Stack, bias: float) -> Stack:
    """The same candidate with every gate at sigmoid(bias), whatever it reads."""
    (state,) = stack.states()
    for name, tensor in state.items():
        if name.endswith("gate.weight"):
            tensor.zero_()
        if name.endswith("gate.bias"):
            tensor.fill_(bias)
    return Stack(stack.backbone, stack.candidates, CLASSES, [state])


def test_gate_at_one_half_equals_lora_with_half_the_scale(backbone: Backbone) -> None:
    # sigmoid(0) = 1/2 replaces alpha/rank; rank 8 with alpha 4 has the same scale (methods of UniPELT, 3.2).
    stack = constant_gates(trained(backbone, UniPELTConfig(modules="LB", rank=8)), 0.0)
    logits, state = logits_and_state(stack, batch_of(backbone))
    state = {
        name.replace("gated_lora", "lora"): tensor for name, tensor in state.items() if ".gate." not in name
    }
    ungated = UniPELTConfig(modules="LB", rank=8, gates="none")
    lora = {n: (t / 4 if n.endswith("lora.b") else t) for n, t in state.items()}  # ungated scale is 2
    other, _ = logits_and_state(Stack(backbone, [Candidate(ungated, 0)], CLASSES, [lora]), batch_of(backbone))
    assert torch.allclose(logits, other, atol=1e-6)


def test_closed_gates_give_the_frozen_model(backbone: Backbone) -> None:
    closed = constant_gates(trained(backbone, UniPELTConfig(modules="AL")), -1e4)
    logits, state = logits_and_state(closed, batch_of(backbone))
    frozen = Stack(
        backbone,
        [Candidate(METHODS["linear_probe"](), 0)],
        CLASSES,
        [{name: tensor for name, tensor in state.items() if name.startswith("head.")}],
    )
    assert torch.equal(logits, logits_and_state(frozen, batch_of(backbone))[0])


def test_closed_prefix_gate_still_dilutes_attention_by_its_slots() -> None:
    # With keys 0 each slot takes exp(0) of the softmax and gives a zero value: frozen * Z / (Z + P).
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 4, 5, 8) for _ in range(3))
    module = torch.nn.Module()
    frozen, _ = attention(module, query, key, value, None)
    zeros = torch.zeros(1, 1, 3, 32)
    leave_prefix(module, Prefix(zeros, zeros, torch.ones(1, 3)))
    diluted, _ = attention(module, query, key, value, None)
    z = (query @ key.transpose(-1, -2) / math.sqrt(8)).exp().sum(-1)
    assert torch.allclose(diluted, frozen * (z / (z + 3)).transpose(1, 2).unsqueeze(-1), atol=1e-6)
