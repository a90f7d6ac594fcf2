"""How the tensors of several candidates lie side by side: names, padding, and what sits at which site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.backbone import Backbone
from trainers.head import Head, head_tensors
from trainers.sites import LINEAR_ROLES, Insertion, Site, is_transposed
from trainers.trained import Trained

State = dict[str, Tensor]
"""Name -> tensor of one candidate, unpadded: what an export stores."""
Placed = Sequence[tuple[Site, Trained]]
"""What one candidate trains, site by site."""
Shapes = Mapping[str, torch.Size]


@dataclass(frozen=True)
class Place:
    """What a stack computes at one site for all its candidates."""

    site: Site
    delta: Trained
    """Of one of the candidates."""
    names: Mapping[str, str]
    """Short name, as the delta knows it -> full name in the state."""
    constants: Mapping[str, Tensor]
    """Untrained tensors: those of the candidates side by side, and those that all share."""
    scaling: Tensor | None
    """`[candidates, 1, 1]`: 0 for candidates that change nothing here; None when all do."""
    owners: frozenset[int]
    """Candidates that have a module here."""

    def tensors(self, stacked: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the delta is given: constants, and the tensors of a state, stacked, by their short names."""
        return {**self.constants, **{short: stacked[full] for short, full in self.names.items()}}


def full_name(site: Site, delta: Trained, short: str) -> str:
    """The name of a trained tensor in a state, such as `encoder.layer.0.output.dense.lora.a`."""
    kind = delta.kind.replace(" ", "_")
    if short in delta.shared:
        return f"{kind}.{short}"
    parts = [site.module] if site.module else []
    if site.start is not None:
        parts.append(site.role)
    if site.insertion in (Insertion.NORM_INPUT, Insertion.INPUT, Insertion.PROMPT):
        parts.append("input")
    return ".".join([*parts, kind, short])


def initial_state(seed: int, placed: Placed, classes: int, width: int, head: Head) -> State:
    """First values of one candidate, from its own generator: the same alone and in any stack."""
    generator = torch.Generator().manual_seed(seed)
    state = head.initial(classes, width, generator)
    for site, delta in placed:
        for short, tensor in delta.initial(generator).items():
            state.setdefault(full_name(site, delta, short), tensor)
    return state


def present(placed: Placed, state: Mapping[str, Tensor]) -> Placed:
    """The part of a candidate that a state has tensors for: a pruned module is absent from it."""
    return [
        (site, delta)
        for site, delta in placed
        if all(full_name(site, delta, short) in state for short in delta.shapes())
    ]


def ordered(placed: Placed, state: State) -> State:
    """A state in the order in which a stack lays it out: the head, then site by site."""
    names = [full_name(site, delta, short) for site, delta in placed for short in delta.shapes()]
    return {name: state[name] for name in dict.fromkeys([*head_tensors(state), *names])}


def largest(shapes: Sequence[Shapes]) -> dict[str, torch.Size]:
    """The padded shape of each tensor: large enough for every candidate."""
    found: dict[str, torch.Size] = {}
    for candidate in shapes:
        for name, shape in candidate.items():
            found[name] = torch.Size(map(max, zip(shape, found.get(name, shape), strict=True)))
    return found


def padded(tensor: Tensor | None, shape: torch.Size) -> Tensor:
    """A tensor at the front of zeros."""
    found = torch.zeros(shape)
    if tensor is not None:
        found[tuple(map(slice, tensor.shape))] = tensor.cpu()
    return found


def pack(states: Sequence[Mapping[str, Tensor]], shapes: Shapes) -> Tensor:
    """Unpadded tensors as rows `[candidates, parameters]`; what a candidate lacks is zero."""
    rows = [
        torch.cat([padded(state.get(name), shape).flatten() for name, shape in shapes.items()])
        for state in states
    ]
    return torch.stack(rows)


def unpack(rows: Tensor, padded_shapes: Shapes, shapes: Sequence[Shapes]) -> list[State]:
    """The inverse of `pack`."""
    sizes = [shape.numel() for shape in padded_shapes.values()]
    states: list[State] = []
    for row, own in zip(rows.detach(), shapes, strict=True):
        parts = dict(zip(padded_shapes, row.split(sizes), strict=True))
        states.append(
            {
                name: parts[name].view(padded_shapes[name])[tuple(map(slice, shape))].clone()
                for name, shape in own.items()
            }
        )
    return states


def places_of(candidates: Sequence[Placed], backbone: Backbone) -> list[Place]:
    """One place for each site and kind of delta.

    What reads another module's input comes last at a module: it sees the others' changes of the output.
    """
    found: dict[tuple[Site, str], dict[int, Trained]] = {}
    for candidate, placed in enumerate(candidates):
        for site, delta in placed:
            found.setdefault((site, delta.kind), {})[candidate] = delta
    places = [_place(site, owners, len(candidates), backbone) for (site, _), owners in found.items()]
    return sorted(places, key=lambda place: place.site.source is not None)


def by_site(places: Sequence[Place]) -> Iterator[tuple[Site, list[Place]]]:
    """Places grouped by site, in their order."""
    sites: dict[Site, list[Place]] = {}
    for place in places:
        sites.setdefault(place.site, []).append(place)
    yield from sites.items()


def _place(site: Site, owners: Mapping[int, Trained], count: int, backbone: Backbone) -> Place:
    delta = next(iter(owners.values()))
    constants = [owners[i].constants() if i in owners else {} for i in range(count)]
    shapes = largest([{name: value.shape for name, value in each.items()} for each in constants])
    rows = {
        name: torch.stack([padded(each.get(name), s) for each in constants]) for name, s in shapes.items()
    }
    stacked = {n: r if n in delta.on_host else r.to(backbone.device) for n, r in rows.items()}
    owns = torch.tensor([float(i in owners) for i in range(count)]).view(-1, 1, 1)
    return Place(
        site=site,
        delta=delta,
        names={short: full_name(site, delta, short) for short in delta.shapes()},
        constants={**stacked, **_frozen(site, delta, backbone)},
        scaling=None if owns.all() else owns.to(backbone.device, backbone.dtype),
        owners=frozenset(owners),
    )


def _frozen(site: Site, delta: Trained, backbone: Backbone) -> dict[str, Tensor]:
    if site.role not in LINEAR_ROLES:
        return {}
    module = backbone.model.get_submodule(site.module)
    if not site.readable:
        # Its device and type are known, its numbers are not.
        unknown = torch.empty(0, device=module.get_parameter("weight").device, dtype=backbone.dtype)
        return delta.frozen(unknown, None)
    stored, bias = module.get_parameter("weight").detach(), getattr(module, "bias", None)
    weight = stored.mT if is_transposed(module) else stored
    part = slice(site.start, None if site.start is None else site.start + site.d_out)
    return delta.frozen(weight[part], None if bias is None else bias.detach()[part])
