"""What tokens depend on, as a name under which they are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from trainers.splits import Split

FORMAT = 1
"""Raised when this program makes other tokens of the same texts."""


def key_of(splits: Iterable[Split], tokenizer: Any, *settings: object) -> str | None:
    """The name of an entry: a hash of all that its tokens depend on; None where that cannot be told.

    It goes over the texts themselves, not over the task's `data_hash`, because tasks of parts of the same
    rows have that in common.
    """
    tokenizer_hash = hash_of_tokenizer(tokenizer)
    if tokenizer_hash is None:
        return None
    digest = hashlib.sha256(f"{FORMAT} {tokenizer_hash} {settings}".encode())
    for split in splits:
        for texts in (split.texts, split.pairs or ()):
            digest.update(f"#{len(texts)}".encode())
            for text in texts:
                for part in (text,) if isinstance(text, str) else (str(len(text)), *text):
                    data = part.encode()
                    digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()


def hash_of_tokenizer(tokenizer: Any) -> str | None:
    """A hash of what a tokenizer does; None for those written in Python, which cannot be told apart."""
    if not tokenizer.is_fast:
        return None
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    for name in ("truncation", "padding"):  # left there by the last call
        rules.pop(name, None)
    facts = (
        version("tokenizers"),
        version("transformers"),
        type(tokenizer).__name__,
        tokenizer.truncation_side,
        tokenizer.split_special_tokens,
        tokenizer.model_input_names,
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )
    return hashlib.sha256(f"{json.dumps(rules)} {facts}".encode()).hexdigest()
