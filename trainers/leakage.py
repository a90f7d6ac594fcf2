"""Checks for what gives the label away: a word that stands for a class, a column that decides it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainers.duplicates import words_of
from trainers.findings import MOST_EXAMPLES, Finding, Rows, counted, percent
from trainers.source import quoted

MOST_ROWS = 20_000
"""Training rows that are looked at: a word that marks most rows of a class shows in any sample."""
FEWEST_MARKED = 20
MARKED = 0.8
"""Share of a class that a word must mark ..."""
CERTAIN = 0.98
"""... and how often the class must be right where the word stands, or a column's value."""
MOST_TOLD = 0.5
"""Share of the classes: a few classes may have a word of their own, as 'uber' for the class of rides."""
LIFT = 0.1
"""Most errors for each error of always giving the same answer: with 99 % of one class every word is right."""


@dataclass(frozen=True)
class Mark:
    """A word that stands for a class."""

    label: int
    word: str
    share: float
    """Of the class's texts, how many have the word."""
    right: float
    """Of the texts with the word, how many are of the class."""


def telling_words(rows: Rows) -> Iterator[Finding]:
    """Words that stand in most texts of one class and in nearly no other text."""
    if not rows.has_classes or rows.has_word_labels:
        return
    found = marks(rows)
    if not found:
        return
    names = rows.task.labels
    yield Finding(
        check="leakage in the text",
        severity="warning" if len(found) >= MOST_TOLD * len(names) else "advice",
        what=f"a single word tells {len(found):,} of {counted(len(names), 'label')}",
        count=len(found),
        share=len(found) / len(names),
        examples=tuple(
            f"{quoted(mark.word)} stands in {percent(mark.share)} of {quoted(names[mark.label])}, and "
            f"{percent(mark.right)} of the texts with it have that label"
            for mark in found[:MOST_EXAMPLES]
        ),
        advice="if the word came with the label (a tag, a folder name, a template), remove it from the "
        "texts: new texts will not have it",
    )


def marks(rows: Rows) -> list[Mark]:
    """The most telling word of each class that has one, the most telling first."""
    count = len(rows.task.train)
    sample = range(0, count, -(-count // MOST_ROWS))
    texts: Counter[str] = Counter()
    of_class: dict[int, Counter[str]] = defaultdict(Counter)
    sizes: Counter[int] = Counter()
    for row in sample:
        words = set(words_of(rows.texts[row]))
        texts.update(words)
        for label in rows.answers[row]:
            of_class[int(label)].update(words)
            sizes[int(label)] += 1
    found = []
    for label, words_in in of_class.items():
        telling = [
            Mark(label, word, number / sizes[label], number / texts[word])
            for word, number in words_in.items()
            if number >= max(FEWEST_MARKED, MARKED * sizes[label])
            and gives_away(number / texts[word], sizes[label] / len(sample))
        ]
        if telling:
            found.append(max(telling, key=lambda mark: (mark.share * mark.right, mark.word)))
    return sorted(found, key=lambda mark: (-mark.share * mark.right, mark.label))


def gives_away(right: float, without: float) -> bool:
    """Whether answers that are right this often say much more than always giving the same answer does."""
    return right >= CERTAIN and 1 - right <= LIFT * (1 - without)


def telling_columns(rows: Rows) -> Iterator[Finding]:
    """Columns of the file whose value decides the label."""
    task = rows.task
    labels = [str(value) for value in rows.table.get(task.label, ())]
    if not labels:
        return
    without = max(Counter(labels).values()) / len(labels)
    others = [name for name in rows.table if name not in task.columns]
    right = {name: told(rows.table[name], labels) for name in others}
    found = [name for name in others if gives_away(right[name], without)]
    if found:
        yield Finding(
            check="leakage in a column",
            severity="advice",
            what=f"{counted(len(found), 'other column')} of the file decide{'s' if len(found) == 1 else ''} "
            f"the label",
            count=len(found),
            share=len(found) / len(others),
            examples=tuple(
                f"{quoted(name)} tells the label of {percent(right[name])} of the rows"
                for name in found[:MOST_EXAMPLES]
            ),
            advice="nothing, as the column is not read; but texts that were made from it give the label away",
        )


def told(values: Sequence[Any], labels: Sequence[str]) -> float:
    """Share of rows whose label is the most frequent one among the *other* rows with the same value.

    A row with a value of its own is not told, so an id tells nothing.
    """
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for value, label in zip(values, labels, strict=True):
        groups[str(value)][label] += 1
    right = 0
    for counts in groups.values():
        (label, most), *rest = counts.most_common(2)
        right += most if most - 1 > (rest[0][1] if rest else 0) else 0
    return right / len(labels)
