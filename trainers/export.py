"""An export: one trained module as a folder that stands for itself, given its backbone."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from trainers.backbone import Backbone
from trainers.backbone import load as load_backbone
from trainers.building import AnyStack, build_stack, method_named
from trainers.checkpoint import BITS
from trainers.head import HEADS, MEAN
from trainers.kinds import single
from trainers.method import MethodConfig
from trainers.output_scale import output_scale
from trainers.predictions import said, same_predictions
from trainers.stack import Candidate, State
from trainers.task import Split, Task
from trainers.tokenising import tokenise
from trainers.train import Logits, logits_of
from trainers.truncation import HEAD, STRATEGIES

FORMAT_VERSION = 1
MODULE = "module.safetensors"
MANIFEST = "peltier.json"
FACTS = "peltier"
"""Key of the method, its fields and the seed in the metadata of a module's file."""
NEEDED = frozenset({"backbone", "task", "max_length", "module_sha256"})
"""Of the manifest, to load and predict."""
TOLERANCE = 1e-4
"""Largest allowed difference between a logit of the trained and of the reloaded module (fp32).

Of numbers in deviations of the training labels, beside what rounding to fp32 takes from their size."""
PREDICTED_AT_ONCE = 1024
"""Rows tokenised together while predicting, so that long inputs need little memory."""


class ExportError(ValueError):
    """An export that must not be used or released; the message is shown as it is."""


@dataclass(frozen=True)
class Module:
    """What a training leaves behind: everything but the backbone."""

    config: MethodConfig
    seed: int
    state: State

    def to_bytes(self) -> bytes:
        """The module as one safetensors file; the same module gives the same bytes."""
        facts = {"method": self.config.name, "config": self.config.values(), "seed": self.seed}
        # One key: safetensors writes several in no fixed order.
        return save_tensors(
            {name: tensor.contiguous() for name, tensor in self.state.items()},
            metadata={FACTS: json.dumps(facts)},
        )


