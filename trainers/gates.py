"""Reading the gates of mixtures while batches pass through a stack."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.fidelity import Gate
from trainers.layout import Place


class GateWatch:
    """Collects gate values, place by place, for all candidates of a stack."""

    def __init__(self) -> None:
        self._values: dict[int, list[Tensor]] = {}
        self._places: dict[int, Place] = {}

    def saw(self, place: Place, value: Tensor) -> None:
        """Keep the gate values `[candidates, batch]` of one call."""
        self._places[id(place)] = place
        self._values.setdefault(id(place), []).append(value.detach().float())

    def values(self, candidate: int) -> list[tuple[Place, Tensor]]:
        """The gates of one candidate: place and the value for each example, in the order of the batches."""
        return [
            (place, torch.cat(self._values[key], 1)[candidate])
            for key, place in self._places.items()
            if candidate in place.owners
        ]

    def gates(self, candidate: int) -> tuple[Gate, ...]:
        """Mean and standard deviation over the examples seen."""
        return tuple(_gate(place, value) for place, value in self.values(candidate))


def _gate(place: Place, value: Tensor) -> Gate:
    return Gate(
        layer=place.site.layer,
        module=place.delta.kind.removeprefix("gated ").split()[0],
        role=place.site.role,
        mean=float(value.mean()),
        deviation=float(value.std(correction=0)),
    )
