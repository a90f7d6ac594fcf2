"""TF-IDF of words and characters with a linear model: logistic regression, or ridge for numbers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import FunctionTransformer

from trainers.baseline_scores import BaselineScores, Logits, best_of
from trainers.splits import Split
from trainers.task import Task

STRENGTHS = (0.1, 1.0, 10.0)
"""Inverse regularisation strengths C (of ridge: 1 / alpha); the validation split chooses."""
# Of several labels most are rare: at 0.1 hardly one is ever predicted.
SET_STRENGTHS = (1.0, 10.0, 100.0)
# The commonest n-grams of each kind; the solver holds about 20 copies of the weights (10 steps of history).
MOST_FEATURES = 50_000
# A word, or a sign that is none: a text of emoji alone still has a feature.
TOKEN = re.compile(r"\w+|[^\w\s]")
SEPARATOR = " ␞ "
NUMBER_BYTES = 4
NEVER = -30.0
"""Log probability of a class without training rows."""


def tfidf_logistic_regression(task: Task) -> BaselineScores:
    """Logistic regression on TF-IDF of words (1-2) and characters (3-5); C is chosen by validation.

    A pair is joined with a separator and adds how far its words overlap. At equal scores the smaller loss,
    then the smaller C wins. The solver (L-BFGS) is deterministic.
    """
    return best_of(task, logistic_regressions)


def logistic_regressions(task: Task) -> list[BaselineScores]:
    """One for each strength."""
    vectorizer = text_features(pairs=task.text_pair is not None)
    features = vectorizer.fit_transform(joined(task.train))
    held_out, test = (vectorizer.transform(joined(split)) for split in (task.validation, task.test))
    found = []
    for strength in STRENGTHS:
        classifier = fit(features, task.train.labels, strength)
        parameters = classifier.coef_.size + classifier.intercept_.size
        found.append(
            BaselineScores(
                name="tfidf_logistic_regression",
                validation_logits=log_probabilities(classifier, held_out, task.outputs),
                test_logits=log_probabilities(classifier, test, task.outputs),
                config={"C": strength, "features": features.shape[1]},
                stored_bytes=parameters * NUMBER_BYTES + vocabulary_bytes(vectorizer),
                trainable_parameters=parameters,
            )
        )
    return found


def tfidf_label_sets(task: Task) -> BaselineScores:
    """For each label a logistic regression on TF-IDF (one-vs-rest); one C for all, chosen by validation.

    A label that all or no training rows have keeps its log odds. The solver is liblinear, with a fixed seed.
    """
    return best_of(task, label_sets)


def label_sets(task: Task) -> list[BaselineScores]:
    """One for each strength."""
    vectorizer = text_features(pairs=False)
    features = vectorizer.fit_transform(joined(task.train))
    held_out, test = (vectorizer.transform(joined(split)) for split in (task.validation, task.test))
    found = []
    for strength in SET_STRENGTHS:
        model = LabelSets.fit(features, task.train.labels, strength)
        parameters = model.weights.size + model.biases.size
        found.append(
            BaselineScores(
                name="tfidf_logistic_regression",
                validation_logits=model.log_odds(held_out),
                test_logits=model.log_odds(test),
                config={"C": strength, "features": len(model.weights)},
                stored_bytes=parameters * NUMBER_BYTES + vocabulary_bytes(vectorizer),
                trainable_parameters=parameters,
            )
        )
    return found


@dataclass(frozen=True)
class LabelSets:
    """One linear classifier for each label."""

    weights: NDArray[np.float64]
    """[features, classes]."""
    biases: NDArray[np.float64]

    @classmethod
    def fit(cls, features: Any, labels: NDArray[np.float32], strength: float) -> LabelSets:
        shares = (labels.sum(axis=0) + 0.5) / (len(labels) + 1)
        weights = np.zeros((features.shape[1], labels.shape[1]))
        biases = np.log(shares / (1 - shares)).astype(np.float64)
        for label in np.flatnonzero(np.ptp(labels, axis=0)):
            solver = LogisticRegression(C=strength, solver="liblinear", tol=1e-2, random_state=0)
            solver.fit(features, labels[:, label])
            weights[:, label], biases[label] = solver.coef_[0], solver.intercept_[0]
        return cls(weights, biases)

    def log_odds(self, features: Any) -> Logits:
        logits: Logits = (features @ self.weights + self.biases).astype(np.float32)
        return logits


def tfidf_ridge(task: Task) -> BaselineScores:
    """Ridge regression on TF-IDF; alpha is chosen by validation.

    A pair is described by how the two texts' features differ and agree (|a - b| and a * b), by their cosines,
    and by how far their words overlap.
    """
    return best_of(task, ridges)


def ridges(task: Task) -> list[BaselineScores]:
    """One for each strength."""
    vectorizers = ngrams()
    for vectorizer in vectorizers:
        vectorizer.fit([*task.train.texts, *(task.train.pairs or ())])
    features, held_out, test = (
        numeric_features(vectorizers, split) for split in (task.train, task.validation, task.test)
    )
    found = []
    for strength in STRENGTHS:
        model = Ridge(alpha=1 / strength, solver="lsqr").fit(features, task.train.labels)
        parameters = model.coef_.size + 1
        found.append(
            BaselineScores(
                name="tfidf_ridge",
                validation_logits=numbers(model, held_out),
                test_logits=numbers(model, test),
                config={"alpha": model.alpha, "features": features.shape[1]},
                stored_bytes=parameters * NUMBER_BYTES + sum(map(term_bytes, vectorizers)),
                trainable_parameters=parameters,
            )
        )
    return found


def numbers(model: Ridge, features: Any) -> Logits:
    return np.asarray(model.predict(features), dtype=np.float32)[:, None]


def numeric_features(vectorizers: Sequence[TfidfVectorizer], split: Split) -> Any:
    """The n-grams of the texts; of a pair what they share, in which they differ, and how alike they are."""
    if split.pairs is None:
        return scipy.sparse.hstack([vectorizer.transform(split.texts) for vectorizer in vectorizers], "csr")
    parts: list[Any] = [overlaps(joined(split))]
    for vectorizer in vectorizers:
        first, second = vectorizer.transform(split.texts), vectorizer.transform(split.pairs)
        both = first.multiply(second)  # the rows have length 1, so these sum to the cosine
        parts += [both.sum(axis=1), both, abs(first - second)]
    return scipy.sparse.hstack(parts, "csr")


def ngrams() -> tuple[TfidfVectorizer, TfidfVectorizer]:
    """Words (1-2) and characters (3-5)."""
    words = TfidfVectorizer(
        ngram_range=(1, 2), token_pattern=TOKEN.pattern, sublinear_tf=True, max_features=MOST_FEATURES
    )
    characters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, max_features=MOST_FEATURES
    )
    return words, characters


def text_features(*, pairs: bool) -> FeatureUnion:
    """N-grams; for pairs also how far the words overlap."""
    parts: list[tuple[str, Any]] = list(zip(("words", "characters"), ngrams(), strict=True))
    return FeatureUnion([*parts, ("overlap", FunctionTransformer(overlaps))] if pairs else parts)


def fit(features: Any, labels: NDArray[np.int64], strength: float) -> LogisticRegression:
    # 1e-3: 9.5 s instead of 14.7 s at the default 1e-4 (5,000 rows, 77 labels), both 0.894 on test
    classifier = LogisticRegression(C=strength, max_iter=300, tol=1e-3)
    with warnings.catch_warnings():
        # a fit that stops early is still scored, and validation judges it
        warnings.simplefilter("ignore", ConvergenceWarning)
        return classifier.fit(features, labels)


def log_probabilities(classifier: LogisticRegression, features: Any, classes: int) -> Logits:
    """[rows, classes]; a class that no training row has, as may be without a fold, is never predicted."""
    logits: Logits = np.full((features.shape[0], classes), NEVER, dtype=np.float32)
    logits[:, classifier.classes_] = classifier.predict_log_proba(features)
    return logits


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
    return sum(term_bytes(part) for part in parts if isinstance(part, TfidfVectorizer))


def term_bytes(vectorizer: TfidfVectorizer) -> int:
    return sum(len(term.encode()) + NUMBER_BYTES for term in vectorizer.vocabulary_)
