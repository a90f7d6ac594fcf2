"""Which code stands behind a method: our own stacks, or peft's behind a name such as `peft:OFT`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from typing import Protocol, runtime_checkable

from torch import Tensor

from trainers.backbone import Backbone, load, outline
from trainers.batches import Batch
from trainers.bridge import BridgedConfig
from trainers.cost import BYTES_PER_NUMBER, Cost, cost_of
from trainers.gates import GateWatch
from trainers.head import MEAN, head_tensors
from trainers.method import MethodConfig
from trainers.naming import method_named as method_named
from trainers.stack import Candidate, Stack, State


@runtime_checkable
class AnyStack(Protocol):
    """What training and exports need of a stack; `Stack` says what each does."""

    backbone: Backbone
    candidates: tuple[Candidate, ...]
    classes: int
    parameters: Tensor

    @property
    def penalty(self) -> Tensor | None: ...
    def __len__(self) -> int: ...
    def attached(self) -> AbstractContextManager[None]: ...
    def watching(self) -> AbstractContextManager[GateWatch]: ...
    def logits(self, batch: Batch, *, training: bool = False) -> Tensor: ...
    def pack(self, states: Sequence[Mapping[str, Tensor]]) -> Tensor: ...
    def unpack(self, rows: Tensor) -> list[State]: ...
    def rates(self) -> Tensor | None: ...
    def states(self) -> list[State]: ...
    def deployed(self) -> list[tuple[MethodConfig, State]]: ...
    def select(self, kept: Sequence[int]) -> AnyStack: ...
    def on(self, backbone: Backbone) -> AnyStack: ...


@runtime_checkable
class OwnRules(Protocol):
    """A stack that does something of its own after each step of the optimizer."""

    def after_step(self, gradient: Tensor, step: int, steps: int) -> None:
        """`gradient` is that of step `step` of `steps`, before clipping."""


def build_stack(
    backbone: Backbone,
    candidates: Sequence[Candidate],
    classes: int,
    states: Sequence[State] | None = None,
) -> AnyStack:
    """A stack of candidates that can share one; of peft's methods always a stack of one.

    Raises:
        ValueError: if the candidates cannot share a stack.
        PeftError: if peft cannot build its method on this backbone.
    """
    if candidates and isinstance(candidates[0].config, BridgedConfig):
        return _peft_stack()(backbone, candidates, classes, states)
    return Stack(backbone, candidates, classes, states)


def _peft_stack() -> Callable[..., AnyStack]:
    # Importing peft takes seconds, and it need not be installed: only those wait who ask for it.
    found: Callable[..., AnyStack] = import_module("trainers.peft_stack").PeftStack
    return found


def costs_on(
    reference: str, classes: int, dtype: str = "auto", head: str = MEAN
) -> Callable[[MethodConfig], Cost | None]:
    """A function that counts a configuration's parameters on a backbone before it is trained.

    peft's modules are counted by building them, on weights that are read when the first one is asked for;
    None where that fails: whoever trains the configuration will say why.
    """
    sketch = outline(reference, dtype, head)

    @cache
    def backbone() -> Backbone:
        return load(reference, dtype="fp32", device="cpu", head=head)

    def cost(config: MethodConfig) -> Cost | None:
        if not isinstance(config, BridgedConfig):
            return cost_of(config, sketch.sites, classes, sketch.hidden_size, sketch.head)
        try:
            return cost_of_stack(build_stack(backbone(), [Candidate(config, 0)], classes))
        except RuntimeError:
            return None

    return cost


def cost_of_stack(stack: AnyStack) -> Cost:
    """What a stack of one trains and stores."""
    (state,) = stack.states()
    head = sum(tensor.numel() for tensor in head_tensors(state).values())
    trained = stack.parameters.shape[1]
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    return Cost(
        module_parameters=trained - head,
        deployed_parameters=trained - head,
        head_parameters=head,
        frozen_bytes=size - BYTES_PER_NUMBER * trained,
    )
