"""The kind of task that the values of a label column ask for, and the metric that suits it."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow
import pyarrow.compute

from trainers.column_names import SCORES
from trainers.columns import Columns
from trainers.kinds import single
from trainers.labels import Column, as_number
from trainers.metrics import METRICS_OF, POSITIVE
from trainers.source import MOST_LISTED, TaskError, listed, quoted
from trainers.spans import marks_spans

SEPARATORS = ("|", ";", ",")
# Only in a column of such a name is a cell taken for several labels, "fear|anger", unless the user says so.
PLURALS = ("labels", "tags", "emotions", "topics", "categories", "genres")
# The labels of CoLA, which GLUE scores by Matthews (Wang et al. 2019).
ACCEPTABILITY = {"acceptable", "unacceptable"}


def separator_of(columns: Columns, labels: pyarrow.ChunkedArray) -> str | None:
    """What separates several labels in one text of the column; None where it holds one label each.

    It is the first of `SEPARATORS` that some texts hold and whose parts are fewer than the different texts,
    or that any holds when the user asked for multi-label.
    """
    asked = columns.kind == "multi-label"
    if columns.label_lists or not (asked or columns.label.lower() in PLURALS):
        return None
    texts = {text for text in labels.unique().to_pylist() if text}
    for separator in SEPARATORS:
        parts = {part.strip() for text in texts for part in text.split(separator)}
        joined = any(separator in text for text in texts)
        if joined and (asked or ("" not in parts and len(parts) < len(texts))):
            return separator
    return None


def parted(labels: pyarrow.ChunkedArray, separator: str | None) -> pyarrow.ChunkedArray:
    """Texts of several labels as lists; a text without a separator is one label, a missing text none."""
    filled = pyarrow.compute.fill_null(labels, "")
    parts = [
        [part for part in map(str.strip, text.split(separator) if separator else [text]) if part]
        for text in filled.to_pylist()
    ]
    return pyarrow.chunked_array([pyarrow.array(parts, pyarrow.large_list(pyarrow.large_string()))])


def kind_by_values(columns: Columns, labels: Column, declared: Sequence[str]) -> str:
    """The kind of the columns, or regression where the labels are numbers that are no classes.

    They are when one has a fraction, or when the column is named like a score and has more than two values.
    Names that are declared with the data (ClassLabel) are classes.
    """
    if single(columns.kind) != "classification" or declared:
        return columns.kind
    numbers = [as_number(name) for name in labels.names]
    fractions = any(number is not None and number % 1 for number in numbers)
    named_so = columns.label.lower() in SCORES and len(numbers) > 2
    if None in numbers or not (fractions or named_so):
        return columns.kind
    return columns.kind.removesuffix("classification") + "regression"


def metric_for(kind: str, labels: Sequence[str], given: str | None) -> str:
    """The metric that is given, if it fits the kind, else the usual one.

    accuracy for classes (Matthews for CoLA, as in GLUE, known by its labels), micro F1 for several labels,
    Pearson for numbers (GLUE's first for STS-B), F1 of the spans for tags of spans, accuracy for other tags.

    Raises:
        TaskError: if it is unknown, or its label is none of the task's.
    """
    base = single(kind)
    if given is None:
        if base == "classification":
            return "matthews" if {label.lower() for label in labels} == ACCEPTABILITY else "accuracy"
        if base == "token-classification":
            return "span_f1" if marks_spans(labels) else "token_accuracy"
        return METRICS_OF[base][0]
    named = base in ("classification", "multi-label")
    possible = [*METRICS_OF[base], *([POSITIVE + "LABEL"] if named else [])]
    if base == "token-classification" and not marks_spans(labels):
        possible.remove("span_f1")  # the tags mark no spans
    if given not in possible[: len(METRICS_OF[base])] and not (named and given.startswith(POSITIVE)):
        raise TaskError(
            f"the metric {quoted(given)} is unknown for {kind}; choose --metric from {listed(possible)}"
        )
    positive = given.removeprefix(POSITIVE)
    if given.startswith(POSITIVE) and positive not in labels:
        raise TaskError(
            f"--metric {quoted(given)} names no label of the data; choose a label from "
            f"{listed(map(quoted, labels), MOST_LISTED)}"
        )
    return given
