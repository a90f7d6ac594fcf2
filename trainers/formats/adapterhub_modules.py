"""Modules of ours as those of AdapterHub's library: its configurations, and the tensors that it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainers.backbone import Backbone
from trainers.export import Exported
from trainers.gating import GatedDelta, GatedKeyValueDelta
from trainers.layout import Place
from trainers.method import MethodConfig
from trainers.methods.adapter import AdapterDelta
from trainers.methods.lora import LoRAConfig, LoRADelta
from trainers.methods.prefix import PrefixConfig, PrefixDelta
from trainers.methods.unipelt import UniPELTConfig
from trainers.stack import Stack, State
from trainers.trained import Trained

MODULE = "peltier"
"""What the module and its head are called inside the model."""
CLASSES: Mapping[str, str] = {
    "bert": "BertAdapterModel",
    "roberta": "RobertaAdapterModel",
    "xlm-roberta": "XLMRobertaAdapterModel",
    "electra": "ElectraAdapterModel",
    "distilbert": "DistilBertAdapterModel",
}
"""`model_type` -> the library's class, of the families whose layers it changes where we do."""
BASES: Mapping[str, str] = {"xlm-roberta": "roberta"}
"""`model_type` -> what the backbone is called inside that class, where that is not its own name."""
MATRICES: Mapping[str, str] = {"query": "q", "key": "k", "value": "v"}
Files = tuple[dict[str, Any], dict[str, Tensor]]
"""A configuration of the library's, and tensors under its names."""


@dataclass(frozen=True)
class Part:
    """What the module changes at one site."""

    place: Place
    state: State
    delta: Trained
    """Without its gate."""

    @property
    def gated(self) -> bool:
        return "gate.weight" in self.place.names

    def __getitem__(self, short: str) -> Tensor:
        return self.state[self.place.names[short]].float().cpu()


def refusal_of_module(export: Exported) -> str | None:
    """Why the library computes no module like this one; None where it does."""
    (candidate,) = export.stack.candidates
    config, backbone = candidate.config, export.stack.backbone
    if config.name not in ("adapter", "prefix", "lora", "unipelt"):
        return (
            f"this format holds adapters, prefixes, LoRA and unions of them, and the method is {config.name}"
        )
    if backbone.model_type not in CLASSES:
        return (
            f"it is written for families {', '.join(CLASSES)}, and the backbone is of {backbone.model_type!r}"
        )
    return _refusal_of(config) or _refusal_of_places(list(parts_of(export)), backbone)


def _refusal_of(config: MethodConfig) -> str | None:
    if isinstance(config, PrefixConfig) and config.positions == "shifted":
        return "the library numbers the tokens as if there were no prefix; search without shifted positions"
    if isinstance(config, LoRAConfig) and config.dora:
        return "the library's DoRA rescales the bias, too, and leaves alpha out of the length"
    if isinstance(config, UniPELTConfig):
        return _refusal_of_union(config)
    return None


def _refusal_of_union(config: UniPELTConfig) -> str | None:
    others = [letter for letter in config.modules if letter not in "APL"]
    if others:
        return f"the library's unions have adapter, prefix and LoRA (APL), and this one has {''.join(others)}"
    if not set(config.modules) & set(config.gates) or config.pooling == "real tokens":
        return None
    read = {
        "first token": "the library's gates are means over the tokens, and these read the first one",
        "all tokens": "these gates are means over padding, too, so that logits depend on the batch",
    }
    return f'{read[config.pooling]}; search with --fix unipelt.pooling="real tokens"'


def _refusal_of_places(parts: Sequence[Part], backbone: Backbone) -> str | None:
    for part in parts:
        if part.delta.kind == "prefix" and backbone.model_type == "distilbert":
            return "on DistilBERT the library adds 1 to the attention scores of a prefix in padded batches"
        if part.place.site.role == "attention_output" and part.delta.kind == "lora":
            return (
                'the library has no LoRA behind the attention; search with --fix lora.targets="query value"'
            )
    for kind, own in _by_kind(parts).items():
        roles, layers = {part.place.site.role for part in own}, {part.place.site.layer for part in own}
        if len(own) != len(roles) * len(layers):
            return f"the library leaves out whole layers, and of this {kind} single places are gone"
    return None


# ------------------------------------------------------------------------------------- what it holds


def parts_of(export: Exported) -> Iterator[Part]:
    """What a module changes, site by site."""
    assert isinstance(export.stack, Stack)
    (state,) = export.stack.states()
    for place in export.stack.places:
        delta = place.delta
        inner = delta.inner if isinstance(delta, GatedDelta | GatedKeyValueDelta) else delta
        yield Part(place, state, inner)


