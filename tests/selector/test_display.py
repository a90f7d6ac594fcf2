"""Words for what a study holds."""

from __future__ import annotations

from selector.phrases import BASELINE_NAMES
from trainers.constant_baselines import CONSTANTS


def test_the_baseline_that_gives_one_answer_has_words_for_each_kind() -> None:
    words = {kind: BASELINE_NAMES[name] for kind, name in CONSTANTS.items()}
    assert words == {
        "classification": "the majority class",
        "multi-label": "the labels that most rows have",
        "regression": "the mean of the training rows",
        "token-classification": "the most frequent tag",
    }
