"""What a method is: the numbers that configure it, their domains, and the tensors it trains at a site."""

from __future__ import annotations

import dataclasses
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_type_hints

import torch
from jaxtyping import Float as FloatTensor
from torch import Tensor

from trainers.rows import Rows
from trainers.sites import Site

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


Value = bool | int | float | str


@dataclass(frozen=True, init=False)
class Choice:
    """One of a few values; those are searched.

    `also` allows more values, which a user may ask for, and `hint` says which.
    """

    options: tuple[Value, ...]
    also: Callable[[object], bool] | None
    hint: str

    def __init__(self, *options: Value, also: Callable[[object], bool] | None = None, hint: str = "") -> None:
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "also", also)
        object.__setattr__(self, "hint", hint)

    def contains(self, value: object) -> bool:
        if any(value == option and type(value) is type(option) for option in self.options):
            return True
        return self.also is not None and self.also(value)

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.options)) + (f", or {self.hint}" if self.hint else "")


Domain = Int | Float | Choice


def _names_layers(value: object) -> bool:
    return isinstance(value, str) and _LAYERS.fullmatch(value) is not None


_LAYERS = re.compile(r"(top|bottom) [1-9]\d*|\d+( \d+)*")
LAYERS = Choice(
    "all",
    "top half",
    "top third",
    "bottom half",
    "every second",
    also=_names_layers,
    hint="'top 3', 'bottom 3', or numbers from 0 such as '0 2 5'",
)
"""Layers that carry modules; `every second` counts from the last layer."""


@dataclass(frozen=True)
class When:
    """The field counts only where `holds(values of the fields)`; elsewhere it is not searched."""

    holds: Callable[[Mapping[str, Any]], bool]


# ------------------------------------------------------------------------------ configurations

Searched = Literal["always", "named", "never"]


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
    searched: ClassVar[Searched] = "always"
    """`named`: only when the user names it. `never`: it runs as a baseline of every study instead."""
    alone: ClassVar[bool] = False
    """True for a method whose candidates cannot share a stack with others."""
    formula: ClassVar[str]
    """What it computes, in one line; for the table in docs/methods.md."""
    reference: ClassVar[str]
    """Authors and arXiv number."""
    mergeable: ClassVar[bool]
    """Whether a trained module can be added to the frozen weights exactly."""
    peft_class: ClassVar[str] = ""
    """The configuration class with which peft represents it; empty where there is none."""

    learning_rate: Annotated[float, Float(1e-4, 1e-2, log=True)] = 1e-3
    weight_decay: Annotated[float, Choice(0.0, 0.01, 0.1)] = 0.0
    layers: Annotated[str, LAYERS] = "all"
    """The layers that carry modules."""

    def __post_init__(self) -> None:
        for name, domain in domains(type(self)).items():
            value = getattr(self, name)
            if not domain.contains(value):
                raise ValueError(f"{self.name}.{name} is {value!r}; it must be {domain}")

    @abstractmethod
    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, Trained]]:
        """The sites that this configuration changes, each with what it trains there."""

    def placed(self, sites: Sequence[Site]) -> Sequence[tuple[Site, Trained]]:
        """`deltas` on the chosen layers only."""
        return self.deltas(on_layers(sites, self.layers))

    @property
    def stack_key(self) -> tuple[object, ...]:
        """Candidates with equal keys may share a stack: same method, same computation."""
        return (self.name,)

    @property
    def position_shift(self) -> int:
        """By how much the positions of the tokens are raised."""
        return 0

    @property
    def uses_chance(self) -> bool:
        """Whether anything is left to chance in training, such as dropout."""
        return False

    def deployed(self) -> MethodConfig:
        """The configuration of the module that a training leaves behind (`Trained.settle`)."""
        return self

    @classmethod
    def missing(cls, sites: Sequence[Site]) -> str:
        """What a backbone with these sites lacks for this method; empty if nothing."""
        return "" if cls().placed(sites) else "a place for it"

    @classmethod
    def options_on(cls, sites: Sequence[Site]) -> Mapping[str, Choice]:
        """Fields whose searched values depend on the backbone -> those that it allows."""
        return {}

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


def on_layers(sites: Sequence[Site], layers: str) -> Sequence[Site]:
    """The sites in the chosen layers; what lies outside the layers (-1) belongs to `all` only."""
    if layers == "all":
        return sites
    chosen = _chosen_layers(layers, 1 + max(site.layer for site in sites))
    return [site for site in sites if site.layer in chosen]


def _chosen_layers(layers: str, count: int) -> range | list[int]:
    word, _, number = layers.partition(" ")
    if layers == "every second":
        return range(count - 1, -1, -2)  # the last one always, because the head reads it
    if word not in ("top", "bottom"):
        found = [int(one) for one in layers.split()]
        if max(found) >= count:
            raise ValueError(f"layers is {layers!r}; the backbone has layers 0 to {count - 1}")
        return found
    parts = {"half": 2, "third": 3}
    chosen = -(-count // parts[number]) if number in parts else min(count, int(number))
    return range(count - chosen, count) if word == "top" else range(chosen)


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

    @property
    def shared(self) -> frozenset[str]:
        """Names of trained tensors that all sites of a candidate share."""
        return frozenset()

    @abstractmethod
    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Name -> first value of each trained tensor, fp32 on the CPU."""

    def shapes(self) -> dict[str, torch.Size]:
        """Name -> shape of each trained tensor."""
        return {name: tensor.shape for name, tensor in self.initial(torch.Generator()).items()}

    def constants(self) -> dict[str, Tensor]:
        """Name -> number or tensor that is not trained but may differ between candidates."""
        return {}

    def frozen(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        """Name -> tensor that is not trained and the same for all candidates.

        `weight` (`[d_out, d_in]`) and `bias` are the frozen module's, on its device and in its dtype.
        A quantised weight cannot be read: `weight` then is empty and `bias` None.
        Delivered to `change` without a `candidates` axis.
        """
        return {}

    def rates(self) -> Mapping[str, float]:
        """Name -> factor of the learning rate, for tensors that learn faster or slower than the rest."""
        return {}

    def settle(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What remains of one candidate's trained tensors once training is over."""
        return dict(tensors)


class Delta(Trained):
    """A change that is added to what a frozen module gives or gets."""

    per_example: ClassVar[bool] = False
    """True where `change` needs to know which row belongs to which example."""

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
        `tensors`, never from `self`, unless they are part of `kind` or of the method's `stack_key`.
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


class PromptDelta(Trained):
    """Vectors in front of the embedded tokens; the constant `visible` hides a shorter prompt's slots."""

    @abstractmethod
    def vectors(self, tensors: Tensors) -> FloatTensor[Tensor, "candidates length d_out"]:
        """The vectors; the first stands next to the tokens, those that a candidate lacks come last."""


class WeightDelta(Trained):
    """A change of one of the model's own parameters; the trained tensor is named `change`."""
