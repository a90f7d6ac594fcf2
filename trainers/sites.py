"""Where a frozen transformer can be changed: its sites, by layer and role."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from torch import Tensor, nn
from torch.nn.functional import layer_norm

from trainers.families import FAMILIES, Family


class Insertion(StrEnum):
    """How a change reaches the frozen model (docs/engine.md)."""

    OUTPUT = "output"
    """`y <- y + change(x, y)`, with `x` the input and `y` the output of the module."""
    INPUT = "input"
    """`x <- x + change(x, x)`, with `x` the input of the module."""
    NORM_INPUT = "norm input"
    """`y <- y + change(norm(y), y)`, with `y` the input of a LayerNorm: the Pfeiffer adapter,
    which reads what the LayerNorm would have given."""
    ATTENTION = "attention"
    """Keys and values prepended; `x` is the input of the attention module."""
    PROMPT = "prompt"
    """Vectors in front of the embedded tokens."""
    WEIGHT = "weight"
    """`W <- W + change`, for a parameter of the model itself; for a stack of one."""


@dataclass(frozen=True)
class Norm:
    """The normalisation of a LayerNorm or RMSNorm, without its scale and shift."""

    epsilon: float
    centred: bool
    """True for a LayerNorm, which subtracts the mean; False for an RMSNorm."""

    def normalise(self, x: Tensor) -> Tensor:
        """`x` with mean 0 (if centred) and mean square 1 in the last dimension."""
        if self.centred:
            return layer_norm(x, x.shape[-1:], eps=self.epsilon)
        wide = x.float()
        return (wide * (wide.square().mean(-1, keepdim=True) + self.epsilon).rsqrt()).to(x.dtype)


@dataclass(frozen=True)
class Site:
    """A place in the frozen model."""

    layer: int
    """Transformer layer from 0; -1 for what lies outside the layers."""
    role: str
    module: str
    """Dotted path of the module (for a weight: of the parameter) inside the backbone."""
    d_in: int
    """Width of what a delta reads there."""
    d_out: int
    """Width of what it changes; for attention, heads * head size of the keys."""
    insertion: Insertion = Insertion.OUTPUT
    start: int | None = None
    """Where the changed part of a fused output begins; None: all of it is changed."""
    source: str | None = None
    """The module whose input a delta reads instead of this module's own."""
    bias: bool = False
    """Whether the module has a bias."""
    norm: Norm | None = None
    """Set for LayerNorms and RMSNorms."""
    shape: tuple[int, ...] = ()
    """Of a weight."""
    readable: bool = True
    """False for a layer whose weight is quantised."""


LINEAR_ROLES = ("query", "key", "value", "attention_output", "ffn_gate", "ffn_in", "ffn_out")
NORM_ROLES = ("attention_norm", "ffn_norm", "embedding_norm", "final_norm")
Modules = Mapping[str, nn.Module]
_PART = re.compile(r"(?P<module>[^\[]+)(?:\[(?P<index>\d+)/(?P<count>\d+)\])?")


def sites_of(
    model: nn.Module, family: Family, hidden_size: int, *, quantised: bool = False
) -> tuple[Site, ...]:
    """All sites of a model, in the order of the forward pass.

    The weights of a `quantised` model can be neither read nor changed.

    Raises:
        AttributeError: if the model lacks the modules of this family.
    """
    modules = dict(model.named_modules())
    layers = model.get_submodule(family.layers)
    assert isinstance(layers, nn.ModuleList)
    # Parameters on the meta device have a shape, too; an embedding's second size is its width.
    width = model.get_input_embeddings().weight.shape[1]  # type: ignore[operator]
    found = [Site(-1, "input", "", width, width, Insertion.PROMPT)]
    for role, path in family.outer.items():
        found += _outputs(modules, -1, role, path)
    for layer in range(len(layers)):
        found += _of_layer(modules, family, layer, hidden_size)
    if quantised:
        return tuple(replace(site, readable=site.role not in LINEAR_ROLES) for site in found)
    return (*found, *_weights(model, family))


