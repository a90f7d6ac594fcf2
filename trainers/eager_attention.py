"""Prefixes for families that transformers 5.23 computes by itself: MPNet and DeBERTa-v2 (and v3).

Their attention never asks for a registered function (`trainers/attention.py`), so
each attention module of a loaded model gets a `forward` of ours: the same formula,
with room for the keys and values that `leave_prefix` left on it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention
from transformers.models.mpnet.modeling_mpnet import MPNetSelfAttention

from trainers.attention import candidates_of, prepend, take_prefix

WRAPPED = ("mpnet", "deberta-v2")
"""transformers' `model_type` of the families that need `wrap`."""


def wrap(model: nn.Module, model_type: str) -> None:
    """Let the attention modules of a model take prefixes; its weights, names and hooks stay as they are.

    An MPNet that was loaded with our attention function must be wrapped: it gets
    our boolean mask, which its own attention would add to the scores.

    Raises:
        ValueError: for a family that needs no wrapping, or a model without such modules.
    """
    if model_type not in WRAPPED:
        raise ValueError(f"family {model_type!r} is not wrapped; only {', '.join(WRAPPED)} are")
    kind, forward = (
        (MPNetSelfAttention, _mpnet) if model_type == "mpnet" else (DisentangledSelfAttention, _deberta_v2)
    )
    found: list[Any] = [module for module in model.modules() if isinstance(module, kind)]
    if not found:
        raise ValueError(f"this {type(model).__name__} has no {kind.__name__}; is it a {model_type!r}?")
    for module in found:
        # A partial of a module-level function follows its module through copies and pickles.
        module.forward = partial(forward, module)


def _mpnet(
    module: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    position_bias: Tensor | None = None,
    output_attentions: bool = False,
    **_: Any,
) -> tuple[Tensor, ...]:
    """`o(softmax(q k' / sqrt(d) + b) v)`, with `b` looked up by the model for all layers at once."""
    query, key, value = (_by_head(module, each(hidden_states)) for each in (module.q, module.k, module.v))
    if attention_mask is not None and attention_mask.dtype != torch.bool:
        attention_mask = attention_mask == 0  # else transformers' eager mask: 0, or the smallest number
    query = query * query.shape[-1] ** -0.5
    y, probabilities = _attend(module, query, key, value, position_bias, attention_mask)
    y = module.o(y)
    return (y, probabilities) if output_attentions else (y,)


def _deberta_v2(
    module: Any,
    hidden_states: Tensor,
    attention_mask: Tensor,
    output_attentions: bool = False,
    query_states: Tensor | None = None,
    relative_pos: Tensor | None = None,
    rel_embeddings: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Disentangled attention (He et al., arXiv 2006.03654, equation 4): content and relative positions.

    `scores = (q k' + q p_k' + k p_q') / sqrt(terms * d)`, both position terms at query minus key, as
    the models were trained (the paper turns the last one round). A prefix stands nowhere in the
    sequence and gets the first term only.
    """
    query = _by_head(module, module.query_proj(hidden_states if query_states is None else query_states))
    key, value = (_by_head(module, each(hidden_states)) for each in (module.key_proj, module.value_proj))
    terms = 1 + ("c2p" in module.pos_att_type) + ("p2c" in module.pos_att_type)
    scale = (terms * query.shape[-1]) ** -0.5
    query, bias = query * scale, None
    if relative_pos is not None and rel_embeddings is not None:
        bias = _disentangled(module, query, key, scale, relative_pos, rel_embeddings)
    y, probabilities = _attend(module, query, key, value, bias, attention_mask.bool())
    return y, probabilities if output_attentions else None


def _disentangled(
    module: Any,
    query: Float[Tensor, "examples heads tokens head"],
    key: Float[Tensor, "examples heads tokens head"],
    scale: float,
    relative_pos: Int[Tensor, "1 tokens tokens"],
    rel_embeddings: Float[Tensor, "positions hidden"],
) -> Float[Tensor, "examples heads tokens tokens"] | None:
    """What relative positions add to the scores of `query` (scaled already) and `key`.

    With `share_att_key` the projections of the tokens serve the positions too, once for each
    candidate of a stack: a change at query or key reaches both, as it does in a merged weight.
    """
    rows, index = _positions(relative_pos[0], module.pos_ebd_size)
    positions = module.pos_dropout(rel_embeddings)[rows]
    positions = positions.expand(candidates_of(module), *positions.shape)
    query, key = (each.unflatten(0, (len(positions), -1)) for each in (query, key))
    index = index.expand(*query.shape[:3], -1, -1)
    bias = None
    if "c2p" in module.pos_att_type:
        project = module.key_proj if module.share_att_key else module.pos_key_proj
        table = project(positions).unflatten(-1, (module.num_attention_heads, -1))
        bias = torch.einsum("cehtd,cphd->cehtp", query, table).gather(-1, index)
    if "p2c" in module.pos_att_type:
        project = module.query_proj if module.share_att_key else module.pos_query_proj
        table = project(positions).unflatten(-1, (module.num_attention_heads, -1)) * scale
        # Row j holds what key j gives to each distance; query i of column i reads it at the distance i - j.
        by_key = torch.einsum("cehtd,cphd->cehtp", key, table).gather(-1, index.transpose(-1, -2))
        bias = by_key.transpose(-1, -2) if bias is None else bias + by_key.transpose(-1, -2)
    return None if bias is None else bias.flatten(0, 1)


def _positions(
    relative: Int[Tensor, "tokens tokens"], span: int
) -> tuple[Int[Tensor, " positions"], Int[Tensor, "tokens tokens"]]:
    """The relative embeddings that so many tokens need, and where among them each query and key find theirs.

    `relative` holds the bucket of `i - j` for query i and key j. A short sentence has fewer
    distances than the model has embeddings, and only theirs are projected.
    """
    tokens = relative.shape[0]
    index = (relative + span).clamp(0, 2 * span - 1)
    if tokens > span:
        return torch.arange(2 * span, device=index.device), index
    place = torch.arange(tokens, device=index.device)
    by_distance = torch.cat([index[0].flip(0), index[1:, 0]])  # from 1 - tokens to tokens - 1
    return by_distance, place.unsqueeze(1) - place + tokens - 1


def _by_head(module: Any, x: Tensor) -> Float[Tensor, "examples heads tokens head"]:
    heads: Tensor = x.unflatten(-1, (module.num_attention_heads, -1)).transpose(1, 2)
    return heads


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, mask: Tensor | None
) -> tuple[Float[Tensor, "examples tokens width"], Float[Tensor, "examples heads tokens keys"]]:
    """`softmax(q k' + bias) v` where `mask` is True, prefix first; and the softmax. `query` is scaled."""
    prefix = take_prefix(module)
    if prefix is not None:
        key, value, mask = prepend(prefix, key, value, mask, query.shape[2])
    scores = query @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + pad(bias, (scores.shape[-1] - bias.shape[-1], 0))
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    probabilities = module.dropout(scores.softmax(-1))
    return (probabilities @ value).transpose(1, 2).flatten(2), probabilities
