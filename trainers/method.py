"""What a method is: the numbers that configure it, their domains, and the tensors it trains at a site."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints

import torch
from jaxtyping import Float as FloatTensor
from torch import Tensor

from trainers.sites import Rows, Site

# ------------------------------------------------------------------------------------- domains


@dataclass(frozen=True)
class Int:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int
    log: bool = False

    def contains(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True)
class Float:
    """Real numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False

    def contains(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return math.isfinite(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, init=False)
class Choice:
    """One of a few values."""

    options: tuple[bool | int | float | str, ...]

    def __init__(self, *options: bool | int | float | str) -> None:
        object.__setattr__(self, "options", options)

    def contains(self, value: object) -> bool:
        return any(value == option and type(value) is type(option) for option in self.options)

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.options))


Domain = Int | Float | Choice


@dataclass(frozen=True)
class When:
    """The field counts only where `holds(values of the fields)`; elsewhere it is not searched."""

    holds: Callable[[Mapping[str, Any]], bool]


# ------------------------------------------------------------------------------ configurations


@dataclass(frozen=True, kw_only=True)
class MethodConfig(ABC):
    """The numbers of one method; its annotations are its search space.

    A subclass is a frozen dataclass in a file of its own, registered with
    `@register`, whose fields read `rank: Annotated[int, Int(1, 64, log=True)] = 8`:
    type, domain, strong default.

    Raises:
        ValueError: if a value lies outside its domain.
    """

    name: ClassVar[str]
    """The word for the method everywhere: command line, tables, exports."""
    searched: ClassVar[bool] = True
    """False for a method that runs as a baseline of every study instead."""

    learning_rate: Annotated[float, Float(1e-4, 1e-2, log=True)] = 1e-3
    weight_decay: Annotated[float, Choice(0.0, 0.01, 0.1)] = 0.0

    def __post_init__(self) -> None:
        for name, domain in domains(type(self)).items():
            value = getattr(self, name)
            if not domain.contains(value):
                raise ValueError(f"{self.name}.{name} is {value!r}; it must be {domain}")

    @abstractmethod
    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, Trained]]:
        """The sites that this configuration changes, each with what it trains there."""

    @property
    def stack_key(self) -> tuple[object, ...]:
        """Candidates with equal keys may share a stack: same method, same modules."""
        return (self.name,)

    @classmethod
    def roles(cls) -> frozenset[str]:
        """The roles that a backbone must offer before this method can run on it."""
        return frozenset()

    @classmethod
    def strong_defaults(cls) -> Sequence[MethodConfig]:
        """Configurations worth a try before any search; the first is the method's default."""
        return (cls(),)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> MethodConfig:
        """Build from plain values; the inverse of `values`.

        Raises:
            ValueError: for an unknown field or a value outside its domain.
        """
        known = domains(cls)
        for name in values:
            if name not in known:
                raise ValueError(f"{cls.name} has no field {name!r}; its fields are {', '.join(known)}")
        return cls(**values)

    def values(self) -> dict[str, Any]:
        """Field -> value, only those that count for this configuration; JSON values."""
        everything = dataclasses.asdict(self)
        conditions = conditions_of(type(self))
        return {
            name: value
            for name, value in everything.items()
            if name not in conditions or conditions[name].holds(everything)
        }


def domains(config: type[MethodConfig]) -> dict[str, Domain]:
    """Field -> domain, in the order of the fields.

    Raises:
        TypeError: if a field has no domain.
    """
    found: dict[str, Domain] = {}
    for name, notes in _annotations(config).items():
        domain = next((note for note in notes if isinstance(note, Int | Float | Choice)), None)
        if domain is None:
            raise TypeError(f"{config.__name__}.{name} has no domain; write Annotated[int, Int(1, 64)] = 8")
        found[name] = domain
    return found


def conditions_of(config: type[MethodConfig]) -> dict[str, When]:
    """Field -> condition, for those fields that count only sometimes."""
    notes_of = _annotations(config)
    return {name: note for name, notes in notes_of.items() for note in notes if isinstance(note, When)}


@cache
def _annotations(config: type[MethodConfig]) -> dict[str, tuple[Any, ...]]:
    hints = get_type_hints(config, include_extras=True)
    return {
        field.name: getattr(hints[field.name], "__metadata__", ()) for field in dataclasses.fields(config)
    }


METHODS: dict[str, type[MethodConfig]] = {}
"""Every method by name. Filled by `@register` when `trainers.methods` is imported."""

Config = TypeVar("Config", bound=type[MethodConfig])


def register(config: Config) -> Config:
    """Class decorator: make a method known under its name.

    Raises:
        ValueError: if another file has the name already. The same file may register
            again, because Streamlit imports changed modules anew.
    """
    other = METHODS.get(config.name)
    if other is not None and other.__module__ != config.__module__:
        raise ValueError(f"method {config.name!r} is already registered by {other.__module__}")
    domains(config)
    METHODS[config.name] = config
    return config


# ---------------------------------------------------------------------------- what is trained

Tensors = Mapping[str, Tensor]
"""Name -> tensor, for all candidates of a stack: `[candidates, ...]`."""


class Trained(ABC):
    """What one candidate trains at one site: sizes and numbers, no tensors.

    The stack calls `initial` and `constants` once for each candidate, pads the
    results with zeros to the largest candidate's sizes and lays them side by side
    as `[candidates, ...]`. Padding must change nothing and receive no gradient;
    zeros see to that wherever two trained tensors are multiplied.
    """

    @property
    @abstractmethod
    def kind(self) -> str:
        """Names the computation; what shares a kind and a site is stacked."""

    @abstractmethod
    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Name -> first value of each trained tensor, fp32 on the CPU."""

    def constants(self) -> dict[str, Tensor]:
        """Name -> number or tensor that is not trained but may differ between candidates."""
        return {}


class Delta(Trained):
    """A change that is added to the output of a frozen module."""

    @abstractmethod
    def change(
        self,
        tensors: Tensors,
        x: FloatTensor[Tensor, "candidates rows d_in"],
        y: FloatTensor[Tensor, "candidates rows d_out"],
        rows: Rows,
    ) -> FloatTensor[Tensor, " candidates #rows d_out"]:
        """The change, for all candidates at once.

        Called on the delta of one of the candidates: sizes and numbers come from
        `tensors`, never from `self`, unless they are part of `kind`.
        """


class KeyValueDelta(Trained):
    """Keys and values that are prepended in an attention module."""

    @abstractmethod
    def keys_values(
        self,
        tensors: Tensors,
        x: FloatTensor[Tensor, "candidates rows d_in"],
        rows: Rows,
    ) -> tuple[
        FloatTensor[Tensor, " candidates #batch length d_out"],
        FloatTensor[Tensor, " candidates #batch length d_out"],
    ]:
        """Keys and values in front of the sequence, heads side by side in `d_out`.

        The constant `visible` (`[candidates, length]`, 1 or 0) hides the slots
        that a candidate with a shorter prefix does not have.
        """
