"""An export: one trained module as a folder that stands for itself, given its backbone."""

from __future__ import annotations

import hashlib
import json
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
from trainers.checkpoint import BITS, PACKAGED, PACKAGED_ID
from trainers.errors import ExportError as ExportError
from trainers.export_folder import (
    CARD,
    FORMAT_VERSION,
    MANIFEST,
    MODULE,
    check_files,
    read_manifest,
    refuse_pickles,
    seal,
    workshop,
)
from trainers.head import HEADS, MEAN
from trainers.kinds import single
from trainers.licences import licence_of
from trainers.method import MethodConfig
from trainers.parity import parity
from trainers.predictions import said
from trainers.stack import Candidate, State
from trainers.task import Split, Task
from trainers.timing import latency
from trainers.tokenising import tokenise
from trainers.tokens import Tokens
from trainers.train import EVALUATION_BATCH_SIZE, Logits, logits_of
from trainers.truncation import HEAD, STRATEGIES

FACTS = "peltier"
"""Key of the method, its fields and the seed in the metadata of a module's file."""
NEEDED = frozenset({"backbone", "task", "max_length", "module_sha256"})
"""Of the manifest, to load and predict."""
PREDICTED_AT_ONCE = 1024
"""Rows tokenised together while predicting, so that long inputs need little memory."""


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
    timed: bool = False,
) -> float:
    """Write an export, reload it, compare it with the trained logits, and only then put it in its place.

    It is reloaded in this process, on the given backbone; `trainers.formats.release` does so in a fresh one.
    `expected` are the module's own logits of the validation rows (with folds the training rows), taken in
    fp32 at the end of training; `facts` (scores, provenance) go into the manifest, and the latency where it
    is `timed`. Returns the largest difference.

    Raises:
        ExportError: if the folder holds something else already or cannot be written, or the reloaded
            module differs.
    """
    folder = folder.absolute()
    with workshop(folder) as room:
        draft = room / "export"
        draft.mkdir()
        stored = module.to_bytes()
        (draft / MODULE).write_bytes(stored)
        manifest = _manifest(module, stored, backbone, task, max_length, truncation)
        (draft / MANIFEST).write_text(json.dumps(manifest))
        export = load_export(draft, backbone)
        checked = parity(export.logits(task.validation), task, expected, process="same")
        took = {"latency": export.latency(task.validation)} if timed else {}
        seal(draft, folder, {**manifest, **facts, "parity": checked, **took})
    return float(checked["largest_difference"])


def exported(module: Module, backbone: Backbone, task: Task, max_length: int, truncation: str) -> Exported:
    """A module as it would be loaded from its export."""
    manifest = _manifest(module, module.to_bytes(), backbone, task, max_length, truncation)
    return _assembled(manifest, module, backbone.in_fp32)


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
            "hub": hub_id(backbone),
            "revision": revision_of(backbone),
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
        "licences": {"backbone": licence_of(backbone.folder), "dataset": None},
        "module_sha256": hashlib.sha256(stored).hexdigest(),
        "versions": {name: version(name) for name in ("peltier", "torch", "transformers")},
    }


def revision_of(backbone: Backbone) -> str | None:
    """The commit of a backbone from the hub, whose cache keeps each in a folder of that name."""
    return backbone.folder.name if backbone.folder.parent.name == "snapshots" else None


