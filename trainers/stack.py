"""N candidates of one method on one frozen backbone: the candidate axis (docs/engine.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import pad

from trainers.backbone import Backbone
from trainers.batches import Batch
from trainers.gates import GateWatch
from trainers.head import PREFIX, head_tensors
from trainers.heads import read_features
from trainers.hooks import Hooks
from trainers.inputs import Prompt, model_inputs
from trainers.layout import (
    State,
    full_name,
    initial_state,
    largest,
    ordered,
    pack,
    places_of,
    present,
    unpack,
)
from trainers.method import MethodConfig
from trainers.rows import Rows
from trainers.sites import Site
from trainers.trained import PromptDelta, WeightDelta

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

        `classes` is how many numbers a head gives: `Task.outputs`.
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
                initial_state(c.seed, placed, classes, backbone.hidden_size, backbone.head)
                for c, placed in zip(candidates, self.placed, strict=True)
            ]
        else:
            self.placed = [present(placed, state) for placed, state in zip(self.placed, states, strict=True)]
            states = [ordered(placed, state) for placed, state in zip(self.placed, states, strict=True)]
        self.shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
        self.padded = largest(self.shapes)
        self.places = places_of(self.placed, backbone)
        self.parameters = self.pack(states).to(backbone.device).requires_grad_()
        self._shifts = [config.position_shift for config in configs]
        self.first_layer = self._first_layer()
        """Below it the model is the frozen one for all candidates; 0: everywhere, or it cannot be parted."""
        self._hooks = Hooks(backbone, self.places, len(candidates), self.first_layer)
        self._chance = _generators(candidates, backbone.device)

    def __len__(self) -> int:
        return len(self.candidates)

    # ------------------------------------------------------------------------- computing

    @property
    def penalty(self) -> Float[Tensor, " candidates"] | None:
        """After `logits`: what the loss is raised by; None when nothing is penalised."""
        return self._hooks.penalty

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Put the candidates' changes into the backbone; around forward and backward together."""
        with self._hooks.attached():
            yield

    @contextmanager
    def watching(self) -> Iterator[GateWatch]:
        """Collect the gates of every batch that passes."""
        watch = self._hooks.watch = GateWatch()
        try:
            yield watch
        finally:
            self._hooks.watch = None

    def logits(self, batch: Batch, *, training: bool = False) -> Float[Tensor, "candidates items classes"]:
        """Logits of every candidate for the same batch, fp32; only inside `attached()`.

        `training` lets chance in, such as dropout.
        """
        tensors = self._views()
        prompt = self._prompt(tensors)
        slots = 0 if prompt is None else len(prompt)
        inputs = model_inputs(self.backbone, batch, self._shifts, prompt)
        real = pad(batch.real, (slots, 0), value=True)
        self._hooks.begin(tensors, Rows(real, self._chance if training else None))
        with self._above(batch):
            hidden = self._run(tensors, inputs)[:, slots:]
        return self.backbone.head.logits(tensors, read_features(self.backbone, hidden, batch))

    def below(self, batch: Batch) -> Float[Tensor, "examples tokens d"]:
        """What `first_layer`, which is not 0, reads: the same for all candidates."""
        lower = self.backbone.lower_layers
        assert lower is not None
        return lower.run(self.first_layer, model_inputs(self.backbone, batch, [0], None))

    def _first_layer(self) -> int:
        lowest = min((place.site.layer for place in self.places), default=0)
        lower = self.backbone.lower_layers
        parted = lowest > 0 and not any(self._shifts) and lower is not None and lower.can_part(lowest)
        return lowest if parted else 0

    def _above(self, batch: Batch) -> AbstractContextManager[None]:
        """Let a forward pass begin at `first_layer`, where what it reads is known or serves several."""
        times, lower = len(self) // batch.owners, self.backbone.lower_layers
        known = batch.below is not None and batch.below.layer == self.first_layer
        if lower is None or self.first_layer == 0 or not (known or times > 1):
            return nullcontext()
        hidden = batch.below.hidden if known and batch.below is not None else self.below(batch)
        return lower.skipped(self.first_layer, hidden.repeat(times, 1, 1))

    def _views(self) -> dict[str, Tensor]:
        # One cast and one split for all tensors: one concatenation in the backward pass. The head stays fp32,
        # and so do changes of the weights, which would be rounded away.
        sizes = [shape.numel() for shape in self.padded.values()]
        of_head = sum(name.startswith(PREFIX) for name in self.padded)
        head = sum(sizes[:of_head])
        whole = any(isinstance(place.delta, WeightDelta) for place in self.places)
        if whole:
            parts = self.parameters.split(sizes, 1)
        else:
            first, rest = self.parameters.split([head, sum(sizes) - head], 1)
            modules = rest.to(self.backbone.dtype).split(sizes[of_head:], 1)
            parts = (*first.split(sizes[:of_head], 1), *modules)
        named = zip(self.padded.items(), parts, strict=True)
        return {name: part.unflatten(1, shape) for (name, shape), part in named}

    def _prompt(self, stacked: Mapping[str, Tensor]) -> Prompt | None:
        for place in self.places:
            if isinstance(place.delta, PromptDelta):
                tensors = place.tensors(stacked)
                return Prompt(place.delta.vectors(tensors), tensors["visible"])
        return None

    def _run(self, stacked: Mapping[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
        """The last hidden states, from weights that are changed where a method changes them."""
        model = self.backbone.model
        weights = {}
        for place in self.places:
            if isinstance(place.delta, WeightDelta):
                weight, (change,) = model.get_parameter(place.site.module), place.tensors(stacked)["change"]
                weights[place.site.module] = (weight + change).to(weight.dtype)  # added in fp32
        output = functional_call(model, weights, kwargs=inputs) if weights else model(**inputs)
        hidden: Tensor = output.last_hidden_state
        return hidden

    # --------------------------------------------------------------------------- storing

    def pack(self, states: Sequence[Mapping[str, Tensor]]) -> Float[Tensor, "candidates parameters"]:
        """Lay unpadded tensors of each candidate into rows; what a candidate lacks is zero."""
        return pack(states, self.padded)

    def unpack(self, rows: Float[Tensor, "candidates parameters"]) -> list[State]:
        """The inverse of `pack`."""
        return unpack(rows, self.padded, self.shapes)

    def rates(self) -> Float[Tensor, "candidates parameters"] | None:
        """Factors of the learning rate, number by number, on the CPU; None when all are 1."""
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
        return self.pack(states)

    def states(self) -> list[State]:
        """The trained tensors of each candidate, unpadded."""
        return self.unpack(self.parameters)

    def deployed(self) -> list[tuple[MethodConfig, State]]:
        """What a training leaves behind of each candidate: its module without what only training needs."""
        return [
            _deployed(candidate.config, placed, state, self.backbone)
            for candidate, placed, state in zip(self.candidates, self.placed, self.states(), strict=True)
        ]

    def chances(self) -> list[Tensor] | None:
        """The state of each candidate's generator; None where nothing is left to chance."""
        return None if self._chance is None else [chance.get_state() for chance in self._chance]

    def set_chances(self, states: Sequence[Tensor]) -> None:
        """Let chance go on from states that `chances` gave."""
        for chance, state in zip(self._chance or (), states, strict=True):
            chance.set_state(state)

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
    left = head_tensors(state)
    for (site, delta), (_, after) in zip(placed, settled.placed(backbone.sites), strict=True):
        tensors = delta.settle({short: state[full_name(site, delta, short)] for short in delta.shapes()})
        left |= {full_name(site, after, short): tensor for short, tensor in tensors.items()}
    return settled, left
