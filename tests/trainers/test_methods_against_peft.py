"""Each method that peft has: the same weights give peft's logits and peft's gradients, on every family.

peft's parameters are made of ours by one differentiable function, so that the
gradients of both arrive at the same tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from peft import (
    IA3Config as PeftIA3Config,
)
from peft import (
    LNTuningConfig,
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    VeraConfig,
    get_peft_model,
)
from tiny import SIZES, away_from_its_start, batch_of, make_backbone
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, linear
from transformers import AutoModel, T5EncoderModel

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.batches import Batch
from trainers.heads import losses
from trainers.method import MethodConfig
from trainers.methods.ia3 import IA3Config
from trainers.methods.layernorm import LayerNormConfig
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.methods.prompt import PromptConfig
from trainers.methods.vera import VeRAConfig, _projections
from trainers.stack import State

SLOTS, RANK = 4, 3
FUSED = ("gpt2", "modernbert")
TASK = "FEATURE_EXTRACTION"


@dataclass(frozen=True)
class Case:
    """One method as both libraries know it."""

    config: MethodConfig
    in_peft: Callable[[Backbone, State], PeftConfig]
    weights: Callable[[nn.Module, State], dict[str, Tensor]]
    """peft's parameters, from our tensors."""


def modules(state: State, ending: str) -> list[str]:
    """The modules that carry a tensor of this name."""
    return sorted(name.removesuffix(ending) for name in state if name.endswith(ending))


def lora_case(config: LoRAConfig) -> Case:
    kind = "dora" if config.dora else "lora"

    def in_peft(backbone: Backbone, state: State) -> PeftConfig:
        return LoraConfig(
            r=config.rank,
            lora_alpha=int(config.alpha),
            target_modules=modules(state, f".{kind}.a"),
            use_rslora=config.rslora,
            use_dora=config.dora,
            fan_in_fan_out=backbone.model_type == "gpt2",
        )

    def weights(model: nn.Module, state: State) -> dict[str, Tensor]:
        found = {}
        for path in modules(state, f".{kind}.a"):
            here = f"base_model.model.{path}"
            found[f"{here}.lora_A.default.weight"] = state[f"{path}.{kind}.a"]
            found[f"{here}.lora_B.default.weight"] = state[f"{path}.{kind}.b"]
            if config.dora:
                name = f"{here}.lora_magnitude_vector.default.weight"
                found[name] = model.get_parameter(name).detach() + state[f"{path}.dora.magnitude"]
        return found

    return Case(config, in_peft, weights)


def ia3_in_peft(backbone: Backbone, state: State) -> PeftConfig:
    hidden = modules(state, ".input.ia3.scale")
    others = [path for path in modules(state, ".ia3.scale") if not path.endswith(".input")]
    return PeftIA3Config(target_modules=others + hidden, feedforward_modules=hidden)


def ia3_weights(model: nn.Module, state: State) -> dict[str, Tensor]:
    found = {}
    for path in modules(state, ".ia3.scale"):
        name = f"base_model.model.{path.removesuffix('.input')}.ia3_l.default"
        found[name] = (1 + state[f"{path}.ia3.scale"]).view(model.get_parameter(name).shape)
    return found


def norms_in_peft(backbone: Backbone, state: State) -> PeftConfig:
    return LNTuningConfig(target_modules=modules(state, ".layernorm.scale"))


def norm_weights(model: nn.Module, state: State) -> dict[str, Tensor]:
    found = {}
    for ours, theirs in (("scale", "weight"), ("bias", "bias")):
        for path in modules(state, f".layernorm.{ours}"):
            name = f"base_model.model.{path}.ln_tuning_layers.default.{theirs}"
            found[name] = model.get_parameter(name).detach() + state[f"{path}.layernorm.{ours}"]
    return found


def vera_in_peft(backbone: Backbone, state: State) -> PeftConfig:
    return VeraConfig(r=16, target_modules=modules(state, ".vera.d"))


def vera_weights(model: nn.Module, state: State) -> dict[str, Tensor]:
    found = {}
    a, b = model.base_model.vera_A["default"], model.base_model.vera_B["default"]
    ours = _projections(a.shape[1], b.shape[0], a.device, a.dtype)
    a.copy_(ours[0][:16])
    b.copy_(ours[1][:, :16] / 4)
    for path in modules(state, ".vera.d"):
        found[f"base_model.model.{path}.vera_lambda_d.default"] = state[f"{path}.vera.d"]
        found[f"base_model.model.{path}.vera_lambda_b.default"] = state[f"{path}.vera.b"]
    return found


def prefix_weights(model: nn.Module, state: State) -> dict[str, Tensor]:
    # peft's slots hold the keys and values of all layers: key 0, value 0, key 1, ...
    slots = [tensor for name, tensor in state.items() if ".prefix." in name]
    return {"prompt_encoder.default.embedding.weight": torch.cat(slots, 1)}


def prompt_weights(model: nn.Module, state: State) -> dict[str, Tensor]:
    # Ours count from the token outwards, peft's stand in the order of the sequence.
    return {"prompt_encoder.default.embedding.weight": state["input.prompt.vectors"].flip(0)}


def prefix_in_peft(backbone: Backbone, state: State) -> PeftConfig:
    return PrefixTuningConfig(num_virtual_tokens=SLOTS, task_type=TASK)