def hub_id(backbone: Backbone) -> str | None:
    """Where the hub has the backbone; None for a folder."""
    if backbone.reference == PACKAGED:
        return PACKAGED_ID
    return backbone.reference if revision_of(backbone) else None


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

    def tokens(self, split: Split) -> Tokens:
        """The tokens of a split, cut as in training."""
        length, truncation = self.manifest["max_length"], _truncation(self.manifest)
        return tokenise(split, self.stack.backbone.tokenizer, length, truncation)

    def logits(
        self, split: Split, batch_size: int = EVALUATION_BATCH_SIZE
    ) -> Float[np.ndarray, "items classes"]:
        """Logits in fp32, of rows or words; the labels of the split are not read."""
        logits: Logits = logits_of(self.stack, self.tokens(split), batch_size)[0]
        return logits

    def latency(self, split: Split) -> dict[str, Any]:
        """How long a text of the split's median length takes here."""

        def run(texts: Sequence[Any], pairs: Sequence[str] | None) -> Logits:
            found: Logits = self.logits(self.unlabelled(texts, pairs))
            return found

        return latency(run, split.texts, split.pairs, self.stack.backbone.device)

    def predict(
        self,
        texts: Sequence[str] | Sequence[Sequence[str]],
        pairs: Sequence[str] | None = None,
        *,
        batch_size: int = EVALUATION_BATCH_SIZE,
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
        self.check_pairs(pairs)
        for start in range(0, len(texts), PREDICTED_AT_ONCE):
            part = slice(start, start + PREDICTED_AT_ONCE)
            split = self.unlabelled(texts[part], None if pairs is None else pairs[part])
            yield from said(self.kind, self.labels, split, self.logits(split, batch_size))

    def check_pairs(self, pairs: Sequence[str] | None) -> None:
        """Whether second texts are given where, and only where, the task has them.

        Raises:
            ExportError: if not.
        """
        if (pairs is None) != (self.manifest["task"]["columns"]["text_pair"] is None):
            needed = "text pairs" if pairs is None else "single texts"
            raise ExportError(f"this module was trained on {needed}")

    def unlabelled(self, texts: Sequence[Any], pairs: Sequence[str] | None) -> Split:
        """Texts, or lists of words, as a split whose labels say nothing.

        Raises:
            ExportError: if words are tagged and a row is no list of them.
        """
        rows, others = tuple(texts), None if pairs is None else tuple(pairs)
        if not self.reads_words:
            return Split(rows, others, np.zeros(len(rows), np.int64))
        if any(isinstance(words, str) for words in rows):
            raise ExportError("this module tags words; give each row as a list of words")
        offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
        return Split(rows, others, np.zeros(offsets[-1], np.int64), offsets)


def load_export(
    folder: Path,
    backbone: Backbone | None = None,
    *,
    device: str = "auto",
    reference: str | None = None,
) -> Exported:
    """Load an export folder, with its backbone (on `device`) unless one is given.

    `reference` is where the backbone lies, if not where it lay in training.

    Raises:
        ExportError: if the folder is no export, was changed, is newer than this
            program, or the backbone has other weights than the one trained on.
        BackboneError: if the backbone cannot be found.
    """
    manifest = native_manifest(folder)
    refuse_pickles(folder)
    check_files(folder, {"files": {MODULE: {"sha256": manifest["module_sha256"]}}})
    module = module_from_bytes((folder / MODULE).read_bytes())
    head = manifest.get("head", MEAN)  # exports from before there was a choice do not say it
    if backbone is None:
        known = manifest["backbone"]
        found, precision = reference or known["reference"], known.get("precision", "fp32")
        backbone = load_backbone(found, dtype=precision, device=device, head=head)
    backbone = backbone.in_fp32.with_head(head)
    if backbone.weight_hash != manifest["backbone"]["weight_hash"]:
        raise ExportError(
            f"backbone {backbone.reference!r} has other weights than the one this module was trained on; "
            f"use the same revision"
        )
    return _assembled(manifest, module, backbone)


def _assembled(manifest: Mapping[str, Any], module: Module, backbone: Backbone) -> Exported:
    outputs = len(manifest["task"]["labels"]) or 1
    stack = build_stack(backbone, [Candidate(module.config, module.seed)], outputs, [module.state])
    return Exported(manifest, stack)


def native_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an export in the native format.

    Raises:
        ExportError: if the folder is no export, is one in another format, or is newer than this program.
    """
    path = folder / MANIFEST
    found = read_manifest(folder)
    if found["format"] != "peltier":
        raise ExportError(
            f"{str(folder)!r} is an export in format {found['format']}, for other tools; its {CARD} says how "
            f"to load it. Peltier itself loads format native: peltier export STUDY FOLDER"
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
    _check_labels(path, found)
    return found


def _check_labels(path: Path, manifest: Mapping[str, Any]) -> None:
    task = manifest["task"]
    labels = task.get("labels") if isinstance(task, dict) else None
    named = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    if not named or (not labels and single(str(task.get("kind"))) != "regression"):
        raise ExportError(
            f"{str(path)!r} names no labels, so that nothing can be said; export the study again"
        )


def _truncation(manifest: Mapping[str, Any]) -> Any:
    """How long texts are cut; exports from before there was a choice do not say it."""
    return manifest.get("truncation") or HEAD
