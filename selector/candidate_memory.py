"""What a worker does about memory: tell what training each candidate takes, and make stacks fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import torch

from selector.full_finetuning import METHOD as FULL
from selector.jobs import Bracket, Entry
from trainers.backbone import Backbone
from trainers.building import method_named
from trainers.data import Data
from trainers.free_memory import check_memory
from trainers.step_memory import fitting_stack, training_bytes

MAX_STACK = 8
"""Candidates in one stack. On a CPU larger ones gain nothing and leave its cache (docs/performance.md)."""


def weighed(bracket: Bracket, backbone: Backbone, data: Data) -> Bracket:
    """The bracket, each of its entries with the memory that training it takes, where that can be told.

    One that cannot be built is left to the training, which will say why.
    """
    return replace(bracket, entries=tuple(_weighed(entry, backbone, data) for entry in bracket.entries))


def _weighed(entry: Entry, backbone: Backbone, data: Data) -> Entry:
    if entry.training_bytes is not None:
        return entry
    with suppress(Exception):
        if entry.method == FULL:
            check_memory(backbone)
        config = method_named(entry.method).from_values(entry.values)
        return replace(entry, training_bytes=training_bytes(backbone, data, config))
    return entry


def in_parts(group: Sequence[Entry], device: torch.device) -> Iterator[list[Entry]]:
    """Entries that may share a stack, in stacks that the worker's memory holds; unknown sizes count as 0.

    It is the same for the same entries on the same machine, so that a bracket that is taken up goes on in
    the same stacks.
    """
    left = list(group)
    while left:
        count = fitting_stack([entry.training_bytes or 0 for entry in left[:MAX_STACK]], device)
        yield left[:count]
        left = left[count:]
