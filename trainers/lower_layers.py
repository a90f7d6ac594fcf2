"""The frozen layers below the first one that is changed: run by themselves, or left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

TOKENS = 12
EXACT = 1e-5
"""Largest difference between a model in one piece and in two, in units of the largest value: both compute the
same, so that all but nothing is another formula."""


class _Arrived(Exception):
    """Ends a forward pass in front of a layer."""

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden


class LowerLayers:
    """A model that can be run up to one of its layers, and from there on."""

    def __init__(self, model: nn.Module, path: str) -> None:
        """`path` is that of the list of layers, as in `Family.layers`."""
        self.width = 0
        """Numbers of a token in front of a layer; known once `can_part` said yes."""
        self._model = model
        self._layers = list(model.get_submodule(path).children())
        self._sizes: dict[nn.Module, int] = {}
        """How many values a layer gives, the hidden states first; none for a layer that gives these only."""
        self._parts: dict[int, bool] = {}

    def can_part(self, layer: int) -> bool:
        """Whether the model in two pieces, cut in front of a layer, is the model: tried out once.

        It is where a layer gets nothing from those below it but their hidden states. In T5 the first layer
        makes the bias of all, and ALBERT runs one layer many times. Outside `Stack.attached()`.
        """
        if layer not in self._parts:
            self._parts[layer] = 0 < layer < len(self._layers) and self._is_whole_in_parts(layer)
        return self._parts[layer]

    @torch.no_grad()
    def run(self, layer: int, inputs: Mapping[str, Tensor]) -> Float[Tensor, "examples tokens d"]:
        """What a layer reads of a batch: the layers below it are run, the others are not."""

        def stop(module: nn.Module, given: tuple[Any, ...], options: dict[str, Any]) -> None:
            raise _Arrived(given[0] if given else options["hidden_states"])

        handle = self._in_front(layer, stop)
        try:
            self._model(**inputs)
        except _Arrived as arrived:
            return arrived.hidden
        finally:
            handle.remove()
        raise RuntimeError(f"the forward pass of {type(self._model).__name__} never came to layer {layer}")

    @contextmanager
    def skipped(self, layer: int, hidden: Float[Tensor, "examples tokens d"]) -> Iterator[None]:
        """Within, a forward pass goes from the embeddings to a layer, which reads `hidden`."""

        def instead(module: nn.Module, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
            if given:
                return (hidden, *given[1:]), options
            return given, {**options, "hidden_states": hidden}

        below = self._layers[:layer]
        own = {module: module.__dict__["forward"] for module in below if "forward" in module.__dict__}
        handle = self._in_front(layer, instead)
        try:
            for module in below:
                module.forward = self._passing(module)
            yield
        finally:
            handle.remove()
            for module in below:
                module.__dict__.pop("forward", None)
                if module in own:
                    module.forward = own[module]

    def _in_front(self, layer: int, hook: Callable[..., Any]) -> RemovableHandle:
        return self._layers[layer].register_forward_pre_hook(hook, with_kwargs=True, prepend=True)

    def _passing(self, module: nn.Module) -> Callable[..., Any]:
        """A forward pass that computes nothing and gives as many values as the layer's own."""
        rest = (None,) * (self._sizes.get(module, 1) - 1)

        def forward(*given: Any, **options: Any) -> Any:
            hidden = given[0] if given else options["hidden_states"]
            return (hidden, *rest) if module in self._sizes else hidden

        return forward

    @torch.no_grad()
    def _is_whole_in_parts(self, layer: int) -> bool:
        device = next(self._model.parameters()).device
        ids = torch.arange(3, 3 + TOKENS, device=device).repeat(2, 1)
        mask = torch.ones_like(ids)
        mask[1, TOKENS // 2 :] = 0
        inputs = {"input_ids": ids, "attention_mask": mask}
        try:
            whole = self._measured(inputs)
            # What is kept of a text has no padding.
            hidden = self.run(layer, inputs) * mask.unsqueeze(-1)
            self.width = hidden.shape[-1]
            with self.skipped(layer, hidden.to(whole.dtype)):
                parts = self._model(**inputs).last_hidden_state
        except Exception:  # whatever a model raises on a way it was not built for, it stays in one piece
            return False
        difference = (parts - whole)[mask.bool()].float().abs().max()
        return bool(difference <= EXACT * whole.float().abs().max())

    def _measured(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The last hidden states of the whole model, which shows what its layers give."""

        def look(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, tuple):
                self._sizes[module] = len(output)

        handles = [layer.register_forward_hook(look) for layer in self._layers]
        try:
            hidden: Tensor = self._model(**inputs).last_hidden_state
        finally:
            for handle in handles:
                handle.remove()
        return hidden
