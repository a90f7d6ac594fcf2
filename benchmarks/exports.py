"""Export a module of every method in every format, and render the table of docs/exports.md.

    python benchmarks/exports.py --docs docs/exports.md
    python benchmarks/exports.py --backbone bert-base-uncased --methods lora,unipelt --out table.md

Modules are not trained: every tensor is moved away from its start by noise, which a format must carry as well as
training. Each cell is a release as `peltier export` makes it: written, loaded in a fresh process, compared with
the logits of the module on 64 rows, and timed there for one text of median length.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

import trainers.methods  # noqa: F401
from trainers.backbone import Backbone, load
from trainers.building import method_named
from trainers.checkpoint import default_reference
from trainers.export import Exported, Module, exported
from trainers.export_folder import ExportError, read_manifest
from trainers.formats import FORMATS, check_offered
from trainers.formats.release import release
from trainers.formats.table import BEGIN, END, Cell, replaced, table
from trainers.head import HEADS
from trainers.method import METHODS
from trainers.splits import Split
from trainers.stack import Candidate
from trainers.task import Task
from trainers.building import build_stack

ROWS, WORDS, LENGTH = 64, "a b c d e f g h i j k l m n o p q r s t u v w x y z".split(), 64
LABELS = ("no", "yes")


def main() -> None:
    """Release, print each cell as it is done, and write the table."""