def _of_layer(modules: Modules, family: Family, layer: int, hidden_size: int) -> Iterator[Site]:
    path = f"{family.layers}.{layer}"
    outputs = [
        site
        for role, name in family.outputs.items()
        for site in _outputs(modules, layer, role, "|".join(f"{path}.{one}" for one in name.split("|")))
    ]
    of_role = {site.role: site for site in outputs}
    key, out = of_role["key"], of_role["ffn_out"]
    attention = f"{path}.{family.attention}"
    if attention not in modules:
        raise AttributeError(f"the model has no module {attention}")
    yield Site(layer, "attention", attention, key.d_in, key.d_out, Insertion.ATTENTION)
    yield from outputs
    yield Site(layer, "ffn_hidden", out.module, out.d_in, out.d_in, Insertion.INPUT)
    source = _existing(modules, "|".join(f"{path}.{one}" for one in family.ffn[0].split("|")))
    assert source is not None
    yield Site(layer, "ffn", out.module, hidden_size, out.d_out, source=source)
    if family.residual_norm is not None:
        norm = f"{path}.{family.residual_norm}"
        yield Site(layer, "ffn_residual", norm, hidden_size, hidden_size, Insertion.NORM_INPUT)
    yield Site(layer, "layer", path, hidden_size, hidden_size)


def _existing(modules: Modules, names: str) -> str | None:
    return next((name for name in names.split("|") if name in modules), None)


def _outputs(modules: Modules, layer: int, role: str, names: str) -> Iterator[Site]:
    """The site of a role; none if the model has no such module or it computes nothing."""
    match = _PART.fullmatch(names)
    assert match is not None
    path = _existing(modules, match["module"])
    if path is None:
        if role in ("query", "key", "value", "ffn_out"):
            raise AttributeError(f"the model has no module {match['module']}")
        return
    module = modules[path]
    if isinstance(module, nn.Identity):
        return
    d_in, d_out = widths(module)
    bias = getattr(module, "bias", None) is not None
    start = None
    if match["index"] is not None:
        d_out //= int(match["count"])
        start = int(match["index"]) * d_out
    yield Site(layer, role, path, d_in, d_out, start=start, bias=bias, norm=_norm(module))


def widths(module: nn.Module) -> tuple[int, int]:
    """Widths of input and output of a linear layer or a normalisation."""
    if hasattr(module, "in_features"):  # a quantised layer's weight has another shape
        return int(module.in_features), int(module.out_features)  # type: ignore[arg-type]
    weight = module.get_parameter("weight")
    if is_transposed(module):
        return weight.shape[0], weight.shape[1]
    return weight.shape[-1], weight.shape[0]


def is_transposed(module: nn.Module) -> bool:
    """Whether a linear layer stores its weight as `[d_in, d_out]`, as GPT-2's do."""
    return type(module).__name__ == "Conv1D"


def _norm(module: nn.Module) -> Norm | None:
    for name in ("eps", "variance_epsilon"):
        epsilon = getattr(module, name, None)
        if isinstance(epsilon, float):
            return Norm(epsilon, centred=isinstance(module, nn.LayerNorm))
    return None


def _weights(model: nn.Module, family: Family) -> Iterator[Site]:
    """Every parameter of the model; a pooler is left out, because heads do not read it."""
    for name, parameter in model.named_parameters():
        if name.startswith("pooler"):
            continue
        inside = name.removeprefix(f"{family.layers}.")
        layer = int(inside.split(".")[0]) if inside != name else -1
        shape = tuple(parameter.shape)
        yield Site(layer, "parameter", name, shape[-1], shape[0], Insertion.WEIGHT, shape=shape)


def family_of(model_type: str) -> Family:
    """The module names of a known family.

    Raises:
        ValueError: for a family without module names, naming those that have them.
    """
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ValueError(f"backbone family {model_type!r} is not supported; supported families: {known}")
    return FAMILIES[model_type]
