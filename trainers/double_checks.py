"""Checks of texts that occur more than once: across splits, inside one, with different labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from trainers.duplicates import Pairs, near_duplicates
from trainers.findings import (
    MOST_EXAMPLES,
    SPLITS,
    Answer,
    Finding,
    Integers,
    Rows,
    counted,
    label_text,
    percent,
)
from trainers.source import quoted

MOST_ACROSS = 0.5
"""Share of the scored rows beyond which their scores are those of a memory."""
MOST_UNDECIDED = 0.5
"""Share of rows with contradicting labels beyond which the text does not decide the label."""
NOTABLE = 0.01
"""Share from which doubles move a score by more than its second digit."""
NOTABLE_NEAR = 0.05
"""Of short texts a few per cent are near duplicates by chance: the same question of two people."""
MOST_INSIDE = 0.2
SCORE_RANGE = 0.25
"""Labels that are numbers contradict each other when they differ by this share of their whole range."""


def repeated_across(rows: Rows) -> Iterator[Finding]:
    """Validation and test rows with the text of a row in an earlier split."""
    first = first_split(rows)
    seen = np.flatnonzero(first[rows.groups] < rows.split)
    scored = int((rows.split > 0).sum())
    if len(seen):
        share = len(seen) / scored
        yield Finding(
            check="duplicates across splits",
            severity="error" if share > MOST_ACROSS else "warning",
            what=f"{len(seen):,} of {counted(scored, 'validation and test row')} ({percent(share)}) have the "
            f"text of a row in an earlier split",
            count=len(seen),
            share=share,
            examples=tuple(
                f"{quoted(rows.texts[row])} in {SPLITS[first[group]]} and {SPLITS[rows.split[row]]}"
                for row, group in zip(seen[:MOST_EXAMPLES], rows.groups[seen], strict=False)
            ),
            advice="drop these rows from validation and test, or pass one file and let Peltier split it: "
            "scores on texts that were trained on are too high",
        )


def repeated_inside(rows: Rows) -> Iterator[Finding]:
    """Rows that repeat an earlier row of their split."""
    order = np.stack([rows.groups, rows.split], axis=1)
    _, kept = np.unique(order, axis=0, return_index=True)
    again = np.setdiff1d(np.arange(len(order)), kept)
    if len(again):
        share = len(again) / len(order)
        yield Finding(
            check="duplicates inside a split",
            severity="warning" if share > MOST_INSIDE else "advice",
            what=f"{len(again):,} of {counted(len(order), 'row')} ({percent(share)}) repeat a text of "
            f"their own split",
            count=len(again),
            share=share,
            examples=tuple(dict.fromkeys(quoted(rows.texts[row]) for row in again))[:MOST_EXAMPLES],
            advice="drop the repeats, unless a frequent text shall count more",
        )


def nearly_repeated(rows: Rows) -> Iterator[Finding]:
    """Rows that nearly repeat another one, across splits and inside one; equal texts are not counted."""
    _, firsts = np.unique(rows.groups, return_index=True)
    pairs = firsts[near_duplicates([[part[row] for row in firsts] for part in rows.parts])]
    across = pairs[rows.split[pairs[:, 0]] < rows.split[pairs[:, 1]]]
    inside = pairs[rows.split[pairs[:, 0]] == rows.split[pairs[:, 1]]]
    if len(across):
        yield near_across(rows, across)
    if len(inside):
        again = np.unique(inside[:, 1])
        share = len(again) / len(rows.texts)
        yield Finding(
            check="near duplicates inside a split",
            severity="warning" if share > MOST_INSIDE else "advice",
            what=f"{len(again):,} of {counted(len(rows.texts), 'row')} ({percent(share)}) have nearly the "
            f"words of another row of their split",
            count=len(again),
            share=share,
            examples=shown_pairs(rows, inside),
            advice="keep one of each where they say the same",
        )


def near_across(rows: Rows, pairs: Pairs) -> Finding:
    seen = np.unique(pairs[:, 1])
    scored = int((rows.split > 0).sum())
    share = len(seen) / scored
    return Finding(
        check="near duplicates across splits",
        severity="warning" if share >= NOTABLE_NEAR else "advice",
        what=f"{len(seen):,} of {counted(scored, 'validation and test row')} ({percent(share)}) have nearly "
        f"the words of a row in an earlier split",
        count=len(seen),
        share=share,
        examples=shown_pairs(rows, pairs),
        advice="where they say the same, keep them in one split only: scores on the others are too high",
    )


def shown_pairs(rows: Rows, pairs: Pairs) -> tuple[str, ...]:
    return tuple(
        f"{quoted(rows.texts[a])} and {quoted(rows.texts[b])}" for a, b in pairs[:MOST_EXAMPLES].tolist()
    )


def contradictory(rows: Rows) -> Iterator[Finding]:
    """Equal texts with different labels."""
    tolerance = 0.0 if rows.has_classes else SCORE_RANGE * range_of(rows.answers)
    members = repeated_groups(rows.groups)
    found = [group for group in members if differ([rows.answers[row] for row in group], tolerance)]
    count = sum(map(len, found))
    if not found:
        return
    share = count / len(rows.texts)
    yield Finding(
        check="same text, different labels",
        severity="error" if share > MOST_UNDECIDED else "warning" if share >= NOTABLE else "advice",
        what=f"{counted(count, 'row')} ({percent(share)}) share {counted(len(found), 'text')} but not the "
        f"label",
        count=count,
        share=share,
        examples=tuple(contradiction(rows, group) for group in found[:MOST_EXAMPLES]),
        advice="decide on one label for each text: no model can be right on all of these rows",
    )


def contradiction(rows: Rows, group: Sequence[int]) -> str:
    labels = dict.fromkeys(label_text(rows, rows.answers[row]) for row in group)
    return f"{quoted(rows.texts[group[0]])} is {' and '.join(list(labels)[:MOST_EXAMPLES])}"


def differ(answers: Sequence[Answer], tolerance: float) -> bool:
    if tolerance:
        return range_of(answers) > tolerance
    return len(set(answers)) > 1


def range_of(answers: Sequence[Answer]) -> float:
    numbers = [answer[0] for answer in answers]
    return max(numbers) - min(numbers)


def repeated_groups(groups: Integers) -> list[list[int]]:
    """The rows of each text that occurs more than once."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    return [part.tolist() for part in np.split(order, starts) if len(part) > 1]


def first_split(rows: Rows) -> Integers:
    """The split in which each text occurs first."""
    _, firsts = np.unique(rows.groups, return_index=True)
    return rows.split[firsts]
