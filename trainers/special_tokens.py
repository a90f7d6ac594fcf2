"""The special tokens that a tokenizer puts around texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainers.checkpoint import BackboneError

PROBES = ("a", "A", "1", "的", ".")
"""Texts of which a tokenizer reads at least one."""


@dataclass(frozen=True)
class Frame:
    """What stands before the first text, between two, and behind the last: `[CLS] text [SEP] text [SEP]`."""

    ids: tuple[tuple[int, ...], ...]
    types: tuple[tuple[int, ...], ...]
    """Segments of these tokens."""
    text_types: tuple[int, ...]
    """Segment of the tokens of each text."""

    @property
    def count(self) -> int:
        """Special tokens of a row."""
        return sum(map(len, self.ids))


def frame_of(tokenizer: Any, texts: int) -> Frame:
    """The frame of rows of one or two texts, found by tokenising some.

    Raises:
        BackboneError: if the tokenizer does more than to put tokens around texts.
    """
    probe, length = _probe(tokenizer)
    encoded = tokenizer(
        *[probe] * texts,
        return_special_tokens_mask=True,
        return_token_type_ids=True,
        return_attention_mask=False,
    )
    special = encoded["special_tokens_mask"]
    parts: list[slice] = []
    begins, end = [], 0
    for _ in range(texts):
        begin = next((i for i in range(end, len(special)) if not special[i]), len(special))
        parts.append(slice(end, begin))
        begins.append(begin)
        end = begin + length
    parts.append(slice(end, len(special)))
    if sum(special) != len(special) - texts * length or len(special) != end + len(special[parts[-1]]):
        raise BackboneError(
            f"the tokenizer {type(tokenizer).__name__} does more than to put special tokens around texts; "
            f"give another --backbone"
        )
    ids, types = encoded["input_ids"], encoded["token_type_ids"]
    return Frame(
        ids=tuple(tuple(ids[part]) for part in parts),
        types=tuple(tuple(types[part]) for part in parts),
        text_types=tuple(types[begin] for begin in begins),
    )


def _probe(tokenizer: Any) -> tuple[str, int]:
    """A text that the tokenizer reads, and how many tokens it has."""
    for text in PROBES:
        length = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        if length:
            return text, length
    raise BackboneError(
        f"the tokenizer {type(tokenizer).__name__} makes no token of {', '.join(map(repr, PROBES))}; "
        f"give another --backbone"
    )


def filler(tokenizer: Any) -> int:
    """A token for a row that has none: heads need one to read."""
    known = (tokenizer.eos_token_id, tokenizer.pad_token_id, 0)
    return int(next(number for number in known if number is not None))