def prompt_in_peft(backbone: Backbone, state: State) -> PeftConfig:
    width = state["input.prompt.vectors"].shape[1]  # DistilBERT has other words for its sizes
    sizes = {"token_dim": width, "num_layers": 2, "num_attention_heads": 4}
    return PromptTuningConfig(num_virtual_tokens=SLOTS, task_type=TASK, **sizes)


SEPARATE = "attention_output ffn_in ffn_out"
"""Modules of their own in every family."""
CASES = {
    "lora": lora_case(LoRAConfig(rank=RANK, alpha=6.0)),
    "lora all linear": lora_case(LoRAConfig(rank=RANK, alpha=6.0, targets="all linear")),
    "lora separate": lora_case(LoRAConfig(rank=RANK, alpha=6.0, targets=SEPARATE)),
    "rslora": lora_case(LoRAConfig(rank=RANK, alpha=6.0, rslora=True, targets=SEPARATE)),
    "dora": lora_case(LoRAConfig(rank=RANK, alpha=6.0, dora=True, targets="all linear")),
    "dora separate": lora_case(LoRAConfig(rank=RANK, alpha=6.0, dora=True, targets=SEPARATE)),
    "ia3": Case(IA3Config(), ia3_in_peft, ia3_weights),
    "layernorm": Case(LayerNormConfig(), norms_in_peft, norm_weights),
    "vera": Case(VeRAConfig(rank=16), vera_in_peft, vera_weights),
    "prefix": Case(PrefixConfig(prefix_length=SLOTS, positions="shifted"), prefix_in_peft, prefix_weights),
    "prompt": Case(PromptConfig(prompt_length=SLOTS), prompt_in_peft, prompt_weights),
}
WHOLE = "query, key and value are one module there, which peft changes as a whole"
NO_CACHE = "the model takes no keys and values from outside, which is how peft's prefix travels"
LEFT_OUT = {
    **{(m, f): WHOLE for m in ("lora", "lora all linear", "dora", "ia3", "vera") for f in FUSED},
    **{("prefix", f): NO_CACHE for f in ("albert", "deberta-v2", "distilbert", "modernbert", "mpnet", "t5")},
}
"""Method and family -> why peft has no twin of it. XLM-RoBERTa is built like RoBERTa."""
PAIRS = [(m, f) for m in CASES for f in SIZES if f != "xlm-roberta" and (m, f) not in LEFT_OUT]
# Ours is seen from everywhere; peft's prefix leaves the window with the tokens that it stands beside.
UNLIKE = {("prefix", "mistral"): {"sliding_window": None}}


@pytest.fixture(scope="module")
def backbone_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Backbone]:
    """The tiny backbone of a method and a family."""

    @cache
    def made(family: str, *sizes: tuple[str, object]) -> Backbone:
        folder = make_backbone(tmp_path_factory.mktemp(family), family, **dict(sizes))
        return load(str(folder), dtype="fp32")

    return lambda method, family: made(family, *UNLIKE.get((method, family), {}).items())


@cache
def stock(folder: Path, model_type: str) -> nn.Module:
    """transformers' own model, which never saw our attention."""
    kind = T5EncoderModel if model_type == "t5" else AutoModel
    model: nn.Module = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    return model


def in_peft(case: Case, backbone: Backbone, state: State, batch: Batch) -> Tensor:
    """The logits of peft's module with our head, from our tensors."""
    plain = copy.deepcopy(stock(backbone.folder, backbone.model_type))
    model = get_peft_model(plain, case.in_peft(backbone, state)).eval()
    with torch.no_grad():
        case.weights(model, state)
    weights = case.weights(model, state)
    assert weights.keys() == {name for name, value in model.named_parameters() if value.requires_grad}
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    hidden = functional_call(model, weights, kwargs=inputs).last_hidden_state
    hidden = hidden[:, hidden.shape[1] - batch.input_ids.shape[1] :]  # without the slots of a prompt
    features = backbone.features(hidden, batch.attention_mask)
    return linear(features, state["head.weight"], state["head.bias"])


@pytest.mark.filterwarnings("ignore:Unsupported layer type")  # peft's word for any LayerNorm
@pytest.mark.parametrize(("method", "family"), PAIRS)
def test_logits_and_gradients_are_those_of_peft(
    method: str, family: str, backbone_of: Callable[[str, str], Backbone]
) -> None:
    case, backbone = CASES[method], backbone_of(method, family)
    stack, state = away_from_its_start(backbone, case.config)
    batch = batch_of(backbone)
    state = {name: tensor.requires_grad_() for name, tensor in state.items()}
    expected = in_peft(case, backbone, state, batch)
    with stack.attached():
        logits = stack.logits(batch)
        (rows,) = torch.autograd.grad(losses(logits, batch.labels).sum(), stack.parameters)
    assert torch.allclose(logits[0], expected, atol=1e-5)
    gradients = torch.autograd.grad(cross_entropy(expected, batch.labels), list(state.values()))
    for (name, found), gradient in zip(stack.unpack(rows)[0].items(), gradients, strict=True):
        assert gradient.abs().max() > 1e-4, name
        assert torch.allclose(found, gradient, atol=1e-5), name
