"""What every method must beat: the most frequent label, and words and characters with a linear classifier."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import FunctionTransformer

from trainers.metrics import metrics_of
from trainers.splits import Split
from trainers.task import Task

Logits = NDArray[np.float32]

STRENGTHS = (0.1, 1.0, 10.0)
"""Inverse regularisation strengths C; the validation split chooses."""
# The commonest n-grams of each kind; the solver holds about 20 copies of the weights (10 steps of history).
MOST_FEATURES = 50_000
# A word, or a sign that is none: a text of emoji alone still has a feature.
TOKEN = re.compile(r"\w+|[^\w\s]")
SEPARATOR = " ␞ "
NUMBER_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class BaselineScores:
    """What a baseline predicts, and what it costs."""

    name: str
    validation_logits: Logits
    """[rows, classes]; log probabilities."""
    test_logits: Logits
    config: Mapping[str, Any]
    seconds: float
    """To fit and to predict both splits."""
    stored_bytes: int
    """Weights as 32-bit numbers and the vocabulary as UTF-8."""
    trainable_parameters: int


def majority(task: Task) -> BaselineScores:
    """Always the most frequent training label; its log probabilities are those of the label frequencies."""
    start = time.perf_counter()
    counts = np.bincount(task.train.labels, minlength=len(task.labels))
    logits = np.log(counts / counts.sum()).astype(np.float32)
    return BaselineScores(
        name="majority",
        validation_logits=np.tile(logits, (len(task.validation), 1)),
        test_logits=np.tile(logits, (len(task.test), 1)),
        config={},
        seconds=time.perf_counter() - start,
        stored_bytes=0,
        trainable_parameters=0,
    )


def tfidf_logistic_regression(task: Task) -> BaselineScores:
    """Logistic regression on TF-IDF of words (1-2) and characters (3-5); C is chosen by validation.

    A pair is joined with a separator and adds how far its words overlap. At equal scores the smaller loss,
    then the smaller C wins. The solver (L-BFGS) is deterministic.
    """
    start = time.perf_counter()
    vectorizer = text_features(pairs=task.text_pair is not None)
    features = vectorizer.fit_transform(joined(task.train))
    held_out = vectorizer.transform(joined(task.validation))
    fitted = [fit(features, task.train.labels, strength) for strength in STRENGTHS]
    candidates = [(classifier, log_probabilities(classifier, held_out)) for classifier in fitted]
    classifier, validation_logits = max(candidates, key=lambda pair: merit(pair[1], task))
    parameters = classifier.coef_.size + classifier.intercept_.size
    return BaselineScores(
        name="tfidf_logistic_regression",
        validation_logits=validation_logits,
        test_logits=log_probabilities(classifier, vectorizer.transform(joined(task.test))),
        config={"C": classifier.C, "features": classifier.coef_.shape[1]},
        seconds=time.perf_counter() - start,
        stored_bytes=parameters * NUMBER_BYTES + vocabulary_bytes(vectorizer),
        trainable_parameters=parameters,
    )


def text_features(*, pairs: bool) -> FeatureUnion:
    """N-grams; for pairs also how far the words overlap."""
    words = TfidfVectorizer(
        ngram_range=(1, 2), token_pattern=TOKEN.pattern, sublinear_tf=True, max_features=MOST_FEATURES
    )
    characters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, max_features=MOST_FEATURES
    )
    parts = [("words", words), ("characters", characters)]
    return FeatureUnion([*parts, ("overlap", FunctionTransformer(overlaps))] if pairs else parts)


def fit(features: Any, labels: NDArray[np.int64], strength: float) -> LogisticRegression:
    # 1e-3: 9.5 s instead of 14.7 s at the default 1e-4 (5,000 rows, 77 labels), both 0.894 on test
    classifier = LogisticRegression(C=strength, max_iter=300, tol=1e-3)
    with warnings.catch_warnings():
        # a fit that stops early is still scored, and validation judges it
        warnings.simplefilter("ignore", ConvergenceWarning)
        return classifier.fit(features, labels)


def log_probabilities(classifier: LogisticRegression, features: Any) -> Logits:
    logits: Logits = classifier.predict_log_proba(features).astype(np.float32)
    return logits


def merit(logits: Logits, task: Task) -> tuple[float, float]:
    metrics = metrics_of(logits, task.validation.labels)
    return metrics[task.metric], -metrics["loss"]


def joined(split: Split) -> list[str]:
    if split.pairs is None:
        return list(split.texts)
    return [text + SEPARATOR + pair for text, pair in zip(split.texts, split.pairs, strict=True)]


def overlaps(texts: Sequence[str]) -> NDArray[np.float64]:
    """What share of the first text's, the second's and all words stands in both: [rows, 3]."""
    return np.array([overlap(*text.split(SEPARATOR, 1)) for text in texts])


def overlap(text: str, pair: str) -> tuple[float, float, float]:
    first, second = (set(TOKEN.findall(part.lower())) for part in (text, pair))
    shared = len(first & second)
    every = max(len(first | second), 1)
    return shared / max(len(first), 1), shared / max(len(second), 1), shared / every


def vocabulary_bytes(vectorizer: FeatureUnion) -> int:
    """The n-grams in UTF-8 and a 32-bit inverse document frequency for each."""
    parts = (part for _, part in vectorizer.transformer_list)
    vocabularies = [part.vocabulary_ for part in parts if isinstance(part, TfidfVectorizer)]
    return sum(len(term.encode()) + NUMBER_BYTES for vocabulary in vocabularies for term in vocabulary)
