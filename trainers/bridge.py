"""peft's methods as configurations of ours, named `peft:ADALORA`; peft itself is not needed to read this.

`trainers/peft_stack.py` runs them with peft's own code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from functools import cache
from typing import Annotated, Any, ClassVar

from trainers.domains import Choice, Float, Int
from trainers.method import MethodConfig, domains
from trainers.sites import LINEAR_ROLES, Site
from trainers.trained import Trained

PREFIX = "peft:"

TARGETS: Mapping[str, tuple[str, ...]] = {
    "query value": ("query", "value"),
    "attention": ("query", "key", "value", "attention_output"),
    "all linear": LINEAR_ROLES,
}
"""`query value` is what most peft types take by default."""

# ------------------------------------------------------------------------------------ the types

Fields = dict[str, tuple[Any, Any]]
"""Field of peft's configuration class, under peft's name -> annotation with its domain, default."""


def _whole(name: str, default: int, low: int, high: int) -> Fields:
    return {name: (Annotated[int, Int(low, high, log=True)], default)}


def _real(name: str, default: float, low: float, high: float) -> Fields:
    return {name: (Annotated[float, Float(low, high, log=True)], default)}


def _one_of(name: str, default: int | float, *options: int | float) -> Fields:
    return {name: (Annotated[type(default), Choice(*options)], default)}


def _rank(default: int = 8, high: int = 64) -> Fields:
    return _whole("r", default, 1, high)


@dataclass(frozen=True)
class Rate:
    """Learning rates of a type: searched from `low` to `high`, tried first at `default`."""

    low: float
    default: float
    high: float


# Measured over three epochs of examples/support_tickets.csv on MiniLM, in steps of a factor of four. LoRA and
# PEANuT diverge at 1.6e-2, where AdaLoRA and BOFT are at their best.
MATRIX = Rate(3e-4, 4e-3, 3e-2)
VECTOR = Rate(1.6e-3, 1.6e-2, 1.6e-1)
LARGE = Rate(1e-4, 1e-3, 1e-2)
"""For types that train much, or scale it up: OSF diverges at 1.6e-2, RandLoRA at 4e-3."""


@dataclass(frozen=True)
class Kind:
    """A peft type as we run it: what is searched, and what peft leaves to its user."""

    rate: Rate
    fields: Fields = field(default_factory=dict)
    roles: tuple[str, ...] | None = None
    """Roles of the modules that are changed; None: `targets` is searched; empty: peft finds them itself."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Other values than peft's defaults."""
    dividing: tuple[str, ...] = ()
    """Fields whose value must divide the widths of the modules."""
    layered: bool = True
    """False where modules of all layers share tensors by their names."""
    native_dtype: bool = False
    """It trains copies of the backbone's own modules, which compute in the backbone's dtype."""
    decomposes: bool = False
    """Frozen parts come from a decomposition of the weights, which another machine may give other signs:
    they are stored, though peft itself would compute them again."""


