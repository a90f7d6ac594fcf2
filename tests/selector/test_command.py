"""A request as a command line; that the command line asks for the very same, the form's tests say."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selector.command import search_command
from selector.durations import duration_of, seconds_of
from selector.narrowing import read_options
from selector.study import DataFile, StudySpec


def spec(**options: Any) -> StudySpec:
    return StudySpec(**{"train": DataFile(name="rows.csv"), "backbone": "tiny", **options})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ""),
        ({"early_exit": "none", "memory": False}, " --no-halving --no-memory"),
        ({"early_exit": "hyperband", "full_finetuning": False}, " --hyperband --no-full-finetuning"),
        ({"budget_seconds": 5400.0, "device_seconds": 90.0}, " --budget 1h30m --device-budget 1m30s"),
        ({"methods": ("lora", "peft:OFT")}, " --methods lora,peft:OFT"),
        ({"objectives": ("metric", "bytes")}, " --objective metric,bytes"),
        ({"max_parameters": "0.5%", "gpus_per_worker": 0.5}, " --max-parameters 0.5% --gpus-per-worker 0.5"),
        ({"test": DataFile(name="-odd name.csv"), "seed": 3}, " --test './-odd name.csv' --seed 3"),
    ],
)
def test_only_what_is_not_the_default_is_said(options: dict[str, Any], said: str) -> None:
    words = shlex.split(f"peltier search rows.csv --backbone tiny{said}")
    assert sorted(shlex.split(search_command(spec(**options)))) == sorted(words)


def test_a_narrowed_space_is_said_as_it_was_given() -> None:
    fixed, ranges = ["rank=8", "lora.dora=true", "lora.layers=0 2 5"], ["lora.dropout=0.0,0.1", "alpha=8:32"]
    words = shlex.split(search_command(spec(narrowing=read_options(fixed, ranges))))
    told = {option: [b for a, b in zip(words, words[1:], strict=False) if a == option] for option in words}
    assert read_options(told["--fix"], told["--range"]) == read_options(fixed, ranges)


def test_no_password_is_said() -> None:
    said = search_command(spec(), name="mine", force=True, database="postgresql://me:secret@host/peltier")
    assert said.endswith("--name mine --force --database postgresql://me:***@host/peltier")


@given(st.integers(1, 10**7))
def test_a_duration_is_read_back_as_it_is_written(seconds: int) -> None:
    assert seconds_of(duration_of(float(seconds))) == seconds
