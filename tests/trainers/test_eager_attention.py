"""Wrapped MPNet and DeBERTa-v2 against transformers, and against the formulas written out in loops."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoConfig, AutoModel

from trainers.attention import NAME, Prefix, leave_prefix
from trainers.eager_attention import WRAPPED, wrap

WIDTH, HEADS, HEAD = 32, 4, 8
LENGTHS = (12, 9, 3)
BOTH = "c2p|p2c"

MODELS: dict[str, dict[str, object]] = {
    "mpnet": {},
    "v3": {"share_att_key": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm"},
    "v3 long": {"share_att_key": True, "position_buckets": 32, "position_biased_input": False},
    "own projections": {"share_att_key": False},
    "distances clamped": {"share_att_key": False, "max_relative_positions": 4},
    "c2p": {"share_att_key": False, "pos_att_type": "c2p", "position_buckets": 8},
    "p2c": {"share_att_key": True, "pos_att_type": "p2c", "conv_kernel_size": 3},
    "no relative attention": {"relative_attention": False},
}
"""DeBERTa-v2 apart from the first. With 8 buckets 12 tokens need all relative embeddings, else some."""


def family(name: str) -> str:
    return "mpnet" if name == "mpnet" else "deberta-v2"


def make_model(name: str, spread: float = 0.3) -> nn.Module:
    """A random model of transformers' own; nothing in it is zero by chance."""
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS}
    sizes |= {"intermediate_size": 64, "vocab_size": 40, "max_position_embeddings": 64}
    if name != "mpnet":
        sizes |= {"relative_attention": True, "pos_att_type": BOTH}
    torch.manual_seed(0)
    model: nn.Module = AutoModel.from_config(
        AutoConfig.for_model(family(name), **{**sizes, **MODELS[name]}), attn_implementation="eager"
    )
    for path, parameter in model.named_parameters():
        nn.init.normal_(parameter, 1.0 if path.endswith("LayerNorm.weight") else 0.0, spread)
    return model.eval()


def wrapped(name: str, spread: float = 0.3) -> nn.Module:
    model = make_model(name, spread)
    wrap(model, family(name))
    return model


def padded(lengths: Sequence[int] = LENGTHS, padding: int = 0) -> dict[str, Tensor]:
    """Sentences of these lengths, padded to the longest and `padding` further."""
    mask = (torch.arange(max(lengths) + padding) < torch.tensor(lengths).unsqueeze(1)).long()
    words = torch.randint(5, 40, (len(lengths), 64), generator=torch.Generator().manual_seed(1))
    return {"input_ids": words[:, : mask.shape[1]].where(mask.bool(), 1), "attention_mask": mask}


def attentions(model: nn.Module) -> list[nn.Module]:
    kinds = ("MPNetSelfAttention", "DisentangledSelfAttention")
    return [module for module in model.modules() if type(module).__name__ in kinds]


def some_prefixes(candidates: int = 1, length: int = 3) -> list[Prefix]:
    """One for each layer, with every slot visible."""
    generator = torch.Generator().manual_seed(2)

    def some() -> Tensor:
        return torch.randn(candidates, 1, length, WIDTH, generator=generator).requires_grad_()

    return [Prefix(some(), some(), torch.ones(candidates, length)) for _ in range(2)]


def run(model: nn.Module, inputs: dict[str, Tensor], prefixes: Sequence[Prefix] = ()) -> Tensor:
    for module, prefix in zip(attentions(model), prefixes, strict=False):
        leave_prefix(module, prefix)
    hidden: Tensor = model(**inputs).last_hidden_state
    return hidden


def close(a: Tensor, b: Tensor, limit: float) -> bool:
    """Equal up to `limit` of the largest value, at least of 1."""
    return float((a - b).detach().abs().max()) <= limit * max(1.0, float(b.detach().abs().max()))


# ------------------------------------------------------------------------- without a prefix


