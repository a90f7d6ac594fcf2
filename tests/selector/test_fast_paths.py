"""What the doctor says of speed: the dtype that training takes, and a reason for whatever is off."""

from __future__ import annotations

import pytest
import torch

from selector.fast_paths import Finding, fast_paths
from trainers.checkpoint import native_dtype

PASSIVE = {"OMP_WAIT_POLICY": "passive"}


def by_name(**environment: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in fast_paths({**PASSIVE, **environment})}


def test_it_says_the_dtype_that_auto_takes() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert by_name()["bf16 in hardware"].ok == (native_dtype(device) is torch.bfloat16)


@pytest.mark.parametrize(
    ("amx", "avx512", "expected"),
    [(True, False, torch.bfloat16), (False, True, torch.bfloat16), (False, False, torch.float32)],
)
def test_auto_is_bf16_where_the_processor_multiplies_it(
    amx: bool, avx512: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert native_dtype(torch.device("cpu")) is expected
    found = by_name()
    assert found["bf16 in hardware"].ok == (expected is torch.bfloat16)
    assert found["AMX"] == Finding("AMX", amx, "yes" if amx else "this processor has none")


def test_whatever_is_off_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = by_name()
    assert {"AMX", "AVX-512 with bf16", "oneDNN", "CUDA", "fused attention"} <= found.keys()
    assert all(len(finding.found) > 15 for finding in found.values() if not finding.ok)
    assert by_name(OMP_WAIT_POLICY="ACTIVE")["threads that wait"].found.startswith("spin")
