"""A training of all weights is refused before the system ends the process for its memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainers import free_memory
from trainers.backbone import load
from trainers.free_memory import BYTES_AT_REST, BYTES_PER_WEIGHT, check_memory, free_bytes


def test_what_does_not_fit_is_refused_with_both_sizes(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load(str(tiny_folder), dtype="fp32", device="cpu")
    weights = sum(parameter.numel() for parameter in backbone.model.parameters())
    kilobytes = BYTES_PER_WEIGHT * weights // 1024
    memory = tmp_path / "meminfo"
    monkeypatch.setattr(free_memory, "MEMORY", memory)
    memory.write_text(f"MemTotal:       99999999 kB\nMemAvailable:   {kilobytes + 1} kB\n")
    check_memory(backbone)
    memory.write_text(f"MemTotal:       99999999 kB\nMemAvailable:   {kilobytes - 1} kB\n")
    with pytest.raises(MemoryError, match=rf"training all {weights:,} weights takes about 0\.0 GB of memory"):
        check_memory(backbone)
    memory.write_text(f"MemAvailable:   {(BYTES_PER_WEIGHT + 5 * BYTES_AT_REST) * weights // 1024 + 1} kB\n")
    check_memory(backbone, trainings=6)
    with pytest.raises(MemoryError):
        check_memory(backbone, trainings=7)


def test_a_system_that_does_not_say_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "MEMORY", tmp_path / "nothing")
    assert free_bytes(torch.device("cpu")) == float("inf")
