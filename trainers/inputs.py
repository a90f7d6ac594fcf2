"""What a stack calls the frozen model with: the batch once for each candidate, prompts, positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from trainers.backbone import Backbone
from trainers.batches import Batch


@dataclass(frozen=True)
class Prompt:
    """Vectors in front of the embedded tokens of every candidate."""

    vectors: Float[Tensor, "candidates length d"]
    """The first stands next to the tokens, so that slots which a candidate lacks stand in front."""
    visible: Float[Tensor, "candidates length"]
    """1 for slots that the candidate has."""

    def __len__(self) -> int:
        return self.vectors.shape[1]


def model_inputs(
    backbone: Backbone, batch: Batch, shifts: Sequence[int], prompt: Prompt | None
) -> dict[str, Tensor]:
    """The arguments of the model's forward pass, candidates one after another.

    `shifts` says by how much each candidate raises the positions of its tokens. Positions are
    given only where the model would count otherwise: with a shift, behind a prompt, and in a
    decoder, whose padding may stand on the left.

    Raises:
        ValueError: if tokens and module together need more positions than the model has.
    """
    count = len(shifts)
    times = count // batch.owners
    inputs = {
        "input_ids": batch.input_ids.repeat(times, 1),
        "attention_mask": batch.attention_mask.repeat(times, 1),
    }
    if batch.token_type_ids is not None:
        inputs["token_type_ids"] = batch.token_type_ids.repeat(times, 1)
    if prompt is not None:
        inputs = _behind(prompt, inputs, backbone, len(batch))
    if prompt is not None or backbone.family.decoder or any(shifts):
        inputs |= backbone.positions(inputs["attention_mask"], shifts)
    return inputs


def _behind(prompt: Prompt, inputs: dict[str, Tensor], backbone: Backbone, batch: int) -> dict[str, Tensor]:
    """The inputs with a prompt in front of their embedded tokens."""
    embedded = backbone.model.get_input_embeddings()(inputs["input_ids"])  # type: ignore[operator]
    front = prompt.vectors.flip(1).repeat_interleave(batch, 0).to(embedded.dtype)
    mask = inputs["attention_mask"]
    visible = prompt.visible.flip(1).repeat_interleave(batch, 0).to(mask.dtype)
    found = {
        "inputs_embeds": _beside_the_tokens(front, embedded, mask),
        "attention_mask": _beside_the_tokens(visible, mask, mask),
    }
    if "token_type_ids" in inputs:
        found["token_type_ids"] = pad(inputs["token_type_ids"], (len(prompt), 0))
    return found


def _beside_the_tokens(slots: Tensor, rest: Tensor, mask: Tensor) -> Tensor:
    """`[slots; rest]` along the tokens, with the slots behind any padding that comes first.

    Windows and relative positions see the distance from a prompt to its text, which padding must not change.
    """
    whole, count = torch.cat([slots, rest], 1), slots.shape[1]
    padding = mask.argmax(1, keepdim=True)
    if whole.device.type == "cpu" and not padding.any():  # to ask a device is to wait for it
        return whole
    place = torch.arange(whole.shape[1], device=mask.device)
    moved = torch.where(place < padding, place + count, place - padding)
    order = torch.where(place < padding + count, moved, place)
    return whole[torch.arange(len(whole), device=mask.device).unsqueeze(1), order]
