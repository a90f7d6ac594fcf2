"""What a method is: the numbers that configure it, and what it puts where; the register of all methods."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_type_hints

from trainers.domains import CLASS_WEIGHTS, FOCAL, LAYERS, WARMUP, Choice, Domain, Float, Int, When
from trainers.sites import Site
from trainers.trained import Trained

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
    warmup: Annotated[float, WARMUP] = 0.06
    """Share of the steps over which the learning rate rises; .06 as in most recipes for encoders."""
    class_weights: Annotated[str, CLASS_WEIGHTS] = "none"
    """balanced: every class counts alike in the training loss, however few rows it has."""
    focal: Annotated[float, FOCAL] = 0.0
    """How much less those count in the training loss that are predicted well; 0: as much as all others."""

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
    def merges(self) -> bool:
        """Whether this configuration's module can be added to the frozen weights exactly."""
        return self.mergeable

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
        everything = {name: getattr(self, name) for name in domains(type(self))}
        conditions = conditions_of(type(self))
        return {
            name: value
            for name, value in everything.items()
            if name not in conditions or conditions[name].holds(everything)
        }


@cache
def domains(config: type[MethodConfig]) -> Mapping[str, Domain]:
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
    return MappingProxyType(found)


@cache
def conditions_of(config: type[MethodConfig]) -> Mapping[str, When]:
    """Field -> condition, for those fields that count only sometimes."""
    notes_of = _annotations(config)
    found = {name: note for name, notes in notes_of.items() for note in notes if isinstance(note, When)}
    return MappingProxyType(found)


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