KINDS: Mapping[str, Kind] = {
    "ADALORA": Kind(MATRIX, _whole("target_r", 8, 1, 64) | _real("lora_alpha", 16.0, 1.0, 128.0)),
    "ADAMSS": Kind(VECTOR, _one_of("num_subspaces", 5, 3, 5, 10) | _whole("subspace_rank", 1, 1, 4)),
    "ADAPTION_PROMPT": Kind(VECTOR, _whole("adapter_len", 10, 1, 64), roles=()),
    "BEFT": Kind(VECTOR, roles=("value",)),
    "BOFT": Kind(MATRIX, _one_of("boft_block_size", 4, 2, 4, 8), dividing=("boft_block_size",)),
    "C3A": Kind(VECTOR, _one_of("block_size", 32, 8, 16, 32, 64, 128), dividing=("block_size",)),
    "CARTRIDGE": Kind(VECTOR, _whole("num_virtual_tokens", 10, 2, 64), roles=()),
    "DEFT": Kind(MATRIX, _rank()),
    "DELORA": Kind(MATRIX, _rank() | _real("delora_lambda", 15.0, 1.0, 50.0)),
    "FOURIERFT": Kind(VECTOR, _whole("n_frequency", 1000, 50, 5000) | _real("scaling", 150.0, 10.0, 500.0)),
    "FROD": Kind(
        VECTOR,
        _one_of("sparse_rate", 0.01, 0.005, 0.01, 0.02, 0.05),
        settings={"progressbar": False},
        decomposes=True,
    ),
    "GLORA": Kind(MATRIX, _rank()),
    "GRALORA": Kind(MATRIX, _one_of("r", 8, 2, 4, 8, 16, 32, 64) | _real("alpha", 16.0, 1.0, 128.0)),
    "HIRA": Kind(MATRIX, _rank(32)),
    "HRA": Kind(MATRIX, _one_of("r", 8, 2, 4, 8, 16, 32)),
    "IA3": Kind(VECTOR, roles=("key", "value", "ffn_out")),
    "LILY": Kind(MATRIX, _rank(32) | _real("scaling", 1.0, 0.1, 10.0), layered=False),
    "LN_TUNING": Kind(VECTOR, roles=("attention_norm", "ffn_norm"), native_dtype=True),
    "LOHA": Kind(MATRIX, _rank() | _real("alpha", 8.0, 1.0, 64.0)),
    "LOKR": Kind(MATRIX, _rank() | _real("alpha", 8.0, 1.0, 64.0)),
    "LORA": Kind(MATRIX, _rank() | _real("lora_alpha", 16.0, 1.0, 128.0)),
    "MISS": Kind(MATRIX, _rank(32, 128)),
    "OFT": Kind(MATRIX, _one_of("oft_block_size", 32, 8, 16, 32, 64), dividing=("oft_block_size",)),
    "OSF": Kind(LARGE, _one_of("effective_rank", 0.5, 0.5, 0.75, 0.9, 0.95), decomposes=True),
    "PEANUT": Kind(MATRIX, _rank(32) | _real("scaling", 1.0, 0.1, 10.0)),
    "POLY": Kind(MATRIX, _rank() | _one_of("n_skills", 4, 2, 4, 8)),
    "PREFIX_TUNING": Kind(VECTOR, _whole("num_virtual_tokens", 10, 1, 64), roles=()),
    "PROMPT_TUNING": Kind(VECTOR, _whole("num_virtual_tokens", 10, 1, 64), roles=()),
    "PSOFT": Kind(MATRIX, _rank(32), decomposes=True),
    "PVERA": Kind(VECTOR, _whole("r", 256, 16, 1024)),
    "P_TUNING": Kind(VECTOR, _whole("num_virtual_tokens", 10, 1, 64), roles=()),
    "RANDLORA": Kind(LARGE, _rank(32) | _real("randlora_alpha", 640.0, 32.0, 2048.0)),
    "ROAD": Kind(VECTOR, _one_of("group_size", 32, 8, 16, 32, 64), dividing=("group_size",)),
    "SHADOW": Kind(MATRIX, _rank() | _real("shadow_alpha", 0.1, 0.01, 1.0), roles=()),
    "SHIRA": Kind(MATRIX, _rank()),
    "SUPERTUNING": Kind(MATRIX, _one_of("sparsity", 0.99, 0.9, 0.95, 0.99, 0.995)),
    "TINYLORA": Kind(VECTOR, _rank(2, 16) | _whole("u", 64, 1, 256)),
    "UNILORA": Kind(VECTOR, _rank(4) | _whole("theta_d_length", 256, 64, 16384)),
    "VBLORA": Kind(
        VECTOR,
        _rank(4) | _one_of("vector_length", 32, 8, 16, 32, 64, 128),
        dividing=("vector_length",),
    ),
    "VERA": Kind(VECTOR, _whole("r", 256, 16, 1024) | _real("d_initial", 0.1, 0.01, 1.0)),
    "WAVEFT": Kind(MATRIX, _whole("n_frequency", 1000, 50, 5000) | _real("scaling", 25.0, 1.0, 100.0)),
}
"""Every type of peft 0.21 that trains one candidate of a text classifier."""

