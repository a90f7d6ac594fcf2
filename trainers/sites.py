"""Where a frozen transformer can be changed: its sites, by layer and role, for each model family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from jaxtyping import Bool, Float
from torch import Tensor, nn


class Insertion(StrEnum):
    """How a change reaches the frozen model (docs/engine.md)."""

    OUTPUT = "output"
    """`y <- y + change(x, y)`, with `x` the input and `y` the output of the module."""
    NORM_INPUT = "norm input"
    """`y <- y + change(norm(y), y)`, with `y` the input of a LayerNorm: the Pfeiffer adapter,
    which reads what the LayerNorm would have given."""
    ATTENTION = "attention"
    """Keys and values prepended; `x` is the input of the attention module."""


@dataclass(frozen=True)
class Site:
    """A place in the frozen model."""

    layer: int
    """Transformer layer from 0; -1 for the embeddings."""
    role: str
    module: str
    """Dotted path of the module inside the backbone."""
    d_in: int
    """Width of what a delta reads there."""
    d_out: int
    """Width of what it changes; for attention, heads * head size of the keys."""
    insertion: Insertion = Insertion.OUTPUT


@dataclass(frozen=True)
class Family:
    """Module names of one model family, relative to one transformer layer."""

    layers: str
    """Path of the list of layers."""
    outputs: Mapping[str, str]
    """Role -> module whose output is changed."""
    attention: str
    """The module that calls the attention function."""
    ffn_norm: str
    """The LayerNorm after the feed-forward network and its residual."""
    embedding_norm: str
    """Path of the LayerNorm of the embeddings, from the root."""


_BERT = Family(
    layers="encoder.layer",
    outputs={
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "attention_output": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "ffn_in": "intermediate.dense",
        "ffn_out": "output.dense",
        "ffn_norm": "output.LayerNorm",
    },
    attention="attention.self",
    ffn_norm="output.LayerNorm",
    embedding_norm="embeddings.LayerNorm",
)
_DISTILBERT = Family(
    layers="transformer.layer",
    outputs={
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "attention_output": "attention.out_lin",
        "attention_norm": "sa_layer_norm",
        "ffn_in": "ffn.lin1",
        "ffn_out": "ffn.lin2",
        "ffn_norm": "output_layer_norm",
    },
    attention="attention",
    ffn_norm="output_layer_norm",
    embedding_norm="embeddings.LayerNorm",
)

FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": _BERT,
    "distilbert": _DISTILBERT,
}
"""transformers' `model_type` -> module names (transformers 5.23)."""

LINEAR_ROLES = ("query", "key", "value", "attention_output", "ffn_in", "ffn_out")
NORM_ROLES = ("attention_norm", "ffn_norm", "embedding_norm")


def sites_of(model: nn.Module, model_type: str) -> tuple[Site, ...]:
    """All sites of a model, in the order of the forward pass.

    Raises:
        ValueError: for a family without module names, naming those that have them.
    """
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ValueError(f"backbone family {model_type!r} is not supported; supported families: {known}")
    family = FAMILIES[model_type]
    found = [_site(model, -1, "embedding_norm", family.embedding_norm)]
    layers = model.get_submodule(family.layers)
    assert isinstance(layers, nn.ModuleList)
    for layer in range(len(layers)):
        path = f"{family.layers}.{layer}"
        roles = {role: f"{path}.{module}" for role, module in family.outputs.items()}
        width = _site(model, layer, "key", roles["key"])
        found.append(
            Site(
                layer,
                "attention",
                f"{path}.{family.attention}",
                width.d_in,
                width.d_out,
                Insertion.ATTENTION,
            )
        )
        found += [_site(model, layer, role, module) for role, module in roles.items()]
        norm = _site(model, layer, "ffn_norm", f"{path}.{family.ffn_norm}")
        found.append(Site(layer, "ffn_residual", norm.module, norm.d_in, norm.d_out, Insertion.NORM_INPUT))
    return tuple(found)


def _site(model: nn.Module, layer: int, role: str, path: str) -> Site:
    module = model.get_submodule(path)
    weight = module.get_parameter("weight")
    d_out, d_in = (weight.shape[0], weight.shape[-1])
    return Site(layer, role, path, d_in, d_out)


@dataclass(frozen=True)
class Rows:
    """How the rows of `[candidates, rows, width]` belong to the examples of a batch.

    Rows are the tokens of all examples one after another, padding included.
    """

    mask: Bool[Tensor, "batch tokens"]
    """True for real tokens; the same for all candidates."""

    def mean(self, values: Float[Tensor, "candidates rows"]) -> Float[Tensor, "candidates batch"]:
        """Mean over the real tokens of each example, so that padding changes nothing."""
        weights = self.mask.to(values.dtype)
        grid = values.view(len(values), *weights.shape)
        return (grid * weights).sum(-1) / weights.sum(-1)

    def spread(self, values: Float[Tensor, "candidates batch"]) -> Float[Tensor, "candidates rows"]:
        """Give each row the value of its example."""
        return values.unsqueeze(-1).expand(*values.shape, self.mask.shape[1]).flatten(1)