def module_from_bytes(stored: bytes) -> Module:
    """The inverse of `Module.to_bytes`.

    Raises:
        ExportError: if the bytes are no module, or one of a method that is not there, such as peft's
            without peft.
    """
    try:
        state = load_tensors(stored)
        length = int.from_bytes(stored[:8], "little")
        facts = json.loads(json.loads(stored[8 : 8 + length])["__metadata__"][FACTS])
        method, values, seed = facts["method"], facts["config"], facts["seed"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ExportError(f"these bytes are not a Peltier module: {error}") from None
    try:
        config = method_named(method).from_values(values)
    except ValueError as error:
        raise ExportError(f"this module cannot be used here: {error}") from None
    return Module(config, seed, state)


def write_export(
    folder: Path,
    module: Module,
    backbone: Backbone,
    task: Task,
    max_length: int,
    expected: Logits,
    facts: Mapping[str, Any],
    *,
    truncation: str = HEAD,
) -> float:
    """Write an export, reload it, compare it with the trained logits, and only then put it in its place.

    `expected` are the module's own logits of the validation rows (with folds the training rows), taken in
    fp32 at the end of training; `facts` (scores, provenance) go into the manifest. Returns the largest
    difference.

    Raises:
        ExportError: if the folder holds something else already or cannot be written, or the reloaded
            module differs.
    """
    folder = folder.absolute()
    _refuse_taken(folder)
    with _workshop(folder) as name:
        draft = Path(name) / "export"
        draft.mkdir()
        stored = module.to_bytes()
        (draft / MODULE).write_bytes(stored)
        manifest = _manifest(module, stored, backbone, task, max_length, truncation)
        (draft / MANIFEST).write_text(json.dumps(manifest))
        parity = _parity(load_export(draft, backbone), task, expected)
        text = json.dumps({**manifest, **facts, "parity": parity}, indent=2, ensure_ascii=False)
        (draft / MANIFEST).write_text(text + "\n", encoding="utf-8")
        _replace(draft, folder)
    return float(parity["largest_difference"])


def _refuse_taken(folder: Path) -> None:
    if folder.is_file():
        raise ExportError(f"{str(folder)!r} is a file; name an empty or a new folder")
    if folder.is_symlink() or folder == Path.cwd():
        raise ExportError(f"{str(folder)!r} is a link or the working folder; name a new folder")
    if folder.exists() and not {path.name for path in folder.iterdir()} <= {MODULE, MANIFEST}:
        raise ExportError(f"folder {str(folder)!r} holds other files; name an empty or a new folder")


def _workshop(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder beside `folder`, on the same disk, so that the finished export moves in one step."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-")
    except OSError as error:
        raise ExportError(
            f"cannot write into {str(folder.parent)!r}: {error.strerror}; name a folder that you may write"
        ) from None


def _parity(export: Exported, task: Task, expected: Logits) -> dict[str, Any]:
    found = export.logits(task.validation)
    difference = float(np.abs(found - expected).max())
    tolerance = TOLERANCE
    if single(task.kind) == "regression":
        tolerance = tolerance * output_scale(task).deviation + 8 * float(np.spacing(np.abs(expected).max()))
    if not difference <= tolerance:
        raise ExportError(
            f"the reloaded module differs from the trained one: largest logit difference {difference:.2e}, "
            f"allowed {tolerance:.0e}; nothing was written"
        )
    return {
        "split": "validation" if task.folds is None else "train",
        "rows": len(task.validation),
        "largest_difference": difference,
        "tolerance": tolerance,
        **same_predictions(task.kind, found, expected),
    }


def _replace(draft: Path, folder: Path) -> None:
    """Put the draft in place; an earlier export stands aside until it is there."""
    if folder.exists():
        os.replace(folder, draft.with_name("earlier"))
    os.replace(draft, folder)


def _manifest(
    module: Module, stored: bytes, backbone: Backbone, task: Task, max_length: int, truncation: str
) -> dict[str, Any]:
    words = task.train.offsets is not None
    return {
        "format": "peltier",
        "format_version": FORMAT_VERSION,
        "method": module.config.name,
        "config": module.config.values(),
        "seed": module.seed,
        "backbone": {
            "reference": backbone.reference,
            "model_type": backbone.model_type,
            "hidden_size": backbone.hidden_size,
            "precision": backbone.precision if backbone.precision in BITS else "fp32",
            "weight_hash": backbone.weight_hash,
        },
        "task": task.summary(),
        "head": backbone.head.name,
        "pooling": "first token of each word" if words else backbone.pooling,
        "max_length": max_length,
        "truncation": None if words else truncation,  # long rows of words are read in parts
        "module_sha256": hashlib.sha256(stored).hexdigest(),
        "versions": {name: version(name) for name in ("peltier", "torch", "transformers")},
    }


@dataclass(frozen=True)
class Exported:
    """A loaded export, ready to predict."""

    manifest: Mapping[str, Any]
    stack: AnyStack

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.manifest["task"]["labels"])

    @property
    def kind(self) -> str:
        return str(self.manifest["task"]["kind"])

    @property
    def reads_words(self) -> bool:
        """Whether a row is a list of words, not a text."""
        return self.kind == "token-classification"

    def logits(self, split: Split) -> Float[np.ndarray, "items classes"]:
        """Logits in fp32, of rows or words; the labels of the split are not read."""
        length, truncation = self.manifest["max_length"], _truncation(self.manifest)
        tokens = tokenise(split, self.stack.backbone.tokenizer, length, truncation)
        logits: Logits = logits_of(self.stack, tokens)[0]
        return logits

    def predict(
        self, texts: Sequence[str] | Sequence[Sequence[str]], pairs: Sequence[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """What is predicted for each text, in order; texts are lists of words where words are tagged.

        | kind | row |
        |---|---|
        | classification | {"label", "probabilities"} |
        | multi-label | {"labels", "probabilities"}, each probability by itself |
        | regression | {"value"} |
        | token-classification | {"words", "tags"} |

        Raises:
            ExportError: if the task has text pairs and none are given, or the other way round.
        """
        if (pairs is None) != (self.manifest["task"]["columns"]["text_pair"] is None):
            needed = "text pairs" if pairs is None else "single texts"
            raise ExportError(f"this module was trained on {needed}")
        for start in range(0, len(texts), PREDICTED_AT_ONCE):
            part = slice(start, start + PREDICTED_AT_ONCE)
            split = self._unlabelled(tuple(texts[part]), None if pairs is None else tuple(pairs[part]))
            yield from said(self.kind, self.labels, split, self.logits(split))

    def _unlabelled(self, rows: tuple[Any, ...], pairs: tuple[str, ...] | None) -> Split:
        if not self.reads_words:
            return Split(rows, pairs, np.zeros(len(rows), np.int64))
        if any(isinstance(words, str) for words in rows):
            raise ExportError("this module tags words; give each row as a list of words")
        offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
        return Split(rows, pairs, np.zeros(offsets[-1], np.int64), offsets)


def load_export(folder: Path, backbone: Backbone | None = None) -> Exported:
    """Load an export folder, with its backbone unless one is given.

    Raises:
        ExportError: if the folder is no export, was changed, is newer than this
            program, or the backbone has other weights than the one trained on.
        BackboneError: if the backbone cannot be found.
    """
    manifest = _read_manifest(folder)
    path = folder / MODULE
    if not path.is_file():
        raise ExportError(f"{str(folder)!r} has no {MODULE}; export the study again")
    stored = path.read_bytes()
    if hashlib.sha256(stored).hexdigest() != manifest["module_sha256"]:
        raise ExportError(
            f"{str(path)!r} was changed after the export (its hash differs); export the study again"
        )
    module = module_from_bytes(stored)
    head = manifest.get("head", MEAN)  # exports from before there was a choice do not say it
    if backbone is None:
        stored_as = manifest["backbone"].get("precision", "fp32")
        loaded = load_backbone(manifest["backbone"]["reference"], dtype=stored_as, head=head)
    else:
        loaded = backbone.in_fp32.with_head(head)
    if loaded.weight_hash != manifest["backbone"]["weight_hash"]:
        raise ExportError(
            f"backbone {loaded.reference!r} has other weights than the one this module was trained on; "
            f"use the same revision"
        )
    classes = len(manifest["task"]["labels"]) or 1
    stack = build_stack(loaded, [Candidate(module.config, module.seed)], classes, [module.state])
    return Exported(manifest, stack)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise ExportError(
            f"{str(folder)!r} is not an export: it has no {MANIFEST}; "
            f"make one with: peltier export STUDY FOLDER"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{str(path)!r} is not JSON ({error}); export the study again") from None
    found = manifest if isinstance(manifest, dict) else {}
    version_found = found.get("format_version")
    if found.get("format") != "peltier" or not isinstance(version_found, int):
        raise ExportError(f"{str(path)!r} is not a Peltier manifest; export the study again")
    if version_found > FORMAT_VERSION:
        raise ExportError(
            f"{str(path)!r} has format version {version_found}, this program reads up to "
            f"{FORMAT_VERSION}; upgrade peltier"
        )
    if _truncation(found) not in STRATEGIES:
        raise ExportError(
            f"{str(path)!r} cuts long texts by {found['truncation']!r}, which this program does not know; "
            f"upgrade peltier"
        )
    if found.get("head", MEAN) not in HEADS:
        raise ExportError(
            f"{str(path)!r} has a head {found['head']!r}, which this program does not know; upgrade peltier"
        )
    missing = sorted(NEEDED - found.keys())
    if missing:
        raise ExportError(f"{str(path)!r} lacks {', '.join(missing)}; export the study again")
    return found


def _truncation(manifest: Mapping[str, Any]) -> Any:
    """How long texts are cut; exports from before there was a choice do not say it."""
    return manifest.get("truncation") or HEAD
