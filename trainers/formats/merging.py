"""The frozen weights with a module added: read off what the changed modules compute, whatever the method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from trainers.bridge import BridgedConfig
from trainers.building import AnyStack
from trainers.export import Exported
from trainers.layout import Place
from trainers.rows import Rows
from trainers.sites import Insertion, Site, is_transposed, widths
from trainers.stack import Stack
from trainers.trained import Delta

NO_CHANGE_OF_WEIGHTS = frozenset(
    ("ADAPTION_PROMPT", "CARTRIDGE", "LILY", "POLY", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING", "SHADOW")
)
"""peft's types that peft does not merge; all others of `bridge.KINDS` it merges exactly."""


@runtime_checkable
class OfPeft(Protocol):
    """A stack whose module is peft's own."""

    def separate(self) -> Any:
        """peft's model around weights of its own."""


def refusal_of_method(export: Exported) -> str | None:
    """Why a module cannot be added to the weights exactly; None where it can."""
    (candidate,) = export.stack.candidates
    config = candidate.config
    if isinstance(config, BridgedConfig):
        if config.peft_type in NO_CHANGE_OF_WEIGHTS:
            return f"peft does not add what {config.name} computes to the frozen weights"
        sites = [site for site in export.stack.backbone.sites if site.role in config.target_roles]
        if config.peft_type == "BEFT" and not all(site.bias for site in sites):
            return f"{config.name} trains biases that this backbone does not have"
        return None
    return None if config.merges else f"what {config.name} computes is no change of the frozen weights"


@torch.no_grad()
def merged_weights(stack: AnyStack) -> dict[str, Tensor]:
    """Parameter of the backbone -> its value with the only candidate's module added, fp32 on the CPU."""
    if isinstance(stack, OfPeft):
        merged: dict[str, Tensor] = stack.separate().merge_and_unload().model.state_dict()
        return merged
    assert isinstance(stack, Stack)
    model = stack.backbone.model
    (state,) = stack.states()
    tensors = {name: tensor.unsqueeze(0).to(stack.backbone.device) for name, tensor in state.items()}
    by_module: dict[str, list[Place]] = {}
    found: dict[str, Tensor] = {}
    for place in stack.places:
        if place.site.insertion is Insertion.WEIGHT:
            change = place.tensors(tensors)["change"][0]
            found[place.site.module] = model.get_parameter(place.site.module) + change
        else:
            by_module.setdefault(place.site.module, []).append(place)
    for path, places in by_module.items():
        changed = Changed(model.get_submodule(path), places, tensors)
        found |= {f"{path}.{name}": tensor for name, tensor in changed.parameters()}
    return {name: tensor.float().cpu().contiguous() for name, tensor in found.items()}


class Changed:
    """A linear layer or a normalisation as the module makes it."""

    def __init__(self, module: nn.Module, places: Sequence[Place], tensors: Mapping[str, Tensor]) -> None:
        self._module = module
        self._places = places
        self._tensors = tensors

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Weight, and bias where there is one: at 0 it gives its bias, and beside that its weight."""
        norm = next((place.site.norm for place in self._places), None)
        width = widths(self._module)[0]
        own = self._module.get_parameter("weight")
        (bias,) = self(own.new_zeros(1, width))
        if norm is None:
            weight = self(torch.eye(width, dtype=own.dtype, device=own.device)) - bias
            yield "weight", weight if is_transposed(self._module) else weight.mT
        else:
            signs = (-1.0) ** torch.arange(width, dtype=own.dtype, device=own.device).unsqueeze(0)
            yield "weight", ((self(signs) - bias) / norm.normalise(signs))[0]
        if getattr(self._module, "bias", None) is not None:
            yield "bias", bias

    def __call__(self, x: Tensor) -> Tensor:
        """Its output for rows `[rows, d_in]`, as hooks would make it."""
        x = x + self._change(x, x, Insertion.INPUT)
        y: Tensor = self._module(x)
        return y + self._change(x, y, Insertion.OUTPUT)

    def _change(self, x: Tensor, y: Tensor, insertion: Insertion) -> Tensor:
        total, rows = torch.zeros_like(y), Rows(torch.ones(1, len(x), dtype=torch.bool, device=x.device))
        for place in self._places:
            if place.site.insertion is insertion:
                part = _part(place.site)
                assert isinstance(place.delta, Delta)
                tensors, own = place.tensors(self._tensors), y[:, part].unsqueeze(0)
                total[:, part] += place.delta.change(tensors, x.unsqueeze(0), own, rows)[0]
        return total


def _part(site: Site) -> slice:
    return slice(None) if site.start is None else slice(site.start, site.start + site.d_out)
