"""A frozen pre-trained transformer with its tokenizer and its sites."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from trainers.checkpoint import (
    BITS,
    DTYPES,
    check_quantiser,
    config_of,
    empty_model,
    has_own_attention,
    load_model,
    locate,
    native_dtype,
    tokenizer_of,
    unknown_family,
    unusable,
)
from trainers.devices import device_named
from trainers.families import AFTER_PADDING, FAMILIES, Family
from trainers.head import MEAN, Head
from trainers.kept_outputs import KeptOutputs
from trainers.lower_layers import LowerLayers
from trainers.native_heads import head_of
from trainers.sites import Site, sites_of
from trainers.unknown_families import guess, measure

UNBOUNDED = 1_000_000
"""Longest text of a model whose positions are relative; its tokenizer may allow less."""


@dataclass(frozen=True)
class Backbone:
    """A frozen model on one device in one dtype."""

    reference: str
    """What the user named: a folder, a hub id, or the packaged backbone."""
    folder: Path
    model: nn.Module
    tokenizer: Any
    sites: tuple[Site, ...]
    model_type: str
    family: Family
    hidden_size: int
    """Width of what the heads read."""
    max_length: int
    """Longest input in tokens, special tokens included."""
    pad_token_id: int
    dtype: torch.dtype
    """Of what flows through the model."""
    precision: str = "fp32"
    """How its weights are held: fp32, bf16, 8bit or 4bit."""
    head: Head = Head()
    """What candidates' heads compute where examples are what is predicted; of words it is one layer."""

    @property
    def pooling(self) -> str:
        """What of the last layer the heads read."""
        return self.head.pooling

    def with_head(self, name: str) -> Backbone:
        """The same weights under another head.

        Raises:
            BackboneError: if the family or the checkpoint has none of that name.
        """
        if self.head.name == name:
            return self
        head = head_of(name, self.reference, self.folder, self.model.config, self.family)
        return replace(self, head=head)

    def features(
        self, hidden: Float[Tensor, "examples tokens d"], mask: Int[Tensor, "examples tokens"]
    ) -> Float[Tensor, "examples d"]:
        """What the heads read of the last layer, fp32."""
        return self.head.pooled(hidden, mask, self.model)

    def positions(
        self, mask: Int[Tensor, "examples tokens"], shifts: Sequence[int] = (0,)
    ) -> dict[str, Tensor]:
        """The model's argument that numbers the real tokens; padding may stand on either side.

        `shifts` says from where, for as many equal parts of the examples, one after another.

        Raises:
            ValueError: if the longest text does not fit any more.
        """
        if self.family.first_position is None:
            return {}
        needed = mask.shape[1] + max(shifts)
        if needed > self.max_positions:
            raise ValueError(
                f"{needed} positions are needed for tokens and module together; "
                f"the backbone has {self.max_positions}"
            )
        first = torch.tensor([self.first_position + shift for shift in shifts])
        each = first.to(mask.device, non_blocking=True).repeat_interleave(len(mask) // len(shifts))
        return {"position_ids": (mask.cumsum(1) - 1).clamp(min=0) + each.unsqueeze(1)}

    @property
    def reader(self) -> Reader:
        """What of it turns texts into tokens."""
        return Reader(self.tokenizer, self.max_length)

    @property
    def first_position(self) -> int:
        """The position of a text's first token."""
        return _first_position(self.model.config, self.family)

    @property
    def max_positions(self) -> int:
        """Positions that the model has."""
        return _max_positions(self.model.config, self.family)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @cached_property
    def in_fp32(self) -> Backbone:
        """The same weights in fp32, for scores that do not depend on the machine; itself when it is fp32.

        A quantised model is what it is: its modules were trained on these very weights, so it scores itself.
        """
        if self.dtype == torch.float32 or self.precision in BITS:
            return self
        model = load_model(self.reference, self.folder, torch.float32, self.device)
        return replace(self, model=model, dtype=torch.float32, precision="fp32")

    @cached_property
    def lower_layers(self) -> LowerLayers | None:
        """Its layers, to be run in two parts; None for quantised ones, which round by what is in a batch."""
        return None if self.precision in BITS else LowerLayers(self.model, self.family.layers)

    @cached_property
    def kept_outputs(self) -> KeptOutputs:
        """What its lower layers gave for the splits that it was trained on."""
        return KeptOutputs(self.device)

    @cached_property
    def weight_hash(self) -> str:
        """sha256 over names and fp32 values of all weights as stored: equal hashes compute the same."""
        digest = hashlib.sha256()
        quantised = self.precision in BITS
        model = (
            load_model(self.reference, self.folder, torch.float32, torch.device("cpu"))
            if quantised
            else self.in_fp32.model
        )
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Reader:
    """What of a backbone turns texts into tokens: enough to examine a dataset."""

    tokenizer: Any
    max_length: int
    """As of a `Backbone`."""


def reader(reference: str) -> Reader:
    """The tokenizer of a backbone and its longest input, without its weights if its family is known.

    Of an unknown family the weights say where positions start, so these are read.

    Raises:
        BackboneError: if it cannot be found, or its family is unknown and built like none of the known.
    """
    folder = locate(reference)
    config = config_of(reference, folder)
    if config.model_type not in FAMILIES:
        return load(reference, device="cpu").reader
    transformers_logging.set_verbosity_error()
    tokenizer = tokenizer_of(folder, config)
    return Reader(tokenizer, _max_length(config, FAMILIES[config.model_type], tokenizer))


@dataclass(frozen=True)
class Outline:
    """What is known of a backbone without reading its weights."""

    sites: tuple[Site, ...]
    hidden_size: int
    model_type: str
    parameters: int
    """Of the whole model, heads of its pre-training left out."""
    head: Head = Head()
    """As of a `Backbone`."""


def outline(reference: str, dtype: str = "auto", head: str = MEAN) -> Outline:
    """The sites and sizes of a backbone, from its configuration alone.

    Raises:
        BackboneError: if it cannot be found, its family is unknown or lacks the head, or its sizes do not fit
            together.
    """
    folder = locate(reference)
    config = config_of(reference, folder)
    try:
        with torch.device("meta"):
            model = empty_model(config)
    except Exception as error:  # transformers raises many kinds
        if has_own_attention(error):
            raise unknown_family(reference, config) from None
        raise unusable(reference, "a config.json that makes no model", error) from None
    family = _family(reference, config, model)
    sites = sites_of(model, family, int(config.hidden_size), quantised=dtype in BITS)
    parameters = sum(weight.numel() for weight in model.parameters())
    chosen = head_of(head, reference, folder, config, family)
    return Outline(sites, _width(config), config.model_type, parameters, chosen)


def load(reference: str, *, dtype: str = "auto", device: str = "auto", head: str = MEAN) -> Backbone:
    """Load and freeze a backbone.

    `dtype` is fp32, bf16, auto (bf16 where the device multiplies it natively), or 8bit or 4bit for
    linear layers that bitsandbytes quantises; `device` is a torch device or auto (the GPU when there is one);
    `head` is one of `trainers.head.HEADS`.

    Raises:
        BackboneError: if it cannot be found, its family is unknown or lacks the head, or the device is not
            here.
    """
    folder = locate(reference)
    config = config_of(reference, folder)
    place = device_named(device)
    bits = BITS.get(dtype)
    if bits is not None:
        check_quantiser(dtype)
    number = DTYPES.get(dtype) or native_dtype(place)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    model = load_model(reference, folder, number, place, bits)
    tokenizer = tokenizer_of(folder, config)
    family = _family(reference, config, model)
    return Backbone(
        reference=reference,
        folder=folder,
        model=model,
        tokenizer=tokenizer,
        sites=sites_of(model, family, int(config.hidden_size), quantised=bits is not None),
        model_type=config.model_type,
        family=family,
        hidden_size=_width(config),
        max_length=_max_length(config, family, tokenizer),
        pad_token_id=_padding(config, tokenizer),
        dtype=number,
        precision=dtype if bits is not None else next(name for name, d in DTYPES.items() if d is number),
        head=head_of(head, reference, folder, config, family),
    )


def _width(config: Any) -> int:
    """Width of the last hidden states; OPT may project them to the embeddings' width."""
    return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)


def _max_length(config: Any, family: Family, tokenizer: Any) -> int:
    return min(_max_positions(config, family), int(tokenizer.model_max_length))


def _max_positions(config: Any, family: Family) -> int:
    limit = getattr(config, "max_position_embeddings", None) or UNBOUNDED
    return int(limit) - _first_position(config, family)


def _first_position(config: Any, family: Family) -> int:
    if family.first_position == AFTER_PADDING:
        return int(config.pad_token_id) + 1
    return family.first_position or 0


def _padding(config: Any, tokenizer: Any) -> int:
    """The padding token's number; any token will do where there is none, because padding is masked."""
    for number in (config.pad_token_id, tokenizer.pad_token_id):
        if number is not None:
            return int(number)
    return 0


def _family(reference: str, config: Any, model: nn.Module) -> Family:
    """The family's module names: known, or guessed and tried out.

    Raises:
        BackboneError: if the model fits no known family.
    """
    if config.model_type in FAMILIES:
        return FAMILIES[config.model_type]
    family = guess(model)
    if family is not None and next(model.parameters()).device.type != "meta":
        family = measure(model, family)
    if family is None:
        raise unknown_family(reference, config)
    return family
