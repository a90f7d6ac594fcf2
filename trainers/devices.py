"""Devices by name."""

from __future__ import annotations

import torch

from trainers.checkpoint import BackboneError


def device_named(name: str) -> torch.device:
    """A torch device such as cpu or cuda:1; `auto` is the GPU when there is one.

    Raises:
        BackboneError: if it is not here, naming those that are.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # torch says it in several ways
        here = ", ".join(["auto", "cpu", *(f"cuda:{number}" for number in range(gpus))])
        raise BackboneError(f"there is no device {name!r} here; give one of {here}") from None
    if device.type == "meta":
        raise BackboneError("device 'meta' computes nothing; give auto or cpu")
    return device
