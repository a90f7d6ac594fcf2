"""N candidates of one method on one frozen backbone: the candidate axis (docs/engine.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import pad

from trainers.attention import Prefix, leave_prefix, stand_side_by_side
from trainers.backbone import Backbone
from trainers.batches import Batch
from trainers.gates import GateWatch
from trainers.heads import HEAD_TENSORS, head_logits
from trainers.layout import (
    Place,
    State,
    by_site,
    full_name,
    initial_state,
    largest,
    ordered,
    pack,
    places_of,
    present,
    unpack,
)
from trainers.method import Delta, KeyValueDelta, MethodConfig, PromptDelta, WeightDelta
from trainers.rows import Rows
from trainers.sites import Insertion, Site

__all__ = ["Candidate", "Stack", "State"]


@dataclass(frozen=True)
class Candidate:
    """A configuration and the seed that initialises it."""

    config: MethodConfig
    seed: int


class Stack:
    """Candidates of one method, trained side by side in one forward and backward pass.

    All trained numbers live in `parameters`, `[candidates, parameters]`: a row is
    a candidate, padded with zeros to the largest sizes of the stack. A candidate
    gets the gradients that it would get alone.
    """

    def __init__(
        self,
        backbone: Backbone,
        candidates: Sequence[Candidate],
        classes: int,
        states: Sequence[State] | None = None,
    ) -> None:
        """Lay candidates side by side; from their seeds, or from `states`.

        A module that a state lacks was pruned, and the candidate goes without it.

        Raises:
            ValueError: if the candidates cannot share a stack.
        """
        configs = [candidate.config for candidate in candidates]
        if len({config.stack_key for config in configs}) != 1 or (len(configs) > 1 and configs[0].alone):
            raise ValueError(f"a stack holds one kind of candidate, not {configs}")
        self.backbone = backbone
        self.candidates = tuple(candidates)
        self.classes = classes
        self.placed = [config.placed(backbone.sites) for config in configs]
        if states is None:
            states = [
                initial_state(c.seed, placed, classes, backbone.hidden_size)
                for c, placed in zip(candidates, self.placed, strict=True)
            ]
        else:
            self.placed = [present(placed, state) for placed, state in zip(self.placed, states, strict=True)]
            states = [ordered(placed, state) for placed, state in zip(self.placed, states, strict=True)]
        self.shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
        self.padded = largest(self.shapes)
        self.places = places_of(self.placed, backbone)
        self.parameters = self.pack(states).to(backbone.device).requires_grad_()
        self.penalty: Tensor | None = None
        """`[candidates]`, after `logits`: what the loss is raised by; None when nothing is penalised."""
        self._chance = _generators(candidates, backbone.device)
        self._shift = torch.tensor([[config.position_shift] for config in configs], device=backbone.device)
        self._tensors: Mapping[str, Tensor] = {}
        self._rows = Rows(torch.ones(1, 1, dtype=torch.bool))
        self._sources: dict[str, Tensor] = {}
        self._penalised: dict[int, list[Tensor]] = {}
        self._watch: GateWatch | None = None
        self._inside_norm = False

    def __len__(self) -> int:
        return len(self.candidates)

    # ------------------------------------------------------------------------- computing

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Put the candidates' changes into the backbone; around forward and backward together."""
        handles = [hook for site, places in by_site(self.places) for hook in self._hooks(site, places)]
        self._tell_attention(len(self))
        try:
            yield
        finally:
            self._tell_attention(1)
            for handle in handles:
                handle.remove()

    def _tell_attention(self, candidates: int) -> None:
        for site in self.backbone.sites:
            if site.insertion is Insertion.ATTENTION:
                stand_side_by_side(self.backbone.model.get_submodule(site.module), candidates)

    @contextmanager
    def watching(self) -> Iterator[GateWatch]:
        """Collect the gates of every batch that passes."""
        self._watch = GateWatch()
        try:
            yield self._watch
        finally:
            self._watch = None

    def logits(self, batch: Batch, *, training: bool = False) -> Float[Tensor, "candidates batch classes"]:
        """Logits of every candidate for the same batch, fp32; only inside `attached()`.

        `training` lets chance in, such as dropout.
        """
        count = len(self)
        self._tensors = self._views()
        self._sources.clear()
        self._penalised.clear()
        mask = batch.attention_mask.repeat(count, 1)
        slots, inputs = self._inputs(batch, mask)
        real = batch.attention_mask.bool()
        self._rows = Rows(
            torch.cat([real.new_ones(len(batch), slots), real], 1) if slots else real,
            self._chance if training else None,
        )
        hidden = self._run(inputs)[:, slots:]
        # A layer that ALBERT runs many times has one gate, whose mean counts once.
        means = [torch.stack(runs).mean(0) for runs in self._penalised.values()]
        self.penalty = torch.stack(means).sum(0) if means else None
        features = self.backbone.features(hidden, mask).unflatten(0, (count, len(batch)))
        return head_logits(self._tensors, features)

    def _inputs(self, batch: Batch, mask: Tensor) -> tuple[int, dict[str, Tensor]]:
        """The number of prompt slots in front of the tokens, and what the model is called with."""
        count = len(self)
        inputs = {"input_ids": batch.input_ids.repeat(count, 1), "attention_mask": mask}
        if batch.token_type_ids is not None:
            inputs["token_type_ids"] = batch.token_type_ids.repeat(count, 1)
        slots = 0
        for place in self.places:
            if isinstance(place.delta, PromptDelta):
                slots = self._prompt(place, place.delta, inputs, len(batch))
        if slots or bool(self.position_shifts) or self.backbone.family.decoder:
            inputs |= self.backbone.positions(
                inputs["attention_mask"], self._shift.repeat_interleave(len(batch), 0)
            )
        return slots, inputs

    @property
    def position_shifts(self) -> int:
        """The largest shift of the tokens' positions in the stack."""
        return max(candidate.config.position_shift for candidate in self.candidates)

    def _prompt(self, place: Place, delta: PromptDelta, inputs: dict[str, Tensor], batch: int) -> int:
        tensors = self._of(place)
        vectors = delta.vectors(tensors).flip(1)  # slots that a candidate lacks stand in front
        slots = vectors.shape[1]
        embedded = self.backbone.model.get_input_embeddings()(inputs.pop("input_ids"))  # type: ignore[operator]
        front = vectors.repeat_interleave(batch, 0).to(embedded.dtype)
        mask = inputs["attention_mask"]
        inputs["inputs_embeds"] = _beside_the_tokens(front, embedded, mask)
        visible = tensors["visible"].flip(1).repeat_interleave(batch, 0).to(mask.dtype)
        inputs["attention_mask"] = _beside_the_tokens(visible, mask, mask)
        if "token_type_ids" in inputs:
            inputs["token_type_ids"] = pad(inputs["token_type_ids"], (slots, 0))
        return slots

    def _run(self, inputs: dict[str, Tensor]) -> Tensor:
        model = self.backbone.model
        changed = [place for place in self.places if isinstance(place.delta, WeightDelta)]
        if not changed:
            hidden: Tensor = model(**inputs).last_hidden_state
            return hidden
        weights = {}
        for place in changed:
            weight = model.get_parameter(place.site.module)
            weights[place.site.module] = (weight.float() + self._of(place)["change"][0]).to(weight.dtype)
        moved: Tensor = functional_call(model, weights, kwargs=inputs).last_hidden_state
        return moved

    def _views(self) -> dict[str, Tensor]:
        # One cast and one split for all tensors: one concatenation in the backward pass. The head stays fp32,
        # and so do changes of the weights, which would be rounded away.
        sizes = [shape.numel() for shape in self.padded.values()]
        head = sum(sizes[:HEAD_TENSORS])
        whole = any(isinstance(place.delta, WeightDelta) for place in self.places)
        first, rest = self.parameters.split([head, sum(sizes) - head], 1)
        modules = rest if whole else rest.to(self.backbone.dtype)
        parts = [*first.split(sizes[:HEAD_TENSORS], 1), *modules.split(sizes[HEAD_TENSORS:], 1)]
        named = zip(self.padded.items(), parts, strict=True)
        return {name: part.unflatten(1, shape) for (name, shape), part in named}

    # ----------------------------------------------------------------------------- hooks

    def _hooks(self, site: Site, places: Sequence[Place]) -> Iterator[Any]:
        if site.insertion in (Insertion.PROMPT, Insertion.WEIGHT):
            return
        module = self.backbone.model.get_submodule(site.module)
        if site.insertion is Insertion.OUTPUT:
            if site.source is not None:
                source = self.backbone.model.get_submodule(site.source)
                yield source.register_forward_pre_hook(self._keep_input(site.source))
            yield module.register_forward_hook(self._change_output(site, places))
        elif site.insertion is Insertion.INPUT:
            yield module.register_forward_pre_hook(self._change_input(places))
        elif site.insertion is Insertion.NORM_INPUT:
            yield module.register_forward_pre_hook(self._change_norm_input(places))
        else:
            (place,) = places
            yield module.register_forward_pre_hook(self._prepend(place), with_kwargs=True)

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
                part = whole[..., site.start : end]
                change = self._changed(places, x, part) - part
                changed = whole + pad(change, (site.start, whole.shape[-1] - end))
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

    def _changed(self, places: Sequence[Place], x: Tensor, y: Tensor) -> Tensor:
        stacked_x = x.reshape(len(self), -1, x.shape[-1])
        stacked_y = y.reshape(len(self), -1, y.shape[-1])
        total = stacked_y
        for place in places:
            delta = place.delta
            assert isinstance(delta, Delta)
            if delta.per_example and not self._are_tokens(x):
                continue  # DeBERTa projects its relative positions, too, which belong to no example
            change = delta.change(self._of(place), stacked_x, stacked_y, self._rows)
            self._take_gates(place)
            total = total + (change if place.scaling is None else change * place.scaling)
        return total.reshape(y.shape)

    def _are_tokens(self, x: Tensor) -> bool:
        batch, tokens = self._rows.mask.shape
        return x.shape[:-1] in ((len(self) * batch, tokens), (len(self) * batch * tokens,))

    def _prepend(self, place: Place) -> Callable[..., None]:
        delta = place.delta
        assert isinstance(delta, KeyValueDelta)

        def hook(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
            x = inputs[0] if inputs else options["hidden_states"]
            tensors = self._of(place)
            keys, values = delta.keys_values(tensors, x.reshape(len(self), -1, x.shape[-1]), self._rows)
            self._take_gates(place)
            leave_prefix(module, Prefix(keys, values, tensors["visible"]))

        return hook

    def _take_gates(self, place: Place) -> None:
        while self._rows.gates:
            value = self._rows.gates.pop()
            if self._watch is not None:
                self._watch.saw(place, value)
            if "penalty" in place.constants:
                self._penalised.setdefault(id(place), []).append(place.constants["penalty"] * value.mean(-1))

    def _of(self, place: Place) -> dict[str, Tensor]:
        return {**place.constants, **{short: self._tensors[full] for short, full in place.names.items()}}

    # --------------------------------------------------------------------------- storing

    def pack(self, states: Sequence[Mapping[str, Tensor]]) -> Float[Tensor, "candidates parameters"]:
        """Lay unpadded tensors of each candidate into rows; what a candidate lacks is zero."""
        return pack(states, self.padded)

    def unpack(self, rows: Float[Tensor, "candidates parameters"]) -> list[State]:
        """The inverse of `pack`."""
        return unpack(rows, self.padded, self.shapes)

    def rates(self) -> Float[Tensor, "candidates parameters"] | None:
        """Factors of the learning rate, number by number; None when all are 1."""
        factors = [
            {full_name(s, d, short): factor for s, d in placed for short, factor in d.rates().items()}
            for placed in self.placed
        ]
        if not any(factors):
            return None
        states = [
            {name: torch.full(shape, own.get(name, 1.0)) for name, shape in shapes.items()}
            for own, shapes in zip(factors, self.shapes, strict=True)
        ]
        return self.pack(states).to(self.parameters.device)

    def states(self) -> list[State]:
        """The trained tensors of each candidate, unpadded."""
        return self.unpack(self.parameters)

    def deployed(self) -> list[tuple[MethodConfig, State]]:
        """What a training leaves behind of each candidate: its module without what only training needs."""
        return [
            _deployed(candidate.config, placed, state, self.backbone)
            for candidate, placed, state in zip(self.candidates, self.placed, self.states(), strict=True)
        ]

    def select(self, kept: Sequence[int]) -> Stack:
        """A stack of some of the candidates, as trained so far; it predicts the same."""
        states = self.states()
        selected = Stack(
            self.backbone, [self.candidates[i] for i in kept], self.classes, [states[i] for i in kept]
        )
        if self._chance is not None:
            selected._chance = [self._chance[i] for i in kept]
        return selected

    def on(self, backbone: Backbone) -> Stack:
        """The same candidates on another copy of the backbone, in its dtype."""
        return Stack(backbone, self.candidates, self.classes, self.states())


def _beside_the_tokens(slots: Tensor, rest: Tensor, mask: Tensor) -> Tensor:
    """`[slots; rest]` along the tokens, with the slots behind any padding that comes first.

    Windows and relative positions see the distance from a prompt to its text, which padding must not change.
    """
    whole, count = torch.cat([slots, rest], 1), slots.shape[1]
    padding = mask.argmax(1, keepdim=True)
    if not bool(padding.any()):
        return whole
    place = torch.arange(whole.shape[1], device=mask.device)
    moved = torch.where(place < padding, place + count, place - padding)
    order = torch.where(place < padding + count, moved, place)
    return whole[torch.arange(len(whole), device=mask.device).unsqueeze(1), order]


def _generators(candidates: Sequence[Candidate], device: torch.device) -> list[torch.Generator] | None:
    if not any(candidate.config.uses_chance for candidate in candidates):
        return None
    return [torch.Generator(device).manual_seed(candidate.seed) for candidate in candidates]


def _deployed(
    config: MethodConfig, placed: Sequence[tuple[Site, Any]], state: State, backbone: Backbone
) -> tuple[MethodConfig, State]:
    settled = config.deployed()
    if settled == config:
        return config, state
    left = {name: tensor for name, tensor in state.items() if name.startswith("head.")}
    for (site, delta), (_, after) in zip(placed, settled.placed(backbone.sites), strict=True):
        tensors = delta.settle({short: state[full_name(site, delta, short)] for short in delta.shapes()})
        left |= {full_name(site, after, short): tensor for short, tensor in tensors.items()}
    return settled, left
