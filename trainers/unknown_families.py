"""Backbones of a family that the table does not name: which known one they are built like, tried out."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from trainers.attention import NAME, Prefix, leave_prefix, take_prefix
from trainers.families import AFTER_PADDING, FAMILIES, Family
from trainers.sites import Insertion, Site, sites_of

TOKENS = 6
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 1e-1}
"""Largest difference between two ways of computing the same, in units of the largest value; in bf16, where
quantised models compute, rounding alone made 3.5e-2 in two layers."""
EXACT = 1e-6
"""The same for one way of computing, twice."""


def guess(model: nn.Module) -> Family | None:
    """The first known family with the same modules whose sites all show up in a forward pass.

    The model may lie on the meta device: only shapes are looked at. One with an encoder and a decoder has
    two stacks of layers, and a family names one.
    """
    width = getattr(model.config, "hidden_size", None)
    if width is None or getattr(model.config, "is_encoder_decoder", False):
        return None
    for family in dict.fromkeys(map(_Compared, FAMILIES.values())):
        try:
            sites = sites_of(model, family.family, width)
            fits = _all_sites_are_used(model, sites)
        except Exception:  # whatever a model raises on a way it was not built for, the family does not fit
            continue
        if fits:
            return family.family
    return None


class _Compared:
    """A family by what it says, so that equal ones are tried once."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._text = repr(family)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Compared) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


def _all_sites_are_used(model: nn.Module, sites: tuple[Site, ...]) -> bool:
    """Run a few tokens: every site reads and gives its widths, and every attention module takes a prefix."""
    device = next(model.parameters()).device
    hooked = [site for site in sites if site.insertion not in (Insertion.PROMPT, Insertion.WEIGHT)]
    reading: set[Site] = set()
    giving: set[Site] = set()
    handles = []
    attentions = []
    for site in hooked:
        module = model.get_submodule(site.module)
        if site.insertion is Insertion.ATTENTION:
            slot = torch.zeros(1, 1, 1, site.d_out, device=device)
            leave_prefix(module, Prefix(slot, slot, torch.ones(1, 1, device=device)))
            attentions.append(module)
        source = module if site.source is None else model.get_submodule(site.source)
        handles.append(source.register_forward_pre_hook(_noting_input(reading, site), with_kwargs=True))
        handles.append(module.register_forward_hook(_noting_output(giving, site)))
    try:
        with torch.no_grad():
            _run(model, torch.zeros(1, TOKENS, dtype=torch.long, device=device))
    finally:
        for handle in handles:
            handle.remove()
        left = [module for module in attentions if take_prefix(module)]
    return reading == giving == set(hooked) and not left


def _noting_input(reading: set[Site], site: Site) -> Any:
    def hook(module: nn.Module, inputs: Any, options: dict[str, Any]) -> None:
        x = inputs[0] if inputs else options["hidden_states"]
        if x.shape[-1] == site.d_in:
            reading.add(site)

    return hook


def _noting_output(giving: set[Site], site: Site) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        y = output[0] if isinstance(output, tuple) else output
        width = y.shape[-1] if site.start is None else y.shape[-1] // 3
        if site.insertion is not Insertion.OUTPUT or width == site.d_out:
            giving.add(site)

    return hook


def measure(model: nn.Module, family: Family) -> Family | None:
    """Find out with real weights what shapes do not show.

    Whether our attention and our norms compute what the model's own do (None if not), whether attention
    is causal, and how positions are numbered.
    """
    # Rounding in bf16 looks like another formula; quantised weights stay as they are.
    dtypes = {parameter.dtype for parameter in model.parameters()}
    if torch.bfloat16 in dtypes and dtypes <= set(TOLERANCES):
        model = copy.deepcopy(model).float()
    ids = _words(model)
    with torch.no_grad():
        ours = _run(model, ids)
        model.set_attn_implementation("eager")  # type: ignore[operator]
        theirs = _run(model, ids)
        model.set_attn_implementation(NAME)  # type: ignore[operator]
        sites = sites_of(model, family, int(model.config.hidden_size))  # type: ignore[union-attr, arg-type]
        if not _close(ours, theirs, TOLERANCES[ours.dtype]) or not all(
            _normalises(model, site) for site in sites
        ):
            return None
        changed = ids.clone()
        changed[0, -1] = ids[0, 0]
        causal = _close(_run(model, changed)[0, 0], ours[0, 0], EXACT)
        return replace(family, decoder=causal, first_position=_first_position(model, ids, ours))


def _words(model: nn.Module) -> Tensor:
    """A few different tokens, none of them padding, `[1, TOKENS]`."""
    padding = getattr(model.config, "pad_token_id", None)
    words = [word for word in range(3, 4 + TOKENS) if word != padding]
    return torch.tensor([words[:TOKENS]], device=next(model.parameters()).device)


def _normalises(model: nn.Module, site: Site) -> bool:
    """Whether a normalisation is the one that the site says it is, but for its scale and shift."""
    if site.norm is None:
        return True
    module = model.get_submodule(site.module)
    x = torch.randn(2, site.d_out, generator=torch.Generator().manual_seed(0)) + 1
    scale = module.get_parameter("weight")
    bias = getattr(module, "bias", None)
    x = x.to(scale.device, scale.dtype)
    y = module(x) if bias is None else module(x) - bias
    first, second = site.norm.normalise(x)
    return _close(y[0] * second, y[1] * first, TOLERANCES[y.dtype])


def _first_position(model: nn.Module, ids: Tensor, expected: Tensor) -> int | None:
    """How the model numbers a text when it is not told; None if it cannot be told."""
    padding = getattr(model.config, "pad_token_id", None)
    numbered = {0: 0} if padding is None else {0: 0, AFTER_PADDING: padding + 1}
    counted = torch.arange(TOKENS, device=ids.device).unsqueeze(0)
    if _same(model, ids, expected, 2 * counted):
        return None
    fitting = [known for known, first in numbered.items() if _same(model, ids, expected, counted + first)]
    # Rotary models see distances only, and every start fits.
    return next(iter(fitting), None)


def _same(model: nn.Module, ids: Tensor, expected: Tensor, positions: Tensor) -> bool:
    try:
        found = _run(model, ids, position_ids=positions)
    except (TypeError, IndexError):
        return False
    return _close(found, expected, EXACT)


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    difference = (a.float() - b.float()).abs().max()
    return bool(difference <= tolerance * b.float().abs().max())


def _run(model: nn.Module, ids: Tensor, **more: Tensor) -> Tensor:
    hidden: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids), **more).last_hidden_state
    return hidden
