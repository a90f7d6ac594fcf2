"""Backbones of a family that the table does not name: which known one they are built like, tried out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from trainers.attention import NAME, Prefix, leave_prefix, take_prefix
from trainers.families import AFTER_PADDING, FAMILIES, Family
from trainers.sites import Insertion, Site, sites_of

TOKENS = 6
TOLERANCE = 1e-3
"""Largest difference of hidden states that counts as equal here."""


def guess(model: nn.Module, hidden_size: int) -> Family | None:
    """The first known family with the same modules whose sites all show up in a forward pass.

    The model may lie on the meta device: only shapes are looked at.
    """
    for family in dict.fromkeys(map(_Compared, FAMILIES.values())):
        try:
            sites = sites_of(model, family.family, hidden_size)
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
    """Run a few tokens: every linear layer gives its width, and every attention module takes a prefix."""
    device = next(model.parameters()).device
    used: set[str] = set()
    handles = []
    for site in sites:
        if site.insertion in (Insertion.PROMPT, Insertion.WEIGHT):
            continue
        module = model.get_submodule(site.module)
        if site.insertion is Insertion.ATTENTION:
            slot = torch.zeros(1, 1, 1, site.d_out, device=device)
            leave_prefix(module, Prefix(slot, slot, torch.ones(1, 1, device=device)))
        handles.append(module.register_forward_hook(_noting(used, site)))
    try:
        with torch.no_grad():
            _run(model, torch.zeros(1, TOKENS, dtype=torch.long, device=device))
    finally:
        for handle in handles:
            handle.remove()
        left = [
            site
            for site in sites
            if site.insertion is Insertion.ATTENTION and take_prefix(model.get_submodule(site.module))
        ]
    needed = {s.module for s in sites if s.insertion not in (Insertion.PROMPT, Insertion.WEIGHT)}
    return needed <= used and not left


def _noting(used: set[str], site: Site) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        whole = output[0] if isinstance(output, tuple) else output
        wide = whole.shape[-1] if site.start is None else whole.shape[-1] // 3
        if site.insertion is not Insertion.OUTPUT or wide == site.d_out:
            used.add(site.module)

    return hook


def measure(model: nn.Module, family: Family) -> Family | None:
    """Find out with real weights what shapes do not show.

    Whether our attention computes what the model's own does (None if not), whether attention is
    causal, and how positions are numbered.
    """
    device = next(model.parameters()).device
    ids = torch.arange(3, 3 + TOKENS, device=device).unsqueeze(0)
    with torch.no_grad():
        ours = _run(model, ids)
        model.set_attn_implementation("eager")  # type: ignore[operator]
        theirs = _run(model, ids)
        model.set_attn_implementation(NAME)  # type: ignore[operator]
        if not torch.allclose(ours.float(), theirs.float(), atol=TOLERANCE * 10, rtol=TOLERANCE * 10):
            return None
        changed = ids.clone()
        changed[0, -1] += 1
        causal = torch.allclose(_run(model, changed)[0, 0], ours[0, 0], atol=TOLERANCE)
        padding = getattr(model.config, "pad_token_id", None)
        numbered = {0: 0, AFTER_PADDING: (padding or 0) + 1}
        counted = torch.arange(TOKENS, device=device).unsqueeze(0)
        first_position = next(
            (
                known
                for known, first in numbered.items()
                if _same(model, ids, ours, counted + first)
                and not _same(model, ids, ours, counted + first + 1)
            ),
            None,
        )
    return replace(family, decoder=causal, first_position=first_position)


def _same(model: nn.Module, ids: Tensor, expected: Tensor, positions: Tensor) -> bool:
    try:
        found = _run(model, ids, position_ids=positions)
    except (TypeError, IndexError):
        return False
    return torch.allclose(found, expected, atol=TOLERANCE)


def _run(model: nn.Module, ids: Tensor, **more: Tensor) -> Tensor:
    hidden: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids), **more).last_hidden_state
    return hidden
