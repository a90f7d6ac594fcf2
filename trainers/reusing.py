"""Batches that know what the frozen layers below a stack's modules give for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trainers.backbone import Backbone
from trainers.batches import Batch, Below, batches, evaluation_order
from trainers.building import AnyStack
from trainers.method import MethodConfig, on_layers
from trainers.profiling import FORWARD, part
from trainers.stack import Stack
from trainers.tokens import Tokens, ranges

ROWS_AT_ONCE = 64


def stands_high(config: MethodConfig, backbone: Backbone) -> bool:
    """Whether a candidate had better not share a stack with those that change more of the layers.

    It is so on a processor, from half of the layers below its modules on (docs/performance.md). A GPU takes
    about as long for a small stack as for a large one.
    """
    if backbone.device.type != "cpu" or config.layers == "all" or config.position_shift:
        return False
    try:
        lowest = min((site.layer for site in on_layers(backbone.sites, config.layers)), default=0)
    except ValueError:  # layers that the backbone has not: beginning the stack will say so
        return False
    layers = 1 + max(site.layer for site in backbone.sites)
    lower = backbone.lower_layers
    return 2 * lowest >= layers and lower is not None and lower.can_part(lowest)


def reusing(stack: AnyStack, tokens: Tokens, order: list[NDArray[np.int64]]) -> Iterator[Batch]:
    """The batches of an order of rows, as of `batches`, with what is kept for them on the stack's backbone.

    It is computed when it is first asked for, in one pass over the split, or of a part over the whole
    one: in the same batches whoever asks, so that the numbers do not depend on who came first.
    """
    found = batches(tokens, order, stack.backbone.pad_token_id, stack.backbone.device)
    if not isinstance(stack, Stack) or not can_keep(stack, tokens):
        return found
    whole, own = tokens.whole or (tokens, np.arange(len(tokens)))
    with part(FORWARD):
        kept = stack.backbone.kept_outputs.of(whole, stack.first_layer, lambda: _computed(stack, whole))
    return (_with(batch, stack.first_layer, kept, whole, own) for batch in found)


def can_keep(stack: Stack, tokens: Tokens) -> bool:
    """Whether layers below the stack's modules can be computed once for all, and memory may hold it."""
    backbone, whole = stack.backbone, tokens if tokens.whole is None else tokens.whole[0]
    if stack.first_layer == 0 or backbone.lower_layers is None:
        return False
    if any(place.delta.reads_padding for place in stack.places):
        return False
    return backbone.kept_outputs.fits(whole, backbone.lower_layers.width, backbone.dtype)


@torch.no_grad()
def _computed(stack: Stack, tokens: Tokens) -> Float[Tensor, "tokens_and_one d"]:
    """What the stack's first layer reads of all tokens, row after row, and a zero behind them for padding."""
    backbone = stack.backbone
    order = evaluation_order(tokens.lengths, ROWS_AT_ONCE)
    kept: Tensor | None = None
    for batch, rows in zip(
        batches(tokens, order, backbone.pad_token_id, backbone.device), order, strict=True
    ):
        hidden = stack.below(batch)
        if kept is None:
            kept = hidden.new_zeros(len(tokens.ids) + 1, hidden.shape[-1])
        places = torch.from_numpy(ranges(tokens.offsets, rows)).to(backbone.device)
        kept[places] = hidden[batch.real]
    assert kept is not None, "a split has rows"
    return kept


def _with(batch: Batch, layer: int, kept: Tensor, whole: Tokens, own: NDArray[np.int64]) -> Batch:
    assert batch.rows is not None
    rows = own[batch.rows]
    real = np.arange(batch.input_ids.shape[1]) < np.diff(whole.offsets)[rows, None]
    places = np.full(real.shape, len(kept) - 1)
    places[real] = ranges(whole.offsets, rows)
    return replace(
        batch, below=Below(layer, kept[torch.from_numpy(places).to(kept.device, non_blocking=True)])
    )
