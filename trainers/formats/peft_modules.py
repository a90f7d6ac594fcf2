"""Modules of ours as peft's: a configuration of peft's with the tensors that it trains."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import IA3Config, LNTuningConfig, LoraConfig, PeftConfig, PrefixTuningConfig, VeraConfig
from torch import Tensor, nn

from trainers.backbone import Backbone
from trainers.bridge import BridgedConfig
from trainers.export import Exported
from trainers.layout import Place
from trainers.methods.lora import LoRAConfig
from trainers.methods.prefix import PrefixConfig
from trainers.methods.vera import VeRAConfig
from trainers.sites import Insertion, is_transposed, widths
from trainers.stack import Stack, State

CACHED = ("bert", "roberta", "xlm-roberta", "electra", "gpt2", "opt", "llama", "qwen2", "qwen3", "mistral")
"""Families that take keys and values from outside, which is how peft's prefix travels."""
REFUSED: Mapping[str, str] = {
    "prompt": "peft's classifiers read the slots of a prompt in place of the first or the last token",
    "full": "peft holds modules, and this is a whole model",
    "linear_probe": "peft holds modules, and this is a head alone",
}
SAME_AS: Mapping[str, str] = {"peft:PROMPT_TUNING": "prompt", "peft:P_TUNING": "prompt"}
OURS, THEIRS = "base_model.model.model.", "base_model.model."


@dataclass(frozen=True)
class Module:
    """What peft is to build and to hold."""

    config: PeftConfig
    tensors: Mapping[str, Tensor]
    """peft's name -> tensor of any shape with as many numbers."""


@dataclass(frozen=True)
class Part:
    """What a candidate changes in a module, or in a part of a fused one."""

    place: Place
    state: State

    def __getitem__(self, short: str) -> Tensor:
        return self.state[self.place.names[short]].cpu()

    @property
    def rows(self) -> slice:
        """Of the module's output."""
        start = self.place.site.start or 0
        return slice(start, start + self.place.site.d_out)


@dataclass(frozen=True)
class Held:
    """A module of the backbone with all that a candidate changes there."""

    path: str
    """Inside peft's model."""
    module: nn.Module
    parts: Sequence[Part]

    def blocks(self, name: str) -> Tensor:
        """`[d_out, parts * rank]` of the parts' `[d_out, rank]`, each beside the others in its own rows."""
        ranks = [part[name].shape[1] for part in self.parts]
        found = torch.zeros(widths(self.module)[1], sum(ranks))
        for i, part in enumerate(self.parts):
            found[part.rows, sum(ranks[:i]) : sum(ranks[: i + 1])] = part[name]
        return found

    def vector(self, name: str, width: int) -> Tensor:
        """`[width]` of the parts' vectors, each in its own rows."""
        found = torch.zeros(width)
        for part in self.parts:
            found[part.rows] = part[name]
        return found


def refusal_of_module(export: Exported) -> str | None:
    """Why peft has no twin of a module; None where it has."""
    (candidate,) = export.stack.candidates
    config, backbone = candidate.config, export.stack.backbone
    name = SAME_AS.get(config.name, config.name)
    if name in REFUSED:
        return REFUSED[name]
    if isinstance(config, BridgedConfig):
        return None
    if not config.peft_class:
        return f"peft has no method that computes what {config.name} does"
    return _refusal_of_prefix(config, backbone) if isinstance(config, PrefixConfig) else None


def _refusal_of_prefix(config: PrefixConfig, backbone: Backbone) -> str | None:
    if backbone.model_type not in CACHED:
        return f"peft's prefix cannot reach the attention of family {backbone.model_type!r}"
    if config.positions != "shifted":
        return "peft numbers the tokens from behind the prefix; search with --fix prefix.positions=shifted"
    if config.layers != "all":
        return "peft's prefix stands in every layer"
    if getattr(backbone.model.config, "sliding_window", None):
        return "peft's prefix leaves the window of attention with the tokens that it stands beside"
    return None


def module_of(export: Exported, base: str) -> Module:
    """The twin of a module on a classifier whose backbone begins with `base`."""
    (candidate,) = export.stack.candidates
    if not isinstance(export.stack, Stack):
        return _bridged(export.stack, base)
    return TWINS[candidate.config.name](candidate.config, list(_held(export.stack, base)), export.stack)


def _bridged(stack: Any, base: str) -> Module:
    model = stack.separate()
    (state,) = stack.states()
    tensors = {
        name.replace(OURS, f"{THEIRS}{base}", 1): tensor.cpu()
        for name, tensor in state.items()
        if not name.startswith("head.")
    }
    config = copy.deepcopy(model.peft_config["default"])
    return Module(config, tensors)


