"""Checks of the labels: spelling, balance, and whether there are rows enough."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from trainers.findings import MOST_EXAMPLES, SPLITS, Finding, Rows, counted, percent
from trainers.labels import as_number
from trainers.source import quoted

FEWEST_PER_CLASS = 2
"""Training rows for each class on average below which nothing can be learned."""
FEW_PER_CLASS = 8
"""Below this a class is rare: few-shot studies train on 8 to 16 rows for each class."""
FEWEST_SCORED = 5
"""Validation or test rows below which a score says nothing."""
FEW_SCORED = 30
"""Validation or test rows below which one row moves the score by more than 0.03."""
FEWEST_NUMBERS = 10
UNBALANCED = 10.0
"""Rows of the most frequent class for each row of the rarest."""
DOMINANT = 0.8
"""Share of one class from which accuracy says little."""
SHORTEST_TYPO = 4
"""Letters; shorter names differ by one letter on purpose."""
RARE_TYPO = 0.05


def spelling(rows: Rows) -> Iterator[Finding]:
    """Labels that are one label spelled in two ways."""
    labels, counts = rows.task.labels, rows.class_counts.sum(axis=0)
    spelled = defaultdict(list)
    for index, label in enumerate(labels):
        spelled[normal_form(label)].append(index)
    same = [group for group in spelled.values() if len(group) > 1]
    if same:
        yield typo(rows, same, "warning", "differ by case, spaces or invisible characters only")
    near = [pair for pair in one_letter_apart(labels) if is_rare(counts[list(pair)].tolist())]
    if near:
        yield typo(rows, near, "advice", "differ by one letter, and one of the two is rare")


def typo(rows: Rows, groups: Sequence[Sequence[int]], severity: str, how: str) -> Finding:
    labels, counts = rows.task.labels, rows.class_counts.sum(axis=0)
    concerned = sum(map(len, groups))
    return Finding(
        check="label typos",
        severity=severity,
        what=f"{concerned:,} of {counted(len(labels), 'label')} {how}",
        count=concerned,
        share=concerned / len(labels),
        examples=tuple(
            " and ".join(
                f"{quoted(labels[i])} ({counted(int(counts[i]), 'row')})" for i in group[:MOST_EXAMPLES]
            )
            for group in groups[:MOST_EXAMPLES]
        ),
        advice="write one label in one way, or it is learned and scored as two",
    )


def normal_form(label: str) -> str:
    """The label without case, outer spaces, what joins its words, and characters that do not show."""
    seen = "".join(c for c in unicodedata.normalize("NFKC", label) if c.isprintable() or c.isspace())
    # only between two word characters: "a-" and "a" are two grades, "-1" and "1" two numbers
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)", "", seen.strip().casefold())


def one_letter_apart(labels: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of labels that become equal when one letter is added, dropped or replaced; a digit is none."""
    by_rest: dict[str, list[int]] = defaultdict(list)
    forms = [normal_form(label) for label in labels]
    for index, form in enumerate(forms):
        if len(form) >= SHORTEST_TYPO and as_number(form) is None:
            for rest in {form, *(form[:i] + form[i + 1 :] for i in range(len(form)) if form[i].isalpha())}:
                by_rest[rest].append(index)
    pairs = {
        (a, b) for group in by_rest.values() for i, a in enumerate(group) for b in group[i + 1 :] if a != b
    }
    return sorted(pair for pair in pairs if is_one_letter(forms[pair[0]], forms[pair[1]]))


def is_one_letter(a: str, b: str) -> bool:
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[start:], b[start:]
    return a != b and (a[1:] == b[1:] or a[1:] == b or a == b[1:])


def is_rare(counts: Sequence[int]) -> bool:
    return min(counts) <= max(2, RARE_TYPO * max(counts))