LEFT_OUT: Mapping[str, str] = {
    "CPT": "peft trains it for language models only",
    "MULTITASK_PROMPT_TUNING": "it is made for several tasks at once",
    "TRAINABLE_TOKENS": "it trains the embeddings of new words, which must be named",
    "XLORA": "it mixes LoRA modules that were trained before",
}
"""The other types of peft 0.21, and why a search has no use for them."""


# --------------------------------------------------------------------------- the configurations


@dataclass(frozen=True, kw_only=True)
class BridgedConfig(MethodConfig):
    """A peft type's numbers under peft's own names, beside `targets`, `learning_rate` and `weight_decay`."""

    peft_type: ClassVar[str]
    kind: ClassVar[Kind]
    searched = "named"
    alone = True  # peft's code knows one candidate only

    def deltas(self, sites: Sequence[Site]) -> Sequence[tuple[Site, Trained]]:
        raise TypeError(f"{self.name} has no deltas: peft makes its modules itself")

    @classmethod
    def missing(cls, sites: Sequence[Site]) -> str:
        wanted = TARGETS["query value"] if cls.kind.roles is None else cls.kind.roles
        if not all(site.readable for site in sites):
            return "weights that are not quantised"
        offered = {site.role for site in sites}
        return ", ".join(role for role in wanted if role not in offered)

    @classmethod
    def options_on(cls, sites: Sequence[Site]) -> Mapping[str, Choice]:
        widths = {width for site in sites if site.role in LINEAR_ROLES for width in (site.d_in, site.d_out)}
        known = domains(cls)
        return {
            name: Choice(*(one for one in domain.options if all(width % int(one) == 0 for width in widths)))
            for name in cls.kind.dividing
            if isinstance(domain := known[name], Choice)
        }

    @property
    def target_roles(self) -> tuple[str, ...]:
        """Roles of the modules that are changed."""
        return TARGETS[self.values()["targets"]] if self.kind.roles is None else self.kind.roles

    def settings(self) -> dict[str, Any]:
        """The values that peft's configuration class is given."""
        own = {name: getattr(self, name) for name in self.kind.fields}
        return {**self.kind.settings, **own}


def bridged(name: str) -> type[BridgedConfig]:
    """The configuration class of a peft type, given as `peft:OFT` in any case.

    Raises:
        ValueError: for a type that peft does not have or that is left out, naming those that can be run.
    """
    kind = name.removeprefix(PREFIX).upper()
    if kind in LEFT_OUT:
        raise ValueError(f"method {PREFIX}{kind} cannot be searched: {LEFT_OUT[kind]}; {_possible()}")
    if kind not in KINDS:
        raise ValueError(f"method {name!r} is unknown; {_possible()}")
    return _class_of(kind)


def _possible() -> str:
    return "of peft's methods there are " + ", ".join(f"{PREFIX}{kind}" for kind in KINDS)


@cache
def _class_of(peft_type: str) -> type[BridgedConfig]:
    kind = KINDS[peft_type]
    rate = Annotated[float, Float(kind.rate.low, kind.rate.high, log=True)]
    fields = {**kind.fields, "learning_rate": (rate, kind.rate.default)}
    if kind.roles is None:
        fields["targets"] = (Annotated[str, Choice(*TARGETS)], "query value")
    if kind.roles == () or not kind.layered:
        fields["layers"] = (Annotated[str, Choice("all")], "all")
    found: type[BridgedConfig] = make_dataclass(
        f"Peft{peft_type}",
        [(name, domain, dataclasses.field(default=default)) for name, (domain, default) in fields.items()],
        bases=(BridgedConfig,),
        namespace={"name": f"{PREFIX}{peft_type}", "peft_type": peft_type, "kind": kind},
        frozen=True,
        kw_only=True,
    )
    return found
