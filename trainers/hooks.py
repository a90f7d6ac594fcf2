"""How changes reach the frozen model: forward hooks that add what the deltas of a stack compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trainers.attention import Prefix, leave_prefix, stand_side_by_side
from trainers.backbone import Backbone
from trainers.gates import GateWatch
from trainers.layout import Place, by_site
from trainers.profiling import MODULES, part
from trainers.rows import Rows
from trainers.sites import Insertion, Site
from trainers.trained import Delta, KeyValueDelta


class Hooks:
    """The hooks of one stack, and what they pass on from module to module during a forward pass."""

    def __init__(
        self, backbone: Backbone, places: Sequence[Place], candidates: int, first_layer: int = 0
    ) -> None:
        """Below `first_layer` the candidates do not stand side by side: there all are the same."""
        self.watch: GateWatch | None = None
        """Who is told the gates of every pass."""
        self._backbone = backbone
        self._places = places
        self._candidates = candidates
        self._first_layer = first_layer
        self._tensors: Mapping[str, Tensor] = {}
        self._rows = Rows(torch.ones(1, 1, dtype=torch.bool))
        self._sources: dict[str, Tensor] = {}
        self._penalised: dict[int, list[Tensor]] = {}
        self._inside_norm = False

    @property
    def penalty(self) -> Tensor | None:
        """`[candidates]`, after a forward pass: what open gates raise the loss by; None without a penalty.

        A layer that ALBERT runs many times has one gate, whose mean counts once.
        """
        means = [torch.stack(runs).mean(0) for runs in self._penalised.values()]
        return torch.stack(means).sum(0) if means else None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Register the hooks, and remove them afterwards."""
        handles = [hook for site, places in by_site(self._places) for hook in self._register(site, places)]
        self._tell_attention(self._candidates)
        try:
            yield
        finally:
            self._tell_attention(1)
            for handle in handles:
                handle.remove()

    def begin(self, tensors: Mapping[str, Tensor], rows: Rows) -> None:
        """Get ready for a forward pass with these tensors, named as in a state, on these rows."""
        self._tensors, self._rows = tensors, rows
        self._sources.clear()
        self._penalised.clear()

    def _tell_attention(self, candidates: int) -> None:
        for site in self._backbone.sites:
            if site.insertion is Insertion.ATTENTION and site.layer >= self._first_layer:
                stand_side_by_side(self._backbone.model.get_submodule(site.module), candidates)

    def _register(self, site: Site, places: Sequence[Place]) -> Iterator[RemovableHandle]:
        if site.insertion in (Insertion.PROMPT, Insertion.WEIGHT):
            return
        module = self._backbone.model.get_submodule(site.module)
        if site.insertion is Insertion.OUTPUT:
            if site.source is not None:
                source = self._backbone.model.get_submodule(site.source)
                yield source.register_forward_pre_hook(self._keep_input(site.source))
            yield module.register_forward_hook(self._change_output(site, places))
        elif site.insertion is Insertion.INPUT:
            yield module.register_forward_pre_hook(self._change_input(places))
        elif site.insertion is Insertion.NORM_INPUT:
            yield module.register_forward_pre_hook(self._change_norm_input(places))
        else:
            (place,) = places
            yield module.register_forward_pre_hook(self._prepend(place), with_kwargs=True)

    # ------------------------------------------------------------------ one for each insertion

    def _keep_input(self, source: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self._sources[source] = inputs[0]

        return hook

    def _change_output(self, site: Site, places: Sequence[Place]) -> Callable[..., Any]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            whole = output[0] if isinstance(output, tuple) else output
            x = self._sources.pop(site.source) if site.source else inputs[0] if inputs else whole
            if site.start is None:
                changed = self._changed(places, x, whole)
            else:
                end = site.start + site.d_out
                part = self._changed(places, x, whole[..., site.start : end])
                changed = torch.cat([whole[..., : site.start], part, whole[..., end:]], -1)
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return hook

    def _change_input(self, places: Sequence[Place]) -> Callable[..., tuple[Any, ...]]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (self._changed(places, inputs[0], inputs[0]), *inputs[1:])

        return hook

    def _change_norm_input(self, places: Sequence[Place]) -> Callable[..., tuple[Tensor] | None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor] | None:
            if self._inside_norm:
                return None
            self._inside_norm = True  # the call below runs this hook again
            try:
                normalised = module(inputs[0])
            finally:
                self._inside_norm = False
            return (self._changed(places, normalised, inputs[0]),)

        return hook

    def _prepend(self, place: Place) -> Callable[..., None]:
        delta = place.delta
        assert isinstance(delta, KeyValueDelta)

        def hook(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
            x = inputs[0] if inputs else options["hidden_states"]
            tensors = place.tensors(self._tensors)
            stacked = x.reshape(self._candidates, -1, x.shape[-1])
            with part(MODULES):
                keys, values = delta.keys_values(tensors, stacked, self._rows)
                self._take_gates(place)
            leave_prefix(module, Prefix(keys, values, tensors["visible"]))

        return hook

    # --------------------------------------------------------------------------- all candidates

    def _changed(self, places: Sequence[Place], x: Tensor, y: Tensor) -> Tensor:
        with part(MODULES):
            return self._sum(places, x, y)

    def _sum(self, places: Sequence[Place], x: Tensor, y: Tensor) -> Tensor:
        stacked_x = x.reshape(self._candidates, -1, x.shape[-1])
        stacked_y = y.reshape(self._candidates, -1, y.shape[-1])
        total = stacked_y
        for place in places:
            delta = place.delta
            assert isinstance(delta, Delta)
            if delta.per_example and not self._are_tokens(x):
                continue  # DeBERTa projects its relative positions, too, which belong to no example
            change = delta.change(place.tensors(self._tensors), stacked_x, stacked_y, self._rows)
            self._take_gates(place)
            total = total + (change if place.scaling is None else change * place.scaling)
        return total.reshape(y.shape)

    def _are_tokens(self, x: Tensor) -> bool:
        batch, tokens = self._rows.mask.shape[-2:]
        return x.shape[:-1] in ((self._candidates * batch, tokens), (self._candidates * batch * tokens,))

    def _take_gates(self, place: Place) -> None:
        while self._rows.gates:
            value = self._rows.gates.pop()
            if self.watch is not None:
                self.watch.saw(place, value)
            if "penalty" in place.constants:
                self._penalised.setdefault(id(place), []).append(place.constants["penalty"] * value.mean(-1))
