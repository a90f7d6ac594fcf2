"""The ONNX format: one graph from tokens to logits, for runtimes without Python or torch."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import onnxscript  # noqa: F401  # torch's exporter needs it
import torch
from torch import Tensor, nn

from trainers.export import Exported, ExportError
from trainers.formats import standalone
from trainers.stack import Stack
from trainers.standalone.facts import Facts
from trainers.standalone.imported import imported
from trainers.standalone.source import docstring, source_of

NAME = "onnx"
TOLERANCE = 1e-4
GRAPH = "model.onnx"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
SHAPES = ((1, 3), (1, 9), (2, 2), (3, 7), (5, 4))
"""Examples and tokens of the batches on which a graph is compared with the model it was made of."""
LARGEST_FILE = 2**31 - 2**24
"""Bytes; a graph of more keeps its weights in a second file, as protobuf demands."""
CHECK = standalone.CHECK


def refusal(export: Exported) -> str | None:
    """Why there is no graph of an export; None where there is."""
    reason = standalone.refusal(export)
    if reason is None and "torch.linalg." in _source(export):
        return f"{export.manifest['method']} uses linear algebra for which ONNX has no operators"
    return reason and reason.replace("standalone file", "graph")


def write(folder: Path, export: Exported) -> None:
    """The graph, checked on several lengths and batch sizes, the tokenizer, and a predict.py for onnxruntime.

    Raises:
        ExportError: if torch cannot make a graph of the model, or the graph computes something else.
    """
    model: Any = export.stack.backbone.model
    segments = "token_type_ids" in export.stack.backbone.tokenizer.model_input_names
    names, words = INPUTS if segments else INPUTS[:2], model.config.vocab_size
    with tempfile.TemporaryDirectory() as room:
        # The standalone form has no more in it than a prediction needs.
        standalone.write(Path(room), export)
        with imported(Path(room) / standalone.SOURCE) as module:
            predictor = module.load()
            _write_graph(folder / GRAPH, predictor, names)
            _compare(folder / GRAPH, predictor, names, words)
    assert isinstance(export.stack, Stack)
    facts = Facts(export, export.stack)
    found = facts.reading()
    about = docstring(found, "onnxruntime, torch and transformers")
    source, _ = source_of(about, facts.features | {"onnx"}, {})
    (folder / standalone.SOURCE).write_text(source, encoding="utf-8")
    text = json.dumps(found, indent=1, ensure_ascii=False)
    (folder / standalone.FACTS).write_text(text + "\n", encoding="utf-8")
    export.stack.backbone.tokenizer.save_pretrained(folder)


def _source(export: Exported) -> str:
    assert isinstance(export.stack, Stack)
    facts = Facts(export, export.stack)
    facts.reading()
    facts.computing()
    return source_of("", facts.features, facts.deltas)[0]


class _Graph(nn.Module):
    """A predictor as torch's exporter wants it."""

    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.model, self.predictor = predictor.model, predictor

    def forward(self, *given: Tensor) -> Tensor:
        logits: Tensor = self.predictor.forward(*given)
        return logits


def _write_graph(path: Path, predictor: Any, names: tuple[str, ...]) -> None:
    ids, mask = torch.full((3, 7), 4), torch.tensor([[1] * 7, [1] * 5 + [0] * 2, [1] * 3 + [0] * 4])
    given = (ids, mask, torch.zeros_like(ids))[: len(names)]
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    size = sum(weight.numel() * weight.element_size() for weight in predictor.model.parameters())
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells of operators that are not used here
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                _Graph(predictor).eval(),
                given,
                path,
                input_names=list(names),
                output_names=["logits"],
                dynamic_shapes=((free,) * len(names),),
                dynamo=True,
                verbose=False,
                external_data=size > LARGEST_FILE,
            )
        except Exception as error:  # torch raises many kinds
            reason = str(error.__cause__ or error).strip().split("\n")[0]
            raise ExportError(f"torch makes no ONNX graph of this module ({reason})") from None


def _compare(path: Path, predictor: Any, names: tuple[str, ...], words: int) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    for examples, tokens in SHAPES:
        ids = torch.randint(words, (examples, tokens), generator=generator)
        lengths = (tokens - torch.arange(examples)).clamp(min=1)
        mask = (torch.arange(tokens) < lengths.unsqueeze(1)).long()
        given = (ids, mask, torch.zeros_like(ids))[: len(names)]
        with torch.no_grad():
            expected = predictor.forward(*given).numpy()
        (found,) = session.run(["logits"], {n: t.numpy() for n, t in zip(names, given, strict=True)})
        difference = np.abs(found - expected).max() / max(1.0, np.abs(expected).max())
        if not difference <= TOLERANCE:
            raise ExportError(
                f"the ONNX graph computes something else than the module: logits of {examples} texts of "
                f"{tokens} tokens differ by {difference:.1e} of their size; nothing was written"
            )
