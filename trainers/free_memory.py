"""Whether the memory that is free holds a training of all weights: asked before it ends the whole process."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from trainers.backbone import Backbone

BYTES_PER_WEIGHT = 47
"""What MiniLM took at most on a CPU with weights in fp32; in bf16 38. The change and two moments are 12 of
them; the rest comes and goes in each step: gradients, their concatenation, the changed weights."""
BYTES_AT_REST = 12
"""What a training holds while another one is at work."""
MEMORY = Path("/proc/meminfo")


def check_memory(backbone: Backbone, trainings: int = 1) -> None:
    """Refuse what would not fit: so many trainings at once, as in folds, of which one is at work.

    Raises:
        MemoryError: with what is needed and what is free.
    """
    weights = sum(parameter.numel() for parameter in backbone.model.parameters())
    needed = (BYTES_PER_WEIGHT + BYTES_AT_REST * (trainings - 1)) * weights
    free = free_bytes(backbone.device)
    if needed > free:
        raise MemoryError(
            f"training all {weights:,} weights takes about {needed / 1e9:.1f} GB of memory, "
            f"and {free / 1e9:.1f} GB are free"
        )


def free_bytes(device: torch.device) -> float:
    """What a new training may take; infinite where the system does not say."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + cached)
    if not MEMORY.exists():
        return math.inf
    fields = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines())
    return 1024.0 * int(fields["MemAvailable"].split()[0])