def files_of(export: Exported) -> Files:
    """The configuration of a module, a union where it has several methods, and its tensors."""
    backbone, configs, tensors = export.stack.backbone, [], {}
    for kind, parts in _by_kind(parts_of(export)).items():
        config, own = TWINS[kind](parts, backbone)
        layers = {part.place.site.layer for part in parts}
        config["leave_out"] = [layer for layer in range(_depth(backbone)) if layer not in layers]
        configs.append({**config, "use_gating": parts[0].gated})
        tensors.update(own)
    whole = configs[0] if len(configs) == 1 else {"architecture": "union", "configs": configs}
    base = BASES.get(backbone.model_type, backbone.model_type)
    return whole, {f"{base}.{name}": tensor.contiguous() for name, tensor in tensors.items()}


def _by_kind(parts: Iterable[Part]) -> dict[str, list[Part]]:
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part.delta.kind, []).append(part)
    return found


def _depth(backbone: Backbone) -> int:
    return 1 + max(site.layer for site in backbone.sites)


def _gate(part: Part, path: str) -> dict[str, Tensor]:
    if not part.gated:
        return {}
    return {f"{path}weight": part["gate.weight"].unsqueeze(0), f"{path}bias": part["gate.bias"]}


# ---------------------------------------------------------------------------------- one for each kind


def _adapter(parts: Sequence[Part], backbone: Backbone) -> Files:
    """Read behind the LayerNorm (Pfeiffer), in front of it (Houlsby), or beside the network (parallel)."""
    delta, roles = parts[0].delta, {part.place.site.role for part in parts}
    assert isinstance(delta, AdapterDelta)
    config = {
        "mh_adapter": "attention_output" in roles,
        "output_adapter": True,
        "original_ln_before": "ffn_residual" in roles,
        "original_ln_after": True,
        "residual_before_ln": True,
        "is_parallel": "ffn" in roles,
        "non_linearity": delta.activation,
        "scaling": float(delta.scaling),
        # The library takes the floor of width / factor; the half keeps that off the edge.
        "reduction_factor": backbone.hidden_size / (delta.bottleneck + 0.5),
    }
    tensors = {}
    for part in parts:
        path = f"{_home(part, backbone)}.adapters.{MODULE}."
        for ours, theirs in (("down", "adapter_down.0"), ("up", "adapter_up")):
            for name in ("weight", "bias"):
                tensors[f"{path}{theirs}.{name}"] = part[f"{ours}.{name}"]
        tensors |= _gate(part, f"{path}gate.")
    return config, tensors


def _home(part: Part, backbone: Backbone) -> str:
    """The library's module that holds the adapter of a site."""
    attention = part.place.site.role == "attention_output"
    if backbone.model_type == "distilbert":
        name = "attention_adapters" if attention else "output_adapters"
    else:
        name = "attention.output" if attention else "output"
    return f"{backbone.family.layers}.{part.place.site.layer}.{name}"


def _lora(parts: Sequence[Part], backbone: Backbone) -> Files:
    """With a gate in place of alpha/rank, as in UniPELT; ours may have both, so B takes the scale."""
    delta, roles = parts[0].delta, {part.place.site.role for part in parts}
    assert isinstance(delta, LoRADelta)
    config = {
        "architecture": "lora",
        "selfattn_lora": bool(roles & set(MATRICES)),
        "intermediate_lora": "ffn_in" in roles,
        "output_lora": "ffn_out" in roles,
        "attn_matrices": [letter for role, letter in MATRICES.items() if role in roles],
        "r": delta.rank,
        "alpha": delta.scale * delta.rank,
        "dropout": delta.dropout,
        "composition_mode": "add",
    }
    tensors = {}
    for part in parts:
        path = f"{part.place.site.module}.loras.{MODULE}."
        tensors[f"{path}lora_A"] = part["a"]
        tensors[f"{path}lora_B"] = part["b"] * (delta.scale if part.gated else 1.0)
        tensors |= _gate(part, f"{path}gate.")
    return config, tensors


def _prefix(parts: Sequence[Part], backbone: Backbone) -> Files:
    """One tensor for all layers; each slot holds key 0, value 0, key 1, and so on."""
    delta = parts[0].delta
    assert isinstance(delta, PrefixDelta)
    config = {
        "architecture": "prefix_tuning",
        "flat": True,
        "prefix_length": delta.length,
        "shared_gating": True,
    }
    slots = torch.cat([part[name] for part in parts for name in ("keys", "values")], 1)
    where = "self" if backbone.model_type == "distilbert" else "self_prefix"
    tensors = {f"prefix_tuning.prefix_tunings.{MODULE}.{where}.control_trans": slots.flatten()}
    for part in parts:
        tensors |= _gate(part, f"{part.place.site.module}.prefix_tuning.prefix_gates.{MODULE}.")
    return config, tensors


TWINS: Mapping[str, Callable[[Sequence[Part], Backbone], Files]] = {
    AdapterDelta.kind: _adapter,
    PrefixDelta.kind: _prefix,
    LoRADelta.kind: _lora,
}
"""Kind of a change -> its twin."""