# Spread weights sharpen the softmax until two correct fp32 programs differ by 4e-6 in their gradients.
@pytest.mark.parametrize(("dtype", "spread"), [(torch.float32, 0.1), (torch.float64, 0.3)], ids=str)
@pytest.mark.parametrize("lengths", [LENGTHS, (12, 12), (1,)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_without_a_prefix_output_and_gradients_are_those_of_transformers(
    name: str, lengths: tuple[int, ...], dtype: torch.dtype, spread: float
) -> None:
    inputs, found = padded(lengths), []
    for model in (make_model(name, spread).to(dtype), wrapped(name, spread).to(dtype)):
        hidden = run(model, inputs)
        weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(3))
        loss = (hidden * weights * inputs["attention_mask"].unsqueeze(-1)).sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        names = [path for path, _ in model.named_parameters()]
        found.append((hidden, dict(zip(names, gradients, strict=True))))
    (theirs, expected), (ours, gradient) = found
    assert close(ours, theirs, 1e-6)
    for path, value in expected.items():
        ours_there = gradient[path]
        assert (value is None) == (ours_there is None), path
        if value is not None and ours_there is not None:
            assert close(ours_there, value, 1e-6), path


def test_mpnet_loaded_with_our_attention_function_ignores_padding_all_the_same() -> None:
    # It gets a boolean mask then, which its own attention would add to the scores as 0 and 1.
    model = wrapped("mpnet")
    expected = run(model, padded())
    model.config._attn_implementation = NAME
    assert torch.equal(run(model, padded()), expected)


@pytest.mark.parametrize("name", MODELS)
def test_attention_weights_are_returned_when_asked_for(name: str) -> None:
    theirs = make_model(name)(**padded(), output_attentions=True).attentions
    ours = wrapped(name)(**padded(), output_attentions=True).attentions
    assert all(close(a, b, 1e-5) for a, b in zip(ours, theirs, strict=True))


# -------------------------------------------------------------------- with a prefix, by hand


def mpnet_bucket(query: int, key: int) -> int:
    """T5's buckets: 8 exact distances on each side, then 8 logarithmic ones up to 128."""
    distance = abs(query - key)
    if distance >= 8:
        distance = min(15, 8 + int(math.log(distance / 8) / math.log(128 / 8) * 8))
    return distance + (16 if key > query else 0)


def deberta_bucket(distance: int, buckets: int, longest: int) -> int:
    """Exact distances up to half of the buckets, logarithmic beyond; all exact without buckets."""
    middle = buckets // 2
    if buckets <= 0 or abs(distance) <= middle:
        return distance
    steps = math.log(abs(distance) / middle) / math.log((longest - 1) / middle) * (middle - 1)
    return int(math.copysign(math.ceil(steps) + middle, distance))


def heads(x: Tensor) -> list[Tensor]:
    return list(x.split(HEAD, -1))


def project(module: nn.Module, name: str, x: Tensor) -> list[Tensor]:
    layer = module.get_submodule(name)
    return heads(linear(x, layer.get_parameter("weight"), layer.get_parameter("bias")))


def mpnet_by_hand(
    model: nn.Module, module: nn.Module, x: Tensor
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Queries over the square root, scores `[tokens, tokens]` and values of each head, for one sentence."""
    queries = [q / math.sqrt(HEAD) for q in project(module, "q", x)]
    table = model.get_parameter("encoder.relative_attention_bias.weight")
    scores = []
    for head, (q, k) in enumerate(zip(queries, project(module, "k", x), strict=True)):
        scores.append(torch.empty(len(x), len(x)))
        for i in range(len(x)):
            for j in range(len(x)):
                scores[head][i, j] = q[i] @ k[j] + table[mpnet_bucket(i, j), head]
    return queries, scores, project(module, "v", x)


def deberta_by_hand(
    model: nn.Module, module: nn.Module, x: Tensor
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The same for DeBERTa: `q_i k_j + q_i p_k(i - j) + k_j p_q(i - j)`, over root(terms * d)."""
    config = model.config
    root = math.sqrt(HEAD * (1 + len(config.pos_att_type)))
    queries, keys = (project(module, name, x) for name in ("query_proj", "key_proj"))
    scores = [q @ k.T / root for q, k in zip(queries, keys, strict=True)]
    if config.relative_attention:
        longest = getattr(config, "max_relative_positions", -1)
        longest = longest if longest > 0 else config.max_position_embeddings
        buckets = getattr(config, "position_buckets", -1)
        span = buckets if buckets > 0 else longest
        embeddings = model.encoder.get_rel_embedding()
        shared = config.share_att_key
        for i in range(len(x)):
            for j in range(len(x)):
                row = min(max(deberta_bucket(i - j, buckets, longest) + span, 0), 2 * span - 1)
                for head in range(HEADS):
                    if "c2p" in config.pos_att_type:
                        position = project(module, "key_proj" if shared else "pos_key_proj", embeddings[row])
                        scores[head][i, j] += queries[head][i] @ position[head] / root
                    if "p2c" in config.pos_att_type:
                        position = project(
                            module, "query_proj" if shared else "pos_query_proj", embeddings[row]
                        )
                        scores[head][i, j] += keys[head][j] @ position[head] / root
    return [q / root for q in queries], scores, project(module, "value_proj", x)


def layers(
    model: nn.Module, inputs: dict[str, Tensor], prefixes: Sequence[Prefix] = ()
) -> list[tuple[Tensor, Tensor]]:
    """What each attention module read, and the sums of values that it formed."""
    read: list[Tensor] = []
    formed: list[Tensor] = []

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        read.append(args[0])
        if not hasattr(module, "o"):
            formed.append(output[0])

    hooks = [module.register_forward_hook(hook) for module in attentions(model)]
    for module in attentions(model):
        if hasattr(module, "o"):  # MPNet's module ends with its output projection
            hooks.append(
                module.get_submodule("o").register_forward_pre_hook(lambda _, args: formed.append(args[0]))
            )
    run(model, inputs, prefixes)
    for each in hooks:
        each.remove()
    return list(zip(read, formed, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_prefix_equals_the_formula_written_out_for_each_sentence(name: str) -> None:
    model, prefixes = wrapped(name).requires_grad_(False), some_prefixes()
    by_hand = mpnet_by_hand if name == "mpnet" else deberta_by_hand
    found = layers(model, padded(), prefixes)
    for module, prefix, (read, formed) in zip(attentions(model), prefixes, found, strict=True):
        for sentence, length in enumerate(LENGTHS):
            with torch.no_grad():
                queries, scores, values = by_hand(model, module, read[sentence, :length].detach())
            rows = []
            for head, (keys, more) in enumerate(
                zip(heads(prefix.keys[0, 0]), heads(prefix.values[0, 0]), strict=True)
            ):
                weights = torch.cat([queries[head] @ keys.T, scores[head]], -1).softmax(-1)
                rows.append(weights @ torch.cat([more, values[head]]))
            expected, ours = torch.cat(rows, -1), formed[sentence, :length]
            assert close(ours, expected, 1e-5)
            trained = (prefix.keys, prefix.values)
            ours_there = torch.autograd.grad(ours.square().sum(), trained, retain_graph=True)
            gradients = torch.autograd.grad(expected.square().sum(), trained)
            assert all(close(a, b, 1e-5) for a, b in zip(ours_there, gradients, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_zero_keys_and_values_dilute_attention_by_their_slots(name: str) -> None:
    # Each slot takes exp(0) of the softmax and gives a zero value: frozen * Z / (Z + P).
    model = wrapped(name).requires_grad_(False)
    zeros = torch.zeros(1, 1, 5, WIDTH)
    (read, frozen), _ = layers(model, padded())
    (_, diluted), _ = layers(model, padded(), [Prefix(zeros, zeros, torch.ones(1, 5))])
    by_hand = mpnet_by_hand if name == "mpnet" else deberta_by_hand
    for sentence, length in enumerate(LENGTHS):
        _, scores, _ = by_hand(model, attentions(model)[0], read[sentence, :length])
        z = torch.stack(scores, 1).exp().sum(-1)
        expected = frozen[sentence, :length].unflatten(-1, (HEADS, HEAD)) * (z / (z + 5)).unsqueeze(-1)
        assert close(diluted[sentence, :length], expected.flatten(-2), 1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing_under_a_prefix(name: str) -> None:
    model = wrapped(name).requires_grad_(False)
    together, further = (run(model, padded(padding=more), some_prefixes()) for more in (0, 7))
    for sentence, length in enumerate(LENGTHS):
        alone = {key: value[sentence : sentence + 1, :length] for key, value in padded().items()}
        expected = run(model, alone, some_prefixes())[0]
        assert close(together[sentence, :length], expected, 1e-5)
        assert close(further[sentence, :length], expected, 1e-5)


# ------------------------------------------------------------------------------ in a stack


@pytest.mark.parametrize("name", MODELS)
def test_shorter_prefix_beside_a_longer_one_equals_itself_alone(name: str) -> None:
    model, inputs = wrapped(name).requires_grad_(False), padded()
    visible = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    both = [Prefix(prefix.keys, prefix.values, visible) for prefix in some_prefixes(candidates=2)]
    stacked = run(model, {key: value.repeat(2, 1) for key, value in inputs.items()}, both)
    real = inputs["attention_mask"].bool()
    for candidate, length in enumerate((3, 1)):
        own = slice(candidate, candidate + 1)
        alone = [
            Prefix(each.keys[own, :, :length], each.values[own, :, :length], torch.ones(1, length))
            for each in both
        ]
        expected = run(model, inputs, alone)[real]
        ours = stacked.unflatten(0, (2, -1))[candidate][real]
        assert close(ours, expected, 1e-6)
        trained = [tensor for each in both for tensor in (each.keys, each.values)]
        for a, b in zip(
            torch.autograd.grad(ours.square().sum(), trained, retain_graph=True),
            torch.autograd.grad(expected.square().sum(), trained),
            strict=True,
        ):
            assert close(a, b, 1e-5)
            assert not a[candidate, :, length:].any()


def test_prefix_may_differ_between_sentences_and_is_used_up_by_one_call() -> None:
    model = wrapped("v3").requires_grad_(False)
    keys, values = torch.randn(2, 1, len(LENGTHS), 3, WIDTH)
    prefixes = [Prefix(keys, values, torch.ones(1, 3))] * 2
    together = run(model, padded(), prefixes)
    for sentence in range(len(LENGTHS)):
        own = slice(sentence, sentence + 1)
        alone = [Prefix(keys[:, own], values[:, own], torch.ones(1, 3))] * 2
        inputs = {key: value[own] for key, value in padded().items()}
        length = LENGTHS[sentence]
        assert close(together[sentence, :length], run(model, inputs, alone)[0, :length], 1e-5)
    assert close(run(model, padded()), run(make_model("v3"), padded()), 1e-6)


# ------------------------------------------------------------------------------ the module


@pytest.mark.parametrize("name", ["mpnet", "v3", "own projections"])
def test_each_projection_of_the_tokens_is_called_once_with_all_of_them(name: str) -> None:
    # The shared ones of v3 are called again for the relative positions, once for each candidate.
    model, seen = wrapped(name), []
    for module in attentions(model):
        for role in ("q", "k", "v") if name == "mpnet" else ("query_proj", "key_proj", "value_proj"):
            module.get_submodule(role).register_forward_hook(lambda _, args, __: seen.append(args[0].shape))
    run(model, padded(), some_prefixes())
    assert [shape for shape in seen if shape[0] == len(LENGTHS)] == [(len(LENGTHS), 12, WIDTH)] * 6
    others = [shape for shape in seen if shape[0] != len(LENGTHS)]
    assert others == ([(1, 16, WIDTH)] * 4 if name == "v3" else [])


@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("name", ["mpnet", "v3"])
def test_copy_of_a_wrapped_model_uses_its_own_weights(name: str, way: object) -> None:
    assert callable(way)
    model = wrapped(name).requires_grad_(False)
    before = run(model, padded(), some_prefixes())
    other = way(model)
    assert torch.equal(run(other, padded(), some_prefixes()), before)
    for parameter in other.parameters():
        parameter.mul_(2)
    assert not torch.allclose(run(other, padded(), some_prefixes()), before)
    assert torch.equal(run(model, padded(), some_prefixes()), before)


@pytest.mark.parametrize("name", MODELS)
def test_wrapping_adds_no_weight_and_needs_no_memory(name: str) -> None:
    with torch.device("meta"):
        model = make_model(name)
        model.config._attn_implementation = NAME  # transformers' eager mask asks for a value
        names = set(model.state_dict())
        wrap(model, family(name))
        hidden = run(model, {key: value.to("meta") for key, value in padded().items()})
    assert set(model.state_dict()) == names
    assert hidden.shape == (len(LENGTHS), 12, WIDTH)


@pytest.mark.parametrize("name", MODELS)
def test_bf16_model_stays_bf16_under_an_fp32_prefix(name: str) -> None:
    model = wrapped(name).requires_grad_(False)
    exact = run(model, padded(), some_prefixes())
    rounded = run(model.to(torch.bfloat16), padded(), some_prefixes())
    assert rounded.dtype == torch.bfloat16
    real = padded()["attention_mask"].bool()
    assert torch.cosine_similarity(rounded[real].float(), exact[real], -1).min() > 0.99


def test_only_families_without_the_attention_interface_are_wrapped() -> None:
    assert WRAPPED == ("mpnet", "deberta-v2")
    with pytest.raises(ValueError, match="'bert' is not wrapped; only mpnet, deberta-v2 are"):
        wrap(nn.Module(), "bert")
    with pytest.raises(ValueError, match="no MPNetSelfAttention"):
        wrap(make_model("v3"), "mpnet")
