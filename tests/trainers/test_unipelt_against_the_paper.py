"""UniPELT against the paper's equations in plain torch (Mao et al., arXiv 2110.07577), and its gates."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from tiny import CLASSES, away_from_its_start, batch_of, make_backbone, train
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, layer_norm, linear

import trainers.methods  # noqa: F401
from trainers.attention import Prefix, attention, leave_prefix
from trainers.backbone import Backbone, load
from trainers.batches import Batch
from trainers.heads import losses
from trainers.method import METHODS
from trainers.methods.unipelt import LETTERS, UniPELTConfig
from trainers.stack import Candidate, Stack, State

SIZES = {"rank": 3, "bottleneck": 5, "prefix_length": 4}
KINDS = {"A": "adapter", "P": "prefix", "L": "lora"}


def logits_of(stack: Stack, batch: Batch) -> Tensor:
    with stack.attached(), torch.no_grad():
        return stack.logits(batch)[0]


def bert_by_hand(
    model: nn.Module, ids: Tensor, length: int, state: State, config: UniPELTConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """A BERT encoder with adapter, prefix and LoRA in every layer, for one row of `length` real tokens.

    Written from the paper's equations: q and v get g * B A x, keys and values get g * P in front, and the
    feed-forward output f becomes LN(g * up(relu(down(LN(f + a)))) + f + a). Returns logits and gates by name.
    """
    weights = dict(model.named_parameters())
    gates: dict[str, Tensor] = {}

    def frozen(path: str, x: Tensor) -> Tensor:
        return linear(x, weights[f"{path}.weight"], weights[f"{path}.bias"])

    def norm(path: str, x: Tensor) -> Tensor:
        return layer_norm(x, x.shape[-1:], weights[f"{path}.weight"], weights[f"{path}.bias"], 1e-12)

    def part(path: str, letter: str, name: str) -> Tensor:
        word = "gated_" if letter in config.gates else ""
        return state[f"{path}.{word}{KINDS[letter]}.{name}"]

    def gate(path: str, letter: str, x: Tensor) -> Tensor | float:
        if letter not in config.gates:
            return 1.0
        opened = torch.sigmoid(x @ part(path, letter, "gate.weight") + part(path, letter, "gate.bias"))
        pooled = {"real tokens": opened[:length], "first token": opened[:1], "all tokens": opened}
        name = f"{path}.gated_{KINDS[letter]}.gate.weight"
        gates[name] = pooled[config.pooling].mean()
        return gates[name]

    scale = 1.0 if "L" in config.gates else 2.0
    positions = weights["embeddings.position_embeddings.weight"][: len(ids)]
    types = weights["embeddings.token_type_embeddings.weight"][0]
    x = norm("embeddings.LayerNorm", weights["embeddings.word_embeddings.weight"][ids] + positions + types)
    for layer in range(2):
        path = f"encoder.layer.{layer}"
        attention = f"{path}.attention.self"

        def low_rank(role: str, x: Tensor, attention: str = attention) -> Tensor:
            module = f"{attention}.{role}"
            change = x @ part(module, "L", "a").T @ part(module, "L", "b").T
            return frozen(module, x) + scale * gate(module, "L", x) * change

        q, k, v = low_rank("query", x), frozen(f"{attention}.key", x), low_rank("value", x)
        g = gate(attention, "P", x)
        k = torch.cat([g * part(attention, "P", "keys"), k[:length]])
        v = torch.cat([g * part(attention, "P", "values"), v[:length]])
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
        down = torch.relu(z @ part(reads, "A", "down.weight").T + part(reads, "A", "down.bias"))
        up = down @ part(reads, "A", "up.weight").T + part(reads, "A", "up.bias")
        x = norm(last, gate(reads, "A", z) * up + f + a)
    return linear(x[:length].mean(0), state["head.weight"], state["head.bias"]), gates


def rows_by_hand(stack: Stack, state: State, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits `[batch, classes]`, and gates `[batch]` by name."""
    config = stack.candidates[0].config
    assert isinstance(config, UniPELTConfig)
    lengths = batch.attention_mask.sum(1).tolist()
    found = [
        bert_by_hand(stack.backbone.model, ids, length, state, config)
        for ids, length in zip(batch.input_ids, lengths, strict=True)
    ]
    gates = {name: torch.stack([of_row[name] for _, of_row in found]) for name in found[0][1]}
    return torch.stack([logits for logits, _ in found]), gates


FORMS = [
    UniPELTConfig(modules="APL", **SIZES),
    UniPELTConfig(modules="APL", pooling="first token", **SIZES),
    UniPELTConfig(modules="APL", pooling="all tokens", **SIZES),
    UniPELTConfig(modules="APL", gates="A", **SIZES),
    UniPELTConfig(modules="APL", gates="PL", **SIZES),
    UniPELTConfig(modules="APL", gates="none", **SIZES),
]


@pytest.mark.parametrize("config", FORMS, ids=lambda config: f"{config.gates} {config.pooling}")
def test_output_gradient_and_gates_equal_the_papers_equations(
    config: UniPELTConfig, backbone: Backbone
) -> None:
    stack, state = away_from_its_start(backbone, config)
    batch = batch_of(backbone)
    state = {name: tensor.requires_grad_() for name, tensor in state.items()}
    by_hand, gates = rows_by_hand(stack, state, batch)
    expected = torch.autograd.grad(cross_entropy(by_hand, batch.labels), list(state.values()))
    with stack.attached(), stack.watching() as watch:
        logits = stack.logits(batch)
        (rows,) = torch.autograd.grad(losses(logits, batch.labels).sum(), stack.parameters)
    assert torch.allclose(logits[0], by_hand, atol=1e-5)
    for (name, found), gradient in zip(stack.unpack(rows)[0].items(), expected, strict=True):
        assert torch.allclose(found, gradient, atol=1e-5), name
    read = {place.names["gate.weight"]: value for place, value in watch.values(0)}
    assert read.keys() == gates.keys()
    assert all(torch.allclose(read[name], gates[name], atol=1e-6) for name in gates)


