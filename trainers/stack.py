"""N candidates of one method on one frozen backbone: the candidate axis (docs/engine.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainers.attention import Prefix, leave_prefix
from trainers.backbone import Backbone, mean_of_tokens
from trainers.batches import Batch
from trainers.heads import HEAD_TENSORS, head_logits, initial_head
from trainers.method import Delta, KeyValueDelta, MethodConfig, Trained
from trainers.sites import Insertion, Rows, Site

State = dict[str, Tensor]
"""Name -> tensor of one candidate, unpadded: what an export stores."""


@dataclass(frozen=True)
class Candidate:
    """A configuration and the seed that initialises it."""

    config: MethodConfig
    seed: int


@dataclass(frozen=True)
class _Place:
    """What a stack computes at one site for all its candidates."""

    site: Site
    delta: Trained
    names: Mapping[str, str]
    """Short name, as the delta knows it -> full name in the state."""
    constants: Mapping[str, Tensor]
    scaling: Tensor | None
    """`[candidates, 1, 1]`: 0 for candidates that change nothing here; None when all do."""


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

        Raises:
            ValueError: if the candidates cannot share a stack.
        """
        if len({candidate.config.stack_key for candidate in candidates}) != 1:
            raise ValueError(f"a stack holds one kind of candidate, not {[c.config for c in candidates]}")
        self.backbone = backbone
        self.candidates = tuple(candidates)
        self.classes = classes
        deltas = [candidate.config.deltas(backbone.sites) for candidate in candidates]
        first = [
            _initial(c.seed, d, classes, backbone.hidden_size)
            for c, d in zip(candidates, deltas, strict=True)
        ]
        self.shapes = [{name: tensor.shape for name, tensor in state.items()} for state in first]
        self._padded = _largest(self.shapes)
        self._places = _places(deltas, backbone)
        self.parameters = self.pack(first if states is None else states).to(backbone.device).requires_grad_()
        self._tensors: Mapping[str, Tensor] = {}
        self._rows = Rows(torch.ones(1, 1, dtype=torch.bool))
        self._inside_norm = False

    def __len__(self) -> int:
        return len(self.candidates)

    # ------------------------------------------------------------------------- computing

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Put the candidates' changes into the backbone; around forward and backward together."""
        handles = [hook for site, places in _by_site(self._places) for hook in self._hooks(site, places)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def logits(self, batch: Batch) -> Float[Tensor, "candidates batch classes"]:
        """Logits of every candidate for the same batch, fp32; only inside `attached()`."""
        count = len(self)
        self._tensors = self._views()
        self._rows = Rows(batch.attention_mask.bool())
        mask = batch.attention_mask.repeat(count, 1)
        inputs = {"input_ids": batch.input_ids.repeat(count, 1), "attention_mask": mask}
        if batch.token_type_ids is not None:
            inputs["token_type_ids"] = batch.token_type_ids.repeat(count, 1)
        hidden = self.backbone.model(**inputs).last_hidden_state
        features = mean_of_tokens(hidden, mask).unflatten(0, (count, len(batch)))
        return head_logits(self._tensors, features)

    def _views(self) -> dict[str, Tensor]:
        # One cast and one split for all tensors: one concatenation in the backward pass. The head stays fp32.
        sizes = [shape.numel() for shape in self._padded.values()]
        head = sum(sizes[:HEAD_TENSORS])
        first, rest = self.parameters.split([head, sum(sizes) - head], 1)
        modules = rest.to(self.backbone.dtype).split(sizes[HEAD_TENSORS:], 1)
        parts = [*first.split(sizes[:HEAD_TENSORS], 1), *modules]
        named = zip(self._padded.items(), parts, strict=True)
        return {name: part.unflatten(1, shape) for (name, shape), part in named}

    def _hooks(self, site: Site, places: Sequence[_Place]) -> Iterator[Any]:
        module = self.backbone.model.get_submodule(site.module)
        if site.insertion is Insertion.OUTPUT:
            yield module.register_forward_hook(self._change_output(places))
        elif site.insertion is Insertion.NORM_INPUT:
            yield module.register_forward_pre_hook(self._change_norm_input(places))
        else:
            (place,) = places
            yield module.register_forward_pre_hook(self._prepend(place), with_kwargs=True)

    def _change_output(self, places: Sequence[_Place]) -> Callable[..., Tensor]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return self._changed(places, inputs[0], output)

        return hook

    def _change_norm_input(self, places: Sequence[_Place]) -> Callable[..., tuple[Tensor] | None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor] | None:
            if self._inside_norm:
                return None
            self._inside_norm = True  # the call below runs this hook again
            try:
                normalised = module(inputs[0])
            finally:
                self._inside_norm = False
            return (self._changed(places, normalised, inputs[0]),)

        return hook

    def _changed(self, places: Sequence[_Place], x: Tensor, y: Tensor) -> Tensor:
        stacked_x = x.reshape(len(self), -1, x.shape[-1])
        stacked_y = y.reshape(len(self), -1, y.shape[-1])
        total = stacked_y
        for place in places:
            assert isinstance(place.delta, Delta)
            change = place.delta.change(self._of(place), stacked_x, stacked_y, self._rows)
            total = total + (change if place.scaling is None else change * place.scaling)
        return total.reshape(y.shape)

    def _prepend(self, place: _Place) -> Callable[..., None]:
        assert isinstance(place.delta, KeyValueDelta)
        delta = place.delta

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> None:
            x = inputs[0] if inputs else options["hidden_states"]
            tensors = self._of(place)
            keys, values = delta.keys_values(tensors, x.reshape(len(self), -1, x.shape[-1]), self._rows)
            leave_prefix(module, Prefix(keys, values, tensors["visible"]))

        return hook

    def _of(self, place: _Place) -> dict[str, Tensor]:
        return {**place.constants, **{short: self._tensors[full] for short, full in place.names.items()}}

    # --------------------------------------------------------------------------- storing

    def pack(self, states: Sequence[Mapping[str, Tensor]]) -> Float[Tensor, "candidates parameters"]:
        """Lay unpadded tensors of each candidate into rows; what a candidate lacks is zero."""
        rows = []
        for state in states:
            parts = [_pad(state.get(name), shape).flatten() for name, shape in self._padded.items()]
            rows.append(torch.cat(parts))
        return torch.stack(rows)

    def unpack(self, rows: Float[Tensor, "candidates parameters"]) -> list[State]:
        """The inverse of `pack`."""
        sizes = [shape.numel() for shape in self._padded.values()]
        states: list[State] = []
        for row, shapes in zip(rows.detach(), self.shapes, strict=True):
            parts = dict(zip(self._padded, row.split(sizes), strict=True))
            states.append(
                {
                    name: parts[name].view(self._padded[name])[tuple(map(slice, shape))].clone()
                    for name, shape in shapes.items()
                }
            )
        return states

    def states(self) -> list[State]:
        """The trained tensors of each candidate, unpadded."""
        return self.unpack(self.parameters)

    def select(self, kept: Sequence[int]) -> Stack:
        """A stack of some of the candidates, as trained so far; it predicts the same."""
        states = self.states()
        return Stack(
            self.backbone, [self.candidates[i] for i in kept], self.classes, [states[i] for i in kept]
        )

    def on(self, backbone: Backbone) -> Stack:
        """The same candidates on another copy of the backbone, in its dtype."""
        return Stack(backbone, self.candidates, self.classes, self.states())


# ------------------------------------------------------------------------------------- layout


def _initial(seed: int, deltas: Sequence[tuple[Site, Trained]], classes: int, width: int) -> State:
    """First values of one candidate, from its own generator: the same alone and in any stack."""
    generator = torch.Generator().manual_seed(seed)
    state = initial_head(classes, width, generator)
    for site, delta in deltas:
        for short, tensor in delta.initial(generator).items():
            state[_full_name(site, delta, short)] = tensor
    return state


def _full_name(site: Site, delta: Trained, short: str) -> str:
    place = f"{site.module}.input" if site.insertion is Insertion.NORM_INPUT else site.module
    return f"{place}.{delta.kind.replace(' ', '_')}.{short}"


def _largest(shapes: Sequence[Mapping[str, torch.Size]]) -> dict[str, torch.Size]:
    largest: dict[str, torch.Size] = {}
    for candidate in shapes:
        for name, shape in candidate.items():
            largest[name] = torch.Size(map(max, zip(shape, largest.get(name, shape), strict=True)))
    return largest


def _pad(tensor: Tensor | None, shape: torch.Size) -> Tensor:
    padded = torch.zeros(shape)
    if tensor is not None:
        padded[tuple(map(slice, tensor.shape))] = tensor.cpu()
    return padded


def _places(deltas: Sequence[Sequence[tuple[Site, Trained]]], backbone: Backbone) -> list[_Place]:
    """One place for each site and kind of delta, in the order of the forward pass."""
    found: dict[tuple[Site, str], dict[int, Trained]] = {}
    for candidate, pairs in enumerate(deltas):
        for site, delta in pairs:
            found.setdefault((site, delta.kind), {})[candidate] = delta
    return [_place(site, owners, len(deltas), backbone) for (site, _), owners in found.items()]


def _place(site: Site, owners: Mapping[int, Trained], count: int, backbone: Backbone) -> _Place:
    delta = next(iter(owners.values()))
    shorts = delta.initial(torch.Generator())
    constants = [owners[i].constants() if i in owners else {} for i in range(count)]
    shapes = _largest([{name: value.shape for name, value in each.items()} for each in constants])
    stacked = {
        name: torch.stack([_pad(each.get(name), shape) for each in constants])
        for name, shape in shapes.items()
    }
    owns = torch.tensor([float(i in owners) for i in range(count)]).view(-1, 1, 1)
    return _Place(
        site=site,
        delta=delta,
        names={short: _full_name(site, delta, short) for short in shorts},
        constants={name: value.to(backbone.device) for name, value in stacked.items()},
        scaling=None if owns.all() else owns.to(backbone.device, backbone.dtype),
    )


def _by_site(places: Sequence[_Place]) -> Iterator[tuple[Site, list[_Place]]]:
    sites: dict[Site, list[_Place]] = {}
    for place in places:
        sites.setdefault(place.site, []).append(place)
    yield from sites.items()
