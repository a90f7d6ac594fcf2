"""The attention function of every backbone: plain or fused, with room for trained keys and values.

transformers 5 lets a model name its attention function; ours is `peltier`. It
reads the prefix that `Stack` leaves on the attention module just before the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

NAME = "peltier"
FUSED_FROM = 64
"""Keys from which fused attention pays in fp32 on a processor."""
_ATTRIBUTE = "peltier_prefix"
_CANDIDATES = "peltier_candidates"


@dataclass(frozen=True)
class Prefix:
    """Keys and values for one call of one attention module."""

    keys: Tensor
    """`[candidates, batch or 1, length, heads * head size]`."""
    values: Tensor
    visible: Tensor
    """`[candidates, length]`: 1 for slots that the candidate has."""


def leave_prefix(module: nn.Module, prefix: Prefix) -> None:
    """Hand a prefix to the module's next attention call, which uses it up."""
    setattr(module, _ATTRIBUTE, prefix)


def stand_side_by_side(module: nn.Module, candidates: int) -> None:
    """Tell an attention module how many candidates the examples of its next calls belong to."""
    setattr(module, _CANDIDATES, candidates)


def candidates_of(module: nn.Module) -> int:
    """The candidates whose examples follow one another in a batch; 1 outside a stack."""
    return int(getattr(module, _CANDIDATES, 1))


def take_prefix(module: nn.Module) -> Prefix | None:
    """The prefix that was left on the module, which then has none any more."""
    prefix: Prefix | None = module.__dict__.pop(_ATTRIBUTE, None)
    return prefix


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """`softmax(q k' / sqrt(d) + bias) v` over `[examples, heads, tokens, head size]`, prefix first.

    Keys and values may have fewer heads than queries (grouped attention); `position_bias`
    (`[1, heads, tokens, tokens]`) is T5's. Slots of a prefix get no bias.

    Raises:
        ValueError: for a family that bounds its scores (`softcap`) or has attention sinks (`s_aux`).
    """
    if softcap is not None or s_aux is not None:
        raise ValueError(f"attention of {type(module).__name__} has a soft cap or sinks, which ours has not")
    prefix = take_prefix(module)
    if prefix is not None:
        key, value, attention_mask = prepend(prefix, key, value, attention_mask, query.shape[2])
        if position_bias is not None:
            position_bias = pad(position_bias, (prefix.visible.shape[1], 0))
    if key.shape[1] != query.shape[1]:
        key, value = (each.repeat_interleave(query.shape[1] // key.shape[1], 1) for each in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if fused_pays(query, key):
        bias = _bias(attention_mask, position_bias, query.dtype)
        output = scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)
    else:
        output = _plain(query, key, value, attention_mask, position_bias, scale)
    return output.transpose(1, 2).contiguous(), None


def fused_pays(query: Tensor, key: Tensor) -> bool:
    """Whether fused attention is the faster way; both give the same to rounding.

    Measured on processors (docs/performance.md): in bf16 it takes up to 9 times as long, most of it in
    its backward pass; in fp32 as long at 36 tokens, 0.6 times at 64, 0.4 times at 128.
    """
    return query.device.type != "cpu" or (query.dtype == torch.float32 and key.shape[2] >= FUSED_FROM)


def _plain(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, scale: float
) -> Tensor:
    scores = (query * scale) @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ value


def _bias(mask: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Mask and bias as one summand; hidden places get a finite number, so that no row becomes NaN."""
    if mask is None:
        return bias
    hidden = torch.zeros((), dtype=dtype, device=mask.device) if bias is None else bias.to(dtype)
    return hidden.masked_fill(~mask, torch.finfo(dtype).min)


def prepend(
    prefix: Prefix, key: Tensor, value: Tensor, mask: Tensor | None, queries: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Keys, values and mask with the prefix in front; for `[examples, heads, tokens, head size]`."""
    examples, heads, tokens, _ = key.shape
    candidates, length = prefix.visible.shape
    batch = examples // candidates

    def by_head(slots: Tensor) -> Tensor:
        spread = slots.expand(candidates, batch, length, slots.shape[-1]).flatten(0, 1)
        return spread.view(examples, length, heads, -1).transpose(1, 2).to(key.dtype)

    visible = prefix.visible.bool().repeat_interleave(batch, 0)[:, None, None].expand(-1, -1, queries, -1)
    if mask is None:
        mask = visible.new_ones(examples, 1, queries, tokens)
    return (
        torch.cat([by_head(prefix.keys), key], 2),
        torch.cat([by_head(prefix.values), value], 2),
        torch.cat([visible, mask.expand(examples, -1, queries, -1)], -1),
    )


def _mask(*args: Any, **options: Any) -> Tensor | None:
    # Without its mask a decoder would fall back to `is_causal`, which hides the first tokens as soon as
    # keys are prepended, so no shortcut is taken.
    return sdpa_mask(
        *args, **{**options, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    )


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, _mask)
