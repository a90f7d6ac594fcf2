"""Causal families: what the heads read, padding on either side, and tokenizers made for others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import make_backbone

from trainers.backbone import load
from trainers.batches import tokenise
from trainers.task import Split


@pytest.mark.parametrize("family", ["gpt2", "roberta"])
def test_bert_tokenizer_numbers_segments_only_for_a_model_that_has_them(family: str, tmp_path: Path) -> None:
    # GPT-2 adds the embeddings of words 0 and 1 for segments 0 and 1; a RoBERTa without segments fails.
    sizes = {"type_vocab_size": 1} if family == "roberta" else {}
    backbone = load(str(make_backbone(tmp_path, family, **sizes)), dtype="fp32")
    pair = Split(("good film",), ("we love it",), np.zeros(1, np.int64))
    assert tokenise(pair, backbone.tokenizer, 32).types is None
