"""From the trials of a study to its recommendation and the module that goes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays

from selector.jobs import Logits
from selector.study import RequestError
from storage.files import Files
from storage.records import Baseline, State, Study, Trial
from trainers.task import Task
"""x"""
