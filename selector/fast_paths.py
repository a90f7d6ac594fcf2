"""Which fast ways of computing this machine has, which of them training takes, and why not the others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from trainers.checkpoint import native_dtype


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    name: str
    ok: bool
    found: str


def fast_paths(environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """The dtype that `auto` chooses, what speaks for it, and how attention and threads work here."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    own = _of_cuda() if device.type == "cuda" else _of_processor(environment)
    return [_dtype(device), *own, _compiled()]


def _dtype(device: torch.device) -> Finding:
    fast = native_dtype(device) is torch.bfloat16
    said = "yes; dtype auto holds the frozen backbone in it" if fast else "no; dtype auto is fp32 here"
    return Finding("bf16 in hardware", fast, said)


# ----------------------------------------------------------------------------------- processors


def _of_processor(environment: Mapping[str, str]) -> list[Finding]:
    return [
        _instructions("AMX", torch.cpu._is_amx_tile_supported()),
        _instructions("AVX-512 with bf16", torch.cpu._is_avx512_bf16_supported()),
        _instructions("AVX-512", torch.cpu._is_avx512_supported()),
        _onednn(),
        Finding("CUDA", False, _no_cuda()),
        Finding(
            "fused attention",
            False,
            "off on processors: in bf16 its backward pass takes far longer than plain matrix products",
        ),
        _waiting(environment),
    ]


def _instructions(name: str, present: bool) -> Finding:
    return Finding(name, present, "yes" if present else "this processor has none")


def _onednn() -> Finding:
    if not torch.backends.mkldnn.is_available():
        return Finding("oneDNN", False, "this torch was built without it; bf16 is slow without")
    on = bool(torch.backends.mkldnn.enabled)
    return Finding(
        "oneDNN", on, "yes" if on else "switched off by torch.backends.mkldnn; bf16 is slow without"
    )


def _no_cuda() -> str:
    if torch.version.cuda is None:
        return "this torch was built without it"
    return "torch finds no GPU that its CUDA can use; is there one, with a driver?"


def _waiting(environment: Mapping[str, str]) -> Finding:
    policy = environment.get("OMP_WAIT_POLICY", "")
    if policy.upper() == "PASSIVE":
        return Finding("threads that wait", True, "sleep; others may use their cores")
    found = f"spin, because OMP_WAIT_POLICY is {policy!r}: very slow beside others; set it to PASSIVE"
    return Finding("threads that wait", False, found)


# ----------------------------------------------------------------------------------------- GPUs


def _of_cuda() -> list[Finding]:
    capability = "{}.{}".format(*torch.cuda.get_device_capability())
    efficient = torch.backends.cuda.mem_efficient_sdp_enabled()
    precision = torch.get_float32_matmul_precision()
    return [
        Finding("CUDA", True, f"{torch.version.cuda}, compute capability {capability}"),
        Finding(
            "fused attention",
            efficient,
            "the memory-efficient kernel" if efficient else "switched off by torch.backends.cuda",
        ),
        Finding("flash attention", False, "off: it takes no mask, and batches are padded"),
        Finding(
            "TF32",
            precision != "highest",
            "for products in fp32"
            if precision != "highest"
            else "off, so that scores in fp32 are those of any machine",
        ),
        Finding("CUDA graphs", False, "not used: each batch has its own length"),
    ]


def _compiled() -> Finding:
    return Finding(
        "torch.compile", False, "not used: 20 to 50 s to compile, for a gain within noise on a processor"
    )