def test_penalty_raises_the_loss_by_its_share_of_the_mean_gate(backbone: Backbone) -> None:
    config = UniPELTConfig(modules="APL", gate_penalty=0.1, **SIZES)
    stack, state = away_from_its_start(backbone, config)
    batch = batch_of(backbone)
    state = {name: tensor.requires_grad_() for name, tensor in state.items()}
    _, gates = rows_by_hand(stack, state, batch)
    raised = 0.1 * torch.stack(list(gates.values())).mean()
    expected = torch.autograd.grad(raised, list(state.values()), allow_unused=True)
    with stack.attached():
        stack.logits(batch)
        assert stack.penalty is not None
        (rows,) = torch.autograd.grad(stack.penalty.sum(), stack.parameters)
    assert torch.allclose(stack.penalty, raised, atol=1e-6)
    for (name, found), gradient in zip(stack.unpack(rows)[0].items(), expected, strict=True):
        assert torch.allclose(found, torch.zeros(1) if gradient is None else gradient, atol=1e-6), name


def test_penalty_counts_every_run_of_a_shared_layer_once(tmp_path: Path) -> None:
    albert = load(str(make_backbone(tmp_path, "albert", num_hidden_layers=3)), dtype="fp32")
    stack, _ = away_from_its_start(albert, UniPELTConfig(modules="AL", gate_penalty=0.1))
    with stack.attached(), stack.watching() as watch, torch.no_grad():
        stack.logits(batch_of(albert))
    assert stack.penalty is not None
    mean = torch.stack([value.mean() for _, value in watch.values(0)]).mean()
    assert torch.allclose(stack.penalty, 0.1 * mean, atol=1e-6)


def test_candidates_pay_for_their_own_gates_only(backbone: Backbone) -> None:
    paying = UniPELTConfig(modules="AL", gate_penalty=0.1)
    configs = [paying, replace(paying, gate_penalty=0.0), replace(paying, layers="top 1")]
    stack = Stack(backbone, [Candidate(config, 0) for config in configs], CLASSES)
    with stack.attached(), stack.watching() as watch, torch.no_grad():
        stack.logits(batch_of(backbone))
    assert stack.penalty is not None
    for i, config in enumerate(configs):
        gates = torch.stack([value.mean() for _, value in watch.values(i)])
        assert len(gates) == (3 if config.layers == "top 1" else 6)
        assert torch.allclose(stack.penalty[i], config.gate_penalty * gates.mean(), atol=1e-6)


@pytest.mark.parametrize("start", [0.5, 0.1, 0.9])
def test_gates_are_open_at_the_start_as_told(start: float, backbone: Backbone) -> None:
    stack = Stack(backbone, [Candidate(UniPELTConfig(modules="APLI", gate_start=start), 0)], CLASSES)
    with stack.attached(), stack.watching() as watch, torch.no_grad():
        stack.logits(batch_of(backbone))
    # The weights are Normal(0, 0.02): a gate that reads 32 numbers near 0.5 moves by a few hundredths.
    assert all((value - start).abs().max() < 0.05 for _, value in watch.values(0))


UNIONS = ["".join(letters) for count in range(2, 6) for letters in combinations(LETTERS, count)]


@pytest.mark.parametrize("modules", UNIONS)
def test_every_union_learns_with_a_gate_at_every_module(modules: str, backbone: Backbone) -> None:
    stack = Stack(backbone, [Candidate(UniPELTConfig(modules=modules, gates=modules), 0)], CLASSES)
    (start,) = stack.states()
    (end,) = train(stack, 2, "adamw")
    unmoved = {name for name in start if torch.equal(start[name], end[name])}
    # A bias of all keys moves all scores of a query alike: no change, unless a prefix stands beside them.
    assert all(".key.gated_bitfit." in name and "P" not in modules for name in unmoved)
    kinds = {"A": "adapter", "P": "prefix", "L": "lora", "B": "bitfit", "I": "ia3"}
    assert all(any(f"gated_{kinds[letter]}.gate.weight" in name for name in end) for letter in modules)


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
    stack = constant_gates(away_from_its_start(backbone, UniPELTConfig(modules="LB", rank=8))[0], 0.0)
    logits, (state,) = logits_of(stack, batch_of(backbone)), stack.states()
    state = {
        name.replace("gated_lora", "lora"): tensor for name, tensor in state.items() if ".gate." not in name
    }
    ungated = UniPELTConfig(modules="LB", rank=8, gates="none")
    lora = {n: (t / 4 if n.endswith("lora.b") else t) for n, t in state.items()}  # ungated scale is 2
    other = logits_of(Stack(backbone, [Candidate(ungated, 0)], CLASSES, [lora]), batch_of(backbone))
    assert torch.allclose(logits, other, atol=1e-6)


def test_closed_gates_give_the_frozen_model(backbone: Backbone) -> None:
    closed = constant_gates(away_from_its_start(backbone, UniPELTConfig(modules="AL"))[0], -1e4)
    logits, (state,) = logits_of(closed, batch_of(backbone)), closed.states()
    frozen = Stack(
        backbone,
        [Candidate(METHODS["linear_probe"](), 0)],
        CLASSES,
        [{name: tensor for name, tensor in state.items() if name.startswith("head.")}],
    )
    assert torch.equal(logits, logits_of(frozen, batch_of(backbone)))


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