def _held(stack: Stack, base: str) -> Iterator[Held]:
    (state,) = stack.states()
    places: dict[str, list[Place]] = {}
    for place in stack.places:
        places.setdefault(place.site.module, []).append(place)
    for path, own in places.items():
        module = stack.backbone.model.get_submodule(path)
        yield Held(f"{THEIRS}{base}{path}", module, [Part(place, state) for place in own])


def _targets(held: Sequence[Held]) -> list[str]:
    return [one.path.removeprefix(THEIRS) for one in held]


# ------------------------------------------------------------------------------ one for each method


def _lora(config: LoRAConfig, held: Sequence[Held], stack: Stack) -> Module:
    """Several parts of a fused module stand side by side in one product of as many times the rank."""
    tensors, ranks, alphas = {}, {}, {}
    for one in held:
        count = len(one.parts)
        if count > 1:
            ranks[one.path.removeprefix(THEIRS)] = count * config.rank
            alphas[one.path.removeprefix(THEIRS)] = config.alpha * (
                math.sqrt(count) if config.rslora else count
            )
        tensors[f"{one.path}.lora_A.default.weight"] = torch.cat([part["a"] for part in one.parts])
        tensors[f"{one.path}.lora_B.default.weight"] = one.blocks("b")
        if config.dora:
            lengths = _weight(one.module).norm(dim=1)
            changes = one.vector("magnitude", len(lengths))
            tensors[f"{one.path}.lora_magnitude_vector.default.weight"] = lengths + changes
    made = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        target_modules=_targets(held),
        rank_pattern=ranks,
        alpha_pattern=alphas,
        use_rslora=config.rslora,
        use_dora=config.dora,
        fan_in_fan_out=any(is_transposed(one.module) for one in held),
    )
    return Module(made, tensors)


def _weight(module: nn.Module) -> Tensor:
    weight = module.get_parameter("weight").detach().float().cpu()
    return weight.mT if is_transposed(module) else weight


def _ia3(config: Any, held: Sequence[Held], stack: Stack) -> Module:
    hidden = [one for one in held if one.parts[0].place.site.insertion is Insertion.INPUT]
    tensors = {
        f"{one.path}.ia3_l.default": 1 + one.vector("scale", widths(one.module)[0 if one in hidden else 1])
        for one in held
    }
    made = IA3Config(
        target_modules=_targets(held),
        feedforward_modules=_targets(hidden),
        fan_in_fan_out=any(is_transposed(one.module) for one in held),
    )
    return Module(made, tensors)


def _layernorm(config: Any, held: Sequence[Held], stack: Stack) -> Module:
    tensors = {}
    for one in held:
        (part,) = one.parts
        for ours, theirs in (("scale", "weight"), ("bias", "bias")):
            if ours in part.place.names:
                own = one.module.get_parameter(theirs).detach().float().cpu()
                tensors[f"{one.path}.ln_tuning_layers.default.{theirs}"] = own + part[ours]
    return Module(LNTuningConfig(target_modules=_targets(held)), tensors)


def _vera(config: VeRAConfig, held: Sequence[Held], stack: Stack) -> Module:
    """All layers share the random matrices, which travel with the module: they need not be peft's."""
    largest = max(held, key=lambda one: widths(one.module)[1])
    count = len(largest.parts)
    tensors = {}
    a, b = [], torch.zeros(widths(largest.module)[1], count * config.rank)
    for i, part in enumerate(largest.parts):
        constants = part.place.constants
        a.append(constants["A"][: config.rank].float().cpu())
        spread = constants["spread"][0].cpu()
        b[part.rows, i * config.rank : (i + 1) * config.rank] = (
            constants["B"][:, : config.rank].float().cpu() * spread
        )
    tensors = {"base_model.vera_A.default": torch.cat(a), "base_model.vera_B.default": b}
    for one in held:
        d_out = widths(one.module)[1]
        tensors[f"{one.path}.vera_lambda_d.default"] = torch.cat([part["d"] for part in one.parts])
        tensors[f"{one.path}.vera_lambda_b.default"] = one.vector("b", d_out)
    made = VeraConfig(
        r=count * config.rank,
        target_modules=_targets(held),
        save_projection=True,
        fan_in_fan_out=any(is_transposed(one.module) for one in held),
    )
    return Module(made, tensors)


def _prefix(config: PrefixConfig, held: Sequence[Held], stack: Stack) -> Module:
    # peft's slots hold the keys and values of all layers: key 0, value 0, key 1, ...
    slots = [one.parts[0][name] for one in held for name in ("keys", "values")]
    made = PrefixTuningConfig(num_virtual_tokens=config.prefix_length)
    return Module(made, {"prompt_encoder.default.embedding.weight": torch.cat(slots, 1)})


TWINS: Mapping[str, Callable[[Any, Sequence[Held], Stack], Module]] = {
    "lora": _lora,
    "ia3": _ia3,
    "layernorm": _layernorm,
    "vera": _vera,
    "prefix": _prefix,
}
"""Method -> its twin."""
