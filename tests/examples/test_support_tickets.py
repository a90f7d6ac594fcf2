"""The example dataset is what its page says."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from trainers.baselines import tfidf_logistic_regression
from trainers.metrics import metrics_of
from trainers.task import read_task

FOLDER = Path(__file__).parents[2] / "examples"


def test_words_alone_score_what_the_page_says_and_leave_room() -> None:
    task = read_task(FOLDER / "support_tickets.csv")
    scores = tfidf_logistic_regression(task)
    accuracy = metrics_of(scores.test_logits, task.test.labels)["accuracy"]
    (written,) = re.findall(
        r"TF-IDF \+ logistic regression: accuracy (0\.\d+)", (FOLDER / "README.md").read_text()
    )
    assert f"{accuracy:.2f}" == written
    assert 0.55 <= accuracy <= 0.85


def test_eight_intents_are_balanced_and_no_message_occurs_twice() -> None:
    task = read_task(FOLDER / "support_tickets.csv")
    texts = [text for split in (task.train, task.validation, task.test) for text in split.texts]
    labels = [label for split in (task.train, task.validation, task.test) for label in split.labels.tolist()]
    assert len(texts) == len({text.casefold() for text in texts}) == 1000
    assert set(Counter(labels).values()) == {125}
