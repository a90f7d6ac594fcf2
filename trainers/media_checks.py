"""Checks of what is no text: numbers, pictures, sounds and videos, as the texts and beside them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from trainers.findings import MOST_EXAMPLES, Finding, Rows, counted, percent
from trainers.media import medium
from trainers.source import quoted

MOST_OTHER = 0.5
"""Share of texts that are none beyond which the column is none of texts."""
NUMBERS = re.compile(r"[\s\d.,;:/()\[\]+-]*\d[\s\d.,;:/()\[\]+eE-]*")


def no_texts(rows: Rows) -> Iterator[Finding]:
    """Columns of texts that hold numbers, or what Peltier cannot read."""
    for name, texts in zip((rows.task.text, rows.task.text_pair), rows.parts, strict=False):
        kinds = [kind_of(text) for text in texts]
        tally = Counter(kind for kind in kinds if kind)
        count = sum(tally.values())
        if count > MOST_OTHER * len(texts):
            (kind, _), *_ = tally.most_common(1)
            examples = [text for text, found in zip(texts, kinds, strict=True) if found == kind]
            yield Finding(
                check="no texts",
                severity="error",
                what=f"{count:,} of {counted(len(texts), 'value')} ({percent(count / len(texts))}) of column "
                f"{quoted(name)} are {kind}, and a backbone reads text",
                count=count,
                share=count / len(texts),
                examples=tuple(quoted(text) for text in examples[:MOST_EXAMPLES]),
                advice="name the column with the texts with --text; write numbers out as text if they "
                "are meant",
            )


def kind_of(text: str) -> str | None:
    """What a text is that is none."""
    return "numbers" if NUMBERS.fullmatch(text) else medium(text)


def other_media(rows: Rows) -> Iterator[Finding]:
    """Columns of pictures and the like beside the texts: they are not read."""
    media = {name: kind for name, kind in rows.task.media.items() if name not in rows.task.columns}
    if media:
        kinds = " and ".join(sorted(set(media.values())))
        yield Finding(
            check="pictures, sounds or videos",
            severity="warning",
            what=f"{counted(len(media), 'column')} of the training data hold{'s' if len(media) == 1 else ''} "
            f"{kinds}, which no text backbone reads",
            count=len(media),
            share=len(media) / (len(media) + len(rows.task.columns)),
            examples=tuple(f"{quoted(name)} holds {kind}" for name, kind in media.items())[:MOST_EXAMPLES],
            advice="see that the text alone decides the label: what they add is not learned",
        )
