"""Checks of the texts and the other columns: blank, always the same, too long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from trainers.findings import MOST_EXAMPLES, SPLITS, Finding, Rows, counted, percent
from trainers.source import quoted

MOST_BLANK = 0.5
SHOWN = 40
"""Characters of a text that a message surely shows."""
NOTABLE_CUT = 0.05
"""Share of cut texts from which a longer reader, or shorter texts, may raise the score."""


def blank_texts(rows: Rows) -> Iterator[Finding]:
    """Texts that show nothing: spaces, or characters without width."""
    blank = [
        (number, row)
        for number, split in enumerate(rows.splits)
        for row, parts in enumerate(zip(split.texts, split.pairs or split.texts, strict=True))
        if any(map(is_blank, parts))
    ]
    if blank:
        share = len(blank) / len(rows.texts)
        yield Finding(
            check="empty texts",
            severity="error" if share > MOST_BLANK else "warning",
            what=f"{len(blank):,} of {counted(len(rows.texts), 'row')} ({percent(share)}) have a text "
            f"that is blank",
            count=len(blank),
            share=share,
            examples=tuple(f"row {row + 1:,} of {SPLITS[number]}" for number, row in blank[:MOST_EXAMPLES]),
            advice="drop these rows or fill them in; name another column with --text if this is none",
        )


def other_encodings(rows: Rows) -> Iterator[Finding]:
    """Files that are not UTF-8: the user can see by the letters whether they were read aright."""
    for name, encoding in rows.task.guessed.items():
        split = rows.splits[SPLITS.index(name)]
        beyond = [text for text in map(joined, split.texts) if not text.isascii()]
        yield Finding(
            check="encoding",
            severity="advice",
            what=f"the {name} file is not UTF-8 and was read as {encoding}, which its words and letters suit",
            count=len(beyond),
            share=len(beyond) / len(split),
            examples=tuple(quoted(around(text)) for text in beyond[:MOST_EXAMPLES]),
            advice="if letters of the examples are wrong, save the file as UTF-8; else nothing",
        )


def joined(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else " ".join(text)


def around(text: str) -> str:
    """The text from shortly before its first character beyond ASCII."""
    first = next(place for place, character in enumerate(text) if not character.isascii())
    return text if first < SHOWN else f"…{text[first - SHOWN // 2 :]}"


def is_blank(text: str | Sequence[str]) -> bool:
    # `isprintable` is false of characters without width, and of spaces other than " "
    return not any(character.isprintable() and character != " " for word in text for character in word)


def constant_columns(rows: Rows) -> Iterator[Finding]:
    """Columns that hold one value: a text from which nothing can be learned, or one that says nothing."""
    task, train = rows.task, rows.task.train
    used = {task.text: train.texts, task.text_pair: train.pairs}
    for name, values in used.items():
        if name is not None and values is not None and len(set(values)) == 1:
            alone = name == task.text and task.text_pair is None
            yield constant([name], values[0], len(used), "error" if alone else "warning")
    others = [name for name in rows.table if name not in task.columns]
    same = [name for name in others if is_constant(rows.table[name])]
    if same:
        yield constant(same, rows.table[same[0]][0], len(rows.table), "advice")


def constant(names: Sequence[str], value: Any, columns: int, severity: str) -> Finding:
    listed = ", ".join(quoted(name) for name in names[:MOST_EXAMPLES])
    more = f" and {len(names) - MOST_EXAMPLES:,} more" if len(names) > MOST_EXAMPLES else ""
    advice = {
        "error": "name the column with the texts with --text: nothing can be learned from this one",
        "warning": "name another column, or train on the other one alone with --text",
        "advice": "nothing: these columns are not read",
    }
    return Finding(
        check="constant columns",
        severity=severity,
        what=f"{listed}{more} hold{'s' if len(names) == 1 else ''} one value in every row",
        count=len(names),
        share=len(names) / columns,
        examples=(f"{quoted(names[0])} is always {quoted(value)}",),
        advice=advice[severity],
    )


def is_constant(values: Sequence[Any]) -> bool:
    return len(values) > 1 and all(value == values[0] for value in values)


def cut_texts(rows: Rows) -> Iterator[Finding]:
    """Texts with more tokens than the backbone reads; rows of words are read in parts instead."""
    if rows.lengths is None or rows.has_word_labels:
        return
    tokens = rows.lengths.tokens
    long = np.flatnonzero(tokens > rows.lengths.limit)
    if len(long):
        share = len(long) / len(tokens)
        measured = "" if len(tokens) == len(rows.texts) else " that were measured"
        longest = long[np.argsort(-tokens[long], kind="stable")][:MOST_EXAMPLES]
        examples = zip(rows.lengths.rows[longest], tokens[longest], strict=True)
        yield Finding(
            check="truncation",
            severity="warning" if share >= NOTABLE_CUT else "advice",
            what=f"{len(long):,} of {counted(len(tokens), 'row')}{measured} ({percent(share)}) are cut; "
            f"{rows.lengths.summary()}",
            count=len(long),
            share=share,
            examples=tuple(f"{quoted(rows.texts[row])} ({count:,} tokens)" for row, count in examples),
            advice="see that what decides stands at the beginning, keep the end too with "
            "--truncation head+tail, shorten the texts, or choose a --backbone that reads more",
        )
