"""Markdown from text that others wrote: it says what they wrote, and formats nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

MOST_NAMED = 50
"""Labels that are listed by name."""
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$!])")
LINK = re.compile(r"(?i)(https?|ftp|mailto|www)([:.])")


def plain(text: object) -> str:
    """The text on one line, with all that Markdown or HTML would read as theirs escaped."""
    line = " ".join("".join(one if one.isprintable() else " " for one in str(text)).split())
    escaped = SPECIAL.sub(r"\\\1", line)
    return LINK.sub(r"\1\\\2", escaped)  # a bare address would become a link


def listed(names: Sequence[str], most: int) -> str:
    """The names with commas; beyond `most` how many more there are."""
    rest = len(names) - most
    return ", ".join(map(plain, names[:most])) + (f" and {rest:,} more" if rest > 0 else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of plain cells."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [["---" if cell == "---" else plain(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
