"""A dataset before a study: read, examined, and told in lines and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from selector.study import RequestError
from trainers.backbone import Reader
from trainers.checks import SEVERITIES, SPLITS, Finding, Lengths, examine, token_lengths
from trainers.reading import columns_of, read_columns
from trainers.source import MOST_LISTED, listed, open_source
from trainers.task import Task


@dataclass(frozen=True)
class Checked:
    """A task with what its checks found, the worst first."""

    task: Task
    findings: tuple[Finding, ...]
    lengths: Lengths

    def summary(self) -> dict[str, Any]:
        """What a study keeps of it, as JSON values."""
        return {**self.task.summary(), "findings": [finding.to_json() for finding in self.findings]}

    def label_counts(self) -> dict[str, dict[str, int]]:
        """Split -> label -> rows, or words, that have it; empty where numbers are predicted."""
        labels = self.task.labels
        if not labels:
            return {}
        found = {}
        for name, split in zip(SPLITS, (self.task.train, self.task.validation, self.task.test), strict=True):
            several = split.labels.ndim == 2
            counts = (
                (split.labels > 0).sum(0) if several else np.bincount(split.labels, minlength=len(labels))
            )
            found[name] = dict(zip(labels, counts.tolist(), strict=True))
        return found


def check_data(task: Task, train: Path, reader: Reader) -> Checked:
    """Examine a task that was read from a training file."""
    lengths = token_lengths(task, reader.tokenizer, reader.max_length)
    return Checked(task, examine(task, lengths=lengths, table=other_columns(train, task)), lengths)


def other_columns(path: Path, task: Task) -> dict[str, list[Any]]:
    """The columns of the training file that are no texts, nor pictures; empty where only the label is left.

    Columns of what is no file are not looked at.
    """
    if not path.is_file():
        return {}
    source = open_source(path)
    unread = (task.text, task.text_pair, *task.media)
    names = [name for name in columns_of(source) if name not in unread]
    return read_columns(source, names) if len(names) > 1 else {}


def stop_on_errors(checked: Checked, file: str) -> None:
    """Refuse a dataset that has an error: its study would answer nothing.

    Raises:
        RequestError: with the first error, and how to run the study even so.
    """
    errors = [finding for finding in checked.findings if finding.severity == "error"]
    if errors:
        first = errors[0]
        more = f" ({len(errors) - 1} more: peltier check {file})" if len(errors) > 1 else ""
        raise RequestError(
            f"{file} would make a study that answers nothing: {first.check}: {first.what}{more}; "
            f"{first.advice}. To run it even so, pass --force"
        )


def line(finding: Finding) -> str:
    """A finding on one line, without examples and advice."""
    return f"{finding.severity}: {finding.check}: {finding.what}"


def tally(severities: Iterable[str]) -> str:
    """How many findings there are of each severity."""
    counts = Counter(severities)
    words = {"error": "error", "warning": "warning", "advice": "piece of advice"}
    plurals = {"error": "errors", "warning": "warnings", "advice": "pieces of advice"}
    return ", ".join(
        f"{counts[severity]} {words[severity] if counts[severity] == 1 else plurals[severity]}"
        for severity in SEVERITIES
    )


def description(checked: Checked) -> str:
    """The task in three lines: what is learned, from how many rows, and how long they are."""
    task = checked.task
    texts = task.text if task.text_pair is None else f"{task.text} and {task.text_pair}"
    splits = zip(SPLITS, (task.train, task.validation, task.test), strict=True)
    rows = "; ".join(f"{len(split):,} {name} ({task.origin[name]})" for name, split in splits)
    column = f"columns {listed(task.flags, MOST_LISTED)}" if task.flags else f"column {task.label}"
    classes = f"{len(task.labels):,} labels of " if task.labels else ""
    return (
        f"{task.name}: {task.kind} of column {texts} into {classes}{column}, scored by {task.metric}\n"
        f"rows: {rows}\ntokens: {checked.lengths.summary()}"
    )


def findings_table(findings: Sequence[Finding]) -> Table:
    """Each finding with its examples and what to do."""
    table = Table(show_lines=True)
    for name in ("severity", "check"):
        table.add_column(name, no_wrap=True)
    table.add_column("found", ratio=1)
    for finding in findings:
        examples = (f"- {example}" for example in finding.examples)
        text = "\n".join([finding.what, *examples, f"to do: {finding.advice}"])
        table.add_row(finding.severity, finding.check, text)
    return table