def balance(rows: Rows) -> Iterator[Finding]:
    """Classes of very unlike size; of word labels this is the rule, so it is not told."""
    counts = rows.class_counts[0]
    if not rows.has_one_class or counts.min() == 0:
        return
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    labels, share = rows.task.labels, counts[largest] / counts.sum()
    blind = share >= DOMINANT and rows.task.metric == "accuracy"
    if blind or counts[largest] >= UNBALANCED * counts[smallest]:
        advice = "score with --metric macro_f1, which counts every class alike"
        yield Finding(
            check="class balance",
            severity="warning" if blind else "advice",
            what=f"{quoted(labels[largest])} has {percent(float(share))} of the training rows, "
            f"{quoted(labels[smallest])} {percent(float(counts[smallest] / counts.sum()))}",
            count=int(counts[largest]),
            share=float(share),
            examples=tuple(
                f"{quoted(labels[i])} ({counted(int(counts[i]), 'row')})"
                for i in dict.fromkeys((largest, smallest))
            ),
            advice=f"always answering {quoted(labels[largest])} is right that often; {advice}"
            if blind
            else f"{advice}, unless the frequent ones matter most",
        )


def rare_classes(rows: Rows) -> Iterator[Finding]:
    """Classes with no or few training rows, and classes that no score speaks of."""
    counts = rows.class_counts
    none = np.flatnonzero(counts[0] == 0)
    few = np.flatnonzero((counts[0] > 0) & (counts[0] < FEW_PER_CLASS))
    if len(none):
        advice = "add training rows of these labels, or drop the rows that have them"
        # where a row has several labels, one that is never learned is missed, and the others count
        severity = "error" if rows.has_one_class else "warning"
        yield classes(rows, none, 0, severity, "have no training row", advice)
    if len(few):
        advice = "add rows of these labels, merge them into others, or drop them"
        yield classes(rows, few, 0, "warning", f"have fewer than {FEW_PER_CLASS} training rows", advice)
    for split in rows.scored:
        missing = np.flatnonzero((counts[split] == 0) & (counts[0] > 0))
        if len(missing):
            advice = f"add {SPLITS[split]} rows of these labels: the score says nothing about them"
            yield classes(rows, missing, split, "warning", f"have no {SPLITS[split]} row", advice)


def classes(
    rows: Rows, found: Sequence[int] | np.ndarray, split: int, severity: str, how: str, advice: str
) -> Finding:
    labels, counts = rows.task.labels, rows.class_counts[0]
    return Finding(
        check="rare classes",
        severity=severity,
        what=f"{len(found):,} of {counted(len(labels), 'label')} {how}",
        count=len(found),
        share=len(found) / len(labels),
        examples=tuple(
            f"{quoted(labels[i])} ({counted(int(counts[i]), 'training row')})" for i in found[:MOST_EXAMPLES]
        ),
        advice=advice,
    )


def few_rows(rows: Rows) -> Iterator[Finding]:
    """Too few rows to train on, or to score."""
    train, labels = len(rows.task.train), len(rows.task.labels)
    fewest = FEWEST_PER_CLASS * labels if rows.has_classes else FEWEST_NUMBERS
    if train < fewest:
        what = f"{counted(labels, 'label')} have " if rows.has_classes else "there are "
        yield Finding(
            check="too few rows",
            severity="error",
            what=f"{what}{counted(train, 'training row')}; at least {fewest:,} are needed",
            count=train,
            share=train / len(rows.texts),
            examples=(),
            advice="add rows, give a larger --train-rows, or drop rare labels",
        )
    for name, split in ((SPLITS[number], rows.splits[number]) for number in rows.scored):
        if len(split) < FEW_SCORED:
            more = "" if name == "train" else f", or a file with more with --{name}"
            yield Finding(
                check="too few rows",
                severity="error" if len(split) < FEWEST_SCORED else "warning",
                what=f"{name} has {counted(len(split), 'row')}, so one row moves its score by "
                f"{1 / len(split):.2f}",
                count=len(split),
                share=len(split) / len(rows.texts),
                examples=(),
                advice=f"add rows{more}: differences this small are not seen",
            )
