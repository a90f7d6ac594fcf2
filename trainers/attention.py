"""The attention function of every backbone: plain or fused, with room for trained keys and values.

transformers 5 lets a model name its attention function; ours is `peltier`. It
reads the prefix that `Stack` leaves on the attention module just before the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

NAME = "peltier"
_ATTRIBUTE = "peltier_prefix"


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


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """`softmax(q k' / sqrt(d)) v` over `[examples, heads, tokens, head size]`, prefix first."""
    prefix = module.__dict__.pop(_ATTRIBUTE, None)
    if prefix is not None:
        key, value, attention_mask = _prepend(prefix, key, value, attention_mask, query.shape[2])
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.device.type == "cpu":
        # Fused attention on a CPU is 4.5-13 times slower in bf16, in its backward pass (docs/performance.md).
        output = _plain(query, key, value, attention_mask, scale)
    else:
        output = scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=scale)
    return output.transpose(1, 2).contiguous(), None


def _plain(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    scores = (query * scale) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ value


def _prepend(
    prefix: Prefix, key: Tensor, value: Tensor, mask: Tensor | None, queries: int
) -> tuple[Tensor, Tensor, Tensor]:
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
