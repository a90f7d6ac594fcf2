"""Checkpoints: where the training of one candidate stands, as bytes from which it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trainers.layout import State

FACTS = "facts"
"""Key of the numbers that are no tensors, as JSON, in the header of the file."""
SEPARATOR = "/"


class CheckpointError(ValueError):
    """These bytes are not a checkpoint, or not one of this training."""


@dataclass(frozen=True)
class Checkpoint:
    """All that the next step of one candidate depends on, beside its configuration, its seed and the data."""

    tensors: State
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values."""
    parts: Mapping[str, Checkpoint] = field(default_factory=dict)
    """Checkpoints of which it is made, by name: one for each fold, or the training and its best epoch."""

    def to_bytes(self) -> bytes:
        """One safetensors file; never a pickle."""
        return save(dict(self._flat()), metadata={FACTS: json.dumps(self._all_facts())})

    def _flat(self, path: str = "") -> list[tuple[str, Tensor]]:
        own = [(path + name, tensor.detach().cpu().contiguous()) for name, tensor in self.tensors.items()]
        return own + [
            flat for name, part in self.parts.items() for flat in part._flat(path + name + SEPARATOR)
        ]

    def _all_facts(self) -> dict[str, Any]:
        return {
            "facts": dict(self.facts),
            "tensors": list(self.tensors),
            "parts": {name: part._all_facts() for name, part in self.parts.items()},
        }


def checkpoint_from_bytes(stored: bytes) -> Checkpoint:
    """The inverse of `Checkpoint.to_bytes`.

    Raises:
        CheckpointError: if the bytes are no checkpoint.
    """
    try:
        tensors = load(stored)
        length = int.from_bytes(stored[:8], "little")
        facts = json.loads(json.loads(stored[8 : 8 + length])["__metadata__"][FACTS])
        return _built(tensors, facts)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"these bytes are no checkpoint of a training: {error}") from None


def _built(tensors: State, facts: Mapping[str, Any], path: str = "") -> Checkpoint:
    return Checkpoint(
        {name: tensors[path + name] for name in facts["tensors"]},
        facts["facts"],
        {name: _built(tensors, part, path + name + SEPARATOR) for name, part in facts["parts"].items()},
    )


@runtime_checkable
class Resumable(Protocol):
    """A stack that remembers nothing from step to step but its tensors and the state of its chance."""

    def chances(self) -> list[Tensor] | None:
        """The state of each candidate's generator; None where nothing is left to chance."""

    def set_chances(self, states: Sequence[Tensor]) -> None:
        """Let chance go on from states that `chances` gave."""


def parts_of(checkpoints: Sequence[Checkpoint], name: str) -> list[Checkpoint]:
    """The parts with a name, of those that have one."""
    return [checkpoint.parts[name] for checkpoint in checkpoints if name in checkpoint.parts]


def common(checkpoints: Sequence[Checkpoint], fact: str) -> Any:
    """A fact that checkpoints of one stack share.

    Raises:
        CheckpointError: if they do not.
    """
    found = {checkpoint.facts.get(fact) for checkpoint in checkpoints}
    if len(found) != 1 or None in found:
        raise CheckpointError(f"these checkpoints are not of one stack: their {fact} are {found}")
    return found.pop()
